//! A workload: whatever runs in a container. A job is one, and so is each session of a notebook.
//!
//! What is asked ([`Wanted`]) is kept apart from what is so ([`State`]); each has one writer.
//!
//! ```text
//!            ┌──────────── Unplaced, Retried ───────────┐
//!            ▼                                          │
//!   ●──▶ Pending ──Placed──▶ Provisioned ──Started──▶ Running
//!            │                    │                     │
//!            │ SetupFailed        │ SetupFailed, Exited  │ Exited, TimedOut, Lost
//!            │ Withdrawn          │ Withdrawn, Lost      │ Withdrawn
//!            ▼                    ▼                     ▼
//!      Error, Cancelled      Stopped (code 0) · Failed · Error · Cancelled      final
//! ```

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    gpu::GpuUuid,
    id::{DatasetId, JobId, NotebookId, ProjectId, TeamId, TensorBoardId, UploadId, UserId, VersionId},
    memory_kills::MemoryKills,
    time::Timestamp,
};

/// What is known of whatever ended by SIGKILL when the engine does not say that its memory ran out.
pub const KILLED: &str = "killed (SIGKILL), though not by the memory limit of its container: somebody did it by hand, or the machine itself ran out of memory";

/// Makes an enum of words: text in the database and on the wire, a type everywhere else.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Returns the value that a word stands for.
            pub fn from_word(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use words;

words! {
    /// What the user asked for. Only services write it.
    Wanted { Run = "run", Stop = "stop" }
}

words! {
    /// Where a workload is. Only the workload loop writes it.
    State {
        /// Accepted; being prepared, waiting for its turn, or waiting to be tried again.
        Pending = "pending",
        /// Holds its GPUs, cores and memory; its container is being made.
        Provisioned = "provisioned",
        /// Its container runs.
        Running = "running",
        /// Ended with exit code 0.
        Stopped = "stopped",
        /// Ended with another exit code, out of memory, or at its time limit.
        Failed = "failed",
        /// Could not be set up, or was lost.
        Error = "error",
        /// Ended because somebody asked for it.
        Cancelled = "cancelled",
    }
}

words! {
    /// Why a workload ended as it did. Stable words for programs; [`Ending::message`] is for people.
    Reason {
        ExitCode = "exit_code",
        OutOfMemory = "oom",
        TimeLimit = "time_limit",
        ImageNotFound = "image_not_found",
        PullFailed = "pull_failed",
        RegistryUnauthorized = "registry_unauthorized",
        BuildFailed = "build_failed",
        WorkspaceFailed = "workspace_failed",
        SecretMissing = "secret_missing",
        DatasetFailed = "dataset_failed",
        CommandNotFound = "command_not_found",
        EngineRefused = "engine_refused",
        Lost = "lost",
        Cancelled = "cancelled",
    }
}

/// What a workload is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Itself: its id is the job's.
    Job,
    /// A session of a notebook.
    Notebook(NotebookId),
    /// A session of a TensorBoard.
    TensorBoard(TensorBoardId),
}

impl Kind {
    /// Returns the word for it, as events and the store write it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Notebook(_) => "notebook",
            Self::TensorBoard(_) => "tensorboard",
        }
    }

    /// Returns the word that people use for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Notebook(_) => "notebook",
            Self::TensorBoard(_) => "TensorBoard",
        }
    }

    /// Returns that word as the first of a sentence.
    pub fn capitalised(&self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Notebook(_) => "Notebook",
            Self::TensorBoard(_) => "TensorBoard",
        }
    }

    /// Returns what people call run `id`: by what it is a session of, if it is one.
    pub fn called(&self, id: &JobId) -> String {
        format!("{} {}", self.word(), self.parent().unwrap_or(id.as_str()))
    }

    /// Says how to try once more what could not be set up.
    pub fn once_more(&self) -> &'static str {
        match self {
            Self::Job => "clone the job",
            Self::Notebook(_) => "start the notebook again",
            Self::TensorBoard(_) => "start the TensorBoard again",
        }
    }

    /// Returns the id of what outlives the workload, if anything does.
    pub fn parent(&self) -> Option<&str> {
        match self {
            Self::Job => None,
            Self::Notebook(id) => Some(id.as_str()),
            Self::TensorBoard(id) => Some(id.as_str()),
        }
    }

    /// Reads it back from its word and the id of what outlives the workload.
    pub fn from_parts(word: &str, parent: Option<&str>) -> Option<Self> {
        Some(match (word, parent) {
            ("job", None) => Self::Job,
            ("notebook", Some(id)) => Self::Notebook(id.parse().ok()?),
            ("tensorboard", Some(id)) => Self::TensorBoard(id.parse().ok()?),
            _ => return None,
        })
    }
}

