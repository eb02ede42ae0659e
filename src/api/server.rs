//! Speaks HTTP/1.1 on sockets, plain or beneath TLS: accepts, bounds, and drains.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use http::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::{add_extension::AddExtension, set_header::SetRequestHeaderLayer};

use super::{not_http::Worded, slow_reader::Paced};
use crate::{
    auth::Certificates,
    domain::shares::{Share, Shares},
};

/// In which a request says that it came by HTTPS.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

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

/// How long the handshake of TLS may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The address cannot be listened on. Each names the setting that chooses another.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{0} is taken, perhaps by another gradientd: stop that, or choose another address with {1}")]
    Taken(SocketAddr, &'static str),
    #[error("this user may not listen on port {}: take one above 1023 with {}", .0.port(), .1)]
    Forbidden(SocketAddr, &'static str),
    #[error("this machine has no address {}: choose another with {}", .0.ip(), .1)]
    NotHere(SocketAddr, &'static str),
    #[error("cannot listen on {address}")]
    Other { address: SocketAddr, source: io::Error },
}

/// Listens on `address`, which `setting` chooses.
///
/// # Errors
/// [`BindError`], in words that say what to do.
pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(address, setting),
        io::ErrorKind::PermissionDenied => BindError::Forbidden(address, setting),
        io::ErrorKind::AddrNotAvailable => BindError::NotHere(address, setting),
        _ => BindError::Other { address, source },
    })
}

/// What is spoken on a listener beneath HTTP.
#[derive(Clone)]
pub enum Door {
    Plain,
    Tls(Arc<Certificates>),
}

/// One of the connections that may be open at the same time. Who goes on with a connection after its
/// request, as a websocket does, keeps it.
#[derive(Clone)]
pub struct Place {
    _held: Arc<OwnedSemaphorePermit>,
    _share: Option<Arc<Share>>,
}

/// Answers requests, on any number of listeners.
#[derive(Clone)]
pub struct Server {
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
    places: Arc<Semaphore>,
    shares: Option<Shares>,
}

impl Server {
    /// A server until `shutdown`. At most `connections` are open at the same time, on all listeners
    /// together; more wait to be accepted.
    pub fn new(router: Router, shutdown: CancellationToken, grace: Duration, connections: u32) -> Self {
        let places = Arc::new(Semaphore::new(connections as usize));
        Self { router, shutdown, grace, places, shares: None }
    }

    /// Has one address hold `most` of the connections at most; what it opens beyond that is closed at once.
    #[must_use]
    pub fn at_most_from_one(self, most: u32) -> Self {
        Self { shares: Some(Shares::new(most)), ..self }
    }

