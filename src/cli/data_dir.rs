//! The data directory belongs to one daemon at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// A data directory that is this process's own until the value is dropped or the process ends,
/// however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock. In it are the process and, behind that, where it listens.
    lock: File,
}

/// The data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("{} is in use by another gradientd{}: stop that, or choose another directory with --data-dir", path.display(), holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Taken { path: PathBuf, holder: Option<u32> },
    #[error("cannot use {} as data directory; choose another with --data-dir", path.display())]
    Unusable { path: PathBuf, source: io::Error },
}

impl DataDir {
    /// Makes the directory if there is none, for its owner alone, and takes its lock.
    ///
    /// # Errors
    /// [`ClaimError::Taken`] at once when another process has it.
    pub fn claim(path: &Path) -> Result<Self, ClaimError> {
        let wrap = |source| ClaimError::Unusable { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(wrap)?;
        let path = path.canonicalize().map_err(wrap)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(wrap)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = holder(&mut lock);
                return Err(ClaimError::Taken { path, holder });
            }
            Err(error) => return Err(wrap(error.into())),
        }
        // Only for people: the lock is what counts, so a stale number does no harm.
        lock.set_len(0).map_err(wrap)?;
        writeln!(lock, "{}", std::process::id()).map_err(wrap)?;
        Ok(Self { path, lock })
    }

    /// Notes where the daemon listens, for commands that are run without its settings.
    pub fn note_address(&mut self, listen: SocketAddr) -> io::Result<()> {
        writeln!(self.lock, "{listen}")
    }

    /// Returns where the daemon of a data directory listens, or did last; `None` where none was there, or this
    /// user may not look.
    pub fn noted_address(path: &Path) -> Option<SocketAddr> {
        let mut text = String::new();
        File::open(path.join("lock")).ok()?.take(200).read_to_string(&mut text).ok()?;
        text.lines().nth(1)?.parse().ok()
    }

    /// Returns the directory as an absolute path without links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(200).read_to_string(&mut text).ok()?;
    text.lines().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_claim_is_refused_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/data");
        let first = DataDir::claim(&path).unwrap();
        let words = DataDir::claim(&path).unwrap_err().to_string();
        assert!(words.contains(&format!("process {}", std::process::id())) && words.contains("--data-dir"), "{words}");
        drop(first);
        DataDir::claim(&path).unwrap();
    }

    #[test]
    fn where_the_daemon_listens_is_known_also_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::noted_address(dir.path()), None);
        let mut claimed = DataDir::claim(dir.path()).unwrap();
        assert_eq!(DataDir::noted_address(dir.path()), None);
        let listen = "[::1]:8000".parse().unwrap();
        claimed.note_address(listen).unwrap();
        assert_eq!(DataDir::noted_address(dir.path()), Some(listen));
        let words = DataDir::claim(dir.path()).unwrap_err().to_string();
        assert!(words.contains(&format!("process {}", std::process::id())), "{words}");
    }

    #[test]
    fn a_new_directory_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let claimed = DataDir::claim(&dir.path().join("data")).unwrap();
        assert_eq!(fs::metadata(claimed.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_its_place_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let words = DataDir::claim(&path).unwrap_err().to_string();
        assert!(words.contains("--data-dir") && !words.contains('\n'), "{words}");
    }
}
