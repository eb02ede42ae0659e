//! Whatever runs in a container. Services write what is wanted; the workload loop writes the rest.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx, events, gpu_holdings, job_outputs, memory_kills, row::Json};
use crate::domain::{
    gpu::GpuUuid,
    id::{JobId, ProjectId, TeamId, UploadId, UserId},
    time::Timestamp,
    workload::{Ending, Event, Kind, Needs, Retries, Spec, State, Wanted, Workload},
};

/// The columns that [`read`] reads, from `workloads w` and the row of its latest attempt.
pub(super) const COLUMNS: &str = "w.seq, w.id, w.team_id, w.user_id, w.project_id, w.name,
    w.cpu_millis, w.memory_bytes, w.gpus, w.gpu_share, w.gpu_model, w.mig_profile, w.priority,
    w.time_limit_seconds, w.retry_limit, w.retry_backoff_seconds, w.created_at, w.wanted, w.stop_asked_at,
    w.state, w.attempt, w.not_before, w.image_id, w.reason, w.message, w.exit_code, w.ports,
    w.setup_started_at, w.setup_finished_at, w.started_at, w.finished_at, w.teardown_started_at,
    w.teardown_finished_at, w.kind, w.parent_id,
    (SELECT a.gpus FROM attempts a WHERE a.seq = w.seq AND a.attempt = w.attempt),
    (SELECT a.memory_kills FROM attempts a WHERE a.seq = w.seq AND a.attempt = w.attempt),
    (SELECT a.memory_killed_at FROM attempts a WHERE a.seq = w.seq AND a.attempt = w.attempt)";

/// How many columns [`read`] takes.
pub(super) const WIDTH: usize = 38;

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Workload> {
    Ok(Workload {
        seq: row.get(0)?,
        id: row.get(1)?,
        kind: kind(row, 33, 34)?,
        team: row.get(2)?,
        user: row.get(3)?,
        project: row.get(4)?,
        name: row.get(5)?,
        needs: Needs {
            cpu_millis: row.get(6)?,
            memory_bytes: row.get(7)?,
            gpus: row.get(8)?,
            gpu_share: row.get(9)?,
            gpu_model: row.get(10)?,
            mig_profile: row.get(11)?,
        },
        priority: row.get(12)?,
        time_limit: row.get::<_, Option<u64>>(13)?.map(Duration::from_secs),
        retries: Retries { limit: row.get(14)?, backoff: Duration::from_secs(row.get(15)?) },
        created_at: row.get(16)?,
        wanted: row.get(17)?,
        stop_asked_at: row.get(18)?,
        state: row.get(19)?,
        attempt: row.get(20)?,
        not_before: row.get(21)?,
        image_id: row.get(22)?,
        reason: row.get(23)?,
        message: row.get(24)?,
        exit_code: row.get(25)?,
        ports: row.get::<_, Option<Json<BTreeMap<u16, u16>>>>(26)?.map(|json| json.0).unwrap_or_default(),
        setup_started_at: row.get(27)?,
        setup_finished_at: row.get(28)?,
        started_at: row.get(29)?,
        finished_at: row.get(30)?,
        teardown_started_at: row.get(31)?,
        teardown_finished_at: row.get(32)?,
        gpus: row.get::<_, Option<Json<Vec<GpuUuid>>>>(35)?.map(|json| json.0).unwrap_or_default(),
        memory_kills: memory_kills::read(row, 36, 37)?,
    })
}

/// Reads what a run is from the columns of its word and of the id of what outlives it.
pub(super) fn kind(row: &Row<'_>, word: usize, parent: usize) -> rusqlite::Result<Kind> {
    let parent = row.get_ref(parent)?.as_str_or_null()?;
    Kind::from_parts(row.get_ref(word)?.as_str()?, parent)
        .ok_or_else(|| rusqlite::types::FromSqlError::InvalidType.into())
}

/// What a service writes to have something run.
#[derive(Debug, Clone)]
pub struct NewWorkload {
    pub id: JobId,
    pub kind: Kind,
    pub team: TeamId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub spec: Spec,
    pub needs: Needs,
    pub priority: i32,
    pub time_limit: Option<Duration>,
    pub retries: Retries,
    pub upload: Option<UploadId>,
}

/// Adds a workload that is to run and returns its place in the order of acceptance.
pub fn insert(tx: &Tx<'_>, new: &NewWorkload, now: Timestamp) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "INSERT INTO workloads (id, kind, parent_id, team_id, user_id, project_id, name, spec, cpu_millis, memory_bytes, gpus,
             gpu_share, gpu_model, mig_profile, priority, time_limit_seconds, retry_limit, retry_backoff_seconds,
             upload_id, created_at, wanted, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, 'run',
             'pending')",
    )?
    .execute(params![
        new.id,
        new.kind.as_str(),
        new.kind.parent(),
        new.team,
        new.user,
        new.project,
        new.name,
        Json(&new.spec),
        new.needs.cpu_millis,
        new.needs.memory_bytes,
        new.needs.gpus,
        new.needs.gpu_share,
        new.needs.gpu_model,
        new.needs.mig_profile,
        new.priority,
        new.time_limit.map(|limit| limit.as_secs()),
        new.retries.limit,
        new.retries.backoff.as_secs(),
        new.upload,
        now,
    ])?;
    let seq = tx.last_insert_rowid();
    tx.touch_workloads();
    Ok(seq)
}

