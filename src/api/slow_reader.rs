//! A connection whose reader has to keep a lowest pace. Who takes a byte now and then would hold an
//! answer with all that it needs, such as a thread or an open file, for as long as they please.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// Time that may be spent waiting for a reader till it has taken [`LEAST`].
const WINDOW: Duration = Duration::from_secs(600);
/// Bytes: a KiB in each second of [`WINDOW`], which is also what senders have to keep to.
const LEAST: u64 = 600 << 10;

/// A connection that ends in an error when its reader takes too little for too long. Only the time that
/// is spent waiting for the reader counts: a stream with nothing to say may stay open.
pub(super) struct Paced<S> {
    stream: S,
    /// Since when the reader is waited for.
    since: Option<Instant>,
    /// How long it was waited for in this window, and what it has taken.
    waited: Duration,
    taken: u64,
    /// Ends the window while the reader is waited for.
    late: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub fn new(stream: S) -> Self {
        let late = Box::pin(tokio::time::sleep(WINDOW));
        Self { stream, since: None, waited: Duration::ZERO, taken: 0, late }
    }

    /// Keeps count of what came of a write.
    fn keep_pace(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                self.waited += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
                self.taken += written.as_ref().map_or(0, |bytes| *bytes as u64);
                if self.waited >= WINDOW {
                    self.judge()?;
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                if self.since.is_none() {
                    let now = Instant::now();
                    self.since = Some(now);
                    self.late.as_mut().reset(now + WINDOW.saturating_sub(self.waited));
                }
                ready!(self.late.as_mut().poll(cx));
                self.judge()?;
                self.since = None;
                // Enough was taken: the next window begins.
                self.keep_pace(cx, Poll::Pending)
            }
        }
    }

    /// Begins another window, if enough was taken in this one.
    fn judge(&mut self) -> io::Result<()> {
        if self.taken < LEAST {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the reader took less than 1 KiB in a second"));
        }
        (self.waited, self.taken) = (Duration::ZERO, 0);
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.keep_pace(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.keep_pace(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Sends without end to somebody who takes `bytes` and then waits for `pause`, again and again.
    /// Returns how that ended, if it did within an hour, and after how long.
    async fn read_by(bytes: usize, pause: Duration) -> Option<(io::ErrorKind, Duration)> {
        let (mut reader, stream) = duplex(1024);
        let reading = tokio::spawn(async move {
            let mut piece = vec![0; bytes];
            while reader.read_exact(&mut piece).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        });
        let (begun, mut stream) = (Instant::now(), Paced::new(stream));
        let sending = async {
            loop {
                if let Err(error) = stream.write_all(&[0; 4096]).await {
                    break error.kind();
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(3600), sending).await;
        let after = begun.elapsed();
        reading.abort();
        ended.ok().map(|kind| (kind, after))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_of_a_byte_a_minute_is_given_up_and_a_slow_one_is_not() {
        let (kind, after) = read_by(1, Duration::from_secs(60)).await.unwrap();
        assert_eq!((kind, after.as_secs()), (io::ErrorKind::TimedOut, WINDOW.as_secs()));
        let (kind, _) = read_by(900, Duration::from_secs(1)).await.unwrap();
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert_eq!(read_by(1100, Duration::from_secs(1)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (kind, after) = read_by(1024, Duration::from_secs(1 << 20)).await.unwrap();
        assert_eq!((kind, after.as_secs()), (io::ErrorKind::TimedOut, WINDOW.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_nothing_to_say_may_stay_open() {
        let (mut reader, stream) = duplex(1024);
        let mut stream = Paced::new(stream);
        for _ in 0..100 {
            stream.write_all(b"word").await.unwrap();
            tokio::time::sleep(WINDOW).await;
        }
        let mut words = vec![0; 400];
        reader.read_exact(&mut words).await.unwrap();
    }
}
