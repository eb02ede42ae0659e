//! Files that are on this host already becoming blobs, without their bytes being written again where
//! that is safe.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use rustix::{
    fs::{Gid, Mode, Uid},
    io::Errno,
};

use super::{
    BlobName, Blobs, TreeError,
    blobs::mode_of,
    hashed::{PIECE_BYTES, hash_of, mark, marked},
    writer::Fresh,
};
use crate::{
    domain::{
        content::{Content, ContentHash},
        user_path::UserPath,
    },
    fault,
    storage::beneath::Beneath,
};

impl Blobs {
    /// Makes the file `name`, directly in `source`, a blob: it becomes the daemon's, read-only, and
    /// gets a second name. Only for a file that nobody has open for writing. Its first name is left
    /// for the caller to remove; harmless when done twice. What has further names, or cannot become
    /// the daemon's, is copied.
    ///
    /// # Errors
    /// `InvalidInput` when it is no regular file.
    pub fn adopt(&self, source: &Beneath, name: &[u8], executable: bool) -> Result<Content, TreeError> {
        let path = UserPath::from_bytes(name).map_err(|_| Errno::INVAL)?;
        let (file, facts) = source.file(&path)?;
        self.check_size(facts.size_bytes)?;
        let stat = rustix::fs::fstat(&file)?;
        if stat.st_nlink > 1 {
            // The mark alone proves nothing: whoever made the file could have set it. That the blob
            // is this very file does: it was linked after it was read.
            let known = marked(&file).map(|hash| Content { hash, bytes: facts.size_bytes, executable });
            return match known.filter(|content| self.is_blob(content, stat.st_dev, stat.st_ino)) {
                Some(content) => Ok(content),
                None => self.clone_file(&file, executable),
            };
        }
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if !take_over(&file, uid, gid)? {
            return self.clone_file(&file, executable);
        }
        // Read after it is ours and nobody else's.
        let (hash, bytes) = hash_of(&file)?;
        let content = Content { hash, bytes, executable };
        mark(&file, &hash)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode_of(&content)))?;
        fault::point("dataset.adopt.marked");
        let fresh = Fresh::of(self, file);
        let linking = self.linking(&hash);
        let published = self.publish(&fresh, &content);
        drop(linking);
        match published {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.clone_file(&fresh.file, executable),
            published => Ok(published.map(|()| content)?),
        }
    }

    /// Makes a blob of an open file's bytes: shares them with it where the file system can, so that
    /// a later change to the file is not seen here, and copies them elsewhere.
    pub fn clone_file(&self, file: &File, executable: bool) -> Result<Content, TreeError> {
        let mut fresh = Fresh::begin(self)?;
        let (hash, bytes) = match rustix::fs::ioctl_ficlone(&fresh.file, file) {
            Ok(()) => {
                self.check_size(fresh.file.metadata()?.len())?;
                // The clone, not the file, which may have changed since.
                hash_of(&fresh.file)?
            }
            Err(_) => self.copy(file, &mut fresh)?,
        };
        let content = Content { hash, bytes, executable };
        fresh.seal(&content)?;
        let _linking = self.linking(&hash);
        self.publish(&fresh, &content)?;
        Ok(content)
    }

    /// Copies all bytes of a file, and returns the hash and the number of what was copied.
    fn copy(&self, from: &File, to: &mut Fresh<'_>) -> Result<(ContentHash, u64), TreeError> {
        let size = from.metadata()?.len().saturating_add(1);
        let mut piece = vec![0; usize::try_from(size).map_or(PIECE_BYTES, |size| size.min(PIECE_BYTES))];
        let mut hasher = blake3::Hasher::new();
        let mut at = 0u64;
        loop {
            match from.read_at(&mut piece, at) {
                Ok(0) => return Ok((ContentHash(*hasher.finalize().as_bytes()), at)),
                Ok(read) => {
                    at += read as u64;
                    self.check_size(at)?;
                    hasher.update(&piece[..read]);
                    to.file.write_all(&piece[..read])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes sure that a content is stored, from the same bytes with the other mode if need be.
    /// Returns `false` when there are none. The caller holds [`Blobs::linking`].
    pub(super) fn store_from_other_mode(&self, content: &Content) -> Result<bool, TreeError> {
        if self.size_of(&content.hash, content.executable).is_some() {
            return Ok(true);
        }
        let other = Content { executable: !content.executable, ..*content };
        match self.duplicate(&other, content)? {
            Some(fresh) => Ok(self.publish(&fresh, content).map(|()| true)?),
            None => Ok(false),
        }
    }

    /// Copies the first inode of a content to a further one, inode `number`. Returns `false` when
    /// there is no first. The caller holds [`Blobs::linking`].
    pub(super) fn add_inode(&self, content: &Content, number: u32) -> Result<bool, TreeError> {
        let Some(fresh) = self.duplicate(content, content)? else { return Ok(false) };
        match self.link_inode(&fresh, content, number) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(true),
        }
    }

    /// Stores a content from one of its inodes, in whatever mode that is. Returns `false` when that is not
    /// there. The caller holds [`Blobs::linking`].
    pub(super) fn store_from_inode(&self, from: &BlobName, content: &Content) -> Result<bool, TreeError> {
        match self.duplicate_inode(from, content)? {
            Some(fresh) => Ok(self.publish(&fresh, content).map(|()| true)?),
            None => Ok(false),
        }
    }

    /// Copies the blob of `from` to a finished file for `to`, the same bytes; `None` when there is no
    /// such blob. What is damaged is not copied.
    fn duplicate(&self, from: &Content, to: &Content) -> Result<Option<Fresh<'_>>, TreeError> {
        self.duplicate_inode(&BlobName { hash: from.hash, executable: from.executable, number: 0 }, to)
    }

    fn duplicate_inode(&self, from: &BlobName, to: &Content) -> Result<Option<Fresh<'_>>, TreeError> {
        let file = match self.open_inode(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut fresh = Fresh::begin(self)?;
        let (hash, bytes) = self.copy(&file, &mut fresh)?;
        if hash != from.hash {
            let message = format!("the blob {} is damaged", from.hash);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message).into());
        }
        fresh.seal(&Content { bytes, ..*to })?;
        Ok(Some(fresh))
    }

    pub(super) fn check_size(&self, bytes: u64) -> Result<(), TreeError> {
        let limit = self.limits.max_file_bytes;
        if bytes > limit { Err(TreeError::TooLarge { limit }) } else { Ok(()) }
    }
}

