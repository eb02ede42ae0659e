//! Which versions hold given contents.

use std::collections::HashSet;

use super::{
    TeamFiles, TreeError, VersionFiles, Walk,
    tree::entry_in,
    watch::{CareError, Watch, tell},
};
use crate::domain::{
    content::{Content, ContentHash, Entry, EntryKind, Totals},
    id::{DatasetId, VersionId},
    user_path::UserPath,
};

/// Most paths named of one content in one version.
const MAX_PATHS: usize = 100;

/// A version that holds a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub hash: ContentHash,
    pub dataset: DatasetId,
    pub version: VersionId,
    /// The first hundred of them, in order.
    pub paths: Vec<UserPath>,
    /// How many there are.
    pub files: u64,
    /// The content itself, as the first of them has it.
    pub content: Content,
}

impl TeamFiles {
    /// Looks through all versions of the team for contents, committed ones by their manifests and
    /// drafts by their trees. Takes about a second for a million files. What has no files here any
    /// more is passed over.
    pub fn versions_with(&self, hashes: &HashSet<ContentHash>, watch: Watch<'_>) -> Result<Vec<Holder>, CareError> {
        let mut search = Search { hashes, watch, seen: Totals::default(), holders: Vec::new() };
        if hashes.is_empty() {
            return Ok(search.holders);
        }
        for (dataset, version) in self.version_ids()? {
            let begin = search.holders.len();
            let files = self.version(&dataset, &version);
            match each_entry(&files, &mut |entry| search.look_at(entry, (&dataset, &version), begin)) {
                Ok(()) | Err(Ended::Tree(TreeError::NotFound | TreeError::Damaged(_))) => {}
                Err(Ended::Tree(TreeError::Io(error))) => return Err(error.into()),
                Err(Ended::Tree(error)) => return Err(std::io::Error::other(error.to_string()).into()),
                Err(Ended::Care(error)) => return Err(error),
            }
        }
        Ok(search.holders)
    }
}

/// Calls `each` for all entries of a version: of a committed one those of its manifest, of a draft those
/// of its tree.
pub(super) fn each_entry(files: &VersionFiles, each: &mut dyn FnMut(&Entry) -> Result<(), Ended>) -> Result<(), Ended> {
    match files.manifest() {
        Ok(manifest) => {
            for entry in manifest.entries() {
                each(&entry?)?;
            }
        }
        Err(TreeError::NotFound) => {
            let tree = files.open()?;
            let mut walk = Walk::through(tree.root())?;
            while let Some(found) = walk.next()? {
                let name = found.path.name().unwrap_or_default();
                if let Some(entry) = entry_in(walk.dir()?, name, &found.path)? {
                    each(&entry)?;
                }
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Why going through a version ended early.
pub(super) enum Ended {
    Tree(TreeError),
    Care(CareError),
}

impl<E: Into<TreeError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Tree(error.into())
    }
}

struct Search<'a> {
    hashes: &'a HashSet<ContentHash>,
    watch: Watch<'a>,
    seen: Totals,
    holders: Vec<Holder>,
}

impl Search<'_> {
    fn look_at(&mut self, entry: &Entry, version: (&DatasetId, &VersionId), begin: usize) -> Result<(), Ended> {
        self.seen.files += 1;
        self.seen.bytes += entry.bytes();
        tell(self.watch, self.seen).map_err(Ended::Care)?;
        let EntryKind::File(content) = &entry.kind else { return Ok(()) };
        if !self.hashes.contains(&content.hash) {
            return Ok(());
        }
        let known = self.holders[begin..].iter().position(|holder| holder.hash == content.hash);
        let at = begin + known.unwrap_or(self.holders.len() - begin);
        if known.is_none() {
            let (dataset, version) = (version.0.clone(), version.1.clone());
            self.holders.push(Holder {
                hash: content.hash,
                dataset,
                version,
                paths: Vec::new(),
                files: 0,
                content: *content,
            });
        }
        let holder = &mut self.holders[at];
        holder.files += 1;
        if holder.paths.len() < MAX_PATHS {
            holder.paths.push(entry.path.clone());
        }
        Ok(())
    }
}
