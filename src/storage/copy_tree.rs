//! Copies a tree that containers may be working in.
//!
//! What is copied goes to a directory that nobody else reaches, and only the source may change
//! meanwhile: what is gone by the time it is reached is passed over. Files share their blocks where the
//! file system can, and keep their holes; links stay links and lead where they led. Modes, owners and
//! times are kept, but for the bits that would let a program run as somebody else. Several names of one
//! file become several files.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::ControlFlow,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid},
    io::Errno,
};

use super::{
    beneath::{Beneath, DIRECTORY, Kind},
    descent::{Inode, Met, Visitor, descend},
};
use crate::domain::{time::Timestamp, user_path::UserPath};

/// Bytes that are copied between two questions whether to go on.
const STEP: u64 = 16 << 20;

/// What was copied so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Files and links.
    pub files: u64,
    pub directories: u64,
    /// Of files, holes left out.
    pub bytes: u64,
    /// Sockets, pipes and devices, and what the daemon may not read.
    pub skipped: u64,
}

/// Why a copy is not whole.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Whoever watches has said so.
    #[error("it was ended")]
    Stopped,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Is told how far a copy is, often, before the bytes are written, and says whether to go on.
pub type Watch<'a> = &'a mut dyn FnMut(Copied) -> ControlFlow<()>;

/// Copies what is in `from` to the empty directory `into`, which becomes like it. Blocks.
///
/// # Errors
/// [`CopyError`]; what was copied by then stays.
pub fn copy_tree(from: &Beneath, into: &Beneath, watch: Watch<'_>) -> Result<Copied, CopyError> {
    let top = Inode::from(&rustix::fs::fstat(&from.0).map_err(io::Error::from)?);
    let mut copy = Copy {
        into,
        here: (Vec::new(), into.reopen()?),
        copied: Copied::default(),
        directories: vec![(Vec::new(), top)],
        watch,
    };
    descend(from, &mut copy)?;
    // What is put into a directory moves its time, so these come last, the innermost first.
    for (path, inode) in copy.directories.iter().rev() {
        let dir = at(into, path)?;
        dress(&dir.0, inode)?;
    }
    Ok(copy.copied)
}

/// Copies the entry `name`, directly in `from`, to `to`, directly in `into`, where there must be none.
/// Blocks.
///
/// # Errors
/// [`CopyError`]; `InvalidInput` for a socket, a pipe or a device.
pub fn copy_entry(
    from: &Beneath,
    name: &[u8],
    into: &Beneath,
    to: &[u8],
    watch: Watch<'_>,
) -> Result<Copied, CopyError> {
    let inode = Inode::of(from, name)?;
    if inode.kind == Kind::Directory {
        let from = Beneath(rustix::fs::openat(&from.0, name, DIRECTORY, Mode::empty()).map_err(io::Error::from)?);
        rustix::fs::mkdirat(&into.0, to, Mode::RWXU).map_err(io::Error::from)?;
        let made = Beneath(rustix::fs::openat(&into.0, to, DIRECTORY, Mode::empty()).map_err(io::Error::from)?);
        return copy_tree(&from, &made, watch);
    }
    let mut copied = Copied::default();
    match inode.kind {
        Kind::File => copy_file(from, name, into, to, &mut copied, watch)?,
        Kind::Link => copy_link(from, name, into, to, &inode)?,
        Kind::Other | Kind::Directory => return Err(io::Error::from(io::ErrorKind::InvalidInput).into()),
    }
    copied.files += 1;
    Ok(copied)
}

struct Copy<'a> {
    into: &'a Beneath,
    /// The directory that was written to last, with its path: entries come directory by directory.
    here: (Vec<u8>, Beneath),
    copied: Copied,
    /// Those that were made, with what they are to be like.
    directories: Vec<(Vec<u8>, Inode)>,
    watch: Watch<'a>,
}

impl Copy<'_> {
    fn go_on(&mut self) -> Result<(), CopyError> {
        if (self.watch)(self.copied).is_break() { Err(CopyError::Stopped) } else { Ok(()) }
    }
}

