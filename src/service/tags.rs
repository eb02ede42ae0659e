//! Tags of versions: set, move, remove.

use serde_json::json;

use super::{Invalid, ServiceError, Services, references};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{DatasetRef, VersionRef, VersionTag, check_tag},
        import::Import,
        user_path::shown,
    },
    store::{Tx, datasets, version_tags, versions},
};

/// Most tags of a dataset.
const MOST: u32 = 10_000;

impl Services {
    /// Lists the tags of a dataset by name.
    pub async fn tags(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<VersionTag>, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        self.store
            .read(move |connection| {
                let dataset = references::dataset(connection, &team, &dataset)?;
                let committed = dataset.team != team;
                Ok(version_tags::list(connection, dataset.seq, committed, after.as_deref(), limit)?)
            })
            .await
    }

    /// Points a tag to a version, whatever it pointed to before.
    pub async fn set_tag(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        tag: String,
        version: String,
    ) -> Result<VersionTag, ServiceError> {
        caller.may(Action::ChangeDataset)?;
        check_tag_name("tag", &tag)?;
        let version: VersionRef = references::parse("version", &version)?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let dataset = references::to_change(tx, &caller, &dataset)?;
                let version = references::version(tx, &caller.team, &dataset, &version)?;
                refuse_too_many(tx, dataset.seq, &tag)?;
                let now = services.clock.now();
                version_tags::set(tx, dataset.seq, &tag, version.seq, now)?;
                services.tell_version(tx, &version, "changed", json!({ "tag": tag }))?;
                Ok(VersionTag { name: tag, version: version.id, updated_at: now })
            })
            .await
    }

    /// Points the tags at a version that it was to get when an import had brought it.
    ///
    /// # Errors
    /// When the store cannot be written; a tag too many is left out.
    pub(crate) fn tag_imported(&self, tx: &Tx<'_>, import: &Import) -> Result<(), ServiceError> {
        let Some(version) = versions::get(tx, import.version_seq)? else { return Ok(()) };
        let Some(dataset) = datasets::by_id(tx, &version.dataset)? else { return Ok(()) };
        // It may have become public since the import was asked for.
        if dataset.public && !import.may_publish {
            tracing::warn!(import.id = %import.id, "a version of a public dataset gets no tags from who may not publish");
            return Ok(());
        }
        for tag in &import.tags {
            if let Err(error) = refuse_too_many(tx, dataset.seq, tag) {
                tracing::warn!(import.id = %import.id, %error, "a version does not get a tag that it was to have");
                continue;
            }
            version_tags::set(tx, dataset.seq, tag, version.seq, self.clock.now())?;
            self.tell_version(tx, &version, "changed", json!({ "tag": tag }))?;
        }
        Ok(())
    }

    /// Removes a tag; its version stays.
    pub async fn delete_tag(&self, caller: &Caller, dataset: DatasetRef, tag: String) -> Result<(), ServiceError> {
        caller.may(Action::ChangeDataset)?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let dataset = references::to_change(tx, &caller, &dataset)?;
                let missing = || ServiceError::not_found("tag", shown(tag.as_bytes()));
                if !version_tags::exists(tx, dataset.seq, &tag)? {
                    return Err(missing());
                }
                let version = references::version(tx, &caller.team, &dataset, &VersionRef::Tag(tag.clone()))?;
                version_tags::delete(tx, dataset.seq, &tag)?;
                services.tell_version(tx, &version, "changed", json!({ "tag": tag }))?;
                Ok(())
            })
            .await
    }
}

/// Refuses one tag more than a dataset may have; one that it has can be moved.
pub(super) fn refuse_too_many(tx: &Tx<'_>, dataset: i64, tag: &str) -> Result<(), ServiceError> {
    if !version_tags::exists(tx, dataset, tag)? && version_tags::count(tx, dataset)? >= MOST {
        let message = format!("a dataset has {MOST} tags at most: remove some, or use metadata");
        return Err(ServiceError::TooMany { code: "too_many_tags", message });
    }
    Ok(())
}

pub(super) fn check_tag_name(field: &str, tag: &str) -> Result<(), Invalid> {
    check_tag(tag)
        .map_err(|error| Invalid::new(field, "bad_tag", format!("the tag “{}” {error}", shown(tag.as_bytes()))))
}
