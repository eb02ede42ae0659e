//! Storage providers: the disk of this box, one row for each team, and buckets on S3 with their secret
//! keys sealed.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx, row::Json};
use crate::domain::{
    id::{ProviderId, TeamId},
    storage_provider::{MANAGED_NAME, ProviderKind, S3Place, StorageProvider},
    time::Timestamp,
};

const COLUMNS: &str =
    "seq, id, team_id, name, kind, s3, created_at, updated_at, checked_at, check_error FROM storage_providers
    WHERE deleted_at IS NULL";

fn provider(row: &Row<'_>) -> rusqlite::Result<StorageProvider> {
    Ok(StorageProvider {
        seq: row.get(0)?,
        id: row.get(1)?,
        team: row.get(2)?,
        name: row.get(3)?,
        kind: row.get(4)?,
        s3: row.get::<_, Option<Json<S3Place>>>(5)?.map(|place| place.0),
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
        checked_at: row.get(8)?,
        check_error: row.get(9)?,
    })
}

/// Returns the team's provider on the disk of this box, made here under the id of `mint` if it is the
/// first that anybody asks for.
pub fn managed(
    tx: &Tx<'_>,
    team: &TeamId,
    mint: impl FnOnce() -> ProviderId,
    now: Timestamp,
) -> Result<StorageProvider, StoreError> {
    let find = || {
        let mut query = tx.prepare_cached(&format!("SELECT {COLUMNS} AND team_id = ?1 AND kind = 'managed'"))?;
        Ok::<_, StoreError>(query.query_row([team], provider).optional()?)
    };
    if let Some(found) = find()? {
        return Ok(found);
    }
    tx.execute(
        "INSERT INTO storage_providers (id, team_id, name, kind, created_at, updated_at)
         VALUES (?1, ?2, ?3, 'managed', ?4, ?4)",
        params![mint(), team, MANAGED_NAME, now],
    )?;
    Ok(find()?.expect("it was added in this transaction"))
}

/// Finds a team's provider by its id.
pub fn get(connection: &Connection, team: &TeamId, id: &ProviderId) -> Result<Option<StorageProvider>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} AND team_id = ?1 AND id = ?2"))?;
    Ok(query.query_row(params![team, id], provider).optional()?)
}

/// Finds a team's provider by its name.
pub fn by_name(connection: &Connection, team: &TeamId, name: &str) -> Result<Option<StorageProvider>, StoreError> {
    let mut query = connection.prepare_cached(&format!("SELECT {COLUMNS} AND team_id = ?1 AND name = ?2"))?;
    Ok(query.query_row(params![team, name], provider).optional()?)
}

/// Returns the sealed secret key of an S3 provider.
pub fn sealed(connection: &Connection, id: &ProviderId) -> Result<Option<Vec<u8>>, StoreError> {
    let mut query = connection.prepare_cached("SELECT sealed FROM storage_providers WHERE id = ?1")?;
    Ok(query.query_row([id], |row| row.get(0)).optional()?.flatten())
}

/// Lists a team's providers, newest first.
pub fn list(
    connection: &Connection,
    team: &TeamId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<StorageProvider>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {COLUMNS} AND team_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3"))?;
    let rows = query.query_map(params![team, before.unwrap_or(i64::MAX), limit], provider)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds an S3 provider. Says `false` when the team has one of that name.
pub fn insert(tx: &Tx<'_>, new: &StorageProvider, sealed: &[u8]) -> Result<bool, StoreError> {
    let added = tx.execute(
        "INSERT INTO storage_providers
             (id, team_id, name, kind, s3, sealed, created_at, updated_at, checked_at, check_error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO NOTHING",
        params![
            new.id,
            new.team,
            new.name,
            new.kind,
            new.s3.as_ref().map(Json),
            sealed,
            new.created_at,
            new.updated_at,
            new.checked_at,
            new.check_error
        ],
    )?;
    Ok(added == 1)
}

/// Gives an S3 provider another name and place, and with `sealed` another secret key. Says `false` when
/// the team has another one of that name.
pub fn update(tx: &Tx<'_>, changed: &StorageProvider, sealed: Option<&[u8]>) -> Result<bool, StoreError> {
    let updated = tx.execute(
        "UPDATE storage_providers
         SET name = ?2, s3 = ?3, sealed = coalesce(?4, sealed), updated_at = ?5, checked_at = ?6, check_error = ?7
         WHERE id = ?1",
        params![
            changed.id,
            changed.name,
            changed.s3.as_ref().map(Json),
            sealed,
            changed.updated_at,
            changed.checked_at,
            changed.check_error
        ],
    );
    match updated {
        Ok(_) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes down what a check found.
pub fn set_checked(tx: &Tx<'_>, id: &ProviderId, error: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE storage_providers SET checked_at = ?2, check_error = ?3 WHERE id = ?1",
        params![id, now, error],
    )?;
    Ok(())
}

/// Returns the names of the datasets on a provider that are not deleted, `limit` at most.
pub fn datasets_on(connection: &Connection, id: &ProviderId, limit: u32) -> Result<Vec<String>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT name FROM datasets WHERE provider_id = ?1 AND deleted_at IS NULL ORDER BY name LIMIT ?2",
    )?;
    let rows = query.query_map(params![id, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says whether files of deleted datasets still lie on a provider.
pub fn has_leftovers(connection: &Connection, id: &ProviderId) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT 1 FROM datasets d JOIN versions v ON v.dataset = d.seq
         WHERE d.provider_id = ?1 AND d.deleted_at IS NOT NULL AND v.removed_at IS NULL",
    )?;
    Ok(query.exists([id])?)
}

/// Removes an S3 provider and its secret key from everything but the lineage of deleted datasets.
pub fn delete(tx: &Tx<'_>, id: &ProviderId, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE storage_providers SET deleted_at = ?2, sealed = NULL WHERE id = ?1 AND kind = ?3",
        params![id, now, ProviderKind::S3],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{teams, tests::store};

    #[tokio::test]
    async fn a_team_gets_one_managed_provider_and_keeps_it() {
        let (_dir, store) = store();
        let (first, second) = store
            .write(|tx| {
                let team = "t000000".parse().unwrap();
                teams::insert(tx, &team, "team", Timestamp(0))?;
                let first = managed(tx, &team, || "spl000000000000".parse().unwrap(), Timestamp(1))?;
                let second = managed(tx, &team, || unreachable!("there is one"), Timestamp(2))?;
                Ok::<_, StoreError>((first, second))
            })
            .await
            .unwrap();
        assert_eq!(first, second);
        assert_eq!((first.kind, first.name.as_str(), first.s3), (ProviderKind::Managed, MANAGED_NAME, None));
    }
}
