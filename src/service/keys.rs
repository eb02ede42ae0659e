//! Keys and browser sessions: who is let in.

use std::time::Duration;

use super::{Invalid, ServiceError, Services, text::check_text};
use crate::{
    auth::{ApiKey, SessionProof, SessionToken, SignInToken, TokenHash},
    domain::{
        caller::{Action, Caller, Scope},
        id::{KeyId, TeamId, UserId},
        key::Key,
    },
    store::{StoreError, Tx, events, keys, sessions, teams},
};

/// Who is signed in, in words.
#[derive(Debug, Clone)]
pub struct WhoAmI {
    pub key: Key,
    pub team_name: String,
}

/// A browser session that was just opened.
#[derive(Debug)]
pub struct SignedIn {
    /// Goes into the cookie.
    pub token: SessionToken,
    /// Goes to the page, which shows it with all that it asks for.
    pub proof: SessionProof,
    /// How long it lasts.
    pub life: Duration,
}

impl Services {
    /// Makes a key for the caller. Its text is in the answer and nowhere else.
    pub async fn create_key(
        &self,
        caller: &Caller,
        name: String,
        scope: Scope,
        expires_in: Option<Duration>,
    ) -> Result<(Key, ApiKey), ServiceError> {
        caller.may(Action::ManageKeys)?;
        let name = check_text("name", name, 128)?;
        if expires_in.is_some_and(|span| span.is_zero() || span > Duration::from_secs(100 * 365 * 86400)) {
            let message = "expiresInSeconds is from 1 to a hundred years: leave it out for a key that does not expire";
            return Err(Invalid::new("expiresInSeconds", "out_of_range", message).into());
        }
        let (services, caller) = (self.clone(), caller.clone());
        self.store.write(move |tx| services.add_key(tx, &caller.team, &caller.user, &name, scope, expires_in)).await
    }

    pub(super) fn add_key(
        &self,
        tx: &Tx<'_>,
        team: &TeamId,
        user: &UserId,
        name: &str,
        scope: Scope,
        expires_in: Option<Duration>,
    ) -> Result<(Key, ApiKey), ServiceError> {
        let now = self.clock.now();
        let secret = ApiKey::mint(&*self.ids);
        let key = Key {
            seq: 0,
            id: KeyId::mint(&*self.ids),
            team: team.clone(),
            user: user.clone(),
            user_name: String::new(),
            name: name.to_owned(),
            scope,
            created_at: now,
            expires_at: expires_in.map(|span| now.plus(span)),
            last_used_at: None,
            revoked_at: None,
        };
        keys::insert(tx, &key, secret.hash().as_bytes())?;
        events::append(tx, team, "key", key.id.as_str(), "created", serde_json::json!({}), now)?;
        let key = keys::get(tx, &key.id)?.ok_or_else(|| ServiceError::not_found("key", &key.id))?;
        Ok((key, secret))
    }

    /// Lists keys, newest first: everybody's for those who manage keys, one's own for the others.
    pub async fn keys(&self, caller: &Caller, before: Option<i64>, limit: u32) -> Result<Vec<Key>, ServiceError> {
        caller.may(Action::ViewOwnKeys)?;
        let team = caller.team.clone();
        let user = caller.may(Action::ManageKeys).is_err().then(|| caller.user.clone());
        self.store.read(move |connection| Ok(keys::list(connection, &team, user.as_ref(), before, limit)?)).await
    }

    /// Ends a key at once, with everything that is open under it.
    pub async fn revoke_key(&self, caller: &Caller, id: &KeyId) -> Result<(), ServiceError> {
        caller.may(Action::RevokeOwnKeys)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        self.store
            .write(move |tx| {
                let missing = || ServiceError::not_found("key", &id);
                let key = keys::get(tx, &id)?.filter(|key| key.team == caller.team).ok_or_else(missing)?;
                // A smaller key of the same person must not shut a larger one out.
                if key.user != caller.user || key.scope > caller.scope {
                    caller.may(Action::ManageKeys)?;
                }
                let now = services.clock.now();
                if keys::revoke(tx, &id, now)? {
                    events::append(tx, &caller.team, "key", id.as_str(), "revoked", serde_json::json!({}), now)?;
                }
                Ok(())
            })
            .await
    }

