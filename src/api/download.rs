//! Bodies that go on for long: how they are named, how they end with the caller's key, and how
//! what is written by a thread becomes one.

use std::{
    io::{self, Write},
    pin::Pin,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header};
use tokio::{runtime::Handle, sync::mpsc};

use super::{Lease, Problem};
use crate::{service::Services, storage::bundle::BundleKind};

/// Bytes that are gathered before they are handed on.
const PIECE: usize = 256 << 10;
/// Pieces that wait for a slow client.
const PIECES: usize = 4;
/// A client that takes nothing for so long is given up, for it holds a thread.
const PATIENCE: Duration = Duration::from_secs(300);

/// Makes a body of `pieces` that breaks off, visibly, when the caller's key or session ends.
pub(super) fn body<S>(pieces: S, lease: Lease) -> Body
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let ended = Box::pin(lease.ended()) as Pin<Box<dyn Future<Output = ()> + Send>>;
    Body::from_stream(stream::unfold(Some((Box::pin(pieces), ended)), |state| async move {
        let (mut pieces, mut ended) = state?;
        tokio::select! {
            biased;
            () = &mut ended => Some((Err(io::Error::other("the key has ended")), None)),
            piece = pieces.next() => Some((piece?, Some((pieces, ended)))),
        }
    }))
}

/// Returns what `write` writes, as it is written. When the client goes away or takes nothing for
/// some minutes, `write` gets an error; its own error breaks the stream off.
pub(super) fn written(
    write: impl FnOnce(&mut PipeWriter) -> io::Result<()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (pieces, receiver) = mpsc::channel(PIECES);
    let mut writer = PipeWriter { pieces, gathered: Vec::with_capacity(PIECE), runtime: Handle::current() };
    tokio::task::spawn_blocking(move || {
        let written = write(&mut writer).and_then(|()| writer.flush());
        if let Err(error) = written {
            // Without it a part would look like the whole.
            let _ = writer.send(Err(error));
        }
    });
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}

/// Answers with an archive called `name`, without its ending, that `write` writes while it is sent.
///
/// # Errors
/// When too many long bodies are under way.
pub(super) fn archive(
    services: &Services,
    lease: Lease,
    kind: BundleKind,
    name: &str,
    write: impl FnOnce(&mut PipeWriter) -> io::Result<()> + Send + 'static,
) -> Result<Response, Problem> {
    let stream = services.stream()?;
    let pieces = written(move |out| {
        let _stream = stream;
        write(out)
    });
    let (kind, ending) = match kind {
        BundleKind::Tar => ("application/x-tar", "tar"),
        BundleKind::Zip => ("application/zip", "zip"),
    };
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, attachment(&format!("{name}.{ending}"))),
    ];
    Ok((head, body(pieces, lease)).into_response())
}

/// The end of a pipe that a thread writes to.
pub(super) struct PipeWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    gathered: Vec<u8>,
    runtime: Handle,
}

impl PipeWriter {
    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        let sent = self.runtime.block_on(tokio::time::timeout(PATIENCE, self.pieces.send(piece)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE));
        self.send(Ok(full.into()))
    }
}

/// Returns a `Content-Disposition` that saves the answer as a file `name`, whatever is in the name.
pub(super) fn attachment(name: &str) -> HeaderValue {
    disposition("attachment", name)
}

/// Returns a `Content-Disposition` that lets a browser show the answer.
pub(super) fn inline(name: &str) -> HeaderValue {
    disposition("inline", name)
}

fn disposition(kind: &str, name: &str) -> HeaderValue {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+ ".contains(c);
    let simple: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut value = format!("{kind}; filename=\"{simple}\"");
    if simple != name {
        value.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            match byte {
                b'-' | b'_' | b'.' => value.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => value.push(char::from(byte)),
                byte => value.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    HeaderValue::try_from(value).expect("only visible ASCII is in it")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use super::*;
    use crate::api::caller::tests::{Book, lease};

    #[test]
    fn a_file_name_cannot_add_to_the_header() {
        assert_eq!(attachment("model v1.bin"), "attachment; filename=\"model v1.bin\"");
        assert_eq!(
            inline("a\"; x=\r\né"),
            "inline; filename=\"a__ x____\"; filename*=UTF-8''a%22%3B%20x%3D%0D%0A%C3%A9"
        );
    }

    #[tokio::test]
    async fn what_a_thread_writes_arrives_whole() {
        let pieces = written(|out| {
            for n in 0..100_000u32 {
                out.write_all(&n.to_le_bytes())?;
            }
            Ok(())
        });
        let pieces: Vec<_> = pieces.map(|piece| piece.unwrap()).collect().await;
        let expected: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        assert!(pieces.concat() == expected);
    }

    #[tokio::test]
    async fn a_failure_breaks_the_stream_off() {
        let pieces = written(|out| {
            out.write_all(b"part")?;
            Err(io::Error::other("no more"))
        });
        let pieces: Vec<_> = pieces.collect().await;
        assert!(pieces.last().unwrap().is_err());
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_writing() {
        let (told, ended) = tokio::sync::oneshot::channel();
        let pieces = written(move |out| {
            let error = loop {
                if let Err(error) = out.write_all(&[0; 4096]) {
                    break error;
                }
            };
            let _ = told.send(error.kind());
            Err(error)
        });
        drop(pieces);
        let kind = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap();
        assert_eq!(kind, io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_download_breaks_off_with_an_error_when_the_key_ends() {
        let book = Arc::new(Book { revoked: false.into() });
        let mut body = body(stream::pending(), lease(book.clone())).into_data_stream();
        book.revoked.store(true, Ordering::SeqCst);
        let piece = tokio::time::timeout(Duration::from_secs(20), body.next()).await.unwrap();
        assert!(piece.unwrap().is_err());
        assert!(body.next().await.is_none());
    }
}
