//! Where everything is in the data directory. Nothing else puts a path together.
//!
//! ```text
//! DATA_DIR/                 0700: only the daemon's user may come in
//!   gradientd.db            the metadata, with -wal and -shm
//!   lock                    held by the daemon that runs
//!   admin.key               0600: the first key
//!   keys/                   0700: what secrets are encrypted with
//!   teams/TEAM/storage/     0777: /storage in the team's containers
//!   teams/TEAM/arriving/    0700: what is on its way into /storage or into notebooks
//!     parts/ID/             a file that comes piece by piece, which outlives the daemon
//!     DAEMON/               what one run of the daemon is making, or is removing
//!   teams/TEAM/blobs/       0700: the bytes of the team's datasets, each under its hash
//!     HH/HASH[x][-N]        0444 or 0555: x is executable, N a further inode of the same bytes
//!     incoming/             what is still being made, and the parts of multipart uploads
//!   teams/TEAM/datasets/DATASET/VERSION/   0700
//!     tree/                 0755: the files, links to blobs; what containers see
//!     manifest.jsonl.zst    the files of a version that is committed
//!     ledger.jsonl          what is known of the files of a draft on S3
//!     making.json           where a version on S3 lies that is still being made
//!     bucket.json           where a version on S3 lies
//!     sending/N             an upload in parts that is under way to a bucket
//!   teams/TEAM/notebooks/NOTEBOOK/   0700
//!     home/                 0777: /notebooks in its sessions
//!     copying/              the same of a fork, as long as it is being copied
//!     packages/             0777: what pip installs, where it is kept
//!     unsent/PLACE/         0777: what it wrote to a place on S3 and is not there yet; 0700 above
//!   runs/JOB/workspace/     0777: the working directory
//!   runs/JOB/artifacts/     0777: /artifacts
//!   runs/JOB/outputs/NAME/  0777: /outputs/NAME; 0700 above
//!   runs/JOB/datasets/      0755: links to datasets, of a notebook's session
//!   runs/JOB/jupyter/       0755: the configuration of its server
//!   runs/JOB/attempts/N/log/   0700: the log's segments
//!   sources/SESSION/NAME/files/   0755: where a place on S3 is mounted; its directories are removed one by
//!                           one and empty, because what is found in there may be somebody's bucket
//!   source-cache/NOTEBOOK/PLACE/   0777: what was written there and is not in the bucket yet
//!   uploads/ID/             0700: an archive and what is known of it
//!   backups/                0700
//! ```
//! A container's user can be any number, so what containers see is open to everybody. That is safe
//! because a bind mount does not pass through the directories above it, while every other way to
//! these directories leads through one that only the daemon's user may enter.

mod run;
mod team;

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

pub use run::{RunDir, SourceDir};
pub use team::{NotebookDir, VersionDir};

