//! Projects.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx, row::Json};
use crate::domain::{
    id::{ProjectId, TeamId},
    project::{Project, Repository},
    time::Timestamp,
};

// Counting walks an index, so a list of projects costs what is in them.
const COLUMNS: &str = "p.seq, p.id, p.name, p.tags, p.repository_name, p.repository_url, p.created_at,
    (SELECT count(*) FROM workloads w WHERE w.project_id = p.id AND w.kind = 'job'),
    (SELECT count(*) FROM workloads w WHERE w.teardown_finished_at IS NULL AND w.project_id = p.id AND w.kind = 'job'),
    (SELECT count(*) FROM notebooks n WHERE n.project_id = p.id),
    (SELECT count(*) FROM tensorboards t WHERE t.project_id = p.id)
    FROM projects p";

fn project(row: &Row<'_>) -> rusqlite::Result<Project> {
    Ok(Project {
        seq: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        tags: row.get::<_, Json<Vec<String>>>(3)?.0,
        repository: Repository { name: row.get(4)?, url: row.get(5)? },
        created_at: row.get(6)?,
        jobs: row.get(7)?,
        active_jobs: row.get(8)?,
        notebooks: row.get(9)?,
        tensorboards: row.get(10)?,
    })
}

/// Adds a project. Says `false` when the team has one of that name.
pub fn insert(tx: &Tx<'_>, id: &ProjectId, team: &TeamId, name: &str, now: Timestamp) -> Result<bool, StoreError> {
    let added = tx
        .prepare_cached(
            "INSERT INTO projects (id, team_id, name, created_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (team_id, name) DO NOTHING",
        )?
        .execute(params![id, team, name, now])?;
    Ok(added == 1)
}

/// Finds a team's project by its id.
pub fn get(connection: &Connection, team: &TeamId, id: &ProjectId) -> Result<Option<Project>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE p.id = ?1 AND p.team_id = ?2"))?;
    Ok(query.query_row(params![id, team], project).optional()?)
}

/// Finds the id of a team's project by its name.
pub fn id_by_name(connection: &Connection, team: &TeamId, name: &str) -> Result<Option<ProjectId>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id FROM projects WHERE team_id = ?1 AND name = ?2")?;
    Ok(query.query_row(params![team, name], |row| row.get(0)).optional()?)
}

/// Says whether the team has this project.
pub fn exists(connection: &Connection, team: &TeamId, id: &ProjectId) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM projects WHERE id = ?1 AND team_id = ?2")?;
    Ok(query.exists(params![id, team])?)
}

/// Lists a team's projects, newest first.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Project>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE p.team_id = ?1 AND p.seq < ?2 ORDER BY p.seq DESC LIMIT ?3"
    ))?;
    let rows = query.query_map(params![team, before.unwrap_or(i64::MAX), limit], project)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Renames a project. Says `false` when the team has another one of that name.
pub fn rename(tx: &Tx<'_>, id: &ProjectId, name: &str) -> Result<bool, StoreError> {
    match tx.execute("UPDATE projects SET name = ?2 WHERE id = ?1", params![id, name]) {
        Ok(_) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives a project other tags.
pub fn set_tags(tx: &Tx<'_>, id: &ProjectId, tags: &[String]) -> Result<(), StoreError> {
    tx.execute("UPDATE projects SET tags = ?2 WHERE id = ?1", params![id, Json(tags)])?;
    Ok(())
}

/// Says where a project's code is kept.
pub fn set_repository(tx: &Tx<'_>, id: &ProjectId, repository: &Repository) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE projects SET repository_name = ?2, repository_url = ?3 WHERE id = ?1",
        params![id, repository.name, repository.url],
    )?;
    Ok(())
}

/// Removes a project with its secrets. Its workloads must be gone.
pub fn delete(tx: &Tx<'_>, id: &ProjectId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM secrets WHERE project_id = ?1", [id])?;
    tx.execute("DELETE FROM projects WHERE id = ?1", [id])?;
    Ok(())
}
