//! The first start of a data directory: a team, an admin, a key.

use super::{ServiceError, Services};
use crate::{
    auth::{ApiKey, SignInToken},
    domain::{
        caller::Scope,
        id::{TeamId, UserId, random_text},
    },
    store::teams,
};

/// What the first start made.
#[derive(Debug)]
pub struct FirstStart {
    pub key: ApiKey,
    pub link: SignInToken,
}

impl Services {
    /// Makes team, admin and key where there are none; `None` at every later start.
    ///
    /// `keep` must put the key where the admin finds it, and runs before the commit: a crash between
    /// the two leaves a key file that opens nothing and is overwritten by the next start, never a key
    /// that nobody has.
    pub async fn first_start(
        &self,
        keep: impl FnOnce(&ApiKey) -> std::io::Result<()> + Send + 'static,
    ) -> Result<Option<FirstStart>, ServiceError> {
        let services = self.clone();
        self.store
            .write(move |tx| {
                if teams::box_id(tx)?.is_some() {
                    return Ok(None);
                }
                let now = services.clock.now();
                let (team, user) = (TeamId::mint(&*services.ids), UserId::mint(&*services.ids));
                teams::set_box_id(tx, &random_text(&*services.ids, 12), now)?;
                teams::insert(tx, &team, "team", now)?;
                teams::insert_user(tx, &user, &team, "admin", now)?;
                let (key, secret) = services.add_key(tx, &team, &user, "first key", Scope::Admin, None)?;
                let link = services.add_link(tx, &key.id)?;
                keep(&secret)?;
                Ok(Some(FirstStart { key: secret, link }))
            })
            .await
    }

    /// Returns the id of this data directory. There is one from the first start on.
    pub async fn box_id(&self) -> Result<String, ServiceError> {
        let id = self.store.read(teams::box_id).await?;
        id.ok_or_else(|| ServiceError::not_found("box", "identity"))
    }
}