use super::beneath::Beneath;
use crate::domain::id::{DatasetId, JobId, NotebookId, TeamId, VersionId};

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Makes the data directory with what is always in it, or finds it. Modes are set right again.
    pub fn create(root: &Path) -> io::Result<Self> {
        private_dir(root)?;
        // Mounts and messages need a path that does not depend on where the daemon was started.
        let dir = Self(root.canonicalize()?);
        for inner in [dir.keys(), dir.teams(), dir.runs(), dir.uploads(), dir.backups(), dir.sources()] {
            private_dir(&inner)?;
        }
        Ok(dir)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("gradientd.db")
    }

    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub fn admin_key(&self) -> PathBuf {
        self.0.join("admin.key")
    }

    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub fn uploads(&self) -> PathBuf {
        self.0.join("uploads")
    }

    pub fn backups(&self) -> PathBuf {
        self.0.join("backups")
    }

    /// Returns what holds everything that is mounted for sessions. Never to be walked: what is in there may
    /// be a bucket, and may not answer.
    pub fn sources(&self) -> PathBuf {
        self.0.join("sources")
    }

    /// Returns what holds the places on S3 of one session.
    pub fn session_sources(&self, session: &JobId) -> PathBuf {
        self.sources().join(session.as_str())
    }

    /// Makes what holds the places on S3 of one session, or finds it.
    pub fn create_session_sources(&self, session: &JobId) -> io::Result<PathBuf> {
        let dir = self.session_sources(session);
        open_dir(&dir)?;
        Ok(dir)
    }

    /// Returns one place on S3 of a session.
    pub fn source(&self, session: &JobId, name: &str) -> SourceDir {
        SourceDir(self.session_sources(session).join(name))
    }

    fn teams(&self) -> PathBuf {
        self.0.join("teams")
    }

    fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// Returns a team's shared files, `/storage` in its containers.
    pub fn team_storage(&self, team: &TeamId) -> PathBuf {
        self.teams().join(team.as_str()).join("storage")
    }

    /// Makes a team's shared directory, or finds it.
    pub fn create_team_storage(&self, team: &TeamId) -> io::Result<PathBuf> {
        private_dir(&self.teams().join(team.as_str()))?;
        shared_dir(&self.team_storage(team))?;
        Ok(self.team_storage(team))
    }

    /// Returns where what is on its way to a team's files is.
    pub fn team_arriving(&self, team: &TeamId) -> PathBuf {
        self.teams().join(team.as_str()).join("arriving")
    }

    /// Makes the directory `name` among what is on its way to a team's files, or finds it.
    pub fn create_team_arriving(&self, team: &TeamId, name: &str) -> io::Result<PathBuf> {
        let arriving = self.team_arriving(team);
        private_dir(&self.teams().join(team.as_str()))?;
        private_dir(&arriving)?;
        private_dir(&arriving.join(name))?;
        Ok(arriving.join(name))
    }

    /// Returns where the bytes of a team's datasets are.
    pub fn team_blobs(&self, team: &TeamId) -> PathBuf {
        self.teams().join(team.as_str()).join("blobs")
    }

    /// Returns where the versions of a team's datasets are.
    pub fn team_datasets(&self, team: &TeamId) -> PathBuf {
        self.teams().join(team.as_str()).join("datasets")
    }

    /// Makes the directories of a team's datasets, or finds them.
    pub fn create_team_datasets(&self, team: &TeamId) -> io::Result<()> {
        let blobs = self.team_blobs(team);
        private_dir(&self.teams().join(team.as_str()))?;
        private_dir(&blobs)?;
        private_dir(&blobs.join(INCOMING))?;
        private_dir(&blobs.join(INCOMING).join(MULTIPART))?;
        passage_dir(&self.team_datasets(team))
    }

    /// Returns everything that belongs to one version of a dataset.
    pub fn version(&self, team: &TeamId, dataset: &DatasetId, version: &VersionId) -> VersionDir {
        VersionDir(self.team_datasets(team).join(dataset.as_str()).join(version.as_str()))
    }

    /// Lists the teams that have a directory.
    pub fn team_ids(&self) -> io::Result<Vec<TeamId>> {
        ids_in(&self.teams())
    }

    /// Lists the versions that a team has directories of, for finding those that nobody knows any
    /// more.
    pub fn version_ids(&self, team: &TeamId) -> io::Result<Vec<(DatasetId, VersionId)>> {
        let datasets = self.team_datasets(team);
        let mut ids = Vec::new();
        for dataset in ids_in::<DatasetId>(&datasets)? {
            let versions = ids_in(&datasets.join(dataset.as_str()))?;
            ids.extend(versions.into_iter().map(|version| (dataset.clone(), version)));
        }
        Ok(ids)
    }

    fn team_notebooks(&self, team: &TeamId) -> PathBuf {
        self.teams().join(team.as_str()).join("notebooks")
    }

    /// Returns everything that belongs to one notebook.
    pub fn notebook(&self, team: &TeamId, notebook: &NotebookId) -> NotebookDir {
        NotebookDir(self.team_notebooks(team).join(notebook.as_str()))
    }

    /// Lists the notebooks that a team has directories of, for finding those that nobody knows any more.
    pub fn notebook_ids(&self, team: &TeamId) -> io::Result<Vec<NotebookId>> {
        ids_in(&self.team_notebooks(team))
    }

    /// Removes everything that belongs to one notebook. Blocks for as long as its files take.
    pub fn remove_notebook(&self, team: &TeamId, notebook: &NotebookId) -> io::Result<()> {
        match Beneath::open(&self.team_notebooks(team)) {
            Ok(notebooks) => notebooks.remove_tree(notebook.as_str().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns everything that belongs to one job.
    pub fn run(&self, job: &JobId) -> RunDir {
        RunDir(self.runs().join(job.as_str()))
    }

    /// Lists the jobs that have a directory, for finding those that nobody knows any more.
    pub fn run_ids(&self) -> io::Result<Vec<JobId>> {
        ids_in(&self.runs())
    }

    /// Removes everything that belongs to one job. Blocks for as long as its files take.
    ///
    /// # Errors
    /// `PermissionDenied` when a container left files under another user's id and the daemon is not
    /// root.
    pub fn remove_run(&self, job: &JobId) -> io::Result<()> {
        Beneath::open(&self.runs())?.remove_tree(job.as_str().as_bytes())
    }
}

/// The directory, among a team's blobs, of what is still being made.
pub(super) const INCOMING: &str = "incoming";
/// The directory in there of uploads that come in parts, which outlive the daemon.
pub(super) const MULTIPART: &str = "multipart";

/// Reads the names in the directory `path` that are ids. One that is not there has none.
fn ids_in<Id: std::str::FromStr>(path: &Path) -> io::Result<Vec<Id>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        if let Some(Ok(id)) = entry?.file_name().to_str().map(str::parse) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Makes a directory in which others find only what they know the name of.
fn passage_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o711))
}

