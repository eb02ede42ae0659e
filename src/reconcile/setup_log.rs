//! The daemon's own lines in a run's log: what was fetched, what was built, why it could not start.

use std::sync::{Arc, Mutex};

use super::Works;
use crate::{
    domain::{output::EngineTime, workload::Workload},
    service::blocking,
    storage::log::{Limits, LogWriter, Masker},
};

/// Writes lines of the daemon's own. They are for people: when the disk refuses one, it is let go.
#[derive(Clone)]
pub(super) struct SetupLog {
    works: Works,
    key: crate::service::RunLog,
    lines: Arc<Mutex<Vec<String>>>,
}

impl SetupLog {
    pub(super) fn new(works: &Works, workload: &Workload, attempt: u32) -> Self {
        let key = crate::service::RunLog { job: workload.id.clone(), attempt };
        Self { works: works.clone(), key, lines: Arc::default() }
    }

    /// Keeps a line for the next [`SetupLog::flush`]; may be called from anywhere.
    pub(super) fn keep(&self, line: &str) {
        self.lines.lock().expect("no code panics while it holds this lock").push(line.to_owned());
    }

    /// Writes one line now.
    pub(super) async fn say(&self, line: String) {
        self.keep(&line);
        self.flush().await;
    }

    /// Writes what was kept.
    pub(super) async fn flush(&self) {
        let lines = std::mem::take(&mut *self.lines.lock().expect("no code panics while it holds this lock"));
        if lines.is_empty() {
            return;
        }
        let (works, key) = (self.works.clone(), self.key.clone());
        let limits = limits(&works);
        blocking(move || {
            let write = || -> std::io::Result<u64> {
                let run = works.data.run(&key.job);
                run.create()?;
                let mut writer = LogWriter::open(&run.create_log(key.attempt)?, limits, Masker::default())?;
                let time = EngineTime::from(works.clock.now());
                for line in &lines {
                    for line in line.lines() {
                        writer.system(line, time)?;
                    }
                }
                writer.sync()?;
                Ok(writer.total())
            };
            match write() {
                Ok(total) => works.log_hub.publish(&key, total),
                Err(error) => tracing::warn!(run.id = %key.job, %error, "a line of the run's log could not be written"),
            }
        })
        .await;
    }
}

/// Returns how large a run's log may grow.
pub(super) fn limits(works: &Works) -> Limits {
    Limits { max_bytes: works.settings.log_bytes, ..Limits::default() }
}
