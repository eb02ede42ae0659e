//! SQLite, the truth of intent. The only room that speaks SQL.
//!
//! One thread owns the only connection that writes and commits whatever waits in one transaction,
//! so that durability (`synchronous=FULL`) is paid once for many ([`writer`]). Reads run beside it
//! on a few connections of their own ([`readers`]). SQL stands in one file for each table, as plain
//! text beside the function that runs it; those functions take a connection, so they compose.
//!
//! Not here: what anybody may do (`service`), what should happen next (`reconcile`), and bulk bytes,
//! which never go through SQLite (`storage`).

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, config::DbConfig};
use tokio::sync::{Notify, watch};

use crate::domain::key::Key;

pub mod cached_versions;
pub mod damaged_contents;
pub mod datasets;
pub mod events;
pub mod experiments;
pub mod gpu_holdings;
pub mod idempotency;
pub mod idle_ends;
pub mod imports;
pub mod job_outputs;
pub mod jobs;
pub mod keys;
pub mod memory_kills;
mod migrate;
pub mod notebooks;
pub mod points;
pub mod projects;
mod readers;
mod row;
pub mod secrets;
pub mod session_mounts;
pub mod sessions;
pub mod storage_providers;
pub mod teams;
pub mod tensorboard_members;
pub mod tensorboard_sessions;
pub mod tensorboards;
pub mod tickets;
pub mod uploads;
pub mod version_tags;
pub mod version_uses;
pub mod versions;
pub mod workloads;
mod writer;

pub use migrate::SCHEMA_VERSION;
pub use writer::Tx;

/// What can go wrong between here and the disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Nothing of the transaction was kept.
    #[error("the disk that holds the database is full")]
    Full,
    /// A row is not as the caller thought.
    #[error("{kind} {id} has changed meanwhile")]
    Stale { kind: &'static str, id: String },
    /// The file was written by a newer gradientd.
    #[error("the database has version {found}, this gradientd knows up to {known}: install the newer gradientd again")]
    Newer { found: i64, known: i64 },
    /// The file is damaged.
    #[error("the database is damaged: {0}. Stop gradientd and put the newest file of backups/ in its place")]
    Damaged(String),
    /// A value in a row is not one that this program writes.
    #[error("column {column} holds an impossible value")]
    Value { column: &'static str },
    /// The closure of a write panicked; nothing of it was kept.
    #[error("the write panicked")]
    Panicked,
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
    #[error("SQLite")]
    Sqlite(#[source] rusqlite::Error),
    #[error("the data directory")]
    Io(#[from] std::io::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// What changed, told after the commit and never before.
#[derive(Clone)]
pub struct Changes {
    /// Something that the workload loop should look at.
    pub workloads: Arc<Notify>,
    /// An import that the loop of imports should look at.
    pub imports: Arc<Notify>,
    /// The newest event's number.
    pub events: watch::Sender<i64>,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: writer::Writer,
    readers: Arc<readers::Readers>,
    changes: Changes,
}

impl Store {
    /// Opens the database at `path`, making or migrating it. Copies it to `backups` first when a
    /// migration is due. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a file of a newer program, [`StoreError::Damaged`] for one that is
    /// no SQLite database.
    pub fn open(path: &Path, backups: &Path) -> Result<Self, StoreError> {
        let mut connection = connect(path)?;
        migrate::migrate(&mut connection, backups)?;
        let newest = events::newest(&connection)?;
        let changes =
            Changes { workloads: Arc::default(), imports: Arc::default(), events: watch::Sender::new(newest) };
        let writer = writer::Writer::start(connection, changes.clone());
        Ok(Self { writer, readers: Arc::new(readers::Readers::new(path.to_owned())), changes })
    }

    /// Runs `f` in a transaction of its own and returns when it is on disk. When `f` fails or
    /// panics, nothing of it is kept.
    ///
    /// Others may share the commit; none sees another's failure. `f` must be short: everybody else
    /// who writes waits for it.
    pub async fn write<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.writer.run(f).await
    }

    /// Runs `f` on a connection that only reads, and sees one state of the database throughout.
    pub async fn read<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        tokio::task::spawn_blocking(move || readers.run(f)).await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    /// Returns where changes are announced.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Looks over the whole file for damage. Takes long for a large one; blocks.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with SQLite's words.
    pub fn check(&self) -> Result<(), StoreError> {
        self.readers.run(|connection| {
            let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged(verdict)) }
        })
    }

    /// Writes everything that waits, closes the file and leaves no write-ahead log behind.
    pub async fn close(&self) {
        self.readers.close();
        self.writer.close().await;
    }
}

/// Copies the database at `path` to `target`, as it is at one moment, whoever else has it open. Blocks.
///
/// # Errors
/// [`StoreError::Damaged`] when the copy is not whole; nothing stands at `target` then.
pub fn back_up(path: &Path, target: &Path) -> Result<(), StoreError> {
    let source = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.busy_timeout(Duration::from_secs(10))?;
    migrate::back_up(&source, target)?;
    let verdict = check(target);
    if verdict.is_err() {
        std::fs::remove_file(target)?;
    }
    verdict
}

/// Looks over a database file that nobody has open, and changes nothing. Blocks.
///
/// # Errors
/// [`StoreError::Damaged`] with SQLite's words, [`StoreError::Newer`] for a file of a newer program.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Damaged(verdict));
    }
    let found = migrate::version(&connection)?;
    if found == 0 {
        // SQLite takes a file that is cut short for an empty database.
        return Err(StoreError::Damaged("there is nothing in it".to_owned()));
    }
    if found > SCHEMA_VERSION { Err(StoreError::Newer { found, known: SCHEMA_VERSION }) } else { Ok(()) }
}

