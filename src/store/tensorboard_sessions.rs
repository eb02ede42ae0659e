//! What sessions of TensorBoards are beside what they run.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::{StoreError, Tx, row::Json, tensorboards, workloads};
use crate::domain::{
    id::TensorBoardId,
    notebook::{Activity, EndedFor},
    tensorboard::{Logs, TensorBoard},
    time::Timestamp,
    workload::Workload,
};

/// Notes that workload `seq` is a session that shows `logs`.
pub fn insert(tx: &Tx<'_>, seq: i64, idle: Option<Duration>, logs: &Logs) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO tensorboard_sessions (seq, idle_seconds, logs) VALUES (?1, ?2, ?3)")?
        .execute(params![seq, idle.map(|span| span.as_secs()), Json(logs)])?;
    Ok(())
}

/// Returns what session `seq` shows.
pub fn logs(connection: &Connection, seq: i64) -> Result<Logs, StoreError> {
    let mut query = connection.prepare_cached("SELECT logs FROM tensorboard_sessions WHERE seq = ?1")?;
    Ok(query.query_row([seq], |row| row.get::<_, Json<Logs>>(0))?.0)
}

/// Gives a session another idle limit.
pub fn set_idle(tx: &Tx<'_>, seq: i64, idle: Option<Duration>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE tensorboard_sessions SET idle_seconds = ?2 WHERE seq = ?1",
        params![seq, idle.map(|span| span.as_secs())],
    )?;
    Ok(())
}

/// Notes that a session answers.
pub fn ready(tx: &Tx<'_>, board: &TensorBoard, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE tensorboard_sessions SET ready_at = coalesce(ready_at, ?2) WHERE seq = ?1", params![seq, now])?;
    tensorboards::tell(tx, &board.team, &board.id, "ready", now)
}

/// Notes when somebody looked last.
pub fn active(tx: &Tx<'_>, seq: i64, activity: &Activity) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE tensorboard_sessions SET activity_at = ?2, activity = ?3 WHERE seq = ?1")?
        .execute(params![seq, activity.at, activity.what])?;
    Ok(())
}

/// Asks for the end of a session, and notes why. One that somebody has stopped already ends for that.
pub fn end(tx: &Tx<'_>, seq: i64, why: EndedFor, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE tensorboard_sessions SET ended_for = ?2
         WHERE seq = ?1 AND EXISTS (SELECT 1 FROM workloads w WHERE w.seq = ?1 AND w.wanted = 'run')",
        params![seq, why],
    )?;
    workloads::ask_to_stop(tx, seq, now)
}

/// Returns the sessions of a TensorBoard, newest first, without the newest `skip`.
pub fn of(connection: &Connection, id: &TensorBoardId, skip: u32, limit: u32) -> Result<Vec<Workload>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {} FROM workloads w WHERE w.parent_id = ?1 ORDER BY w.seq DESC LIMIT ?3 OFFSET ?2",
        workloads::COLUMNS
    ))?;
    let rows = query.query_map(params![id, skip, limit], workloads::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
