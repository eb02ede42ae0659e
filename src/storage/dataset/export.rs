//! A version, or a directory of it, going out as one archive.
//!
//! The same files give the same bytes, whoever asks and whenever: names in the order of their bytes,
//! one time for all, no owner.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use super::{Manifest, TreeError, VersionFiles, Walk, tree::entry_in};
use crate::{
    domain::{
        content::{Content, Entry, EntryKind},
        time::Timestamp,
        user_path::UserPath,
    },
    storage::{
        beneath::Beneath,
        bundle::{BundleKind, Bundled},
        pack::{Packer, Stamp, pack},
    },
};

/// Writes the files and links of the directory `prefix`, or the one file that it is, to `out`. Names
/// are told from `prefix` on, and everything is said to be from `modified_at`. A zip leaves links
/// out, and names that are not UTF-8. Blocks as long as the reader of `out` takes.
///
/// # Errors
/// [`TreeError::NotFound`] when there is nothing at `prefix`, before anything is written;
/// [`TreeError::Damaged`] for a file that is not as long as the version says, or gone. The archive
/// ends in the middle then, so that nobody takes it for whole.
pub fn export(
    version: &VersionFiles,
    prefix: &UserPath,
    kind: BundleKind,
    modified_at: Timestamp,
    out: impl Write,
) -> Result<Bundled, TreeError> {
    let tree = version.open()?;
    let entries = match version.manifest() {
        Ok(manifest) => Entries::frozen(&manifest, prefix)?,
        Err(TreeError::NotFound) => Entries::draft(tree.root(), prefix)?,
        Err(error) => return Err(error),
    };
    let mut source = Source { root: tree.root(), last: None };
    let items = entries.map(|entry| entry.map(Item::from));
    export_from(items, |path, bytes, ()| source.open(path, bytes), prefix, kind, modified_at, out)
}

/// What is to be put in.
pub struct Item<S> {
    pub path: UserPath,
    pub part: Part<S>,
}

/// What it is.
pub enum Part<S> {
    Link(Vec<u8>),
    File {
        executable: bool,
        bytes: u64,
        /// What else finds its bytes.
        source: S,
    },
}

impl From<Entry> for Item<()> {
    fn from(Entry { path, kind }: Entry) -> Self {
        let part = match kind {
            EntryKind::Link(target) => Part::Link(target),
            EntryKind::File(Content { executable, bytes, .. }) => Part::File { executable, bytes, source: () },
        };
        Self { path, part }
    }
}

/// Does the same with files that lie elsewhere: `items` in the order of their paths' bytes, and
/// `open`, which finds the bytes of each, of which reading ends in an error if they are not what they
/// should be.
///
/// # Errors
/// As [`export`], and those of `items`, `open` and what it opened.
pub fn export_from<S, R: Read, E: From<TreeError>>(
    mut items: impl Iterator<Item = Result<Item<S>, E>>,
    mut open: impl FnMut(&UserPath, u64, S) -> Result<R, E>,
    prefix: &UserPath,
    kind: BundleKind,
    modified_at: Timestamp,
    out: impl Write,
) -> Result<Bundled, E> {
    let first = match items.next().transpose()? {
        None if !prefix.is_root() => return Err(TreeError::NotFound.into()),
        first => first,
    };
    let mut failure = None;
    let packed = pack(kind, out, |packer| {
        let mut next = first;
        while let Some(item) = next {
            let put = put(packer, &mut open, prefix, item, modified_at);
            next = put.and_then(|()| items.next().transpose()).map_err(|error| {
                failure = Some(error);
                io::Error::from(io::ErrorKind::Other)
            })?;
        }
        Ok(())
    });
    let of_disk = |error: io::Error| E::from(TreeError::from(error));
    match (packed, failure) {
        (Ok(bundled), None) => Ok(bundled),
        // Those of the output came first, and are why the rest failed.
        (Err(error), Some(_)) if error.kind() != io::ErrorKind::Other => Err(of_disk(error)),
        (_, Some(error)) => Err(error),
        (Err(error), None) => Err(of_disk(error)),
    }
}

