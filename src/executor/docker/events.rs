//! What happens to this box's containers, as the engine tells it.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::EventMessage,
    query_parameters::{EventsOptions, EventsOptionsBuilder},
};
use bytes::BytesMut;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::{Docker, DockerSettings, seal, stream::EngineStream};
use crate::{
    domain::time::Timestamp,
    executor::{EngineError, EngineEvent},
};

/// What is worth a look. `exec` and health events come by the thousand and say nothing of a run.
const ACTIONS: [&str; 8] = ["create", "start", "die", "oom", "stop", "destroy", "pause", "unpause"];
/// How long after a container's end the engine may still tell that its memory ran out.
const LATE: Duration = Duration::from_millis(500);
/// The longest event; labels and all it is far below.
const LONGEST: usize = 1 << 20;

impl Docker {
    pub(super) async fn watch_events(
        &self,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        // The engine answers a moment before it has subscribed. Asking for everything since a time
        // before the question closes that gap, at the price of repeating up to a second's events.
        let since = self.connection.engine_second().await?;
        let label = format!("{}={}", seal::BOX, self.settings.box_id);
        let filters = serde_json::json!({"type": ["container"], "label": [label], "event": ACTIONS});
        let path = format!("/events?since={since}&filters={}", escaped(&filters.to_string()));
        let body = self.connection.open(&path).await?;
        let reader = Reader { body, held: BytesMut::new(), settings: self.settings.clone() };
        Ok(stream::try_unfold(
            reader,
            |mut reader| async move { Ok(reader.next().await?.map(|event| (event, reader))) },
        )
        .boxed())
    }
}

impl Docker {
    /// Says whether the engine has told of a container that its memory ran out. It notes that at the
    /// container, too, but not when the container's end reaches it first.
    pub(super) async fn told_of_oom(&self, id: &str, ended: Timestamp) -> Result<bool, EngineError> {
        let options = of_oom(id, Timestamp(ended.0 - 10_000_000), ended.plus(LATE));
        let told = self.connection.call(self.settings.timeouts.quick, |api| async move {
            Ok(api.events(Some(options)).try_next().await?.is_some())
        });
        told.await
    }

    /// Returns when the engine told of a container that its memory ran out, up to the present second. It tells of
    /// each process that is killed, not of the first alone.
    pub(super) async fn times_of_oom(&self, id: &str, since: Timestamp) -> Result<Vec<Timestamp>, EngineError> {
        let now = Timestamp(self.connection.engine_second().await? * 1_000_000);
        if since > now {
            // The engine refuses a time that runs backwards.
            return Ok(Vec::new());
        }
        let options = of_oom(id, since, now);
        let told = self.connection.call(self.settings.timeouts.quick, |api| async move {
            api.events(Some(options)).try_collect::<Vec<_>>().await
        });
        Ok(told.await?.iter().filter_map(time).collect())
    }
}

/// Asks when a container's memory ran out. The answer ends at `until`, be that to come.
fn of_oom(id: &str, since: Timestamp, until: Timestamp) -> EventsOptions {
    let second = |at: Timestamp| format!("{}.{:06}000", at.0.div_euclid(1_000_000), at.0.rem_euclid(1_000_000));
    let only = |text: &str| vec![text.to_owned()];
    let filters = HashMap::from([("type", only("container")), ("container", only(id)), ("event", only("oom"))]);
    EventsOptionsBuilder::default().since(&second(since)).until(&second(until)).filters(&filters).build()
}

struct Reader {
    body: EngineStream,
    held: BytesMut,
    settings: DockerSettings,
}

impl Reader {
    /// Waits for the next event; there is always one more until the engine goes away.
    async fn next(&mut self) -> Result<Option<EngineEvent>, EngineError> {
        loop {
            while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(end + 1);
                if let Some(event) = read(&self.settings, &line) {
                    return Ok(Some(event));
                }
            }
            match self.body.piece().await? {
                Some(piece) => self.held.extend_from_slice(&piece),
                None => return Err(EngineError::Unreachable("the engine ended its events".into())),
            }
            if self.held.len() > LONGEST {
                return Err(EngineError::Refused("the engine sent an event without an end".into()));
            }
        }
    }
}

/// Reads one line; `None` when it is not about a container of ours.
fn read(settings: &DockerSettings, line: &[u8]) -> Option<EngineEvent> {
    let event: EventMessage = serde_json::from_slice(line).ok()?;
    let at = time(&event)?;
    let actor = event.actor?;
    // The container's labels, and beside them its name, image and exit code.
    let attributes: HashMap<String, String> = actor.attributes?;
    let name = attributes.get("name")?;
    seal::open(&settings.mac_key, &settings.box_id, name, &attributes)?;
    Some(EngineEvent {
        container_id: actor.id?,
        container_name: name.clone(),
        action: event.action?,
        at,
        exit_code: attributes.get("exitCode").and_then(|code| code.parse().ok()),
    })
}

fn time(event: &EventMessage) -> Option<Timestamp> {
    Some(Timestamp(event.time_nano? / 1000))
}

/// Writes `text` so that it can stand in a query.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
