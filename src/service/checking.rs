//! Reads stored contents again and compares them with their hashes. What is damaged is remembered, with
//! every version that has it: new runs are refused those. The bytes can be sent again, into any version;
//! the next check puts them back wherever they were lost ([`mending`](super::mending)). A copy of a version
//! on S3 has its bytes in its bucket: it goes, or is mended from there while a run reads it.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{ServiceError, Services, blocking};
use crate::{
    domain::{
        content::{ContentHash, Totals},
        id::TeamId,
        storage_care::{DamagedContent, DamagedVersion, FsckReport, NamedVersion},
        storage_provider::ProviderKind,
        user_path::shown,
    },
    storage::dataset::{CareError, Damage, Holder, ScrubOrder, TeamFiles, usage},
    store::{
        StoreError, cached_versions,
        damaged_contents::{self, DamagedRow},
        datasets, versions,
    },
};

/// Time between two words on how far a check is.
const TELL: Duration = Duration::from_millis(500);
/// Damaged contents that a report names, at most.
const NAMED: u32 = 1000;

/// How a check is done.
#[derive(Debug, Clone)]
pub struct CheckOrder {
    /// Part of all contents that is read, 1 to 100.
    pub percent: u8,
    /// The most that is read in a second; 0 is no limit.
    pub bytes_per_second: u64,
    /// Ends it early when it is set.
    pub stop: Arc<AtomicBool>,
}

impl Services {
    /// Reads `percent` of all contents, going on where the last check ended. How far it is stands on
    /// the board. Broken off, it returns what it found so far.
    pub(crate) async fn check_contents(&self, order: CheckOrder) -> Result<FsckReport, ServiceError> {
        let mut report = FsckReport {
            running: true,
            percent: order.percent,
            checked_files: 0,
            done_bytes: 0,
            total_bytes: 0,
            // Before the reading, which can take hours.
            mended: self.mend().await?,
            damaged: self.known_damage().await?,
            started_at: self.clock.now(),
            finished_at: None,
        };
        let data = self.data.clone();
        let teams = blocking(move || data.team_ids()).await?;
        for team in &teams {
            let blobs = self.data.team_blobs(team);
            let stored = blocking(move || usage(&blobs, &|_| ControlFlow::Continue(()))).await.map_err(of_care)?;
            report.total_bytes += (u128::from(stored.bytes) * u128::from(order.percent) / 100) as u64;
        }
        self.board.set_fsck(Some(report.clone()));
        for team in &teams {
            let files = self.team_files(team).await?;
            let (done, damages) = self.scrub(team, files, &order, report.clone()).await?;
            report.checked_files += done.files;
            report.done_bytes += done.bytes;
            if !damages.is_empty() {
                self.note_damage(team, damages).await?;
                // The same bytes may be here in another mode.
                report.mended.extend(self.mend().await?);
                report.damaged = self.known_damage().await?;
            }
        }
        report.running = false;
        report.finished_at = Some(self.clock.now());
        // A stretch of the hashes is only about so many percent of the bytes.
        report.total_bytes = report.done_bytes;
        self.board.set_fsck(Some(report.clone()));
        Ok(report)
    }

    /// Reads a stretch of a team's contents.
    async fn scrub(
        &self,
        team: &TeamId,
        files: TeamFiles,
        order: &CheckOrder,
        so_far: FsckReport,
    ) -> Result<(Totals, Vec<Damage>), ServiceError> {
        let after = if order.percent >= 100 { None } else { self.care.stretch(team, || self.somewhere()) };
        let scrub = ScrubOrder {
            percent: order.percent,
            after,
            bytes_per_second: Some(order.bytes_per_second).filter(|rate| *rate > 0),
        };
        let (board, stop) = (Arc::clone(&self.board), Arc::clone(&order.stop));
        let scrubbed = blocking(move || {
            let told = Mutex::new(Instant::now());
            let watch = |done: Totals| {
                if stop.load(Ordering::Relaxed) {
                    return ControlFlow::Break(());
                }
                let mut told = told.lock().expect("no code panics while it holds this lock");
                if told.elapsed() >= TELL {
                    *told = Instant::now();
                    let mut report = so_far.clone();
                    report.checked_files += done.files;
                    report.done_bytes += done.bytes;
                    report.total_bytes = report.total_bytes.max(report.done_bytes);
                    board.set_fsck(Some(report));
                }
                ControlFlow::Continue(())
            };
            files.scrub(&scrub, &mut |damage| tracing::error!(hash = %damage.content.hash, "a stored file is damaged: {}", damage.fault), &watch)
        });
        let scrubbed = scrubbed.await?;
        self.care.set_stretch(team, scrubbed.next);
        Ok((scrubbed.totals, scrubbed.damaged.into_iter().filter(|damage| damage.fault.is_loss()).collect()))
    }

    /// A place to begin after a start, so that a box which restarts often still gets around.
    fn somewhere(&self) -> ContentHash {
        let mut hash = [0; 32];
        self.ids.fill(&mut hash);
        ContentHash(hash)
    }

