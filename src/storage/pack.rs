//! Archives going out: tar and zip, written entry by entry to whoever reads them.
//!
//! The length of a file is said before its bytes, and a container may still be writing to it: what
//! grows is cut there, what shrinks is filled with zeros, what vanishes is left out, and all of that
//! is told at the end.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    rc::Rc,
};

use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::domain::{time::Timestamp, user_path::UserPath};

/// How a tree is bundled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleKind {
    /// Links are kept as links.
    Tar,
    /// Links are left out: too many programs would follow them when unpacking.
    Zip,
}

/// What went into a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bundled {
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Entries left out: gone or unreadable by the time they were reached, or of a kind that the
    /// archive cannot hold.
    pub left_out: u64,
    /// Files that became shorter while they were read, and end in zeros.
    pub shrank: u64,
}

/// What an archive says of an entry beside its name and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub permissions: u32,
    pub modified_at: Timestamp,
}

/// An archive being written.
pub trait Packer {
    fn directory(&mut self, path: &UserPath, stamp: Stamp) -> io::Result<()>;
    fn link(&mut self, path: &UserPath, stamp: Stamp, target: &[u8]) -> io::Result<()>;
    /// Puts exactly `bytes` bytes of `data` in, whatever has become of the file.
    fn file(&mut self, path: &UserPath, stamp: Stamp, data: &mut dyn Read, bytes: u64) -> io::Result<()>;
    /// Counts an entry that is not put in.
    fn leave_out(&mut self);
    /// Returns what is in it so far.
    fn bundled(&self) -> Bundled;
}

/// Writes an archive of what `fill` puts into it, to its end if all goes well.
///
/// # Errors
/// Those of `out` first, then those of `fill`.
pub fn pack(
    kind: BundleKind,
    out: impl Write,
    fill: impl FnOnce(&mut dyn Packer) -> io::Result<()>,
) -> io::Result<Bundled> {
    match kind {
        BundleKind::Tar => {
            let mut tar = Tar { builder: tar::Builder::new(out), bundled: Bundled::default() };
            fill(&mut tar)?;
            tar.builder.into_inner()?.flush()?;
            Ok(tar.bundled)
        }
        BundleKind::Zip => {
            let failure = Failure::default();
            let writer = ZipWriter::new_stream(Guarded { out, failure: failure.clone() });
            let mut zip = Zip { writer, failure: failure.clone(), bundled: Bundled::default() };
            let filled = fill(&mut zip);
            let finished = zip.writer.finish();
            if let Some(error) = failure.take() {
                return Err(error);
            }
            filled?;
            finished?.into_inner().out.flush()?;
            Ok(zip.bundled)
        }
    }
}

struct Tar<W: Write> {
    builder: tar::Builder<W>,
    bundled: Bundled,
}

impl<W: Write> Packer for Tar<W> {
    fn directory(&mut self, path: &UserPath, stamp: Stamp) -> io::Result<()> {
        let mut header = tar_header(stamp);
        header.set_entry_type(tar::EntryType::Directory);
        self.builder.append_data(&mut header, path.as_path(), io::empty())
    }

    fn link(&mut self, path: &UserPath, stamp: Stamp, target: &[u8]) -> io::Result<()> {
        let mut header = tar_header(stamp);
        header.set_entry_type(tar::EntryType::Symlink);
        // Bytes as they are: the crate would tidy up a target that is not plain.
        append_link(&mut self.builder, &mut header, path.as_path(), target)?;
        self.bundled.files += 1;
        Ok(())
    }

    fn file(&mut self, path: &UserPath, stamp: Stamp, data: &mut dyn Read, bytes: u64) -> io::Result<()> {
        let mut header = tar_header(stamp);
        header.set_size(bytes);
        let mut data = Exactly::new(data, bytes);
        self.builder.append_data(&mut header, path.as_path(), &mut data)?;
        self.bundled.count(&data);
        Ok(())
    }

    fn leave_out(&mut self) {
        self.bundled.left_out += 1;
    }

    fn bundled(&self) -> Bundled {
        self.bundled
    }
}

/// Returns a header that says nothing of who made the file: owner and group are 0.
fn tar_header(stamp: Stamp) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(stamp.permissions);
    header.set_mtime(u64::try_from(stamp.modified_at.0 / 1_000_000).unwrap_or(0));
    header.set_size(0);
    header
}

struct Zip<W: Write> {
    writer: ZipWriter<zip::write::StreamWriter<Guarded<W>>>,
    failure: Failure,
    bundled: Bundled,
}

