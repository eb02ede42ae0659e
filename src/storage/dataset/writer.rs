//! Bytes on their way to becoming a blob.
//!
//! They go to a file without a name, which is gone by itself if the daemon dies or the writer is
//! dropped; where the file system has no such files, to one in `incoming/`. It gets its name, its
//! hash, when it is whole and will never change again. Nothing here waits for the disk.

use std::{
    fs::File,
    io::{self, Seek, Write},
    num::NonZero,
    sync::{Arc, atomic::Ordering},
};

use rustix::fs::{Advice, Mode, OFlags};

use super::{Blobs, TreeError, blobs::mode_of, hashed};
use crate::domain::content::{Content, ContentHash};

/// Pieces smaller than this are gathered: BLAKE3 is several times faster on large ones, and each
/// write is a call.
const GATHER_BYTES: usize = 32 << 10;
/// After so many bytes the disk is told to begin with them. Otherwise it would begin when somebody
/// waits for it, and stand idle till then.
const AHEAD_BYTES: u64 = 8 << 20;

/// A file that is being received. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Arc<Blobs>,
    file: Option<File>,
    /// Its name in `incoming/`, where files without a name do not work.
    name: Option<Vec<u8>>,
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
    bytes: u64,
    /// How many of them were written to the file, and how many of those the disk was told to begin with.
    written: u64,
    begun: u64,
}

impl Blobs {
    /// Stores the bytes of a small file. The caller holds [`Blobs::linking`].
    pub(super) fn store_small(&self, bytes: &[u8], content: &Content) -> Result<(), TreeError> {
        self.check_size(content.bytes)?;
        let mut fresh = Fresh::begin(self)?;
        fresh.file.write_all(bytes)?;
        fresh.seal(content)?;
        Ok(self.publish(&fresh, content)?)
    }

    /// Begins a file.
    pub fn writer(self: &Arc<Self>) -> Result<BlobWriter, TreeError> {
        let (file, name) = new_file(self)?;
        Ok(BlobWriter {
            blobs: self.clone(),
            file: Some(file),
            name,
            hasher: blake3::Hasher::new(),
            gathered: Vec::new(),
            bytes: 0,
            written: 0,
            begun: 0,
        })
    }
}

impl BlobWriter {
    /// Takes the next bytes. Blocks when the disk cannot keep up.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`] as soon as it is so, [`TreeError::Full`]. The writer is of no use then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.blobs.check_size(self.bytes)?;
        if self.gathered.is_empty() && bytes.len() >= GATHER_BYTES {
            return self.put(bytes);
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHER_BYTES {
            self.put_gathered()?;
        }
        Ok(())
    }

    /// Returns how many bytes were taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the file to be read from its beginning, and never stored.
    pub fn spooled(mut self) -> Result<File, TreeError> {
        self.put_gathered()?;
        let mut file = self.file.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        file.rewind()?;
        Ok(file)
    }

    /// Stores the file under its hash. It is not durable yet, and the sweeper's once the grace
    /// period is over, unless a version links it.
    pub fn finish(self, executable: bool) -> Result<Content, TreeError> {
        self.store(executable, None, |_| Ok(())).map(|(content, ())| content)
    }

    /// Stores the file like [`BlobWriter::finish`] if its hash is `expected`.
    ///
    /// # Errors
    /// [`TreeError::HashMismatch`]; nothing is stored then.
    pub fn finish_expecting(self, executable: bool, expected: &ContentHash) -> Result<Content, TreeError> {
        self.store(executable, Some(expected), |_| Ok(())).map(|(content, ())| content)
    }

    /// Stores the file, and calls `then` while the sweeper is kept off it.
    pub(super) fn store<T>(
        mut self,
        executable: bool,
        expected: Option<&ContentHash>,
        then: impl FnOnce(&Content) -> Result<T, TreeError>,
    ) -> Result<(Content, T), TreeError> {
        self.put_gathered()?;
        let found = ContentHash(*self.hasher.finalize().as_bytes());
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(TreeError::HashMismatch { expected: *expected, found });
        }
        let content = Content { hash: found, bytes: self.bytes, executable };
        let blobs = self.blobs.clone();
        let file = self.file.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let fresh = Fresh { blobs: &blobs, file, name: self.name.take() };
        fresh.seal(&content)?;
        let _linking = blobs.linking(&content.hash);
        blobs.publish(&fresh, &content)?;
        Ok((content, then(&content)?))
    }

    fn put_gathered(&mut self) -> Result<(), TreeError> {
        let gathered = std::mem::take(&mut self.gathered);
        self.put(&gathered)?;
        self.gathered = gathered;
        self.gathered.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        self.hasher.update(bytes);
        let mut file = self.file.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if let Some(waiting) = NonZero::new(self.written - self.begun).filter(|bytes| bytes.get() >= AHEAD_BYTES) {
            // Pages that are not on the disk yet stay in memory, so all this does is to write them. Only
            // a hint: whoever has to be sure waits for the disk later.
            let _ = rustix::fs::fadvise(file, self.begun, Some(waiting), Advice::DontNeed);
            self.begun = self.written;
        }
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.blobs.incoming.remove_file(name);
        }
    }
}

/// A file that is written and not a blob yet. Dropping it removes the name that it has till then.
#[derive(Debug)]
pub(super) struct Fresh<'a> {
    blobs: &'a Blobs,
    pub(super) file: File,
    name: Option<Vec<u8>>,
}

impl<'a> Fresh<'a> {
    /// A file that has a name elsewhere, which stays.
    pub(super) fn of(blobs: &'a Blobs, file: File) -> Self {
        Self { blobs, file, name: None }
    }

    pub(super) fn begin(blobs: &'a Blobs) -> io::Result<Self> {
        let (file, name) = new_file(blobs)?;
        Ok(Self { blobs, file, name })
    }

    /// Writes its hash onto the file, and makes it read-only for everybody. In this order, as only
    /// root may set attributes of a file that it may not write to.
    pub(super) fn seal(&self, content: &Content) -> io::Result<()> {
        hashed::mark(&self.file, &content.hash)?;
        Ok(rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode_of(content)))?)
    }

    /// Gives the file the name `to` in `into`.
    pub(super) fn link(&self, into: &crate::storage::beneath::Beneath, to: &[u8]) -> io::Result<()> {
        match &self.name {
            Some(name) => into.new_hard_link(&self.blobs.incoming, name, to),
            None => into.link_open_file(&self.file, to),
        }
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.blobs.incoming.remove_file(name);
        }
    }
}

/// Makes an empty file for reading and writing, with a name in `incoming/` if it needs one.
fn new_file(blobs: &Blobs) -> io::Result<(File, Option<Vec<u8>>)> {
    if blobs.unnamed.load(Ordering::Relaxed) {
        match blobs.incoming.unnamed_file() {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => blobs.unnamed.store(false, Ordering::Relaxed),
            file => return Ok((file?, None)),
        }
    }
    let name = blobs.new_name();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&blobs.incoming.0, name.as_slice(), flags, Mode::from_raw_mode(0o600))?;
    Ok((File::from(file), Some(name)))
}
