//! What a log is when it is opened: repaired at its end, and with an account of what it has.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use crate::domain::output::{EngineTime, Stream};

use super::{
    record::Source,
    segment::{self, Segment, Stored},
    tail::Tail,
};

/// A log that can be gone on with.
#[derive(Debug, Default)]
pub struct Recovered {
    pub tail: Tail,
    pub next_line: u64,
    /// The last segment, while it is open for more.
    pub current: Option<Current>,
    pub repeat: Repeat,
}

/// The segment that grows.
#[derive(Debug)]
pub struct Current {
    pub file: File,
    /// Bytes in it.
    pub len: u64,
}

/// What the engine is expected to say again.
#[derive(Debug, Default)]
pub struct Repeat {
    /// From when on; `None` is from the beginning.
    pub since: Option<EngineTime>,
    stored: HashMap<(EngineTime, Stream), u64>,
}

impl Recovered {
    /// Opens the log in `dir`, makes the folder when it is not there, and removes what a crash left
    /// half-written at its end.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when a segment is not one of ours; it is left as it is.
    pub fn of(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        segment::tidy(dir)?;
        let mut segments = segment::list(dir)?;
        while let Some(&last) = segments.last() {
            let bytes = last.read(dir)?;
            let whole = match Whole::of(&bytes, last.first_line) {
                Some(whole) if last.compressed || whole.next_line > last.first_line => whole,
                // Made just before a crash and without a record; all that counts is in the one before.
                found if found.is_some() || !(last.compressed || bytes.contains(&b'\n')) => {
                    fs::remove_file(last.path(dir))?;
                    segments.pop();
                    continue;
                }
                _ => return Err(foreign(last)),
            };
            let current = if last.compressed { None } else { Some(whole.reopen(&last.path(dir), bytes.len())?) };
            let repeat = Repeat::of(dir, &segments, &whole.tail)?;
            return Ok(Self { tail: whole.tail, next_line: whole.next_line, current, repeat });
        }
        Ok(Self::default())
    }
}

/// The part of a segment that holds good, and where the log stands behind it.
struct Whole {
    len: usize,
    next_line: u64,
    tail: Tail,
}

impl Whole {
    /// `None` when the header is torn.
    fn of(bytes: &[u8], first_line: u64) -> Option<Self> {
        let (header, records) = segment::records(bytes)?;
        let mut tail = Tail::parse_header(header)?;
        let mut whole = Self { len: header.len() + 1, next_line: first_line, tail };
        let mut begun = whole.len;
        for (line, Stored { head, end }) in (first_line..).zip(records) {
            tail.observe(&head, end - begun);
            begun = end;
            if !head.glued {
                whole = Self { len: end, next_line: line + 1, tail };
            }
        }
        Some(whole)
    }

    /// Opens the segment for more, without the part that is torn.
    fn reopen(&self, path: &Path, present_len: usize) -> io::Result<Current> {
        let file = OpenOptions::new().append(true).open(path)?;
        if self.len < present_len {
            file.set_len(self.len as u64)?;
            file.sync_all()?;
        }
        Ok(Current { file, len: self.len as u64 })
    }
}

impl Repeat {
    /// Counts what is stored of the output that the engine will repeat.
    fn of(dir: &Path, segments: &[Segment], tail: &Tail) -> io::Result<Self> {
        let Some(since) = tail.resume_since() else { return Ok(Self::default()) };
        let mut stored = HashMap::new();
        for segment in segments.iter().rev() {
            let bytes = segment.read(dir)?;
            let (header, records) = segment::records(&bytes).ok_or_else(|| foreign(*segment))?;
            for Stored { head, .. } in records {
                if let Source::Output(stream) = head.source
                    && head.time >= since
                    && head.raw > 0
                {
                    *stored.entry((head.time, stream)).or_default() += head.raw;
                }
            }
            let before = Tail::parse_header(header).ok_or_else(|| foreign(*segment))?;
            if before.newest.is_none_or(|newest| newest < since) {
                break;
            }
        }
        Ok(Self { since: Some(since), stored })
    }

    /// Returns how many of the next `len` bytes of (time, pipe) are stored already.
    pub fn stored_of(&mut self, time: EngineTime, stream: Stream, len: usize) -> usize {
        if self.stored.is_empty() {
            return 0;
        }
        let Some(left) = self.stored.get_mut(&(time, stream)) else { return 0 };
        let known = usize::try_from(*left).unwrap_or(usize::MAX).min(len);
        *left -= known as u64;
        if *left == 0 {
            self.stored.remove(&(time, stream));
        }
        known
    }
}

fn foreign(segment: Segment) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log segment {} is damaged", segment.first_line))
}
