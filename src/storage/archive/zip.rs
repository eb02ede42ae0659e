//! Zip archives, as their central directory lists them.

use std::{
    fs::File,
    io::{BufReader, Read},
};

use ::zip::{
    CompressionMethod, ZipReadOptions,
    read::{Config, ZipFileEntry},
    result::ZipError,
    unstable::read::ZipIterable,
};

use super::{ArchiveError, Problem, reading, rules::Taker};

const TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Takes every entry of a zip archive. The directory is read entry by entry, never as a whole: a
/// few gigabytes can list more entries than there is memory for.
pub fn read(file: &File, walk: &mut impl Taker) -> Result<(), ArchiveError> {
    let reader = || BufReader::with_capacity(32 << 10, file);
    let mut archive = ZipIterable::try_new(reader(), Config::default()).map_err(|error| bad(b"", error))?;
    walk.rules().expect(archive.len() as u64)?;
    // Both readers move the one position of the file; each seeks before it reads.
    let mut body = reader();
    let entries = archive.files().map_err(|error| bad(b"", error))?;
    for entry in entries {
        let entry = entry.map_err(|error| bad(b"", error))?;
        walk.rules().count()?;
        let name = name(&entry)?;
        take(walk, &name, entry, &mut body)?;
    }
    Ok(())
}

fn take(
    walk: &mut impl Taker,
    name: &[u8],
    entry: ZipFileEntry<'_>,
    body: &mut BufReader<&File>,
) -> Result<(), ArchiveError> {
    let mode = entry.unix_mode().unwrap_or(0);
    match mode & TYPE {
        BLOCK_DEVICE | CHARACTER_DEVICE => return Err(Problem::Device.of(name)),
        // Zero is an archive made where files have no mode.
        0 | REGULAR | DIRECTORY | LINK => {}
        _ => return Err(Problem::Special.of(name)),
    }
    if name.ends_with(b"/") || mode & TYPE == DIRECTORY {
        return walk.directory(name);
    }
    if entry.encrypted() {
        return Err(Problem::Encrypted.of(name));
    }
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(Problem::Method(entry.compression().to_string()).of(name));
    }
    let said = entry.size();
    let mut data = entry.with_reader(body, ZipReadOptions::new()).map_err(|error| bad(name, error))?;
    if mode & TYPE == LINK {
        let mut target = Vec::new();
        // One more than a target may have, so that a longer one is seen to be too long.
        (&mut data).take(4096).read_to_end(&mut target).map_err(|error| reading(name, error))?;
        return walk.link(name, &target);
    }
    walk.file(name, mode & 0o111 != 0, said, &mut data)
}

/// Returns an entry's name: as it is when that is UTF-8, which most programs write without saying
/// so, and by the old table of characters otherwise.
fn name(entry: &ZipFileEntry<'_>) -> Result<Vec<u8>, ArchiveError> {
    let raw = entry.name_raw();
    let name = match std::str::from_utf8(raw) {
        Ok(name) => name.as_bytes().to_vec(),
        Err(_) => entry.name().map_err(|error| bad(raw, error))?.into_owned().into_bytes(),
    };
    if name.contains(&b'\\') {
        return Err(Problem::Backslash.of(&name));
    }
    if matches!(name.as_slice(), [letter, b':', ..] if letter.is_ascii_alphabetic()) {
        return Err(Problem::DriveLetter.of(&name));
    }
    Ok(name)
}

fn bad(name: &[u8], error: ZipError) -> ArchiveError {
    match error {
        ZipError::Io(error) => reading(name, error),
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Problem::Encrypted.of(name),
        error => {
            let problem = Problem::Damaged(crate::domain::user_path::shown(error.to_string().as_bytes()));
            if name.is_empty() { problem.alone() } else { problem.of(name) }
        }
    }
}
