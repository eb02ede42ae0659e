//! Tags: names that point to one version of a dataset, and can be moved.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::{dataset::VersionTag, time::Timestamp};

/// Lists a dataset's tags by name, after the name `after`; with `committed`, only those of committed
/// versions.
pub fn list(
    connection: &Connection,
    dataset: i64,
    committed: bool,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<VersionTag>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT t.name, v.id, t.updated_at FROM version_tags t JOIN versions v ON v.seq = t.version
         WHERE t.dataset = ?1 AND t.name > ?2 AND (NOT ?4 OR v.state = 'committed')
         ORDER BY t.name LIMIT ?3",
    )?;
    let rows = query.query_map(params![dataset, after.unwrap_or_default(), limit, committed], |row| {
        Ok(VersionTag { name: row.get(0)?, version: row.get(1)?, updated_at: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Counts a dataset's tags.
pub fn count(connection: &Connection, dataset: i64) -> Result<u32, StoreError> {
    let mut query = connection.prepare_cached("SELECT count(*) FROM version_tags WHERE dataset = ?1")?;
    Ok(query.query_row([dataset], |row| row.get(0))?)
}

/// Says whether a dataset has a tag.
pub fn exists(connection: &Connection, dataset: i64, name: &str) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM version_tags WHERE dataset = ?1 AND name = ?2")?;
    Ok(query.exists(params![dataset, name])?)
}

/// Sets a tag, moving it when another version of the dataset has it.
pub fn set(tx: &Tx<'_>, dataset: i64, name: &str, version: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO version_tags (dataset, name, version, updated_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (dataset, name) DO UPDATE SET version = ?3, updated_at = ?4",
        params![dataset, name, version, now],
    )?;
    Ok(())
}

/// Removes a tag. Says whether it was there.
pub fn delete(tx: &Tx<'_>, dataset: i64, name: &str) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM version_tags WHERE dataset = ?1 AND name = ?2", params![dataset, name])? == 1)
}
