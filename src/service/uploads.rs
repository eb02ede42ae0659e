//! Uploads: archives that become workspaces.

use std::{io::ErrorKind, sync::Arc};

use futures_util::{Stream, StreamExt};

use super::{Invalid, ServiceError, Services, blocking, streams::paced};
use crate::{
    domain::{
        board::DiskRoom,
        caller::{Action, Caller},
        id::UploadId,
    },
    storage::upload::{Upload, UploadError},
    store::{StoreError, uploads},
};

/// Bytes that are gathered before they are written.
const PIECE: usize = 1 << 20;

impl Services {
    /// Refuses an archive that is announced as larger than this box takes, before any of it comes.
    ///
    /// # Errors
    /// [`ServiceError::TooLarge`].
    pub fn refuse_large_upload(&self, announced_bytes: Option<u64>) -> Result<(), ServiceError> {
        let limit_bytes = self.uploads.max_bytes();
        match announced_bytes {
            Some(bytes) if bytes > limit_bytes => Err(of_upload(UploadError::TooLarge { limit_bytes })),
            _ => Ok(()),
        }
    }

    /// Takes an archive as it comes, checks every entry of it, and keeps it for a day or for as long as
    /// a job names it. Broken off, it leaves nothing behind. A large one is refused when too many come.
    pub async fn upload<E: std::fmt::Display>(
        &self,
        caller: &Caller,
        body: impl Stream<Item = Result<bytes::Bytes, E>> + Unpin + Send,
    ) -> Result<Upload, ServiceError> {
        self.upload_as(caller, UploadId::mint(&*self.ids), body).await
    }

    /// Takes an archive under a name that was given out before. It comes once.
    pub async fn upload_as<E: std::fmt::Display>(
        &self,
        caller: &Caller,
        id: UploadId,
        body: impl Stream<Item = Result<bytes::Bytes, E>> + Unpin + Send,
    ) -> Result<Upload, ServiceError> {
        caller.may(Action::SubmitJob)?;
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        let (team, name) = (caller.team.clone(), id.clone());
        if self.store.read(move |connection| uploads::exists(connection, &team, &name)).await? {
            return Err(here_already());
        }
        let mut writer = self.uploads.begin(id).map_err(of_upload)?;
        let mut piece = Vec::with_capacity(PIECE);
        let (mut body, mut stream) = (paced(body), None);
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| ServiceError::Conflict {
                code: "upload_cut_off",
                message: format!("the upload was cut off: {error}"),
            })?;
            piece.extend_from_slice(&bytes);
            if piece.len() >= PIECE {
                if *self.board.disk() == DiskRoom::Full {
                    return Err(ServiceError::DiskFull);
                }
                // A small archive comes and goes at once, and is never refused for the large ones.
                if stream.is_none() {
                    stream = Some(self.stream()?);
                }
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
                writer = blocking(move || writer.write_all(&full).map(|()| writer)).await.map_err(of_upload)?;
            }
        }
        let turn = Arc::clone(&self.checking).acquire_owned().await.expect("the semaphore is never closed");
        let now = self.clock.now();
        let upload = blocking(move || {
            // Held to the end of the work, also when nobody waits for it any more.
            let _turn = turn;
            writer.write_all(&piece)?;
            writer.finish(now)
        })
        .await
        .map_err(of_upload)?;
        let (caller, id, ends) = (caller.clone(), upload.id.clone(), upload.expires_at);
        let row = self.store.write(move |tx| uploads::insert(tx, &caller.team, &caller.user, &id, now, ends)).await;
        if let Err(error) = row {
            let (uploads, id) = (self.uploads.clone(), upload.id.clone());
            // Without its row nobody can name it; what is left here the collector removes.
            let _ = blocking(move || uploads.remove(&id)).await;
            return Err(StoreError::into(error));
        }
        Ok(upload)
    }
}

fn of_upload(error: UploadError) -> ServiceError {
    match error {
        UploadError::TooLarge { limit_bytes } => ServiceError::TooLarge(format!(
            "the archive is larger than {limit_bytes} bytes, the most this box takes: leave out data and bring it another way"
        )),
        UploadError::Bad(bad) => Invalid::new("body", "bad_archive", bad.to_string()).into(),
        UploadError::DiskFull => ServiceError::DiskFull,
        UploadError::NotFound(id) => ServiceError::not_found("upload", id),
        // Two send under one name at the same time.
        UploadError::Io(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
            here_already()
        }
        UploadError::Io(error) => error.into(),
    }
}

fn here_already() -> ServiceError {
    let message = "this archive was sent already, or is being sent: ask for another address".to_owned();
    ServiceError::Conflict { code: "upload_exists", message }
}
