//! Removing whole trees that a container has had.
//!
//! A container can nest directories deeper than any stack, any number of open files or any path. So
//! a tree is not removed by going down into it: what directories are found are moved up, beside the
//! children of its top, until the top is empty. Never more than two of its directories are open.

use std::{io, os::fd::AsRawFd};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags},
    io::Errno,
};

use super::beneath::{Beneath, DIRECTORY, facts};

impl Beneath {
    /// Removes the tree or file `name`, directly in here. One that is gone is no error.
    ///
    /// # Errors
    /// `PermissionDenied` for what a container left under another user's id, when the daemon is not
    /// root. What could be removed is gone then.
    pub fn remove_tree(&self, name: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Linux says ISDIR, POSIX says PERM.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let top = self.enter(name)?;
        let mut moved = 0u64;
        // A round goes one level down. A container that still runs could add names for ever, so
        // there is an end to it.
        for _ in 0..1_000_000 {
            let mut found = false;
            let mut failed = Ok(());
            for child in top.names()? {
                found = true;
                if let Err(error) = top.remove_child(&child, &mut moved) {
                    failed = Err(error);
                }
            }
            failed?;
            if !found {
                break;
            }
        }
        match rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes one child of the tree's top; its own subdirectories become children of the top.
    fn remove_child(&self, child: &[u8], moved: &mut u64) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, child, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let dir = self.enter(child)?;
        for name in dir.names()? {
            match rustix::fs::unlinkat(&dir.0, name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
            // Moving a directory rewrites its “..”, which takes the right to write to it.
            drop(dir.enter(&name)?);
            loop {
                let aside = format!(".gradientd-removing-{moved}");
                *moved += 1;
                match rustix::fs::renameat(&dir.0, name.as_slice(), &self.0, aside) {
                    Ok(()) | Err(Errno::NOENT) => break,
                    // The container has used this very name. An empty directory is simply replaced.
                    Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        match rustix::fs::unlinkat(&self.0, child, AtFlags::REMOVEDIR) {
            // Not empty: someone added to it meanwhile. The next round sees to it.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the directory `name` with the right to empty it, taking that right if it must.
    fn enter(&self, name: &[u8]) -> io::Result<Self> {
        let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let seen = rustix::fs::openat(&self.0, name, path_only, Mode::empty())?;
        if facts(&rustix::fs::fstat(&seen)?).permissions & 0o700 != 0o700 {
            let handle = format!("/proc/self/fd/{}", seen.as_raw_fd());
            rustix::fs::chmodat(CWD, handle, Mode::from_raw_mode(0o700), AtFlags::empty())?;
        }
        Ok(Self(rustix::fs::openat(&seen, ".", DIRECTORY, Mode::empty())?))
    }

    /// Returns up to 10,000 of the names in here: enough to work on, and bounded in memory.
    fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
            if names.len() == 10_000 {
                break;
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_removed_tree_takes_nothing_that_its_links_point_to() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("keep")).unwrap();
        fs::write(tree.path().join("keep/file"), "x").unwrap();
        fs::create_dir_all(tree.path().join("gone/sub")).unwrap();
        symlink("../keep", tree.path().join("gone/link")).unwrap();
        symlink("../../keep", tree.path().join("gone/sub/link")).unwrap();
        Beneath::open(tree.path()).unwrap().remove_tree(b"gone").unwrap();
        assert!(!tree.path().join("gone").exists());
        assert!(tree.path().join("keep/file").exists());
    }

    #[test]
    fn a_tree_far_deeper_than_any_path_is_removed() {
        let tree = tempfile::tempdir().unwrap();
        let here = Beneath::open(tree.path()).unwrap();
        let mut deepest = here.make_dir(b"deep").unwrap();
        for _ in 0..3000 {
            deepest = deepest.make_dir(b"d").unwrap();
            deepest.new_file(b"f", 0o400).unwrap();
        }
        here.remove_tree(b"deep").unwrap();
        assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_that_get_in_the_way_of_removing_are_removed_too() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("top/a/inner/deep")).unwrap();
        fs::create_dir_all(tree.path().join("top/.gradientd-removing-0/full")).unwrap();
        fs::write(tree.path().join("top/.gradientd-removing-1"), "x").unwrap();
        fs::create_dir_all(tree.path().join("top/z/.gradientd-removing-2/deep")).unwrap();
        Beneath::open(tree.path()).unwrap().remove_tree(b"top").unwrap();
        assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_tree_that_forbids_everything_is_removed() {
        use std::os::unix::fs::PermissionsExt;
        let tree = tempfile::tempdir().unwrap();
        let shut = tree.path().join("top/shut/inner");
        fs::create_dir_all(&shut).unwrap();
        fs::write(shut.join("f"), "x").unwrap();
        for dir in [&shut, &tree.path().join("top/shut"), &tree.path().join("top")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o000)).unwrap();
        }
        Beneath::open(tree.path()).unwrap().remove_tree(b"top").unwrap();
        assert!(!tree.path().join("top").exists());
    }
}
