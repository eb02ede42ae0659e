//! Who may work on the files of an uncommitted version at the same time: any number who add files,
//! or one who commits, deletes or removes. Whoever waits to be alone is let in before those who come
//! later, so steady uploads cannot hold a commit off.
//!
//! A gate also keeps what the version holds at the moment, so that showing it does not walk its tree.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::domain::content::Totals;

const HELD: &str = "no code panics while it holds this lock";

/// The gates of all versions that somebody works on, by the versions' numbers.
#[derive(Default)]
pub struct VersionGates(Mutex<HashMap<i64, Slot>>);

enum Slot {
    Open(Arc<Gate>),
    /// Committed or deleted. Remembered, so that who looked a version up just before finds it closed.
    Closed,
}

#[derive(Default)]
struct Gate {
    /// Whether it is closed.
    lock: Arc<RwLock<bool>>,
    /// Unknown after a start, until somebody counts.
    totals: Mutex<Option<Totals>>,
    /// Whether somebody is about to tell of changes.
    telling: AtomicBool,
}

/// The version is no longer uncommitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Lets its holder add files, beside others.
pub struct Shared {
    gate: Arc<Gate>,
    _guard: OwnedRwLockReadGuard<bool>,
}

/// Lets its holder alone work on a version.
pub struct Alone {
    gate: Arc<Gate>,
    guard: OwnedRwLockWriteGuard<bool>,
}

impl VersionGates {
    /// Waits until nobody is alone with the version, and adds the caller to those who add files.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn shared(&self, version: i64) -> Result<Shared, Closed> {
        let gate = self.gate(version)?;
        let guard = Arc::clone(&gate.lock).read_owned().await;
        if *guard { Err(Closed) } else { Ok(Shared { gate, _guard: guard }) }
    }

    /// Waits until the caller is alone with the version.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn alone(&self, version: i64) -> Result<Alone, Closed> {
        let gate = self.gate(version)?;
        let guard = Arc::clone(&gate.lock).write_owned().await;
        if *guard { Err(Closed) } else { Ok(Alone { gate, guard }) }
    }

    /// Lets nobody in any more. Who is in may finish.
    pub fn close(&self, version: i64) {
        self.0.lock().expect(HELD).insert(version, Slot::Closed);
    }

    /// Closes the gate of a version that the caller is alone with.
    pub fn close_behind(&self, version: i64, mut alone: Alone) {
        // First for those who wait at this gate already, then for all others.
        *alone.guard = true;
        self.close(version);
    }

    /// Returns what a version holds, when that has been counted.
    pub fn totals(&self, version: i64) -> Option<Totals> {
        match self.0.lock().expect(HELD).get(&version) {
            Some(Slot::Open(gate)) => *gate.totals.lock().expect(HELD),
            _ => None,
        }
    }

    /// Says whether the caller should tell of the version's changes in a moment: one teller at a time
    /// speaks for all.
    pub fn begin_telling(&self, version: i64) -> bool {
        self.gate(version).is_ok_and(|gate| !gate.telling.swap(true, Ordering::SeqCst))
    }

    /// Says that whatever changes from now on needs another teller.
    pub fn end_telling(&self, version: i64) {
        if let Ok(gate) = self.gate(version) {
            gate.telling.store(false, Ordering::SeqCst);
        }
    }

    fn gate(&self, version: i64) -> Result<Arc<Gate>, Closed> {
        let mut slots = self.0.lock().expect(HELD);
        match slots.entry(version).or_insert_with(|| Slot::Open(Arc::default())) {
            Slot::Open(gate) => Ok(Arc::clone(gate)),
            Slot::Closed => Err(Closed),
        }
    }
}

impl Shared {
    /// Notes that files of `before` were replaced by those of `after`.
    pub fn changed(&self, before: Totals, after: Totals) {
        self.gate.changed(before, after);
    }
}

impl Shared {
    /// Forgets what the version was found to hold: it is counted again when somebody asks.
    pub fn recount(&self) {
        *self.gate.totals.lock().expect(HELD) = None;
    }
}

impl Alone {
    /// Notes that files of `before` were replaced by those of `after`.
    pub fn changed(&self, before: Totals, after: Totals) {
        self.gate.changed(before, after);
    }

    /// Returns what the version holds, when that has been counted.
    pub fn totals(&self) -> Option<Totals> {
        *self.gate.totals.lock().expect(HELD)
    }

    /// Keeps what the version was found to hold.
    pub fn counted(&self, totals: Totals) {
        *self.gate.totals.lock().expect(HELD) = Some(totals);
    }
}

impl Gate {
    fn changed(&self, before: Totals, after: Totals) {
        if let Some(totals) = &mut *self.totals.lock().expect(HELD) {
            totals.files = (totals.files + after.files).saturating_sub(before.files);
            totals.bytes = (totals.bytes + after.bytes).saturating_sub(before.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_commit_that_waits_is_let_in_before_later_uploads() {
        let gates = Arc::new(VersionGates::default());
        let upload = gates.shared(1).await.unwrap();
        let mut commit = Box::pin(gates.alone(1));
        assert!(futures_util::poll!(&mut commit).is_pending());
        let mut later = Box::pin(gates.shared(1));
        assert!(futures_util::poll!(&mut later).is_pending());
        drop(upload);
        let alone = tokio::time::timeout(SOON, commit).await.unwrap().unwrap();
        assert!(futures_util::poll!(&mut later).is_pending());
        gates.close_behind(1, alone);
        assert!(matches!(tokio::time::timeout(SOON, later).await.unwrap(), Err(Closed)));
        assert!(gates.shared(1).await.is_err() && gates.alone(1).await.is_err());
        assert!(gates.shared(2).await.is_ok());
    }

    #[tokio::test]
    async fn totals_are_kept_from_the_first_count_on() {
        let gates = VersionGates::default();
        let totals = |files, bytes| Totals { files, bytes };
        gates.shared(1).await.unwrap().changed(totals(0, 0), totals(1, 10));
        assert_eq!(gates.totals(1), None);
        gates.alone(1).await.unwrap().counted(totals(1, 10));
        gates.shared(1).await.unwrap().changed(totals(1, 10), totals(2, 5));
        assert_eq!(gates.totals(1), Some(totals(2, 5)));
    }

    #[tokio::test]
    async fn one_teller_speaks_for_all_until_it_has_spoken() {
        let gates = VersionGates::default();
        assert!(gates.begin_telling(1));
        assert!(!gates.begin_telling(1));
        gates.end_telling(1);
        assert!(gates.begin_telling(1));
    }
}
