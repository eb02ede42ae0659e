//! `/projects`: what belongs together.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem, paging::given};
use crate::{
    domain::{
        caller::Caller,
        id::ProjectId,
        project::{Project, Repository},
        time::Timestamp,
    },
    service::{
        Services,
        projects::{NewProject, ProjectChange},
    },
};

/// The routes of projects.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change, delete))
}

/// Returns the project that a list is narrowed to, if it is to one: by id or by name.
pub(super) async fn project_meant(
    services: &Services,
    caller: &Caller,
    named: String,
) -> Result<Option<ProjectId>, Problem> {
    match given(named) {
        Some(named) => Ok(Some(services.project_named(caller, named).await?)),
        None => Ok(None),
    }
}

/// A project to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewProjectWire {
    /// 1 to 128 characters; no other project of the team has it.
    name: String,
    /// 64 characters each, without a comma.
    #[serde(default)]
    tags: Vec<String>,
    /// What its code's repository is called.
    repository_name: Option<String>,
    /// Where its code is kept; shown and never fetched.
    repository_url: Option<String>,
}

/// What is to be another; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProjectChangeWire {
    /// 1 to 128 characters; no other project of the team has it.
    name: Option<String>,
    /// All tags that it is to have.
    tags: Option<Vec<String>>,
}

/// A project with how much is in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectView {
    #[schema(value_type = String, example = "p3v54dfgz")]
    id: ProjectId,
    name: String,
    tags: Vec<String>,
    repository_name: Option<String>,
    repository_url: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    jobs: ProjectJobs,
    notebooks: u64,
    tensorboards: u64,
}

/// How many jobs a project has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectJobs {
    total: u64,
    /// Those that are not over.
    active: u64,
}

impl From<Project> for ProjectView {
    fn from(project: Project) -> Self {
        Self {
            id: project.id,
            name: project.name,
            tags: project.tags,
            repository_name: project.repository.name,
            repository_url: project.repository.url,
            created_at: project.created_at,
            jobs: ProjectJobs { total: project.jobs, active: project.active_jobs },
            notebooks: project.notebooks,
            tensorboards: project.tensorboards,
        }
    }
}

/// Lists projects, newest first.
#[utoipa::path(
    get, path = "/projects", tag = "projects", params(PageQuery), responses((status = 200, body = Page<ProjectView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    page: Paged,
) -> Result<Json<Page<ProjectView>>, Problem> {
    let projects = services.projects(&caller, page.before()?, page.limit + 1).await?;
    Ok(Json(Page::cut(projects, page.limit, |project| project.seq).map(ProjectView::from)))
}

/// Makes a project.
#[utoipa::path(
    post, path = "/projects", tag = "projects", request_body = NewProjectWire,
    responses((status = 201, body = ProjectView)),
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Json(new): Json<NewProjectWire>,
) -> Result<(StatusCode, Json<ProjectView>), Problem> {
    let repository = Repository { name: new.repository_name, url: new.repository_url };
    let new = NewProject { name: new.name, tags: new.tags, repository };
    Ok((StatusCode::CREATED, Json(services.create_project(&caller, new).await?.into())))
}

/// Returns a project.
#[utoipa::path(
    get, path = "/projects/{id}", tag = "projects", params(("id" = String, Path, description = "The project's id")),
    responses((status = 200, body = ProjectView)),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProjectId>,
) -> Result<Json<ProjectView>, Problem> {
    Ok(Json(services.project(&caller, &id).await?.into()))
}

/// Gives a project another name or other tags.
#[utoipa::path(
    patch, path = "/projects/{id}", tag = "projects", params(("id" = String, Path, description = "The project's id")),
    request_body = ProjectChangeWire, responses((status = 200, body = ProjectView)),
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProjectId>,
    Json(change): Json<ProjectChangeWire>,
) -> Result<Json<ProjectView>, Problem> {
    let change = ProjectChange { name: change.name, tags: change.tags };
    Ok(Json(services.change_project(&caller, &id, change).await?.into()))
}

/// Deletes a project with its secrets and its jobs, all of which must be over.
#[utoipa::path(
    delete, path = "/projects/{id}", tag = "projects", params(("id" = String, Path, description = "The project's id")),
    responses(
        (status = 204, description = "It is gone, with everything in it"),
        (status = 409, description = "Jobs in it are not over: `project_not_empty`"),
    ),
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProjectId>,
) -> Result<StatusCode, Problem> {
    services.delete_project(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn a_project_is_made_renamed_and_deleted() {
        let api = Api::new().await;
        let made = api.ask("POST", "projects", Some(json!({ "name": "vision" }))).await;
        assert_eq!(made.status, 201);
        insta::assert_snapshot!("project", serde_json::to_string_pretty(&made.body).unwrap());
        let again = api.ask("POST", "projects", Some(json!({ "name": "vision" }))).await;
        assert_eq!((again.status.as_u16(), &again.body["code"]), (409, &json!("name_taken")));

        let path = format!("projects/{}", made.body["id"].as_str().unwrap());
        let renamed = api.ask("PATCH", &path, Some(json!({ "name": "speech" }))).await;
        assert_eq!(renamed.body["name"], "speech");
        assert_eq!(api.ask("GET", &path, None).await.body, renamed.body);
        assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
        let gone = api.ask("GET", &path, None).await;
        assert_eq!((gone.status.as_u16(), &gone.body["code"]), (404, &json!("project_not_found")));
    }

    #[tokio::test]
    async fn pages_follow_one_another_newest_first() {
        let api = Api::new().await;
        for name in ["a", "b", "c"] {
            api.ask("POST", "projects", Some(json!({ "name": name }))).await;
        }
        let (mut names, mut path) = (Vec::new(), "projects?limit=2".to_owned());
        loop {
            let page = api.ask("GET", &path, None).await.body;
            names
                .extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("projects?limit=2&cursor={next}");
        }
        assert_eq!(names, ["c", "b", "a"]);
    }
}
