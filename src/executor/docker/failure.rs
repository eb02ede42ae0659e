//! What went wrong, from the many ways in which the engine says so.

use std::{error::Error, time::Duration};

use bollard::errors::Error as Bollard;

use crate::executor::EngineError;

/// Words of an engine that has lost its containerd or is shutting down. It says them with a 500, as
/// it would a container that cannot start; yet they tell nothing of what was asked for.
const ENGINE_AWAY: [&str; 6] = [
    "transport is closing",
    "client connection is closing",
    "containerd.sock",
    "context canceled",
    "connection error: desc",
    "error reading from server: EOF",
];

/// Returns what a failed call means.
pub(super) fn read(error: Bollard) -> EngineError {
    match error {
        Bollard::DockerResponseServerError { status_code, message } => status(status_code, &message),
        Bollard::DockerStreamError { error } => EngineError::Refused(error),
        Bollard::RequestTimeoutError
        | Bollard::IOError { .. }
        | Bollard::HyperResponseError { .. }
        | Bollard::HyperLegacyError { .. } => unreachable(&error),
        other => EngineError::Refused(format!("the engine's answer makes no sense: {}", chain(&other))),
    }
}

/// Returns what an answer with HTTP status `status` means.
pub(super) fn status(status: u16, message: &str) -> EngineError {
    let message = message.trim().to_owned();
    match status {
        404 => EngineError::NotFound(message),
        409 => EngineError::Conflict(message),
        401 | 403 => EngineError::Unauthorized(message),
        502..=504 => EngineError::Unreachable(message),
        500 if ENGINE_AWAY.iter().any(|words| message.contains(words)) => EngineError::Unreachable(message),
        _ => EngineError::Refused(message),
    }
}

/// Returns the words in an error's body: JSON with a `message`, or plain text.
pub(super) fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    serde_json::from_slice::<Said>(body)
        .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |said| said.message)
}

/// Returns the error of a connection that failed.
pub(super) fn unreachable(error: &dyn Error) -> EngineError {
    EngineError::Unreachable(chain(error))
}

/// Returns the error of a call that took longer than `limit`.
pub(super) fn late(limit: Duration) -> EngineError {
    EngineError::Unreachable(format!("no answer within {} s", limit.as_secs()))
}

/// Returns an error's words and its causes', without saying anything twice.
fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_lost_containerd_says_nothing_about_the_container() {
        let lost = "error while dialing: dial unix:///run/containerd/containerd.sock: timeout";
        assert!(matches!(status(500, lost), EngineError::Unreachable(_)));
        assert!(matches!(status(500, "no such device"), EngineError::Refused(_)));
    }

    #[test]
    fn an_error_body_is_read_whether_json_or_text() {
        assert_eq!(message(br#"{"message":"no such container: x"}"#), "no such container: x");
        assert_eq!(message(b"page not found"), "page not found");
    }
}
