//! Speaks HTTP/1.1 and HTTP/2 on a socket: accepts, bounds, and drains.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Proxy,
    workers::{Seat, Workers},
};
use crate::domain::shares::{Share, Shares};

/// How long the head of a request may take to arrive, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Most headers of a request.
const HEADERS: usize = 128;
/// Largest head of a request, in bytes.
const HEAD: usize = 64 * 1024;
/// Most requests of one HTTP/2 connection at the same time.
const STREAMS: u32 = 128;
/// How long what was sent may go unacknowledged before its reader is given up.
const UNREAD: Duration = Duration::from_secs(60);
/// How often an HTTP/2 connection is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How long to wait after an accept that failed for want of file descriptors or memory.
const BREATHER: Duration = Duration::from_millis(100);
/// How often what is no longer used is let go.
const TIDY: Duration = Duration::from_secs(30);
/// How an HTTP/2 connection begins; no method of HTTP/1.1 does.
const PREFACE: &[u8] = b"PRI";

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for what containers serve: choose another address with --workload-listen")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens on `address`.
///
/// # Errors
/// [`BindError`], in words that say what to do.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// What a connection holds while it is open: its place among all, and among those of its address.
pub(super) struct Held {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

impl Held {
    pub(super) fn new(permit: OwnedSemaphorePermit, share: Option<Share>) -> Self {
        Self { _permit: permit, _share: share }
    }
}

/// The place of a connection; a websocket keeps it when its connection has become a tunnel.
pub(super) type Place = Arc<Seat>;

/// Passes requests on until the proxy is stopped; then accepts no more, lets those in progress end within
/// `grace`, and returns. At most `connections` are open at the same time; more wait to be accepted. One
/// address has three quarters of them at most, and what it opens beyond that is closed at once.
pub async fn serve(listener: TcpListener, workers: Workers, proxy: Arc<Proxy>, grace: Duration, connections: u32) {
    let places = Arc::new(Semaphore::new(connections as usize));
    let shares = Shares::new(connections - connections / 4);
    let stop = proxy.stop.clone();
    let mut stopped = pin!(stop.cancelled());
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            _ = tidy.tick() => {
                proxy.tidy();
                workers.tidy();
                continue;
            }
            accepted = accept(&listener, &places, &shares) => accepted,
        };
        let carried = accepted.and_then(|accepted| {
            let Some((held, stream, peer)) = accepted else { return Ok(()) };
            tune(&stream);
            let proxy = Arc::clone(&proxy);
            workers.carry(stream, held, move |stream, place| answer(proxy, stream, peer, place))
        });
        match carried {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again in {BREATHER:?}");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
    drop(listener);
    let open = workers.end(grace).await;
    if open > 0 {
        tracing::warn!(open, "requests to containers were still in progress after {grace:?} and were cut off");
    }
}

/// Waits for the next connection; `None` is one more than its address may have.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    shares: &Shares,
) -> io::Result<Option<(Held, TcpStream, SocketAddr)>> {
    let permit = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    let share = if may_have_all(peer.ip()) {
        None
    } else {
        let Some(share) = shares.take(peer.ip()) else {
            tracing::debug!(%peer, "closed one connection more than one address may have");
            return Ok(None);
        };
        Some(share)
    };
    Ok(Some((Held::new(permit, share), stream, peer)))
}

/// Says whether an address may have all connections: a reverse proxy or an SSH tunnel on this machine brings
/// everybody's.
fn may_have_all(peer: IpAddr) -> bool {
    matches!(peer.to_canonical(), IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST))
}

async fn answer(proxy: Arc<Proxy>, stream: TcpStream, peer: SocketAddr, place: Place) {
    let Ok(is_http2) = speaks_http2(&stream).await else { return };
    let stop = proxy.stop.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (proxy, place) = (Arc::clone(&proxy), Arc::clone(&place));
        async move { Ok::<_, Infallible>(proxy.answer(request, peer, place).await) }
    });
    // Told to stop, a connection ends when what it is at is done.
    let ended = if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD as u32)
            .keep_alive_interval(PING)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_headers(HEADERS)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended early");
    }
}

/// Looks at the first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let (begun, mut first) = (Instant::now(), [0; PREFACE.len()]);
    loop {
        let left = HEAD_TIME.saturating_sub(begun.elapsed());
        let seen = tokio::time::timeout(left, stream.peek(&mut first)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if seen == 0 || !PREFACE.starts_with(&first[..seen]) {
            return Ok(false);
        }
        if seen == PREFACE.len() {
            return Ok(true);
        }
        // What was seen is still there, so waiting for the socket would not wait.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A socket that is gone, so that nothing can be set, shows soon enough.
fn tune(stream: &TcpStream) {
    // Without it small answers wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    // Without it one who reads nothing keeps an answer and its place for hours.
    let millis = u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
}
