//! The bytes of a team's datasets: each kept once, as a file that its hash names.
//!
//! A version's tree holds further names (hard links) of these files, so they share one inode: mode,
//! owner and times. That is why equal bytes that may be executed are another blob, why nothing is
//! ever changed once it has a name, and why a blob with as many names as the file system allows gets
//! a further inode: `HASH`, `HASH-1`, `HASH-2` and so on.
//!
//! The sweeper removes blobs that no tree links. It holds a shard's lock for writing while it looks
//! and removes; whoever finds a blob and links it holds the lock for reading. Finding a blob there
//! already counts as use and renews its age ([`Blobs::publish`]).

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::{DatasetLimits, TreeError, durable::Durability, writer::Fresh};
use crate::{
    domain::content::{Content, ContentHash},
    fault,
    storage::{beneath::Beneath, layout::INCOMING},
};

/// The blobs of one team. There is one of these for a team, or the locks would mean nothing.
#[derive(Debug)]
pub struct Blobs {
    root: PathBuf,
    dir: Beneath,
    pub(super) incoming: Beneath,
    pub(super) limits: DatasetLimits,
    shards: Box<[RwLock<()>; 256]>,
    /// The inode to link next, of contents whose first has no room for names any more.
    current: Mutex<HashMap<Content, u32>>,
    /// Whether the file system makes files without a name.
    pub(super) unnamed: AtomicBool,
    names: AtomicU64,
    durability: Arc<Durability>,
}

/// What a blob's file is called: its hash, whether it may be executed, and which inode it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobName {
    pub hash: ContentHash,
    pub executable: bool,
    /// 0 for the first.
    pub number: u32,
}

impl std::fmt::Display for BlobName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.hash, if self.executable { "x" } else { "" })?;
        if self.number == 0 { Ok(()) } else { write!(f, "-{}", self.number) }
    }
}

impl FromStr for BlobName {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let hash = text.get(..64).and_then(|hash| hash.parse().ok()).ok_or(())?;
        let rest = &text[64..];
        let (executable, rest) = rest.strip_prefix('x').map_or((false, rest), |rest| (true, rest));
        let number = match rest.strip_prefix('-') {
            Some(number) => number.parse().map_err(|_| ())?,
            None if rest.is_empty() => 0,
            None => return Err(()),
        };
        let name = Self { hash, executable, number };
        // One way to write each name, so that none is taken for another's.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

impl Blobs {
    /// Opens the blobs at `root`, which is there with its `incoming/`.
    pub(super) fn at(root: PathBuf, limits: DatasetLimits, durability: Arc<Durability>) -> io::Result<Self> {
        Ok(Self {
            dir: Beneath::open(&root)?,
            incoming: Beneath::open(&root.join(INCOMING))?,
            limits,
            root,
            shards: Box::new([const { RwLock::new(()) }; 256]),
            current: Mutex::default(),
            unnamed: AtomicBool::new(true),
            names: AtomicU64::new(0),
            durability,
        })
    }

    /// Returns the size of the bytes with this hash if they are stored, executable or not.
    pub fn has(&self, hash: &ContentHash) -> Option<u64> {
        [false, true].into_iter().find_map(|executable| self.size_of(hash, executable))
    }

