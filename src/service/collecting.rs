//! Removes what nothing refers to: files of versions that were deleted, and contents that no version
//! has. Nothing that a run which is not over reads is removed, and nothing before its grace period is
//! over.

use std::{collections::HashMap, fs, io, ops::ControlFlow, time::Duration};

use super::{ServiceError, Services, blocking, bucket_sweep::BucketSweep, version_home::of_tree};
use crate::{
    domain::{
        dataset::Dataset,
        id::{DatasetId, TeamId, VersionId},
        storage_care::{GcReport, GcTeam, GcVersion, NamedVersion},
        storage_provider::ProviderKind,
        time::Timestamp,
    },
    storage::{
        dataset::{CareError, SweepOrder, Swept, TeamFiles},
        layout::VersionDir,
        s3::unfinished::{Making, note_place},
    },
    store::{StoreError, datasets, versions},
};

/// Deleted versions that are removed in one go; the rest follows in the next.
const VERSIONS: u32 = 10_000;
/// How long files of a version that no row names are kept. A crash leaves such behind; so does a
/// database that was put back from a backup, and then somebody may still want them.
const UNKNOWN_GRACE: Duration = Duration::from_secs(7 * 86_400);

/// How long a file in parts to which nothing comes is kept.
const PARTS_GRACE: Duration = Duration::from_secs(7 * 86_400);

impl Services {
    /// Forgets files in parts that nobody goes on with, of all teams, and returns how many those were.
    pub(crate) async fn expire_parts(&self) -> Result<usize, ServiceError> {
        let before = self.clock.now().minus(PARTS_GRACE);
        let data = self.data.clone();
        let mut expired = 0;
        for team in blocking(move || data.team_ids()).await? {
            let parts = self.team_files(&team).await?.multiparts();
            expired += blocking(move || parts.expire(before)).await.map_err(of_tree)?.len();
        }
        Ok(expired)
    }

    /// Removes what nothing refers to, of all teams, or says what it would remove. One at a time here;
    /// one of another process beside it is harmless. `alone` says whether the data directory is this
    /// process's own, so that what others left half made goes too.
    pub(crate) async fn collect_unused(
        &self,
        dry_run: bool,
        grace: Duration,
        alone: bool,
    ) -> Result<GcReport, ServiceError> {
        let _collecting = self.care.collecting.lock().await;
        let now = self.clock.now();
        let deleted = now.minus(grace);
        let deleted: Vec<versions::Deleted> =
            self.store.read(move |connection| versions::to_remove(connection, deleted, VERSIONS)).await?;
        let mut of_teams: HashMap<TeamId, Vec<versions::Deleted>> = HashMap::new();
        for version in deleted {
            of_teams.entry(version.team.clone()).or_default().push(version);
        }
        let mut report = GcReport { dry_run, at: now, versions: Vec::new(), contents: Vec::new(), buckets: Vec::new() };
        let data = self.data.clone();
        for team in blocking(move || data.team_ids()).await? {
            let deleted = of_teams.remove(&team).unwrap_or_default();
            let order = SweepOrder { versions: Vec::new(), now, grace, dry_run, leftovers: alone };
            self.collect_of_team(&team, deleted, order, &mut report).await?;
        }
        self.board.set_gc(Some(report.clone()));
        if !dry_run {
            self.care.wake_usage.notify_one();
        }
        Ok(report)
    }

    async fn collect_of_team(
        &self,
        team: &TeamId,
        deleted: Vec<versions::Deleted>,
        mut order: SweepOrder,
        report: &mut GcReport,
    ) -> Result<(), ServiceError> {
        let (now, dry_run) = (order.now, order.dry_run);
        let mut sweep = BucketSweep::new(self, team, &order);
        let deleted = sweep.deleted(deleted).await;
        order.versions = deleted.iter().map(|version| (version.dataset.clone(), version.version.clone())).collect();
        order.versions.extend(self.unknown_versions(team, now, &mut sweep).await?);
        report.buckets.extend(Some(sweep.swept).filter(|swept| !swept.is_empty()));
        crate::fault::point("gc.sweep.before");
        let swept = self.sweep(team, order).await?;
        crate::fault::point("gc.sweep.after");
        if !dry_run {
            let removed: Vec<i64> = deleted.iter().map(|version| version.seq).collect();
            self.store
                .write(move |tx| removed.iter().try_for_each(|seq| versions::set_removed(tx, *seq, now)))
                .await
                .map_err(ServiceError::from)?;
        }
        if swept.totals.files > 0 {
            let (bytes, files) = (swept.totals.bytes, swept.totals.files);
            report.contents.push(GcTeam { team: team.clone(), bytes, files });
        }
        let names: HashMap<_, _> =
            deleted.iter().map(|version| ((&version.dataset, &version.version), &version.dataset_name)).collect();
        for one in &swept.versions {
            let name = names.get(&(&one.dataset, &one.version)).map_or("", |name| name.as_str()).to_owned();
            report.versions.push(GcVersion {
                version: NamedVersion {
                    team: team.clone(),
                    dataset: one.dataset.clone(),
                    name,
                    version: one.version.clone(),
                },
                bytes: one.totals.bytes,
                files: one.totals.files,
            });
        }
        Ok(())
    }

