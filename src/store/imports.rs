//! Imports: what is to be brought into versions, and what became of it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, Tx, events, row::Json};
use crate::domain::{
    content::Totals,
    dataset::ImportState,
    id::{ImportId, TeamId, UserId, VersionId},
    import::{ChosenFiles, Import, ImportFilter, ImportSource},
    time::Timestamp,
};

/// An import that is about to be accepted.
#[derive(Debug, Clone)]
pub struct NewImport {
    pub id: ImportId,
    /// The version's row.
    pub version: i64,
    pub user: UserId,
    pub source: ImportSource,
    pub sealed: Option<Vec<u8>>,
    pub prefix: String,
    pub commits: bool,
    pub tags: Vec<String>,
    pub may_publish: bool,
}

/// Adds an import that waits for its turn.
pub fn insert(tx: &Tx<'_>, new: &NewImport, now: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO imports (id, version, user_id, source, sealed, prefix, commits, may_publish, tags, state, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'waiting', ?10)",
    )?
    .execute(params![
        new.id,
        new.version,
        new.user,
        Json(&new.source),
        new.sealed,
        new.prefix,
        new.commits,
        new.may_publish,
        Json(&new.tags),
        now
    ])?;
    let seq = tx.last_insert_rowid();
    if let Some(import) = one(tx, "i.seq = ?1", [seq])? {
        tell(tx, &import, "created", import.state, now)?;
    }
    tx.touch_imports();
    Ok(())
}

