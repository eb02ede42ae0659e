//! Storage providers: add, look, change, check, delete. A secret key goes in and never comes out; it is
//! opened only to speak to the service that it is for.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use super::{Invalid, ServiceError, Services, blocking, text::check_text};
use crate::{
    auth::Secret,
    domain::{
        caller::{Action, Caller},
        id::{ProviderId, TeamId, random_text},
        storage_provider::{ProviderKind, S3Place, StorageProvider},
        time::Timestamp,
    },
    storage::s3::{Reach, S3Bucket, S3Error, check::check_directory},
    store::{StoreError, Tx, events, storage_providers as providers},
};

/// Longest secret key, in characters.
const LONGEST: usize = 1024;

/// How long somebody waits for a check at most.
const CHECK: Duration = Duration::from_secs(45);

/// Datasets that a refusal names.
const NAMED: u32 = 5;

/// An S3 provider to be added.
#[derive(Debug)]
pub struct NewProvider {
    pub name: String,
    pub place: S3Place,
    pub secret_key: Secret<String>,
}

/// What is to be another way with an S3 provider; `None` stays as it is.
#[derive(Debug, Default)]
pub struct ProviderChange {
    pub name: Option<String>,
    pub bucket: Option<String>,
    /// `Some(None)` for AWS itself.
    pub endpoint: Option<Option<String>>,
    pub region: Option<String>,
    pub path_style: Option<bool>,
    pub access_key_id: Option<String>,
    pub secret_key: Option<Secret<String>>,
}

/// The buckets that were opened, so that their connections are used again. Each with the time at which
/// its provider was last changed.
#[derive(Debug, Default)]
pub struct OpenBuckets(Mutex<HashMap<ProviderId, (Timestamp, S3Bucket)>>);