    /// Remembers damaged contents and marks every version that has them.
    async fn note_damage(&self, team: &TeamId, damages: Vec<Damage>) -> Result<(), ServiceError> {
        let files = self.team_files(team).await?;
        let hashes: HashSet<_> = damages.iter().map(|damage| damage.content.hash).collect();
        let search = files.clone();
        let holders = blocking(move || {
            let holders = search.versions_with(&hashes, &|_| ControlFlow::Continue(()))?;
            // Of a version on S3 without a copy here nothing is damaged.
            let has_files = |holder: &Holder| search.version(&holder.dataset, &holder.version).tree().exists();
            Ok(holders.into_iter().filter(has_files).collect::<Vec<_>>())
        });
        let holders = holders.await.map_err(of_care)?;
        let (services, of, found) = (self.clone(), team.clone(), damages.clone());
        let copies = self
            .store
            .write(move |tx| {
                let now = services.clock.now();
                for damage in &found {
                    damaged_contents::put(tx, &of, &damage.content.hash, damage.content.bytes, now)?;
                }
                let mut copies = Vec::new();
                for holder in &holders {
                    let Some((version, _)) = versions::by_ids(tx, &holder.dataset, &holder.version)? else { continue };
                    let on_s3 = datasets::by_id(tx, &holder.dataset)?
                        .is_some_and(|dataset| dataset.provider_kind == ProviderKind::S3);
                    if on_s3 && cached_versions::forget_unused(tx, version.seq)? {
                        // The bucket has it whole: the copy goes, and is made again when it is needed.
                        copies.push((holder.dataset.clone(), holder.version.clone()));
                    } else if version.damaged_at.is_none() {
                        // Also a copy that a run reads: it stays, and others are kept off it till it is
                        // mended from the bucket, or gone.
                        versions::set_damaged(tx, version.seq, Some(now))?;
                        services.tell_version(tx, &version, "changed", serde_json::json!({ "damaged": true }))?;
                    }
                }
                Ok::<_, ServiceError>(copies)
            })
            .await?;
        crate::fault::point("fsck.noted");
        // Only now: until it was noted, the next check had to find it again. What is sent anew is
        // stored beside, and not taken for stored already.
        blocking(move || {
            for (dataset, version) in copies {
                files.version(&dataset, &version).remove_tree()?;
            }
            damages.iter().try_for_each(|damage| files.disown(damage))
        })
        .await?;
        Ok(())
    }

    /// Returns every damaged content that a version still has, and forgets the others.
    async fn known_damage(&self) -> Result<Vec<DamagedContent>, ServiceError> {
        let rows: Vec<DamagedRow> = self.store.read(|connection| damaged_contents::all(connection, NAMED)).await?;
        let mut of_teams: HashMap<TeamId, Vec<DamagedRow>> = HashMap::new();
        for row in rows {
            of_teams.entry(row.team.clone()).or_default().push(row);
        }
        let mut known = Vec::new();
        for (team, rows) in of_teams {
            let files = self.team_files(&team).await?;
            let hashes: HashSet<_> = rows.iter().map(|row| row.hash).collect();
            let holders = blocking(move || files.versions_with(&hashes, &|_| ControlFlow::Continue(()))).await;
            let holders = holders.map_err(of_care)?;
            for row in rows {
                let held: Vec<Holder> = holders.iter().filter(|holder| holder.hash == row.hash).cloned().collect();
                let versions = self.damaged_versions(held).await?;
                if versions.is_empty() {
                    let (team, hash) = (row.team.clone(), row.hash);
                    let forget = self.store.write(move |tx| damaged_contents::forget(tx, &team, &hash));
                    forget.await.map_err(ServiceError::from)?;
                    continue;
                }
                let DamagedRow { team, hash, bytes, found_at } = row;
                known.push(DamagedContent { team, hash, bytes, found_at, versions });
            }
        }
        known.sort_by_key(|content| (content.found_at, content.hash));
        Ok(known)
    }

    /// Names those versions that are marked as damaged.
    async fn damaged_versions(&self, holders: Vec<Holder>) -> Result<Vec<DamagedVersion>, ServiceError> {
        let named = self.store.read(move |connection| {
            let mut named = Vec::new();
            for holder in holders {
                let Some((version, None)) = versions::by_ids(connection, &holder.dataset, &holder.version)? else {
                    continue;
                };
                let Some(dataset) = datasets::by_id(connection, &holder.dataset)? else { continue };
                if version.damaged_at.is_some() {
                    named.push(DamagedVersion {
                        version: NamedVersion {
                            team: version.team,
                            dataset: holder.dataset,
                            name: dataset.name,
                            version: version.id,
                        },
                        paths: holder.paths.iter().map(|path| shown(path.as_bytes())).collect(),
                    });
                }
            }
            Ok::<_, StoreError>(named)
        });
        Ok(named.await?)
    }
}

pub(super) fn of_care(error: CareError) -> ServiceError {
    match error {
        CareError::Io(error) => error.into(),
        CareError::Stopped => std::io::Error::from(std::io::ErrorKind::Interrupted).into(),
    }
}
