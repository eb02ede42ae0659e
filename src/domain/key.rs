//! A key of the API as lists show it. The key itself is known to its owner alone.

use super::{
    caller::Scope,
    id::{KeyId, TeamId, UserId},
    time::Timestamp,
};

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub seq: i64,
    pub id: KeyId,
    pub team: TeamId,
    pub user: UserId,
    pub user_name: String,
    pub name: String,
    pub scope: Scope,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Exact to a minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Key {
    /// Says whether the key opens anything at `now`.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|time| now < time)
    }
}
