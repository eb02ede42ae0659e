//! From what somebody wrote to the dataset and version that it means. What a team may not see is not
//! there: the answer is the same as for a name that nobody ever used.

use rusqlite::Connection;

use super::{Invalid, ServiceError};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{Dataset, DatasetRef, InvalidReference, PUBLIC, Reference, Version, VersionRef},
        id::TeamId,
        user_path::shown,
    },
    store::{datasets, versions},
};

/// A version with the dataset that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub dataset: Dataset,
    pub version: Version,
}

/// Reads a reference out of the field `field` of a request.
///
/// # Errors
/// [`Invalid`] with the code `bad_reference`.
pub fn parse<T: std::str::FromStr<Err = InvalidReference>>(field: &str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|error| Invalid::new(field, "bad_reference", format!("“{}” {error}", shown(text.as_bytes()))))
}

/// Finds the dataset that `named` means to a team: its own, or a public one.
///
/// # Errors
/// [`ServiceError::NotFound`].
pub fn dataset(connection: &Connection, team: &TeamId, named: &DatasetRef) -> Result<Dataset, ServiceError> {
    let found = match named {
        DatasetRef::Id(id) => datasets::by_id(connection, id)?,
        DatasetRef::Name(name) => datasets::by_name(connection, team, name)?,
        DatasetRef::Public(name) => datasets::public_by_name(connection, name)?,
    };
    found
        .filter(|dataset| dataset.team == *team || dataset.public)
        .ok_or_else(|| ServiceError::not_found("dataset", named))
}

/// Finds the version of a dataset that `named` means, committed or not.
///
/// # Errors
/// [`ServiceError::NotFound`]; of another team's dataset the committed ones alone are there.
pub fn version(
    connection: &Connection,
    team: &TeamId,
    dataset: &Dataset,
    named: &VersionRef,
) -> Result<Version, ServiceError> {
    let found = match named {
        VersionRef::Latest => versions::latest(connection, dataset.seq)?,
        VersionRef::Id(id) => versions::by_id(connection, dataset.seq, id)?,
        VersionRef::Tag(tag) => versions::by_tag(connection, dataset.seq, tag)?,
    };
    let found = found.filter(|version| dataset.team == *team || version.committed_at.is_some());
    let found = found.map(|version| seen_by(connection, team, version)).transpose()?;
    found.ok_or_else(|| match named {
        VersionRef::Latest => {
            ServiceError::not_found("version", format!("of “{}” that is committed: commit one first", dataset.name))
        }
        _ => ServiceError::not_found("version", format!("{named} of “{}”", dataset.name)),
    })
}

/// Leaves out of a version what it says of another one that the team may not see.
///
/// # Errors
/// When the store cannot be read.
pub fn seen_by(connection: &Connection, team: &TeamId, mut version: Version) -> Result<Version, ServiceError> {
    if version.parent.is_some() && version.team != *team && !versions::may_see_parent(connection, team, version.seq)? {
        version.parent = None;
    }
    Ok(version)
}

/// Finds the version that a reference means to a team, committed or not.
///
/// # Errors
/// [`ServiceError::NotFound`].
pub fn resolve(connection: &Connection, team: &TeamId, named: &Reference) -> Result<Resolved, ServiceError> {
    let dataset = dataset(connection, team, &named.dataset)?;
    let version = version(connection, team, &dataset, &named.version)?;
    Ok(Resolved { dataset, version })
}

/// Finds the version that `text`, of the field `field`, means to somebody who looks at `dataset`: a short
/// word may be a version or tag of it or the name of another dataset, and what is nearer counts.
///
/// # Errors
/// [`ServiceError::NotFound`], of the version where the word is neither; [`Invalid`] with the code
/// `bad_reference`.
pub fn near(
    connection: &Connection,
    team: &TeamId,
    dataset: &Dataset,
    field: &str,
    text: &str,
) -> Result<Resolved, ServiceError> {
    let Ok(named) = text.parse::<VersionRef>() else { return resolve(connection, team, &parse(field, text)?) };
    let no_version = match version(connection, team, dataset, &named) {
        Ok(version) => return Ok(Resolved { dataset: dataset.clone(), version }),
        Err(error @ ServiceError::NotFound { .. }) => error,
        Err(error) => return Err(error),
    };
    // `latest` is no dataset that somebody forgot to make.
    match parse(field, text).map(|whole| resolve(connection, team, &whole)) {
        Ok(Err(ServiceError::NotFound { kind: "dataset", .. })) | Err(_) => Err(no_version),
        Ok(found) => found,
    }
}

/// Finds a dataset that the caller may change.
///
/// # Errors
/// [`ServiceError::Forbidden`] for a public one of another team, [`ServiceError::Denied`] for a public
/// one of their own without the scope that publishing needs: every team gets what is changed.
pub fn to_change(connection: &Connection, caller: &Caller, named: &DatasetRef) -> Result<Dataset, ServiceError> {
    let dataset = dataset(connection, &caller.team, named)?;
    if dataset.team != caller.team {
        let message =
            format!("“{PUBLIC}{}” is kept by another team: make a dataset of your own of its files", dataset.name);
        return Err(ServiceError::Forbidden(message));
    }
    if dataset.public {
        caller.may(Action::PublishDataset)?;
    }
    Ok(dataset)
}

/// Returns the newest version of every public dataset that has one, by name: what every run gets.
pub fn newest_public(connection: &Connection) -> Result<Vec<Resolved>, ServiceError> {
    let mut found = Vec::new();
    for dataset in datasets::public(connection)? {
        if let Some(version) = versions::latest(connection, dataset.seq)? {
            found.push(Resolved { dataset, version });
        }
    }
    Ok(found)
}
