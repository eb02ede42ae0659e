//! Storage providers: where the files of datasets lie.

use super::{
    id::{ProviderId, TeamId},
    time::Timestamp,
    workload::words,
};

words! {
    /// What kind of storage it is.
    ProviderKind {
        /// The disk of this box, content-addressed. Always there, one for each team.
        Managed = "managed",
        /// A bucket of an S3-compatible service.
        S3 = "s3",
    }
}

/// How the built-in provider is called.
pub const MANAGED_NAME: &str = "Gradient Managed";

/// A storage provider of a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageProvider {
    pub seq: i64,
    pub id: ProviderId,
    pub team: TeamId,
    pub name: String,
    pub kind: ProviderKind,
    /// What is not secret of an S3 provider; `None` for the built-in one.
    pub s3: Option<S3Place>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it was last written to, read and deleted from, as a check.
    pub checked_at: Option<Timestamp>,
    /// What was wrong at the last check, in words; `None` when nothing was.
    pub check_error: Option<String>,
}

/// A bucket, and how to reach it. The secret key is kept apart, sealed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Place {
    pub bucket: String,
    /// URL of the service; AWS itself when `None`.
    pub endpoint: Option<String>,
    /// `us-east-1` when nothing else is said.
    pub region: String,
    /// Whether the bucket is in the path (`https://host/bucket`) and not in the host name.
    pub path_style: bool,
    pub access_key_id: String,
}
