//! A whole tree of files in one tar stream.
//!
//! Nothing of it is in the version before all of it has come and every entry was held to the rules
//! that archives are held to everywhere: so a stream that is refused or cut off leaves the version
//! as it was. What names there are is known only to the directory that is built, so a million of
//! them take no memory.

#[cfg(test)]
mod tests;

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
