//! Where the files of a version are, and what can be done to them there.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};

use super::{
    Invalid, ServiceError, Services, blocking,
    s3_versions::{of_files, of_files_at},
};
use crate::{
    domain::{
        content::{Content, Entry, EntryKind, Totals},
        dataset::Dataset,
        id::{ProviderId, VersionId},
        storage_provider::ProviderKind,
        user_path::UserPath,
    },
    fault,
    storage::{
        dataset::{Blobs, ListQuery, Listed, Multiparts, TreeError, VersionFiles},
        s3::{S3Files, S3Item, unfinished::Making},
    },
};

/// Where the files of a version are.
#[derive(Clone)]
pub struct Home {
    /// What of it is on the disk of this box: everything; or of a version on S3 its manifest once it is
    /// committed, and its copy while there is one.
    pub files: VersionFiles,
    /// The bytes of the version's team on this disk.
    pub blobs: Arc<Blobs>,
    /// The team's files that come in parts.
    pub parts: Multiparts,
    /// The version in its bucket; `None` when it is on the disk of this box.
    pub s3: Option<S3Files>,
}

/// A part of what a version holds.
#[derive(Debug, Clone, Default)]
pub struct HomePage {
    pub items: Vec<HomeItem>,
    /// What to go on after; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// Something that a version holds.
#[derive(Debug, Clone)]
pub enum HomeItem {
    Entry(Entry),
    Directory(UserPath),
    /// A file of a draft on S3 that did not come through this box.
    Unread {
        path: UserPath,
        bytes: u64,
    },
}

/// A file of up to so many bytes is read by the thread that opens it: going to another one for it takes
/// longer than reading it.
const SMALL: u64 = 64 << 10;

/// Where the bytes of a file come from.
pub enum FileSource {
    /// All of a small file.
    Read(Bytes),
    Disk(File),
    S3 {
        files: S3Files,
        path: UserPath,
    },
}

/// A file that was found.
pub struct FileFound {
    pub source: FileSource,
    pub bytes: u64,
    /// `None` for a file of a draft on S3 that did not come through this box.
    pub content: Option<Content>,
}

impl Services {
    /// Returns where the files of a version of `dataset` are, or will be.
    pub(crate) async fn home(&self, dataset: &Dataset, version: &VersionId) -> Result<Home, ServiceError> {
        let s3 = match dataset.provider_kind {
            ProviderKind::Managed => None,
            ProviderKind::S3 => Some(self.s3_files(dataset, version).await?),
        };
        // Asked for every file that comes: only the first time of a team takes a thread.
        let team = match self.datasets.known_team(&dataset.team) {
            Some(team) => team,
            None => {
                let (store, team) = (self.datasets.clone(), dataset.team.clone());
                blocking(move || store.team(&team)).await?
            }
        };
        let files = team.version(&dataset.id, version);
        Ok(Home { files, blobs: Arc::clone(team.blobs()), parts: team.multiparts(), s3 })
    }
}

impl Home {
    /// Notes that it is about to be made in a bucket of `provider`, if it is to lie in one: till it has
    /// its row, nothing else says whose its objects are.
    pub(super) async fn begin(&self, provider: &ProviderId) -> Result<Option<Making>, ServiceError> {
        if self.s3.is_none() {
            return Ok(None);
        }
        let (dir, provider) = (self.files.dir().clone(), provider.clone());
        let making = blocking(move || Making::begin(&dir, &provider)).await?;
        fault::point("s3.making-noted");
        Ok(Some(making))
    }

    /// Makes it, with nothing in it.
    pub(super) async fn create(&self) -> Result<Totals, ServiceError> {
        let (files, on_disk) = (self.files.clone(), self.s3.is_none());
        // A tree would say that there is a copy on this disk.
        let made = blocking(move || if on_disk { files.create() } else { Ok(files.dir().create()?) });
        made.await.map_err(of_tree)?;
        Ok(Totals::default())
    }

