//! What a notebook has beneath `/datasets`: looked at, added, taken away, while it runs or not.
//!
//! Three say what there is, and the first that has a name counts: the file `.gradient/settings.yaml` among the
//! notebook's own, the `datasets` of its settings, and the box, whose public datasets every session has. The
//! file is what people edit and share, so what is changed here goes into it, and out of the settings; nothing
//! is kept twice. The loop of `reconcile` reads the same and makes it so.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::Arc,
};

use tokio::sync::Notify;

use super::{Invalid, ServiceError, Services, blocking, files::of_files, references, settings_file};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{PUBLIC, Reference, Use, VersionState, check_mount_name},
        file_root::FileRoot,
        id::{DatasetId, JobId, NotebookId, TeamId, VersionId},
        integration::{DataNow, DataProblem, Integration, IntegrationState, Origin, SessionData, SessionMount, Source},
        integration_file::{self, Change, EditError, IntegrationFile},
        notebook::Notebook,
        workload::{Spec, State},
    },
    storage::{
        files::{Condition, FilesError, Incoming},
        session_data::SessionDir,
    },
    store::{datasets, notebooks, secrets, session_mounts, versions, workloads},
};

/// What is said of places on S3 where the admin has switched them off.
pub(crate) const SOURCES_OFF: &str = "this box mounts no places on S3 (s3_sources.enabled in its settings): import the files into a dataset instead, or ask its admin";

/// Times that a change is tried anew when somebody else changes the file meanwhile.
const TRIES: u32 = 5;

/// What a notebook is to have under a name, whoever says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub origin: Origin,
    pub integration: Integration,
}

/// An integration of a notebook as it is at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationNow {
    pub wanted: Wanted,
    pub state: IntegrationState,
    /// Why it cannot be had.
    pub message: Option<String>,
    /// Bytes that were brought here, and how many there are.
    pub fetching: Option<(u64, u64)>,
    /// What its reference means; `None` for S3 and where it means nothing.
    pub version: Option<VersionNow>,
}

/// The version that an integration is, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionNow {
    pub dataset: DatasetId,
    pub dataset_name: String,
    /// Of another team, for all to read.
    pub is_public: bool,
    pub version: VersionId,
    pub tags: Vec<String>,
    pub files: Option<u64>,
    pub bytes: Option<u64>,
    /// The newest committed version of the dataset, where this is another one.
    pub newer: Option<VersionId>,
    /// It was deleted; its files stay till nothing has them mounted.
    pub is_deleted: bool,
}

/// All that a notebook has beneath `/datasets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationsNow {
    pub items: Vec<IntegrationNow>,
    /// What is wrong with the file.
    pub problems: Vec<DataProblem>,
    /// Whether there is a file.
    pub has_file: bool,
    /// Whether the box mounts places on S3.
    pub s3_sources: bool,
}

impl Services {
    /// Returns what a notebook of the caller's team has beneath `/datasets`.
    pub async fn integrations(&self, caller: &Caller, id: &NotebookId) -> Result<IntegrationsNow, ServiceError> {
        let notebook = self.own_notebook(caller, id).await?;
        self.integrations_of(caller, notebook).await
    }

    /// Adds an integration to a notebook, or replaces the one with its name, in the file and, where a session
    /// runs, soon after beneath its `/datasets`. Said again, what it refers to is looked up anew.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] when there is no such dataset, version or secret;
    /// [`ServiceError::Conflict`] when the file cannot be changed.
    pub async fn put_integration(
        &self,
        caller: &Caller,
        id: &NotebookId,
        integration: Integration,
    ) -> Result<IntegrationsNow, ServiceError> {
        caller.may(Action::ChangeNotebook)?;
        let notebook = self.own_notebook(caller, id).await?;
        self.check_integration(&notebook, &integration).await?;
        self.change_settings(caller, &notebook, Change::Put(&integration)).await?;
        self.leave_to_file(caller, id, integration.name()).await?;
        let now = self.own_notebook(caller, id).await?;
        self.integrations_of(caller, now).await
    }

