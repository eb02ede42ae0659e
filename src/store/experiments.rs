//! Experiments: settings that are kept, each with the latest of the jobs that were made of them.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{StoreError, Tx, events, row::Json, workloads};
use crate::domain::{
    experiment::{Experiment, ExperimentFilter, ModelNote, Plan},
    id::{ExperimentId, JobId, ProjectId, TeamId, UploadId, UserId},
    time::Timestamp,
    workload::{Retries, Workload},
};

/// What a service writes to keep an experiment.
#[derive(Debug, Clone)]
pub struct NewExperiment {
    pub id: ExperimentId,
    pub team: TeamId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub tags: Vec<String>,
    pub model: ModelNote,
    pub plan: Plan,
    pub upload: Option<UploadId>,
}

/// Adds an experiment.
pub fn insert(tx: &Tx<'_>, new: &NewExperiment, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO experiments (id, team_id, user_id, project_id, name, tags, model_kind, model_path, spec, priority,
             time_limit_seconds, retry_limit, retry_backoff_seconds, upload_id, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        new.id,
        new.team,
        new.user,
        new.project,
        new.name,
        Json(&new.tags),
        new.model.kind,
        new.model.path,
        Json(&new.plan.spec),
        new.plan.priority,
        new.plan.time_limit.map(|limit| limit.as_secs()),
        new.plan.retries.limit,
        new.plan.retries.backoff.as_secs(),
        new.upload,
        now,
    ])?;
    tell(tx, &new.team, &new.id, "created", now)
}

