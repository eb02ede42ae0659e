//! The one thread that writes.
//!
//! Callers send a closure and wait. The thread takes whatever is waiting, never waiting for more,
//! runs each closure inside a savepoint of its own, and answers all of them after one commit. So a
//! commit's cost is shared by all who came while the last one was under way, and a closure that
//! fails takes nobody with it.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Changes, StoreError};

/// Closures in one commit, at most: bounds how long the first of them waits for the last.
const BATCH: usize = 256;
/// Callers that may wait; further ones wait to be let in.
const QUEUE: usize = 4096;
/// Size of the write-ahead log from which it is copied into the database between two batches.
const CHECKPOINT_PAGES: i64 = 4000;
/// Quiet time after which the log is emptied.
const IDLE: Duration = Duration::from_secs(2);

/// A transaction: a connection, and word of what changed for those who wait for changes.
pub struct Tx<'a> {
    connection: &'a Connection,
    told: Changed,
}

impl std::ops::Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Tx<'_> {
    /// Wakes the workload loop after the commit.
    pub fn touch_workloads(&self) {
        self.told.workloads.set(true);
    }

    /// Wakes the loop of imports after the commit.
    pub fn touch_imports(&self) {
        self.told.imports.set(true);
    }

    pub(super) fn tell_event(&self, seq: i64) {
        self.told.event.set(self.told.event.get().max(seq));
    }
}

/// What a closure leaves to be done once the commit is known to have worked, or not.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// A caller's closure: runs inside the transaction, or hears why there is none.
type Work = Box<dyn FnOnce(Result<(&Connection, &Changed), StoreError>) -> Answer + Send>;

/// What a transaction, or a batch of them, changed.
#[derive(Default)]
struct Changed {
    workloads: Cell<bool>,
    imports: Cell<bool>,
    event: Cell<i64>,
}

