//! A tree of files that are links to blobs, changed by any number of writers at once.
//!
//! A file comes to its path in one step, whole: as a new link, or in place of what stands there by a
//! rename. Directories are there where files are: they come with the first file and go with the
//! last. No link in a tree is ever followed, and what stands in the tree is only ever a link to a
//! blob or a symbolic link, never a file that could still be written to.

mod place;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{BlobWriter, Blobs, TreeError, hashed::content_of, walk::Walk};
use crate::{
    domain::{
        content::{Content, ContentHash, Entry, EntryKind, Totals},
        user_path::UserPath,
    },
    fault,
    storage::beneath::{Beneath, Kind, facts},
};

/// A tree, held open.
#[derive(Debug)]
pub struct Tree {
    blobs: Arc<Blobs>,
    root: Beneath,
    /// The directory that was written to last. Files come by directory, mostly.
    last: Mutex<Option<(UserPath, Arc<Beneath>)>>,
}

/// What a new file took the place of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replaced {
    pub entry: Option<Entry>,
}

impl Tree {
    /// Opens the directory at `root`.
    pub(super) fn at(blobs: Arc<Blobs>, root: Beneath) -> Self {
        Self { blobs, root, last: Mutex::default() }
    }

    pub fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    /// Returns the top directory.
    pub fn root(&self) -> &Beneath {
        &self.root
    }

    /// Puts a file whose bytes are stored, or a symbolic link, at `path`.
    ///
    /// # Errors
    /// [`TreeError::NotStored`] when the bytes are not there (any more).
    pub fn put(&self, path: &UserPath, kind: &EntryKind) -> Result<Replaced, TreeError> {
        match kind {
            EntryKind::File(content) => self.link_known(path, content)?.ok_or(TreeError::NotStored(content.hash)),
            EntryKind::Link(target) if target.is_empty() => Err(TreeError::Io(Errno::INVAL.into())),
            EntryKind::Link(target) => {
                let placed = self.place(path, |dir, name| Ok(dir.new_link(target, name).map(|()| true)?))?;
                Ok(placed.unwrap_or_default())
            }
        }
    }

    /// Puts a file at `path` if its bytes are stored, executable or not; `None` when they are not.
    pub fn link_known(&self, path: &UserPath, content: &Content) -> Result<Option<Replaced>, TreeError> {
        let _linking = self.blobs.linking(&content.hash);
        // Asked first, so that no directories are made for nothing.
        if !self.blobs.store_from_other_mode(content)? {
            return Ok(None);
        }
        self.place(path, |dir, name| self.blobs.link(content, dir, name))
    }

    /// Stores a small file and puts it at `path`. Bytes that are stored already are not written.
    pub fn put_small(&self, path: &UserPath, bytes: &[u8], executable: bool) -> Result<(Content, Replaced), TreeError> {
        let hash = ContentHash(*blake3::hash(bytes).as_bytes());
        let content = Content { hash, bytes: bytes.len() as u64, executable };
        let _linking = self.blobs.linking(&hash);
        if let Some(replaced) = self.place(path, |dir, name| self.blobs.link_if_there(&content, dir, name))? {
            return Ok((content, replaced));
        }
        self.blobs.store_small(bytes, &content)?;
        let replaced = self.place(path, |dir, name| self.blobs.link(&content, dir, name))?;
        let replaced = replaced.ok_or(TreeError::NotStored(hash))?;
        Ok((content, replaced))
    }

    /// Stores what was written and puts it at `path`, so that the sweeper cannot come between.
    ///
    /// # Errors
    /// [`TreeError::HashMismatch`] when it does not have the hash `expected`.
    pub fn put_written(
        &self,
        path: &UserPath,
        writer: BlobWriter,
        executable: bool,
        expected: Option<&ContentHash>,
    ) -> Result<(Content, Replaced), TreeError> {
        writer.store(executable, expected, |content| {
            let placed = self.place(path, |dir, name| self.blobs.link(content, dir, name))?;
            placed.ok_or(TreeError::NotStored(content.hash))
        })
    }

    /// Removes a file, a link, or a directory with all that is in it, and returns how much that was.
    /// For all of the tree give its root.
    ///
    /// # Errors
    /// [`TreeError::NotFound`].
    pub fn remove(&self, path: &UserPath) -> Result<Totals, TreeError> {
        let Some(name) = path.name() else { return self.remove_all() };
        let parent = self.root.dir(&path.parent().unwrap_or_default()).map_err(absent)?;
        let facts = parent.facts_of(name).map_err(absent)?;
        let removed = if facts.kind == Kind::Directory {
            self.remove_dir(&parent, name)?
        } else {
            parent.remove_file(name)?;
            let bytes = if facts.kind == Kind::File { facts.size_bytes } else { 0 };
            Totals { files: 1, bytes }
        };
        self.prune(path)?;
        if removed.files == 0 { Err(TreeError::NotFound) } else { Ok(removed) }
    }

