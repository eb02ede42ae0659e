//! A whole tree as one archive, written while it is read.

use std::{
    fs::File,
    io::{self, Write},
};

pub use super::pack::{BundleKind, Bundled};
use super::{
    artifact::Artifacts,
    beneath::{Beneath, Facts, Kind},
    pack::{Packer, Stamp, pack},
};
use crate::domain::user_path::UserPath;

impl Artifacts {
    /// Writes the whole tree to `out`. Blocks as long as the reader of `out` takes.
    ///
    /// # Errors
    /// Those of `out`; what is wrong with the tree is counted in [`Bundled`].
    pub fn bundle(&self, kind: BundleKind, out: impl Write) -> io::Result<Bundled> {
        pack(kind, out, |packer| {
            self.walk(|dir, name, entry| {
                add(packer, dir, name, &entry.path, entry.facts)?;
                Ok(true)
            })
        })
    }

    /// Writes some entries of the tree to `out`, directories with all that is in them, each named from
    /// the directory that holds it. Blocks as long as the reader of `out` takes.
    ///
    /// # Errors
    /// As [`Artifacts::bundle`]; what is not there any more is counted as left out.
    pub fn bundle_some(&self, paths: &[UserPath], kind: BundleKind, out: impl Write) -> io::Result<Bundled> {
        pack(kind, out, |packer| {
            for path in paths {
                let Some(last) = path.name() else { continue };
                let (Ok(parent), Ok(top)) = (self.dir(&path.parent().unwrap_or_default()), UserPath::root().join(last))
                else {
                    packer.leave_out();
                    continue;
                };
                let Ok(facts) = parent.facts_of(last) else {
                    packer.leave_out();
                    continue;
                };
                add(packer, &parent, last, &top, facts)?;
                if facts.kind != Kind::Directory {
                    continue;
                }
                let Ok(tree) = parent.dir(&top) else { continue };
                Self::beneath(tree).walk(|dir, name, entry| {
                    match UserPath::from_bytes(&[top.as_bytes(), b"/", entry.path.as_bytes()].concat()) {
                        Ok(path) => add(packer, dir, name, &path, entry.facts)?,
                        // Deeper than any path can say.
                        Err(_) => packer.leave_out(),
                    }
                    Ok(true)
                })?;
            }
            Ok(())
        })
    }
}

/// Puts one entry into an archive, a directory without what is in it.
fn add(packer: &mut dyn Packer, dir: &Beneath, name: &[u8], path: &UserPath, facts: Facts) -> io::Result<()> {
    let stamp = Stamp { permissions: facts.permissions, modified_at: facts.modified_at };
    match facts.kind {
        Kind::Directory => packer.directory(path, stamp)?,
        Kind::Link => match dir.link_target(name) {
            Ok(target) => packer.link(path, stamp, &target)?,
            Err(_) => packer.leave_out(),
        },
        Kind::File => match open(dir, name) {
            Some((mut file, bytes)) => packer.file(path, stamp, &mut file, bytes)?,
            None => packer.leave_out(),
        },
        Kind::Other => packer.leave_out(),
    }
    Ok(())
}

fn open(dir: &Beneath, name: &[u8]) -> Option<(File, u64)> {
    let path = UserPath::root().join(name).ok()?;
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