    /// Takes an integration away from a notebook, out of the file and out of its settings. A session that
    /// runs loses it soon after; what programs have open stays open.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Conflict`] for one that the box gives to every notebook, and
    /// when the file cannot be changed.
    pub async fn remove_integration(
        &self,
        caller: &Caller,
        id: &NotebookId,
        name: &str,
    ) -> Result<IntegrationsNow, ServiceError> {
        caller.may(Action::ChangeNotebook)?;
        let notebook = self.own_notebook(caller, id).await?;
        let now = self.integrations_of(caller, notebook.clone()).await?;
        let in_file = now.problems.iter().any(|problem| problem.name.as_deref() == Some(name));
        let origin =
            now.items.iter().find(|item| item.wanted.integration.name() == name).map(|item| item.wanted.origin);
        match origin {
            None if !in_file => return Err(ServiceError::not_found("integration", name)),
            Some(Origin::Public) => {
                let message =
                    format!("“{name}” is a public dataset, which every notebook has: it cannot be taken away");
                return Err(ServiceError::Conflict { code: "integration_public", message });
            }
            Some(Origin::File | Origin::Settings) | None => {}
        }
        if origin != Some(Origin::Settings) {
            self.change_settings(caller, &notebook, Change::Remove(name)).await?;
        }
        self.leave_to_file(caller, id, name).await?;
        let now = self.own_notebook(caller, id).await?;
        self.integrations_of(caller, now).await
    }

    /// Returns what a session was to have beneath `/datasets` and has not.
    pub(super) fn data_problems(&self, session: &JobId) -> Vec<DataProblem> {
        let Some(known) = self.board.session_data(session) else { return Vec::new() };
        let failed = known
            .entries
            .iter()
            .filter_map(|(name, now)| Some(DataProblem { name: Some(name.clone()), message: now.failed.clone()? }));
        known.problems.iter().cloned().chain(failed).collect()
    }

