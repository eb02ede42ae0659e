//! Versions as archives: a tar stream comes in as it is sent, a version or a part of it goes out.
//!
//! What comes is stored aside without anybody being kept out of the version, and joins it at the end
//! in one step: a stream that breaks off, or has an entry that cannot be taken, leaves nothing.

use std::{
    io::{self, Read, Write},
    ops::ControlFlow,
    sync::Mutex,
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    Invalid, ServiceError, Services, blocking,
    dataset_files::{check_new_path, cut_off},
    quota,
    references::Resolved,
    s3_versions::send_tree,
    streams::paced,
    version_home::{Home, of_tree, writable},
};
use crate::{
    domain::{
        caller::Caller,
        content::Totals,
        dataset::{DatasetRef, VersionRef, VersionState},
        id::TeamId,
        time::Timestamp,
        user_path::UserPath,
    },
    storage::{
        archive::ArchiveLimits,
        bundle::BundleKind,
        dataset::{ListQuery, StagedTar, Taken, TarError, VersionFiles, export, stage_tar},
        s3::S3Files,
    },
};

/// Pieces that wait to be unpacked.
const PIECES: usize = 8;
const HELD: &str = "no code panics while it holds this lock";

/// A version, or a part of it, that is to go out as one archive.
#[derive(Debug)]
pub struct Outgoing {
    files: Files,
    prefix: UserPath,
    /// Said of every file.
    modified_at: Timestamp,
    /// What the archive is best called, without an ending.
    pub name: String,
}

#[derive(Debug)]
enum Files {
    Disk(VersionFiles),
    /// With where the bucket is spoken to.
    Bucket(S3Files, Handle),
}

