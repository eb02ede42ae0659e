//! A stream from the engine, read by whoever awaits it.
//!
//! A pooled client reads its connection in a task of its own and hands over each piece. For logs,
//! where each line is a piece, waking one task from the other costs three times the reading. Here
//! the connection is driven by the one who reads.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::failure;
use crate::executor::EngineError;

/// An answer's body, and the connection that it comes from.
pub(super) struct EngineStream {
    /// Until the connection is closed.
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    body: Incoming,
}

impl EngineStream {
    /// Sends `GET path` over a connection of its own and waits for the answer's head.
    ///
    /// # Errors
    /// What the engine says when the answer is no success.
    pub(super) async fn open(socket: &Path, path: &str) -> Result<Self, EngineError> {
        let socket = UnixStream::connect(socket).await.map_err(|error| failure::unreachable(&error))?;
        let joined = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = joined.map_err(|error| failure::unreachable(&error))?;
        let request = Request::get(path)
            .header(HOST, "docker")
            .body(Empty::<Bytes>::new())
            .map_err(|error| EngineError::Refused(format!("cannot ask for {path}: {error}")))?;
        let mut connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>> = Box::pin(connection);
        let mut closed = false;
        let answer = {
            let mut answer = std::pin::pin!(sender.send_request(request));
            std::future::poll_fn(|context| {
                if !closed {
                    closed = connection.as_mut().poll(context).is_ready();
                }
                answer.as_mut().poll(context)
            })
            .await
        };
        let (head, body) = answer.map_err(|error| failure::unreachable(&error))?.into_parts();
        let stream = Self { connection: (!closed).then_some(connection), body };
        if head.status.is_success() {
            return Ok(stream);
        }
        let body = stream.collect().await.map_err(|error| failure::unreachable(&error))?.to_bytes();
        Err(failure::status(head.status.as_u16(), &failure::message(&body)))
    }

    /// Waits for the next piece; `None` when the engine has ended the answer.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            match self.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(failure::unreachable(&error)),
                // Trailers say nothing here.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue,
                },
            }
        }
    }
}

impl Body for EngineStream {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // The first look asks for a piece, the connection reads it, the second look takes it.
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.body).poll_frame(context) {
            return ready;
        }
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            // If it failed, the body says so.
            self.connection = None;
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}
