//! What can be wrong with an archive, in words for whoever made it.

use std::{fmt, io};

use crate::domain::user_path::{InvalidPath, UnfitPath, shown};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the file is empty")]
    Empty,
    #[error("this is not a zip, tar, tar.gz or tar.zst archive")]
    Unknown,
    #[error("what is packed here is not a tar archive")]
    NotTar,
    #[error("a zip archive cannot be read as it comes: send a tar, tar.gz or tar.zst")]
    NotAStream,
    #[error("the archive ends too early: it was cut off")]
    Truncated,
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    #[error("its name {0}")]
    Name(InvalidPath),
    #[error("its name {0}")]
    Unfit(UnfitPath),
    #[error("it has no name")]
    NoName,
    #[error("its name has a backslash: make the archive with “/” between names")]
    Backslash,
    #[error("its name begins with a drive letter")]
    DriveLetter,
    #[error("it lies more than {0} directories deep")]
    TooDeep(usize),
    #[error("its link leads out of the archive, to “{0}”")]
    LinkOut(String),
    #[error("its link “{0}” has “..” after a name; write it without")]
    CrookedLink(String),
    #[error("its hard link leads to “{0}”, which is no file that came before it")]
    HardLink(String),
    #[error("it would be written through the link or file “{0}”")]
    Through(String),
    #[error("an earlier entry of that name is something else")]
    Replaces,
    #[error("an earlier entry has that name")]
    Twice,
    #[error("it is a device")]
    Device,
    #[error("it is a FIFO or a socket")]
    Special,
    #[error("it is stored as a sparse file: make the archive without that option")]
    Sparse,
    #[error("it is an entry of a kind that is not known here (“{0}”)")]
    UnknownEntry(String),
    #[error("it is encrypted: make the archive without a password")]
    Encrypted,
    #[error("it is compressed by “{0}”: make the archive with deflate or without compression")]
    Method(String),
    #[error("the archive has more than {0} entries")]
    TooMany(u64),
    #[error("the archive's names take more than {0} bytes together")]
    TooManyNames(u64),
    #[error("the archive holds more than {0} bytes unpacked")]
    TooLarge(u64),
}

impl Problem {
    /// Says that entry `name` is what is wrong.
    pub(in crate::storage) fn of(self, name: &[u8]) -> ArchiveError {
        ArchiveError::Bad(BadArchive { entry: Some(shown(name)), problem: self })
    }

    /// Says that the archive as a whole is what is wrong.
    pub(in crate::storage) fn alone(self) -> ArchiveError {
        ArchiveError::Bad(BadArchive { entry: None, problem: self })
    }
}

/// An archive that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArchive {
    /// The entry at fault, escaped and cut, when one is.
    pub entry: Option<String>,
    pub problem: Problem,
}

impl fmt::Display for BadArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "entry “{entry}”: {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl std::error::Error for BadArchive {}

/// Why an archive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive is at fault, and always will be.
    #[error(transparent)]
    Bad(#[from] BadArchive),
    /// The disk is at fault.
    #[error("the archive cannot be read or written")]
    Io(#[from] io::Error),
}
