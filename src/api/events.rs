//! `/events`: one stream of everything that changes, for pages that show it.

use std::collections::VecDeque;

use axum::{
    Extension,
    extract::State,
    response::{Response, sse},
};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Lease, Problem,
    problem::ProblemDocument,
    sse::{LastEventId, event, stream as answer},
};
use crate::{
    domain::{caller::Caller, event::Event},
    service::Services,
};

/// Returns the routes of this resource. They need the daemon's [`CancellationToken`] as an extension.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(follow))
}

/// Follow everything that changes
///
/// Server-sent events. `event` is the kind of thing (`job`, `experiment`, `project`, `secret`,
/// `key`), `data` is
/// `{"kind", "id", "change", "at", …}`. Begins after `Last-Event-ID`, or with what changes next. When
/// the stream begins, fetch what you show: events that are older than some thousand are forgotten.
#[utoipa::path(
    get, path = "/events", tag = "events",
    params(("Last-Event-ID" = Option<i64>, Header, description = "Id of the last event seen")),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream"),
        (status = 400, description = "Not an id of this stream", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn follow(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Extension(stop): Extension<CancellationToken>,
    last: LastEventId,
) -> Result<Response, Problem> {
    let newest = services.newest_event();
    let now = *newest.borrow();
    // An id from the future is one of another data directory; waiting for it would be silence.
    let after = last.0.map_or(now, |id| id.clamp(0, now));
    // Asked once here, so that a failure is an answer and not a stream that ends.
    let waiting = services.events_after(&caller, after).await?;
    let begun = sse::Event::default().id(after.to_string());
    let reader = Reader { services, caller, newest, after, waiting: waiting.into() };
    Ok(answer(stream::once(async { begun }).chain(reader.events()), lease, stop))
}

/// Reads events from the store as they come.
struct Reader {
    services: Services,
    caller: Caller,
    newest: watch::Receiver<i64>,
    /// The last event that was read.
    after: i64,
    waiting: VecDeque<Event>,
}

impl Reader {
    fn events(self) -> impl Stream<Item = sse::Event> + Send {
        stream::unfold(self, |mut reader| async move {
            let next = reader.next().await?;
            reader.after = next.seq;
            match event(next.seq, &next.kind, &data(&next)) {
                Ok(event) => Some((event, reader)),
                Err(_) => None,
            }
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return Some(next);
            }
            // Seen before the look, so that what comes during it is looked for again.
            let newest = *self.newest.borrow_and_update();
            match self.services.events_after(&self.caller, self.after).await {
                Ok(events) if events.is_empty() => {
                    // Those up to there belong to other teams.
                    self.after = self.after.max(newest);
                    self.newest.changed().await.ok()?;
                }
                Ok(events) => self.waiting = events.into(),
                Err(error) => {
                    // The client comes back and resumes.
                    tracing::warn!(%error, "a stream of events ends early");
                    return None;
                }
            }
        }
    }
}

/// What is told of an event: who it is about and what happened, and what its kind adds.
fn data(event: &Event) -> Value {
    let mut data = match &event.data {
        Value::Object(data) => data.clone(),
        _ => Map::new(),
    };
    data.insert("kind".into(), event.kind.clone().into());
    data.insert("id".into(), event.subject.clone().into());
    data.insert("change".into(), event.change.clone().into());
    data.insert("at".into(), event.at.to_string().into());
    Value::Object(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn an_event_cannot_say_that_it_is_another() {
        let event = Event {
            seq: 1,
            at: Timestamp(0),
            kind: "job".into(),
            subject: "js000000000000".into(),
            change: "state".into(),
            data: serde_json::json!({"state": "running", "kind": "key", "id": "x"}),
        };
        let expected = serde_json::json!({
            "kind": "job", "id": "js000000000000", "change": "state", "state": "running",
            "at": "1970-01-01T00:00:00.000000Z",
        });
        assert_eq!(data(&event), expected);
    }
}
