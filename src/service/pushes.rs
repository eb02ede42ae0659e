//! Numbers that runs push. A run shows the secret that it was started with in place of a key, and that
//! opens nothing but its own charts.

use std::{collections::HashMap, sync::Mutex};

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

/// At most how many points each attempt has pushed. One that replaces another counts too, until they are
/// counted anew: so the limit costs a count of all only for who is near it.
#[derive(Default)]
pub struct PushedPoints(Mutex<HashMap<(i64, u32), u64>>);

/// Who pushes: proven by its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        let (step, counted) = (group.step(), self.pushed.clone());
        self.store
            .write(move |tx| {
                let workload = pusher.workload(tx)?;
                if points.is_empty() {
                    return Ok(());
                }
                let (seq, attempt) = (workload.seq, pusher.attempt);
                let mut series = counted.admit(tx, seq, attempt, points.len() as u64)?;
                for point in points {
                    let name = SeriesName { name: point.series, gpu: String::new() };
                    series += u64::from(points::put(tx, seq, attempt, &name, step, point.value)?);
                }
                if series > MAX_SERIES { Err(PushError::TooManySeries) } else { Ok(()) }
            })
            .await
    }

    /// Takes back what an attempt pushed for a step. Without a step nothing is taken back: what was
    /// pushed so is history, which Prometheus, too, keeps when its gateway forgets.
    pub async fn take_back(&self, pusher: Pusher, group: Group) -> Result<(), PushError> {
        self.store
            .write(move |tx| {
                let workload = pusher.workload(tx)?;
                if let Some(step) = group.step() {
                    let run = pusher.run.as_str();
                    points::remove_step(tx, workload.seq, pusher.attempt, step, |series| group.has(run, series))?;
                }
                Ok(())
            })
            .await
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
    /// Counts `more` points of an attempt and returns how many series it has.
    fn admit(&self, tx: &Tx<'_>, seq: i64, attempt: u32, more: u64) -> Result<u64, PushError> {
        let mut all = self.0.lock().expect("no code panics while it holds this lock");
        if all.len() >= MOST_COUNTED {
            all.clear();
        }
        let known = all.get(&(seq, attempt)).map(|points| points + more).filter(|points| *points <= MAX_POINTS);
        let points = match known {
            Some(points) => points,
            None => points::count(tx, seq, attempt, SeriesKind::Pushed)? + more,
        };
        if points > MAX_POINTS {
            return Err(PushError::TooManyPoints);
        }
        all.insert((seq, attempt), points);
        Ok(points::count_series(tx, seq, attempt, SeriesKind::Pushed)?)
    }
}