    /// Makes it with the files of `parent`, which lies with the same provider; none is copied on the
    /// disk of this box, and in a bucket the service does it.
    pub(super) async fn create_from(&self, parent: &Self) -> Result<Totals, ServiceError> {
        if let (Some(files), Some(parent)) = (&self.s3, &parent.s3) {
            return files.copy_from(parent, |_| ()).await.map_err(of_files);
        }
        let (files, blobs, parent) = (self.files.clone(), self.blobs.clone(), parent.files.clone());
        let made = blocking(move || {
            let totals = files.create_from(&parent)?;
            blobs.make_durable()?;
            Ok::<_, TreeError>(totals)
        });
        made.await.map_err(of_tree)
    }

    /// Removes what was made for a version that nobody will know of.
    pub(super) async fn discard(&self) {
        // What stays behind has no row, and is removed by the collector: also from a bucket that does
        // not answer now.
        match &self.s3 {
            Some(files) => drop(files.remove_all().await),
            None => {
                let files = self.files.clone();
                let _ = blocking(move || files.remove_all()).await;
            }
        }
    }

    /// Counts what it holds.
    pub(super) async fn totals(&self) -> Result<Totals, ServiceError> {
        if let Some(files) = &self.s3 {
            return files.totals().await.map_err(of_files);
        }
        let files = self.files.clone();
        blocking(move || files.totals()).await.map_err(of_tree)
    }

    /// Writes down, durably, all that a version holds. Whoever calls this is alone with it. What a
    /// broken commit has left is as good: who wrote since would have removed it.
    pub(super) async fn freeze(&self) -> Result<Totals, ServiceError> {
        fault::point("version.freeze.before");
        let frozen = match &self.s3 {
            Some(files) => files.freeze(|_| ()).await.map_err(of_files),
            None => {
                let files = self.files.clone();
                blocking(move || files.freeze(&|_| ())).await.map_err(of_tree)
            }
        };
        fault::point("version.freeze.after");
        frozen
    }

    /// Lists a part of what it holds.
    pub(super) async fn list(&self, query: ListQuery) -> Result<HomePage, ServiceError> {
        if let Some(files) = &self.s3 {
            let page = files.list(&query).await.map_err(of_files)?;
            return Ok(HomePage { items: page.items.into_iter().map(HomeItem::from).collect(), next: page.next });
        }
        let files = self.files.clone();
        let page = blocking(move || files.list(&query)).await.map_err(of_tree)?;
        Ok(HomePage { items: page.items.into_iter().map(HomeItem::from).collect(), next: page.next })
    }

    /// Returns the size of the file or link at a path, if there is one.
    pub(crate) async fn file_bytes(&self, path: &UserPath) -> Result<Option<u64>, ServiceError> {
        if let Some(files) = &self.s3 {
            return Ok(files.head(path).await.map_err(of_files)?.map(|(bytes, _)| bytes));
        }
        let (files, path) = (self.files.clone(), path.clone());
        Ok(blocking(move || files.entry(&path)).await.map_err(of_tree)?.map(|entry| entry.bytes()))
    }

    /// Says whether all of some files of a version on this disk are there. One thread looks for all of them:
    /// going to one for each takes longer than the looks.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] names the first that is not there.
    pub(super) async fn require_here(&self, paths: Vec<UserPath>) -> Result<(), ServiceError> {
        let files = self.files.clone();
        blocking(move || {
            let Some(first) = paths.first() else { return Ok(()) };
            let tree = files.open().map_err(|error| of_tree_at(error, first))?;
            paths.iter().try_for_each(|path| match tree.open_file(path) {
                Ok(_) => Ok(()),
                Err(TreeError::IsDirectory(_)) => Err(ServiceError::not_found("file", format!("“{path}”"))),
                Err(error) => Err(of_tree_at(error, path)),
            })
        })
        .await
    }

