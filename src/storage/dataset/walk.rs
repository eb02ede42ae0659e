//! Going through a tree in the order of its paths' bytes, from any path on.
//!
//! In that order a directory stands where its name with a slash would: `a-b` comes before `a/b`. Of
//! each directory on the way all names are held, packed; nothing else of the tree is.

use std::io;

use crate::{
    domain::user_path::UserPath,
    storage::beneath::{Beneath, Kind},
};

/// Directories deeper than this are opened again from the top when the walk comes back to them,
/// rather than held open: a tree can be deeper than the number of files a process may have open.
const HELD_OPEN: usize = 32;

/// A walk through the files and links of a tree.
#[derive(Debug)]
pub struct Walk<'a> {
    root: &'a Beneath,
    levels: Vec<Level>,
    after: Option<Vec<u8>>,
    empty: Vec<UserPath>,
}

/// Something that a walk came upon: a file, a link, or what does not belong into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: UserPath,
    pub kind: Kind,
}

#[derive(Debug)]
struct Level {
    path: UserPath,
    names: Names,
    next: usize,
    dir: Option<Beneath>,
}

impl<'a> Walk<'a> {
    /// Walks through all of the tree.
    pub fn through(root: &'a Beneath) -> io::Result<Self> {
        Self::from(root, &UserPath::root(), b"", None)
    }

    /// Walks through those entries of the directory `base` whose names begin with `prefix`, and all
    /// that is in them, as far as their paths come after `after`.
    pub(super) fn from(root: &'a Beneath, base: &UserPath, prefix: &[u8], after: Option<&[u8]>) -> io::Result<Self> {
        let mut walk = Self { root, levels: Vec::new(), after: after.map(<[u8]>::to_vec), empty: Vec::new() };
        walk.enter(base.clone(), prefix)?;
        Ok(walk)
    }

    /// Returns the next entry. What is removed while the walk goes on may be missed or be met.
    #[expect(clippy::should_implement_trait, reason = "a `for` would hold the walk, and `dir` could not be asked")]
    pub fn next(&mut self) -> io::Result<Option<Found>> {
        while let Some(level) = self.levels.last_mut() {
            let Some((name, kind)) = level.names.get(level.next) else {
                self.levels.pop();
                continue;
            };
            level.next += 1;
            let path = level.path.join(name).map_err(|_| too_long(&level.path))?;
            if kind != Kind::Directory {
                return Ok(Some(Found { path, kind }));
            }
            self.enter(path, b"")?;
        }
        Ok(None)
    }

    /// Returns the directory that holds what [`Walk::next`] returned last.
    pub fn dir(&mut self) -> io::Result<&Beneath> {
        let root = self.root;
        let Some(level) = self.levels.last_mut() else { return Ok(root) };
        match &mut level.dir {
            Some(dir) => Ok(dir),
            closed => Ok(closed.insert(root.dir(&level.path)?)),
        }
    }

    /// Returns the directories met so far in which nothing was, not even another directory.
    pub(super) fn empty(&mut self) -> Vec<UserPath> {
        std::mem::take(&mut self.empty)
    }

    fn enter(&mut self, path: UserPath, prefix: &[u8]) -> io::Result<()> {
        // From the directory above where it is open: the way from the top is longer.
        let opened = match (self.levels.last().and_then(|level| level.dir.as_ref()), path.name()) {
            (Some(above), Some(name)) => above.dir(&UserPath::from_bytes(name).map_err(|_| too_long(&path))?),
            _ => self.root.dir(&path),
        };
        let dir = match opened {
            // Removed since its name was read.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            opened => opened?,
        };
        let mut key = path.as_bytes().to_vec();
        if !path.is_root() {
            key.push(b'/');
        }
        let after = match self.after.as_deref() {
            Some(after) if after.starts_with(&key) => Some(&after[key.len()..]),
            Some(after) if after > key.as_slice() => return Ok(()),
            _ => None,
        };
        let mut any = false;
        let names = Names::read(&dir, |name| {
            any = true;
            name.starts_with(prefix)
                && after.is_none_or(|after| name > after || name.ends_with(b"/") && after.starts_with(name))
        })?;
        if !any {
            self.empty.push(path.clone());
        }
        let count = self.levels.len();
        if let Some(level) = self.levels.get_mut(count.wrapping_sub(HELD_OPEN)) {
            level.dir = None;
        }
        self.levels.push(Level { path, names, next: 0, dir: Some(dir) });
        Ok(())
    }
}

