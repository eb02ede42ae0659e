//! The ledger of GPUs: who holds which now.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::gpu::GpuUuid;

/// One GPU, or one share of one, in somebody's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub uuid: GpuUuid,
    pub share: u32,
    pub seq: i64,
}

/// Gives GPUs to workload `seq`.
///
/// # Errors
/// [`StoreError::Stale`] when one of them is held already, by anybody else or in other shares.
pub fn take(tx: &Tx<'_>, seq: i64, gpus: &[GpuUuid], share: u32) -> Result<(), StoreError> {
    for uuid in gpus {
        let stale = || StoreError::Stale { kind: "GPU", id: uuid.to_string() };
        let mut query = tx.prepare_cached("SELECT slot, share, seq FROM gpu_holdings WHERE uuid = ?1")?;
        let held: Vec<(u32, u32, i64)> = query
            .query_map([&*uuid.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        if held.iter().any(|(_, other, holder)| *other != share || *holder == seq) {
            return Err(stale());
        }
        let slot = (0..share).find(|slot| held.iter().all(|(taken, ..)| taken != slot)).ok_or_else(stale)?;
        tx.prepare_cached("INSERT INTO gpu_holdings (uuid, slot, share, seq) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![&*uuid.0, slot, share, seq])?;
    }
    Ok(())
}

/// Takes back whatever workload `seq` holds.
pub fn release(tx: &Tx<'_>, seq: i64) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM gpu_holdings WHERE seq = ?1")?.execute([seq])?;
    Ok(())
}

/// Returns the whole ledger.
pub fn all(connection: &Connection) -> Result<Vec<Holding>, StoreError> {
    let mut query = connection.prepare_cached("SELECT uuid, share, seq FROM gpu_holdings ORDER BY uuid, slot")?;
    let rows = query.query_map([], |row| {
        Ok(Holding { uuid: GpuUuid(row.get::<_, String>(0)?.into()), share: row.get(1)?, seq: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
