//! Appends to a log, exactly once.
//!
//! The engine is the log's source and repeats itself when asked. What makes a repeat exact is an
//! account in bytes: each record says how many of the engine's bytes it stands for, so a writer
//! that is opened knows how many bytes of each (time, pipe) are stored and drops as many when they
//! come again. Neither masking, nor splitting, nor how the engine cuts its output into pieces
//! matters to that, and equal times do no harm.
//!
//! Bytes that the masker holds back are not stored, hence repeated too; a record marked as held
//! keeps their time in mind. A secret that spans pieces becomes records that are glued, of which a
//! crash leaves either all or none.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::domain::{
    chart::{self, Point},
    output::{EngineTime, LogChunk, Stream},
};

use super::{
    cutter::{Credit, Cutter, split},
    mask::{Masker, Part},
    record::{self, ClockFace, Head, Source},
    recovery::{Current, Recovered, Repeat},
    segment::{self, Segment},
    tail::Tail,
};

/// Bytes that gather before they are written within one call.
const BUFFER_BYTES: usize = 256 * 1024;

/// What the daemon may still say, in bytes, after a log was cut.
const LAST_WORDS_BYTES: u64 = 64 * 1024;

/// The bounds of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records that are kept before the log is cut.
    pub max_bytes: u64,
    /// Bytes after which a new segment begins; what reading a range costs at most.
    pub segment_bytes: u64,
    /// Bytes of text in one record.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, segment_bytes: 2 << 20, line_bytes: 64 << 10 }
    }
}

/// A chart's point and the line that it stands on: a key under which storing it twice is harmless.
#[derive(Debug, Clone, PartialEq)]
pub struct LinePoint {
    pub line: u64,
    pub point: Point,
}

/// What one write added.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// The number of the first line that was added, or will be next.
    pub first_line: u64,
    pub lines: u64,
    pub points: Vec<LinePoint>,
}

impl Appended {
    /// Returns how many lines the log has now.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.first_line + self.lines
    }
}

/// A log that is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    pub lines: u64,
    /// Bytes of output that are not in the log because it was cut.
    pub dropped_bytes: u64,
}

/// The one who writes a log.
///
/// After an error the writer refuses everything: what is on disk is only known by opening it anew,
/// which repairs it and tells from when the engine must repeat. The same goes for a stream of the
/// engine that broke. Dropping a writer loses nothing that the engine cannot repeat.
pub struct LogWriter {
    dir: PathBuf,
    limits: Limits,
    masker: Arc<Masker>,
    tail: Tail,
    next_line: u64,
    current: Option<Current>,
    buffer: Vec<u8>,
    clock: ClockFace,
    held: [Held; 2],
    repeat: Repeat,
    points: Vec<LinePoint>,
    dropped_bytes: u64,
    resumed_cut: bool,
    broken: bool,
}

/// Output of one pipe that the masker could not decide on yet.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// Which pieces the bytes come from, and how many from each.
    credits: Vec<Credit>,
}