impl Services {
    /// Takes all files and links of a tar stream into an uncommitted version, beneath `prefix`. They are
    /// on the disk when this returns.
    pub async fn take_tar<E: std::fmt::Display>(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        prefix: UserPath,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<Taken, ServiceError> {
        if !prefix.is_root() {
            check_new_path("prefix", &prefix)?;
        }
        let found = self.find_draft(caller, dataset, version).await?;
        let _stream = self.stream()?;
        self.take_tar_found(&found, prefix, body).await
    }

    /// Takes a tar stream into a version, for whoever has been allowed to.
    pub(crate) async fn take_tar_found<E: std::fmt::Display>(
        &self,
        found: &Resolved,
        prefix: UserPath,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<Taken, ServiceError> {
        let (team, body) = (&found.dataset.team, paced(body));
        self.check_quota(team, 0)?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        let (pieces, waiting) = mpsc::channel(PIECES);
        let (services, team, files) = (self.clone(), team.clone(), home.files.clone());
        let reading =
            tokio::task::spawn_blocking(move || services.stage(&team, &files, &prefix, Arriving::new(waiting)));
        let fed = feed(body, pieces).await;
        let staged = reading.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        // That it broke off says more than what the reader made of it.
        fed?;
        let staged = staged?;
        if let Some(files) = &home.s3 {
            let taken = self.send_s3(found, &home, files, &staged).await;
            blocking(move || drop(staged)).await;
            self.tell_progress(&found.version);
            return taken;
        }
        let taken = self.join(found, &home, staged).await?;
        home.blobs.durable().await?;
        self.tell_progress(&found.version);
        Ok(taken)
    }

    /// Reads a tar stream and stores what is in it. Blocks.
    fn stage(
        &self,
        team: &TeamId,
        files: &VersionFiles,
        prefix: &UserPath,
        reader: impl Read,
    ) -> Result<StagedTar, ServiceError> {
        let taken = Mutex::new((0u64, None));
        let watch = |totals: Totals| {
            let mut taken = taken.lock().expect(HELD);
            let (ahead, refused) = &mut *taken;
            if totals.bytes > *ahead {
                let more = (totals.bytes - *ahead).max(quota::STEP);
                match self.take(team, more) {
                    Ok(()) => *ahead += more,
                    Err(error) => {
                        *refused = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        };
        let limits = ArchiveLimits {
            max_entries: self.datasets.limits().max_version_files,
            // What does not fit cannot be meant, and a bomb is known before it has filled the disk.
            max_bytes: (*self.board.host()).as_ref().map_or(u64::MAX, |load| load.disk_free_bytes),
        };
        let staged = stage_tar(files, prefix, reader, limits, &watch);
        staged.map_err(|error| match error {
            TarError::Bad(bad) => Invalid::new("body", "bad_archive", bad.to_string()).into(),
            TarError::Tree(error) => of_tree(error),
            TarError::Stopped => taken.into_inner().expect(HELD).1.unwrap_or_else(|| cut_off("it was ended")),
        })
    }

    /// Sends what came to the version's bucket, file by file. What is there when this fails stays, and
    /// the same archive may be sent again.
    async fn send_s3(
        &self,
        found: &Resolved,
        home: &Home,
        files: &S3Files,
        staged: &StagedTar,
    ) -> Result<Taken, ServiceError> {
        let pass = self.pass(found).await?;
        let local = home.files.clone();
        blocking(move || writable(&local)).await.map_err(of_tree)?;
        let sent = send_tree(files, staged.tree()).await?;
        drop(pass);
        if let Some(message) = sent.left_out() {
            return Err(Invalid::new("body", "links_on_s3", message).into());
        }
        Ok(sent.taken)
    }

    /// Moves what came into the version, which nobody else works on meanwhile.
    async fn join(&self, found: &Resolved, home: &Home, staged: StagedTar) -> Result<Taken, ServiceError> {
        let passed = async { Ok((self.room(found, home).await?, self.pass_alone(found).await?)) };
        let (room, alone) = match passed.await {
            Ok(passed) => passed,
            Err(error) => {
                blocking(move || drop(staged)).await;
                return Err(error);
            }
        };
        let files = home.files.clone();
        let joined = blocking(move || {
            writable(&files)?;
            room.for_tree(&files, staged.tree(), staged.totals().files)?;
            let taken = staged.join(&files)?;
            alone.changed(taken.replaced, taken.totals);
            Ok(taken)
        });
        joined.await.map_err(of_tree)
    }

    /// Finds a version, or the part of it beneath `prefix`, to go out as an archive.
    pub async fn outgoing(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        prefix: UserPath,
    ) -> Result<Outgoing, ServiceError> {
        let found = self.find_version(caller, dataset, version).await?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        if !prefix.is_root() && home.file_bytes(&prefix).await?.is_none() {
            let inside = [prefix.as_bytes(), b"/"].concat();
            let query = ListQuery { prefix: inside, limit: 1, ..ListQuery::default() };
            if home.list(query).await?.items.is_empty() {
                return Err(ServiceError::not_found("file", format!("“{prefix}”")));
            }
        } else if home.s3.is_some() && found.version.state == VersionState::Uncommitted {
            // While an error can still be said: whether the bucket answers.
            home.list(ListQuery { limit: 1, ..ListQuery::default() }).await?;
        }
        Ok(Outgoing {
            files: match home.s3 {
                Some(files) => Files::Bucket(files, Handle::current()),
                None => Files::Disk(home.files),
            },
            prefix,
            modified_at: found.version.committed_at.unwrap_or(found.version.updated_at),
            name: format!("{}-{}", found.dataset.name, found.version.id),
        })
    }
}

impl Outgoing {
    /// Writes the archive. Blocks as long as the reader of `out` takes.
    ///
    /// # Errors
    /// When a file is not what the version says, or `out` takes no more; the archive is not whole then.
    pub fn write(&self, kind: BundleKind, out: impl Write) -> io::Result<()> {
        let bundled = match &self.files {
            Files::Disk(files) => export(files, &self.prefix, kind, self.modified_at, out).map_err(io::Error::other)?,
            Files::Bucket(files, runtime) => {
                files.export(&self.prefix, kind, self.modified_at, runtime, out).map_err(io::Error::other)?
            }
        };
        if bundled.left_out > 0 {
            tracing::info!(version = self.name, left_out = bundled.left_out, "a zip cannot hold all names and links");
        }
        Ok(())
    }
}

/// Hands a body to whoever reads it, piece by piece, and says at its end that it is whole.
async fn feed<E: std::fmt::Display>(
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    pieces: mpsc::Sender<Option<Bytes>>,
) -> Result<(), ServiceError> {
    while let Some(piece) = body.next().await {
        // The reader has ended, with an error or with all that it needs.
        if pieces.send(Some(piece.map_err(cut_off)?)).await.is_err() {
            return Ok(());
        }
    }
    let _ = pieces.send(None).await;
    Ok(())
}

/// A body that a thread reads as it arrives. One that is dropped half-way ends in an error.
struct Arriving {
    pieces: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    whole: bool,
}

impl Arriving {
    fn new(pieces: mpsc::Receiver<Option<Bytes>>) -> Self {
        Self { pieces, piece: Bytes::new(), whole: false }
    }
}

impl Read for Arriving {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.whole {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.whole = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload was cut off")),
            }
        }
        let length = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}