impl Services {
    /// Adds an S3 provider, after writing, reading and deleting something there.
    pub async fn create_provider(&self, caller: &Caller, new: NewProvider) -> Result<StorageProvider, ServiceError> {
        caller.may(Action::ChangeProviders)?;
        let name = check_text("name", new.name, 128)?;
        let place = checked(new.place)?;
        check_secret(&new.secret_key)?;
        let (team, named) = (caller.team.clone(), name.clone());
        // Asked before the check, which takes seconds.
        if self
            .store
            .read(move |connection| Ok::<_, StoreError>(providers::by_name(connection, &team, &named)?.is_some()))
            .await?
        {
            return Err(taken(&name));
        }
        self.try_place(&caller.team, &place, &new.secret_key).await?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let provider = StorageProvider {
                    seq: 0,
                    id: ProviderId::mint(&*services.ids),
                    team: caller.team.clone(),
                    name,
                    kind: ProviderKind::S3,
                    s3: Some(place),
                    created_at: now,
                    updated_at: now,
                    checked_at: Some(now),
                    check_error: None,
                };
                let sealed = services.sealer.seal(&sealed_for(&provider.id), new.secret_key.reveal().as_bytes())?;
                // The managed one comes first in every team.
                services.managed_provider(tx, &caller.team)?;
                if !providers::insert(tx, &provider, &sealed)? {
                    return Err(taken(&provider.name));
                }
                tell(tx, &provider, "created", now)?;
                find(tx, &caller, &provider.id)
            })
            .await
    }

    /// Lists storage providers, newest first. The managed one is always among them.
    pub async fn providers(
        &self,
        caller: &Caller,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StorageProvider>, ServiceError> {
        caller.may(Action::ViewProviders)?;
        let team = caller.team.clone();
        let listed = self.store.read(move |connection| providers::list(connection, &team, before, limit)).await?;
        if before.is_some() || !listed.is_empty() {
            return Ok(listed);
        }
        let (services, team) = (self.clone(), caller.team.clone());
        Ok(vec![self.store.write(move |tx| services.managed_provider(tx, &team)).await?])
    }

    /// Returns one storage provider.
    pub async fn provider(&self, caller: &Caller, id: &ProviderId) -> Result<StorageProvider, ServiceError> {
        caller.may(Action::ViewProviders)?;
        let (caller, id) = (caller.clone(), id.clone());
        self.store.read(move |connection| find(connection, &caller, &id)).await
    }

    /// Changes an S3 provider. Another place or key is tried first; datasets on it are looked for in
    /// the new place from then on.
    pub async fn change_provider(
        &self,
        caller: &Caller,
        id: &ProviderId,
        change: ProviderChange,
    ) -> Result<StorageProvider, ServiceError> {
        caller.may(Action::ChangeProviders)?;
        let (before, old_secret) = self.s3_provider(&caller.team, id).await?;
        let mut changed = before.clone();
        if let Some(name) = change.name {
            changed.name = check_text("name", name, 128)?;
        }
        let old = before.s3.clone().ok_or_else(managed_stays)?;
        let place = checked(S3Place {
            bucket: change.bucket.unwrap_or_else(|| old.bucket.clone()),
            endpoint: change.endpoint.unwrap_or_else(|| old.endpoint.clone()),
            region: change.region.unwrap_or_else(|| old.region.clone()),
            path_style: change.path_style.unwrap_or(old.path_style),
            access_key_id: change.access_key_id.unwrap_or_else(|| old.access_key_id.clone()),
        })?;
        if let Some(secret) = &change.secret_key {
            check_secret(secret)?;
        }
        let tried = place != old || change.secret_key.is_some();
        if tried {
            self.try_place(&caller.team, &place, change.secret_key.as_ref().unwrap_or(&old_secret)).await?;
        }
        changed.s3 = Some(place);
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                if find(tx, &caller, &before.id)?.updated_at != before.updated_at {
                    let message = "somebody else changed the storage provider meanwhile: look at it, and try again";
                    return Err(ServiceError::Conflict { code: "changed_meanwhile", message: message.to_owned() });
                }
                // Buckets that are open are known by this time.
                changed.updated_at = now.max(Timestamp(before.updated_at.0 + 1));
                if tried {
                    (changed.checked_at, changed.check_error) = (Some(now), None);
                }
                let place = sealed_for(&changed.id);
                let seal = |secret: &Secret<String>| services.sealer.seal(&place, secret.reveal().as_bytes());
                let sealed = change.secret_key.as_ref().map(seal).transpose()?;
                if !providers::update(tx, &changed, sealed.as_deref())? {
                    return Err(taken(&changed.name));
                }
                tell(tx, &changed, "changed", now)?;
                find(tx, &caller, &changed.id)
            })
            .await
    }

    /// Writes, reads and deletes something on a provider and writes down what came of it.
    pub async fn check_provider(&self, caller: &Caller, id: &ProviderId) -> Result<StorageProvider, ServiceError> {
        caller.may(Action::ChangeProviders)?;
        let provider = self.provider(caller, id).await?;
        let result = match &provider.s3 {
            None => self.try_disk(&caller.team).await,
            Some(place) => {
                let (_, secret) = self.s3_provider(&caller.team, id).await?;
                self.try_bucket(&caller.team, place, &secret).await
            }
        };
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                find(tx, &caller, &provider.id)?;
                let words = result.err().map(|error| error.to_string());
                providers::set_checked(tx, &provider.id, words.as_deref(), now)?;
                tell(tx, &provider, "changed", now)?;
                find(tx, &caller, &provider.id)
            })
            .await
    }

    /// Removes an S3 provider that no dataset is on. What lies in its bucket stays there.
    pub async fn delete_provider(&self, caller: &Caller, id: &ProviderId) -> Result<(), ServiceError> {
        caller.may(Action::ChangeProviders)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        self.store
            .write(move |tx| {
                let provider = find(tx, &caller, &id)?;
                if provider.kind == ProviderKind::Managed {
                    return Err(managed_stays());
                }
                let datasets = providers::datasets_on(tx, &id, NAMED + 1)?;
                if !datasets.is_empty() {
                    return Err(in_use(&datasets));
                }
                if providers::has_leftovers(tx, &id)? {
                    let message = "files of deleted datasets still lie there: they are removed by the next collection \
                                   of garbage (POST /storage/gc), then try again";
                    return Err(ServiceError::Conflict { code: "in_use", message: message.to_owned() });
                }
                let now = services.clock.now();
                providers::delete(tx, &id, now)?;
                services.buckets.forget(&id);
                tell(tx, &provider, "deleted", now)?;
                Ok(())
            })
            .await
    }

    /// Returns the bucket of a team's S3 provider, ready to be used.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; a conflict for the managed provider, which has none.
    pub async fn bucket(&self, team: &TeamId, id: &ProviderId) -> Result<S3Bucket, ServiceError> {
        let (provider, secret) = self.s3_provider(team, id).await?;
        if let Some(open) = self.buckets.get(id, provider.updated_at) {
            return Ok(open);
        }
        let place = provider.s3.ok_or_else(managed_stays)?;
        let bucket = S3Bucket::open(&place, secret.reveal(), Reach::WORK)?;
        self.buckets.keep(id.clone(), provider.updated_at, bucket.clone());
        Ok(bucket)
    }

    /// Returns the team's provider on the disk of this box, made now if there is none yet.
    pub(crate) fn managed_provider(&self, tx: &Tx<'_>, team: &TeamId) -> Result<StorageProvider, ServiceError> {
        Ok(providers::managed(tx, team, || ProviderId::mint(&*self.ids), self.clock.now())?)
    }

    /// Reads an S3 provider with its secret key.
    async fn s3_provider(
        &self,
        team: &TeamId,
        id: &ProviderId,
    ) -> Result<(StorageProvider, Secret<String>), ServiceError> {
        let (team, id) = (team.clone(), id.clone());
        let (provider, sealed) = self
            .store
            .read(move |connection| {
                let found = providers::get(connection, &team, &id)?;
                let provider = found.ok_or_else(|| ServiceError::not_found("storage provider", &id))?;
                let sealed = providers::sealed(connection, &id)?.ok_or_else(managed_stays)?;
                Ok::<_, ServiceError>((provider, sealed))
            })
            .await?;
        let opened = self.sealer.open(&sealed_for(&provider.id), &sealed)?;
        let secret = String::from_utf8_lossy(opened.reveal()).into_owned();
        Ok((provider, Secret::new(secret)))
    }

    /// Writes, reads and deletes something in the bucket of a team's S3 provider.
    pub(super) async fn try_provider(&self, team: &TeamId, id: &ProviderId) -> Result<(), ServiceError> {
        let (provider, secret) = self.s3_provider(team, id).await?;
        let place = provider.s3.ok_or_else(managed_stays)?;
        Ok(self.try_bucket(team, &place, &secret).await?)
    }

    async fn try_place(&self, team: &TeamId, place: &S3Place, secret: &Secret<String>) -> Result<(), ServiceError> {
        let tried = self.try_bucket(team, place, secret).await;
        Ok(tried.map_err(|error| Invalid::new(error.setting(), "provider_check_failed", error.to_string()))?)
    }

    async fn try_bucket(&self, team: &TeamId, place: &S3Place, secret: &Secret<String>) -> Result<(), S3Error> {
        let bucket = S3Bucket::open(place, secret.reveal(), Reach::CHECK)?;
        let nonce = random_text(&*self.ids, 12);
        match tokio::time::timeout(CHECK, bucket.check(team.as_str(), &nonce)).await {
            Ok(checked) => checked,
            Err(_) => Err(bucket.slow()),
        }
    }

    async fn try_disk(&self, team: &TeamId) -> Result<(), S3Error> {
        let (data, team) = (self.data.clone(), team.clone());
        let made = blocking(move || data.create_team_storage(&team)).await;
        let storage = made.map_err(|error| S3Error::Settings(error.to_string()))?;
        let own = storage.parent().unwrap_or(&storage);
        check_directory(own, &random_text(&*self.ids, 12)).await
    }
}

