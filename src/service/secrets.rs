//! Secrets: set, list, delete. A value goes in and never comes out, but into a container that asks for
//! it by name.

use super::{Invalid, ServiceError, Services};
use crate::{
    auth::Secret,
    domain::{
        caller::{Action, Caller},
        id::{ProjectId, SecretId, TeamId},
        secret::{SecretEntry, SecretScope, check_name},
    },
    store::{events, secrets},
};

/// Longest value, in characters.
const LONGEST: usize = 8192;

/// Whose a secret is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Every team's on this box.
    Box,
    Team,
    /// A project's, by id or name.
    Project(String),
}

impl Services {
    /// Sets a secret of the team, of one project, or of the whole box. Says whether it is new.
    pub async fn set_secret(
        &self,
        caller: &Caller,
        name: String,
        value: Secret<String>,
        whose: Whose,
    ) -> Result<(SecretEntry, bool), ServiceError> {
        caller.may(if whose == Whose::Box { Action::ChangeBoxSecrets } else { Action::ChangeSecrets })?;
        check_name(&name).map_err(|error| Invalid::new("name", "bad_secret_name", error.to_string()))?;
        let length = value.reveal().chars().count();
        if length == 0 || length > LONGEST {
            let message = format!("a secret's value has 1 to {LONGEST} characters");
            return Err(Invalid::new("value", "bad_secret_value", message).into());
        }
        if value.reveal().contains('\0') {
            let message = "a secret's value has no NUL character in it: encode it, for example as base64";
            return Err(Invalid::new("value", "bad_secret_value", message).into());
        }
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let scope = match whose {
                    Whose::Box => SecretScope::Box,
                    Whose::Team => SecretScope::Team,
                    Whose::Project(named) => SecretScope::Project(Self::named_project(tx, &caller, &named)?),
                };
                let found = secrets::find(tx, &caller.team, &scope, &name)?;
                let (entry, new) = match found {
                    Some(found) => (SecretEntry { updated_at: now, ..found }, false),
                    None => {
                        let id = SecretId::mint(&*services.ids);
                        (SecretEntry { seq: 0, id, name, scope, created_at: now, updated_at: now }, true)
                    }
                };
                let sealed = services.sealer.seal(&place(&entry.id), value.reveal().as_bytes())?;
                if new {
                    secrets::insert(tx, &caller.team, &entry, &sealed)?;
                } else {
                    secrets::update(tx, &entry.id, &sealed, now)?;
                }
                let change = if new { "created" } else { "changed" };
                events::append(tx, &caller.team, "secret", entry.id.as_str(), change, serde_json::json!({}), now)?;
                Ok((entry, new))
            })
            .await
    }

    /// Lists the secrets of the team and of the box, newest first; with `project`, those that its jobs can use.
    pub async fn secrets(
        &self,
        caller: &Caller,
        project: Option<String>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<SecretEntry>, ServiceError> {
        caller.may(Action::ViewSecrets)?;
        let caller = caller.clone();
        self.store
            .read(move |connection| {
                let project = project.map(|named| Self::named_project(connection, &caller, &named)).transpose()?;
                Ok(secrets::list(connection, &caller.team, project.as_ref(), before, limit)?)
            })
            .await
    }

    /// Removes a secret. What runs keeps the value that it was started with.
    pub async fn delete_secret(&self, caller: &Caller, id: &SecretId) -> Result<(), ServiceError> {
        caller.may(Action::ChangeSecrets)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        self.store
            .write(move |tx| {
                let secret = secrets::get(tx, &caller.team, &id)?;
                let secret = secret.ok_or_else(|| ServiceError::not_found("secret", &id))?;
                if secret.scope == SecretScope::Box {
                    caller.may(Action::ChangeBoxSecrets)?;
                }
                secrets::delete(tx, &id)?;
                let now = services.clock.now();
                events::append(tx, &caller.team, "secret", id.as_str(), "deleted", serde_json::json!({}), now)?;
                Ok(())
            })
            .await
    }

    /// Returns the value that `secret:NAME` means in a project, for a container that is about to start.
    pub(crate) async fn reveal_secret(
        &self,
        team: TeamId,
        project: ProjectId,
        name: String,
    ) -> Result<Option<Secret<Vec<u8>>>, ServiceError> {
        let found = self.store.read(move |connection| secrets::sealed(connection, &team, &project, &name)).await?;
        Ok(found.map(|(id, sealed)| self.sealer.open(&place(&id), &sealed)).transpose()?)
    }
}

/// Where a sealed value belongs: it opens nowhere else.
fn place(id: &SecretId) -> Vec<u8> {
    format!("secret {id}").into_bytes()
}
