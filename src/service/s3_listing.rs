//! What is in a version as S3 would list it: files alone, with directories for what is deeper, and pages
//! that go on after a key, so that what is removed between two pages makes none be left out.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    ServiceError, Services,
    signed_urls::Signed,
    version_home::{FileFound, FileSource, Home, HomeItem, read_s3},
};
use crate::{
    domain::{
        caller::Caller,
        content::{ContentHash, EntryKind},
        dataset::{DatasetRef, VersionRef, VersionState},
        user_path::UserPath,
    },
    storage::dataset::ListQuery,
};

/// Most that one page has.
pub const MOST: u32 = 1_000;
/// Files that are looked for at the same time.
const AT_ONCE: usize = 16;

/// Which page of what is in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Only paths that begin with this. It ends in a slash for what is in a directory.
    pub prefix: String,
    /// Everything below, and no directories.
    pub recursive: bool,
    /// Only what sorts after this, which was `next` of the page before.
    pub after: Option<Vec<u8>>,
    /// At most so many, 1 to [`MOST`].
    pub limit: u32,
}

/// Something that S3 would list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    File { path: UserPath, bytes: u64 },
    Directory(UserPath),
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedPage {
    pub items: Vec<Listed>,
    /// What to go on after; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Services {
    /// Lists a page of files. Links are left out: S3 has none, and here nobody's are followed. A page
    /// with nothing on it is the last, for there are clients that stop at one.
    pub async fn list_as_s3(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        listing: Listing,
    ) -> Result<ListedPage, ServiceError> {
        let found = self.find_version(caller, dataset, version).await?;
        self.home(&found.dataset, &found.version.id).await?.list_as_s3(listing).await
    }

    /// Opens a file for whoever shows a URL that was signed for it, and to whom a directory is nothing, as in S3.
    ///
    /// # Errors
    /// As [`Self::open_signed_file`]; [`ServiceError::NotFound`] also where there is a directory.
    pub async fn open_signed_object(
        &self,
        signed: &Signed,
        shown: &ContentHash,
        path: &UserPath,
    ) -> Result<FileFound, ServiceError> {
        let found = self.signed_version(signed, shown).await?;
        self.home(&found.dataset, &found.version.id).await?.open_object(path).await
    }

    /// Says whether all of some files are in a version and can be fetched, at this moment.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] names the first that is not there; others say why a bucket does not give
    /// one that is.
    pub async fn require_files(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        paths: Vec<UserPath>,
    ) -> Result<(), ServiceError> {
        let found = self.find_version(caller, dataset, version).await?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        if home.s3.is_none() {
            return home.require_here(paths).await;
        }
        let home = &home;
        // Of a draft the bucket itself is asked what is there, of a committed version its manifest.
        let committed = found.version.state == VersionState::Committed;
        let looking = stream::iter(paths).map(|path| async move {
            match home.open_file(&path).await {
                Ok(FileFound { source: FileSource::S3 { files, path }, bytes, .. }) if committed => {
                    read_s3(&files, &path, (0, bytes.min(1), bytes)).await.map(drop)
                }
                Err(ServiceError::Conflict { code: "is_directory", .. }) => {
                    Err(ServiceError::not_found("file", format!("“{path}”")))
                }
                opened => opened.map(drop),
            }
        });
        // In a bucket each look is a question to somebody far away.
        looking.buffered(AT_ONCE).try_collect().await
    }
}

impl Home {
    /// Lists a page of files, as [`Services::list_as_s3`] does.
    async fn list_as_s3(&self, listing: Listing) -> Result<ListedPage, ServiceError> {
        let mut query = ListQuery {
            prefix: listing.prefix.into_bytes(),
            delimiter: !listing.recursive,
            after: listing.after,
            limit: listing.limit.clamp(1, MOST) as usize,
        };
        loop {
            let page = self.list(query.clone()).await?;
            let items: Vec<_> = page.items.into_iter().filter_map(listed).collect();
            if !items.is_empty() || page.next.is_none() {
                return Ok(ListedPage { items, next: page.next });
            }
            query.after = page.next;
        }
    }

    /// Opens a file for those to whom a directory is nothing, as in S3.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] also where there is a directory.
    async fn open_object(&self, path: &UserPath) -> Result<FileFound, ServiceError> {
        let missing = || ServiceError::not_found("file", format!("“{path}”"));
        if self.s3.is_some() {
            // Looked up in the listing, where it stands before all that begins as it does: services that keep
            // objects as files are out of order when they are asked for a directory.
            let listing = Listing { prefix: path.to_text(), recursive: true, after: None, limit: 1 };
            let page = self.list_as_s3(listing).await?;
            if !matches!(page.items.first(), Some(Listed::File { path: found, .. }) if found == path) {
                return Err(missing());
            }
        }
        match self.open_file(path).await {
            Err(ServiceError::Conflict { code: "is_directory", .. }) => Err(missing()),
            opened => opened,
        }
    }
}

fn listed(item: HomeItem) -> Option<Listed> {
    match item {
        HomeItem::Entry(entry) => match entry.kind {
            EntryKind::File(content) => Some(Listed::File { path: entry.path, bytes: content.bytes }),
            EntryKind::Link(_) => None,
        },
        HomeItem::Unread { path, bytes } => Some(Listed::File { path, bytes }),
        HomeItem::Directory(path) => Some(Listed::Directory(path)),
    }
}