/// Finds a workload.
pub fn get(connection: &Connection, id: &JobId) -> Result<Option<Workload>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM workloads w WHERE w.id = ?1"))?;
    Ok(query.query_row([id], read).optional()?)
}

/// Returns what people call a workload now: what a session is of may have been renamed since it began.
pub fn name_now(connection: &Connection, workload: &Workload) -> Result<String, StoreError> {
    Ok(name_of(connection, &workload.kind)?.unwrap_or_else(|| workload.name.clone()))
}

/// Returns the name of what sessions of this kind are of; `None` for a job, and where that is gone.
pub fn name_of(connection: &Connection, kind: &Kind) -> Result<Option<String>, StoreError> {
    let (query, id) = match kind {
        Kind::Job => return Ok(None),
        Kind::Notebook(id) => ("SELECT name FROM notebooks WHERE id = ?1", id.as_str()),
        Kind::TensorBoard(id) => ("SELECT name FROM tensorboards WHERE id = ?1", id.as_str()),
    };
    Ok(connection.prepare_cached(query)?.query_row([id], |row| row.get(0)).optional()?)
}

/// Returns everything that is not over and tidied, in order of acceptance.
pub fn alive(connection: &Connection) -> Result<Vec<Workload>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM workloads w INDEXED BY workloads_alive WHERE w.teardown_finished_at IS NULL ORDER BY w.seq"
    ))?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns everything that holds cores, memory and GPUs.
pub fn holding(connection: &Connection) -> Result<Vec<Workload>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM workloads w INDEXED BY workloads_alive
         WHERE w.teardown_finished_at IS NULL AND w.state IN ('provisioned', 'running') ORDER BY w.seq"
    ))?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns how many workloads of a team wait that are of the same kind as `kind`, up to `limit`.
pub fn waiting(connection: &Connection, team: &TeamId, kind: &Kind, limit: u32) -> Result<u32, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM workloads WHERE team_id = ?1 AND kind = ?2 AND state = 'pending' LIMIT ?3)",
    )?;
    Ok(query.query_row(params![team, kind.as_str(), limit], |row| row.get(0))?)
}

/// Returns whether another workload of the same team was there at some time between the first attempt
/// of workload `seq` and its end, be it deleted since.
pub fn had_company(connection: &Connection, seq: i64) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT had_company FROM workloads WHERE seq = ?1")?;
    Ok(query.query_row([seq], |row| row.get(0))?)
}

/// Notes, of a workload that is about to get its place and of all of its team that have had one and are
/// not torn down, that they are there together. Of two lives that overlap one begins within the other, so
/// nothing is missed; that nothing of a workload is left is noted after the last of its processes is gone.
fn meet(tx: &Tx<'_>, seq: i64) -> Result<(), StoreError> {
    let others = "SELECT w.seq FROM workloads w INDEXED BY workloads_alive, workloads me
         WHERE me.seq = ?1 AND w.seq != me.seq AND w.team_id = me.team_id
             AND w.teardown_finished_at IS NULL AND w.attempt > 0";
    let met =
        tx.prepare_cached(&format!("UPDATE workloads SET had_company = 1 WHERE seq IN ({others})"))?.execute([seq])?;
    if met > 0 {
        tx.prepare_cached("UPDATE workloads SET had_company = 1 WHERE seq = ?1")?.execute([seq])?;
    }
    Ok(())
}

/// Returns what workload `seq` is to run.
pub fn spec(connection: &Connection, seq: i64) -> Result<Spec, StoreError> {
    let mut query = connection.prepare_cached("SELECT spec FROM workloads WHERE seq = ?1")?;
    Ok(query.query_row([seq], |row| row.get::<_, Json<Spec>>(0))?.0)
}

/// Asks for a workload to end.
pub fn ask_to_stop(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE workloads SET wanted = 'stop', stop_asked_at = coalesce(stop_asked_at, ?2) WHERE seq = ?1",
    )?
    .execute(params![seq, now])?;
    tx.touch_workloads();
    Ok(())
}

/// Gives a workload another time limit; where it runs, the loop holds it to the new one.
pub fn set_time_limit(tx: &Tx<'_>, seq: i64, limit: Option<Duration>) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE workloads SET time_limit_seconds = ?2 WHERE seq = ?1")?
        .execute(params![seq, limit.map(|limit| limit.as_secs())])?;
    tx.touch_workloads();
    Ok(())
}

