//! Imports: files that are brought into a version from elsewhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    content::Totals,
    dataset::ImportState,
    id::{DatasetId, ImportId, ProviderId, TeamId, VersionId},
    storage_provider::S3Place,
    time::Timestamp,
};

/// Something that is being brought into a version, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub seq: i64,
    pub id: ImportId,
    pub team: TeamId,
    pub dataset: DatasetId,
    pub version: VersionId,
    /// The version's row.
    pub version_seq: i64,
    pub user_name: String,
    pub source: ImportSource,
    /// Directory of the version that it all goes into; empty is the top.
    pub prefix: String,
    /// Whether the version is committed when everything is there.
    pub commits: bool,
    /// Whether who asked for it might publish when they did.
    pub may_publish: bool,
    pub state: ImportState,
    /// What went wrong and what to do.
    pub message: Option<String>,
    /// What came, once it is over.
    pub totals: Option<Totals>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// Where an import's files come from. What is secret of it is sealed beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImportSource {
    /// One file, or the files in one archive.
    #[serde(rename_all = "camelCase")]
    Url {
        /// Without query and user: they are often a password, so the whole is sealed.
        shown: String,
        /// Whether a tar is unpacked and not kept as a file.
        unpack: bool,
    },
    /// Everything beneath a prefix of a storage provider of the team.
    #[serde(rename_all = "camelCase")]
    Provider { provider: ProviderId, name: String, prefix: String },
    /// Everything beneath a prefix of some bucket. The secret key is sealed.
    #[serde(rename_all = "camelCase")]
    Bucket { place: S3Place, prefix: String },
    /// A directory of this machine that the admin allows to import from.
    #[serde(rename_all = "camelCase")]
    Directory { path: PathBuf },
}

impl ImportSource {
    /// Returns the kind's word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Provider { .. } | Self::Bucket { .. } => "s3",
            Self::Directory { .. } => "directory",
        }
    }

    /// Says for people where the files come from.
    pub fn words(&self) -> String {
        match self {
            Self::Url { shown, .. } => shown.clone(),
            Self::Provider { name, prefix, .. } => format!("{name}: {prefix}"),
            Self::Bucket { place, prefix } => format!("s3://{}/{prefix}", place.bucket),
            Self::Directory { path } => path.display().to_string(),
        }
    }
}

/// How far an import is. Totals are `None` until they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportProgress {
    pub done: Totals,
    pub total_files: Option<u64>,
    pub total_bytes: Option<u64>,
}
