//! Removes, now and then, files that nothing refers to, and what was begun and never went on.

use std::sync::Arc;

use super::{Loop, Works, drive};

/// Starts the loop.
pub fn start(works: &Works) {
    let period = works.settings.gc_interval;
    works.tasks.spawn(drive(Gc { works: works.clone() }, works.clone(), Arc::default(), period));
}

struct Gc {
    works: Works,
}

impl Loop for Gc {
    const NAME: &'static str = "gc";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let services = &self.works.services;
        let expired = services.expire_parts().await?;
        if expired > 0 {
            tracing::info!(expired, "forgot files in parts to which nothing came for a week");
        }
        let report = services.collect_unused(false, services.settings.storage.gc_grace, true).await?;
        if report.files() > 0 || !report.versions.is_empty() {
            let (bytes, files, versions) = (report.bytes(), report.files(), report.versions.len());
            tracing::info!(bytes, files, versions, "removed files that nothing refers to");
        }
        for left in &report.buckets {
            let (bytes, objects, uploads) = (left.bytes, left.objects, left.uploads);
            tracing::info!(team = %left.team, bytes, objects, uploads, "removed from buckets what no version has");
        }
        Ok(())
    }
}
