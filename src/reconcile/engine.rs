//! Listens to the engine, so that the workload loop hears of an end at once, and nobody is led any more to
//! where the container was. What is heard is else only a nudge: the loop looks for itself, so an event that
//! is missed costs time, not truth. Kills for memory alone are known by the events that tell of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;

use super::{Works, memory_kills};

/// Containers that have ended, as the engine said or as was asked of it, and whether that was acted upon. Its
/// list still shows them as running for a moment; an inspect knows better.
#[derive(Clone, Default)]
pub struct Died(Arc<Mutex<HashMap<String, bool>>>);

impl Died {
    fn note(&self, name: String) {
        self.0.lock().expect("no code panics while it holds this lock").insert(name, false);
    }

    /// Forgets one that an admin has started again by hand.
    fn runs_again(&self, name: &str) {
        self.0.lock().expect("no code panics while it holds this lock").remove(name);
    }

    /// Says whether the container `name` is known to have ended, once for each time that was said.
    pub(super) fn take(&self, name: &str) -> bool {
        let mut died = self.0.lock().expect("no code panics while it holds this lock");
        died.get_mut(name).is_some_and(|taken| !std::mem::replace(taken, true))
    }

    /// Returns what was heard so far.
    pub(super) fn heard(&self) -> Vec<String> {
        self.0.lock().expect("no code panics while it holds this lock").keys().cloned().collect()
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

/// Notes that a container has ended. From now on nobody is led to its address, which the engine gives to the
/// next container that starts.
pub(super) fn note_end(works: &Works, container: &str) {
    // In this order: the pass that sets addresses looks for ends afterwards.
    works.died.note(container.to_owned());
    works.board.forget_address(container);
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
                    "die" => note_end(works, &event.container_name),
                    "start" => works.died.runs_again(&event.container_name),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_acted_upon_once_and_known_until_its_container_is_gone() {
        let died = Died::default();
        died.note("c".to_owned());
        assert!(died.take("c") && !died.take("c") && !died.take("other"));
        let heard = died.heard();
        died.forget(heard.clone(), |_| true);
        assert_eq!(died.heard(), ["c"]);
        died.forget(heard, |_| false);
        assert!(died.heard().is_empty());
    }

    #[test]
    fn what_an_admin_starts_again_by_hand_has_not_ended() {
        let died = Died::default();
        died.note("c".to_owned());
        died.runs_again("c");
        assert!(died.heard().is_empty() && !died.take("c"));
    }
}