fn select(rest: &str) -> String {
    format!(
        "SELECT {}, e.seq, e.id, e.user_id, u.name, e.project_id, p.name, e.name, e.tags, e.model_kind, e.model_path,
             e.spec, e.priority, e.time_limit_seconds, e.retry_limit, e.retry_backoff_seconds, e.created_at,
             (SELECT count(*) FROM jobs c WHERE c.experiment_id = e.id)
         FROM experiments e CROSS JOIN projects p ON p.id = e.project_id CROSS JOIN users u ON u.id = e.user_id
         LEFT JOIN workloads w ON w.seq = (SELECT max(j.seq) FROM jobs j WHERE j.experiment_id = e.id) {rest}",
        workloads::COLUMNS
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<Experiment> {
    const W: usize = workloads::WIDTH;
    // The columns of the latest run come first; all of them are empty where there is none.
    let latest = row.get::<_, Option<i64>>(0)?.map(|_| workloads::read(row)).transpose()?;
    Ok(Experiment {
        latest,
        seq: row.get(W)?,
        id: row.get(W + 1)?,
        user: row.get(W + 2)?,
        user_name: row.get(W + 3)?,
        project: row.get(W + 4)?,
        project_name: row.get(W + 5)?,
        name: row.get(W + 6)?,
        tags: row.get::<_, Json<Vec<String>>>(W + 7)?.0,
        model: ModelNote { kind: row.get(W + 8)?, path: row.get(W + 9)? },
        plan: Plan {
            spec: row.get::<_, Json<_>>(W + 10)?.0,
            priority: row.get(W + 11)?,
            time_limit: row.get::<_, Option<u64>>(W + 12)?.map(Duration::from_secs),
            retries: Retries { limit: row.get(W + 13)?, backoff: Duration::from_secs(row.get(W + 14)?) },
        },
        created_at: row.get(W + 15)?,
        runs: row.get(W + 16)?,
    })
}

/// Finds a team's experiment.
pub fn get(connection: &Connection, team: &TeamId, id: &ExperimentId) -> Result<Option<Experiment>, StoreError> {
    let mut query = connection.prepare_cached(&select("WHERE e.id = ?1 AND e.team_id = ?2"))?;
    Ok(query.query_row(params![id, team], read).optional()?)
}

/// What a list leaves out, as SQL with its values in order. `?1` is the team.
fn clauses(team: &TeamId, filter: &ExperimentFilter) -> (String, Vec<Box<dyn ToSql>>) {
    let mut text = String::from("WHERE e.team_id = ?1");
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(team.to_string())];
    let mut any_of = |words: Vec<String>| {
        let from = values.len() + 1;
        let places: Vec<_> = (from..from + words.len()).map(|place| format!("?{place}")).collect();
        values.extend(words.into_iter().map(|word| Box::new(word) as Box<dyn ToSql>));
        places.join(", ")
    };
    if !filter.projects.is_empty() {
        let places = any_of(filter.projects.iter().map(ToString::to_string).collect());
        text.push_str(&format!(" AND e.project_id IN ({places})"));
    }
    if !filter.tags.is_empty() {
        let places = any_of(filter.tags.clone());
        text.push_str(&format!(" AND EXISTS (SELECT 1 FROM json_each(e.tags) t WHERE t.value IN ({places}))"));
    }
    if let Some(part) = &filter.text {
        let place = any_of(vec![part.clone()]);
        text.push_str(&format!(" AND (instr(lower(e.name), lower({place})) OR instr(e.id, lower({place})))"));
    }
    (text, values)
}

/// Lists a team's experiments, newest first, from before number `before`.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    filter: &ExperimentFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Experiment>, StoreError> {
    let (clauses, mut values) = clauses(team, filter);
    let (seq, most) = (values.len() + 1, values.len() + 2);
    values.push(Box::new(before.unwrap_or(i64::MAX)));
    values.push(Box::new(limit));
    let sql = select(&format!("{clauses} AND e.seq < ?{seq} ORDER BY e.seq DESC LIMIT ?{most}"));
    let mut query = connection.prepare_cached(&sql)?;
    let rows = query.query_map(rusqlite::params_from_iter(values), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Counts a team's experiments.
pub fn count(connection: &Connection, team: &TeamId, filter: &ExperimentFilter) -> Result<u64, StoreError> {
    let (clauses, values) = clauses(team, filter);
    let mut query = connection.prepare_cached(&format!("SELECT count(*) FROM experiments e {clauses}"))?;
    Ok(query.query_row(rusqlite::params_from_iter(values), |row| row.get(0))?)
}

/// Returns runs of an experiment, `limit` at most, for them to be deleted with it.
pub fn runs(connection: &Connection, id: &ExperimentId, limit: u32) -> Result<Vec<Workload>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {} FROM jobs j CROSS JOIN workloads w ON w.seq = j.seq WHERE j.experiment_id = ?1 LIMIT ?2",
        workloads::COLUMNS
    ))?;
    let rows = query.query_map(params![id, limit], workloads::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the ids of runs of an experiment, newest first, `limit` at most.
pub fn newest_runs(connection: &Connection, id: &ExperimentId, limit: u32) -> Result<Vec<JobId>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT w.id FROM jobs j CROSS JOIN workloads w ON w.seq = j.seq
         WHERE j.experiment_id = ?1 ORDER BY j.seq DESC LIMIT ?2",
    )?;
    let rows = query.query_map(params![id, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns a run that is not over and tidied, if there is one.
pub fn unfinished(connection: &Connection, id: &ExperimentId) -> Result<Option<JobId>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT w.id FROM jobs j CROSS JOIN workloads w ON w.seq = j.seq
         WHERE j.experiment_id = ?1 AND w.teardown_finished_at IS NULL LIMIT 1",
    )?;
    Ok(query.query_row([id], |row| row.get(0)).optional()?)
}

/// Gives an experiment another name and other tags.
pub fn change(
    tx: &Tx<'_>,
    team: &TeamId,
    id: &ExperimentId,
    name: &str,
    tags: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute("UPDATE experiments SET name = ?2, tags = ?3 WHERE id = ?1", params![id, name, Json(tags)])?;
    tell(tx, team, id, "changed", now)
}

/// Removes an experiment. Its runs must be gone.
pub fn delete(tx: &Tx<'_>, team: &TeamId, id: &ExperimentId, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM experiments WHERE id = ?1", [id])?;
    tell(tx, team, id, "deleted", now)
}

/// Removes a project's experiments and returns how many there were. The project's jobs must be gone.
pub fn delete_of_project(tx: &Tx<'_>, team: &TeamId, project: &ProjectId, now: Timestamp) -> Result<usize, StoreError> {
    let mut query = tx.prepare_cached("DELETE FROM experiments WHERE project_id = ?1 RETURNING id")?;
    let ids: Vec<ExperimentId> = query.query_map([project], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.iter().try_for_each(|id| tell(tx, team, id, "deleted", now))?;
    Ok(ids.len())
}

/// Says that something happened to an experiment. What happens to a run is told of the job.
pub fn tell(
    tx: &Tx<'_>,
    team: &TeamId,
    id: &ExperimentId,
    change: &'static str,
    now: Timestamp,
) -> Result<(), StoreError> {
    events::append(tx, team, "experiment", id.as_str(), change, serde_json::json!({}), now)
}
