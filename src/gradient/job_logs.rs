//! `jobs logs`, and those of experiments and notebooks: rows from a line on, held back while there are none.
//!
//! Row 0 says whose log it is and what is printed begins at row 1, because the client counts what it got
//! and starts at 0 or at 1: so both go on where they should, and nothing comes twice or is lost. The last
//! row of a job that is over says so ([`END`]) and comes by itself. A client that follows asks again
//! anyhow, and one that asks once gets the output without it.

use std::time::Duration;

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::held::held;
use crate::{
    api::{Lease, Problem, Query},
    domain::{
        caller::Caller,
        id::{ExperimentId, JobId, NotebookId},
        time::Timestamp,
    },
    service::{ServiceError, Services, whole_logs::WholeLog},
};

/// Ends a follower.
const END: &str = "PSEOF";
/// Most rows of one answer, and how many there are when nobody says.
const MOST: usize = 10_000;
/// How long a request is held while nothing comes. The client waits without an end, what is between it
/// and this box may not.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often the job is looked at while its log says nothing: the end of a job need not be a line.
const LOOK: Duration = Duration::from_millis(500);

/// Whose rows, and which.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    job_id: Option<String>,
    experiment_id: Option<String>,
    notebook_id: Option<String>,
    #[serde(default)]
    line: u64,
    limit: Option<usize>,
}

/// One row. The client needs all three.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct RowView {
    line: u64,
    message: String,
    timestamp: Timestamp,
}

