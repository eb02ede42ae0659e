//! Datasets. What is in one is told by its versions.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx};
use crate::domain::{
    dataset::Dataset,
    id::{DatasetId, ProviderId, TeamId, UserId},
    time::Timestamp,
};

// Counting walks an index of the dataset's own versions.
const COLUMNS: &str = "d.seq, d.id, d.team_id, d.name, d.description, d.provider_id, p.name, p.kind, d.public, u.name,
    d.created_at, d.updated_at,
    (SELECT count(*) FROM versions v WHERE v.dataset = d.seq AND v.deleted_at IS NULL),
    (SELECT v.id FROM versions v WHERE v.dataset = d.seq AND v.state = 'committed' AND v.deleted_at IS NULL
     ORDER BY v.committed_at DESC, v.seq DESC LIMIT 1),
    (SELECT coalesce(sum(v.bytes), 0) FROM versions v
     WHERE v.dataset = d.seq AND v.state = 'committed' AND v.deleted_at IS NULL)
    FROM datasets d JOIN storage_providers p ON p.id = d.provider_id JOIN users u ON u.id = d.user_id";

fn dataset(row: &Row<'_>) -> rusqlite::Result<Dataset> {
    Ok(Dataset {
        seq: row.get(0)?,
        id: row.get(1)?,
        team: row.get(2)?,
        name: row.get(3)?,
        description: row.get(4)?,
        provider: row.get(5)?,
        provider_name: row.get(6)?,
        provider_kind: row.get(7)?,
        public: row.get(8)?,
        user_name: row.get(9)?,
        created_at: row.get(10)?,
        updated_at: row.get(11)?,
        versions: row.get(12)?,
        latest: row.get(13)?,
        bytes: row.get(14)?,
    })
}

/// A dataset to be added.
#[derive(Debug, Clone)]
pub struct NewDataset {
    pub id: DatasetId,
    pub team: TeamId,
    pub user: UserId,
    pub provider: ProviderId,
    pub name: String,
    pub description: String,
    pub public: bool,
}

/// A name that something else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Another dataset of the team.
    InTeam,
    /// A public dataset, perhaps of another team.
    Public,
}

/// Says which dataset other than `but` keeps one from being called `name`.
pub fn taken(
    connection: &Connection,
    team: &TeamId,
    name: &str,
    public: bool,
    but: Option<i64>,
) -> Result<Option<Taken>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT team_id = ?1 FROM datasets
         WHERE name = ?2 AND deleted_at IS NULL AND (team_id = ?1 OR (?3 AND public = 1)) AND seq IS NOT ?4
         ORDER BY 1 DESC LIMIT 1",
    )?;
    let found = query.query_row(params![team, name, public, but], |row| row.get::<_, bool>(0)).optional()?;
    Ok(found.map(|own| if own { Taken::InTeam } else { Taken::Public }))
}

/// Adds a dataset whose name is not [`taken`].
pub fn insert(tx: &Tx<'_>, new: &NewDataset, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO datasets (id, team_id, user_id, provider_id, name, description, public, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
        params![new.id, new.team, new.user, new.provider, new.name, new.description, new.public, now],
    )?;
    Ok(())
}

/// Finds a dataset, whoever has it.
pub fn by_id(connection: &Connection, id: &DatasetId) -> Result<Option<Dataset>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE d.id = ?1 AND d.deleted_at IS NULL"))?;
    Ok(query.query_row([id], dataset).optional()?)
}

/// Finds a team's dataset by its name.
pub fn by_name(connection: &Connection, team: &TeamId, name: &str) -> Result<Option<Dataset>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} WHERE d.team_id = ?1 AND d.name = ?2 AND d.deleted_at IS NULL"))?;
    Ok(query.query_row(params![team, name], dataset).optional()?)
}

/// Finds the public dataset of a name.
pub fn public_by_name(connection: &Connection, name: &str) -> Result<Option<Dataset>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} WHERE d.name = ?1 AND d.public = 1 AND d.deleted_at IS NULL"))?;
    Ok(query.query_row([name], dataset).optional()?)
}

/// Returns all public datasets, by name.
pub fn public(connection: &Connection) -> Result<Vec<Dataset>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} WHERE d.public = 1 AND d.deleted_at IS NULL ORDER BY d.name"))?;
    let rows = query.query_map([], dataset)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists a team's datasets, newest first, and with `part` only those that have it in their name.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    part: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Dataset>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE d.team_id = ?1 AND d.deleted_at IS NULL AND d.seq < ?2
             AND (?3 IS NULL OR instr(lower(d.name), lower(?3)) > 0)
         ORDER BY d.seq DESC LIMIT ?4"
    ))?;
    let rows = query.query_map(params![team, before.unwrap_or(i64::MAX), part, limit], dataset)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Gives a dataset another name, which is not [`taken`], description and publicity.
pub fn update(
    tx: &Tx<'_>,
    seq: i64,
    name: &str,
    description: &str,
    public: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE datasets SET name = ?2, description = ?3, public = ?4, updated_at = ?5 WHERE seq = ?1",
        params![seq, name, description, public, now],
    )?;
    Ok(())
}

/// Deletes a dataset. Its versions are deleted before.
pub fn delete(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE datasets SET deleted_at = ?2, updated_at = ?2 WHERE seq = ?1", params![seq, now])?;
    Ok(())
}
