//! What runs leave behind for people.

use std::fs::File;

use super::{Invalid, ServiceError, Services, blocking};
use crate::{
    domain::{caller::Caller, id::JobId, user_path::UserPath},
    storage::{
        artifact::{ArtifactPage, Artifacts},
        beneath::Facts,
    },
};

impl Services {
    /// Lists one directory of a job's artifacts, by name, after the name `after`.
    pub async fn artifacts(
        &self,
        caller: &Caller,
        id: &JobId,
        path: &str,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<ArtifactPage, ServiceError> {
        let path = user_path(path)?;
        let tree = match self.artifact_tree(caller, id).await {
            // A job that has not run yet has none.
            Err(ServiceError::NotFound { kind: "artifacts", .. }) if path.is_root() => {
                return Ok(ArtifactPage::default());
            }
            other => other?,
        };
        blocking(move || tree.list(&path, after.as_deref(), limit).map_err(|error| of_file(error, &path))).await
    }

    /// Opens one file of a job's artifacts.
    pub async fn artifact(&self, caller: &Caller, id: &JobId, path: &str) -> Result<(File, Facts), ServiceError> {
        let path = user_path(path)?;
        let tree = self.artifact_tree(caller, id).await?;
        blocking(move || tree.file(&path).map_err(|error| of_file(error, &path))).await
    }

    /// Opens all of a job's artifacts, to be bundled.
    pub async fn artifact_tree(&self, caller: &Caller, id: &JobId) -> Result<Artifacts, ServiceError> {
        self.find_job(caller, id).await?;
        let root = self.data.run(id).artifacts();
        let opened = blocking(move || Artifacts::open(&root)).await;
        opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                ServiceError::not_found("artifacts", format!("of {id}: it has not run yet"))
            }
            _ => error.into(),
        })
    }
}

fn user_path(path: &str) -> Result<UserPath, Invalid> {
    path.parse()
        .map_err(|error: crate::domain::user_path::InvalidPath| Invalid::new("path", "bad_path", error.to_string()))
}

fn of_file(error: std::io::Error, path: &UserPath) -> ServiceError {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::NotFound | K::NotADirectory | K::InvalidInput | K::IsADirectory => {
            ServiceError::not_found("artifact", path.to_text())
        }
        // A link where a directory should be; links are never followed.
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            ServiceError::not_found("artifact", path.to_text())
        }
        _ => error.into(),
    }
}
