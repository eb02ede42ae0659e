//! `/tensorboards/{id}/start` and `/stop`: a TensorBoard's session. Opening one is `/workloads/{id}/open`, which starts it,
//! too.

use axum::extract::State;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Path, Problem, problem::ProblemDocument, tensorboard_wire::TensorBoardDetail, tensorboards::detail};
use crate::{
    domain::{caller::Caller, id::TensorBoardId},
    service::Services,
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(stop))
}

/// Start a TensorBoard
///
/// One that runs stays as it is. Opening it does the same.
#[utoipa::path(
    post, path = "/tensorboards/{id}/start", tag = "tensorboards", params(("id" = String, Path, description = "Id of a TensorBoard")),
    responses(
        (status = 200, description = "The TensorBoard as it stands", body = TensorBoardDetail),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Its image or machine type cannot be had on this box any more", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn start(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<TensorBoardId>,
) -> Result<Json<TensorBoardDetail>, Problem> {
    let now = services.start_tensorboard(&caller, &id).await?;
    Ok(Json(detail(&services, &caller, now).await?))
}

/// Stop a TensorBoard
///
/// Asks for the end of its session and answers at once. One that does not run stays as it is.
#[utoipa::path(
    post, path = "/tensorboards/{id}/stop", tag = "tensorboards", params(("id" = String, Path, description = "Id of a TensorBoard")),
    responses(
        (status = 200, description = "The TensorBoard as it stands", body = TensorBoardDetail),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn stop(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<TensorBoardId>,
) -> Result<Json<TensorBoardDetail>, Problem> {
    let now = services.stop_tensorboard(&caller, &id).await?;
    Ok(Json(detail(&services, &caller, now).await?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::{
        router::tests::Api,
        tensorboards::tests::{board, job},
    };

    #[tokio::test]
    async fn opening_starts_it_once_and_other_members_are_another_session() {
        let api = Api::new().await;
        let (one, two) = (job(&api, "one").await, job(&api, "two").await);
        let made = board(&api, json!([{ "job": one }])).await;
        let id = made.body["id"].as_str().unwrap();
        let session = async || {
            let found = api.ask("GET", &format!("tensorboards/{id}"), None).await;
            found.body["session"]["id"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(session().await, "");
        let opened = api.ask("POST", &format!("workloads/{id}/open"), None).await;
        assert_eq!(opened.status, 200, "{}", opened.text);
        let url = opened.body["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("http://{id}.localhost:7071/w/{id}/?gradientd-ticket=")), "{url}");
        let first = session().await;
        api.ask("POST", &format!("workloads/{id}/open"), None).await;
        api.ask("POST", &format!("tensorboards/{id}/start"), None).await;
        assert_eq!(session().await, first);
        let path = format!("tensorboards/{id}/members");
        let changed = api.ask("POST", &path, Some(json!({ "members": [{ "job": two }] }))).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let second = session().await;
        assert_ne!(second, first);
        assert_eq!(changed.body["session"]["activity"]["what"], "its members were changed");
        // It runs, or waits: so it is not deleted, nor is its project.
        assert_eq!(
            api.ask("DELETE", &format!("tensorboards/{id}"), None).await.problem(),
            (409, "tensorboard_running")
        );
        let project = made.body["project"]["id"].as_str().unwrap();
        assert_eq!(
            api.ask("DELETE", &format!("projects/{project}"), None).await.problem(),
            (409, "project_has_tensorboards")
        );
        // Whoever stops it and opens it again has not to wait for the end of the old session.
        assert_eq!(api.ask("POST", &format!("tensorboards/{id}/stop"), None).await.status, 200);
        api.ask("POST", &format!("workloads/{id}/open"), None).await;
        assert_ne!(session().await, second);
    }
}
