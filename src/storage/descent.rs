//! Going through a whole tree, whoever made it.
//!
//! A container can nest directories deeper than any stack or number of open files, so the way down
//! is kept as names, and only so many directories on it stay open. No link is followed. Files are
//! told of while their directory is being read, so a million of them in one take no memory; of
//! directories only the names are kept until it is their turn.

use std::{fs::File, io};

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat};

use super::beneath::{Beneath, DIRECTORY, Kind};
use crate::domain::time::Timestamp;

/// Directories held open on the way down.
const OPEN: usize = 64;

/// What is known of an entry without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    pub kind: Kind,
    /// Unique on its device.
    pub number: u64,
    pub device: u64,
    /// How many names it has.
    pub links: u64,
    pub bytes: u64,
    /// Bytes taken on the disk.
    pub disk_bytes: u64,
    /// The lower twelve bits of its mode.
    pub mode: u32,
    /// Numbers of its owner and group.
    pub owner: (u32, u32),
    pub modified_at: Timestamp,
    /// When its bytes, its mode or its number of names changed last.
    pub changed_at: Timestamp,
}

impl Inode {
    /// Looks at an open file.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(file)?))
    }

    /// Looks at the entry `name`, directly in `dir`.
    pub fn of(dir: &Beneath, name: &[u8]) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::statat(&dir.0, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }
}

impl From<&Stat> for Inode {
    #[expect(clippy::useless_conversion, reason = "the widths differ between architectures")]
    fn from(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        let time = |seconds: i64, nanos: u64| {
            Timestamp(seconds.saturating_mul(1_000_000).saturating_add(i64::try_from(nanos / 1000).unwrap_or(0)))
        };
        Self {
            kind,
            number: stat.st_ino,
            device: stat.st_dev,
            links: u64::try_from(stat.st_nlink).unwrap_or(u64::MAX),
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            disk_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            modified_at: time(stat.st_mtime, stat.st_mtime_nsec.into()),
            changed_at: time(stat.st_ctime, stat.st_ctime_nsec.into()),
        }
    }
}

/// One entry met on the way.
#[derive(Debug)]
pub struct Met<'a> {
    /// The directory that holds it.
    pub dir: &'a Beneath,
    pub name: &'a [u8],
    /// From the tree's root; as long as the tree is deep.
    pub path: &'a [u8],
    pub inode: Inode,
}

/// What goes along.
pub trait Visitor {
    type Error: From<io::Error>;

    /// Looks at an entry. For a directory the answer says whether to go into it, which is done
    /// later, after all entries beside it. It may remove or move away what it is shown.
    fn meet(&mut self, met: &Met<'_>) -> Result<bool, Self::Error>;

    /// Is told of what could not be looked at or entered, by its path.
    fn fail(&mut self, path: &[u8], error: io::Error) -> Result<(), Self::Error>;
}

/// A directory on the way down.
struct Frame {
    name: Vec<u8>,
    /// Closed while the way is far below it.
    dir: Option<Beneath>,
    /// Device and number of the directory, to know it again.
    inode: (u64, u64),
    /// Directories in here that are still to be entered.
    todo: Vec<Vec<u8>>,
}

/// Goes through everything beneath `root`, in no particular order but a directory before what is in
/// it. Stays where it is when the tree changes meanwhile: what is gone is told as a failure.
pub fn descend<V: Visitor>(root: &Beneath, visitor: &mut V) -> Result<(), V::Error> {
    let mut path = Vec::new();
    let top = root.reopen()?;
    let todo = read(&top, &mut path, visitor)?;
    let mut frames = vec![Frame { name: Vec::new(), inode: identity(&top)?, dir: Some(top), todo }];
    while let Some(frame) = frames.last_mut() {
        let Some(name) = frame.todo.pop() else {
            let left = leave(&mut frames);
            path.truncate(path.len().saturating_sub(left + usize::from(path.len() > left)));
            continue;
        };
        let above = path.len();
        push(&mut path, &name);
        match enter(&mut frames, &name).and_then(|dir| Ok((identity(&dir)?, dir))) {
            Ok((inode, dir)) => {
                let todo = read(&dir, &mut path, visitor)?;
                if frames.len() > OPEN
                    && let Some(above) = frames.last_mut()
                {
                    above.dir = None;
                }
                frames.push(Frame { name, dir: Some(dir), inode, todo });
            }
            Err(error) => {
                visitor.fail(&path, error)?;
                path.truncate(above);
            }
        }
    }
    Ok(())
}

/// Tells of everything directly in `dir`, and returns the directories to go into.
fn read<V: Visitor>(dir: &Beneath, path: &mut Vec<u8>, visitor: &mut V) -> Result<Vec<Vec<u8>>, V::Error> {
    let mut todo = Vec::new();
    let here = path.len();
    for entry in Dir::read_from(&dir.0).map_err(io::Error::from)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                visitor.fail(path, error.into())?;
                break;
            }
        };
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        push(path, name);
        match Inode::of(dir, name) {
            Ok(inode) => {
                let into = visitor.meet(&Met { dir, name, path, inode })?;
                if into && inode.kind == Kind::Directory {
                    todo.push(name.to_vec());
                }
            }
            Err(error) => visitor.fail(path, error)?,
        }
        path.truncate(here);
    }
    Ok(todo)
}

