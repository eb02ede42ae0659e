//! What opens the ports of one workload: tickets, the sessions that they are exchanged for, and tokens.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, Tx};
use crate::domain::{id::KeyId, time::Timestamp, web_name::ServedId};

/// How one is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Once, to get a session.
    Ticket,
    /// By a browser, as a cookie.
    Session,
    /// By an editor or a script, in a header or a query.
    Token,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Session => "session",
            Self::Token => "token",
        }
    }
}

/// What one belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub key: KeyId,
    /// The hash of the browser session of the control plane in which it was asked for.
    pub session: Option<[u8; 32]>,
}

/// Adds one.
pub fn insert(
    tx: &Tx<'_>,
    hash: &[u8; 32],
    kind: Kind,
    served: &ServedId,
    holder: &Holder,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO tickets (hash, kind, served_id, key_id, session, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![hash, kind.word(), served.as_str(), holder.key, holder.session, now, expires_at])?;
    Ok(())
}

/// Returns the key behind one of this hash and kind that opens `served`, if it has not ended.
pub fn key_of(
    connection: &Connection,
    hash: &[u8; 32],
    kind: Kind,
    served: &ServedId,
    now: Timestamp,
) -> Result<Option<KeyId>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT key_id FROM tickets WHERE hash = ?1 AND kind = ?2 AND served_id = ?3 AND expires_at > ?4",
    )?;
    Ok(query.query_row(params![hash, kind.word(), served.as_str(), now], |row| row.get(0)).optional()?)
}

/// Uses up a ticket: returns whose it is the first time, and `None` ever after.
pub fn take(tx: &Tx<'_>, hash: &[u8; 32], served: &ServedId, now: Timestamp) -> Result<Option<Holder>, StoreError> {
    let mut query = tx.prepare_cached(
        "DELETE FROM tickets WHERE hash = ?1 AND kind = 'ticket' AND served_id = ?2 AND expires_at > ?3
         RETURNING key_id, session",
    )?;
    let holder = query
        .query_row(params![hash, served.as_str(), now], |row| Ok(Holder { key: row.get(0)?, session: row.get(1)? }));
    Ok(holder.optional()?)
}

/// Counts those of a key, up to `limit`.
pub fn count(connection: &Connection, key: &KeyId, limit: u32) -> Result<u32, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT count(*) FROM (SELECT 1 FROM tickets WHERE key_id = ?1 LIMIT ?2)")?;
    Ok(query.query_row(params![key, limit], |row| row.get(0))?)
}

/// Ends all, in a database that nobody has open and that may be older than they are.
pub(super) fn clear(connection: &Connection) -> Result<(), StoreError> {
    let there = connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'tickets'", [], |row| row.get(0));
    if there? {
        connection.execute("DELETE FROM tickets", [])?;
    }
    Ok(())
}

/// Forgets what has ended.
pub fn prune(tx: &Tx<'_>, now: Timestamp) -> Result<usize, StoreError> {
    Ok(tx.execute("DELETE FROM tickets WHERE expires_at <= ?1", [now])?)
}