/// Ends all sessions in a database file that nobody has open, and returns the keys in it that were not
/// revoked. Blocks.
pub fn shut_out_browsers(path: &Path) -> Result<Vec<Key>, StoreError> {
    let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    tickets::clear(&connection)?;
    sessions::clear(&connection)?;
    let standing = keys::standing(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    std::fs::File::open(path)?.sync_all()?;
    Ok(standing)
}

/// Says whether the database file at `path` waits for a migration. Blocks.
pub fn is_older(path: &Path) -> Result<bool, StoreError> {
    let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(migrate::version(&connection)? < SCHEMA_VERSION)
}

/// Returns the version of the SQLite inside.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// How long one process waits for another that has the database.
const BUSY: Duration = Duration::from_secs(10);

/// Opens a connection with the settings that every one has.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    // First, so that the others wait too.
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -8192)?;
    // Checkpoints are the writer's business, between batches.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_prepared_statement_cache_capacity(128);
    // Otherwise a cached statement is prepared anew each time it is given other values, which costs more
    // than most statements themselves: the plan might be better for these. Ours are written for one plan.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

#[cfg(test)]
pub(crate) mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    pub(crate) fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("gradientd.db"), &dir.path().join("backups")).unwrap();
        (dir, store)
    }

    #[test]
    fn the_sqlite_inside_has_no_known_wal_corruption() {
        // 3.51.3 mended a WAL-reset race that could corrupt the file.
        assert!(rusqlite::version_number() >= 3_051_003, "SQLite {} is too old", rusqlite::version());
    }

    #[tokio::test]
    async fn a_statement_that_is_kept_is_not_prepared_anew_for_other_values() {
        let (_dir, store) = store();
        let prepared = store.read(|connection| {
            // Of one value of `state` there is an index, which is what makes the value matter.
            let mut query = connection.prepare("SELECT seq FROM versions WHERE state = ?1 AND deleted_at IS NULL")?;
            for state in ["uncommitted", "committed", "uncommitted"] {
                assert!(!query.exists([state])?);
            }
            Ok::<_, StoreError>(query.get_status(StatementStatus::RePrepare))
        });
        assert_eq!(prepared.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_write_that_fails_or_panics_takes_nobody_with_it() {
        let (_dir, store) = store();
        let insert = |name: &'static str| {
            move |tx: &Tx<'_>| {
                tx.execute("INSERT INTO teams (id, name, created_at) VALUES (?1, ?1, 0)", [name])?;
                match name {
                    "bad" => Err(StoreError::Closed),
                    "ugly" => panic!("as planned"),
                    _ => Ok(()),
                }
            }
        };
        let (good, bad, ugly) =
            tokio::join!(store.write(insert("good")), store.write(insert("bad")), store.write(insert("ugly")));
        assert!(good.is_ok());
        assert!(matches!(bad, Err(StoreError::Closed)));
        assert!(matches!(ugly, Err(StoreError::Panicked)));
        let names: Vec<String> = store
            .read(|connection| {
                let mut query = connection.prepare("SELECT name FROM teams")?;
                let names = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                Ok::<_, StoreError>(names)
            })
            .await
            .unwrap();
        assert_eq!(names, ["good"]);
    }

    #[tokio::test]
    async fn a_reader_cannot_write() {
        let (_dir, store) = store();
        let result = store
            .read(|connection| {
                connection.execute("INSERT INTO teams (id, name, created_at) VALUES ('t', 't', 0)", [])?;
                Ok::<_, StoreError>(())
            })
            .await;
        assert!(result.is_err());
    }

    #[tokio::test]
    async fn closing_leaves_one_file() {
        let (dir, store) = store();
        store.write(|tx| Ok::<_, StoreError>(tx.execute("INSERT INTO teams VALUES ('t', 't', 0)", [])?)).await.unwrap();
        store.close().await;
        assert!(!dir.path().join("gradientd.db-wal").exists());
        assert!(matches!(store.write(|_| Ok::<_, StoreError>(())).await, Err(StoreError::Closed)));
    }

    #[test]
    fn a_file_that_is_no_database_is_named_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gradientd.db");
        std::fs::write(&path, vec![7u8; 8192]).unwrap();
        assert!(matches!(Store::open(&path, dir.path()), Err(StoreError::Damaged(_))));
    }
}
