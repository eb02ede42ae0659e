//! Archives good and hostile. Whatever is unpacked here lies beside a canary that must live.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use ::tar::{Builder, EntryType, Header};
use ::zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};
use proptest::prelude::*;

use super::*;

/// A directory to unpack into, with files around it that no archive may touch.
struct Yard(tempfile::TempDir);

impl Yard {
    fn new() -> Self {
        let yard = tempfile::tempdir().unwrap();
        fs::create_dir_all(yard.path().join("outer/dest")).unwrap();
        fs::write(yard.path().join("canary"), "alive").unwrap();
        fs::write(yard.path().join("outer/canary"), "alive").unwrap();
        Self(yard)
    }

    fn dest(&self) -> std::path::PathBuf {
        self.0.path().join("outer/dest")
    }

    /// Panics when anything but `dest` has changed.
    fn assert_untouched(&self) {
        for (dir, names) in [("", vec!["canary", "outer"]), ("outer", vec!["canary", "dest"])] {
            let mut found: Vec<_> =
                fs::read_dir(self.0.path().join(dir)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            found.sort();
            assert_eq!(found, names);
        }
        for canary in ["canary", "outer/canary"] {
            assert_eq!(fs::read_to_string(self.0.path().join(canary)).unwrap(), "alive");
        }
    }
}

const LIMITS: ArchiveLimits = ArchiveLimits { max_entries: 100, max_bytes: 1 << 20 };

fn on_disk(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Checks and unpacks; both must come to the same result.
fn both(bytes: &[u8]) -> (Yard, Result<ArchiveSummary, ArchiveError>) {
    let file = on_disk(bytes);
    let yard = Yard::new();
    let checked = check(&file, LIMITS);
    let unpacked = unpack(&file, &Beneath::open(&yard.dest()).unwrap(), LIMITS);
    yard.assert_untouched();
    match (&checked, &unpacked) {
        (Ok(checked), Ok(unpacked)) => assert_eq!(checked, unpacked),
        (Err(ArchiveError::Bad(checked)), Err(ArchiveError::Bad(unpacked))) => assert_eq!(checked, unpacked),
        other => panic!("{other:?}"),
    }
    (yard, unpacked)
}

fn problem(bytes: &[u8]) -> BadArchive {
    match both(bytes).1 {
        Err(ArchiveError::Bad(bad)) => bad,
        other => panic!("{other:?}"),
    }
}

/// One entry with its fields written raw: the library would refuse to write most of these.
pub fn raw(name: &[u8], kind: EntryType, link: &[u8], mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn file(name: &str, data: &str) -> Vec<u8> {
    raw(name.as_bytes(), EntryType::Regular, b"", 0o644, data.as_bytes())
}

pub fn link(name: &str, target: &str) -> Vec<u8> {
    raw(name.as_bytes(), EntryType::Symlink, target.as_bytes(), 0o777, b"")
}

pub fn hard(name: &str, target: &str) -> Vec<u8> {
    raw(name.as_bytes(), EntryType::Link, target.as_bytes(), 0o644, b"")
}

pub fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, mode, data) in entries {
        let options = SimpleFileOptions::default().unix_permissions(*mode & 0o777);
        if mode & 0o170_000 == 0o120_000 {
            zip.add_symlink(*name, String::from_utf8_lossy(data), options).unwrap();
            continue;
        }
        zip.start_file(*name, options.compression_method(CompressionMethod::Deflated)).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn tree(dest: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dest.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(dest).unwrap().display().to_string();
            let meta = entry.path().symlink_metadata().unwrap();
            if meta.is_dir() {
                todo.push(entry.path());
                found.insert(name + "/", format!("{:o}", meta.permissions().mode() & 0o7777));
            } else if meta.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(entry.path()).unwrap().display()));
            } else {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.insert(name, format!("{:o} {text}", meta.permissions().mode() & 0o7777));
            }
        }
    }
    found
}

fn expected(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned())).collect()
}

