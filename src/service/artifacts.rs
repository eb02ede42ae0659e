//! What runs leave behind for people.

use std::fs::File;

use super::{Invalid, ServiceError, Services, blocking};
use crate::{
    domain::{
        caller::{Action, Caller},
        id::JobId,
        user_path::{UserPath, shown},
    },
    storage::{
        artifact::{ArtifactPage, Artifacts, FilesPage},
        beneath::Facts,
    },
};

/// Files that somebody means by one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactName {
    /// A file, or all that is in a directory.
    Exactly(UserPath),
    /// All files whose paths begin with these bytes.
    Beginning(Vec<u8>),
}

impl ArtifactName {
    pub(super) fn means(&self, path: &UserPath) -> bool {
        match self {
            Self::Exactly(named) => {
                named.components().zip(path.components()).all(|(named, name)| named == name)
                    && named.depth() <= path.depth()
            }
            Self::Beginning(bytes) => path.as_bytes().starts_with(bytes),
        }
    }
}

/// Files that are removed between two looks.
const REMOVED_AT_ONCE: usize = 1_000;

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
    pub async fn artifact(&self, caller: &Caller, id: &JobId, path: UserPath) -> Result<(File, Facts), ServiceError> {
        let tree = self.artifact_tree(caller, id).await?;
        blocking(move || tree.file(&path).map_err(|error| of_file(error, &path))).await
    }

    /// Lists all files of a job's artifacts that one of `names` means, or all without any, after the path
    /// `after`.
    pub async fn artifact_files(
        &self,
        caller: &Caller,
        id: &JobId,
        names: Vec<ArtifactName>,
        after: UserPath,
        limit: usize,
    ) -> Result<FilesPage, ServiceError> {
        let tree = match self.artifact_tree(caller, id).await {
            Err(ServiceError::NotFound { kind: "artifacts", .. }) => return Ok(FilesPage::default()),
            other => other?,
        };
        let wanted = move |path: &UserPath| names.is_empty() || names.iter().any(|name| name.means(path));
        Ok(blocking(move || tree.files(&after, wanted, limit)).await?)
    }

    /// Removes files of a job's artifacts, or all of them without any name. The job may still run, and
    /// may write them again.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for a name that means nothing; those before it are gone then.
    pub async fn delete_artifacts(
        &self,
        caller: &Caller,
        id: &JobId,
        names: Vec<ArtifactName>,
    ) -> Result<(), ServiceError> {
        caller.may(Action::ChangeJob)?;
        let tree = match self.artifact_tree(caller, id).await {
            Err(ServiceError::NotFound { kind: "artifacts", .. }) if names.is_empty() => return Ok(()),
            other => other?,
        };
        blocking(move || {
            if names.is_empty() {
                return Ok(tree.remove(&UserPath::root())?);
            }
            names.iter().try_for_each(|name| remove(&tree, name))
        })
        .await
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

fn remove(tree: &Artifacts, name: &ArtifactName) -> Result<(), ServiceError> {
    let beginning = match name {
        ArtifactName::Exactly(path) => return tree.remove(path).map_err(|error| of_file(error, path)),
        ArtifactName::Beginning(beginning) => beginning,
    };
    let (mut after, mut found) = (UserPath::root(), false);
    loop {
        let page = tree.files(&after, |path| name.means(path), REMOVED_AT_ONCE)?;
        for file in &page.items {
            found = true;
            match tree.remove(&file.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(of_file(error, &file.path)),
                _ => {}
            }
        }
        match page.next {
            Some(next) => after = next,
            None if found => return Ok(()),
            None => return Err(ServiceError::not_found("artifact", format!("{}*", shown(beginning)))),
        }
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
