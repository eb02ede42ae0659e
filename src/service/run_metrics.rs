//! The metrics of a run by name, whatever they came from: samples that the box took, charts that the run
//! printed. What tells of one GPU of several stands beside the rest in a row of its own.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::{ServiceError, Services};
use crate::{
    domain::{
        caller::Caller,
        id::JobId,
        series::{self, SeriesName, SeriesSummary, Xy},
    },
    store::{
        StoreError,
        points::{self, SeriesKind},
    },
};

/// Most points of one series in an answer.
const MOST_POINTS: u32 = 10_000;
/// Where a name comes from, the first that has it. A run cannot print over what the box has seen.
const KINDS: [SeriesKind; 3] = [SeriesKind::System, SeriesKind::Pushed, SeriesKind::Chart];
/// Free memory of a GPU, which is not stored: it is [`TOTAL`] without [`USED`].
const FREE: &str = "gpuMemoryFree";
const TOTAL: &str = "gpuMemoryTotal";
const USED: &str = "gpuMemoryUsed";

/// What the points of a metric stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Seconds since 1970.
    Time,
    /// Steps, as the run counts them.
    Steps,
}

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub along: Along,
    /// By what it tells of: the run, or one of its GPUs.
    pub rows: BTreeMap<String, Vec<Xy>>,
}

/// What is to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsWanted {
    pub names: BTreeSet<String>,
    /// Seconds since 1970, both included. Steps are not times and come all.
    pub seconds: (i64, i64),
    /// Seconds over which samples are averaged.
    pub interval: f64,
}

/// The series of a run's latest attempt.
struct Run<'a> {
    connection: &'a Connection,
    id: &'a JobId,
    seq: i64,
    attempt: u32,
}

impl Services {
    /// Lists the names of a run's metrics.
    pub async fn metric_names(&self, caller: &Caller, id: &JobId) -> Result<BTreeSet<String>, ServiceError> {
        self.of_run(caller, id, |run| {
            let mut names = BTreeSet::new();
            for kind in KINDS {
                names.extend(run.list(kind)?.into_iter().map(|summary| summary.name.name));
            }
            if names.contains(TOTAL) && names.contains(USED) {
                names.insert(FREE.to_owned());
            }
            Ok(names)
        })
        .await
    }

    /// Reads metrics by name; those that there are none of are left out. Samples are averaged over the
    /// interval, or over a longer one where there would be more than 10,000 of them; steps are thinned to
    /// as many.
    pub async fn metric_range(
        &self,
        caller: &Caller,
        id: &JobId,
        wanted: MetricsWanted,
    ) -> Result<BTreeMap<String, Metric>, ServiceError> {
        self.of_run(caller, id, move |run| {
            run.metrics(&wanted.names, |kind, summary| {
                let keys = if kind == SeriesKind::System { wanted.seconds } else { (i64::MIN, i64::MAX) };
                let found = run.points(kind, &summary.name, keys)?;
                Ok(if kind == SeriesKind::System { averaged(&found, wanted.interval) } else { drawn(found) })
            })
        })
        .await
    }

    /// Reads the newest point of each of some metrics.
    pub async fn metrics_now(
        &self,
        caller: &Caller,
        id: &JobId,
        names: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Metric>, ServiceError> {
        self.of_run(caller, id, move |run| run.metrics(&names, |_, summary| Ok(summary.last.into_iter().collect())))
            .await
    }

    async fn of_run<T: Send + 'static>(
        &self,
        caller: &Caller,
        id: &JobId,
        read: impl FnOnce(&Run<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let run = self.find_run(caller, id).await?;
        let (id, seq, attempt) = (id.clone(), run.seq, run.attempt.max(1));
        self.store
            .read(move |connection| Ok::<_, ServiceError>(read(&Run { connection, id: &id, seq, attempt })?))
            .await
    }
}

impl Run<'_> {
    fn list(&self, kind: SeriesKind) -> Result<Vec<SeriesSummary>, StoreError> {
        points::list(self.connection, self.seq, self.attempt, kind)
    }

