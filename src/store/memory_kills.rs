//! Processes that were killed for memory, counted by attempt.

use rusqlite::{OptionalExtension, Row, params};

use super::{StoreError, Tx, events, workloads};
use crate::domain::{id::JobId, memory_kills::MemoryKills, time::Timestamp, workload::Workload};

/// Counts a kill of attempt `attempt` of run `id`, which happened at `at` by the engine's clock, and returns the run
/// with the new count. `None` where it is counted already, as everything that is not later than the last, and where
/// there is no such attempt.
pub fn count(
    tx: &Tx<'_>,
    id: &JobId,
    attempt: u32,
    at: Timestamp,
    now: Timestamp,
) -> Result<Option<(Workload, MemoryKills)>, StoreError> {
    let times = tx
        .prepare_cached(
            "UPDATE attempts SET memory_kills = memory_kills + 1, memory_killed_at = ?3
             WHERE seq = (SELECT w.seq FROM workloads w WHERE w.id = ?1) AND attempt = ?2
                 AND (memory_killed_at IS NULL OR memory_killed_at < ?3)
             RETURNING memory_kills",
        )?
        .query_row(params![id, attempt, at], |row| row.get(0))
        .optional()?;
    let Some((times, workload)) = times.zip(workloads::get(tx, id)?) else { return Ok(None) };
    let kills = MemoryKills { times, last_at: at };
    if kills.is_news() {
        let (kind, subject) = workload.subject();
        events::append(tx, &workload.team, kind, subject, "memory", serde_json::json!({ "times": times }), now)?;
    }
    Ok(Some((workload, kills)))
}

/// Reads what is known from two columns of an attempt, which are null where there was none.
pub(super) fn read(row: &Row<'_>, times: usize, last_at: usize) -> rusqlite::Result<Option<MemoryKills>> {
    let last_at: Option<Timestamp> = row.get(last_at)?;
    last_at.map(|last_at| Ok(MemoryKills { times: row.get(times)?, last_at })).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::store;

    #[tokio::test]
    async fn what_is_read_again_is_not_counted_again_and_another_attempt_begins_anew() {
        let (_dir, store) = store();
        let id: JobId = "js0123456789ab".parse().unwrap();
        let counted = store.write(move |tx| {
            tx.execute_batch(
                "INSERT INTO teams VALUES ('t000000', 't', 0);
                 INSERT INTO users (id, team_id, name, created_at) VALUES ('u00000000', 't000000', 'u', 0);
                 INSERT INTO projects (seq, id, team_id, name, created_at) VALUES (1, 'p00000000', 't000000', 'p', 0);
                 INSERT INTO workloads (seq, id, kind, team_id, user_id, project_id, name, spec, cpu_millis,
                     memory_bytes, gpus, gpu_share, priority, retry_limit, retry_backoff_seconds, created_at, wanted,
                     state, attempt)
                 VALUES (1, 'js0123456789ab', 'job', 't000000', 'u00000000', 'p00000000', 'n', '{}', 1, 1, 0, 1, 0, 0,
                     0, 0, 'run', 'running', 1);
                 INSERT INTO attempts (seq, attempt, placed_at, gpus) VALUES (1, 1, 0, '[]'), (1, 2, 0, '[]');",
            )?;
            let mut counted = Vec::new();
            for (attempt, at) in [(1, 10), (1, 20), (1, 10), (1, 20), (1, 21), (2, 5), (3, 30)] {
                let told = count(tx, &id, attempt, Timestamp(at), Timestamp(100))?;
                counted.push(told.map(|(_, kills)| kills.times));
            }
            let first = workloads::get(tx, &id)?.unwrap().memory_kills;
            tx.execute_batch("UPDATE workloads SET attempt = 2")?;
            let second = workloads::get(tx, &id)?.unwrap().memory_kills;
            let events: u32 =
                tx.query_row("SELECT count(*) FROM events WHERE change = 'memory'", [], |row| row.get(0))?;
            Ok::<_, StoreError>((counted, first, second, events))
        });
        let (counted, first, second, events) = counted.await.unwrap();
        assert_eq!(counted, [Some(1), Some(2), None, None, Some(3), Some(1), None]);
        assert_eq!(first, Some(MemoryKills { times: 3, last_at: Timestamp(21) }));
        assert_eq!(second, Some(MemoryKills { times: 1, last_at: Timestamp(5) }));
        assert_eq!(events, 4, "each that was counted is told");
    }
}
