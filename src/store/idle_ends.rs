//! When sessions of notebooks and TensorBoards stop by themselves.

use std::{collections::HashMap, time::Duration};

use rusqlite::Connection;

use super::StoreError;
use crate::domain::time::Timestamp;

/// Returns when each session that holds a place stops if nobody uses it until then, by the number of its
/// workload. One without an idle limit, or that does not answer yet, is not among them.
pub fn of_holders(connection: &Connection) -> Result<HashMap<i64, Timestamp>, StoreError> {
    // As `Session::idle_at` has it: the time counts from the last sign of somebody, or else from when it answered.
    let of = |sessions: &str| {
        format!(
            "SELECT w.seq, coalesce(s.activity_at, s.ready_at), s.idle_seconds
             FROM workloads w INDEXED BY workloads_alive JOIN {sessions} s ON s.seq = w.seq
             WHERE w.teardown_finished_at IS NULL AND w.state IN ('provisioned', 'running')
                 AND s.idle_seconds IS NOT NULL AND s.ready_at IS NOT NULL"
        )
    };
    let mut query =
        connection.prepare_cached(&format!("{} UNION ALL {}", of("notebook_sessions"), of("tensorboard_sessions")))?;
    let rows = query.query_map([], |row| {
        let (seq, since, limit): (i64, Timestamp, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((seq, since.plus(Duration::from_secs(limit))))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