    /// Answers on `listener` until the shutdown; then accepts no more, lets requests in progress end
    /// within the grace, and returns. Streams have to end by themselves on the shutdown.
    pub async fn serve(&self, listener: TcpListener, door: Door) {
        let open = TaskTracker::new();
        // By HTTPS, requests say what a proxy that speaks TLS says, so that links are written alike.
        let https = SetRequestHeaderLayer::overriding(FORWARDED_PROTO, HeaderValue::from_static("https"));
        let router = match door {
            Door::Plain => self.router.clone(),
            Door::Tls(_) => self.router.clone().layer(https),
        };
        let mut stop = pin!(self.shutdown.cancelled());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok(None) => {}
                Ok(Some((place, stream, peer))) => {
                    let (router, shutdown) = (router.clone(), self.shutdown.clone());
                    let connection = Connection { router, shutdown, peer, place };
                    open.spawn(connection.run(stream, door.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again in {BREATHER:?}");
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
        drop(listener);
        open.close();
        let grace = self.grace;
        if tokio::time::timeout(grace, open.wait()).await.is_err() {
            tracing::warn!(open = open.len(), "requests were still in progress after {grace:?} and were cut off");
        }
    }

    /// Waits for the next connection; `None` is one more than somebody may have.
    async fn accept(&self, listener: &TcpListener) -> io::Result<Option<(Place, TcpStream, SocketAddr)>> {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, peer) = listener.accept().await?;
        let share = match &self.shares {
            None => None,
            Some(shares) => match shares.take(peer.ip()) {
                Some(share) => Some(Arc::new(share)),
                None => {
                    tracing::debug!(%peer, "closed one connection more than one address may have");
                    return Ok(None);
                }
            },
        };
        Ok(Some((Place { _held: Arc::new(place), _share: share }, stream, peer)))
    }
}

/// A connection that was accepted.
struct Connection {
    router: Router,
    shutdown: CancellationToken,
    peer: SocketAddr,
    place: Place,
}

impl Connection {
    async fn run(self, stream: TcpStream, door: Door) {
        tune(&stream);
        let certificates = match door {
            Door::Plain => return self.answer(Paced::new(stream)).await,
            Door::Tls(certificates) => certificates,
        };
        let shaking = tokio::time::timeout(HANDSHAKE_TIME, shake(stream, &certificates));
        match self.shutdown.run_until_cancelled(shaking).await {
            Some(Ok(Ok(stream))) => self.answer(stream).await,
            Some(Ok(Err(error))) => tracing::debug!(%error, peer = %self.peer, "the TLS handshake failed"),
            Some(Err(_)) => tracing::debug!(peer = %self.peer, "the TLS handshake took too long"),
            None => {}
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { router, shutdown, peer, place } = self;
        let service = AddExtension::new(AddExtension::new(router, place), ConnectInfo(peer));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_headers(HEADERS)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(Worded::new(stream)), TowerToHyperService::new(service))
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = match shutdown.run_until_cancelled(connection.as_mut()).await {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection ended early");
        }
    }
}

/// Speaks TLS on a connection, unless the other side speaks HTTP without it: they are told.
async fn shake(
    mut stream: TcpStream,
    certificates: &Certificates,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
    if let Ok(address) = stream.local_addr() {
        certificates.reached_at(address.ip());
    }
    let mut first = [0];
    // A handshake begins with a byte that is no letter, a request with the letters of its method.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        // What came is read, for a connection that is closed on unread bytes loses the answer.
        let _ = stream.read(&mut [0; 4096]).await?;
        stream.write_all(SPEAK_TLS.as_bytes()).await?;
        stream.shutdown().await?;
        return Err(io::Error::other("it was HTTP without TLS"));
    }
    certificates.handshake(Paced::new(stream)).await
}

/// What is answered to HTTP where TLS is spoken.
const SPEAK_TLS: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\
    Content-Length: 38\r\n\r\nThis port speaks HTTPS: use https://.\n";

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
    use tokio::{sync::Notify, task::JoinHandle};

    use super::*;

    struct Running {
        address: SocketAddr,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn start(router: Router, grace: Duration, connections: u32) -> Running {
        let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = Server::new(router, shutdown.clone(), grace, connections);
        let task = tokio::spawn(async move { server.serve(listener, Door::Plain).await });
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
    async fn what_is_not_http_is_refused_in_words_and_the_connection_ends() {
        let running = start(Router::new(), Duration::ZERO, 10).await;
        let many = "a: b\r\n".repeat(HEADERS + 1);
        for (head, status, words) in [
            ("GET / HTTP/1.1\r\nX-API-Key: a\x01b\r\n\r\n", "400 Bad Request", "control character"),
            ("what is this\r\n\r\n", "400 Bad Request", "first line"),
            (&format!("GET / HTTP/1.1\r\n{many}\r\n"), "431 Request Header", "100 headers"),
        ] {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let answer = read(stream).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words), "{answer}");
        }
        running.shutdown.cancel();
        running.task.await.unwrap();
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
        let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tune(&stream);
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 60_000);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn one_address_cannot_take_the_connections_of_all() {
        let (router, begun, go) = slow();
        let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let server = Server::new(router, shutdown.clone(), Duration::from_secs(20), 8).at_most_from_one(1);
        let task = tokio::spawn(async move { server.serve(listener, Door::Plain).await });
        let first = ask(address, "/slow").await;
        begun.notified().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(matches!(second.read(&mut [0]).await, Ok(0) | Err(_)), "it is closed");
        // Another one of this machine is somebody else.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut third = socket.connect(address).await.unwrap();
        third.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read(third).await.ends_with("quick"));
        go.notify_one();
        assert!(read(first).await.ends_with("slow"));
        shutdown.cancel();
        task.await.unwrap();
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
        let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let error = bind(listener.local_addr().unwrap(), "--listen").await.unwrap_err().to_string();
        assert!(error.contains("--listen") && error.contains("is taken"), "{error}");
    }
}