/// Something that happened to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Placed,
    /// Its place was given up before anything ran: the image vanished, a GPU fell off the bus.
    Unplaced,
    Started,
    Exited {
        code: i64,
    },
    /// Ended because its time was over, whatever its exit code.
    TimedOut,
    SetupFailed,
    Lost,
    Withdrawn,
    /// The attempt ended badly and another is allowed.
    Retried,
}

/// An event that cannot happen in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to what is {state}")]
pub struct IllegalTransition {
    pub state: State,
    pub event: Event,
}

impl State {
    /// The whole life of a workload. Nothing else makes a new [`State`].
    ///
    /// # Errors
    /// [`IllegalTransition`] for every pair that the picture above has no arrow for.
    pub fn on(self, event: Event) -> Result<Self, IllegalTransition> {
        use Event as E;
        Ok(match (self, event) {
            (Self::Pending, E::Placed) => Self::Provisioned,
            (Self::Provisioned, E::Unplaced) => Self::Pending,
            (Self::Provisioned, E::Started) => Self::Running,
            // A short run may finish between two looks, never seen running.
            (Self::Provisioned | Self::Running, E::Exited { code: 0 }) => Self::Stopped,
            (Self::Provisioned | Self::Running, E::Exited { .. }) => Self::Failed,
            (Self::Provisioned | Self::Running, E::TimedOut) => Self::Failed,
            (Self::Pending | Self::Provisioned, E::SetupFailed) => Self::Error,
            (Self::Provisioned | Self::Running, E::Lost) => Self::Error,
            // Setup is tried again too: a pull may fail for a moment.
            (Self::Pending | Self::Provisioned | Self::Running, E::Retried) => Self::Pending,
            (Self::Pending | Self::Provisioned | Self::Running, E::Withdrawn) => Self::Cancelled,
            (state, event) => return Err(IllegalTransition { state, event }),
        })
    }

    /// Says whether nothing can happen any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Error | Self::Cancelled)
    }

    /// Says whether cores, memory and GPUs are held.
    pub fn holds_resources(self) -> bool {
        matches!(self, Self::Provisioned | Self::Running)
    }
}

impl Reason {
    /// Says whether trying again may help. What cannot change by itself is not tried again.
    pub fn may_pass(self) -> bool {
        match self {
            Self::ExitCode
            | Self::OutOfMemory
            | Self::PullFailed
            | Self::WorkspaceFailed
            | Self::DatasetFailed
            | Self::Lost => true,
            Self::TimeLimit
            | Self::ImageNotFound
            | Self::RegistryUnauthorized
            | Self::BuildFailed
            | Self::SecretMissing
            | Self::CommandNotFound
            | Self::EngineRefused
            | Self::Cancelled => false,
        }
    }
}

/// How a workload, or one attempt of it, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub event: Event,
    /// `None` for a run that ended well.
    pub reason: Option<Reason>,
    /// What happened and what to do, in words.
    pub message: Option<String>,
    /// The engine's own, or `None` when it gave none.
    pub exit_code: Option<i64>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
}

/// What a workload is to run: parsed, checked, complete, and free of plain secrets.
///
/// Kept as JSON in the store, so a field that is added later needs a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Normalised image name. With `build`, the name that the built image gets.
    pub image: String,
    pub registry: Option<Credentials>,
    pub command: Command,
    pub env: BTreeMap<String, String>,
    pub working_directory: Option<String>,
    pub workspace: Workspace,
    pub build: Option<Build>,
    pub ports: Vec<Port>,
    pub shared_memory_bytes: Option<u64>,
    pub user: Option<String>,
    pub machine_type: String,
    /// Versions of datasets that it reads.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Datasets that get a new version of what it writes.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// What `pip` installs goes to a directory that outlives the container.
    #[serde(default)]
    pub keep_packages: bool,
}