fn select(rest: &str) -> String {
    format!(
        "SELECT i.seq, i.id, d.team_id, d.id, v.id, v.seq, u.name, i.source, i.prefix, i.commits, i.state, i.message,
             i.files, i.bytes, i.created_at, i.finished_at, i.may_publish, i.tags
         FROM imports i JOIN versions v ON v.seq = i.version JOIN datasets d ON d.seq = v.dataset
         JOIN users u ON u.id = i.user_id {rest}"
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<Import> {
    let (files, bytes): (Option<u64>, Option<u64>) = (row.get(12)?, row.get(13)?);
    Ok(Import {
        seq: row.get(0)?,
        id: row.get(1)?,
        team: row.get(2)?,
        dataset: row.get(3)?,
        version: row.get(4)?,
        version_seq: row.get(5)?,
        user_name: row.get(6)?,
        source: row.get::<_, Json<ImportSource>>(7)?.0,
        prefix: row.get(8)?,
        commits: row.get(9)?,
        state: row.get(10)?,
        message: row.get(11)?,
        totals: files.zip(bytes).map(|(files, bytes)| Totals { files, bytes }),
        created_at: row.get(14)?,
        finished_at: row.get(15)?,
        may_publish: row.get(16)?,
        tags: row.get::<_, Json<Vec<String>>>(17)?.0,
    })
}

fn one(connection: &Connection, which: &str, params: impl rusqlite::Params) -> Result<Option<Import>, StoreError> {
    let mut query = connection.prepare_cached(&select(&format!("WHERE {which}")))?;
    Ok(query.query_row(params, read).optional()?)
}

/// Finds a team's import.
pub fn get(connection: &Connection, team: &TeamId, id: &ImportId) -> Result<Option<Import>, StoreError> {
    one(connection, "i.id = ?1 AND d.team_id = ?2", params![id, team])
}

/// Lists the imports into a version, newest first, from before number `before`.
pub fn of_version(
    connection: &Connection,
    version: i64,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Import>, StoreError> {
    let mut query =
        connection.prepare_cached(&select("WHERE i.version = ?1 AND i.seq < ?2 ORDER BY i.seq DESC LIMIT ?3"))?;
    let rows = query.query_map(params![version, before.unwrap_or(i64::MAX), limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists a team's imports, newest first, from before number `before`.
pub fn of_team(
    connection: &Connection,
    team: &TeamId,
    filter: &ImportFilter,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Import>, StoreError> {
    let mut query = connection.prepare_cached(&select(
        "WHERE d.team_id = ?1 AND i.seq < ?2 AND (NOT ?3 OR i.finished_at IS NULL)
             AND (?4 IS NULL OR json_extract(i.source, '$.files.root') = ?4)
         ORDER BY i.seq DESC LIMIT ?5",
    ))?;
    let root = filter.root.as_ref().map(ToString::to_string);
    let rows = query.query_map(params![team, before.unwrap_or(i64::MAX), filter.live, root, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns which files of notebooks and of `/storage` came into the versions of a dataset, or into one of them,
/// newest first.
pub fn chosen_into(
    connection: &Connection,
    dataset: i64,
    version: Option<i64>,
    limit: u32,
) -> Result<Vec<(VersionId, ChosenFiles)>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT v.id, i.source FROM imports i JOIN versions v ON v.seq = i.version
         WHERE v.dataset = ?1 AND (?2 IS NULL OR v.seq = ?2) AND i.state = 'done'
             AND json_type(i.source, '$.files') IS NOT NULL
         ORDER BY i.seq DESC LIMIT ?3",
    )?;
    let rows = query
        .query_map(params![dataset, version, limit], |row| Ok((row.get(0)?, row.get::<_, Json<ImportSource>>(1)?.0)))?;
    let chosen = rows.filter_map(|row| match row {
        Ok((version, ImportSource::Files(chosen))) => Some(Ok((version, chosen))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    Ok(chosen.collect::<Result<_, _>>()?)
}

/// Returns every import that is not over, in order of acceptance.
pub fn alive(connection: &Connection) -> Result<Vec<Import>, StoreError> {
    let mut query = connection.prepare_cached(&select("WHERE i.finished_at IS NULL ORDER BY i.seq"))?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says whether any import but `but` still brings files into a version.
pub fn any_alive_in(connection: &Connection, version: i64, but: Option<i64>) -> Result<bool, StoreError> {
    let mut query = connection
        .prepare_cached("SELECT 1 FROM imports WHERE version = ?1 AND finished_at IS NULL AND seq IS NOT ?2")?;
    Ok(query.exists(params![version, but])?)
}

/// Counts a team's imports that are not over.
pub fn count_alive(connection: &Connection, team: &TeamId) -> Result<u32, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT count(*) FROM imports i JOIN versions v ON v.seq = i.version JOIN datasets d ON d.seq = v.dataset
         WHERE i.finished_at IS NULL AND d.team_id = ?1",
    )?;
    Ok(query.query_row([team], |row| row.get(0))?)
}

/// Returns what is secret of an import's source.
pub fn sealed(connection: &Connection, seq: i64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut query = connection.prepare_cached("SELECT sealed FROM imports WHERE seq = ?1")?;
    Ok(query.query_row([seq], |row| row.get(0)).optional()?.flatten())
}

/// Notes that an import's turn has come. Says whether it still stands.
pub fn started(tx: &Tx<'_>, import: &Import, now: Timestamp) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached("UPDATE imports SET state = 'running' WHERE seq = ?1 AND finished_at IS NULL")?
        .execute([import.seq])?;
    if changed == 1 {
        tell(tx, import, "progress", ImportState::Running, now)?;
    }
    Ok(changed == 1)
}

/// Tells whoever looks that an import is further than it was.
pub fn tell_progress(tx: &Tx<'_>, import: &Import, now: Timestamp) -> Result<(), StoreError> {
    tell(tx, import, "progress", ImportState::Running, now)
}

/// Notes how an import ended, with what is secret of it forgotten. One that is over stays as it is; says
/// whether this ended it.
pub fn finish(
    tx: &Tx<'_>,
    import: &Import,
    state: ImportState,
    message: Option<&str>,
    totals: Option<Totals>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE imports SET state = ?2, message = ?3, files = ?4, bytes = ?5, finished_at = ?6, sealed = NULL
             WHERE seq = ?1 AND finished_at IS NULL",
        )?
        .execute(params![
            import.seq,
            state,
            message,
            totals.map(|totals| totals.files),
            totals.map(|totals| totals.bytes),
            now
        ])?;
    if changed == 1 {
        tell(tx, import, "finished", state, now)?;
        tx.touch_imports();
    }
    Ok(changed == 1)
}

fn tell(
    tx: &Tx<'_>,
    import: &Import,
    change: &'static str,
    state: ImportState,
    now: Timestamp,
) -> Result<(), StoreError> {
    let data = serde_json::json!({ "state": state, "dataset": import.dataset, "version": import.version });
    events::append(tx, &import.team, "import", import.id.as_str(), change, data, now)
}
