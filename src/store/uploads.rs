//! Who uploaded what. The archives themselves, and facts about them, are in `storage`.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::{TeamId, UploadId, UserId},
    time::Timestamp,
};

/// Adds an upload, whose bytes are in place already.
pub fn insert(
    tx: &Tx<'_>,
    team: &TeamId,
    user: &UserId,
    id: &UploadId,
    now: Timestamp,
    ends: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO uploads (id, team_id, user_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, team, user, now, ends],
    )?;
    Ok(())
}

/// Says whether the team has this upload.
pub fn exists(connection: &Connection, team: &TeamId, id: &UploadId) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM uploads WHERE id = ?1 AND team_id = ?2")?;
    Ok(query.exists(params![id, team])?)
}

/// Forgets uploads that have expired and that no workload or experiment names, and returns their ids.
pub fn prune(tx: &Tx<'_>, now: Timestamp) -> Result<Vec<UploadId>, StoreError> {
    let mut query = tx.prepare_cached(
        "DELETE FROM uploads WHERE expires_at <= ?1
         AND NOT EXISTS (SELECT 1 FROM workloads w WHERE w.upload_id = uploads.id)
         AND NOT EXISTS (SELECT 1 FROM experiments e WHERE e.upload_id = uploads.id) RETURNING id",
    )?;
    let rows = query.query_map([now], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns every upload that is known, with whose it is.
pub fn all_with_teams(connection: &Connection) -> Result<Vec<(UploadId, TeamId)>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id, team_id FROM uploads")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns every upload that is known, to tell files that nobody knows.
pub fn all(connection: &Connection) -> Result<Vec<UploadId>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id FROM uploads")?;
    let rows = query.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