impl OpenBuckets {
    fn get(&self, id: &ProviderId, changed: Timestamp) -> Option<S3Bucket> {
        let open = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.get(id).filter(|(known, _)| *known == changed).map(|(_, bucket)| bucket.clone())
    }

    fn keep(&self, id: ProviderId, changed: Timestamp, bucket: S3Bucket) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, (changed, bucket));
    }

    fn forget(&self, id: &ProviderId) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(id);
    }
}

fn find(connection: &rusqlite::Connection, caller: &Caller, id: &ProviderId) -> Result<StorageProvider, ServiceError> {
    providers::get(connection, &caller.team, id)
        .map_err(|error: StoreError| ServiceError::from(error))?
        .ok_or_else(|| ServiceError::not_found("storage provider", id))
}

fn tell(tx: &Tx<'_>, provider: &StorageProvider, change: &'static str, now: Timestamp) -> Result<(), StoreError> {
    let data = serde_json::json!({ "name": provider.name });
    events::append(tx, &provider.team, "storage_provider", provider.id.as_str(), change, data, now)
}

/// Checks a place in the words of the API.
pub(super) fn checked(place: S3Place) -> Result<S3Place, Invalid> {
    place.checked().map_err(|wrong| Invalid::new(wrong.field, "bad_storage_place", wrong.words))
}

/// Checks a secret key without repeating it.
pub(super) fn check_secret(secret: &Secret<String>) -> Result<(), Invalid> {
    let text = secret.reveal();
    if (1..=LONGEST).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("a secret key has 1 to {LONGEST} characters, none of them a control character");
    Err(Invalid::new("secretAccessKey", "bad_secret_key", message))
}

fn taken(name: &str) -> ServiceError {
    let message = format!("your team has a storage provider “{name}” already: choose another name");
    ServiceError::Conflict { code: "name_taken", message }
}

fn managed_stays() -> ServiceError {
    let message =
        "this is the storage of this box itself: it has no bucket and no key, and can be neither changed nor deleted";
    ServiceError::Conflict { code: "managed_provider", message: message.to_owned() }
}

fn in_use(datasets: &[String]) -> ServiceError {
    let shown = datasets.iter().take(NAMED as usize).map(|name| format!("“{name}”")).collect::<Vec<_>>().join(", ");
    let more = if datasets.len() > NAMED as usize { " and more" } else { "" };
    let message = format!("datasets are on this storage provider: {shown}{more}. Delete them first");
    ServiceError::Conflict { code: "in_use", message }
}

/// What a sealed key belongs to: it opens nowhere else.
fn sealed_for(id: &ProviderId) -> Vec<u8> {
    format!("storage provider {id}").into_bytes()
}
