//! What one version has that another has not.

use std::{cmp::Ordering, io, iter::Peekable};

use super::{Manifest, manifest::Entries};
use crate::domain::{content::Entry, user_path::UserPath};

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    Added,
    Removed,
    /// Other bytes, another executable bit, or a link in place of a file.
    Changed,
}

/// One path that is not the same in both versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: UserPath,
    pub change: Change,
    /// The size before; 0 for a link, `None` for what is added.
    pub bytes_before: Option<u64>,
    /// The size after; 0 for a link, `None` for what is removed.
    pub bytes_after: Option<u64>,
}

/// Compares two versions path by path, in the order of the paths' bytes, reading both as it goes.
pub fn diff(before: &Manifest, after: &Manifest) -> impl Iterator<Item = io::Result<Difference>> + use<> {
    Differences { before: before.entries().peekable(), after: after.entries().peekable() }
}

/// Compares like [`diff`], beginning after the path `last`.
pub fn diff_after(
    before: &Manifest,
    after: &Manifest,
    last: &UserPath,
) -> io::Result<impl Iterator<Item = io::Result<Difference>> + use<>> {
    let key = [last.as_bytes(), b"\0"].concat();
    let (before, after) = (before.entries_from(&key)?, after.entries_from(&key)?);
    Ok(Differences { before: before.peekable(), after: after.peekable() })
}

struct Differences {
    before: Peekable<Entries>,
    after: Peekable<Entries>,
}

impl Differences {
    fn step(&mut self) -> io::Result<Option<Difference>> {
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (None, None) => return Ok(None),
                (Some(Ok(before)), Some(Ok(after))) => before.path.cmp(&after.path),
                (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
                (None, Some(_)) | (_, Some(Err(_))) => Ordering::Greater,
            };
            let before = if order.is_le() { self.before.next().transpose()? } else { None };
            let after = if order.is_ge() { self.after.next().transpose()? } else { None };
            let bytes = |entry: &Option<Entry>| entry.as_ref().map(Entry::bytes);
            let (bytes_before, bytes_after) = (bytes(&before), bytes(&after));
            let (path, change) = match (before, after) {
                (Some(before), Some(after)) if before.kind == after.kind => continue,
                (Some(_), Some(after)) => (after.path, Change::Changed),
                (Some(before), None) => (before.path, Change::Removed),
                (None, Some(after)) => (after.path, Change::Added),
                (None, None) => return Ok(None),
            };
            return Ok(Some(Difference { path, change, bytes_before, bytes_after }));
        }
    }
}

impl Iterator for Differences {
    type Item = io::Result<Difference>;
    fn next(&mut self) -> Option<io::Result<Difference>> {
        self.step().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{path, yard},
        *,
    };
    use crate::domain::content::EntryKind;

    #[test]
    fn what_was_added_removed_and_changed_is_told_in_order() {
        let yard = yard();
        let before = yard.version(1);
        for (at, bytes) in [("a", "1"), ("b/c", "22"), ("b-d", "333"), ("mode", "x"), ("same", "s"), ("was-file", "1")]
        {
            before.put_small(&path(at), bytes.as_bytes(), false).unwrap();
        }
        before.freeze(&|_| {}).unwrap();
        let after = yard.unmade(2);
        after.create_from(&before).unwrap();
        after.remove(&path("a")).unwrap();
        after.put_small(&path("b/c"), b"4444", false).unwrap();
        after.put_small(&path("mode"), b"x", true).unwrap();
        after.put_small(&path("z"), b"", false).unwrap();
        after.put(&path("was-file"), &EntryKind::Link(b"z".to_vec())).unwrap();
        after.freeze(&|_| {}).unwrap();
        let (before, after) = (before.manifest().unwrap(), after.manifest().unwrap());
        let all: Vec<_> = diff(&before, &after).map(Result::unwrap).collect();
        let told: Vec<_> = all.iter().map(|d| (d.path.to_text(), d.change, d.bytes_before, d.bytes_after)).collect();
        let of = |at: &str, change, before, after| (at.to_owned(), change, before, after);
        assert_eq!(
            told,
            [
                of("a", Change::Removed, Some(1), None),
                of("b/c", Change::Changed, Some(2), Some(4)),
                of("mode", Change::Changed, Some(1), Some(1)),
                of("was-file", Change::Changed, Some(1), Some(0)),
                of("z", Change::Added, None, Some(0)),
            ]
        );
        let rest: Vec<_> = diff_after(&before, &after, &path("b/c")).unwrap().map(Result::unwrap).collect();
        assert_eq!(rest, all[2..]);
        assert_eq!(diff(&after, &after).count(), 0);
    }
}
