//! Versions on S3, for what services and loops do with them.

use futures_util::StreamExt;
use tokio_util::io::ReaderStream;

use super::{
    Invalid, ServiceError, Services, blocking,
    version_home::{of_tree, of_tree_at},
};
use crate::{
    domain::{dataset::Dataset, id::VersionId, user_path::UserPath},
    storage::{
        dataset::{Taken, Tree, TreeError, Walk},
        s3::{FilesError, S3Error, S3Files},
    },
};

/// Bytes that are read from a file at once.
const PIECE: usize = 256 << 10;
/// Files that are sent to a bucket at the same time.
const AT_ONCE: usize = 8;

impl Services {
    /// Returns the files of a version of `dataset`, which is on an S3 provider of its team.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when the provider was deleted; a conflict for a dataset on the disk of
    /// this box.
    pub async fn s3_files(&self, dataset: &Dataset, version: &VersionId) -> Result<S3Files, ServiceError> {
        let bucket = self.bucket(&dataset.team, &dataset.provider).await?;
        let (store, team) = (self.datasets.clone(), dataset.team.clone());
        let team = blocking(move || store.team(&team)).await?;
        let local = team.version(&dataset.id, version);
        Ok(S3Files::new(bucket, &dataset.team, &dataset.id, version, local))
    }
}

/// What came of sending a tree to a bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    pub taken: Taken,
    /// Links, which S3 does not have, and which were left out.
    pub links: u64,
}

impl Sent {
    /// Says what was left out, if anything was.
    pub fn left_out(&self) -> Option<String> {
        (self.links > 0).then(|| format!("{} links were left out: S3 has none", self.links))
    }
}

/// Puts all files of a tree into a bucket, some at a time. May be done again when it fails.
pub(crate) async fn send_tree(files: &S3Files, tree: &Tree) -> Result<Sent, ServiceError> {
    let mut sent = Sent::default();
    let mut walk = Walk::through(tree.root())?;
    let entries = std::iter::from_fn(|| walk.next().transpose());
    let sending = futures_util::stream::iter(entries).map(|found| async move {
        let path = found?.path;
        let (file, content) = match tree.open_file(&path) {
            Err(TreeError::NotFound) => return Ok(None),
            opened => opened.map_err(|error| of_tree_at(error, &path))?,
        };
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
        let put = files.put(&path, content.executable, pieces, u64::MAX, Some(content.hash)).await;
        put.map(Some).map_err(|error| of_files_at(error, &path))
    });
    let mut sending = std::pin::pin!(sending.buffer_unordered(AT_ONCE));
    while let Some(one) = sending.next().await {
        match one? {
            None => sent.links += 1,
            Some((content, replaced)) => {
                sent.taken.totals.files += 1;
                sent.taken.totals.bytes += content.bytes;
                sent.taken.replaced.files += u64::from(replaced);
            }
        }
    }
    Ok(sent)
}

/// Says to users what did not work with the files of a version on S3.
pub fn of_files(error: FilesError) -> ServiceError {
    let conflict = |code, message: String| ServiceError::Conflict { code, message };
    match error {
        FilesError::S3(error) => error.into(),
        FilesError::Tree(error) => of_tree(error),
        FilesError::Source(error) => super::dataset_files::cut_off(error),
        FilesError::NoKey { .. } => Invalid::new("path", "bad_path", error.to_string()).into(),
        FilesError::Differs { .. } | FilesError::Gone(_) => conflict("damaged", error.to_string()),
        FilesError::Cancelled => conflict("cancelled", error.to_string()),
    }
}

/// Says the same of the file at `path`.
pub fn of_files_at(error: FilesError, path: &UserPath) -> ServiceError {
    match error {
        FilesError::S3(S3Error::NotFound(_)) => ServiceError::not_found("file", format!("“{path}”")),
        FilesError::Tree(error) => of_tree_at(error, path),
        other => of_files(other),
    }
}
