//! The environment variables that point the original client to this box.

use axum::Json;
use http::HeaderMap;
use serde::Serialize;

use super::ROOT;
use crate::api::signed::origin;

/// A variable with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variable {
    pub name: &'static str,
    pub value: String,
}

/// Returns all variables but the key, for a box that is reached at `origin`, such as
/// `http://box:7070`.
pub fn variables(origin: &str) -> Vec<Variable> {
    let origin = origin.trim_end_matches('/');
    let at = |name, path: &str| Variable { name, value: format!("{origin}{ROOT}{path}") };
    vec![
        at("PAPERSPACE_CONFIG_HOST", ""),
        at("PAPERSPACE_CONFIG_LOG_HOST", ""),
        at("PAPERSPACE_CONFIG_SERVICE_HOST", ""),
        at("PAPERSPACE_CONFIG_EXPERIMENTS_HOST", "/experiments/v1/"),
        at("PAPERSPACE_CONFIG_EXPERIMENTS_HOST_V2", "/experiments/v2/"),
        at("PAPERSPACE_API_HOST", "/graphql"),
        at("PAPERSPACE_WEB_URL", "/web"),
    ]
}

/// Answers with the variables for whoever asks, by the name that this box is called by.
pub async fn get(headers: HeaderMap) -> Json<Vec<Variable>> {
    Json(variables(&origin(&headers)))
}
