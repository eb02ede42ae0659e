//! Where everything is in the data directory. Nothing else puts a path together.
//!
//! ```text
//! DATA_DIR/                 0700: only the daemon's user may come in
//!   gradientd.db            the metadata, with -wal and -shm
//!   lock                    held by the daemon that runs
//!   admin.key               0600: the first key
//!   keys/                   0700: what secrets are encrypted with
//!   teams/TEAM/storage/     0777: /storage in the team's containers
//!   runs/JOB/workspace/     0777: the working directory
//!   runs/JOB/artifacts/     0777: /artifacts
//!   runs/JOB/attempts/N/log/   0700: the log's segments
//!   uploads/ID/             0700: an archive and what is known of it
//!   backups/                0700
//! ```
//! A container's user can be any number, so what containers see is open to everybody. That is safe
//! because a bind mount does not pass through the directories above it, while every other way to
//! these directories leads through one that only the daemon's user may enter.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::domain::id::{JobId, TeamId};

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Makes the data directory with what is always in it, or finds it. Modes are set right again.
    pub fn create(root: &Path) -> io::Result<Self> {
        private_dir(root)?;
        // Mounts and messages need a path that does not depend on where the daemon was started.
        let dir = Self(root.canonicalize()?);
        for inner in [dir.keys(), dir.teams(), dir.runs(), dir.uploads(), dir.backups()] {
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

    /// Returns everything that belongs to one job.
    pub fn run(&self, job: &JobId) -> RunDir {
        RunDir(self.runs().join(job.as_str()))
    }

    /// Lists the jobs that have a directory, for finding those that nobody knows any more.
    pub fn run_ids(&self) -> io::Result<Vec<JobId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.runs())? {
            if let Some(Ok(id)) = entry?.file_name().to_str().map(str::parse) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Removes everything that belongs to one job. Blocks for as long as its files take.
    ///
    /// # Errors
    /// `PermissionDenied` when a container left files under another user's id and the daemon is not
    /// root.
    pub fn remove_run(&self, job: &JobId) -> io::Result<()> {
        super::beneath::Beneath::open(&self.runs())?.remove_tree(job.as_str().as_bytes())
    }
}

/// What belongs to one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the run's directory and its artifacts, or finds them. The workspace is not made here:
    /// that it exists means that it is complete.
    pub fn create(&self) -> io::Result<()> {
        private_dir(&self.0)?;
        shared_dir(&self.artifacts())
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Returns the working directory; see `workspace::prepare`.
    pub fn workspace(&self) -> PathBuf {
        self.0.join("workspace")
    }

    /// Returns what the run leaves behind for people, `/artifacts` in its container.
    pub fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    /// Returns where the log of attempt `number` is, counted from 1.
    pub fn log(&self, number: u32) -> PathBuf {
        self.0.join("attempts").join(number.to_string()).join("log")
    }

    /// Makes the log directory of attempt `number`, or finds it.
    pub fn create_log(&self, number: u32) -> io::Result<PathBuf> {
        let log = self.log(number);
        DirBuilder::new().recursive(true).mode(0o700).create(&log)?;
        Ok(log)
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
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
        for shared in [dir.team_storage(&team), run.artifacts()] {
            assert_eq!(mode(&shared), 0o777);
        }
        for private in [dir.root(), &dir.keys(), &dir.uploads(), &dir.backups(), run.root(), &run.log(1)] {
            assert_eq!(mode(private), 0o700, "{}", private.display());
        }
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
