//! The files of one version on S3: ordinary objects, each under its path. What is in a draft is what
//! the bucket lists; a committed version has its manifest on this disk.

use std::{io, ops::Range, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};

use super::{
    FilesError, Object, S3Bucket, S3Error,
    ledger::{Index, Ledger},
};
use crate::{
    domain::{
        content::{Content, ContentHash, EntryKind, Totals},
        id::{DatasetId, TeamId, VersionId},
        user_path::UserPath,
    },
    fault,
    storage::dataset::{ListPage, ListQuery, Listed, TreeError, VersionFiles},
};

/// Longest key of S3, in bytes.
const LONGEST_KEY: usize = 1024;
/// Largest object that a service copies in one call.
pub(super) const LARGEST_COPY: u64 = 5 << 30;
/// Listed files that are asked about at the same time.
const AT_ONCE: usize = 16;
/// Ledgers larger than this are not read for a page of a listing, whose hashes are then not known.
const READABLE_LEDGER: u64 = 32 << 20;

/// One version in a bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct S3Files {
    pub(super) bucket: S3Bucket,
    /// Ends in a slash.
    pub(super) folder: String,
    pub(super) local: VersionFiles,
}

/// One thing listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Item {
    /// The content of a file in a draft is not known if it came past this box.
    File {
        path: UserPath,
        bytes: u64,
        content: Option<Content>,
    },
    Directory(UserPath),
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct S3Page {
    pub items: Vec<S3Item>,
    /// What to go on after; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// A file, or a part of one, as it comes.
pub struct S3File {
    pub bytes: u64,
    pub etag: Option<String>,
    /// Known of a committed file, and of a draft's that came through here.
    pub content: Option<Content>,
    pub range: Range<u64>,
    pub stream: BoxStream<'static, Result<Bytes, FilesError>>,
}

impl S3Files {
    /// Names the files of a version, whose manifest and copy on this disk are `local`'s.
    pub fn new(bucket: S3Bucket, team: &TeamId, dataset: &DatasetId, version: &VersionId, local: VersionFiles) -> Self {
        Self { bucket, folder: folder_of(team, dataset, version), local }
    }

    /// Returns the version's files on this disk: its manifest, and its copy if it was materialised.
    pub fn local(&self) -> &VersionFiles {
        &self.local
    }

    /// Returns the key of a path.
    ///
    /// # Errors
    /// [`FilesError::NoKey`] for what S3 cannot name.
    pub fn key(&self, path: &UserPath) -> Result<String, FilesError> {
        let no = |why| Err(FilesError::NoKey { path: path.clone(), why });
        let Ok(text) = std::str::from_utf8(path.as_bytes()) else { return no("its name is not UTF-8") };
        if path.is_root() {
            return no("a file needs a name");
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
            return no("its name has control characters");
        }
        if self.folder.len() + text.len() > LONGEST_KEY {
            return no("with the folder of its version, its name is longer than the 1024 bytes of a key");
        }
        Ok(format!("{}{text}", self.folder))
    }

    /// Returns the path that a key of this version stands for.
    pub(super) fn path(&self, key: &str) -> Result<UserPath, S3Error> {
        let odd = || S3Error::Odd(format!("it lists “{}”, which is no path of a file here", key.escape_debug()));
        let text = key.strip_prefix(&self.folder).ok_or_else(odd)?;
        let path = UserPath::from_bytes(text.as_bytes()).map_err(|_| odd())?;
        if path.as_bytes() == text.as_bytes() && !path.is_root() { Ok(path) } else { Err(odd()) }
    }

    /// Stores a stream at `path`, in place of what was there, and says whether something was. Nobody
    /// sees it before it is whole.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`] beyond `limit` bytes; [`TreeError::HashMismatch`] when it is not what was
    /// `expected`; [`FilesError::Source`] when the stream fails.
    pub async fn put(
        &self,
        path: &UserPath,
        executable: bool,
        stream: impl Stream<Item = io::Result<Bytes>> + Send,
        limit: u64,
        expected: Option<ContentHash>,
    ) -> Result<(Content, bool), FilesError> {
        let key = self.key(path)?;
        let replaces = self.bucket.head(&key).await?.is_some();
        let stored = self.bucket.put(&key, stream, limit, expected, Some(self.local.dir())).await?;
        fault::point("s3.object-stored");
        let content = Content { hash: stored.hash, bytes: stored.bytes, executable };
        let (ledger, path) = (self.ledger(), path.clone());
        blocking(move || ledger.add(&path, &content, stored.etag.as_deref())).await?;
        fault::point("s3.ledger-added");
        Ok((content, replaces))
    }

    /// Reads a file, or `range` of it. A committed one that is read as a whole is compared with its
    /// hash: if it is another, the stream ends in [`FilesError::Differs`].
    ///
    /// # Errors
    /// [`S3Error::NotFound`] in a draft, [`FilesError::Gone`] of a committed file.
    pub async fn get(&self, path: &UserPath, range: Option<Range<u64>>) -> Result<S3File, FilesError> {
        let key = self.key(path)?;
        let committed = self.committed(path).await?;
        let whole = range.is_none();
        let got = match self.bucket.get(&key, range, None).await {
            Err(S3Error::NotFound(_)) if committed.is_some() => return Err(FilesError::Gone(key)),
            got => got?,
        };
        let stream = got.stream.map_err(FilesError::from).boxed();
        let stream = match committed {
            Some(content) if whole => compared(stream, key, content.hash),
            _ => stream,
        };
        Ok(S3File { bytes: got.object.bytes, etag: got.object.etag, content: committed, range: got.range, stream })
    }

    /// Returns a file's size and, if it is known, its content; `None` when there is none.
    pub async fn head(&self, path: &UserPath) -> Result<Option<(u64, Option<Content>)>, FilesError> {
        if self.local.is_frozen() {
            return Ok(self.committed(path).await?.map(|content| (content.bytes, Some(content))));
        }
        let Some(object) = self.bucket.head(&self.key(path)?).await? else { return Ok(None) };
        let content = self.index().await?.map(|index| index.find(path, &object)).transpose()?.flatten();
        Ok(Some((object.bytes, content)))
    }

    /// Removes a file, or a directory with all that is in it, and returns how much that was. For all
    /// give the root.
    ///
    /// # Errors
    /// [`S3Error::NotFound`].
    pub async fn remove(&self, path: &UserPath) -> Result<Totals, FilesError> {
        if path.is_root() {
            return Ok(self.bucket.delete_prefix(&self.folder).await?);
        }
        let key = self.key(path)?;
        // The object itself sorts before all whose keys go on from its own.
        let first = self.bucket.page(&key, false, None, 1).await?.objects.pop();
        let file = first.filter(|object| object.key == key);
        let mut removed = self.bucket.delete_prefix(&format!("{key}/")).await?;
        if let Some(object) = file {
            self.bucket.delete(&key).await?;
            removed.files += 1;
            removed.bytes += object.bytes;
        }
        if removed.files == 0 { Err(S3Error::NotFound(path.to_string()).into()) } else { Ok(removed) }
    }

    /// Removes one file, and nothing whose path goes on from its own.
    ///
    /// # Errors
    /// [`S3Error::NotFound`].
    pub async fn remove_file(&self, path: &UserPath) -> Result<Totals, FilesError> {
        let key = self.key(path)?;
        let Some(object) = self.bucket.head(&key).await? else {
            return Err(S3Error::NotFound(path.to_string()).into());
        };
        self.bucket.delete(&key).await?;
        Ok(Totals { files: 1, bytes: object.bytes })
    }

    /// Lists a page of files, by the rules of [`ListQuery`].
    pub async fn list(&self, query: &ListQuery) -> Result<S3Page, FilesError> {
        if self.local.is_frozen() {
            let (local, query) = (self.local.clone(), query.clone());
            return Ok(blocking(move || local.list(&query)).await?.into());
        }
        let (Ok(prefix), Ok(after)) =
            (std::str::from_utf8(&query.prefix), query.after.as_deref().map(std::str::from_utf8).transpose())
        else {
            return Ok(S3Page::default());
        };
        let index = self.index().await?;
        let prefix = format!("{}{prefix}", self.folder);
        let mut after = after.map(|after| format!("{}{after}", self.folder));
        let limit = query.limit.max(1);
        let mut page = S3Page::default();
        loop {
            // One more than fits tells whether there is more.
            let wanted = limit + 1 - page.items.len();
            let found = self.bucket.page(&prefix, query.delimiter, after.as_deref(), wanted).await?;
            for item in self.items(found.objects, found.directories, index.as_ref(), &mut after).await? {
                if page.items.len() == limit {
                    page.next = page.items.last().map(S3Item::key);
                    return Ok(page);
                }
                page.items.push(item);
            }
            if !found.more {
                return Ok(page);
            }
        }
    }

    /// Puts what one call listed in order, and notes how far it came.
    async fn items(
        &self,
        objects: Vec<Object>,
        directories: Vec<String>,
        index: Option<&Index>,
        after: &mut Option<String>,
    ) -> Result<Vec<S3Item>, FilesError> {
        let mut items = Vec::with_capacity(objects.len() + directories.len());
        for key in directories {
            items.push((key.clone(), S3Item::Directory(self.path(key.trim_end_matches('/'))?)));
        }
        let listed = objects.iter().map(|object| object.key.clone()).max();
        let asked = futures_util::stream::iter(objects).map(|object| self.bucket.with_etag(object));
        let mut asked = std::pin::pin!(asked.buffered(AT_ONCE));
        while let Some(object) = asked.try_next().await? {
            let Some(object) = object else { continue };
            let path = self.path(&object.key)?;
            let content = index.map(|index| index.find(&path, &object)).transpose()?.flatten();
            // What marks an empty directory is nothing to show.
            if content.is_some() || !self.bucket.is_marker(&object).await? {
                items.push((object.key, S3Item::File { path, bytes: object.bytes, content }));
            }
        }
        items.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        *after = items.last().map(|(key, _)| key.clone()).max(listed).max(after.take());
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }

    /// Returns how much is in the version. A draft is listed for it.
    pub async fn totals(&self) -> Result<Totals, FilesError> {
        if self.local.is_frozen() {
            let local = self.local.clone();
            return Ok(blocking(move || local.totals()).await?);
        }
        Ok(self.bucket.totals(&self.folder).await?)
    }

    /// Returns a URL with which anybody may do `method` to a file until `expires` from now, at the
    /// service itself.
    pub async fn signed(
        &self,
        method: &http::Method,
        path: &UserPath,
        expires: Duration,
    ) -> Result<String, FilesError> {
        Ok(self.bucket.signed(method, &self.key(path)?, expires).await?)
    }

    /// Removes the version's objects, and all that is known of them here. One that is gone is no error.
    pub async fn remove_all(&self) -> Result<Totals, FilesError> {
        let removed = self.bucket.delete_prefix(&self.folder).await?;
        fault::point("s3.objects-removed");
        let local = self.local.clone();
        blocking(move || local.remove_all()).await?;
        Ok(removed)
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::of(self.local.dir())
    }

    /// Returns the ledger for a look at some files; `None` for a very large one.
    pub(super) async fn index(&self) -> Result<Option<Index>, FilesError> {
        let ledger = self.ledger();
        Ok(blocking(move || if ledger.size()? > READABLE_LEDGER { Ok(None) } else { ledger.open().map(Some) }).await?)
    }

    /// Returns what a file of a committed version is; `None` in a draft.
    async fn committed(&self, path: &UserPath) -> Result<Option<Content>, FilesError> {
        if !self.local.is_frozen() {
            return Ok(None);
        }
        let (local, path) = (self.local.clone(), path.clone());
        let entry = blocking(move || local.entry(&path)).await?.ok_or(TreeError::NotFound)?;
        match entry.kind {
            EntryKind::File(content) => Ok(Some(content)),
            EntryKind::Link(_) => Err(TreeError::NotFound.into()),
        }
    }
}

impl S3Item {
    /// Returns what this sorts as.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::File { path, .. } => path.as_bytes().to_vec(),
            Self::Directory(path) => [path.as_bytes(), b"/"].concat(),
        }
    }
}

