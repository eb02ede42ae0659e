//! Counts the processes of runs that are killed for memory while the run goes on, and tells of them: a notebook's
//! kernel is started again by Jupyter without a word, and only the engine says why its variables are gone.
//!
//! The engine tells of each as an event, and of the last few again when it is asked; what is not later than the
//! last that was counted is left out, so nothing is counted twice, and little that happened while nobody listened
//! is missed.

use super::{Works, launch};
use crate::{
    domain::{memory_kills::MemoryKills, time::Timestamp, workload::State},
    store::{memory_kills, workloads},
};

/// Counts one that container `name` suffered at `at`, by the engine's clock. One that is not of a run is let go.
pub(super) async fn note(works: &Works, name: &str, at: Timestamp) {
    let Some((id, attempt)) = launch::run_of_container(&works.settings.box_id, name) else { return };
    let (run, now) = (id.clone(), works.clock.now());
    crate::fault::point("memory.count.before");
    let counted = works.store.write(move |tx| memory_kills::count(tx, &run, attempt, at, now)).await;
    crate::fault::point("memory.count.after");
    match counted {
        Ok(Some((workload, kills))) if kills.is_news() => {
            let times = kills.times;
            tracing::warn!(run.id = %id, times, "{}: a process of it was killed for memory", workload.title());
            let words = MemoryKills::words(&workload.kind, workload.needs.memory_bytes);
            let often = if times == 1 { String::new() } else { format!(" ({times} times by now)") };
            works.asides.say((workload.seq, attempt), format!("{}{often}", capitalised(&words)));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(run.id = %id, %error, "a kill for memory could not be counted"),
    }
}

/// Counts what happened while nobody listened, as far as the engine remembers.
pub(super) async fn catch_up(works: &Works) -> anyhow::Result<()> {
    let running = works.store.read(workloads::holding).await?;
    for workload in running.iter().filter(|workload| workload.state == State::Running) {
        let known = workload.memory_kills.map(|kills| kills.last_at);
        let Some(since) = known.or(workload.started_at) else { continue };
        let name = launch::container_name(&works.settings.box_id, workload);
        let told = works.executor.memory_kills(&name, since).await?;
        for at in told.into_iter().filter(|at| known.is_none_or(|known| *at > known)) {
            note(works, &name, at).await;
        }
    }
    Ok(())
}

fn capitalised(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
