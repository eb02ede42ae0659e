//! Notebooks as clients ask for them and see them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    integrations::DataProblemView,
    job_view::{ProgressView, ProjectName, UserName},
    job_wire::{CommandText, MountText, PasswordText, WorkspaceText, draft_workspace, said},
    memory_kills::MemoryKillsView,
};
use crate::{
    domain::{
        dataset::Use,
        id::{JobId, NotebookId},
        notebook::{Notebook, NotebookState, Session},
        time::Timestamp,
        workload::{Command, Phase, Spec},
    },
    service::{
        Invalid,
        job_draft::{DraftPassword, JobDraft},
        notebook_draft::{Limit, NotebookDraft},
        notebooks::NotebookNow,
        queue_place::QueuePlace,
    },
};

/// What a notebook runs when it is started, and when its sessions end. A field that is left out has its
/// default; in a change, a start or a fork it stays as it was.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotebookText {
    /// What people call it. The image's name when left out.
    pub name: Option<String>,
    /// Id or name of the project. A name that there is none of makes one. `default` when left out.
    pub project: Option<String>,
    /// The image, with JupyterLab in it unless `command` starts something else.
    pub image: Option<String>,
    /// A text, run by `/bin/sh -c` inside the container, or a list, started as it is. It has to listen on
    /// port 8888. JupyterLab when left out.
    pub command: Option<CommandText>,
    /// Name or alias of a machine type of this box.
    pub machine_type: Option<String>,
    /// Environment variables. A value `secret:NAME` is replaced by that secret at each start.
    pub env: Option<BTreeMap<String, String>>,
    /// The files that `/notebooks` begins with, fetched at the first start.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<WorkspaceText>)]
    pub workspace: Option<Option<WorkspaceText>>,
    /// Who to be at the image's registry.
    pub registry_username: Option<String>,
    /// `secret:NAME` or the password itself. Never read back, unless it names a secret.
    #[schema(value_type = Option<String>)]
    pub registry_password: Option<PasswordText>,
    /// Size of `/dev/shm`. Counts as memory.
    pub shared_memory_bytes: Option<u64>,
    /// Who to be in the container: a name or number known there, perhaps with `:group`.
    pub user: Option<String>,
    /// Versions of datasets, each in `/datasets/NAME`. Which ones is settled at each start; changed while a session
    /// runs, they are there soon after. What `.gradient/settings.yaml` says of a name counts more.
    pub datasets: Option<Vec<MountText>>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// Whether everybody with a key of this box may look at its files and fork it. False when left out.
    pub public: Option<bool>,
    /// Whether what `pip install` brings outlives a session. False when left out.
    pub keep_packages: Option<bool>,
    /// A session ends so long after its start, whatever is done in it.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u64>)]
    pub shutdown_seconds: Option<Option<u64>>,
    /// A session ends after so long without activity; null is never.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u64>)]
    pub idle_seconds: Option<Option<u64>>,
    /// Only of one that is made: whether it is started at once. True when left out.
    #[serde(skip_serializing)]
    pub start: Option<bool>,
}

impl TryFrom<NotebookText> for NotebookDraft {
    type Error = Invalid;
    fn try_from(text: NotebookText) -> Result<Self, Invalid> {
        if text.start.is_some() {
            let message = "start is only said of a notebook that is made: leave it out";
            return Err(Invalid::new("start", "not_here", message));
        }
        let limit = |said: Option<Option<u64>>| {
            said.map(|seconds| seconds.map_or(Limit::Never, |seconds| Limit::After(Duration::from_secs(seconds))))
        };
        Ok(Self {
            run: JobDraft {
                name: text.name,
                project: text.project,
                image: text.image,
                command: text.command.map(Command::from),
                machine_type: text.machine_type,
                env: text.env,
                workspace: text.workspace.map(draft_workspace).transpose()?,
                registry_username: text.registry_username,
                registry_password: text.registry_password.map(DraftPassword::from),
                shared_memory_bytes: text.shared_memory_bytes,
                user: text.user,
                datasets: text.datasets.map(|list| list.into_iter().map(MountText::draft).collect()),
                tags: text.tags,
                ..JobDraft::default()
            },
            is_public: text.public,
            keep_packages: text.keep_packages,
            shutdown: limit(text.shutdown_seconds),
            idle: limit(text.idle_seconds),
        })
    }
}

