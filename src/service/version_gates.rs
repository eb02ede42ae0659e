//! Who may work on the files of an uncommitted version at the same time: any number who add files,
//! or one who commits, deletes or removes. Whoever waits to be alone is let in before those who come
//! later, so steady uploads cannot hold a commit off.
//!
//! A gate also keeps what the version holds at the moment, so that showing it does not walk its tree.
//! It is there from the first work on a draft until the draft is committed or deleted. Nothing is kept of
//! what is over: who looked a version up just before finds a new gate, and so everybody looks at the row
//! once more behind it, see [`super::passes`].

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
pub struct VersionGates(Mutex<HashMap<i64, Arc<Gate>>>);

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
        let gate = self.gate(version);
        let guard = Arc::clone(&gate.lock).read_owned().await;
        if *guard { Err(Closed) } else { Ok(Shared { gate, _guard: guard }) }
    }

    /// Waits until the caller is alone with the version.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn alone(&self, version: i64) -> Result<Alone, Closed> {
        let gate = self.gate(version);
        let guard = Arc::clone(&gate.lock).write_owned().await;
        if *guard { Err(Closed) } else { Ok(Alone { gate, guard }) }
    }

    /// Forgets the gate of a version that is no draft any more. Who is in may finish.
    pub fn close(&self, version: i64) {
        self.0.lock().expect(HELD).remove(&version);
    }

    /// Closes the gate of a version that the caller is alone with.
    pub fn close_behind(&self, version: i64, mut alone: Alone) {
        // For those who wait at this gate already. All others find the version committed.
        *alone.guard = true;
        self.close(version);
    }

    /// Returns what a version holds, when that has been counted.
    pub fn totals(&self, version: i64) -> Option<Totals> {
        let gate = self.known(version)?;
        *gate.totals.lock().expect(HELD)
    }

    /// Says whether the caller should tell of the version's changes in a moment: one teller at a time
    /// speaks for all, and nobody once the version is no draft any more.
    pub fn begin_telling(&self, version: i64) -> bool {
        self.known(version).is_some_and(|gate| !gate.telling.swap(true, Ordering::SeqCst))
    }

    /// Says that whatever changes from now on needs another teller.
    pub fn end_telling(&self, version: i64) {
        if let Some(gate) = self.known(version) {
            gate.telling.store(false, Ordering::SeqCst);
        }
    }

    fn gate(&self, version: i64) -> Arc<Gate> {
        Arc::clone(self.0.lock().expect(HELD).entry(version).or_default())
    }

    fn known(&self, version: i64) -> Option<Arc<Gate>> {
        self.0.lock().expect(HELD).get(&version).map(Arc::clone)
    }
}

impl Shared {
    /// Notes that files of `before` were replaced by those of `after`.
    pub fn changed(&self, before: Totals, after: Totals) {
        self.gate.changed(before, after);
    }

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
    async fn nothing_is_kept_of_a_version_that_is_committed_or_deleted() {
        let gates = VersionGates::default();
        let alone = gates.alone(1).await.unwrap();
        gates.close_behind(1, alone);
        let inside = gates.shared(2).await.unwrap();
        gates.close(2);
        // Whoever is in goes on, and leaves nothing either.
        inside.changed(Totals::default(), Totals { files: 1, bytes: 1 });
        drop(inside);
        assert!(!gates.begin_telling(1) && !gates.begin_telling(2));
        assert!(gates.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_teller_speaks_for_all_until_it_has_spoken() {
        let gates = VersionGates::default();
        assert!(!gates.begin_telling(1), "nobody works on it");
        drop(gates.shared(1).await);
        assert!(gates.begin_telling(1));
        assert!(!gates.begin_telling(1));
        gates.end_telling(1);
        assert!(gates.begin_telling(1));
    }
}
