//! Connections to containers: made when they are needed, used again while nobody closes them.
//!
//! A connection is to one container: made while that was known to be there, and never used for another that
//! was given its address. It has no task of its own: whoever waits for its answer drives it, and then whoever
//! reads the answer's body. So a request never wakes a second task, often on another core.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Method, Request, Response, request};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

use super::stream::Body;
use crate::domain::whereabouts::Reach;

/// How long a container may take to accept a connection. It is on this machine.
const CONNECT: Duration = Duration::from_secs(5);
/// Most connections to one port that are kept for later.
const KEPT: usize = 128;
/// How long one is kept.
const KEEP: Duration = Duration::from_secs(30);
/// From when on a container may be about to close one, as many do after a few seconds.
const DOUBTFUL: Duration = Duration::from_millis(500);

const HELD: &str = "no code panics while it holds this lock";

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("nothing listens on the port")]
    NobodyListens,
    #[error("the container did not accept a connection within {CONNECT:?}")]
    NotAccepted,
    #[error("the container cannot be reached")]
    Unreachable(#[source] io::Error),
    /// What is at its address now may be another's.
    #[error("the container has ended")]
    Ended,
    #[error("the container broke off before it answered")]
    Broken(#[source] hyper::Error),
}

/// A port of one container: the number of its stay where it is, and the port's.
type Port = (u64, u16);

/// Connections that nobody uses at the moment.
#[derive(Default)]
pub struct Upstreams(Mutex<HashMap<Port, Vec<Idle>>>);

struct Idle {
    link: Link,
    since: Instant,
}

type Connection = http1::Connection<TokioIo<TcpStream>, Body>;

/// One connection.
struct Link {
    sender: SendRequest<Body>,
    /// Reads and writes while it is polled; `None` once it has ended.
    connection: Option<Pin<Box<Connection>>>,
}

impl Link {
    /// Reads and writes what can be read and written now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(ended) = connection.as_mut().poll(cx)
        {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a container broke");
            }
            self.connection = None;
        }
    }

    /// Says whether the last exchange is complete in both directions, and nobody has closed it since.
    fn is_ready(&mut self) -> bool {
        // Whether it was closed is known once it has been looked at. Nobody waits for more.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    async fn ask(&mut self, request: Request<Body>) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }
}

/// A connection in use. Dropped, it is closed.
pub struct Slot {
    upstreams: Arc<Upstreams>,
    port: Port,
    link: Link,
}

impl Slot {
    /// Makes the answer's body come, as far as it can now.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        self.link.drive(cx);
    }

    /// Keeps the connection for the next request, if the exchange is complete: an answer may be so while
    /// its request is still on its way.
    pub fn hand_on(mut self) {
        if !self.link.is_ready() {
            return;
        }
        let mut all = self.upstreams.0.lock().expect(HELD);
        let kept = all.entry(self.port).or_default();
        if kept.len() < KEPT {
            kept.push(Idle { link: self.link, since: Instant::now() });
        }
    }
}

impl Upstreams {
    /// Sends a request to a container and returns the head of its answer. The slot has to be driven for the
    /// body to come, and handed on when it is complete.
    pub async fn send(
        self: &Arc<Self>,
        reach: &Reach,
        port: u16,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, Slot), Failure> {
        let of = (reach.stay.number(), port);
        while let Some(Idle { mut link, since }) = self.take(of) {
            let spare = (since.elapsed() > DOUBTFUL).then(|| spare(&request)).flatten();
            match link.ask(request).await {
                Ok(response) => return Ok((response, self.slot(of, link))),
                Err(mut failed) => match (failed.take_message(), spare) {
                    // It was closed before a byte was sent.
                    (Some(unsent), _) => request = unsent,
                    // It was closed while this was on its way; asked again, it changes nothing.
                    (None, Some(head)) => request = Request::from_parts(head, Body::Empty),
                    (None, None) => return Err(Failure::Broken(failed.into_error())),
                },
            }
        }
        let (sender, connection) = connect(reach, port).await?;
        let mut link = Link { sender, connection: Some(Box::pin(connection)) };
        let response = link.ask(request).await.map_err(|failed| Failure::Broken(failed.into_error()))?;
        Ok((response, self.slot(of, link)))
    }

    /// Sends a request that asks for a websocket, on a connection of its own, which a task of its own drives
    /// until both sides have agreed.
    pub async fn upgrade(
        self: &Arc<Self>,
        reach: &Reach,
        port: u16,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Slot), Failure> {
        let (mut sender, connection) = connect(reach, port).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a container broke");
            }
        });
        let response = sender.send_request(request).await.map_err(Failure::Broken)?;
        Ok((response, self.slot((reach.stay.number(), port), Link { sender, connection: None })))
    }

    fn slot(self: &Arc<Self>, port: Port, link: Link) -> Slot {
        Slot { upstreams: Arc::clone(self), port, link }
    }

    /// Takes the connection that was used last: the others may be let go one day.
    fn take(&self, port: Port) -> Option<Idle> {
        let mut all = self.0.lock().expect(HELD);
        let kept = all.get_mut(&port)?;
        while let Some(mut idle) = kept.pop() {
            if idle.link.is_ready() {
                return Some(idle);
            }
        }
        None
    }

    /// Closes connections that nobody has used for a while.
    pub fn tidy(&self) {
        self.0.lock().expect(HELD).retain(|_, kept| {
            kept.retain_mut(|idle| idle.since.elapsed() < KEEP && idle.link.is_ready());
            !kept.is_empty()
        });
    }
}

/// Returns the head of a request that may be sent a second time.
fn spare(request: &Request<Body>) -> Option<request::Parts> {
    let harmless = matches!(*request.method(), Method::GET | Method::HEAD) && request.body().is_end_stream();
    if !harmless {
        return None;
    }
    let mut head = Request::new(()).into_parts().0;
    head.method = request.method().clone();
    head.uri = request.uri().clone();
    head.headers = request.headers().clone();
    Some(head)
}

async fn connect(reach: &Reach, port: u16) -> Result<(SendRequest<Body>, Connection), Failure> {
    let address = SocketAddr::new(reach.address, port);
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    // Looked at afterwards: a connection that was made before the end leads to no other container, whatever
    // becomes of the address.
    if reach.stay.is_over() {
        return Err(Failure::Ended);
    }
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(Failure::NobodyListens),
        Ok(Err(error)) => return Err(Failure::Unreachable(error)),
        Err(_) => return Err(Failure::NotAccepted),
    };
    let _ = stream.set_nodelay(true);
    http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)
}
