//! What stands against deleting a version or a dataset: work that uses it, and tags.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::ServiceError;
use crate::{
    domain::{
        dataset::{Dataset, Version},
        id::JobId,
        workload::Kind,
    },
    store::{job_outputs, version_uses},
};

/// Jobs and sessions that an answer names; there may be more.
const NAMED: u32 = 20;

/// What uses something that is to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Obstacles {
    /// What waits, runs, or is not tidied up after: jobs and sessions.
    pub runs: Vec<(JobId, Kind)>,
    pub tags: Vec<String>,
}

impl Obstacles {
    /// Collects what uses a version.
    pub fn of_version(connection: &Connection, version: &Version) -> Result<Self, ServiceError> {
        let mut obstacles = Self::default();
        obstacles.add_version(connection, version)?;
        Ok(obstacles)
    }

    /// Collects what uses a dataset itself: jobs that will make a version of it.
    pub fn of_dataset(connection: &Connection, dataset: &Dataset) -> Result<Self, ServiceError> {
        let jobs = job_outputs::live_into(connection, dataset.seq, NAMED)?;
        Ok(Self { runs: jobs.into_iter().map(|job| (job, Kind::Job)).collect(), tags: Vec::new() })
    }

    /// Adds what uses a version.
    pub fn add_version(&mut self, connection: &Connection, version: &Version) -> Result<(), ServiceError> {
        for used in version_uses::live_uses_of(connection, version.seq, NAMED)? {
            let run = (used.job, used.kind);
            if !self.runs.contains(&run) && self.runs.len() < NAMED as usize {
                self.runs.push(run);
            }
        }
        self.tags.extend(version.tags.iter().cloned());
        Ok(())
    }

    /// Refuses to delete `what` when anything uses it.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] `in_use`.
    pub fn refuse(&self, what: &str) -> Result<(), ServiceError> {
        let mut reasons = Vec::new();
        if !self.runs.is_empty() {
            let mut users: Vec<_> = self.runs.iter().map(|(id, kind)| kind.called(id)).collect();
            users.dedup();
            reasons.push(format!("what is not over uses it ({})", users.join(", ")));
        }
        if !self.tags.is_empty() {
            reasons.push(format!("it is tagged ({})", self.tags.join(", ")));
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{what} is in use: {}. Wait, stop them or move the tags; or force its deletion: what runs keeps its files, what waits will fail",
            reasons.join("; ")
        );
        Err(ServiceError::Conflict { code: "in_use", message })
    }

    /// Returns what an event says of a deletion that was forced.
    pub fn record(&self) -> Value {
        if self.runs.is_empty() && self.tags.is_empty() {
            return json!({});
        }
        let runs: Vec<&JobId> = self.runs.iter().map(|(id, _)| id).collect();
        json!({ "forced": true, "jobs": runs, "tags": self.tags })
    }
}
