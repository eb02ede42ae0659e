//! Browsers that signed in with a key, and links that let one browser do so once.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, Tx};
use crate::domain::{id::KeyId, time::Timestamp};

/// Opens a session with its proof, or makes a link that opens one when there is no proof.
pub fn insert(
    tx: &Tx<'_>,
    hash: &[u8; 32],
    proof: Option<&[u8; 32]>,
    key: &KeyId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO sessions (hash, proof, key_id, once, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![hash, proof.map_or(&[][..], |proof| proof), key, proof.is_none(), now, expires_at],
    )?;
    Ok(())
}

/// Returns the key and the proof's hash of the session with this hash, if it has not ended.
pub fn key_of(
    connection: &Connection,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<(KeyId, [u8; 32])>, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT key_id, proof FROM sessions WHERE hash = ?1 AND once = 0 AND expires_at > ?2")?;
    Ok(query.query_row(params![hash, now], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Uses up a link: returns its key the first time, and `None` ever after.
pub fn take_once(tx: &Tx<'_>, hash: &[u8; 32], now: Timestamp) -> Result<Option<KeyId>, StoreError> {
    let mut query =
        tx.prepare_cached("DELETE FROM sessions WHERE hash = ?1 AND once = 1 AND expires_at > ?2 RETURNING key_id")?;
    Ok(query.query_row(params![hash, now], |row| row.get(0)).optional()?)
}

/// Ends a session.
pub fn delete(tx: &Tx<'_>, hash: &[u8; 32]) -> Result<(), StoreError> {
    tx.execute("DELETE FROM sessions WHERE hash = ?1", [hash])?;
    Ok(())
}

/// Ends all sessions and links, in a database that nobody has open.
pub(super) fn clear(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("DELETE FROM sessions", [])?;
    Ok(())
}

/// Forgets what has ended.
pub fn prune(tx: &Tx<'_>, now: Timestamp) -> Result<usize, StoreError> {
    Ok(tx.execute("DELETE FROM sessions WHERE expires_at <= ?1", [now])?)
}