    /// Returns what wakes who makes it so.
    pub(crate) fn data_nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.files.wake_data)
    }

    /// Holds what is to be added to what there is at this moment: a mistake is told at once.
    async fn check_integration(&self, notebook: &Notebook, integration: &Integration) -> Result<(), ServiceError> {
        let (team, project) = (notebook.team.clone(), notebook.project.clone());
        match integration.source.clone() {
            Source::Dataset(reference) => {
                self.store
                    .read(move |connection| match mountable(connection, &team, &reference) {
                        Ok(_) => Ok(()),
                        Err(Unmountable::Refused(message)) => Err(Invalid::new("ref", "bad_reference", message).into()),
                        Err(Unmountable::Service(error)) => Err(error),
                    })
                    .await
            }
            Source::S3(_) if !self.settings.s3_sources => {
                Err(ServiceError::Conflict { code: "s3_sources_off", message: SOURCES_OFF.to_owned() })
            }
            Source::S3(s3) => {
                let name = s3.secret_access_key.clone();
                self.store
                    .read(move |connection| {
                        if secrets::sealed(connection, &team, &project, &name)?.is_some() {
                            return Ok(());
                        }
                        let message = format!(
                            "there is no secret “{name}” for this project or its team: set it first, or correct the name"
                        );
                        Err(Invalid::new("secretAccessKey", "unknown_secret", message).into())
                    })
                    .await
            }
        }
    }

    /// Takes a name out of the notebook's settings, as the file says what it means from now on, and has it
    /// looked up anew.
    async fn leave_to_file(&self, caller: &Caller, id: &NotebookId, name: &str) -> Result<(), ServiceError> {
        let (services, team, id, name) = (self.clone(), caller.team.clone(), id.clone(), name.to_owned());
        self.store
            .write(move |tx| {
                let found = notebooks::get(tx, &id)?.filter(|notebook| notebook.team == team);
                let notebook = found.ok_or_else(|| ServiceError::not_found("notebook", &id))?;
                if let Some(session) = &notebook.session {
                    session_mounts::refresh(tx, session.workload.seq, &name)?;
                }
                let mut changed = notebook.clone();
                changed.spec.inputs.retain(|input| input.role != Use::Input || input.name != name);
                // Told also when nothing of it is in the row: the file is another.
                notebooks::update(tx, &changed, services.clock.now())?;
                Ok::<_, ServiceError>(())
            })
            .await?;
        self.data_nudge().notify_one();
        Ok(())
    }

    async fn change_settings(
        &self,
        caller: &Caller,
        notebook: &Notebook,
        change: Change<'_>,
    ) -> Result<(), ServiceError> {
        let path = settings_file::path();
        for _ in 0..TRIES {
            let opened = self.files_to_change(caller, &FileRoot::Notebook(notebook.id.clone())).await?;
            self.check_quota(&opened.team, integration_file::MAX_BYTES as u64)?;
            let (dir, name) = self.arriving(&opened.team).await?;
            let (data, team, id) = (self.data.clone(), notebook.team.clone(), notebook.id.clone());
            let before = blocking(move || settings_file::read(&data, &team, &id, None)).await?;
            let text = integration_file::edited(before.bytes().unwrap_or_default(), change).map_err(refused)?;
            if let Some(problem) = before.file.problems.iter().find(|problem| problem.name.is_none()) {
                return Err(refused(EditError::Unreadable(problem.message.clone())));
            }
            if before.bytes() == Some(text.as_bytes()) {
                return Ok(());
            }
            let condition = before.condition().map_or(Condition::New, Condition::Unchanged);
            let to = path.clone();
            let placed = blocking(move || {
                let (incoming, mut file) = Incoming::file(&dir, &name)?;
                file.write_all(text.as_bytes())?;
                opened.tree.place(incoming, &mut file, &to, &condition, None)
            });
            match placed.await {
                Ok(_) => return Ok(()),
                // Somebody was quicker: theirs is what is to be changed.
                Err(FilesError::Changed | FilesError::Exists) => {}
                Err(error) => return Err(of_files(error, &path)),
            }
        }
        let message = format!("{path} changes all the time: try again in a moment");
        Err(ServiceError::Conflict { code: "settings_busy", message })
    }

    async fn integrations_of(&self, caller: &Caller, notebook: Notebook) -> Result<IntegrationsNow, ServiceError> {
        let (data, team, id) = (self.data.clone(), notebook.team.clone(), notebook.id.clone());
        let settings = blocking(move || settings_file::read(&data, &team, &id, None)).await?;
        let session = notebook.session.as_ref().map(|session| session.workload.clone());
        let live = session.filter(|session| !session.state.is_terminal());
        let (known, links) = match &live {
            Some(session) => {
                let dir = SessionDir::of(self.data.run(&session.id));
                let links = match session.state {
                    State::Running => blocking(move || dir.links()).await.unwrap_or_default(),
                    _ => BTreeMap::new(),
                };
                (self.board.session_data(&session.id), links)
            }
            None => (None, BTreeMap::new()),
        };
        let has_file = settings.has_file();
        let problems = settings.file.problems.clone();
        let (team, s3_sources) = (caller.team.clone(), self.settings.s3_sources);
        let items = self
            .store
            .read(move |connection| {
                let (spec, mounts) = match &live {
                    Some(session) => (
                        Some(workloads::spec(connection, session.seq)?),
                        session_mounts::of_session(connection, session.seq)?,
                    ),
                    None => (None, Vec::new()),
                };
                let public = match &spec {
                    Some(spec) => public_of(spec),
                    None => newest_public(connection)?,
                };
                let known = known.as_deref();
                let before = known.map_or_else(|| of_mounts(&mounts), |known| known.file.clone());
                let file = of_file(&settings.file, &before);
                let mut items = Vec::new();
                for wanted in wanted(&file, &notebook.spec, public) {
                    let mount = mounts.iter().find(|mount| mount.name == wanted.integration.name());
                    let has_link = links.contains_key(wanted.integration.name());
                    let mut now = now_of(connection, &team, wanted, mount, has_link, known, live.is_some())?;
                    if matches!(now.wanted.integration.source, Source::S3(_)) && !s3_sources {
                        now.state = IntegrationState::Failed;
                        now.message = Some(SOURCES_OFF.to_owned());
                    }
                    items.push(now);
                }
                Ok::<_, ServiceError>(items)
            })
            .await?;
        Ok(IntegrationsNow { items, problems, has_file, s3_sources: self.settings.s3_sources })
    }
}

