//! `metrics stream`: a websocket on which the client says once what it wants, and then only reads.
//!
//! It draws a table of what comes and ends when somebody presses Ctrl-C. A close frame breaks it, as does
//! a metric that it did not ask for; a connection that just ends makes it look up the run again and come
//! back at once. So no close frame is ever sent, what is over is met with silence, and what cannot go on
//! is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    time::{Instant, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use super::metrics::{INTERVAL, MOST, ObjectType, PointView, Watcher, seconds};
use crate::{
    api::{Path, Problem, server::Place},
    domain::{caller::Caller, id::JobId},
    service::{ServiceError, Services},
};

/// Most streams at the same time, of all teams together. Each asks the database now and then.
const MOST_STREAMS: usize = 128;
/// Largest message that is read, in bytes: the one that comes is a short list of names.
const MESSAGE: usize = 64 << 10;
/// How long the first message may take to come.
const FIRST: Duration = Duration::from_secs(10);
/// How long one that says nothing that makes sense is kept waiting: its client comes back at once.
const NONSENSE: Duration = Duration::from_secs(1);
/// How long the client may take to read a message.
const UNREAD: Duration = Duration::from_secs(30);
/// How often a ping is sent, which the client answers by itself: so what is between knows that somebody
/// is there, and we that nobody is.
const PING: Duration = Duration::from_secs(20);
/// Bounds of how often values are sent, in seconds. Samples are taken each 5.
const EVERY: (f64, f64) = (1.0, 3600.0);

/// Places for streams. One for each router, which is to say one for each daemon.
#[derive(Clone)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_STREAMS)))
    }
}

/// What the client says first.
#[derive(Debug, Deserialize)]
struct Wanted {
    chart_names: BTreeSet<String>,
    handles: Vec<String>,
    object_type: ObjectType,
    #[serde(default)]
    poll_interval: String,
}

impl Wanted {
    /// Returns how often values are sent. What cannot be read is as if nothing was said.
    fn every(&self) -> Duration {
        let asked = seconds(&self.poll_interval).unwrap_or(INTERVAL);
        Duration::from_secs_f64(asked.clamp(EVERY.0, EVERY.1))
    }
}

/// One metric, as it is now.
#[derive(Debug, Serialize)]
struct Frame<'a> {
    chart_name: &'a str,
    pod_metrics: BTreeMap<String, PointView>,
}

/// Opens a stream.
pub async fn stream(
    State(services): State<Services>,
    Extension(stop): Extension<CancellationToken>,
    Extension(streams): Extension<Streams>,
    place: Option<Extension<Place>>,
    Path((run, pass)): Path<(String, String)>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let watcher = Watcher::open(&services, &run, &pass).await?;
    let upgrade = upgrade.map_err(|_| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_required", "metrics are streamed by websocket alone")
    })?;
    let permit = streams.0.try_acquire_owned().map_err(|_| {
        let detail = format!("{MOST_STREAMS} metrics streams are open, which is the most: try again in a moment");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail)
    })?;
    let sized = upgrade.max_message_size(MESSAGE).max_frame_size(MESSAGE);
    Ok(sized.on_upgrade(move |socket| async move {
        let (lease, left) = (watcher.lease.clone(), services.metrics_pass_left(&watcher.pass));
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = lease.ended() => tracing::debug!("a metrics stream ended with its key"),
            () = tokio::time::sleep(left) => {}
            why = talk(socket, &services, &watcher) => tracing::debug!("a metrics stream ended: {why}"),
        }
        // Held till here: dropping the socket ends the connection without another word.
        drop((permit, place));
    }))
}

/// Reads what is wanted and sends it, till the other side is gone. Returns why it ended.
async fn talk(socket: WebSocket, services: &Services, watcher: &Watcher) -> String {
    let (mut sink, mut source) = socket.split();
    let first = match timeout(FIRST, source.next()).await {
        Ok(Some(Ok(Message::Text(text)))) => text,
        Ok(Some(Ok(_))) => return nonsense("the first message is no text").await,
        Ok(_) => return "it was gone before it said anything".to_owned(),
        Err(_) => return "nothing was said".to_owned(),
    };
    let wanted: Wanted = match serde_json::from_str(&first) {
        Ok(wanted) => wanted,
        Err(error) => return nonsense(&format!("the first message is not understood: {error}")).await,
    };
    if wanted.chart_names.len() > MOST {
        return nonsense("too many metrics are wanted").await;
    }
    if wanted.handles.iter().any(|handle| watcher.run(wanted.object_type, handle).is_err()) {
        return nonsense("it asks for another run").await;
    }
    let sending = send(&mut sink, services, &watcher.caller, &watcher.pass.run, &wanted);
    // What the client still says is of no interest, but that it goes is.
    let leaving = async {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Close(_) = message {
                break;
            }
        }
        "the other side left".to_owned()
    };
    tokio::select! {
        why = sending => why,
        why = leaving => why,
    }
}

async fn nonsense(why: &str) -> String {
    tokio::time::sleep(NONSENSE).await;
    why.to_owned()
}

/// Sends values as often as they are wanted, till the run is over; then nothing but pings.
async fn send(
    sink: &mut SplitSink<WebSocket, Message>,
    services: &Services,
    caller: &Caller,
    run: &JobId,
    wanted: &Wanted,
) -> String {
    let mut ticks = interval_at(Instant::now(), wanted.every());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut over = false;
    loop {
        let messages = tokio::select! {
            _ = pings.tick() => vec![Message::Ping(bytes::Bytes::new())],
            _ = ticks.tick(), if !over => match values(services, caller, run, wanted).await {
                ControlFlow::Continue(frames) => frames,
                ControlFlow::Break(frames) => {
                    over = true;
                    frames
                }
            },
        };
        for message in messages {
            match timeout(UNREAD, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "it reads nothing".to_owned(),
            }
        }
    }
}

/// Reads the newest values, each metric in a message of its own; the last ones when the run is over.
async fn values(
    services: &Services,
    caller: &Caller,
    run: &JobId,
    wanted: &Wanted,
) -> ControlFlow<Vec<Message>, Vec<Message>> {
    // Looked at before the values, so that none is missed.
    let over = match services.find_run(caller, run).await {
        Ok(run) => run.state.is_terminal(),
        Err(ServiceError::NotFound { .. }) => return ControlFlow::Break(Vec::new()),
        // It may come back.
        Err(_) => return ControlFlow::Continue(Vec::new()),
    };
    let found = services.metrics_now(caller, run, wanted.chart_names.clone()).await.unwrap_or_default();
    let mut frames = Vec::new();
    for (chart_name, metric) in &found {
        let last = |points: &Vec<_>| points.last().map(|point| PointView::of(metric.along, *point));
        let pod_metrics: BTreeMap<_, _> =
            metric.rows.iter().filter_map(|(row, points)| Some((row.clone(), last(points)?))).collect();
        // A table has no cell for nothing.
        if !pod_metrics.is_empty()
            && let Ok(text) = serde_json::to_string(&Frame { chart_name, pod_metrics })
        {
            frames.push(Message::Text(text.into()));
        }
    }
    if over { ControlFlow::Break(frames) } else { ControlFlow::Continue(frames) }
}