    fn points(&self, kind: SeriesKind, name: &SeriesName, keys: (i64, i64)) -> Result<Vec<Xy>, StoreError> {
        Ok(points::points(self.connection, self.seq, self.attempt, kind, name, keys)?.unwrap_or_default())
    }

    /// Reads the series of some names, each with `read`.
    fn metrics(
        &self,
        names: &BTreeSet<String>,
        read: impl Fn(SeriesKind, &SeriesSummary) -> Result<Vec<Xy>, StoreError>,
    ) -> Result<BTreeMap<String, Metric>, StoreError> {
        let mut found: BTreeMap<String, Metric> = BTreeMap::new();
        for kind in KINDS {
            let all = self.list(kind)?;
            let gpus: BTreeSet<&str> = all.iter().map(|one| &*one.name.gpu).filter(|gpu| !gpu.is_empty()).collect();
            let earlier: BTreeSet<String> = found.keys().cloned().collect();
            let along = if kind == SeriesKind::System { Along::Time } else { Along::Steps };
            let mut add = |name: &str, gpu: &str, points| {
                let metric = found.entry(name.to_owned()).or_insert_with(|| Metric { along, rows: BTreeMap::new() });
                metric.rows.insert(self.row(gpu, &gpus), points);
            };
            for summary in &all {
                let name = &*summary.name.name;
                if names.contains(name) && !earlier.contains(name) {
                    add(name, &summary.name.gpu, read(kind, summary)?);
                }
                if kind == SeriesKind::System && name == TOTAL && names.contains(FREE) {
                    let is_used = |one: &&SeriesSummary| one.name.name == USED && one.name.gpu == summary.name.gpu;
                    let Some(used) = all.iter().find(is_used) else { continue };
                    add(FREE, &summary.name.gpu, without(&read(kind, summary)?, &read(kind, used)?));
                }
            }
        }
        Ok(found)
    }

    /// Names a row: the run, also for its only GPU, so that a table shows one line; or one GPU of several,
    /// counted from 0.
    fn row(&self, gpu: &str, gpus: &BTreeSet<&str>) -> String {
        match gpus.iter().position(|one| *one == gpu) {
            Some(number) if gpus.len() > 1 => format!("{}-gpu{number}", self.id),
            _ => self.id.to_string(),
        }
    }
}

/// Averages samples over `interval` seconds, or over as many that there are not too many of them.
fn averaged(points: &[Xy], interval: f64) -> Vec<Xy> {
    let span = points.last().zip(points.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    series::averages(points, interval.max((span / f64::from(MOST_POINTS)).ceil()).max(1.0))
}

/// Puts steps in their order, whatever the order of their printing, and thins them.
fn drawn(mut points: Vec<Xy>) -> Vec<Xy> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    series::largest_triangles(&points, MOST_POINTS as usize)
}

/// Subtracts one series from another where both have a point.
fn without(all: &[Xy], part: &[Xy]) -> Vec<Xy> {
    let mut part = part.iter().peekable();
    let mut left = Vec::with_capacity(all.len());
    for (x, y) in all {
        while part.next_if(|other| other.0 < *x).is_some() {}
        if let Some(other) = part.next_if(|other| other.0.total_cmp(x).is_eq()) {
            left.push((*x, y - other.1));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_grows_until_an_answer_has_a_bound() {
        let points: Vec<Xy> = (0..100_000).map(|second| (f64::from(second), 1.0)).collect();
        assert_eq!(averaged(&points, 30.0).len(), 3334);
        assert!(averaged(&points, 1.0).len() <= 10_000);
        assert_eq!(averaged(&points[..20], 0.0).len(), 20);
        assert_eq!(averaged(&[], 5.0), []);
    }

    #[test]
    fn what_is_free_is_known_where_both_numbers_are() {
        let (total, used) = ([(1.0, 10.0), (2.0, 10.0), (4.0, 10.0)], [(0.0, 1.0), (2.0, 3.0), (3.0, 1.0), (4.0, 4.0)]);
        assert_eq!(without(&total, &used), [(2.0, 7.0), (4.0, 6.0)]);
    }
}
