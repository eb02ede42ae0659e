//! How many files a version may hold (`storage.version_files`). The commit counts exactly; here a draft is
//! held to it while it fills, so that nobody sends for hours what can never be committed. A few files that
//! come at the same moment may pass side by side.
//!
//! A draft in a bucket is held to it by the commit alone: to count it means to list the bucket, to which
//! anybody may write besides.

use super::{
    ServiceError, Services,
    references::Resolved,
    version_home::{Home, of_tree},
};
use crate::{
    domain::user_path::UserPath,
    storage::dataset::{Tree, TreeError, VersionFiles, Walk},
};

/// How many files a draft may take on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    limit: u64,
    left: u64,
}

impl Services {
    /// Returns how many files a draft may take on. Counts the draft where that was not done since the
    /// start, so the caller is not in its gate yet.
    pub(crate) async fn room(&self, found: &Resolved, home: &Home) -> Result<Room, ServiceError> {
        let limit = self.datasets.limits().max_version_files;
        if home.s3.is_some() {
            return Ok(Room { limit, left: u64::MAX });
        }
        let holds = match self.gates.totals(found.version.seq) {
            Some(totals) => totals.files,
            None => self.count(found).await?.map_or(0, |totals| totals.files),
        };
        Ok(Room { limit, left: limit.saturating_sub(holds) })
    }

    /// Refuses a file that a full draft cannot take on. One that takes the place of another may come.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] `too_many_files`.
    pub(crate) async fn refuse_beyond_limit(
        &self,
        found: &Resolved,
        home: &Home,
        path: &UserPath,
    ) -> Result<(), ServiceError> {
        let room = self.room(found, home).await?;
        if room.left > 0 {
            return Ok(());
        }
        let (files, path) = (home.files.clone(), path.clone());
        super::blocking(move || room.for_file(&files, &path)).await.map_err(of_tree)
    }
}

impl Room {
    /// Says whether a file may come to `path`: there is room for it, or one is there already.
    ///
    /// # Errors
    /// [`TreeError::TooManyFiles`].
    pub fn for_file(&self, files: &VersionFiles, path: &UserPath) -> Result<(), TreeError> {
        if self.left > 0 || files.entry(path)?.is_some() { Ok(()) } else { Err(self.refusal()) }
    }

    /// Counts a file that came and took the place of no other.
    pub fn took_one(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Says whether the `coming` files of a tree may join: looks only where they might not which of them
    /// take the place of others.
    ///
    /// # Errors
    /// [`TreeError::TooManyFiles`].
    pub fn for_tree(&self, files: &VersionFiles, tree: &Tree, coming: u64) -> Result<(), TreeError> {
        if coming <= self.left {
            return Ok(());
        }
        let mut left = self.left;
        let mut walk = Walk::through(tree.root())?;
        while let Some(found) = walk.next()? {
            if files.entry(&found.path)?.is_none() {
                left = left.checked_sub(1).ok_or_else(|| self.refusal())?;
            }
        }
        Ok(())
    }

    fn refusal(&self) -> TreeError {
        TreeError::TooManyFiles { limit: self.limit }
    }
}
