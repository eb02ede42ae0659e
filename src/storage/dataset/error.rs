//! Why files of a version cannot be stored, found or read.

use std::io;

use crate::domain::{content::ContentHash, user_path::UserPath};

/// Why something with the files of a version did not work.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("the disk is full")]
    Full,
    #[error("the file is larger than {limit} bytes, the most that one may have")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    #[error("the version would have more than {limit} files, the most that one may have")]
    TooManyFiles { limit: u64 },
    #[error("there is no such file")]
    NotFound,
    #[error("“{0}” is a directory")]
    IsDirectory(UserPath),
    #[error("“{0}” is a file, so nothing can be in it")]
    NotADirectory(UserPath),
    #[error("the bytes have the BLAKE3 hash {found}, not {expected}")]
    HashMismatch { expected: ContentHash, found: ContentHash },
    /// The bytes have to be sent (again).
    #[error("the bytes with the BLAKE3 hash {0} are not stored here")]
    NotStored(ContentHash),
    #[error("part {number} has not come")]
    MissingPart { number: u32 },
    #[error("“{0}” is damaged on the disk")]
    Damaged(UserPath),
    #[error("the files cannot be reached")]
    Io(#[source] io::Error),
}

impl From<io::Error> for TreeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for TreeError {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}
