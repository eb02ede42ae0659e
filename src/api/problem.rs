//! Errors as clients see them: RFC 9457 documents of a status, a `code` that is never reworded and
//! a `detail` for a person. The only place that knows which error has which status.

use std::{borrow::Cow, fmt};

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::request_id;
use crate::{
    domain::{caller::Denied, id::InvalidId, idempotency::KeyReused},
    service::{Invalid, ServiceError},
    storage::s3::S3Error,
};

/// Longest `detail`, in characters: it may repeat what a client sent.
const DETAIL: usize = 2000;
/// When to ask again after too much was asked at once, in seconds.
const RETRY_AFTER: &str = "5";

/// Why a request did not succeed.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log alone.
    cause: Option<anyhow::Error>,
}

impl Problem {
    /// Makes a problem whose `detail` is what `detail` prints.
    pub fn new(status: StatusCode, code: &'static str, detail: impl fmt::Display) -> Self {
        Self { status, code, detail: detail.to_string(), field: None, headers: Vec::new(), cause: None }
    }

    /// Something in the request is wrong: 422.
    pub fn invalid(code: &'static str, field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).field(field)
    }

    /// There is no such thing: 404.
    pub fn not_found(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The state of things does not allow it: 409.
    pub fn conflict(code: &'static str, detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Nobody knows who asks: 401.
    pub fn unauthorized(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// It cannot be done now, and may be later: 503.
    pub fn unavailable(code: &'static str, detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// Our own fault: 500. The chain of `cause` goes to the log; the client is told the request's id.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "");
        problem.cause = Some(cause.into());
        problem
    }

    /// Adds the chain of what was behind it, for the log of a 5xx.
    #[must_use]
    pub fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Names the part of the request that is wrong, such as `env.PATH`.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

/// A problem as it is sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDocument {
    /// Always `about:blank`: `code` says which problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// Which problem it is, for programs; never reworded.
    code: &'static str,
    /// What is wrong and what to do, for a person.
    detail: String,
    /// The part of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Names this request in the daemon's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let request_id = request_id::current();
        if self.status.is_server_error() {
            let error =
                self.cause.as_ref().map_or_else(|| Cow::from(&self.detail), |cause| format!("{cause:#}").into());
            tracing::error!(code = self.code, status = self.status.as_u16(), %error, "request failed");
        }
        let detail = if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            let id = request_id.as_deref().unwrap_or("unknown");
            format!("something went wrong here. The daemon's log says more about request {id}")
        } else {
            cut(self.detail)
        };
        let document = ProblemDocument {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail,
            field: self.field.map(cut),
            request_id,
        };
        let body = serde_json::to_vec(&document).expect("a problem document is texts and numbers");
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], body).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(DETAIL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", denied)
    }
}

impl From<InvalidId> for Problem {
    fn from(error: InvalidId) -> Self {
        Self::not_found(error)
    }
}

impl From<KeyReused> for Problem {
    fn from(error: KeyReused) -> Self {
        Self::invalid("idempotency_key_reused", "Idempotency-Key", error)
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.code, invalid.field, invalid.message)
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        use ServiceError as E;
        match error {
            E::Denied(denied) => denied.into(),
            E::NotFound { kind, .. } => Self::new(StatusCode::NOT_FOUND, not_found_code(kind), error),
            E::Invalid(invalid) => invalid.into(),
            E::Conflict { code, message } => Self::conflict(code, message),
            E::Unmet { code, message } => Self::new(StatusCode::PRECONDITION_FAILED, code, message),
            E::KeyReused(reused) => reused.into(),
            E::TooMany { code, message } => Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
                .header(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER)),
            E::TooLarge(message) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message),
            E::Forbidden(message) => Self::new(StatusCode::FORBIDDEN, "forbidden", message),
            E::QuotaExceeded(message) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded", message),
            E::DiskFull => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", error),
            E::S3(error) => error.into(),
            E::NotSignedIn => Self::unauthorized(error),
            E::Store(_) | E::Seal(_) | E::Io(_) => Self::internal(error),
        }
    }
}

impl From<S3Error> for Problem {
    fn from(error: S3Error) -> Self {
        let (status, code) = match &error {
            S3Error::NotFound(_) => (StatusCode::NOT_FOUND, "file_not_found"),
            S3Error::Changed(_) => (StatusCode::CONFLICT, "changed_meanwhile"),
            error if error.is_passing() => (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable"),
            _ => (StatusCode::BAD_GATEWAY, "storage_refused"),
        };
        Self::new(status, code, error)
    }
}

/// A code for each kind of thing that services look for.
fn not_found_code(kind: &str) -> &'static str {
    match kind {
        "job" => "job_not_found",
        "project" => "project_not_found",
        "experiment" => "experiment_not_found",
        "secret" => "secret_not_found",
        "storage provider" => "storage_provider_not_found",
        "key" => "key_not_found",
        "upload" => "upload_not_found",
        "chart" => "chart_not_found",
        "artifact" => "artifact_not_found",
        "artifacts" => "artifacts_not_found",
        "dataset" => "dataset_not_found",
        "version" => "version_not_found",
        "tag" => "tag_not_found",
        "file" => "file_not_found",
        "file upload" => "file_upload_not_found",
        "file task" => "file_task_not_found",
        "notebook" => "notebook_not_found",
        "terminal" => "terminal_not_found",
        "TensorBoard" => "tensorboard_not_found",
        "member" => "member_not_found",
        "multipart upload" => "multipart_not_found",
        "import" => "import_not_found",
        _ => "not_found",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn document(problem: Problem) -> serde_json::Value {
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn a_problem_names_its_field_and_the_request() {
        let problem = Problem::invalid("bad_name", "name", "too long");
        let document = request_id::scope("req1".into(), document(problem)).await;
        assert_eq!(
            document,
            serde_json::json!({
                "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "bad_name",
                "detail": "too long", "field": "name", "requestId": "req1",
            })
        );
    }

    #[tokio::test]
    async fn a_fault_of_ours_tells_the_request_and_nothing_of_its_cause() {
        let problem = Problem::internal(anyhow::anyhow!("no such table: jobs"));
        let document = request_id::scope("req2".into(), document(problem)).await;
        assert!(document["detail"].as_str().unwrap().contains("req2"));
        assert!(!document.to_string().contains("table"));
    }

    #[tokio::test]
    async fn what_a_client_sent_is_not_repeated_without_end() {
        let document = document(Problem::not_found("é".repeat(100_000))).await;
        assert!(document["detail"].as_str().unwrap().chars().count() <= DETAIL + 1);
    }

    #[test]
    fn who_asks_for_too_much_at_once_hears_when_to_come_again() {
        let error = ServiceError::TooMany { code: "too_many_streams", message: String::new() };
        let response = Problem::from(error).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::RETRY_AFTER]),
            (429, &"5".parse().unwrap())
        );
    }
}
