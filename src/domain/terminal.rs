//! A shell in something that runs, seen through a terminal: its size, what it showed last, how it ended.

use std::collections::VecDeque;

use bytes::Bytes;

/// How many characters fit into a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtySize {
    cols: u16,
    rows: u16,
}

/// A size that no terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a terminal has 1 to {} columns and 1 to {} rows", TtySize::MOST_COLS, TtySize::MOST_ROWS)]
pub struct InvalidTtySize;

impl TtySize {
    /// Programs keep the whole screen in memory, so a size is no place for a large number.
    pub const MOST_COLS: u16 = 1000;
    pub const MOST_ROWS: u16 = 500;

    /// Returns a size of so many characters.
    ///
    /// # Errors
    /// [`InvalidTtySize`] when a side is 0 or out of all proportion.
    pub fn new(cols: u16, rows: u16) -> Result<Self, InvalidTtySize> {
        let fits = (1..=Self::MOST_COLS).contains(&cols) && (1..=Self::MOST_ROWS).contains(&rows);
        if fits { Ok(Self { cols, rows }) } else { Err(InvalidTtySize) }
    }

    pub fn cols(self) -> u16 {
        self.cols
    }

    pub fn rows(self) -> u16 {
        self.rows
    }
}

impl Default for TtySize {
    /// What every terminal had once.
    fn default() -> Self {
        Self { cols: 80, rows: 24 }
    }
}

/// Why a terminal is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalEnd {
    /// Its shell ended by itself. The engine does not always know with what code.
    Exited(Option<i64>),
    /// Somebody closed it.
    Closed,
    /// Nobody had looked at it for too long.
    Abandoned,
    /// The daemon ends.
    Shutdown,
    /// What came of it is not known, in the words of whoever lost it.
    Lost(String),
}

impl TerminalEnd {
    /// Returns the word for it, as events and sockets say it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Closed => "closed",
            Self::Abandoned => "abandoned",
            Self::Shutdown => "shutdown",
            Self::Lost(_) => "lost",
        }
    }
}

/// The last bytes that a terminal showed. Places are counted in bytes from the first that it ever showed, so
/// that each reader knows where it is, whatever was dropped meanwhile.
#[derive(Debug)]
pub struct Scrollback {
    kept: VecDeque<u8>,
    /// The place behind the last byte.
    end: u64,
    most: usize,
}

/// How far the end of a line is looked for, in bytes, where the beginning of what is kept was dropped.
const LINE: usize = 4096;

impl Scrollback {
    /// Keeps the last `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), end: 0, most }
    }

    /// Returns the place behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    fn start(&self) -> u64 {
        self.end - self.kept.len() as u64
    }

    /// Returns where whoever sees the terminal for the first time begins: at the first byte that is kept, or
    /// at a line's beginning where something before it was dropped, as that may have cut a sequence.
    pub fn beginning(&self) -> u64 {
        let start = self.start();
        if start == 0 {
            return 0;
        }
        let line = self.kept.iter().take(LINE).position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        start + line as u64
    }

    /// Adds what was shown, and drops what is too old.
    pub fn push(&mut self, shown: &[u8]) {
        self.end += shown.len() as u64;
        let shown = &shown[shown.len().saturating_sub(self.most)..];
        let room = self.most - shown.len();
        if self.kept.len() > room {
            self.kept.drain(..self.kept.len() - room);
        }
        self.kept.extend(shown);
    }

    /// Returns up to `most` bytes from place `from` on, and the place behind them. What was dropped is left
    /// out.
    pub fn read(&self, from: u64, most: usize) -> (Bytes, u64) {
        let from = from.clamp(self.start(), self.end);
        let skipped = usize::try_from(from - self.start()).unwrap_or(usize::MAX).min(self.kept.len());
        let bytes: Bytes = self.kept.range(skipped..).take(most).copied().collect();
        let behind = from + bytes.len() as u64;
        (bytes, behind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_size_is_no_place_for_nonsense() {
        assert!(TtySize::new(1, 1).is_ok() && TtySize::new(1000, 500).is_ok());
        for (cols, rows) in [(0, 24), (80, 0), (1001, 24), (80, 501), (u16::MAX, u16::MAX)] {
            assert_eq!(TtySize::new(cols, rows), Err(InvalidTtySize), "{cols} x {rows}");
        }
    }

    #[test]
    fn who_comes_first_sees_all_of_it() {
        let mut kept = Scrollback::new(10);
        kept.push(b"one\n");
        assert_eq!((kept.beginning(), kept.end()), (0, 4));
        assert_eq!(kept.read(0, 100), (Bytes::from_static(b"one\n"), 4));
        assert_eq!(kept.read(4, 100), (Bytes::new(), 4));
    }

    #[test]
    fn who_comes_later_begins_with_a_whole_line() {
        let mut kept = Scrollback::new(10);
        kept.push(b"first\nsecond\n");
        assert_eq!(kept.read(0, 100).0, "st\nsecond\n");
        assert_eq!(kept.read(kept.beginning(), 100).0, "second\n");
        let mut kept = Scrollback::new(4);
        kept.push(b"no line ends");
        assert_eq!(kept.read(kept.beginning(), 100).0, "ends", "without a line's end all of it counts");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_end_of_what_was_shown(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..20),
            most in 1..40usize,
            from in 0..400u64,
            at_once in 1..50usize,
        ) {
            let mut kept = Scrollback::new(most);
            pieces.iter().for_each(|piece| kept.push(piece));
            let all = pieces.concat();
            prop_assert_eq!(kept.end(), all.len() as u64);
            let start = all.len().saturating_sub(most).max((from as usize).min(all.len()));
            let expected: Vec<u8> = all[start..].iter().take(at_once).copied().collect();
            let (read, behind) = kept.read(from, at_once);
            prop_assert_eq!(behind, (start + expected.len()) as u64);
            prop_assert_eq!(read, expected);
        }
    }
}
