//! People of the team, and the admin who works at the machine itself.

use super::{ServiceError, Services, text::check_text};
use crate::{
    auth::{ApiKey, SignInToken},
    domain::{
        caller::{Action, Caller, Scope},
        id::{KeyId, UserId},
        key::Key,
        user::User,
    },
    store::{events, keys, teams},
};

/// The person whom the first start makes.
pub const FIRST_USER: &str = "admin";

impl Services {
    /// Returns a caller who may do everything, as the person `name`: whoever can open the data
    /// directory already has it all.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when nobody is called so; before the first start nobody is.
    pub async fn local_admin(&self, name: &str) -> Result<Caller, ServiceError> {
        let wanted = name.to_owned();
        let found = self.store.read(move |connection| teams::user_by_name(connection, &wanted)).await?;
        let person = found.filter(|person| !person.has_left).ok_or_else(|| nobody(name))?;
        // No key stands behind it; its id is never stored.
        Ok(Caller { user: person.id, team: person.team, key: KeyId::mint(&*self.ids), scope: Scope::Admin })
    }

    /// Adds a person to the team, with a key of theirs. Who left it comes back as the same person.
    pub async fn create_user(
        &self,
        caller: &Caller,
        name: String,
        scope: Scope,
    ) -> Result<(Key, ApiKey), ServiceError> {
        caller.may(Action::ManageUsers)?;
        let name = check_text("name", name, 64)?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let user = match teams::user_by_name(tx, &name)? {
                    None => {
                        let user = UserId::mint(&*services.ids);
                        teams::insert_user(tx, &user, &caller.team, &name, now)?;
                        user
                    }
                    Some(person) if person.has_left && person.team == caller.team => {
                        teams::set_left(tx, &person.id, None)?;
                        person.id
                    }
                    Some(_) => {
                        let message = format!("there is somebody called “{name}” already: choose another name");
                        return Err(ServiceError::Conflict { code: "name_taken", message });
                    }
                };
                events::append(tx, &caller.team, "user", user.as_str(), "created", serde_json::json!({}), now)?;
                services.add_key(tx, &caller.team, &user, "first key", scope, None)
            })
            .await
    }

    /// Lets a person go: every key of theirs ends at once, with everything that is open under it. What they
    /// made and what runs stays the team's. Returns how many keys were good.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when nobody is called so; [`ServiceError::Conflict`] for the caller
    /// themselves.
    pub async fn remove_user(&self, caller: &Caller, name: String) -> Result<usize, ServiceError> {
        caller.may(Action::ManageUsers)?;
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let found = teams::user_by_name(tx, &name)?;
                let here = found.filter(|person| !person.has_left && person.team == caller.team);
                let person = here.ok_or_else(|| nobody(&name))?;
                if person.id == caller.user {
                    let message = format!("“{name}” is who asks for this, and somebody has to stay");
                    return Err(ServiceError::Conflict { code: "yourself", message });
                }
                let now = services.clock.now();
                let mut ended = 0;
                for key in keys::list(tx, &caller.team, Some(&person.id), None, u32::MAX)? {
                    if keys::revoke(tx, &key.id, now)? {
                        events::append(
                            tx,
                            &caller.team,
                            "key",
                            key.id.as_str(),
                            "revoked",
                            serde_json::json!({}),
                            now,
                        )?;
                        ended += usize::from(key.is_good(now));
                    }
                }
                teams::set_left(tx, &person.id, Some(now))?;
                events::append(tx, &caller.team, "user", person.id.as_str(), "left", serde_json::json!({}), now)?;
                Ok(ended)
            })
            .await
    }

    /// Lists the people of the team, by name.
    pub async fn users(&self, caller: &Caller) -> Result<Vec<User>, ServiceError> {
        caller.may(Action::ManageUsers)?;
        let team = caller.team.clone();
        Ok(self.store.read(move |connection| teams::users(connection, &team)).await?)
    }

    /// Makes a link that signs one browser in as the caller, once, within minutes, under the best of
    /// their keys.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] when they have no key that is good.
    pub async fn sign_in_link_for(&self, caller: &Caller) -> Result<SignInToken, ServiceError> {
        let (services, caller) = (self.clone(), caller.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let all = keys::list(tx, &caller.team, Some(&caller.user), None, u32::MAX)?;
                let best = all.into_iter().filter(|key| key.is_good(now)).max_by_key(|key| (key.scope, key.seq));
                let Some(key) = best else {
                    let message =
                        "every key of theirs has ended, and a link needs one: make one with gradientd key create";
                    return Err(ServiceError::Conflict { code: "no_key", message: message.to_owned() });
                };
                services.add_link(tx, &key.id)
            })
            .await
    }
}

fn nobody(name: &str) -> ServiceError {
    ServiceError::not_found("person", format!("called “{name}”"))
}
