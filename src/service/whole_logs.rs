//! The logs of all attempts of a job as one, for those who only count lines.

use tokio::sync::watch;

use super::{RunLog, ServiceError, Services, blocking};
use crate::{
    domain::{caller::Caller, id::JobId, job::Job},
    storage::log::{LogReader, Progress, Row, Source},
};

/// Lines of a job, each with its number over all attempts.
pub struct WholeLog {
    pub job: Job,
    /// In order and without gaps, from the line that was asked for.
    pub rows: Vec<(u64, Row)>,
    /// No line will be added any more. Without rows, this is the end.
    pub over: bool,
    /// Tells of further lines, as long as the present attempt lasts.
    pub progress: watch::Receiver<Progress>,
}

impl Services {
    /// Returns up to `limit` lines of a job from line `start` on, fewer when they are very long. Lines of
    /// an attempt follow once the one before has ended for good, so no line ever changes its number.
    pub async fn whole_log(
        &self,
        caller: &Caller,
        id: &JobId,
        start: u64,
        limit: usize,
    ) -> Result<WholeLog, ServiceError> {
        let attempt = self.find_run(caller, id).await?.attempt.max(1);
        // First the subscription, then the look: what is written after it is announced after it.
        let progress = self.log_hub.follow(&RunLog { job: id.clone(), attempt });
        let (job, _) = self.find_job(caller, id).await?;
        let attempts = job.workload.attempt.max(1);
        let run = self.data.run(id);
        let logs: Vec<_> = (1..=attempts).map(|attempt| run.log(attempt)).collect();
        let rows = blocking(move || {
            let (mut rows, mut before) = (Vec::new(), 0);
            for dir in logs {
                let mut reader = LogReader::open(&dir);
                let total = reader.total()?;
                let from = start.saturating_sub(before);
                if from < total && rows.len() < limit {
                    let read = reader.range(from, limit - rows.len())?;
                    let whole = read.last().is_some_and(|row| row.line + 1 >= total);
                    rows.extend(without_gaps(from, read).into_iter().map(|row| (before + row.line, row)));
                    if !whole {
                        break;
                    }
                }
                before += total;
            }
            Ok::<_, std::io::Error>(rows)
        })
        .await?;
        let over = job.workload.teardown_finished_at.is_some();
        Ok(WholeLog { job, rows, over, progress })
    }
}

/// Puts a row where one could not be read: those who count rows would go wrong by each that is left out.
fn without_gaps(from: u64, read: Vec<Row>) -> Vec<Row> {
    let mut rows = Vec::with_capacity(read.len());
    for row in read {
        while from + (rows.len() as u64) < row.line {
            let text = "(this line cannot be read any more)".to_owned();
            rows.push(Row { line: from + rows.len() as u64, source: Source::System, text, partial: false, ..row });
        }
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::output::EngineTime;

    #[test]
    fn a_line_that_cannot_be_read_keeps_its_place() {
        let row = |line| Row {
            line,
            time: EngineTime { seconds: 0, nanos: 0 },
            source: Source::System,
            text: "x".to_owned(),
            partial: false,
        };
        let rows = without_gaps(3, vec![row(4), row(7)]);
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        assert_eq!(rows.iter().filter(|row| row.text == "x").count(), 2);
    }
}
