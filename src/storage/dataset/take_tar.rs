//! A whole tree of files in one tar stream.
//!
//! Nothing of it is in the version before all of it has come and every entry was held to the rules
//! that archives are held to everywhere: so a stream that is refused or cut off leaves the version
//! as it was. What names there are is known only to the directory that is built, so a million of
//! them take no memory.

use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use super::{
    Staged, Tree, TreeError, VersionFiles,
    intake::{Broken, Failed, Intake, Refused},
    merge::merge,
    watch::Watch,
};
use crate::{
    domain::{
        content::{Entry, EntryKind, Totals},
        user_path::{UserPath, shown},
    },
    fault,
    storage::archive::{
        ArchiveError, ArchiveLimits, BadArchive, Problem,
        rules::{Rules, Taker, stays_inside},
        stream,
    },
};

/// What came of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// All that came.
    pub totals: Totals,
    /// What it took the place of.
    pub replaced: Totals,
}

/// Why a stream was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream is at fault.
    #[error(transparent)]
    Bad(#[from] BadArchive),
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Whoever watched broke it off.
    #[error("it was ended before it was done")]
    Stopped,
}

/// A tar stream that was read to its end and stands aside, for a version to take it in. Dropped, it
/// leaves nothing behind.
#[derive(Debug)]
pub struct StagedTar {
    staged: Staged,
    totals: Totals,
}

impl StagedTar {
    /// Returns what came.
    pub fn tree(&self) -> &Tree {
        self.staged.tree()
    }

    /// Returns how much came.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Moves everything into the version that it was read for. Quick, for directories that the version
    /// does not have are moved whole. Not durable when it returns, see `Blobs::durable`.
    ///
    /// # Errors
    /// [`TreeError::IsDirectory`] or [`TreeError::NotADirectory`] when a file of the stream is a
    /// directory of the version or the other way about. The version is as it was after any error but
    /// those of a disk that fails meanwhile.
    pub fn join(self, version: &VersionFiles) -> Result<Taken, TreeError> {
        let replaced = merge(&self.staged, &version.open()?, self.totals.files)?;
        Ok(Taken { totals: self.totals, replaced })
    }
}

/// Takes all files and links of a tar stream, plain or packed with gzip or zstd, into a draft,
/// beneath the directory `prefix`: [`stage_tar`] and [`StagedTar::join`] in one.
///
/// # Errors
/// As both of them.
pub fn take_tar(
    version: &VersionFiles,
    prefix: &UserPath,
    reader: impl Read,
    limits: ArchiveLimits,
    watch: Watch<'_>,
) -> Result<Taken, TarError> {
    Ok(stage_tar(version, prefix, reader, limits, watch)?.join(version)?)
}

/// Reads all files and links of a tar stream, plain or packed with gzip or zstd, and stores them, for
/// the draft `version` to take them in beneath the directory `prefix`. Directories without files are
/// not kept. Blocks until the end of the stream; nothing changes in the version.
///
/// # Errors
/// [`TarError::Bad`] names the entry at fault.
pub fn stage_tar(
    version: &VersionFiles,
    prefix: &UserPath,
    reader: impl Read,
    limits: ArchiveLimits,
    watch: Watch<'_>,
) -> Result<StagedTar, TarError> {
    let blobs = version.blobs();
    let staged = version.stage()?;
    let intake = Intake::new(blobs.clone(), staged.tree().root()).map_err(TreeError::from)?;
    let rules = Rules::new(limits);
    let mut taker = TarTaker {
        intake: &intake,
        tree: staged.tree(),
        prefix,
        rules,
        files: 0,
        repeated: 0,
        last: UserPath::root(),
        watch,
        error: None,
    };
    let read = intake.run(|| stream(reader, &mut taker));
    let (totals, error) = (taker.totals(), taker.error.take());
    // What a worker met comes first: it is why the rest ended.
    if let Some((path, refused)) = intake.failure() {
        return Err(as_tar_error(&path, refused));
    }
    if let Some(error) = error {
        return Err(error);
    }
    read.map_err(bad)?;
    fault::point("dataset.tar.read");
    Ok(StagedTar { staged, totals })
}

fn bad(error: ArchiveError) -> TarError {
    match error {
        ArchiveError::Bad(bad) => TarError::Bad(bad),
        ArchiveError::Io(error) => TarError::Tree(error.into()),
    }
}