/// A version of a dataset that is mounted read-only, chosen when the workload was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// `/inputs/NAME`, or `/datasets/NAME` for a public one that every run gets.
    pub name: String,
    /// As it was asked for: `mnist:prod`.
    pub reference: String,
    /// The team that has the dataset.
    pub team: TeamId,
    pub dataset: DatasetId,
    pub version: VersionId,
    pub role: super::dataset::Use,
}

/// A dataset that gets a new version of what is written to `/outputs/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    pub name: String,
    /// As it was asked for.
    pub reference: String,
    pub dataset: DatasetId,
}

impl Input {
    /// Returns where it is in the container.
    pub fn path(&self) -> String {
        match self.role {
            super::dataset::Use::Public => format!("/datasets/{}", self.name),
            _ => format!("/inputs/{}", self.name),
        }
    }
}

impl Output {
    /// Returns where it is in the container.
    pub fn path(&self) -> String {
        format!("/outputs/{}", self.name)
    }
}

/// What is started in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// The image's own.
    Image,
    /// A text for the container's own `/bin/sh -c`. The daemon hands it over as one argument.
    Shell(String),
    /// A program and its arguments, started as they are.
    Exec(Vec<String>),
}

/// A name and a password for somebody else's server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    pub username: String,
    pub password: Password,
}

/// A password: the name of a secret, or sealed with the box's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Password {
    Secret(String),
    /// Base64 of the sealed text.
    Sealed(String),
}

/// Where the files in the working directory come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Workspace {
    Empty,
    Upload(UploadId),
    #[serde(rename_all = "camelCase")]
    Git {
        url: String,
        reference: Option<String>,
        credentials: Option<Credentials>,
    },
}

/// An image to be built from the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// Path of the Dockerfile in the workspace.
    pub dockerfile: String,
}

/// A port of the container that is reachable on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    pub container: u16,
    /// A free one is chosen when `None`.
    pub host: Option<u16>,
}

/// How often, and after what pause, a run that ended badly is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retries {
    /// Further attempts after the first.
    pub limit: u32,
    /// Before the first retry; doubled for each further one, up to an hour.
    pub backoff: Duration,
}

impl Retries {
    /// Returns the pause before the attempt that follows attempt `attempt` (the first is 1), or
    /// `None` when there is no further one.
    pub fn pause_after(self, attempt: u32) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(3600);
        (attempt <= self.limit).then(|| {
            let factor = 1u32 << attempt.saturating_sub(1).min(16);
            self.backoff.saturating_mul(factor).min(LONGEST)
        })
    }
}

/// What a workload takes from the box while it is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub gpus: u32,
    /// How many may hold each of its GPUs: 1 is whole.
    pub gpu_share: u32,
    pub gpu_model: Option<String>,
    pub mig_profile: Option<String>,
}

/// A workload as it stands, without its spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Order of acceptance.
    pub seq: i64,
    pub id: JobId,
    pub kind: Kind,
    pub team: TeamId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub needs: Needs,
    pub priority: i32,
    pub time_limit: Option<Duration>,
    pub retries: Retries,
    pub created_at: Timestamp,
    pub wanted: Wanted,
    pub stop_asked_at: Option<Timestamp>,

    pub state: State,
    /// The present or latest attempt; 0 before the first was placed.
    pub attempt: u32,
    /// When the next attempt may be placed.
    pub not_before: Option<Timestamp>,
    /// The engine's id of the image, once everything is prepared.
    pub image_id: Option<String>,
    pub reason: Option<Reason>,
    pub message: Option<String>,
    pub exit_code: Option<i64>,
    /// Container port → port on the host.
    pub ports: BTreeMap<u16, u16>,
    pub setup_started_at: Option<Timestamp>,
    pub setup_finished_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub teardown_started_at: Option<Timestamp>,
    pub teardown_finished_at: Option<Timestamp>,
    /// GPUs of the present or latest attempt.
    pub gpus: Vec<GpuUuid>,
    /// Processes of the present or latest attempt that were killed for memory.
    pub memory_kills: Option<MemoryKills>,
}

