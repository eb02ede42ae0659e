//! Notebooks, and what their sessions are beside what they run.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{StoreError, Tx, events, row::Json, workloads};
use crate::domain::{
    id::{NotebookId, ProjectId, TeamId, UserId},
    notebook::{Activity, EndedFor, Limits, Notebook, NotebookFilter, Session},
    time::Timestamp,
    workload::{Spec, Workload},
};

/// A notebook to be written down.
#[derive(Debug, Clone)]
pub struct NewNotebook {
    pub id: NotebookId,
    pub team: TeamId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub tags: Vec<String>,
    pub is_public: bool,
    /// Of another one, of that team, whose files it begins with.
    pub fork_of: Option<(NotebookId, TeamId)>,
    pub spec: Spec,
    pub limits: Limits,
}

/// Adds a notebook that has no session yet.
pub fn insert(tx: &Tx<'_>, new: &NewNotebook, now: Timestamp) -> Result<(), StoreError> {
    let (from, from_team) = new.fork_of.clone().unzip();
    tx.prepare_cached(
        "INSERT INTO notebooks (id, team_id, user_id, project_id, name, tags, public, forked_from, copying_from,
             copying_team, spec, shutdown_seconds, idle_seconds, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        new.id,
        new.team,
        new.user,
        new.project,
        new.name,
        Json(&new.tags),
        new.is_public,
        from,
        from_team,
        Json(&new.spec),
        new.limits.shutdown.map(|span| span.as_secs()),
        new.limits.idle.map(|span| span.as_secs()),
        now,
    ])?;
    tell(tx, &new.team, &new.id, "created", now)
}

fn tell(tx: &Tx<'_>, team: &TeamId, id: &NotebookId, change: &'static str, now: Timestamp) -> Result<(), StoreError> {
    events::append(tx, team, "notebook", id.as_str(), change, serde_json::json!({}), now)
}

