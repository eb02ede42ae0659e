//! Speaks HTTP/1.1 on a socket: accepts, bounds, and drains.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tower_http::add_extension::AddExtension;

use super::slow_reader::Paced;

/// How long the head of a request may take to arrive, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Most headers of a request.
const HEADERS: usize = 100;
/// Largest head of a request, in bytes.
const HEAD: usize = 64 * 1024;
/// How long what was sent may go unacknowledged, or a reader take nothing, before it is given up.
const UNREAD: Duration = Duration::from_secs(60);
/// How long to wait after an accept that failed for want of file descriptors or memory.
const BREATHER: Duration = Duration::from_millis(100);

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{0} is taken, perhaps by another gradientd: stop that, or choose another address with --listen")]
    Taken(SocketAddr),
    #[error("this user may not listen on port {}: take one above 1023 with --listen", .0.port())]
    Forbidden(SocketAddr),
    #[error("this machine has no address {}: choose another with --listen", .0.ip())]
    NotHere(SocketAddr),
    #[error("cannot listen on {address}")]
    Other { address: SocketAddr, source: io::Error },
}

/// Listens on `address`.
///
/// # Errors
/// [`BindError`], in words that say what to do.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(address),
        io::ErrorKind::PermissionDenied => BindError::Forbidden(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotHere(address),
        _ => BindError::Other { address, source },
    })
}

/// Answers requests on `listener` until `shutdown`; then accepts no more, lets those in progress
/// end within `grace`, and returns. At most `connections` are open at the same time; more wait to
/// be accepted. Streams have to end by themselves on `shutdown`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
    connections: u32,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(connections as usize));
    let mut stop = pin!(shutdown.cancelled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((place, stream, peer)) => answer(&graceful, &router, stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again in {BREATHER:?}");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
    drop(listener);
    let open = graceful.count();
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(open, "requests were still in progress after {grace:?} and were cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((place, stream, peer))
}

fn answer(
    graceful: &GracefulShutdown,
    router: &Router,
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
) {
    tune(&stream);
    let service = TowerToHyperService::new(AddExtension::new(router.clone(), ConnectInfo(peer)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Paced::new(stream)), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, %peer, "connection ended early");
        }
        drop(place);
    });
}

/// A socket that is gone, so that nothing can be set, shows soon enough.
fn tune(stream: &TcpStream) {
    // Without it small answers wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    // Without it one who reads nothing keeps an answer and its place for hours.
    let millis = u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
        task::JoinHandle,
    };

    use super::*;

    struct Running {
        address: SocketAddr,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn start(router: Router, grace: Duration, connections: u32) -> Running {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, router, shutdown.clone(), grace, connections));
        Running { address, shutdown, task }
    }

    async fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        stream
    }

    async fn read(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut text)).await.unwrap();
        text
    }

    /// A router whose `/slow` says when it has begun and waits to be let go.
    fn slow() -> (Router, Arc<Notify>, Arc<Notify>) {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (begun, go) = (begun.clone(), go.clone());
            move || async move {
                begun.notify_one();
                go.notified().await;
                "slow"
            }
        };
        (Router::new().route("/slow", get(handler)).route("/", get(|| async { "quick" })), begun, go)
    }

    #[tokio::test]
    async fn a_request_in_progress_is_finished_before_the_server_ends() {
        let (router, begun, go) = slow();
        let running = start(router, Duration::from_secs(20), 10).await;
        let stream = ask(running.address, "/slow").await;
        begun.notified().await;
        running.shutdown.cancel();
        go.notify_one();
        assert!(read(stream).await.ends_with("slow"));
        running.task.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err(), "nothing listens any more");
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_off_after_the_grace() {
        let (router, begun, _go) = slow();
        let running = start(router, Duration::from_millis(50), 10).await;
        let _stream = ask(running.address, "/slow").await;
        begun.notified().await;
        running.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), running.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_who_reads_nothing_is_given_up() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tune(&stream);
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 60_000);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn connections_over_the_limit_wait_their_turn() {
        let (router, begun, go) = slow();
        let running = start(router, Duration::from_secs(20), 1).await;
        let first = ask(running.address, "/slow").await;
        begun.notified().await;
        let second = ask(running.address, "/").await;
        go.notify_one();
        assert!(read(first).await.ends_with("slow"));
        assert!(read(second).await.ends_with("quick"));
        running.shutdown.cancel();
        running.task.await.unwrap();
    }

    #[tokio::test]
    async fn too_many_headers_are_refused() {
        let (router, ..) = slow();
        let running = start(router, Duration::from_secs(1), 10).await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let headers: String = (0..200).map(|at| format!("X-{at}: y\r\n")).collect();
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await.unwrap();
        assert!(read(stream).await.starts_with("HTTP/1.1 431"));
    }

    #[tokio::test]
    async fn a_taken_port_says_what_to_do() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = bind(listener.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("--listen") && error.contains("is taken"), "{error}");
    }
}