impl From<ListPage> for S3Page {
    fn from(page: ListPage) -> Self {
        let item = |listed| match listed {
            Listed::Directory(path) => S3Item::Directory(path),
            Listed::Entry(entry) => {
                let bytes = entry.bytes();
                let content = if let EntryKind::File(content) = entry.kind { Some(content) } else { None };
                S3Item::File { path: entry.path, bytes, content }
            }
        };
        Self { items: page.items.into_iter().map(item).collect(), next: page.next }
    }
}

/// Returns what the keys of a version begin with.
pub fn folder_of(team: &TeamId, dataset: &DatasetId, version: &VersionId) -> String {
    format!("{team}/datasets/{dataset}/{version}/")
}

/// Ends in an error when what came is not what was expected.
pub(super) fn compared(
    stream: BoxStream<'static, Result<Bytes, FilesError>>,
    key: String,
    expected: ContentHash,
) -> BoxStream<'static, Result<Bytes, FilesError>> {
    let state = (stream, blake3::Hasher::new());
    futures_util::stream::try_unfold(state, move |(mut stream, mut hasher)| {
        let key = key.clone();
        async move {
            if let Some(piece) = stream.try_next().await? {
                hasher.update(&piece);
                return Ok(Some((piece, (stream, hasher))));
            }
            let found = ContentHash(*hasher.finalize().as_bytes());
            if found == expected { Ok(None) } else { Err(FilesError::Differs { key, expected, found }) }
        }
    })
    .boxed()
}

/// Runs file work beside the async world.
pub(super) async fn blocking<T, F>(work: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
