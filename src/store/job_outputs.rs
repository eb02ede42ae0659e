//! What jobs write to `/outputs`, and what became of it.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::{
    dataset::{JobOutput, OutputState},
    id::JobId,
};

/// Adds an output of a job that was just accepted. `dataset` is the row; `may_publish` says whether who
/// submitted the job may change what every team gets.
pub fn insert(tx: &Tx<'_>, seq: i64, name: &str, dataset: i64, may_publish: bool) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO job_outputs (seq, name, dataset, state, may_publish) VALUES (?1, ?2, ?3, 'waiting', ?4)",
    )?
    .execute(params![seq, name, dataset, may_publish])?;
    Ok(())
}

/// Returns the outputs of a job, by name.
pub fn of_job(connection: &Connection, job: &JobId) -> Result<Vec<JobOutput>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT o.name, o.dataset, d.id, d.deleted_at IS NOT NULL, o.version, v.id, o.state, o.message,
             o.may_publish
         FROM workloads w JOIN job_outputs o ON o.seq = w.seq JOIN datasets d ON d.seq = o.dataset
         LEFT JOIN versions v ON v.seq = o.version WHERE w.id = ?1 ORDER BY o.name",
    )?;
    let rows = query.query_map([job], |row| {
        Ok(JobOutput {
            name: row.get(0)?,
            dataset_seq: row.get(1)?,
            dataset: row.get(2)?,
            dataset_deleted: row.get(3)?,
            version_seq: row.get(4)?,
            version: row.get(5)?,
            state: row.get(6)?,
            message: row.get(7)?,
            may_publish: row.get(8)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the jobs that are not over and want to make a version of a dataset, oldest first.
pub fn live_into(connection: &Connection, dataset: i64, limit: u32) -> Result<Vec<JobId>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT DISTINCT w.id FROM workloads w INDEXED BY workloads_alive JOIN job_outputs o ON o.seq = w.seq
         WHERE w.teardown_finished_at IS NULL AND o.dataset = ?1 ORDER BY w.seq LIMIT ?2",
    )?;
    let rows = query.query_map(params![dataset, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes the version that an output becomes.
pub fn set_version(tx: &Tx<'_>, seq: i64, name: &str, version: i64) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE job_outputs SET version = ?3, state = 'collecting' WHERE seq = ?1 AND name = ?2")?
        .execute(params![seq, name, version])?;
    Ok(())
}

/// Notes what became of an output.
pub fn set_state(
    tx: &Tx<'_>,
    seq: i64,
    name: &str,
    state: OutputState,
    message: Option<&str>,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE job_outputs SET state = ?3, message = ?4 WHERE seq = ?1 AND name = ?2")?
        .execute(params![seq, name, state, message])?;
    Ok(())
}

/// Notes that a job which never ran has written nothing.
pub(super) fn never_came(tx: &Tx<'_>, seq: i64) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE job_outputs SET state = 'empty', message = 'the job never ran' WHERE seq = ?1")?
        .execute([seq])?;
    Ok(())
}
