//! How much a directory takes, as `du` counts: every inode once, no link followed.

use std::{collections::HashSet, io, path::Path};

use super::watch::{CareError, Watch, tell};
use crate::{
    domain::content::Totals,
    storage::{
        beneath::{Beneath, Kind},
        descent::{Met, Visitor, descend},
    },
};

/// What a directory takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Files, links and whatever else is no directory.
    pub files: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// What they and the directories take on the disk: less than `bytes` for a file with holes, more
    /// for many small ones.
    pub disk_bytes: u64,
    pub directories: u64,
}

/// Counts what is beneath `root`, nothing if there is no such directory. A file of several names
/// counts once, so equal files of many versions do not add up. What goes away meanwhile, or may not
/// be entered, is passed over. Keeps some 20 bytes in memory for each file of several names.
///
/// # Errors
/// [`CareError::Stopped`], and what the disk says of `root` itself.
pub fn usage(root: &Path, watch: Watch<'_>) -> Result<Usage, CareError> {
    let root = match Beneath::open(root) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Usage::default()),
        Err(error) => return Err(error.into()),
    };
    let mut count = Count { usage: Usage::default(), seen: HashSet::new(), watch };
    descend(&root, &mut count)?;
    Ok(count.usage)
}

struct Count<'a> {
    usage: Usage,
    /// Inodes with several names, by device and number.
    seen: HashSet<(u64, u64)>,
    watch: Watch<'a>,
}

impl Visitor for Count<'_> {
    type Error = CareError;

    fn meet(&mut self, met: &Met<'_>) -> Result<bool, CareError> {
        let inode = &met.inode;
        let is_directory = inode.kind == Kind::Directory;
        if !is_directory && inode.links > 1 && !self.seen.insert((inode.device, inode.number)) {
            return Ok(false);
        }
        self.usage.disk_bytes = self.usage.disk_bytes.saturating_add(inode.disk_bytes);
        if is_directory {
            self.usage.directories += 1;
        } else {
            self.usage.files += 1;
            self.usage.bytes = self.usage.bytes.saturating_add(inode.bytes);
        }
        tell(self.watch, Totals { files: self.usage.files, bytes: self.usage.bytes })?;
        Ok(true)
    }

    fn fail(&mut self, _: &[u8], _: io::Error) -> Result<(), CareError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, ops::ControlFlow, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_file_of_several_names_counts_once_and_links_lead_nowhere() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("in/a/b")).unwrap();
        fs::create_dir(tree.path().join("out")).unwrap();
        fs::write(tree.path().join("out/large"), vec![1; 100_000]).unwrap();
        fs::write(tree.path().join("in/a/one"), vec![1; 5000]).unwrap();
        fs::hard_link(tree.path().join("in/a/one"), tree.path().join("in/a/b/two")).unwrap();
        fs::write(tree.path().join("in/a/b/three"), "abc").unwrap();
        symlink("../../out", tree.path().join("in/a/link")).unwrap();
        let usage = usage(&tree.path().join("in"), &|_| ControlFlow::Continue(())).unwrap();
        assert_eq!((usage.files, usage.bytes), (3, 5000 + 3 + "../../out".len() as u64));
        assert_eq!(usage.directories, 2);
        assert!(usage.disk_bytes >= 5000 && usage.disk_bytes < 100_000, "{usage:?}");
    }

    #[test]
    fn what_is_not_there_takes_nothing() {
        let tree = tempfile::tempdir().unwrap();
        let watch: Watch<'_> = &|_| ControlFlow::Continue(());
        assert_eq!(usage(&tree.path().join("none"), watch).unwrap(), Usage::default());
    }

    #[test]
    fn a_count_can_be_broken_off() {
        let tree = tempfile::tempdir().unwrap();
        for n in 0..10 {
            fs::write(tree.path().join(n.to_string()), "x").unwrap();
        }
        let error = usage(tree.path(), &|so_far| {
            assert!(so_far.files <= 3);
            if so_far.files == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(error, Err(CareError::Stopped)));
    }
}