impl<W: Write> Zip<W> {
    /// Returns an entry's name. A zip's names are text; two that differ only in what is not text
    /// would be one.
    fn name<'p>(&mut self, path: &'p UserPath) -> Option<&'p str> {
        let name = std::str::from_utf8(path.as_bytes()).ok();
        self.bundled.left_out += u64::from(name.is_none());
        name
    }

    /// Ends the filling once the output has failed; its own error is told then, not this one.
    fn go_on(&self) -> io::Result<()> {
        if self.failure.borrow().is_some() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl<W: Write> Packer for Zip<W> {
    fn directory(&mut self, path: &UserPath, stamp: Stamp) -> io::Result<()> {
        let Some(name) = self.name(path) else { return Ok(()) };
        self.writer.add_directory(name, zip_options(stamp))?;
        self.go_on()
    }

    fn link(&mut self, _: &UserPath, _: Stamp, _: &[u8]) -> io::Result<()> {
        self.leave_out();
        Ok(())
    }

    fn file(&mut self, path: &UserPath, stamp: Stamp, data: &mut dyn Read, bytes: u64) -> io::Result<()> {
        let Some(name) = self.name(path) else { return Ok(()) };
        self.writer.start_file(name, zip_options(stamp).large_file(bytes >= u64::from(u32::MAX)))?;
        let mut data = Exactly::new(data, bytes);
        copy(&mut data, &mut self.writer, &self.failure)?;
        self.bundled.count(&data);
        self.go_on()
    }

    fn leave_out(&mut self) {
        self.bundled.left_out += 1;
    }

    fn bundled(&self) -> Bundled {
        self.bundled
    }
}

/// The first error of an output.
type Failure = Rc<RefCell<Option<io::Error>>>;

/// Swallows what comes after the first error. The zip writer is then finished like any other: left
/// in the middle, it would print a complaint of its own to the daemon's standard error.
struct Guarded<W> {
    out: W,
    failure: Failure,
}

impl<W: Write> Write for Guarded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.borrow().is_none()
            && let Err(error) = self.out.write_all(bytes)
        {
            self.failure.replace(Some(error));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies until the end or until the output has failed.
fn copy(from: &mut impl Read, to: &mut impl Write, failure: &Failure) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    while failure.borrow().is_none() {
        match from.read(&mut buffer)? {
            0 => break,
            length => to.write_all(&buffer[..length])?,
        }
    }
    Ok(())
}

impl Bundled {
    fn count<R>(&mut self, data: &Exactly<R>) {
        self.files += 1;
        self.bytes += data.size;
        self.shrank += u64::from(data.filled);
    }
}

fn append_link(
    builder: &mut tar::Builder<impl Write>,
    header: &mut tar::Header,
    path: &std::path::Path,
    target: &[u8],
) -> io::Result<()> {
    if header.set_link_name_literal(target).is_err() {
        return builder.append_link(
            header,
            path,
            std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target)),
        );
    }
    builder.append_data(header, path, io::empty())
}

/// Models hardly shrink and text does at any level; the lowest keeps up with a network.
fn zip_options(stamp: Stamp) -> SimpleFileOptions {
    let time =
        jiff::Timestamp::from_microsecond(stamp.modified_at.0).map(|time| time.to_zoned(jiff::tz::TimeZone::UTC));
    let time = time.ok().and_then(|t| {
        let two = |n: i8| u8::try_from(n).unwrap_or(0);
        let year = u16::try_from(t.year()).ok()?;
        DateTime::from_date_and_time(
            year,
            two(t.month()),
            two(t.day()),
            two(t.hour()),
            two(t.minute()),
            two(t.second()),
        )
        .ok()
    });
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(1))
        .unix_permissions(stamp.permissions)
        .last_modified_time(time.unwrap_or_default())
}

/// Gives exactly `size` bytes of a file, whatever becomes of it.
struct Exactly<R> {
    reader: R,
    size: u64,
    left: u64,
    filled: bool,
}

impl<R> Exactly<R> {
    fn new(reader: R, size: u64) -> Self {
        Self { reader, size, left: size, filled: false }
    }
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..want];
        let mut length = if self.filled { 0 } else { self.reader.read(buffer)? };
        if length == 0 && want > 0 {
            self.filled = true;
            buffer.fill(0);
            length = want;
        }
        self.left -= length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_or_grows_while_it_is_read_keeps_the_archive_whole() {
        let mut data = Exactly::new(&b"abc"[..], 5);
        let mut read = Vec::new();
        data.read_to_end(&mut read).unwrap();
        assert_eq!((read.as_slice(), data.filled), (&b"abc\0\0"[..], true));
        let mut data = Exactly::new(&b"abcdef"[..], 5);
        let mut read = Vec::new();
        data.read_to_end(&mut read).unwrap();
        assert_eq!((read.as_slice(), data.filled), (&b"abcde"[..], false));
    }
}
