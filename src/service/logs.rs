//! Logs of runs: ranges, searches, downloads, and what a follower waits on.

use std::path::PathBuf;

use tokio::sync::watch;

use super::{RunLog, ServiceError, Services, blocking};
use crate::{
    domain::{caller::Caller, id::JobId, workload::State},
    storage::log::{Download, Found, LogReader, Progress, Row},
};

/// Bytes of a log that one search reads before it answers with where to go on.
const SCAN_BYTES: usize = 64 << 20;

/// Some lines of a log.
#[derive(Debug)]
pub struct LogPage {
    pub rows: Vec<Row>,
    /// The line to go on from; `None` at the present end.
    pub next: Option<u64>,
    /// Lines that the log has now.
    pub total: u64,
    /// No line will be added any more.
    pub ended: bool,
}

/// Which lines somebody wants.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub start: u64,
    pub limit: usize,
    /// The last so many lines, instead of those from `start` on.
    pub tail: Option<usize>,
    /// Only lines with this text in them, in any case.
    pub text: Option<String>,
    /// The latest when `None`.
    pub attempt: Option<u32>,
}

/// A log that is being followed.
pub struct LogFollow {
    pub reader: LogReader,
    pub progress: watch::Receiver<Progress>,
    /// It had ended already when this was made; `progress` tells nothing then.
    pub ended: bool,
    /// The attempt whose log it is.
    pub attempt: u32,
}

impl Services {
    /// Returns lines of a job's log.
    pub async fn log(&self, caller: &Caller, id: &JobId, query: LogQuery) -> Result<LogPage, ServiceError> {
        let (dir, ended) = self.log_of(caller, id, query.attempt).await?;
        let page = blocking(move || {
            let mut reader = LogReader::open(&dir);
            let total = reader.total()?;
            if let Some(text) = &query.text {
                let Found { rows, next } = reader.search(text, true, query.start, query.limit, SCAN_BYTES)?;
                return Ok(LogPage { rows, next, total, ended });
            }
            let rows = match query.tail {
                Some(lines) => reader.tail(lines.min(query.limit))?,
                None => reader.range(query.start, query.limit)?,
            };
            let next = rows.last().map(|row| row.line + 1).filter(|line| *line < total);
            Ok::<_, std::io::Error>(LogPage { rows, next, total, ended })
        })
        .await?;
        Ok(page)
    }

    /// Opens a job's whole log for reading, as it stands now.
    pub async fn log_download(
        &self,
        caller: &Caller,
        id: &JobId,
        attempt: Option<u32>,
    ) -> Result<Download, ServiceError> {
        let (dir, _) = self.log_of(caller, id, attempt).await?;
        Ok(blocking(move || LogReader::open(&dir).download()).await?)
    }

    /// Follows a job's log.
    pub async fn follow_log(
        &self,
        caller: &Caller,
        id: &JobId,
        attempt: Option<u32>,
    ) -> Result<LogFollow, ServiceError> {
        let attempt = self.attempt(caller, id, attempt).await?;
        // First the subscription, then the question whether there is anything to wait for: the other
        // way round, an end in between would be missed.
        let progress = self.log_hub.follow(&RunLog { job: id.clone(), attempt });
        let (dir, ended) = self.log_of(caller, id, Some(attempt)).await?;
        Ok(LogFollow { reader: LogReader::open(&dir), progress, ended, attempt })
    }

    /// Returns the attempt that is meant: the latest when none is said.
    async fn attempt(&self, caller: &Caller, id: &JobId, said: Option<u32>) -> Result<u32, ServiceError> {
        let workload = self.find_run(caller, id).await?;
        if let Some(said) = said {
            let most = workload.retries.limit.saturating_add(1);
            // One that is still to come can be waited for; one that never comes cannot.
            if said > most.max(workload.attempt) {
                return Err(ServiceError::not_found("attempt", format!("{said} of {id}: it has {most} at most")));
            }
            return Ok(said);
        }
        // What is still to be placed is prepared under the number that it will have.
        let now = self.clock.now();
        let preparing = workload.state == State::Pending && workload.not_before.is_none_or(|time| time <= now);
        Ok(if preparing || workload.attempt == 0 { workload.attempt + 1 } else { workload.attempt })
    }

    async fn log_of(&self, caller: &Caller, id: &JobId, attempt: Option<u32>) -> Result<(PathBuf, bool), ServiceError> {
        let attempt = self.attempt(caller, id, attempt).await?;
        let run = self.find_run(caller, id).await?;
        let over = run.teardown_finished_at.is_some() || attempt < run.attempt;
        Ok((self.data.run(id).log(attempt), over))
    }
}
