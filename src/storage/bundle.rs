//! A whole tree as one archive, written while it is read.

use std::{
    fs::File,
    io::{self, Write},
};

pub use super::pack::{BundleKind, Bundled};
use super::{
    artifact::Artifacts,
    beneath::{Beneath, Kind},
    pack::{Stamp, pack},
};

impl Artifacts {
    /// Writes the whole tree to `out`. Blocks as long as the reader of `out` takes.
    ///
    /// # Errors
    /// Those of `out`; what is wrong with the tree is counted in [`Bundled`].
    pub fn bundle(&self, kind: BundleKind, out: impl Write) -> io::Result<Bundled> {
        pack(kind, out, |packer| {
            self.walk(|dir, name, entry| {
                let stamp = Stamp { permissions: entry.facts.permissions, modified_at: entry.facts.modified_at };
                match entry.facts.kind {
                    Kind::Directory => packer.directory(&entry.path, stamp)?,
                    Kind::Link => match dir.link_target(name) {
                        Ok(target) => packer.link(&entry.path, stamp, &target)?,
                        Err(_) => packer.leave_out(),
                    },
                    Kind::File => match open(dir, name) {
                        Some((mut file, bytes)) => packer.file(&entry.path, stamp, &mut file, bytes)?,
                        None => packer.leave_out(),
                    },
                    Kind::Other => packer.leave_out(),
                }
                Ok(true)
            })
        })
    }
}

fn open(dir: &Beneath, name: &[u8]) -> Option<(File, u64)> {
    let path = crate::domain::user_path::UserPath::root().join(name).ok()?;
    let (file, facts) = dir.file(&path).ok()?;
    Some((file, facts.size_bytes))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{ffi::OsStrExt, fs::symlink},
        path::Path,
        process::Command,
    };

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(150);
        fs::create_dir_all(dir.path().join("models").join(&long)).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("models").join(&long).join("weights"), vec![7; 100_000]).unwrap();
        fs::write(dir.path().join("zero"), "").unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
        dir
    }

    fn bundle(dir: &Path, kind: BundleKind) -> (tempfile::NamedTempFile, Bundled) {
        let mut out = tempfile::NamedTempFile::new().unwrap();
        let bundled = Artifacts::open(dir).unwrap().bundle(kind, &mut out).unwrap();
        (out, bundled)
    }

    #[test]
    fn a_tar_of_a_tree_unpacks_to_the_same_tree() {
        let dir = tree();
        let (out, bundled) = bundle(dir.path(), BundleKind::Tar);
        assert_eq!(bundled, Bundled { files: 4, bytes: 100_001, left_out: 1, shrank: 0 });
        let to = tempfile::tempdir().unwrap();
        assert!(Command::new("tar").arg("-xf").arg(out.path()).arg("-C").arg(to.path()).status().unwrap().success());
        fs::remove_file(dir.path().join("pipe")).unwrap();
        let same =
            Command::new("diff").args(["-r", "--no-dereference"]).arg(dir.path()).arg(to.path()).status().unwrap();
        assert!(same.success());
    }

    #[test]
    fn a_zip_of_a_tree_holds_its_files_and_passes_another_programs_test() {
        let dir = tree();
        let (out, bundled) = bundle(dir.path(), BundleKind::Zip);
        assert_eq!((bundled.files, bundled.left_out), (2, 3));
        let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(len(z.namelist()))";
        let said = Command::new("python3").args(["-c", script]).arg(out.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "5", "{}", String::from_utf8_lossy(&said.stderr));
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_bundle() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dir = tree();
        for kind in [BundleKind::Tar, BundleKind::Zip] {
            let error = Artifacts::open(dir.path()).unwrap().bundle(kind, Gone).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