fn now_of(
    connection: &rusqlite::Connection,
    team: &TeamId,
    wanted: Wanted,
    mount: Option<&SessionMount>,
    has_link: bool,
    known: Option<&SessionData>,
    is_live: bool,
) -> Result<IntegrationNow, ServiceError> {
    let name = wanted.integration.name();
    let known = known.and_then(|known| known.entries.get(name)).cloned().unwrap_or_default();
    let DataNow { fetching, mounting, failed } = known;
    let Source::Dataset(reference) = &wanted.integration.source else {
        let state = match (is_live, &failed, has_link) {
            (false, ..) => IntegrationState::NotRunning,
            (true, Some(_), _) => IntegrationState::Failed,
            (true, None, true) => IntegrationState::Mounted,
            (true, None, false) if mounting => IntegrationState::Mounting,
            (true, None, false) => IntegrationState::Waiting,
        };
        return Ok(IntegrationNow { state, message: failed, fetching: None, version: None, wanted });
    };
    let mount = mount.filter(|mount| mount.reference.parse().as_ref() == Ok(reference));
    let (version, mut message) = match mount {
        Some(mount) => (version_now(connection, team, &mount.dataset, &mount.version)?, failed),
        None => match mountable(connection, team, reference) {
            Ok(found) => (version_now(connection, team, &found.dataset.id, &found.version.id)?, failed),
            Err(Unmountable::Refused(message)) => (None, Some(failed.unwrap_or(message))),
            Err(Unmountable::Service(error)) => return Err(error),
        },
    };
    let state = match (is_live, mount, fetching) {
        (false, ..) if message.is_some() => IntegrationState::Failed,
        (false, ..) => IntegrationState::NotRunning,
        (true, _, Some(_)) => IntegrationState::Fetching,
        _ if message.is_some() => IntegrationState::Failed,
        (true, Some(_), None) if mounting => IntegrationState::Mounting,
        (true, Some(_), None) if has_link => IntegrationState::Mounted,
        _ => IntegrationState::Waiting,
    };
    if state == IntegrationState::Mounted && version.as_ref().is_some_and(|version| version.is_deleted) {
        message = Some("this version was deleted; its files stay till it is taken away here".to_owned());
    }
    Ok(IntegrationNow { state, message, fetching, version, wanted })
}

fn version_now(
    connection: &rusqlite::Connection,
    team: &TeamId,
    dataset: &DatasetId,
    version: &VersionId,
) -> Result<Option<VersionNow>, ServiceError> {
    let Some((version, deleted_at)) = versions::by_ids(connection, dataset, version)? else { return Ok(None) };
    // A dataset that is deleted has no name any more that it could be found by.
    let dataset = datasets::by_id(connection, dataset)?;
    let newer = dataset.as_ref().and_then(|dataset| dataset.latest.clone()).filter(|latest| *latest != version.id);
    Ok(Some(VersionNow {
        dataset: version.dataset.clone(),
        dataset_name: dataset.as_ref().map_or_else(|| version.dataset.to_string(), |dataset| dataset.name.clone()),
        is_public: version.team != *team,
        version: version.id,
        tags: version.tags,
        files: version.totals.map(|totals| totals.files),
        bytes: version.totals.map(|totals| totals.bytes),
        newer,
        is_deleted: deleted_at.is_some() || dataset.is_none(),
    }))
}

