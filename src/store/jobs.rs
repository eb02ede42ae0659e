//! Jobs: workloads with a name, tags and a place in lists.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{StoreError, Tx, events, row::Json, workloads};
use crate::domain::{
    id::{ExperimentId, JobId, ProjectId, TeamId},
    job::{Job, JobFilter},
    time::Timestamp,
    workload::{Spec, Workload},
};

const TAG: &str = "INSERT OR IGNORE INTO tags (team_id, tag, seq) VALUES (?1, ?2, ?3)";

/// What a job comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub clone_of: Option<JobId>,
    pub experiment: Option<ExperimentId>,
}

/// Adds a workload that is a job, and returns its number.
pub fn insert(
    tx: &Tx<'_>,
    new: &workloads::NewWorkload,
    origin: &Origin,
    tags: &[String],
    now: Timestamp,
) -> Result<i64, StoreError> {
    let seq = workloads::insert(tx, new, now)?;
    tx.prepare_cached("INSERT INTO jobs (seq, clone_of, experiment_id, tags) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![seq, origin.clone_of, origin.experiment, Json(tags)])?;
    let mut insert = tx.prepare_cached(TAG)?;
    for tag in tags {
        insert.execute(params![new.team, tag, seq])?;
    }
    events::append(tx, &new.team, "job", new.id.as_str(), "created", serde_json::json!({ "state": "pending" }), now)?;
    Ok(seq)
}

fn select(rest: &str) -> String {
    format!(
        "SELECT {}, w.spec, j.clone_of, j.tags, p.name, u.name, j.experiment_id FROM workloads w
         CROSS JOIN jobs j ON j.seq = w.seq CROSS JOIN projects p ON p.id = w.project_id
         CROSS JOIN users u ON u.id = w.user_id {rest}",
        workloads::COLUMNS
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Job, Spec)> {
    const W: usize = workloads::WIDTH;
    let spec = row.get::<_, Json<Spec>>(W)?.0;
    let job = Job {
        workload: workloads::read(row)?,
        image: spec.image.clone(),
        command: spec.command.clone(),
        machine_type: spec.machine_type.clone(),
        clone_of: row.get(W + 1)?,
        tags: row.get::<_, Json<Vec<String>>>(W + 2)?.0,
        project_name: row.get(W + 3)?,
        user_name: row.get(W + 4)?,
        experiment: row.get(W + 5)?,
    };
    Ok((job, spec))
}

/// Gives a job other tags.
pub fn set_tags(tx: &Tx<'_>, workload: &Workload, tags: &[String]) -> Result<(), StoreError> {
    tx.execute("UPDATE jobs SET tags = ?2 WHERE seq = ?1", params![workload.seq, Json(tags)])?;
    tx.execute("DELETE FROM tags WHERE seq = ?1", [workload.seq])?;
    let mut insert = tx.prepare_cached(TAG)?;
    for tag in tags {
        insert.execute(params![workload.team, tag, workload.seq])?;
    }
    Ok(())
}

/// Finds a team's job with what it is to run.
pub fn get(connection: &Connection, team: &TeamId, id: &JobId) -> Result<Option<(Job, Spec)>, StoreError> {
    let mut query = connection.prepare_cached(&select("WHERE w.id = ?1 AND w.team_id = ?2 AND w.kind = 'job'"))?;
    Ok(query.query_row(params![id, team], read).optional()?)
}

/// Lists a team's jobs, newest first, from before number `before`.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    filter: &JobFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Job>, StoreError> {
    let before = before.unwrap_or(i64::MAX);
    let mut clauses = String::from("WHERE w.team_id = :team AND w.kind = 'job' AND w.seq < :before");
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":team", team), (":before", &before), (":limit", &limit)];
    let states: String;
    if !filter.states.is_empty() {
        // Words of ours, so they can stand in the text; one state alone uses its index.
        states = filter.states.iter().map(|state| format!("'{state}'")).collect::<Vec<_>>().join(",");
        clauses.push_str(&format!(" AND w.state IN ({states})"));
    }
    if let Some(project) = &filter.project {
        clauses.push_str(" AND w.project_id = :project");
        values.push((":project", project));
    }
    if let Some(user) = &filter.user {
        clauses.push_str(" AND w.user_id = :user");
        values.push((":user", user));
    }
    if let Some(experiment) = &filter.experiment {
        clauses.push_str(" AND w.seq IN (SELECT r.seq FROM jobs r WHERE r.experiment_id = :experiment)");
        values.push((":experiment", experiment));
    }
    if let Some(tag) = &filter.tag {
        clauses.push_str(" AND w.seq IN (SELECT t.seq FROM tags t WHERE t.team_id = :team AND t.tag = :tag)");
        values.push((":tag", tag));
    }
    if let Some(text) = &filter.text {
        clauses.push_str(" AND (instr(lower(w.name), lower(:text)) OR instr(w.id, lower(:text)))");
        values.push((":text", text));
    }
    clauses.push_str(" ORDER BY w.seq DESC LIMIT :limit");
    let mut query = connection.prepare_cached(&select(&clauses))?;
    let rows = query.query_map(values.as_slice(), |row| Ok(read(row)?.0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns a project's jobs, `limit` at most, for them to be deleted with it.
pub fn of_project(connection: &Connection, project: &ProjectId, limit: u32) -> Result<Vec<Workload>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {} FROM workloads w WHERE w.project_id = ?1 AND w.kind = 'job' LIMIT ?2",
        workloads::COLUMNS
    ))?;
    let rows = query.query_map(params![project, limit], workloads::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
