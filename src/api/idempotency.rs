//! Reads a JSON body together with the `Idempotency-Key` that came with it.

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
};
use http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;

use super::{Problem, body};
use crate::domain::idempotency::IdempotencyKey;

/// A JSON body that makes something, and the client's promise that it is sent once, if it made one.
#[derive(Debug, Clone)]
pub struct Once<T> {
    pub body: T,
    pub key: Option<IdempotencyKey>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Once<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        body::refuse_other_kinds(request.headers())?;
        let text = key_text(&request)?;
        let mut hasher = blake3::Hasher::new();
        // Neither a method nor a path holds a newline, so no two requests hash the same text.
        hasher.update(format!("{}\n{}\n", request.method(), request.uri().path()).as_bytes());
        let bytes = body::collect(request).await?;
        let fingerprint = *hasher.update(&bytes).finalize().as_bytes();
        let key = text.map(|text| IdempotencyKey { text, fingerprint });
        Ok(Self { body: body::parse(&bytes)?, key })
    }
}

/// The same, where no body means `{}`.
#[derive(Debug, Clone)]
pub struct MaybeOnce<T>(pub Once<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for MaybeOnce<T> {
    type Rejection = Problem;
    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            *request.body_mut() = Body::from("{}");
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Once::from_request(request, state).await.map(Self)
    }
}

fn key_text(request: &Request) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(text.to_owned()));
    }
    let detail = "an Idempotency-Key is 1 to 255 visible ASCII characters, such as a UUID";
    Err(Problem::new(StatusCode::BAD_REQUEST, "bad_idempotency_key", detail).field("Idempotency-Key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(path: &str, key: Option<&str>, body: &'static str) -> Result<Option<IdempotencyKey>, Problem> {
        let mut request = Request::builder().method("POST").uri(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body)).unwrap();
        Once::<serde_json::Value>::from_request(request, &()).await.map(|once| once.key)
    }

    #[tokio::test]
    async fn equal_requests_have_equal_fingerprints_and_others_do_not() {
        let first = read("/jobs", Some("k"), "{}").await.unwrap();
        assert!(first.is_some());
        assert_eq!(first, read("/jobs", Some("k"), "{}").await.unwrap());
        assert_ne!(first, read("/jobs", Some("k"), "{ }").await.unwrap());
        assert_ne!(first, read("/projects", Some("k"), "{}").await.unwrap());
        assert_eq!(read("/jobs", None, "{}").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_key_that_is_empty_long_or_spaced_is_refused() {
        for key in ["", "a b", &"k".repeat(256)] {
            assert_eq!(read("/jobs", Some(key), "{}").await.unwrap_err().code(), "bad_idempotency_key");
        }
    }
}
