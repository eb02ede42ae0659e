//! Committing a version on S3: what the bucket lists becomes the manifest.

use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::{
    FilesError, Object, S3Error, S3Files,
    files::blocking,
    ledger::{Index, Ledger},
};
use crate::{
    domain::{
        content::{Content, ContentHash, Entry, EntryKind, Totals},
        user_path::UserPath,
    },
    fault,
};

/// Objects that are read at the same time to be hashed.
const AT_ONCE: usize = 8;
/// Entries that wait to be written.
const WAITING: usize = 256;

impl S3Files {
    /// Writes down what is in the bucket, reading what did not come through here for its hash. One that
    /// is frozen already stays as it is. Nobody may write to the version through here meanwhile; what
    /// somebody else changes in the bucket is noticed when it is read.
    ///
    /// # Errors
    /// [`TreeError::NotADirectory`](crate::storage::dataset::TreeError) names a file `a` that stands
    /// beside `a/b`; [`S3Error::Changed`] a file that was changed while it was read. The version stays
    /// a draft then, and what was read is remembered.
    pub async fn freeze(&self, progress: impl Fn(Totals)) -> Result<Totals, FilesError> {
        let local = self.local.clone();
        if blocking(move || local.is_frozen()).await {
            return Ok(self.manifest().await?.totals());
        }
        let ledger = self.ledger();
        let index = blocking(move || ledger.open()).await?;
        let (sender, mut receiver) = mpsc::channel::<Entry>(WAITING);
        let local = self.local.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut writer = local.manifest_writer()?;
            while let Some(entry) = receiver.blocking_recv() {
                writer.push(&entry)?;
            }
            Ok::<_, FilesError>(writer)
        });
        let listed = self.send_entries(&index, sender, progress).await;
        let written = writing.await.map_err(std::io::Error::other)?;
        // An entry that could not be written stops the listing too, and says why.
        let writer = written?;
        listed?;
        fault::point("s3.manifest-written");
        let blobs = self.local.blobs().clone();
        let manifest = blocking(move || {
            let manifest = writer.finish()?;
            blobs.make_durable()?;
            Ok::<_, FilesError>(manifest)
        })
        .await?;
        fault::point("s3.frozen");
        Ok(manifest.totals())
    }

    async fn send_entries(
        &self,
        index: &Index,
        sender: mpsc::Sender<Entry>,
        progress: impl Fn(Totals),
    ) -> Result<(), FilesError> {
        let mut totals = Totals::default();
        let entries = self.bucket.all(&self.folder).map(|object| async { self.entry_of(object?, index).await });
        let mut entries = std::pin::pin!(entries.buffered(AT_ONCE));
        while let Some(entry) = entries.try_next().await? {
            let Some(entry) = entry else { continue };
            totals.files += 1;
            totals.bytes += entry.bytes();
            progress(totals);
            if sender.send(entry).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Returns what an object is; `None` for the mark of an empty directory.
    async fn entry_of(&self, object: Object, index: &Index) -> Result<Option<Entry>, FilesError> {
        let Some(object) = self.bucket.with_etag(object).await? else { return Ok(None) };
        let path = self.path(&object.key)?;
        let content = match index.find(&path, &object)? {
            Some(content) => content,
            None if self.bucket.is_marker(&object).await? => return Ok(None),
            None => self.read(&path, &object).await?,
        };
        Ok(Some(Entry { path, kind: EntryKind::File(content) }))
    }

    async fn read(&self, path: &UserPath, object: &Object) -> Result<Content, FilesError> {
        let mut got = self.bucket.get(&object.key, None, object.etag.as_deref()).await?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        while let Some(piece) = got.stream.try_next().await? {
            hasher.update(&piece);
            bytes += piece.len() as u64;
        }
        if bytes != object.bytes {
            return Err(S3Error::Changed(object.key.clone()).into());
        }
        let content = Content { hash: ContentHash(*hasher.finalize().as_bytes()), bytes, executable: false };
        let (ledger, path, etag): (Ledger, _, _) = (self.ledger(), path.clone(), object.etag.clone());
        blocking(move || ledger.add(&path, &content, etag.as_deref())).await?;
        fault::point("s3.object-hashed");
        Ok(content)
    }
}
