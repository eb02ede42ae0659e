//! Files that people work with and containers have open: of notebooks, and `/storage`.
//!
//! The tree belongs to the containers: they may change, move or replace anything in it at any moment, as
//! whichever user. So it is only reached through [`Beneath`], what comes from outside is whole before it
//! has a name in it, and a name is given, taken and exchanged in one step. What is on its way, and what is
//! being removed, lies in a directory of the daemon's own on the same file system.

use std::{collections::BinaryHeap, fmt, fs::File, io, path::Path};

mod parts;
mod place;

pub use self::{
    parts::{PartFile, Parts},
    place::{Aside, Condition, Incoming},
};
pub use super::descent::Inode;
use super::{
    artifact::Artifacts,
    beneath::{Beneath, Kind},
};
use crate::domain::user_path::UserPath;

/// A tree of files.
#[derive(Debug)]
pub struct FileTree(Beneath);

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// From the tree's root.
    pub path: UserPath,
    pub inode: Inode,
    /// Where a link says that it leads; nobody has checked.
    pub target: Option<Vec<u8>>,
}

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntriesPage {
    pub items: Vec<FileEntry>,
    /// Where to go on; `None` at the end.
    pub next: Option<Position>,
}

/// Where an entry stands in its directory: directories are first, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    is_file: bool,
    name: Vec<u8>,
}

/// Names one state of a file: whoever writes to it, or puts another in its place, makes another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    number: u64,
    modified_at: i64,
    bytes: u64,
}

/// Why something was not done to a file.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("there is no such file")]
    NotFound,
    #[error("something has that name already")]
    Exists,
    #[error("it has changed since")]
    Changed,
    #[error("it is a directory")]
    IsDirectory,
    #[error("there is a file or a link on the way")]
    NotADirectory,
    #[error("it is not empty")]
    NotEmpty,
    #[error("it would be inside itself")]
    IntoItself,
    #[error("it is on another disk")]
    OtherDisk,
    #[error("it is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    /// So many bytes are there, not as many as were said.
    #[error("{there} bytes of it are there")]
    OtherOffset { there: u64 },
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for FilesError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as K;
        match error.kind() {
            K::NotFound => Self::NotFound,
            K::AlreadyExists => Self::Exists,
            K::IsADirectory => Self::IsDirectory,
            K::NotADirectory => Self::NotADirectory,
            K::DirectoryNotEmpty => Self::NotEmpty,
            K::CrossesDevices => Self::OtherDisk,
            // A link where a directory should be; links are never followed.
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Self::NotADirectory,
            _ => Self::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for FilesError {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<Inode> for FileState {
    fn from(inode: Inode) -> Self {
        Self { number: inode.number, modified_at: inode.modified_at.0, bytes: inode.bytes }
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.number, self.modified_at, self.bytes)
    }
}

impl FileEntry {
    /// Returns what names the state of a file.
    pub fn state(&self) -> FileState {
        self.inode.into()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_file { "f" } else { "d" })?;
        self.name.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPosition;

impl std::str::FromStr for Position {
    type Err = InvalidPosition;
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (is_file, digits) = match text.split_at_checked(1).ok_or(InvalidPosition)? {
            ("f", digits) => (true, digits),
            ("d", digits) => (false, digits),
            _ => return Err(InvalidPosition),
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(InvalidPosition);
        let name = digits.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Ok((digit(*high)? << 4 | digit(*low)?) as u8),
            _ => Err(InvalidPosition),
        });
        Ok(Self { is_file, name: name.collect::<Result<_, _>>()? })
    }
}

