//! The files of a version: put, fetched, listed, removed.
//!
//! A large file comes in pieces that go to a thread through a short queue, so that however many come
//! at once, little of them is in memory. Its bytes are stored without anybody being kept out of the
//! version; only to give them their place is the version's gate passed.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::{io::AsyncReadExt, sync::mpsc};

use super::{
    Invalid, ServiceError, Services, blocking,
    quota::{Room, STEP},
    references::Resolved,
    s3_versions::{of_files, of_files_at},
    signed_urls::Signed,
    streams::paced,
    version_gates::Shared,
    version_home::{FileFound, Home, HomePage, of_tree, of_tree_at, writable},
};
use crate::{
    domain::{
        caller::Caller,
        content::{Content, ContentHash, Totals},
        dataset::{DatasetRef, VersionRef},
        user_path::UserPath,
    },
    storage::{
        dataset::{BlobWriter, ListQuery, Replaced, TreeError},
        s3::{FilesError, Offered, S3Files},
    },
};

/// A file of up to so many bytes is stored in one step, without a thread of its own.
const SMALL: usize = 1 << 20;
/// Pieces that wait for the disk, of some hundreds of KiB at most.
const PIECES: usize = 8;
/// Most files that are named at once in the hope that they are stored already.
pub const MOST_KNOWN: usize = 10_000;

/// A file that is to be put.
#[derive(Debug, Clone)]
pub struct FileDraft {
    pub path: UserPath,
    pub executable: bool,
    /// The hash that its bytes must have.
    pub expected: Option<ContentHash>,
    /// Its size, if the client says.
    pub announced: Option<u64>,
}

/// A file that was put.
#[derive(Debug, Clone, Copy)]
pub struct FilePut {
    pub content: Content,
    /// Whether something else was there before.
    pub replaced: bool,
}

/// A file that may be stored already.
#[derive(Debug, Clone)]
pub struct KnownFile {
    pub path: UserPath,
    pub hash: ContentHash,
    pub executable: bool,
}

/// Which of some files were stored already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub linked: u64,
    /// Places, in the question, of those that have to be sent.
    pub missing: Vec<usize>,
}

