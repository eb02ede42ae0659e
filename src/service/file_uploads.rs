//! Large files of notebooks and of `/storage`, piece by piece: what came stays, whatever breaks off.

use std::{fs::File, io::Write, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{
    Invalid, ServiceError, Services, blocking,
    dataset_files::{check_new_path, cut_off},
    files::{FileWork, of_files},
    quota::STEP,
    streams::paced,
};
use crate::{
    domain::{
        caller::Caller,
        file_root::FileRoot,
        id::{FileUploadId, TeamId},
        time::Timestamp,
        user_path::UserPath,
    },
    storage::files::{Condition, FileEntry, FilesError, PartFile, Parts},
};

/// Most files of a team that are on their way piece by piece.
const MOST: usize = 100;
/// How long a file is kept of which nothing comes.
pub const KEPT: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);
/// The directory of such files among what arrives.
const PARTS: &str = "parts";
const HELD: &str = "no code panics while it holds this lock";

/// A file that is to come piece by piece.
#[derive(Debug, Clone)]
pub struct NewUpload {
    pub path: UserPath,
    /// Its whole size.
    pub bytes: u64,
    pub executable: Option<bool>,
    pub condition: Condition,
}

/// A file that is on its way.
#[derive(Debug, Clone)]
pub struct UploadNow {
    pub id: FileUploadId,
    pub path: UserPath,
    pub bytes: u64,
    /// Bytes that are there.
    pub offset: u64,
    /// When it is forgotten, if nothing more comes.
    pub expires_at: Timestamp,
}

impl UploadNow {
    fn new((file, offset, last): (PartFile, u64, Timestamp)) -> Self {
        Self {
            path: UserPath::from_bytes(&file.path).unwrap_or_default(),
            id: file.id,
            bytes: file.bytes,
            offset,
            expires_at: last.plus(KEPT),
        }
    }
}

/// Held by who sends a piece of a file, or ends it.
struct Turn {
    work: Arc<FileWork>,
    id: FileUploadId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.work.busy.lock().expect(HELD).remove(&self.id);
    }
}

impl Services {
    /// Begins a file that comes piece by piece.
    pub async fn begin_file_upload(
        &self,
        caller: &Caller,
        root: &FileRoot,
        new: NewUpload,
    ) -> Result<UploadNow, ServiceError> {
        check_new_path("path", &new.path)?;
        let opened = self.files_to_change(caller, root).await?;
        self.refuse_large_file(Some(new.bytes))?;
        self.check_quota(&opened.team, new.bytes)?;
        let (data, team) = (self.data.clone(), opened.team);
        let file = PartFile {
            id: FileUploadId::mint(&*self.ids),
            root: root.to_string(),
            path: new.path.as_bytes().to_vec(),
            bytes: new.bytes,
            executable: new.executable,
            overwrite: new.condition != Condition::New,
            if_match: match new.condition {
                Condition::Unchanged(state) => Some(state),
                _ => None,
            },
        };
        blocking(move || {
            let parts = Parts::at(&data.create_team_arriving(&team, PARTS)?);
            if parts.list()?.len() >= MOST {
                let message = format!("{MOST} files of your team are on their way piece by piece, which is the most: finish or delete some");
                return Err(ServiceError::TooMany { code: "too_many_uploads", message });
            }
            parts.begin(&file)?;
            Ok(UploadNow::new(parts.get(&file.id)?))
        })
        .await
    }

    /// Lists the files that are on their way to a tree.
    pub async fn file_uploads(&self, caller: &Caller, root: &FileRoot) -> Result<Vec<UploadNow>, ServiceError> {
        self.files_to_change(caller, root).await?;
        let (parts, root) = (self.parts(&caller.team), root.to_string());
        let all = blocking(move || parts.list()).await?;
        Ok(all.into_iter().filter(|(file, ..)| file.root == root).map(UploadNow::new).collect())
    }

    /// Looks at a file that is on its way.
    pub async fn file_upload(
        &self,
        caller: &Caller,
        root: &FileRoot,
        id: &FileUploadId,
    ) -> Result<UploadNow, ServiceError> {
        self.files_to_change(caller, root).await?;
        Ok(UploadNow::new(self.find_upload(&caller.team, root, id).await?))
    }

