//! What sessions of notebooks have at `/datasets/NAME`.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::JobId,
    integration::{Origin, SessionMount},
    time::Timestamp,
};

/// A version that a session is to have under a name.
#[derive(Debug, Clone)]
pub struct NewMount<'a> {
    pub name: &'a str,
    pub reference: &'a str,
    pub origin: Origin,
    /// Number of the version.
    pub version: i64,
}

/// Returns what session `seq` has, by name.
pub fn of_session(connection: &Connection, seq: i64) -> Result<Vec<SessionMount>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT m.name, m.reference, m.origin, v.seq, d.team_id, d.id, v.id
         FROM session_mounts m JOIN versions v ON v.seq = m.version JOIN datasets d ON d.seq = v.dataset
         WHERE m.seq = ?1 ORDER BY m.name",
    )?;
    let rows = query.query_map([seq], |row| {
        Ok(SessionMount {
            name: row.get(0)?,
            reference: row.get(1)?,
            origin: row.get(2)?,
            version_seq: row.get(3)?,
            team: row.get(4)?,
            dataset: row.get(5)?,
            version: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Gives session `seq` a version under a name, in the place of what had that name.
///
/// Its use has to be written down in the same transaction: that is what keeps its files.
pub fn put(tx: &Tx<'_>, seq: i64, new: &NewMount<'_>) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO session_mounts (seq, name, reference, origin, version) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (seq, name) DO UPDATE SET reference = ?3, origin = ?4, version = ?5",
    )?
    .execute(params![seq, new.name, new.reference, new.origin, new.version])?;
    Ok(())
}

/// Takes a name from session `seq`. What it stood for is kept till [`release_unmounted`].
pub fn remove(tx: &Tx<'_>, seq: i64, name: &str) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM session_mounts WHERE seq = ?1 AND name = ?2")?.execute(params![seq, name])?;
    Ok(())
}

/// Notes that what `name` means is to be looked up anew.
pub fn refresh(tx: &Tx<'_>, seq: i64, name: &str) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE session_mounts SET reference = '' WHERE seq = ?1 AND name = ?2")?
        .execute(params![seq, name])?;
    Ok(())
}

/// Lets go of every version that the session `(seq, id)` has under no name any more. Nothing of it may be
/// reachable there by then. Returns of how many. Of what it had before, the last [`REMEMBERED`] are
/// remembered: a program may change its mounts all day.
pub fn release_unmounted(tx: &Tx<'_>, (seq, id): (i64, &JobId), now: Timestamp) -> Result<usize, StoreError> {
    let released = tx
        .prepare_cached(&format!("UPDATE version_uses AS x SET released_at = ?3 {UNMOUNTED}"))?
        .execute(params![seq, id, now])?;
    tx.prepare_cached(
        "DELETE FROM version_uses WHERE job_id = ?1 AND released_at IS NOT NULL AND (version, role, name) NOT IN (
             SELECT version, role, name FROM version_uses WHERE job_id = ?1 AND released_at IS NOT NULL
             ORDER BY released_at DESC, name LIMIT ?2)",
    )?
    .execute(params![id, REMEMBERED])?;
    Ok(released)
}

/// Most uses of versions that a session had and let go that are told of it.
const REMEMBERED: u32 = 256;

/// Says whether [`release_unmounted`] would find anything.
pub fn has_unmounted(connection: &Connection, (seq, id): (i64, &JobId)) -> Result<bool, StoreError> {
    let mut query =
        connection.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM version_uses AS x {UNMOUNTED})"))?;
    Ok(query.query_row(params![seq, id], |row| row.get(0))?)
}

const UNMOUNTED: &str = "WHERE x.job_id = ?2 AND x.role != 'output' AND x.released_at IS NULL AND NOT EXISTS (
     SELECT 1 FROM session_mounts m WHERE m.seq = ?1 AND m.name = x.name AND m.version = x.version)";

/// Notes who says that session `seq` is to have `name`.
pub fn restate(tx: &Tx<'_>, seq: i64, name: &str, origin: Origin) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE session_mounts SET origin = ?3 WHERE seq = ?1 AND name = ?2")?
        .execute(params![seq, name, origin])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{version_uses, versions};

    #[tokio::test]
    async fn a_version_is_kept_until_a_session_has_let_it_go() {
        let (_dir, store) = crate::store::tests::store();
        let kept = store.write(|tx| {
            tx.execute_batch(
                "INSERT INTO teams VALUES ('t000000', 't', 0);
                 INSERT INTO users (id, team_id, name, created_at) VALUES ('u00000000', 't000000', 'u', 0);
                 INSERT INTO projects (seq, id, team_id, name, created_at) VALUES (1, 'p00000000', 't000000', 'p', 0);
                 INSERT INTO workloads (seq, id, kind, parent_id, team_id, user_id, project_id, name, spec, cpu_millis,
                     memory_bytes, gpus, gpu_share, priority, retry_limit, retry_backoff_seconds, created_at, wanted,
                     state)
                 VALUES (1, 'js0123456789a1', 'notebook', 'n000000000', 't000000', 'u00000000', 'p00000000', 'n', '{}', 1, 1, 0, 1,
                     0, 0, 0, 0, 'run', 'running');
                 INSERT INTO storage_providers (id, team_id, name, kind, created_at, updated_at)
                     VALUES ('spl0123456789ab', 't000000', 'm', 'managed', 0, 0);
                 INSERT INTO datasets (seq, id, team_id, user_id, name, description, provider_id, public, created_at, updated_at)
                     VALUES (1, 'dst364npcw6ccok', 't000000', 'u00000000', 'd', '', 'spl0123456789ab', 0, 0, 0);
                 INSERT INTO versions (seq, id, dataset, user_id, state, message, metadata, created_at, updated_at, deleted_at)
                     VALUES (7, 'fo5rp4m', 1, 'u00000000', 'uncommitted', '', '{}', 0, 0, 1);",
            )?;
            let (team, job): (_, JobId) = ("t000000".parse().unwrap(), "js0123456789a1".parse().unwrap());
            let role = crate::domain::dataset::Use::Input;
            let new = version_uses::NewUse { version: 7, team: &team, job: &job, job_name: "n", name: "a", role };
            version_uses::insert(tx, &new, Timestamp(1))?;
            put(tx, 1, &NewMount { name: "a", reference: "d", origin: Origin::File, version: 7 })?;
            let mut kept = Vec::new();
            let mut look = || {
                let live = version_uses::live_uses_of(tx, 7, 9)?.len();
                kept.push((live, versions::to_remove(tx, Timestamp(9), 9)?.len(), has_unmounted(tx, (1, &job))?));
                Ok::<_, StoreError>(())
            };
            look()?;
            remove(tx, 1, "a")?;
            // Links may still lead to it.
            look()?;
            release_unmounted(tx, (1, &job), Timestamp(2))?;
            look()?;
            for n in 0..=REMEMBERED {
                let name = format!("name-{n}");
                version_uses::insert(tx, &version_uses::NewUse { name: &name, ..new }, Timestamp(3))?;
            }
            release_unmounted(tx, (1, &job), Timestamp(4))?;
            assert_eq!(version_uses::of_version(tx, &team, 7, 1000)?.len(), REMEMBERED as usize);
            version_uses::insert(tx, &new, Timestamp(3))?;
            look()?;
            Ok::<_, StoreError>(kept)
        });
        assert_eq!(kept.await.unwrap(), [(1, 0, false), (1, 0, true), (0, 1, false), (1, 0, true)]);
    }
}
