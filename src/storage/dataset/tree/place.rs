//! How something comes to its path in a tree that others change at the same moment: the directories on the
//! way are made, what stands there is replaced by a rename, and whoever finds that another one was faster
//! begins anew.

use std::{io, sync::Arc};

use super::{Replaced, Tree, entry_in, is_no_directory};
use crate::{
    domain::user_path::UserPath,
    fault,
    storage::{
        beneath::{Beneath, Kind},
        dataset::TreeError,
    },
};

/// How often a step is tried again that others undo at the same moment.
const TRIES: usize = 1000;
const DIRECTORY_MODE: u32 = 0o755;
/// Directories in directories; no path that is taken has more.
const MAX_DEPTH: usize = 300;

impl Tree {
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
    pub(in crate::storage::dataset) fn prune(&self, path: &UserPath) -> io::Result<()> {
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
    pub(super) fn place(
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

fn first_names(path: &UserPath, count: usize) -> UserPath {
    let names: Vec<_> = path.components().take(count).collect();
    UserPath::from_bytes(&names.join(&b'/')).unwrap_or_default()
}
