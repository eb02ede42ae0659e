//! A page of what is in a version, by the rules of S3: in the order of the paths' bytes, from a prefix
//! that need not end at a slash, directories rolled up if asked for.
//!
//! A draft is listed by going through its tree, a frozen version from its manifest. Both give the
//! same pages.

use super::{
    TreeError, Walk,
    tree::entry_in,
    walk::{Names, holds_files},
};
use crate::{
    domain::{content::Entry, user_path::UserPath},
    storage::beneath::{Beneath, Kind},
};

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListQuery {
    /// Only paths that begin with these bytes.
    pub prefix: Vec<u8>,
    /// Whether what has a slash after the prefix is rolled up into the directory.
    pub delimiter: bool,
    /// Only what sorts after this; a directory sorts as its path with a slash.
    pub after: Option<Vec<u8>>,
    /// At most so many, and at least one.
    pub limit: usize,
}

/// One thing listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Entry(Entry),
    /// A directory with at least one file somewhere in it.
    Directory(UserPath),
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    pub items: Vec<Listed>,
    /// What to go on after; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Listed {
    /// Returns what this sorts as.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Entry(entry) => entry.path.as_bytes().to_vec(),
            Self::Directory(path) => [path.as_bytes(), b"/"].concat(),
        }
    }
}

impl ListQuery {
    /// Returns whether something that sorts as `key` comes after where the page begins.
    pub(super) fn is_due(&self, key: &[u8]) -> bool {
        self.after.as_deref().is_none_or(|after| key > after)
    }
}

impl ListPage {
    /// Takes one more, or notes that there is more and returns `false`.
    pub(super) fn push(&mut self, item: Listed, query: &ListQuery) -> bool {
        if self.items.len() >= query.limit.max(1) {
            self.next = self.items.last().map(Listed::key);
            return false;
        }
        self.items.push(item);
        true
    }
}

/// Lists a page of a tree. Holds the page and the names of the directories on the way, and looks
/// only at what is on the page.
pub(super) fn list_tree(root: &Beneath, query: &ListQuery) -> Result<ListPage, TreeError> {
    let slash = query.prefix.iter().rposition(|byte| *byte == b'/');
    let (base, names) = match slash {
        Some(slash) => (&query.prefix[..slash], &query.prefix[slash + 1..]),
        None => (&b""[..], &query.prefix[..]),
    };
    // What is no path in the form that paths have here is a prefix of none.
    match UserPath::from_bytes(base) {
        Ok(path) if path.as_bytes() == base && (slash.is_none() || !path.is_root()) => {
            if query.delimiter {
                list_one(root, &path, names, query)
            } else {
                list_flat(root, &path, names, query)
            }
        }
        _ => Ok(ListPage::default()),
    }
}

/// Lists what is directly in `base`.
fn list_one(root: &Beneath, base: &UserPath, prefix: &[u8], query: &ListQuery) -> Result<ListPage, TreeError> {
    let mut page = ListPage::default();
    let dir = match root.dir(base) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(page);
        }
        dir => dir?,
    };
    let start = if base.is_root() { Vec::new() } else { [base.as_bytes(), b"/"].concat() };
    let names = Names::read(&dir, |name| name.starts_with(prefix) && query.is_due(&[&start, name].concat()))?;
    let mut index = 0;
    while let Some((name, kind)) = names.get(index) {
        index += 1;
        let Ok(path) = base.join(name) else { continue };
        let item = if kind == Kind::Directory {
            let plain = UserPath::from_bytes(name).unwrap_or_default();
            match dir.dir(&plain) {
                Ok(inner) if holds_files(&inner)? => Listed::Directory(path),
                _ => continue,
            }
        } else {
            match entry_in(&dir, name, &path)? {
                Some(entry) => Listed::Entry(entry),
                None => continue,
            }
        };
        if !page.push(item, query) {
            break;
        }
    }
    Ok(page)
}

