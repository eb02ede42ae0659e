//! A whole directory of this host becoming files of a version.
//!
//! What a run wrote is adopted: if nobody can write to it any more, its files become blobs as they
//! are, and are cloned or copied otherwise.
//! What an admin points at is imported: it stays where it is and may change any time, so it is
//! cloned or copied, and what changed meanwhile is read again.

use std::{fs::File, io, ops::ControlFlow, sync::Arc};

use super::{
    Chosen, Staged, Tree, TreeError, VersionFiles,
    chosen::Place,
    intake::{Failed, Intake, Refused},
    merge::merge,
    watch::Watch,
};
use crate::{
    domain::{
        content::{Content, EntryKind, Totals},
        user_path::{UserPath, shown},
    },
    fault,
    storage::{
        archive::rules::stays_inside,
        beneath::{Beneath, Kind},
        descent::{Met, Visitor, descend},
    },
};

/// How often a file that changes while it is read is read again.
const TRIES: usize = 3;
/// Most entries left out that are named.
const MAX_NAMED: usize = 100;

/// What came of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirTaken {
    /// Files and links that are in the version now.
    pub totals: Totals,
    /// What they took the place of.
    pub replaced: Totals,
    /// How many entries were left out.
    pub left_out: u64,
    /// The first hundred of them.
    pub named: Vec<LeftOut>,
}

/// An entry that cannot be in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// From the directory on, escaped and cut.
    pub path: String,
    pub why: Unfit,
}

/// Why an entry cannot be in a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("a link that leads out of the directory")]
    LinkOut,
    #[error("a device, a FIFO or a socket")]
    Special,
    #[error("a path longer than any may be")]
    TooLong,
}

/// Why a directory was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    #[error("“{path}” cannot be read: {error}")]
    Unreadable {
        /// From the directory on, escaped and cut.
        path: String,
        error: io::Error,
    },
    #[error("“{0}” changes while it is read")]
    Changing(UserPath),
    /// One that was chosen.
    #[error("“{0}” is not there")]
    Missing(UserPath),
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Whoever watched broke it off.
    #[error("it was ended before it was done")]
    Stopped,
}

impl From<io::Error> for DirError {
    fn from(error: io::Error) -> Self {
        Self::Tree(error.into())
    }
}

/// Whether somebody may still have files open for writing that a run left, such as another run that
/// was handed an open one through a socket. A blob must not be such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Nobody: the files themselves may become blobs.
    Gone,
    /// Perhaps: what they hold now is cloned or copied.
    Perhaps,
}

/// Takes over what a run left in `source` into a draft. The files keep the names that they have
/// there, for the caller to remove when the version is safe. Ended
/// anywhere, it can be begun again and goes through what was taken quickly. Directories without
/// files are not kept. Not durable when it returns, see `Blobs::durable`.
pub fn adopt_dir(
    source: &Beneath,
    version: &VersionFiles,
    writers: Writers,
    watch: Watch<'_>,
) -> Result<DirTaken, DirError> {
    let tree = version.open()?;
    let mut taken = take(source, &tree, &UserPath::root(), Chosen::all(), writers.into(), watch)?;
    // What stood there was put by an adoption that was ended.
    taken.replaced = Totals::default();
    fault::point("dataset.adopt.done");
    Ok(taken)
}

/// Takes over what a run left in `source` like [`adopt_dir`], aside: for a version whose files are
/// elsewhere, to be sent there.
pub fn adopt_aside(
    source: &Beneath,
    version: &VersionFiles,
    writers: Writers,
    watch: Watch<'_>,
) -> Result<(Staged, DirTaken), DirError> {
    let staged = version.stage()?;
    let taken = take(source, staged.tree(), &UserPath::root(), Chosen::all(), writers.into(), watch)?;
    Ok((staged, taken))
}

/// Takes a copy of all files in `source` aside, beneath the directory `prefix`, as [`import_dir`] does
/// before it moves them into a version with [`join_dir`].
pub fn stage_dir(
    source: &Beneath,
    version: &VersionFiles,
    prefix: &UserPath,
    watch: Watch<'_>,
) -> Result<(Staged, DirTaken), DirError> {
    stage_chosen(source, version, prefix, Chosen::all(), watch)
}

