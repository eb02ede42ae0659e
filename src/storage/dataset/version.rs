//! The files of one version, from the first that is put to the manifest that ends all change.
//!
//! ```text
//!   create ─────┐
//!               ├─→ draft ── freeze ─→ frozen        a manifest says what is in the tree
//!   create_from ┘     ↑                  │
//!                     └────── thaw ──────┘           only while nobody has recorded the commit
//! ```
//! Nothing in here keeps writers off while a version is frozen, or afterwards: that is for the
//! service, which knows what is committed.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use super::{
    BlobWriter, Blobs, ListPage, ListQuery, Manifest, ManifestWriter, Replaced, Tree, TreeError, Walk, list::list_tree,
    tree::entry_in,
};
use crate::{
    domain::{
        content::{Content, ContentHash, Entry, EntryKind, Totals},
        user_path::UserPath,
    },
    fault,
    storage::{
        beneath::{Beneath, Kind, parent_of},
        layout::VersionDir,
    },
};

const DIRECTORY_MODE: u32 = 0o755;
/// How often progress is told, in files.
const PROGRESS_EVERY: u64 = 1024;

/// The files of one version on the local disk.
#[derive(Debug, Clone)]
pub struct VersionFiles {
    blobs: Arc<Blobs>,
    dir: VersionDir,
}

impl VersionFiles {
    pub(super) fn new(blobs: Arc<Blobs>, dir: VersionDir) -> Self {
        Self { blobs, dir }
    }

    pub fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    /// Returns where the version's directory is, with everything that belongs to it.
    pub fn dir(&self) -> &VersionDir {
        &self.dir
    }

    /// Returns the directory that containers see.
    pub fn tree(&self) -> PathBuf {
        self.dir.tree()
    }

    /// Begins an empty version, or finds it.
    pub fn create(&self) -> Result<(), TreeError> {
        self.dir.create()?;
        Beneath::open(self.dir.root())?.dir_or_new(b"tree", DIRECTORY_MODE)?;
        Ok(())
    }

    /// Begins a version with all files of `parent`, which is committed: links, not copies. A version
    /// that has begun already stays as it is. Returns how much is in it.
    pub fn create_from(&self, parent: &Self) -> Result<Totals, TreeError> {
        if self.tree().exists() {
            return self.totals();
        }
        let staged = self.stage()?;
        let source = parent.open()?;
        let mut totals = Totals::default();
        let mut walk = Walk::through(source.root())?;
        while let Some(found) = walk.next()? {
            totals.files += 1;
            totals.bytes += staged.take(walk.dir()?, &found.path, found.kind)?;
            if totals.files == 1 {
                fault::point("dataset.child.half");
            }
        }
        staged.become_tree(self)?;
        Ok(totals)
    }

    /// Makes an empty tree aside, to be filled and then to become this version's or to be merged
    /// into it. It is gone when it is dropped, or when the daemon starts again.
    pub fn stage(&self) -> Result<Staged, TreeError> {
        let name = self.blobs.new_name();
        let root = self.blobs.incoming.dir_or_new(&name, DIRECTORY_MODE)?;
        let tree = Tree::at(self.blobs.clone(), root);
        Ok(Staged { tree, name, moved: AtomicBool::new(false) })
    }

