//! What belongs to one run: its directories, and where places on S3 are mounted for it.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{open_dir, private_dir, shared_dir};
use crate::storage::beneath::Beneath;

/// What belongs to one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(pub(super) PathBuf);

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

    /// Returns what becomes a version of a dataset, `/outputs/NAME` in its container.
    pub fn output(&self, name: &str) -> PathBuf {
        self.outputs().join(name)
    }

    /// Makes the directory of an output, or finds it with what an earlier attempt wrote.
    pub fn create_output(&self, name: &str) -> io::Result<PathBuf> {
        private_dir(&self.outputs())?;
        shared_dir(&self.output(name))?;
        Ok(self.output(name))
    }

    /// Removes what is left of an output. Blocks for as long as its files take.
    pub fn remove_output(&self, name: &str) -> io::Result<()> {
        match Beneath::open(&self.outputs()) {
            Ok(outputs) => outputs.remove_tree(name.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the directory of links to datasets, `/datasets` in a notebook's session.
    pub fn datasets(&self) -> PathBuf {
        self.0.join("datasets")
    }

    /// Returns where versions of other teams are that a session got while it runs.
    pub fn linked(&self) -> PathBuf {
        self.0.join("linked")
    }

    /// Returns what says which versions of other teams a session's container has mounted.
    pub fn bound(&self) -> PathBuf {
        self.0.join("bound.json")
    }

    /// Returns the directory of links to what a TensorBoard's session shows, `/logs` in its container.
    pub fn shown(&self) -> PathBuf {
        self.0.join("shown")
    }

    /// Returns the configuration of a session's Jupyter server.
    pub fn jupyter(&self) -> PathBuf {
        self.0.join("jupyter")
    }

    /// Returns what holds all outputs.
    pub fn outputs(&self) -> PathBuf {
        self.0.join("outputs")
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

/// Where one place on S3 is mounted for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDir(pub(super) PathBuf);

impl SourceDir {
    /// Makes its directories, or finds them, whatever is mounted there.
    pub fn create(&self) -> io::Result<()> {
        open_dir(&self.0)?;
        // Not looked at further: a dead mount there answers to nothing but a mount over it.
        match DirBuilder::new().mode(0o755).create(self.files()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Returns where the files appear.
    pub fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    /// Removes its directories and the session's, as far as they are empty. What is still mounted stays.
    pub fn remove(&self) -> io::Result<()> {
        for dir in [&self.files(), &self.0] {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{domain::id::JobId, storage::layout::DataDir};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn removing_a_source_takes_nothing_away_that_lies_in_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(temp.path()).unwrap();
        let session: JobId = "js0123456789ab".parse().unwrap();
        let source = dir.source(&session, "lab");
        dir.create_session_sources(&session).unwrap();
        source.create().unwrap();
        source.create().unwrap();
        assert_eq!((mode(source.root()), mode(&source.files())), (0o755, 0o755));
        fs::write(source.files().join("precious"), "x").unwrap();
        assert!(source.remove().is_err());
        assert_eq!(fs::read_to_string(source.files().join("precious")).unwrap(), "x");
        fs::remove_file(source.files().join("precious")).unwrap();
        source.remove().unwrap();
        source.remove().unwrap();
        assert!(!source.root().exists());
    }
}
