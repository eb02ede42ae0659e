//! The socket: one pooled client, the API's version agreed with the engine, a time-out for every
//! call.
//!
//! bollard's own unix transport opens a connection for each call, refuses to exist without the
//! socket, and leaves the version out of its paths. So it is given a transport of ours. Streams that
//! bollard decodes too slowly or too loosely have connections of their own, in `stream`.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body_util::{Either, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    upgrade::Upgraded,
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use hyperlocal::UnixConnector;

use super::{failure, hijack, stream::EngineStream};
use crate::executor::EngineError;

/// What bollard sends: all at once, or as a stream.
type Body = Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send>>>>;

/// The newest API that the types here were written against.
const NEWEST_MINOR: u32 = 53;

/// The engine's socket. Clones share its connections.
#[derive(Clone)]
pub(super) struct Connection {
    socket: Arc<Path>,
    client: Client<UnixConnector, Body>,
    /// `unix://` and the socket's path in hexadecimal, as the connector wants it.
    origin: String,
    bollard: bollard::Docker,
    /// The N of the agreed API 1.N; 0 while nothing is agreed.
    minor: Arc<AtomicU32>,
    quick: Duration,
}

impl Connection {
    pub(super) fn new(socket: &Path, quick: Duration) -> Self {
        use std::fmt::Write;
        let mut origin = String::from("unix://");
        for byte in socket.to_string_lossy().bytes() {
            let _ = write!(origin, "{byte:02x}");
        }
        let client: Client<UnixConnector, Body> = Client::builder(TokioExecutor::new()).build(UnixConnector);
        let minor = Arc::new(AtomicU32::new(0));
        let transport = {
            let (client, minor) = (client.clone(), minor.clone());
            move |mut request: bollard::BollardRequest| {
                let (client, minor) = (client.clone(), minor.load(Ordering::Relaxed));
                async move {
                    *request.uri_mut() = versioned(request.uri(), minor)?;
                    client.request(request).await.map_err(bollard::errors::Error::from)
                }
            }
        };
        // bollard times only the wait for the head of an answer. Calls are timed as a whole in
        // `call`, so its limit only has to be longer than any of theirs.
        let bollard = bollard::Docker::connect_with_custom_transport(
            transport,
            Some(origin.as_str()),
            24 * 3600,
            bollard::API_DEFAULT_VERSION,
        )
        .expect("a transport of ours needs no socket to be there");
        Self { socket: socket.into(), client, origin, bollard, minor, quick }
    }

    /// Makes one call through bollard, which must be over after `limit`.
    pub(super) async fn call<'a, T, F>(
        &'a self,
        limit: Duration,
        ask: impl FnOnce(&'a bollard::Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let bollard = self.bollard().await?;
        let answer = match tokio::time::timeout(limit, ask(bollard)).await {
            Ok(answer) => answer.map_err(failure::read),
            Err(_) => Err(failure::late(limit)),
        };
        self.noted(answer)
    }

    /// Returns bollard, ready to be asked in a version that the engine knows.
    pub(super) async fn bollard(&self) -> Result<&bollard::Docker, EngineError> {
        self.agree().await?;
        Ok(&self.bollard)
    }

    /// Opens `GET path` as a stream, once the head of the answer is here; the body has no time limit.
    pub(super) async fn open(&self, path: &str) -> Result<EngineStream, EngineError> {
        self.agree().await?;
        let path = format!("/v1.{}{path}", self.minor.load(Ordering::Relaxed));
        let answer = match tokio::time::timeout(self.quick, EngineStream::open(&self.socket, &path)).await {
            Ok(answer) => answer,
            Err(_) => Err(failure::late(self.quick)),
        };
        self.noted(answer)
    }

