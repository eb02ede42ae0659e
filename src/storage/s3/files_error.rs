//! Why the files of a version on S3 cannot be stored, found or read.

use std::io;

use super::S3Error;
use crate::{
    domain::{content::ContentHash, user_path::UserPath},
    storage::dataset::TreeError,
};

/// Why something with the files of a version on S3 did not work.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error(transparent)]
    S3(#[from] S3Error),
    /// About the files, or this disk.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The sender stopped half-way.
    #[error("what was sent ended before it was whole")]
    Source(#[source] io::Error),
    #[error("“{path}” cannot be kept on S3: {why}")]
    NoKey { path: UserPath, why: &'static str },
    #[error(
        "the object “{key}” is not what was committed: its BLAKE3 hash is {found}, not {expected}. Put the file back into the bucket, or make a new version"
    )]
    Differs { key: String, expected: ContentHash, found: ContentHash },
    /// A committed file is not in the bucket any more.
    #[error("the object “{0}” is gone from the bucket: put the file back there, or make a new version")]
    Gone(String),
    #[error("it was called off")]
    Cancelled,
}

impl From<io::Error> for FilesError {
    fn from(error: io::Error) -> Self {
        Self::Tree(error.into())
    }
}
