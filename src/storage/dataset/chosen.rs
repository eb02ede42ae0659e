//! Which entries of a directory are taken: all of them, or those that somebody named.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::user_path::UserPath;

/// Entries that are to be taken, and which of them were met so far.
#[derive(Debug, Default)]
pub struct Chosen {
    /// By path, whether it was met; everything is chosen when there is none.
    paths: BTreeMap<Vec<u8>, bool>,
}

/// How an entry stands to what was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It was chosen, or a directory that it is in.
    Inside,
    /// A directory that leads to something chosen.
    OnTheWay,
    Outside,
}

impl Chosen {
    /// Chooses all that is there.
    pub fn all() -> Self {
        Self::default()
    }

    /// Chooses these files, links and directories with all that is in them; all that is there when there
    /// are none, or the top is one of them.
    pub fn only(paths: impl IntoIterator<Item = UserPath>) -> Self {
        let paths: BTreeSet<_> = paths.into_iter().collect();
        if paths.iter().any(UserPath::is_root) {
            return Self::all();
        }
        Self { paths: paths.into_iter().map(|path| (path.as_bytes().to_vec(), false)).collect() }
    }

    /// Says how the entry at `path`, which is there, stands to what was chosen.
    pub(super) fn place(&mut self, path: &[u8]) -> Place {
        if self.paths.is_empty() {
            return Place::Inside;
        }
        if let Some(met) = self.paths.get_mut(path) {
            *met = true;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        if ends.into_iter().any(|end| self.paths.contains_key(&path[..end])) {
            return Place::Inside;
        }
        let within = [path, b"/"].concat();
        let next = self.paths.range(within.clone()..).next();
        if next.is_some_and(|(chosen, _)| chosen.starts_with(&within)) { Place::OnTheWay } else { Place::Outside }
    }

    /// Returns the first that was chosen and not met; what is in a directory that was chosen as well was.
    pub(super) fn missing(&self) -> Option<UserPath> {
        let (path, _) = self.paths.iter().find(|(_, met)| !**met)?;
        UserPath::from_bytes(path).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(paths: &[&str]) -> Chosen {
        Chosen::only(paths.iter().map(|path| path.parse().unwrap()))
    }

    #[test]
    fn what_is_in_a_chosen_directory_is_chosen_and_the_way_to_it_is_gone() {
        let mut chosen = chosen(&["a/b", "c", "a-b/x/y"]);
        for (path, place) in [
            ("a", Place::OnTheWay),
            ("a/b", Place::Inside),
            ("a/b/c/d", Place::Inside),
            ("a/bc", Place::Outside),
            ("a/a", Place::Outside),
            ("c", Place::Inside),
            ("cc", Place::Outside),
            ("a-b", Place::OnTheWay),
            ("a-b/x", Place::OnTheWay),
        ] {
            assert_eq!(chosen.place(path.as_bytes()), place, "{path}");
        }
        assert_eq!(chosen.missing().unwrap().as_bytes(), b"a-b/x/y");
        assert_eq!(chosen.place(b"a-b/x/y"), Place::Inside);
        assert_eq!(chosen.missing(), None);
    }

    #[test]
    fn without_a_choice_or_with_the_top_everything_is_chosen() {
        for mut chosen in [chosen(&[]), chosen(&["a", ""])] {
            assert_eq!(chosen.place(b"anything"), Place::Inside);
            assert_eq!(chosen.missing(), None);
        }
    }
}
