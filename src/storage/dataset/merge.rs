//! A tree that was built aside joining a version's.

use std::{io, sync::Arc};

use rustix::io::Errno;

use super::{Staged, Tree, TreeError};
use crate::{
    domain::{content::Totals, user_path::UserPath},
    fault,
    storage::{
        beneath::{Beneath, Kind},
        descent::{Inode, Met, Visitor, descend},
    },
};

/// Moves all of `staged` into `tree`, in place of what stands there, and returns how much that was.
/// Directories that the tree does not have are moved whole.
///
/// # Errors
/// [`TreeError::IsDirectory`] and [`TreeError::NotADirectory`] when a file and a directory have one
/// name; that is looked for first, and nothing is moved then. So it is when `staged` does not hold
/// `files` files and links, or is gone.
pub(super) fn merge(staged: &Staged, tree: &Tree, files: u64) -> Result<Totals, TreeError> {
    check_there(staged)?;
    let found = staged.tree().count_names()?;
    if found != files {
        return Err(lost(&format!("{found} of {files} files that were set aside are there")));
    }
    Merge { tree, to: None, moving: false, replaced: Totals::default() }.run(staged)?;
    fault::point("dataset.merge.begin");
    let replaced = Merge { tree, to: None, moving: true, replaced: Totals::default() }.run(staged)?;
    // Somebody may have removed it under our hands.
    check_there(staged)?;
    fault::point("dataset.merge.end");
    Ok(replaced)
}

/// # Errors
/// When the directory was removed: reading it then finds nothing, and no error.
fn check_there(staged: &Staged) -> Result<(), TreeError> {
    match rustix::fs::fstat(&staged.tree().root().0)?.st_nlink {
        0 => Err(lost("the directory that was set aside is gone")),
        _ => Ok(()),
    }
}

fn lost(words: &str) -> TreeError {
    io::Error::new(io::ErrorKind::NotFound, words).into()
}

struct Merge<'a> {
    tree: &'a Tree,
    /// The directory met last, and what it becomes; `None` in there if the tree does not have it.
    to: Option<(Vec<u8>, Option<Arc<Beneath>>)>,
    /// Whether anything is moved, or only looked at.
    moving: bool,
    replaced: Totals,
}

impl Merge<'_> {
    fn run(mut self, staged: &Staged) -> Result<Totals, TreeError> {
        descend(staged.tree().root(), &mut self)?;
        Ok(self.replaced)
    }

    /// Returns the directory that what is met goes to.
    fn to(&mut self, met: &Met<'_>) -> Result<Option<Arc<Beneath>>, TreeError> {
        let above = &met.path[..met.path.len() - met.name.len()];
        if let Some((last, to)) = &self.to
            && last == above
        {
            return Ok(to.clone());
        }
        let path = path_of(met)?;
        let to = if self.moving {
            Some(self.tree.parent_or_new(&path)?)
        } else {
            match self.tree.root().dir(&path.parent().unwrap_or_default()) {
                Ok(dir) => Some(Arc::new(dir)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error.into()),
            }
        };
        self.to = Some((above.to_vec(), to.clone()));
        Ok(to)
    }

    /// Opens the directory that what is met goes to once more, for it was removed with the last file
    /// in it; it comes back with this one.
    fn opened_anew(&mut self, met: &Met<'_>) -> Result<Arc<Beneath>, TreeError> {
        self.to = None;
        let tree = Tree::at(self.tree.blobs().clone(), self.tree.root().reopen()?);
        tree.parent_or_new(&path_of(met)?)
    }
}

impl Visitor for Merge<'_> {
    type Error = TreeError;

    fn meet(&mut self, met: &Met<'_>) -> Result<bool, TreeError> {
        let Some(to) = self.to(met)? else { return Ok(false) };
        let is_directory = met.inode.kind == Kind::Directory;
        match Inode::of(&to, met.name) {
            Ok(old) if is_directory && old.kind == Kind::Directory => return Ok(true),
            Ok(old) if old.kind == Kind::Directory => return Err(TreeError::IsDirectory(path_of(met)?)),
            Ok(_) if is_directory => return Err(TreeError::NotADirectory(path_of(met)?)),
            Ok(old) => {
                self.replaced.files += 1;
                self.replaced.bytes += if old.kind == Kind::File { old.bytes } else { 0 };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        if !self.moving {
            return Ok(false);
        }
        // Of two names of one file the one here stays behind, and goes with the directory.
        match met.dir.move_to(met.name, &to, met.name) {
            Ok(()) => {}
            // Somebody else has made that very directory just now, and put a file into it.
            Err(error) if is_directory && error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                met.dir.move_to(met.name, &*self.opened_anew(met)?, met.name)?;
            }
            Err(error) => return Err(error.into()),
        }
        fault::point("dataset.merge.moved");
        Ok(false)
    }

    fn fail(&mut self, _: &[u8], error: io::Error) -> Result<(), TreeError> {
        Err(error.into())
    }
}

fn path_of(met: &Met<'_>) -> Result<UserPath, TreeError> {
    UserPath::from_bytes(met.path).map_err(|_| TreeError::Io(Errno::NAMETOOLONG.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::dataset::testing::{all, path, yard};

    #[test]
    fn a_staged_tree_that_lost_something_or_is_gone_is_not_merged() {
        let yard = yard();
        let version = yard.version(1);
        let staged = version.stage().unwrap();
        staged.tree().put_small(&path("in/a"), b"a", false).unwrap();
        let into = version.open().unwrap();
        assert!(merge(&staged, &into, 2).is_err());
        assert!(all(&version).is_empty());
        let incoming = yard.data.team_blobs(yard.team.team()).join("incoming");
        for name in yard.unfinished() {
            std::fs::remove_dir_all(incoming.join(name)).unwrap();
        }
        assert!(merge(&staged, &into, 0).is_err());
    }
}
