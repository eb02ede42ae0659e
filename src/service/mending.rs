//! Makes versions whole again whose files the disk has lost, once somebody has sent the bytes anew, or
//! from the bucket of which they are a copy.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use super::{ServiceError, Services, blocking, checking::of_care, s3_versions::of_files};
use crate::{
    domain::{
        content::ContentHash,
        dataset::Dataset,
        id::{DatasetId, TeamId, VersionId},
        storage_care::{MendedVersion, NamedVersion},
        storage_provider::ProviderKind,
    },
    storage::dataset::{Mending, TeamFiles},
    store::{
        StoreError, cached_versions,
        damaged_contents::{self, DamagedRow},
        datasets, versions,
    },
};

impl Services {
    /// Mends what can be mended of all teams, and forgets the damage that is no more.
    pub(super) async fn mend(&self) -> Result<Vec<MendedVersion>, ServiceError> {
        let rows: Vec<DamagedRow> = self.store.read(|connection| damaged_contents::all(connection, u32::MAX)).await?;
        let mut of_teams: HashMap<TeamId, Vec<DamagedRow>> = HashMap::new();
        for row in rows {
            of_teams.entry(row.team.clone()).or_default().push(row);
        }
        let mut mended = Vec::new();
        for (team, rows) in of_teams {
            mended.extend(self.mend_team(&team, rows).await?);
        }
        mended.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(mended)
    }

    async fn mend_team(&self, team: &TeamId, rows: Vec<DamagedRow>) -> Result<Vec<MendedVersion>, ServiceError> {
        let files = self.team_files(team).await?;
        let hashes: HashSet<_> = rows.iter().map(|row| row.hash).collect();
        self.mend_copies(team, &hashes).await?;
        let team_files = files.clone();
        let mending = blocking(move || {
            let mending = files.mend(&hashes, &|_| ControlFlow::Continue(())).map_err(of_care)?;
            // Before it is said of any version that it is whole.
            if mending.mended.iter().any(|one| one.files > 0) {
                files.blobs().make_durable()?;
            }
            Ok::<_, ServiceError>(mending)
        });
        let mending = mending.await?;
        crate::fault::point("fsck.mended");
        self.forget_damage(team, &team_files, rows, &mending).await?;
        self.named(team, mending).await
    }

    /// Removes damaged copies of versions on S3, which are made again when they are needed; of those that
    /// a run reads it brings the bytes back from the bucket, to be put in their place. What cannot be had
    /// from there now stays damaged until the next check.
    async fn mend_copies(&self, team: &TeamId, hashes: &HashSet<ContentHash>) -> Result<(), ServiceError> {
        let of = team.clone();
        let marked = self.store.write(move |tx| {
            let mut marked: HashMap<(DatasetId, VersionId), (Dataset, bool)> = HashMap::new();
            for (seq, dataset, version) in versions::damaged(tx, &of)? {
                if let Some(found) =
                    datasets::by_id(tx, &dataset)?.filter(|found| found.provider_kind == ProviderKind::S3)
                {
                    let is_unused = cached_versions::forget_unused(tx, seq)?;
                    marked.insert((dataset, version), (found, is_unused));
                }
            }
            Ok::<_, StoreError>(marked)
        });
        let marked = marked.await.map_err(ServiceError::from)?;
        if marked.is_empty() {
            return Ok(());
        }
        let (files, hashes) = (self.team_files(team).await?, hashes.clone());
        let unused: Vec<_> =
            marked.iter().filter(|(_, (_, is_unused))| *is_unused).map(|(ids, _)| ids.clone()).collect();
        let holders = blocking(move || {
            for (dataset, version) in unused {
                files.version(&dataset, &version).remove_tree()?;
            }
            files.versions_with(&hashes, &|_| ControlFlow::Continue(()))
        });
        for holder in holders.await.map_err(of_care)? {
            let Some((dataset, false)) = marked.get(&(holder.dataset, holder.version.clone())) else { continue };
            let Some(path) = holder.paths.first() else { continue };
            let brought = match self.s3_files(dataset, &holder.version).await {
                Ok(files) => files.bring_back(path, &holder.content).await.map_err(of_files),
                Err(error) => Err(error),
            };
            if let Err(error) = brought {
                tracing::warn!(dataset = %dataset.id, version = %holder.version, %path, %error,
                    "a damaged copy that a run reads cannot be mended from its bucket now");
            }
        }
        Ok(())
    }

    /// Forgets contents that no version has lost any more, and clears the mark of versions without any.
    async fn forget_damage(
        &self,
        team: &TeamId,
        files: &TeamFiles,
        rows: Vec<DamagedRow>,
        mending: &Mending,
    ) -> Result<(), ServiceError> {
        let left = || mending.mended.iter().filter(|one| one.left > 0);
        let contents: HashSet<_> = left().map(|one| one.hash).collect();
        // What could not be looked through is not called whole.
        let marked: HashSet<(DatasetId, VersionId)> = left()
            .map(|one| (one.dataset.clone(), one.version.clone()))
            .chain(mending.unknown.iter().cloned())
            .collect();
        let (services, team, files) = (self.clone(), team.clone(), files.clone());
        let forgotten = self.store.write(move |tx| {
            for row in rows.iter().filter(|row| !contents.contains(&row.hash)) {
                damaged_contents::forget(tx, &row.team, &row.hash)?;
            }
            for (seq, dataset, version) in versions::damaged(tx, &team)? {
                let on_s3 = datasets::by_id(tx, &dataset)?.is_some_and(|found| found.provider_kind == ProviderKind::S3);
                // A copy that is gone cannot be looked through, and is no loss.
                let has_none = on_s3 && !files.version(&dataset, &version).tree().exists();
                if !has_none && marked.contains(&(dataset, version)) {
                    continue;
                }
                versions::set_damaged(tx, seq, None)?;
                if let Some(version) = versions::get(tx, seq)? {
                    services.tell_version(tx, &version, "changed", serde_json::json!({ "damaged": false }))?;
                }
            }
            Ok::<_, ServiceError>(())
        });
        forgotten.await
    }

    async fn named(&self, team: &TeamId, mending: Mending) -> Result<Vec<MendedVersion>, ServiceError> {
        let mut files: HashMap<(DatasetId, VersionId), u64> = HashMap::new();
        for one in mending.mended.into_iter().filter(|one| one.files > 0) {
            *files.entry((one.dataset, one.version)).or_default() += one.files;
        }
        let team = team.clone();
        let named = self.store.read(move |connection| {
            let mut named = Vec::new();
            for ((dataset, version), files) in files {
                let name = datasets::by_id(connection, &dataset)?.map(|dataset| dataset.name).unwrap_or_default();
                named.push(MendedVersion {
                    version: NamedVersion { team: team.clone(), dataset, name, version },
                    files,
                });
            }
            Ok::<_, StoreError>(named)
        });
        Ok(named.await?)
    }
}