/// Takes a copy of what was chosen in `source` aside as [`stage_dir`] does of all of it. What was chosen keeps
/// its path beneath `source`.
///
/// # Errors
/// As [`import_dir`]; [`DirError::Missing`] for the first that is not there.
pub fn stage_chosen(
    source: &Beneath,
    version: &VersionFiles,
    prefix: &UserPath,
    chosen: Chosen,
    watch: Watch<'_>,
) -> Result<(Staged, DirTaken), DirError> {
    let staged = version.stage()?;
    let taken = take(source, staged.tree(), prefix, chosen, How::Copy, watch)?;
    fault::point("dataset.import.read");
    Ok((staged, taken))
}

/// Moves what was staged, `files` files and links, into a draft that nobody else works on, and returns
/// what it took the place of.
pub fn join_dir(staged: &Staged, version: &VersionFiles, files: u64) -> Result<Totals, TreeError> {
    merge(staged, &version.open()?, files)
}

/// Takes a copy of all files in `source` into a draft, beneath the directory `prefix`. Shares their
/// bytes with them where the file system can. No link is followed: those that stay inside are kept.
/// The version is as it was after any error. Not durable when it returns, see `Blobs::durable`.
///
/// # Errors
/// [`DirError::Unreadable`] for the first that cannot be read, [`DirError::Changing`].
pub fn import_dir(
    source: &Beneath,
    version: &VersionFiles,
    prefix: &UserPath,
    watch: Watch<'_>,
) -> Result<DirTaken, DirError> {
    let (staged, mut taken) = stage_dir(source, version, prefix, watch)?;
    taken.replaced = join_dir(&staged, version, taken.totals.files)?;
    Ok(taken)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Makes the file itself a blob.
    Adopt,
    /// Copies what the file holds at the moment, whether it changes meanwhile or not.
    Snapshot,
    /// Copies it as it was at one moment.
    Copy,
}

impl From<Writers> for How {
    fn from(writers: Writers) -> Self {
        match writers {
            Writers::Gone => Self::Adopt,
            Writers::Perhaps => Self::Snapshot,
        }
    }
}

fn take(
    source: &Beneath,
    tree: &Tree,
    prefix: &UserPath,
    chosen: Chosen,
    how: How,
    watch: Watch<'_>,
) -> Result<DirTaken, DirError> {
    let intake = Intake::new(tree.blobs().clone(), tree.root())?;
    let source = Arc::new(source.reopen()?);
    let taken = DirTaken::default();
    let mut visit = Visit { intake: &intake, tree, source: &source, prefix, chosen, how, watch, taken };
    let walked = intake.run(|| descend(&source, &mut visit));
    let Visit { taken, chosen, .. } = visit;
    if let Some((path, refused)) = intake.failure() {
        return Err(as_error(path, prefix, refused));
    }
    walked?;
    match chosen.missing() {
        Some(path) => Err(DirError::Missing(path)),
        None => Ok(taken),
    }
}

fn as_error(path: UserPath, prefix: &UserPath, refused: Refused) -> DirError {
    let rest = path.as_bytes()[prefix.as_bytes().len()..].to_vec();
    let path_there = shown(rest.strip_prefix(b"/").unwrap_or(&rest));
    match refused {
        Refused::Unreadable(error) => DirError::Unreadable { path: path_there, error },
        Refused::Changing => DirError::Changing(path),
        Refused::Tree(error) => error.into(),
        // Only streams are told so.
        Refused::Twice => TreeError::IsDirectory(path).into(),
    }
}

struct Visit<'a> {
    intake: &'a Intake,
    tree: &'a Tree,
    source: &'a Arc<Beneath>,
    prefix: &'a UserPath,
    chosen: Chosen,
    how: How,
    watch: Watch<'a>,
    taken: DirTaken,
}

