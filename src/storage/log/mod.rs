//! The log of one attempt to run: a folder of plain text segments, bounded, masked, and exact.
//!
//! - A **line** is one record, numbered from 0 for ever. A line of output longer than
//!   [`Limits::line_bytes`], or that the engine hands out in several pieces, is several records of
//!   which all but the last are *partial*; so a progress bar is seen before its newline comes.
//! - [`LogWriter`] is the only writer of a folder. It stores an exact account of which of the
//!   engine's bytes it has, so that after a crash the engine may repeat some and none is lost or
//!   doubled. It masks secrets and ends the log with a mark where it grows too large.
//! - [`LogReader`] answers ranges, searches and downloads from the same files, while they grow and
//!   after they are compressed. Any number may read; none of them costs the writer anything.
//! - [`LogHub`] wakes those who follow a log; they read what is new from disk.
//!
//! All but the hub block on files: call them where blocking is allowed.

mod cutter;
mod follow;
mod mask;
mod reader;
mod record;
mod recovery;
mod segment;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use follow::{LogHub, Progress};
pub use mask::{MIN_VALUE, Masker};
pub use reader::{Download, Found, LogReader, Row};
pub use record::Source;
pub use writer::{Appended, Finished, Limits, LinePoint, LogWriter};
