//! Waiting for the disk, together.
//!
//! An fsync for every file is what makes small files slow. Here whoever has to be sure waits for the
//! next `syncfs` of the whole file system that begins after he asked, and one call serves all who
//! wait. One thread makes the calls; it begins with the first who asks and ends with the last owner.
//!
//! Clients that put one small file after the other come back as soon as they are answered. So before a
//! call the thread waits a moment for those of the last time, if there were several: each call then
//! serves all of them instead of half. One who is alone never waits for anybody.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::storage::beneath::Beneath;

/// Longest time that a call is put off for others to join.
const GATHER: Duration = Duration::from_millis(5);

/// Makes what was written on one file system durable, for all who ask.
#[derive(Debug)]
pub(super) struct Durability {
    root: Box<Path>,
    asked: Mutex<Option<mpsc::Sender<Waiter>>>,
}

/// How one who waits is told.
type Waiter = Box<dyn FnOnce(io::Result<()>) + Send>;

impl Durability {
    /// For the file system that `root` is on.
    pub(super) fn of(root: &Path) -> Arc<Self> {
        Arc::new(Self { root: root.into(), asked: Mutex::default() })
    }

    /// Waits until everything that was written before this call is on the disk.
    pub(super) async fn wait(&self) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        self.ask(Box::new(move |result| drop(tell.send(result))))?;
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Waits like [`Durability::wait`], blocking.
    pub(super) fn wait_blocking(&self) -> io::Result<()> {
        let (tell, told) = mpsc::sync_channel(1);
        self.ask(Box::new(move |result| drop(tell.send(result))))?;
        told.recv().unwrap_or_else(|_| Err(ended()))
    }

    fn ask(&self, waiter: Waiter) -> io::Result<()> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let to = match asked.take() {
            Some(to) => to,
            None => begin(Beneath::open(&self.root)?)?,
        };
        asked.insert(to).send(waiter).map_err(|_| ended())
    }
}

/// Starts the thread that syncs. It ends when nobody can ask any more.
fn begin(root: Beneath) -> io::Result<mpsc::Sender<Waiter>> {
    let (ask, asked) = mpsc::channel::<Waiter>();
    thread::Builder::new().name("durable".to_owned()).spawn(move || {
        let mut waiters: Vec<Waiter> = Vec::new();
        let (mut expected, mut patience) = (1, Duration::ZERO);
        while let Ok(()) = gather(&asked, &mut waiters, expected, patience) {
            // All who have asked by now have written what they ask for.
            let began = Instant::now();
            let synced = root.sync_file_system();
            // Longer than half a call, and whoever waits is better off with a call of their own.
            patience = GATHER.min(began.elapsed() / 2);
            let served = std::mem::take(&mut waiters);
            waiters.extend(asked.try_iter());
            expected = served.len() + waiters.len();
            for waiter in served {
                waiter(synced.as_ref().copied().map_err(again));
            }
        }
    })?;
    Ok(ask)
}

/// Waits for somebody to ask, and then for `expected` in all, but not longer than `patience`.
fn gather(
    asked: &mpsc::Receiver<Waiter>,
    waiters: &mut Vec<Waiter>,
    expected: usize,
    patience: Duration,
) -> Result<(), mpsc::RecvError> {
    if waiters.is_empty() {
        waiters.push(asked.recv()?);
    }
    let until = Instant::now() + patience;
    waiters.extend(asked.try_iter());
    while waiters.len() < expected {
        match asked.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(waiter) => waiters.push(waiter),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Returns an error once more, for another who waits.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that syncs has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_answered_and_one_who_blocks_too() {
        let root = tempfile::tempdir().unwrap();
        let durability = Durability::of(root.path());
        let waits = (0..20).map(|_| durability.wait());
        assert!(futures_util::future::join_all(waits).await.into_iter().all(|result| result.is_ok()));
        tokio::task::spawn_blocking(move || durability.wait_blocking()).await.unwrap().unwrap();
    }

    #[test]
    fn those_who_are_expected_are_waited_for_and_nobody_longer_than_is_worth_it() {
        let (ask, asked) = mpsc::channel::<Waiter>();
        let one = || Box::new(|_| ()) as Waiter;
        let mut waiters = Vec::new();
        ask.send(one()).unwrap();
        gather(&asked, &mut waiters, 3, Duration::ZERO).unwrap();
        assert_eq!(waiters.len(), 1, "nobody else came");
        thread::scope(|scope| {
            scope.spawn(|| (0..2).for_each(|_| ask.send(one()).unwrap()));
            gather(&asked, &mut waiters, 3, Duration::from_secs(60)).unwrap();
        });
        assert_eq!(waiters.len(), 3);
        waiters.clear();
        drop(ask);
        assert!(gather(&asked, &mut waiters, 3, Duration::ZERO).is_err(), "nobody can ask any more");
    }

    #[tokio::test]
    async fn a_file_system_that_is_not_there_is_an_error_each_time() {
        let root = tempfile::tempdir().unwrap();
        let durability = Durability::of(&root.path().join("none"));
        assert!(durability.wait().await.is_err());
        assert!(durability.wait().await.is_err());
    }
}
