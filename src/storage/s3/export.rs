//! A version on S3, or a directory of it, going out as one archive. Its bytes pass through and are kept
//! nowhere.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio::runtime::Handle;

use super::{FilesError, Object, S3Error, S3Files, files::compared};
use crate::{
    domain::{
        content::{Content, EntryKind},
        time::Timestamp,
        user_path::UserPath,
    },
    storage::{
        bundle::{BundleKind, Bundled},
        dataset::{ExportEntries, ExportItem, ExportPart, export_from},
    },
};

/// Where the bytes of one file are.
struct Place {
    key: String,
    /// Unknown of a file in a draft that did not come through this box.
    content: Option<Content>,
    /// What the object of a draft was when it was listed.
    etag: Option<String>,
}

type Item = Result<ExportItem<Place>, FilesError>;

impl S3Files {
    /// Writes the files of the directory `prefix`, or the one file that it is, to `out`, as
    /// [`export`](crate::storage::dataset::export) does: of a committed version what its manifest says,
    /// of a draft what the bucket lists. What this disk has already is not fetched. Blocks as long as
    /// the bucket and the reader of `out` take; `runtime` is where the bucket is spoken to.
    ///
    /// # Errors
    /// [`TreeError::NotFound`](crate::storage::dataset::TreeError) when there is nothing at `prefix`, and
    /// those of the bucket, which include a file that is not what its hash says. The archive ends in the
    /// middle then.
    pub fn export(
        &self,
        prefix: &UserPath,
        kind: BundleKind,
        modified_at: Timestamp,
        runtime: &Handle,
        out: impl Write,
    ) -> Result<Bundled, FilesError> {
        let items: Box<dyn Iterator<Item = Item>> = if self.local.is_frozen() {
            Box::new(self.committed_items(prefix)?)
        } else {
            Box::new(self.listed_items(prefix, runtime)?)
        };
        let open = |_: &UserPath, bytes, place| self.open(place, bytes, runtime);
        export_from(items, open, prefix, kind, modified_at, out)
    }

    fn committed_items(&self, prefix: &UserPath) -> Result<impl Iterator<Item = Item>, FilesError> {
        let entries = ExportEntries::frozen(&self.local.manifest()?, prefix)?;
        Ok(entries.map(|entry| {
            let entry = entry?;
            let part = match entry.kind {
                EntryKind::Link(target) => ExportPart::Link(target),
                EntryKind::File(content) => {
                    let source = Place { key: self.key(&entry.path)?, content: Some(content), etag: None };
                    ExportPart::File { executable: content.executable, bytes: content.bytes, source }
                }
            };
            Ok(ExportItem { path: entry.path, part })
        }))
    }

    fn listed_items(&self, prefix: &UserPath, runtime: &Handle) -> Result<impl Iterator<Item = Item>, FilesError> {
        let index = runtime.block_on(self.index())?;
        let (file, folder) = if prefix.is_root() {
            (None, self.folder.clone())
        } else {
            let key = self.key(prefix)?;
            (runtime.block_on(self.object(&key))?, format!("{key}/"))
        };
        let mut objects = match file {
            Some(object) => futures_util::stream::once(std::future::ready(Ok(object))).boxed(),
            None => self.bucket.all(&folder).boxed(),
        };
        Ok(std::iter::from_fn(move || {
            loop {
                let object = match runtime.block_on(objects.next())? {
                    Ok(object) => object,
                    Err(error) => return Some(Err(error.into())),
                };
                let item = runtime.block_on(self.item(object, |path, object| {
                    index.as_ref().map(|index| index.find(path, object)).transpose().map(Option::flatten)
                }));
                if let Some(item) = item.transpose() {
                    return Some(item);
                }
            }
        }))
    }

    /// Finds the object of exactly this key.
    async fn object(&self, key: &str) -> Result<Option<Object>, S3Error> {
        // It sorts before all whose keys go on from its own. Not asked for by its name, for some
        // services answer that of a directory.
        let Some(object) = self.bucket.page(key, false, None, 1).await?.objects.pop() else { return Ok(None) };
        let is_file = object.key == key && !self.bucket.is_marker(&object).await?;
        Ok(is_file.then_some(object))
    }

    /// Returns what a listed object is; `None` for the mark of an empty directory.
    async fn item(
        &self,
        object: Object,
        find: impl Fn(&UserPath, &Object) -> io::Result<Option<Content>>,
    ) -> Result<Option<ExportItem<Place>>, FilesError> {
        let Some(object) = self.bucket.with_etag(object).await? else { return Ok(None) };
        let path = self.path(&object.key)?;
        let content = find(&path, &object)?;
        if content.is_none() && self.bucket.is_marker(&object).await? {
            return Ok(None);
        }
        let executable = content.is_some_and(|content| content.executable);
        let bytes = object.bytes;
        let source = Place { key: object.key, content, etag: object.etag };
        Ok(Some(ExportItem { path, part: ExportPart::File { executable, bytes, source } }))
    }

    fn open(&self, place: Place, bytes: u64, runtime: &Handle) -> Result<Source, FilesError> {
        if let Some(content) = &place.content
            && let Ok(file) = self.local.blobs().open(content)
            && file.metadata().is_ok_and(|facts| facts.len() == bytes)
        {
            return Ok(Source::Disk(file));
        }
        let got = match runtime.block_on(self.bucket.get(&place.key, None, place.etag.as_deref())) {
            Err(S3Error::NotFound(_)) if place.content.is_some() => return Err(FilesError::Gone(place.key)),
            got => got?,
        };
        if got.object.bytes != bytes {
            // What is cut to its length would not be read to the end, where hashes are compared.
            return Err(S3Error::Changed(place.key).into());
        }
        let stream = got.stream.map_err(FilesError::from).boxed();
        let stream = match place.content {
            Some(content) => compared(stream, place.key, content.hash),
            None => stream,
        };
        Ok(Source::Bucket(Flow { stream, piece: Bytes::new(), runtime: runtime.clone() }))
    }
}

/// The bytes of one file.
enum Source {
    Disk(File),
    Bucket(Flow),
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Disk(file) => file.read(into),
            Self::Bucket(flow) => flow.read(into),
        }
    }
}

/// A stream that a thread reads.
struct Flow {
    stream: BoxStream<'static, Result<Bytes, FilesError>>,
    piece: Bytes,
    runtime: Handle,
}

impl Read for Flow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Also when no more bytes are wanted: at the end of the stream its hash is compared.
        while self.piece.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}
