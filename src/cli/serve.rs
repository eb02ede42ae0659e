//! `gradientd serve`: settings → log → data directory → app → wait for a signal → drain.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{data_dir::DataDir, settings::SettingsArgs};
use crate::{app, telemetry};

/// How long file work that is still under way at the end may go on.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When the daemon cannot start, in words that say what to do.
pub fn run(args: &SettingsArgs) -> anyhow::Result<()> {
    let mut loaded = args.load()?;
    telemetry::start(&loaded.config.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.0);
    }
    let mut data_dir = DataDir::claim(&loaded.config.data.dir)?;
    if let Err(error) = data_dir.note_address(loaded.config.server.listen) {
        tracing::warn!(%error, "commands that are run without these settings do not know where this listens");
    }
    loaded.config.data.dir = data_dir.path().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads: this machine is out of memory or processes")?;
    let served = runtime.block_on(async {
        let stop = stop_on_signal()?;
        app::serve(loaded.config, stop).await
    });
    // The lock goes last: nobody may write here while we still do. Work on files that hangs, on a disk
    // or in an archive, must not keep the daemon from ending.
    runtime.shutdown_timeout(LAST_WORK);
    drop(data_dir);
    served
}

/// Returns a token that SIGTERM or SIGINT cancels. A second one ends the process at once, for whoever
/// does not want to wait for the drain; nothing that was accepted is lost by it.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if cancel.is_cancelled() {
                tracing::warn!("{name} again: stopping without waiting");
                std::process::exit(1);
            }
            tracing::info!("{name}: stopping; containers run on");
            cancel.cancel();
        }
    });
    Ok(stop)
}
