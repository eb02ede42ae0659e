//! Answers questions about a log from its files. Every answer is bounded, and none depends on how
//! long the log is but a search's, which is cut into pieces, and a download's, which is a stream.

use std::{
    io, mem,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;

use crate::domain::{
    chart,
    output::{EngineTime, Stream},
};

use super::{
    record::{self, Source},
    segment::{self, Place, Segment},
    tail::Tail,
    writer::LinePoint,
};

/// Text that one answer holds at most, in bytes, and then up to one record more.
const ANSWER_BYTES: usize = 4 << 20;

/// One line as a reader sees it. `\r` and colours are in the text; what is not UTF-8 shows as U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub line: u64,
    pub time: EngineTime,
    pub source: Source,
    pub text: String,
    /// The line goes on in the next row of the same source, or its newline has not come.
    pub partial: bool,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub rows: Vec<Row>,
    /// The line from which to go on, or `None` when the log's present end is reached.
    pub next: Option<u64>,
}

/// A reader of one log. It remembers where it stopped, so that reading on from there is quick;
/// open one for each follower.
#[derive(Debug, Clone)]
pub struct LogReader {
    dir: PathBuf,
    stopped: Option<(Segment, Place)>,
}

impl LogReader {
    /// Prepares to read the log in `dir`; one that is not there is empty.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), stopped: None }
    }

    /// Returns how many lines there are.
    pub fn total(&self) -> io::Result<u64> {
        let Some(last) = segment::list(&self.dir)?.pop() else { return Ok(0) };
        Ok(last.visit(&self.dir, None, |_, _, _| ControlFlow::Continue(()))?.line)
    }

    /// Returns up to `limit` lines from `start` on; fewer when they are very long, none when `start`
    /// is the end.
    pub fn range(&mut self, start: u64, limit: usize) -> io::Result<Vec<Row>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        if limit == 0 {
            return Ok(rows);
        }
        self.visit(start, |number, line| {
            bytes += line.len();
            rows.extend(row(number, line));
            if rows.len() >= limit || bytes >= ANSWER_BYTES {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(rows)
    }

    /// Returns the last `n` lines.
    pub fn tail(&mut self, n: usize) -> io::Result<Vec<Row>> {
        let start = self.total()?.saturating_sub(n as u64);
        self.range(start, n)
    }

    /// Looks for lines whose text holds `query`, from `start` on, until it has `limit` of them or
    /// has read `scan_bytes`. Letters are compared as they are, or without regard to ASCII case.
    pub fn search(
        &mut self,
        query: &str,
        ignore_case: bool,
        start: u64,
        limit: usize,
        scan_bytes: usize,
    ) -> io::Result<Found> {
        let needle = AhoCorasick::builder()
            .ascii_case_insensitive(ignore_case)
            .build([query])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (mut rows, mut scanned, mut kept, mut next) = (Vec::new(), 0, 0, None);
        self.visit(start, |number, line| {
            scanned += line.len();
            let hit = record::parse(line).is_some_and(|(_, text)| needle.is_match(text));
            if hit {
                kept += line.len();
                rows.extend(row(number, line));
            }
            if rows.len() >= limit || scanned >= scan_bytes || kept >= ANSWER_BYTES {
                next = Some(number + 1);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(Found { rows, next })
    }

    /// Returns the charts' points that stand on lines from `start` on, and the line from which to go
    /// on, after reading about 16 MiB; `None` at the log's present end. For those whom a crash kept
    /// from storing what the writer told.
    pub fn points(&mut self, start: u64) -> io::Result<(Vec<LinePoint>, Option<u64>)> {
        const SCAN_BYTES: usize = 16 << 20;
        let (mut points, mut scanned, mut next) = (Vec::new(), 0, None);
        for segment in self.from(start)? {
            let Some(header) = header(&self.dir, segment)? else { break };
            let mut mid_line = [Stream::Stdout, Stream::Stderr].map(|stream| header.stream(stream).mid_line);
            let place = segment.visit(&self.dir, None, |number, line, _| {
                scanned += line.len();
                if let Some((head, text)) = record::parse(line)
                    && let Source::Output(stream) = head.source
                {
                    let whole = !mem::replace(&mut mid_line[stream as usize], head.partial) && !head.partial;
                    if whole
                        && number >= start
                        && let Some(point) = chart::parse(text)
                    {
                        points.push(LinePoint { line: number, point });
                    }
                }
                ControlFlow::Continue(())
            })?;
            if scanned >= SCAN_BYTES {
                next = Some(place.line);
                break;
            }
        }
        Ok((points, next))
    }

    /// Reads the log as plain text: what was written and what the daemon said, without times.
    pub fn download(&self) -> io::Result<Download> {
        Ok(Download { dir: self.dir.clone(), segments: segment::list(&self.dir)?.into_iter(), open: None })
    }

    /// Returns the segments that hold `start` and what follows.
    fn from(&self, start: u64) -> io::Result<Vec<Segment>> {
        let mut segments = segment::list(&self.dir)?;
        let begins = segments.partition_point(|segment| segment.first_line <= start).saturating_sub(1);
        Ok(segments.split_off(begins))
    }

    /// Shows every line from `start` on until `visit` breaks or the end is reached.
    fn visit(&mut self, start: u64, mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>) -> io::Result<()> {
        let mut broke = false;
        for segment in self.from(start)? {
            let known = self.stopped.filter(|(of, place)| of.first_line == segment.first_line && place.line <= start);
            let place = segment.visit(&self.dir, known.map(|(_, place)| place), |number, line, _| {
                if number < start {
                    return ControlFlow::Continue(());
                }
                let flow = visit(number, line);
                broke = flow.is_break();
                flow
            })?;
            self.stopped = Some((segment, place));
            if broke {
                break;
            }
        }
        Ok(())
    }
}

/// A log as plain text, in pieces of one segment each. A line that was cut into several records is
/// joined again unless another source wrote in between.
#[derive(Debug)]
pub struct Download {
    dir: PathBuf,
    segments: std::vec::IntoIter<Segment>,
    /// Whose line has not ended yet.
    open: Option<Source>,
}

impl Iterator for Download {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let segment = self.segments.next()?;
        let mut out = Vec::new();
        let visited = segment.visit(&self.dir, None, |_, line, _| {
            if let Some((head, text)) = record::parse(line) {
                if self.open.is_some_and(|open| open != head.source) {
                    out.push(b'\n');
                }
                out.extend_from_slice(text);
                if !head.partial {
                    out.push(b'\n');
                }
                self.open = head.partial.then_some(head.source);
            }
            ControlFlow::Continue(())
        });
        Some(visited.map(|_| out))
    }
}

fn row(line: u64, bytes: &[u8]) -> Option<Row> {
    let (head, text) = record::parse(bytes)?;
    let text = String::from_utf8_lossy(text).into_owned();
    Some(Row { line, time: head.time, source: head.source, text, partial: head.partial })
}

/// Reads how the log stood before `segment`; `None` while its header is being written.
fn header(dir: &Path, segment: Segment) -> io::Result<Option<Tail>> {
    segment.header(dir).map(|line| line.and_then(|line| Tail::parse_header(&line)))
}
