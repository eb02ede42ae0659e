//! Streams inside gzip and zstd.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Reads a gzip file of any number of members, as parallel compressors write them.
///
/// What follows the last member and is not another one is ignored, as gzip itself does: tapes and
/// careless copies pad files. flate2's own reader of many members takes it for damage.
pub enum Gzip<R> {
    Member(Box<GzDecoder<R>>),
    /// Between two members, and for good at the end.
    Done,
}

impl<R: BufRead> Gzip<R> {
    pub fn new(reader: R) -> Self {
        Self::Member(Box::new(GzDecoder::new(reader)))
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Self::Member(member) = self else { return Ok(0) };
            let length = member.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let Self::Member(member) = std::mem::replace(self, Self::Done) else { return Ok(0) };
            let mut rest = member.into_inner();
            // One byte is enough to tell: the buffer may hold no more of the file.
            if rest.fill_buf()?.first() == Some(&0x1f) {
                *self = Self::new(rest);
            }
        }
    }
}

/// Opens a zstd stream. It may ask for at most 128 MiB of memory, which every level but `--long`
/// and `--ultra` keeps to.
pub fn zstd<'a, R: BufRead + 'a>(reader: R) -> io::Result<impl Read + 'a> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
    decoder.window_log_max(27)?;
    Ok(decoder)
}
