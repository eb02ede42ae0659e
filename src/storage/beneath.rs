//! Reaching files beneath one directory, and never anything else.
//!
//! A container owns what it writes: it can put a link to `/etc/shadow` into its artifacts, swap a
//! directory for a link between two looks, leave a FIFO that blocks whoever opens it, or a tree
//! thousands of directories deep. So every path is walked name by name from an open directory, no
//! link is ever followed, and a file is opened for reading only after the very same inode was seen to
//! be a regular file. `openat2` would do the walk in one call, but not on every kernel that runs the
//! engine, and one way that always works is easier to trust than two.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat},
    io::Errno,
};

use crate::domain::{time::Timestamp, user_path::UserPath};

/// A directory held open. Everything is named relative to it.
#[derive(Debug)]
pub struct Beneath(pub(super) OwnedFd);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Directory,
    Link,
    /// A FIFO, a socket or a device.
    Other,
}

/// What is known of an entry without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub size_bytes: u64,
    /// Bytes taken on the disk; less than the size for a file with holes.
    pub disk_bytes: u64,
    pub modified_at: Timestamp,
    /// The lower nine bits: who may read, write and execute.
    pub permissions: u32,
}

impl Beneath {
    /// Opens a directory of the daemon's own. Links in `path` itself are followed: it is the admin's.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a directory in here.
    ///
    /// # Errors
    /// `NotADirectory` also when the path, or any part of it, is a link.
    pub fn dir(&self, path: &UserPath) -> io::Result<Self> {
        let mut here = self.reopen()?;
        for name in path.components() {
            here = Self(rustix::fs::openat(&here.0, name, DIRECTORY, Mode::empty())?);
        }
        Ok(here)
    }

    /// Opens a regular file in here for reading.
    ///
    /// # Errors
    /// `InvalidInput` when it is anything but a regular file; `NotADirectory` when the way there
    /// leads through a link.
    pub fn file(&self, path: &UserPath) -> io::Result<(File, Facts)> {
        let name = path.name().ok_or_else(not_a_file)?;
        let parent = self.dir(&path.parent().unwrap_or_default())?;
        // An O_PATH handle opens nothing: a FIFO does not block, a device does not act.
        let seen =
            rustix::fs::openat(&parent.0, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if facts(&rustix::fs::fstat(&seen)?).kind != Kind::File {
            return Err(not_a_file());
        }
        // Opening by handle gives the inode that was looked at, whatever the name means by now.
        let handle = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&seen));
        let file = rustix::fs::openat(CWD, handle, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?;
        let facts = facts(&rustix::fs::fstat(&file)?);
        Ok((File::from(file), facts))
    }

    /// Looks at an entry without opening it or following it.
    pub fn facts(&self, path: &UserPath) -> io::Result<Facts> {
        match path.name() {
            None => Ok(facts(&rustix::fs::fstat(&self.0)?)),
            Some(name) => self.dir(&path.parent().unwrap_or_default())?.facts_of(name),
        }
    }

