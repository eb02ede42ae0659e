//! Places on S3 beneath a session's `/datasets`, as files that can be read and written.

use std::collections::BTreeMap;

use anyhow::Context;

use super::Works;
use crate::{
    auth::Secret,
    domain::{
        integration::{Key, S3Source},
        workload::Workload,
    },
};

/// A place on S3 that a session is to have at `/datasets/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedS3 {
    pub name: String,
    pub source: S3Source,
}

/// What opens a place on S3.
#[derive(Debug)]
#[expect(dead_code, reason = "read by the client that mounts the place")]
pub(super) struct Keys {
    pub access_key_id: Secret<String>,
    pub secret_access_key: Secret<String>,
}

/// Makes a session have exactly these places. Done again, it finds what it made.
///
/// Returns for each name the path in the container that `/datasets/NAME` is to lead to, or why there is none,
/// in words that say what to do.
pub(super) async fn settle(
    works: &Works,
    session: &Workload,
    wanted: &[WantedS3],
) -> anyhow::Result<BTreeMap<String, Result<String, String>>> {
    let mut settled = BTreeMap::new();
    for WantedS3 { name, source } in wanted {
        let words = match keys(works, session, source).await? {
            Err(words) => words,
            Ok(_) => "S3 sources are not available on this box: import the files into a dataset instead".to_owned(),
        };
        settled.insert(name.clone(), Err(words));
    }
    Ok(settled)
}

/// Opens the secrets of a place, as they are at this moment, or says which is not there.
pub(super) async fn keys(works: &Works, session: &Workload, source: &S3Source) -> anyhow::Result<Result<Keys, String>> {
    let open = async |name: &str| -> anyhow::Result<Result<Secret<String>, String>> {
        let (team, project) = (session.team.clone(), session.project.clone());
        let found = works.services.reveal_secret(team, project, name.to_owned()).await.context("opening a secret")?;
        Ok(found.map(|value| Secret::new(String::from_utf8_lossy(value.reveal()).into_owned())).ok_or_else(|| {
            format!("there is no secret “{name}” for this project or its team: set it, or correct the name")
        }))
    };
    let access_key_id = match &source.access_key_id {
        Key::Plain(id) => Ok(Secret::new(id.clone())),
        Key::Secret(name) => open(name).await?,
    };
    let secret_access_key = open(&source.secret_access_key).await?;
    Ok(match (access_key_id, secret_access_key) {
        (Ok(access_key_id), Ok(secret_access_key)) => Ok(Keys { access_key_id, secret_access_key }),
        (Err(words), _) | (_, Err(words)) => Err(words),
    })
}
