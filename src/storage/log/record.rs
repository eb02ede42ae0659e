//! One record of a segment: a line of plain text that tells when, from where and what.
//!
//! ```text
//! 2026-01-31T08:00:00.123456789Z o epoch 1
//! 2026-01-31T08:00:00.223456789Z e+ a very long line, its first part
//! 2026-01-31T08:00:00.323456789Z o=34 token is [secret:TOKEN]
//! ```
//! After the time stands the [`Source`], then what is true of the record:
//! `+` the line goes on in the source's next record, `?` more bytes of this piece of output are
//! still held back by the masker, `&` the record means nothing without the one that follows, and
//! `=N` how many of the engine's bytes it stands for where its text does not tell.
//!
//! The text holds every byte but a newline, so `\r`, colours and bytes that are not UTF-8 are kept.

use crate::domain::output::{EngineTime, Stream};

/// Bytes of a time: `2026-01-31T08:00:00.123456789Z`.
const TIME_LEN: usize = 30;

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Output(Stream),
    /// The daemon, in its own words.
    System,
    /// The daemon, telling that the log ends here for want of room.
    Cut,
}

impl Source {
    fn letter(self) -> u8 {
        match self {
            Self::Output(Stream::Stdout) => b'o',
            Self::Output(Stream::Stderr) => b'e',
            Self::System => b's',
            Self::Cut => b'x',
        }
    }

    fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'o' => Self::Output(Stream::Stdout),
            b'e' => Self::Output(Stream::Stderr),
            b's' => Self::System,
            b'x' => Self::Cut,
            _ => return None,
        })
    }

    /// Returns the word that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Output(Stream::Stdout) => "stdout",
            Self::Output(Stream::Stderr) => "stderr",
            Self::System | Self::Cut => "system",
        }
    }
}

/// What a record tells besides its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub time: EngineTime,
    pub source: Source,
    pub partial: bool,
    /// More of the same piece of output is held back and not on disk.
    pub held: bool,
    /// Must be followed by another record; a log that ends with this one was torn there.
    pub glued: bool,
    /// Bytes of the engine's output that this record stands for.
    pub raw: u64,
}

/// Appends a record to `out`. `text` has no newline. Returns how many bytes it took.
pub fn push(out: &mut Vec<u8>, clock: &mut ClockFace, head: &Head, text: &[u8]) -> usize {
    debug_assert!(memchr::memchr(b'\n', text).is_none());
    let before = out.len();
    clock.push(out, head.time);
    out.extend_from_slice(&[b' ', head.source.letter()]);
    for (is, flag) in [(head.partial, b'+'), (head.held, b'?'), (head.glued, b'&')] {
        if is {
            out.push(flag);
        }
    }
    if head.raw != natural(text, head.partial) {
        out.push(b'=');
        out.extend_from_slice(head.raw.to_string().as_bytes());
    }
    out.push(b' ');
    out.extend_from_slice(text);
    out.push(b'\n');
    out.len() - before
}

/// Reads a record from a line without its newline; `None` when it is not one.
#[must_use]
pub fn parse(line: &[u8]) -> Option<(Head, &[u8])> {
    let time = parse_time(line.get(..TIME_LEN)?)?;
    let rest = line[TIME_LEN..].strip_prefix(b" ")?;
    let (&letter, mut rest) = rest.split_first()?;
    let source = Source::of(letter)?;
    let mut flag = |flag: u8| match rest.split_first() {
        Some((&first, after)) if first == flag => {
            rest = after;
            true
        }
        _ => false,
    };
    let (partial, held, glued, told) = (flag(b'+'), flag(b'?'), flag(b'&'), flag(b'='));
    let space = memchr::memchr(b' ', rest)?;
    let (number, text) = (&rest[..space], &rest[space + 1..]);
    let raw = match (told, number.is_empty()) {
        (false, true) => natural(text, partial),
        (true, false) => std::str::from_utf8(number).ok()?.parse().ok()?,
        _ => return None,
    };
    Some((Head { time, source, partial, held, glued, raw }, text))
}

/// The engine's bytes of an unmasked text: itself, and its newline when the line ends here.
fn natural(text: &[u8], partial: bool) -> u64 {
    text.len() as u64 + u64::from(!partial)
}

