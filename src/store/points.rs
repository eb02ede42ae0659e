//! Numbers over time: the points of charts and the samples of system metrics.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, Tx};
use crate::domain::series::{SeriesName, SeriesSummary};

/// What a series belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    /// Points that a run printed. A point's key is the number of its line.
    Chart,
    /// Points that a run pushed. A point's key is its step, or the next one where it was pushed without.
    Pushed,
    /// Samples that the box took. A sample's key is its second since 1970.
    System,
}

impl SeriesKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Chart => "chart",
            Self::Pushed => "pushed",
            Self::System => "system",
        }
    }
}

/// Adds points to a series, making it if need be. A point whose key is there already stays as it is.
pub fn append(
    tx: &Tx<'_>,
    seq: i64,
    attempt: u32,
    kind: SeriesKind,
    name: &SeriesName,
    points: &[(i64, f64, f64)],
) -> Result<(), StoreError> {
    let Some(series) = series(tx, seq, attempt, kind, name)? else {
        // The workload was deleted while its last points were under way.
        if !tx.prepare_cached("SELECT 1 FROM workloads WHERE seq = ?1")?.exists([seq])? {
            return Ok(());
        }
        return insert(tx, make(tx, seq, attempt, kind, name)?, points);
    };
    insert(tx, series, points)
}

/// What became of a point that was put into a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The series was not there before.
    pub made_series: bool,
    /// It stands where there was none; otherwise it took another's place.
    pub is_new: bool,
}

/// Puts a point into a series of pushed ones, making it if need be. A point that stands at the step already
/// is replaced; without a step it comes after the last of its series. The workload has to be there.
pub fn put(
    tx: &Tx<'_>,
    seq: i64,
    attempt: u32,
    name: &SeriesName,
    step: Option<i64>,
    y: f64,
) -> Result<Put, StoreError> {
    let known = series(tx, seq, attempt, SeriesKind::Pushed, name)?;
    let id = match known {
        Some(id) => id,
        None => make(tx, seq, attempt, SeriesKind::Pushed, name)?,
    };
    let replaced = match step {
        Some(step) => {
            let mut replace = tx.prepare_cached("UPDATE points SET y = ?3 WHERE series = ?1 AND key = ?2")?;
            known.is_some() && replace.execute(params![id, step, y])? > 0
        }
        None => false,
    };
    match step {
        _ if replaced => {}
        #[expect(clippy::cast_precision_loss, reason = "steps are within what a float holds")]
        Some(step) => insert(tx, id, &[(step, step as f64, y)])?,
        None => {
            tx.prepare_cached(
                "INSERT INTO points (series, key, x, y)
                 SELECT ?1, n, n, ?2 FROM (SELECT coalesce(max(key) + 1, 0) AS n FROM points WHERE series = ?1)",
            )?
            .execute(params![id, y])?;
        }
    }
    Ok(Put { made_series: known.is_none(), is_new: !replaced })
}

/// Counts the points of all series of an attempt, one by one.
pub fn count(connection: &Connection, seq: i64, attempt: u32, kind: SeriesKind) -> Result<u64, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT count(*) FROM points p JOIN series s ON s.id = p.series
         WHERE s.seq = ?1 AND s.attempt = ?2 AND s.kind = ?3",
    )?;
    Ok(query.query_row(params![seq, attempt, kind.as_str()], |row| row.get(0))?)
}

/// Counts the series of an attempt.
pub fn count_series(connection: &Connection, seq: i64, attempt: u32, kind: SeriesKind) -> Result<u64, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT count(*) FROM series WHERE seq = ?1 AND attempt = ?2 AND kind = ?3")?;
    Ok(query.query_row(params![seq, attempt, kind.as_str()], |row| row.get(0))?)
}

