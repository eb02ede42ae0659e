//! TensorBoards, each with its latest session.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{StoreError, Tx, events, notebooks, row::Json, workloads};
use crate::domain::{
    id::{ProjectId, TeamId, TensorBoardId, UserId},
    notebook::NotebookState,
    tensorboard::{Choice, IdleLimit, Showing, TensorBoard, TensorBoardFilter},
    time::Timestamp,
    workload::Workload,
};

/// A TensorBoard to be written down.
#[derive(Debug, Clone)]
pub struct NewTensorBoard {
    pub id: TensorBoardId,
    pub team: TeamId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub choice: Choice,
}

/// Adds a TensorBoard that shows nothing yet, and returns its number.
pub fn insert(tx: &Tx<'_>, new: &NewTensorBoard, now: Timestamp) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "INSERT INTO tensorboards (id, team_id, user_id, project_id, name, image, machine_type, idle_seconds, created_at,
             registry)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        new.id,
        new.team,
        new.user,
        new.project,
        new.name,
        new.choice.image,
        new.choice.machine_type,
        seconds(new.choice.idle),
        now,
        new.choice.registry.as_ref().map(Json),
    ])?;
    let seq = tx.last_insert_rowid();
    tell(tx, &new.team, &new.id, "created", now)?;
    Ok(seq)
}

/// Says that something happened to a TensorBoard.
pub fn tell(
    tx: &Tx<'_>,
    team: &TeamId,
    id: &TensorBoardId,
    change: &'static str,
    now: Timestamp,
) -> Result<(), StoreError> {
    events::append(tx, team, "tensorboard", id.as_str(), change, serde_json::json!({}), now)
}

/// Writes a limit; 0 is never.
fn seconds(idle: Option<IdleLimit>) -> Option<u64> {
    idle.map(|idle| idle.span().map_or(0, |span| span.as_secs()))
}

const LATEST: &str = "LEFT JOIN workloads w ON w.seq = (SELECT max(x.seq) FROM workloads x WHERE x.parent_id = t.id)
    LEFT JOIN tensorboard_sessions s ON s.seq = w.seq";

fn select(rest: &str) -> String {
    format!(
        "SELECT {}, t.seq, t.id, t.team_id, t.user_id, t.project_id, t.name, t.image, t.machine_type, t.idle_seconds,
             t.created_at, p.name, u.name, (SELECT count(*) FROM tensorboard_members m WHERE m.tensorboard = t.seq),
             t.registry, s.logs, s.ready_at, s.idle_seconds, s.activity_at, s.activity, s.ended_for
         FROM tensorboards t CROSS JOIN projects p ON p.id = t.project_id CROSS JOIN users u ON u.id = t.user_id
         {LATEST} {rest}",
        workloads::COLUMNS
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<TensorBoard> {
    const W: usize = workloads::WIDTH;
    let idle = row.get::<_, Option<u64>>(W + 8)?.map(|seconds| match seconds {
        0 => IdleLimit::Never,
        seconds => IdleLimit::After(Duration::from_secs(seconds)),
    });
    let registry = row.get::<_, Option<Json<_>>>(W + 13)?.map(|registry| registry.0);
    let logs = row.get::<_, Option<Json<_>>>(W + 14)?;
    let session =
        logs.map(|logs| Ok::<_, rusqlite::Error>(Showing { session: notebooks::session(row, W + 15)?, logs: logs.0 }));
    Ok(TensorBoard {
        seq: row.get(W)?,
        id: row.get(W + 1)?,
        team: row.get(W + 2)?,
        user: row.get(W + 3)?,
        project: row.get(W + 4)?,
        name: row.get(W + 5)?,
        choice: Choice { image: row.get(W + 6)?, registry, machine_type: row.get(W + 7)?, idle },
        created_at: row.get(W + 9)?,
        project_name: row.get(W + 10)?,
        user_name: row.get(W + 11)?,
        members: row.get(W + 12)?,
        session: session.transpose()?,
    })
}

/// Finds a team's TensorBoard.
pub fn get(connection: &Connection, team: &TeamId, id: &TensorBoardId) -> Result<Option<TensorBoard>, StoreError> {
    let mut query = connection.prepare_cached(&select("WHERE t.id = ?1 AND t.team_id = ?2"))?;
    Ok(query.query_row(params![id, team], read).optional()?)
}

/// Finds one TensorBoard again by its number.
pub fn by_seq(connection: &Connection, seq: i64) -> Result<Option<TensorBoard>, StoreError> {
    let mut query = connection.prepare_cached(&select("WHERE t.seq = ?1"))?;
    Ok(query.query_row([seq], read).optional()?)
}

/// Says which states of the latest session, in `w` and `s`, are meant by a word; the same as
/// [`NotebookState::of`].
fn state_clause(state: NotebookState) -> &'static str {
    match state {
        NotebookState::Created => "w.seq IS NULL",
        NotebookState::Pending => "w.state = 'pending'",
        NotebookState::Provisioned => "w.state = 'provisioned'",
        NotebookState::Running => "w.state = 'running'",
        NotebookState::Stopped => {
            "(w.state = 'stopped' OR (w.state = 'cancelled' AND w.started_at IS NOT NULL AND s.ended_for IS NOT 'not_ready')
             OR (w.state = 'failed' AND w.reason IS 'time_limit'))"
        }
        NotebookState::Failed => {
            "((w.state = 'failed' AND w.reason IS NOT 'time_limit') OR (w.state = 'cancelled' AND s.ended_for IS 'not_ready'))"
        }
        NotebookState::Error => "w.state = 'error'",
        NotebookState::Cancelled => {
            "(w.state = 'cancelled' AND w.started_at IS NULL AND s.ended_for IS NOT 'not_ready')"
        }
    }
}

