//! A project: what belongs together.

use super::{id::ProjectId, time::Timestamp};

/// A project with how much is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub seq: i64,
    pub id: ProjectId,
    pub name: String,
    pub created_at: Timestamp,
    pub jobs: u64,
    /// Jobs that are not over.
    pub active_jobs: u64,
}
