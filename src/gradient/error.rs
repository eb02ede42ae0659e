//! Refusals as the client prints them. It searches a body for `error` and `message`, prints what it
//! finds there, and exits with 0 whatever the status: so the words are all that a person gets.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::header;
use serde::{Deserialize, Serialize};

use super::ROOT;

/// Longest problem document that is read again, in bytes; they are shorter by construction.
const LONGEST: usize = 64 << 10;

/// What is taken from a problem document.
#[derive(Deserialize)]
struct Document {
    code: String,
    detail: String,
    field: Option<String>,
}

/// A refusal, in the shape that each kind of command reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Refusal {
    Error(Reason),
    /// Of GraphQL.
    Errors([Words; 1]),
}

#[derive(Serialize)]
struct Words {
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason {
    /// Which problem it is, for programs.
    name: String,
    status: u16,
    /// The only text in it, for the client prints each that it finds.
    message: String,
}

/// Says what is refused beneath [`ROOT`] in words that the client prints. Laid around all of the API, for
/// some requests are refused before any route has seen them.
pub fn worded(routes: Router) -> Router {
    routes.layer(from_fn(reworded))
}

async fn reworded(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_ours = path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'));
    let is_graphql = path.ends_with("/graphql");
    let response = next.run(request).await;
    if !is_ours || !(response.status().is_client_error() || response.status().is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, LONGEST).await.unwrap_or_default();
    let Ok(document) = serde_json::from_slice::<Document>(&bytes) else {
        return (parts, Body::from(bytes)).into_response();
    };
    let message = match document.field {
        Some(field) if !document.detail.contains(&field) => format!("{field}: {}", document.detail),
        _ => document.detail,
    };
    let refusal = match is_graphql {
        true => Refusal::Errors([Words { message }]),
        false => Refusal::Error(Reason { name: document.code, status: parts.status.as_u16(), message }),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    let mut response = axum::Json(refusal).into_response();
    *response.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;
    use crate::api::Problem;

    async fn printed(problem: fn() -> Problem) -> (StatusCode, serde_json::Value) {
        let routes = worded(Router::new().route("/gradient/x", get(move || async move { problem() })));
        let response = routes.oneshot(Request::get("/gradient/x").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let status = response.status();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn a_refusal_has_one_text_that_names_the_field() {
        let (status, body) = printed(|| Problem::invalid("bad_name", "name", "too long")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            body,
            serde_json::json!({ "error": { "name": "bad_name", "status": 422, "message": "name: too long" } })
        );
        let (_, body) = printed(|| Problem::invalid("bad_name", "name", "a name has 3 letters")).await;
        assert_eq!(body["error"]["message"], "a name has 3 letters");
    }

    #[tokio::test]
    async fn a_status_keeps_its_headers() {
        let (status, body) = printed(|| Problem::unauthorized("who are you?")).await;
        assert_eq!((status, &body["error"]["message"]), (StatusCode::UNAUTHORIZED, &"who are you?".into()));
    }
}
