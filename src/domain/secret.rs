//! A secret as lists show it: never its value.

use super::{
    id::{ProjectId, SecretId},
    time::Timestamp,
};

/// What is known of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEntry {
    pub seq: i64,
    pub id: SecretId,
    pub name: String,
    pub scope: SecretScope,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Whose jobs can use a secret. The narrower one of two of one name is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretScope {
    /// All jobs of this box, whatever their team.
    Box,
    Team,
    Project(ProjectId),
}

impl SecretScope {
    /// Returns the scope's word, as the API writes it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Team => "team",
            Self::Project(_) => "project",
        }
    }

    /// Returns the project, where it is one's.
    pub fn project(&self) -> Option<&ProjectId> {
        match self {
            Self::Project(project) => Some(project),
            Self::Box | Self::Team => None,
        }
    }
}

/// A name that no secret can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a secret's name begins with a letter and goes on with letters, digits and underscores, 128 at most")]
pub struct InvalidSecretName;

/// Checks the name of a secret.
///
/// # Errors
/// [`InvalidSecretName`], which does not repeat the text.
pub fn check_name(name: &str) -> Result<(), InvalidSecretName> {
    let good = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if good { Ok(()) } else { Err(InvalidSecretName) }
}
