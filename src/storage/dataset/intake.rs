//! Taking many files at once: one thread brings them, several store them.
//!
//! Small files come as buffers of their own, many at a time, so that bringing the next ones overlaps with
//! hashing and storing those before them. A large file comes in pieces, which one worker writes while the next
//! piece is on its way. All of it goes into a tree that nobody sees yet.

use std::{
    io::{self, Read},
    num::NonZero,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, Scope},
};

use super::{
    Blobs, Tree, TreeError,
    queue::{OVERHEAD_BYTES, Queue},
};
use crate::{
    domain::{
        content::{Content, EntryKind},
        user_path::UserPath,
    },
    storage::beneath::Beneath,
};

/// The largest file that is held in memory as a whole.
const SMALL_BYTES: u64 = 1 << 20;
/// What may wait for the workers, all small files together.
const QUEUE_BYTES: usize = 16 << 20;
/// Small files are handed over so many, or so many bytes of them, at a time: waking a worker for each
/// costs a third of what storing it does.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 256 << 10;
const PIECE_BYTES: usize = 1 << 20;
/// Pieces of one large file that may wait.
const PIECES: usize = 8;
const MAX_WORKERS: usize = 4;

/// Why a file was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// The tree has a file of that name already.
    Twice,
    /// A file of this host.
    Unreadable(io::Error),
    /// A file of this host that somebody is writing to.
    Changing,
    Tree(TreeError),
}

impl From<TreeError> for Refused {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// Workers that store files into one tree.
pub(super) struct Intake {
    queue: Queue<Vec<Work>>,
    /// What is handed over next.
    batch: Mutex<Batch>,
    blobs: Arc<Blobs>,
    root: Beneath,
    /// Buffers of pieces that were written: making new ones for each costs as much as hashing.
    spare: Mutex<Vec<Vec<u8>>>,
    failed: AtomicBool,
    /// The first that was refused, with its path.
    failure: Mutex<Option<(UserPath, Refused)>>,
}

#[derive(Default)]
struct Batch {
    bytes: usize,
    work: Vec<Work>,
}

struct Work {
    path: UserPath,
    executable: bool,
    bytes: Bytes,
}

enum Bytes {
    Whole(Vec<u8>),
    Pieces(Receiver<Piece>),
    /// Bytes that are on this host already.
    Local(Local),
}

/// Makes a blob of a file.
type Local = Box<dyn FnOnce(&Tree) -> Result<Content, Refused> + Send>;

enum Piece {
    More {
        bytes: Vec<u8>,
        /// How much of it counts.
        length: usize,
    },
    /// Without it the file is not whole.
    End,
}

/// Says that a file was refused, now or earlier: [`Intake::failure`] tells.
#[derive(Debug)]
pub(super) struct Failed;

/// Why bringing a file ended.
#[derive(Debug)]
pub(super) enum Broken<E> {
    Failed,
    /// What `check` said of its bytes.
    Refused(E),
    /// What reading it gave.
    Read(io::Error),
}

impl Intake {
    /// For the tree at `root`, which nobody else writes to.
    pub(super) fn new(blobs: Arc<Blobs>, root: &Beneath) -> io::Result<Self> {
        Ok(Self {
            queue: Queue::new(QUEUE_BYTES),
            batch: Mutex::default(),
            blobs,
            root: root.reopen()?,
            spare: Mutex::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        })
    }

    /// Calls `bring` while workers store what it brings, and returns when all of that is stored.
    /// Afterwards [`Intake::failure`] says whether it is.
    pub(super) fn run<T>(&self, bring: impl FnOnce() -> T) -> T {
        let workers = thread::available_parallelism().map_or(1, NonZero::get).clamp(2, MAX_WORKERS);
        thread::scope(|scope| {
            for _ in 0..workers {
                self.employ(scope);
            }
            // Also when bringing panics, or the workers would wait for ever.
            let _close = Close(&self.queue);
            let brought = bring();
            self.hand_over();
            brought
        })
    }

    fn employ<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        scope.spawn(|| {
            // Each with a tree of its own: it remembers the directory that was written to last.
            let tree = self.root.reopen().map(|root| Tree::at(self.blobs.clone(), root));
            self.queue.take(|batch| {
                for work in batch {
                    if self.failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let path = work.path.clone();
                    let stored = match &tree {
                        Ok(tree) => work.store(tree, self),
                        Err(error) => Err(Refused::Tree(io::Error::from(error.kind()).into())),
                    };
                    if let Err(refused) = stored {
                        self.fail(path, refused);
                    }
                }
            });
        });
    }