    /// Looks at the entry `name`, directly in here.
    pub fn facts_of(&self, name: &[u8]) -> io::Result<Facts> {
        Ok(facts(&rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Returns what the link `name`, directly in here, says. Nobody has checked where it leads.
    pub fn link_target(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Calls `each` for every name directly in here, in the file system's order.
    pub fn each_name(&self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                each(name)?;
            }
        }
        Ok(())
    }

    /// Calls `each` for every entry directly in here, with what it is, in the file system's order.
    pub fn each_entry(&self, mut each: impl FnMut(&[u8], Kind) -> io::Result<()>) -> io::Result<()> {
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system tells.
                FileType::Unknown => match self.facts_of(name) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    facts => facts?.kind,
                },
                known => kind(known),
            };
            each(name, kind)?;
        }
        Ok(())
    }

    /// Makes the directory `name` if it is not there, usable by any user, and opens it.
    pub fn make_dir(&self, name: &[u8]) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let made = Self(rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty())?);
        // The mode given to mkdir is cut by the daemon's umask.
        rustix::fs::fchmod(&made.0, Mode::from_raw_mode(0o777))?;
        Ok(made)
    }

    /// Opens the directory `name`, directly in here, and makes it first if it is not there, with
    /// `mode` whatever the daemon's umask is.
    ///
    /// # Errors
    /// `NotADirectory` also when it is a link.
    pub fn dir_or_new(&self, name: &[u8], mode: u32) -> io::Result<Self> {
        match rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {}
            found => return Ok(Self(found?)),
        }
        let made = match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let dir = Self(rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty())?);
        if made {
            rustix::fs::fchmod(&dir.0, Mode::from_raw_mode(mode))?;
        }
        Ok(dir)
    }

    /// Removes the directory `name`, directly in here, if nothing is in it, and returns whether it
    /// is gone.
    pub fn remove_empty_dir(&self, name: &[u8]) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file without a name, somewhere in here, for reading and writing. It is gone when it
    /// is closed, unless [`Beneath::link_open_file`] gave it a name.
    ///
    /// # Errors
    /// `Unsupported` when the file system has no such files.
    pub fn unnamed_file(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, ".", flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Ok(File::from(file)),
            // Which of them it is depends on the kernel's age and on the file system.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives an open file a name, or a further one, directly in here.
    pub fn link_open_file(&self, file: &File, name: &[u8]) -> io::Result<()> {
        // Linking the handle itself takes a capability on older kernels; its name in /proc does not.
        let handle = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        Ok(rustix::fs::linkat(CWD, handle, &self.0, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Moves `from`, directly in here, to `to` in `into`, on the same file system, in one step. A
    /// file in the way is replaced. Two names of one file stay as they are.
    pub fn move_to(&self, from: &[u8], into: &Self, to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &into.0, to)?)
    }

    /// Makes the file `name`, directly in here, for writing. What is there already is an error,
    /// links included, so nothing is ever written through one.
    pub fn new_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o600))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        Ok(File::from(file))
    }

    /// Makes the symbolic link `name`, directly in here.
    pub fn new_link(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    /// Gives the file `from` in `source` a second name, directly in here.
    pub fn new_hard_link(&self, source: &Self, from: &[u8], name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::linkat(&source.0, from, &self.0, name, AtFlags::empty())?)
    }

    /// Moves `from` to `to`, both directly in here, in one step. A file in the way is replaced.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    /// Moves `from`, directly in here, to `to` in `into`, on the same file system, in one step, unless
    /// something has that name.
    ///
    /// # Errors
    /// `AlreadyExists`. Where the file system cannot do both at once it is looked first, so that who makes
    /// that name in the same moment may lose it.
    pub fn move_to_new(&self, from: &[u8], into: &Self, to: &[u8]) -> io::Result<()> {
        match rustix::fs::renameat_with(&self.0, from, &into.0, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if into.facts_of(to).is_ok() => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            // Of what cannot be moved there at all this says the same again.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.move_to(from, into, to),
            moved => Ok(moved?),
        }
    }

    /// Lets `from`, directly in here, and `to` in `into` change places, in one step.
    pub fn exchange(&self, from: &[u8], into: &Self, to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(&self.0, from, &into.0, to, RenameFlags::EXCHANGE)?)
    }

    /// Removes the file or link `name`, directly in here. One that is gone is no error.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets every user read and write the entry `name`, directly in here, and execute it or enter
    /// it if its owner may. Links are left alone: their mode means nothing. Only for what no
    /// container has seen yet, which could put a link in the place of what was looked at.
    pub fn open_to_all(&self, name: &[u8]) -> io::Result<()> {
        let Facts { kind, permissions, .. } = self.facts_of(name)?;
        let mode = match kind {
            Kind::Directory => 0o777,
            Kind::File if permissions & 0o100 != 0 => 0o777,
            Kind::File => 0o666,
            Kind::Link | Kind::Other => return Ok(()),
        };
        if mode != permissions {
            rustix::fs::chmodat(&self.0, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Waits until the names in here are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Waits until everything on the file system that this is on is on the disk.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }

    /// Opens the same directory a second time, with a reading position of its own.
    pub fn reopen(&self) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, ".", DIRECTORY, Mode::empty())?))
    }
}