    async fn sweep(&self, team: &TeamId, order: SweepOrder) -> Result<Swept, ServiceError> {
        let files = self.team_files(team).await?;
        let swept = blocking(move || files.sweep(&order, &|_| ControlFlow::Continue(()))).await;
        swept.map_err(|error| match error {
            CareError::Io(error) => error.into(),
            CareError::Stopped => std::io::Error::from(std::io::ErrorKind::Interrupted).into(),
        })
    }

    /// Finds directories of versions that no row ever named, or no more: those that somebody began to
    /// make in a bucket and did not get to the end of, and those that were found so a while ago. Notes
    /// those that are found so for the first time, but for a dry run. What they have in buckets goes, and
    /// what nobody goes on with of the others.
    async fn unknown_versions(
        &self,
        team: &TeamId,
        now: Timestamp,
        sweep: &mut BucketSweep<'_>,
    ) -> Result<Vec<(DatasetId, VersionId)>, ServiceError> {
        let files = self.team_files(team).await?;
        let dry_run = sweep.dry_run();
        let mut gone = Vec::new();
        for (dataset, version) in blocking(move || files.version_ids()).await? {
            let dir = self.data.version(team, &dataset, &version);
            // Taken before it is asked for: who makes a version has its row before letting go of it.
            let look = dir.clone();
            let making =
                blocking(move || Ok::<_, io::Error>((look.making().exists(), Making::abandoned(&look)?))).await?;
            let (of, id) = (dataset.clone(), version.clone());
            let row = self.store.read(move |connection| {
                let row = versions::by_ids(connection, &of, &id)?.map(|(_, deleted_at)| deleted_at);
                Ok::<_, StoreError>((row, datasets::by_id(connection, &of)?))
            });
            let is_gone = match (row.await?, making) {
                ((Some(deleted_at), dataset), (_, making)) => {
                    if !dry_run {
                        let (known, of_bucket) = (dir.clone(), dataset.clone());
                        blocking(move || made_and_known(&known, making, of_bucket)).await?;
                    }
                    if let (None, Some(dataset)) = (deleted_at, dataset) {
                        sweep.uploads_into(&dataset, &version).await;
                    }
                    false
                }
                // Somebody is making it right now.
                (_, (true, None)) => false,
                (_, (_, Some(making))) => making.since()? <= now.minus(sweep.grace()),
                (_, (false, None)) => {
                    let since = blocking(move || unknown_since(&dir, dry_run)).await?;
                    since.is_some_and(|since| since <= now.minus(UNKNOWN_GRACE))
                }
            };
            if is_gone && sweep.unknown(&dataset, &version).await {
                gone.push((dataset, version));
            }
        }
        Ok(gone)
    }

    pub(crate) async fn team_files(&self, team: &TeamId) -> Result<TeamFiles, ServiceError> {
        let (store, team) = (self.datasets.clone(), team.clone());
        Ok(blocking(move || store.team(&team)).await?)
    }
}

/// Tidies up after whoever made a version that is there.
fn made_and_known(dir: &VersionDir, making: Option<Making>, dataset: Option<Dataset>) -> io::Result<()> {
    found_known(dir)?;
    if let Some(making) = making {
        making.is_made()?;
    }
    match dataset {
        Some(dataset) if dataset.provider_kind == ProviderKind::S3 => note_place(dir, &dataset.provider),
        _ => Ok(()),
    }
}

/// Returns since when a version is known to be unknown, from the age of a file that is put into its
/// directory then. The directory's own age says nothing: a database that was put back from a backup
/// does not know versions that may be months old. `None` when `dry_run` keeps from noting it.
fn unknown_since(version: &VersionDir, dry_run: bool) -> io::Result<Option<Timestamp>> {
    let mark = version.unknown();
    let facts = match fs::metadata(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && dry_run => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::File::create_new(&mark) {
            Ok(file) => file.metadata()?,
            // Another process has removed the version meanwhile, or marked it.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        },
        facts => facts?,
    };
    let since = facts.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Some(Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))))
}

/// Forgets that a version was unknown, so that its time begins anew if it should be once more.
fn found_known(version: &VersionDir) -> io::Result<()> {
    match fs::remove_file(version.unknown()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::layout::DataDir;

    #[expect(clippy::disallowed_methods, reason = "the file system has its own clock")]
    #[test]
    fn a_version_counts_as_unknown_from_the_first_time_that_it_was_found_so() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(dir.path()).unwrap();
        let (dataset, id) = ("ds0123456789abc".parse().unwrap(), "v000001".parse().unwrap());
        let version = data.version(&"tabc123".parse().unwrap(), &dataset, &id);
        version.create().unwrap();
        let age = |path: &std::path::Path| {
            let year_ago = std::time::SystemTime::now() - Duration::from_secs(365 * 86_400);
            fs::File::open(path).unwrap().set_modified(year_ago).unwrap();
        };
        age(version.root());
        assert_eq!(unknown_since(&version, true).unwrap(), None);
        let micros = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let hour_ago = Timestamp(i64::try_from(micros).unwrap()).minus(Duration::from_secs(3600));
        assert!(unknown_since(&version, false).unwrap().unwrap() > hour_ago);
        age(&version.unknown());
        assert!(unknown_since(&version, true).unwrap().unwrap() < hour_ago);
        found_known(&version).unwrap();
        found_known(&version).unwrap();
        assert!(unknown_since(&version, false).unwrap().unwrap() > hour_ago);
    }
}
