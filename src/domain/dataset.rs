//! Datasets and their versions: what they are called, how they are referred to, what they are.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{
    content::Totals,
    id::{DatasetId, JobId, ProviderId, TeamId, VersionId},
    time::Timestamp,
    workload::words,
};

/// Files that belong together, in versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    pub seq: i64,
    pub id: DatasetId,
    pub team: TeamId,
    pub name: String,
    pub description: String,
    pub provider: ProviderId,
    pub provider_name: String,
    pub provider_kind: super::storage_provider::ProviderKind,
    /// Whether every team may read it, as `gradient/NAME`.
    pub public: bool,
    pub user_name: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// All of its versions that are not deleted.
    pub versions: u64,
    /// The newest committed one.
    pub latest: Option<VersionId>,
    /// Of all committed versions together, equal files counted each time.
    pub bytes: u64,
}

words! {
    /// Whether a version can still change.
    VersionState {
        /// Files are added, replaced and removed freely.
        Uncommitted = "uncommitted",
        /// Immutable for ever.
        Committed = "committed",
    }
}

/// One version of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub seq: i64,
    pub dataset: DatasetId,
    pub id: VersionId,
    pub team: TeamId,
    pub state: VersionState,
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub user_name: String,
    /// The version whose files it began with.
    pub parent: Option<VersionId>,
    /// The run whose output it is.
    pub made_by: Option<JobId>,
    /// Why it is as it is, such as the output of a run that failed.
    pub note: Option<String>,
    /// Known once it is committed.
    pub totals: Option<Totals>,
    /// Since when a check found files of it damaged; it is refused to new runs.
    pub damaged_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub committed_at: Option<Timestamp>,
}

words! {
    /// What a run has to do with a version.
    Use {
        /// Mounted under `/inputs`.
        Input = "input",
        /// Mounted under `/datasets`.
        Public = "public",
        /// Made of what it wrote to `/outputs`.
        Output = "output",
    }
}

/// A tag and the version that it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTag {
    pub name: String,
    pub version: VersionId,
    pub updated_at: Timestamp,
}

/// One run's use of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionUse {
    pub version: VersionId,
    /// The job, or the session.
    pub job: JobId,
    /// What it is a session of, if it is none of itself.
    pub kind: super::workload::Kind,
    /// What the job, notebook or TensorBoard is called now, or was when it used the version.
    pub title: String,
    /// Whether the job, notebook or TensorBoard was deleted.
    pub is_gone: bool,
    /// Under which name the run sees it.
    pub name: String,
    pub role: Use,
    pub at: Timestamp,
    /// Of the run; `None` when that was deleted.
    pub state: Option<super::workload::State>,
}

words! {
    /// Where an output of a run is.
    OutputState {
        /// The run is not over.
        Waiting = "waiting",
        /// Being read into a version.
        Collecting = "collecting",
        Committed = "committed",
        /// The run did not end well; what it wrote is an uncommitted version.
        Draft = "draft",
        /// The run wrote nothing.
        Empty = "empty",
        /// Could not be kept; the message says why.
        Failed = "failed",
    }
}

/// An output of a job, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutput {
    pub name: String,
    pub dataset_seq: i64,
    pub dataset: DatasetId,
    pub dataset_deleted: bool,
    pub version_seq: Option<i64>,
    /// The version that it became, or is about to become.
    pub version: Option<VersionId>,
    pub state: OutputState,
    /// Why it is so, for people.
    pub message: Option<String>,
    /// Whether who submitted the job might publish when they did.
    pub may_publish: bool,
}

words! {
    /// Where an import is.
    ImportState {
        Waiting = "waiting",
        Running = "running",
        Done = "done",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

/// Longest name of a dataset, a tag, or a storage provider, in characters.
pub const MAX_NAME: usize = 128;

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("is empty")]
    Empty,
    #[error("is longer than {MAX_NAME} characters")]
    TooLong,
    #[error("may hold letters, digits, “-”, “_” and “.” only, and begins with a letter or digit")]
    Character,
    #[error("cannot be set: it always means the newest committed version")]
    Latest,
    #[error("looks like the id of a version or a dataset, which would make references ambiguous")]
    LooksLikeId,
    #[error("may not end in “.tar” or “.zip”, which ask for an archive")]
    Archive,
}

fn check_word(name: &str) -> Result<(), InvalidName> {
    let first = name.chars().next().ok_or(InvalidName::Empty)?;
    if name.chars().count() > MAX_NAME {
        return Err(InvalidName::TooLong);
    }
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if !first.is_alphanumeric() || !name.chars().all(plain) { Err(InvalidName::Character) } else { Ok(()) }
}

/// Checks the name of a dataset.
///
/// # Errors
/// [`InvalidName`]; no name can be taken for an id, a tag or a path.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    check_word(name)?;
    if name.parse::<DatasetId>().is_ok() { Err(InvalidName::LooksLikeId) } else { Ok(()) }
}

