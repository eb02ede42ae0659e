//! Lines of the daemon's own for the logs of runs that run. A log has one writer, which is the run's pump while the
//! container is there, so they wait here for it. They are for people: what a daemon that dies had not handed over
//! is let go.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

/// A run's row and its attempt.
type Run = (i64, u32);

/// Lines that no pump has taken yet.
#[derive(Clone, Default)]
pub struct Asides {
    lines: Arc<Mutex<HashMap<Run, Vec<String>>>>,
    /// Counts what was said, for the pumps.
    said: watch::Sender<u64>,
}

impl Asides {
    /// Has a line written into the log of a run.
    pub(super) fn say(&self, run: Run, line: String) {
        self.lines.lock().expect("no code panics while it holds this lock").entry(run).or_default().push(line);
        self.said.send_modify(|said| *said += 1);
    }

    /// Takes what was said to a run.
    pub(super) fn take(&self, run: Run) -> Vec<String> {
        self.lines.lock().expect("no code panics while it holds this lock").remove(&run).unwrap_or_default()
    }

    /// Waits until something is said to a run, and takes it. Dropped before that, it has taken nothing.
    pub(super) async fn next(&self, run: Run) -> Vec<String> {
        let mut said = self.said.subscribe();
        loop {
            let lines = self.take(run);
            if !lines.is_empty() {
                return lines;
            }
            // The sender is here, so it cannot be gone.
            let _ = said.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_reaches_the_run_that_it_is_for_be_it_said_before_or_after_somebody_waits() {
        let asides = Asides::default();
        asides.say((1, 1), "early".to_owned());
        assert_eq!(asides.next((1, 1)).await, ["early"]);
        let waiting = tokio::spawn({
            let asides = asides.clone();
            async move { asides.next((1, 1)).await }
        });
        asides.say((1, 2), "for the next attempt".to_owned());
        asides.say((1, 1), "late".to_owned());
        assert_eq!(waiting.await.unwrap(), ["late"]);
        assert_eq!(asides.take((1, 2)), ["for the next attempt"]);
        assert!(asides.take((1, 2)).is_empty(), "each is taken once");
    }
}
