//! The threads that carry connections. A connection stays on one, with the connections to containers that
//! its requests use: waking a task on another core takes longer than all else that a small request needs.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{listener::Held, upstream::Upstreams};

/// More threads would pass on more than a machine's network brings.
const MOST: usize = 8;
/// Threads of one worker that ask the store.
const ASKING: usize = 16;

/// The threads, until they are dropped.
pub struct Workers {
    all: Vec<Worker>,
    /// Ends them.
    end: CancellationToken,
}

struct Worker {
    handle: Handle,
    upstreams: Arc<Upstreams>,
    open: TaskTracker,
}

/// The place of a connection: among those that may be open, and on its thread.
pub(super) struct Seat {
    pub upstreams: Arc<Upstreams>,
    _held: Held,
}

impl Workers {
    /// Starts a thread for every core, up to some.
    ///
    /// # Errors
    /// When the machine has no more threads or file descriptors.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let mut workers = Self { all: Vec::with_capacity(count), end: CancellationToken::new() };
        for n in 0..count {
            let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(ASKING).build()?;
            let handle = runtime.handle().clone();
            let end = workers.end.clone();
            thread::Builder::new().name(format!("proxy-{n}")).spawn(move || {
                runtime.block_on(end.cancelled());
                // What still runs has had its time.
                runtime.shutdown_background();
            })?;
            workers.all.push(Worker { handle, upstreams: Arc::default(), open: TaskTracker::new() });
        }
        Ok(workers)
    }

    /// Has the thread with the fewest connections carry one.
    ///
    /// # Errors
    /// When the socket is gone.
    pub(super) fn carry<F>(
        &self,
        stream: TcpStream,
        held: Held,
        answer: impl FnOnce(TcpStream, Arc<Seat>) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let least = self.all.iter().min_by_key(|worker| worker.open.len());
        let worker = least.expect("there is one at least");
        // Whoever waits for a socket is woken by the thread that it was made known to.
        let stream = stream.into_std()?;
        let seat = Arc::new(Seat { upstreams: Arc::clone(&worker.upstreams), _held: held });
        let carried = async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => answer(stream, seat).await,
                Err(error) => tracing::warn!(%error, "a connection could not be taken up"),
            }
        };
        worker.open.spawn_on(carried, &worker.handle);
        Ok(())
    }

    /// Closes connections to containers that nobody uses.
    pub(super) fn tidy(&self) {
        self.all.iter().for_each(|worker| worker.upstreams.tidy());
    }

    /// Waits for what is under way, up to `grace`, and ends the threads. Returns how many connections were
    /// still open.
    pub(super) async fn end(self, grace: Duration) -> usize {
        let ended = async {
            for worker in &self.all {
                worker.open.close();
                worker.open.wait().await;
            }
        };
        let _ = tokio::time::timeout(grace, ended).await;
        let left = self.all.iter().map(|worker| worker.open.len()).sum();
        self.end.cancel();
        left
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::{
        net::TcpListener,
        sync::{Semaphore, mpsc},
    };

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_over_the_threads_and_each_stays_on_one() {
        let workers = Workers::start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let places = Arc::new(Semaphore::new(100));
        let (told, mut tell) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        let each = 3;
        for _ in 0..workers.all.len() * each {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (stream, _) = listener.accept().await.unwrap();
            let (told, permit) = (told.clone(), Arc::clone(&places).acquire_owned().await.unwrap());
            let carried = workers.carry(stream, Held::new(permit, None), |stream, _seat| async move {
                let name = || thread::current().name().map(str::to_owned);
                let before = name();
                // Until the client goes.
                stream.readable().await.unwrap();
                told.send((before, name())).unwrap();
            });
            carried.unwrap();
        }
        drop(clients);
        let mut seen: HashMap<_, usize> = HashMap::new();
        for _ in 0..workers.all.len() * each {
            let (before, after) = tell.recv().await.unwrap();
            assert_eq!(before, after);
            *seen.entry(before).or_default() += 1;
        }
        assert!(seen.len() == workers.all.len() && seen.values().all(|count| *count == each), "{seen:?}");
        assert_eq!(workers.end(Duration::from_secs(60)).await, 0);
        assert_eq!(places.available_permits(), 100);
    }

    #[tokio::test]
    async fn what_does_not_end_in_time_is_counted_and_cut_off() {
        let workers = Workers::start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let endless = |stream: TcpStream, _seat| async move {
            let _stream = stream;
            std::future::pending::<()>().await;
        };
        workers.carry(stream, Held::new(permit, None), endless).unwrap();
        assert_eq!(workers.end(Duration::from_millis(10)).await, 1);
        // The socket goes with its thread.
        assert_eq!(tokio::io::AsyncReadExt::read(&mut client, &mut [0; 1]).await.unwrap_or(0), 0);
    }
}