/// Why a reference cannot be mounted.
#[derive(Debug)]
pub(crate) enum Unmountable {
    /// In words for people.
    Refused(String),
    Service(ServiceError),
}

impl From<crate::store::StoreError> for Unmountable {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Service(error.into())
    }
}

/// Finds the version that a reference means to a team, if it can be mounted.
pub(crate) fn mountable(
    connection: &rusqlite::Connection,
    team: &TeamId,
    reference: &Reference,
) -> Result<references::Resolved, Unmountable> {
    let refused = |message: String| Err(Unmountable::Refused(message));
    let found = match references::resolve(connection, team, reference) {
        Ok(found) => found,
        Err(ServiceError::NotFound { kind: "dataset", .. }) => {
            return refused(format!(
                "there is no dataset “{}” that this team may read: make it, or correct the name",
                reference.dataset
            ));
        }
        Err(ServiceError::NotFound { .. }) => {
            return refused(format!(
                "“{}” has no committed version {}: commit one, or see the list of its versions",
                reference.dataset, reference.version
            ));
        }
        Err(error) => return Err(Unmountable::Service(error)),
    };
    let (dataset, version) = (&found.dataset, &found.version);
    if version.state != VersionState::Committed {
        return refused(format!("{} of “{}” can still change: commit it first", version.id, dataset.name));
    }
    if version.damaged_at.is_some() {
        return refused(format!(
            "files of {} of “{}” are damaged on the disk: take another version, or put the files in again as a new one",
            version.id, dataset.name
        ));
    }
    Ok(found)
}

/// Returns what the file asks for. Where it cannot be read, which it often cannot while somebody types, what it
/// asked for `before` stays, entry by entry.
pub(crate) fn of_file(file: &IntegrationFile, before: &[Integration]) -> Vec<Integration> {
    let is_unread = |name: &str| {
        file.problems.iter().any(|problem| problem.name.is_none() || problem.name.as_deref() == Some(name))
    };
    let is_new = |name: &str| file.integrations.iter().all(|one| one.name() != name);
    let kept = before.iter().filter(|one| is_unread(one.name()) && is_new(one.name()));
    file.integrations.iter().chain(kept).cloned().collect()
}

/// Returns what the file asked for of what a session has mounted: all that is known after a restart.
pub(crate) fn of_mounts(mounts: &[SessionMount]) -> Vec<Integration> {
    let of_file = mounts.iter().filter(|mount| mount.origin == Origin::File);
    of_file.filter_map(|mount| Integration::dataset(&mount.name, &mount.reference, None).ok()).collect()
}

/// Brings together what the file, the settings and the box say.
pub(crate) fn wanted(file: &[Integration], settings: &Spec, public: Vec<Integration>) -> Vec<Wanted> {
    let asked = settings.inputs.iter().filter(|input| input.role == Use::Input);
    let of_settings = asked.filter_map(|input| Integration::dataset(&input.name, &input.reference, None).ok());
    let all = (file.iter().cloned().map(|integration| Wanted { origin: Origin::File, integration }))
        .chain(of_settings.map(|integration| Wanted { origin: Origin::Settings, integration }))
        .chain(public.into_iter().map(|integration| Wanted { origin: Origin::Public, integration }));
    let mut names = BTreeSet::new();
    all.filter(|wanted| names.insert(wanted.integration.name().to_owned())).collect()
}

/// Returns the public datasets that a session was accepted with.
pub(crate) fn public_of(spec: &Spec) -> Vec<Integration> {
    let public = spec.inputs.iter().filter(|input| input.role == Use::Public);
    public.filter_map(|input| Integration::dataset(&input.name, &input.reference, None).ok()).collect()
}