impl Visitor for Copy<'_> {
    type Error = CopyError;

    fn meet(&mut self, met: &Met<'_>) -> Result<bool, CopyError> {
        self.go_on()?;
        let parent = &met.path[..met.path.len().saturating_sub(met.name.len() + 1)];
        if self.here.0 != parent {
            self.here = (parent.to_vec(), at(self.into, parent)?);
        }
        let here = &self.here.1;
        let copied = match met.inode.kind {
            Kind::Directory => {
                rustix::fs::mkdirat(&here.0, met.name, Mode::RWXU).map_err(io::Error::from)?;
                self.directories.push((met.path.to_vec(), met.inode));
                self.copied.directories += 1;
                return Ok(true);
            }
            Kind::File => copy_file(met.dir, met.name, here, met.name, &mut self.copied, self.watch),
            Kind::Link => copy_link(met.dir, met.name, here, met.name, &met.inode).map_err(CopyError::Io),
            Kind::Other => {
                self.copied.skipped += 1;
                return Ok(false);
            }
        };
        match copied {
            Ok(()) => self.copied.files += 1,
            Err(CopyError::Io(error)) => self.passed_over(error)?,
            Err(stopped) => return Err(stopped),
        }
        Ok(false)
    }

    fn fail(&mut self, _: &[u8], error: io::Error) -> Result<(), CopyError> {
        self.passed_over(error)
    }
}

impl Copy<'_> {
    /// Takes note of an entry that could not be copied, if the others can go on without it.
    fn passed_over(&mut self, error: io::Error) -> Result<(), CopyError> {
        match error.kind() {
            // Gone, or something else by now: a container is at work.
            io::ErrorKind::NotFound
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists => Ok(()),
            io::ErrorKind::PermissionDenied => {
                self.copied.skipped += 1;
                Ok(())
            }
            _ => Err(error.into()),
        }
    }
}

/// Opens the directory `path` of a tree that is the daemon's own, however deep it is.
fn at(root: &Beneath, path: &[u8]) -> io::Result<Beneath> {
    let mut here = root.reopen()?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        here = Beneath(rustix::fs::openat(&here.0, name, DIRECTORY, Mode::empty())?);
    }
    Ok(here)
}

fn copy_file(
    from: &Beneath,
    name: &[u8],
    into: &Beneath,
    to: &[u8],
    copied: &mut Copied,
    watch: Watch<'_>,
) -> Result<(), CopyError> {
    let path = UserPath::root().join(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let (mut source, _) = from.file(&path)?;
    let inode = Inode::of_file(&source)?;
    let mut made = into.new_file(to, 0o600)?;
    let filled = fill(&mut source, &mut made, inode.bytes, copied, watch);
    if filled.is_err() {
        into.remove_file(to)?;
    }
    filled?;
    Ok(dress(&made, &inode)?)
}

/// Fills `made` with the bytes of `source`, of which there were `bytes` when it was looked at.
fn fill(
    source: &mut File,
    made: &mut File,
    bytes: u64,
    copied: &mut Copied,
    watch: Watch<'_>,
) -> Result<(), CopyError> {
    if bytes > 0 && rustix::fs::ioctl_ficlone(&*made, &*source).is_ok() {
        copied.bytes += bytes;
        return if watch(*copied).is_break() { Err(CopyError::Stopped) } else { Ok(()) };
    }
    let mut at = 0;
    while let Some((start, end)) = extent(source, at, bytes)? {
        at = start;
        while at < end {
            let step = STEP.min(end - at);
            copied.bytes += step;
            if watch(*copied).is_break() {
                return Err(CopyError::Stopped);
            }
            source.seek(SeekFrom::Start(at))?;
            made.seek(SeekFrom::Start(at))?;
            let went = io::copy(&mut Read::by_ref(source).take(step), made)?;
            at += went;
            if went < step {
                // It has become shorter meanwhile, and so is its copy.
                made.set_len(at)?;
                return Ok(());
            }
        }
    }
    Ok(made.set_len(bytes)?)
}

/// Returns where the next bytes are from `at` on that are no hole.
fn extent(file: &File, at: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= end {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // Not every file system tells.
        Err(_) => return Ok(Some((at, end))),
    };
    let hole = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start)).unwrap_or(end);
    Ok((start < end).then_some((start, hole.min(end))))
}

