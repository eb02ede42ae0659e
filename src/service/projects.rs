//! Projects: make, look, change, delete.

use super::{Invalid, ServiceError, Services, blocking, job_rules::check_tags, text::check_text};
use crate::{
    domain::{
        caller::{Action, Caller},
        id::ProjectId,
        project::{Project, Repository},
    },
    store::{StoreError, Tx, events, experiments, jobs, projects, workloads},
};

/// Jobs that are removed in one transaction while their project is deleted.
const BATCH: u32 = 200;

/// A project to be made.
#[derive(Debug, Clone, Default)]
pub struct NewProject {
    pub name: String,
    pub tags: Vec<String>,
    pub repository: Repository,
}

/// What went with a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedProject {
    pub name: String,
    pub jobs: usize,
    pub experiments: usize,
}

/// What is to be another in a project; the rest stays.
#[derive(Debug, Clone, Default)]
pub struct ProjectChange {
    pub name: Option<String>,
    pub tags: Option<Vec<String>>,
}

impl Services {
    /// Makes a project.
    pub async fn create_project(&self, caller: &Caller, new: NewProject) -> Result<Project, ServiceError> {
        caller.may(Action::CreateProject)?;
        let name = check_text("name", new.name, 128)?;
        let tags = check_tags(new.tags)?;
        let repository = check_repository(new.repository)?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let id = ProjectId::mint(&*services.ids);
                services.add_project(tx, &caller, &id, &name)?;
                projects::set_tags(tx, &id, &tags)?;
                projects::set_repository(tx, &id, &repository)?;
                find(tx, &caller, &id)
            })
            .await
    }

    pub(super) fn add_project(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        id: &ProjectId,
        name: &str,
    ) -> Result<(), ServiceError> {
        let now = self.clock.now();
        if !projects::insert(tx, id, &caller.team, name, now)? {
            return Err(taken(name));
        }
        events::append(tx, &caller.team, "project", id.as_str(), "created", serde_json::json!({}), now)?;
        Ok(())
    }

    /// Returns one project.
    pub async fn project(&self, caller: &Caller, id: &ProjectId) -> Result<Project, ServiceError> {
        caller.may(Action::ViewProjects)?;
        let (caller, id) = (caller.clone(), id.clone());
        self.store.read(move |connection| find(connection, &caller, &id)).await
    }

    /// Lists projects, newest first.
    pub async fn projects(
        &self,
        caller: &Caller,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Project>, ServiceError> {
        caller.may(Action::ViewProjects)?;
        let team = caller.team.clone();
        self.store.read(move |connection| Ok(projects::list(connection, &team, before, limit)?)).await
    }

    /// Gives a project what `change` says of it.
    pub async fn change_project(
        &self,
        caller: &Caller,
        id: &ProjectId,
        change: ProjectChange,
    ) -> Result<Project, ServiceError> {
        caller.may(Action::ChangeProject)?;
        let name = change.name.map(|name| check_text("name", name, 128)).transpose()?;
        let tags = change.tags.map(check_tags).transpose()?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        self.store
            .write(move |tx| {
                find(tx, &caller, &id)?;
                if let Some(name) = &name
                    && !projects::rename(tx, &id, name)?
                {
                    return Err(taken(name));
                }
                if let Some(tags) = &tags {
                    projects::set_tags(tx, &id, tags)?;
                }
                let now = services.clock.now();
                events::append(tx, &caller.team, "project", id.as_str(), "changed", serde_json::json!({}), now)?;
                find(tx, &caller, &id)
            })
            .await
    }

    /// Removes a project with its secrets, its experiments and its jobs, all of which must be over. Returns
    /// what went.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] while it has notebooks, or jobs that are not over.
    pub async fn delete_project(&self, caller: &Caller, id: &ProjectId) -> Result<DeletedProject, ServiceError> {
        caller.may(Action::DeleteProject)?;
        let mut gone = 0;
        loop {
            let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
            let (removed, deleted) = self
                .store
                .write(move |tx| {
                    let now = services.clock.now();
                    let project = find(tx, &caller, &id)?;
                    if project.notebooks > 0 {
                        let message = format!(
                            "{} notebooks are in project “{}”: delete them, or move them to another project",
                            project.notebooks, project.name
                        );
                        return Err(ServiceError::Conflict { code: "project_has_notebooks", message });
                    }
                    if project.tensorboards > 0 {
                        let message = format!(
                            "{} TensorBoards are in project “{}”: delete them, or move them to another project",
                            project.tensorboards, project.name
                        );
                        return Err(ServiceError::Conflict { code: "project_has_tensorboards", message });
                    }
                    if project.active_jobs > 0 {
                        let message = format!(
                            "{} jobs of project “{}” are not over: stop them first, or wait",
                            project.active_jobs, project.name
                        );
                        return Err(ServiceError::Conflict { code: "project_not_empty", message });
                    }
                    let over = jobs::of_project(tx, &id, BATCH)?;
                    for workload in &over {
                        workloads::delete(tx, workload, now)?;
                    }
                    let mut deleted = None;
                    if over.is_empty() {
                        let experiments = experiments::delete_of_project(tx, &caller.team, &id, now)?;
                        projects::delete(tx, &id)?;
                        events::append(
                            tx,
                            &caller.team,
                            "project",
                            id.as_str(),
                            "deleted",
                            serde_json::json!({}),
                            now,
                        )?;
                        deleted = Some(DeletedProject { name: project.name, jobs: 0, experiments });
                    }
                    Ok((over.into_iter().map(|workload| workload.id).collect::<Vec<_>>(), deleted))
                })
                .await?;
            if let Some(deleted) = deleted {
                return Ok(DeletedProject { jobs: gone, ..deleted });
            }
            gone += removed.len();
            let data = self.data.clone();
            blocking(move || removed.iter().try_for_each(|job| data.remove_run(job))).await?;
        }
    }

    /// Returns the id of the project that a text names, by id or by name.
    pub(super) fn named_project(
        connection: &rusqlite::Connection,
        caller: &Caller,
        named: &str,
    ) -> Result<ProjectId, ServiceError> {
        if let Ok(id) = named.parse::<ProjectId>()
            && projects::exists(connection, &caller.team, &id)?
        {
            return Ok(id);
        }
        projects::id_by_name(connection, &caller.team, named)?.ok_or_else(|| {
            let shown: String = named.chars().filter(|c| !c.is_control()).take(128).collect();
            ServiceError::not_found("project", shown)
        })
    }

    /// Finds the project that a text names, by id or by name.
    pub async fn project_named(&self, caller: &Caller, named: String) -> Result<ProjectId, ServiceError> {
        caller.may(Action::ViewProjects)?;
        let caller = caller.clone();
        self.store.read(move |connection| Self::named_project(connection, &caller, &named)).await
    }
}

fn find(connection: &rusqlite::Connection, caller: &Caller, id: &ProjectId) -> Result<Project, ServiceError> {
    projects::get(connection, &caller.team, id)
        .map_err(|error: StoreError| ServiceError::from(error))?
        .ok_or_else(|| ServiceError::not_found("project", id))
}

/// An address is kept and shown, never fetched.
fn check_repository(repository: Repository) -> Result<Repository, Invalid> {
    let check = |field, text: Option<String>, most| {
        text.filter(|text| !text.trim().is_empty()).map(|text| check_text(field, text, most)).transpose()
    };
    Ok(Repository {
        name: check("repositoryName", repository.name, 128)?,
        url: check("repositoryUrl", repository.url, 2048)?,
    })
}

fn taken(name: &str) -> ServiceError {
    let message = format!("your team has a project “{name}” already: choose another name");
    ServiceError::Conflict { code: "name_taken", message }
}