    /// Sends `POST path` with a JSON body and takes over its connection, in both directions.
    pub(super) async fn hijack(&self, path: &str, body: Vec<u8>) -> Result<Upgraded, EngineError> {
        self.agree().await?;
        let path = format!("/v1.{}{path}", self.minor.load(Ordering::Relaxed));
        let answer = match tokio::time::timeout(self.quick, hijack::take_over(&self.socket, &path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(failure::late(self.quick)),
        };
        self.noted(answer)
    }

    /// Returns the agreed API version, such as `1.41`.
    pub(super) async fn version(&self) -> Result<String, EngineError> {
        self.agree().await?;
        Ok(format!("1.{}", self.minor.load(Ordering::Relaxed)))
    }

    /// Returns the whole second that it is by the engine's clock, in seconds since 1970.
    pub(super) async fn engine_second(&self) -> Result<i64, EngineError> {
        let head = self.ping().await?;
        let date = head.headers().get(http::header::DATE).and_then(|date| date.to_str().ok()).unwrap_or_default();
        jiff::fmt::rfc2822::parse(date)
            .map(|time| time.timestamp().as_second())
            .map_err(|_| EngineError::Refused(format!("the engine tells no time: {date:?}")))
    }

    /// Agrees on an API version with an engine that was not spoken to yet, or not since it was away:
    /// it may be another one now.
    async fn agree(&self) -> Result<(), EngineError> {
        if self.minor.load(Ordering::Relaxed) != 0 {
            return Ok(());
        }
        let head = self.ping().await?;
        let spoken = head.headers().get("api-version").and_then(|version| version.to_str().ok()).unwrap_or_default();
        let minor = spoken
            .strip_prefix("1.")
            .and_then(|minor| minor.parse::<u32>().ok())
            .ok_or_else(|| EngineError::Refused(format!("the engine speaks API version {spoken:?}, not 1.x")))?;
        self.minor.store(minor.min(NEWEST_MINOR), Ordering::Relaxed);
        Ok(())
    }

    async fn ping(&self) -> Result<Response<Incoming>, EngineError> {
        let request = Request::builder()
            .uri(format!("{}/_ping", self.origin))
            .body(Either::Left(Full::new(Bytes::new())))
            .map_err(|error| EngineError::Refused(format!("the engine's socket cannot be named: {error}")))?;
        let answer = match tokio::time::timeout(self.quick, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| failure::unreachable(&error)),
            Err(_) => Err(failure::late(self.quick)),
        };
        self.noted(answer)
    }

    fn noted<T>(&self, answer: Result<T, EngineError>) -> Result<T, EngineError> {
        if matches!(answer, Err(EngineError::Unreachable(_))) {
            self.minor.store(0, Ordering::Relaxed);
        }
        answer
    }
}

/// Puts the agreed version before the path; a ping needs none.
fn versioned(uri: &Uri, minor: u32) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if minor == 0 || path.starts_with("/_ping") {
        return Ok(uri.clone());
    }
    let path =
        if path.starts_with("/v1.") { path[1..].split_once('/').map_or("", |(_, rest)| rest) } else { &path[1..] };
    let path = if path.starts_with("build?") { in_bytes(path) } else { path.to_owned() };
    Uri::builder()
        .scheme(uri.scheme_str().unwrap_or("unix"))
        .authority(uri.authority().map_or("", |authority| authority.as_str()))
        .path_and_query(format!("/v1.{minor}/{path}"))
        .build()
}

/// Turns a build's memory from KiB into the bytes that the engine counts in. bollard gives it 32 bits,
/// which would be 2 GiB at most, so `build` hands it KiB.
fn in_bytes(path: &str) -> String {
    let bytes = |pair: &str| match pair.split_once('=') {
        Some((name @ ("memory" | "memswap"), kib)) => match kib.parse::<i64>() {
            Ok(kib) => format!("{name}={}", kib.saturating_mul(1024)),
            Err(_) => pair.to_owned(),
        },
        _ => pair.to_owned(),
    };
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    format!("{path}?{}", query.split('&').map(bytes).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::versioned;

    #[test]
    fn a_path_carries_the_agreed_version_and_no_other() {
        let say =
            |path: &str, minor| versioned(&format!("unix://2f61{path}").parse().unwrap(), minor).unwrap().to_string();
        assert_eq!(say("/containers/json?all=1", 41), "unix://2f61/v1.41/containers/json?all=1");
        assert_eq!(say("/v1.53/info", 41), "unix://2f61/v1.41/info");
        assert_eq!(say("/_ping", 41), "unix://2f61/_ping");
        assert_eq!(say("/info", 0), "unix://2f61/info");
        assert_eq!(
            say("/v1.53/build?t=memory&memory=67108864&memswap=67108864&q=", 41),
            "unix://2f61/v1.41/build?t=memory&memory=68719476736&memswap=68719476736&q="
        );
    }
}
