//! Charts and system metrics of runs, drawn down to about as many points as a screen shows.

use super::{ServiceError, Services};
use crate::{
    domain::{
        caller::Caller,
        id::JobId,
        series::{self, SeriesName, SeriesSummary, Xy},
    },
    store::points::{self, SeriesKind},
};

/// One line of a diagram.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    pub name: SeriesName,
    pub points: Vec<Xy>,
    /// Points that there are, of which `points` shows the shape.
    pub total: usize,
}

impl Services {
    /// Lists the charts of a job's latest attempt.
    pub async fn charts(&self, caller: &Caller, id: &JobId) -> Result<Vec<SeriesSummary>, ServiceError> {
        let (seq, attempt) = self.run_of(caller, id).await?;
        let list = self
            .store
            .read(move |connection| Ok::<_, ServiceError>(points::list(connection, seq, attempt, SeriesKind::Chart)?))
            .await?;
        Ok(list)
    }

    /// Returns one chart, as about `shown` points.
    pub async fn chart(&self, caller: &Caller, id: &JobId, name: String, shown: usize) -> Result<Drawn, ServiceError> {
        let (seq, attempt) = self.run_of(caller, id).await?;
        let missing = ServiceError::not_found("chart", name.chars().filter(|c| !c.is_control()).collect::<String>());
        let name = SeriesName { name, gpu: String::new() };
        let wanted = name.clone();
        let found = self
            .store
            .read(move |connection| {
                let all = (i64::MIN, i64::MAX);
                Ok::<_, ServiceError>(points::points(connection, seq, attempt, SeriesKind::Chart, &wanted, all)?)
            })
            .await?;
        let mut found: Vec<Xy> = found.ok_or(missing)?;
        // A curve is drawn from left to right, whatever the order of its printing.
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = found.len();
        Ok(Drawn { name, points: series::largest_triangles(&found, shown), total })
    }

    /// Returns a job's system metrics between two seconds since 1970, each as about `shown` points.
    pub async fn metrics(
        &self,
        caller: &Caller,
        id: &JobId,
        seconds: (i64, i64),
        shown: usize,
    ) -> Result<Vec<Drawn>, ServiceError> {
        let (seq, attempt) = self.run_of(caller, id).await?;
        self.store
            .read(move |connection| {
                let mut drawn = Vec::new();
                for summary in points::list(connection, seq, attempt, SeriesKind::System)? {
                    let kind = SeriesKind::System;
                    let found = points::points(connection, seq, attempt, kind, &summary.name, seconds)?;
                    let found: Vec<Xy> = found.unwrap_or_default();
                    let total = found.len();
                    drawn.push(Drawn { name: summary.name, points: series::extremes(&found, shown), total });
                }
                Ok(drawn)
            })
            .await
    }

    async fn run_of(&self, caller: &Caller, id: &JobId) -> Result<(i64, u32), ServiceError> {
        let run = self.find_run(caller, id).await?;
        Ok((run.seq, run.attempt.max(1)))
    }
}
