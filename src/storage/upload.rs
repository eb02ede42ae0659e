//! Archives that people sent, kept until a run unpacks them or they expire.
//!
//! An upload is a directory of two files, `archive` and `upload.json`, that is written under a name
//! of its own (`.new-ID`), made durable and renamed. So an upload is whole or is not there; what a
//! crash left half-done still has the other name and is removed at the next start.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    archive::{self, ArchiveError, ArchiveKind, ArchiveLimits, BadArchive},
    beneath::Beneath,
};
use crate::domain::{id::UploadId, time::Timestamp};

const ARCHIVE: &str = "archive";
const FACTS: &str = "upload.json";
const UNFINISHED: &str = ".new-";

/// How much may be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// Bytes of the archive as it is sent.
    pub max_bytes: u64,
    /// What it may hold, unpacked.
    pub archive: ArchiveLimits,
    /// How long an upload is kept.
    pub keep: Duration,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self { max_bytes: 8 << 30, archive: ArchiveLimits::default(), keep: Duration::from_secs(24 * 3600) }
    }
}

/// What is known of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub id: UploadId,
    pub kind: ArchiveKind,
    /// Bytes of the archive itself.
    pub size_bytes: u64,
    /// Bytes that its files take, unpacked.
    pub unpacked_bytes: u64,
    /// Files and links in it.
    pub files: u64,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Why an upload was not taken or is not found.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("an upload is at most {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error(transparent)]
    Bad(BadArchive),
    #[error("there is no upload {0}: it was never finished, or it has expired")]
    NotFound(UploadId),
    #[error("the disk is full")]
    DiskFull,
    #[error("the upload cannot be stored")]
    Io(#[source] io::Error),
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<ArchiveError> for UploadError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Bad(bad) => Self::Bad(bad),
            ArchiveError::Io(error) => error.into(),
        }
    }
}

/// The directory of all uploads.
#[derive(Debug, Clone)]
pub struct UploadStore {
    root: PathBuf,
    limits: UploadLimits,
}

impl UploadStore {
    /// Names the store at `root`; nothing is touched.
    pub fn at(root: &Path, limits: UploadLimits) -> Self {
        Self { root: root.to_owned(), limits }
    }