impl Services {
    /// Puts a file into an uncommitted version as it comes, in the place of whatever file is there. It
    /// is on the disk when this returns; broken off, it leaves nothing.
    pub async fn put_file<E: std::fmt::Display>(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        file: FileDraft,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<FilePut, ServiceError> {
        check_new_path("path", &file.path)?;
        let found = self.find_draft(caller, dataset, version).await?;
        self.put_as(&found, file, paced(body), true).await
    }

    /// Puts a file into a version, for work in the background: of that so little goes on at once that it
    /// is not counted among the bodies of clients, but a source has to keep their pace.
    pub(crate) async fn put_found<E: std::fmt::Display>(
        &self,
        found: &Resolved,
        file: FileDraft,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<FilePut, ServiceError> {
        self.put_as(found, file, paced(body), false).await
    }

    /// Puts a file into a version. A large one that `counts` is refused when too many come.
    async fn put_as<E: std::fmt::Display>(
        &self,
        found: &Resolved,
        file: FileDraft,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
        counts: bool,
    ) -> Result<FilePut, ServiceError> {
        let team = &found.dataset.team;
        self.refuse_large_file(file.announced)?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        // A small one that goes to a bucket is not on this disk on its way.
        if home.s3.is_none() || file.announced.is_some_and(|bytes| bytes > SMALL as u64) {
            self.check_quota(team, file.announced.unwrap_or(0))?;
        }
        self.refuse_beyond_limit(found, &home, &file.path).await?;

        let mut gathered = Vec::with_capacity(file.announced.map_or(0, |bytes| bytes.min(SMALL as u64)) as usize);
        while gathered.len() <= SMALL {
            match body.next().await {
                Some(piece) => gathered.extend_from_slice(&piece.map_err(cut_off)?),
                None => {
                    if let Some(files) = &home.s3 {
                        let whole = stream::iter([Ok::<_, std::io::Error>(Bytes::from(gathered))]);
                        return self.put_s3(found, &home, files, file, whole).await;
                    }
                    self.take(team, gathered.len() as u64)?;
                    return self.put_small(found, home, file, gathered).await;
                }
            }
        }
        let (rest, first) = (body, Bytes::from(gathered));
        let _stream = counts.then(|| self.stream()).transpose()?;
        // Till this returns: what a bucket gets is on this disk first.
        let mut passing = self.passing(team);
        let room = if home.s3.is_some() { Room::Passing(&mut passing) } else { Room::Kept(team) };
        let writer = self.receive(room, &home, first, rest).await?;
        if let Some(files) = &home.s3 {
            // All of it is here before any goes on: a slow sender holds neither the gate nor the memory
            // that all uploads to S3 share.
            let spooled = blocking(move || writer.spooled()).await.map_err(of_tree)?;
            return self.put_s3(found, &home, files, file, pieces_of(spooled)).await;
        }
        // Others may have filled it since.
        self.refuse_beyond_limit(found, &home, &file.path).await?;
        let pass = self.pass(found).await?;
        let (files, path) = (home.files.clone(), file.path.clone());
        let put = blocking(move || {
            writable(&files)?;
            let (content, replaced) = files.put_written(&file.path, writer, file.executable, file.expected.as_ref())?;
            Ok::<_, TreeError>(note(&pass, content, &replaced))
        });
        self.finish(found, &home, put.await.map_err(|error| of_tree_at(error, &path))?).await
    }

    /// Puts a file into a bucket. The gate is passed all the while: what is stored there after a commit
    /// would change what was committed.
    pub(super) async fn put_s3<E: std::fmt::Display + 'static>(
        &self,
        found: &Resolved,
        home: &Home,
        files: &S3Files,
        file: FileDraft,
        body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<FilePut, ServiceError> {
        let pass = self.pass(found).await?;
        let local = home.files.clone();
        blocking(move || writable(&local)).await.map_err(of_tree)?;
        let body = body.map(|piece| piece.map_err(|error| std::io::Error::other(error.to_string())));
        let limit = self.datasets.limits().max_file_bytes;
        let (files, path) = (files.clone(), file.path.clone());
        // The pass goes along: should nobody wait for the answer any more, the store may still be at
        // work, and what it does has to be over before a commit.
        let putting = tokio::spawn(async move {
            let put = files.put(&file.path, file.executable, body, limit, file.expected).await;
            drop(pass);
            put
        });
        let put = putting.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if matches!(put, Err(FilesError::S3(_))) {
            self.probes.doubt(&found.dataset.provider);
        }
        let (content, replaced) = put.map_err(|error| of_files_at(error, &path))?;
        self.tell_progress(&found.version);
        Ok(FilePut { content, replaced })
    }

    async fn put_small(
        &self,
        found: &Resolved,
        home: Home,
        file: FileDraft,
        bytes: Vec<u8>,
    ) -> Result<FilePut, ServiceError> {
        if let Some(expected) = file.expected {
            let found = ContentHash(*blake3::hash(&bytes).as_bytes());
            if found != expected {
                return Err(of_tree(TreeError::HashMismatch { expected, found }));
            }
        }
        let pass = self.pass(found).await?;
        let (files, path) = (home.files.clone(), file.path.clone());
        // The pass goes along: should nobody wait for the answer any more, the work still ends behind
        // the gate.
        let put = blocking(move || {
            writable(&files)?;
            let (content, replaced) = files.put_small(&file.path, &bytes, file.executable)?;
            Ok::<_, TreeError>(note(&pass, content, &replaced))
        });
        self.finish(found, &home, put.await.map_err(|error| of_tree_at(error, &path))?).await
    }

    /// Waits until what was put is on the disk.
    async fn finish(&self, found: &Resolved, home: &Home, put: FilePut) -> Result<FilePut, ServiceError> {
        home.blobs.durable().await?;
        self.tell_progress(&found.version);
        Ok(put)
    }

    /// Refuses a file that is announced as larger than this box takes, before any of it comes.
    pub(super) fn refuse_large_file(&self, announced: Option<u64>) -> Result<(), ServiceError> {
        let limit = self.datasets.limits().max_file_bytes;
        if announced.is_some_and(|bytes| bytes > limit) { Err(of_tree(TreeError::TooLarge { limit })) } else { Ok(()) }
    }

    /// Writes what comes to a file that has no name yet.
    async fn receive<E: std::fmt::Display>(
        &self,
        room: Room<'_>,
        home: &Home,
        first: Bytes,
        rest: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<BlobWriter, ServiceError> {
        let blobs = home.blobs.clone();
        let writer = blocking(move || blobs.writer()).await.map_err(of_tree)?;
        let sink = |writer: &mut BlobWriter, piece: &[u8]| writer.write(piece);
        self.pour(room, writer, sink, first, rest).await.map_err(|error| error.or(of_tree))
    }

    /// Hands what comes to `sink`, on a thread of its own, and returns what it was poured into. Bytes
    /// are taken of `room` before they are written.
    pub(super) async fn pour<T, W, E>(
        &self,
        mut room: Room<'_>,
        mut into: T,
        sink: impl Fn(&mut T, &[u8]) -> Result<(), W> + Send + 'static,
        first: Bytes,
        mut rest: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<T, Poured<W>>
    where
        T: Send + 'static,
        W: Send + 'static,
        E: std::fmt::Display,
    {
        let (pieces, mut waiting) = mpsc::channel::<Bytes>(PIECES);
        let writing = tokio::task::spawn_blocking(move || {
            while let Some(piece) = waiting.blocking_recv() {
                sink(&mut into, &piece)?;
            }
            Ok(into)
        });
        let mut ahead = 0u64;
        let mut next = Some(Ok(first));
        let stopped = loop {
            match next {
                None => break None,
                Some(Err(error)) => break Some(cut_off(error)),
                Some(Ok(piece)) => {
                    let bytes = piece.len() as u64;
                    if bytes > ahead {
                        if let Err(error) = self.take_of(&mut room, STEP.max(bytes)) {
                            break Some(error);
                        }
                        ahead += STEP.max(bytes);
                    }
                    ahead -= bytes;
                    // The writer has ended with an error of its own, which is told below.
                    if pieces.send(piece).await.is_err() {
                        break None;
                    }
                }
            }
            next = rest.next().await;
        };
        drop(pieces);
        let written = writing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        match stopped {
            Some(error) => Err(Poured::Stopped(error)),
            None => written.map_err(Poured::Sink),
        }
    }

    /// Opens a file of a version.
    pub async fn open_file(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        path: &UserPath,
    ) -> Result<FileFound, ServiceError> {
        let found = self.find_version(caller, dataset, version).await?;
        self.home(&found.dataset, &found.version.id).await?.open_file(path).await
    }

    /// Opens a file for whoever shows a URL that was signed for reading it.
    ///
    /// # Errors
    /// As [`Self::signer`] and [`Self::open_file`].
    pub async fn open_signed_file(
        &self,
        signed: &Signed,
        shown: &ContentHash,
        path: &UserPath,
    ) -> Result<FileFound, ServiceError> {
        let found = self.signed_version(signed, shown).await?;
        self.home(&found.dataset, &found.version.id).await?.open_file(path).await
    }

    /// Lists files of a version, in the order of their paths' bytes.
    pub async fn files(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        query: ListQuery,
    ) -> Result<HomePage, ServiceError> {
        let found = self.find_version(caller, dataset, version).await?;
        self.home(&found.dataset, &found.version.id).await?.list(query).await
    }

    /// Removes a file, a link, or a directory with all that is in it, from an uncommitted version.
    pub async fn delete_file(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        path: UserPath,
    ) -> Result<Totals, ServiceError> {
        self.remove_from(caller, (dataset, version), path, false).await
    }

    /// Removes one file or link, and never a directory, from an uncommitted version.
    pub async fn delete_one_file(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        path: UserPath,
    ) -> Result<Totals, ServiceError> {
        self.remove_from(caller, (dataset, version), path, true).await
    }

    async fn remove_from(
        &self,
        caller: &Caller,
        (dataset, version): (DatasetRef, VersionRef),
        path: UserPath,
        one_file: bool,
    ) -> Result<Totals, ServiceError> {
        let found = self.find_draft(caller, dataset, version).await?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        let alone = self.pass_alone(&found).await?;
        let (files, wanted) = (home.files.clone(), path.clone());
        if let Some(bucket) = &home.s3 {
            blocking(move || writable(&files)).await.map_err(of_tree)?;
            let removed = if one_file { bucket.remove_file(&path).await } else { bucket.remove(&path).await };
            let removed = removed.map_err(|error| of_files_at(error, &path))?;
            drop(alone);
            self.tell_progress(&found.version);
            return Ok(removed);
        }
        let removed = blocking(move || {
            writable(&files)?;
            // Nobody else is in the version meanwhile, so what it is now it is when it is removed.
            if one_file && files.entry(&wanted)?.is_none() {
                return Err(TreeError::NotFound);
            }
            let removed = files.remove(&wanted)?;
            alone.changed(removed, Totals::default());
            Ok(removed)
        });
        let removed = removed.await.map_err(|error| of_tree_at(error, &path))?;
        home.blobs.durable().await?;
        self.tell_progress(&found.version);
        Ok(removed)
    }

    /// Puts those of some files whose bytes the team has stored already, and tells which must be sent.
    pub async fn put_known(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        wanted: Vec<KnownFile>,
    ) -> Result<Known, ServiceError> {
        if wanted.len() > MOST_KNOWN {
            let message = format!("{MOST_KNOWN} files are asked about at once, at most: ask again for the rest");
            return Err(Invalid::new("files", "too_many", message).into());
        }
        for (at, file) in wanted.iter().enumerate() {
            check_new_path(&format!("files[{at}].path"), &file.path)?;
        }
        let found = self.find_draft(caller, dataset, version).await?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        let mut room = self.room(&found, &home).await?;
        let pass = self.pass(&found).await?;
        if let Some(files) = &home.s3 {
            let local = home.files.clone();
            blocking(move || writable(&local)).await.map_err(of_tree)?;
            let offer = |file: KnownFile| Offered { path: file.path, hash: file.hash, executable: file.executable };
            let offered: Vec<_> = wanted.into_iter().map(offer).collect();
            let missing = files.missing(&offered).await.map_err(of_files)?;
            return Ok(Known { linked: (offered.len() - missing.len()) as u64, missing });
        }
        let (files, blobs) = (home.files.clone(), home.blobs.clone());
        let known = blocking(move || {
            writable(&files)?;
            let mut known = Known::default();
            for (at, KnownFile { path, hash, executable }) in wanted.into_iter().enumerate() {
                let linked = match blobs.size_of(&hash, executable) {
                    Some(bytes) => {
                        room.for_file(&files, &path)?;
                        let content = Content { hash, bytes, executable };
                        files.link_known(&path, &content)?.map(|replaced| note(&pass, content, &replaced))
                    }
                    None => None,
                };
                match linked {
                    Some(put) => {
                        known.linked += 1;
                        if !put.replaced {
                            room.took_one();
                        }
                    }
                    None => known.missing.push(at),
                }
            }
            Ok(known)
        });
        let known = known.await.map_err(of_tree)?;
        if known.linked > 0 {
            home.blobs.durable().await?;
            self.tell_progress(&found.version);
        }
        Ok(known)
    }
}

/// Returns what is in a file, a piece at a time.
fn pieces_of(file: std::fs::File) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(tokio::fs::File::from_std(file), |mut file| async move {
        let mut piece = bytes::BytesMut::with_capacity(256 << 10);
        let read = file.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), file)))
    })
}