    /// Opens the tree, for many steps in it: each function of this type opens it anew.
    ///
    /// # Errors
    /// [`TreeError::NotFound`] when the version has not begun, or its files are gone.
    pub fn open(&self) -> Result<Tree, TreeError> {
        match Beneath::open(&self.tree()) {
            Ok(root) => Ok(Tree::at(self.blobs.clone(), root)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TreeError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    /// See [`Tree::put`].
    pub fn put(&self, path: &UserPath, kind: &EntryKind) -> Result<Replaced, TreeError> {
        self.open()?.put(path, kind)
    }

    /// See [`Tree::put_small`].
    pub fn put_small(&self, path: &UserPath, bytes: &[u8], executable: bool) -> Result<(Content, Replaced), TreeError> {
        self.open()?.put_small(path, bytes, executable)
    }

    /// See [`Tree::put_written`].
    pub fn put_written(
        &self,
        path: &UserPath,
        writer: BlobWriter,
        executable: bool,
        expected: Option<&ContentHash>,
    ) -> Result<(Content, Replaced), TreeError> {
        self.open()?.put_written(path, writer, executable, expected)
    }

    /// See [`Tree::link_known`].
    pub fn link_known(&self, path: &UserPath, content: &Content) -> Result<Option<Replaced>, TreeError> {
        self.open()?.link_known(path, content)
    }

    /// See [`Tree::remove`].
    pub fn remove(&self, path: &UserPath) -> Result<Totals, TreeError> {
        self.open()?.remove(path)
    }

    /// See [`Tree::entry`]. A frozen version's comes from its manifest.
    pub fn entry(&self, path: &UserPath) -> Result<Option<Entry>, TreeError> {
        match self.manifest_if_frozen()? {
            Some(manifest) => Ok(manifest.entry(path)?),
            None => self.open()?.entry(path),
        }
    }

    /// See [`Tree::open_file`].
    pub fn open_file(&self, path: &UserPath) -> Result<(fs::File, Content), TreeError> {
        self.open()?.open_file(path)
    }

    /// Lists a page of files. A frozen version's come from its manifest, a draft's from its tree, by
    /// the same rules.
    pub fn list(&self, query: &ListQuery) -> Result<ListPage, TreeError> {
        match self.manifest_if_frozen()? {
            Some(manifest) => Ok(manifest.list(query)?),
            None => list_tree(self.open()?.root(), query),
        }
    }

    /// Returns how much is in the version. A draft is counted, which takes seconds for a million files.
    pub fn totals(&self) -> Result<Totals, TreeError> {
        match self.manifest_if_frozen()? {
            Some(manifest) => Ok(manifest.totals()),
            None => self.open()?.totals(),
        }
    }

    /// Returns whether the version has its manifest.
    pub fn is_frozen(&self) -> bool {
        self.dir.manifest().exists()
    }

    /// Writes down what is in the tree, and waits until all of it is on the disk. One that is frozen
    /// already stays as it is. Nobody may write to the version meanwhile.
    ///
    /// # Errors
    /// [`TreeError::TooManyFiles`]; the version stays a draft then.
    pub fn freeze(&self, progress: &dyn Fn(Totals)) -> Result<Totals, TreeError> {
        if let Some(manifest) = self.manifest_if_frozen()? {
            self.blobs.make_durable()?;
            return Ok(manifest.totals());
        }
        let tree = self.open()?;
        // First the files, then what says that they are there: a manifest that survives a power cut
        // must not name files that did not.
        self.blobs.make_durable()?;
        let mut writer = self.manifest_writer()?;
        let mut walk = Walk::through(tree.root())?;
        while let Some(found) = walk.next()? {
            let name = found.path.name().unwrap_or_default();
            let entry = entry_in(walk.dir()?, name, &found.path)?;
            writer.push(&entry.ok_or_else(|| TreeError::Damaged(found.path.clone()))?)?;
            if writer.totals().files.is_multiple_of(PROGRESS_EVERY) {
                progress(writer.totals());
            }
        }
        for empty in walk.empty() {
            // Pruning goes up from what is in the directory; any name will do.
            tree.prune(&empty.join(b"-").map_err(|_| TreeError::Damaged(empty.clone()))?)?;
        }
        fault::point("dataset.manifest.written");
        let manifest = writer.finish()?;
        fault::point("dataset.manifest.named");
        self.blobs.make_durable()?;
        fault::point("dataset.frozen");
        progress(manifest.totals());
        Ok(manifest.totals())
    }

    /// Removes the manifest of a version whose commit was never recorded, so that it can be written
    /// to again. A draft stays as it is.
    pub fn thaw(&self) -> Result<(), TreeError> {
        if self.is_frozen() {
            let (dir, name) = parent_of(&self.dir.manifest())?;
            dir.remove_file(&name)?;
            // Before anything else is changed in the tree.
            dir.sync()?;
        }
        Ok(())
    }

    /// Opens the manifest.
    ///
    /// # Errors
    /// [`TreeError::NotFound`] for a draft.
    pub fn manifest(&self) -> Result<Manifest, TreeError> {
        self.manifest_if_frozen()?.ok_or(TreeError::NotFound)
    }

    /// Begins the manifest of a version whose files are elsewhere.
    pub fn manifest_writer(&self) -> Result<ManifestWriter, TreeError> {
        self.dir.create()?;
        ManifestWriter::create(self.blobs.clone(), self.dir.clone())
    }

    /// Removes only the tree, of a version whose files are elsewhere too.
    pub fn remove_tree(&self) -> io::Result<()> {
        self.remove_at(&self.tree())
    }

    /// Removes the version's files and all that is known of them. One that is gone is no error. The
    /// blobs stay, for the sweeper.
    pub fn remove_all(&self) -> io::Result<()> {
        self.remove_at(self.dir.root())?;
        if let Some(dataset) = self.dir.root().parent()
            && let Ok((datasets, name)) = parent_of(dataset)
        {
            // The last version takes the dataset's directory with it.
            datasets.remove_empty_dir(&name)?;
        }
        Ok(())
    }

    /// Takes a directory out of its place in one step, then removes it.
    fn remove_at(&self, path: &std::path::Path) -> io::Result<()> {
        match self.set_aside(path)? {
            Some(aside) => self.blobs.incoming.remove_tree(&aside),
            None => Ok(()),
        }
    }

    /// Takes the tree out of its place in one step, and returns its name in `incoming/`; `None` when
    /// there is none.
    pub(super) fn set_tree_aside(&self) -> io::Result<Option<Vec<u8>>> {
        self.set_aside(&self.tree())
    }

    fn set_aside(&self, path: &std::path::Path) -> io::Result<Option<Vec<u8>>> {
        let (holder, name) = match parent_of(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let aside = self.blobs.new_name();
        match holder.move_to(&name, &self.blobs.incoming, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            moved => moved?,
        }
        fault::point("dataset.version.removed");
        Ok(Some(aside))
    }

    fn manifest_if_frozen(&self) -> Result<Option<Manifest>, TreeError> {
        match Manifest::open(&self.dir.manifest()) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A tree that is being filled aside. Dropping it removes it, unless it has become a version's.
#[derive(Debug)]
pub struct Staged {
    tree: Tree,
    name: Vec<u8>,
    moved: AtomicBool,
}

impl Staged {
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Makes this the tree of a version that has none. If the version has begun meanwhile, what it
    /// has begun with stays, and this is dropped.
    pub fn become_tree(self, version: &VersionFiles) -> Result<(), TreeError> {
        version.dir.create()?;
        let into = Beneath::open(version.dir.root())?;
        // A rename would replace an empty tree that somebody has just begun.
        if into.facts_of(b"tree").is_ok() {
            return Ok(());
        }
        match self.tree.blobs().incoming.move_to(&self.name, &into, b"tree") {
            Ok(()) => self.moved.store(true, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(error.into()),
        }
        fault::point("dataset.tree.begun");
        Ok(())
    }

    /// Links one entry of another tree at the same path here, and returns its bytes.
    fn take(&self, from: &Beneath, path: &UserPath, kind: Kind) -> Result<u64, TreeError> {
        let name = path.name().unwrap_or_default();
        let dir = self.tree.parent_or_new(path)?;
        if kind == Kind::Link {
            dir.new_link(&from.link_target(name)?, name)?;
            return Ok(0);
        }
        match dir.new_hard_link(from, name, name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {
                let plain = UserPath::from_bytes(name).unwrap_or_default();
                let (file, facts) = from.file(&plain)?;
                let content = super::hashed::content_of(&file, &facts)?;
                if self.tree.link_known(path, &content)?.is_none() {
                    self.tree.blobs().clone_file(&file, content.executable)?;
                    self.tree.link_known(path, &content)?.ok_or_else(|| TreeError::Damaged(path.clone()))?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(dir.facts_of(name)?.size_bytes)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.moved.load(Ordering::Relaxed) {
            let _ = self.tree.blobs().incoming.remove_tree(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, os::unix::fs::MetadataExt};

    use super::{
        super::{
            DatasetLimits,
            testing::{all, path, yard, yard_with},
        },
        *,
    };

    #[test]
    fn a_child_has_the_parents_files_without_copying_and_goes_its_own_way() {
        let yard = yard();
        let parent = yard.version(1);
        parent.put_small(&path("a/b"), b"one", false).unwrap();
        parent.put_small(&path("c"), b"two", true).unwrap();
        parent.put(&path("l"), &EntryKind::Link(b"c".to_vec())).unwrap();
        parent.freeze(&|_| {}).unwrap();
        let before = all(&parent);
        let child = yard.unmade(2);
        assert_eq!(child.create_from(&parent).unwrap(), Totals { files: 3, bytes: 6 });
        assert_eq!(all(&child), before);
        let inode = |version: &VersionFiles| fs::metadata(version.tree().join("a/b")).unwrap().ino();
        assert_eq!(inode(&parent), inode(&child));
        child.put_small(&path("a/b"), b"other", false).unwrap();
        child.remove(&path("c")).unwrap();
        assert_eq!(child.create_from(&parent).unwrap(), Totals { files: 2, bytes: 5 }, "not begun again");
        assert_eq!(all(&parent), before);
        assert_eq!(fs::read(parent.tree().join("a/b")).unwrap(), b"one");
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn a_child_that_was_half_made_is_made_whole_and_the_half_is_removed_at_the_next_start() {
        let yard = yard();
        let parent = yard.version(1);
        parent.put_small(&path("a"), b"one", false).unwrap();
        let child = yard.unmade(2);
        // What a kill leaves: a tree aside that nobody drops.
        let staged = child.stage().unwrap();
        staged.tree().put_small(&path("half"), b"x", false).unwrap();
        std::mem::forget(staged);
        std::mem::forget(child.manifest_writer().unwrap());
        std::mem::forget(yard.team.blobs().writer().unwrap());
        child.create_from(&parent).unwrap();
        assert_eq!(all(&child), all(&parent));
        assert_eq!(yard.unfinished().len(), 2);
        yard.store.remove_unfinished().unwrap();
        assert_eq!(yard.unfinished(), [""; 0]);
        assert_eq!(all(&child), all(&parent));
    }

    #[test]
    fn freezing_twice_is_the_same_and_a_thawed_version_is_a_draft_again() {
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("a"), b"one", false).unwrap();
        fs::create_dir_all(version.tree().join("hollow/inner")).unwrap();
        let told = Cell::new(Totals::default());
        let totals = version.freeze(&|so_far| told.set(so_far)).unwrap();
        assert_eq!((totals, told.get()), (Totals { files: 1, bytes: 3 }, totals));
        assert!(!version.tree().join("hollow").exists(), "empty directories are not kept");
        let written = fs::metadata(version.dir().manifest()).unwrap().ino();
        assert_eq!(version.freeze(&|_| {}).unwrap(), totals);
        assert_eq!(fs::metadata(version.dir().manifest()).unwrap().ino(), written);
        version.thaw().unwrap();
        version.thaw().unwrap();
        assert!(!version.is_frozen());
        assert!(matches!(version.manifest(), Err(TreeError::NotFound)));
        version.put_small(&path("b"), b"22", false).unwrap();
        assert_eq!(version.freeze(&|_| {}).unwrap(), Totals { files: 2, bytes: 5 });
        assert_eq!(all(&version).len(), 2);
    }

    #[test]
    fn a_version_with_too_many_files_stays_a_draft() {
        let yard = yard_with(DatasetLimits { max_file_bytes: 100, max_version_files: 2 });
        let version = yard.version(1);
        (0..3).for_each(|n| drop(version.put_small(&path(&n.to_string()), b"x", false).unwrap()));
        assert!(matches!(version.freeze(&|_| {}), Err(TreeError::TooManyFiles { limit: 2 })));
        assert!(!version.is_frozen());
        assert_eq!(yard.unfinished(), [""; 0]);
        version.remove(&path("1")).unwrap();
        assert_eq!(version.freeze(&|_| {}).unwrap().files, 2);
    }

    #[test]
    fn a_removed_version_leaves_others_their_files() {
        let yard = yard();
        let (one, two) = (yard.version(1), yard.version(2));
        one.put_small(&path("a"), b"shared", false).unwrap();
        two.put_small(&path("b/c"), b"shared", false).unwrap();
        one.remove_all().unwrap();
        one.remove_all().unwrap();
        assert!(matches!(one.list(&ListQuery::default()), Err(TreeError::NotFound)));
        assert_eq!(fs::read(two.tree().join("b/c")).unwrap(), b"shared");
        assert_eq!(yard.team.version_ids().unwrap().len(), 1);
        two.remove_all().unwrap();
        assert_eq!(fs::read_dir(yard.data.team_datasets(yard.team.team())).unwrap().count(), 0);
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn another_team_does_not_have_what_this_one_has() {
        let yard = yard();
        let (content, _) = yard.version(1).put_small(&path("a"), b"secret", false).unwrap();
        let other = yard.store.team(&"tother1".parse().unwrap()).unwrap();
        assert_eq!(other.blobs().has(&content.hash), None);
        let version = other.version(&"ds0123456789abc".parse().unwrap(), &"v000001".parse().unwrap());
        version.create().unwrap();
        assert_eq!(version.link_known(&path("a"), &content).unwrap(), None);
        assert_eq!(all(&version), []);
    }
}
