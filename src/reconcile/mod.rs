//! Loops that make it so. Each looks at everything it owns, plans with a pure function, and acts in
//! ways that are harmless twice. A nudge makes a loop prompt and its period makes it certain, so a
//! lost nudge or a kill -9 costs time, never truth.
//!
//! - [`workloads`] moves every workload towards what is wanted of it; the only writer of its state and
//!   the only one who makes, starts, stops and removes containers. [`step`], [`ending`] and
//!   [`placement`] decide for it; `launch`, `prepare`, `pump` and `teardown` act for it.
//! - [`engine`] listens to the engine and nudges; `memory_kills` counts the processes that it says were killed for
//!   memory, and [`asides`] brings words of the daemon's own to the pump of a run that runs.
//! - [`gateway`] asks where containers reach this machine.
//! - [`gpus`] reads NVML, [`samples`] what runs use, [`disk`] the room on the disk.
//! - [`notebooks`] looks at the servers of notebooks, [`notebook_data`] changes what is beneath their
//!   `/datasets` (`session_wants`, `session_fetches` and `session_takes` are its parts), [`forks`] copies the files of
//!   forks.
//! - [`sources`] mounts places on S3 for sessions; `source_step` decides, `source_act` acts.
//! - [`terminals`] holds the engine's side of shells that people have open.
//! - [`tensorboards`] looks who still looks at TensorBoards and what they should show.
//! - [`imports`] brings files into versions from elsewhere.
//! - [`usage`] counts what teams keep, [`gc`] removes files that nothing refers to, [`fsck`] reads
//!   stored ones again.
//! - [`certificates`] exchanges the certificate of the TLS listener in good time.
//! - [`collect`] removes what nobody needs any more; `outputs` makes versions of what runs wrote.
//!
//! Not here: what users may do, and any decision that needs a user's permission.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{
        board::{Board, LoopReport},
        time::Clock,
    },
    executor::Executor,
    service::Services,
    storage::layout::DataDir,
    store::Store,
};

pub mod asides;
pub mod certificates;
pub mod collect;
pub mod disk;
pub mod ending;
pub mod engine;
pub mod forks;
pub mod fsck;
pub mod gateway;
pub mod gc;
pub mod gpus;
mod import_journal;
mod import_sources;
mod import_trees;
pub mod imports;
mod inputs;
mod launch;
mod memory_kills;
mod notebook_launch;
pub mod notebook_data;
pub mod notebooks;
mod outputs;
pub mod placement;
mod prepare;
mod pump;
mod s3_sources;
mod session_fetches;
mod session_takes;
mod session_wants;
pub mod samples;
mod setup_log;
mod source_act;
mod source_plan;
mod source_step;
mod source_words;
pub mod sources;
pub mod step;
mod teardown;
mod telling;
mod tensorboard_launch;
pub mod tensorboards;
pub mod terminals;
#[cfg(test)]
mod tests;
pub mod usage;
mod watching;
pub mod workloads;

pub use source_plan::SourceSettings;

/// What every loop works with. Cheap to clone.
#[derive(Clone)]
pub struct Works {
    pub services: Services,
    pub store: Store,
    pub executor: Arc<dyn Executor>,
    pub data: DataDir,
    pub board: Arc<Board>,
    pub log_hub: crate::service::RunLogHub,
    /// Versions that are being brought here.
    pub flights: Arc<inputs::Flights>,
    pub clock: Arc<dyn Clock>,
    /// What the engine says has just died.
    pub died: engine::Died,
    /// What is to be said in the logs of runs that run.
    pub asides: asides::Asides,
    pub settings: Arc<Settings>,
    /// Ends every loop.
    pub stop: CancellationToken,
    /// Everything that runs on its own, to be waited for at the end.
    pub tasks: TaskTracker,
}

/// The numbers that loops go by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// In every container's name and label; another daemon on the same engine has another.
    pub box_id: String,
    pub stop_grace: Duration,
    pub prepare_parallel: usize,
    pub start_parallel: usize,
    pub pids: u32,
    /// Of a container's memory, where the job says nothing.
    pub shared_memory_percent: u8,
    pub log_buffer_bytes: u64,
    pub log_bytes: u64,
    pub publish_address: std::net::IpAddr,
    /// Port for pushed metrics on the containers' gateway; `None` where there is to be none.
    pub push_port: Option<u16>,
    pub hostname: String,
    pub cpu_capacity_millis: u64,
    pub memory_capacity_bytes: u64,
    pub avoid_busy_gpus: bool,
    pub keep_events: Duration,
    pub keep_idempotency: Duration,
    pub keep_raw_metrics: Duration,
    pub keep_minute_metrics: Duration,
    pub disk_warn_percent: u8,
    pub disk_refuse_percent: u8,
    pub disk_min_free_bytes: u64,
    pub gc_interval: Duration,
    pub fsck_interval: Duration,
    pub fsck_percent: u8,
    /// How long the server of a notebook may take to answer after its container started.
    pub notebook_ready: Duration,
    pub sources: SourceSettings,
    /// How long a TensorBoard may take to answer after its container started.
    pub tensorboard_ready: Duration,
}

/// Something that is done again and again.
pub(crate) trait Loop: Send {
    /// How it is called in logs, in the API and in the UI.
    const NAME: &'static str;

    /// Looks, plans and acts once.
    fn pass(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Runs a loop on every nudge and at least once per `period`, until told to stop.
pub(crate) async fn drive<L: Loop>(mut this: L, works: Works, nudge: Arc<Notify>, period: Duration) {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = works.stop.cancelled() => return,
            () = nudge.notified() => {}
            _ = tick.tick() => {}
        }
        // Only the wait above is cancelled; a pass that has begun is finished.
        let begun = tokio::time::Instant::now();
        let result = caught(this.pass()).await;
        let took = begun.elapsed();
        let error = result.err().map(|error| format!("{error:#}"));
        match &error {
            // Said once, not at every pass while it lasts.
            Some(error) if !failing => {
                tracing::warn!(reconcile = L::NAME, error, "a pass failed; trying again every {period:?}");
            }
            None if failing => tracing::info!(reconcile = L::NAME, "passes work again"),
            _ => {}
        }
        failing = error.is_some();
        works.board.report(L::NAME, LoopReport { last_run: works.clock.now(), took, error });
    }
}

/// Runs `work`; a panic in it is an error like any other, so that no loop ends by one unnoticed.
pub(crate) async fn caught(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(_) => Err(anyhow::anyhow!("it panicked; the daemon's log has the place")),
    }
}
