//! An experiment as the client reads it. It lays `params` over the rest, so what stands there counts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{clusters, experiment_wire::SINGLE_NODE, workspace_upload};
use crate::{
    domain::{
        experiment::Experiment,
        id::{ExperimentId, ProjectId},
        time::Timestamp,
        workload::{Command, Port, Spec, State, Workspace},
    },
    service::experiments::ExperimentNow,
};

/// An experiment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentView {
    handle: ExperimentId,
    name: String,
    experiment_type_id: u32,
    state: u32,
    #[serde(rename = "project_handle")]
    project_handle: ProjectId,
    template_history: Template,
    tags: Vec<Tag>,
    dt_created: Timestamp,
    dt_started: Option<Timestamp>,
    dt_stopped: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Tag {
    name: String,
}

#[derive(Debug, Serialize)]
struct Template {
    params: Params,
}

/// What runs start with, without passwords.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    #[serde(rename = "worker_container")]
    worker_container: String,
    #[serde(rename = "worker_machine_type")]
    worker_machine_type: String,
    #[serde(rename = "worker_command")]
    worker_command: Option<String>,
    /// `host:container`, with commas between several.
    ports: Option<String>,
    experiment_env: BTreeMap<String, String>,
    working_directory: Option<String>,
    artifact_directory: &'static str,
    workspace_url: Option<String>,
    workspace_ref: Option<String>,
    container_user: Option<String>,
    cluster_id: &'static str,
    model_type: Option<String>,
    model_path: Option<String>,
    is_preemptible: bool,
}

impl From<ExperimentNow> for ExperimentView {
    fn from(ExperimentNow { experiment, .. }: ExperimentNow) -> Self {
        let state = state(experiment.state());
        let Experiment { id, name, project, tags, model, plan, created_at, latest, .. } = experiment;
        let mut params = Params::from(plan.spec);
        (params.model_type, params.model_path) = (model.kind, model.path);
        Self {
            handle: id,
            name,
            experiment_type_id: SINGLE_NODE,
            state,
            project_handle: project,
            template_history: Template { params },
            tags: tags.into_iter().map(|name| Tag { name }).collect(),
            dt_created: created_at,
            dt_started: latest.as_ref().and_then(|run| run.started_at),
            dt_stopped: latest.and_then(|run| run.finished_at),
        }
    }
}

impl From<Spec> for Params {
    fn from(spec: Spec) -> Self {
        let (workspace_url, workspace_ref) = match spec.workspace {
            Workspace::Empty => (None, None),
            Workspace::Upload(upload) => (Some(workspace_upload::address(&upload)), None),
            Workspace::Git { url, reference, .. } => (Some(url), reference),
        };
        let port = |port: &Port| match port.host {
            Some(host) => format!("{host}:{}", port.container),
            None => port.container.to_string(),
        };
        let ports: Vec<_> = spec.ports.iter().map(port).collect();
        Self {
            worker_container: spec.image,
            worker_machine_type: spec.machine_type,
            worker_command: match spec.command {
                Command::Image => None,
                Command::Shell(text) => Some(text),
                Command::Exec(words) => Some(words.join(" ")),
            },
            ports: (!ports.is_empty()).then(|| ports.join(",")),
            experiment_env: spec.env,
            working_directory: spec.working_directory,
            artifact_directory: "/artifacts",
            workspace_url,
            workspace_ref,
            container_user: spec.user,
            cluster_id: clusters::BOX,
            model_type: None,
            model_path: None,
            is_preemptible: false,
        }
    }
}

/// Returns the cloud's number for where the latest run is.
fn state(state: Option<State>) -> u32 {
    match state {
        None => 10,
        Some(State::Pending) => 1,
        Some(State::Provisioned) => 2,
        Some(State::Running) => 4,
        Some(State::Stopped) => 5,
        Some(State::Error) => 6,
        Some(State::Failed) => 7,
        Some(State::Cancelled) => 8,
    }
}
