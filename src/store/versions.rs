//! Versions of datasets. Their files are on the disk or in a bucket.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx, row::Json};
use crate::domain::{
    content::Totals,
    dataset::{Version, VersionState},
    id::{DatasetId, JobId, ProviderId, TeamId, UserId, VersionId},
    storage_provider::ProviderKind,
    time::Timestamp,
};

const COLUMNS: &str = "v.seq, d.id, v.id, d.team_id, v.state, v.message, v.metadata,
    (SELECT json_group_array(t.name) FROM version_tags t WHERE t.version = v.seq), u.name,
    (SELECT p.id FROM versions p WHERE p.seq = v.parent), v.made_by, v.note, v.files, v.bytes, v.damaged_at,
    v.created_at, v.updated_at, v.committed_at, v.deleted_at
    FROM versions v JOIN datasets d ON d.seq = v.dataset JOIN users u ON u.id = v.user_id";

fn version(row: &Row<'_>) -> rusqlite::Result<Version> {
    let (files, bytes): (Option<u64>, Option<u64>) = (row.get(12)?, row.get(13)?);
    Ok(Version {
        seq: row.get(0)?,
        dataset: row.get(1)?,
        id: row.get(2)?,
        team: row.get(3)?,
        state: row.get(4)?,
        message: row.get(5)?,
        metadata: row.get::<_, Json<BTreeMap<String, String>>>(6)?.0,
        tags: row.get::<_, Json<Vec<String>>>(7)?.0,
        user_name: row.get(8)?,
        parent: row.get(9)?,
        made_by: row.get(10)?,
        note: row.get(11)?,
        totals: files.zip(bytes).map(|(files, bytes)| Totals { files, bytes }),
        damaged_at: row.get(14)?,
        created_at: row.get(15)?,
        updated_at: row.get(16)?,
        committed_at: row.get(17)?,
    })
}

/// An uncommitted version to be added.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Number of its dataset.
    pub dataset: i64,
    pub id: VersionId,
    pub user: UserId,
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    /// Number of the version whose files it begins with.
    pub parent: Option<i64>,
    pub made_by: Option<JobId>,
    pub note: Option<String>,
}

/// Adds an uncommitted version and returns its number.
pub fn insert(tx: &Tx<'_>, new: &NewVersion, now: Timestamp) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "INSERT INTO versions
             (dataset, id, user_id, state, message, metadata, parent, made_by, note, created_at, updated_at)
         VALUES (?1, ?2, ?3, 'uncommitted', ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
    )?
    .execute(params![
        new.dataset,
        new.id,
        new.user,
        new.message,
        Json(&new.metadata),
        new.parent,
        new.made_by,
        new.note,
        now
    ])?;
    let seq = tx.last_insert_rowid();
    touch_dataset(tx, seq, now)?;
    Ok(seq)
}

/// Says whether a dataset has or had a version of this id.
pub fn is_known(connection: &Connection, dataset: i64, id: &VersionId) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM versions WHERE dataset = ?1 AND id = ?2")?;
    Ok(query.exists(params![dataset, id])?)
}

/// Finds a version by its number.
pub fn get(connection: &Connection, seq: i64) -> Result<Option<Version>, StoreError> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE v.seq = ?1 AND v.deleted_at IS NULL"))?;
    Ok(query.query_row([seq], version).optional()?)
}

/// Finds a version by its dataset's id and its own, also when it is deleted already: what a run was
/// promised it keeps. Says when it was deleted.
pub fn by_ids(
    connection: &Connection,
    dataset: &DatasetId,
    id: &VersionId,
) -> Result<Option<(Version, Option<Timestamp>)>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE d.id = ?1 AND v.id = ?2"))?;
    Ok(query.query_row(params![dataset, id], |row| Ok((version(row)?, row.get(18)?))).optional()?)
}

/// Finds a version of a dataset by its id.
pub fn by_id(connection: &Connection, dataset: i64, id: &VersionId) -> Result<Option<Version>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} WHERE v.dataset = ?1 AND v.id = ?2 AND v.deleted_at IS NULL"))?;
    Ok(query.query_row(params![dataset, id], version).optional()?)
}

/// Finds the version of a dataset that has a tag.
pub fn by_tag(connection: &Connection, dataset: i64, tag: &str) -> Result<Option<Version>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} JOIN version_tags g ON g.version = v.seq
         WHERE g.dataset = ?1 AND g.name = ?2 AND v.deleted_at IS NULL"
    ))?;
    Ok(query.query_row(params![dataset, tag], version).optional()?)
}

/// Finds the newest committed version of a dataset.
pub fn latest(connection: &Connection, dataset: i64) -> Result<Option<Version>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE v.dataset = ?1 AND v.state = 'committed' AND v.deleted_at IS NULL
         ORDER BY v.committed_at DESC, v.seq DESC LIMIT 1"
    ))?;
    Ok(query.query_row([dataset], version).optional()?)
}

/// Lists a dataset's versions, newest first.
pub fn list(
    connection: &Connection,
    dataset: i64,
    state: Option<VersionState>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Version>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE v.dataset = ?1 AND v.deleted_at IS NULL AND v.seq < ?2
             AND (?3 IS NULL OR v.state = ?3)
         ORDER BY v.seq DESC LIMIT ?4"
    ))?;
    let rows = query.query_map(params![dataset, before.unwrap_or(i64::MAX), state, limit], version)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns all versions of a team that are not deleted, oldest first: what a check or a count of
/// files goes through.
pub fn of_team(connection: &Connection, team: &TeamId) -> Result<Vec<Version>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} WHERE d.team_id = ?1 AND v.deleted_at IS NULL ORDER BY v.seq"))?;
    let rows = query.query_map([team], version)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the ids of the versions that began with the files of this one, as far as a team may see
