//! The files of datasets on the local disk: stored once by hash, linked into a tree for each version.
//!
//! ```text
//! DatasetStore ── team ─→ TeamFiles ── blobs ───→ Blobs         bytes by hash, BlobWriter
//!                                   ── version ─→ VersionFiles  one version: its tree, its manifest
//! ```
//! The tree is the truth of a draft: putting a file stores its bytes and links them at its path, and
//! nothing keeps a list beside it. A version that is committed has a [`Manifest`] too, written once,
//! which answers what a walk would take long for. Who may write when, and which versions there are,
//! is decided elsewhere; nothing here knows of a draft but its directory.
//!
//! Everything that is being made is in a team's `incoming/`, and moves into its place in one step
//! when it is whole. What is there when the daemon starts belongs to nobody.

mod adopt;
mod blobs;
mod chosen;
mod diff;
mod durable;
mod error;
mod export;
pub mod hashed;
mod holders;
mod intake;
mod list;
mod manifest;
mod manifest_line;
mod manifest_writer;
mod mend;
mod merge;
mod multipart;
mod queue;
mod scrub;
mod sweep;
mod take_dir;
mod take_tar;
mod tree;
mod usage;
mod version;
mod walk;
mod watch;
mod writer;

pub use blobs::{BlobName, Blobs};
pub use chosen::Chosen;
pub use diff::{Change, Difference, diff, diff_after};
pub use error::TreeError;
pub use export::export;
pub(in crate::storage) use export::{Entries as ExportEntries, Item as ExportItem, Part as ExportPart, export_from};
pub use holders::Holder;
pub use list::{ListPage, ListQuery, Listed};
pub use manifest::{Entries, Manifest};
pub use manifest_writer::ManifestWriter;
pub use mend::{Mended, Mending};
pub use multipart::{MultipartFacts, Multiparts, Part, PartWriter};
pub use scrub::{Damage, Fault, ScrubOrder, Scrubbed};
pub use sweep::{SweepOrder, Swept, SweptVersion};
pub use take_dir::{
    DirError, DirTaken, LeftOut, Unfit, Writers, adopt_aside, adopt_dir, import_dir, join_dir, stage_chosen, stage_dir,
};
pub use take_tar::{StagedTar, Taken, TarError, stage_tar, take_tar};
pub use tree::{Replaced, Tree};
pub use usage::{Usage, usage};
pub use version::{Staged, VersionFiles};
pub use walk::{Found, Walk};
pub use watch::{CareError, Watch};
pub use writer::BlobWriter;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use durable::Durability;

use super::layout::{DataDir, MULTIPART};
use crate::domain::id::{DatasetId, TeamId, VersionId};

/// How much may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetLimits {
    pub max_file_bytes: u64,
    /// Files and links of one version, checked when it is frozen.
    pub max_version_files: u64,
}

/// The datasets of the whole box.
#[derive(Debug, Clone)]
pub struct DatasetStore {
    data: DataDir,
    limits: DatasetLimits,
    durability: Arc<Durability>,
    /// One [`Blobs`] for a team, whoever asks: they hold its locks.
    teams: Arc<Mutex<HashMap<TeamId, TeamFiles>>>,
}

/// The datasets of one team. What one team has, another can neither use nor find out.
#[derive(Debug, Clone)]
pub struct TeamFiles {
    team: TeamId,
    data: DataDir,
    blobs: Arc<Blobs>,
}

impl DatasetStore {
    /// Names the store; nothing is touched.
    pub fn open(data: &DataDir, limits: DatasetLimits) -> Self {
        Self { data: data.clone(), limits, durability: Durability::of(data.root()), teams: Arc::default() }
    }

    /// Returns the files of a team that has been asked for before. Does not look at the disk.
    pub fn known_team(&self, team: &TeamId) -> Option<TeamFiles> {
        self.teams.lock().unwrap_or_else(PoisonError::into_inner).get(team).cloned()
    }

