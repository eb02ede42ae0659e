//! TensorBoards as clients ask for them and see them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    job_view::{ProgressView, ProjectName, UserName},
    job_wire::{PasswordText, said},
    notebook_wire::SessionView,
};
use crate::{
    domain::{
        id::{ExperimentId, JobId, NotebookId, TensorBoardId, VersionId},
        notebook::NotebookState,
        tensorboard::{IdleLimit, Subject, SubjectKind},
        time::Timestamp,
        workload::{Phase, State},
    },
    service::{
        Invalid,
        job_draft::DraftPassword,
        queue_place::QueuePlace,
        tensorboard_members::{DraftSubject, MemberDraft, MemberNow},
        tensorboards::{TensorBoardDraft, TensorBoardNow},
    },
};

/// What a TensorBoard is and runs on. A field that is left out has its default; in a change it stays as it
/// was.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TensorBoardText {
    /// What people call it. `tensorboard` when left out.
    pub name: Option<String>,
    /// Id or name of the project. A name that there is none of makes one. `default` when left out.
    pub project: Option<String>,
    /// An image with the program `tensorboard` in it. That of this box (`tensorboards.image`) when null.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pub image: Option<Option<String>>,
    /// Who to be at the registry of `image`. Null takes name and password away, as does an image of another
    /// registry.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pub registry_username: Option<Option<String>>,
    /// `secret:NAME` or the password itself. Never read back, unless it names a secret.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pub registry_password: Option<Option<PasswordText>>,
    /// Name or alias of a machine type of this box; the smallest without a GPU when null.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    pub machine_type: Option<Option<String>>,
    /// It ends when nobody looked at it for so long; null is never. What this box has set
    /// (`tensorboards.idle`) when left out.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u64>)]
    pub idle_seconds: Option<Option<u64>>,
}

/// A TensorBoard to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTensorBoardText {
    // As in TensorBoardText: flattening would let unknown fields pass.
    /// What people call it. `tensorboard` when left out.
    pub name: Option<String>,
    /// Id or name of the project. A name that there is none of makes one. `default` when left out.
    pub project: Option<String>,
    /// An image with the program `tensorboard` in it. That of this box (`tensorboards.image`) when left out.
    pub image: Option<String>,
    /// Who to be at the registry of `image`.
    pub registry_username: Option<String>,
    /// `secret:NAME` or the password itself. Never read back, unless it names a secret.
    #[schema(value_type = Option<String>)]
    pub registry_password: Option<PasswordText>,
    /// Name or alias of a machine type of this box; the smallest without a GPU when left out.
    pub machine_type: Option<String>,
    /// It ends when nobody looked at it for so long; null is never. What this box has set
    /// (`tensorboards.idle`) when left out.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<u64>)]
    pub idle_seconds: Option<Option<u64>>,
    /// What it shows: at most 64.
    #[serde(default)]
    pub members: Vec<MemberText>,
    /// Whether it is started at once; opening it starts it as well. False when left out.
    #[serde(default)]
    pub start: bool,
}

/// Members to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MembersText {
    /// All are added, or none.
    pub members: Vec<MemberText>,
}

/// Something to be shown: exactly one of `job`, `experiment`, `notebook` and `dataset`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberText {
    /// What it is called in the TensorBoard: the name of one directory. What it shows is called, when left
    /// out.
    pub name: Option<String>,
    /// A job's artifacts, also of one that still writes or has not begun.
    #[schema(value_type = Option<String>)]
    pub job: Option<JobId>,
    /// The artifacts of all runs of an experiment, later ones too.
    #[schema(value_type = Option<String>)]
    pub experiment: Option<ExperimentId>,
    /// A notebook's files.
    #[schema(value_type = Option<String>)]
    pub notebook: Option<NotebookId>,
    /// With `notebook`: the directory of its files that is shown. All of them when left out.
    pub path: Option<String>,
    /// A version of a dataset: `ID:VERSION`, `NAME:latest`, `gradient/NAME:TAG` and the like. Which one it
    /// is, is settled now.
    pub dataset: Option<String>,
}

