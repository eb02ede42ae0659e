//! Numbers that runs push. A run shows the secret that it was started with in place of a key, and that
//! opens nothing but its own charts.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Services;
use crate::{
    auth::{PushSecrets, Secret},
    domain::{
        id::JobId,
        push::{BadPush, Group},
        series::SeriesName,
        workload::{State, Workload},
    },
    store::{
        StoreError, Tx,
        points::{self, SeriesKind},
        workloads,
    },
};

/// Series that one attempt may make.
const MAX_SERIES: u64 = 1000;
/// Points of all series of one attempt.
const MAX_POINTS: u64 = 5_000_000;
/// Attempts whose points are kept count of; when there are more, all are counted anew.
const MOST_COUNTED: usize = 4096;

/// Points that may be on their way to the store at the same time. The thread that writes takes all that
/// waits in one go, and everybody else waits as long.
const AT_ONCE: u32 = 20_000;

/// How many points each attempt has pushed. Counting them takes the one thread that writes longer than
/// anybody should wait, so it is done once, and not each time that a run which has come to its limit asks.
pub struct PushedPoints {
    counts: Mutex<HashMap<Pusher, u64>>,
    turns: Semaphore,
}

impl Default for PushedPoints {
    fn default() -> Self {
        Self { counts: Mutex::default(), turns: Semaphore::new(AT_ONCE as usize) }
    }
}

/// Who pushes: proven by its secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pusher {
    run: JobId,
    attempt: u32,
}

/// Why a push was not taken. The text goes to the terminal of whoever wrote the code that pushes.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("this is not the address of a run that goes on: use PAPERSPACE_METRIC_PUSHGATEWAY as the container has it")]
    NotTheirs,
    #[error("attempt {attempt} of {run} has ended: nothing more is taken for it")]
    Ended { run: JobId, attempt: u32 },
    #[error(transparent)]
    Bad(#[from] BadPush),
    #[error("a run has at most {MAX_SERIES} metrics, labels and buckets counted one by one: push fewer")]
    TooManySeries,
    #[error("a run has at most {MAX_POINTS} points of all its metrics: push less often")]
    TooManyPoints,
    #[error("the disk of the box is full")]
    DiskFull,
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl From<StoreError> for PushError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::DiskFull,
            other => Self::Store(other),
        }
    }
}

impl Services {
    /// Returns the secret with which an attempt pushes; always the same.
    pub fn push_secret(&self, run: &JobId, attempt: u32) -> Secret<String> {
        PushSecrets::new(&self.sealer).secret(run, attempt)
    }

    /// Says whose a secret is.
    ///
    /// # Errors
    /// [`PushError::NotTheirs`].
    pub fn pusher(&self, secret: &str) -> Result<Pusher, PushError> {
        let (run, attempt) = PushSecrets::new(&self.sealer).whose(secret).ok_or(PushError::NotTheirs)?;
        Ok(Pusher { run, attempt })
    }

    /// Keeps what an attempt pushes in `text`, and returns when it is on the disk. A point at a step that
    /// its series has already takes the other's place; series that the text does not name keep theirs.
    pub async fn push(&self, pusher: Pusher, group: &Group, text: &str) -> Result<(), PushError> {
        let points = group.points(pusher.run.as_str(), text)?;
        let _turn = self.pushed.turn(points.len()).await;
        let (step, counted, who) = (group.step(), self.pushed.clone(), pusher.clone());
        let written = self
            .store
            .write(move |tx| {
                let workload = pusher.workload(tx)?;
                if points.is_empty() {
                    return Ok(());
                }
                let (seq, attempt) = (workload.seq, pusher.attempt);
                let mut series = points::count_series(tx, seq, attempt, SeriesKind::Pushed)?;
                let before = counted.of(tx, seq, &pusher)?;
                counted.note(&pusher, before);
                let mut all = before;
                for point in points {
                    let name = SeriesName { name: point.series, gpu: String::new() };
                    let put = points::put(tx, seq, attempt, &name, step, point.value)?;
                    series += u64::from(put.made_series);
                    all += u64::from(put.is_new);
                    if series > MAX_SERIES {
                        return Err(PushError::TooManySeries);
                    }
                    if all > MAX_POINTS {
                        return Err(PushError::TooManyPoints);
                    }
                }
                counted.note(&pusher, all);
                Ok(())
            })
            .await;
        self.doubt(&who, written)
    }

    /// Takes back what an attempt pushed for a step. Without a step nothing is taken back: what was
    /// pushed so is history, which Prometheus, too, keeps when its gateway forgets.
    pub async fn take_back(&self, pusher: Pusher, group: Group) -> Result<(), PushError> {
        let (counted, who) = (self.pushed.clone(), pusher.clone());
        let removed = self
            .store
            .write(move |tx| {
                let workload = pusher.workload(tx)?;
                if let Some(step) = group.step() {
                    let (seq, run) = (workload.seq, pusher.run.as_str());
                    let all = counted.of(tx, seq, &pusher)?;
                    let gone = points::remove_step(tx, seq, pusher.attempt, step, |series| group.has(run, series))?;
                    counted.note(&pusher, all.saturating_sub(gone));
                }
                Ok(())
            })
            .await;
        self.doubt(&who, removed)
    }

    /// Has an attempt's points counted anew where the store failed: what was noted may not be on the disk.
    fn doubt(&self, pusher: &Pusher, result: Result<(), PushError>) -> Result<(), PushError> {
        if let Err(PushError::Store(_) | PushError::DiskFull) = &result {
            self.pushed.forget(pusher);
        }
        result
    }
}

impl Pusher {
    /// Finds the attempt's workload, while its container can be there.
    fn workload(&self, tx: &Tx<'_>) -> Result<Workload, PushError> {
        let lives = |found: &Workload| {
            found.attempt == self.attempt && matches!(found.state, State::Provisioned | State::Running)
        };
        let ended = || PushError::Ended { run: self.run.clone(), attempt: self.attempt };
        workloads::get(tx, &self.run)?.filter(lives).ok_or_else(ended)
    }
}

impl PushedPoints {
    /// Waits until so many points may go to the store.
    pub(crate) async fn turn(&self, points: usize) -> SemaphorePermit<'_> {
        let points = u32::try_from(points).unwrap_or(AT_ONCE).min(AT_ONCE);
        self.turns.acquire_many(points).await.expect("the semaphore is never closed")
    }

    /// Returns how many points an attempt has; counts them when nobody has yet.
    fn of(&self, tx: &Tx<'_>, seq: i64, pusher: &Pusher) -> Result<u64, StoreError> {
        let known = self.held().get(pusher).copied();
        known.map_or_else(|| points::count(tx, seq, pusher.attempt, SeriesKind::Pushed), Ok)
    }

    /// Notes how many points an attempt has.
    pub(crate) fn note(&self, pusher: &Pusher, points: u64) {
        let mut all = self.held();
        if all.len() >= MOST_COUNTED {
            all.clear();
        }
        all.insert(pusher.clone(), points);
    }

    fn forget(&self, pusher: &Pusher) {
        self.held().remove(pusher);
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Pusher, u64>> {
        self.counts.lock().expect("no code panics while it holds this lock")
    }
}
