//! Who is let in to the files of a version to change them. The gates know nothing of versions that are
//! committed or deleted, and may close a moment after the row changed; so whoever is in looks at the row
//! again.

use super::{
    ServiceError, Services,
    references::Resolved,
    version_gates::{Alone, Shared},
    versions::committed,
};
use crate::{domain::dataset::VersionState, store::versions};

impl Services {
    /// Passes the gate of a version as one of those who add files. What it was when it was looked up
    /// counts for nothing.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] `version_committed`; [`ServiceError::NotFound`] when it was deleted.
    pub(crate) async fn pass(&self, found: &Resolved) -> Result<Shared, ServiceError> {
        let pass = self.gates.shared(found.version.seq).await;
        // First the row: it says which way a closed gate was closed.
        self.still_draft(found).await?;
        pass.map_err(|_closed| ServiceError::not_found("version", &found.version.id))
    }

    /// Passes the gate of a version as the only one.
    ///
    /// # Errors
    /// As [`Services::pass`].
    pub(crate) async fn pass_alone(&self, found: &Resolved) -> Result<Alone, ServiceError> {
        let alone = self.gates.alone(found.version.seq).await;
        self.still_draft(found).await?;
        alone.map_err(|_closed| ServiceError::not_found("version", &found.version.id))
    }

    /// Refuses a version that is committed or deleted, and forgets its gate.
    async fn still_draft(&self, found: &Resolved) -> Result<(), ServiceError> {
        let seq = found.version.seq;
        let refused = match self.store.read(move |connection| versions::get(connection, seq)).await? {
            Some(version) if version.state == VersionState::Uncommitted => return Ok(()),
            Some(version) => committed(&version),
            None => ServiceError::not_found("version", &found.version.id),
        };
        self.gates.close(seq);
        Err(refused)
    }
}
