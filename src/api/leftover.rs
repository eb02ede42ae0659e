//! Takes what a refused request still had to say.
//!
//! A request can be refused by its head alone: a wrong key, a foreign host. A connection whose request
//! was not read to its end cannot be used again and has to be closed, under a client that may be
//! sending its next request on it. So a small rest is read and thrown away, and where it is large the
//! answer says that the connection ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use futures_util::StreamExt;
use http::{HeaderValue, header};
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Most bytes that are read to keep a connection.
const MOST: u64 = 1 << 20;
/// How long they may take to arrive.
const PATIENCE: Duration = Duration::from_secs(1);

/// A body that is handed back by whoever drops it before its end.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            this.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it once the answer is under way.
            let _ = back.send(body);
        }
    }
}

/// Answers a request, and sees to what the answer left unread.
pub(super) async fn take(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // One that asks first has sent nothing yet, and asking for it now would be a lie.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let (back, mut left) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent { body: Some(body), back: Some(back) }));
    let mut response = next.run(request).await;
    if let Ok(rest) = left.try_recv()
        && (asks_first || !drained(rest).await)
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Throws the rest of a body away; `false` when it is too much or too slow.
async fn drained(rest: Body) -> bool {
    if rest.size_hint().lower() > MOST {
        return false;
    }
    let read = async {
        let (mut pieces, mut bytes) = (rest.into_data_stream(), 0);
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else { return false };
            bytes += piece.len() as u64;
            if bytes > MOST {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use axum::{Router, middleware::from_fn, routing::post};
    use futures_util::stream;
    use tower::ServiceExt;

    use super::*;

    /// Sends a body of `pieces` times 1000 bytes; returns the answer and how many bytes were read.
    async fn send(path: &str, pieces: usize, expect: bool) -> (Response, u64) {
        let read = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&read);
        let body = Body::from_stream(stream::iter((0..pieces).map(move |_| {
            counter.fetch_add(1000, Ordering::Relaxed);
            Ok::<_, std::io::Error>(vec![0; 1000])
        })));
        let app = Router::new()
            .route("/refused", post(async || http::StatusCode::BAD_REQUEST))
            .route("/read", post(async |body: Bytes| body.len().to_string()))
            .layer(from_fn(take));
        let mut request = Request::builder().method("POST").uri(path);
        if expect {
            request = request.header("expect", "100-continue");
        }
        let response = app.oneshot(request.body(body).unwrap()).await.unwrap();
        (response, read.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_small_rest_is_read_and_the_connection_kept() {
        let (response, read) = send("/refused", 50, false).await;
        assert_eq!((response.status().as_u16(), read), (400, 50_000));
        assert_eq!(response.headers().get(header::CONNECTION), None);
    }

    #[tokio::test]
    async fn a_large_rest_and_one_that_was_not_asked_for_end_the_connection() {
        for (pieces, expect) in [(5000, false), (1, true)] {
            let (response, read) = send("/refused", pieces, expect).await;
            assert_eq!(response.headers().get(header::CONNECTION).unwrap(), "close");
            assert!(read <= MOST + 1000 && (!expect || read == 0), "{read}");
        }
    }

    #[tokio::test]
    async fn what_is_read_by_its_handler_is_left_to_it() {
        let (response, read) = send("/read", 3, true).await;
        assert_eq!((response.status().as_u16(), read), (200, 3000));
        assert_eq!(response.headers().get(header::CONNECTION), None);
    }
}
