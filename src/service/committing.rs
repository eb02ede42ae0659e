//! Committing: a draft becomes immutable for ever, by somebody who asks or by the daemon as the last
//! thing that an import or a run does.
//!
//! What becomes of a public dataset every team gets, so whether whoever has it committed may publish is
//! looked at again in the transaction that commits: the dataset may have become public since they asked.

use serde_json::json;

use super::{ServiceError, Services, references, references::Resolved, versions::VersionNow};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{DatasetRef, VersionRef, VersionState},
    },
    fault,
    store::{datasets, imports, versions},
};

/// Code of the conflict when the daemon would publish for somebody who may not.
pub(crate) const MAY_NOT_PUBLISH: &str = "may_not_publish";

/// On whose behalf a version is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committer {
    /// Whether they might publish when they asked for it.
    pub may_publish: bool,
    /// The import that commits as the last thing it does.
    pub import: Option<i64>,
}

impl Services {
    /// Makes a version immutable for ever. Waits for files that are just being added; committing it
    /// again changes nothing.
    pub async fn commit_version(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<VersionNow, ServiceError> {
        caller.may(Action::CommitVersion)?;
        let asker = caller.clone();
        let found = self
            .store
            .read(move |connection| {
                let dataset = references::to_change(connection, &asker, &dataset)?;
                let version = references::version(connection, &asker.team, &dataset, &version)?;
                Ok::<_, ServiceError>(Resolved { dataset, version })
            })
            .await?;
        let may_publish = caller.may(Action::PublishDataset);
        let committer = Committer { may_publish: may_publish.is_ok(), import: None };
        match self.commit_found(found, committer).await {
            // Made public while this waited for its turn: the answer is what it would be a moment later.
            Err(ServiceError::Conflict { code: MAY_NOT_PUBLISH, message }) => {
                Err(may_publish.err().map_or(ServiceError::Forbidden(message), ServiceError::from))
            }
            other => other,
        }
    }

    /// Makes a version immutable for ever, for a committer who was allowed to while the dataset was not
    /// public.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] `import_running` while any other import brings files into it, and
    /// `may_not_publish` when the dataset is public by now and the committer may not publish.
    pub(crate) async fn commit_found(&self, found: Resolved, by: Committer) -> Result<VersionNow, ServiceError> {
        if found.version.state == VersionState::Committed {
            return self.now_of(found).await;
        }
        let services = self.clone();
        // In a task of its own: whoever asked may go away half-way, and the work goes on.
        let committed = tokio::spawn(async move { services.commit_now(found, by).await }).await;
        committed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn commit_now(&self, found: Resolved, by: Committer) -> Result<VersionNow, ServiceError> {
        let seq = found.version.seq;
        let alone = match self.pass_alone(&found).await {
            Ok(alone) => alone,
            // Somebody else was first.
            Err(ServiceError::Conflict { code: "version_committed", .. }) => return self.again(found).await,
            Err(error) => return Err(error),
        };
        let named = found.dataset.id.clone();
        let refuse = move |connection: &rusqlite::Connection| {
            if imports::any_alive_in(connection, seq, by.import)? {
                let message = "an import still brings files into this version: wait, or cancel it".to_owned();
                return Err(ServiceError::Conflict { code: "import_running", message });
            }
            let public = datasets::by_id(connection, &named)?.is_some_and(|dataset| dataset.public);
            if public && !by.may_publish {
                let message = "the dataset has become public, and only an admin may commit what every team gets: have an admin commit the version".to_owned();
                return Err(ServiceError::Conflict { code: MAY_NOT_PUBLISH, message });
            }
            Ok(())
        };
        // Once before the work, and once more in the transaction that counts.
        let early = refuse.clone();
        self.store.read(move |connection| early(connection)).await?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        let totals = home.freeze().await?;
        alone.counted(totals);
        fault::point("version.commit.before");
        let services = self.clone();
        let written = self
            .store
            .write(move |tx| {
                // What was accepted or published meanwhile, too. The manifest goes with the next change.
                refuse(tx)?;
                let done = versions::commit(tx, seq, totals, services.clock.now())?;
                let version = versions::get(tx, seq)?;
                if let Some(version) = version.filter(|_| done) {
                    let data = json!({ "files": totals.files, "bytes": totals.bytes });
                    services.tell_version(tx, &version, "committed", data)?;
                }
                Ok::<_, ServiceError>(())
            })
            .await;
        fault::point("version.commit.after");
        written?;
        self.gates.close_behind(seq, alone);
        self.again(found).await
    }

    async fn again(&self, found: Resolved) -> Result<VersionNow, ServiceError> {
        let seq = found.version.seq;
        let version = self.store.read(move |connection| versions::get(connection, seq)).await?;
        let version = version.ok_or_else(|| ServiceError::not_found("version", &found.version.id))?;
        self.now_of(Resolved { dataset: found.dataset, version }).await
    }

    /// Notes why a version that was to be committed is still a draft. Said again, it is there once.
    pub(crate) async fn note_draft(&self, version: i64, words: String) -> Result<(), ServiceError> {
        let services = self.clone();
        self.store
            .write(move |tx| {
                let Some(version) = versions::get(tx, version)? else { return Ok(()) };
                let note = match &version.note {
                    Some(note) if note.contains(&words) => return Ok(()),
                    Some(note) => format!("{note}; {words}"),
                    None => words,
                };
                versions::set_note(tx, version.seq, Some(&note), services.clock.now())?;
                services.tell_version(tx, &version, "changed", json!({}))
            })
            .await
    }
}
