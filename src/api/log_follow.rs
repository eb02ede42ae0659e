//! A log as server-sent events, from a line on, for as long as lines come.
//!
//! Lines are read from the disk and written as frames on a thread, some megabytes at a time, and
//! only when the client has taken the ones before. So a log of gigabytes goes out about as fast as
//! it can be read, and a client that does not read costs a file position.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, header};
use tokio_util::sync::CancellationToken;

use super::{Lease, Problem, job_logs::LogLine, sse::LastEventId};
use crate::{
    domain::{caller::Caller, id::JobId},
    service::{
        Services, blocking,
        logs::{LogFollow, LogQuery},
    },
    storage::log::LogReader,
};

/// A comment is sent after so much silence, so that both ends notice when the other has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Most lines of one read. Their bytes are bounded by the reader.
const LINES: usize = 50_000;
const END: &[u8] = b"event: end\ndata: {}\n\n";

/// Answers with the lines of a log as they come, until the log, the caller's key or session, or the
/// daemon ends.
///
/// # Errors
/// A 404 when there is no such job, a 422 for a search: what comes later cannot be searched now.
pub(super) async fn answer(
    services: Services,
    caller: Caller,
    lease: Lease,
    stop: CancellationToken,
    id: JobId,
    query: LogQuery,
    last: LastEventId,
) -> Result<Response, Problem> {
    if query.text.is_some() {
        let detail = "a log that is followed cannot be searched: leave q out, or ask for application/json";
        return Err(Problem::invalid("invalid_query", "q", detail));
    }
    let mut log = services.follow_log(&caller, &id, query.attempt).await?;
    let resumed = last.0.map(|line| u64::try_from(line).map_or(0, |line| line + 1));
    let next = match (resumed, query.tail) {
        (Some(line), _) => line,
        (None, Some(lines)) => {
            let (total, reader) = blocking(move || (log.reader.total(), log.reader)).await;
            log.reader = reader;
            total.map_err(Problem::internal)?.saturating_sub(lines as u64)
        }
        (None, None) => query.start,
    };
    let ended = log.ended;
    let follower = Follower { log, next, ended, said_end: false, services, caller, id };
    let over = async move {
        tokio::select! {
            () = lease.ended() => {}
            () = stop.cancelled() => {}
        }
    };
    let pieces = stream::unfold(follower, |mut follower| async move {
        let piece = follower.piece().await?;
        Some((piece, follower))
    });
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Tells nginx to pass lines on as they come.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((head, Body::from_stream(pieces.take_until(Box::pin(over)))).into_response())
}

/// Where one client is in a log.
struct Follower {
    log: LogFollow,
    /// The line to read next.
    next: u64,
    /// No line comes after those that can be read.
    ended: bool,
    said_end: bool,
    services: Services,
    caller: Caller,
    id: JobId,
}

impl Follower {
    /// Returns the next frames, or a comment when there are none for a while; `None` after the end.
    async fn piece(&mut self) -> Option<io::Result<Bytes>> {
        if self.said_end {
            return None;
        }
        loop {
            // Looked at before the read: what is written after it is announced after it.
            self.ended |= self.log.progress.borrow_and_update().ended;
            match self.read().await {
                Ok(frames) if !frames.is_empty() => return Some(Ok(frames)),
                Ok(_) if self.ended => {
                    self.said_end = true;
                    return Some(Ok(Bytes::from_static(END)));
                }
                Ok(_) => {}
                Err(error) => {
                    // The client comes back and resumes.
                    self.said_end = true;
                    tracing::warn!(job = %self.id, %error, "the follower of a log ends early");
                    return Some(Err(error));
                }
            }
            match tokio::time::timeout(KEEP_ALIVE, self.log.progress.changed()).await {
                Ok(Ok(())) => {}
                // Nobody will announce anything any more.
                Ok(Err(_)) => self.ended = true,
                Err(_) => {
                    self.look_again().await;
                    return Some(Ok(Bytes::from_static(b":\n\n")));
                }
            }
        }
    }

    /// Reads lines and writes them as frames.
    async fn read(&mut self) -> io::Result<Bytes> {
        let (mut reader, next) = (std::mem::replace(&mut self.log.reader, LogReader::open("".as_ref())), self.next);
        let (reader, read) = blocking(move || {
            let read = frames(&mut reader, next);
            (reader, read)
        })
        .await;
        self.log.reader = reader;
        let (frames, next) = read?;
        self.next = next;
        Ok(frames)
    }

    /// Asks whether the log has ended, should its end never have been announced. One that has been
    /// deleted has.
    async fn look_again(&mut self) {
        match self.services.follow_log(&self.caller, &self.id, Some(self.log.attempt)).await {
            Ok(log) => self.ended |= log.ended,
            Err(crate::service::ServiceError::NotFound { .. }) => self.ended = true,
            Err(error) => tracing::warn!(job = %self.id, %error, "cannot tell whether a log has ended"),
        }
    }
}

/// Returns lines from `next` on as frames, and the line behind them.
fn frames(reader: &mut LogReader, next: u64) -> io::Result<(Bytes, u64)> {
    let rows = reader.range(next, LINES)?;
    let mut frames = Vec::with_capacity(rows.iter().map(|row| row.text.len() + 160).sum());
    for row in &rows {
        frames.extend_from_slice(format!("id: {}\nevent: line\ndata: ", row.line).as_bytes());
        // JSON as one line: a line break in it would end the data.
        serde_json::to_writer(&mut frames, &LogLine::of(row))?;
        frames.extend_from_slice(b"\n\n");
    }
    Ok((frames.into(), rows.last().map_or(next, |row| row.line + 1)))
}
