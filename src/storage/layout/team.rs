//! What belongs to one notebook and to one version of a dataset of a team.

use std::{
    fs::DirBuilder,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{private_dir, shared_dir};
use crate::storage::beneath::Beneath;

/// The directory, among a notebook's, of what was not sent to S3.
const UNSENT: &str = "unsent";

/// What belongs to one notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotebookDir(pub(super) PathBuf);

impl NotebookDir {
    /// Makes the notebook's directory, or finds it. The home is not made here: that it exists means that
    /// it is complete.
    pub fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Returns its files, `/notebooks` in its sessions; see `workspace::prepare`.
    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    /// Makes an empty home, or finds one.
    pub fn create_home(&self) -> io::Result<()> {
        self.create()?;
        let (own, made) =
            (Beneath::open(&self.0)?, format!(".home-{:016x}", RandomState::new().build_hasher().finish()));
        if own.facts_of(b"home").is_ok() {
            return Ok(());
        }
        own.make_dir(made.as_bytes())?;
        match own.move_to_new(made.as_bytes(), &own, b"home") {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                own.remove_empty_dir(made.as_bytes())?;
            }
            moved => moved?,
        }
        own.sync()
    }

    /// Returns where its packages are kept.
    pub fn packages(&self) -> PathBuf {
        self.0.join("packages")
    }

    /// Makes the directory of what it writes to a place on S3, or finds it with what was not sent.
    pub fn create_unsent(&self, place: &str) -> io::Result<PathBuf> {
        private_dir(&self.0.join(UNSENT))?;
        let dir = self.0.join(UNSENT).join(place);
        shared_dir(&dir)?;
        Ok(dir)
    }

    /// Removes what is kept of a place on S3, once all of it was sent.
    pub fn remove_unsent(&self, place: &str) -> io::Result<()> {
        match Beneath::open(&self.0.join(UNSENT)) {
            Ok(unsent) => unsent.remove_tree(place.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the directory of its packages, or finds it.
    pub fn create_packages(&self) -> io::Result<PathBuf> {
        shared_dir(&self.packages())?;
        Ok(self.packages())
    }
}

/// What belongs to one version of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionDir(pub(super) PathBuf);

impl VersionDir {
    /// Makes the version's directory, or finds it. The tree is not made here: that it exists means
    /// that the version has begun with all that it was to begin with.
    pub fn create(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Returns where the files are, mounted into containers.
    pub fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    /// Returns the list of the files. It is there once the version is frozen.
    pub fn manifest(&self) -> PathBuf {
        self.0.join("manifest.jsonl.zst")
    }

    /// Returns what is there once the version was found to be one that nobody knows.
    pub fn unknown(&self) -> PathBuf {
        self.0.join("unknown")
    }

    /// Returns what is known of the files of a draft on S3.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.jsonl")
    }

    /// Returns what says where a version on S3 lies, as long as it is being made.
    pub fn making(&self) -> PathBuf {
        self.0.join("making.json")
    }

    /// Returns what says so from then on.
    pub fn bucket(&self) -> PathBuf {
        self.0.join("bucket.json")
    }

    /// Returns the directory of what is known of uploads in parts that are under way to a bucket.
    pub fn sending(&self) -> PathBuf {
        self.0.join("sending")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::storage::layout::DataDir;

    #[test]
    fn what_was_not_sent_goes_place_by_place() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(temp.path()).unwrap();
        let notebook = dir.notebook(&"tabc123".parse().unwrap(), &"n01234567a".parse().unwrap());
        notebook.remove_unsent("a").unwrap();
        for place in ["a", "b"] {
            fs::write(notebook.create_unsent(place).unwrap().join("file"), "x").unwrap();
        }
        notebook.remove_unsent("a").unwrap();
        notebook.remove_unsent("a").unwrap();
        assert_eq!(fs::read_dir(notebook.root().join("unsent")).unwrap().count(), 1);
        assert!(notebook.create_unsent("b").unwrap().join("file").exists());
    }
}
