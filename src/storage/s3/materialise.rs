//! Bringing a committed version to the disk: what the team's blobs have is linked, the rest is read from
//! the bucket, many files at a time, each compared with its hash before it is linked. A tree that
//! stands in its place is whole. What a broken try has brought stays among the blobs, so the next one
//! goes on from there.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{FilesError, S3Error, S3Files, bucket::Got, files::blocking};
use crate::{
    domain::{
        content::{Content, Entry, EntryKind, Totals},
        user_path::UserPath,
    },
    fault,
    storage::dataset::{Staged, TreeError},
};

/// Files that come at the same time.
const AT_ONCE: usize = 12;
/// Files up to this size come into memory first, and are written in one go.
const SMALL: u64 = 1 << 20;
/// Pieces of a larger file that wait for the disk. A piece is what one read of a connection gives,
/// some ten KiB.
const WAITING: usize = 32;

/// How far it is.
#[derive(Default)]
struct Done {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl S3Files {
    /// Brings the version's files to its tree on this disk. One that is there already stays as it is.
    ///
    /// # Errors
    /// [`FilesError::Differs`] and [`FilesError::Gone`] name an object that is not what was committed;
    /// [`FilesError::Cancelled`]; [`TreeError::Full`].
    pub async fn materialise(
        &self,
        progress: impl Fn(Totals),
        cancel: &CancellationToken,
    ) -> Result<Totals, FilesError> {
        let manifest = self.manifest().await?;
        let totals = manifest.totals();
        let local = self.local.clone();
        let staged = blocking(move || if local.tree().exists() { Ok(None) } else { local.stage().map(Some) }).await?;
        let Some(staged) = staged.map(Arc::new) else { return Ok(totals) };
        let done = Arc::new(Done::default());

        let (sender, mut missing) = mpsc::channel(AT_ONCE);
        let (tree, counted) = (Arc::clone(&staged), Arc::clone(&done));
        let linking =
            tokio::task::spawn_blocking(move || link_what_is_here(manifest.entries(), &tree, &counted, &sender));
        let mut coming = JoinSet::new();
        let mut all_known = false;
        while !all_known || !coming.is_empty() {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(FilesError::Cancelled),
                Some(brought) = coming.join_next() => brought.map_err(std::io::Error::other)??,
                entry = missing.recv(), if !all_known && coming.len() < AT_ONCE => match entry {
                    Some((path, content)) => {
                        let (files, staged, done) = (self.clone(), Arc::clone(&staged), Arc::clone(&done));
                        coming.spawn(async move {
                            files.bring(staged, path, content).await?;
                            done.add(content.bytes);
                            Ok::<_, FilesError>(())
                        });
                    }
                    None => all_known = true,
                },
            }
            progress(done.totals());
        }
        linking.await.map_err(std::io::Error::other)??;
        fault::point("s3.all-brought");
        // First the files, then the name that says that they are whole.
        self.local.blobs().durable().await?;
        let staged = Arc::into_inner(staged).expect("all who filled it are done");
        let local = self.local.clone();
        blocking(move || staged.become_tree(&local)).await?;
        fault::point("s3.materialised");
        progress(totals);
        Ok(totals)
    }

    /// Brings the bytes of one file to the blobs again, of which this disk has lost them. A tree that
    /// lost them too is left as it is.
    ///
    /// # Errors
    /// As of [`S3Files::materialise`].
    pub async fn bring_back(&self, path: &UserPath, content: &Content) -> Result<(), FilesError> {
        let local = self.local.clone();
        let staged = Arc::new(blocking(move || local.stage()).await?);
        self.bring(staged, path.clone(), *content).await
    }

    /// Brings one file, and links it.
    async fn bring(&self, staged: Arc<Staged>, path: UserPath, content: Content) -> Result<(), FilesError> {
        let key = self.key(&path)?;
        // The same bytes may have come under another path meanwhile.
        let (tree, at) = (Arc::clone(&staged), path.clone());
        if blocking(move || tree.tree().link_known(&at, &content)).await?.is_some() {
            return Ok(());
        }
        let got = match self.bucket.get(&key, None, None).await {
            Err(S3Error::NotFound(_)) => return Err(FilesError::Gone(key)),
            got => got?,
        };
        let brought = if got.object.bytes <= SMALL {
            small(got, staged, path, content).await
        } else {
            large(got, staged, path, content).await
        };
        fault::point("s3.file-brought");
        match brought {
            Err(FilesError::Tree(TreeError::HashMismatch { expected, found })) => {
                Err(FilesError::Differs { key, expected, found })
            }
            done => done,
        }
    }
}

/// Links all entries whose bytes are among the blobs, and hands on the others.
fn link_what_is_here(
    entries: impl Iterator<Item = std::io::Result<Entry>>,
    staged: &Staged,
    done: &Done,
    missing: &mpsc::Sender<(UserPath, Content)>,
) -> Result<(), FilesError> {
    for entry in entries {
        let entry = entry?;
        match &entry.kind {
            EntryKind::File(content) => {
                if staged.tree().link_known(&entry.path, content)?.is_none() {
                    if missing.blocking_send((entry.path, *content)).is_err() {
                        // Nobody waits for them any more.
                        return Ok(());
                    }
                    continue;
                }
            }
            link @ EntryKind::Link(_) => {
                staged.tree().put(&entry.path, link)?;
            }
        }
        done.add(entry.bytes());
    }
    Ok(())
}

async fn small(got: Got, staged: Arc<Staged>, path: UserPath, content: Content) -> Result<(), FilesError> {
    let pieces: Vec<Bytes> = got.stream.try_collect().await?;
    blocking(move || {
        let mut writer = staged.tree().blobs().writer()?;
        for piece in &pieces {
            writer.write(piece)?;
        }
        staged.tree().put_written(&path, writer, content.executable, Some(&content.hash))?;
        Ok(())
    })
    .await
}

async fn large(mut got: Got, staged: Arc<Staged>, path: UserPath, content: Content) -> Result<(), FilesError> {
    // `None` says that it is whole; a channel that only ends, that it is not.
    let (sender, mut receiver) = mpsc::channel::<Option<Bytes>>(WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = staged.tree().blobs().writer()?;
        while let Some(piece) = receiver.blocking_recv() {
            let Some(piece) = piece else {
                staged.tree().put_written(&path, writer, content.executable, Some(&content.hash))?;
                return Ok(());
            };
            writer.write(&piece)?;
        }
        Err(FilesError::Cancelled)
    });
    let mut fault = None;
    while let Some(piece) = got.stream.next().await {
        match piece {
            Ok(piece) => {
                if sender.send(Some(piece)).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                fault = Some(error);
                break;
            }
        }
    }
    if fault.is_none() {
        let _ = sender.send(None).await;
    }
    drop(sender);
    let written = writing.await.map_err(std::io::Error::other)?;
    fault.map_or(written, |error| Err(error.into()))
}

impl Done {
    fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn totals(&self) -> Totals {
        Totals { files: self.files.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}
