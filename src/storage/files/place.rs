//! Giving files their names in a tree, and taking them away, each in one step.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::Path,
};

use super::{FileEntry, FileState, FileTree, FilesError, entry};
use crate::{
    domain::user_path::UserPath,
    storage::{
        beneath::{Beneath, Kind},
        copy_tree::{Copied, CopyError, Watch, copy_entry, dress_mode, open_mode},
        descent::Inode,
    },
};

/// What must hold of a name for a file to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: a file or link that is there is replaced. A directory never is.
    Any,
    /// Nothing has it.
    New,
    /// A file has it that is in the state with this name.
    Unchanged(String),
}

/// A file or tree without a place yet, under a name of its own in a directory of the daemon's. It is
/// removed when it is dropped before it got its place.
#[derive(Debug)]
pub struct Incoming {
    dir: Beneath,
    name: Option<Vec<u8>>,
    /// It stays where it is when it does not get a place.
    kept: bool,
}

/// A tree that was taken away and is still to be removed.
#[derive(Debug)]
pub struct Aside(Incoming);

impl Incoming {
    /// Begins a file called `name` in the directory at `dir`.
    pub fn file(dir: &Path, name: &str) -> io::Result<(Self, File)> {
        let dir = Beneath::open(dir)?;
        let file = dir.new_file(name.as_bytes(), 0o600)?;
        Ok((Self::new(dir, name.into()), file))
    }

    /// Takes a file that is whole, and stays until it has its place.
    pub(super) fn kept(dir: Beneath, name: Vec<u8>) -> Self {
        Self { dir, name: Some(name), kept: true }
    }

    fn new(dir: Beneath, name: Vec<u8>) -> Self {
        Self { dir, name: Some(name), kept: false }
    }

    /// Copies an entry of a tree to `name` in the directory at `dir`. The root is all of the tree.
    /// Blocks.
    pub fn copy(
        dir: &Path,
        name: &str,
        of: &FileTree,
        path: &UserPath,
        watch: Watch<'_>,
    ) -> Result<(Self, Copied), CopyError> {
        let made = Self::new(Beneath::open(dir)?, name.into());
        let copied = match path.name() {
            Some(last) => {
                let parent = of.0.dir(&path.parent().unwrap_or_default())?;
                copy_entry(&parent, last, &made.dir, name.as_bytes(), watch)?
            }
            None => {
                let into = made.dir.make_dir(name.as_bytes())?;
                crate::storage::copy_tree::copy_tree(&of.0, &into, watch)?
            }
        };
        made.dir.sync_file_system()?;
        Ok((made, copied))
    }

    fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or_default()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && !self.kept
        {
            // What fails here goes with the directory, once another daemon runs.
            let _ = self.dir.remove_tree(&name);
        }
    }
}

impl Aside {
    /// Removes it. Blocks for as long as its files take.
    pub fn remove(mut self) -> io::Result<()> {
        let name = self.0.name.take().unwrap_or_default();
        self.0.dir.remove_tree(&name)
    }
}

impl FileTree {
    /// Makes the directory `path` with those on the way, open to every user. Says whether it is new.
    ///
    /// # Errors
    /// [`FilesError::NotADirectory`] when a file or a link is on the way or in the place.
    pub fn make_dirs(&self, path: &UserPath) -> Result<bool, FilesError> {
        let Some(name) = path.name() else { return Ok(false) };
        let parent = self.way(&path.parent().unwrap_or_default())?;
        if parent.facts_of(name).is_ok_and(|facts| facts.kind == Kind::Directory) {
            return Ok(false);
        }
        parent.dir_or_new(name, 0o777)?;
        parent.sync()?;
        Ok(true)
    }

    fn way(&self, path: &UserPath) -> Result<Beneath, FilesError> {
        let mut here = self.0.reopen()?;
        for name in path.components() {
            here = here.dir_or_new(name, 0o777)?;
        }
        Ok(here)
    }