/// Goes up one directory and returns the length of the name left. One that was closed is opened
/// again from below if that leads back to it, for the way down to it may be long.
fn leave(frames: &mut Vec<Frame>) -> usize {
    let Some(left) = frames.pop() else { return 0 };
    if let (Some(above), Some(dir)) = (frames.last_mut(), left.dir)
        && above.dir.is_none()
        && let Ok(up) = rustix::fs::openat(&dir.0, "..", DIRECTORY, Mode::empty()).map(Beneath)
        && identity(&up).is_ok_and(|inode| inode == above.inode)
    {
        above.dir = Some(up);
    }
    left.name.len()
}

fn identity(dir: &Beneath) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(&dir.0)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Opens `name` in the last frame's directory, going down to that one again if it was closed.
fn enter(frames: &mut [Frame], name: &[u8]) -> io::Result<Beneath> {
    let open = |dir: &Beneath, name: &[u8]| -> io::Result<Beneath> {
        Ok(Beneath(rustix::fs::openat(&dir.0, name, DIRECTORY, Mode::empty())?))
    };
    let nearest = frames.iter().rposition(|frame| frame.dir.is_some()).unwrap_or(0);
    for at in nearest + 1..frames.len() {
        let above = frames[at - 1].dir.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let dir = open(above, &frames[at].name)?;
        frames[at].dir = Some(dir);
        // Only the last is needed; those between were closed to stay within the number.
        if at > OPEN {
            frames[at - 1].dir = None;
        }
    }
    open(frames.last().and_then(|frame| frame.dir.as_ref()).ok_or(io::ErrorKind::NotFound)?, name)
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, os::unix::fs::symlink};

    use super::*;

    #[derive(Default)]
    struct All {
        paths: BTreeSet<String>,
        failed: Vec<String>,
    }

    impl Visitor for All {
        type Error = io::Error;
        fn meet(&mut self, met: &Met<'_>) -> io::Result<bool> {
            assert!(self.paths.insert(String::from_utf8(met.path.to_vec()).unwrap()), "met twice");
            Ok(met.name != b"not-me")
        }
        fn fail(&mut self, path: &[u8], _: io::Error) -> io::Result<()> {
            self.failed.push(String::from_utf8(path.to_vec()).unwrap());
            Ok(())
        }
    }

    #[test]
    fn everything_is_met_once_and_no_link_is_followed() {
        let tree = tempfile::tempdir().unwrap();
        for dir in ["a/b/c", "a/d", "not-me/x", "e"] {
            fs::create_dir_all(tree.path().join(dir)).unwrap();
        }
        for file in ["a/b/c/f", "a/d/f", "not-me/f", "f"] {
            fs::write(tree.path().join(file), "x").unwrap();
        }
        symlink("a", tree.path().join("e/link")).unwrap();
        let mut all = All::default();
        descend(&Beneath::open(tree.path()).unwrap(), &mut all).unwrap();
        let wanted = ["a", "a/b", "a/b/c", "a/b/c/f", "a/d", "a/d/f", "e", "e/link", "f", "not-me"];
        assert_eq!(all.paths, wanted.into_iter().map(str::to_owned).collect());
        assert!(all.failed.is_empty());
    }

    #[test]
    fn a_tree_deeper_than_open_files_and_paths_is_gone_through() {
        let tree = tempfile::tempdir().unwrap();
        let root = Beneath::open(tree.path()).unwrap();
        let mut here = root.make_dir(b"deep").unwrap();
        for level in 0..2500 {
            // Two in each, so that the way leads up and down again where directories were closed.
            let other = here.make_dir(b"other").unwrap();
            other.new_file(b"f", 0o600).unwrap();
            here = here.make_dir(if level % 2 == 0 { b"d" } else { b"e" }).unwrap();
        }
        let mut all = All::default();
        descend(&root, &mut all).unwrap();
        assert_eq!((all.paths.len(), all.failed.len()), (1 + 2500 * 3, 0));
        root.remove_tree(b"deep").unwrap();
    }

    #[test]
    fn what_cannot_be_entered_is_told_by_its_path_and_the_rest_goes_on() {
        struct Remover(All);
        impl Visitor for Remover {
            type Error = io::Error;
            fn meet(&mut self, met: &Met<'_>) -> io::Result<bool> {
                if met.name == b"gone" {
                    met.dir.remove_tree(b"gone")?;
                }
                self.0.meet(met)
            }
            fn fail(&mut self, path: &[u8], error: io::Error) -> io::Result<()> {
                self.0.fail(path, error)
            }
        }
        let tree = tempfile::tempdir().unwrap();
        for dir in ["a/gone/x", "a/kept/y"] {
            fs::create_dir_all(tree.path().join(dir)).unwrap();
        }
        let mut remover = Remover(All::default());
        descend(&Beneath::open(tree.path()).unwrap(), &mut remover).unwrap();
        assert_eq!(remover.0.failed, ["a/gone"]);
        assert!(remover.0.paths.contains("a/kept/y"));
    }
}