/// Lists a team's TensorBoards, newest first, from before number `before`.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    filter: &TensorBoardFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<TensorBoard>, StoreError> {
    let before = before.unwrap_or(i64::MAX);
    let mut clauses = String::from("WHERE t.team_id = :team AND t.seq < :before");
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":team", team), (":before", &before), (":limit", &limit)];
    if !filter.states.is_empty() {
        let states: Vec<_> = filter.states.iter().copied().map(state_clause).collect();
        clauses.push_str(&format!(" AND ({})", states.join(" OR ")));
    }
    if let Some(project) = &filter.project {
        clauses.push_str(" AND t.project_id = :project");
        values.push((":project", project));
    }
    if let Some(member) = &filter.member {
        clauses.push_str(
            " AND EXISTS (SELECT 1 FROM tensorboard_members m WHERE m.tensorboard = t.seq AND m.target = :member)",
        );
        values.push((":member", member));
    }
    if let Some(text) = &filter.text {
        clauses.push_str(" AND (instr(lower(t.name), lower(:text)) OR instr(t.id, lower(:text)))");
        values.push((":text", text));
    }
    clauses.push_str(" ORDER BY t.seq DESC LIMIT :limit");
    let mut query = connection.prepare_cached(&select(&clauses))?;
    let rows = query.query_map(values.as_slice(), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns those whose latest session is not over.
pub fn live(connection: &Connection) -> Result<Vec<TensorBoard>, StoreError> {
    let mut query = connection.prepare_cached(&select(
        "WHERE t.id IN (SELECT r.parent_id FROM workloads r INDEXED BY workloads_alive
             WHERE r.teardown_finished_at IS NULL AND r.kind = 'tensorboard')
         AND w.state IN ('pending', 'provisioned', 'running')",
    ))?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes what people say of a TensorBoard. Its sessions move to another project with it.
pub fn update(tx: &Tx<'_>, board: &TensorBoard, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE workloads SET project_id = ?2 WHERE parent_id = ?1 AND project_id != ?2")?
        .execute(params![board.id, board.project])?;
    tx.prepare_cached(
        "UPDATE tensorboards SET name = ?2, project_id = ?3, image = ?4, machine_type = ?5, idle_seconds = ?6,
             registry = ?7
         WHERE seq = ?1",
    )?
    .execute(params![
        board.seq,
        board.name,
        board.project,
        board.choice.image,
        board.choice.machine_type,
        seconds(board.choice.idle),
        board.choice.registry.as_ref().map(Json),
    ])?;
    tell(tx, &board.team, &board.id, "changed", now)
}

/// Removes a TensorBoard with its sessions, all of which must be over.
pub fn delete(tx: &Tx<'_>, board: &TensorBoard, sessions: &[Workload], now: Timestamp) -> Result<(), StoreError> {
    for session in sessions {
        workloads::delete(tx, session, now)?;
    }
    tx.execute("DELETE FROM tensorboards WHERE seq = ?1", [board.seq])?;
    tell(tx, &board.team, &board.id, "deleted", now)
}