fn copy_link(from: &Beneath, name: &[u8], into: &Beneath, to: &[u8], inode: &Inode) -> io::Result<()> {
    into.new_link(&from.link_target(name)?, to)?;
    let (user, group) = owner(inode);
    match rustix::fs::chownat(&into.0, to, user, group, AtFlags::SYMLINK_NOFOLLOW) {
        // A link's owner means nothing to who follows it.
        Err(Errno::PERM) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::utimensat(&into.0, to, &times(inode.modified_at), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives a file or directory the mode, the owner and the time of another. Where owners cannot be given,
/// it is opened to everybody instead: the daemon's own user is nobody inside a container.
pub(super) fn dress(file: impl std::os::fd::AsFd, like: &Inode) -> io::Result<()> {
    dress_mode(&file, like)?;
    Ok(rustix::fs::futimens(file, &times(like.modified_at))?)
}

/// The same without the time.
pub(super) fn dress_mode(file: impl std::os::fd::AsFd, like: &Inode) -> io::Result<()> {
    let (user, group) = owner(like);
    let mode = match rustix::fs::fchown(&file, user, group) {
        Ok(()) => like.mode & 0o1777,
        Err(Errno::PERM) => open_mode(like.kind == Kind::Directory || like.mode & 0o100 != 0),
        Err(error) => return Err(error.into()),
    };
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// Returns the mode of what every user may work with.
pub(super) fn open_mode(executable: bool) -> u32 {
    if executable { 0o777 } else { 0o666 }
}

fn owner(inode: &Inode) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(inode.owner.0)), Some(Gid::from_raw(inode.owner.1)))
}

fn times(modified_at: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: modified_at.0.div_euclid(1_000_000),
        tv_nsec: (modified_at.0.rem_euclid(1_000_000) * 1000) as _,
    };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
        path::Path,
        process::Command,
    };

    use super::*;

    fn copied(from: &Path, into: &Path) -> Copied {
        fs::create_dir(into).unwrap();
        let (from, into) = (Beneath::open(from).unwrap(), Beneath::open(into).unwrap());
        copy_tree(&from, &into, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn a_copy_is_the_same_tree_with_links_modes_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("a/b/empty")).unwrap();
        fs::write(from.join("a/run.sh"), "#!/bin/sh").unwrap();
        fs::set_permissions(from.join("a/run.sh"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::write(from.join("a/b/data"), vec![7; 100_000]).unwrap();
        symlink("/etc/passwd", from.join("out")).unwrap();
        symlink("a", from.join("in")).unwrap();
        assert!(Command::new("mkfifo").arg(from.join("a/pipe")).status().unwrap().success());
        assert!(
            Command::new("touch")
                .args(["-h", "-d", "2001-02-03"])
                .args([from.join("a"), from.join("out"), from.join("a/run.sh")])
                .status()
                .unwrap()
                .success()
        );
        let into = dir.path().join("into");
        assert_eq!(copied(&from, &into), Copied { files: 4, directories: 3, bytes: 100_009, skipped: 1 });
        fs::remove_file(from.join("a/pipe")).unwrap();
        assert!(Command::new("touch").args(["-d", "2001-02-03"]).arg(from.join("a")).status().unwrap().success());
        let same = Command::new("diff").args(["-r", "--no-dereference"]).args([&from, &into]).status().unwrap();
        assert!(same.success());
        assert_eq!(fs::metadata(into.join("a/run.sh")).unwrap().mode() & 0o7777, 0o751);
        for path in ["a", "out", "a/run.sh"] {
            let time = |root: &Path| fs::symlink_metadata(root.join(path)).unwrap().mtime();
            assert_eq!(time(&from), time(&into), "{path}");
        }
    }

    #[test]
    fn holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir(&from).unwrap();
        let file = File::create(from.join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"here", 512 << 20).unwrap();
        let into = dir.path().join("into");
        copied(&from, &into);
        let copy = fs::metadata(into.join("sparse")).unwrap();
        assert_eq!(copy.len(), 1 << 30);
        assert!(copy.blocks() * 512 < 1 << 20, "{}", copy.blocks());
        let mut there = [0; 4];
        File::open(into.join("sparse")).unwrap().read_exact_at(&mut there, 512 << 20).unwrap();
        assert_eq!(&there, b"here");
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, into) = (dir.path().join("from"), dir.path().join("into"));
        fs::create_dir(&from).unwrap();
        let mut here = Beneath::open(&from).unwrap();
        let name = vec![b'd'; 200];
        for _ in 0..100 {
            here = here.make_dir(&name).unwrap();
        }
        here.new_file(b"bottom", 0o644).unwrap();
        assert_eq!(copied(&from, &into), Copied { files: 1, directories: 100, bytes: 0, skipped: 0 });
        for root in [b"from", b"into"] {
            Beneath::open(dir.path()).unwrap().remove_tree(root).unwrap();
        }
    }

    #[test]
    fn a_copy_ends_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("from")).unwrap();
        fs::create_dir(dir.path().join("into")).unwrap();
        fs::write(dir.path().join("from/large"), vec![1; 1 << 20]).unwrap();
        let (from, into) =
            (Beneath::open(&dir.path().join("from")).unwrap(), Beneath::open(&dir.path().join("into")).unwrap());
        let mut watch =
            |copied: Copied| if copied.bytes > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        assert!(matches!(copy_tree(&from, &into, &mut watch), Err(CopyError::Stopped)));
        assert_eq!(fs::read_dir(dir.path().join("into")).unwrap().count(), 0);
        let one = copy_entry(&from, b"large", &into, b"again", &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((one.files, one.bytes), (1, 1 << 20));
    }
}
