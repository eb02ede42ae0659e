//! Reading blobs again, from the disk itself, to find those that are not what their names say.
//!
//! A page that is still in memory says nothing of the disk, so reading goes past the cache; that
//! also leaves the cache to those who are at work. It goes in the order of the hashes, which are
//! spread evenly: any stretch of it is a fair sample, and a stretch can begin where the last ended.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Advice, Mode, OFlags},
    io::Errno,
};

use super::{
    BlobName, TeamFiles,
    hashed::marked,
    watch::{CareError, Watch, tell},
};
use crate::{
    domain::content::{Content, ContentHash, Totals},
    storage::{beneath::Beneath, descent::Inode},
};

const PIECE_BYTES: usize = 1 << 20;
/// What reading past the cache wants buffers and places in a file to be multiples of.
const ALIGNMENT: usize = 4096;

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubOrder {
    /// How much of all that can be stored, in percent, 1 to 100. Of what is stored it is about that.
    pub percent: u8,
    /// Where the stretch begins: after this hash, or with the first.
    pub after: Option<ContentHash>,
    /// The most that is read in a second; as fast as the disk can without.
    pub bytes_per_second: Option<u64>,
}

/// What is wrong with a blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("its bytes have another hash")]
    Bytes,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The bytes are right.
    #[error("its mode is {0:o}")]
    Mode(u32),
    /// The bytes are right; what trusts the note would be wrong.
    #[error("it carries the hash {0}")]
    Mark(ContentHash),
}

impl Fault {
    /// Returns whether the bytes are lost.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Bytes | Self::Unreadable(_))
    }
}

/// A blob that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What it should hold. Its size is what it has now.
    pub content: Content,
    /// Which inode of its content it is; 0 for the first.
    pub number: u32,
    pub fault: Fault,
}

/// What came of reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrubbed {
    pub totals: Totals,
    pub damaged: Vec<Damage>,
    /// Where the next stretch begins; `None` when the last blob was read.
    pub next: Option<ContentHash>,
}

impl Damage {
    /// Returns what the blob is called.
    fn name(&self) -> BlobName {
        BlobName { hash: self.content.hash, executable: self.content.executable, number: self.number }
    }
}

impl TeamFiles {
    /// Takes the name of a damaged blob away: what is sent anew is stored then, and not taken for stored
    /// already. Trees keep the inode. One that was taken away before is no error.
    pub fn disown(&self, damage: &Damage) -> io::Result<()> {
        let Some(shard) = self.blobs().shard(damage.content.hash.0[0])? else { return Ok(()) };
        let _sweeping = self.blobs().sweeping(damage.content.hash.0[0]);
        shard.remove_file(damage.name().to_string().as_bytes())
    }

    /// Reads a stretch of the team's blobs again, and tells `found` of each that is damaged at once.
    /// When `watch` breaks it off it returns what it has done till then.
    ///
    /// # Errors
    /// When the directories cannot be read; what is wrong with a blob is no error.
    pub fn scrub(&self, order: &ScrubOrder, found: &mut dyn FnMut(&Damage), watch: Watch<'_>) -> io::Result<Scrubbed> {
        let begin = order.after.as_ref().map_or(0, place);
        let end = begin.saturating_add(u64::MAX / 100 * u64::from(order.percent.clamp(1, 100)));
        // To the very last, whatever is lost in dividing.
        let end = if order.percent >= 100 { u64::MAX } else { end };
        let mut scrub = Scrub { done: Scrubbed::default(), pace: Pace::new(order.bytes_per_second), found, watch };
        // The hash read last, and the one before: several blobs may have one hash.
        let (mut before, mut last) = (order.after, order.after);
        for shard in shard_of(begin)..=shard_of(end) {
            let Some(dir) = self.blobs().shard(shard)? else { continue };
            let mut names = names_in(&dir)?;
            names.sort_unstable_by_key(|name| (name.hash, name.executable, name.number));
            for name in names {
                if order.after.is_some_and(|after| name.hash <= after) {
                    continue;
                }
                if Some(name.hash) != last {
                    if place(&name.hash) > end {
                        break;
                    }
                    before = last;
                    last = Some(name.hash);
                }
                if scrub.read(&dir, &name).is_err() {
                    return Ok(Scrubbed { next: before, ..scrub.done });
                }
            }
        }
        let next = if end == u64::MAX { None } else { Some(last_at(end)) };
        Ok(Scrubbed { next, ..scrub.done })
    }
}

