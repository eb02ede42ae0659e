//! Asks the services whom keys and sessions belong to.

use async_trait::async_trait;

use super::{KeyBook, Problem};
use crate::{
    auth::TokenHash,
    domain::{
        caller::{Caller, Scope},
        id::KeyId,
        key::Key,
    },
    service::Services,
};

#[async_trait]
impl KeyBook for Services {
    async fn by_key(&self, hash: &TokenHash) -> Result<Option<Caller>, Problem> {
        Ok(self.key_by_hash(*hash.as_bytes()).await?.map(caller))
    }

    async fn by_id(&self, key: &KeyId) -> Result<Option<Caller>, Problem> {
        Ok(self.holder(key).await?)
    }

    async fn by_session(&self, hash: &TokenHash, proof: Option<TokenHash>) -> Result<Option<Caller>, Problem> {
        let caller = self.key_by_session(*hash.as_bytes(), proof).await?.map(caller);
        // Whatever listens on another port of this host was sent the cookie too, so alone it only looks.
        Ok(caller.map(|caller| if proof.is_some() { caller } else { Caller { scope: Scope::Read, ..caller } }))
    }
}

fn caller(key: Key) -> Caller {
    Caller { user: key.user, team: key.team, key: key.id, scope: key.scope }
}