impl TryFrom<MemberText> for MemberDraft {
    type Error = Invalid;
    fn try_from(text: MemberText) -> Result<Self, Invalid> {
        let wrong = |field: &str, message: &str| Err(Invalid::new(field, "one_of", message));
        if text.path.is_some() && text.notebook.is_none() {
            return wrong("members", "path is said of a notebook alone: leave it out");
        }
        let subject = match (text.job, text.experiment, text.notebook, text.dataset) {
            (Some(id), None, None, None) => DraftSubject::Job(id),
            (None, Some(id), None, None) => DraftSubject::Experiment(id),
            (None, None, Some(id), None) => DraftSubject::Notebook { id, path: text.path.unwrap_or_default() },
            (None, None, None, Some(reference)) => DraftSubject::Dataset(reference),
            _ => return wrong("members", "each member is exactly one of job, experiment, notebook and dataset"),
        };
        Ok(Self { name: text.name, subject })
    }
}

/// Reads members, in order.
pub fn drafts(members: Vec<MemberText>) -> Result<Vec<MemberDraft>, Invalid> {
    members.into_iter().map(MemberDraft::try_from).collect()
}

fn idle(said: Option<Option<u64>>) -> Option<IdleLimit> {
    said.map(|seconds| seconds.map_or(IdleLimit::Never, |seconds| IdleLimit::After(Duration::from_secs(seconds))))
}

impl From<TensorBoardText> for TensorBoardDraft {
    fn from(text: TensorBoardText) -> Self {
        Self {
            name: text.name,
            project: text.project,
            image: text.image,
            registry_username: text.registry_username,
            registry_password: text.registry_password.map(|said| said.map(DraftPassword::from)),
            machine_type: text.machine_type,
            idle: idle(text.idle_seconds),
        }
    }
}

impl NewTensorBoardText {
    /// Takes it apart: what it is, what it shows, and whether it is started.
    ///
    /// # Errors
    /// [`Invalid`] for a member that is not one thing.
    pub fn parts(self) -> Result<(TensorBoardDraft, Vec<MemberDraft>, bool), Invalid> {
        let draft = TensorBoardDraft {
            name: self.name,
            project: self.project,
            image: self.image.map(Some),
            registry_username: self.registry_username.map(Some),
            registry_password: self.registry_password.map(|password| Some(password.into())),
            machine_type: self.machine_type.map(Some),
            idle: idle(self.idle_seconds),
        };
        Ok((draft, drafts(self.members)?, self.start))
    }
}

/// A TensorBoard as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TensorBoardView {
    #[schema(value_type = String, example = "tb4kq0z81xwp")]
    id: TensorBoardId,
    name: String,
    project: ProjectName,
    user: UserName,
    /// `created` (never started), `pending`, `provisioned`, `running`, and then one of `stopped`, `failed`,
    /// `error` and `cancelled`. Whichever it is, it can be opened.
    #[schema(value_type = String, example = "running")]
    state: NotebookState,
    /// What its session is busy with: `preparing`, `queued`, `starting`, `running` or `teardown`; null when
    /// there is none.
    #[schema(value_type = Option<String>)]
    phase: Option<Phase>,
    /// Whether it answers.
    ready: bool,
    /// What became of its last session and what to do, for people.
    message: Option<String>,
    /// Why it cannot be started, nor show another choice of members while it runs, until its settings are
    /// changed; for people. Null when it can.
    problem: Option<String>,
    /// `unknown` while the engine does not answer: a session may have ended since.
    contact: &'static str,
    /// What its next session runs.
    image: String,
    /// Who it is at the registry of its image; null when it needs not say.
    registry_username: Option<String>,
    /// `secret:NAME` when the password is a secret; null otherwise, also when there is one.
    #[schema(value_type = Option<String>)]
    registry_password: Option<PasswordText>,
    /// Where its next session runs; null when this box has no such machine type any more.
    machine_type: Option<String>,
    /// After how long without anybody who looks its next session ends; null is never.
    idle_seconds: Option<u64>,
    /// How many members it has.
    member_count: u32,
    /// How far the preparation of its session is.
    progress: Option<ProgressView>,
    /// Where its session stands in the queue, and why it waits.
    queue: Option<QueuePlace>,
    /// The present session, or the last one. Another choice of members is another session.
    session: Option<SessionView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// A TensorBoard with what it shows.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TensorBoardDetail {
    #[serde(flatten)]
    board: TensorBoardView,
    /// In the order in which they were added.
    members: Vec<MemberView>,
    /// The last lines that its session printed, where that ended badly.
    last_lines: Vec<String>,
}