    /// Gives the whole file `incoming`, open as `file`, the name `path`. It gets mode and owner of what it
    /// replaces; what is new is open to every user. `executable` counts more. It is on the disk when this
    /// returns. Says whether it replaced something.
    ///
    /// # Errors
    /// [`FilesError::Exists`] and [`FilesError::Changed`] when the condition does not hold;
    /// [`FilesError::IsDirectory`], [`FilesError::NotADirectory`].
    pub fn place(
        &self,
        incoming: Incoming,
        file: &mut File,
        path: &UserPath,
        condition: &Condition,
        executable: Option<bool>,
    ) -> Result<(FileEntry, bool), FilesError> {
        let parent = self.way(&path.parent().unwrap_or_default())?;
        let name = path.name().ok_or(FilesError::IsDirectory)?;
        let before = match Inode::of(&parent, name) {
            Ok(inode) if inode.kind == Kind::Directory => return Err(FilesError::IsDirectory),
            Ok(inode) => Some(inode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let dress = |file: &File| -> io::Result<()> {
            match before {
                Some(mut like) if like.kind == Kind::File => {
                    match executable {
                        Some(true) => like.mode |= 0o111 & (like.mode >> 2 | 0o100),
                        Some(false) => like.mode &= !0o111,
                        None => {}
                    }
                    dress_mode(file, &like)
                }
                _ => {
                    let mode = open_mode(executable == Some(true));
                    Ok(rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(mode))?)
                }
            }
        };
        dress(file)?;
        file.sync_all()?;
        crate::fault::point("files.place.before");
        let placed = match settle(incoming, &parent, name, condition) {
            Err((incoming, FilesError::OtherDisk)) => {
                // Somebody has put a disk of its own there.
                let (beside, mut copy) = beside(&parent, incoming.name())?;
                file.seek(SeekFrom::Start(0))?;
                io::copy(file, &mut copy)?;
                dress(&copy)?;
                copy.flush()?;
                copy.sync_all()?;
                settle(beside, &parent, name, condition).map_err(|(_, error)| error)
            }
            placed => placed.map_err(|(_, error)| error),
        };
        placed?;
        parent.sync()?;
        crate::fault::point("files.place.after");
        Ok((entry(&parent, path.clone())?, before.is_some()))
    }

    /// Gives a tree or file that was copied the name `path`.
    ///
    /// # Errors
    /// As [`FileTree::place`]; a directory never replaces anything.
    pub fn place_copy(&self, incoming: Incoming, path: &UserPath, overwrite: bool) -> Result<FileEntry, FilesError> {
        let parent = self.way(&path.parent().unwrap_or_default())?;
        let name = path.name().ok_or(FilesError::IsDirectory)?;
        let is_directory = Inode::of(&incoming.dir, incoming.name())?.kind == Kind::Directory;
        let condition = if overwrite && !is_directory { Condition::Any } else { Condition::New };
        if condition == Condition::Any {
            not_a_directory(&parent, name)?;
        }
        crate::fault::point("files.place.before");
        match settle(incoming, &parent, name, &condition) {
            Err((incoming, FilesError::OtherDisk)) => {
                let hidden = hidden(incoming.name());
                let beside = Incoming::new(parent.reopen()?, hidden.clone());
                copy_entry(&incoming.dir, incoming.name(), &beside.dir, &hidden, &mut |_| {
                    std::ops::ControlFlow::Continue(())
                })
                .map_err(of_copy)?;
                beside.dir.sync_file_system()?;
                settle(beside, &parent, name, &condition).map_err(|(_, error)| error)?;
            }
            placed => placed.map_err(|(_, error)| error)?,
        }
        parent.sync()?;
        Ok(entry(&parent, path.clone())?)
    }

    /// Moves `from` to `to` in `into`, which may be another tree, in one step.
    ///
    /// # Errors
    /// [`FilesError::Exists`] unless `overwrite` says so and both are files; [`FilesError::OtherDisk`]
    /// when it has to be copied.
    pub fn move_to(
        &self,
        from: &UserPath,
        into: &Self,
        to: &UserPath,
        overwrite: bool,
    ) -> Result<FileEntry, FilesError> {
        let source = self.0.dir(&from.parent().unwrap_or_default())?;
        let name = from.name().ok_or(FilesError::IntoItself)?;
        let moved = Inode::of(&source, name)?;
        let target = into.way(&to.parent().unwrap_or_default())?;
        let last = to.name().ok_or(FilesError::IsDirectory)?;
        let result = if overwrite && moved.kind != Kind::Directory {
            not_a_directory(&target, last)?;
            source.move_to(name, &target, last)
        } else {
            source.move_to_new(name, &target, last)
        };
        result.map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::INVAL.raw_os_error() => FilesError::IntoItself,
            _ => FilesError::from(error),
        })?;
        target.sync()?;
        source.sync()?;
        Ok(entry(&target, to.clone())?)
    }

    /// Removes a file, a link, or an empty directory; with `recursive` any directory, which is taken away
    /// to `aside` in one step and returned, to be removed from there.
    ///
    /// # Errors
    /// [`FilesError::NotEmpty`].
    pub fn remove(&self, path: &UserPath, recursive: bool, aside: (&Path, &str)) -> Result<Option<Aside>, FilesError> {
        let parent = self.0.dir(&path.parent().unwrap_or_default())?;
        let name = path.name().ok_or(FilesError::NotEmpty)?;
        if Inode::of(&parent, name)?.kind != Kind::Directory {
            parent.remove_file(name)?;
            return Ok(None);
        }
        if parent.remove_empty_dir(name)? {
            return Ok(None);
        }
        if !recursive {
            return Err(FilesError::NotEmpty);
        }
        let taken = Incoming::new(Beneath::open(aside.0)?, aside.1.into());
        match parent.move_to_new(name, &taken.dir, taken.name()) {
            Ok(()) => Ok(Some(Aside(taken))),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                parent.remove_tree(name)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Gives `incoming` a name, and gives it back when it does not get it.
fn settle(
    mut incoming: Incoming,
    parent: &Beneath,
    name: &[u8],
    condition: &Condition,
) -> Result<(), (Incoming, FilesError)> {
    let settled = match condition {
        Condition::Any => incoming.dir.move_to(incoming.name(), parent, name).map_err(FilesError::from),
        Condition::New => incoming.dir.move_to_new(incoming.name(), parent, name).map_err(FilesError::from),
        Condition::Unchanged(state) => swap(&incoming, parent, name, state),
    };
    match settled {
        Ok(()) => {
            // After an exchange this is what was there before.
            if matches!(condition, Condition::Unchanged(_)) {
                return Ok(());
            }
            incoming.name = None;
            Ok(())
        }
        Err(error) => Err((incoming, error)),
    }
}

/// Exchanges `incoming` with the file `name`, if that is in `state`. What came out of the exchange is
/// looked at, so nobody can have changed it in between.
fn swap(incoming: &Incoming, parent: &Beneath, name: &[u8], state: &str) -> Result<(), FilesError> {
    let is = |inode: io::Result<Inode>| inode.is_ok_and(|inode| FileState::from(inode).to_string() == state);
    if !is(Inode::of(parent, name)) {
        return Err(FilesError::Changed);
    }
    match incoming.dir.exchange(incoming.name(), parent, name) {
        Ok(()) if is(Inode::of(&incoming.dir, incoming.name())) => Ok(()),
        Ok(()) => {
            incoming.dir.exchange(incoming.name(), parent, name)?;
            Err(FilesError::Changed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FilesError::Changed),
        // The file system cannot exchange: it was looked at just now.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(incoming.dir.move_to(incoming.name(), parent, name)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Begins a file next to its place, where it cannot be moved there from elsewhere.
fn beside(parent: &Beneath, like: &[u8]) -> io::Result<(Incoming, File)> {
    let name = hidden(like);
    let file = parent.new_file(&name, 0o600)?;
    Ok((Incoming::new(parent.reopen()?, name), file))
}

fn hidden(like: &[u8]) -> Vec<u8> {
    [b".gradientd-arriving-".as_slice(), like].concat()
}

fn not_a_directory(parent: &Beneath, name: &[u8]) -> Result<(), FilesError> {
    match parent.facts_of(name) {
        Ok(facts) if facts.kind == Kind::Directory => Err(FilesError::IsDirectory),
        _ => Ok(()),
    }
}

fn of_copy(error: CopyError) -> FilesError {
    match error {
        CopyError::Io(error) => error.into(),
        CopyError::Stopped => FilesError::Io(io::ErrorKind::Interrupted.into()),
    }
}
