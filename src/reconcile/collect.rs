//! Removes what nobody needs any more: old events, sessions and idempotency keys, uploads that no job
//! names, files of jobs that are gone. Thins out old metrics.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Loop, Works, drive};
use crate::{
    service::blocking,
    store::{StoreError, events, idempotency, notebooks, points, sessions, tickets, uploads, workloads},
};

const PERIOD: Duration = Duration::from_secs(600);
/// Series that are thinned in one transaction.
const BATCH: u32 = 200;
/// Files that no row names are left alone for so long, in case their row is only late.
const GRACE: Duration = Duration::from_secs(3600);

/// Starts the loop.
pub fn start(works: &Works) {
    works.tasks.spawn(drive(Collect { works: works.clone() }, works.clone(), Arc::default(), PERIOD));
}

struct Collect {
    works: Works,
}

impl Loop for Collect {
    const NAME: &'static str = "collect";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let settings = Arc::clone(&self.works.settings);
        let now = self.works.clock.now();
        let forget_events = now.minus(settings.keep_events);
        let keep_keys = now.minus(settings.keep_idempotency);
        while self.works.store.write(move |tx| events::prune(tx, forget_events)).await? > 0 {}
        let expired = self
            .works
            .store
            .write(move |tx| {
                idempotency::prune(tx, keep_keys)?;
                sessions::prune(tx, now)?;
                tickets::prune(tx, now)?;
                uploads::prune(tx, now)
            })
            .await?;
        let store = self.works.services.upload_store().clone();
        blocking(move || expired.iter().try_for_each(|id| store.remove(id))).await?;
        self.thin(now.minus(settings.keep_raw_metrics).0 / 1_000_000, 60).await?;
        self.thin(now.minus(settings.keep_minute_metrics).0 / 1_000_000, 600).await?;
        self.remove_orphans().await?;
        self.remove_notebooks().await?;
        self.tidy_arriving().await
    }
}

impl Collect {
    /// Averages samples from before second `before` over `bucket` seconds.
    async fn thin(&self, before: i64, bucket: u32) -> anyhow::Result<()> {
        let mut from = Some(0);
        while let Some(start) = from {
            from = self.works.store.write(move |tx| points::thin(tx, start, before, bucket, BATCH)).await?;
        }
        Ok(())
    }

    /// Removes the directories of notebooks that somebody deleted: a crash came before their files were gone.
    async fn remove_notebooks(&self) -> anyhow::Result<()> {
        let data = self.works.data.clone();
        let found = blocking(move || {
            let mut found = Vec::new();
            for team in data.team_ids()? {
                found.extend(data.notebook_ids(&team)?.into_iter().map(|id| (team.clone(), id)));
            }
            Ok::<_, std::io::Error>(found)
        });
        let found = found.await?;
        let orphans = self.works.store.read(move |connection| {
            let mut orphans = Vec::new();
            for (team, id) in found {
                if notebooks::get(connection, &id)?.is_none() && events::was_deleted(connection, id.as_str())? {
                    orphans.push((team, id));
                }
            }
            Ok::<_, StoreError>(orphans)
        });
        let (orphans, data) = (orphans.await?, self.works.data.clone());
        blocking(move || {
            orphans.iter().try_for_each(|(team, id)| {
                tracing::info!(notebook.id = %id, "removing the files of a notebook that is gone");
                data.remove_notebook(team, id)
            })
        })
        .await?;
        Ok(())
    }

    /// Removes what is left of files that never got their place.
    async fn tidy_arriving(&self) -> anyhow::Result<()> {
        let (data, services) = (self.works.data.clone(), self.works.services.clone());
        blocking(move || data.team_ids()?.iter().try_for_each(|team| services.tidy_arriving(team))).await?;
        Ok(())
    }

    /// Removes the directories of jobs and uploads that have no row: a crash came between the two.
    async fn remove_orphans(&self) -> anyhow::Result<()> {
        let data = self.works.data.clone();
        let found = blocking(move || data.run_ids()).await?;
        let orphans = self
            .works
            .store
            .read(move |connection| {
                let mut orphans = Vec::new();
                for id in found {
                    // Only what somebody deleted: a database that was put back does not know the newest jobs,
                    // and their files must not be lost for that.
                    if workloads::get(connection, &id)?.is_none() && events::was_deleted(connection, id.as_str())? {
                        orphans.push(id);
                    }
                }
                Ok::<_, StoreError>(orphans)
            })
            .await?;
        let known: HashSet<_> = self.works.store.read(uploads::all).await?.into_iter().collect();
        let (data, store) = (self.works.data.clone(), self.works.services.upload_store().clone());
        let now = self.works.clock.now();
        blocking(move || {
            for id in &orphans {
                tracing::info!(run.id = %id, "removing the files of a run that is gone");
                data.remove_run(id)?;
            }
            store.expire(now.minus(GRACE), &|id| known.contains(id))?;
            Ok::<_, std::io::Error>(())
        })
        .await?;
        Ok(())
    }
}