/// Something that a TensorBoard shows.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// What it is called in there.
    name: String,
    /// `job`, `experiment`, `notebook` or `dataset`.
    #[schema(value_type = String, example = "job")]
    kind: SubjectKind,
    /// Of the job, experiment, notebook or dataset.
    id: String,
    /// What people call that; null when it is gone.
    title: Option<String>,
    /// Where the job stands, or the latest run of the experiment, in the words of a job's `state`; `created` for
    /// an experiment that was never started. Null for what does not run, and for what is gone.
    #[schema(value_type = Option<String>, example = "running")]
    state: Option<&'static str>,
    /// Of a notebook: the directory of its files; empty is all of them.
    path: Option<String>,
    /// Of a dataset: the version that is shown.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
    /// Of a dataset: what was asked for.
    r#ref: Option<String>,
    /// It was deleted, or is not for this team any more: it is left out at each start.
    gone: bool,
    /// Why the present session, or the last one, does not show it, or not all of it; for people.
    message: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    added_at: Timestamp,
}

impl TensorBoardView {
    /// Returns the id.
    pub fn id(&self) -> &TensorBoardId {
        &self.id
    }
}

impl TensorBoardDetail {
    /// Puts together what is known.
    pub fn new(now: TensorBoardNow, members: Vec<MemberNow>, last_lines: Vec<String>) -> Self {
        let members = member_views(&now, members);
        Self { board: now.into(), members, last_lines }
    }
}

/// Writes the members of a TensorBoard.
pub fn member_views(now: &TensorBoardNow, members: Vec<MemberNow>) -> Vec<MemberView> {
    let left_out = now.board.session.as_ref().map(|showing| showing.logs.left_out.as_slice()).unwrap_or_default();
    let why = |name: &str| left_out.iter().find(|left_out| left_out.name == name).map(|left| left.message.clone());
    members.into_iter().map(|now| MemberView { message: why(&now.member.name), ..now.into() }).collect()
}

impl From<MemberNow> for MemberView {
    fn from(MemberNow { member, title, state }: MemberNow) -> Self {
        let (mut at, mut chosen, mut reference) = (None, None, None);
        let (kind, id) = (member.subject.kind(), member.subject.id().to_owned());
        let mut stands = None;
        match member.subject {
            Subject::Job(_) | Subject::Experiment(_) => stands = Some(state.map_or("created", State::as_str)),
            Subject::Notebook { path, .. } => at = Some(String::from_utf8_lossy(path.as_bytes()).into_owned()),
            Subject::Dataset { version, reference: asked, .. } => {
                (chosen, reference) = (Some(version), Some(asked));
            }
        }
        Self {
            name: member.name,
            kind,
            id,
            gone: title.is_none(),
            state: stands.filter(|_| title.is_some()),
            title,
            path: at,
            version: chosen,
            r#ref: reference,
            message: None,
            added_at: member.added_at,
        }
    }
}

impl From<TensorBoardNow> for TensorBoardView {
    fn from(now: TensorBoardNow) -> Self {
        let TensorBoardNow { board, state, phase, progress, waiting, contact, image, machine_type, idle, problem } =
            now;
        let message = board.message();
        let registry = board.choice.registry.clone();
        let is_ready = board.session.as_ref().is_some_and(|showing| showing.session.ready_at.is_some());
        Self {
            project: ProjectName { id: board.project, name: board.project_name },
            user: UserName { id: board.user, name: board.user_name },
            ready: state == NotebookState::Running && is_ready,
            state,
            phase,
            message,
            problem,
            contact: if contact { "ok" } else { "unknown" },
            image,
            registry_password: registry.as_ref().and_then(|registry| PasswordText::of(&registry.password)),
            registry_username: registry.map(|registry| registry.username),
            machine_type,
            idle_seconds: idle.map(|span| span.as_secs()),
            member_count: board.members,
            progress: progress.map(ProgressView::from),
            queue: waiting.map(QueuePlace::from),
            session: board.session.map(|showing| SessionView::from(showing.session)),
            created_at: board.created_at,
            name: board.name,
            id: board.id,
        }
    }
}
