//! All files of a tree in one order, page by page; and removing some of them.

use std::io;

use super::{
    artifact::{Artifact, Artifacts},
    beneath::Kind,
};
use crate::domain::user_path::UserPath;

/// Entries that are looked at for one page. Where few of very many are wanted, pages get short.
const LOOKS: usize = 100_000;

/// A page of a tree's files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilesPage {
    pub items: Vec<Artifact>,
    /// The path to go on after; `None` at the end.
    pub next: Option<UserPath>,
}

impl Artifacts {
    /// Lists up to `limit` regular files of the whole tree that are `wanted`, sorted by the names on
    /// their way, after the path `after`; the root is before all. A page may be short, or empty, and yet
    /// have a next one.
    pub fn files(&self, after: &UserPath, wanted: impl Fn(&UserPath) -> bool, limit: usize) -> io::Result<FilesPage> {
        let mut page = FilesPage::default();
        let mut looks = 0;
        // The directories on the way down, each with the names that are still to come.
        let mut way = vec![(UserPath::root(), self.names(&UserPath::root())?.into_iter())];
        while let Some((dir, names)) = way.last_mut() {
            let Some(path) = names.next().map(|name| dir.join(&name)) else {
                way.pop();
                continue;
            };
            // What is deeper than any path can say is passed over.
            let Ok(path) = path else { continue };
            if path.components().lt(after.components()) && !leads_to(&path, after) {
                continue;
            }
            // Gone meanwhile: a container may be at work.
            let Ok(facts) = self.facts(&path) else { continue };
            looks += 1;
            match facts.kind {
                Kind::Directory => {
                    if let Ok(names) = self.names(&path) {
                        way.push((path.clone(), names.into_iter()));
                    }
                }
                Kind::File if path.components().gt(after.components()) && wanted(&path) => {
                    if page.items.len() == limit {
                        page.next = page.items.last().map(|item| item.path.clone());
                        return Ok(page);
                    }
                    page.items.push(Artifact { path: path.clone(), facts });
                }
                _ => {}
            }
            if looks == LOOKS {
                page.next = Some(path);
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Removes a file, or a directory with all that is in it; the root is emptied.
    ///
    /// # Errors
    /// `NotFound`; `NotADirectory` when the way there leads through a link.
    pub fn remove(&self, path: &UserPath) -> io::Result<()> {
        let Some(name) = path.name() else {
            return self.names(path)?.iter().try_for_each(|name| self.dir(path)?.remove_tree(name));
        };
        self.facts(path)?;
        self.dir(&path.parent().unwrap_or_default())?.remove_tree(name)
    }

    /// Returns the names in a directory, sorted.
    fn names(&self, path: &UserPath) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        self.dir(path)?.each_name(|name| {
            names.push(name.to_vec());
            Ok(())
        })?;
        names.sort_unstable();
        Ok(names)
    }
}

/// Says whether `path` is a directory on the way to `to`.
fn leads_to(path: &UserPath, to: &UserPath) -> bool {
    to.as_bytes().strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    const FILES: &[&str] = &["a", "b/c/x", "b/c/y", "b/d", "b.txt", "c/e"];

    fn tree() -> (tempfile::TempDir, Artifacts) {
        let dir = tempfile::tempdir().unwrap();
        for path in FILES {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), "x").unwrap();
        }
        symlink("b", dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        let artifacts = Artifacts::open(dir.path()).unwrap();
        (dir, artifacts)
    }

    fn all(artifacts: &Artifacts, wanted: impl Fn(&UserPath) -> bool, limit: usize) -> Vec<String> {
        let (mut found, mut after) = (Vec::new(), UserPath::root());
        loop {
            let page = artifacts.files(&after, &wanted, limit).unwrap();
            assert!(page.items.len() <= limit);
            found.extend(page.items.into_iter().map(|item| item.path.to_text()));
            match page.next {
                Some(next) => after = next,
                None => return found,
            }
        }
    }

    #[test]
    fn every_file_is_on_one_page_whatever_their_size() {
        let (_dir, artifacts) = tree();
        for limit in 1..8 {
            assert_eq!(all(&artifacts, |_| true, limit), FILES, "{limit}");
        }
        assert_eq!(all(&artifacts, |path| path.as_bytes().starts_with(b"b/"), 2), ["b/c/x", "b/c/y", "b/d"]);
    }

    #[test]
    fn a_listing_goes_on_after_a_file_that_was_removed() {
        let (dir, artifacts) = tree();
        let first = artifacts.files(&UserPath::root(), |_| true, 2).unwrap();
        fs::remove_dir_all(dir.path().join("b/c")).unwrap();
        let second = artifacts.files(&first.next.unwrap(), |_| true, 9).unwrap();
        let paths: Vec<_> = second.items.iter().map(|item| item.path.to_text()).collect();
        assert_eq!(paths, ["b/d", "b.txt", "c/e"]);
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else() {
        let (dir, artifacts) = tree();
        artifacts.remove(&"b/c".parse().unwrap()).unwrap();
        artifacts.remove(&"link".parse().unwrap()).unwrap();
        assert_eq!(all(&artifacts, |_| true, 9), ["a", "b/d", "b.txt", "c/e"]);
        assert_eq!(artifacts.remove(&"b/c".parse().unwrap()).unwrap_err().kind(), io::ErrorKind::NotFound);
        symlink("b", dir.path().join("through")).unwrap();
        assert!(artifacts.remove(&"through/d".parse().unwrap()).is_err());
        artifacts.remove(&UserPath::root()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
