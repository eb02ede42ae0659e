//! The logs of all attempts of a run as one, for those who only count lines.

use tokio::sync::watch;

use super::{RunLog, ServiceError, Services, blocking};
use crate::{
    domain::{
        caller::{Action, Caller},
        id::JobId,
        workload::Workload,
    },
    storage::log::{LogReader, Progress, Row, Source},
    store::workloads,
};

/// Lines of a run, each with its number over all attempts.
pub struct WholeLog {
    pub run: Workload,
    pub machine_type: String,
    /// In order and without gaps, from the line that was asked for.
    pub rows: Vec<(u64, Row)>,
    /// No line will be added any more. Without rows, this is the end.
    pub over: bool,
    /// Tells of further lines, as long as the present attempt lasts.
    pub progress: watch::Receiver<Progress>,
}

impl Services {
    /// Returns up to `limit` lines of a run from line `start` on, fewer when they are very long. Lines of
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
        let (run, machine_type) = self.find_run_and_machine_type(caller, id).await?;
        let dir = self.data.run(id);
        let logs: Vec<_> = (1..=run.attempt.max(1)).map(|attempt| dir.log(attempt)).collect();
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
        let over = run.teardown_finished_at.is_some();
        Ok(WholeLog { run, machine_type, rows, over, progress })
    }

    async fn find_run_and_machine_type(&self, caller: &Caller, id: &JobId) -> Result<(Workload, String), ServiceError> {
        caller.may(Action::ViewJobs)?;
        let (team, id) = (caller.team.clone(), id.clone());
        self.store
            .read(move |connection| {
                let found = workloads::get(connection, &id)?.filter(|run| run.team == team);
                let run = found.ok_or_else(|| ServiceError::not_found("job", &id))?;
                let machine_type = workloads::spec(connection, run.seq)?.machine_type;
                Ok((run, machine_type))
            })
            .await
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