    /// Returns the size of a blob that is stored just so.
    pub fn size_of(&self, hash: &ContentHash, executable: bool) -> Option<u64> {
        let name = BlobName { hash: *hash, executable, number: 0 };
        let stat = rustix::fs::statat(&self.dir.0, in_shard(&name), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        u64::try_from(stat.st_size).ok()
    }

    /// Returns where the first inode of a blob is, or would be.
    pub fn path_of(&self, content: &Content) -> PathBuf {
        self.root.join(in_shard(&name_of(content, 0)))
    }

    /// Returns the directory of all blobs.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// `NotFound` when it is not stored.
    pub fn open(&self, content: &Content) -> io::Result<File> {
        self.open_inode(&name_of(content, 0))
    }

    /// Waits until all that was written before is on the disk: bytes, names and trees. All who wait
    /// at the same time are served by one `syncfs`.
    pub async fn durable(&self) -> io::Result<()> {
        self.durability.wait().await
    }

    /// Waits like [`Blobs::durable`], blocking.
    pub fn make_durable(&self) -> io::Result<()> {
        self.durability.wait_blocking()
    }

    /// Returns a name that nothing in `incoming/` has.
    pub(super) fn new_name(&self) -> Vec<u8> {
        // The process is named too: what an earlier one left may still be there.
        format!("{}-{}", std::process::id(), self.names.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    /// Keeps the sweeper off blobs with this hash while they are being linked.
    pub(super) fn linking(&self, hash: &ContentHash) -> RwLockReadGuard<'_, ()> {
        self.shards[usize::from(hash.0[0])].read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps everybody off the blobs whose hash begins with `shard`, while they are swept.
    pub fn sweeping(&self, shard: u8) -> RwLockWriteGuard<'_, ()> {
        self.shards[usize::from(shard)].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the directory of the blobs whose hash begins with `shard`; `None` while it has none.
    pub fn shard(&self, shard: u8) -> io::Result<Option<Beneath>> {
        match rustix::fs::openat(&self.dir.0, format!("{shard:02x}"), crate::storage::beneath::DIRECTORY, Mode::empty())
        {
            Ok(dir) => Ok(Some(Beneath(dir))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a finished file the name of its content, unless a blob has it: then that one is renewed
    /// and stays. The caller holds [`Blobs::linking`].
    pub(super) fn publish(&self, fresh: &Fresh<'_>, content: &Content) -> io::Result<()> {
        let name = in_shard(&name_of(content, 0));
        loop {
            match fresh.link(&self.dir, name.as_bytes()) {
                Ok(()) => break fault::point("dataset.blob.linked"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    drop(self.dir.dir_or_new(&name.as_bytes()[..2], 0o700)?);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.size_of_name(&name)? {
                    Some(bytes) if bytes == content.bytes && self.renew(&name, content)? => break,
                    // Swept in this moment.
                    Some(bytes) if bytes == content.bytes => {}
                    // A disk that lied has cut it. Trees that link it stay as they are, for the
                    // check to find; what is stored from now on is whole.
                    Some(_) => {
                        let aside = self.new_name();
                        fresh.link(&self.incoming, &aside)?;
                        self.incoming.move_to(&aside, &self.dir, name.as_bytes())?;
                        break;
                    }
                    None => {}
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Links a blob as `name` into `into`. Returns `false` when it is not stored. The caller holds
    /// [`Blobs::linking`].
    ///
    /// # Errors
    /// `AlreadyExists`; `NotFound` when the directory itself is gone.
    pub(super) fn link(&self, content: &Content, into: &Beneath, name: &[u8]) -> Result<bool, TreeError> {
        let mut number = 0;
        loop {
            let blob = in_shard(&name_of(content, number));
            match rustix::fs::linkat(&self.dir.0, &blob, &into.0, name, AtFlags::empty()) {
                Ok(()) => return Ok(true),
                Err(Errno::MLINK) => number = self.after_full(content, number),
                // Either of the two may be what is missing.
                Err(Errno::NOENT) if self.size_of_name(&blob)?.is_some() => return Err(Errno::NOENT.into()),
                Err(Errno::NOENT) if number == 0 => return Ok(false),
                Err(Errno::NOENT) => {
                    if !self.add_inode(content, number)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Links like [`Blobs::link`]. Returns `false` also when it is the directory that is gone: to tell
    /// the two apart takes another call, which most new files would pay for nothing.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub(super) fn link_if_there(&self, content: &Content, into: &Beneath, name: &[u8]) -> Result<bool, TreeError> {
        match rustix::fs::linkat(&self.dir.0, in_shard(&name_of(content, 0)), &into.0, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::EXIST) => Err(Errno::EXIST.into()),
            Err(_) => self.link(content, into, name),
        }
    }

    /// Returns which inode of a content to try after `number` turned out to have no room.
    fn after_full(&self, content: &Content, number: u32) -> u32 {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let next = current.entry(*content).or_insert(number + 1);
        *next = (*next).max(number + 1);
        *next
    }

    /// Names a finished file as inode `number` of its content.
    pub(super) fn link_inode(&self, fresh: &Fresh<'_>, content: &Content, number: u32) -> io::Result<()> {
        fresh.link(&self.dir, in_shard(&name_of(content, number)).as_bytes())
    }

    /// Makes a blob count as changed now, for the sweeper. Its mode is set to what it is: that renews
    /// nothing but the time of change. Also one that a tree links: the tree may be swept before
    /// whoever found the blob links it. Returns whether it is still there.
    fn renew(&self, name: &str, content: &Content) -> io::Result<bool> {
        match rustix::fs::chmodat(&self.dir.0, name, Mode::from_raw_mode(mode_of(content)), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn size_of_name(&self, name: &str) -> io::Result<Option<u64>> {
        match rustix::fs::statat(&self.dir.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn open_inode(&self, name: &BlobName) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&self.dir.0, in_shard(name), flags, Mode::empty())?))
    }

    /// Returns whether an inode is the first of this content.
    pub(super) fn is_blob(&self, content: &Content, device: u64, inode: u64) -> bool {
        let name = in_shard(&name_of(content, 0));
        rustix::fs::statat(&self.dir.0, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_dev == device && stat.st_ino == inode)
    }
}

/// Returns the mode of a blob: nobody writes to it again.
pub(super) fn mode_of(content: &Content) -> u32 {
    if content.executable { 0o555 } else { 0o444 }
}

fn name_of(content: &Content, number: u32) -> BlobName {
    BlobName { hash: content.hash, executable: content.executable, number }
}

/// Returns where a blob is, from the directory of all blobs. Only the daemon's user can reach into
/// there, so no name on the way is ever a link.
fn in_shard(name: &BlobName) -> String {
    format!("{:02x}/{name}", name.hash.0[0])
}