#[test]
fn every_kind_of_tar_comes_out_the_same() {
    let plain = tar_of(&[
        raw(b"./", EntryType::Directory, b"", 0o700, b""),
        raw(b"./src/", EntryType::Directory, b"", 0o700, b""),
        file("./src/a.py", "print"),
        raw(b"run.sh", EntryType::Regular, b"", 0o6755, b"#!"),
        link("src/latest", "./a.py"),
        link("src/up", "../run.sh"),
        hard("again", "src/a.py"),
        file("implied/deep/x", ""),
    ]);
    let wanted = expected(&[
        ("src/", "777"),
        ("src/a.py", "666 print"),
        ("run.sh", "777 #!"),
        ("src/latest", "-> ./a.py"),
        ("src/up", "-> ../run.sh"),
        ("again", "666 print"),
        ("implied/", "777"),
        ("implied/deep/", "777"),
        ("implied/deep/x", "666 "),
    ]);
    let members = [gzip(&plain[..700]), gzip(&plain[700..]), b"padding".to_vec()].concat();
    let zstd = ::zstd::encode_all(plain.as_slice(), 1).unwrap();
    for (bytes, kind) in [
        (plain.clone(), ArchiveKind::Tar),
        (gzip(&plain), ArchiveKind::TarGzip),
        (members, ArchiveKind::TarGzip),
        (zstd, ArchiveKind::TarZstd),
    ] {
        let (yard, done) = both(&bytes);
        assert_eq!(done.unwrap(), ArchiveSummary { kind, files: 6, directories: 3, bytes: 7 });
        assert_eq!(tree(&yard.dest()), wanted);
    }
}

#[test]
fn a_zip_comes_out_with_links_and_executable_bits() {
    let bytes = zip_of(&[
        ("src/a.py", 0o644, b"print"),
        ("run.sh", 0o755, b"#!"),
        ("src/latest", 0o120_777, b"a.py"),
        ("grüße", 0o644, b"x"),
    ]);
    let (yard, done) = both(&bytes);
    assert_eq!(done.unwrap().files, 4);
    assert_eq!(
        tree(&yard.dest()),
        expected(&[
            ("src/", "777"),
            ("src/a.py", "666 print"),
            ("run.sh", "777 #!"),
            ("src/latest", "-> a.py"),
            ("grüße", "666 x"),
        ])
    );
}

#[test]
fn what_the_usual_programs_write_is_taken() {
    let source = tempfile::tempdir().unwrap();
    let long = "n".repeat(200);
    fs::create_dir_all(source.path().join(&long).join(&long)).unwrap();
    fs::write(source.path().join(&long).join(&long).join("f"), "x").unwrap();
    std::os::unix::fs::symlink(format!("{long}/{long}/f"), source.path().join("l")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let out = tempfile::NamedTempFile::new().unwrap();
        let mut command = std::process::Command::new("tar");
        command.arg(format!("--format={format}")).arg("-cf").arg(out.path()).arg("-C").arg(source.path());
        // ustar has no way to write these names.
        let names: &[&str] = if format == "ustar" { &["--exclude=*"] } else { &[] };
        assert!(command.args(names).arg(".").status().unwrap().success());
        let summary = check(out.as_file(), LIMITS).unwrap();
        let wanted = if format == "ustar" { (0, 0) } else { (2, 1) };
        assert_eq!((summary.files, summary.bytes), wanted, "{format}");
    }
}

#[test]
fn what_git_archives_is_taken_with_its_comment_for_the_whole() {
    let source = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments)
            .current_dir(source.path());
        assert!(command.env("HOME", source.path()).status().unwrap().success());
    };
    fs::write(source.path().join("a"), "hello").unwrap();
    git(&["init", "-q"]);
    git(&["add", "a"]);
    git(&["commit", "-q", "-m", "a"]);
    for format in ["tar", "tar.gz", "zip"] {
        let name = format!("out.{format}");
        git(&["archive", "-o", &name, "HEAD"]);
        let summary = check(&File::open(source.path().join(name)).unwrap(), LIMITS).unwrap();
        assert_eq!((summary.files, summary.bytes), (1, 5), "{format}");
    }
}

#[test]
fn an_archive_without_entries_is_an_empty_tree() {
    for bytes in [tar_of(&[]), gzip(&tar_of(&[])), zip_of(&[])] {
        let (yard, done) = both(&bytes);
        assert_eq!(done.unwrap().files, 0);
        assert!(tree(&yard.dest()).is_empty());
    }
}

