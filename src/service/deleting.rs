//! What stands against deleting a version or a dataset: work that uses it, and tags.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::ServiceError;
use crate::{
    domain::{
        dataset::{Dataset, Version},
        id::JobId,
    },
    store::{job_outputs, version_uses},
};

/// Jobs that an answer names; there may be more.
const NAMED: u32 = 20;

/// What uses something that is to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Obstacles {
    /// Jobs that wait, run, or are not tidied up after.
    pub jobs: Vec<JobId>,
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
        Ok(Self { jobs: job_outputs::live_into(connection, dataset.seq, NAMED)?, tags: Vec::new() })
    }

    /// Adds what uses a version.
    pub fn add_version(&mut self, connection: &Connection, version: &Version) -> Result<(), ServiceError> {
        for used in version_uses::live_uses_of(connection, version.seq, NAMED)? {
            if !self.jobs.contains(&used.job) && self.jobs.len() < NAMED as usize {
                self.jobs.push(used.job);
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
        if !self.jobs.is_empty() {
            let jobs: Vec<_> = self.jobs.iter().map(JobId::as_str).collect();
            reasons.push(format!("jobs that are not over use it ({})", jobs.join(", ")));
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
        if self.jobs.is_empty() && self.tags.is_empty() {
            return json!({});
        }
        json!({ "forced": true, "jobs": self.jobs, "tags": self.tags })
    }
}
