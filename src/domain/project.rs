//! A project: what belongs together.

use super::{id::ProjectId, time::Timestamp};

/// A project with how much is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub seq: i64,
    pub id: ProjectId,
    pub name: String,
    pub tags: Vec<String>,
    pub repository: Repository,
    pub created_at: Timestamp,
    pub jobs: u64,
    /// Jobs that are not over.
    pub active_jobs: u64,
    pub notebooks: u64,
    pub tensorboards: u64,
}

/// Where the code of a project is kept, in whatever words its owner uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repository {
    pub name: Option<String>,
    pub url: Option<String>,
}
