//! Listens to the engine, so that the workload loop hears of an end at once. What is heard is only a
//! nudge: the loop looks for itself, so an event that is missed costs time, not truth.
//! Kills for memory alone are known by the events that tell of them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;

use super::{Works, memory_kills};

/// Containers that the engine said have died. Its list still shows them as running for a moment; an
/// inspect knows better.
#[derive(Clone, Default)]
pub struct Died(Arc<Mutex<HashSet<String>>>);

impl Died {
    fn note(&self, name: String) {
        self.0.lock().expect("no code panics while it holds this lock").insert(name);
    }

    /// Says whether the container `name` was said to have died, once.
    pub(super) fn take(&self, name: &str) -> bool {
        self.0.lock().expect("no code panics while it holds this lock").remove(name)
    }

    /// Returns what was heard so far.
    pub(super) fn heard(&self) -> Vec<String> {
        self.0.lock().expect("no code panics while it holds this lock").iter().cloned().collect()
    }

    /// Forgets those of `heard` that are gone. What was heard since is kept: the list that says who is
    /// there may be older.
    pub(super) fn forget(&self, heard: Vec<String>, is_there: impl Fn(&str) -> bool) {
        let mut died = self.0.lock().expect("no code panics while it holds this lock");
        heard.iter().filter(|name| !is_there(name)).for_each(|name| {
            died.remove(name);
        });
    }
}

/// Pause before listening again.
const RETRY: Duration = Duration::from_secs(1);

/// Starts listening.
pub fn start(works: &Works) {
    let works = works.clone();
    works.tasks.clone().spawn(async move {
        let stop = works.stop.clone();
        stop.run_until_cancelled(listen(&works)).await;
    });
}

async fn listen(works: &Works) {
    loop {
        if let Ok(mut events) = works.executor.events().await {
            // Whatever happened before is seen by this look.
            works.store.changes().workloads.notify_one();
            // After it listens and before it reads, so that kills are counted in their order.
            if let Err(error) = memory_kills::catch_up(works).await {
                tracing::warn!(error = format!("{error:#}"), "what was killed for memory meanwhile is not known");
            }
            while let Some(Ok(event)) = events.next().await {
                tracing::debug!(container = event.container_name, action = event.action, "the engine says");
                match &*event.action {
                    // Nothing has ended by that alone.
                    "oom" => {
                        memory_kills::note(works, &event.container_name, event.at).await;
                        continue;
                    }
                    "die" => works.died.note(event.container_name),
                    _ => {}
                }
                works.store.changes().workloads.notify_one();
            }
        }
        // The engine went away or its stream broke; the loop notices that by itself.
        works.store.changes().workloads.notify_one();
        tokio::time::sleep(RETRY).await;
    }
}
