//! Sends a stream to a bucket, never held in memory as a whole, and hashes it on the way.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use object_store::{ObjectStoreExt, PutPayload, multipart::PartId};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{FilesError, S3Bucket, bucket::path, files::blocking, parts::Upload, unfinished::Sending};
use crate::{
    domain::content::ContentHash,
    storage::{dataset::TreeError, layout::VersionDir},
};

/// What is larger goes in parts, of this size at first.
const PART: usize = 8 << 20;
/// A service takes 10,000 parts at most: after so many the rest are larger, for files of up to 328 GiB.
const SMALL_PARTS: usize = 2000;
const LARGE_PART: usize = 40 << 20;
/// Parts of one upload that are on their way at the same time.
const AT_ONCE: usize = 3;

/// How long nothing may come of a stream: it holds memory that others wait for.
const SILENCE: Duration = Duration::from_secs(60);

/// Bounds the memory that all uploads to S3 take together, in MiB, of the 150 that the daemon may take with
/// all that it does. Room for the largest part, for two uploads with all their parts, or for as many small
/// files as are ever sent at once.
static MEMORY: Semaphore = Semaphore::const_new(MEMORY_MIB);
const MEMORY_MIB: usize = 48;
const MIB: usize = 1 << 20;
const _: () = assert!(LARGE_PART <= MEMORY_MIB * MIB, "or it would wait for ever");

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub hash: ContentHash,
    pub bytes: u64,
    pub etag: Option<String>,
}

impl S3Bucket {
    /// Stores `stream` under `key`: in one call up to 8 MiB, in parts beyond. Nobody sees it before it is
    /// whole, and when it fails nothing is left of it. While parts are at the service and no object is,
    /// the directory of the version that they are `of` has a note of them.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`] beyond `limit` bytes; [`TreeError::HashMismatch`] when it is not what
    /// was `expected`.
    pub async fn put(
        &self,
        key: &str,
        stream: impl Stream<Item = io::Result<Bytes>> + Send,
        limit: u64,
        expected: Option<ContentHash>,
        of: Option<&VersionDir>,
    ) -> Result<Stored, FilesError> {
        let mut parts = Parts {
            stream: Box::pin(stream.fuse()),
            rest: Bytes::new(),
            hasher: blake3::Hasher::new(),
            bytes: 0,
            limit,
        };
        let (first, permit) = parts.next(PART).await?;
        if first.len() < PART {
            parts.compare(expected)?;
            let put = self.store.put(&path(key)?, PutPayload::from_bytes(first)).await.map_err(self.fault(key))?;
            drop(permit);
            return Ok(parts.stored(put.e_tag));
        }
        let note = match of.cloned() {
            Some(dir) => {
                let key = key.to_owned();
                Some(blocking(move || Sending::begin(&dir, &key)).await?)
            }
            None => None,
        };
        crate::fault::point("s3.multipart-noted");
        let mut upload = Upload::begin(self, key, note).await?;
        crate::fault::point("s3.multipart-begun");
        let sent = self.send_parts(key, &mut upload, &mut parts, (first, permit)).await;
        match sent.and_then(|ids| parts.compare(expected).map(|()| ids)) {
            Ok(ids) => {
                let put = upload.join(ids).await?;
                Ok(parts.stored(put.e_tag))
            }
            Err(error) => {
                upload.call_off().await;
                Err(error)
            }
        }
    }

    async fn send_parts(
        &self,
        key: &str,
        upload: &mut Upload,
        parts: &mut Parts<'_>,
        first: (Bytes, SemaphorePermit<'static>),
    ) -> Result<Vec<PartId>, FilesError> {
        let mut ids = Vec::new();
        let mut next = first;
        for number in 0.. {
            let (part, permit) = next;
            let last = part.is_empty();
            if !last {
                upload.send(number, PutPayload::from_bytes(part), permit);
            }
            while upload.on_their_way() >= AT_ONCE || last {
                let Some(sent) = upload.sent().await else { break };
                ids.push(sent.map_err(self.fault(key))?);
            }
            if last {
                break;
            }
            next = parts.next(if number + 1 < SMALL_PARTS { PART } else { LARGE_PART }).await?;
        }
        ids.sort_unstable_by_key(|(number, _)| *number);
        Ok(ids.into_iter().map(|(_, id)| id).collect())
    }
}

/// Returns how much of [`MEMORY`] so many bytes take.
fn mib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX).max(1)
}

/// Cuts a stream into parts.
struct Parts<'a> {
    stream: std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + 'a>>,
    /// What was left of the last piece.
    rest: Bytes,
    hasher: blake3::Hasher,
    bytes: u64,
    limit: u64,
}

impl Parts<'_> {
    /// Returns the next `size` bytes, or fewer at the end, with the leave to hold them.
    async fn next(&mut self, size: usize) -> Result<(Bytes, SemaphorePermit<'static>), FilesError> {
        let mut permit = MEMORY.acquire_many(mib(size)).await.expect("it is never closed");
        let mut part = BytesMut::new();
        loop {
            let take = self.rest.len().min(size - part.len());
            if part.len() + take > MIB {
                // At once: growing would hold twice as much for a moment, and leave holes behind.
                part.reserve(size - part.len());
            }
            part.extend_from_slice(&self.rest.split_to(take));
            if part.len() == size {
                break;
            }
            let Ok(piece) = tokio::time::timeout(SILENCE, self.stream.next()).await else {
                return Err(FilesError::Source(io::ErrorKind::TimedOut.into()));
            };
            match piece {
                Some(piece) => self.rest = piece.map_err(FilesError::Source)?,
                None => break,
            }
        }
        self.bytes += part.len() as u64;
        if self.bytes > self.limit {
            return Err(TreeError::TooLarge { limit: self.limit }.into());
        }
        self.hasher.update(&part);
        if part.len() <= MIB {
            // A small file lets others go on beside it.
            drop(permit.split(mib(size).saturating_sub(mib(part.len())) as usize));
        }
        Ok((part.freeze(), permit))
    }

    fn hash(&self) -> ContentHash {
        ContentHash(*self.hasher.finalize().as_bytes())
    }

    fn compare(&self, expected: Option<ContentHash>) -> Result<(), FilesError> {
        match expected {
            Some(expected) if expected != self.hash() => {
                Err(TreeError::HashMismatch { expected, found: self.hash() }.into())
            }
            _ => Ok(()),
        }
    }

    fn stored(&self, etag: Option<String>) -> Stored {
        Stored { hash: self.hash(), bytes: self.bytes, etag }
    }
}
