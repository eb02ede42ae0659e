//! Reads what a request says: JSON bodies, queries and paths. Whatever is wrong becomes a problem
//! that names the field.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::Problem;

/// How long a JSON body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Largest JSON body in bytes, laid on every request by the shell.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub u64);

/// A JSON body, of a request or of an answer. Nested at most 128 deep.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Answers that something was made, with where it is: its path beneath the API.
pub fn created(path: impl std::fmt::Display, made: impl Serialize) -> Response {
    (StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/{path}"))], Json(made)).into_response()
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        refuse_other_kinds(request.headers())?;
        parse(&collect(request).await?).map(Self)
    }
}

/// A body that may be left out.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, Problem> {
        let kind = refuse_other_kinds(request.headers());
        let bytes = collect(request).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        kind?;
        parse(&bytes).map(|value| Some(Self(value)))
    }
}

/// A page elsewhere can send text/plain without asking first, so the kind is not guessed.
pub(super) fn refuse_other_kinds(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let detail = "send the body as JSON, with Content-Type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail))
}

/// Reads the body, up to the limit.
pub(super) async fn collect(request: Request) -> Result<Bytes, Problem> {
    let limit = request.extensions().get::<BodyLimit>().map_or(1 << 20, |limit| limit.0);
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes (limits.body)");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > limit) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout(PATIENCE, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended before it was whole")),
        Err(_) => {
            let detail = format!("the body did not arrive within {} seconds", PATIENCE.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail))
        }
    }
}

/// Reads JSON into `T`.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A derived struct would take a list by position, and of anything else say the name of its type.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
        let detail = "the body is a JSON object: {\"name\": value, …}";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.classify() == serde_json::error::Category::Data {
            wrong_field("invalid_body", &path, &without_place(&inner))
        } else {
            malformed(&inner)
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not JSON: {error}"))
}

/// The line and column of a wrong value say less than the field's name.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Makes a problem of serde's words about the value at `path`.
fn wrong_field(code: &'static str, path: &str, words: &str) -> Problem {
    let path = path.trim_matches('.');
    let named = words.split('`').nth(1).unwrap_or_default();
    let within = |name: &str| match path {
        "" | "?" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    if words.starts_with("unknown field `") {
        let known: Vec<&str> = words.split('`').skip(3).step_by(2).collect();
        return Problem::invalid("unknown_field", within(named), unknown_field_words(named, &known));
    }
    if words.starts_with("missing field `") {
        return Problem::invalid("missing_field", within(named), format!("“{named}” is missing"));
    }
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, words);
    if matches!(path, "" | "?") { problem } else { problem.field(path) }
}

fn unknown_field_words(name: &str, known: &[&str]) -> String {
    let name: String = name.chars().take(100).collect();
    let likeness = |known: &str| strsim::jaro_winkler(known, &name);
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match nearest.filter(|known| likeness(known) > 0.8) {
        Some(nearest) => format!("there is no “{name}”: did you mean “{nearest}”? There are {}", known.join(", ")),
        None if known.is_empty() => format!("there is no “{name}”, nor anything else"),
        None => format!("there is no “{name}”: there are {}", known.join(", ")),
    }
}

/// The parameters after `?`. One that `T` does not have is refused.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Reads `text` as the part of a URL after `?`.
pub(super) fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error))?;
    query_pairs(&pairs)
}

pub(super) fn query_pairs<T: DeserializeOwned>(pairs: &[(String, String)]) -> Result<T, Problem> {
    let text = serde_urlencoded::to_string(pairs).map_err(Problem::internal)?;
    // This one deserializer reads numbers out of texts, which is why the pairs are written out again.
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| wrong_field("invalid_query", &error.path().to_string(), &error.inner().to_string()))
}

/// What stands for the names in a route's path. What cannot be read is not found.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(Problem::not_found(path_words(error))),
            Err(error) => Err(Problem::internal(error)),
        }
    }
}

