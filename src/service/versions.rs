//! Versions: begin one, look, describe, delete. Committing one is in [`super::committing`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;

use super::{
    Invalid, ServiceError, Services, blocking,
    deleting::Obstacles,
    references::{self, Resolved},
    tags::{self, check_tag_name},
    text::{check_lines, check_text},
};
use crate::{
    domain::{
        caller::{Action, Caller},
        content::Totals,
        dataset::{Dataset, DatasetRef, LATEST, Reference, Version, VersionRef, VersionState},
        id::{JobId, VersionId},
        storage_provider::ProviderKind,
    },
    fault,
    store::{
        Tx, events, version_tags,
        versions::{self, NewVersion},
    },
};

/// Longest message, in characters.
const MESSAGE: usize = 10_000;
/// Most entries of a version's metadata.
const METADATA: usize = 64;
/// How long changes of files are gathered before open pages hear of them.
const TELLING: Duration = Duration::from_secs(1);

/// A version that somebody wants to begin.
#[derive(Debug, Clone, Default)]
pub struct VersionDraft {
    pub message: String,
    pub metadata: BTreeMap<String, String>,
    pub tags: Vec<String>,
    /// A version of the dataset, or a reference to a version of another.
    pub parent: Option<String>,
    /// The run that it is made of.
    pub made_by: Option<JobId>,
    pub note: Option<String>,
}

/// What of a version is to be different.
#[derive(Debug, Clone, Default)]
pub struct VersionChange {
    pub message: Option<String>,
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A version with what it holds at the moment.
#[derive(Debug, Clone)]
pub struct VersionNow {
    pub dataset: Dataset,
    pub version: Version,
    /// Unknown while the bucket of a draft cannot be listed.
    pub totals: Option<Totals>,
}

impl Services {
    /// Begins a version: empty, or with the files of its parent.
    pub async fn create_version(
        &self,
        caller: &Caller,
        named: DatasetRef,
        draft: VersionDraft,
    ) -> Result<VersionNow, ServiceError> {
        self.create_version_and(caller, named, draft, |_, _| Ok(())).await.map(|(version, ())| version)
    }

    /// Begins a version as [`Services::create_version`] does, and writes what else `also` says in the same
    /// transaction.
    pub(super) async fn create_version_and<T: Send + 'static>(
        &self,
        caller: &Caller,
        named: DatasetRef,
        draft: VersionDraft,
        also: impl FnOnce(&Tx<'_>, &Resolved) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<(VersionNow, T), ServiceError> {
        caller.may(Action::ChangeDataset)?;
        let message = check_lines("message", draft.message, MESSAGE)?;
        check_metadata(&draft.metadata)?;
        for tag in &draft.tags {
            check_tag_name("tags", tag)?;
        }
        self.check_quota(&caller.team, 0)?;
        let (ids, asker, parent) = (Arc::clone(&self.ids), caller.clone(), draft.parent);
        let (dataset, id, parent) = self
            .store
            .read(move |connection| {
                let dataset = references::to_change(connection, &asker, &named)?;
                let parent = match parent {
                    Some(text) => find_parent(connection, &asker, &dataset, &text)?,
                    None => None,
                };
                let mut id = VersionId::mint(&*ids);
                while versions::is_known(connection, dataset.seq, &id)? {
                    id = VersionId::mint(&*ids);
                }
                Ok::<_, ServiceError>((dataset, id, parent))
            })
            .await?;
        let home = self.home(&dataset, &id).await?;
        let making = home.begin(&dataset.provider).await?;
        // Before the row: what has none and lies around is removed by the collector.
        let begun = match &parent {
            None => home.create().await,
            Some(parent) => {
                let from = self.home(&parent.dataset, &parent.version.id).await?;
                home.create_from(&from).await
            }
        };
        let totals = match begun {
            Ok(totals) => totals,
            Err(error) => {
                home.discard().await;
                return Err(error);
            }
        };
        if let Some(parent) = &parent
            && parent.version.totals.is_some_and(|recorded| recorded != totals)
        {
            home.discard().await;
            return Err(parent_gone(&parent.version.id));
        }
        fault::point("version.create.before");
        let new = NewVersion {
            dataset: dataset.seq,
            id,
            user: caller.user.clone(),
            message,
            metadata: draft.metadata,
            parent: parent.map(|parent| parent.version.seq),
            made_by: draft.made_by,
            note: draft.note,
        };
        let (services, caller, tags) = (self.clone(), caller.clone(), draft.tags);
        let row = self.store.write(move |tx| {
            let found = services.add_version(tx, &caller, new, &tags)?;
            let beside = also(tx, &found)?;
            Ok::<_, ServiceError>((found, beside))
        });
        let row = row.await;
        fault::point("version.create.after");
        let (found, beside) = match row {
            Ok(found) => found,
            Err(error) => {
                home.discard().await;
                return Err(error);
            }
        };
        if let Some(making) = making
            && let Err(error) = blocking(move || making.is_made()).await
        {
            tracing::warn!(%error, "the next collection notes that a version was made");
        }
        if home.s3.is_none()
            && let Ok(alone) = self.gates.alone(found.version.seq).await
        {
            alone.counted(totals);
        }
        Ok((VersionNow { dataset: found.dataset, version: found.version, totals: Some(totals) }, beside))
    }