#[test]
fn appending_a_newer_version_replaces_the_older_and_leaves_its_second_name() {
    let (yard, done) = both(&tar_of(&[file("a", "old"), hard("b", "a"), file("a", "new")]));
    done.unwrap();
    assert_eq!(tree(&yard.dest()), expected(&[("a", "666 new"), ("b", "666 old")]));
}

#[test]
fn what_is_no_archive_is_named_so() {
    assert_eq!(problem(b"").problem, Problem::Empty);
    assert_eq!(problem(b"hello").problem, Problem::Unknown);
    assert_eq!(problem(&[7; 4096]).problem, Problem::Unknown);
    assert_eq!(problem(&gzip(b"hello")).problem, Problem::NotTar);
    assert_eq!(problem(&gzip(&[7; 4096])).problem, Problem::NotTar);
    assert_eq!(problem(b"\x1f\x8b").problem, Problem::Truncated);
    assert!(matches!(problem(b"PK\x03\x04").problem, Problem::Damaged(_)));
}

#[test]
fn an_entry_that_leaves_the_tree_is_refused_by_name() {
    use crate::domain::user_path::InvalidPath as P;
    for (entry, wanted) in [
        (file("../x", ""), Problem::Name(P::Parent)),
        (file("a/../../x", ""), Problem::Name(P::Parent)),
        (file("/etc/x", ""), Problem::Name(P::Absolute)),
        (file(".", ""), Problem::NoName),
        (link("l", "/etc"), Problem::LinkOut("/etc".into())),
        (link("l", "../x"), Problem::LinkOut("../x".into())),
        (link("a/l", "../../x"), Problem::LinkOut("../../x".into())),
        (link("l", ""), Problem::LinkOut(String::new())),
        (link("l", "a/../../x"), Problem::CrookedLink("a/../../x".into())),
        (hard("h", "/etc/passwd"), Problem::HardLink("/etc/passwd".into())),
        (hard("h", "../canary"), Problem::HardLink("../canary".into())),
        (hard("h", "later"), Problem::HardLink("later".into())),
        (raw(b"d", EntryType::Char, b"", 0o666, b""), Problem::Device),
        (raw(b"d", EntryType::Block, b"", 0o666, b""), Problem::Device),
        (raw(b"d", EntryType::Fifo, b"", 0o666, b""), Problem::Special),
        (raw(b"d", EntryType::GNUSparse, b"", 0o666, b""), Problem::Sparse),
        (raw(b"d", EntryType::new(b'M'), b"", 0o666, b""), Problem::UnknownEntry("M".into())),
    ] {
        let bad = problem(&tar_of(&[file("ok", "1"), entry]));
        assert_eq!(bad.problem, wanted);
        assert!(bad.entry.is_some());
    }
    for (name, wanted) in [
        ("../x", Problem::Name(P::Parent)),
        ("/x", Problem::Name(P::Absolute)),
        ("a\\x", Problem::Backslash),
        ("C:x", Problem::DriveLetter),
    ] {
        assert_eq!(problem(&zip_of(&[("ok", 0o644, b""), (name, 0o644, b"")])).problem, wanted, "{name}");
    }
    assert_eq!(problem(&zip_of(&[("l", 0o120_777, b"/etc")])).problem, Problem::LinkOut("/etc".into()));
}

