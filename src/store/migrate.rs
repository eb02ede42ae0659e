//! Brings a database to today's schema: numbered steps, forward only, each in a transaction with the
//! `user_version` that it reaches. A step is never edited once it was released.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

const STEPS: &[&str] = &[
    include_str!("migrations/0001_foundation.sql"),
    include_str!("migrations/0002_datasets.sql"),
    include_str!("migrations/0003_tags.sql"),
    include_str!("migrations/0004_kinds.sql"),
    include_str!("migrations/0005_experiments.sql"),
    include_str!("migrations/0006_tickets.sql"),
    include_str!("migrations/0007_notebooks.sql"),
    include_str!("migrations/0008_tensorboards.sql"),
    include_str!("migrations/0009_integrations.sql"),
    include_str!("migrations/0010_import_tags.sql"),
    include_str!("migrations/0011_who_left.sql"),
    include_str!("migrations/0012_uses_by_sessions.sql"),
    include_str!("migrations/0013_tensorboard_registry.sql"),
    include_str!("migrations/0014_memory_kills.sql"),
];

/// The version that a database has after all steps.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;

pub(super) fn migrate(connection: &mut Connection, backups: &Path) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { found, known: SCHEMA_VERSION });
    }
    if 0 < found && found < SCHEMA_VERSION {
        back_up(connection, &backups.join(format!("before-version-{SCHEMA_VERSION}.db")))?;
    }
    for (step, version) in STEPS.iter().zip(1i64..).filter(|(_, version)| *version > found) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

pub(super) fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Copies the whole database to `target`, replacing what an earlier try left there.
pub(super) fn back_up(connection: &Connection, target: &Path) -> Result<(), StoreError> {
    if let Some(dir) = target.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let part = target.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let mut copy = Connection::open(&part)?;
    // In one step: with pauses in between, every write of another process would begin it anew.
    rusqlite::backup::Backup::new(connection, &mut copy)?.step(-1)?;
    copy.close().map_err(|(_, error)| error)?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(connection: &Connection) -> String {
        let mut query =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|row| row.unwrap() + ";\n").collect()
    }

    #[test]
    fn an_empty_file_gets_todays_schema() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("new.db")).unwrap();
        migrate(&mut connection, dir.path()).unwrap();
        insta::assert_snapshot!("schema", schema(&connection));
        assert_eq!(version(&connection).unwrap(), SCHEMA_VERSION);
    }

    #[test]
    fn the_database_of_every_release_reaches_the_same_schema_and_is_kept_beside() {
        let releases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/databases");
        let mut seen = 0;
        for entry in std::fs::read_dir(releases).unwrap() {
            let path = entry.unwrap().path();
            let dir = tempfile::tempdir().unwrap();
            let copy = dir.path().join("gradientd.db");
            std::fs::copy(&path, &copy).unwrap();
            let mut connection = Connection::open(&copy).unwrap();
            let before = version(&connection).unwrap();
            migrate(&mut connection, dir.path()).unwrap();
            insta::assert_snapshot!("schema", schema(&connection));
            let jobs: i64 = connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).unwrap();
            assert!(jobs > 0, "{} is a release's database with jobs in it", path.display());
            let kept = dir.path().join(format!("before-version-{SCHEMA_VERSION}.db")).exists();
            assert_eq!(kept, before < SCHEMA_VERSION);
            seen += 1;
        }
        assert!(seen > 0);
    }

    #[test]
    fn a_backup_is_a_whole_database() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("one.db")).unwrap();
        migrate(&mut connection, dir.path()).unwrap();
        connection.execute("INSERT INTO teams VALUES ('t', 'name', 1)", []).unwrap();
        back_up(&connection, &dir.path().join("copy.db")).unwrap();
        let copy = Connection::open(dir.path().join("copy.db")).unwrap();
        assert_eq!(copy.query_row("SELECT name FROM teams", [], |row| row.get::<_, String>(0)).unwrap(), "name");
    }

    #[test]
    fn a_newer_database_is_refused_and_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("newer.db")).unwrap();
        connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        assert!(matches!(migrate(&mut connection, dir.path()), Err(StoreError::Newer { .. })));
        assert_eq!(schema(&connection), "");
    }
}
