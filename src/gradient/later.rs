//! What the client can ask for and this box does not do: said with what to use instead.

use axum::extract::Request;
use http::StatusCode;

use super::ROOT;
use crate::api::Problem;

/// What the paths of the client's commands begin with, with what to say of them.
const LATER: &[(&str, &str)] = &[
    ("/workflows", "workflows are not on this box yet: run the steps as jobs"),
    ("/mlModels/", "models are not on this box yet: keep their files in a dataset"),
    ("/deployments/", "deployments are not on this box yet: run a job that publishes a port"),
    ("/graphql", "deployments are not on this box yet: run a job that publishes a port"),
    (
        "/experiments/v2/hyperopt/",
        "hyperparameter searches are not on this box yet: run an experiment of a single node for each try",
    ),
    ("/jobs/", "this is not on this box yet: a job's page and the API have its metrics and charts"),
    ("/machines/", "this box is the only machine: run a job, and choose its machine type"),
];

/// Answers what no route of the room answers.
pub async fn not_here(request: Request) -> Problem {
    let path = request.uri().path();
    let path = path.strip_prefix(ROOT).unwrap_or(path);
    match LATER.iter().find(|(beginning, _)| path.starts_with(beginning)) {
        Some((_, words)) => Problem::new(StatusCode::NOT_IMPLEMENTED, "not_here_yet", words),
        None => Problem::not_found(format!("there is nothing at {path}")),
    }
}