    /// Removes what uploads that were cut off have left behind. Only the daemon that holds the data
    /// directory's lock may do so, before it takes the first upload.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        let dir = Beneath::open(&self.root)?;
        let mut unfinished = Vec::new();
        dir.each_name(|name| {
            if name.starts_with(UNFINISHED.as_bytes()) {
                unfinished.push(name.to_vec());
            }
            Ok(())
        })?;
        unfinished.iter().try_for_each(|name| dir.remove_tree(name))
    }

    /// Begins an upload. Dropping the writer instead of finishing it leaves nothing behind.
    pub fn begin(&self, id: UploadId) -> Result<UploadWriter, UploadError> {
        let dir = self.root.join(format!("{UNFINISHED}{id}"));
        DirBuilder::new().mode(0o700).create(&dir)?;
        // From here on the drop of the writer cleans up.
        let mut writer = UploadWriter { store: self.clone(), id, dir, file: None, size_bytes: 0 };
        let path = writer.dir.join(ARCHIVE);
        writer.file = Some(OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?);
        Ok(writer)
    }

    /// Looks up an upload that is finished. One past its time is still found until it is removed.
    pub fn get(&self, id: &UploadId) -> Result<Upload, UploadError> {
        match fs::read(self.root.join(id.as_str()).join(FACTS)) {
            Ok(facts) => Ok(serde_json::from_slice(&facts).map_err(io::Error::from)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(UploadError::NotFound(id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the archive of an upload. It stays readable if the upload is removed meanwhile.
    pub fn archive(&self, id: &UploadId) -> Result<File, UploadError> {
        match File::open(self.root.join(id.as_str()).join(ARCHIVE)) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(UploadError::NotFound(id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an upload. One that is gone is no error.
    pub fn remove(&self, id: &UploadId) -> io::Result<()> {
        Beneath::open(&self.root)?.remove_tree(id.as_str().as_bytes())
    }

    /// Removes the uploads whose time has come, except those that `needed` tells to keep, and
    /// returns them. An upload whose facts cannot be read goes too: nothing can use it.
    pub fn expire(&self, now: Timestamp, needed: &dyn Fn(&UploadId) -> bool) -> io::Result<Vec<UploadId>> {
        let mut expired = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let Some(Ok(id)) = entry?.file_name().to_str().map(str::parse::<UploadId>) else { continue };
            let due = self.get(&id).map_or(true, |upload| upload.expires_at <= now);
            if due && !needed(&id) {
                self.remove(&id)?;
                expired.push(id);
            }
        }
        Ok(expired)
    }

    /// Returns how large an archive may be.
    pub fn max_bytes(&self) -> u64 {
        self.limits.max_bytes
    }

    /// Returns the limit on what an archive may hold.
    pub fn archive_limits(&self) -> ArchiveLimits {
        self.limits.archive
    }
}

/// An upload that is being received.
#[derive(Debug)]
pub struct UploadWriter {
    store: UploadStore,
    id: UploadId,
    dir: PathBuf,
    /// `None` once it is finished.
    file: Option<File>,
    size_bytes: u64,
}

impl UploadWriter {
    /// Writes the next bytes. They go to the page cache, which seldom blocks, but can when the disk
    /// cannot keep up: call it where blocking is allowed, with buffers of 64 KiB or more.
    ///
    /// # Errors
    /// [`UploadError::TooLarge`] as soon as it is so.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let limit_bytes = self.store.limits.max_bytes;
        self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        if self.size_bytes > limit_bytes {
            return Err(UploadError::TooLarge { limit_bytes });
        }
        let file = self.file.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(file.write_all(bytes)?)
    }

    /// Checks the whole archive and makes the upload durable and visible. Blocks for as long as
    /// unpacking would take.
    ///
    /// # Errors
    /// [`UploadError::Bad`] names the entry that cannot be taken. Nothing is left behind then.
    pub fn finish(mut self, now: Timestamp) -> Result<Upload, UploadError> {
        let file = self.file.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let held = archive::check(&file, self.store.limits.archive)?;
        let upload = Upload {
            id: self.id.clone(),
            kind: held.kind,
            size_bytes: self.size_bytes,
            unpacked_bytes: held.bytes,
            files: held.files,
            created_at: now,
            expires_at: now.plus(self.store.limits.keep),
        };
        file.sync_all()?;
        let mut facts = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.dir.join(FACTS))?;
        facts.write_all(&serde_json::to_vec(&upload).map_err(io::Error::from)?)?;
        facts.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        crate::fault::point("upload.before_rename");
        fs::rename(&self.dir, self.store.root.join(self.id.as_str()))?;
        File::open(&self.store.root)?.sync_all()?;
        Ok(upload)
    }
}

impl Drop for UploadWriter {
    fn drop(&mut self) {
        // After a finish the directory has its other name and this finds nothing. If it fails the
        // next start removes what is left.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn id(last: char) -> UploadId {
        format!("up012345678901234{last}").parse().unwrap()
    }

    fn store(root: &Path) -> UploadStore {
        let limits = UploadLimits {
            max_bytes: 10_000,
            archive: ArchiveLimits { max_entries: 3, max_bytes: 10_000 },
            keep: Duration::from_secs(60),
        };
        let store = UploadStore::at(root, limits);
        store.remove_unfinished().unwrap();
        store
    }

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        builder.append_data(&mut header, "a", &b"hello"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn names(root: &Path) -> Vec<String> {
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_upload_is_found_as_it_was_sent() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let mut writer = store.begin(id('a')).unwrap();
        for piece in tar().chunks(100) {
            writer.write_all(piece).unwrap();
        }
        assert!(matches!(store.get(&id('a')), Err(UploadError::NotFound(_))));
        let upload = writer.finish(NOW).unwrap();
        assert_eq!((upload.files, upload.unpacked_bytes, upload.size_bytes), (1, 5, tar().len() as u64));
        assert_eq!(store.get(&id('a')).unwrap(), upload);
        assert_eq!(store.archive(&id('a')).unwrap().metadata().unwrap().len(), upload.size_bytes);
        assert_eq!(names(root.path()), [id('a').to_string()]);
    }

    #[test]
    fn a_broken_upload_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let mut bad = store.begin(id('a')).unwrap();
        bad.write_all(b"no archive at all").unwrap();
        assert!(matches!(bad.finish(NOW), Err(UploadError::Bad(_))));
        let mut dropped = store.begin(id('b')).unwrap();
        dropped.write_all(&tar()).unwrap();
        drop(dropped);
        let mut large = store.begin(id('c')).unwrap();
        assert!(matches!(large.write_all(&[0; 10_001]), Err(UploadError::TooLarge { limit_bytes: 10_000 })));
        drop(large);
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn what_a_crash_left_is_removed_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let first = store(root.path());
        let mut whole = first.begin(id('a')).unwrap();
        whole.write_all(&tar()).unwrap();
        whole.finish(NOW).unwrap();
        std::mem::forget(first.begin(id('b')).unwrap());
        assert_eq!(names(root.path()).len(), 2);
        store(root.path());
        assert_eq!(names(root.path()), [id('a').to_string()]);
    }

    #[test]
    fn an_upload_expires_unless_a_run_still_needs_it() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        for last in ['a', 'b'] {
            let mut writer = store.begin(id(last)).unwrap();
            writer.write_all(&tar()).unwrap();
            writer.finish(NOW).unwrap();
        }
        assert_eq!(store.expire(NOW.plus(Duration::from_secs(59)), &|_| false).unwrap(), []);
        let later = NOW.plus(Duration::from_secs(60));
        assert_eq!(store.expire(later, &|upload| *upload == id('b')).unwrap(), [id('a')]);
        assert!(store.get(&id('b')).is_ok());
        assert!(matches!(store.archive(&id('a')), Err(UploadError::NotFound(_))));
    }
}
