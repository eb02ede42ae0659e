//! Work on its way from one thread to several, bounded by its bytes.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// What each piece of work counts beside its own bytes.
pub(super) const OVERHEAD_BYTES: usize = 512;

/// A queue for one who adds and many who take.
#[derive(Debug)]
pub(super) struct Queue<W> {
    inner: Mutex<Inner<W>>,
    /// Something came, or nothing will come any more.
    came: Condvar,
    /// Something was taken, or done.
    went: Condvar,
    max_bytes: usize,
}

#[derive(Debug)]
struct Inner<W> {
    waiting: VecDeque<(usize, W)>,
    bytes: usize,
    /// Taken and not yet done.
    busy: usize,
    /// Who waits for something to come, and for something to go. Waking is a call to the kernel even
    /// when nobody sleeps.
    idle: usize,
    held: usize,
    closed: bool,
}

impl<W> Queue<W> {
    pub(super) fn new(max_bytes: usize) -> Self {
        let inner = Inner { waiting: VecDeque::new(), bytes: 0, busy: 0, idle: 0, held: 0, closed: false };
        Self { inner: Mutex::new(inner), came: Condvar::new(), went: Condvar::new(), max_bytes }
    }

    /// Adds work of `bytes` bytes. Waits for room; work larger than all of it is let in alone.
    pub(super) fn push(&self, bytes: usize, work: W) {
        let bytes = bytes + OVERHEAD_BYTES;
        let mut inner = self.hold(|inner| inner.bytes > 0 && inner.bytes + bytes > self.max_bytes);
        inner.bytes += bytes;
        inner.waiting.push_back((bytes, work));
        if inner.idle > 0 {
            self.came.notify_one();
        }
    }

    /// Calls `each` with one piece of work after the other until the queue is closed and empty. Run
    /// by several threads at once.
    pub(super) fn take(&self, mut each: impl FnMut(W)) {
        let mut inner = self.lock();
        loop {
            if let Some((bytes, work)) = inner.waiting.pop_front() {
                inner.bytes -= bytes;
                inner.busy += 1;
                self.tell_held(&inner);
                drop(inner);
                // Not done should the work panic: then whoever waits for rest must not wait for ever.
                let busy = Busy(self);
                each(work);
                drop(busy);
                inner = self.lock();
            } else if inner.closed {
                return;
            } else {
                inner.idle += 1;
                inner = self.came.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.idle -= 1;
            }
        }
    }

    /// Waits until all that was added is done.
    pub(super) fn rest(&self) {
        drop(self.hold(|inner| !inner.waiting.is_empty() || inner.busy > 0));
    }

    /// Lets those who take go home once nothing is left.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.came.notify_all();
    }

    /// Waits while `full` says so.
    fn hold(&self, full: impl Fn(&Inner<W>) -> bool) -> MutexGuard<'_, Inner<W>> {
        let mut inner = self.lock();
        while full(&inner) {
            inner.held += 1;
            inner = self.went.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.held -= 1;
        }
        inner
    }

    fn tell_held(&self, inner: &Inner<W>) {
        if inner.held > 0 {
            self.went.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<W>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Busy<'a, W>(&'a Queue<W>);

impl<W> Drop for Busy<'_, W> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.busy -= 1;
        self.0.tell_held(&inner);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicI64, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn all_work_is_done_once_and_never_more_waits_than_there_is_room_for() {
        let queue = Queue::new(4000);
        let (done, waiting, most) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    queue.take(|n: i64| {
                        waiting.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(n, Ordering::SeqCst);
                    });
                });
            }
            for n in 1..=500 {
                queue.push(488, n);
                most.fetch_max(waiting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            queue.rest();
            assert_eq!(done.load(Ordering::SeqCst), 500 * 501 / 2);
            queue.close();
        });
        // Four in the queue, and those just taken by three who have not counted them yet.
        assert!(most.load(Ordering::SeqCst) <= 4 + 3 + 1, "{most:?}");
    }

    #[test]
    fn work_larger_than_all_room_is_let_in_alone() {
        let queue = Queue::new(10);
        thread::scope(|scope| {
            scope.spawn(|| queue.take(|()| {}));
            queue.push(1 << 20, ());
            queue.push(1 << 20, ());
            queue.close();
        });
    }
}
