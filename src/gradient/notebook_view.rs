//! A notebook as the client reads it.

use serde::Serialize;

use super::{clusters, metrics_url::MetricsAt};
use crate::{
    domain::{
        caller::Caller,
        id::{JobId, NotebookId, ProjectId},
        notebook::{NotebookState, Session},
        time::Timestamp,
        web_name::Names,
    },
    service::{Services, notebooks::NotebookNow},
};

/// A notebook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotebookView {
    handle: NotebookId,
    name: String,
    project_handle: ProjectId,
    project_id: ProjectId,
    /// The first part of the link that the client prints.
    namespace: String,
    state: &'static str,
    vm_type: String,
    machine_type: String,
    container: String,
    cluster_id: &'static str,
    /// The name by which it is reached.
    fqdn: String,
    tags: Vec<String>,
    is_public: bool,
    is_preemptible: bool,
    shutdown_timeout: Option<u64>,
    /// Its latest session, whose log and metrics are asked for by this.
    job_handle: Option<JobId>,
    /// What became of that one, for people.
    job_error: Option<String>,
    dt_created: Timestamp,
    dt_provisioning_started: Option<Timestamp>,
    dt_provisioning_finished: Option<Timestamp>,
    dt_started: Option<Timestamp>,
    dt_finished: Option<Timestamp>,
    dt_teardown_started: Option<Timestamp>,
    dt_teardown_finished: Option<Timestamp>,
    /// Where the metrics of its latest session are, without a scheme.
    #[serde(rename = "metricsURL")]
    metrics_url: Option<String>,
}

impl NotebookView {
    /// Says where its metrics are, for whoever it is shown to.
    #[must_use]
    pub fn with_metrics(self, at: &MetricsAt, services: &Services, caller: &Caller) -> Self {
        let metrics_url = self.job_handle.as_ref().and_then(|session| at.url(services, caller, session));
        Self { metrics_url, ..self }
    }

    /// Shows a notebook, reached beneath `names`, to a team of that name.
    pub fn of(now: NotebookNow, namespace: &str, names: &Names) -> Self {
        let state = state(now.state, now.notebook.session.as_ref());
        let notebook = now.notebook;
        let run = notebook.session.as_ref().map(|session| &session.workload);
        Self {
            state,
            namespace: namespace.to_owned(),
            fqdn: names.name_of(&notebook.id),
            vm_type: notebook.spec.machine_type.clone(),
            machine_type: notebook.spec.machine_type,
            container: notebook.spec.image,
            cluster_id: clusters::BOX,
            is_public: notebook.is_public,
            is_preemptible: false,
            shutdown_timeout: notebook.limits.shutdown.map(|span| span.as_secs().div_ceil(3600)),
            job_handle: run.map(|run| run.id.clone()),
            job_error: notebook.session.as_ref().and_then(Session::message),
            dt_created: notebook.created_at,
            dt_provisioning_started: run.and_then(|run| run.setup_started_at),
            dt_provisioning_finished: run.and_then(|run| run.setup_finished_at),
            dt_started: run.and_then(|run| run.started_at),
            dt_finished: run.and_then(|run| run.finished_at),
            dt_teardown_started: run.and_then(|run| run.teardown_started_at),
            dt_teardown_finished: run.and_then(|run| run.teardown_finished_at),
            project_handle: notebook.project.clone(),
            project_id: notebook.project,
            tags: notebook.tags,
            name: notebook.name,
            handle: notebook.id,
            metrics_url: None,
        }
    }
}

/// Returns the cloud's word for where a notebook or a TensorBoard is whose latest session is `session`. It
/// runs once its server answers, and until it can be started again; one that was never started is stopped.
pub fn state(state: NotebookState, session: Option<&Session>) -> &'static str {
    let is_torn_down = session.is_none_or(|session| session.workload.teardown_finished_at.is_some());
    match state {
        NotebookState::Created => "Stopped",
        NotebookState::Pending => "Pending",
        NotebookState::Provisioned => "Provisioned",
        NotebookState::Running if session.is_some_and(|session| session.ready_at.is_none()) => "Provisioned",
        NotebookState::Running => "Running",
        _ if !is_torn_down => "Running",
        NotebookState::Stopped => "Stopped",
        NotebookState::Failed => "Failed",
        NotebookState::Error => "Error",
        NotebookState::Cancelled => "Cancelled",
    }
}