/// Makes a directory that a container's user, whoever that is, can read.
fn open_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Makes a directory that a container's user, whoever that is, can write to.
fn shared_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        // The mode given to mkdir is cut by the daemon's umask.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o777)),
        // A container may have changed the mode since; that is its business.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn containers_may_write_and_others_may_not_come_in() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(&temp.path().join("data")).unwrap();
        let team = "tabc123".parse().unwrap();
        let run = dir.run(&"js0123456789ab".parse().unwrap());
        dir.create_team_storage(&team).unwrap();
        run.create().unwrap();
        run.create_log(1).unwrap();
        let output = run.create_output("model").unwrap();
        for shared in [dir.team_storage(&team), run.artifacts(), output] {
            assert_eq!(mode(&shared), 0o777);
        }
        dir.create_team_datasets(&team).unwrap();
        let blobs = dir.team_blobs(&team);
        for private in [dir.root(), &dir.keys(), &dir.uploads(), &dir.backups(), run.root(), &run.log(1), &blobs] {
            assert_eq!(mode(private), 0o700, "{}", private.display());
        }
        // Sessions of notebooks have a mount of it, and see what they are told the name of.
        assert_eq!(mode(&dir.team_datasets(&team)), 0o711);
    }

    #[test]
    fn making_it_twice_changes_nothing_and_removing_a_run_leaves_the_others() {
        let temp = tempfile::tempdir().unwrap();
        DataDir::create(temp.path()).unwrap();
        let dir = DataDir::create(temp.path()).unwrap();
        let (one, two): (JobId, JobId) = ("js0123456789ab".parse().unwrap(), "js0123456789ac".parse().unwrap());
        dir.run(&one).create().unwrap();
        dir.run(&two).create().unwrap();
        fs::write(dir.run(&one).artifacts().join("model"), "x").unwrap();
        dir.run(&one).create().unwrap();
        dir.remove_run(&one).unwrap();
        dir.remove_run(&one).unwrap();
        assert_eq!(dir.run_ids().unwrap(), [two]);
    }
}