/// Opens the directory that holds `path`, and returns it with `path`'s own name.
pub fn parent_of(path: &Path) -> io::Result<(Beneath, Vec<u8>)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((Beneath::open(parent)?, name.as_bytes().to_vec())),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

/// How a directory is opened to look into it.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

fn kind(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

pub(super) fn facts(stat: &Stat) -> Facts {
    let kind = kind(FileType::from_raw_mode(stat.st_mode));
    let micros = i64::try_from(stat.st_mtime_nsec).unwrap_or(0) / 1000;
    Facts {
        kind,
        size_bytes: if kind == Kind::Directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) },
        disk_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        modified_at: Timestamp(stat.st_mtime.saturating_mul(1_000_000).saturating_add(micros)),
        permissions: stat.st_mode & 0o777,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::*;

    fn path(text: &str) -> UserPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_file_is_opened_where_it_is() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("a/b")).unwrap();
        fs::write(tree.path().join("a/b/c"), "hello").unwrap();
        let (mut file, facts) = Beneath::open(tree.path()).unwrap().file(&path("a/b/c")).unwrap();
        assert_eq!((facts.kind, facts.size_bytes), (Kind::File, 5));
        assert_eq!(io::read_to_string(&mut file).unwrap(), "hello");
    }

    #[test]
    fn no_link_is_followed_not_even_one_that_stays_inside() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("real")).unwrap();
        fs::write(tree.path().join("real/file"), "x").unwrap();
        symlink("real", tree.path().join("dir")).unwrap();
        symlink("real/file", tree.path().join("file")).unwrap();
        symlink("/etc", tree.path().join("etc")).unwrap();
        let here = Beneath::open(tree.path()).unwrap();
        for bad in ["dir/file", "file", "etc/passwd", "etc"] {
            assert!(here.file(&path(bad)).is_err(), "{bad}");
        }
        assert!(here.dir(&path("dir")).is_err());
        assert_eq!(here.facts(&path("etc")).unwrap().kind, Kind::Link);
        assert_eq!(here.link_target(b"etc").unwrap(), b"/etc");
    }

    #[test]
    fn a_fifo_is_refused_at_once_rather_than_waited_for() {
        let tree = tempfile::tempdir().unwrap();
        assert!(Command::new("mkfifo").arg(tree.path().join("pipe")).status().unwrap().success());
        let error = Beneath::open(tree.path()).unwrap().file(&path("pipe")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn nothing_is_written_through_a_link_in_the_way() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("victim"), "whole").unwrap();
        symlink("victim", tree.path().join("name")).unwrap();
        let here = Beneath::open(tree.path()).unwrap();
        assert!(here.new_file(b"name", 0o644).is_err());
        assert_eq!(fs::read_to_string(tree.path().join("victim")).unwrap(), "whole");
    }

    #[test]
    fn a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let yard = tempfile::tempdir().unwrap();
        for dir in ["tree/real", "outside"] {
            fs::create_dir_all(yard.path().join(dir)).unwrap();
        }
        fs::write(yard.path().join("tree/real/file"), "mine").unwrap();
        fs::write(yard.path().join("outside/file"), "secret").unwrap();
        symlink("../outside", yard.path().join("tree/link")).unwrap();
        let here = Beneath::open(&yard.path().join("tree")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let swap = Beneath::open(&yard.path().join("tree")).unwrap();
                while !done.load(Ordering::Relaxed) {
                    for (from, to) in [("real", "dir"), ("dir", "real"), ("link", "dir"), ("dir", "link")] {
                        swap.rename(from.as_bytes(), to.as_bytes()).unwrap();
                    }
                }
            });
            let (mut mine, mut other, mut refused) = (0, 0, 0);
            // Until both have been met often enough for a hole between two looks to show.
            while mine < 200 || refused < 200 {
                match here.file(&path("dir/file")).and_then(|(file, _)| io::read_to_string(file)) {
                    Ok(text) if text == "mine" => mine += 1,
                    Ok(_) => other += 1,
                    Err(_) => refused += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(other, 0);
        });
    }
}
