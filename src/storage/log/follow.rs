//! Wakes those who follow logs. What is announced is only how far a log is; the lines are read from
//! disk by whoever wants them, so that a slow follower costs nothing and a thousand share the cache.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// How far a log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Lines that can be read.
    pub total: u64,
    /// No more will come.
    pub ended: bool,
}

/// The logs that grow now, by whatever names them.
#[derive(Debug)]
pub struct LogHub<K> {
    logs: Mutex<HashMap<K, watch::Sender<Progress>>>,
}

impl<K> Default for LogHub<K> {
    fn default() -> Self {
        Self { logs: Mutex::default() }
    }
}

impl<K: Eq + Hash + Clone> LogHub<K> {
    /// Says that the log `key` has `total` lines, all of which can be read.
    pub fn publish(&self, key: &K, total: u64) {
        let mut logs = self.logs();
        let log = logs.entry(key.clone()).or_default();
        log.send_if_modified(|progress| {
            let grown = progress.total != total;
            progress.total = total;
            grown
        });
    }

    /// Says that the log `key` has ended with `total` lines. Followers see it and are let go.
    pub fn end(&self, key: &K, total: u64) {
        if let Some(log) = self.logs().remove(key) {
            log.send_replace(Progress { total, ended: true });
        }
    }

    /// Says once more that the log `key` has ended, to those who began to follow after it was said.
    pub fn let_go(&self, key: &K) {
        if let Some(log) = self.logs().remove(key) {
            log.send_modify(|progress| progress.ended = true);
        }
    }

    /// Follows the log `key`, which may begin later. Who follows looks first whether the run has
    /// ended *after* calling this: an end that was said before is not said again.
    ///
    /// Read what there is, whatever `total` says at first: nobody may have announced it yet since
    /// the daemon began. Stop if the log has `ended`, else await the next change.
    pub fn follow(&self, key: &K) -> watch::Receiver<Progress> {
        let mut logs = self.logs();
        if !logs.contains_key(key) {
            // Nobody else takes out those that were only waited for.
            logs.retain(|_, log| log.receiver_count() > 0 || log.borrow().total > 0);
        }
        logs.entry(key.clone()).or_default().subscribe()
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<K, watch::Sender<Progress>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_sees_the_latest_and_the_end() {
        let hub = LogHub::default();
        let mut follower = hub.follow(&"js1");
        hub.publish(&"js1", 3);
        hub.publish(&"js1", 7);
        follower.changed().await.unwrap();
        assert_eq!(*follower.borrow_and_update(), Progress { total: 7, ended: false });
        hub.end(&"js1", 9);
        follower.changed().await.unwrap();
        assert_eq!(*follower.borrow_and_update(), Progress { total: 9, ended: true });
        assert!(follower.changed().await.is_err(), "nothing can come after the end");
    }

    #[tokio::test]
    async fn nobody_is_woken_for_nothing() {
        let hub = LogHub::default();
        hub.publish(&1, 3);
        let mut follower = hub.follow(&1);
        assert_eq!(follower.borrow_and_update().total, 3);
        hub.publish(&1, 3);
        assert!(!follower.has_changed().unwrap());
    }

    #[test]
    fn a_log_that_nobody_waits_for_is_forgotten() {
        let hub = LogHub::default();
        drop(hub.follow(&1));
        let _second = hub.follow(&2);
        assert_eq!(hub.logs().len(), 1);
    }
}
