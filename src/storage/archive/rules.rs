//! The rules that every entry of every kind of archive is held to, wherever it is put.

use std::io::Read;

use super::{ArchiveError, ArchiveLimits, Problem};
use crate::domain::user_path::{InvalidPath, UserPath, shown};

/// Directories in directories; more than any real tree has.
const MAX_DEPTH: usize = 256;
/// Bytes of all long names and other headers that stand before an entry.
const MAX_HEADERS_BYTES: u64 = 1 << 30;
/// The longest target of a link, in bytes: Linux's own limit without the NUL at its end.
const MAX_TARGET_BYTES: usize = 4095;

/// What takes the entries of an archive, in their order.
pub trait Taker {
    /// Returns what counts everything that comes.
    fn rules(&mut self) -> &mut Rules;
    fn directory(&mut self, name: &[u8]) -> Result<(), ArchiveError>;
    /// Takes a file whose bytes are all that `data` gives. `said` is how many the archive says they
    /// are, which is good for making room and nothing else.
    fn file(&mut self, name: &[u8], executable: bool, said: u64, data: &mut dyn Read) -> Result<(), ArchiveError>;
    /// Takes a symbolic link.
    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArchiveError>;
    /// Takes a second name for the file `from`, which must have come before.
    fn hard_link(&mut self, name: &[u8], from: &[u8]) -> Result<(), ArchiveError>;
}

/// What has come of an archive so far, against its limits.
#[derive(Debug)]
pub struct Rules {
    limits: ArchiveLimits,
    headers_bytes: u64,
    entries: u64,
    bytes: u64,
}

impl Rules {
    pub fn new(limits: ArchiveLimits) -> Self {
        Self { limits, headers_bytes: 0, entries: 0, bytes: 0 }
    }

    /// Returns how many bytes have come out.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts one header, whatever it is for.
    pub fn count(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        self.expect(self.entries)
    }

    /// Refuses an archive that says it has too many entries.
    pub fn expect(&self, entries: u64) -> Result<(), ArchiveError> {
        if entries > self.limits.max_entries {
            return Err(Problem::TooMany(self.limits.max_entries).alone());
        }
        Ok(())
    }

    /// Counts bytes that describe entries and are read only to be understood.
    pub fn describe(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.headers_bytes = self.headers_bytes.saturating_add(bytes);
        if self.headers_bytes > MAX_HEADERS_BYTES {
            return Err(Problem::TooManyNames(MAX_HEADERS_BYTES).alone());
        }
        Ok(())
    }

    /// Counts bytes that come out of the archive.
    pub fn spend(&mut self, name: &[u8], bytes: u64) -> Result<(), ArchiveError> {
        if bytes > self.limits.max_bytes - self.bytes {
            return Err(Problem::TooLarge(self.limits.max_bytes).of(name));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Reads an entry's name; the root is one.
    pub fn path(&self, name: &[u8]) -> Result<UserPath, ArchiveError> {
        let path = UserPath::from_bytes(name).map_err(|error: InvalidPath| Problem::Name(error).of(name))?;
        if path.depth() > MAX_DEPTH {
            return Err(Problem::TooDeep(MAX_DEPTH).of(name));
        }
        Ok(path)
    }

    /// Reads the name of what is no directory.
    pub fn leaf(&self, name: &[u8]) -> Result<UserPath, ArchiveError> {
        let path = self.path(name)?;
        if path.is_root() { Err(Problem::NoName.of(name)) } else { Ok(path) }
    }
}

/// Says whether a symbolic link at `path` stays inside the tree that `path` is in.
///
/// `..` may stand only at the beginning of a target: then it counts real directories, because no
/// entry is laid through a link, and cannot go further up than there are. After a name it could be
/// the parent of wherever that name, perhaps a link itself, leads.
pub fn stays_inside(path: &UserPath, target: &[u8]) -> Result<(), Problem> {
    let out = || Problem::LinkOut(shown(target));
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) || target.len() > MAX_TARGET_BYTES {
        return Err(out());
    }
    let mut above = path.depth().saturating_sub(1);
    let mut named = false;
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if named => return Err(Problem::CrookedLink(shown(target))),
            b".." => above = above.checked_sub(1).ok_or_else(out)?,
            _ => named = true,
        }
    }
    Ok(())
}
