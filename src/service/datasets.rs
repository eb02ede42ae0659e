//! Datasets: make, look, change, delete.

use rusqlite::Connection;
use serde_json::json;

use super::{Invalid, ServiceError, Services, deleting, references, text::check_lines};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{Dataset, DatasetRef, PUBLIC, check_name},
        id::{DatasetId, ProviderId},
        storage_provider::{ProviderKind, StorageProvider},
        user_path::shown,
    },
    store::{
        Tx,
        datasets::{self, NewDataset, Taken},
        events, storage_providers, versions,
    },
};

/// Longest description, in characters.
const DESCRIPTION: usize = 10_000;

/// A dataset that somebody wants.
#[derive(Debug, Clone)]
pub struct DatasetDraft {
    pub name: String,
    pub description: Option<String>,
    /// Id or name of a storage provider; the disk of this box when left out.
    pub provider: Option<String>,
    pub public: bool,
}

/// What of a dataset is to be different.
#[derive(Debug, Clone, Default)]
pub struct DatasetChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub public: Option<bool>,
}

impl Services {
    /// Makes a dataset, without a version yet.
    pub async fn create_dataset(&self, caller: &Caller, draft: DatasetDraft) -> Result<Dataset, ServiceError> {
        caller.may(Action::CreateDataset)?;
        if draft.public {
            caller.may(Action::PublishDataset)?;
        }
        check_dataset_name(&draft.name)?;
        let description = check_lines("description", draft.description.unwrap_or_default(), DESCRIPTION)?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let provider = services.provider_named(tx, &caller, draft.provider.as_deref())?;
                if draft.public {
                    check_publishable(provider.kind)?;
                }
                refuse_taken(tx, &caller, &draft.name, draft.public, None)?;
                let new = NewDataset {
                    id: DatasetId::mint(&*services.ids),
                    team: caller.team.clone(),
                    user: caller.user.clone(),
                    provider: provider.id,
                    name: draft.name,
                    description,
                    public: draft.public,
                };
                datasets::insert(tx, &new, now)?;
                events::append(tx, &caller.team, "dataset", new.id.as_str(), "created", json!({}), now)?;
                references::dataset(tx, &caller.team, &DatasetRef::Id(new.id))
            })
            .await
    }

    /// Finds the storage provider that a text names, by id or by name.
    fn provider_named(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        named: Option<&str>,
    ) -> Result<StorageProvider, ServiceError> {
        let managed = storage_providers::managed(tx, &caller.team, || ProviderId::mint(&*self.ids), self.clock.now())?;
        let Some(named) = named else { return Ok(managed) };
        let by_id = match named.parse() {
            Ok(id) => storage_providers::get(tx, &caller.team, &id)?,
            Err(_) => None,
        };
        let found = match by_id {
            None => storage_providers::by_name(tx, &caller.team, named)?,
            found => found,
        };
        found.ok_or_else(|| {
            let message = format!(
                "there is no storage provider “{}”: leave it out for the disk of this box, or add it first",
                shown(named.as_bytes())
            );
            Invalid::new("storageProvider", "unknown_storage_provider", message).into()
        })
    }

    /// Returns one dataset, of the caller's team or public.
    pub async fn dataset(&self, caller: &Caller, named: DatasetRef) -> Result<Dataset, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        self.store.read(move |connection| references::dataset(connection, &team, &named)).await
    }

    /// Lists the datasets of the caller's team, newest first; with `part`, those that have it in their
    /// name.
    pub async fn datasets(
        &self,
        caller: &Caller,
        part: Option<String>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Dataset>, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        self.store.read(move |connection| Ok(datasets::list(connection, &team, part.as_deref(), before, limit)?)).await
    }

    /// Changes name, description or publicity. References by the old name no longer find it.
    pub async fn change_dataset(
        &self,
        caller: &Caller,
        named: DatasetRef,
        change: DatasetChange,
    ) -> Result<Dataset, ServiceError> {
        caller.may(Action::ChangeDataset)?;
        if let Some(name) = &change.name {
            check_dataset_name(name)?;
        }
        let description = change.description.map(|text| check_lines("description", text, DESCRIPTION)).transpose()?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let dataset = references::to_change(tx, &caller, &named)?;
                let public = change.public.unwrap_or(dataset.public);
                if public != dataset.public {
                    caller.may(Action::PublishDataset)?;
                }
                if public {
                    check_publishable(dataset.provider_kind)?;
                }
                let name = change.name.unwrap_or_else(|| dataset.name.clone());
                refuse_taken(tx, &caller, &name, public, Some(dataset.seq))?;
                let description = description.unwrap_or_else(|| dataset.description.clone());
                let now = services.clock.now();
                datasets::update(tx, dataset.seq, &name, &description, public, now)?;
                events::append(tx, &caller.team, "dataset", dataset.id.as_str(), "changed", json!({}), now)?;
                references::dataset(tx, &caller.team, &DatasetRef::Id(dataset.id))
            })
            .await
    }

    /// Deletes a dataset with all of its versions. Their files go when nothing mounts them any more.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] `in_use`, naming what uses it, unless `force` is set.
    pub async fn delete_dataset(&self, caller: &Caller, named: DatasetRef, force: bool) -> Result<(), ServiceError> {
        caller.may(Action::DeleteDataset)?;
        let (services, caller) = (self.clone(), caller.clone());
        let gone = self
            .store
            .write(move |tx| {
                let dataset = references::to_change(tx, &caller, &named)?;
                let now = services.clock.now();
                let mut gone = Vec::new();
                let mut obstacles = deleting::Obstacles::of_dataset(tx, &dataset)?;
                for version in all_versions(tx, dataset.seq)? {
                    obstacles.add_version(tx, &version)?;
                    gone.push(version);
                }
                // A tag keeps its version, and goes with its dataset.
                obstacles.tags.clear();
                if !force {
                    obstacles.refuse(&format!("dataset “{}”", dataset.name))?;
                }
                for version in &gone {
                    versions::delete(tx, version.seq, now)?;
                }
                datasets::delete(tx, dataset.seq, now)?;
                let data = obstacles.record();
                events::append(tx, &caller.team, "dataset", dataset.id.as_str(), "deleted", data, now)?;
                Ok::<_, ServiceError>(gone)
            })
            .await?;
        for version in gone {
            self.gates.close(version.seq);
        }
        Ok(())
    }
}

