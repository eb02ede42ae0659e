//! The hash that travels with a file.
//!
//! A blob carries the BLAKE3 hash of its bytes in an extended attribute, so that every link to it
//! tells its hash without being read and without a table beside it. It is raw, 32 bytes: as text it
//! would not fit into an inode of ext4 and cost every file a block. Where attributes do not work, or
//! one is missing, the file is read instead.

use std::{fs::File, io, os::unix::fs::FileExt};

use rustix::{
    fs::{XattrFlags, fgetxattr, fsetxattr},
    io::Errno,
};

use crate::{
    domain::content::{Content, ContentHash},
    storage::beneath::Facts,
};

const ATTRIBUTE: &str = "user.gradientd.blake3";
/// How much is read at a time: large enough for BLAKE3 to use the widest instructions.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// Writes the hash onto the file, over one that somebody else may have put there.
pub(super) fn mark(file: &File, hash: &ContentHash) -> io::Result<()> {
    match fsetxattr(file, ATTRIBUTE, &hash.0, XattrFlags::empty()) {
        Ok(()) => Ok(()),
        // No attributes here, or no room for them: the file is hashed again when somebody asks.
        Err(Errno::OPNOTSUPP | Errno::NOSPC | Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the hash that was written onto the file.
pub(super) fn marked(file: &File) -> Option<ContentHash> {
    // One byte more than a hash, to tell a longer value from one.
    let mut value = [0u8; 33];
    match fgetxattr(file, ATTRIBUTE, &mut value) {
        Ok(32) => value[..32].try_into().ok().map(ContentHash),
        _ => None,
    }
}

/// Reads the whole file and returns the hash and the number of its bytes. Where it was being read
/// does not matter and does not change.
pub fn hash_of(file: &File) -> io::Result<(ContentHash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0u64;
    let mut piece = Vec::new();
    loop {
        // Small files get a small buffer.
        if piece.is_empty() {
            let size = file.metadata()?.len();
            piece = vec![0; usize::try_from(size.saturating_add(1)).map_or(PIECE_BYTES, |size| size.min(PIECE_BYTES))];
        }
        match file.read_at(&mut piece, bytes) {
            Ok(0) => return Ok((ContentHash(*hasher.finalize().as_bytes()), bytes)),
            Ok(read) => {
                hasher.update(&piece[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns what a file holds of which `facts` are known. Reads it only when it does not carry its hash.
pub(super) fn content_of(file: &File, facts: &Facts) -> io::Result<Content> {
    let hash = match marked(file) {
        Some(hash) => hash,
        None => hash_of(file)?.0,
    };
    Ok(Content { hash, bytes: facts.size_bytes, executable: facts.permissions & 0o100 != 0 })
}