fn put<S, R: Read, E: From<TreeError>>(
    packer: &mut dyn Packer,
    open: &mut impl FnMut(&UserPath, u64, S) -> Result<R, E>,
    prefix: &UserPath,
    Item { path, part }: Item<S>,
    modified_at: Timestamp,
) -> Result<(), E> {
    let damaged = || TreeError::Damaged(path.clone());
    let name = if path == *prefix {
        path.name().unwrap_or_default()
    } else {
        let rest = &path.as_bytes()[prefix.as_bytes().len()..];
        rest.strip_prefix(b"/").unwrap_or(rest)
    };
    let name = UserPath::from_bytes(name).map_err(|_| damaged())?;
    let packed = match part {
        Part::Link(target) => packer.link(&name, Stamp { permissions: 0o777, modified_at }, &target),
        Part::File { executable, bytes, source } => {
            let permissions = if executable { 0o755 } else { 0o644 };
            let mut data = open(&path, bytes, source)?;
            packer.file(&name, Stamp { permissions, modified_at }, &mut data, bytes)
        }
    };
    packed.map_err(TreeError::from)?;
    if packer.bundled().shrank > 0 { Err(damaged().into()) } else { Ok(()) }
}

/// The entries to put in, in the order of their paths' bytes.
pub(in crate::storage) enum Entries<'a> {
    Frozen {
        entries: super::manifest::Entries,
        prefix: UserPath,
    },
    Draft(Walk<'a>),
    /// The prefix is a single file.
    One(Option<Entry>),
}

impl<'a> Entries<'a> {
    /// Those of a committed version, from its manifest alone.
    pub(in crate::storage) fn frozen(manifest: &Manifest, prefix: &UserPath) -> Result<Self, TreeError> {
        if let Some(entry) = manifest.entry(prefix)? {
            return Ok(Self::One(Some(entry)));
        }
        let begin = if prefix.is_root() { Vec::new() } else { [prefix.as_bytes(), b"/"].concat() };
        Ok(Self::Frozen { entries: manifest.entries_from(&begin)?, prefix: prefix.clone() })
    }

