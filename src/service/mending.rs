//! Makes versions whole again whose files the disk has lost, once somebody has sent the bytes anew.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use super::{ServiceError, Services, blocking, checking::of_care};
use crate::{
    domain::{
        id::{DatasetId, TeamId, VersionId},
        storage_care::{MendedVersion, NamedVersion},
    },
    storage::dataset::Mending,
    store::{
        StoreError,
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
        self.forget_damage(team, rows, &mending).await?;
        self.named(team, mending).await
    }

    /// Forgets contents that no version has lost any more, and clears the mark of versions without any.
    async fn forget_damage(&self, team: &TeamId, rows: Vec<DamagedRow>, mending: &Mending) -> Result<(), ServiceError> {
        let left = || mending.mended.iter().filter(|one| one.left > 0);
        let contents: HashSet<_> = left().map(|one| one.hash).collect();
        // What could not be looked through is not called whole.
        let marked: HashSet<(DatasetId, VersionId)> = left()
            .map(|one| (one.dataset.clone(), one.version.clone()))
            .chain(mending.unknown.iter().cloned())
            .collect();
        let (services, team) = (self.clone(), team.clone());
        let forgotten = self.store.write(move |tx| {
            for row in rows.iter().filter(|row| !contents.contains(&row.hash)) {
                damaged_contents::forget(tx, &row.team, &row.hash)?;
            }
            for (seq, dataset, version) in versions::damaged(tx, &team)? {
                if marked.contains(&(dataset, version)) {
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
