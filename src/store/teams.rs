//! Teams, their people, and the identity of this data directory.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::{TeamId, UserId},
    time::Timestamp,
    user::User,
};

/// Returns the id of this data directory, or `None` before the first start.
pub fn box_id(connection: &Connection) -> Result<Option<String>, StoreError> {
    Ok(connection.query_row("SELECT id FROM box", [], |row| row.get(0)).optional()?)
}

/// Writes the id of this data directory, once.
pub fn set_box_id(tx: &Tx<'_>, id: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("INSERT INTO box (only, id, created_at) VALUES (1, ?1, ?2)", params![id, now])?;
    Ok(())
}

/// Returns all teams.
pub fn all(connection: &Connection) -> Result<Vec<TeamId>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id FROM teams ORDER BY id")?;
    let rows = query.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a team.
pub fn insert(tx: &Tx<'_>, id: &TeamId, name: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("INSERT INTO teams (id, name, created_at) VALUES (?1, ?2, ?3)", params![id, name, now])?;
    Ok(())
}

/// Adds a person to a team.
pub fn insert_user(tx: &Tx<'_>, id: &UserId, team: &TeamId, name: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, team_id, name, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![id, team, name, now],
    )?;
    Ok(())
}

/// Returns the name of a team.
pub fn name(connection: &Connection, id: &TeamId) -> Result<Option<String>, StoreError> {
    let mut query = connection.prepare_cached("SELECT name FROM teams WHERE id = ?1")?;
    Ok(query.query_row([id], |row| row.get(0)).optional()?)
}

/// Returns the name of a person.
pub fn user_name(connection: &Connection, id: &UserId) -> Result<Option<String>, StoreError> {
    let mut query = connection.prepare_cached("SELECT name FROM users WHERE id = ?1")?;
    Ok(query.query_row([id], |row| row.get(0)).optional()?)
}

/// Somebody, or who was somebody here once.
pub struct Person {
    pub id: UserId,
    pub team: TeamId,
    pub has_left: bool,
}

/// Returns the person of that name.
pub fn user_by_name(connection: &Connection, name: &str) -> Result<Option<Person>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id, team_id, left_at IS NOT NULL FROM users WHERE name = ?1")?;
    let person = |row: &Row<'_>| Ok(Person { id: row.get(0)?, team: row.get(1)?, has_left: row.get(2)? });
    Ok(query.query_row([name], person).optional()?)
}

/// Notes when a person left, or that they are back.
pub fn set_left(tx: &Tx<'_>, id: &UserId, left_at: Option<Timestamp>) -> Result<(), StoreError> {
    tx.execute("UPDATE users SET left_at = ?2 WHERE id = ?1", params![id, left_at])?;
    Ok(())
}

/// Returns the people of a team, by name, without those who left.
pub fn users(connection: &Connection, team: &TeamId) -> Result<Vec<User>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT id, name, created_at FROM users WHERE team_id = ?1 AND left_at IS NULL ORDER BY name",
    )?;
    let rows =
        query.query_map([team], |row| Ok(User { id: row.get(0)?, name: row.get(1)?, created_at: row.get(2)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