    fn draft(root: &'a Beneath, prefix: &UserPath) -> Result<Self, TreeError> {
        if let Some(name) = prefix.name() {
            let parent = match root.dir(&prefix.parent().unwrap_or_default()) {
                Ok(parent) => parent,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Err(TreeError::NotFound);
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(entry) = entry_in(&parent, name, prefix)? {
                return Ok(Self::One(Some(entry)));
            }
        }
        Ok(Self::Draft(Walk::from(root, prefix, b"", None)?))
    }

    fn step(&mut self) -> Result<Option<Entry>, TreeError> {
        match self {
            Self::One(entry) => Ok(entry.take()),
            Self::Frozen { entries, prefix } => {
                let entry = entries.next().transpose()?;
                let inside = |path: &UserPath| match path.as_bytes().strip_prefix(prefix.as_bytes()) {
                    Some(rest) => prefix.is_root() || rest.starts_with(b"/"),
                    None => false,
                };
                Ok(entry.filter(|entry| inside(&entry.path)))
            }
            Self::Draft(walk) => loop {
                let Some(found) = walk.next()? else { return Ok(None) };
                let name = found.path.name().unwrap_or_default();
                // What was removed meanwhile is no longer of the draft.
                if let Some(entry) = entry_in(walk.dir()?, name, &found.path)? {
                    return Ok(Some(entry));
                }
            },
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Where the bytes are.
struct Source<'a> {
    root: &'a Beneath,
    /// The directory read from last: entries come directory by directory.
    last: Option<(UserPath, Beneath)>,
}

impl Source<'_> {
    fn open(&mut self, path: &UserPath, bytes: u64) -> Result<File, TreeError> {
        let damaged = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
                TreeError::Damaged(path.clone())
            }
            _ => error.into(),
        };
        let parent = path.parent().unwrap_or_default();
        let dir = match self.last.take() {
            Some((last, dir)) if last == parent => dir,
            _ => self.root.dir(&parent).map_err(damaged)?,
        };
        let name = UserPath::from_bytes(path.name().unwrap_or_default()).unwrap_or_default();
        let (file, facts) = dir.file(&name).map_err(damaged)?;
        self.last = Some((parent, dir));
        if facts.size_bytes == bytes { Ok(file) } else { Err(TreeError::Damaged(path.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, ops::ControlFlow, process::Command};

    use super::*;
    use crate::{
        domain::content::Totals,
        storage::{
            archive::ArchiveLimits,
            dataset::{
                take_tar,
                testing::{Yard, all, path, yard},
            },
        },
    };

    const AT: Timestamp = Timestamp(1_700_000_000_000_000);

    fn filled(yard: &Yard) -> VersionFiles {
        let version = yard.version(1);
        for (name, text, executable) in
            [("a-b", "1", false), ("a/b", "22", true), ("a/c/d", "333", false), ("a.txt", "", false)]
        {
            version.put_small(&path(name), text.as_bytes(), executable).unwrap();
        }
        let bytes = UserPath::from_bytes(b"a/caf\xe9").unwrap();
        version.put_small(&bytes, b"x", false).unwrap();
        version.put(&path("a/link"), &EntryKind::Link(b"c/d".to_vec())).unwrap();
        version
    }

    fn tar(version: &VersionFiles, prefix: &str) -> Vec<u8> {
        let mut out = Vec::new();
        export(version, &path(prefix), BundleKind::Tar, AT, &mut out).unwrap();
        out
    }

    #[test]
    fn a_tar_taken_again_is_the_same_version_and_its_bytes_are_always_the_same() {
        let yard = yard();
        let version = filled(&yard);
        let draft = tar(&version, "");
        version.freeze(&|_| {}).unwrap();
        assert!(tar(&version, "") == draft);
        let again = yard.version(2);
        let on = &|_: Totals| ControlFlow::Continue(());
        take_tar(&again, &path(""), draft.as_slice(), ArchiveLimits::default(), on).unwrap();
        assert_eq!(all(&again), all(&version));
        let to = tempfile::tempdir().unwrap();
        fs::write(to.path().join("t.tar"), &draft).unwrap();
        let mut list = Command::new("tar");
        list.args(["--numeric-owner", "--utc", "-tvf", "t.tar"]).current_dir(to.path());
        let said = String::from_utf8_lossy(&list.output().unwrap().stdout).into_owned();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 6);
        assert!(lines.iter().all(|line| line.contains(" 0/0 ") && line.contains("2023-11-14 22:13")), "{said}");
        assert!(lines[2].starts_with("-rwxr-xr-x") && lines[2].ends_with("a/b"), "{said}");
    }

    #[test]
    fn a_directory_goes_out_with_names_from_there_on_and_a_file_alone() {
        let yard = yard();
        let version = filled(&yard);
        for frozen in [false, true] {
            if frozen {
                version.freeze(&|_| {}).unwrap();
            }
            let mut names = Vec::new();
            for prefix in ["a", "a/c/d"] {
                let bytes = tar(&version, prefix);
                let mut archive = ::tar::Archive::new(bytes.as_slice());
                names.extend(archive.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()));
            }
            assert_eq!(names, [&b"b"[..], b"c/d", b"caf\xe9", b"link", b"d"]);
            let none = export(&version, &path("a/none"), BundleKind::Tar, AT, io::sink());
            assert!(matches!(none, Err(TreeError::NotFound)));
            // A prefix is a directory, not the beginning of a name.
            assert!(
                matches!(export(&version, &path("a/c/"), BundleKind::Zip, AT, io::sink()), Ok(done) if done.files == 1)
            );
            assert!(matches!(
                export(&version, &path("a/ca"), BundleKind::Tar, AT, io::sink()),
                Err(TreeError::NotFound)
            ));
        }
    }

    #[test]
    fn a_zip_tells_what_it_left_out_and_passes_another_programs_test() {
        let yard = yard();
        let mut out = tempfile::NamedTempFile::new().unwrap();
        let bundled = export(&filled(&yard), &path(""), BundleKind::Zip, AT, &mut out).unwrap();
        assert_eq!((bundled.files, bundled.bytes, bundled.left_out), (4, 6, 2));
        let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(' '.join(z.namelist()))";
        let said = Command::new("python3").args(["-c", script]).arg(out.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "a-b a.txt a/b a/c/d");
    }

    #[test]
    fn an_archive_with_a_file_that_is_gone_ends_in_an_error() {
        let yard = yard();
        let version = filled(&yard);
        version.freeze(&|_| {}).unwrap();
        fs::remove_file(version.tree().join("a/c/d")).unwrap();
        for kind in [BundleKind::Tar, BundleKind::Zip] {
            let error = export(&version, &path(""), kind, AT, io::sink()).unwrap_err();
            assert!(matches!(&error, TreeError::Damaged(at) if *at == path("a/c/d")), "{error:?}");
        }
    }

    #[test]
    fn a_reader_that_goes_away_ends_it() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let yard = yard();
        let version = filled(&yard);
        for kind in [BundleKind::Tar, BundleKind::Zip] {
            let error = export(&version, &path(""), kind, AT, Gone).unwrap_err();
            assert!(matches!(&error, TreeError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe), "{error:?}");
        }
    }
}