/// Returns those that the next one gets.
fn newest_public(connection: &rusqlite::Connection) -> Result<Vec<Integration>, ServiceError> {
    let found = references::newest_public(connection)?.into_iter();
    let good =
        found.filter(|found| found.version.damaged_at.is_none() && check_mount_name(&found.dataset.name).is_ok());
    Ok(good
        .filter_map(|found| {
            let name = &found.dataset.name;
            Integration::dataset(name, &format!("{PUBLIC}{name}"), None).ok()
        })
        .collect())
}

fn refused(error: EditError) -> ServiceError {
    let code = match &error {
        EditError::Unreadable(_) => "settings_unreadable",
        EditError::Unclear => "settings_unclear",
        EditError::TooLarge => "settings_too_large",
        EditError::TooMany => "too_many_integrations",
    };
    ServiceError::Conflict { code, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> IntegrationFile {
        IntegrationFile::read(text.as_bytes())
    }

    fn settings(inputs: &[(&str, &str, Use)]) -> Spec {
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, reference, role)| {
                serde_json::json!({
                    "name": name, "reference": reference, "team": "tabc123", "dataset": "dst364npcw6ccok",
                    "version": "fo5rp4m", "role": role.as_str(),
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "image": "lab", "registry": null, "command": "image", "env": {}, "workingDirectory": null,
            "workspace": "empty", "build": null, "ports": [], "sharedMemoryBytes": null, "user": null,
            "machineType": "cpu-small", "inputs": inputs,
        }))
        .unwrap()
    }

    fn mount(name: &str, reference: &str) -> SessionMount {
        SessionMount {
            name: name.to_owned(),
            reference: reference.to_owned(),
            origin: Origin::File,
            version_seq: 1,
            team: "tabc123".parse().unwrap(),
            dataset: "dst364npcw6ccok".parse().unwrap(),
            version: "fo5rp4m".parse().unwrap(),
        }
    }

    fn said(wanted: &[Wanted]) -> Vec<(&str, &'static str)> {
        wanted.iter().map(|wanted| (wanted.integration.name(), wanted.origin.as_str())).collect()
    }

    #[test]
    fn the_file_counts_more_than_the_settings_and_those_more_than_the_box() {
        let file = file("integrations:\n  a: {type: dataset, id: mnist}\n");
        let spec =
            settings(&[("a", "words", Use::Input), ("b", "words", Use::Input), ("b", "gradient/b", Use::Public)]);
        let wanted = wanted(&file.integrations, &spec, public_of(&spec));
        assert_eq!(said(&wanted), [("a", "file"), ("b", "settings")]);
        assert_eq!(wanted[0].integration, Integration::dataset("a", "mnist", None).unwrap());
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_was_and_what_is_gone_goes() {
        let s3 = file(
            "integrations:\n  c: {type: s3, url: s3://lab, accessKeyId: A, secretAccessKey: secret:K, region: r}\n",
        );
        let before = [of_mounts(&[mount("a", "mnist:v1"), mount("b", "words")]), s3.integrations].concat();
        let names =
            |text: &str| of_file(&file(text), &before).iter().map(|one| one.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names("integrations:\n  a: {type: dataset, id: mn"), ["a", "b", "c"]);
        assert_eq!(names("integrations:\n  c: {type: data}\n"), ["c"]);
        assert_eq!(names("integrations:\n  a: {type: dataset, id: m}\n  b: [\n"), ["a", "b", "c"]);
        assert_eq!(names("integrations:\n  a: {type: dataset, id: m}\n"), ["a"]);
        assert_eq!(names(""), [""; 0]);
        let changed = of_file(&file("integrations:\n  a: {type: dataset, id: m}\n  b: {type: x}\n"), &before);
        assert_eq!(changed[0], Integration::dataset("a", "m", None).unwrap());
    }
}
