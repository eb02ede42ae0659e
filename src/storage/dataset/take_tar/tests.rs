//! Archives that are taken, and those that are refused.

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