/// Writes times, remembering the last second written: most records share it with the one before.
#[derive(Debug, Default)]
pub struct ClockFace {
    shown: Option<(i64, [u8; 20])>,
}

impl ClockFace {
    pub fn push(&mut self, out: &mut Vec<u8>, time: EngineTime) {
        let face = match self.shown {
            Some((seconds, face)) if seconds == time.seconds => face,
            _ => {
                let face = civil(time.seconds);
                self.shown = Some((time.seconds, face));
                face
            }
        };
        out.extend_from_slice(&face);
        let mut digits = [b'0'; 10];
        digits[9] = b'Z';
        let mut nanos = time.nanos;
        for digit in digits[..9].iter_mut().rev() {
            *digit = b'0' + (nanos % 10) as u8;
            nanos /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

/// Returns the nearest time that a record can hold: the years 1 to 9998, whole nanoseconds.
#[must_use]
pub fn representable(time: EngineTime) -> EngineTime {
    EngineTime { seconds: time.seconds.clamp(-62_135_596_800, 253_370_764_799), nanos: time.nanos.min(999_999_999) }
}

/// `2026-01-31T08:00:00.`
fn civil(seconds: i64) -> [u8; 20] {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let text = format!("{time:.1}");
    let mut face = *b"1970-01-01T00:00:00.";
    face.copy_from_slice(&text.as_bytes()[..20]);
    face
}

/// Reads exactly what [`ClockFace::push`] writes.
pub(super) fn parse_time(text: &[u8]) -> Option<EngineTime> {
    if text.len() != TIME_LEN || text[19] != b'.' || text[29] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to]
            .iter()
            .try_fold(0i64, |n, digit| digit.is_ascii_digit().then(|| n * 10 + i64::from(digit - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let (month, day) = (number(5, 7)?, number(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let of_day = number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(EngineTime {
        seconds: days_since_1970(number(0, 4)?, month, day) * 86_400 + of_day,
        nanos: u32::try_from(number(20, 29)?).ok()?,
    })
}

/// Days from 1970-01-01 in the Gregorian calendar, counting years from March so that the leap day
/// comes last. See Howard Hinnant, “chrono-Compatible Low-Level Date Algorithms”.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_reads_back_as_itself(
            seconds in -62_135_596_800i64..253_370_764_799,
            nanos in 0u32..1_000_000_000,
            letter in prop::sample::select(b"oesx".to_vec()),
            flags in any::<[bool; 3]>(),
            told in prop::option::of(any::<u64>()),
            text in prop::collection::vec(any::<u8>().prop_filter("newline", |b| *b != b'\n'), 0..40),
        ) {
            let [partial, held, glued] = flags;
            let head = Head {
                time: EngineTime { seconds, nanos },
                source: Source::of(letter).unwrap(),
                partial, held, glued,
                raw: told.unwrap_or(natural(&text, partial)),
            };
            let mut out = Vec::new();
            push(&mut out, &mut ClockFace::default(), &head, &text);
            prop_assert_eq!(out.pop(), Some(b'\n'));
            prop_assert_eq!(parse(&out), Some((head, &text[..])));
        }
    }

    #[test]
    fn a_record_is_plain_text() {
        let mut out = Vec::new();
        let time = EngineTime { seconds: 1_769_846_400, nanos: 123_456_789 };
        let head =
            Head { time, source: Source::Output(Stream::Stdout), partial: false, held: false, glued: false, raw: 8 };
        push(&mut out, &mut ClockFace::default(), &head, b"epoch 1");
        assert_eq!(out, b"2026-01-31T08:00:00.123456789Z o epoch 1\n");
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        for line in [
            "",
            "# header",
            "2026-01-31T08:00:00.123456789Z",
            "2026-01-31T08:00:00.123456789Z q x",
            "2026-01-31T08:00:00.123456789Z o",
            "2026-13-31T08:00:00.123456789Z o x",
            "2026-01-31T08:00:00.12345678\0Z o x",
            "2026-01-31T08:00:00.123456789Z o= x",
            "2026-01-31T08:00:00.123456789Z o=x x",
            "2026-01-31T08:00:00.123456789Z oops",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
