//! Server-sent events with resumable ids.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::FromRequestParts,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt};
use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Lease, Problem};

/// A comment is sent after so much silence, so that both ends notice when the other has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Makes one event: an id to resume after, a kind, and data as JSON.
///
/// # Errors
/// A 500 when `data` does not serialise.
pub fn event(id: i64, kind: &str, data: &impl Serialize) -> Result<Event, Problem> {
    // JSON as one line: a line break in it would end the data.
    let data = serde_json::to_string(data).map_err(Problem::internal)?;
    Ok(Event::default().id(id.to_string()).event(kind).data(data))
}

/// Sends `events` as they come. Ends with them, or when the caller's key or session ends, or when
/// the daemon does; a client that comes back resumes after the last id it saw.
pub fn stream(
    events: impl Stream<Item = Event> + Send + 'static,
    lease: Lease,
    shutdown: CancellationToken,
) -> Response {
    let end = async move {
        tokio::select! {
            () = lease.ended() => {}
            () = shutdown.cancelled() => {}
        }
    };
    let events = events.take_until(Box::pin(end)).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Tells nginx to pass events on as they come.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// The id of the last event that a client saw, if it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEventId(pub Option<i64>);

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("last-event-id") else { return Ok(Self(None)) };
        match value.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(id) => Ok(Self(Some(id))),
            None => {
                let detail = "Last-Event-ID must be the id of an event of this stream";
                Err(Problem::new(StatusCode::BAD_REQUEST, "bad_event_id", detail).field("Last-Event-ID"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use futures_util::stream;

    use super::*;
    use crate::api::caller::tests::{Book, lease};

    fn book() -> Arc<Book> {
        Arc::new(Book { revoked: false.into() })
    }

    async fn text(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn events_have_ids_and_data_stays_on_one_line() {
        let events = stream::iter([event(7, "line", &"a\r\nb\u{2028}").unwrap()]);
        let response = super::stream(events, lease(book()), CancellationToken::new());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(text(response).await, "id: 7\nevent: line\ndata: \"a\\r\\nb\u{2028}\"\n\n");
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_key_does() {
        let book = book();
        let response = super::stream(stream::pending(), lease(book.clone()), CancellationToken::new());
        let ended = text(response);
        tokio::pin!(ended);
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut ended).await.is_err());
        book.revoked.store(true, Ordering::SeqCst);
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_daemon_does() {
        let shutdown = CancellationToken::new();
        let response = super::stream(stream::pending(), lease(book()), shutdown.clone());
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), text(response)).await.unwrap();
    }

    #[tokio::test]
    async fn only_a_number_is_an_event_id() {
        for (value, expected) in [("12", Ok(Some(12))), ("x", Err("bad_event_id"))] {
            let mut parts = http::Request::builder().header("last-event-id", value).body(()).unwrap().into_parts().0;
            let read = LastEventId::from_request_parts(&mut parts, &()).await;
            assert_eq!(read.map(|id| id.0).map_err(|problem| problem.code()), expected);
        }
    }
}
