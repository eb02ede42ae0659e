//! What passes between a workload and those who use it, in numbers. Kept in memory: whoever asks wants to
//! know what happens now, such as whether anybody still uses a notebook.

use std::{
    sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use super::time::Timestamp;

/// The counters of one workload, since it started or the daemon did. The proxy counts, others read.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    unanswered: AtomicU64,
    open_sockets: AtomicU32,
    open_requests: AtomicU32,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    first_byte_micros: AtomicU64,
    answers: AtomicU64,
    last: AtomicI64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficNow {
    /// Requests that were passed on, upgrades among them.
    pub requests: u64,
    /// Of those, requests that got no answer from the container.
    pub unanswered: u64,
    /// Websockets that are open.
    pub open_sockets: u32,
    /// Requests whose answer is not complete.
    pub open_requests: u32,
    /// Bytes of bodies and sockets, to the container and from it.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Mean time from a request to the head of its answer; `None` before the first.
    pub time_to_first_byte: Option<Duration>,
    /// When the last byte passed; `None` before the first.
    pub last: Option<Timestamp>,
}

impl Traffic {
    /// Counts a request that is passed on. What it returns says when it is complete.
    pub fn request(self: &std::sync::Arc<Self>, now: Timestamp) -> OpenRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.open_requests.fetch_add(1, Ordering::Relaxed);
        self.last.store(now.0, Ordering::Relaxed);
        OpenRequest(std::sync::Arc::clone(self))
    }

    /// Counts an answer, whose head came after `took`.
    pub fn answered(&self, took: Duration) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.first_byte_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts a request to which no answer came.
    pub fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an open socket. What it returns says when it is closed.
    pub fn socket(self: &std::sync::Arc<Self>) -> OpenSocket {
        self.open_sockets.fetch_add(1, Ordering::Relaxed);
        OpenSocket(std::sync::Arc::clone(self))
    }

    /// Counts bytes on their way to the container.
    pub fn passed_in(&self, bytes: usize, now: Timestamp) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(now.0, Ordering::Relaxed);
    }

    /// Counts bytes on their way from the container.
    pub fn passed_out(&self, bytes: usize, now: Timestamp) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(now.0, Ordering::Relaxed);
    }

    /// Reads the counters.
    pub fn now(&self) -> TrafficNow {
        let (answers, last) = (self.answers.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed));
        TrafficNow {
            requests: self.requests.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
            open_sockets: self.open_sockets.load(Ordering::Relaxed),
            open_requests: self.open_requests.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            time_to_first_byte: (answers > 0)
                .then(|| Duration::from_micros(self.first_byte_micros.load(Ordering::Relaxed) / answers)),
            last: (last > 0).then_some(Timestamp(last)),
        }
    }
}

/// A request that is not complete while this exists.
#[derive(Debug)]
pub struct OpenRequest(std::sync::Arc<Traffic>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open_requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that is open while this exists.
#[derive(Debug)]
pub struct OpenSocket(std::sync::Arc<Traffic>);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.open_sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_open_is_counted_while_it_is_open() {
        let traffic = Arc::new(Traffic::default());
        assert_eq!(traffic.now(), TrafficNow::default());
        let (request, socket) = (traffic.request(Timestamp(5)), traffic.socket());
        traffic.answered(Duration::from_millis(4));
        traffic.passed_out(10, Timestamp(9));
        let now = traffic.now();
        assert_eq!((now.requests, now.open_requests, now.open_sockets, now.bytes_out), (1, 1, 1, 10));
        assert_eq!((now.time_to_first_byte, now.last), (Some(Duration::from_millis(4)), Some(Timestamp(9))));
        drop((request, socket));
        let now = traffic.now();
        assert_eq!((now.requests, now.open_requests, now.open_sockets), (1, 0, 0));
    }
}