    /// Returns what stands at `path`; `None` for nothing and for a directory.
    pub fn entry(&self, path: &UserPath) -> Result<Option<Entry>, TreeError> {
        let Some(name) = path.name() else { return Ok(None) };
        match self.root.dir(&path.parent().unwrap_or_default()).map_err(absent) {
            Err(TreeError::NotFound) => Ok(None),
            parent => entry_in(&parent?, name, path),
        }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`TreeError::NotFound`], also for a link: nobody's are followed here.
    pub fn open_file(&self, path: &UserPath) -> Result<(File, Content), TreeError> {
        match self.root.file(path) {
            Ok((file, facts)) => {
                let content = content_of(&file, &facts)?;
                Ok((file, content))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => match self.root.facts(path) {
                Ok(facts) if facts.kind == Kind::Directory => Err(TreeError::IsDirectory(path.clone())),
                _ => Err(TreeError::NotFound),
            },
            Err(error) => Err(absent(error)),
        }
    }

    /// Counts the files and links, and their bytes. Looks at every one of them.
    pub fn totals(&self) -> Result<Totals, TreeError> {
        Ok(count(&self.root)?)
    }

    /// Counts the files and links by their names alone, which takes a fraction of [`Tree::totals`].
    pub(super) fn count_names(&self) -> io::Result<u64> {
        let mut walk = Walk::through(&self.root)?;
        let mut files = 0;
        while walk.next()?.is_some() {
            files += 1;
        }
        Ok(files)
    }

    /// Takes the directory `name` out of the tree in one step, and removes it.
    fn remove_dir(&self, parent: &Beneath, name: &[u8]) -> Result<Totals, TreeError> {
        let incoming = &self.blobs.incoming;
        let aside = self.blobs.new_name();
        parent.move_to(name, incoming, &aside).map_err(absent)?;
        *self.last() = None;
        fault::point("dataset.tree.removed");
        let totals = count(&incoming.dir(&UserPath::from_bytes(&aside).unwrap_or_default())?)?;
        incoming.remove_tree(&aside)?;
        Ok(totals)
    }

    fn remove_all(&self) -> Result<Totals, TreeError> {
        let mut names = Vec::new();
        self.root.each_name(|name| {
            names.push(name.to_vec());
            Ok(())
        })?;
        let mut removed = Totals::default();
        for name in names {
            let path = UserPath::from_bytes(&name).map_err(|_| TreeError::Io(Errno::NAMETOOLONG.into()))?;
            match self.remove(&path) {
                Ok(totals) => {
                    removed.files += totals.files;
                    removed.bytes += totals.bytes;
                }
                Err(TreeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<(UserPath, Arc<Beneath>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what the entry `name`, directly in `dir`, is; `None` for nothing and for a directory.
pub(super) fn entry_in(dir: &Beneath, name: &[u8], path: &UserPath) -> Result<Option<Entry>, TreeError> {
    // Were it a FIFO, opening it would not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let kind = match rustix::fs::openat(&dir.0, name, flags, Mode::empty()) {
        Ok(file) => {
            let file = File::from(file);
            let facts = facts(&rustix::fs::fstat(&file)?);
            match facts.kind {
                Kind::File => EntryKind::File(content_of(&file, &facts)?),
                Kind::Directory => return Ok(None),
                Kind::Link | Kind::Other => return Err(TreeError::Damaged(path.clone())),
            }
        }
        Err(Errno::LOOP) => match dir.link_target(name) {
            Ok(target) => EntryKind::Link(target),
            // Replaced by a file between the two looks.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return entry_in(dir, name, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        },
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Entry { path: path.clone(), kind }))
}

/// Counts the files and links in a directory, however deep.
pub(super) fn count(dir: &Beneath) -> io::Result<Totals> {
    let mut walk = Walk::through(dir)?;
    let mut totals = Totals::default();
    while let Some(found) = walk.next()? {
        totals.files += 1;
        if found.kind == Kind::File {
            match walk.dir()?.facts_of(found.path.name().unwrap_or_default()) {
                Ok(facts) => totals.bytes += facts.size_bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => totals.files -= 1,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(totals)
}

/// What is reached through a file or a link is not there either.
fn absent(error: io::Error) -> TreeError {
    if error.kind() == io::ErrorKind::NotFound || is_no_directory(&error) { TreeError::NotFound } else { error.into() }
}

fn is_no_directory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory || Errno::from_io_error(error) == Some(Errno::LOOP)
}