/// Says what is wrong with an entry that could not be put where it belongs. The tree is the
/// stream's own, so what is in the way has come earlier in it.
fn as_tar_error(path: &UserPath, refused: Refused) -> TarError {
    let name = path.as_bytes();
    bad(match refused {
        Refused::Twice => Problem::Twice.of(name),
        Refused::Tree(TreeError::IsDirectory(_)) => Problem::Replaces.of(name),
        Refused::Tree(TreeError::NotADirectory(file)) => Problem::Through(file.to_string()).of(name),
        Refused::Tree(error) => return TarError::Tree(error),
        // Only of files of this host.
        Refused::Unreadable(error) => return TarError::Tree(error.into()),
        Refused::Changing => return TarError::Tree(TreeError::Damaged(path.clone())),
    })
}

struct TarTaker<'a> {
    intake: &'a Intake,
    tree: &'a Tree,
    prefix: &'a UserPath,
    rules: Rules,
    files: u64,
    /// Bytes that further names of files stand for.
    repeated: u64,
    /// The directory that was made last.
    last: UserPath,
    watch: Watch<'a>,
    /// What ended the reading, if it was not the archive itself.
    error: Option<TarError>,
}

impl TarTaker<'_> {
    /// Ends the reading because of `error`.
    fn end(&mut self, error: TarError) -> ArchiveError {
        self.error = Some(error);
        ArchiveError::Io(io::ErrorKind::Other.into())
    }

    /// Returns where in the version an entry goes, with the directories above it made.
    fn place(&mut self, name: &[u8]) -> Result<UserPath, ArchiveError> {
        // First by itself: beneath a prefix it would not look absolute.
        let path = self.rules.leaf(name)?;
        let path = self.rules.leaf(&self.within(&path))?;
        path.check_fit().map_err(|unfit| Problem::Unfit(unfit).of(name))?;
        self.make_parent(&path)?;
        Ok(path)
    }

    /// Returns a path of the stream as one of the version.
    fn within(&self, path: &UserPath) -> Vec<u8> {
        let slash: &[u8] = if self.prefix.is_root() { b"" } else { b"/" };
        [self.prefix.as_bytes(), slash, path.as_bytes()].concat()
    }

    /// Makes the directories above `path`. They cost as much as entries, for a name can imply many.
    fn make_parent(&mut self, path: &UserPath) -> Result<(), ArchiveError> {
        let parent = path.parent().unwrap_or_default();
        if parent == self.last {
            return Ok(());
        }
        let mut here = self.tree.root().reopen()?;
        for name in parent.components() {
            here = match here.dir(&UserPath::root().join(name).unwrap_or_default()) {
                Ok(dir) => dir,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.rules.count()?;
                    match here.dir_or_new(name, 0o755) {
                        Ok(dir) => dir,
                        // A worker has put a file there this moment, or in the place of a directory above.
                        Err(error)
                            if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) =>
                        {
                            break;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                // The tree knows best what is in the way.
                Err(_) => break,
            };
        }
        if let Err(error) = self.tree.parent_or_new(path) {
            return Err(self.end(as_tar_error(path, error.into())));
        }
        self.last = parent;
        Ok(())
    }

    fn put(&mut self, path: &UserPath, kind: &EntryKind) -> Result<(), ArchiveError> {
        let refused = match self.tree.put(path, kind) {
            Ok(replaced) if replaced.entry.is_none() => return self.count(),
            Ok(_) => Refused::Twice,
            Err(error) => error.into(),
        };
        Err(self.end(as_tar_error(path, refused)))
    }

    fn count(&mut self) -> Result<(), ArchiveError> {
        self.files += 1;
        tell(self.watch, self.totals()).map_err(|error| self.end(error))
    }

    fn totals(&self) -> Totals {
        Totals { files: self.files, bytes: self.rules.bytes() + self.repeated }
    }
}

fn tell(watch: Watch<'_>, totals: Totals) -> Result<(), TarError> {
    match watch(totals) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TarError::Stopped),
    }
}