fn path_words(error: axum::extract::rejection::FailedToDeserializePathParams) -> String {
    use axum::extract::path::ErrorKind;
    match error.into_kind() {
        ErrorKind::DeserializeError { message, .. } | ErrorKind::Message(message) => message,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, Router, body::Body, routing::any};
    use serde::Deserialize;
    use tower::ServiceExt;

    use super::*;
    use crate::domain::id::JobId;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only the reading is tested")]
    struct Wire {
        image: String,
        time_limit_seconds: Option<u32>,
        nested: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the reading is tested")]
    struct Inner {
        list: Vec<u8>,
    }

    fn app() -> Router {
        Router::new()
            .route("/json", any(|Json(_): Json<Wire>| async { "ok" }))
            .route(
                "/maybe",
                any(|body: Option<Json<Wire>>| async move { if body.is_some() { "some" } else { "none" } }),
            )
            .route("/query", any(|Query(_): Query<Wire>| async { "ok" }))
            .route("/jobs/{id}", any(|Path(id): Path<JobId>| async move { id.to_string() }))
            .layer(Extension(BodyLimit(200)))
    }

    async fn send(path: &str, kind: &str, body: impl Into<Body>) -> (u16, serde_json::Value) {
        let request =
            Request::builder().method("POST").uri(path).header("content-type", kind).body(body.into()).unwrap();
        let response = app().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
    }

    async fn refused(body: &'static str) -> (u16, String, String, String) {
        let (status, problem) = send("/json", "application/json", body).await;
        let part = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        (status, part("code"), part("field"), part("detail"))
    }

    #[tokio::test]
    async fn a_good_body_is_read() {
        assert_eq!(send("/json", "application/json; charset=utf-8", r#"{"image":"x"}"#).await.0, 200);
    }

    #[tokio::test]
    async fn an_unknown_field_is_named_with_the_nearest_and_the_rest() {
        let (status, code, field, detail) = refused(r#"{"image":"x","timeLimitSecond":1}"#).await;
        assert_eq!((status, code.as_str(), field.as_str()), (422, "unknown_field", "timeLimitSecond"));
        assert!(
            detail.contains("“timeLimitSeconds”?") && detail.contains("image, timeLimitSeconds, nested"),
            "{detail}"
        );
        let (_, code, field, _) = refused(r#"{"image":"x","nested":{"lisst":[]}}"#).await;
        assert_eq!((code.as_str(), field.as_str()), ("unknown_field", "nested.lisst"));
    }

    #[tokio::test]
    async fn a_missing_or_wrong_field_is_named_by_its_path() {
        let (status, code, field, _) = refused("{}").await;
        assert_eq!((status, code.as_str(), field.as_str()), (422, "missing_field", "image"));
        let (_, code, field, detail) = refused(r#"{"image":"x","nested":{"list":[1,-5]}}"#).await;
        assert_eq!((code.as_str(), field.as_str()), ("invalid_body", "nested.list[1]"));
        assert!(detail.contains("-5") && !detail.contains("line"), "{detail}");
        let (_, _, field, _) = refused(r#"{"image":"x","timeLimitSeconds":99999999999999999999}"#).await;
        assert_eq!(field, "timeLimitSeconds");
    }

    #[tokio::test]
    async fn what_is_not_json_says_where() {
        for body in ["", "{", "{\"image\":", "{} {}", "nul", "\u{0}"] {
            let (status, code, ..) = refused(body).await;
            let expected = if body == "{} {}" { (422, "missing_field") } else { (400, "malformed_json") };
            assert_eq!((status, code.as_str()), expected, "{body}");
        }
        assert_eq!(refused(r#"{"image":"x"} trailing"#).await.1, "malformed_json");
    }

    #[tokio::test]
    async fn what_is_json_but_no_object_is_refused_without_the_names_of_types() {
        for body in ["[]", "[\"x\"]", "null", "\"x\"", "5"] {
            let (status, code, _, detail) = refused(body).await;
            assert_eq!((status, code.as_str()), (422, "invalid_body"), "{body}");
            assert!(!detail.contains("Wire") && detail.contains("object"), "{detail}");
        }
    }

    #[tokio::test]
    async fn deep_nesting_is_refused_and_not_followed() {
        let deep = format!("{{\"image\":{}", "[".repeat(150));
        let (status, _) = send("/json", "application/json", deep).await;
        assert!(status == 400 || status == 422);
    }

    #[tokio::test]
    async fn another_kind_of_body_is_refused() {
        for kind in ["text/plain", "", "application/x-www-form-urlencoded", "text/json"] {
            assert_eq!(send("/json", kind, "{}").await.0, 415, "{kind}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_with_the_limit_announced_or_not() {
        let large = format!("{{\"image\":\"{}\"}}", "x".repeat(300));
        let (status, problem) = send("/json", "application/json", large.clone()).await;
        assert_eq!(status, 413);
        assert!(problem["detail"].as_str().unwrap().contains("200 bytes"));
        let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(large)]);
        assert_eq!(send("/json", "application/json", Body::from_stream(chunks)).await.0, 413);
    }

    #[tokio::test]
    async fn an_optional_body_may_be_left_out_and_is_checked_otherwise() {
        assert_eq!(send("/maybe", "", "").await.1, "none");
        assert_eq!(send("/maybe", "application/json", r#"{"image":"x"}"#).await.1, "some");
        assert_eq!(send("/maybe", "text/plain", "x").await.0, 415);
        assert_eq!(send("/maybe", "application/json", "x").await.0, 400);
    }

    #[tokio::test]
    async fn a_wrong_query_names_its_parameter() {
        assert_eq!(send("/query?image=a%20b&timeLimitSeconds=5", "", "").await.0, 200);
        for (query, code, field) in [
            ("image=a&imag=b", "unknown_field", "imag"),
            ("image=a&timeLimitSeconds=x", "invalid_query", "timeLimitSeconds"),
            ("", "missing_field", "image"),
        ] {
            let (status, problem) = send(&format!("/query?{query}"), "", "").await;
            assert_eq!((status, &problem["code"], &problem["field"]), (422, &code.into(), &field.into()), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_path_that_is_no_id_is_not_found_and_says_what_an_id_looks_like() {
        assert_eq!(send("/jobs/js0123456789ab", "", "").await.1, "js0123456789ab");
        for path in ["/jobs/p12345678", "/jobs/..%2f..", "/jobs/%ff"] {
            let (status, problem) = send(path, "", "").await;
            assert_eq!(status, 404, "{path}");
            assert_eq!(problem["code"], "not_found");
        }
        let (_, problem) = send("/jobs/x", "", "").await;
        assert!(problem["detail"].as_str().unwrap().contains("“js”"), "{problem}");
    }
}
