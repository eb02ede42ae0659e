//! Carries what a container writes from the engine to the run's log on disk, once and whole.
//!
//! One pump for each container. It resumes where the log ends, so a daemon that was killed goes on
//! without losing or doubling a line; it is done when the container has ended and all was read.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use futures_util::StreamExt;
use tokio::sync::watch;

use super::{Works, launch, setup_log::limits};
use crate::{
    domain::{output::EngineTime, series::SeriesName, workload::Workload},
    executor::{ContainerState, EngineError, LogChunk},
    service::{RunLog, blocking},
    storage::log::{Appended, LinePoint, LogReader, LogWriter, Masker},
    store::{
        StoreError,
        points::{self, SeriesKind},
    },
};

/// Chunks that are written together.
const BATCH: usize = 1024;
/// Charts that one attempt may make; points of further ones stay lines of the log.
const MAX_CHARTS: u32 = 200;
/// Points of all charts of one attempt; further ones stay lines of the log.
const MAX_POINTS: u64 = 1_000_000;
/// Pause before the engine is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// By row and attempt: whether it is done.
type Running = HashMap<(i64, u32), watch::Receiver<bool>>;

/// All pumps.
#[derive(Clone)]
pub(super) struct Pumps {
    works: Works,
    running: Arc<Mutex<Running>>,
}

impl Pumps {
    pub(super) fn new(works: Works) -> Self {
        Self { works, running: Arc::default() }
    }

    /// Sees to it that the present attempt's log is being carried.
    pub(super) fn ensure(&self, workload: &Workload) -> watch::Receiver<bool> {
        let mut running = self.running.lock().expect("no code panics while it holds this lock");
        let key = (workload.seq, workload.attempt);
        // One that ended without being done (it panicked) is begun anew.
        if let Some(drained) = running.get(&key).filter(|drained| *drained.borrow() || drained.has_changed().is_ok()) {
            return drained.clone();
        }
        let (done, drained) = watch::channel(false);
        running.insert(key, drained.clone());
        let (works, workload) = (self.works.clone(), workload.clone());
        self.works.tasks.spawn(async move {
            let stop = works.stop.clone();
            // A stop of the daemon only cuts the reading short; the next start resumes it.
            if stop.run_until_cancelled(carry_to_the_end(&works, &workload)).await.is_some() {
                let _ = done.send(true);
            }
        });
        drained
    }

    /// Waits until the present attempt's log is whole.
    pub(super) async fn drained(&self, workload: &Workload) -> anyhow::Result<()> {
        let mut drained = self.ensure(workload);
        drained.wait_for(|done| *done).await.context("the daemon is ending")?;
        Ok(())
    }

    /// Forgets a pump that is done.
    pub(super) fn forget(&self, workload: &Workload) {
        let mut running = self.running.lock().expect("no code panics while it holds this lock");
        running.remove(&(workload.seq, workload.attempt));
        // Whatever is said now comes too late.
        self.works.asides.take((workload.seq, workload.attempt));
    }
}