#[derive(Clone)]
pub(super) struct Writer {
    // Behind a lock so that closing can drop it while others still hold the store.
    queue: Arc<Mutex<Option<mpsc::Sender<Work>>>>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, changes: Changes) -> Self {
        let (queue, work) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_all(connection, work, &changes))
            .expect("a thread can be started while the program starts");
        Self { queue: Arc::new(Mutex::new(Some(queue))), thread: Arc::new(Mutex::new(Some(thread))) }
    }

    pub(super) async fn run<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |place| {
            let result = match place {
                Ok((connection, changed)) => in_savepoint(connection, changed, f),
                Err(error) => Err(error.into()),
            };
            Box::new(move |commit| {
                // Nobody listens any more when the request was given up; the write stands.
                let _ = answer.send(match commit {
                    Ok(()) => result,
                    Err(error) => result.and(Err(error.into())),
                });
            })
        });
        let queue = self.queue.lock().expect("no code panics while it holds this lock").clone();
        let Some(queue) = queue else { return Err(StoreError::Closed.into()) };
        if queue.send(work).await.is_err() {
            return Err(StoreError::Closed.into());
        }
        drop(queue);
        answered.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    pub(super) async fn close(&self) {
        self.queue.lock().expect("no code panics while it holds this lock").take();
        let thread = self.thread.lock().expect("no code panics while it holds this lock").take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn in_savepoint<T, E, F>(connection: &Connection, changed: &Changed, f: F) -> Result<T, E>
where
    F: FnOnce(&Tx<'_>) -> Result<T, E>,
    E: From<StoreError>,
{
    run(connection, "SAVEPOINT one")?;
    let tx = Tx { connection, told: Changed::default() };
    let result = catch_unwind(AssertUnwindSafe(|| f(&tx))).unwrap_or_else(|_| Err(StoreError::Panicked.into()));
    if connection.is_autocommit() {
        // SQLite itself has given up the whole transaction, as it does when the disk is full.
        return result.and(Err(StoreError::Full.into()));
    }
    if result.is_err() {
        run(connection, "ROLLBACK TO one")?;
    } else {
        changed.workloads.set(changed.workloads.get() | tx.told.workloads.get());
        changed.imports.set(changed.imports.get() | tx.told.imports.get());
        changed.event.set(changed.event.get().max(tx.told.event.get()));
    }
    run(connection, "RELEASE one")?;
    result
}

fn run(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn write_all(connection: Connection, mut work: mpsc::Receiver<Work>, changes: &Changes) {
    let mut batch = Vec::with_capacity(BATCH);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without input or output can always be built");
    let mut log_is_empty = false;
    loop {
        // While the log holds something, being idle for a moment is the time to empty it.
        let count = runtime.block_on(async {
            if log_is_empty {
                return Some(work.recv_many(&mut batch, BATCH).await);
            }
            tokio::time::timeout(IDLE, work.recv_many(&mut batch, BATCH)).await.ok()
        });
        match count {
            None => {
                log_is_empty = checkpoint(&connection, "TRUNCATE");
                continue;
            }
            Some(0) => break,
            Some(_) => log_is_empty = false,
        }
        commit(&connection, &mut batch, changes);
        if log_pages(&connection) > CHECKPOINT_PAGES {
            checkpoint(&connection, "PASSIVE");
        }
    }
    checkpoint(&connection, "TRUNCATE");
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the database was not closed cleanly");
    }
}

/// Runs and commits everything in `batch`, in one transaction unless SQLite undoes it in between.
fn commit(connection: &Connection, batch: &mut Vec<Work>, changes: &Changes) {
    let mut work = std::mem::take(batch).into_iter();
    while work.len() > 0 {
        commit_some(connection, &mut work, changes);
    }
}

fn commit_some(connection: &Connection, work: &mut std::vec::IntoIter<Work>, changes: &Changes) {
    crate::fault::point("store.commit.before");
    let changed = Changed::default();
    if let Err(error) = run(connection, "BEGIN IMMEDIATE") {
        tracing::error!(%error, "no transaction could be begun");
        work.for_each(|work| work(Err(again(&error)))(Ok(())));
        return;
    }
    let mut answers = Vec::with_capacity(work.len());
    let mut committed = Ok(());
    for work in work.by_ref() {
        answers.push(work(Ok((connection, &changed))));
        if connection.is_autocommit() {
            // Nothing of those who came before is kept either; those who come after begin anew.
            committed = Err(StoreError::Full);
            break;
        }
    }
    if committed.is_ok() {
        committed = run(connection, "COMMIT");
    }
    if let Err(error) = &committed {
        tracing::error!(%error, "a commit failed; nothing of it was kept");
        if !connection.is_autocommit() {
            let _ = run(connection, "ROLLBACK");
        }
    }
    crate::fault::point("store.commit.after");
    for answer in answers {
        answer(match &committed {
            Ok(()) => Ok(()),
            Err(error) => Err(again(error)),
        });
    }
    if committed.is_ok() {
        announce(&changed, changes);
    }
}

/// Tells whoever waits for changes what this commit changed.
fn announce(changed: &Changed, changes: &Changes) {
    if changed.event.get() > 0 {
        changes.events.send_if_modified(|newest| {
            let newer = changed.event.get() > *newest;
            *newest = changed.event.get().max(*newest);
            newer
        });
    }
    if changed.imports.get() {
        changes.imports.notify_one();
    }
    if changed.workloads.get() {
        changes.workloads.notify_one();
    }
}

/// Says the same failure to each caller of a batch.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Full,
        StoreError::Damaged(words) => StoreError::Damaged(words.clone()),
        other => StoreError::Io(std::io::Error::other(format!("commit: {other}"))),
    }
}

fn log_pages(connection: &Connection) -> i64 {
    // The log's size tells its pages without a checkpoint.
    let Some(path) = connection.path() else { return 0 };
    let bytes = std::fs::metadata(format!("{path}-wal")).map_or(0, |meta| meta.len());
    i64::try_from(bytes / 4096).unwrap_or(i64::MAX)
}

/// Copies the log into the database, as far as readers allow: they are not waited for, since everybody
/// who writes would wait with us. Says whether all of it was copied.
fn checkpoint(connection: &Connection, mode: &str) -> bool {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let _ = connection.busy_timeout(Duration::ZERO);
    let busy = connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
    let _ = connection.busy_timeout(super::BUSY);
    match busy {
        Ok(busy) => busy == 0,
        Err(error) => {
            tracing::warn!(%error, "the write-ahead log could not be checkpointed");
            false
        }
    }
}
