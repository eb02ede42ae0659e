//! A person.

use super::{id::UserId, time::Timestamp};

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub created_at: Timestamp,
}
