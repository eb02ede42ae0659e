//! Websockets: two byte streams that are joined once both sides have agreed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{door::Open, listener::Place};
use crate::domain::{time::Clock, traffic::Traffic};

/// How long nothing may pass. Browsers and servers of websockets ping each other far more often.
const IDLE: Duration = Duration::from_secs(3600);
/// How long one side may go on when the other has said its last word.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes that are taken at a time. There is a buffer only while something passes.
const PIECE: usize = 16 << 10;

/// What a tunnel lives by.
pub struct Terms {
    pub open: Open,
    pub traffic: Arc<Traffic>,
    pub clock: Arc<dyn Clock>,
    pub stop: CancellationToken,
    /// Its place among the connections.
    pub place: Place,
}

/// Carries bytes both ways until one side ends, nobody is let in any more, or the daemon stops.
pub async fn join(client: Upgraded, container: Upgraded, terms: Terms) {
    let Terms { open, traffic, clock, stop, place } = terms;
    let (Some((client, early_in)), Some((container, early_out))) = (parts(client), parts(container)) else {
        tracing::warn!("a websocket came over something that is not TCP");
        return;
    };
    let _socket = traffic.socket();
    let begun = Instant::now();
    let last = AtomicU64::new(0);
    let note = || last.store(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    let (client_read, client_write) = client.into_split();
    let (container_read, container_write) = container.into_split();
    let inwards = copy(client_read, container_write, early_in, |bytes| {
        traffic.passed_in(bytes, clock.now());
        note();
    });
    let outwards = copy(container_read, client_write, early_out, |bytes| {
        traffic.passed_out(bytes, clock.now());
        note();
    });
    let both = async {
        let (mut inwards, mut outwards) = (std::pin::pin!(inwards), std::pin::pin!(outwards));
        tokio::select! {
            ended = &mut inwards => match ended {
                Ok(()) => { let _ = tokio::time::timeout(LAST_WORDS, outwards).await; }
                Err(error) => tracing::debug!(%error, "a websocket broke"),
            },
            ended = &mut outwards => match ended {
                Ok(()) => { let _ = tokio::time::timeout(LAST_WORDS, inwards).await; }
                Err(error) => tracing::debug!(%error, "a websocket broke"),
            },
        }
    };
    let idle = async {
        loop {
            let until = begun + Duration::from_millis(last.load(Ordering::Relaxed)) + IDLE;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    };
    tokio::select! {
        () = both => {}
        () = open.ended().cancelled() => tracing::debug!("a websocket was cut off: its key is no longer good"),
        () = stop.cancelled() => {}
        () = idle => {}
    }
    drop(place);
}

fn parts(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// Carries bytes one way until they end, and says so to the other side.
async fn copy(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    early: Bytes,
    mut count: impl FnMut(usize),
) -> io::Result<()> {
    if !early.is_empty() {
        count(early.len());
        to.write_all(&early).await?;
    }
    drop(early);
    loop {
        from.readable().await?;
        // Made when there is something to carry: a thousand idle sockets hold no buffers.
        let mut piece = BytesMut::with_capacity(PIECE);
        match from.try_read_buf(&mut piece) {
            Ok(0) => return to.shutdown().await,
            Ok(bytes) => {
                to.write_all(&piece).await?;
                count(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
