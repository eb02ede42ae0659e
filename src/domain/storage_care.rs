//! What looking after the disk tells: what uses it, what can go, what is damaged.

use super::{
    content::ContentHash,
    id::{DatasetId, TeamId, VersionId},
    time::Timestamp,
    workload::words,
};

words! {
    /// What keeps bytes on the disk.
    Part {
        Datasets = "datasets",
        /// `/storage` of the team's runs.
        Storage = "storage",
        /// Files of notebooks, and packages that they keep.
        Notebooks = "notebooks",
        Artifacts = "artifacts",
        /// Working directories of runs, and outputs that are not versions yet.
        Workspaces = "workspaces",
        Logs = "logs",
        Uploads = "uploads",
        /// Copies of versions on S3. Goes by itself when room is needed.
        Cache = "cache",
    }
}

impl Part {
    /// Says whether it counts towards a team's quota. What the box keeps for itself does not.
    pub fn counts(self) -> bool {
        !matches!(self, Self::Logs | Self::Cache)
    }
}

/// What one part uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartUsage {
    pub part: Part,
    pub bytes: u64,
    pub files: u64,
}

/// What the engine's images use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImagesUsage {
    pub count: u64,
    /// Layers that several images share are counted for each.
    pub bytes: u64,
}

/// A version in a report, by its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedVersion {
    pub team: TeamId,
    pub dataset: DatasetId,
    /// The dataset's.
    pub name: String,
    pub version: VersionId,
}

/// What a collection removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcReport {
    pub dry_run: bool,
    pub at: Timestamp,
    pub versions: Vec<GcVersion>,
    pub contents: Vec<GcTeam>,
    /// What goes from buckets.
    pub buckets: Vec<GcBuckets>,
}

impl GcReport {
    /// Returns the bytes that come free.
    pub fn bytes(&self) -> u64 {
        self.contents.iter().map(|contents| contents.bytes).sum()
    }

    /// Returns how many contents go.
    pub fn files(&self) -> u64 {
        self.contents.iter().map(|contents| contents.files).sum()
    }
}

/// A deleted version whose files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcVersion {
    pub version: NamedVersion,
    /// Of its files, those that other versions share as well.
    pub bytes: u64,
    pub files: u64,
}

/// Contents of one team that no version has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcTeam {
    pub team: TeamId,
    pub bytes: u64,
    pub files: u64,
}

/// What one team has in buckets that no version has: objects of versions that were deleted or never came
/// about, and uploads in parts that nobody goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcBuckets {
    pub team: TeamId,
    pub bytes: u64,
    pub objects: u64,
    /// How much was sent of them is known to the service alone.
    pub uploads: u64,
}

impl GcBuckets {
    /// Says whether there is nothing.
    pub fn is_empty(&self) -> bool {
        (self.bytes, self.objects, self.uploads) == (0, 0, 0)
    }
}

/// A check of stored contents, under way or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsckReport {
    pub running: bool,
    /// Part of all contents that is read.
    pub percent: u8,
    pub checked_files: u64,
    pub done_bytes: u64,
    /// Of all that is to be read; an estimate until everything was counted.
    pub total_bytes: u64,
    pub damaged: Vec<DamagedContent>,
    /// Versions that have files back which were damaged: somebody has sent their bytes again.
    pub mended: Vec<MendedVersion>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// A content that is not what its hash says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedContent {
    pub team: TeamId,
    pub hash: ContentHash,
    pub bytes: u64,
    pub found_at: Timestamp,
    pub versions: Vec<DamagedVersion>,
}

/// A version with a damaged content in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedVersion {
    pub version: NamedVersion,
    /// Where it is in the version; some at most. A name that is not UTF-8 is shown as well as it can be.
    pub paths: Vec<String>,
}

/// A version in which damaged files were made whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MendedVersion {
    pub version: NamedVersion,
    pub files: u64,
}
