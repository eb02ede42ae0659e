//! Everything that changed, in order. Written in the transaction of the change itself.

use rusqlite::{Connection, params};

use super::{StoreError, Tx, row::Json};
use crate::domain::{event::Event, id::TeamId, time::Timestamp};

/// Appends an event.
pub fn append(
    tx: &Tx<'_>,
    team: &TeamId,
    kind: &'static str,
    subject: &str,
    change: &'static str,
    data: serde_json::Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO events (at, team_id, kind, subject, change, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![now, team, kind, subject, change, Json(data)])?;
    tx.tell_event(tx.last_insert_rowid());
    Ok(())
}

/// Returns a team's events after number `after`, oldest first, `limit` at most.
pub fn after(connection: &Connection, team: &TeamId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT seq, at, kind, subject, change, data FROM events WHERE seq > ?1 AND team_id = ?2 ORDER BY seq LIMIT ?3",
    )?;
    let rows = query.query_map(params![after, team, limit], |row| {
        Ok(Event {
            seq: row.get(0)?,
            at: row.get(1)?,
            kind: row.get(2)?,
            subject: row.get(3)?,
            change: row.get(4)?,
            data: row.get::<_, Json<serde_json::Value>>(5)?.0,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says whether it is known that `subject` was deleted.
pub fn was_deleted(connection: &Connection, subject: &str) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM events WHERE subject = ?1 AND change = 'deleted'")?;
    Ok(query.exists([subject])?)
}

/// Returns the number of the newest event, or 0.
pub fn newest(connection: &Connection) -> Result<i64, StoreError> {
    // The sequence, not the table: the newest event may have been forgotten.
    let mut query =
        connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")?;
    Ok(query.query_row([], |row| row.get(0))?)
}

/// Returns the number of the oldest event that is still here, or 0.
pub fn oldest(connection: &Connection) -> Result<i64, StoreError> {
    let mut query = connection.prepare_cached("SELECT coalesce(min(seq), 0) FROM events")?;
    Ok(query.query_row([], |row| row.get(0))?)
}

/// Forgets events from before `time`, some thousands at most. Says how many.
pub fn prune(tx: &Tx<'_>, time: Timestamp) -> Result<usize, StoreError> {
    Ok(tx.execute(
        "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT 5000) AND at < ?1",
        [time],
    )?)
}