impl NotebookText {
    /// Writes a notebook as the body that asks for the same.
    fn of(notebook: &Notebook) -> Self {
        let spec = &notebook.spec;
        Self {
            name: Some(notebook.name.clone()),
            project: Some(notebook.project_name.clone()),
            image: Some(spec.image.clone()),
            command: CommandText::of(&spec.command),
            machine_type: Some(spec.machine_type.clone()),
            env: Some(spec.env.clone()),
            workspace: Some(WorkspaceText::of(&spec.workspace)),
            registry_username: spec.registry.as_ref().map(|registry| registry.username.clone()),
            registry_password: spec.registry.as_ref().and_then(|registry| PasswordText::of(&registry.password)),
            shared_memory_bytes: spec.shared_memory_bytes,
            user: spec.user.clone(),
            datasets: Some(mounts(spec)),
            tags: Some(notebook.tags.clone()),
            public: Some(notebook.is_public),
            keep_packages: Some(spec.keep_packages),
            shutdown_seconds: Some(notebook.limits.shutdown.map(|span| span.as_secs())),
            idle_seconds: Some(notebook.limits.idle.map(|span| span.as_secs())),
            start: None,
        }
    }
}

fn mounts(spec: &Spec) -> Vec<MountText> {
    let asked = spec.inputs.iter().filter(|input| input.role == Use::Input);
    asked.map(|input| MountText { r#ref: input.reference.clone(), name: Some(input.name.clone()) }).collect()
}

/// A notebook as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotebookView {
    #[schema(value_type = String, example = "n4kq0z81xw")]
    id: NotebookId,
    name: String,
    /// Null for a notebook of another team, as is all that tells what they do in it.
    project: Option<ProjectName>,
    user: UserName,
    /// `created` (never started), `pending`, `provisioned`, `running`, and then one of `stopped`, `failed`,
    /// `error` and `cancelled`, from which it can be started again.
    #[schema(value_type = String, example = "running")]
    state: NotebookState,
    /// What its session is busy with: `preparing`, `queued`, `starting`, `running` or `teardown`; null when
    /// there is none.
    #[schema(value_type = Option<String>)]
    phase: Option<Phase>,
    /// Whether its server answers: from then on it can be opened.
    ready: bool,
    /// What became of its last session and what to do, for people.
    message: Option<String>,
    /// `unknown` while the engine does not answer: a session may have ended since.
    contact: &'static str,
    image: String,
    machine_type: String,
    tags: Vec<String>,
    public: bool,
    #[schema(value_type = Option<String>)]
    forked_from: Option<NotebookId>,
    /// Its files are still being copied; it can be started after that.
    copying: bool,
    /// How far they are; null when none are being copied.
    copy: Option<CopyView>,
    /// How far the preparation of its session is.
    progress: Option<ProgressView>,
    /// Where its session stands in the queue, and why it waits.
    queue: Option<QueuePlace>,
    /// The present session, or the last one.
    session: Option<SessionView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A session of a notebook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// A run's id: its log, its metrics and its charts are found by it, beneath `/jobs`.
    #[schema(value_type = String)]
    id: JobId,
    /// `pending`, `provisioned`, `running`, and then one of `stopped` (also when its time was over), `failed`,
    /// `error` and `cancelled` (before anything ran).
    #[schema(value_type = String, example = "running")]
    state: NotebookState,
    /// What became of it and what to do, for people; null while it runs, or when somebody stopped it.
    message: Option<String>,
    exit_code: Option<i64>,
    gpus: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// When its server answered for the first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    ready_at: Option<Timestamp>,
    /// When it ends whatever is done in it, unless it is extended.
    #[schema(value_type = Option<String>, format = DateTime)]
    shuts_down_at: Option<Timestamp>,
    /// When it ends if nothing is done in it until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    idle_at: Option<Timestamp>,
    activity: Option<ActivityView>,
    /// Processes that were killed because its memory was full, a notebook's kernel perhaps; null where there were
    /// none. Another session begins without.
    memory_kills: Option<MemoryKillsView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// How far the copying of a fork's files is.
#[derive(Debug, Serialize, ToSchema)]
struct CopyView {
    files: u64,
    bytes: u64,
    /// Why it does not go on, and what to do, for people; null while it does. It is tried again.
    message: Option<String>,
}

/// What a notebook keeps on the disk.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SizeView {
    /// In `/notebooks`.
    files_bytes: u64,
    /// What `pip` installed, where it is kept.
    packages_bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    counted_at: Timestamp,
}

/// The last sign of somebody at work.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActivityView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// In words: `the kernel of train.ipynb is busy`.
    what: String,
}

/// A notebook with what its next start runs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotebookDetail {
    #[serde(flatten)]
    notebook: NotebookView,
    /// The body that asks for the same notebook. Passwords are null, secrets stay names.
    spec: NotebookText,
    /// Counted every few minutes; null until then.
    size: Option<SizeView>,
    /// What its session was to have beneath `/datasets` and has not.
    data_problems: Vec<DataProblemView>,
    /// The last lines that its session printed, where that ended badly.
    last_lines: Vec<String>,
}