fn select(rest: &str) -> String {
    format!(
        "SELECT {}, n.seq, n.id, n.team_id, n.user_id, n.project_id, n.name, n.tags, n.public, n.forked_from,
             n.copying_from, n.spec, n.shutdown_seconds, n.idle_seconds, n.created_at, p.name, u.name,
             s.ready_at, s.idle_seconds, s.activity_at, s.activity, s.ended_for
         FROM notebooks n CROSS JOIN projects p ON p.id = n.project_id CROSS JOIN users u ON u.id = n.user_id
         LEFT JOIN workloads w ON w.seq = (SELECT max(x.seq) FROM workloads x WHERE x.parent_id = n.id)
         LEFT JOIN notebook_sessions s ON s.seq = w.seq {rest}",
        workloads::COLUMNS
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<Notebook> {
    const W: usize = workloads::WIDTH;
    let has_session = row.get::<_, Option<i64>>(0)?.is_some();
    Ok(Notebook {
        seq: row.get(W)?,
        id: row.get(W + 1)?,
        team: row.get(W + 2)?,
        user: row.get(W + 3)?,
        project: row.get(W + 4)?,
        name: row.get(W + 5)?,
        tags: row.get::<_, Json<Vec<String>>>(W + 6)?.0,
        is_public: row.get(W + 7)?,
        forked_from: row.get(W + 8)?,
        copying_from: row.get(W + 9)?,
        spec: row.get::<_, Json<Spec>>(W + 10)?.0,
        limits: Limits { shutdown: span(row, W + 11)?, idle: span(row, W + 12)? },
        created_at: row.get(W + 13)?,
        project_name: row.get(W + 14)?,
        user_name: row.get(W + 15)?,
        session: has_session.then(|| session(row, W + 16)).transpose()?,
    })
}

/// Reads a session: its workload from the first columns, and from `at` on when it was ready, its idle
/// limit, its last activity and why it was ended.
pub(super) fn session(row: &Row<'_>, at: usize) -> rusqlite::Result<Session> {
    let activity = row.get::<_, Option<Timestamp>>(at + 2)?.zip(row.get::<_, Option<String>>(at + 3)?);
    Ok(Session {
        workload: workloads::read(row)?,
        ready_at: row.get(at)?,
        idle: span(row, at + 1)?,
        activity: activity.map(|(at, what)| Activity { at, what }),
        ended_for: row.get(at + 4)?,
    })
}

fn span(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Duration>> {
    Ok(row.get::<_, Option<u64>>(at)?.map(Duration::from_secs))
}

/// Finds a notebook, whosever it is.
pub fn get(connection: &Connection, id: &NotebookId) -> Result<Option<Notebook>, StoreError> {
    let mut query = connection.prepare_cached(&select("WHERE n.id = ?1"))?;
    Ok(query.query_row([id], read).optional()?)
}

/// Values of a query, by name.
type Values<'a> = Vec<(&'static str, Box<dyn ToSql + 'a>)>;

/// Says which notebooks are meant, of `n` with the latest session in `w`, with values by name.
fn clauses<'a>(team: &'a TeamId, filter: &'a NotebookFilter) -> (String, Values<'a>) {
    let mut values: Values<'a> = Vec::new();
    let mut clauses = match filter.public {
        true => String::from("WHERE n.public = 1"),
        false => {
            values.push((":team", Box::new(team)));
            String::from("WHERE n.team_id = :team")
        }
    };
    if let Some(project) = &filter.project {
        clauses.push_str(" AND n.project_id = :project");
        values.push((":project", Box::new(project)));
    }
    if !filter.tags.is_empty() {
        clauses.push_str(
            " AND EXISTS (SELECT 1 FROM json_each(n.tags) t WHERE t.value IN (SELECT value FROM json_each(:tags)))",
        );
        values.push((":tags", Box::new(Json(&filter.tags))));
    }
    if let Some(text) = &filter.text {
        clauses.push_str(" AND (instr(lower(n.name), lower(:text)) OR instr(n.id, lower(:text)))");
        values.push((":text", Box::new(text)));
    }
    if let Some(user) = &filter.user {
        clauses.push_str(" AND n.user_id = :user");
        values.push((":user", Box::new(user)));
    }
    if filter.live {
        clauses.push_str(" AND w.state IN ('pending', 'provisioned', 'running')");
    }
    (clauses, values)
}

/// Lists notebooks, newest first, from before number `before`.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    filter: &NotebookFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Notebook>, StoreError> {
    let (clauses, mut values) = clauses(team, filter);
    values.push((":before", Box::new(before.unwrap_or(i64::MAX))));
    values.push((":limit", Box::new(limit)));
    let sql = select(&format!("{clauses} AND n.seq < :before ORDER BY n.seq DESC LIMIT :limit"));
    let mut query = connection.prepare_cached(&sql)?;
    let rows = query.query_map(&*named(&values), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Counts notebooks, as far as [`list`] would go.
pub fn count(connection: &Connection, team: &TeamId, filter: &NotebookFilter) -> Result<u64, StoreError> {
    let (clauses, values) = clauses(team, filter);
    let mut query = connection.prepare_cached(&format!(
        "SELECT count(*) FROM notebooks n
         LEFT JOIN workloads w ON w.seq = (SELECT max(x.seq) FROM workloads x WHERE x.parent_id = n.id) {clauses}"
    ))?;
    Ok(query.query_row(&*named(&values), |row| row.get(0))?)
}

fn named<'a>(values: &'a Values<'a>) -> Vec<(&'static str, &'a dyn ToSql)> {
    values.iter().map(|(name, value)| (*name, &**value)).collect()
}

/// Returns the notebooks of which a session runs.
pub fn running(connection: &Connection) -> Result<Vec<Notebook>, StoreError> {
    let mut query = connection.prepare_cached(&select(
        "WHERE n.id IN (SELECT r.parent_id FROM workloads r INDEXED BY workloads_alive
             WHERE r.teardown_finished_at IS NULL AND r.kind = 'notebook' AND r.state = 'running')
         AND w.state = 'running'",
    ))?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the notebooks whose files are still to be copied, each with the team of the one that they
/// come from.
pub fn copying(connection: &Connection) -> Result<Vec<(Notebook, TeamId)>, StoreError> {
    let mut query = connection.prepare_cached(&select("WHERE n.copying_from IS NOT NULL"))?;
    let mut team = connection.prepare_cached("SELECT copying_team FROM notebooks WHERE seq = ?1")?;
    let rows = query.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|notebook| Ok((notebook.clone(), team.query_row([notebook.seq], |row| row.get(0))?))).collect()
}

/// Notes that a fork's files are there.
pub fn copied(tx: &Tx<'_>, notebook: &Notebook, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE notebooks SET copying_from = NULL, copying_team = NULL WHERE seq = ?1", [notebook.seq])?;
    tell(tx, &notebook.team, &notebook.id, "changed", now)
}

/// Writes what people say of a notebook: name, project, tags, whether it is public, and what its next
/// session runs. Its sessions move to another project with it.
pub fn update(tx: &Tx<'_>, notebook: &Notebook, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE workloads SET project_id = ?2 WHERE parent_id = ?1 AND project_id != ?2")?
        .execute(params![notebook.id, notebook.project])?;
    tx.prepare_cached(
        "UPDATE notebooks SET name = ?2, project_id = ?3, tags = ?4, public = ?5, spec = ?6, shutdown_seconds = ?7,
             idle_seconds = ?8 WHERE seq = ?1",
    )?
    .execute(params![
        notebook.seq,
        notebook.name,
        notebook.project,
        Json(&notebook.tags),
        notebook.is_public,
        Json(&notebook.spec),
        notebook.limits.shutdown.map(|span| span.as_secs()),
        notebook.limits.idle.map(|span| span.as_secs()),
    ])?;
    tell(tx, &notebook.team, &notebook.id, "changed", now)
}

/// Notes that workload `seq` is a session with an idle limit.
pub fn insert_session(tx: &Tx<'_>, seq: i64, idle: Option<Duration>) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO notebook_sessions (seq, idle_seconds) VALUES (?1, ?2)")?
        .execute(params![seq, idle.map(|span| span.as_secs())])?;
    Ok(())
}

/// Gives a session that runs other limits.
pub fn set_session_limits(
    tx: &Tx<'_>,
    notebook: &Notebook,
    session: &Workload,
    limits: Limits,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE notebook_sessions SET idle_seconds = ?2 WHERE seq = ?1",
        params![session.seq, limits.idle.map(|span| span.as_secs())],
    )?;
    workloads::set_time_limit(tx, session.seq, limits.shutdown)?;
    tell(tx, &notebook.team, &notebook.id, "changed", now)
}