/// Returns whether any file or link is in the directory, however deep.
pub(super) fn holds_files(dir: &Beneath) -> io::Result<bool> {
    let mut walk = Walk::through(dir)?;
    Ok(walk.next()?.is_some())
}

/// The names in a directory, packed and in order; a directory's ends in a slash.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each begins, and how long it is.
    at: Vec<(u32, u16, Kind)>,
}

impl Names {
    /// Reads those names that `wanted` picks; a directory's with its slash.
    pub(super) fn read(dir: &Beneath, mut wanted: impl FnMut(&[u8]) -> bool) -> io::Result<Self> {
        let mut names = Self::default();
        dir.each_entry(|name, kind| {
            let start = names.bytes.len();
            names.bytes.extend_from_slice(name);
            if kind == Kind::Directory {
                names.bytes.push(b'/');
            }
            let length = names.bytes.len() - start;
            match (u32::try_from(start), u16::try_from(length)) {
                _ if !wanted(&names.bytes[start..]) => names.bytes.truncate(start),
                (Ok(start), Ok(length)) => names.at.push((start, length, kind)),
                _ => return Err(io::Error::other("the directory has more names than can be listed")),
            }
            Ok(())
        })?;
        let Self { bytes, at } = &mut names;
        at.sort_unstable_by(|a, b| slice(bytes, a).cmp(slice(bytes, b)));
        Ok(names)
    }

    /// Returns the name `index`, without the slash.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], Kind)> {
        let at = self.at.get(index)?;
        let name = slice(&self.bytes, at);
        Some((name.strip_suffix(b"/").unwrap_or(name), at.2))
    }
}

fn slice<'a>(bytes: &'a [u8], (start, length, _): &(u32, u16, Kind)) -> &'a [u8] {
    &bytes[*start as usize..*start as usize + usize::from(*length)]
}

fn too_long(path: &UserPath) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a path in “{path}” is longer than any path may be"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn walked(root: &Beneath) -> Vec<String> {
        let mut walk = Walk::through(root).unwrap();
        std::iter::from_fn(|| walk.next().unwrap()).map(|found| found.path.to_text()).collect()
    }

    #[test]
    fn a_tree_is_walked_in_the_order_of_whole_paths() {
        let tree = tempfile::tempdir().unwrap();
        for file in ["a/b", "a-b", "a", "a0", "ab/c"] {
            let path = tree.path().join(if file == "a" { "a.d/x" } else { file });
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(walked(&Beneath::open(tree.path()).unwrap()), ["a-b", "a.d/x", "a/b", "a0", "ab/c"]);
    }

    #[test]
    fn a_tree_deeper_than_directories_are_held_open_is_walked_to_its_end() {
        let tree = tempfile::tempdir().unwrap();
        let here = Beneath::open(tree.path()).unwrap();
        let mut dir = here.reopen().unwrap();
        for _ in 0..100 {
            dir = dir.make_dir(b"d").unwrap();
            dir.new_file(b"e", 0o644).unwrap();
        }
        let paths = walked(&here);
        assert_eq!(paths.len(), 100);
        assert!(paths.is_sorted());
        let mut walk = Walk::through(&here).unwrap();
        while let Some(found) = walk.next().unwrap() {
            assert!(walk.dir().unwrap().facts_of(found.path.name().unwrap()).is_ok(), "{}", found.path);
        }
    }
}
