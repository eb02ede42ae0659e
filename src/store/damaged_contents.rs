//! Contents that a check found damaged.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::{content::ContentHash, id::TeamId, time::Timestamp};

/// A damaged content, without the versions that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRow {
    pub team: TeamId,
    pub hash: ContentHash,
    pub bytes: u64,
    pub found_at: Timestamp,
}

/// Notes that a content is damaged; the first time counts.
pub fn put(tx: &Tx<'_>, team: &TeamId, hash: &ContentHash, bytes: u64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO damaged_contents (team_id, hash, bytes, found_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![team, hash.0, bytes, now])?;
    Ok(())
}

/// Forgets that a content was damaged: it is gone, or whole again.
pub fn forget(tx: &Tx<'_>, team: &TeamId, hash: &ContentHash) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM damaged_contents WHERE team_id = ?1 AND hash = ?2")?
        .execute(params![team, hash.0])?;
    Ok(())
}

/// Returns every content that is known to be damaged, `limit` at most.
pub fn all(connection: &Connection, limit: u32) -> Result<Vec<DamagedRow>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT team_id, hash, bytes, found_at FROM damaged_contents ORDER BY found_at, hash LIMIT ?1",
    )?;
    let rows = query.query_map([limit], |row| {
        Ok(DamagedRow { team: row.get(0)?, hash: ContentHash(row.get(1)?), bytes: row.get(2)?, found_at: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