/// Answers with rows of a run's log, as soon as there are any.
pub async fn rows(
    State(services): State<Services>,
    Extension(stop): Extension<CancellationToken>,
    caller: Caller,
    lease: Lease,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<RowView>>, Problem> {
    let whose = match (wanted.job_id, wanted.experiment_id, wanted.notebook_id) {
        (Some(id), ..) => Whose::Run(id.parse()?),
        (None, Some(id), _) => Whose::Experiment(id.parse()?),
        (None, None, Some(id)) => Whose::Notebook(services.notebook_named(&caller, &id).await?),
        (None, None, None) => {
            let detail =
                "jobs, experiments and notebooks have logs on this box: name one by jobId, experimentId or notebookId";
            return Err(Problem::invalid("missing_field", "jobId", detail));
        }
    };
    let limit = wanted.limit.unwrap_or(MOST);
    if limit == 0 {
        return Err(Problem::invalid("invalid_query", "limit", format!("limit is a number from 1 to {MOST}")));
    }
    let rows = awaited(&services, &caller, &whose, wanted.line, limit.min(MOST), PATIENCE);
    held(rows, lease, &stop).await.map(Json)
}

/// Whose log is asked for.
enum Whose {
    /// A job, or a session of a notebook.
    Run(JobId),
    /// That of its latest run.
    Experiment(ExperimentId),
    /// That of its latest session.
    Notebook(NotebookId),
}

/// What has no log yet.
struct NotStarted {
    /// In words: its id and name.
    what: String,
    created_at: Timestamp,
}

impl Whose {
    /// Returns what runs; inside, what was not started yet.
    async fn run(&self, services: &Services, caller: &Caller) -> Result<Result<JobId, NotStarted>, ServiceError> {
        let (run, id, name, created_at) = match self {
            Self::Run(id) => return Ok(Ok(id.clone())),
            Self::Experiment(id) => {
                let experiment = services.experiment(caller, id).await?.experiment;
                let run = experiment.latest.as_ref().map(|run| run.id.clone());
                (run, id.as_str(), experiment.name, experiment.created_at)
            }
            Self::Notebook(id) => {
                let notebook = services.own_notebook(caller, id).await?;
                let run = notebook.session.map(|session| session.workload.id);
                (run, id.as_str(), notebook.name, notebook.created_at)
            }
        };
        Ok(run.ok_or_else(|| NotStarted { what: format!("{id} “{name}”"), created_at }))
    }
}

/// Returns row 0 of what has no log yet, to who asks for it.
fn not_started(nothing: &NotStarted, line: u64) -> Vec<RowView> {
    let message = format!("{} was not started yet", nothing.what);
    let row = RowView { line: 0, message, timestamp: nothing.created_at };
    if line == 0 { vec![row] } else { Vec::new() }
}

/// Returns rows from `line` on; none when nothing came for so long.
async fn awaited(
    services: &Services,
    caller: &Caller,
    whose: &Whose,
    line: u64,
    limit: usize,
    patience: Duration,
) -> Result<Vec<RowView>, Problem> {
    let until = Instant::now() + patience;
    let mut seen = None;
    loop {
        let id = match (whose.run(services, caller).await, seen) {
            (Ok(Ok(id)), _) => id,
            // Whoever got lines already followed a run that was deleted since.
            (Ok(Err(nothing)), seen) if seen.is_some() || line > 1 => {
                return Ok(vec![end(line, nothing.created_at)]);
            }
            (Ok(Err(nothing)), _) => {
                let rows = not_started(&nothing, line);
                if !rows.is_empty() || Instant::now() >= until {
                    return Ok(rows);
                }
                sleep(LOOK).await;
                continue;
            }
            (Err(ServiceError::NotFound { .. }), Some(timestamp)) => return Ok(vec![end(line, timestamp)]),
            (Err(error), _) => return Err(error.into()),
        };
        let mut log = match (services.whole_log(caller, &id, line.saturating_sub(1), limit).await, seen) {
            // It was deleted meanwhile: nothing more will come.
            (Err(ServiceError::NotFound { .. }), Some(timestamp)) => return Ok(vec![end(line, timestamp)]),
            (log, _) => log?,
        };
        seen = Some(log.run.created_at);
        let rows = shown(&log, line, limit);
        if !rows.is_empty() || Instant::now() >= until {
            return Ok(rows);
        }
        tokio::select! {
            Ok(()) = log.progress.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}

/// Writes what was read from the row `line` on.
fn shown(log: &WholeLog, line: u64, limit: usize) -> Vec<RowView> {
    let run = &log.run;
    let mut rows = Vec::new();
    if line == 0 {
        let message = format!("{} “{}” on {}", run.id, run.name, log.machine_type);
        rows.push(RowView { line: 0, message, timestamp: run.created_at });
    }
    rows.extend(log.rows.iter().map(|(number, row)| RowView {
        line: number + 1,
        message: harmless(&row.text),
        timestamp: row.time.timestamp(),
    }));
    rows.truncate(limit);
    if rows.is_empty() && log.over {
        let timestamp = run.teardown_finished_at.unwrap_or(run.created_at);
        rows.push(end(line, timestamp));
    }
    rows
}

fn end(line: u64, timestamp: Timestamp) -> RowView {
    RowView { line, message: END.to_owned(), timestamp }
}

/// A job that prints the very word must not end its followers. They compare after they have cut off what
/// Python takes for white space.
fn harmless(text: &str) -> String {
    let is_white = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    match text.trim_end_matches(is_white) {
        END => format!(" {END}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{
            output::EngineTime,
            workload::{Ending, Event, Workload},
        },
        gradient::router::tests::{Cloud, printed},
        service::{RunLog, users::FIRST_USER},
        storage::log::{Limits, LogWriter, Masker},
        store::workloads,
    };

    const NOW: Timestamp = Timestamp(1_769_860_800_000_000);

    /// A job whose life the test leads.
    struct Run {
        cloud: Cloud,
        id: JobId,
    }

    impl Run {
        async fn new() -> Self {
            let cloud = Cloud::new().await;
            let made = cloud.ask("POST", "/jobs/createJob/?container=busybox&name=n", None).await;
            let id = made.body["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).parse().unwrap();
            Self { cloud, id }
        }

        async fn change(&self, change: impl FnOnce(&crate::store::Tx<'_>, &Workload) + Send + 'static) {
            let id = self.id.clone();
            let changed = self.cloud.0.store.write(move |tx| {
                let workload = workloads::get(tx, &id)?.unwrap();
                change(tx, &workload);
                Ok::<_, crate::store::StoreError>(())
            });
            changed.await.unwrap();
        }

        async fn place(&self) {
            self.change(|tx, workload| workloads::place(tx, workload, &[], NOW).unwrap()).await;
        }

        async fn end(&self, again: bool) {
            self.change(move |tx, workload| {
                let ending = Ending {
                    event: Event::Exited { code: 1 },
                    reason: None,
                    message: None,
                    exit_code: Some(1),
                    started_at: None,
                    finished_at: NOW,
                };
                workloads::ended(tx, workload, &ending, again.then_some(NOW), NOW).unwrap();
                if !again {
                    workloads::torn_down(tx, workload, NOW).unwrap();
                }
            })
            .await;
        }

        fn print(&self, attempt: u32, lines: &[&str]) {
            let services = &self.cloud.0.services;
            let run = services.data.run(&self.id);
            run.create().unwrap();
            let limits = Limits::default();
            let mut writer = LogWriter::open(&run.create_log(attempt).unwrap(), limits, Masker::default()).unwrap();
            for line in lines {
                writer.system(line, EngineTime::from(NOW)).unwrap();
            }
            writer.sync().unwrap();
            services.log_hub.publish(&RunLog { job: self.id.clone(), attempt }, writer.total());
        }

        async fn rows(&self, line: u64, limit: usize, patience: Duration) -> Vec<(u64, String)> {
            let services = &self.cloud.0.services;
            let caller = services.local_admin(FIRST_USER).await.unwrap();
            let rows = awaited(services, &caller, &Whose::Run(self.id.clone()), line, limit, patience).await.unwrap();
            rows.into_iter().map(|row| (row.line, row.message)).collect()
        }

        /// Follows as the client does: from its place on, which is where it began and how many it got.
        async fn follow(&self, mut line: u64, limit: usize) -> Vec<String> {
            let mut all = Vec::new();
            loop {
                let rows = self.rows(line, limit, Duration::from_secs(20)).await;
                assert!(rows.len() <= limit && !rows.is_empty());
                for (number, message) in rows {
                    assert_eq!(number, line, "{message}");
                    if message == END {
                        return all;
                    }
                    all.push(message);
                    line += 1;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_follower_gets_every_line_of_every_attempt_once_wherever_it_begins() {
        let run = Run::new().await;
        run.place().await;
        run.print(1, &["a", "b", "PSEOF"]);
        run.end(true).await;
        run.place().await;
        run.print(2, &["c"]);
        run.end(false).await;
        let lines = ["a", "b", " PSEOF", "c"];
        for limit in [1, 2, 3, 100] {
            assert_eq!(run.follow(1, limit).await, lines, "{limit}");
            let from_0 = run.follow(0, limit).await;
            assert!(from_0[0].contains(run.id.as_str()) && from_0[1..] == lines, "{from_0:?}");
        }
    }

    #[tokio::test]
    async fn one_look_at_what_is_over_shows_the_output_and_no_end() {
        let run = Run::new().await;
        run.place().await;
        run.print(1, &["a"]);
        run.end(false).await;
        let answer = run.cloud.get(&format!("/jobs/logs?jobId={}&line=0&limit=10000", run.id)).await;
        let messages: Vec<_> = answer.as_array().unwrap().iter().map(|row| row["message"].as_str().unwrap()).collect();
        assert_eq!((messages.len(), messages[1]), (2, "a"));
        assert!(answer[1]["line"].is_u64() && answer[1]["timestamp"].is_string(), "{answer}");
        let at_the_end = run.cloud.get(&format!("/jobs/logs?jobId={}&line=2", run.id)).await;
        assert_eq!(at_the_end[0]["message"], END);
    }

    #[tokio::test]
    async fn a_request_waits_for_the_next_line_and_gives_up_after_a_while() {
        let run = Arc::new(Run::new().await);
        assert_eq!(run.rows(1, 10, Duration::from_millis(1)).await, []);
        let follower = tokio::spawn({
            let run = Arc::clone(&run);
            async move { run.rows(1, 10, Duration::from_secs(20)).await }
        });
        run.place().await;
        run.print(1, &["a"]);
        assert_eq!(follower.await.unwrap(), [(1, "a".to_owned())]);
        run.end(false).await;
        run.cloud.ask("POST", &format!("/jobs/{}/destroy", run.id), None).await;
        let gone = run.cloud.ask("GET", &format!("/jobs/logs?jobId={}&line=2", run.id), None).await;
        assert_eq!(printed(&gone).0, 404, "{}", gone.text);
    }

    #[tokio::test]
    async fn an_experiment_s_log_is_that_of_its_latest_run() {
        let cloud = Cloud::new().await;
        cloud.ask("POST", "/projects/", Some(serde_json::json!({ "name": "p" }))).await;
        let wire = serde_json::json!({ "projectHandle": "p", "container": "busybox", "name": "n" });
        let made = cloud.ask("POST", "/experiments/v2/experiments/", Some(wire)).await;
        let id: ExperimentId = made.body["handle"].as_str().unwrap().parse().unwrap();
        let services = cloud.0.services.clone();
        let caller = services.local_admin(FIRST_USER).await.unwrap();
        let whose = Whose::Experiment(id.clone());
        let rows = |line, patience| awaited(&services, &caller, &whose, line, 10, Duration::from_millis(patience));
        let banner = rows(0, 20_000).await.unwrap();
        assert!(banner[0].message.contains("was not started yet"), "{banner:?}");
        assert_eq!(rows(1, 1).await.unwrap(), []);

        let job = services.start_experiment(&caller, &id, None).await.unwrap().job.workload.id;
        let run = Run { cloud, id: job };
        run.place().await;
        run.print(1, &["a"]);
        assert_eq!(rows(1, 20_000).await.unwrap()[0].message, "a");
        run.end(false).await;
        assert_eq!(rows(2, 20_000).await.unwrap()[0].message, END);
        services.delete_job(&caller, &run.id).await.unwrap();
        assert_eq!(rows(2, 20_000).await.unwrap()[0].message, END);
        services.delete_experiment(&caller, &id).await.unwrap();
        assert_eq!(rows(2, 20_000).await.unwrap_err().status(), 404);
    }

    #[test]
    fn the_word_that_ends_a_follower_is_said_by_this_box_alone() {
        for text in ["PSEOF", "PSEOF \t", "PSEOF\r", "PSEOF\u{1f}"] {
            assert_eq!(harmless(text), " PSEOF");
        }
        for text in [" PSEOF", "PSEOFx", "", "pseof"] {
            assert_eq!(harmless(text), text);
        }
    }
}
