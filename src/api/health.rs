//! `/healthz`: whether the daemon can do its work. Open to all; never touches the engine.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Json;
use crate::service::{ServiceError, Services};

/// The route of health, for everybody.
pub fn open_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Whether the daemon can do its work.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok` or `failing`.
    status: &'static str,
    version: &'static str,
    /// What is wrong, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Says whether the daemon can do its work, for whoever watches over it.
#[utoipa::path(
    get, path = "/healthz", tag = "box",
    responses(
        (status = 200, body = Health),
        (status = 503, description = "The database is damaged or closed", body = Health),
    ),
)]
async fn get(State(services): State<Services>) -> (StatusCode, Json<Health>) {
    match services.health().await {
        Ok(()) => (StatusCode::OK, Json(health("ok", None))),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(health("failing", Some(reason(error))))),
    }
}

fn health(status: &'static str, reason: Option<String>) -> Health {
    Health { status, version: env!("CARGO_PKG_VERSION"), reason }
}

/// Anybody may ask, so SQLite's own words stay in the log.
fn reason(error: ServiceError) -> String {
    match error {
        ServiceError::Store(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn a_daemon_is_well_until_its_store_is_not() {
        let api = Api::new().await;
        let well = api.send("GET", "healthz", &[], None).await;
        assert_eq!((well.status.as_u16(), well.body["status"].as_str()), (200, Some("ok")));
        assert_eq!(well.body["version"], env!("CARGO_PKG_VERSION"));
        api.store.close().await;
        let ill = api.send("GET", "healthz", &[], None).await;
        assert_eq!((ill.status.as_u16(), ill.body["status"].as_str()), (503, Some("failing")));
        assert_eq!(ill.body["reason"], "the store is closed");
    }
}