    /// Returns the good key whose text has this hash.
    pub async fn key_by_hash(&self, hash: [u8; 32]) -> Result<Option<Key>, ServiceError> {
        let now = self.clock.now();
        let key = self.store.read(move |connection| keys::by_hash(connection, &hash)).await?;
        Ok(self.used(key.filter(|key| key.is_good(now))).await)
    }

    /// Returns the good key behind the browser session with this hash. When a proof is shown it has
    /// to be the session's.
    pub async fn key_by_session(&self, hash: [u8; 32], proof: Option<TokenHash>) -> Result<Option<Key>, ServiceError> {
        let now = self.clock.now();
        let key = self
            .store
            .read(move |connection| match sessions::key_of(connection, &hash, now)? {
                Some((id, kept)) if proof.is_none_or(|shown| shown == TokenHash::from(kept)) => {
                    keys::get(connection, &id)
                }
                _ => Ok(None),
            })
            .await?;
        Ok(self.used(key.filter(|key| key.is_good(now))).await)
    }

    /// Notes that a key is in use, once a minute.
    pub(super) async fn used(&self, key: Option<Key>) -> Option<Key> {
        let key = key?;
        let now = self.clock.now();
        if key.last_used_at.is_none_or(|time| now.since(time) > Duration::from_secs(60)) {
            let (store, id) = (self.store.clone(), key.id.clone());
            // Nobody waits for it, and when it is lost the next use writes it.
            tokio::spawn(async move { store.write(move |tx| keys::touch(tx, &id, now)).await });
        }
        Some(key)
    }

    /// Says whether a key still opens anything.
    pub async fn key_is_good(&self, id: &KeyId) -> Result<bool, ServiceError> {
        let (id, now) = (id.clone(), self.clock.now());
        let key = self.store.read(move |connection| keys::get(connection, &id)).await?;
        Ok(key.is_some_and(|key| key.is_good(now)))
    }

    /// Signs a browser in with a key.
    pub async fn sign_in(&self, key: &ApiKey) -> Result<SignedIn, ServiceError> {
        let hash = *key.hash().as_bytes();
        let services = self.clone();
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let key = keys::by_hash(tx, &hash)?.filter(|key| key.is_good(now)).ok_or(ServiceError::NotSignedIn)?;
                services.open_session(tx, &key.id)
            })
            .await
    }

    /// Signs a browser in with a link, which is used up by it.
    pub async fn sign_in_once(&self, link: &SignInToken) -> Result<SignedIn, ServiceError> {
        let hash = *link.hash().as_bytes();
        let services = self.clone();
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let id = sessions::take_once(tx, &hash, now)?.ok_or(ServiceError::NotSignedIn)?;
                keys::get(tx, &id)?.filter(|key| key.is_good(now)).ok_or(ServiceError::NotSignedIn)?;
                services.open_session(tx, &id)
            })
            .await
    }

    fn open_session(&self, tx: &Tx<'_>, key: &KeyId) -> Result<SignedIn, ServiceError> {
        let (now, life) = (self.clock.now(), self.settings.sessions_kept);
        let (token, proof) = (SessionToken::mint(&*self.ids), SessionProof::mint(&*self.ids));
        sessions::insert(tx, token.hash().as_bytes(), Some(proof.hash().as_bytes()), key, now, now.plus(life))?;
        Ok(SignedIn { token, proof, life })
    }

    /// Ends a browser session.
    pub async fn sign_out(&self, hash: [u8; 32]) -> Result<(), ServiceError> {
        Ok(self.store.write(move |tx| sessions::delete(tx, &hash)).await.map_err(|e: StoreError| e)?)
    }

    pub(super) fn add_link(&self, tx: &Tx<'_>, key: &KeyId) -> Result<SignInToken, ServiceError> {
        let now = self.clock.now();
        let token = SignInToken::mint(&*self.ids);
        let ends = now.plus(self.settings.sign_in_links_kept);
        sessions::insert(tx, token.hash().as_bytes(), None, key, now, ends)?;
        Ok(token)
    }

    /// Says who the caller is.
    pub async fn who_am_i(&self, caller: &Caller) -> Result<WhoAmI, ServiceError> {
        let caller = caller.clone();
        self.store
            .read(move |connection| {
                let key = keys::get(connection, &caller.key)?.ok_or(ServiceError::NotSignedIn)?;
                let team_name = teams::name(connection, &caller.team)?.unwrap_or_default();
                Ok(WhoAmI { key, team_name })
            })
            .await
    }
}
