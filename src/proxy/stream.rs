//! Bodies on their way: passed on frame by frame as they come, counted, and cut off when whoever they
//! belong to is no longer let in. A body that breaks on one side breaks on the other, so that half an
//! answer is never taken for a whole one.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{door::Open, upstream::Slot};
use crate::domain::{
    time::Clock,
    traffic::{OpenRequest, Traffic},
};

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    #[error("the key, token or session behind it is no longer good")]
    NotLetIn,
    #[error("nothing came for too long")]
    Idle,
    #[error("the daemon is stopping")]
    Stopping,
    #[error("the other side broke off")]
    Broken(#[source] hyper::Error),
}

/// A body: ours, or somebody's on its way.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Text(Bytes),
    Carried(Carried),
}

impl From<Bytes> for Body {
    fn from(text: Bytes) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }
}

/// Which way a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToContainer,
    FromContainer,
}

/// When the last byte of a request passed, for whoever waits for its answer.
pub struct Progress {
    begun: Instant,
    millis: AtomicU64,
}

impl Progress {
    pub fn begin() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), millis: AtomicU64::new(0) })
    }

    /// Returns when a byte passed last.
    pub fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    fn note(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }
}

/// Somebody's body.
pub struct Carried {
    inner: Incoming,
    way: Way,
    /// How long nothing may come.
    idle: Duration,
    open: Open,
    traffic: Arc<Traffic>,
    clock: Arc<dyn Clock>,
    /// Ends it when the daemon stops: it would not end by itself.
    stop: Option<CancellationToken>,
    progress: Option<Arc<Progress>>,
    /// Of an answer: the request is complete when this goes.
    request: Option<OpenRequest>,
    /// Of an answer: the connection, which others may have afterwards.
    slot: Option<Slot>,
    /// How the other side broke off.
    broken: Option<hyper::Error>,
    /// What is waited for besides the next frame.
    wait: Option<Pin<Box<dyn Future<Output = Cut> + Send + Sync>>>,
}

impl Carried {
    pub fn new(
        inner: Incoming,
        way: Way,
        idle: Duration,
        open: Open,
        traffic: Arc<Traffic>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (stop, progress, request, slot, broken, wait) = (None, None, None, None, None, None);
        Self { inner, way, idle, open, traffic, clock, stop, progress, request, slot, broken, wait }
    }

    /// Tells how far it is.
    pub fn telling(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Keeps the request open, and hands the connection on at the end.
    pub fn of(mut self, request: OpenRequest, slot: Slot) -> Self {
        self.request = Some(request);
        self.slot = Some(slot);
        self
    }

    /// Ends it when the daemon stops.
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = Some(stop);
        self
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.open.ended().is_cancelled() {
            return Poll::Ready(Some(Err(Cut::NotLetIn)));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(Cut::Broken(error))));
        }
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        // It was asked for more, so the connection may read on.
        if let (Poll::Pending, Some(slot)) = (&frame, &mut self.slot) {
            slot.drive(cx);
            frame = Pin::new(&mut self.inner).poll_frame(cx);
        }
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.wait = None;
                let Ok(data) = frame.into_data() else {
                    // Trailers are for one connection; nothing of a body follows them.
                    return self.poll(cx);
                };
                self.count(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.slot = None;
                // What came before it is still on its way out, and would be dropped with the connection.
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.wait = None;
                self.hand_on();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_wait(cx).map(|cut| Some(Err(cut))),
        }
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        let wait = self.wait.get_or_insert_with(|| {
            let (ended, stop, idle) = (self.open.ended().clone(), self.stop.clone(), self.idle);
            Box::pin(async move {
                tokio::select! {
                    () = ended.cancelled() => Cut::NotLetIn,
                    () = async { match &stop { Some(stop) => stop.cancelled().await, None => std::future::pending().await } } => Cut::Stopping,
                    () = tokio::time::sleep(idle) => Cut::Idle,
                }
            })
        });
        wait.as_mut().poll(cx)
    }

    fn count(&self, bytes: usize) {
        let now = self.clock.now();
        match self.way {
            Way::ToContainer => self.traffic.passed_in(bytes, now),
            Way::FromContainer => self.traffic.passed_out(bytes, now),
        }
        if let Some(progress) = &self.progress {
            progress.note();
        }
    }

    fn hand_on(&mut self) {
        self.request = None;
        if let Some(slot) = self.slot.take() {
            slot.hand_on();
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // Of a known length nobody asks for more than that.
        if self.inner.is_end_stream() {
            self.hand_on();
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Carried(carried) => carried.poll(cx),
            Self::Empty => Poll::Ready(None),
            Self::Text(text) => {
                let text = std::mem::take(text);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(_) => false,
            Self::Carried(carried) => carried.broken.is_none() && carried.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Text(text) => SizeHint::with_exact(text.len() as u64),
            Self::Carried(carried) => carried.inner.size_hint(),
        }
    }
}