impl LogWriter {
    /// Opens the log in `dir`, which is made when it is not there. What a crash left half-written
    /// at its end is removed.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when a segment is not one of ours.
    pub fn open(dir: &Path, limits: Limits, masker: Masker) -> io::Result<Self> {
        let Recovered { tail, next_line, current, repeat } = Recovered::of(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            limits,
            masker: Arc::new(masker),
            next_line,
            current,
            buffer: Vec::new(),
            clock: ClockFace::default(),
            held: Default::default(),
            repeat,
            points: Vec::new(),
            dropped_bytes: 0,
            resumed_cut: tail.cuts > 0,
            broken: false,
            tail,
        })
    }

    /// Returns the time from which the engine has to repeat its output (inclusive), or `None` when
    /// it has to begin at the beginning. What is stored already is dropped when it comes.
    #[must_use]
    pub fn resume_since(&self) -> Option<EngineTime> {
        self.repeat.since
    }

    /// Returns the number of the next line, which is how many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.next_line
    }

    /// Appends output in the order in which the engine gave it. When this returns, readers see it,
    /// and it outlives the daemon; see [`LogWriter::sync`] for the machine.
    pub fn write(&mut self, chunks: &[LogChunk]) -> io::Result<Appended> {
        self.append(|log| chunks.iter().try_for_each(|chunk| log.take(chunk)))
    }

    /// Appends words of the daemon's own, or of a build: each line of `text` is a line. They are
    /// masked, and they are not part of what the engine repeats.
    pub fn system(&mut self, text: &str, time: EngineTime) -> io::Result<Appended> {
        let time = record::representable(time);
        self.append(|log| {
            let masker = Arc::clone(&log.masker);
            let text = masker.mask(text.strip_suffix('\n').unwrap_or(text));
            for line in text.split('\n') {
                let mut rest = line.as_bytes();
                loop {
                    let (text, after) = split(rest, log.limits.line_bytes);
                    rest = after;
                    let partial = !rest.is_empty();
                    let raw = text.len() as u64 + u64::from(!partial);
                    log.push(Head { time, source: Source::System, partial, held: false, glued: false, raw }, text)?;
                    if !partial {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    /// Makes what was written outlive a failure of the machine.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(current) = &self.current {
            current.file.sync_data()?;
        }
        segment::sync_dir(&self.dir)
    }

    /// Closes the log of a run that is drained: stores what was held back, tells what was dropped,
    /// makes all durable and compresses it. Opening and finishing a finished log again changes nothing.
    pub fn finish(mut self) -> io::Result<Finished> {
        self.append(|log| {
            log.release_held()?;
            log.tell_dropped()
        })?;
        self.sync()?;
        self.current = None;
        crate::fault::point("log.finished");
        for segment in segment::list(&self.dir)?.into_iter().filter(|segment| !segment.compressed) {
            segment.compress(&self.dir)?;
        }
        segment::sync_dir(&self.dir)?;
        Ok(Finished { lines: self.next_line, dropped_bytes: self.dropped_bytes })
    }

    /// Runs one call's work and writes what it gathered.
    fn append(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<Appended> {
        if mem::replace(&mut self.broken, true) {
            return Err(io::Error::other("this log has failed before; open it anew"));
        }
        let first_line = self.next_line;
        work(self)?;
        self.flush()?;
        self.broken = false;
        Ok(Appended { first_line, lines: self.next_line - first_line, points: mem::take(&mut self.points) })
    }

    /// Takes one piece of output.
    fn take(&mut self, chunk: &LogChunk) -> io::Result<()> {
        let time = record::representable(chunk.time);
        let bytes = &chunk.bytes[self.repeat.stored_of(time, chunk.stream, chunk.bytes.len())..];
        let held = &mut self.held[chunk.stream as usize];
        if bytes.is_empty() {
            return Ok(());
        }
        if self.masker.is_idle() && held.bytes.is_empty() && bytes.ends_with(b"\n") {
            return self.take_plain_lines(chunk.stream, time, bytes);
        }
        let Held { bytes: mut all, mut credits } = mem::take(held);
        let was_held = all.len();
        all.extend_from_slice(bytes);
        credits.push(Credit { time, bytes: bytes.len() });
        self.take_masked(chunk.stream, &all, credits, was_held, false)
    }

    /// Takes whole lines that need no masking: most of all output.
    fn take_plain_lines(&mut self, stream: Stream, time: EngineTime, bytes: &[u8]) -> io::Result<()> {
        let head = Head { time, source: Source::Output(stream), partial: false, held: false, glued: false, raw: 0 };
        let mut begun = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let mut line = &bytes[begun..end];
            begun = end + 1;
            while line.len() > self.limits.line_bytes {
                let (part, rest) = split(line, self.limits.line_bytes);
                self.push(Head { partial: true, raw: part.len() as u64, ..head }, part)?;
                line = rest;
            }
            self.push(Head { raw: line.len() as u64 + 1, ..head }, line)?;
        }
        Ok(())
    }

    /// Takes bytes that come from several pieces, the last of which is new, through the masker.
    fn take_masked(
        &mut self,
        stream: Stream,
        all: &[u8],
        credits: Vec<Credit>,
        was_held: usize,
        ends: bool,
    ) -> io::Result<()> {
        let masker = Arc::clone(&self.masker);
        let mut parts = Vec::new();
        let decided = masker.scan(all, ends, |part| parts.push(part));
        let line_bytes = self.limits.line_bytes;
        let mut cutter = Cutter::new(stream, &credits, line_bytes, |head, text| self.push(head, text));
        for part in parts {
            match part {
                Part::Shown(bytes) => cutter.shown(bytes)?,
                Part::Hidden { mark, raw } => cutter.hidden(mark.as_bytes(), raw)?,
            }
        }
        let holds = decided < all.len();
        let left_over = if holds { cutter.left_over() } else { Vec::new() };
        // What waits since an earlier piece has left its time in the log then.
        if !(holds && decided == 0 && was_held > 0) {
            cutter.end(holds)?;
        }
        if holds {
            self.held[stream as usize] = Held { bytes: all[decided..].to_vec(), credits: left_over };
        }
        Ok(())
    }

    /// Stores what is held back as it is: nothing follows that could make a secret of it.
    fn release_held(&mut self) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Held { bytes, credits } = mem::take(&mut self.held[stream as usize]);
            if !bytes.is_empty() {
                self.take_masked(stream, &bytes, credits, bytes.len(), true)?;
            }
        }
        Ok(())
    }

    /// Puts one record at the end of the log, or counts what it would have held.
    fn push(&mut self, head: Head, text: &[u8]) -> io::Result<()> {
        let last_words = if head.source == Source::System && self.tail.cuts > 0 { LAST_WORDS_BYTES } else { 0 };
        if self.tail.cuts > 0 && last_words == 0 {
            self.dropped_bytes += head.raw;
            return Ok(());
        }
        // Heads are under 64 bytes.
        if self.tail.bytes + text.len() as u64 + 64 > self.limits.max_bytes + last_words {
            if self.tail.cuts == 0 {
                let cut = format!("the log is cut here: it has reached {}", in_units(self.limits.max_bytes));
                self.push_record(mark_at(head.time), cut.as_bytes())?;
            }
            self.dropped_bytes += head.raw;
            return Ok(());
        }
        if let Source::Output(stream) = head.source
            && !head.partial
            && !self.tail.stream(stream).mid_line
            && let Some(point) = chart::parse(text)
        {
            self.points.push(LinePoint { line: self.next_line, point });
        }
        self.push_record(head, text)
    }

    /// Tells at the end of a cut log how much is missing.
    fn tell_dropped(&mut self) -> io::Result<()> {
        let Some(newest) = self.tail.newest.filter(|_| self.tail.cuts == 1 && self.dropped_bytes > 0) else {
            return Ok(());
        };
        // The count before a crash is not known, only what the engine could repeat of it.
        let at_least = if self.resumed_cut { "at least " } else { "" };
        let told = format!("{at_least}{} bytes of output after the cut were not kept", self.dropped_bytes);
        self.push_record(mark_at(newest), told.as_bytes())
    }

    fn push_record(&mut self, head: Head, text: &[u8]) -> io::Result<()> {
        if self.current.is_none() {
            self.begin_segment()?;
        }
        let len = record::push(&mut self.buffer, &mut self.clock, &head, text);
        self.tail.observe(&head, len);
        self.next_line += 1;
        if head.glued {
            return Ok(());
        }
        let full = self.current.as_ref().map_or(0, |current| current.len) + self.buffer.len() as u64;
        if full >= self.limits.segment_bytes {
            self.flush()?;
            // Whatever the machine does, only the last segment can be torn.
            self.sync()?;
            self.current = None;
        } else if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let segment = Segment { first_line: self.next_line, compressed: false };
        let file = OpenOptions::new().append(true).create_new(true).open(segment.path(&self.dir))?;
        self.tail.push_header(&mut self.buffer);
        self.current = Some(Current { file, len: 0 });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(current) = &mut self.current {
            current.file.write_all(&self.buffer)?;
            current.len += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

fn mark_at(time: EngineTime) -> Head {
    Head { time, source: Source::Cut, partial: false, held: false, glued: false, raw: 0 }
}

fn in_units(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{bytes} bytes"),
    }
}