/// Notes that preparing has begun, the first time alone.
pub fn setup_started(tx: &Tx<'_>, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE workloads SET setup_started_at = coalesce(setup_started_at, ?2) WHERE seq = ?1")?
        .execute(params![seq, now])?;
    Ok(())
}

/// Notes that everything is ready to run: from here on it waits for its place alone.
pub fn prepared(tx: &Tx<'_>, workload: &Workload, image_id: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE workloads SET image_id = ?2, setup_started_at = coalesce(setup_started_at, ?3), setup_finished_at = ?3
         WHERE seq = ?1 AND state = 'pending'",
    )?
    .execute(params![workload.seq, image_id, now])?;
    tx.touch_workloads();
    Ok(())
}

/// Gives a workload its place: state, attempt and ledger in one transaction.
pub fn place(tx: &Tx<'_>, workload: &Workload, gpus: &[GpuUuid], now: Timestamp) -> Result<(), StoreError> {
    let attempt = workload.attempt + 1;
    step(tx, workload, Event::Placed, now)?;
    meet(tx, workload.seq)?;
    tx.prepare_cached(
        "UPDATE workloads SET attempt = ?2, not_before = NULL, reason = NULL, message = NULL, exit_code = NULL,
             started_at = NULL, finished_at = NULL, ports = NULL WHERE seq = ?1",
    )?
    .execute(params![workload.seq, attempt])?;
    tx.prepare_cached("INSERT INTO attempts (seq, attempt, placed_at, gpus) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![workload.seq, attempt, now, Json(gpus)])?;
    gpu_holdings::take(tx, workload.seq, gpus, workload.needs.gpu_share)
}

/// Gives up a place before anything ran in it; the workload is prepared anew and waits again.
pub fn unplace(tx: &Tx<'_>, workload: &Workload, message: &str, now: Timestamp) -> Result<(), StoreError> {
    step(tx, workload, Event::Unplaced, now)?;
    tx.prepare_cached(
        "UPDATE workloads SET attempt = attempt - 1, image_id = NULL, message = ?2, not_before = ?3 WHERE seq = ?1",
    )?
    // A pause, so that an image which vanishes again and again is not chased without rest.
    .execute(params![workload.seq, message, now.plus(Duration::from_secs(6))])?;
    tx.prepare_cached("DELETE FROM attempts WHERE seq = ?1 AND attempt = ?2")?
        .execute(params![workload.seq, workload.attempt])?;
    gpu_holdings::release(tx, workload.seq)?;
    tx.touch_workloads();
    Ok(())
}

/// Notes that the container runs.
pub fn started(
    tx: &Tx<'_>,
    workload: &Workload,
    ports: &BTreeMap<u16, u16>,
    at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    step(tx, workload, Event::Started, now)?;
    tx.prepare_cached("UPDATE workloads SET started_at = ?2, ports = ?3 WHERE seq = ?1")?.execute(params![
        workload.seq,
        at,
        Json(ports)
    ])?;
    tx.prepare_cached("UPDATE attempts SET started_at = ?3 WHERE seq = ?1 AND attempt = ?2")?.execute(params![
        workload.seq,
        workload.attempt,
        at
    ])?;
    Ok(())
}

/// Records how the present attempt ended, gives back what it held, and either ends the workload or
/// has it tried again from `again`.
pub fn ended(
    tx: &Tx<'_>,
    workload: &Workload,
    ending: &Ending,
    again: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE attempts SET started_at = ?3, finished_at = ?4, reason = ?5, message = ?6, exit_code = ?7
         WHERE seq = ?1 AND attempt = ?2",
    )?
    .execute(params![
        workload.seq,
        workload.attempt,
        ending.started_at,
        ending.finished_at,
        ending.reason,
        ending.message,
        ending.exit_code,
    ])?;
    gpu_holdings::release(tx, workload.seq)?;
    // A workload that never had a container has nothing to tear down.
    let tidy = again.is_none() && workload.attempt == 0;
    if tidy {
        job_outputs::never_came(tx, workload.seq)?;
    }
    step(tx, workload, if again.is_some() { Event::Retried } else { ending.event }, now)?;
    tx.prepare_cached(
        "UPDATE workloads SET reason = ?2, message = ?3, exit_code = ?4, started_at = ?5, finished_at = ?6,
             not_before = ?7, teardown_started_at = iif(?7 IS NULL, ?8, NULL),
             teardown_finished_at = iif(?9, ?8, NULL),
             image_id = iif(?7 IS NULL, image_id, NULL)
         WHERE seq = ?1",
    )?
    .execute(params![
        workload.seq,
        ending.reason,
        ending.message,
        ending.exit_code,
        ending.started_at,
        ending.finished_at,
        again,
        now,
        tidy,
    ])?;
    tx.touch_workloads();
    Ok(())
}