/// Removes the points of an attempt's pushed series that stand at `step`, of those whose names `is_meant`;
/// returns how many.
pub fn remove_step(
    tx: &Tx<'_>,
    seq: i64,
    attempt: u32,
    step: i64,
    is_meant: impl Fn(&str) -> bool,
) -> Result<u64, StoreError> {
    let found: Vec<(i64, String)> = tx
        .prepare_cached("SELECT id, name FROM series WHERE seq = ?1 AND attempt = ?2 AND kind = 'pushed'")?
        .query_map(params![seq, attempt], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut removed = 0;
    for (id, _) in found.iter().filter(|(_, name)| is_meant(name)) {
        removed += tx.prepare_cached("DELETE FROM points WHERE series = ?1 AND key = ?2")?.execute([id, &step])? as u64;
    }
    Ok(removed)
}

fn make(tx: &Tx<'_>, seq: i64, attempt: u32, kind: SeriesKind, name: &SeriesName) -> Result<i64, StoreError> {
    tx.prepare_cached("INSERT INTO series (seq, attempt, kind, name, gpu) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![seq, attempt, kind.as_str(), name.name, name.gpu])?;
    Ok(tx.last_insert_rowid())
}

fn insert(tx: &Tx<'_>, series: i64, points: &[(i64, f64, f64)]) -> Result<(), StoreError> {
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO points (series, key, x, y) VALUES (?1, ?2, ?3, ?4)")?;
    for (key, x, y) in points {
        insert.execute(params![series, key, x, y])?;
    }
    Ok(())
}

fn series(
    connection: &Connection,
    seq: i64,
    attempt: u32,
    kind: SeriesKind,
    name: &SeriesName,
) -> Result<Option<i64>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT id FROM series WHERE seq = ?1 AND attempt = ?2 AND kind = ?3 AND name = ?4 AND gpu = ?5",
    )?;
    Ok(query.query_row(params![seq, attempt, kind.as_str(), name.name, name.gpu], |row| row.get(0)).optional()?)
}

/// A series with the point that has the greatest key, as it can be told at once however long it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    pub name: SeriesName,
    pub last: Option<(f64, f64)>,
    pub last_key: Option<i64>,
}

const NEWEST: &str = "SELECT s.name, s.gpu, l.x, l.y, l.key
    FROM series s LEFT JOIN points l ON l.series = s.id
        AND l.key = (SELECT max(p.key) FROM points p WHERE p.series = s.id)
    WHERE s.seq = ?1 AND s.attempt = ?2 AND s.kind = ?3 ORDER BY s.name, s.gpu";

