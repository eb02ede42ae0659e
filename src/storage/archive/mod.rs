//! Archives that people upload: zip, tar, and tar packed with gzip or zstd.
//!
//! An archive is a program for writing files, written by a stranger. [`check`] runs it without
//! writing anything and [`unpack`] runs it beneath a directory; both run the same walk, so what one
//! accepts the other can do. Links may lead to what is inside the archive and nowhere else, and no
//! entry is ever written through one. Owners, times, set-id bits and extended attributes are dropped:
//! what comes out belongs to the daemon and can be read and written by every user of the container.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
};

pub use problem::{ArchiveError, BadArchive, Problem};
use walk::{NoSink, TreeSink, Walk};

use super::beneath::Beneath;

mod packed;
mod problem;
pub(super) mod rules;
mod tar;
mod walk;
mod zip;

/// How much an archive may hold. Both bounds hold for what comes out, so that a small archive of
/// much nothing is stopped like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    pub max_entries: u64,
    /// Bytes of all files together, unpacked.
    pub max_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { max_entries: 1_000_000, max_bytes: 64 << 30 }
    }
}

/// How an archive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveKind {
    Zip,
    Tar,
    TarGzip,
    TarZstd,
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveSummary {
    pub kind: ArchiveKind,
    /// Files and links.
    pub files: u64,
    pub directories: u64,
    /// Bytes of all files together, unpacked.
    pub bytes: u64,
}

/// Tells an archive's kind from its first bytes; its name and declared type are not asked.
///
/// # Errors
/// [`Problem::Empty`] and [`Problem::Unknown`].
pub fn sniff(file: &File) -> Result<ArchiveKind, ArchiveError> {
    let mut head = Vec::with_capacity(HEAD);
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    file.take(HEAD as u64).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    kind_of(&head)
}

/// What is needed of an archive to tell its kind: the header that a tar begins with.
const HEAD: usize = 512;

fn kind_of(head: &[u8]) -> Result<ArchiveKind, ArchiveError> {
    match head {
        [] => Err(Problem::Empty.alone()),
        // The second is what an archive without entries begins with.
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(ArchiveKind::Zip),
        [0x1f, 0x8b, ..] => Ok(ArchiveKind::TarGzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(ArchiveKind::TarZstd),
        block if tar::is_tar(block) => Ok(ArchiveKind::Tar),
        _ => Err(Problem::Unknown.alone()),
    }
}

/// Runs through a whole archive without writing anything. Blocks for as long as unpacking it takes.
///
/// # Errors
/// [`ArchiveError::Bad`] names the first entry that cannot be taken and says why.
pub fn check(file: &File, limits: ArchiveLimits) -> Result<ArchiveSummary, ArchiveError> {
    run(file, limits, NoSink)
}

/// Writes what an archive holds beneath `dest`, an empty directory that nobody else writes to.
/// After an error `dest` holds a part of it, which the caller removes.
///
/// # Errors
/// [`ArchiveError::Bad`] as [`check`]; [`ArchiveError::Io`] when the disk refuses.
pub fn unpack(file: &File, dest: &Beneath, limits: ArchiveLimits) -> Result<ArchiveSummary, ArchiveError> {
    run(file, limits, TreeSink::new(dest))
}

/// Takes every entry of a tar archive as it comes, plain or packed, without ever going back in it.
///
/// # Errors
/// As [`unpack`], what `taker` says, and [`Problem::NotAStream`] for a zip archive, which can be
/// read only from its end.
pub(super) fn stream(mut reader: impl Read, taker: &mut impl rules::Taker) -> Result<(), ArchiveError> {
    let mut head = Vec::with_capacity(HEAD);
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(|error| reading(b"", error))?;
    let kind = kind_of(&head)?;
    let reader = BufReader::with_capacity(256 << 10, io::Cursor::new(head).chain(reader));
    match kind {
        ArchiveKind::Zip => Err(Problem::NotAStream.alone()),
        ArchiveKind::Tar => tar::read(reader, taker),
        ArchiveKind::TarGzip => tar::read(BufReader::new(packed::Gzip::new(reader)), taker),
        ArchiveKind::TarZstd => tar::read(BufReader::new(packed::zstd(reader)?), taker),
    }
}

fn run(file: &File, limits: ArchiveLimits, sink: impl walk::Sink) -> Result<ArchiveSummary, ArchiveError> {
    let kind = sniff(file)?;
    let mut walk = Walk::new(limits, sink);
    let reader = BufReader::with_capacity(64 << 10, file);
    match kind {
        ArchiveKind::Zip => zip::read(file, &mut walk)?,
        ArchiveKind::Tar => tar::read(reader, &mut walk)?,
        ArchiveKind::TarGzip => tar::read(packed::Gzip::new(reader), &mut walk)?,
        ArchiveKind::TarZstd => tar::read(packed::zstd(reader)?, &mut walk)?,
    }
    let (files, directories, bytes) = walk.totals();
    Ok(ArchiveSummary { kind, files, directories, bytes })
}

/// Turns an error met while reading an archive into what is wrong with the archive, unless it is
/// the disk that failed.
pub(super) fn reading(entry: &[u8], error: io::Error) -> ArchiveError {
    if error.raw_os_error().is_some() {
        return error.into();
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return if entry.is_empty() { Problem::Truncated.alone() } else { Problem::Truncated.of(entry) };
    }
    let problem = Problem::Damaged(crate::domain::user_path::shown(error.to_string().as_bytes()));
    if entry.is_empty() { problem.alone() } else { problem.of(entry) }
}

#[cfg(test)]
pub(super) mod tests;
