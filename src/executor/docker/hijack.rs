//! A connection that is taken over after its request: the engine's way to speak with a command in both
//! directions.
//!
//! bollard can do it, and then cuts what comes into lines. A terminal is bytes.

use std::path::Path;

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE},
};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::failure;
use crate::executor::EngineError;

/// Sends `POST path` over a connection of its own, and returns the connection once the engine speaks no HTTP
/// on it any more.
///
/// # Errors
/// What the engine says when it refuses.
pub(super) async fn take_over(socket: &Path, path: &str, body: Vec<u8>) -> Result<Upgraded, EngineError> {
    let socket = UnixStream::connect(socket).await.map_err(|error| failure::unreachable(&error))?;
    let joined = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = joined.map_err(|error| failure::unreachable(&error))?;
    // Ends with the answer: the upgrade takes the socket out of it.
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(path)
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| EngineError::Refused(format!("cannot ask for {path}: {error}")))?;
    let answer = sender.send_request(request).await.map_err(|error| failure::unreachable(&error))?;
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return hyper::upgrade::on(answer).await.map_err(|error| failure::unreachable(&error));
    }
    let body = answer.into_body().collect().await.map_err(|error| failure::unreachable(&error))?.to_bytes();
    if status.is_success() {
        return Err(EngineError::Refused("the engine does not hand over the connection".into()));
    }
    Err(failure::status(status.as_u16(), &failure::message(&body)))
}