impl Visit<'_> {
    fn file(&mut self, from: UserPath, to: &UserPath, bytes: u64, mode: u32) -> Result<(), DirError> {
        let source = self.source.clone();
        let executable = mode & 0o111 != 0;
        let how = self.how;
        let handed = self.intake.hand(
            to,
            Box::new(move |tree| match how {
                How::Adopt => adopt(&source, &from, tree, executable),
                How::Snapshot => snapshot(&source, &from, tree, executable),
                How::Copy => copy(&source, &from, tree),
            }),
        );
        // What a worker met is told at the end, in place of this.
        handed.map_err(|Failed| DirError::Stopped)?;
        self.count(bytes)
    }

    fn link(&mut self, met: &Met<'_>, to: &UserPath) -> Result<(), DirError> {
        let unreadable = |error| DirError::Unreadable { path: shown(met.path), error };
        let target = met.dir.link_target(met.name).map_err(unreadable)?;
        let inside = UserPath::from_bytes(met.path).is_ok_and(|path| stays_inside(&path, &target).is_ok());
        if !inside {
            self.leave_out(met.path, Unfit::LinkOut);
            return Ok(());
        }
        self.tree.put(to, &EntryKind::Link(target))?;
        self.count(0)
    }

    fn count(&mut self, bytes: u64) -> Result<(), DirError> {
        self.taken.totals.files += 1;
        self.taken.totals.bytes += bytes;
        match (self.watch)(self.taken.totals) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DirError::Stopped),
        }
    }

    fn leave_out(&mut self, path: &[u8], why: Unfit) {
        self.taken.left_out += 1;
        if self.taken.named.len() < MAX_NAMED {
            self.taken.named.push(LeftOut { path: shown(path), why });
        }
    }
}

impl Visitor for Visit<'_> {
    type Error = DirError;

    fn meet(&mut self, met: &Met<'_>) -> Result<bool, DirError> {
        match self.chosen.place(met.path) {
            Place::Inside => {}
            Place::OnTheWay => return Ok(true),
            Place::Outside => return Ok(false),
        }
        let whole = [self.prefix.as_bytes(), b"/", met.path].concat();
        let whole = if self.prefix.is_root() { &whole[1..] } else { &whole };
        let (Ok(from), Ok(to)) = (UserPath::from_bytes(met.path), UserPath::from_bytes(whole)) else {
            self.leave_out(met.path, Unfit::TooLong);
            return Ok(false);
        };
        match met.inode.kind {
            Kind::Directory => {}
            Kind::File => self.file(from, &to, met.inode.bytes, met.inode.mode)?,
            Kind::Link => self.link(met, &to)?,
            Kind::Other => self.leave_out(met.path, Unfit::Special),
        }
        Ok(true)
    }

    fn fail(&mut self, path: &[u8], error: io::Error) -> Result<(), DirError> {
        // What nobody chose need not be readable.
        if self.chosen.place(path) == Place::Outside {
            return Ok(());
        }
        Err(DirError::Unreadable { path: shown(path), error })
    }
}

fn adopt(source: &Beneath, from: &UserPath, tree: &Tree, executable: bool) -> Result<Content, Refused> {
    let parent = source.dir(&from.parent().unwrap_or_default()).map_err(Refused::Unreadable)?;
    match tree.blobs().adopt(&parent, from.name().unwrap_or_default(), executable) {
        Err(TreeError::Io(error)) if is_theirs(&error) => Err(Refused::Unreadable(error)),
        adopted => Ok(adopted?),
    }
}

/// Stores what a file holds. One that still changes is not refused: its run is over, and whoever goes
/// on writing could keep the run's outputs from ever becoming a version.
fn snapshot(source: &Beneath, from: &UserPath, tree: &Tree, executable: bool) -> Result<Content, Refused> {
    let (file, _) = source.file(from).map_err(Refused::Unreadable)?;
    match tree.blobs().clone_file(&file, executable) {
        Err(TreeError::Io(error)) if is_theirs(&error) => Err(Refused::Unreadable(error)),
        content => Ok(content?),
    }
}

fn copy(source: &Beneath, from: &UserPath, tree: &Tree) -> Result<Content, Refused> {
    settled(source, from, |file, executable| match tree.blobs().clone_file(file, executable) {
        Err(TreeError::Io(error)) if is_theirs(&error) => Err(Refused::Unreadable(error)),
        content => Ok(content?),
    })
}

/// Reads a file as it was at one moment, as far as its size and time tell: again if it has changed
/// since `read` began.
fn settled(
    source: &Beneath,
    from: &UserPath,
    mut read: impl FnMut(&File, bool) -> Result<Content, Refused>,
) -> Result<Content, Refused> {
    for _ in 0..TRIES {
        let (file, _) = source.file(from).map_err(Refused::Unreadable)?;
        let before = stamp(&file).map_err(Refused::Unreadable)?;
        let content = read(&file, before.executable)?;
        if stamp(&file).map_err(Refused::Unreadable)? == before && content.bytes == before.bytes {
            return Ok(content);
        }
    }
    Err(Refused::Changing)
}

/// Returns whether an error is about a file that was read, as far as that can be told.
fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::StaleNetworkFileHandle
    )
}