#[test]
fn nothing_is_written_through_a_link_or_over_something_else() {
    let through = || Problem::Through("l".into());
    assert_eq!(problem(&tar_of(&[link("l", "."), file("l/x", "")])).problem, through());
    assert_eq!(problem(&tar_of(&[file("l", ""), file("l/x", "")])).problem, through());
    assert_eq!(problem(&tar_of(&[file("x", ""), link("l", "x"), file("l", "")])).problem, Problem::Replaces);
    assert_eq!(problem(&tar_of(&[link("l", "x"), link("l", "y")])).problem, Problem::Replaces);
    assert_eq!(problem(&tar_of(&[file("d/x", ""), link("d", "x")])).problem, Problem::Replaces);
    assert_eq!(problem(&tar_of(&[file("d/x", ""), file("d", "")])).problem, Problem::Replaces);
    assert_eq!(problem(&tar_of(&[link("l", "x"), hard("h", "l")])).problem, Problem::HardLink("l".into()));
    let zip = zip_of(&[("l", 0o120_777, b"."), ("l/x", 0o644, b"")]);
    assert_eq!(problem(&zip).problem, through());
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = "\0".repeat(2 << 20);
    for bytes in [
        tar_of(&[file("big", &zeros)]),
        gzip(&tar_of(&[file("big", &zeros)])),
        ::zstd::encode_all(tar_of(&[file("big", &zeros)]).as_slice(), 1).unwrap(),
        zip_of(&[("big", 0o644, zeros.as_bytes())]),
    ] {
        let bad = problem(&bytes);
        assert_eq!((bad.entry.as_deref(), bad.problem), (Some("big"), Problem::TooLarge(1 << 20)));
    }
    let many: Vec<_> = (0..101).map(|n| file(&format!("f{n}"), "")).collect();
    assert_eq!(problem(&tar_of(&many)).problem, Problem::TooMany(100));
    let names: Vec<_> = (0..101).map(|n| format!("f{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), 0o644, &b""[..])).collect();
    assert_eq!(problem(&zip_of(&entries)).problem, Problem::TooMany(100));
    assert!(matches!(
        problem(&tar_of(&[raw(b"n", EntryType::GNULongName, b"", 0, &vec![b'x'; 1 << 20]), file("x", "")])).problem,
        Problem::Name(_)
    ));
    assert_eq!(problem(&tar_of(&[raw(b"n", EntryType::XHeader, b"", 0, "a/".repeat(300).as_bytes())])).entry, None);
    assert_eq!(
        problem(&tar_of(&[
            file(&"d/".repeat(45), ""),
            raw(b"n", EntryType::GNULongName, b"", 0, "d/".repeat(300).as_bytes()),
            file("x", "")
        ]))
        .problem,
        Problem::TooDeep(256)
    );
}

#[test]
fn directories_that_names_imply_count_as_entries() {
    let deep = |depth: usize| format!("{}file", "d/".repeat(depth));
    assert_eq!(problem(&zip_of(&[(&deep(100), 0o644, b"")])).problem, Problem::TooMany(100));
    let three: Vec<_> = ["a", "b", "c"].iter().map(|top| file(&format!("{top}/{}", deep(40)), "")).collect();
    assert_eq!(problem(&tar_of(&three)).problem, Problem::TooMany(100));
    assert!(both(&tar_of(&three[..2])).1.is_ok());
    assert!(both(&zip_of(&[(&deep(99), 0o644, b"")])).1.is_ok());
}

#[test]
fn an_archive_that_was_cut_off_is_refused_wherever_it_was_cut() {
    let whole = tar_of(&[file("a", "hello"), file("b", &"x".repeat(1000))]);
    let packed = gzip(&whole);
    let zstd = ::zstd::encode_all(whole.as_slice(), 1).unwrap();
    for length in 513..whole.len() - 1024 {
        assert_eq!(problem(&whole[..length]).problem, Problem::Truncated, "{length}");
    }
    for length in 10..packed.len() {
        assert_eq!(problem(&packed[..length]).problem, Problem::Truncated, "{length}");
    }
    for length in 4..zstd.len() {
        assert!(check(&on_disk(&zstd[..length]), LIMITS).is_err(), "{length}");
    }
    let zip = zip_of(&[("a", 0o644, b"hello")]);
    for length in 4..zip.len() {
        assert!(check(&on_disk(&zip[..length]), LIMITS).is_err(), "{length}");
    }
}

#[test]
fn a_damaged_file_in_an_archive_is_noticed() {
    let mut zip = zip_of(&[("a", 0o644, b"hello hello hello")]);
    zip[36] ^= 0x10;
    assert_eq!(problem(&zip).entry.as_deref(), Some("a"));
    let mut packed = gzip(&tar_of(&[file("a", "hello")]));
    let at = packed.len() - 6;
    packed[at] ^= 1;
    assert!(matches!(problem(&packed).problem, Problem::Damaged(_)));
}

#[test]
fn an_encrypted_zip_or_one_of_another_method_says_what_to_do() {
    // Bit 0 of the flags, in the local header and in the central one.
    let mut zip = zip_of(&[("a", 0o644, b"hello")]);
    let central = zip.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    zip[6] |= 1;
    zip[central + 8] |= 1;
    assert_eq!(problem(&zip).problem, Problem::Encrypted);
    let mut zip = zip_of(&[("a", 0o644, b"hello")]);
    zip[8] = 14;
    zip[central + 10] = 14;
    assert!(matches!(problem(&zip).problem, Problem::Method(_)));
}

#[test]
fn a_hostile_name_is_shown_escaped_and_cut() {
    let name = format!("../\x1b[2J{}", "x".repeat(80));
    let said = problem(&tar_of(&[file(&name, "")])).to_string();
    assert!(said.contains("\\u{1b}[2J") && !said.contains('\x1b'), "{said}");
}

#[test]
fn pax_records_that_lie_about_their_length_are_refused() {
    for text in ["9999 path=x\n", "x path=x\n", "12 path=x\n", "5 a=b", "0 a=b\n", "11 size=-1\n", "3 =\n"] {
        let bytes = tar_of(&[raw(b"p", EntryType::XHeader, b"", 0, text.as_bytes()), file("x", "")]);
        assert!(matches!(check(&on_disk(&bytes), LIMITS), Err(ArchiveError::Bad(_))), "{text}");
    }
}

fn hostile_name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(".."),
        Just("."),
        Just(""),
        Just("a"),
        Just("b"),
        Just("l"),
        Just("dest"),
        Just("canary"),
        Just("outer"),
    ];
    proptest::collection::vec(part, 1..6).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_entries_writes_outside(entries in proptest::collection::vec((hostile_name(), hostile_name(), 0..4u8), 1..12)) {
        // Refused entries are left out one by one, so that what follows them is reached too.
        let mut taken: Vec<Vec<u8>> = Vec::new();
        for (name, target, kind) in &entries {
            taken.push(match kind {
                0 => file(name, "overwritten"),
                1 => link(name, target),
                2 => hard(name, target),
                _ => raw(name.as_bytes(), EntryType::Directory, b"", 0o755, b""),
            });
            if check(&on_disk(&tar_of(&taken)), LIMITS).is_err() {
                let bytes = tar_of(&taken);
                let yard = Yard::new();
                prop_assert!(unpack(&on_disk(&bytes), &Beneath::open(&yard.dest()).unwrap(), LIMITS).is_err());
                yard.assert_untouched();
                taken.pop();
            }
        }
        let (yard, done) = both(&tar_of(&taken));
        done.unwrap();
        // Whatever links came out, following them leads nowhere else.
        let inside = yard.dest().canonicalize().unwrap();
        let mut todo = vec![yard.dest()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if let Ok(real) = path.canonicalize() {
                    prop_assert!(real.starts_with(&inside), "{path:?} leads to {real:?}");
                }
                if path.symlink_metadata().unwrap().is_dir() {
                    todo.push(path);
                }
            }
        }
    }

    #[test]
    fn noise_in_an_archive_never_panics_or_escapes(at in 0..6000usize, noise in proptest::collection::vec(any::<u8>(), 1..40), zip in any::<bool>()) {
        let mut bytes = if zip {
            zip_of(&[("src/a", 0o644, b"hello"), ("run", 0o755, &[7; 3000]), ("l", 0o120_777, b"run")])
        } else {
            tar_of(&[file("src/a", "hello"), raw(b"run", EntryType::Regular, b"", 0o755, &[7; 3000]), link("l", "run"), hard("h", "run")])
        };
        let at = at % bytes.len();
        let end = (at + noise.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        let file = on_disk(&bytes);
        let yard = Yard::new();
        let checked = check(&file, LIMITS).is_ok();
        let unpacked = unpack(&file, &Beneath::open(&yard.dest()).unwrap(), LIMITS).is_ok();
        // A name may be too strange for the file system but never the other way about.
        prop_assert!(checked || !unpacked);
        yard.assert_untouched();
    }
}

#[test]
fn builders_of_the_crate_itself_are_read() {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    let name = std::ffi::OsStr::from_bytes(b"dir/caf\xe9");
    builder.append_data(&mut header, name, &b"hello"[..]).unwrap();
    let (_, done) = both(&builder.into_inner().unwrap());
    assert_eq!(done.unwrap().bytes, 5);
}
