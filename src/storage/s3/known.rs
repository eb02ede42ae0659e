//! Files of a version on S3 that need not be sent: those it has already, and those of its parent, which
//! the service copies itself.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt};

use super::{
    FilesError, S3Files,
    files::{LARGEST_COPY, blocking},
};
use crate::{
    domain::{
        content::{Content, ContentHash, EntryKind, Totals},
        user_path::UserPath,
    },
    fault,
};

/// Objects that are asked about, or asked to be copied, at the same time.
const AT_ONCE: usize = 16;

/// A file that somebody has and may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    pub path: UserPath,
    pub hash: ContentHash,
    pub executable: bool,
}

impl S3Files {
    /// Says which of `offered` have to be sent, by their places in it. The rest are in the draft with
    /// the same bytes under the same path, and are executable from now on as they were offered.
    pub async fn missing(&self, offered: &[Offered]) -> Result<Vec<usize>, FilesError> {
        let mut wanted: HashMap<String, usize> = HashMap::with_capacity(offered.len());
        for (place, file) in offered.iter().enumerate() {
            wanted.insert(self.key(&file.path)?, place);
        }
        let ledger = self.ledger();
        let index = blocking(move || ledger.open()).await?;
        let mut missing = vec![true; offered.len()];
        let mut changed = Vec::new();
        // One listing costs less than a call for each file.
        let objects = self.bucket.all(&self.folder).try_filter_map(|object| {
            let place = wanted.get(&object.key).copied();
            std::future::ready(Ok(place.map(|place| (place, object))))
        });
        let asked = objects.map(|found| async {
            let (place, object) = found?;
            Ok::<_, FilesError>(self.bucket.with_etag(object).await?.map(|object| (place, object)))
        });
        let mut found = std::pin::pin!(asked.buffered(AT_ONCE));
        while let Some(found) = found.try_next().await? {
            let Some((place, object)) = found else { continue };
            let file = &offered[place];
            match index.find(&file.path, &object)? {
                Some(known) if known.hash == file.hash => {
                    missing[place] = false;
                    if known.executable != file.executable {
                        changed.push((
                            file.path.clone(),
                            Content { executable: file.executable, ..known },
                            object.etag,
                        ));
                    }
                }
                _ => {}
            }
        }
        let ledger = self.ledger();
        blocking(move || {
            let mut writer = ledger.writer()?;
            for (path, content, etag) in &changed {
                writer.add(path, content, etag.as_deref())?;
            }
            writer.finish()
        })
        .await?;
        Ok((0..offered.len()).filter(|place| missing[*place]).collect())
    }

    /// Begins this version with all files of `parent`, which is committed and in the same bucket. The
    /// service copies them. Harmless twice, as long as nobody else writes to the version yet.
    pub async fn copy_from(&self, parent: &Self, progress: impl Fn(Totals)) -> Result<Totals, FilesError> {
        let local = self.local.clone();
        blocking(move || local.dir().create()).await?;
        let manifest = parent.manifest().await?;
        let mut copies = futures_util::stream::iter(manifest.entries())
            .map(|entry| async move {
                let entry = entry?;
                if let EntryKind::File(content) = &entry.kind {
                    self.copy_one(&parent.key(&entry.path)?, &self.key(&entry.path)?, content).await?;
                }
                Ok::<_, FilesError>(entry.bytes())
            })
            .buffer_unordered(AT_ONCE);
        let mut totals = Totals::default();
        while let Some(bytes) = copies.try_next().await? {
            totals.files += 1;
            totals.bytes += bytes;
            if totals.files == 1 {
                fault::point("s3.child-half-copied");
            }
            progress(totals);
        }
        drop(copies);
        self.note_copies(&manifest).await?;
        Ok(totals)
    }

    async fn copy_one(&self, from: &str, to: &str, content: &Content) -> Result<(), FilesError> {
        if content.bytes <= LARGEST_COPY {
            return Ok(self.bucket.copy(from, to).await?);
        }
        let got = self.bucket.get(from, None, None).await?;
        let stream = got.stream.map_err(std::io::Error::other);
        self.bucket.put(to, stream, content.bytes, Some(content.hash), Some(self.local.dir())).await?;
        Ok(())
    }

    /// Writes down the hashes of the copies: those of the originals, under the copies' own etags.
    async fn note_copies(&self, manifest: &crate::storage::dataset::Manifest) -> Result<(), FilesError> {
        let (ledger, manifest, bucket) = (self.ledger(), manifest.clone(), self.bucket.clone());
        let mut writer = blocking(move || ledger.writer()).await?;
        // Both are in the order of keys.
        let mut entries = manifest.entries();
        let mut entry = entries.next().transpose()?;
        let asked = bucket.all(&self.folder).map(|object| async { bucket.with_etag(object?).await });
        let mut objects = std::pin::pin!(asked.buffered(AT_ONCE));
        while let Some(object) = objects.try_next().await? {
            let Some(object) = object else { continue };
            let path = self.path(&object.key)?;
            while entry.as_ref().is_some_and(|entry| entry.path < path) {
                entry = entries.next().transpose()?;
            }
            if let Some(entry) = &entry
                && entry.path == path
                && let EntryKind::File(content) = &entry.kind
                && content.bytes == object.bytes
            {
                writer.add(&path, content, object.etag.as_deref())?;
            }
        }
        Ok(writer.finish()?)
    }

    pub(super) async fn manifest(&self) -> Result<crate::storage::dataset::Manifest, FilesError> {
        let local = self.local.clone();
        Ok(blocking(move || local.manifest()).await?)
    }
}