impl FileTree {
    /// Opens the tree at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self(Beneath::open(root)?))
    }

    /// Lists up to `limit` entries of the directory `path`, directories first, each by name as bytes,
    /// after `after`. Reads all of the directory's names but keeps only a page of them.
    ///
    /// # Errors
    /// [`FilesError::NotFound`]; [`FilesError::NotADirectory`] also for a link to one.
    pub fn list(&self, path: &UserPath, after: Option<&Position>, limit: usize) -> Result<EntriesPage, FilesError> {
        let dir = self.0.dir(path)?;
        // The greatest of those kept is on top, to make way for a lesser one. One more than a page tells
        // whether there is another.
        let mut kept = BinaryHeap::new();
        dir.each_entry(|name, kind| {
            let position = Position { is_file: kind != Kind::Directory, name: name.to_vec() };
            if after.is_none_or(|after| position > *after) {
                if kept.len() <= limit {
                    kept.push(position);
                } else if let Some(mut greatest) = kept.peek_mut()
                    && position < *greatest
                {
                    *greatest = position;
                }
            }
            Ok(())
        })?;
        let mut positions = kept.into_sorted_vec();
        let more = positions.len() > limit;
        positions.truncate(limit);
        let items = positions.iter().filter_map(|position| entry(&dir, path.join(&position.name).ok()?).ok());
        Ok(EntriesPage { items: items.collect(), next: positions.last().filter(|_| more).cloned() })
    }

    /// Looks at one entry.
    pub fn entry(&self, path: &UserPath) -> Result<FileEntry, FilesError> {
        entry(&self.0.dir(&path.parent().ok_or(FilesError::NotFound)?)?, path.clone()).map_err(FilesError::from)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] also for whatever is no regular file.
    pub fn file(&self, path: &UserPath) -> Result<(File, Inode), FilesError> {
        let opened = self.0.file(path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => FilesError::NotFound,
            _ => FilesError::from(error),
        });
        let (file, _) = match opened {
            Err(FilesError::NotADirectory) => return Err(FilesError::NotFound),
            opened => opened?,
        };
        let inode = Inode::of_file(&file)?;
        Ok((file, inode))
    }

    /// Returns the tree, to be bundled.
    pub fn artifacts(self) -> Artifacts {
        Artifacts::beneath(self.0)
    }
}

/// Looks at the entry in `dir` that has the last name of `path`.
fn entry(dir: &Beneath, path: UserPath) -> io::Result<FileEntry> {
    let name = path.name().ok_or(io::ErrorKind::NotFound)?;
    let inode = Inode::of(dir, name)?;
    let target = match inode.kind {
        Kind::Link => Some(dir.link_target(name)?),
        _ => None,
    };
    Ok(FileEntry { path, inode, target })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn directories_come_first_and_pages_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["z", "b"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["a", "c", "y"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        symlink("/etc", dir.path().join("link")).unwrap();
        let tree = FileTree::open(dir.path()).unwrap();
        for limit in 1..8 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = tree.list(&UserPath::root(), after.as_ref(), limit).unwrap();
                seen.extend(page.items.into_iter().map(|item| item.path.to_text()));
                let Some(next) = page.next else { break };
                after = Some(next.to_string().parse().unwrap());
            }
            assert_eq!(seen, ["b", "z", "a", "c", "link", "y"], "{limit}");
        }
        assert_eq!(tree.entry(&"link".parse().unwrap()).unwrap().target.unwrap(), b"/etc");
        assert!(matches!(tree.list(&"link".parse().unwrap(), None, 9), Err(FilesError::NotADirectory)));
        assert!(matches!(tree.file(&"link/passwd".parse().unwrap()), Err(FilesError::NotFound)));
        assert!(matches!(tree.file(&"b".parse().unwrap()), Err(FilesError::NotFound)));
    }

    #[test]
    fn a_position_of_any_bytes_survives_as_text() {
        let position = Position { is_file: true, name: b"\xff\x00a".to_vec() };
        assert_eq!(position.to_string().parse(), Ok(position));
        for bad in ["", "x00", "f0", "fzz", "é"] {
            assert_eq!(bad.parse::<Position>(), Err(InvalidPosition), "{bad}");
        }
    }
}
