//! Every request has an id: the client's own when it sends a decent one, a new one otherwise. It is
//! in the log lines, in problem documents and in the answer's `X-Request-Id`.

use std::{sync::Arc, time::Instant};

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument;

use crate::domain::id::{IdSource, random_text};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: String;
}

/// Returns the id of the request that this task answers.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs `future` as the answer to request `id`.
pub async fn scope<F: Future>(id: String, future: F) -> F::Output {
    CURRENT.scope(id, future).await
}

/// Gives the request its id and logs how it was answered. The path is logged, the query and the
/// headers never are.
pub async fn stamp(source: Arc<dyn IdSource>, request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(|| random_text(&*source, 16));
    let (method, path) = (request.method().clone(), without_secrets(request.uri().path()));
    let span = tracing::info_span!("request", request.id = %id, %method, path);
    let answer = async {
        let begun = Instant::now();
        let response = next.run(request).await;
        let duration_ms = begun.elapsed().as_millis() as u64;
        let status = response.status().as_u16();
        if method.is_safe() {
            tracing::debug!(status, duration_ms, "{method} {path} answered {status}");
        } else {
            tracing::info!(status, duration_ms, "{method} {path} answered {status}");
        }
        response
    };
    let mut response = scope(id.clone(), answer.instrument(span.clone())).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// Leaves out the parts of a path that are secrets themselves: they begin with `~`.
fn without_secrets(path: &str) -> String {
    if !path.contains("/~") {
        return path.to_owned();
    }
    path.split('/').map(|part| if part.starts_with('~') { "~" } else { part }).collect::<Vec<_>>().join("/")
}

/// Returns the client's id if it cannot do harm in a log.
fn given(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let decent = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=64).contains(&text.len()) && text.bytes().all(decent)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_path_is_not_logged() {
        assert_eq!(without_secrets("/a/~5.key.sig/b"), "/a/~/b");
        assert_eq!(without_secrets("/a~b/c"), "/a~b/c");
    }
}
