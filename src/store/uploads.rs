//! Who uploaded what. The archives themselves, and facts about them, are in `storage`.

use rusqlite::{Connection, params};

use super::{StoreError, Tx};
use crate::domain::{
    id::{TeamId, UploadId, UserId},
    time::Timestamp,
};

/// Adds an upload, whose bytes are in place already.
pub fn insert(
    tx: &Tx<'_>,
    team: &TeamId,
    user: &UserId,
    id: &UploadId,
    now: Timestamp,
    ends: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO uploads (id, team_id, user_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, team, user, now, ends],
    )?;
    Ok(())
}

/// Says whether the team has this upload.
pub fn exists(connection: &Connection, team: &TeamId, id: &UploadId) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached("SELECT 1 FROM uploads WHERE id = ?1 AND team_id = ?2")?;
    Ok(query.exists(params![id, team])?)
}

/// Forgets uploads that have expired and that no workload, experiment or notebook names, and returns their ids.
pub fn prune(tx: &Tx<'_>, now: Timestamp) -> Result<Vec<UploadId>, StoreError> {
    let mut query = tx.prepare_cached(
        "DELETE FROM uploads WHERE expires_at <= ?1
         AND NOT EXISTS (SELECT 1 FROM workloads w WHERE w.upload_id = uploads.id)
         AND NOT EXISTS (SELECT 1 FROM experiments e WHERE e.upload_id = uploads.id)
         AND NOT EXISTS (SELECT 1 FROM notebooks n WHERE json_extract(n.spec, '$.workspace.upload') = uploads.id)
         RETURNING id",
    )?;
    let rows = query.query_map([now], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns every upload that is known, with whose it is.
pub fn all_with_teams(connection: &Connection) -> Result<Vec<(UploadId, TeamId)>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id, team_id FROM uploads")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns every upload that is known, to tell files that nobody knows.
pub fn all(connection: &Connection) -> Result<Vec<UploadId>, StoreError> {
    let mut query = connection.prepare_cached("SELECT id FROM uploads")?;
    let rows = query.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::workload::Workspace, store::tests::store};

    #[tokio::test]
    async fn an_upload_is_kept_past_its_time_while_an_experiment_or_a_notebook_names_it() {
        let (_dir, store) = store();
        let pruned = store.write(|tx| {
            tx.execute_batch("PRAGMA defer_foreign_keys = ON")?;
            let (team, user) = ("t000000".parse().unwrap(), "u00000000".parse().unwrap());
            let ids: [UploadId; 3] =
                ["up0123456789abcdef", "up0123456789abcdeg", "up0123456789abcdeh"].map(|id| id.parse().unwrap());
            for id in &ids {
                insert(tx, &team, &user, id, Timestamp(1), Timestamp(2))?;
            }
            tx.execute(
                "INSERT INTO experiments (id, team_id, user_id, project_id, name, tags, spec, priority, retry_limit,
                     retry_backoff_seconds, upload_id, created_at)
                 VALUES ('e', 't', 'u', 'p', 'n', '[]', '{}', 0, 0, 0, ?1, 1)",
                [&ids[0]],
            )?;
            // As one is written down that was never started.
            let workspace = serde_json::to_value(Workspace::Upload(ids[1].clone())).unwrap();
            tx.execute(
                "INSERT INTO notebooks (id, team_id, user_id, project_id, name, tags, public, spec, created_at)
                 VALUES ('n', 't', 'u', 'p', 'n', '[]', 0, ?1, 1)",
                [serde_json::json!({ "workspace": workspace }).to_string()],
            )?;
            let pruned = prune(tx, Timestamp(3))?;
            // Nobody knows these teams and users, so they cannot stay.
            tx.execute_batch("DELETE FROM experiments; DELETE FROM notebooks; DELETE FROM uploads")?;
            Ok::<_, StoreError>(pruned == ids[2..])
        });
        assert!(pruned.await.unwrap());
    }
}
