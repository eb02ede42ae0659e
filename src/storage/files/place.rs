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

#[cfg(test)]
mod tests {
    use std::{
        fs,
        ops::ControlFlow,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    /// A tree, and a directory for what is on its way to it.
    struct Place {
        dir: tempfile::TempDir,
        tree: FileTree,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("tree")).unwrap();
            fs::create_dir(dir.path().join("arriving")).unwrap();
            let tree = FileTree::open(&dir.path().join("tree")).unwrap();
            Self { dir, tree }
        }

        fn at(&self, path: &str) -> std::path::PathBuf {
            self.dir.path().join("tree").join(path)
        }

        fn put(&self, path: &str, text: &str, condition: Condition) -> Result<(FileEntry, bool), FilesError> {
            let (incoming, mut file) = Incoming::file(&self.dir.path().join("arriving"), "1").unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let put = self.tree.place(incoming, &mut file, &path.parse().unwrap(), &condition, None);
            assert_eq!(fs::read_dir(self.dir.path().join("arriving")).unwrap().count(), 0, "{path}");
            put
        }

        fn remove(&self, path: &str, recursive: bool) -> Result<Option<Aside>, FilesError> {
            self.tree.remove(&path.parse().unwrap(), recursive, (&self.dir.path().join("arriving"), "gone"))
        }
    }

    #[test]
    fn a_file_is_put_with_the_directories_on_the_way_and_open_to_everybody() {
        let place = Place::new();
        let (entry, replaced) = place.put("a/b/c", "hello", Condition::Any).unwrap();
        assert!(!replaced && entry.inode.bytes == 5);
        assert_eq!(fs::read_to_string(place.at("a/b/c")).unwrap(), "hello");
        for (path, mode) in [("a", 0o777), ("a/b", 0o777), ("a/b/c", 0o666)] {
            assert_eq!(fs::metadata(place.at(path)).unwrap().mode() & 0o7777, mode, "{path}");
        }
    }

    #[test]
    fn what_replaces_a_file_keeps_its_mode_and_a_link_is_replaced_and_not_followed() {
        let place = Place::new();
        fs::write(place.at("run.sh"), "old").unwrap();
        fs::set_permissions(place.at("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(place.put("run.sh", "new", Condition::Any).unwrap().1);
        assert_eq!(fs::metadata(place.at("run.sh")).unwrap().mode() & 0o7777, 0o750);
        symlink(place.dir.path().join("outside"), place.at("link")).unwrap();
        place.put("link", "here", Condition::Any).unwrap();
        assert!(!place.dir.path().join("outside").exists());
        assert!(fs::symlink_metadata(place.at("link")).unwrap().is_file());
    }

    #[test]
    fn no_way_leads_through_a_link_or_a_file() {
        let place = Place::new();
        fs::create_dir(place.dir.path().join("outside")).unwrap();
        symlink(place.dir.path().join("outside"), place.at("link")).unwrap();
        fs::write(place.at("file"), "x").unwrap();
        for path in ["link/new", "file/new", "link/deeper/new"] {
            assert!(matches!(place.put(path, "x", Condition::Any), Err(FilesError::NotADirectory)), "{path}");
            assert!(matches!(place.tree.make_dirs(&path.parse().unwrap()), Err(FilesError::NotADirectory)), "{path}");
        }
        assert!(place.remove("link/x", true).is_err());
        let to = "link/moved".parse().unwrap();
        assert!(place.tree.move_to(&"file".parse().unwrap(), &place.tree, &to, true).is_err());
        assert_eq!(fs::read_dir(place.dir.path().join("outside")).unwrap().count(), 0);
        assert!(matches!(place.put("", "x", Condition::Any), Err(FilesError::IsDirectory)));
        fs::create_dir(place.at("dir")).unwrap();
        assert!(matches!(place.put("dir", "x", Condition::Any), Err(FilesError::IsDirectory)));
    }

    #[test]
    fn a_condition_that_does_not_hold_changes_nothing() {
        let place = Place::new();
        let (first, _) = place.put("a", "one", Condition::New).unwrap();
        assert!(matches!(place.put("a", "two", Condition::New), Err(FilesError::Exists)));
        let known = Condition::Unchanged(first.state().to_string());
        place.put("a", "two", known.clone()).unwrap();
        assert!(matches!(place.put("a", "three", known.clone()), Err(FilesError::Changed)));
        assert!(matches!(place.put("none", "x", known), Err(FilesError::Changed)));
        assert_eq!(fs::read_to_string(place.at("a")).unwrap(), "two");
        assert!(!place.at("none").exists());
    }

    #[test]
    fn what_is_put_is_never_seen_half_and_never_lands_outside_while_a_directory_turns_into_a_link() {
        let place = Place::new();
        let outside = place.dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::create_dir(place.at("real")).unwrap();
        symlink(&outside, place.at("other")).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (real, other) = (place.at("real"), place.at("other"));
            let over = &over;
            scope.spawn(move || {
                let dir = |path: &Path| {
                    (Beneath::open(path.parent().unwrap()).unwrap(), path.file_name().unwrap().to_owned())
                };
                let ((here, one), (_, two)) = (dir(&real), dir(&other));
                while !over.load(Ordering::Relaxed) {
                    let bytes = |name: &std::ffi::OsStr| name.as_encoded_bytes().to_vec();
                    here.exchange(&bytes(&one), &here, &bytes(&two)).unwrap();
                }
            });
            for n in 0..500 {
                match place.put(&format!("real/{n}"), "x", Condition::Any) {
                    Ok(_) | Err(FilesError::NotADirectory | FilesError::NotFound) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_move_replaces_only_what_it_may() {
        let place = Place::new();
        place.put("a", "a", Condition::Any).unwrap();
        place.put("b", "b", Condition::Any).unwrap();
        place.put("dir/x", "x", Condition::Any).unwrap();
        let moved = |from: &str, to: &str, overwrite| {
            place.tree.move_to(&from.parse().unwrap(), &place.tree, &to.parse().unwrap(), overwrite)
        };
        assert!(matches!(moved("a", "b", false), Err(FilesError::Exists)));
        assert!(matches!(moved("a", "dir", true), Err(FilesError::IsDirectory)));
        assert!(matches!(moved("dir", "b", true), Err(FilesError::Exists)));
        assert!(matches!(moved("dir", "dir/in/it", false), Err(FilesError::IntoItself)));
        moved("a", "b", true).unwrap();
        moved("dir", "new/dir", false).unwrap();
        assert_eq!(fs::read_to_string(place.at("b")).unwrap(), "a");
        assert_eq!(fs::read_to_string(place.at("new/dir/x")).unwrap(), "x");
        assert!(matches!(moved("none", "x", false), Err(FilesError::NotFound)));
    }

    #[test]
    fn a_directory_is_removed_only_when_it_is_said_and_goes_at_once() {
        let place = Place::new();
        place.put("dir/in/x", "x", Condition::Any).unwrap();
        assert!(matches!(place.remove("dir", false), Err(FilesError::NotEmpty)));
        let aside = place.remove("dir", true).unwrap().unwrap();
        assert!(!place.at("dir").exists());
        aside.remove().unwrap();
        assert_eq!(fs::read_dir(place.dir.path().join("arriving")).unwrap().count(), 0);
        assert!(matches!(place.remove("dir", true), Err(FilesError::NotFound)));
        assert!(matches!(place.remove("", true), Err(FilesError::NotEmpty)));
        symlink("/etc", place.at("link")).unwrap();
        assert!(place.remove("link", true).unwrap().is_none());
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn a_copy_has_its_place_when_it_is_whole_and_never_replaces_a_directory() {
        let place = Place::new();
        place.put("dir/x", "x", Condition::Any).unwrap();
        let arriving = place.dir.path().join("arriving");
        let copy = |from: &str, to: &str, overwrite| {
            let (made, copied) =
                Incoming::copy(&arriving, "c", &place.tree, &from.parse().unwrap(), &mut |_| ControlFlow::Continue(()))
                    .unwrap();
            place.tree.place_copy(made, &to.parse().unwrap(), overwrite).map(|_| copied.files)
        };
        assert_eq!(copy("dir", "dir/itself", false).unwrap(), 1);
        assert_eq!(copy("dir", "other", false).unwrap(), 2);
        assert!(matches!(copy("dir", "other", true), Err(FilesError::Exists | FilesError::NotEmpty)));
        assert!(matches!(copy("dir/x", "other", true), Err(FilesError::IsDirectory)));
        assert!(matches!(copy("dir/x", "other/x", false), Err(FilesError::Exists)));
        assert_eq!(copy("", "all", false).unwrap(), 4);
        assert_eq!(fs::read_to_string(place.at("all/other/itself/x")).unwrap(), "x");
        assert_eq!(fs::read_dir(&arriving).unwrap().count(), 0);
    }
}
