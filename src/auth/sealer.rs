//! Seals secrets for the database, under a key that is not in it: a stolen database or backup
//! shows nothing.
//!
//! XChaCha20-Poly1305; a sealed value is one version byte, a random nonce of 24 bytes and the
//! ciphertext with its tag. What a value belongs to is bound in as associated data, so that a row's
//! value cannot be moved to another row.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

use super::{
    Secret,
    key_file::{self, KeyFileError},
};
use crate::domain::id::IdSource;

const KEY: usize = 32;
const NONCE: usize = 24;
/// Says how the rest is laid out, so that another cipher can come one day.
const VERSION: u8 = 1;

/// Why something could not be sealed, or opened again.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Anybody else on the machine could have read the key.
    #[error("{} can be read by others (mode {mode:03o}): make it yours alone with chmod 600", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// The file is there and is not a key.
    #[error("{} is not a sealing key: it must hold exactly 32 bytes. Put back the file that was there, or a backup of it", .0.display())]
    BadKey(PathBuf),
    #[error("cannot read or write the sealing key {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Sealed under another key, for another place, or damaged.
    #[error("a sealed value does not open: it was sealed under another key, or is damaged")]
    DoesNotOpen,
    #[error("too long to be sealed")]
    TooLong,
}

/// Seals and opens under one key.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    key: Zeroizing<[u8; KEY]>,
    nonces: Arc<dyn IdSource>,
}

impl Sealer {
    /// Reads the key in the file `path`, making it first if there is none. Blocks on the disk.
    ///
    /// `source` gives the key, and each nonce: it must be the operating system's generator outside
    /// of tests.
    ///
    /// # Errors
    /// [`SealError::Exposed`] when others than the owner could read the file, [`SealError::BadKey`]
    /// when it holds something else, [`SealError::Io`].
    pub fn open_or_create(path: &Path, source: Arc<dyn IdSource>) -> Result<Self, SealError> {
        let wrap = |source| SealError::Io { path: path.to_owned(), source };
        if !path.try_exists().map_err(wrap)? {
            let mut key = Zeroizing::new([0; KEY]);
            source.fill(&mut *key);
            key_file::create(path, &*key, &*source).map_err(wrap)?;
        }
        let key = read(path)?;
        let cipher = XChaCha20Poly1305::new_from_slice(&*key).map_err(|_| SealError::BadKey(path.to_owned()))?;
        Ok(Self { cipher, key, nonces: source })
    }

    /// Seals `plaintext` for the place that `place` names, such as a row's id. Twice the same gives
    /// two different answers.
    ///
    /// # Errors
    /// [`SealError::TooLong`] beyond 256 GiB.
    pub fn seal(&self, place: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        self.nonces.fill(&mut nonce);
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad: place })
            .map_err(|_| SealError::TooLong)?;
        Ok([&[VERSION], &nonce[..], &sealed].concat())
    }

    /// Returns a key of its own for another purpose, always the same. `purpose` is a constant of the
    /// program, different from every other.
    pub fn derive(&self, purpose: &'static str) -> [u8; 32] {
        blake3::derive_key(purpose, &*self.key)
    }

    /// Opens what [`Sealer::seal`] made for the same `place`.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`].
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(SealError::DoesNotOpen)?;
        let (nonce, msg) = rest.split_first_chunk::<NONCE>().ok_or(SealError::DoesNotOpen)?;
        self.cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg, aad: place })
            .map(Secret::new)
            .map_err(|_| SealError::DoesNotOpen)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

fn read(path: &Path) -> Result<Zeroizing<[u8; KEY]>, SealError> {
    let path = path.to_owned();
    let bytes = match key_file::read(&path) {
        Ok(bytes) => bytes,
        Err(KeyFileError::Exposed(mode)) => return Err(SealError::Exposed { path, mode }),
        Err(KeyFileError::Io(source)) => return Err(SealError::Io { path, source }),
    };
    let key: [u8; KEY] = bytes[..].try_into().map_err(|_| SealError::BadKey(path))?;
    Ok(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        sync::atomic::{AtomicU8, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU8);
    impl IdSource for Counter {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn sealer(path: &Path) -> Result<Sealer, SealError> {
        Sealer::open_or_create(path, Arc::new(Counter::default()))
    }

    #[test]
    fn a_sealed_value_opens_after_a_restart_and_only_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        let sealed = sealer(&path).unwrap().seal(b"sec1", b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));

        let again = sealer(&path).unwrap();
        assert_eq!(again.open(b"sec1", &sealed).unwrap().reveal(), b"hunter2");
        assert!(matches!(again.open(b"sec2", &sealed), Err(SealError::DoesNotOpen)));
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = sealer(&dir.path().join("seal.key")).unwrap();
        assert_ne!(sealer.seal(b"a", b"b").unwrap(), sealer.seal(b"a", b"b").unwrap());
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = sealer(&dir.path().join("seal.key")).unwrap();
        let sealed = sealer.seal(b"a", b"").unwrap();
        for at in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[at] ^= 1;
            assert!(sealer.open(b"a", &wrong).is_err(), "byte {at}");
            assert!(sealer.open(b"a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_new_key_is_for_its_owner_alone_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        sealer(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        sealer(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = sealer(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("640"), "{error}");
    }

    #[test]
    fn a_damaged_key_is_refused_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        sealer(&path).unwrap();
        for bytes in [&[7; 31][..], &[7; 33], b""] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(sealer(&path), Err(SealError::BadKey(_))));
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