    /// Takes a file whose bytes are all that `data` gives; `check` is told of them before they are
    /// stored. `said` is how many there seem to be.
    pub(super) fn bring<E>(
        &self,
        path: &UserPath,
        executable: bool,
        said: u64,
        data: &mut dyn Read,
        mut check: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), Broken<E>> {
        let work = |bytes| Work { path: path.clone(), executable, bytes };
        self.go_on().map_err(|Failed| Broken::Failed)?;
        if said <= SMALL_BYTES {
            // One byte more, so that the end is seen without growing.
            let mut bytes = Vec::with_capacity(usize::try_from(said).unwrap_or(0) + 1);
            data.take(SMALL_BYTES + 1).read_to_end(&mut bytes).map_err(Broken::Read)?;
            check(bytes.len() as u64).map_err(Broken::Refused)?;
            if bytes.len() as u64 <= SMALL_BYTES {
                self.gather(bytes.capacity(), work(Bytes::Whole(bytes)));
                return Ok(());
            }
            return self.bring_large(bytes, data, work, check);
        }
        self.bring_large(Vec::new(), data, work, check)
    }

    /// Brings a file piece by piece, of which `begun` was read already.
    fn bring_large<E>(
        &self,
        begun: Vec<u8>,
        data: &mut dyn Read,
        work: impl FnOnce(Bytes) -> Work,
        mut check: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), Broken<E>> {
        let (to, from) = sync_channel(PIECES);
        self.queue.push(0, vec![work(Bytes::Pieces(from))]);
        // Nobody takes it any more when a worker has failed.
        let give = |piece| to.send(piece).map_err(|_| Broken::Failed);
        let length = begun.len();
        give(Piece::More { bytes: begun, length })?;
        loop {
            let mut bytes = self.spare().pop().unwrap_or_else(|| vec![0; PIECE_BYTES]);
            let length = fill(data, &mut bytes).map_err(Broken::Read)?;
            if length == 0 {
                return give(Piece::End);
            }
            check(length as u64).map_err(Broken::Refused)?;
            self.go_on().map_err(|Failed| Broken::Failed)?;
            give(Piece::More { bytes, length })?;
        }
    }

    /// Takes a file that `store` makes a blob of. One that stands there already is replaced.
    pub(super) fn hand(&self, path: &UserPath, store: Local) -> Result<(), Failed> {
        self.go_on()?;
        self.queue.push(0, vec![Work { path: path.clone(), executable: false, bytes: Bytes::Local(store) }]);
        Ok(())
    }

    /// Waits until all that was brought is stored, or was refused.
    pub(super) fn rest(&self) -> Result<(), Failed> {
        self.hand_over();
        self.queue.rest();
        self.go_on()
    }

    /// Returns what was refused first, and forgets it.
    pub(super) fn failure(&self) -> Option<(UserPath, Refused)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds a small file to those that are handed over next.
    fn gather(&self, bytes: usize, work: Work) {
        let mut batch = self.batch();
        batch.bytes += bytes + OVERHEAD_BYTES;
        batch.work.push(work);
        let enough = batch.work.len() >= BATCH || batch.bytes >= BATCH_BYTES;
        drop(batch);
        if enough {
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        let Batch { bytes, work } = std::mem::take(&mut *self.batch());
        if !work.is_empty() {
            self.queue.push(bytes, work);
        }
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut spare = self.spare();
        if buffer.len() == PIECE_BYTES && spare.len() < PIECES {
            spare.push(buffer);
        }
    }

    fn go_on(&self) -> Result<(), Failed> {
        if self.failed.load(Ordering::Relaxed) { Err(Failed) } else { Ok(()) }
    }

    fn fail(&self, path: UserPath, refused: Refused) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((path, refused));
        self.failed.store(true, Ordering::Relaxed);
    }
}

impl Work {
    fn store(self, tree: &Tree, intake: &Intake) -> Result<(), Refused> {
        let (_, replaced) = match self.bytes {
            Bytes::Whole(bytes) => tree.put_small(&self.path, &bytes, self.executable)?,
            Bytes::Pieces(pieces) => {
                let mut writer = tree.blobs().writer()?;
                loop {
                    match pieces.recv() {
                        Ok(Piece::More { bytes, length }) => {
                            writer.write(&bytes[..length])?;
                            intake.give_back(bytes);
                        }
                        Ok(Piece::End) => break,
                        // Whoever brought it has given up, and says why.
                        Err(_) => return Ok(()),
                    }
                }
                tree.put_written(&self.path, writer, self.executable, None)?
            }
            Bytes::Local(store) => {
                let content = store(tree)?;
                tree.put(&self.path, &EntryKind::File(content))?;
                return Ok(());
            }
        };
        if replaced.entry.is_some() { Err(Refused::Twice) } else { Ok(()) }
    }
}

struct Close<'a>(&'a Queue<Vec<Work>>);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Reads until the buffer is full or the end is reached, and returns how much that was.
fn fill(data: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match data.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
