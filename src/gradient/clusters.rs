//! `clusters list`: this box is the only one.

use axum::{Json, extract::State};
use serde::Serialize;

use super::filter::Filter;
use crate::{
    api::Problem,
    domain::{caller::Caller, user_path::shown},
    service::Services,
};

/// The id of the one cluster, which clients may name wherever they name one.
pub const BOX: &str = "box";

/// This box as a cluster.
#[derive(Debug, Serialize)]
pub struct ClusterView {
    id: &'static str,
    name: String,
    r#type: &'static str,
}

/// Lists this box.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    filter: Filter,
) -> Result<Json<Vec<ClusterView>>, Problem> {
    // The scope is the services' to check.
    services.box_now(&caller).await?;
    Ok(Json(filter.cut(vec![ClusterView { id: BOX, name: name(), r#type: "gradientd" }])))
}

/// Refuses whoever names a cluster that is not this box, by its id or by what it is called: they would
/// look for what they made somewhere else. Naming none is naming this one.
///
/// # Errors
/// A 404 that says which one there is.
pub fn require(named: &str) -> Result<(), Problem> {
    match named {
        "" | BOX => Ok(()),
        called if called == name() => Ok(()),
        other => Err(Problem::not_found(format!(
            "there is no cluster {}: this box is the only one, and its id is {BOX}",
            shown(other.as_bytes())
        ))),
    }
}

/// Returns what this box is called.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