async fn carry_to_the_end(works: &Works, workload: &Workload) {
    let mut told = false;
    loop {
        match carry(works, workload).await {
            Ok(()) => return,
            Err(error) if !told => {
                tracing::warn!(run.id = %workload.id, error = format!("{error:#}"), "{}: its log could not be carried; trying again", workload.title());
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Carries until the container has ended and everything is read.
async fn carry(works: &Works, workload: &Workload) -> anyhow::Result<()> {
    let key = RunLog { job: workload.id.clone(), attempt: workload.attempt };
    let secrets = launch::secrets_of(works, workload).await?;
    let (data, limits, dir_key) = (works.data.clone(), limits(works), key.clone());
    let mut writer = blocking(move || {
        let masker = Masker::new(secrets.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let run = data.run(&dir_key.job);
        run.create()?;
        LogWriter::open(&run.create_log(dir_key.attempt)?, limits, masker)
    })
    .await
    .context("opening the run's log")?;

    let name = launch::container_name(&works.settings.box_id, workload);
    let run = (workload.seq, workload.attempt);
    match works.executor.logs(&name, writer.resume_since()).await {
        Ok(chunks) => {
            let mut charts = Charts::new(works, workload).await?;
            charts.catch_up(works, workload).await?;
            // Whatever has arrived is written together; waiting for more would only delay readers.
            let mut batches = chunks.ready_chunks(BATCH);
            loop {
                let batch = tokio::select! {
                    batch = batches.next() => batch,
                    lines = works.asides.next(run) => {
                        writer = say(works, writer, lines).await.context("writing the daemon's own words")?;
                        works.log_hub.publish(&key, writer.total());
                        continue;
                    }
                };
                let Some(batch) = batch else { break };
                let mut whole = Vec::with_capacity(batch.len());
                let mut broken = None;
                for chunk in batch {
                    match chunk {
                        Ok(chunk) if broken.is_none() => whole.push(chunk),
                        Ok(_) => {}
                        Err(error) => broken = Some(error),
                    }
                }
                let appended;
                (writer, appended) = append(writer, whole).await?;
                works.log_hub.publish(&key, writer.total());
                charts.store(works, workload, appended.points).await?;
                if let Some(error) = broken {
                    return Err(error).context("following its output");
                }
            }
        }
        // Removed by hand: what was carried so far is all there is.
        Err(EngineError::NotFound(_)) => {}
        Err(error) => return Err(error).context("following its output"),
    }
    // A stream can end although the container goes on: the engine was restarted, a socket closed.
    if let Some(seen) = works.executor.inspect(&name).await.context("asking whether it has ended")?
        && seen.state == ContainerState::Running
    {
        anyhow::bail!("the stream of its output ended early");
    }
    crate::fault::point("log.drained");
    writer = say(works, writer, works.asides.take(run)).await.context("writing the daemon's own words")?;
    let finished = blocking(move || writer.finish()).await.context("closing the run's log")?;
    works.log_hub.end(&key, finished.lines);
    Ok(())
}

/// Closes the log of an attempt whose container never ran, or is gone: what it has is all there is.
pub(super) async fn close(works: &Works, workload: &Workload) -> anyhow::Result<()> {
    let key = RunLog { job: workload.id.clone(), attempt: workload.attempt };
    let (data, limits, of) = (works.data.clone(), limits(works), key.clone());
    let finished = blocking(move || {
        let run = data.run(&of.job);
        run.create()?;
        LogWriter::open(&run.create_log(of.attempt)?, limits, Masker::default())?.finish()
    })
    .await
    .context("closing the run's log")?;
    works.log_hub.end(&key, finished.lines);
    Ok(())
}

/// Adds lines of the daemon's own.
async fn say(works: &Works, mut writer: LogWriter, lines: Vec<String>) -> std::io::Result<LogWriter> {
    let time = EngineTime::from(works.clock.now());
    blocking(move || {
        for line in lines {
            writer.system(&line, time)?;
        }
        Ok(writer)
    })
    .await
}

async fn append(mut writer: LogWriter, batch: Vec<LogChunk>) -> std::io::Result<(LogWriter, Appended)> {
    blocking(move || {
        let appended = writer.write(&batch)?;
        Ok((writer, appended))
    })
    .await
}

/// Stores the points that lines of the log say, once each.
struct Charts {
    names: HashSet<String>,
    /// Points of all charts together that are stored, or about to be.
    points: u64,
    /// The first line whose points are not known to be stored.
    from: u64,
}

impl Charts {
    async fn new(works: &Works, workload: &Workload) -> anyhow::Result<Self> {
        let (seq, attempt) = (workload.seq, workload.attempt);
        let known = works
            .store
            .read(move |connection| points::list(connection, seq, attempt, SeriesKind::Chart))
            .await
            .context("reading the run's charts")?;
        let newest = known.iter().filter_map(|series| series.last_key).max();
        Ok(Self {
            from: newest.and_then(|key| u64::try_from(key + 1).ok()).unwrap_or(0),
            points: known.iter().map(|series| series.points).sum(),
            names: known.into_iter().map(|series| series.name.name).collect(),
        })
    }

    /// Stores the points of lines that are in the log already: a crash may have come in between.
    async fn catch_up(&mut self, works: &Works, workload: &Workload) -> anyhow::Result<()> {
        let mut start = Some(self.from);
        while let Some(line) = start {
            let dir = works.data.run(&workload.id).log(workload.attempt);
            let found = blocking(move || LogReader::open(&dir).points(line)).await.context("reading points again")?;
            self.store(works, workload, found.0).await?;
            start = found.1;
        }
        Ok(())
    }

    async fn store(&mut self, works: &Works, workload: &Workload, found: Vec<LinePoint>) -> anyhow::Result<()> {
        let by_name = self.take(found);
        if by_name.is_empty() {
            return Ok(());
        }
        let (seq, attempt) = (workload.seq, workload.attempt);
        works
            .store
            .write(move |tx| {
                for (name, found) in &by_name {
                    let name = SeriesName { name: name.clone(), gpu: String::new() };
                    points::append(tx, seq, attempt, SeriesKind::Chart, &name, found)?;
                }
                Ok::<_, StoreError>(())
            })
            .await
            .context("storing points of charts")
    }

    /// Sorts points by their charts, and leaves out what is over the limits.
    fn take(&mut self, found: Vec<LinePoint>) -> HashMap<String, Vec<(i64, f64, f64)>> {
        let mut by_name: HashMap<String, Vec<(i64, f64, f64)>> = HashMap::new();
        for found in found {
            if self.points >= MAX_POINTS {
                break;
            }
            let point = found.point;
            if !self.names.contains(&point.chart) {
                if self.names.len() >= MAX_CHARTS as usize {
                    continue;
                }
                self.names.insert(point.chart.clone());
            }
            let line = i64::try_from(found.line).unwrap_or(i64::MAX);
            self.points += 1;
            by_name.entry(point.chart).or_default().push((line, point.x.unwrap_or(line as f64), point.y));
        }
        by_name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chart::Point;

    #[test]
    fn an_attempt_stores_so_many_points_and_no_more() {
        let mut charts = Charts { names: HashSet::new(), points: MAX_POINTS - 3, from: 0 };
        let found = |chart: &str, line| LinePoint { line, point: Point { chart: chart.to_owned(), x: None, y: 1.0 } };
        let taken = charts.take(vec![found("a", 1), found("b", 2)]);
        assert_eq!(taken.values().map(Vec::len).sum::<usize>(), 2);
        let taken = charts.take(vec![found("c", 3), found("a", 4), found("a", 5)]);
        assert_eq!(taken.into_iter().collect::<Vec<_>>(), [("c".to_owned(), vec![(3, 3.0, 1.0)])]);
        assert!(charts.take(vec![found("a", 6)]).is_empty());
    }
}