    /// Takes the next piece of a file, which begins after `offset` bytes. What of it came before it broke
    /// off is kept.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] with `wrong_offset` when not so many bytes are there, and `upload_busy`
    /// while another piece of it comes.
    pub async fn append_to_upload<E: std::fmt::Display>(
        &self,
        caller: &Caller,
        root: &FileRoot,
        id: &FileUploadId,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<UploadNow, ServiceError> {
        let opened = self.files_to_change(caller, root).await?;
        let turn = self.turn(id)?;
        let (file, ..) = self.find_upload(&opened.team, root, id).await?;
        let _stream = self.stream()?;
        let path = UserPath::from_bytes(&file.path).unwrap_or_default();
        let (parts, at) = (self.parts(&opened.team), id.clone());
        let data = blocking(move || parts.go_on(&at, offset)).await.map_err(|error| of_files(error, &path))?;
        let room = file.bytes - offset.min(file.bytes);
        let came = self.append(&opened.team, data, room, paced(body)).await;
        drop(turn);
        came.map_err(|error| {
            error.unwrap_or_else(|| {
                Invalid::new(
                    "body",
                    "too_many_bytes",
                    format!("the file was said to have {} bytes, and more came", file.bytes),
                )
                .into()
            })
        })?;
        Ok(UploadNow::new(self.find_upload(&opened.team, root, id).await?))
    }

    /// Writes what comes, up to `room` bytes; `None` for more. What came is on the disk afterwards, also
    /// when it broke off.
    async fn append<E: std::fmt::Display>(
        &self,
        team: &TeamId,
        mut data: File,
        mut room: u64,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<(), Option<ServiceError>> {
        let (mut gathered, mut ahead) = (Vec::new(), 0u64);
        let mut ended = None;
        while ended.is_none() {
            match body.next().await {
                Some(Ok(piece)) if piece.len() as u64 > room => ended = Some(Err(None)),
                Some(Ok(piece)) => {
                    room -= piece.len() as u64;
                    gathered.extend_from_slice(&piece);
                }
                Some(Err(error)) => ended = Some(Err(Some(cut_off(error)))),
                None => ended = Some(Ok(())),
            }
            if gathered.len() >= GATHERED || (ended.is_some() && !gathered.is_empty()) {
                let bytes = gathered.len() as u64;
                if bytes > ahead {
                    self.take(team, STEP.max(bytes)).map_err(Some)?;
                    ahead += STEP.max(bytes);
                }
                ahead -= bytes;
                let full = std::mem::replace(&mut gathered, Vec::with_capacity(GATHERED));
                let written = blocking(move || data.write_all(&full).map(|()| data)).await;
                data = written.map_err(|error| Some(error.into()))?;
                crate::fault::point("files.upload.piece");
            }
        }
        blocking(move || data.sync_data()).await.map_err(|error| Some(error.into()))?;
        ended.unwrap_or(Ok(()))
    }

    /// Gives a file that is whole its place. Returns also whether it took the place of another.
    pub async fn finish_file_upload(
        &self,
        caller: &Caller,
        root: &FileRoot,
        id: &FileUploadId,
    ) -> Result<(FileEntry, bool), ServiceError> {
        let opened = self.files_to_change(caller, root).await?;
        let turn = self.turn(id)?;
        let (file, ..) = self.find_upload(&opened.team, root, id).await?;
        let path = UserPath::from_bytes(&file.path).unwrap_or_default();
        let (parts, at) = (self.parts(&opened.team), path.clone());
        let placed = blocking(move || {
            let _turn = turn;
            let condition = match (&file.if_match, file.overwrite) {
                (Some(state), _) => Condition::Unchanged(state.clone()),
                (None, true) => Condition::Any,
                (None, false) => Condition::New,
            };
            let (incoming, mut data) = parts.whole(&file)?;
            let placed = opened.tree.place(incoming, &mut data, &at, &condition, file.executable)?;
            // It has its place; what a failure leaves here expires.
            let _ = parts.remove(&file.id);
            Ok(placed)
        });
        placed.await.map_err(|error| match error {
            FilesError::OtherOffset { there } => ServiceError::Conflict {
                code: "upload_incomplete",
                message: format!("only {there} bytes of it are there: send the rest first"),
            },
            error => of_files(error, &path),
        })
    }

    /// Forgets a file that is on its way.
    pub async fn abort_file_upload(
        &self,
        caller: &Caller,
        root: &FileRoot,
        id: &FileUploadId,
    ) -> Result<(), ServiceError> {
        self.files_to_change(caller, root).await?;
        let turn = self.turn(id)?;
        self.find_upload(&caller.team, root, id).await?;
        let (parts, id) = (self.parts(&caller.team), id.clone());
        blocking(move || {
            let _turn = turn;
            parts.remove(&id)
        })
        .await?;
        Ok(())
    }

    pub(super) fn parts(&self, team: &TeamId) -> Parts {
        Parts::at(&self.data.team_arriving(team).join(PARTS))
    }

    async fn find_upload(
        &self,
        team: &TeamId,
        root: &FileRoot,
        id: &FileUploadId,
    ) -> Result<(PartFile, u64, Timestamp), ServiceError> {
        let (parts, root, id) = (self.parts(team), root.to_string(), id.clone());
        let name = id.clone();
        let found = blocking(move || parts.get(&id)).await;
        match found {
            Ok(found) if found.0.root == root => Ok(found),
            Ok(_) => Err(ServiceError::not_found("file upload", name)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ServiceError::not_found("file upload", name))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn turn(&self, id: &FileUploadId) -> Result<Turn, ServiceError> {
        if self.files.busy.lock().expect(HELD).insert(id.clone()) {
            return Ok(Turn { work: Arc::clone(&self.files), id: id.clone() });
        }
        let message = format!("a piece of {id} is coming already, or it is being ended: try again in a moment");
        Err(ServiceError::Conflict { code: "upload_busy", message })
    }

    /// Removes what nobody goes on with, and what earlier runs of the daemon have left half done. Blocks.
    pub(crate) fn tidy_arriving(&self, team: &TeamId) -> std::io::Result<()> {
        let before = self.clock.now().minus(KEPT);
        for id in self.parts(team).expire(before)? {
            tracing::info!(%id, "a file of which nothing more came is forgotten");
        }
        let arriving = match crate::storage::beneath::Beneath::open(&self.data.team_arriving(team)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            arriving => arriving?,
        };
        let mut left = Vec::new();
        arriving.each_name(|name| {
            if name != PARTS.as_bytes() && name != self.files.run.as_bytes() {
                left.push(name.to_vec());
            }
            Ok(())
        })?;
        left.iter().try_for_each(|name| arriving.remove_tree(name))
    }
}

/// Bytes that are gathered before they are written.
const GATHERED: usize = 1 << 20;
