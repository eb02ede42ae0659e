//! What a repeated write made the first time.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::UserId,
    idempotency::{IdempotencyKey, KeyReused},
    time::Timestamp,
};

/// Returns what an earlier request with this key made.
///
/// # Errors
/// [`KeyReused`], inside, when that was another request.
pub fn find(
    connection: &Connection,
    user: &UserId,
    key: &IdempotencyKey,
) -> Result<Result<Option<String>, KeyReused>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT fingerprint, subject FROM idempotency WHERE user_id = ?1 AND key = ?2")?;
    let row: Option<(Vec<u8>, String)> =
        query.query_row(params![user, key.text], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(match row {
        Some((fingerprint, _)) if fingerprint != key.fingerprint => Err(KeyReused),
        found => Ok(found.map(|(_, subject)| subject)),
    })
}

/// Keeps what a request with this key made.
pub fn insert(
    tx: &Tx<'_>,
    user: &UserId,
    key: &IdempotencyKey,
    subject: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO idempotency (user_id, key, fingerprint, subject, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![user, key.text, key.fingerprint, subject, now])?;
    Ok(())
}

/// Forgets what was made before `time`.
pub fn prune(tx: &Tx<'_>, time: Timestamp) -> Result<usize, StoreError> {
    Ok(tx.execute("DELETE FROM idempotency WHERE created_at < ?1", [time])?)
}