/// Notes that nothing of a workload that is over is left on the engine.
pub fn torn_down(tx: &Tx<'_>, workload: &Workload, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE workloads SET teardown_finished_at = ?2 WHERE seq = ?1 AND teardown_finished_at IS NULL",
    )?
    .execute(params![workload.seq, now])?;
    tell(tx, workload, workload.state, now)
}

/// Removes a workload with everything that belongs to it. Its container must be gone.
pub fn delete(tx: &Tx<'_>, workload: &Workload, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM workloads WHERE seq = ?1", [workload.seq])?;
    // By its own id, also where people know it by another: the collector asks for it.
    let kind = workload.kind.as_str();
    events::append(tx, &workload.team, kind, workload.id.as_str(), "deleted", serde_json::json!({}), now)
}

/// Moves a workload along its one state machine.
///
/// # Errors
/// [`StoreError::Stale`] when it is no longer in the state that the caller saw, or cannot take the event.
fn step(tx: &Tx<'_>, workload: &Workload, event: Event, now: Timestamp) -> Result<(), StoreError> {
    let stale = || StoreError::Stale { kind: "workload", id: workload.id.to_string() };
    let next = workload.state.on(event).map_err(|_| stale())?;
    let changed = tx
        .prepare_cached("UPDATE workloads SET state = ?3 WHERE seq = ?1 AND state = ?2 AND attempt = ?4")?
        .execute(params![workload.seq, workload.state, next, workload.attempt])?;
    if changed != 1 {
        return Err(stale());
    }
    tell(tx, workload, next, now)
}

fn tell(tx: &Tx<'_>, workload: &Workload, state: State, now: Timestamp) -> Result<(), StoreError> {
    let data = serde_json::json!({ "state": state });
    let (kind, id) = workload.subject();
    events::append(tx, &workload.team, kind, id, "state", data, now)
}

/// Counts what is pending, what holds resources and what is over, for one team.
pub fn counts(connection: &Connection, team: &TeamId) -> Result<BTreeMap<State, u64>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT state, count(*) FROM workloads INDEXED BY workloads_by_state WHERE team_id = ?1 AND kind = 'job' GROUP BY state",
    )?;
    let rows = query.query_map([team], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says what is wanted of a workload now; the loop asks again before it acts on an old answer.
pub fn wanted(connection: &Connection, seq: i64) -> Result<Option<Wanted>, StoreError> {
    let mut query = connection.prepare_cached("SELECT wanted FROM workloads WHERE seq = ?1")?;
    Ok(query.query_row([seq], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::store;

    /// Adds workload `seq` of `team`, which has had so many attempts and is torn down or not.
    fn add(tx: &Tx<'_>, seq: i64, team: &str, attempt: u32, gone: bool) -> Result<(), StoreError> {
        let gone = gone.then_some(100);
        tx.execute(
            "INSERT INTO workloads (seq, id, kind, team_id, user_id, project_id, name, spec, cpu_millis, memory_bytes,
                 gpus, gpu_share, priority, retry_limit, retry_backoff_seconds, created_at, wanted, state, attempt,
                 finished_at, teardown_started_at, teardown_finished_at)
             VALUES (?1, ?1, 'job', ?2, 'u', 'p', 'n', '{}', 1, 1, 0, 1, 0, 0, 0, 0, 'run', 'stopped', ?3, ?4, ?4, ?4)",
            params![seq, team, attempt, gone],
        )?;
        Ok(())
    }

    #[tokio::test]
    async fn two_workloads_of_a_team_had_company_when_one_got_its_place_while_the_other_was_there() {
        // Number 1 gets its place now.
        for (team, attempt, gone, wanted) in [
            ("t", 0, false, false),
            ("t", 1, true, false),
            ("t", 1, false, true),
            ("t", 2, false, true),
            ("other", 1, false, false),
        ] {
            let (_dir, store) = store();
            let add_both = move |tx: &Tx<'_>| {
                tx.execute_batch("PRAGMA defer_foreign_keys = ON")?;
                add(tx, 1, "t", 0, false)?;
                add(tx, 2, team, attempt, gone)?;
                meet(tx, 1)?;
                let had = (had_company(tx, 1)?, had_company(tx, 2)?);
                tx.execute_batch("DELETE FROM workloads WHERE seq = 2")?;
                assert_eq!(had_company(tx, 1)?, had.0, "what is deleted was there all the same");
                // Nobody knows these teams and users, so they cannot stay.
                tx.execute_batch("DELETE FROM workloads")?;
                Ok::<_, StoreError>(had)
            };
            assert_eq!(store.write(add_both).await.unwrap(), (wanted, wanted), "{team} {attempt} {gone}");
        }
    }
}