/// What changes when a file does.
#[derive(PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: std::time::SystemTime,
    executable: bool,
}

fn stamp(file: &File) -> io::Result<Stamp> {
    use std::os::unix::fs::PermissionsExt;
    let meta = file.metadata()?;
    let executable = meta.permissions().mode() & 0o111 != 0;
    Ok(Stamp { bytes: meta.len(), modified: meta.modified()?, executable })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, symlink},
        },
        path::Path,
        process::Command,
    };

    use super::*;
    use crate::storage::dataset::testing::{all, path, yard};

    const ON: Watch<'_> = &|_| ControlFlow::Continue(());

    /// What a run might leave: files deep and plain, one executable, links in and out, an empty
    /// directory, a FIFO, a name that is no text.
    fn outputs() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("models/best")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        fs::write(at("models/best/weights"), vec![7; 3 << 20]).unwrap();
        fs::write(at("run.sh"), "#!").unwrap();
        fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(at("zero"), "").unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        symlink("best/weights", at("models/latest")).unwrap();
        symlink("/etc/passwd", at("models/out")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        dir
    }

    fn beneath(dir: &Path) -> Beneath {
        Beneath::open(dir).unwrap()
    }

    fn assert_taken(version: &VersionFiles, prefix: &str, taken: &DirTaken) {
        let names: Vec<_> = all(version).iter().map(|entry| entry.path.to_text()).collect();
        let wanted = ["caf\u{fffd}", "models/best/weights", "models/latest", "run.sh", "zero"];
        assert_eq!(names, wanted.map(|name| format!("{prefix}{name}")));
        assert_eq!(taken.totals, Totals { files: 5, bytes: (3 << 20) + 3 });
        let mut left: Vec<_> = taken.named.iter().map(|left| (left.path.as_str(), left.why)).collect();
        left.sort_unstable_by_key(|left| left.0);
        assert_eq!((taken.left_out, left), (2, vec![("models/out", Unfit::LinkOut), ("pipe", Unfit::Special)]));
        let (_, content) = version.open_file(&path(&format!("{prefix}run.sh"))).unwrap();
        assert!(content.executable);
    }

    #[test]
    fn what_a_run_left_is_taken_without_being_copied_and_once_more_changes_nothing() {
        let (dir, yard) = (outputs(), yard());
        let version = yard.version(1);
        let inode = fs::metadata(dir.path().join("models/best/weights")).unwrap().ino();
        let taken = adopt_dir(&beneath(dir.path()), &version, Writers::Gone, ON).unwrap();
        assert_taken(&version, "", &taken);
        // The file systems may differ; then it was copied.
        let there = fs::metadata(version.tree().join("models/best/weights")).unwrap();
        if there.dev() == fs::metadata(dir.path()).unwrap().dev() {
            assert_eq!(there.ino(), inode);
        }
        let before = all(&version);
        assert_eq!(adopt_dir(&beneath(dir.path()), &version, Writers::Gone, ON).unwrap(), taken);
        assert_eq!(all(&version), before);
        assert_eq!(yard.unfinished(), Vec::<String>::new());
    }

    #[test]
    fn whoever_may_still_write_to_a_file_that_a_run_left_does_not_reach_the_version() {
        let (yard, at) = (yard(), path("model"));
        // On one file system with the blobs, where the file itself could become one.
        let dir = tempfile::tempdir_in(yard.data.root()).unwrap();
        let version = yard.version(1);
        fs::write(dir.path().join("model"), "weights").unwrap();
        let open = fs::OpenOptions::new().write(true).open(dir.path().join("model")).unwrap();
        let taken = adopt_dir(&beneath(dir.path()), &version, Writers::Perhaps, ON).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&open, b"changed", 0).unwrap();
        assert_eq!(io::read_to_string(version.open_file(&at).unwrap().0).unwrap(), "weights");
        // It is still there, for a next try, which takes what it holds then.
        assert_eq!(adopt_dir(&beneath(dir.path()), &version, Writers::Perhaps, ON).unwrap(), taken);
        assert_eq!(io::read_to_string(version.open_file(&at).unwrap().0).unwrap(), "changed");
    }

    #[test]
    fn an_adoption_that_was_ended_is_completed_by_the_next() {
        let (dir, yard) = (outputs(), yard());
        let version = yard.version(1);
        let ended = adopt_dir(&beneath(dir.path()), &version, Writers::Gone, &|so_far| {
            if so_far.files == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(ended, Err(DirError::Stopped)));
        let taken = adopt_dir(&beneath(dir.path()), &version, Writers::Gone, ON).unwrap();
        assert_taken(&version, "", &taken);
    }

    #[test]
    fn an_imported_directory_stays_as_it_was_and_may_change_afterwards() {
        let (dir, yard) = (outputs(), yard());
        let version = yard.version(1);
        version.put_small(&path("in/zero"), b"old", false).unwrap();
        let mode = fs::metadata(dir.path().join("run.sh")).unwrap().permissions().mode();
        let taken = import_dir(&beneath(dir.path()), &version, &path("in"), ON).unwrap();
        assert_eq!(taken.replaced, Totals { files: 1, bytes: 3 });
        assert_taken(&version, "in/", &taken);
        assert_eq!(fs::metadata(dir.path().join("run.sh")).unwrap().permissions().mode(), mode);
        fs::write(dir.path().join("run.sh"), "changed").unwrap();
        let (file, _) = version.open_file(&path("in/run.sh")).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "#!");
    }

    #[test]
    fn only_what_was_chosen_is_taken_and_keeps_its_path() {
        let (dir, yard) = (outputs(), yard());
        let take = |chosen: &[&str]| {
            let version = yard.version(1);
            let chosen = Chosen::only(chosen.iter().map(|name| path(name)));
            let (staged, taken) = stage_chosen(&beneath(dir.path()), &version, &path("in"), chosen, ON)?;
            join_dir(&staged, &version, taken.totals.files)?;
            let names: Vec<_> = all(&version).iter().map(|entry| entry.path.to_text()).collect();
            Ok::<_, DirError>((names, taken.totals.files, taken.left_out))
        };
        let (names, files, left_out) = take(&["models/best", "zero", "pipe"]).unwrap();
        assert_eq!(names, ["in/models/best/weights", "in/zero"]);
        assert_eq!((files, left_out), (2, 1));
        assert!(matches!(take(&["zero", "models/none"]), Err(DirError::Missing(gone)) if gone == path("models/none")));
        // A link is an entry like any other, and no way to what it leads to.
        assert!(matches!(take(&["models/out/passwd"]), Err(DirError::Missing(_))));
    }

    #[test]
    fn an_import_that_is_ended_leaves_the_version_as_it_was() {
        let (dir, yard) = (outputs(), yard());
        let version = yard.version(1);
        let ended = import_dir(&beneath(dir.path()), &version, &path(""), &|_| ControlFlow::Break(()));
        assert!(matches!(ended, Err(DirError::Stopped)));
        assert!(all(&version).is_empty());
        assert_eq!(yard.unfinished(), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_refused_when_it_goes_on() {
        let (dir, yard) = (tempfile::tempdir().unwrap(), yard());
        let source = beneath(dir.path());
        let log = dir.path().join("log");
        let append = || {
            let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
            io::Write::write_all(&mut file, b"more").unwrap();
        };
        for (changes, wanted) in [(0, Some(3)), (1, Some(7)), (2, Some(11)), (3, None)] {
            fs::write(&log, "one").unwrap();
            let mut reads = 0;
            let result = settled(&source, &path("log"), |file, executable| {
                let content = yard.team.blobs().clone_file(file, executable)?;
                reads += 1;
                if reads <= changes {
                    append();
                }
                Ok(content)
            });
            match wanted {
                Some(bytes) => assert_eq!(result.unwrap().bytes, bytes),
                None => assert!(matches!(result, Err(Refused::Changing))),
            }
        }
    }

    #[test]
    fn a_file_that_may_not_be_read_is_named() {
        let (dir, yard) = (tempfile::tempdir().unwrap(), yard());
        let (path_there, refused) = (path("in/secret"), Refused::Unreadable(io::ErrorKind::PermissionDenied.into()));
        let said = as_error(path_there, &path("in"), refused).to_string();
        assert_eq!(said, "“secret” cannot be read: permission denied");
        fs::create_dir(dir.path().join("shut")).unwrap();
        fs::set_permissions(dir.path().join("shut"), fs::Permissions::from_mode(0o000)).unwrap();
        // Root may read all.
        if !rustix::process::geteuid().is_root() {
            let result = import_dir(&beneath(dir.path()), &yard.version(1), &path(""), ON);
            assert!(matches!(&result, Err(DirError::Unreadable { path, .. }) if path == "shut"), "{result:?}");
        }
    }
}