impl NotebookView {
    /// Returns the id.
    pub fn id(&self) -> &NotebookId {
        &self.id
    }
}

impl From<NotebookNow> for NotebookView {
    fn from(now: NotebookNow) -> Self {
        let NotebookNow { notebook, state, phase, progress, waiting, copy, contact, is_foreign, .. } = now;
        let message = notebook.session.as_ref().and_then(Session::message);
        Self {
            project: (!is_foreign).then_some(ProjectName { id: notebook.project, name: notebook.project_name }),
            user: UserName { id: notebook.user, name: notebook.user_name },
            ready: state == NotebookState::Running
                && notebook.session.as_ref().is_some_and(|session| session.ready_at.is_some()),
            state,
            phase,
            message,
            contact: if contact { "ok" } else { "unknown" },
            image: notebook.spec.image,
            machine_type: notebook.spec.machine_type,
            tags: notebook.tags,
            public: notebook.is_public,
            forked_from: notebook.forked_from.filter(|_| !is_foreign),
            copying: notebook.copying_from.is_some(),
            copy: copy.map(|copy| CopyView { files: copy.files, bytes: copy.bytes, message: copy.message }),
            progress: progress.map(ProgressView::from),
            queue: waiting.map(QueuePlace::from),
            session: notebook.session.map(SessionView::from),
            created_at: notebook.created_at,
            name: notebook.name,
            id: notebook.id,
        }
    }
}

impl NotebookDetail {
    /// Puts together what is known.
    pub fn new(now: NotebookNow, last_lines: Vec<String>) -> Self {
        let mut spec = NotebookText::of(&now.notebook);
        if now.is_foreign {
            // Not what names things of the other team, how it gets at them, and what it runs.
            let NotebookText { name, image, machine_type, tags, public, .. } = spec;
            spec = NotebookText { name, image, machine_type, tags, public, ..NotebookText::default() };
        }
        let size = now.size.map(|size| SizeView {
            files_bytes: size.files_bytes,
            packages_bytes: size.packages_bytes,
            counted_at: size.counted_at,
        });
        let data_problems = now.data_problems.iter().cloned().map(DataProblemView::from).collect();
        Self { spec, size, data_problems, last_lines, notebook: now.into() }
    }
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        let idle_at = session.idle_at().filter(|_| session.is_live());
        let shuts_down_at = session.workload.deadline().filter(|_| session.is_live());
        let (state, message) = (NotebookState::of(Some(&session)), session.message());
        let activity = session.activity.map(|activity| ActivityView { at: activity.at, what: activity.what });
        let workload = session.workload;
        Self {
            memory_kills: MemoryKillsView::of(&workload),
            id: workload.id,
            state,
            message,
            exit_code: workload.exit_code,
            gpus: workload.gpus.iter().map(|uuid| uuid.0.to_string()).collect(),
            started_at: workload.started_at,
            finished_at: workload.finished_at,
            ready_at: session.ready_at,
            shuts_down_at,
            idle_at,
            activity,
            created_at: workload.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::router::tests::Api,
        domain::workload::{Credentials, Input, Password, Workspace},
        service::users::FIRST_USER,
    };

    #[tokio::test]
    async fn whoever_looks_at_a_notebook_of_another_team_sees_nothing_that_names_what_is_theirs() {
        let api = Api::new().await;
        let caller = api.services.local_admin(FIRST_USER).await.unwrap();
        let image = Some("lab".to_owned());
        let env = Some(BTreeMap::from([("TOKEN".to_owned(), "t0psecret".to_owned())]));
        let draft = NotebookDraft { run: JobDraft { image, env, ..JobDraft::default() }, ..NotebookDraft::default() };
        let mut now = api.services.create_notebook(&caller, draft, false, None).await.unwrap();
        let password = Password::Secret("t0psecret".to_owned());
        let credentials = Credentials { username: "t0psecret".to_owned(), password };
        let spec = &mut now.notebook.spec;
        spec.registry = Some(credentials.clone());
        spec.workspace = Workspace::Git {
            url: "https://example.com/t0psecret".to_owned(),
            reference: None,
            credentials: Some(credentials),
        };
        spec.inputs = vec![Input {
            team: caller.team.clone(),
            dataset: "ds0123456789abc".parse().unwrap(),
            version: "0123456".parse().unwrap(),
            reference: "t0psecret:latest".to_owned(),
            name: "t0psecret".to_owned(),
            role: Use::Input,
        }];
        let shown = |is_foreign| {
            let detail = NotebookDetail::new(NotebookNow { is_foreign, ..now.clone() }, Vec::new());
            serde_json::to_string(&detail).unwrap()
        };
        assert!(shown(false).contains("t0psecret"));
        assert!(!shown(true).contains("t0psecret"), "{}", shown(true));
    }
}