/// Notes that a session's server answers.
pub fn ready(tx: &Tx<'_>, notebook: &Notebook, session: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE notebook_sessions SET ready_at = coalesce(ready_at, ?2) WHERE seq = ?1", params![session, now])?;
    tell(tx, &notebook.team, &notebook.id, "ready", now)
}

/// Notes the last sign of somebody at work in a session.
pub fn active(tx: &Tx<'_>, session: i64, activity: &Activity) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE notebook_sessions SET activity_at = ?2, activity = ?3 WHERE seq = ?1")?
        .execute(params![session, activity.at, activity.what])?;
    Ok(())
}

/// Asks for the end of a session, and notes why. One that somebody has stopped already ends for that.
pub fn end_session(tx: &Tx<'_>, session: i64, why: EndedFor, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE notebook_sessions SET ended_for = ?2
         WHERE seq = ?1 AND EXISTS (SELECT 1 FROM workloads w WHERE w.seq = ?1 AND w.wanted = 'run')",
        params![session, why],
    )?;
    workloads::ask_to_stop(tx, session, now)
}

/// Removes a notebook with its sessions, all of which must be over.
pub fn delete(tx: &Tx<'_>, notebook: &Notebook, sessions: &[Session], now: Timestamp) -> Result<(), StoreError> {
    for session in sessions {
        workloads::delete(tx, &session.workload, now)?;
    }
    tx.execute("DELETE FROM notebooks WHERE seq = ?1", [notebook.seq])?;
    tell(tx, &notebook.team, &notebook.id, "deleted", now)
}

/// Returns the sessions of a notebook, newest first.
pub fn sessions(
    connection: &Connection,
    id: &NotebookId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Session>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {}, s.ready_at, s.idle_seconds, s.activity_at, s.activity, s.ended_for
         FROM workloads w LEFT JOIN notebook_sessions s ON s.seq = w.seq
         WHERE w.parent_id = ?1 AND w.seq < ?2 ORDER BY w.seq DESC LIMIT ?3",
        workloads::COLUMNS
    ))?;
    let rows = query.query_map(params![id, before.unwrap_or(i64::MAX), limit], |row| session(row, workloads::WIDTH))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_stopped_a_session_first_is_why_it_ended() {
        let (_dir, store) = crate::store::tests::store();
        let ended = store.write(|tx| {
            tx.execute_batch(
                "INSERT INTO teams VALUES ('t000000', 't', 0);
                 INSERT INTO users (id, team_id, name, created_at) VALUES ('u00000000', 't000000', 'u', 0);
                 INSERT INTO projects (seq, id, team_id, name, created_at) VALUES (1, 'p00000000', 't000000', 'p', 0);
                 INSERT INTO workloads (seq, id, kind, team_id, user_id, project_id, name, spec, cpu_millis,
                     memory_bytes, gpus, gpu_share, priority, retry_limit, retry_backoff_seconds, created_at, wanted,
                     state)
                 SELECT value, 'js0123456789a' || value, 'notebook', 't000000', 'u00000000', 'p00000000', 'n', '{}', 1, 1,
                     0, 1, 0, 0, 0, 0, 'run', 'running' FROM (SELECT 1 AS value UNION SELECT 2);
                 INSERT INTO notebook_sessions (seq) VALUES (1), (2);",
            )?;
            workloads::ask_to_stop(tx, 1, Timestamp(1))?;
            let mut ended = Vec::new();
            for session in [1, 2] {
                end_session(tx, session, EndedFor::NotReady, Timestamp(2))?;
                let mut query = tx.prepare("SELECT ended_for FROM notebook_sessions WHERE seq = ?1")?;
                ended.push(query.query_row([session], |row| row.get::<_, Option<EndedFor>>(0))?);
            }
            Ok::<_, StoreError>(ended)
        });
        assert_eq!(ended.await.unwrap(), [None, Some(EndedFor::NotReady)]);
    }
}