    /// Opens a file: on this disk where it can be, and else in its bucket.
    pub(crate) async fn open_file(&self, path: &UserPath) -> Result<FileFound, ServiceError> {
        let (files, wanted) = (self.files.clone(), path.clone());
        let on_s3 = self.s3.is_some();
        let opened = blocking(move || match files.open_file(&wanted) {
            // There is no copy on this disk.
            Err(TreeError::NotFound) if on_s3 => Ok(None),
            Ok((file, content)) if content.bytes <= SMALL => {
                Ok(Some((FileSource::Read(read(file, &content)?), content)))
            }
            opened => opened.map(|(file, content)| Some((FileSource::Disk(file), content))),
        });
        if let Some((source, content)) = opened.await.map_err(|error| of_tree_at(error, path))? {
            return Ok(FileFound { source, bytes: content.bytes, content: Some(content) });
        }
        let missing = || ServiceError::not_found("file", format!("“{path}”"));
        let files = self.s3.clone().ok_or_else(missing)?;
        let found = files.head(path).await.map_err(|error| of_files_at(error, path))?;
        let (bytes, content) = found.ok_or_else(missing)?;
        Ok(FileFound { source: FileSource::S3 { files, path: path.clone() }, bytes, content })
    }
}

impl From<Listed> for HomeItem {
    fn from(listed: Listed) -> Self {
        match listed {
            Listed::Entry(entry) => Self::Entry(entry),
            Listed::Directory(path) => Self::Directory(path),
        }
    }
}

impl From<S3Item> for HomeItem {
    fn from(item: S3Item) -> Self {
        match item {
            S3Item::File { path, content: Some(content), .. } => {
                Self::Entry(Entry { path, kind: EntryKind::File(content) })
            }
            S3Item::File { path, bytes, content: None } => Self::Unread { path, bytes },
            S3Item::Directory(path) => Self::Directory(path),
        }
    }
}

/// Reads all of a small file.
fn read(mut file: File, content: &Content) -> io::Result<Bytes> {
    let mut bytes = vec![0; content.bytes as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

/// Reads `length` bytes of a file in a bucket from `first` on; all of a file of `bytes` bytes is
/// compared with its hash on the way, if that is known.
///
/// # Errors
/// When the bucket cannot be read.
pub async fn read_s3(
    files: &S3Files,
    path: &UserPath,
    (first, length, bytes): (u64, u64, u64),
) -> Result<BoxStream<'static, io::Result<Bytes>>, ServiceError> {
    let range = (length < bytes).then(|| first..first + length);
    let got = files.get(path, range).await.map_err(|error| of_files_at(error, path))?;
    Ok(got.stream.map_err(io::Error::other).boxed())
}

/// Makes room for changes in a version whose commit was broken off: its manifest, which nothing made
/// valid, would hide them. The caller holds the version's gate.
pub(super) fn writable(files: &VersionFiles) -> Result<(), TreeError> {
    if files.is_frozen() {
        files.thaw()?;
    }
    Ok(())
}

pub(crate) fn of_tree(error: TreeError) -> ServiceError {
    let conflict = |code, message: String| ServiceError::Conflict { code, message };
    match error {
        TreeError::Full => ServiceError::DiskFull,
        TreeError::TooLarge { .. } => ServiceError::TooLarge(error.to_string()),
        TreeError::TooManyFiles { .. } => conflict(
            "too_many_files",
            format!("{error} (storage.version_files): put small files into archives, or leave some out"),
        ),
        TreeError::NotFound => ServiceError::not_found("file", "here"),
        TreeError::IsDirectory(_) => conflict("is_directory", format!("{error}: name a file in it, or another name")),
        TreeError::NotADirectory(_) => {
            conflict("not_a_directory", format!("{error}: delete the file first, or choose another name"))
        }
        TreeError::HashMismatch { .. } => {
            Invalid::new("X-Content-Blake3", "hash_mismatch", format!("{error}: nothing was kept, send it again"))
                .into()
        }
        TreeError::NotStored(_) => conflict("not_stored", format!("{error}: send them")),
        TreeError::Damaged(_) => conflict("damaged", format!("{error}: put the file again into another version")),
        TreeError::MissingPart { .. } => conflict("missing_part", format!("{error}: send it, then complete again")),
        TreeError::Io(error) => error.into(),
    }
}

pub(super) fn of_tree_at(error: TreeError, path: &UserPath) -> ServiceError {
    match error {
        TreeError::NotFound => ServiceError::not_found("file", format!("“{path}”")),
        other => of_tree(other),
    }
}