/// Returns where a hash stands among all.
fn place(hash: &ContentHash) -> u64 {
    hash.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Returns the last of the hashes that stand at a place.
fn last_at(place: u64) -> ContentHash {
    let mut hash = [0xff; 32];
    hash[..8].copy_from_slice(&place.to_be_bytes());
    ContentHash(hash)
}

fn shard_of(place: u64) -> u8 {
    place.to_be_bytes()[0]
}

pub(super) fn names_in(shard: &Beneath) -> io::Result<Vec<BlobName>> {
    let mut names = Vec::new();
    shard.each_name(|name| {
        names.extend(std::str::from_utf8(name).ok().and_then(|name| name.parse::<BlobName>().ok()));
        Ok(())
    })?;
    Ok(names)
}

struct Scrub<'a> {
    done: Scrubbed,
    pace: Pace,
    found: &'a mut dyn FnMut(&Damage),
    watch: Watch<'a>,
}

impl Scrub<'_> {
    fn read(&mut self, dir: &Beneath, name: &BlobName) -> Result<(), CareError> {
        let file_name = name.to_string();
        let (bytes, fault) = match self.examine(dir, &file_name, name) {
            Ok(seen) => seen,
            // Swept meanwhile.
            Err(CareError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(CareError::Io(error)) => (0, Some(Fault::Unreadable(error.to_string()))),
            Err(CareError::Stopped) => return Err(CareError::Stopped),
        };
        self.done.totals.files += 1;
        if let Some(fault) = fault {
            let content = Content { hash: name.hash, bytes, executable: name.executable };
            let damage = Damage { content, number: name.number, fault };
            (self.found)(&damage);
            self.done.damaged.push(damage);
        }
        tell(self.watch, self.done.totals)
    }

    fn examine(&mut self, dir: &Beneath, file_name: &str, name: &BlobName) -> Result<(u64, Option<Fault>), CareError> {
        let mut cold = Cold::open(dir, file_name.as_bytes())?;
        let mut hasher = blake3::Hasher::new();
        loop {
            let piece = cold.next()?;
            if piece.is_empty() {
                break;
            }
            hasher.update(piece);
            self.done.totals.bytes += piece.len() as u64;
            let read = piece.len() as u64;
            self.pace.wait(read, self.watch, self.done.totals)?;
        }
        let mode = Inode::of(dir, file_name.as_bytes())?.mode;
        let fault = if hasher.finalize().as_bytes() != &name.hash.0 {
            Some(Fault::Bytes)
        } else if let Some(mark) = marked(&cold.file).filter(|mark| *mark != name.hash) {
            Some(Fault::Mark(mark))
        } else if mode != if name.executable { 0o555 } else { 0o444 } {
            Some(Fault::Mode(mode))
        } else {
            None
        };
        Ok((cold.at, fault))
    }
}

/// A file read from the disk.
struct Cold {
    file: File,
    bytes: u64,
    at: u64,
    /// Whether the cache is passed by, or only emptied first.
    direct: bool,
    buffer: Vec<u8>,
    /// Where in the buffer the first multiple of [`ALIGNMENT`] is.
    begin: usize,
}

impl Cold {
    fn open(dir: &Beneath, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::openat(&dir.0, name, flags, Mode::empty()).map(File::from);
        let (file, direct) = match open(flags | OFlags::DIRECT) {
            // This file system cannot.
            Err(Errno::INVAL) => (open(flags)?, false),
            opened => (opened?, true),
        };
        let buffer = vec![0u8; PIECE_BYTES + ALIGNMENT];
        let begin = buffer.as_ptr().align_offset(ALIGNMENT);
        let cold = Self { bytes: file.metadata()?.len(), file, at: 0, direct, buffer, begin };
        if !direct {
            cold.empty_cache()?;
        }
        Ok(cold)
    }

