//! A notebook: files that stay, and sessions in which people work on them. A session is a workload; a
//! notebook has one at a time, and any number after each other.

use std::time::Duration;

use super::{
    id::{NotebookId, ProjectId, TeamId, UserId},
    time::{Timestamp, in_words},
    workload::{KILLED, Reason, Spec, State, Workload, words},
};

/// The port on which a notebook's server listens in its container.
pub const PORT: u16 = 8888;
/// Where a notebook's files are in its container.
pub const HOME: &str = "/notebooks";
/// Where what `pip` installs is kept, if it is to be.
pub const PACKAGES: &str = "/opt/gradientd/packages";

/// People are told so long before a session ends by itself, at most: of a short limit, its last quarter.
const WARNING: Duration = Duration::from_secs(600);

/// A notebook with its latest session.
#[derive(Debug, Clone, PartialEq)]
pub struct Notebook {
    pub seq: i64,
    pub id: NotebookId,
    pub team: TeamId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub tags: Vec<String>,
    /// Everybody with a key of this box may look at its files and fork it.
    pub is_public: bool,
    pub forked_from: Option<NotebookId>,
    /// What the next session runs, unless its start says otherwise.
    pub spec: Spec,
    pub limits: Limits,
    /// Its files are still being copied from there.
    pub copying_from: Option<NotebookId>,
    pub created_at: Timestamp,
    pub project_name: String,
    pub user_name: String,
    pub session: Option<Session>,
}

/// When a session ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// After so long, whatever is done in it; `None` is never.
    pub shutdown: Option<Duration>,
    /// After so long without any activity; `None` is never.
    pub idle: Option<Duration>,
}

/// One session of a notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub workload: Workload,
    /// When its server answered for the first time.
    pub ready_at: Option<Timestamp>,
    pub idle: Option<Duration>,
    /// What was the last sign of somebody at work, and when.
    pub activity: Option<Activity>,
    /// Why the box asked for its end; `None` when a person did or nobody has.
    pub ended_for: Option<EndedFor>,
}

/// How far the copying of a fork's files is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForkProgress {
    pub files: u64,
    pub bytes: u64,
    /// Why it does not go on, in words that say what to do.
    pub message: Option<String>,
}

/// What a notebook keeps on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotebookSize {
    /// Of its files.
    pub files_bytes: u64,
    /// Of what `pip` installed and it keeps.
    pub packages_bytes: u64,
    pub counted_at: Timestamp,
}

/// A sign that somebody, or something of theirs, is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    pub at: Timestamp,
    /// In words: `kernel of train.ipynb is busy`.
    pub what: String,
}

words! {
    /// Why the box itself asked for the end of a session.
    EndedFor {
        /// Nothing was done in it for as long as its idle limit says.
        Idle = "idle",
        /// Its server did not answer in time.
        NotReady = "not_ready",
    }
}

words! {
    /// Where a notebook is, as its people see it.
    NotebookState {
        /// Never started.
        Created = "created",
        Pending = "pending",
        Provisioned = "provisioned",
        Running = "running",
        /// Ended as it should: somebody stopped it, its time was over, or its server ended well.
        Stopped = "stopped",
        /// Its server ended badly, or did not answer in time.
        Failed = "failed",
        /// Its session could not be set up, or was lost.
        Error = "error",
        /// Stopped before anything ran.
        Cancelled = "cancelled",
    }
}

impl NotebookState {
    /// Returns where a notebook is whose latest session is `session`.
    pub fn of(session: Option<&Session>) -> Self {
        let Some(Session { workload, ended_for, .. }) = session else { return Self::Created };
        match workload.state {
            State::Pending => Self::Pending,
            State::Provisioned => Self::Provisioned,
            State::Running => Self::Running,
            State::Stopped => Self::Stopped,
            State::Cancelled if *ended_for == Some(EndedFor::NotReady) => Self::Failed,
            // To stop is the usual end of a session.
            State::Cancelled if workload.started_at.is_some() => Self::Stopped,
            State::Cancelled => Self::Cancelled,
            State::Failed if workload.reason == Some(Reason::TimeLimit) => Self::Stopped,
            State::Failed => Self::Failed,
            State::Error => Self::Error,
        }
    }
}

impl Session {
    /// Says whether it may still do something.
    pub fn is_live(&self) -> bool {
        !self.workload.state.is_terminal()
    }

    /// Returns when the idle limit ends it, if nothing is done until then.
    pub fn idle_at(&self) -> Option<Timestamp> {
        let since = self.activity.as_ref().map(|activity| activity.at).or(self.ready_at)?;
        Some(since.plus(self.idle?))
    }

    /// Returns the end of which people are to be told now: the first that comes by itself, where it is near.
    pub fn near_end(&self, now: Timestamp) -> Option<Timestamp> {
        let idle = self.idle_at().zip(self.idle);
        let shutdown = self.workload.deadline().zip(self.workload.time_limit);
        let (at, limit) = [idle, shutdown].into_iter().flatten().min()?;
        (at.since(now) <= WARNING.min(limit / 4)).then_some(at)
    }

    /// Returns what became of it, in words that say what to do; `None` while it runs, or when somebody
    /// stopped it.
    pub fn message(&self) -> Option<String> {
        let workload = &self.workload;
        match (self.ended_for, workload.reason) {
            (Some(EndedFor::Idle), _) => {
                let what = self.activity.as_ref().map(|activity| activity.what.as_str()).unwrap_or("its start");
                let limit = in_words(self.idle.unwrap_or_default());
                Some(format!(
                    "stopped after {limit} without activity; the last was: {what}. Its files are kept: start it again"
                ))
            }
            (Some(EndedFor::NotReady), _) => {
                let waited = workload.started_at.zip(workload.stop_asked_at).map(|(start, end)| end.since(start));
                let waited = waited.map(|span| format!("{} after its start", in_words(span)));
                Some(format!(
                    "no Jupyter server answered on port {PORT} of it {}: the image needs JupyterLab, and a command of your own has to listen there on 0.0.0.0. Its log has what it said",
                    waited.as_deref().unwrap_or("in time")
                ))
            }
            (None, Some(Reason::Cancelled)) => None,
            (None, Some(Reason::TimeLimit)) => Some(format!(
                "stopped when its time was over, {} after its start. Its files are kept: start it again, and extend its time while it runs",
                in_words(workload.time_limit.unwrap_or_default())
            )),
            (None, Some(Reason::ExitCode)) => Some(match workload.exit_code {
                Some(1) => "its Jupyter server ended with exit code 1: it crashed, and its log says why".to_owned(),
                Some(127) => "its command was not found (exit code 127): the image has no such program. Take one with JupyterLab in it, or correct the command".to_owned(),
                Some(137) => format!("it was {KILLED} (exit code 137)"),
                Some(code) => format!("its command ended with exit code {code}; its log says why"),
                None => "its command ended, and nobody knows how".to_owned(),
            }),
            (None, _) => workload.message.clone(),
        }
    }
}

/// Which notebooks a list shows. Everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotebookFilter {
    pub project: Option<ProjectId>,
    /// Any of these; all when there are none.
    pub tags: Vec<String>,
    /// Part of the name or of the id, in any case.
    pub text: Option<String>,
    /// Only those that this person made.
    pub user: Option<UserId>,
    /// Only those that have a session.
    pub live: bool,
    /// Those that everybody may look at, of any team, instead of the team's own.
    pub public: bool,
}
