//! Versions on S3 that have a copy on this disk, and when each was last of use.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::{DatasetId, TeamId, VersionId},
    time::Timestamp,
};

/// A copy on this disk of a version on S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedVersion {
    /// The version's row.
    pub seq: i64,
    pub team: TeamId,
    pub dataset: DatasetId,
    pub name: String,
    pub version: VersionId,
    pub bytes: u64,
    pub used_at: Timestamp,
    /// Whether a run that is not over reads it, or will.
    pub in_use: bool,
}

/// Notes a copy, or that one was of use again.
pub fn put(tx: &Tx<'_>, version: i64, bytes: u64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO cached_versions (version, bytes, used_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (version) DO UPDATE SET bytes = ?2, used_at = max(used_at, ?3)",
    )?
    .execute(params![version, bytes, now])?;
    Ok(())
}

/// Says whether a version has a copy, and notes that it is of use.
pub fn touch(tx: &Tx<'_>, version: i64, now: Timestamp) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached("UPDATE cached_versions SET used_at = max(used_at, ?2) WHERE version = ?1")?
        .execute(params![version, now])?;
    Ok(changed == 1)
}

/// Forgets a copy, unless a run that is not over reads it. Says whether it did: then its files may go.
pub fn forget_unused(tx: &Tx<'_>, version: i64) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(&format!("DELETE FROM cached_versions AS c WHERE c.version = ?1 AND NOT {IN_USE}"))?
        .execute([version])?;
    Ok(changed == 1)
}

/// Forgets a copy that turned out not to be whole.
pub fn forget(tx: &Tx<'_>, version: i64) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM cached_versions WHERE version = ?1")?.execute([version])?;
    Ok(())
}

const IN_USE: &str = "EXISTS (SELECT 1 FROM version_uses u JOIN workloads w ON w.id = u.job_id
     WHERE u.version = c.version AND u.role != 'output' AND w.teardown_finished_at IS NULL
         AND u.released_at IS NULL)";

/// Returns every copy, least recently used first.
pub fn all(connection: &Connection) -> Result<Vec<CachedVersion>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT v.seq, d.team_id, d.id, d.name, v.id, c.bytes, c.used_at, {IN_USE}
         FROM cached_versions c JOIN versions v ON v.seq = c.version JOIN datasets d ON d.seq = v.dataset
         ORDER BY c.used_at, c.version",
    ))?;
    let rows = query.query_map([], |row| {
        Ok(CachedVersion {
            seq: row.get(0)?,
            team: row.get(1)?,
            dataset: row.get(2)?,
            name: row.get(3)?,
            version: row.get(4)?,
            bytes: row.get(5)?,
            used_at: row.get(6)?,
            in_use: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