    /// Returns the next piece; nothing at the end.
    fn next(&mut self) -> io::Result<&[u8]> {
        let into = self.begin..self.begin + PIECE_BYTES;
        loop {
            match self.file.read_at(&mut self.buffer[into.clone()], self.at) {
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(&self.buffer[into.start..into.start + read]);
                }
                // Nothing but the end of a file stands at such a place.
                Err(_) if self.direct && self.at == self.bytes => return Ok(&[]),
                Err(error) if self.direct && Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                    rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
                    self.direct = false;
                    self.empty_cache()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Drops what memory holds of the file; only what is on the disk already can be dropped.
    fn empty_cache(&self) -> io::Result<()> {
        rustix::fs::fdatasync(&self.file)?;
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

/// Reads all of the file `name`, directly in `dir`, from the disk itself and returns its hash.
pub(super) fn hash_on_disk(dir: &Beneath, name: &[u8]) -> io::Result<ContentHash> {
    let mut cold = Cold::open(dir, name)?;
    let mut hasher = blake3::Hasher::new();
    loop {
        match cold.next()? {
            [] => return Ok(ContentHash(*hasher.finalize().as_bytes())),
            piece => hasher.update(piece),
        };
    }
}

/// Keeps reading to a rate.
struct Pace {
    bytes_per_second: Option<u64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.filter(|rate| *rate > 0), begun: Instant::now(), bytes: 0 }
    }

    /// Waits until as much time has passed as reading so much may take.
    fn wait(&mut self, bytes: u64, watch: Watch<'_>, so_far: Totals) -> Result<(), CareError> {
        self.bytes += bytes;
        let Some(rate) = self.bytes_per_second else { return Ok(()) };
        let due = Duration::from_secs_f64(self.bytes as f64 / rate as f64);
        // In short steps, so that it can be broken off.
        while let Some(left) = due.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero()) {
            tell(watch, so_far)?;
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, ops::ControlFlow, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::storage::dataset::testing::{Yard, path, yard};

    const ON: Watch<'_> = &|_| ControlFlow::Continue(());
    const ALL: ScrubOrder = ScrubOrder { percent: 100, after: None, bytes_per_second: None };

    fn filled(count: usize) -> (Yard, Vec<Content>) {
        let yard = yard();
        let version = yard.version(1);
        let put = |n: usize| {
            // Sizes around those of blocks and pieces.
            let size = [0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, (2 << 20) + 4096][n % 8] + n / 8;
            let bytes = vec![n as u8; size];
            version.put_small(&path(&format!("d/f{n}")), &bytes, n.is_multiple_of(2)).unwrap().0
        };
        let contents = (0..count).map(put).collect();
        (yard, contents)
    }

    fn scrub(yard: &Yard, order: &ScrubOrder) -> Scrubbed {
        let mut told = Vec::new();
        let scrubbed = yard.team.scrub(order, &mut |damage| told.push(damage.clone()), ON).unwrap();
        assert_eq!(told, scrubbed.damaged);
        scrubbed
    }

    fn blob(yard: &Yard, content: &Content) -> std::path::PathBuf {
        yard.team.blobs().path_of(content)
    }

    #[test]
    fn what_is_whole_is_read_to_its_last_byte_and_found_whole() {
        let (yard, contents) = filled(16);
        let scrubbed = scrub(&yard, &ALL);
        assert_eq!(scrubbed.damaged, []);
        assert_eq!(scrubbed.next, None);
        let bytes = contents.iter().map(|content| content.bytes).sum();
        assert_eq!(scrubbed.totals, Totals { files: 16, bytes });
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let (yard, contents) = filled(8);
        let set_mode = |content, mode| {
            fs::set_permissions(blob(&yard, content), fs::Permissions::from_mode(mode)).unwrap();
        };
        // One bit turned, the end cut off, something added.
        for (n, change) in [3, 5, 6].into_iter().enumerate() {
            set_mode(&contents[change], 0o644);
            let mut bytes = fs::read(blob(&yard, &contents[change])).unwrap();
            match n {
                0 => bytes[4000] ^= 1,
                1 => bytes.truncate(4096),
                _ => bytes.push(0),
            }
            fs::write(blob(&yard, &contents[change]), bytes).unwrap();
            set_mode(&contents[change], if contents[change].executable { 0o555 } else { 0o444 });
        }
        set_mode(&contents[4], 0o755);
        let mut found: Vec<_> =
            scrub(&yard, &ALL).damaged.into_iter().map(|damage| (damage.content.hash, damage.fault)).collect();
        found.sort_unstable_by_key(|(hash, _)| *hash);
        let mut wanted: Vec<_> = [3, 5, 6].map(|n| (contents[n].hash, Fault::Bytes)).to_vec();
        wanted.push((contents[4].hash, Fault::Mode(0o755)));
        wanted.sort_unstable_by_key(|(hash, _)| *hash);
        assert_eq!(found, wanted);
        assert!(Fault::Bytes.is_loss() && !Fault::Mode(0).is_loss());
    }

    #[test]
    fn samples_one_after_the_other_read_everything_once() {
        let (yard, contents) = filled(40);
        let mut order = ScrubOrder { percent: 7, ..ALL };
        let (mut files, mut samples) = (0, 0);
        loop {
            let scrubbed = scrub(&yard, &order);
            assert!(scrubbed.totals.files < 20, "far more than a sample");
            files += scrubbed.totals.files;
            samples += 1;
            let Some(next) = scrubbed.next else { break };
            // An empty stretch would begin at the same place for ever.
            assert!(order.after.is_none_or(|after| after < next));
            order.after = Some(next);
            assert!(samples < 100);
        }
        assert_eq!(files, contents.len() as u64);
    }

    #[test]
    fn a_check_that_is_broken_off_goes_on_where_it_was() {
        let (yard, contents) = filled(16);
        let stop: Watch<'_> =
            &|so_far| if so_far.files == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let first = yard.team.scrub(&ALL, &mut |_| {}, stop).unwrap();
        assert!(first.next.is_some());
        let rest = scrub(&yard, &ScrubOrder { after: first.next, ..ALL });
        // The one at which it was broken off is read again.
        assert_eq!(first.totals.files + rest.totals.files, contents.len() as u64 + 1);
    }

    #[test]
    fn reading_keeps_to_its_rate() {
        let (yard, _) = filled(8);
        let begun = Instant::now();
        let bytes = scrub(&yard, &ScrubOrder { bytes_per_second: Some(20 << 20), ..ALL }).totals.bytes;
        assert!(begun.elapsed() >= Duration::from_secs_f64(bytes as f64 / f64::from(20 << 20)));
    }

    #[test]
    fn a_damaged_content_is_found_in_every_version_that_has_it() {
        let (yard, contents) = filled(8);
        let (one, two) = (yard.unmade(1), yard.unmade(2));
        one.freeze(&|_| {}).unwrap();
        two.create_from(&one).unwrap();
        two.put(&path("again"), &crate::domain::content::EntryKind::File(contents[3])).unwrap();
        yard.version(3).put_small(&path("other"), b"other", false).unwrap();
        let mut holders = yard.team.versions_with(&HashSet::from([contents[3].hash]), ON).unwrap();
        holders.sort_unstable_by_key(|holder| holder.version.to_string());
        let found: Vec<_> =
            holders.iter().map(|holder| (holder.version.as_str(), holder.files, holder.paths.clone())).collect();
        assert_eq!(found, [("v000001", 1, vec![path("d/f3")]), ("v000002", 2, vec![path("again"), path("d/f3")])]);
    }
}