/// Makes a file the daemon's own. Returns `false` when it may not.
fn take_over(file: &File, uid: Uid, gid: Gid) -> io::Result<bool> {
    match rustix::fs::fchown(file, Some(uid), Some(gid)) {
        // This also takes away set-user-id bits and capabilities.
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, symlink},
        path::Path,
    };

    use super::{
        super::testing::{path, yard},
        *,
    };

    fn outputs(in_dir: &Path) -> (tempfile::TempDir, Beneath) {
        let dir = tempfile::tempdir_in(in_dir).unwrap();
        let here = Beneath::open(dir.path()).unwrap();
        (dir, here)
    }

    #[test]
    fn an_adopted_file_is_the_blob_itself_read_only_and_adopting_it_again_is_harmless() {
        let yard = yard();
        let (dir, here) = outputs(yard.data.root());
        fs::write(dir.path().join("model"), "weights").unwrap();
        let before = fs::metadata(dir.path().join("model")).unwrap().ino();
        let content = yard.team.blobs().adopt(&here, b"model", false).unwrap();
        assert_eq!((content.hash.0, content.bytes), (*blake3::hash(b"weights").as_bytes(), 7));
        let blob = fs::metadata(yard.team.blobs().path_of(&content)).unwrap();
        assert_eq!((blob.ino(), blob.mode() & 0o7777, blob.nlink()), (before, 0o444, 2));
        assert_eq!(yard.team.blobs().adopt(&here, b"model", false).unwrap(), content);
        assert_eq!(fs::metadata(yard.team.blobs().path_of(&content)).unwrap().ino(), before);
        let version = yard.version(1);
        assert!(version.link_known(&path("model"), &content).unwrap().is_some());
    }

    #[test]
    fn a_file_with_another_name_elsewhere_is_copied_and_a_forged_mark_is_not_believed() {
        let yard = yard();
        let (dir, here) = outputs(yard.data.root());
        fs::write(dir.path().join("a"), "mine").unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let forged = ContentHash(*blake3::hash(b"theirs").as_bytes());
        mark(&File::open(dir.path().join("a")).unwrap(), &forged).unwrap();
        let content = yard.team.blobs().adopt(&here, b"a", true).unwrap();
        assert_eq!(content.hash.0, *blake3::hash(b"mine").as_bytes());
        let blob = yard.team.blobs().path_of(&content);
        assert_ne!(fs::metadata(&blob).unwrap().ino(), fs::metadata(dir.path().join("a")).unwrap().ino());
        fs::write(dir.path().join("b"), "changed").unwrap();
        assert_eq!(fs::read(blob).unwrap(), b"mine");
        // With one name only, it is read, and marked rightly.
        fs::write(dir.path().join("c"), "third").unwrap();
        mark(&File::open(dir.path().join("c")).unwrap(), &forged).unwrap();
        let content = yard.team.blobs().adopt(&here, b"c", false).unwrap();
        assert_eq!(marked(&yard.team.blobs().open(&content).unwrap()), Some(content.hash));
        assert_eq!(content.hash.0, *blake3::hash(b"third").as_bytes());
    }

    #[test]
    fn a_link_is_not_adopted() {
        let yard = yard();
        let (dir, here) = outputs(yard.data.root());
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(yard.team.blobs().adopt(&here, b"link", false).is_err());
    }

    #[test]
    fn a_file_of_the_host_is_copied_and_may_change_afterwards() {
        let yard = yard();
        let dir = tempfile::tempdir().unwrap();
        let bytes = vec![7; PIECE_BYTES + 3];
        fs::write(dir.path().join("a"), &bytes).unwrap();
        let file = File::open(dir.path().join("a")).unwrap();
        let content = yard.team.blobs().clone_file(&file, false).unwrap();
        fs::write(dir.path().join("a"), "other").unwrap();
        assert_eq!(content.hash.0, *blake3::hash(&bytes).as_bytes());
        assert_eq!(hash_of(&yard.team.blobs().open(&content).unwrap()).unwrap(), (content.hash, content.bytes));
    }
}
