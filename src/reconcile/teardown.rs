//! Ends what is left of an attempt: its log is made whole, then its container removed, then its outputs
//! become versions.

use std::collections::BTreeSet;

use anyhow::Context;

use super::{
    Works, engine, launch, outputs,
    pump::{self, Pumps},
};
use crate::{
    domain::workload::{Kind, State, Workload},
    executor::ContainerState,
    service::{RunLog, blocking},
    storage::session_data::SessionDir,
    store::workloads,
};

/// Tears down the present attempt. Done again, it goes on where it was.
pub(super) async fn tear_down(works: &Works, pumps: &Pumps, workload: Workload) -> anyhow::Result<()> {
    let name = launch::container_name(&works.settings.box_id, &workload);
    let seen = works.executor.inspect(&name).await.context("looking at its container")?;
    if seen.as_ref().is_some_and(|seen| seen.state == ContainerState::Running) {
        // Called off while a broken-off start was still under way: nobody waits for it to end.
        works.executor.stop(&name, works.settings.stop_grace).await.context("stopping what is over")?;
    }
    // What never started has written nothing, and following it would wait for its start for ever.
    if seen.is_some_and(|seen| seen.state == ContainerState::Created) {
        pump::close(works, &workload).await?;
    } else {
        pumps.drained(&workload).await?;
    }
    engine::note_end(works, &name);
    crate::fault::point("workload.remove.before");
    works.executor.remove(&name).await.context("removing its container")?;
    crate::fault::point("workload.remove.after");
    pumps.forget(&workload);
    if workload.state == State::Pending {
        // Another attempt follows; the loop goes on with it once this container is gone.
        return Ok(());
    }
    if matches!(workload.kind, Kind::Notebook(_)) {
        // Further names of other teams' files: nothing reads them here any more.
        let dir = SessionDir::of(works.data.run(&workload.id));
        blocking(move || dir.keep_taken(&BTreeSet::new())).await.context("removing what it got while it ran")?;
    }
    // Before the end of its teardown is recorded: until then nobody deletes the job with its files.
    outputs::collect(works, &workload).await?;
    crate::fault::point("workload.torn_down.before");
    let now = works.clock.now();
    let key = RunLog { job: workload.id.clone(), attempt: workload.attempt };
    works.store.write(move |tx| workloads::torn_down(tx, &workload, now)).await.context("recording its teardown")?;
    // Whoever began to follow between the log's end and this has not heard of the end.
    works.log_hub.let_go(&key);
    Ok(())
}
