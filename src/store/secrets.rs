//! Secrets, sealed. An empty project in the table means the whole team, and `*` the whole box: such a
//! secret lies with the team of the admin who made it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::{ProjectId, SecretId, TeamId},
    secret::{SecretEntry, SecretScope},
    time::Timestamp,
};

const COLUMNS: &str = "seq, id, name, project_id, created_at, updated_at FROM secrets";

fn entry(row: &Row<'_>) -> rusqlite::Result<SecretEntry> {
    let project: String = row.get(3)?;
    Ok(SecretEntry {
        seq: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        scope: match project.as_str() {
            BOX => SecretScope::Box,
            "" => SecretScope::Team,
            _ => SecretScope::Project(row.get(3)?),
        },
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
    })
}

const BOX: &str = "*";

fn column(scope: &SecretScope) -> &str {
    match scope {
        SecretScope::Box => BOX,
        SecretScope::Team => "",
        SecretScope::Project(project) => project.as_str(),
    }
}

/// Finds a secret by its name in exactly this scope.
pub fn find(
    connection: &Connection,
    team: &TeamId,
    scope: &SecretScope,
    name: &str,
) -> Result<Option<SecretEntry>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE (team_id = ?1 OR ?2 = '*') AND project_id = ?2 AND name = ?3"
    ))?;
    Ok(query.query_row(params![team, column(scope), name], entry).optional()?)
}

/// Finds a secret that a team can use, by its id.
pub fn get(connection: &Connection, team: &TeamId, id: &SecretId) -> Result<Option<SecretEntry>, StoreError> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE (team_id = ?1 OR project_id = '*') AND id = ?2"))?;
    Ok(query.query_row(params![team, id], entry).optional()?)
}

/// Returns the sealed value that `secret:NAME` means in a project: the project's own before the
/// team's, and that before the box's.
pub fn sealed(
    connection: &Connection,
    team: &TeamId,
    project: &ProjectId,
    name: &str,
) -> Result<Option<(SecretId, Vec<u8>)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT id, sealed FROM secrets
         WHERE name = ?3 AND (project_id = '*' OR (team_id = ?1 AND project_id IN (?2, '')))
         ORDER BY CASE project_id WHEN ?2 THEN 0 WHEN '' THEN 1 ELSE 2 END LIMIT 1",
    )?;
    Ok(query.query_row(params![team, project, name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Adds a secret.
pub fn insert(tx: &Tx<'_>, team: &TeamId, new: &SecretEntry, sealed: &[u8]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO secrets (id, team_id, project_id, name, sealed, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![new.id, team, column(&new.scope), new.name, sealed, new.created_at, new.updated_at],
    )?;
    Ok(())
}

/// Gives a secret another value.
pub fn update(tx: &Tx<'_>, id: &SecretId, sealed: &[u8], now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE secrets SET sealed = ?2, updated_at = ?3 WHERE id = ?1", params![id, sealed, now])?;
    Ok(())
}

/// Removes a secret.
pub fn delete(tx: &Tx<'_>, id: &SecretId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM secrets WHERE id = ?1", [id])?;
    Ok(())
}

/// Lists the secrets that a team has or can use, newest first; with `project`, those that a job of it can
/// use.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    project: Option<&ProjectId>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<SecretEntry>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE seq < ?3
             AND (project_id = '*' OR (team_id = ?1 AND (?2 IS NULL OR project_id IN (?2, ''))))
         ORDER BY seq DESC LIMIT ?4"
    ))?;
    let rows = query.query_map(params![team, project, before.unwrap_or(i64::MAX), limit], entry)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