/// Lists the series of an attempt, by name, for those who look again and again: [`list`] counts all points.
pub fn newest(connection: &Connection, seq: i64, attempt: u32, kind: SeriesKind) -> Result<Vec<Newest>, StoreError> {
    let mut query = connection.prepare_cached(NEWEST)?;
    let rows = query.query_map(params![seq, attempt, kind.as_str()], |row| {
        let last = row.get::<_, Option<f64>>(2)?.zip(row.get(3)?);
        Ok(Newest { name: SeriesName { name: row.get(0)?, gpu: row.get(1)? }, last, last_key: row.get(4)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the series of an attempt, by name.
pub fn list(
    connection: &Connection,
    seq: i64,
    attempt: u32,
    kind: SeriesKind,
) -> Result<Vec<SeriesSummary>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT s.name, s.gpu, (SELECT count(*) FROM points p WHERE p.series = s.id), l.x, l.y, l.key
         FROM series s LEFT JOIN points l ON l.series = s.id
             AND l.key = (SELECT max(p.key) FROM points p WHERE p.series = s.id)
         WHERE s.seq = ?1 AND s.attempt = ?2 AND s.kind = ?3 ORDER BY s.name, s.gpu",
    )?;
    let rows = query.query_map(params![seq, attempt, kind.as_str()], |row| {
        let x: Option<f64> = row.get(3)?;
        let y: Option<f64> = row.get(4)?;
        Ok(SeriesSummary {
            name: SeriesName { name: row.get(0)?, gpu: row.get(1)? },
            points: row.get(2)?,
            last: x.zip(y),
            last_key: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The most points that one read returns: what fits in memory for several readers at once.
pub const MOST_READ: u32 = 1_000_000;

/// Returns the points of a series in order of their keys, between two keys, both included; the first
/// [`MOST_READ`] of them.
pub fn points(
    connection: &Connection,
    seq: i64,
    attempt: u32,
    kind: SeriesKind,
    name: &SeriesName,
    keys: (i64, i64),
) -> Result<Option<Vec<(f64, f64)>>, StoreError> {
    let Some(series) = series(connection, seq, attempt, kind, name)? else { return Ok(None) };
    let mut query = connection
        .prepare_cached("SELECT x, y FROM points WHERE series = ?1 AND key BETWEEN ?2 AND ?3 ORDER BY key LIMIT ?4")?;
    let rows = query.query_map(params![series, keys.0, keys.1, MOST_READ], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

/// Replaces the system samples of all runs that are older than second `before` by their averages over
/// `bucket` seconds, working through `limit` series from number `from` on. Returns the number to go on
/// from, or `None` at the end. Done again, it changes nothing.
pub fn thin(tx: &Tx<'_>, from: i64, before: i64, bucket: u32, limit: u32) -> Result<Option<i64>, StoreError> {
    let ids: Vec<i64> = tx
        .prepare_cached("SELECT id FROM series WHERE kind = 'system' AND id >= ?1 ORDER BY id LIMIT ?2")?
        .query_map(params![from, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in &ids {
        // Counters only grow: the end of a bucket is what they had come to, an average is nothing.
        let thinned: Vec<(i64, f64)> = tx
            .prepare_cached(
                "SELECT p.key / ?3 * ?3, iif(s.name IN ('networkReceived', 'networkSent', 'blockRead', 'blockWritten'),
                     max(p.y), avg(p.y))
                 FROM points p JOIN series s ON s.id = p.series WHERE p.series = ?1 AND p.key < ?2 / ?3 * ?3
                 GROUP BY p.key / ?3 HAVING count(*) > 1",
            )?
            .query_map(params![id, before, bucket], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (key, value) in thinned {
            tx.prepare_cached("DELETE FROM points WHERE series = ?1 AND key >= ?2 AND key < ?2 + ?3")?
                .execute(params![id, key, bucket])?;
            insert(tx, *id, &[(key, key as f64, value)])?;
        }
    }
    Ok(ids.last().filter(|_| ids.len() == limit as usize).map(|last| last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_returns_so_many_points_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("one.db")).unwrap();
        super::super::migrate::migrate(&mut connection, dir.path()).unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = OFF;
                 INSERT INTO series VALUES (1, 1, 1, 'chart', 'loss', '');
                 INSERT INTO points WITH RECURSIVE n (key) AS
                     (SELECT 0 UNION ALL SELECT key + 1 FROM n WHERE key < 1000000) SELECT 1, key, key, 0 FROM n;",
            )
            .unwrap();
        let name = SeriesName { name: "loss".to_owned(), gpu: String::new() };
        let read = points(&connection, 1, 1, SeriesKind::Chart, &name, (0, i64::MAX)).unwrap().unwrap();
        assert_eq!((read.len(), read.last()), (MOST_READ as usize, Some(&(999_999.0, 0.0))));
        let last = newest(&connection, 1, 1, SeriesKind::Chart).unwrap();
        assert_eq!(last, [Newest { name, last: Some((1_000_000.0, 0.0)), last_key: Some(1_000_000) }]);
        let mut query = connection.prepare(NEWEST).unwrap();
        assert!(query.exists(params![1, 1, "chart"]).unwrap());
        let steps = query.get_status(rusqlite::StatementStatus::VmStep);
        assert!(steps < 1000, "the newest of a million points takes {steps} steps");
    }

    #[tokio::test]
    async fn old_samples_become_averages_and_counters_keep_what_they_came_to() {
        let (_dir, store) = crate::store::tests::store();
        let name = |name: &str| SeriesName { name: name.to_owned(), gpu: String::new() };
        store
            .write(|tx| {
                tx.execute_batch(
                    "PRAGMA defer_foreign_keys = ON;
                     INSERT INTO series VALUES (1, 1, 1, 'system', 'cpuPercentage', ''),
                                               (2, 1, 1, 'system', 'networkSent', '');
                     INSERT INTO points WITH RECURSIVE n (key) AS
                         (SELECT 0 UNION ALL SELECT key + 5 FROM n WHERE key < 175)
                         SELECT s.id, n.key, n.key, n.key FROM n CROSS JOIN series s;
                     INSERT INTO teams VALUES ('t000000', 't', 0);
                     INSERT INTO users (id, team_id, name, created_at) VALUES ('u00000000', 't000000', 'u', 0);
                     INSERT INTO projects (seq, id, team_id, name, created_at) VALUES (1, 'p00000000', 't000000', 'p', 0);
                     INSERT INTO workloads (seq, id, kind, team_id, user_id, project_id, name, spec, cpu_millis,
                         memory_bytes, gpus, gpu_share, priority, retry_limit, retry_backoff_seconds, created_at, wanted,
                         state) VALUES (1, 'js0123456789ab', 'job', 't000000', 'u00000000', 'p00000000', 'n', '{}', 1, 1,
                         0, 1, 0, 0, 0, 0, 'run', 'running');",
                )?;
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        // Thinning twice is thinning once, and what is young stays as it is.
        for _ in 0..2 {
            assert_eq!(store.write(|tx| thin(tx, 0, 130, 60, 10)).await.unwrap(), None);
        }
        let read = |of: &str| {
            let of = name(of);
            store.read(move |connection| points(connection, 1, 1, SeriesKind::System, &of, (0, i64::MAX)))
        };
        let cpu = read("cpuPercentage").await.unwrap().unwrap();
        assert_eq!(&cpu[..3], &[(0.0, 27.5), (60.0, 87.5), (120.0, 120.0)]);
        let sent = read("networkSent").await.unwrap().unwrap();
        assert_eq!(&sent[..3], &[(0.0, 55.0), (60.0, 115.0), (120.0, 120.0)]);
        assert_eq!(cpu.len(), 2 + 12);
    }
}