words! {
    /// What a workload is busy with, finer than its state and derived from it.
    Phase {
        Preparing = "preparing",
        Queued = "queued",
        Backoff = "backoff",
        Starting = "starting",
        Running = "running",
        Teardown = "teardown",
    }
}

impl Workload {
    /// Returns what people know it by: a word and the id of the job, or of what it is a session of.
    pub fn subject(&self) -> (&'static str, &str) {
        (self.kind.as_str(), self.kind.parent().unwrap_or(self.id.as_str()))
    }

    /// Names it at the beginning of a line of the daemon's log: `Job js…`, `Session js… of notebook n…`.
    pub fn title(&self) -> String {
        match self.kind.parent() {
            None => format!("Job {}", self.id),
            Some(parent) => format!("Session {} of {} {parent}", self.id, self.kind.word()),
        }
    }

    /// Returns what it is busy with; `None` when it is over and tidied.
    pub fn phase(&self, now: Timestamp) -> Option<Phase> {
        Some(match self.state {
            State::Pending if self.not_before.is_some_and(|time| time > now) => Phase::Backoff,
            State::Pending if self.image_id.is_some() => Phase::Queued,
            State::Pending => Phase::Preparing,
            State::Provisioned => Phase::Starting,
            State::Running => Phase::Running,
            _ if self.teardown_finished_at.is_none() => Phase::Teardown,
            _ => return None,
        })
    }

    /// Returns when the time limit ends it.
    pub fn deadline(&self) -> Option<Timestamp> {
        Some(self.started_at?.plus(self.time_limit?))
    }
}

/// Returns `PREFIX` of a value such as `secret:NAME`.
pub fn secret_name(value: &str) -> Option<&str> {
    value.strip_prefix("secret:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 10] = [
        Event::Placed,
        Event::Unplaced,
        Event::Started,
        Event::Exited { code: 0 },
        Event::Exited { code: 1 },
        Event::TimedOut,
        Event::SetupFailed,
        Event::Lost,
        Event::Withdrawn,
        Event::Retried,
    ];

    #[test]
    fn final_states_are_final() {
        for state in State::ALL.iter().filter(|state| state.is_terminal()) {
            for event in EVENTS {
                assert!(state.on(event).is_err(), "{state} took {event:?}");
            }
        }
    }

    #[test]
    fn every_living_state_can_be_withdrawn() {
        for state in State::ALL.iter().filter(|state| !state.is_terminal()) {
            assert_eq!(state.on(Event::Withdrawn), Ok(State::Cancelled));
        }
    }

    #[test]
    fn the_exit_code_alone_tells_stopped_from_failed() {
        assert_eq!(State::Running.on(Event::Exited { code: 0 }), Ok(State::Stopped));
        for code in [1, 2, 126, 127, 128, 137, 139, 143, 255, -1] {
            assert_eq!(State::Running.on(Event::Exited { code }), Ok(State::Failed));
        }
    }

    #[test]
    fn words_read_back_as_what_they_stand_for() {
        for state in State::ALL {
            assert_eq!(State::from_word(state.as_str()), Some(*state));
        }
        assert_eq!(State::from_word("Running"), None);
    }

    #[test]
    fn pauses_double_up_to_an_hour_and_end_with_the_limit() {
        let retries = Retries { limit: 40, backoff: Duration::from_secs(10) };
        assert_eq!(retries.pause_after(1), Some(Duration::from_secs(10)));
        assert_eq!(retries.pause_after(3), Some(Duration::from_secs(40)));
        assert_eq!(retries.pause_after(40), Some(Duration::from_secs(3600)));
        assert_eq!(retries.pause_after(41), None);
        assert_eq!(Retries::default().pause_after(1), None);
    }
}
