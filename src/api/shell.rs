//! What every answer passes through, whatever its route: a request id, a net under panics, headers
//! that keep browsers strict, the guard, and the bound on bodies.

use std::{any::Any, sync::Arc};

use axum::{
    Extension, Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    Problem,
    body::BodyLimit,
    guard::{self, Guard},
    leftover, request_id,
};
use crate::domain::id::IdSource;

/// What the shell needs to know.
pub struct Shell {
    pub guard: Guard,
    /// Largest JSON body, in bytes.
    pub body_bytes: u64,
    /// Where request ids come from.
    pub ids: Arc<dyn IdSource>,
}

impl Shell {
    /// Wraps all of `routes`. Paths and methods that they do not have get problem documents too,
    /// unless `routes` has a fallback of its own.
    pub fn wrap(self, routes: Router) -> Router {
        let guard = Arc::new(self.guard);
        let ids = self.ids;
        // The last layer is the outermost.
        routes
            .method_not_allowed_fallback(method_not_allowed)
            .layer(Extension(BodyLimit(self.body_bytes)))
            .layer(from_fn(move |request: Request, next: Next| guard::admit(guard.clone(), request, next)))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(lock_down))
            .layer(from_fn(leftover::take))
            .layer(from_fn(move |request: Request, next: Next| request_id::stamp(ids.clone(), request, next)))
    }
}

/// Answers what no route answers.
pub async fn not_found(request: Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} does not work at {}", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let words = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    Problem::internal(anyhow::anyhow!("a handler panicked: {words}")).into_response()
}

/// Sets what an answer has not set itself. The policy is for answers of the API, among them files
/// that jobs wrote: as documents they may do nothing. Pages bring a policy of their own.
async fn lock_down(request: Request, next: Next) -> Response {
    const DEFAULTS: [(HeaderName, &str); 7] = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = next.run(request).await;
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    struct Zeroes;
    impl IdSource for Zeroes {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    fn app() -> Router {
        let routes = Router::new()
            .route("/ok", get(|| async { "fine" }))
            .route("/panic", get(|| async { panic!("secret detail") as () }))
            .route("/page", get(|| async { ([(header::CONTENT_SECURITY_POLICY, "default-src 'self'")], "page") }))
            .fallback(not_found);
        let guard = Guard::new("127.0.0.1:7070".parse().unwrap(), &[]);
        Shell { guard, body_bytes: 100, ids: Arc::new(Zeroes) }.wrap(routes)
    }

    async fn send(method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = app().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_answer_is_locked_down_and_has_no_cors_headers() {
        for path in ["/ok", "/nothing", "/panic"] {
            let (_, headers, _) = send("GET", path, &[]).await;
            assert!(
                headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"),
                "{path}"
            );
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")));
        }
        let (_, headers, _) = send("GET", "/page", &[]).await;
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "default-src 'self'");
    }

    #[tokio::test]
    async fn a_decent_request_id_is_kept_and_a_hostile_one_replaced() {
        let (_, headers, _) = send("GET", "/ok", &[("x-request-id", "abc-1.2_3")]).await;
        assert_eq!(headers["x-request-id"], "abc-1.2_3");
        for id in ["a b", "<x>", "", &"a".repeat(65)] {
            let (_, headers, _) = send("GET", "/ok", &[("x-request-id", id)]).await;
            assert_eq!(headers["x-request-id"], "0000000000000000");
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_only_the_request() {
        let (status, _, body) = send("GET", "/panic", &[("x-request-id", "r1")]).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains("\"requestId\":\"r1\"") && !body.contains("secret detail"), "{body}");
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_problems() {
        let (status, _, body) = send("GET", "/nothing", &[]).await;
        assert!(status == StatusCode::NOT_FOUND && body.contains("not_found"), "{body}");
        let (status, headers, body) = send("POST", "/ok", &[]).await;
        assert!(status == StatusCode::METHOD_NOT_ALLOWED && body.contains("method_not_allowed"), "{body}");
        assert!(headers.contains_key(header::ALLOW));
    }

    #[tokio::test]
    async fn a_foreign_host_gets_nothing() {
        let request = Request::builder().uri("/ok").header("host", "evil.example").body(Body::empty()).unwrap();
        let response = app().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
    }
}
