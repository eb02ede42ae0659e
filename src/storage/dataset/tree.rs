//! A tree of files that are links to blobs, changed by any number of writers at once.
//!
//! A file comes to its path in one step, whole: as a new link, or in place of what stands there by a
//! rename. Directories are there where files are: they come with the first file and go with the
//! last. No link in a tree is ever followed, and what stands in the tree is only ever a link to a
//! blob or a symbolic link, never a file that could still be written to.

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

/// How often a step is tried again that others undo at the same moment.
const TRIES: usize = 1000;
const DIRECTORY_MODE: u32 = 0o755;
/// Directories in directories; no path that is taken has more.
const MAX_DEPTH: usize = 300;

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

    /// Opens the directory that holds `path`, and makes what is missing on the way.
    ///
    /// # Errors
    /// [`TreeError::NotADirectory`] names what is in the way.
    pub fn parent_or_new(&self, path: &UserPath) -> Result<Arc<Beneath>, TreeError> {
        for _ in 1..TRIES {
            match self.parent_now(path) {
                // A directory on the way was removed while it was empty, between two steps.
                Err(TreeError::Io(error)) if error.kind() == io::ErrorKind::NotFound => *self.last() = None,
                opened => return opened,
            }
        }
        self.parent_now(path)
    }

    fn parent_now(&self, path: &UserPath) -> Result<Arc<Beneath>, TreeError> {
        let parent = path.parent().unwrap_or_default();
        if let Some((last, dir)) = &*self.last()
            && *last == parent
        {
            return Ok(dir.clone());
        }
        let mut here = None;
        for (depth, name) in parent.components().enumerate() {
            match here.as_ref().unwrap_or(&self.root).dir_or_new(name, DIRECTORY_MODE) {
                Err(error) if is_no_directory(&error) => {
                    return Err(TreeError::NotADirectory(first_names(&parent, depth + 1)));
                }
                opened => here = Some(opened?),
            }
        }
        let dir = Arc::new(match here {
            Some(dir) => dir,
            None => self.root.reopen()?,
        });
        *self.last() = Some((parent, dir.clone()));
        Ok(dir)
    }

    /// Removes the directories above `path` that nothing is in any more.
    pub(super) fn prune(&self, path: &UserPath) -> io::Result<()> {
        let mut above = path.parent();
        while let Some(dir) = above.take().filter(|dir| !dir.is_root()) {
            above = dir.parent();
            let (Some(name), Some(holder)) = (dir.name(), &above) else { break };
            match self.root.dir(holder) {
                Ok(holder) if !holder.remove_empty_dir(name)? => break,
                // Somebody else has pruned it.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Brings something to `path` by `make`, which is given a directory and a name in there that is
    /// free, and may return `false` to say that it cannot.
    fn place(
        &self,
        path: &UserPath,
        make: impl Fn(&Beneath, &[u8]) -> Result<bool, TreeError>,
    ) -> Result<Option<Replaced>, TreeError> {
        let name = path.name().ok_or_else(|| TreeError::IsDirectory(path.clone()))?;
        for _ in 0..TRIES {
            let made = self.parent_now(path).and_then(|dir| match make(&dir, name) {
                Ok(true) => Ok(Some(Some(Replaced::default()))),
                Ok(false) => Ok(Some(None)),
                Err(TreeError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.replace(&dir, name, path, &make)
                }
                Err(error) => Err(error),
            });
            match made {
                Ok(Some(placed)) => {
                    fault::point("dataset.tree.linked");
                    return Ok(placed);
                }
                Ok(None) => {}
                // The directory was removed with its last file, after it was opened.
                Err(TreeError::Io(error)) if error.kind() == io::ErrorKind::NotFound => *self.last() = None,
                Err(error) => {
                    // What was made on the way may have nothing in it now.
                    let _ = self.prune(path);
                    return Err(error);
                }
            }
        }
        Err(TreeError::Io(io::Error::other("others remove the directory again and again")))
    }

    /// Brings something to `name` in place of what stands there. Returns `None` to be called again,
    /// when that is gone.
    fn replace(
        &self,
        dir: &Beneath,
        name: &[u8],
        path: &UserPath,
        make: impl Fn(&Beneath, &[u8]) -> Result<bool, TreeError>,
    ) -> Result<Option<Option<Replaced>>, TreeError> {
        let Some(old) = entry_in(dir, name, path)? else {
            return self.clear_way(dir, name, path).map(|()| None);
        };
        let incoming = &self.blobs.incoming;
        let aside = self.blobs.new_name();
        if !make(incoming, &aside)? {
            return Ok(Some(None));
        }
        let moved = incoming.move_to(&aside, dir, name);
        // Moving one name of a file onto another of the same file does nothing and is no error.
        incoming.remove_file(&aside)?;
        match moved {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(None),
            moved => Ok(moved.map(|()| Some(Some(Replaced { entry: Some(old) })))?),
        }
    }

    /// Removes a directory in the way of a file if no file is in it: one left by a step that failed.
    fn clear_way(&self, dir: &Beneath, name: &[u8], path: &UserPath) -> Result<(), TreeError> {
        let plain = UserPath::from_bytes(name).unwrap_or_default();
        match dir.dir(&plain) {
            // One by one and only while they are empty: somebody may be putting a file there right now.
            Ok(_) if remove_hollow(dir, name, 0)? => {
                *self.last() = None;
                Ok(())
            }
            Ok(_) => Err(TreeError::IsDirectory(path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_no_directory(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
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

/// Removes the directory `name`, directly in `parent`, if there is no file however deep in it, and
/// returns whether it is gone.
fn remove_hollow(parent: &Beneath, name: &[u8], depth: usize) -> io::Result<bool> {
    if parent.remove_empty_dir(name)? {
        return Ok(true);
    }
    let dir = match parent.dir(&UserPath::from_bytes(name).unwrap_or_default()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        dir => dir?,
    };
    let mut inner = Vec::new();
    dir.each_entry(|name, kind| {
        inner.push((kind == Kind::Directory).then(|| name.to_vec()));
        Ok(())
    })?;
    for name in inner {
        match name {
            Some(name) if depth < MAX_DEPTH && remove_hollow(&dir, &name, depth + 1)? => {}
            _ => return Ok(false),
        }
    }
    parent.remove_empty_dir(name)
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

fn first_names(path: &UserPath, count: usize) -> UserPath {
    let names: Vec<_> = path.components().take(count).collect();
    UserPath::from_bytes(&names.join(&b'/')).unwrap_or_default()
}

/// What is reached through a file or a link is not there either.
fn absent(error: io::Error) -> TreeError {
    if error.kind() == io::ErrorKind::NotFound || is_no_directory(&error) { TreeError::NotFound } else { error.into() }
}

fn is_no_directory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory || Errno::from_io_error(error) == Some(Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        sync::atomic::Ordering,
        thread,
    };

    use super::{
        super::testing::{all, path, yard, yard_with},
        *,
    };
    use crate::storage::dataset::{DatasetLimits, hashed::hash_of};

    fn names(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| entry.path.to_text()).collect()
    }

    #[test]
    fn a_small_file_is_stored_once_read_only_and_linked_at_its_path() {
        let yard = yard();
        let version = yard.version(1);
        let (content, replaced) = version.put_small(&path("a/b"), b"hello", false).unwrap();
        assert_eq!(replaced, Replaced::default());
        assert_eq!(content.hash, ContentHash(*blake3::hash(b"hello").as_bytes()));
        version.put_small(&path("c"), b"hello", false).unwrap();
        let (one, two) = (version.tree().join("a/b"), version.tree().join("c"));
        let (one, two) = (fs::metadata(one).unwrap(), fs::metadata(two).unwrap());
        let blob = fs::metadata(yard.team.blobs().path_of(&content)).unwrap();
        assert_eq!((one.ino(), one.mode() & 0o777, one.nlink()), (two.ino(), 0o444, 3));
        assert_eq!(blob.ino(), one.ino());
        let (mut file, found) = version.open_file(&path("a/b")).unwrap();
        assert_eq!((io::read_to_string(&mut file).unwrap(), found), ("hello".to_owned(), content));
        assert_eq!(yard.team.blobs().has(&content.hash), Some(5));
    }

    #[test]
    fn equal_bytes_that_may_be_executed_are_a_file_of_their_own() {
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("plain"), b"x", false).unwrap();
        version.put_small(&path("run"), b"x", true).unwrap();
        let mode = |name: &str| fs::metadata(version.tree().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("plain"), mode("run")), (0o444, 0o555));
        let executable = |name: &str| match version.entry(&path(name)).unwrap().unwrap().kind {
            EntryKind::File(content) => content.executable,
            EntryKind::Link(_) => panic!("a link"),
        };
        assert_eq!((executable("plain"), executable("run")), (false, true));
    }

    #[test]
    fn what_is_put_takes_the_place_of_what_was_there_and_tells_it() {
        let yard = yard();
        let version = yard.version(1);
        let (old, _) = version.put_small(&path("f"), b"old", false).unwrap();
        let (_, replaced) = version.put_small(&path("f"), b"new!", false).unwrap();
        assert_eq!(replaced.entry, Some(Entry { path: path("f"), kind: EntryKind::File(old) }));
        // The very same once more: two names of one file, which a rename would leave alone.
        let (new, replaced) = version.put_small(&path("f"), b"new!", false).unwrap();
        assert_eq!(replaced.entry.unwrap().kind, EntryKind::File(new));
        let link = EntryKind::Link(b"../../etc/passwd".to_vec());
        version.put(&path("f"), &link).unwrap();
        assert_eq!(version.entry(&path("f")).unwrap().unwrap().kind, link);
        assert!(matches!(version.open_file(&path("f")), Err(TreeError::NotFound)));
        version.put_small(&path("f"), b"again", false).unwrap();
        assert_eq!(version.totals().unwrap(), Totals { files: 1, bytes: 5 });
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn a_file_and_a_directory_cannot_have_the_same_path() {
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("dir/file"), b"x", false).unwrap();
        let error = version.put_small(&path("dir"), b"x", false).unwrap_err();
        assert!(matches!(error, TreeError::IsDirectory(at) if at == path("dir")));
        let error = version.put_small(&path("dir/file/new/deep"), b"x", false).unwrap_err();
        assert!(matches!(error, TreeError::NotADirectory(at) if at == path("dir/file")));
        version.put(&path("link"), &EntryKind::Link(b"dir".to_vec())).unwrap();
        let error = version.put_small(&path("link/file2"), b"x", false).unwrap_err();
        assert!(matches!(error, TreeError::NotADirectory(at) if at == path("link")));
        assert_eq!(names(&all(&version)), ["dir/file", "link"]);
    }

    #[test]
    fn a_directory_left_empty_by_a_step_that_failed_is_in_nobodys_way() {
        let yard = yard();
        let version = yard.version(1);
        fs::create_dir_all(version.tree().join("a/b/c")).unwrap();
        assert!(matches!(version.remove(&path("a/b")), Err(TreeError::NotFound)));
        fs::create_dir_all(version.tree().join("a/b/c")).unwrap();
        version.put_small(&path("a"), b"x", false).unwrap();
        assert_eq!(names(&all(&version)), ["a"]);
    }

    #[test]
    fn directories_go_with_their_last_file() {
        let yard = yard();
        let version = yard.version(1);
        for file in ["a/b/one", "a/b/two", "a/c/three", "top"] {
            version.put_small(&path(file), b"12", false).unwrap();
        }
        version.put(&path("a/b/link"), &EntryKind::Link(b"one".to_vec())).unwrap();
        assert_eq!(version.remove(&path("a/b/one")).unwrap(), Totals { files: 1, bytes: 2 });
        assert_eq!(version.remove(&path("a/b")).unwrap(), Totals { files: 2, bytes: 2 });
        assert!(matches!(version.remove(&path("a/b")), Err(TreeError::NotFound)));
        assert!(matches!(version.remove(&path("top/none")), Err(TreeError::NotFound)));
        version.remove(&path("a/c/three")).unwrap();
        assert!(!version.tree().join("a").exists());
        assert_eq!(version.remove(&UserPath::root()).unwrap(), Totals { files: 1, bytes: 2 });
        assert!(version.tree().exists());
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn a_link_in_the_tree_leads_nobody_out_of_it() {
        let yard = yard();
        let version = yard.version(1);
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path(), version.tree().join("out")).unwrap();
        assert!(version.put_small(&path("out/new"), b"x", false).is_err());
        assert!(matches!(version.open_file(&path("out/secret")), Err(TreeError::NotFound)));
        assert_eq!(version.entry(&path("out/secret")).unwrap(), None);
        assert!(matches!(version.remove(&path("out/secret")), Err(TreeError::NotFound)));
        version.remove(&path("out")).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_streamed_file_has_the_hash_of_all_its_pieces_and_a_wrong_one_leaves_nothing() {
        let yard = yard();
        let version = yard.version(1);
        let bytes: Vec<u8> = (0..1_000_003u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let expected = ContentHash(*blake3::hash(&bytes).as_bytes());
        let write = |piece: usize| {
            let mut writer = yard.team.blobs().writer().unwrap();
            bytes.chunks(piece).for_each(|chunk| writer.write(chunk).unwrap());
            writer
        };
        let wrong = ContentHash([7; 32]);
        let error = write(1000).finish_expecting(false, &wrong).unwrap_err();
        assert!(matches!(error, TreeError::HashMismatch { found, .. } if found == expected));
        assert_eq!(yard.team.blobs().has(&expected), None);
        let content = write(777).finish_expecting(false, &expected).unwrap();
        assert_eq!(content.bytes, bytes.len() as u64);
        let (again, _) = version.put_written(&path("big"), write(300_000), false, None).unwrap();
        assert_eq!(again, content);
        assert_eq!(hash_of(&version.open_file(&path("big")).unwrap().0).unwrap(), (expected, content.bytes));
    }

    #[test]
    fn without_unnamed_files_the_same_happens_and_nothing_stays_behind() {
        let yard = yard();
        yard.team.blobs().unnamed.store(false, Ordering::Relaxed);
        let version = yard.version(1);
        version.put_small(&path("a"), b"one", false).unwrap();
        let mut writer = yard.team.blobs().writer().unwrap();
        writer.write(b"two").unwrap();
        assert_eq!(yard.unfinished().len(), 1);
        version.put_written(&path("b"), writer, true, None).unwrap();
        drop(yard.team.blobs().writer().unwrap());
        assert_eq!(yard.unfinished(), [""; 0]);
        assert_eq!(version.totals().unwrap(), Totals { files: 2, bytes: 6 });
    }

    #[test]
    fn a_file_without_its_mark_is_hashed_again() {
        let yard = yard();
        let version = yard.version(1);
        let (content, _) = version.put_small(&path("a"), b"hello", false).unwrap();
        let file = version.open_file(&path("a")).unwrap().0;
        rustix::fs::fremovexattr(&file, "user.gradientd.blake3").unwrap();
        assert_eq!(version.entry(&path("a")).unwrap().unwrap().kind, EntryKind::File(content));
    }

    #[test]
    fn bytes_that_are_not_stored_cannot_be_linked() {
        let yard = yard();
        let version = yard.version(1);
        let content = Content { hash: ContentHash([1; 32]), bytes: 1, executable: false };
        assert_eq!(version.link_known(&path("a/b/c"), &content).unwrap(), None);
        let error = version.put(&path("a"), &EntryKind::File(content)).unwrap_err();
        assert!(matches!(error, TreeError::NotStored(hash) if hash == content.hash));
        assert_eq!(fs::read_dir(version.tree()).unwrap().count(), 0);
    }

    #[test]
    fn bytes_that_are_stored_need_not_be_sent_again_to_be_executable() {
        let yard = yard();
        let version = yard.version(1);
        let (plain, _) = version.put_small(&path("a"), b"#!/bin/sh", false).unwrap();
        let content = Content { executable: true, ..plain };
        assert!(version.link_known(&path("b"), &content).unwrap().is_some());
        assert_eq!(version.entry(&path("b")).unwrap().unwrap().kind, EntryKind::File(content));
        assert_eq!(version.entry(&path("a")).unwrap().unwrap().kind, EntryKind::File(plain));
    }

    #[test]
    fn a_blob_that_a_disk_has_cut_is_made_whole_by_the_next_who_sends_it() {
        let yard = yard();
        let version = yard.version(1);
        let (content, _) = version.put_small(&path("a"), b"hello", false).unwrap();
        let blob = yard.team.blobs().path_of(&content);
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, "he").unwrap();
        let mut writer = yard.team.blobs().writer().unwrap();
        writer.write(b"hello").unwrap();
        version.put_written(&path("b"), writer, false, None).unwrap();
        assert_eq!(fs::read(version.tree().join("b")).unwrap(), b"hello");
        assert_eq!(fs::read(blob).unwrap(), b"hello");
    }

    #[test]
    fn more_links_than_an_inode_takes_make_a_further_inode() {
        let yard = yard();
        let version = yard.version(1);
        let (content, _) = version.put_small(&path("0"), b"", false).unwrap();
        let blob = yard.team.blobs().path_of(&content);
        // Fill the first inode up, if this file system has an end to it at all.
        let aside = tempfile::tempdir_in(yard.data.root()).unwrap();
        let full = (0..70_000).any(|n| fs::hard_link(&blob, aside.path().join(n.to_string())).is_err());
        for n in 1..5 {
            version.put_small(&path(&n.to_string()), b"", false).unwrap();
        }
        assert_eq!(version.totals().unwrap().files, 5);
        let second = fs::metadata(format!("{}-1", blob.display()));
        assert_eq!(second.is_ok(), full);
        if let Ok(second) = second {
            assert_eq!(second.nlink(), 5);
            let child = yard.unmade(2);
            // And a child links what it can, and finds another inode for what it cannot.
            assert_eq!(child.create_from(&version).unwrap().files, 5);
            assert_eq!(all(&child), all(&version));
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_and_leaves_nothing() {
        let yard = yard_with(DatasetLimits { max_file_bytes: 4, max_version_files: 10 });
        let version = yard.version(1);
        let error = version.put_small(&path("a"), b"12345", false).unwrap_err();
        assert!(matches!(error, TreeError::TooLarge { limit: 4 }));
        let mut writer = yard.team.blobs().writer().unwrap();
        writer.write(b"1234").unwrap();
        assert!(matches!(writer.write(b"5"), Err(TreeError::TooLarge { limit: 4 })));
        assert_eq!(all(&version), []);
    }

    #[test]
    fn many_writers_and_removers_at_once_leave_a_whole_tree() {
        let yard = yard();
        let version = yard.version(1);
        thread::scope(|scope| {
            for writer in 0..4 {
                let version = &version;
                scope.spawn(move || {
                    for n in 0..200 {
                        // One path that all write, one of each writer's own in directories that come
                        // and go, all with bytes that others write too.
                        let bytes = format!("bytes {}", n % 7);
                        version.put_small(&path("shared/one"), bytes.as_bytes(), false).unwrap();
                        let own = path(&format!("shared/{}/w{writer}", n % 3));
                        version.put_small(&own, bytes.as_bytes(), n % 2 == 0).unwrap();
                        if n % 5 == 0 {
                            version.remove(&own).unwrap();
                        }
                    }
                    version.put_small(&path(&format!("last/{writer}")), b"end", false).unwrap();
                });
            }
        });
        let entries: BTreeMap<_, _> = all(&version).into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        for writer in 0..4 {
            assert!(entries.contains_key(&path(&format!("last/{writer}"))));
        }
        for (at, entry) in &entries {
            let EntryKind::File(content) = &entry.kind else { panic!("{at} is a link") };
            let file = version.open_file(at).unwrap().0;
            assert_eq!(hash_of(&file).unwrap(), (content.hash, content.bytes), "{at}");
        }
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn a_put_never_loses_its_blob_to_the_sweeper() {
        let yard = yard();
        let version = yard.version(1);
        let blobs = yard.team.blobs();
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for shard in 0..=255u8 {
                        let Some(dir) = blobs.shard(shard).unwrap() else { continue };
                        let _sweeping = blobs.sweeping(shard);
                        let mut unlinked = Vec::new();
                        dir.each_name(|name| {
                            let stat = rustix::fs::statat(&dir.0, name, rustix::fs::AtFlags::empty())?;
                            unlinked.extend((stat.st_nlink == 1).then(|| name.to_vec()));
                            Ok(())
                        })
                        .unwrap();
                        unlinked.iter().for_each(|name| dir.remove_file(name).unwrap());
                    }
                }
            });
            for n in 0..500 {
                let bytes = format!("bytes {}", n % 3);
                version.put_small(&path("a"), bytes.as_bytes(), false).unwrap();
                let mut writer = blobs.writer().unwrap();
                writer.write(bytes.as_bytes()).unwrap();
                version.put_written(&path("b"), writer, false, None).unwrap();
                version.remove(&path("a")).unwrap();
                version.remove(&path("b")).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(yard.unfinished(), [""; 0]);
    }
}
