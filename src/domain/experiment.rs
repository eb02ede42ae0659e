//! An experiment: settings that are kept, to be run again and again. Each start makes a job of them, and
//! where an experiment stands is where the latest of these jobs does.
//!
//! ```text
//!  ●──▶ created ──start──▶ pending, provisioned, running ──▶ stopped, failed, error, cancelled ──┐
//!                                   ▲                                                            │
//!                                   └──────────────────────── start ─────────────────────────────┘
//! ```

use std::time::Duration;

use super::{
    id::{ExperimentId, ProjectId, UserId},
    time::Timestamp,
    workload::{Retries, Spec, State, Workload},
};

/// What every run of an experiment is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// As it was accepted. Its inputs are found anew by each start.
    pub spec: Spec,
    pub priority: i32,
    pub time_limit: Option<Duration>,
    pub retries: Retries,
}

/// What the owner says of the model that the runs make. Kept and shown; nothing acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelNote {
    /// Such as `Tensorflow`.
    pub kind: Option<String>,
    /// Where the runs put it.
    pub path: Option<String>,
}

/// An experiment as lists and pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// Order of creation.
    pub seq: i64,
    pub id: ExperimentId,
    pub user: UserId,
    pub user_name: String,
    pub project: ProjectId,
    pub project_name: String,
    pub name: String,
    pub tags: Vec<String>,
    pub model: ModelNote,
    pub plan: Plan,
    pub created_at: Timestamp,
    /// Runs that are still there: each can be deleted by itself.
    pub runs: u64,
    /// The latest of them.
    pub latest: Option<Workload>,
}

/// Which experiments a list shows. Everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExperimentFilter {
    /// Any of these; all when empty.
    pub projects: Vec<ProjectId>,
    /// Any of these; all when empty.
    pub tags: Vec<String>,
    /// Part of the name or of the id, in any case.
    pub text: Option<String>,
}

impl Experiment {
    /// Returns where the latest run stands; `None` when it was never started.
    pub fn state(&self) -> Option<State> {
        self.latest.as_ref().map(|run| run.state)
    }

    /// Returns the word for where it stands.
    pub fn state_word(&self) -> &'static str {
        self.state().map_or("created", State::as_str)
    }

    /// Returns the run that is not over, of which there is one at most.
    pub fn live(&self) -> Option<&Workload> {
        self.latest.as_ref().filter(|run| !run.state.is_terminal())
    }
}
