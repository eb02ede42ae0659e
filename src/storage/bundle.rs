//! A whole tree as one archive, written while it is read.
//!
//! The length of a file is said before its bytes, and a container may still be writing to it: what
//! grows is cut there, what shrinks is filled with zeros, what vanishes is left out, and all of that
//! is told at the end.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read, Write},
    rc::Rc,
};

use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use super::{
    artifact::{Artifact, Artifacts},
    beneath::{Beneath, Kind},
};

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

impl Artifacts {
    /// Writes the whole tree to `out`. Blocks as long as the reader of `out` takes.
    ///
    /// # Errors
    /// Those of `out`; what is wrong with the tree is counted in [`Bundled`].
    pub fn bundle(&self, kind: BundleKind, out: impl Write) -> io::Result<Bundled> {
        match kind {
            BundleKind::Tar => self.bundle_tar(out),
            BundleKind::Zip => self.bundle_zip(out),
        }
    }

    fn bundle_tar(&self, out: impl Write) -> io::Result<Bundled> {
        let mut bundled = Bundled::default();
        let mut builder = tar::Builder::new(out);
        self.walk(|dir, name, entry| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.facts.permissions);
            header.set_mtime(u64::try_from(entry.facts.modified_at.0 / 1_000_000).unwrap_or(0));
            header.set_size(0);
            let path = entry.path.as_path();
            match entry.facts.kind {
                Kind::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    builder.append_data(&mut header, path, io::empty())?;
                }
                Kind::Link => match dir.link_target(name) {
                    Ok(target) => {
                        header.set_entry_type(tar::EntryType::Symlink);
                        // Bytes as they are: the crate would tidy up a target that is not plain.
                        append_link(&mut builder, &mut header, path, &target)?;
                        bundled.files += 1;
                    }
                    Err(_) => bundled.left_out += 1,
                },
                Kind::File => match open(dir, name) {
                    Some((file, size)) => {
                        header.set_size(size);
                        let mut data = Exactly::new(file, size);
                        builder.append_data(&mut header, path, &mut data)?;
                        bundled.count(&data);
                    }
                    None => bundled.left_out += 1,
                },
                Kind::Other => bundled.left_out += 1,
            }
            Ok(true)
        })?;
        builder.into_inner()?.flush()?;
        Ok(bundled)
    }

    fn bundle_zip(&self, out: impl Write) -> io::Result<Bundled> {
        let mut bundled = Bundled::default();
        let failure = Failure::default();
        let mut zip = ZipWriter::new_stream(Guarded { out, failure: failure.clone() });
        let walked = self.walk(|dir, name, entry| {
            // A zip's names are text. Two that differ only in what is not text would be one.
            let (Ok(path), options) = (std::str::from_utf8(entry.path.as_bytes()), zip_options(entry)) else {
                bundled.left_out += 1;
                return Ok(true);
            };
            match entry.facts.kind {
                Kind::Directory => zip.add_directory(path, options)?,
                Kind::File => match open(dir, name) {
                    Some((file, size)) => {
                        zip.start_file(path, options.large_file(size >= u64::from(u32::MAX)))?;
                        let mut data = Exactly::new(file, size);
                        copy(&mut data, &mut zip, &failure)?;
                        bundled.count(&data);
                    }
                    None => bundled.left_out += 1,
                },
                Kind::Link | Kind::Other => bundled.left_out += 1,
            }
            Ok(failure.borrow().is_none())
        });
        let finished = zip.finish();
        if let Some(error) = failure.take() {
            return Err(error);
        }
        walked?;
        finished?.into_inner().out.flush()?;
        Ok(bundled)
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
    fn count(&mut self, data: &Exactly<File>) {
        self.files += 1;
        self.bytes += data.size;
        self.shrank += u64::from(data.filled);
    }
}

fn open(dir: &Beneath, name: &[u8]) -> Option<(File, u64)> {
    let path = crate::domain::user_path::UserPath::root().join(name).ok()?;
    let (file, facts) = dir.file(&path).ok()?;
    Some((file, facts.size_bytes))
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
fn zip_options(entry: &Artifact) -> SimpleFileOptions {
    let time =
        jiff::Timestamp::from_microsecond(entry.facts.modified_at.0).map(|time| time.to_zoned(jiff::tz::TimeZone::UTC));
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
        .unix_permissions(entry.facts.permissions)
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
    use std::{
        fs,
        os::unix::{ffi::OsStrExt, fs::symlink},
        path::Path,
        process::Command,
    };

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(150);
        fs::create_dir_all(dir.path().join("models").join(&long)).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("models").join(&long).join("weights"), vec![7; 100_000]).unwrap();
        fs::write(dir.path().join("zero"), "").unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
        dir
    }

    fn bundle(dir: &Path, kind: BundleKind) -> (tempfile::NamedTempFile, Bundled) {
        let mut out = tempfile::NamedTempFile::new().unwrap();
        let bundled = Artifacts::open(dir).unwrap().bundle(kind, &mut out).unwrap();
        (out, bundled)
    }

    #[test]
    fn a_tar_of_a_tree_unpacks_to_the_same_tree() {
        let dir = tree();
        let (out, bundled) = bundle(dir.path(), BundleKind::Tar);
        assert_eq!(bundled, Bundled { files: 4, bytes: 100_001, left_out: 1, shrank: 0 });
        let to = tempfile::tempdir().unwrap();
        assert!(Command::new("tar").arg("-xf").arg(out.path()).arg("-C").arg(to.path()).status().unwrap().success());
        fs::remove_file(dir.path().join("pipe")).unwrap();
        let same =
            Command::new("diff").args(["-r", "--no-dereference"]).arg(dir.path()).arg(to.path()).status().unwrap();
        assert!(same.success());
    }

    #[test]
    fn a_zip_of_a_tree_holds_its_files_and_passes_another_programs_test() {
        let dir = tree();
        let (out, bundled) = bundle(dir.path(), BundleKind::Zip);
        assert_eq!((bundled.files, bundled.left_out), (2, 3));
        let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(len(z.namelist()))";
        let said = Command::new("python3").args(["-c", script]).arg(out.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "5", "{}", String::from_utf8_lossy(&said.stderr));
    }

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

    #[test]
    fn a_reader_that_goes_away_ends_the_bundle() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dir = tree();
        for kind in [BundleKind::Tar, BundleKind::Zip] {
            let error = Artifacts::open(dir.path()).unwrap().bundle(kind, Gone).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
