//! The files of a log: segments of a few MiB, each named by the number of its first line
//! (`000000001234.log`), and compressed one by one once the run has ended (`000000001234.zst`).
//!
//! Compressing makes the new file whole under another name and renames it before the old one goes.
//! A crash in between leaves both; then the compressed one counts, and the next writer tidies up.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::record::{self, Head};

/// How much of a segment is in memory at once while it is read.
const WINDOW_BYTES: usize = 128 * 1024;

/// More than any header line has.
const HEADER_BYTES: u64 = 1024;

/// One file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub first_line: u64,
    pub compressed: bool,
}

/// A place in a segment between two records: bytes of the uncompressed segment, and the number of
/// the record that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub line: u64,
}

impl Segment {
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:012}.{}", self.first_line, if self.compressed { "zst" } else { "log" }))
    }

    /// Opens the uncompressed bytes from `offset` on, in whichever form the segment has by now.
    fn open(self, dir: &Path, offset: u64) -> io::Result<Box<dyn Read>> {
        match File::open(self.path(dir)) {
            Ok(file) if self.compressed => {
                let mut bytes = zstd::Decoder::new(file)?;
                io::copy(&mut (&mut bytes).take(offset), &mut io::sink())?;
                Ok(Box::new(bytes))
            }
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(file))
            }
            // Compressed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.compressed => {
                Self { compressed: true, ..self }.open(dir, offset)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the uncompressed bytes.
    pub fn read(self, dir: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(dir, 0)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the header line; `None` while it is not written whole.
    pub fn header(self, dir: &Path) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.open(dir, 0)?.take(HEADER_BYTES).read_to_end(&mut bytes)?;
        Ok(memchr::memchr(b'\n', &bytes).map(|end| {
            bytes.truncate(end);
            bytes
        }))
    }

    /// Shows each whole line from `from` on to `visit`, with the place behind it, until it breaks.
    /// The header is passed over. Returns the place behind the last whole line that was shown.
    pub fn visit(
        self,
        dir: &Path,
        from: Option<Place>,
        mut visit: impl FnMut(u64, &[u8], Place) -> ControlFlow<()>,
    ) -> io::Result<Place> {
        let mut place = from.unwrap_or(Place { offset: 0, line: self.first_line });
        let mut source = self.open(dir, place.offset)?;
        let mut window = Vec::new();
        loop {
            let begun = window.len();
            let read = (&mut source).take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
            if read == 0 {
                return Ok(place);
            }
            let mut done = 0;
            for newline in memchr::memchr_iter(b'\n', &window[begun..]) {
                let end = begun + newline;
                let line = &window[done..end];
                place.offset += (line.len() + 1) as u64;
                done = end + 1;
                if line.starts_with(b"#") {
                    continue;
                }
                let number = place.line;
                place.line += 1;
                if visit(number, line, place).is_break() {
                    return Ok(place);
                }
            }
            window.drain(..done);
        }
    }

    /// Replaces a closed segment by its compressed form.
    pub fn compress(self, dir: &Path) -> io::Result<()> {
        let whole = Self { compressed: true, ..self }.path(dir);
        let half = whole.with_extension("tmp");
        let mut target = zstd::Encoder::new(File::create(&half)?, 3)?;
        io::copy(&mut File::open(self.path(dir))?, &mut target)?;
        target.finish()?.sync_all()?;
        crate::fault::point("log.compressed");
        fs::rename(&half, &whole)?;
        sync_dir(dir)?;
        crate::fault::point("log.compress-renamed");
        fs::remove_file(self.path(dir))
    }
}

/// Lists the segments in order. A folder that is not there is an empty log.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some((stem, form)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let (Ok(first_line), "log" | "zst") = (stem.parse(), form) else { continue };
        segments.push(Segment { first_line, compressed: form == "zst" });
    }
    segments.sort_by_key(|segment| (segment.first_line, !segment.compressed));
    segments.dedup_by_key(|segment| segment.first_line);
    Ok(segments)
}

/// Removes what a crash may have left: half-made files, and segments that are there compressed.
pub fn tidy(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let form = path.extension().and_then(|form| form.to_str());
        if form == Some("tmp") || (form == Some("log") && path.with_extension("zst").exists()) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A whole record in a segment's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    pub head: Head,
    /// The offset behind its newline.
    pub end: usize,
}

/// Splits a segment's bytes into its header line and the whole records behind it, up to the first
/// that is torn. `None` when the header itself is.
pub fn records(bytes: &[u8]) -> Option<(&[u8], impl Iterator<Item = Stored>)> {
    let header_end = memchr::memchr(b'\n', bytes)?;
    let mut offset = header_end + 1;
    let records = std::iter::from_fn(move || {
        let newline = offset + memchr::memchr(b'\n', &bytes[offset..])?;
        let (head, _) = record::parse(&bytes[offset..newline])?;
        offset = newline + 1;
        Some(Stored { head, end: offset })
    });
    Some((&bytes[..header_end], records))
}
