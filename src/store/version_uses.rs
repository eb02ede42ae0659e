//! Which run reads or made which version. The rows outlive the runs that they name, and know what those were.

use rusqlite::{Connection, Row, params};

use super::{StoreError, Tx, workloads};
use crate::domain::{
    dataset::{Use, VersionUse},
    id::{JobId, TeamId},
    time::Timestamp,
};

const COLUMNS: &str = "v.id, x.job_id, coalesce(n.name, t.name, x.job_name), x.name, x.role, x.at, w.state, x.kind,
    x.parent_id, CASE x.kind WHEN 'notebook' THEN n.id WHEN 'tensorboard' THEN t.id ELSE w.id END IS NULL
    FROM version_uses x JOIN versions v ON v.seq = x.version LEFT JOIN workloads w ON w.id = x.job_id
    LEFT JOIN notebooks n ON n.id = x.parent_id LEFT JOIN tensorboards t ON t.id = x.parent_id";

fn version_use(row: &Row<'_>) -> rusqlite::Result<VersionUse> {
    Ok(VersionUse {
        version: row.get(0)?,
        job: row.get(1)?,
        title: row.get(2)?,
        name: row.get(3)?,
        role: row.get(4)?,
        at: row.get(5)?,
        state: row.get(6)?,
        kind: workloads::kind(row, 7, 8)?,
        is_gone: row.get(9)?,
    })
}

/// A use to be written down.
#[derive(Debug, Clone)]
pub struct NewUse<'a> {
    /// Number of the version.
    pub version: i64,
    /// The run's team, which alone sees this use.
    pub team: &'a TeamId,
    /// A job, or a session; its row says of what.
    pub job: &'a JobId,
    pub job_name: &'a str,
    pub name: &'a str,
    pub role: Use,
}

/// Writes down a use. Twice is as good as once, and one that was let go is one again.
pub fn insert(tx: &Tx<'_>, new: &NewUse<'_>, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO version_uses (version, team_id, job_id, job_name, name, role, at, kind, parent_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, coalesce((SELECT kind FROM workloads WHERE id = ?3), 'job'),
             (SELECT parent_id FROM workloads WHERE id = ?3))
         ON CONFLICT (version, job_id, role, name) DO UPDATE SET released_at = NULL",
    )?
    .execute(params![new.version, new.team, new.job, new.job_name, new.name, new.role, now])?;
    Ok(())
}

/// Returns the uses of a version, of any team, by jobs that wait, run, or are not tidied up after, and
/// that have not let it go; oldest first.
pub fn live_uses_of(connection: &Connection, version: i64, limit: u32) -> Result<Vec<VersionUse>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE x.version = ?1 AND w.id IS NOT NULL AND w.teardown_finished_at IS NULL
             AND x.released_at IS NULL
         ORDER BY x.at, x.job_id LIMIT ?2"
    ))?;
    let rows = query.query_map(params![version, limit], version_use)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns what a team's jobs had to do with a version, newest first.
pub fn of_version(
    connection: &Connection,
    team: &TeamId,
    version: i64,
    limit: u32,
) -> Result<Vec<VersionUse>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE x.version = ?1 AND x.team_id = ?2 ORDER BY x.at DESC, x.job_id LIMIT ?3"
    ))?;
    let rows = query.query_map(params![version, team, limit], version_use)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns what a team's jobs had to do with versions of a dataset, newest first.
pub fn of_dataset(
    connection: &Connection,
    team: &TeamId,
    dataset: i64,
    limit: u32,
) -> Result<Vec<VersionUse>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE v.dataset = ?1 AND x.team_id = ?2 ORDER BY x.at DESC, x.job_id LIMIT ?3"
    ))?;
    let rows = query.query_map(params![dataset, team, limit], version_use)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