    /// Returns a team's files, making their directories if they are not there.
    pub fn team(&self, team: &TeamId) -> io::Result<TeamFiles> {
        let mut teams = self.teams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = teams.get(team) {
            return Ok(files.clone());
        }
        self.data.create_team_datasets(team)?;
        let blobs = Blobs::at(self.data.team_blobs(team), self.limits, self.durability.clone())?;
        let files = TeamFiles { team: team.clone(), data: self.data.clone(), blobs: Arc::new(blobs) };
        teams.insert(team.clone(), files.clone());
        Ok(files)
    }

    /// Removes what was being made when the daemon died, all but multipart uploads. Only the daemon
    /// that holds the data directory's lock may do so, before anything is written.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        for team in self.data.team_ids()? {
            if self.data.team_blobs(&team).exists() {
                self.team(&team)?.remove_unfinished()?;
            }
        }
        Ok(())
    }

    pub fn limits(&self) -> DatasetLimits {
        self.limits
    }
}

impl TeamFiles {
    pub fn team(&self) -> &TeamId {
        &self.team
    }

    pub fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    /// Names the files of one version; nothing is touched.
    pub fn version(&self, dataset: &DatasetId, version: &VersionId) -> VersionFiles {
        VersionFiles::new(self.blobs.clone(), self.data.version(&self.team, dataset, version))
    }

    /// Lists the versions that have a directory, known to anybody or not.
    pub fn version_ids(&self) -> io::Result<Vec<(DatasetId, VersionId)>> {
        self.data.version_ids(&self.team)
    }

    /// Returns the files that come in parts.
    pub fn multiparts(&self) -> Multiparts {
        Multiparts::new(self.blobs.clone())
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        let incoming = &self.blobs.incoming;
        let mut names = Vec::new();
        incoming.each_name(|name| {
            if name != MULTIPART.as_bytes() {
                names.push(name.to_vec());
            }
            Ok(())
        })?;
        names.iter().try_for_each(|name| incoming.remove_tree(name))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::domain::{content::Entry, user_path::UserPath};

    /// A data directory of its own with one team in it.
    pub struct Yard {
        pub store: DatasetStore,
        pub team: TeamFiles,
        pub data: DataDir,
        _dir: tempfile::TempDir,
    }

    pub fn yard() -> Yard {
        yard_with(DatasetLimits { max_file_bytes: 1 << 30, max_version_files: 1_000_000 })
    }

    pub fn yard_with(limits: DatasetLimits) -> Yard {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(&dir.path().join("data")).unwrap();
        let store = DatasetStore::open(&data, limits);
        let team = store.team(&"tabc123".parse().unwrap()).unwrap();
        Yard { store, team, data, _dir: dir }
    }

    impl Yard {
        /// A version `number` of the one dataset, made.
        pub fn version(&self, number: u32) -> VersionFiles {
            let version = self.unmade(number);
            version.create().unwrap();
            version
        }

        pub fn unmade(&self, number: u32) -> VersionFiles {
            self.team.version(&"ds0123456789abc".parse().unwrap(), &format!("v{number:06}").parse().unwrap())
        }

        /// Names in the team's `incoming/`.
        pub fn unfinished(&self) -> Vec<String> {
            let read = std::fs::read_dir(self.data.team_blobs(self.team.team()).join("incoming")).unwrap();
            let names = read.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name != MULTIPART).collect()
        }
    }

    pub fn path(text: &str) -> UserPath {
        text.parse().unwrap()
    }

    /// All entries of a version, read page by page.
    pub fn all(version: &VersionFiles) -> Vec<Entry> {
        let mut query = ListQuery { limit: 7, ..ListQuery::default() };
        let mut entries = Vec::new();
        loop {
            let page = version.list(&query).unwrap();
            entries.extend(page.items.into_iter().map(|item| match item {
                Listed::Entry(entry) => entry,
                Listed::Directory(path) => panic!("{path} in a flat list"),
            }));
            match page.next {
                None => return entries,
                after => query.after = after,
            }
        }
    }
}