/// Why not all that came was written.
pub(super) enum Poured<W> {
    Stopped(ServiceError),
    Sink(W),
}

impl<W> Poured<W> {
    /// Returns the error that it is to users.
    pub fn or(self, sink: impl FnOnce(W) -> ServiceError) -> ServiceError {
        match self {
            Self::Stopped(error) => error,
            Self::Sink(error) => sink(error),
        }
    }
}

/// Keeps count of a file that took the place of what was there.
pub(super) fn note(pass: &Shared, content: Content, replaced: &Replaced) -> FilePut {
    let before = match &replaced.entry {
        Some(entry) => Totals { files: 1, bytes: entry.bytes() },
        None => Totals::default(),
    };
    pass.changed(before, Totals { files: 1, bytes: content.bytes });
    FilePut { content, replaced: replaced.entry.is_some() }
}

/// What a body that ends too early is answered with, if anybody still listens.
pub(super) fn cut_off(error: impl std::fmt::Display) -> ServiceError {
    ServiceError::Conflict { code: "upload_cut_off", message: format!("the upload was cut off: {error}") }
}

/// Checks a path that is to be made.
///
/// # Errors
/// [`Invalid`] with the code `bad_path`.
pub fn check_new_path(field: &str, path: &UserPath) -> Result<(), Invalid> {
    path.check_fit().map_err(|unfit| Invalid::new(field, "bad_path", format!("“{path}” {unfit}")))
}
