//! How full a file system is.

use std::{io, path::Path};

/// The file system that a path is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total_bytes: u64,
    /// Free at all, with what is kept for root.
    pub free_bytes: u64,
    /// Free for this process.
    pub available_bytes: u64,
    /// How many files it can hold. `None` where they are not counted ahead, as on btrfs.
    pub inodes: Option<Inodes>,
}

/// Room for files, however small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes {
    pub total: u64,
    pub free: u64,
}

/// Asks the file system that `path` is on. Blocks while one across a network does not answer.
///
/// # Errors
/// When there is no such path, or it may not be looked at.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let told = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
    Ok(Disk {
        total_bytes: bytes(told.f_blocks),
        free_bytes: bytes(told.f_bfree),
        available_bytes: bytes(told.f_bavail),
        inodes: (told.f_files > 0).then_some(Inodes { total: told.f_files, free: told.f_ffree }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_no_more_free_than_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk(directory.path()).unwrap();
        assert!(disk.total_bytes > 0);
        assert!(disk.available_bytes <= disk.free_bytes && disk.free_bytes <= disk.total_bytes);
        assert!(disk.inodes.is_none_or(|inodes| inodes.free <= inodes.total));
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        assert_eq!(disk(Path::new("/nonexistent/path")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
