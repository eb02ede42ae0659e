//! What a service may answer instead of what was asked for.

use crate::{
    auth::SealError,
    domain::{caller::Denied, idempotency::KeyReused},
    storage::s3::S3Error,
    store::StoreError,
};

/// One field that cannot be as it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// In the words of the API: `env.LEARNING_RATE`.
    pub field: String,
    /// Stable, for programs.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl Invalid {
    /// Names a field and what is wrong with it.
    pub fn new(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}

/// Why a service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It can be seen and not be changed, whatever the key.
    #[error("{0}")]
    Forbidden(String),
    /// There is none, or it belongs to another team: the two look the same from outside.
    #[error("there is no {kind} {id}")]
    NotFound { kind: &'static str, id: String },
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// It cannot be done to the thing as it stands.
    #[error("{message}")]
    Conflict { code: &'static str, message: String },
    /// What the client said must hold does not.
    #[error("{message}")]
    Unmet { code: &'static str, message: String },
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
    /// A stated limit is reached; later it may work.
    #[error("{message}")]
    TooMany { code: &'static str, message: String },
    /// More bytes than are allowed.
    #[error("{0}")]
    TooLarge(String),
    #[error(
        "the disk of this box is full, so it takes no new work: free some space (artifacts, images, storage) and try again"
    )]
    DiskFull,
    /// The team keeps as much as it may.
    #[error("{0}")]
    QuotaExceeded(String),
    #[error("the key or token is not good: sign in again")]
    NotSignedIn,
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("a secret could not be sealed or opened")]
    Seal(#[from] SealError),
    /// Something in a bucket did not work, in words for everybody.
    #[error(transparent)]
    S3(#[from] S3Error),
    #[error("a file could not be read or written")]
    Io(#[source] std::io::Error),
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::DiskFull,
            other => Self::Store(other),
        }
    }
}

impl From<std::io::Error> for ServiceError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl ServiceError {
    /// Says that something is not there.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }
}
