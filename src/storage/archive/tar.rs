//! Tar archives: old, ustar, GNU and pax.
//!
//! The `tar` crate decodes a header; going from entry to entry is done here, because its own reader
//! collects a long name of any length in memory before anybody can look at it.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{ArchiveError, Problem, reading, rules::Taker};

const BLOCK: usize = 512;
/// Of one long name or one set of pax records.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// What extension headers say of the entry that follows them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Returns whether a file that begins so is a tar archive, perhaps one without entries.
pub fn is_tar(head: &[u8]) -> bool {
    <&[u8; BLOCK]>::try_from(head).is_ok_and(|block| *block == [0; BLOCK] || has_sum(block))
}

/// Takes every entry of a tar archive.
pub fn read(mut reader: impl Read, walk: &mut impl Taker) -> Result<(), ArchiveError> {
    let mut extension = Extension::default();
    let mut last = Vec::new();
    let mut first = true;
    loop {
        let block = read_block(&mut reader, &last, first)?;
        if block == [0; BLOCK] {
            return drain(reader, &last);
        }
        if !has_sum(&block) {
            return Err(if first { Problem::NotTar.alone() } else { damaged(&last, "a header's sum does not fit") });
        }
        first = false;
        walk.rules().count()?;
        let header = Header::from_byte_slice(&block);
        let size = header.entry_size().map_err(|_| damaged(&last, "a size cannot be read"))?;
        let kind = header.entry_type();
        if is_extension(kind) {
            walk.rules().describe(size)?;
            let text = read_extension(&mut reader, size, &last)?;
            extension.take(kind, &text).map_err(|what| damaged(&last, what))?;
            continue;
        }
        let Extension { name, link, size: pax_size, sparse } = std::mem::take(&mut extension);
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default();
        if sparse || kind.is_gnu_sparse() {
            return Err(Problem::Sparse.of(&name));
        }
        // Before there was a type for it, a directory was a file whose name ends in a slash.
        let is_old_directory = kind.is_file() && name.ends_with(b"/");
        if kind.is_dir() || is_old_directory {
            walk.directory(&name)?;
        } else if kind.is_file() || kind.is_contiguous() {
            let size = pax_size.unwrap_or(size);
            // Some programs leave the field blank.
            let mode = header.mode().unwrap_or(0o644);
            let mut data = Exactly { reader: &mut reader, left: size };
            walk.file(&name, mode & 0o111 != 0, size, &mut data)?;
            skip_padding(&mut reader, size, &name)?;
        } else {
            // As with every other reader, what is no file has no data, whatever size is noted.
            special(walk, kind, &name, &link)?;
        }
        last = name;
    }
}

fn special(walk: &mut impl Taker, kind: EntryType, name: &[u8], link: &[u8]) -> Result<(), ArchiveError> {
    match kind {
        EntryType::Symlink => walk.link(name, link),
        EntryType::Link => walk.hard_link(name, link),
        EntryType::Char | EntryType::Block => Err(Problem::Device.of(name)),
        EntryType::Fifo => Err(Problem::Special.of(name)),
        // The label of a tape.
        other if other.as_byte() == b'V' => Ok(()),
        other => Err(Problem::UnknownEntry(char::from(other.as_byte()).escape_default().to_string()).of(name)),
    }
}

fn is_extension(kind: EntryType) -> bool {
    kind.is_gnu_longname()
        || kind.is_gnu_longlink()
        || kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions()
}

impl Extension {
    fn take(&mut self, kind: EntryType, text: &[u8]) -> Result<(), &'static str> {
        if kind.is_pax_local_extensions() {
            return self.take_records(text);
        }
        let name = text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        if kind.is_gnu_longname() {
            self.name = Some(name);
        } else if kind.is_gnu_longlink() {
            self.link = Some(name);
        }
        // Records for the whole archive hold a comment at most; names in them would fit one entry.
        Ok(())
    }

    /// Reads records of the form `LENGTH KEY=VALUE\n`, where the length counts all of it.
    fn take_records(&mut self, mut text: &[u8]) -> Result<(), &'static str> {
        const WRONG: &str = "its pax records cannot be read";
        while !text.is_empty() {
            let space = text.iter().position(|byte| *byte == b' ').ok_or(WRONG)?;
            let length: usize = std::str::from_utf8(&text[..space]).ok().and_then(|n| n.parse().ok()).ok_or(WRONG)?;
            let record = text.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or(WRONG)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|n| n.parse().ok());
                    self.size = Some(size.ok_or(WRONG)?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
            text = &text[length..];
        }
        Ok(())
    }
}

/// Reads all of exactly so many bytes; the end of the archive before that is an error.
struct Exactly<'a, R> {
    reader: &'a mut R,
    left: u64,
}

impl<R: Read> Read for Exactly<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let length = self.reader.read(&mut buffer[..want])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length as u64;
        Ok(length)
    }
}

fn read_block(reader: &mut impl Read, last: &[u8], first: bool) -> Result<[u8; BLOCK], ArchiveError> {
    let mut block = [0; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        match reader.read(&mut block[filled..]) {
            // Without the mark at its end nobody can tell whether an archive is whole.
            Ok(0) if first => return Err(Problem::NotTar.alone()),
            Ok(0) => return Err(Problem::Truncated.of(last)),
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(reading(last, error)),
        }
    }
    Ok(block)
}

fn read_extension(reader: &mut impl Read, size: u64, last: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    if size > MAX_EXTENSION_BYTES {
        return Err(damaged(last, "the header after it is too long"));
    }
    let mut text = Vec::new();
    Exactly { reader, left: size }.read_to_end(&mut text).map_err(|error| reading(last, error))?;
    skip_padding(reader, size, last)?;
    Ok(text)
}

fn skip_padding(reader: &mut impl Read, size: u64, name: &[u8]) -> Result<(), ArchiveError> {
    let left = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    io::copy(&mut Exactly { reader, left }, &mut io::sink()).map(drop).map_err(|error| reading(name, error))
}

/// Reads on after the end mark, so that a packed archive's own checksum is compared too. The bytes
/// mean nothing; a pad longer than any block size is left unread.
fn drain(reader: impl Read, last: &[u8]) -> Result<(), ArchiveError> {
    match io::copy(&mut reader.take(16 << 20), &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(error) => Err(reading(last, error)),
    }
}

fn damaged(name: &[u8], what: &str) -> ArchiveError {
    let problem = Problem::Damaged(what.to_owned());
    if name.is_empty() { problem.alone() } else { problem.of(name) }
}

/// Returns whether a header's checksum fits. It counts its own eight bytes as spaces; some old
/// programs counted bytes as signed, which matters only for names that are not ASCII.
fn has_sum(block: &[u8; BLOCK]) -> bool {
    let Ok(noted) = Header::from_byte_slice(block).cksum() else { return false };
    let counted = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
    let bytes = || block.iter().enumerate().map(|(at, byte)| counted(at, *byte));
    let unsigned: u32 = bytes().map(u32::from).sum();
    let signed: i32 = bytes().map(|byte| i32::from(byte.cast_signed())).sum();
    noted == unsigned || i64::from(noted) == i64::from(signed)
}
