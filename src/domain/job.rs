//! A job: one run of a command in a container, with what people call it and sort it by.

use super::{
    id::{ExperimentId, JobId},
    workload::Workload,
};

/// A job as lists and pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub workload: Workload,
    pub image: String,
    pub command: super::workload::Command,
    pub machine_type: String,
    pub clone_of: Option<JobId>,
    /// The experiment whose run it is.
    pub experiment: Option<ExperimentId>,
    pub tags: Vec<String>,
    pub project_name: String,
    pub user_name: String,
}

/// Which jobs a list shows. Everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub states: Vec<super::workload::State>,
    pub project: Option<super::id::ProjectId>,
    pub user: Option<super::id::UserId>,
    pub experiment: Option<ExperimentId>,
    pub tag: Option<String>,
    /// Part of the name or of the id, in any case.
    pub text: Option<String>,
}
