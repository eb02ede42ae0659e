//! Cuts masked output into records: at newlines, where one piece of the engine's ends, and where a
//! record would be too long. What stands in a secret's place counts for the pieces that it spans.

use std::{io, mem};

use crate::domain::output::{EngineTime, Stream};

use super::{
    mask,
    record::{Head, Source},
};

/// So many bytes of the engine's, written at that time.
#[derive(Debug, Clone, Copy)]
pub struct Credit {
    pub time: EngineTime,
    pub bytes: usize,
}

/// Cuts one run of a pipe's bytes.
pub struct Cutter<'a, F> {
    line_bytes: usize,
    put: F,
    stream: Stream,
    credits: &'a [Credit],
    /// The piece that is being cut, and how many of its bytes are used.
    at: usize,
    used: usize,
    text: Vec<u8>,
    raw: u64,
}

impl<'a, F: FnMut(Head, &[u8]) -> io::Result<()>> Cutter<'a, F> {
    /// Begins to cut bytes of `stream` that come from the pieces in `credits`, of which there is at
    /// least one. Records of at most `line_bytes` go to `put`.
    pub fn new(stream: Stream, credits: &'a [Credit], line_bytes: usize, put: F) -> Self {
        Self { line_bytes, put, stream, credits, at: 0, used: 0, text: Vec::new(), raw: 0 }
    }

    /// Takes bytes that are shown as they are.
    pub fn shown(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = self.left();
            let mut window = &bytes[..bytes.len().min(left)];
            if bytes.len() > left {
                // A character that spans two pieces is shown with the first, as a mark would be.
                if let Some(spans) = first_character(bytes).filter(|&len| len > left) {
                    self.hidden(&bytes[..spans], spans)?;
                    bytes = &bytes[spans..];
                    continue;
                }
                let whole = mask::whole_characters(window);
                window = &window[..if whole > 0 { whole } else { left }];
            }
            let newline = memchr::memchr(b'\n', window);
            let line = &window[..newline.unwrap_or(window.len())];
            let (text, rest) = split(line, self.line_bytes.saturating_sub(self.text.len()));
            self.text.extend_from_slice(text);
            if !rest.is_empty() {
                self.spend(text.len());
                self.close(true, false, self.more())?;
                bytes = &bytes[text.len()..];
                continue;
            }
            let ends = newline.is_some();
            let spent = text.len() + usize::from(ends);
            self.spend(spent);
            bytes = &bytes[spent..];
            if ends {
                self.close(false, false, false)?;
            }
            self.turn()?;
        }
        Ok(())
    }

    /// Takes `raw` bytes in whose place `mark` is shown.
    pub fn hidden(&mut self, mark: &[u8], mut raw: usize) -> io::Result<()> {
        if !self.text.is_empty() && self.text.len() + mark.len() > self.line_bytes {
            self.close(true, false, self.more())?;
        }
        self.text.extend_from_slice(mark);
        while raw > 0 {
            let spent = raw.min(self.left());
            self.spend(spent);
            raw -= spent;
            self.turn()?;
        }
        Ok(())
    }

    /// Returns what has not been taken of the pieces.
    pub fn left_over(&self) -> Vec<Credit> {
        let mut credits = self.credits[self.at..].to_vec();
        credits[0].bytes -= self.used;
        credits
    }

    /// Writes what is left: a line that goes on, or the sign that something is held back.
    pub fn end(mut self, holds: bool) -> io::Result<()> {
        if self.raw > 0 || holds { self.close(true, holds, false) } else { Ok(()) }
    }

    fn left(&self) -> usize {
        self.credits[self.at].bytes - self.used
    }

    fn spend(&mut self, bytes: usize) {
        self.used += bytes;
        self.raw += bytes as u64;
    }

    /// Tells whether another piece follows. Then records are glued to the ones to come: without
    /// them, a crash would forget what the masker knew, and that the later piece is still to come.
    fn more(&self) -> bool {
        self.at + 1 < self.credits.len()
    }

    /// Goes on to the next piece when this one is used up.
    fn turn(&mut self) -> io::Result<()> {
        if self.left() == 0 && self.more() {
            self.close(true, false, true)?;
            self.at += 1;
            self.used = 0;
        }
        Ok(())
    }

    fn close(&mut self, partial: bool, held: bool, glued: bool) -> io::Result<()> {
        let source = Source::Output(self.stream);
        let head = Head { time: self.credits[self.at].time, source, partial, held, glued, raw: self.raw };
        self.raw = 0;
        let text = mem::take(&mut self.text);
        (self.put)(head, &text)?;
        self.text = text;
        self.text.clear();
        Ok(())
    }
}

/// Splits after at most `most` bytes (but at least one), between characters where there are any.
pub fn split(bytes: &[u8], most: usize) -> (&[u8], &[u8]) {
    if bytes.len() <= most {
        return (bytes, &[]);
    }
    let goes_on = |at: usize| bytes[at] & 0xC0 == 0x80;
    let at = (most.saturating_sub(3)..=most).rev().find(|&at| at > 0 && !goes_on(at)).unwrap_or(most);
    bytes.split_at(at)
}

/// Returns the length of the character that `bytes` begins with, if it is one.
fn first_character(bytes: &[u8]) -> Option<usize> {
    let valid = bytes[..bytes.len().min(4)].utf8_chunks().next()?.valid();
    valid.chars().next().map(char::len_utf8)
}