/// Checks the name under which a run sees a dataset: one part of a path, `/inputs/NAME`.
///
/// # Errors
/// [`InvalidName`]; every name of a dataset that is not too long for a path can be one.
pub fn check_mount_name(name: &str) -> Result<(), InvalidName> {
    check_word(name)?;
    // What a file system takes, in bytes.
    if name.len() > 255 { Err(InvalidName::TooLong) } else { Ok(()) }
}

/// Checks the name of a tag.
///
/// # Errors
/// [`InvalidName`]; no tag can be taken for a version.
pub fn check_tag(tag: &str) -> Result<(), InvalidName> {
    check_word(tag)?;
    if tag == LATEST {
        return Err(InvalidName::Latest);
    }
    if tag.ends_with(".tar") || tag.ends_with(".zip") {
        return Err(InvalidName::Archive);
    }
    if tag.parse::<VersionId>().is_ok() { Err(InvalidName::LooksLikeId) } else { Ok(()) }
}

/// The word for the newest committed version.
pub const LATEST: &str = "latest";
/// The namespace of public datasets.
pub const PUBLIC: &str = "gradient/";

/// How somebody names a version: `ID`, `ID:latest`, `ID:VERSION`, `ID:TAG`, the same with `NAME`
/// in place of the id, and with `gradient/NAME` for a public dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub dataset: DatasetRef,
    pub version: VersionRef,
}

/// How somebody names a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasetRef {
    Id(DatasetId),
    /// A dataset of the caller's team.
    Name(String),
    /// A dataset that every team may read.
    Public(String),
}

/// How somebody names a version of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRef {
    /// The newest committed one.
    Latest,
    Id(VersionId),
    Tag(String),
}

/// A text that refers to no dataset whatever there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a reference to a dataset: one is ID, NAME or gradient/NAME, perhaps with :latest, :VERSION or :TAG behind it"
)]
pub struct InvalidReference;

impl FromStr for DatasetRef {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if let Some(name) = text.strip_prefix(PUBLIC) {
            return check_name(name).map(|()| Self::Public(name.to_owned())).map_err(|_| InvalidReference);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        check_name(text).map(|()| Self::Name(text.to_owned())).map_err(|_| InvalidReference)
    }
}

impl FromStr for VersionRef {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text == LATEST {
            return Ok(Self::Latest);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        check_tag(text).map(|()| Self::Tag(text.to_owned())).map_err(|_| InvalidReference)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        match text.split_once(':') {
            None => Ok(Self { dataset: text.parse()?, version: VersionRef::Latest }),
            Some((dataset, version)) => Ok(Self { dataset: dataset.parse()?, version: version.parse()? }),
        }
    }
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
            Self::Public(name) => write!(f, "{PUBLIC}{name}"),
        }
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Id(id) => write!(f, "{id}"),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.dataset, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_reference_is_understood() {
        let version: VersionId = "fo5rp4m".parse().unwrap();
        let id: DatasetId = "dst364npcw6ccok".parse().unwrap();
        let cases = [
            ("dst364npcw6ccok", DatasetRef::Id(id.clone()), VersionRef::Latest),
            ("dst364npcw6ccok:latest", DatasetRef::Id(id.clone()), VersionRef::Latest),
            ("dst364npcw6ccok:fo5rp4m", DatasetRef::Id(id.clone()), VersionRef::Id(version.clone())),
            ("dst364npcw6ccok:prod", DatasetRef::Id(id), VersionRef::Tag("prod".to_owned())),
            ("mnist", DatasetRef::Name("mnist".to_owned()), VersionRef::Latest),
            ("mnist:fo5rp4m", DatasetRef::Name("mnist".to_owned()), VersionRef::Id(version)),
            ("gradient/mnist:v1.0", DatasetRef::Public("mnist".to_owned()), VersionRef::Tag("v1.0".to_owned())),
        ];
        for (text, dataset, version) in cases {
            assert_eq!(text.parse(), Ok(Reference { dataset, version }), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_reference() {
        let long = "a".repeat(MAX_NAME + 1);
        for bad in ["", ":", "a:", ":a", "a:b:c", "other/mnist", "gradient/", "../x", "a b", "a:..", ".hidden", &long] {
            assert_eq!(bad.parse::<Reference>(), Err(InvalidReference), "{bad}");
        }
    }

    #[test]
    fn no_name_can_be_taken_for_something_else() {
        assert_eq!(check_name("dst364npcw6ccok"), Err(InvalidName::LooksLikeId));
        assert_eq!(check_tag("fo5rp4m"), Err(InvalidName::LooksLikeId));
        assert_eq!(check_tag("latest"), Err(InvalidName::Latest));
        assert_eq!(check_tag("v1.tar"), Err(InvalidName::Archive));
        assert_eq!((check_name("Größe-1_a.b"), check_tag("v1.0")), (Ok(()), Ok(())));
    }

    #[test]
    fn a_run_sees_a_dataset_under_one_plain_name() {
        for good in ["mnist", "dst364npcw6ccok", "latest", "Größe-1_a.b"] {
            assert_eq!(check_mount_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "/a", "a b", "a:b", "a\0", ".a", &"ß".repeat(128)] {
            assert!(check_mount_name(bad).is_err(), "{bad}");
        }
    }
}
