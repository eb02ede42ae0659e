//! What one committed version has that another has not.

use super::{
    ServiceError, Services, blocking,
    references::{self, Resolved},
    version_home::of_tree,
};
use crate::{
    domain::{
        caller::Caller,
        dataset::{DatasetRef, VersionRef, VersionState},
        user_path::UserPath,
    },
    storage::dataset::{Change, Difference, Manifest, diff, diff_after},
};

/// A part of a comparison, in the order of the paths' bytes.
#[derive(Debug, Clone)]
pub struct DiffPage {
    pub items: Vec<Difference>,
    /// What to go on after; `None` at the end.
    pub next: Option<UserPath>,
    /// Of the whole comparison, if they were asked for.
    pub totals: Option<DiffTotals>,
}

/// How much two versions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiffTotals {
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// Bytes that the second has more, in files that are new or have grown.
    pub bytes_added: u64,
    /// Bytes that the second has less, in files that are gone or have shrunk.
    pub bytes_removed: u64,
}

/// Which part of a comparison is wanted.
#[derive(Debug, Clone, Default)]
pub struct DiffQuery {
    pub after: Option<UserPath>,
    pub limit: usize,
    pub totals: bool,
}

impl Services {
    /// Compares a version with `against`, from which it is looked at: what only it has was added.
    pub async fn diff(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        against: &str,
        query: DiffQuery,
    ) -> Result<DiffPage, ServiceError> {
        let after = self.find_version(caller, dataset, version).await?;
        let (team, dataset, against) = (caller.team.clone(), after.dataset.clone(), against.to_owned());
        let before =
            self.store.read(move |connection| references::near(connection, &team, &dataset, "against", &against));
        let before = before.await?;
        let (before, after) = (self.manifest(&before).await?, self.manifest(&after).await?);
        blocking(move || compare(&before, &after, &query)).await.map_err(|error| of_tree(error.into()))
    }

    /// Opens the list of what a committed version holds.
    async fn manifest(&self, found: &Resolved) -> Result<Manifest, ServiceError> {
        if found.version.state == VersionState::Uncommitted {
            let message = format!("version {} still changes: commit it before comparing it", found.version.id);
            return Err(ServiceError::Conflict { code: "version_not_committed", message });
        }
        let files = self.home(&found.dataset, &found.version.id).await?.files;
        blocking(move || files.manifest()).await.map_err(of_tree)
    }
}

fn compare(before: &Manifest, after: &Manifest, query: &DiffQuery) -> std::io::Result<DiffPage> {
    let mut page = DiffPage { items: Vec::new(), next: None, totals: None };
    let rest: Box<dyn Iterator<Item = std::io::Result<Difference>>> = match &query.after {
        Some(last) => Box::new(diff_after(before, after, last)?),
        None => Box::new(diff(before, after)),
    };
    for difference in rest {
        if page.items.len() == query.limit {
            page.next = page.items.last().map(|last| last.path.clone());
            break;
        }
        page.items.push(difference?);
    }
    if query.totals {
        let mut totals = DiffTotals::default();
        for difference in diff(before, after) {
            totals.add(&difference?);
        }
        page.totals = Some(totals);
    }
    Ok(page)
}

impl DiffTotals {
    fn add(&mut self, difference: &Difference) {
        match difference.change {
            Change::Added => self.added += 1,
            Change::Removed => self.removed += 1,
            Change::Changed => self.changed += 1,
        }
        let (before, after) = (difference.bytes_before.unwrap_or(0), difference.bytes_after.unwrap_or(0));
        self.bytes_added += after.saturating_sub(before);
        self.bytes_removed += before.saturating_sub(after);
    }
}