/// them, newest first.
pub fn children(connection: &Connection, team: &TeamId, seq: i64, limit: u32) -> Result<Vec<VersionId>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT v.id FROM versions v JOIN datasets d ON d.seq = v.dataset
         WHERE v.parent = ?1 AND v.parent IS NOT NULL AND v.deleted_at IS NULL
             AND (d.team_id = ?3 OR (d.public = 1 AND v.state = 'committed'))
         ORDER BY v.seq DESC LIMIT ?2",
    )?;
    let rows = query.query_map(params![seq, limit, team], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says whether a team may see the version that this one began with.
pub fn may_see_parent(connection: &Connection, team: &TeamId, seq: i64) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT 1 FROM versions v JOIN versions p ON p.seq = v.parent JOIN datasets d ON d.seq = p.dataset
         WHERE v.seq = ?1 AND (d.team_id = ?2
             OR (d.public = 1 AND p.state = 'committed' AND p.deleted_at IS NULL AND d.deleted_at IS NULL))",
    )?;
    Ok(query.exists(params![seq, team])?)
}

/// Gives a version another message and other metadata.
pub fn update(
    tx: &Tx<'_>,
    seq: i64,
    message: &str,
    metadata: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE versions SET message = ?2, metadata = ?3, updated_at = ?4 WHERE seq = ?1",
        params![seq, message, Json(metadata), now],
    )?;
    Ok(())
}

/// Notes that files of an uncommitted version have changed.
pub fn touch(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE versions SET updated_at = ?2 WHERE seq = ?1 AND state = 'uncommitted'")?
        .execute(params![seq, now])?;
    Ok(())
}

/// Makes a version immutable. Its files are frozen before. Says whether it was still uncommitted.
pub fn commit(tx: &Tx<'_>, seq: i64, totals: Totals, now: Timestamp) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE versions SET state = 'committed', files = ?2, bytes = ?3, committed_at = ?4, updated_at = ?4
         WHERE seq = ?1 AND state = 'uncommitted' AND deleted_at IS NULL",
        params![seq, totals.files, totals.bytes, now],
    )?;
    touch_dataset(tx, seq, now)?;
    Ok(changed == 1)
}

/// Says why a version is as it is.
pub fn set_note(tx: &Tx<'_>, seq: i64, note: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE versions SET note = ?2, updated_at = ?3 WHERE seq = ?1", params![seq, note, now])?;
    Ok(())
}

/// Notes since when files of a version are damaged, or that they no longer are.
pub fn set_damaged(tx: &Tx<'_>, seq: i64, at: Option<Timestamp>) -> Result<(), StoreError> {
    tx.execute("UPDATE versions SET damaged_at = ?2 WHERE seq = ?1", params![seq, at])?;
    Ok(())
}

/// Returns the versions of a team that are marked as damaged, and their rows. Deleted ones too, for
/// runs that began before may read them.
pub fn damaged(connection: &Connection, team: &TeamId) -> Result<Vec<(i64, DatasetId, VersionId)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT v.seq, d.id, v.id FROM versions v JOIN datasets d ON d.seq = v.dataset
         WHERE d.team_id = ?1 AND v.damaged_at IS NOT NULL",
    )?;
    let rows = query.query_map([team], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes a version with its tags; its files go later. Says whether it was there.
pub fn delete(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<bool, StoreError> {
    tx.execute("DELETE FROM version_tags WHERE version = ?1", [seq])?;
    let changed = tx.execute(
        "UPDATE versions SET deleted_at = ?2, updated_at = ?2 WHERE seq = ?1 AND deleted_at IS NULL",
        params![seq, now],
    )?;
    touch_dataset(tx, seq, now)?;
    Ok(changed == 1)
}

/// A deleted version whose files are still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    pub seq: i64,
    pub team: TeamId,
    pub dataset: DatasetId,
    pub dataset_name: String,
    pub version: VersionId,
    pub deleted_at: Timestamp,
    pub provider: ProviderId,
    pub provider_kind: ProviderKind,
}

/// Returns versions that were deleted before `time`, that nothing live uses, and whose files are
/// still there; oldest first.
pub fn to_remove(connection: &Connection, time: Timestamp, limit: u32) -> Result<Vec<Deleted>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT v.seq, d.team_id, d.id, d.name, v.id, v.deleted_at, p.id, p.kind
         FROM versions v INDEXED BY versions_to_remove JOIN datasets d ON d.seq = v.dataset
         JOIN storage_providers p ON p.id = d.provider_id
         WHERE v.deleted_at IS NOT NULL AND v.removed_at IS NULL AND v.deleted_at <= ?1
             AND NOT EXISTS (SELECT 1 FROM version_uses x JOIN workloads w ON w.id = x.job_id
                             WHERE x.version = v.seq AND w.teardown_finished_at IS NULL AND x.released_at IS NULL)
         ORDER BY v.deleted_at LIMIT ?2",
    )?;
    let rows = query.query_map(params![time, limit], |row| {
        Ok(Deleted {
            seq: row.get(0)?,
            team: row.get(1)?,
            dataset: row.get(2)?,
            dataset_name: row.get(3)?,
            version: row.get(4)?,
            deleted_at: row.get(5)?,
            provider: row.get(6)?,
            provider_kind: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that the files of a deleted version are gone.
pub fn set_removed(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE versions SET removed_at = ?2 WHERE seq = ?1", params![seq, now])?;
    Ok(())
}

fn touch_dataset(tx: &Tx<'_>, version: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE datasets SET updated_at = ?2 WHERE seq = (SELECT dataset FROM versions WHERE seq = ?1)")?
        .execute(params![version, now])?;
    Ok(())
}
