//! Writing a manifest: line by line, in order, a frame at a time.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use super::{
    Blobs, Manifest, TreeError,
    manifest::{Frame, Index},
    manifest_line::write_line,
};
use crate::{
    domain::{
        content::{Entry, Totals},
        user_path::UserPath,
    },
    storage::{beneath::Beneath, layout::VersionDir},
};

/// Lines in a frame: what is read and unpacked to find one of them.
const FRAME_LINES: usize = 1024;
/// What all tools that know the format take for granted.
const LEVEL: i32 = 3;

/// A manifest that is being written. Dropping it leaves nothing behind.
pub struct ManifestWriter {
    blobs: Arc<Blobs>,
    version: VersionDir,
    /// Its name in `incoming/`, till it has its own.
    name: Vec<u8>,
    file: File,
    compressor: zstd::bulk::Compressor<'static>,
    at: u64,
    lines: Vec<u8>,
    in_frame: usize,
    index: Index,
    last: Option<UserPath>,
    /// The files before here whose names are the beginning of the last path: what may turn out to
    /// be in the way of a directory.
    beginnings: Vec<UserPath>,
}

impl ManifestWriter {
    pub(super) fn create(blobs: Arc<Blobs>, version: VersionDir) -> Result<Self, TreeError> {
        let name = blobs.new_name();
        let file = blobs.incoming.new_file(&name, 0o600)?;
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self {
            blobs,
            version,
            name,
            file,
            compressor,
            at: 0,
            lines: Vec::new(),
            in_frame: 0,
            index: Index::default(),
            last: None,
            beginnings: Vec::new(),
        })
    }

    /// Adds a file or a link. They come in the order of their paths' bytes.
    ///
    /// # Errors
    /// [`TreeError::NotADirectory`] names a file that another's path leads through, which a store
    /// without directories may have; [`TreeError::TooManyFiles`]; `InvalidInput` for what is out of
    /// order or there twice.
    pub fn push(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let limit = self.blobs.limits.max_version_files;
        if self.index.totals.files >= limit {
            return Err(TreeError::TooManyFiles { limit });
        }
        let path = entry.path.as_bytes();
        if self.last.as_ref().is_some_and(|last| last.as_bytes() >= path) || path.is_empty() {
            let message = format!("“{}” is not in its place in the manifest", entry.path);
            return Err(TreeError::Io(io::Error::new(io::ErrorKind::InvalidInput, message)));
        }
        self.beginnings.retain(|before| path.starts_with(before.as_bytes()));
        if let Some(file) = self.beginnings.iter().find(|before| path[before.as_bytes().len()] == b'/') {
            return Err(TreeError::NotADirectory(file.clone()));
        }
        self.beginnings.push(entry.path.clone());
        if self.in_frame == 0 {
            self.index.frames.push(Frame { at: self.at, first: entry.path.clone() });
        }
        write_line(entry, &mut self.lines)?;
        self.in_frame += 1;
        self.index.totals.files += 1;
        self.index.totals.bytes = self.index.totals.bytes.saturating_add(entry.bytes());
        self.last = Some(entry.path.clone());
        if self.in_frame == FRAME_LINES { self.end_frame() } else { Ok(()) }
    }

    /// Returns what was added so far.
    pub fn totals(&self) -> Totals {
        self.index.totals
    }

    /// Ends the manifest and gives it its name, in place of one that was there. Its bytes are on the
    /// disk then; for its name that is not yet sure.
    pub fn finish(mut self) -> Result<Manifest, TreeError> {
        self.end_frame()?;
        let end = self.index.to_frame()?;
        self.file.write_all(&end)?;
        self.file.sync_all()?;
        let target = self.version.manifest();
        let into = Beneath::open(self.version.root())?;
        let name = target.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default();
        self.blobs.incoming.move_to(&self.name, &into, name)?;
        Ok(Manifest::open(&target)?)
    }

    fn end_frame(&mut self) -> Result<(), TreeError> {
        if self.in_frame > 0 {
            let frame = self.compressor.compress(&self.lines)?;
            self.file.write_all(&frame)?;
            self.at += frame.len() as u64;
            self.lines.clear();
            self.in_frame = 0;
        }
        Ok(())
    }
}

impl Drop for ManifestWriter {
    fn drop(&mut self) {
        let _ = self.blobs.incoming.remove_file(&self.name);
    }
}
