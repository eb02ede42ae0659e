//! Reads a part of the stored contents again, every day or whenever it is asked for, to find what the
//! disk has lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Loop, Works, drive};
use crate::{domain::time::Timestamp, service::checking::CheckOrder};

/// Time between two looks whether a check is due.
const PERIOD: Duration = Duration::from_secs(60);

/// Starts the loop.
pub fn start(works: &Works) {
    let nudge = Arc::clone(&works.services.care.wake_fsck);
    // Counted from the start, so that a box which is started every day does not read at every start.
    let last = works.clock.now();
    works.tasks.spawn(drive(Fsck { works: works.clone(), last }, works.clone(), nudge, PERIOD));
}

struct Fsck {
    works: Works,
    /// When the last check that was due began.
    last: Timestamp,
}

impl Loop for Fsck {
    const NAME: &'static str = "fsck";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let (services, settings) = (&self.works.services, &self.works.settings);
        let asked = services.check_asked();
        let now = self.works.clock.now();
        let due = settings.fsck_percent > 0 && now.since(self.last) >= settings.fsck_interval;
        let Some(percent) = asked.or(due.then_some(settings.fsck_percent)) else { return Ok(()) };
        if asked.is_none() {
            self.last = now;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let order = CheckOrder {
            percent,
            bytes_per_second: services.settings.storage.fsck_bytes_per_second,
            stop: Arc::clone(&stop),
        };
        let ending = self.works.stop.clone().run_until_cancelled_owned(std::future::pending::<()>());
        let check = services.check_contents(order);
        tokio::pin!(check, ending);
        let report = tokio::select! {
            report = &mut check => report?,
            // It ends at the next file, and goes on there after the next start.
            _ = &mut ending => {
                stop.store(true, Ordering::Relaxed);
                check.await?
            }
        };
        if !report.mended.is_empty() {
            let files: u64 = report.mended.iter().map(|mended| mended.files).sum();
            tracing::info!(
                files,
                versions = report.mended.len(),
                "damaged files are whole again, for their bytes were sent anew"
            );
        }
        if !report.damaged.is_empty() {
            tracing::error!(
                contents = report.damaged.len(),
                "stored files are damaged: see gradientd fsck, or the storage page"
            );
        }
        Ok(())
    }
}