impl Taker for TarTaker<'_> {
    fn rules(&mut self) -> &mut Rules {
        &mut self.rules
    }

    fn directory(&mut self, name: &[u8]) -> Result<(), ArchiveError> {
        self.rules.path(name).map(drop)
    }

    fn file(&mut self, name: &[u8], executable: bool, said: u64, data: &mut dyn Read) -> Result<(), ArchiveError> {
        let path = self.place(name)?;
        let (watch, before, mut now) = (self.watch, self.rules.bytes(), self.totals());
        let begun = now.bytes;
        let rules = &mut self.rules;
        let brought = self.intake.bring(&path, executable, said, data, |bytes| {
            rules.spend(name, bytes).map_err(bad)?;
            now.bytes = begun + (rules.bytes() - before);
            tell(watch, now)
        });
        match brought {
            Ok(()) => self.count(),
            Err(Broken::Read(error)) => Err(crate::storage::archive::reading(name, error)),
            Err(Broken::Refused(error)) => Err(self.end(error)),
            Err(Broken::Failed) => Err(ArchiveError::Io(io::ErrorKind::Other.into())),
        }
    }

    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let path = self.place(name)?;
        stays_inside(&path, target).map_err(|problem| problem.of(name))?;
        self.put(&path, &EntryKind::Link(target.to_vec()))
    }
    /// Takes the same content a second time: names of one file are files of their own here.
    fn hard_link(&mut self, name: &[u8], from: &[u8]) -> Result<(), ArchiveError> {
        let path = self.place(name)?;
        let nowhere = || Problem::HardLink(shown(from)).of(name);
        let source = UserPath::from_bytes(from).map_err(|_| nowhere())?;
        let source = UserPath::from_bytes(&self.within(&source)).map_err(|_| nowhere())?;
        let mut entry = self.tree.entry(&source);
        if matches!(entry, Ok(None)) {
            // It may be on its way yet.
            self.intake.rest().map_err(|Failed| ArchiveError::Io(io::ErrorKind::Other.into()))?;
            entry = self.tree.entry(&source);
        }
        match entry {
            Ok(Some(Entry { kind: EntryKind::File(content), .. })) => {
                self.repeated = self.repeated.saturating_add(content.bytes);
                self.put(&path, &EntryKind::File(content))
            }
            Ok(_) => Err(nowhere()),
            Err(error) => Err(self.end(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicU64, Ordering},
    };

    use ::tar::EntryType;

    use super::*;
    use crate::storage::{
        archive::tests::{file, gzip, hard, link, raw, tar_of},
        dataset::testing::{Yard, all, path, yard},
    };

    const LIMITS: ArchiveLimits = ArchiveLimits { max_entries: 100, max_bytes: 8 << 20 };
    const ON: Watch<'_> = &|_| ControlFlow::Continue(());

    /// Gives a few bytes at a time and cannot go back, as a network does.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.0.len()).min(777);
            (&self.0[..length]).read(buffer).inspect(|read| self.0 = &self.0[*read..])
        }
    }

    fn take(version: &VersionFiles, prefix: &str, bytes: &[u8]) -> Result<Taken, TarError> {
        take_tar(version, &path(prefix), Dribble(bytes), LIMITS, ON)
    }

    /// What is in a version: bytes as text, `x` before those that may be executed, links with `->`.
    fn contents(version: &VersionFiles) -> BTreeMap<String, String> {
        let read = |entry: &Entry| match &entry.kind {
            EntryKind::Link(target) => format!("-> {}", String::from_utf8_lossy(target)),
            EntryKind::File(content) => {
                let text = io::read_to_string(version.open_file(&entry.path).unwrap().0).unwrap();
                format!("{}{text}", if content.executable { "x " } else { "" })
            }
        };
        all(version).iter().map(|entry| (entry.path.to_text(), read(entry))).collect()
    }

    fn expected(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned())).collect()
    }

    fn problem(bytes: &[u8]) -> BadArchive {
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("old/file"), b"stays", false).unwrap();
        let bad = match take(&version, "", bytes) {
            Err(TarError::Bad(bad)) => bad,
            other => panic!("{other:?}"),
        };
        assert_untouched(&yard, &version);
        bad
    }

    fn assert_untouched(yard: &Yard, version: &VersionFiles) {
        assert_eq!(contents(version), expected(&[("old/file", "stays")]));
        assert_eq!(yard.unfinished(), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_tar_becomes_files_of_the_version() {
        let plain = tar_of(&[
            raw(b"./", EntryType::Directory, b"", 0o700, b""),
            raw(b"empty/", EntryType::Directory, b"", 0o700, b""),
            file("./src/a.py", "print"),
            raw(b"run.sh", EntryType::Regular, b"", 0o6755, b"#!"),
            link("src/latest", "./a.py"),
            link("src/up", "../run.sh"),
            hard("again", "src/a.py"),
            file("Readme", "one"),
            file("README", "two"),
            raw(b"caf\xe9", EntryType::Regular, b"", 0o644, b"x"),
            file("zero", ""),
        ]);
        let wanted = expected(&[
            ("src/a.py", "print"),
            ("run.sh", "x #!"),
            ("src/latest", "-> ./a.py"),
            ("src/up", "-> ../run.sh"),
            ("again", "print"),
            ("Readme", "one"),
            ("README", "two"),
            ("caf\u{fffd}", "x"),
            ("zero", ""),
        ]);
        for bytes in [plain.clone(), gzip(&plain), ::zstd::encode_all(plain.as_slice(), 1).unwrap()] {
            let yard = yard();
            let version = yard.version(1);
            let taken = take(&version, "", &bytes).unwrap();
            assert_eq!(taken.totals, Totals { files: 9, bytes: 19 });
            assert_eq!(taken.replaced, Totals::default());
            assert_eq!(contents(&version), wanted);
            assert!(!version.tree().join("empty").exists());
            assert_eq!(yard.unfinished(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_large_file_comes_through_in_pieces_beside_small_ones() {
        let large: Vec<u8> = (0..(5 << 20) + 12345_u32).map(|n| (n % 251) as u8).collect();
        let exact = &large[..1 << 20];
        let bytes = tar_of(&[
            file("a", "1"),
            raw(b"large", EntryType::Regular, b"", 0o644, &large),
            hard("twin", "large"),
            raw(b"exact", EntryType::Regular, b"", 0o644, exact),
            file("z", "2"),
        ]);
        let yard = yard();
        let version = yard.version(1);
        take_tar(&version, &path(""), bytes.as_slice(), LIMITS, ON).unwrap();
        for (name, wanted) in [("large", large.as_slice()), ("twin", &large), ("exact", exact)] {
            let (mut file, content) = version.open_file(&path(name)).unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert!(read == wanted, "{name}");
            assert_eq!(content.hash.0, *blake3::hash(wanted).as_bytes());
        }
    }

    #[test]
    fn what_comes_joins_what_is_there_and_says_what_it_replaced() {
        let yard = yard();
        let version = yard.version(1);
        for (name, text) in [("in/d/old", "1"), ("in/d/both", "old text"), ("out", "2"), ("in/same", "equal")] {
            version.put_small(&path(name), text.as_bytes(), false).unwrap();
        }
        let bytes = tar_of(&[file("d/both", "new"), file("d/new", "3"), file("e/deep/x", "4"), file("same", "equal")]);
        let taken = take(&version, "in", &bytes).unwrap();
        assert_eq!(taken.replaced, Totals { files: 2, bytes: 8 + 5 });
        let wanted = expected(&[
            ("in/d/old", "1"),
            ("in/d/both", "new"),
            ("in/d/new", "3"),
            ("in/e/deep/x", "4"),
            ("in/same", "equal"),
            ("out", "2"),
        ]);
        assert_eq!(contents(&version), wanted);
        // Once more is the same again.
        assert_eq!(take(&version, "in", &bytes).unwrap().replaced.files, 4);
        assert_eq!(contents(&version), wanted);
    }

    #[test]
    fn a_file_where_the_version_has_a_directory_is_refused_and_so_is_the_other_way_about() {
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("old/file"), b"stays", false).unwrap();
        let one = take(&version, "", &tar_of(&[file("new", ""), file("old", "")]));
        assert!(matches!(one, Err(TarError::Tree(TreeError::IsDirectory(at))) if at == path("old")));
        let other = take(&version, "", &tar_of(&[file("new", ""), file("old/file/x", "")]));
        assert!(matches!(other, Err(TarError::Tree(TreeError::NotADirectory(at))) if at == path("old/file")));
        assert_untouched(&yard, &version);
    }

    #[test]
    fn a_hostile_entry_is_refused_by_name_and_nothing_is_left() {
        use crate::domain::user_path::{InvalidPath as P, UnfitPath};
        for (entry, wanted) in [
            (file("../x", ""), Problem::Name(P::Parent)),
            (file("/etc/x", ""), Problem::Name(P::Absolute)),
            (file(".", ""), Problem::NoName),
            (file("a\nb", ""), Problem::Unfit(UnfitPath::Control)),
            (file("a\\b", ""), Problem::Unfit(UnfitPath::Backslash)),
            (link("a\x1b", "x"), Problem::Unfit(UnfitPath::Control)),
            (raw(b"../d/", EntryType::Directory, b"", 0o755, b""), Problem::Name(P::Parent)),
            (link("l", "/etc"), Problem::LinkOut("/etc".into())),
            (link("a/l", "../../x"), Problem::LinkOut("../../x".into())),
            (link("l", "a/../../x"), Problem::CrookedLink("a/../../x".into())),
            (hard("h", "/etc/passwd"), Problem::HardLink("/etc/passwd".into())),
            (hard("h", "../x"), Problem::HardLink("../x".into())),
            (hard("h", "later"), Problem::HardLink("later".into())),
            (hard("h", "old/file"), Problem::HardLink("old/file".into())),
            (raw(b"d", EntryType::Char, b"", 0o666, b""), Problem::Device),
            (raw(b"d", EntryType::Block, b"", 0o666, b""), Problem::Device),
            (raw(b"d", EntryType::Fifo, b"", 0o666, b""), Problem::Special),
            (raw(b"d", EntryType::GNUSparse, b"", 0o666, b""), Problem::Sparse),
            (file("ok", "2"), Problem::Twice),
            (link("ok", "x"), Problem::Twice),
            (hard("ok", "ok"), Problem::Twice),
        ] {
            let bad = problem(&tar_of(&[file("ok", "1"), file("more", ""), entry]));
            assert_eq!(bad.problem, wanted);
            assert!(bad.entry.is_some());
        }
        let two = |first, second| problem(&tar_of(&[first, second])).problem;
        assert_eq!(two(link("l", "."), file("l/x", "")), Problem::Through("l".into()));
        // Which of the two is named depends on which is stored first.
        for (first, second) in
            [(file("d/x", ""), file("d", "")), (file("d", ""), file("d/x", "")), (file("d/x", ""), link("d", "x"))]
        {
            let problem = two(first, second);
            assert!(problem == Problem::Replaces || problem == Problem::Through("d".into()), "{problem}");
        }
        assert_eq!(two(link("l", "x"), hard("h", "l")), Problem::HardLink("l".into()));
        let nul = raw(b"p", EntryType::XHeader, b"", 0, b"14 path=a\0b.c\n");
        assert_eq!(two(nul, file("x", "")), Problem::Name(P::Nul));
        assert_eq!(problem(b"PK\x03\x04").problem, Problem::NotAStream);
        assert_eq!(problem(b"").problem, Problem::Empty);
        assert_eq!(problem(&[7; 4096]).problem, Problem::Unknown);
    }

    #[test]
    fn a_name_that_is_a_file_and_a_directory_is_refused_whichever_worker_is_first() {
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("old/file"), b"stays", false).unwrap();
        let deep = |top: &str| file(&format!("{top}/e/f/x"), "deep");
        let pairs = [
            tar_of(&[file("d", "1"), file("d/x", "2")]),
            tar_of(&[file("d/x", "2"), file("d", "1")]),
            tar_of(&[file("d", "1"), deep("d")]),
            tar_of(&[deep("d"), file("d", "1")]),
            tar_of(&[deep("d"), file("d/e", "1")]),
            tar_of(&[deep("d"), link("d/e", "x")]),
            tar_of(&[file("d", "1"), deep("d"), file("d/x", "2"), link("d/y", "x")]),
        ];
        for round in 0..200 {
            for (pair, bytes) in pairs.iter().enumerate() {
                match take(&version, "", bytes) {
                    Err(TarError::Bad(bad)) => assert!(
                        matches!(bad.problem, Problem::Replaces | Problem::Through(_)),
                        "pair {pair}, round {round}: {bad}"
                    ),
                    other => panic!("pair {pair}, round {round}: {other:?}"),
                }
            }
        }
        assert_untouched(&yard, &version);
    }

    #[test]
    fn bombs_and_lies_about_sizes_stop_at_the_limits() {
        let zeros = "\0".repeat(9 << 20);
        let packed = ::zstd::encode_all(tar_of(&[file("big", &zeros)]).as_slice(), 1).unwrap();
        for bytes in [gzip(&tar_of(&[file("big", &zeros)])), packed] {
            let bad = problem(&bytes);
            assert_eq!((bad.entry.as_deref(), bad.problem), (Some("big"), Problem::TooLarge(8 << 20)));
        }
        let many: Vec<_> = (0..101).map(|n| file(&format!("f{n}"), "")).collect();
        assert_eq!(problem(&tar_of(&many)).problem, Problem::TooMany(100));
        let deep: Vec<_> = ["a", "b", "c"].iter().map(|top| file(&format!("{top}/{}x", "d/".repeat(40)), "")).collect();
        assert_eq!(problem(&tar_of(&deep)).problem, Problem::TooMany(100));
        // Says that it is far larger than what follows.
        let mut header = ::tar::Header::new_gnu();
        header.set_path("liar").unwrap();
        header.set_mode(0o644);
        header.set_size(1 << 40);
        header.set_cksum();
        let liar = problem(&[header.as_bytes().as_slice(), &[1; 4096]].concat());
        assert_eq!((liar.entry.as_deref(), liar.problem), (Some("liar"), Problem::Truncated));
    }

    #[test]
    fn a_stream_that_is_cut_off_leaves_nothing_wherever_it_is_cut() {
        let whole = tar_of(&[file("a", "hello"), file("b", &"x".repeat(1000)), hard("c", "a")]);
        for length in (513..whole.len() - 1024).step_by(97) {
            assert_eq!(problem(&whole[..length]).problem, Problem::Truncated, "{length}");
        }
        let large = tar_of(&[raw(b"large", EntryType::Regular, b"", 0o644, &vec![1; 3 << 20])]);
        assert_eq!(problem(&large[..2 << 20]).problem, Problem::Truncated);
        let packed = gzip(&whole);
        assert_eq!(problem(&packed[..packed.len() - 5]).problem, Problem::Truncated);
    }

    #[test]
    fn whoever_watches_is_told_of_all_and_can_end_it() {
        let bytes = tar_of(&[file("a", "12345"), raw(b"large", EntryType::Regular, b"", 0o644, &vec![1; 3 << 20])]);
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("old/file"), b"stays", false).unwrap();
        let seen = AtomicU64::new(0);
        let stop = take_tar(&version, &path(""), bytes.as_slice(), LIMITS, &|so_far| {
            seen.store(so_far.bytes, Ordering::Relaxed);
            if so_far.bytes > 1 << 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stop, Err(TarError::Stopped)), "{stop:?}");
        assert!(seen.load(Ordering::Relaxed) <= 2 << 20);
        assert_untouched(&yard, &version);
    }

    #[test]
    fn what_git_and_tar_write_is_taken() {
        let source = tempfile::tempdir().unwrap();
        let long = "n".repeat(200);
        std::fs::create_dir_all(source.path().join(&long).join(&long)).unwrap();
        for n in 0..20 {
            std::fs::write(source.path().join(&long).join(&long).join(format!("f{n}")), n.to_string()).unwrap();
        }
        for format in ["gnu", "pax"] {
            let mut tar = std::process::Command::new("tar");
            tar.arg(format!("--format={format}")).arg("-czf").arg("-").arg("-C").arg(source.path()).arg(".");
            let out = tar.output().unwrap();
            let yard = yard();
            let version = yard.version(1);
            assert_eq!(take(&version, "", &out.stdout).unwrap().totals.files, 20, "{format}");
        }
    }

    #[test]
    fn the_errors_of_the_stream_itself_are_not_the_disks() {
        struct Gone;
        impl Read for Gone {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the client went away"))
            }
        }
        let yard = yard();
        let whole = file("a", "x");
        let cut = whole.as_slice().chain(Gone);
        let error = take_tar(&yard.version(1), &path(""), cut, LIMITS, ON).unwrap_err();
        assert!(matches!(&error, TarError::Bad(bad) if bad.to_string().contains("went away")), "{error}");
    }
}