/// Lists what is in `base`, however deep.
fn list_flat(root: &Beneath, base: &UserPath, prefix: &[u8], query: &ListQuery) -> Result<ListPage, TreeError> {
    let mut page = ListPage::default();
    let mut walk = Walk::from(root, base, prefix, query.after.as_deref())?;
    while let Some(found) = walk.next()? {
        let name = found.path.name().unwrap_or_default();
        if let Some(entry) = entry_in(walk.dir()?, name, &found.path)?
            && !page.push(Listed::Entry(entry), query)
        {
            break;
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::{
        super::{
            ManifestWriter,
            testing::{Yard, all, path, yard},
        },
        *,
    };
    use crate::domain::content::EntryKind;

    /// What S3 would answer, computed from all entries.
    fn naive(entries: &[Entry], query: &ListQuery) -> ListPage {
        let mut found = BTreeMap::new();
        for entry in entries {
            let Some(rest) = entry.path.as_bytes().strip_prefix(query.prefix.as_slice()) else { continue };
            let item = match rest.iter().position(|byte| *byte == b'/').filter(|_| query.delimiter) {
                None => Listed::Entry(entry.clone()),
                Some(slash) => {
                    let dir = &entry.path.as_bytes()[..query.prefix.len() + slash];
                    Listed::Directory(UserPath::from_bytes(dir).unwrap())
                }
            };
            found.insert(item.key(), item);
        }
        if let Some(after) = &query.after {
            found.retain(|key, _| key > after);
        }
        let more = found.len() > query.limit;
        let items: Vec<_> = found.into_values().take(query.limit).collect();
        let next = if more { items.last().map(Listed::key) } else { None };
        ListPage { items, next }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let names: [&[u8]; 8] = [b"a", b"b", b"a-b", b"a0", b"ab", b".", "é".as_bytes(), b"\xff!"];
        select(names.map(<[u8]>::to_vec).to_vec())
    }

    /// Paths, and what looks like one: parts of them, with slashes where none belongs.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        (vec(name(), 0..4), select(vec![&b""[..], b"/", b"a", b"-", b"//"]), any::<bool>()).prop_map(
            |(names, end, leading)| {
                let mut text = names.join(&b'/');
                text.extend_from_slice(end);
                if leading && text.len() > 4 { text.split_off(2) } else { text }
            },
        )
    }

    fn queries() -> impl Strategy<Value = Vec<ListQuery>> {
        let query = (text(), any::<bool>(), option::of(text()), 1usize..5)
            .prop_map(|(prefix, delimiter, after, limit)| ListQuery { prefix, delimiter, after, limit });
        vec(query, 60)
    }

    /// A version with a file at each path that is none by another's.
    fn filled(yard: &Yard, paths: &[Vec<Vec<u8>>]) -> crate::storage::dataset::VersionFiles {
        let version = yard.version(1);
        for names in paths {
            if let Ok(path) = UserPath::from_bytes(&names.join(&b'/')) {
                // A directory is in the way, or a file: then not.
                let _ = version.put_small(&path, path.as_bytes(), path.depth() == 2);
            }
        }
        version
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn a_draft_and_a_frozen_version_list_what_s3_would(
            paths in vec(vec(name(), 1..4), 0..25),
            hollow in vec(name(), 1..3),
            queries in queries(),
        ) {
            let yard = yard();
            let version = filled(&yard, &paths);
            let entries = all(&version);
            prop_assert!(entries.is_sorted_by_key(|entry| entry.path.as_bytes().to_vec()));
            // Directories without files are not there.
            let _ = fs::create_dir_all(version.tree().join(UserPath::from_bytes(&hollow.join(&b'/')).unwrap().as_path()));
            let draft: Vec<_> = queries.iter().map(|query| version.list(query).unwrap()).collect();
            version.freeze(&|_| {}).unwrap();
            for (query, draft) in queries.iter().zip(draft) {
                let wanted = naive(&entries, query);
                prop_assert_eq!(&draft, &wanted, "draft, {:?}", query);
                prop_assert_eq!(&version.list(query).unwrap(), &wanted, "frozen, {:?}", query);
            }
        }
    }

    #[test]
    fn a_large_manifest_is_listed_by_page_and_by_directory() {
        let yard = yard();
        let version = yard.version(1);
        let mut writer: ManifestWriter = version.manifest_writer().unwrap();
        for n in 0..10_000u32 {
            let at = path(&format!("d{}/f{:04}", n / 2500, n % 2500));
            writer.push(&Entry { path: at, kind: EntryKind::Link(b"x".to_vec()) }).unwrap();
        }
        writer.finish().unwrap();
        let top = ListQuery { delimiter: true, limit: 10, ..ListQuery::default() };
        let dirs: Vec<_> = (0..4).map(|n| Listed::Directory(path(&format!("d{n}")))).collect();
        assert_eq!(version.list(&top).unwrap(), ListPage { items: dirs, next: None });
        let inner = ListQuery { prefix: b"d2/f24".to_vec(), delimiter: true, after: None, limit: 99 };
        let page = version.list(&inner).unwrap();
        assert_eq!((page.items.len(), page.next.as_deref()), (99, Some(&b"d2/f2498"[..])));
        assert_eq!(all(&version).len(), 10_000);
        let manifest = version.manifest().unwrap();
        for at in ["d0/f0000", "d1/f1023", "d3/f2499"] {
            assert!(manifest.entry(&path(at)).unwrap().is_some(), "{at}");
        }
        assert_eq!(manifest.entry(&path("d1")).unwrap(), None);
        assert_eq!(manifest.entry(&path("z")).unwrap(), None);
    }
}