/// Returns every version of a dataset.
fn all_versions(connection: &Connection, dataset: i64) -> Result<Vec<crate::domain::dataset::Version>, ServiceError> {
    Ok(versions::list(connection, dataset, None, None, u32::MAX)?)
}

fn check_dataset_name(name: &str) -> Result<(), Invalid> {
    check_name(name).map_err(|error| Invalid::new("name", "bad_name", format!("the name {error}")))
}

fn check_publishable(kind: ProviderKind) -> Result<(), Invalid> {
    match kind {
        ProviderKind::Managed => Ok(()),
        ProviderKind::S3 => {
            let message = "only datasets on the disk of this box can be public: every run mounts them, without waiting";
            Err(Invalid::new("public", "not_managed", message))
        }
    }
}

fn refuse_taken(
    connection: &Connection,
    caller: &Caller,
    name: &str,
    public: bool,
    but: Option<i64>,
) -> Result<(), ServiceError> {
    let message = match datasets::taken(connection, &caller.team, name, public, but)? {
        None => return Ok(()),
        Some(Taken::InTeam) => format!("your team has a dataset “{name}” already: choose another name"),
        Some(Taken::Public) => format!("there is a public dataset {PUBLIC}{name} already: choose another name"),
    };
    Err(ServiceError::Conflict { code: "name_taken", message })
}