    fn add_version(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        new: NewVersion,
        tags: &[String],
    ) -> Result<Resolved, ServiceError> {
        let now = self.clock.now();
        // Deleted meanwhile, its files may have gone while they were taken.
        if let Some(parent) = new.parent
            && versions::get(tx, parent)?.is_none()
        {
            return Err(parent_gone("that it was to begin with"));
        }
        let seq = versions::insert(tx, &new, now)?;
        for tag in tags {
            tags::refuse_too_many(tx, new.dataset, tag)?;
            version_tags::set(tx, new.dataset, tag, seq, now)?;
        }
        let version = versions::get(tx, seq)?.ok_or_else(|| ServiceError::not_found("version", &new.id))?;
        // Deleted meanwhile, it is not found.
        let dataset = references::to_change(tx, caller, &DatasetRef::Id(version.dataset.clone()))?;
        self.tell_version(tx, &version, "created", json!({}))?;
        Ok(Resolved { dataset, version })
    }

    /// Returns one version.
    pub async fn version(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<VersionNow, ServiceError> {
        let found = self.find_version(caller, dataset, version).await?;
        self.now_of(found).await
    }

    /// Returns the version that a reference means.
    pub async fn resolve(&self, caller: &Caller, named: Reference) -> Result<VersionNow, ServiceError> {
        let found = self.find_version(caller, named.dataset, named.version).await?;
        self.now_of(found).await
    }

    pub(super) async fn find_version(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<Resolved, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        self.store.read(move |connection| references::resolve(connection, &team, &Reference { dataset, version })).await
    }

    /// Finds a version of the caller's team whose files may change.
    pub(super) async fn find_draft(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<Resolved, ServiceError> {
        caller.may(Action::UploadData)?;
        let caller = caller.clone();
        self.store
            .read(move |connection| {
                let dataset = references::to_change(connection, &caller, &dataset)?;
                let version = references::version(connection, &caller.team, &dataset, &version)?;
                match version.state {
                    VersionState::Uncommitted => Ok(Resolved { dataset, version }),
                    VersionState::Committed => Err(committed(&version)),
                }
            })
            .await
    }

    /// Lists the versions of a dataset, newest first; of another team's, those that are committed.
    pub async fn versions(
        &self,
        caller: &Caller,
        named: DatasetRef,
        state: Option<VersionState>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<VersionNow>, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        let (dataset, found) = self
            .store
            .read(move |connection| {
                let dataset = references::dataset(connection, &team, &named)?;
                let state = if dataset.team == team { state } else { Some(VersionState::Committed) };
                let found = versions::list(connection, dataset.seq, state, before, limit)?.into_iter();
                let found = found.map(|version| references::seen_by(connection, &team, version));
                Ok::<_, ServiceError>((dataset, found.collect::<Result<Vec<_>, _>>()?))
            })
            .await?;
        let mut shown = Vec::with_capacity(found.len());
        for version in found {
            shown.push(self.now_of(Resolved { dataset: dataset.clone(), version }).await?);
        }
        Ok(shown)
    }

    /// Adds what a version holds at the moment.
    pub(super) async fn now_of(&self, found: Resolved) -> Result<VersionNow, ServiceError> {
        let totals = match found.version.totals.or_else(|| self.gates.totals(found.version.seq)) {
            Some(totals) => Some(totals),
            None => self.count(&found).await?,
        };
        Ok(VersionNow { dataset: found.dataset, version: found.version, totals })
    }

    /// Counts the files of an uncommitted version: on this disk once after a start; in a bucket, to
    /// which anybody may write, each time.
    pub(super) async fn count(&self, found: &Resolved) -> Result<Option<Totals>, ServiceError> {
        let home = self.home(&found.dataset, &found.version.id).await;
        if found.dataset.provider_kind == ProviderKind::S3 {
            let counted = match home {
                Ok(home) => home.totals().await,
                Err(error) => Err(error),
            };
            // What else is known of it can be shown without the bucket.
            return Ok(counted.inspect_err(|error| tracing::debug!(%error, "a draft cannot be counted")).ok());
        }
        let home = home?;
        let Ok(alone) = self.pass_alone(found).await else {
            // Committed or deleted since it was looked up; who asks again hears what it holds.
            return home.totals().await.map(Some);
        };
        if let Some(totals) = alone.totals() {
            return Ok(Some(totals));
        }
        let totals = home.totals().await?;
        alone.counted(totals);
        Ok(Some(totals))
    }

    /// Gives a version another message or other metadata, committed or not: neither is part of its
    /// files.
    pub async fn change_version(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        change: VersionChange,
    ) -> Result<VersionNow, ServiceError> {
        caller.may(Action::ChangeDataset)?;
        let message = change.message.map(|text| check_lines("message", text, MESSAGE)).transpose()?;
        if let Some(metadata) = &change.metadata {
            check_metadata(metadata)?;
        }
        let (services, caller) = (self.clone(), caller.clone());
        let found = self
            .store
            .write(move |tx| {
                let dataset = references::to_change(tx, &caller, &dataset)?;
                let version = references::version(tx, &caller.team, &dataset, &version)?;
                let message = message.unwrap_or_else(|| version.message.clone());
                let metadata = change.metadata.unwrap_or_else(|| version.metadata.clone());
                versions::update(tx, version.seq, &message, &metadata, services.clock.now())?;
                services.tell_version(tx, &version, "changed", json!({}))?;
                let version = references::version(tx, &caller.team, &dataset, &VersionRef::Id(version.id))?;
                Ok::<_, ServiceError>(Resolved { dataset, version })
            })
            .await?;
        self.now_of(found).await
    }

    /// Deletes a version. Its files go when nothing mounts them any more.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] `in_use`, naming what uses it, unless `force` is set.
    pub async fn delete_version(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        force: bool,
    ) -> Result<(), ServiceError> {
        caller.may(Action::DeleteDataset)?;
        let (services, caller) = (self.clone(), caller.clone());
        let seq = self
            .store
            .write(move |tx| {
                let dataset = references::to_change(tx, &caller, &dataset)?;
                let version = references::version(tx, &caller.team, &dataset, &version)?;
                let obstacles = Obstacles::of_version(tx, &version)?;
                if !force {
                    obstacles.refuse(&format!("version {}:{}", dataset.name, version.id))?;
                }
                versions::delete(tx, version.seq, services.clock.now())?;
                services.tell_version(tx, &version, "deleted", obstacles.record())?;
                Ok::<_, ServiceError>(version.seq)
            })
            .await?;
        self.gates.close(seq);
        Ok(())
    }

    /// Tells open pages of a change to a version, in the transaction of the change.
    pub(crate) fn tell_version(
        &self,
        tx: &Tx<'_>,
        version: &Version,
        change: &'static str,
        mut data: serde_json::Value,
    ) -> Result<(), ServiceError> {
        data["dataset"] = json!(version.dataset);
        Ok(events::append(tx, &version.team, "version", version.id.as_str(), change, data, self.clock.now())?)
    }

    /// Tells open pages, in a moment and once for many, that files of a version have changed.
    pub(crate) fn tell_progress(&self, version: &Version) {
        if !self.gates.begin_telling(version.seq) {
            return;
        }
        let (services, version) = (self.clone(), version.clone());
        tokio::spawn(async move {
            tokio::time::sleep(TELLING).await;
            services.gates.end_telling(version.seq);
            let data = match services.gates.totals(version.seq) {
                Some(totals) => json!({ "files": totals.files, "bytes": totals.bytes }),
                None => json!({}),
            };
            let store = services.store.clone();
            let told = store.write(move |tx| {
                versions::touch(tx, version.seq, services.clock.now())?;
                services.tell_version(tx, &version, "progress", data)
            });
            if let Err(error) = told.await {
                tracing::debug!(%error, "nobody was told of changed files");
            }
        });
    }
}

fn parent_gone(parent: impl std::fmt::Display) -> ServiceError {
    let message = format!("the version {parent} was deleted, or is not whole any more: choose another parent");
    ServiceError::Conflict { code: "parent_gone", message }
}

/// What adding to a committed version is answered with.
pub(super) fn committed(version: &Version) -> ServiceError {
    let message = format!(
        "version {0} is committed and never changes again: begin another one, perhaps with this one as its parent",
        version.id
    );
    ServiceError::Conflict { code: "version_committed", message }
}

/// Finds the version that a new one begins with. `latest` of a dataset that has no version at all is none, so
/// that a script which adds to what is there works the first time as well.
fn find_parent(
    connection: &rusqlite::Connection,
    caller: &Caller,
    dataset: &Dataset,
    text: &str,
) -> Result<Option<Resolved>, ServiceError> {
    let found = match references::near(connection, &caller.team, dataset, "parent", text) {
        // A draft may hold what the asker takes for the latest: that is to be told.
        Err(ServiceError::NotFound { kind: "version", .. })
            if text == LATEST && versions::list(connection, dataset.seq, None, None, 1)?.is_empty() =>
        {
            return Ok(None);
        }
        found => found?,
    };
    if found.version.state == VersionState::Uncommitted {
        let message = format!("version {} still changes: commit it first", found.version.id);
        return Err(ServiceError::Conflict { code: "version_not_committed", message });
    }
    if found.version.damaged_at.is_some() {
        let message = format!(
            "files of version {} are damaged on the disk, and a version that begins with them would be too: send them again and have them mended (gradientd fsck), or begin with another version",
            found.version.id
        );
        return Err(ServiceError::Conflict { code: "version_damaged", message });
    }
    if found.dataset.team != dataset.team || found.dataset.provider != dataset.provider {
        let message = "a parent lies with the same team on the same storage provider: import its files instead";
        return Err(Invalid::new("parent", "parent_elsewhere", message).into());
    }
    Ok(Some(found))
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Invalid> {
    if metadata.len() > METADATA {
        let message = format!("metadata has more than {METADATA} entries: keep the rest in a file");
        return Err(Invalid::new("metadata", "too_many", message));
    }
    for (key, value) in metadata {
        check_text("metadata", key.clone(), 128)?;
        check_lines(&format!("metadata.{key}"), value.clone(), 4096)?;
    }
    Ok(())
}
