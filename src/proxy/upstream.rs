//! Connections to containers: made when they are needed, used again while nobody closes them.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request, Response, request};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

use super::stream::Body;

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
    #[error("the container broke off before it answered")]
    Broken(#[source] hyper::Error),
}

/// Connections that nobody uses at the moment.
#[derive(Default)]
pub struct Upstreams(Mutex<HashMap<SocketAddr, Vec<Idle>>>);

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// A connection in use. Dropped, it is closed.
pub struct Slot {
    upstreams: Arc<Upstreams>,
    address: SocketAddr,
    sender: SendRequest<Body>,
}

impl Slot {
    /// Keeps the connection for the next request: the answer of this one is complete.
    pub fn hand_on(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut all = self.upstreams.0.lock().expect(HELD);
        let kept = all.entry(self.address).or_default();
        if kept.len() < KEPT {
            kept.push(Idle { sender: self.sender, since: Instant::now() });
        }
    }
}

impl Upstreams {
    /// Sends a request to a container and returns the head of its answer. The slot has to be handed on when
    /// the body is complete.
    pub async fn send(
        self: &Arc<Self>,
        address: SocketAddr,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, Slot), Failure> {
        while let Some(Idle { mut sender, since }) = self.take(address) {
            let spare = (since.elapsed() > DOUBTFUL).then(|| spare(&request)).flatten();
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.slot(address, sender))),
                Err(mut failed) => match (failed.take_message(), spare) {
                    // It was closed before a byte was sent.
                    (Some(unsent), _) => request = unsent,
                    // It was closed while this was on its way; asked again, it changes nothing.
                    (None, Some(head)) => request = Request::from_parts(head, Body::Empty),
                    (None, None) => return Err(Failure::Broken(failed.into_error())),
                },
            }
        }
        let (mut sender, connection) = connect(address).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %address, "a connection to a container broke");
            }
        });
        let response = sender.send_request(request).await.map_err(Failure::Broken)?;
        Ok((response, self.slot(address, sender)))
    }

    /// Sends a request that asks for a websocket, on a connection of its own.
    pub async fn upgrade(
        self: &Arc<Self>,
        address: SocketAddr,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Slot), Failure> {
        let (mut sender, connection) = connect(address).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, %address, "a connection to a container broke");
            }
        });
        let response = sender.send_request(request).await.map_err(Failure::Broken)?;
        Ok((response, self.slot(address, sender)))
    }

    fn slot(self: &Arc<Self>, address: SocketAddr, sender: SendRequest<Body>) -> Slot {
        Slot { upstreams: Arc::clone(self), address, sender }
    }

    /// Takes the connection that was used last: the others may be let go one day.
    fn take(&self, address: SocketAddr) -> Option<Idle> {
        let mut all = self.0.lock().expect(HELD);
        let kept = all.get_mut(&address)?;
        // One that was handed on just now may have its last words still to say.
        let ready = kept.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(kept.remove(ready))
    }

    /// Closes connections that nobody has used for a while.
    pub fn tidy(&self) {
        self.0.lock().expect(HELD).retain(|_, kept| {
            kept.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < KEEP);
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

async fn connect(
    address: SocketAddr,
) -> Result<(SendRequest<Body>, http1::Connection<TokioIo<TcpStream>, Body>), Failure> {
    let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(Failure::NobodyListens),
        Ok(Err(error)) => return Err(Failure::Unreachable(error)),
        Err(_) => return Err(Failure::NotAccepted),
    };
    let _ = stream.set_nodelay(true);
    http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)
}
