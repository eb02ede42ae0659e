//! Files of keys: for their owner alone, made once, never half there and never replaced.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use crate::domain::id::{IdSource, random_text};

/// Longest file that is read; keys are shorter.
const LONGEST: u64 = 64 << 10;

/// Why there is no key.
#[derive(Debug)]
pub(super) enum KeyFileError {
    /// Others than the owner could read it, by this mode.
    Exposed(u32),
    Io(io::Error),
}

impl From<io::Error> for KeyFileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes a new key beside its place and links it there, so that there is never half a key. If
/// another process is first, its key stays.
pub(super) fn create(path: &Path, key: &[u8], source: &dyn IdSource) -> io::Result<()> {
    let draft = path.with_added_extension(random_text(source, 12));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(key)?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces a key that something may hang on already.
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let _ = fs::remove_file(&draft);
    written?;
    match path.parent() {
        Some(parent) => File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a key that its owner alone can read.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed(mode));
    }
    let mut key = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut key)?;
    Ok(key)
}
