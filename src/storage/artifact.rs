//! What runs leave behind for people: listed, measured, and handed out by file.
//!
//! A container may still be writing while people look, so whatever is met may be gone or larger a
//! moment later; that is passed over, never an error of the whole.

use std::{collections::BinaryHeap, fs::File, io, path::Path};

pub use super::artifact_files::FilesPage;
use super::beneath::{Beneath, Facts, Kind};
use crate::domain::user_path::UserPath;

/// The files of one directory of the daemon's, such as a run's artifacts.
#[derive(Debug)]
pub struct Artifacts(Beneath);

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// From the tree's root.
    pub path: UserPath,
    pub facts: Facts,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArtifactPage {
    pub items: Vec<Artifact>,
    /// The name to go on after; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// How much a tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeSize {
    /// Files, links and whatever else is no directory.
    pub files: u64,
    pub directories: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// Bytes that they take on the disk.
    pub disk_bytes: u64,
    /// Whether everything was counted, or the bound was reached before.
    pub complete: bool,
}

impl Artifacts {
    /// Opens the tree at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self(Beneath::open(root)?))
    }

    /// Takes a tree that is open.
    pub(super) fn beneath(root: Beneath) -> Self {
        Self(root)
    }

    /// Lists up to `limit` entries of the directory `path`, sorted by name as bytes, after the name
    /// `after`. Reads all of the directory's names but keeps only a page of them, and looks at no
    /// entry of other pages.
    ///
    /// # Errors
    /// `NotFound`, and `NotADirectory` also for a link to one.
    pub fn list(&self, path: &UserPath, after: Option<&[u8]>, limit: usize) -> io::Result<ArtifactPage> {
        let dir = self.0.dir(path)?;
        // The greatest of the names kept is on top, to make way for a lesser one. One more than a
        // page tells whether there is another.
        let mut kept = BinaryHeap::new();
        dir.each_name(|name| {
            if after.is_none_or(|after| name > after) {
                if kept.len() <= limit {
                    kept.push(name.to_vec());
                } else if let Some(mut greatest) = kept.peek_mut()
                    && name < greatest.as_slice()
                {
                    *greatest = name.to_vec();
                }
            }
            Ok(())
        })?;
        let mut names = kept.into_sorted_vec();
        let more = names.len() > limit;
        names.truncate(limit);
        let next = if more { names.last().cloned() } else { None };
        let entry = |name: &Vec<u8>| Some(Artifact { path: path.join(name).ok()?, facts: dir.facts_of(name).ok()? });
        Ok(ArtifactPage { items: names.iter().filter_map(entry).collect(), next })
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for what is no regular file; `NotADirectory` when the way there
    /// leads through a link or a file.
    pub fn file(&self, path: &UserPath) -> io::Result<(File, Facts)> {
        self.0.file(path)
    }

    /// Opens a directory of the tree.
    pub(super) fn dir(&self, path: &UserPath) -> io::Result<Beneath> {
        self.0.dir(path)
    }

    /// Looks at one entry.
    pub fn facts(&self, path: &UserPath) -> io::Result<Facts> {
        self.0.facts(path)
    }

    /// Adds up the tree, up to `max_entries` of it.
    pub fn size(&self, max_entries: u64) -> io::Result<TreeSize> {
        let mut size = TreeSize { complete: true, ..TreeSize::default() };
        self.walk(|_, _, entry| {
            match entry.facts.kind {
                Kind::Directory => size.directories += 1,
                _ => size.files += 1,
            }
            size.bytes = size.bytes.saturating_add(entry.facts.size_bytes);
            size.disk_bytes = size.disk_bytes.saturating_add(entry.facts.disk_bytes);
            size.complete = size.files + size.directories < max_entries;
            Ok(size.complete)
        })?;
        Ok(size)
    }

    /// Calls `each` for everything in the tree, a directory before what is in it, until it says
    /// `false`. It is given the directory that holds the entry and the entry's name there. What is
    /// deeper than any path can say is passed over.
    pub(super) fn walk(&self, mut each: impl FnMut(&Beneath, &[u8], &Artifact) -> io::Result<bool>) -> io::Result<()> {
        let mut todo = vec![UserPath::root()];
        while let Some(path) = todo.pop() {
            // Gone, or no directory any more: a container is at work.
            let Ok(dir) = self.0.dir(&path) else { continue };
            let mut names = Vec::new();
            dir.each_name(|name| {
                names.push(name.to_vec());
                Ok(())
            })?;
            names.sort_unstable();
            let first_of_these = todo.len();
            for name in names {
                let (Ok(path), Ok(facts)) = (path.join(&name), dir.facts_of(&name)) else { continue };
                let entry = Artifact { path, facts };
                if !each(&dir, &name, &entry)? {
                    return Ok(());
                }
                if entry.facts.kind == Kind::Directory {
                    todo.push(entry.path);
                }
            }
            // The last is taken first; this keeps them in order.
            todo[first_of_these..].reverse();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn tree() -> (tempfile::TempDir, Artifacts) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("models/best")).unwrap();
        fs::write(dir.path().join("models/best/weights"), "12345678").unwrap();
        for n in 0..25 {
            fs::write(dir.path().join(format!("f{n:02}")), "x").unwrap();
        }
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let artifacts = Artifacts::open(dir.path()).unwrap();
        (dir, artifacts)
    }

    #[test]
    fn a_directory_is_listed_page_by_page_in_order_without_loss() {
        let (_dir, artifacts) = tree();
        let mut seen = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = artifacts.list(&UserPath::root(), after.as_deref(), 10).unwrap();
            assert!(page.items.len() <= 10);
            seen.extend(page.items.into_iter().map(|item| item.path.to_text()));
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        let mut wanted: Vec<_> = (0..25).map(|n| format!("f{n:02}")).collect();
        wanted.extend(["link".to_owned(), "models".to_owned()]);
        assert_eq!(seen, wanted);
    }

    #[test]
    fn an_entry_tells_what_it_is_and_a_nested_path_is_whole() {
        let (_dir, artifacts) = tree();
        let page = artifacts.list(&"models/best".parse().unwrap(), None, 10).unwrap();
        assert_eq!((page.items.len(), page.next), (1, None));
        assert_eq!(page.items[0].path.to_text(), "models/best/weights");
        assert_eq!((page.items[0].facts.kind, page.items[0].facts.size_bytes), (Kind::File, 8));
        assert_eq!(artifacts.facts(&"link".parse().unwrap()).unwrap().kind, Kind::Link);
    }

    #[test]
    fn a_link_out_is_neither_opened_nor_entered() {
        let (dir, artifacts) = tree();
        symlink("/etc", dir.path().join("etc")).unwrap();
        assert!(artifacts.file(&"link".parse().unwrap()).is_err());
        assert!(artifacts.file(&"etc/passwd".parse().unwrap()).is_err());
        assert!(artifacts.list(&"etc".parse().unwrap(), None, 10).is_err());
        assert_eq!(artifacts.list(&"none".parse().unwrap(), None, 10).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_tree_is_added_up_to_a_bound() {
        let (_dir, artifacts) = tree();
        let size = artifacts.size(1000).unwrap();
        assert_eq!((size.files, size.directories, size.complete), (27, 2, true));
        assert_eq!(size.bytes, 25 + 8 + "/etc/passwd".len() as u64);
        assert!(!artifacts.size(5).unwrap().complete);
    }
}
