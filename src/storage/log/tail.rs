//! Where a log stands: what must be known of everything stored so far to go on with it.
//!
//! Each segment begins with a header line that holds the tail before it, so that after a crash the
//! last segment alone tells how far the log is, and how many earlier ones matter for a resume:
//! ```text
//! #gradientd-log 1 bytes=2097201 cuts=0 newest=2026-…Z stdout=-,+ stderr=2026-…Z,.
//! ```

use crate::domain::output::{EngineTime, Stream};

use super::record::{self, ClockFace, Head, Source};

/// How much older than the newest record an unstored piece of output may be. The engine stamps
/// both pipes' output before it takes turns to store it, so times are only nearly in order.
const SLACK_SECONDS: i64 = 2;

/// What is known of everything stored so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail {
    /// Bytes of all records, headers left out.
    pub bytes: u64,
    /// How many of the two marks of a cut log are written: that it is cut, and what was dropped.
    pub cuts: u8,
    /// The latest time of any output.
    pub newest: Option<EngineTime>,
    stdout: StreamTail,
    stderr: StreamTail,
}

/// What is known of one pipe's records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamTail {
    /// The time of the earliest output of which something is held back and not stored.
    held_since: Option<EngineTime>,
    /// The last record's line goes on.
    pub mid_line: bool,
}

impl Tail {
    /// Takes in the next record, which is `len` bytes long.
    pub fn observe(&mut self, head: &Head, len: usize) {
        self.bytes += len as u64;
        match head.source {
            Source::System => {}
            Source::Cut => self.cuts += 1,
            Source::Output(stream) => {
                self.newest = self.newest.max(Some(head.time));
                let tail = self.stream_mut(stream);
                tail.held_since = head.held.then_some(tail.held_since.unwrap_or(head.time));
                tail.mid_line = head.partial;
            }
        }
    }

    pub fn stream(&self, stream: Stream) -> &StreamTail {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn stream_mut(&mut self, stream: Stream) -> &mut StreamTail {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Returns the time from which the engine must repeat its output, in whole seconds; `None` when
    /// it must repeat all. Whatever the log lacks is not older: each pipe is in order in itself, the
    /// two are within [`SLACK_SECONDS`] of each other, and what is held back has left its time here.
    /// Only a clock of the box that is set back by more than that, just before a crash, breaks this.
    pub fn resume_since(&self) -> Option<EngineTime> {
        let floor = self.newest?.minus_seconds(SLACK_SECONDS);
        let held = [self.stdout.held_since, self.stderr.held_since].into_iter().flatten().min();
        let since = held.map_or(floor, |held| held.min(floor));
        Some(EngineTime { nanos: 0, ..since })
    }

    /// Writes the header line of a segment that begins here.
    pub fn push_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("#gradientd-log 1 bytes={} cuts={} newest=", self.bytes, self.cuts).as_bytes());
        push_time(out, self.newest);
        for (name, tail) in [(" stdout=", self.stdout), (" stderr=", self.stderr)] {
            out.extend_from_slice(name.as_bytes());
            push_time(out, tail.held_since);
            out.extend_from_slice(if tail.mid_line { b",+" } else { b",." });
        }
        out.push(b'\n');
    }

    /// Reads a header line, without its newline.
    pub fn parse_header(line: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.strip_prefix("#gradientd-log 1 ")?.split(' ');
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
        Some(Self {
            bytes: field("bytes")?.parse().ok()?,
            cuts: field("cuts")?.parse().ok()?,
            newest: parse_time(field("newest")?)?,
            stdout: StreamTail::parse(field("stdout")?)?,
            stderr: StreamTail::parse(field("stderr")?)?,
        })
    }
}

impl StreamTail {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        Some(Self {
            held_since: parse_time(parts.next()?)?,
            mid_line: match parts.next()? {
                "+" => true,
                "." => false,
                _ => return None,
            },
        })
    }
}

fn push_time(out: &mut Vec<u8>, time: Option<EngineTime>) {
    match time {
        Some(time) => ClockFace::default().push(out, time),
        None => out.push(b'-'),
    }
}

/// Reads a time or the `-` that stands for none.
fn parse_time(text: &str) -> Option<Option<EngineTime>> {
    if text == "-" { Some(None) } else { record::parse_time(text.as_bytes()).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> EngineTime {
        EngineTime { seconds, nanos: 7 }
    }

    fn output(stream: Stream, seconds: i64, held: bool) -> Head {
        Head { time: at(seconds), source: Source::Output(stream), partial: held, held, glued: false, raw: 1 }
    }

    #[test]
    fn a_header_reads_back_as_the_tail() {
        let mut tail = Tail::default();
        for head in [output(Stream::Stdout, 5, true), output(Stream::Stderr, 9, false)] {
            let mut line = Vec::new();
            tail.push_header(&mut line);
            line.pop();
            assert_eq!(Tail::parse_header(&line), Some(tail));
            tail.observe(&head, 40);
        }
        assert_eq!(tail.bytes, 80);
    }

    #[test]
    fn a_resume_goes_back_to_what_is_held() {
        let mut tail = Tail::default();
        assert_eq!(tail.resume_since(), None);
        tail.observe(&output(Stream::Stdout, 5, true), 40);
        tail.observe(&output(Stream::Stderr, 900, false), 40);
        assert_eq!(tail.resume_since(), Some(EngineTime { seconds: 5, nanos: 0 }));
        tail.observe(&output(Stream::Stdout, 901, false), 40);
        assert_eq!(tail.resume_since(), Some(EngineTime { seconds: 899, nanos: 0 }));
    }
}
