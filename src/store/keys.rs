//! Keys of the API, by the hash of their text.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::{KeyId, TeamId, UserId},
    key::Key,
    time::Timestamp,
};

const COLUMNS: &str = "k.seq, k.id, k.team_id, k.user_id, u.name, k.name, k.scope, k.created_at, k.expires_at, \
                       k.last_used_at, k.revoked_at FROM keys k JOIN users u ON u.id = k.user_id";

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key {
        seq: row.get(0)?,
        id: row.get(1)?,
        team: row.get(2)?,
        user: row.get(3)?,
        user_name: row.get(4)?,
        name: row.get(5)?,
        scope: row.get(6)?,
        created_at: row.get(7)?,
        expires_at: row.get(8)?,
        last_used_at: row.get(9)?,
        revoked_at: row.get(10)?,
    })
}

/// Adds a key. `seq` and the person's name are the store's.
pub fn insert(tx: &Tx<'_>, new: &Key, hash: &[u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO keys (id, team_id, user_id, name, hash, scope, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![new.id, new.team, new.user, new.name, hash, new.scope, new.created_at, new.expires_at],
    )?;
    Ok(())
}

/// Finds the key whose text has this hash, good or not.
pub fn by_hash(connection: &Connection, hash: &[u8; 32]) -> Result<Option<Key>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE k.hash = ?1"))?;
    Ok(query.query_row([hash], key).optional()?)
}

/// Finds a key by its id.
pub fn get(connection: &Connection, id: &KeyId) -> Result<Option<Key>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE k.id = ?1"))?;
    Ok(query.query_row([id], key).optional()?)
}

/// Lists a team's keys, newest first, those of one person alone when `user` is set.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    user: Option<&UserId>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Key>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE k.team_id = ?1 AND (?2 IS NULL OR k.user_id = ?2) AND k.seq < ?3
         ORDER BY k.seq DESC LIMIT ?4"
    ))?;
    let rows = query.query_map(params![team, user, before.unwrap_or(i64::MAX), limit], key)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the keys of all teams that were not revoked, oldest first.
pub(super) fn standing(connection: &Connection) -> Result<Vec<Key>, StoreError> {
    let mut query = connection.prepare(&format!("SELECT {COLUMNS} WHERE k.revoked_at IS NULL ORDER BY k.seq"))?;
    let rows = query.query_map([], key)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ends a key with every session that it opened and every ticket that it made. Says whether it was good before.
pub fn revoke(tx: &Tx<'_>, id: &KeyId, now: Timestamp) -> Result<bool, StoreError> {
    let changed =
        tx.execute("UPDATE keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL", params![id, now])?;
    tx.execute("DELETE FROM tickets WHERE key_id = ?1", [id])?;
    tx.execute("DELETE FROM sessions WHERE key_id = ?1", [id])?;
    Ok(changed > 0)
}

/// Notes that a key was used, once a minute at most.
pub fn touch(tx: &Tx<'_>, id: &KeyId, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE keys SET last_used_at = ?2 WHERE id = ?1 AND coalesce(last_used_at, 0) < ?2 - 60000000")?
        .execute(params![id, now])?;
    Ok(())
}
