//! A job as the client reads it.

use serde::Serialize;

use super::{clusters, metrics_url::MetricsAt};
use crate::{
    domain::{
        caller::Caller,
        id::{JobId, ProjectId, UserId},
        time::Timestamp,
        workload::{Command, State, Workload},
    },
    service::{Services, jobs::JobNow},
};

/// A job. The client takes most numbers as text and passes over what is not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    id: JobId,
    name: String,
    state: &'static str,
    project: String,
    project_id: ProjectId,
    cluster: String,
    cluster_id: &'static str,
    machine_type: String,
    container: String,
    command: Option<String>,
    tags: Vec<String>,
    /// `host:container`, with commas between several.
    ports: Option<String>,
    gpu_count: u32,
    started_by_user_id: UserId,
    parent_job_id: Option<JobId>,
    queue_position: Option<String>,
    exit_code: Option<String>,
    job_error: Option<String>,
    is_public: bool,
    is_preemptible: bool,
    dt_created: Timestamp,
    dt_provisioning_started: Option<Timestamp>,
    dt_provisioning_finished: Option<Timestamp>,
    dt_started: Option<Timestamp>,
    dt_finished: Option<Timestamp>,
    dt_teardown_started: Option<Timestamp>,
    dt_teardown_finished: Option<Timestamp>,
    /// Where its metrics are, without a scheme.
    #[serde(rename = "metricsURL")]
    metrics_url: Option<String>,
}

impl JobView {
    /// Says where the job's metrics are, for whoever it is shown to.
    #[must_use]
    pub fn with_metrics(self, at: &MetricsAt, services: &Services, caller: &Caller) -> Self {
        Self { metrics_url: at.url(services, caller, &self.id), ..self }
    }
}

impl From<JobNow> for JobView {
    fn from(now: JobNow) -> Self {
        let (job, waiting) = (now.job, now.waiting);
        let workload = job.workload;
        let ports: Vec<_> = workload.ports.iter().map(|(container, host)| format!("{host}:{container}")).collect();
        Self {
            state: state(&workload),
            project: job.project_name,
            cluster: clusters::name(),
            cluster_id: clusters::BOX,
            machine_type: job.machine_type,
            container: job.image,
            command: match job.command {
                Command::Image => None,
                Command::Shell(text) => Some(text),
                Command::Exec(words) => Some(words.join(" ")),
            },
            tags: job.tags,
            ports: (!ports.is_empty()).then(|| ports.join(",")),
            gpu_count: workload.needs.gpus,
            started_by_user_id: workload.user,
            parent_job_id: job.clone_of,
            queue_position: waiting.map(|place| place.waiting.position.to_string()),
            exit_code: workload.exit_code.map(|code| code.to_string()),
            job_error: workload.message,
            is_public: false,
            is_preemptible: false,
            id: workload.id,
            name: workload.name,
            project_id: workload.project,
            dt_created: workload.created_at,
            dt_provisioning_started: workload.setup_started_at,
            dt_provisioning_finished: workload.setup_finished_at,
            dt_started: workload.started_at,
            dt_finished: workload.finished_at,
            dt_teardown_started: workload.teardown_started_at,
            dt_teardown_finished: workload.teardown_finished_at,
            metrics_url: None,
        }
    }
}

/// Returns the cloud's word for where a job is. It had none for setting up and for tearing down: both
/// were running, so what is over can be deleted.
fn state(workload: &Workload) -> &'static str {
    match workload.state {
        State::Pending => "Pending",
        State::Provisioned | State::Running => "Running",
        _ if workload.teardown_finished_at.is_none() => "Running",
        State::Stopped => "Stopped",
        State::Failed => "Failed",
        State::Error => "Error",
        State::Cancelled => "Cancelled",
    }
}
