//! What was begun in a bucket and may never be finished: versions that are being made, and uploads in
//! parts. Nothing in a bucket says whose they are, so each has a note on this disk, which is there
//! before the first byte is at the service and goes when nothing is left to be tidied.
//!
//! Whoever is at it holds a lock on its note, which ends with the process. A note that nobody holds
//! was left by somebody who is gone, in this process or in an earlier one: its finder tidies up.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{id::ProviderId, time::Timestamp},
    storage::layout::VersionDir,
};

/// What the names of notes begin with that are being written.
const UNNAMED: &str = ".";

/// Where a version lies.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    provider: String,
}

/// An upload in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentParts {
    pub key: String,
    /// The service's name for it; unknown while it is being begun.
    pub upload: Option<String>,
}

/// A version that is being made in a bucket. Dropped, it leaves its note to be found.
#[derive(Debug)]
pub struct Making {
    dir: VersionDir,
    note: Note,
}

/// An upload in parts that is under way. Dropped, it leaves its note to be found.
#[derive(Debug)]
pub struct Sending {
    note: Note,
    parts: SentParts,
}

/// A file that this holds the lock of.
#[derive(Debug)]
struct Note {
    file: File,
    path: PathBuf,
}

impl Making {
    /// Notes, durably, that a version is about to be made in a bucket of `provider`.
    pub fn begin(dir: &VersionDir, provider: &ProviderId) -> io::Result<Self> {
        dir.create()?;
        let note = Note::create(dir.making(), &Place { provider: provider.to_string() })?;
        Ok(Self { dir: dir.clone(), note })
    }

    /// Finds a version that somebody began to make and is not at any more.
    pub fn abandoned(dir: &VersionDir) -> io::Result<Option<Self>> {
        Ok(Note::take(&dir.making())?.map(|note| Self { dir: dir.clone(), note }))
    }

    /// Returns since when it is as it is.
    pub fn since(&self) -> io::Result<Timestamp> {
        self.note.since()
    }

    /// Notes that the version is there, known to everybody.
    pub fn is_made(self) -> io::Result<()> {
        fs::rename(self.dir.making(), self.dir.bucket())
    }
}

/// Notes where a version lies that is there, if that was not noted as it was made.
pub fn note_place(dir: &VersionDir, provider: &ProviderId) -> io::Result<()> {
    if dir.bucket().exists() || dir.making().exists() || !dir.root().exists() {
        return Ok(());
    }
    Note::create(dir.bucket(), &Place { provider: provider.to_string() }).map(drop)
}

/// Returns the provider that a version lies with, made or not; `None` when that was never noted, or a
/// crash spoiled it.
pub fn provider_of(dir: &VersionDir) -> io::Result<Option<ProviderId>> {
    for path in [dir.bucket(), dir.making()] {
        if let Some(place) = last::<Place>(&path)? {
            return Ok(place.provider.parse().ok());
        }
    }
    Ok(None)
}

impl Sending {
    /// Notes, durably, that an upload of parts to `key` is about to be begun.
    pub fn begin(dir: &VersionDir, key: &str) -> io::Result<Self> {
        /// Names that this process has given.
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let sending = dir.sending();
        DirBuilder::new().recursive(true).mode(0o700).create(&sending)?;
        let parts = SentParts { key: key.to_owned(), upload: None };
        let note = loop {
            let path = sending.join(format!("{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed)));
            // An earlier process may have had the same number.
            if !path.exists() {
                break Note::create(path, &parts)?;
            }
        };
        sync_dir(dir.root())?;
        Ok(Self { note, parts })
    }

    /// Notes what the service calls it.
    pub fn is_called(&mut self, upload: &str) -> io::Result<()> {
        self.parts.upload = Some(upload.to_owned());
        self.note.add(&self.parts)
    }

    /// Forgets it: the service has joined the parts, or has none any more.
    pub fn is_over(self) -> io::Result<()> {
        self.note.remove()
    }

    pub fn parts(&self) -> &SentParts {
        &self.parts
    }

    /// Returns where its note is.
    pub fn note(&self) -> &Path {
        &self.note.path
    }

    /// Returns since when it is as it is.
    pub fn since(&self) -> io::Result<Timestamp> {
        self.note.since()
    }
}

/// Uploads in parts of one version.
#[derive(Debug, Default)]
pub struct Sendings {
    /// Those that nobody is at any more.
    pub abandoned: Vec<Sending>,
    /// Those that somebody is at.
    pub under_way: Vec<SentParts>,
}

/// Finds the uploads in parts of a version.
pub fn sendings(dir: &VersionDir) -> io::Result<Sendings> {
    sendings_beside(dir, &[])
}

/// Finds the uploads in parts of a version but for those whose notes, which `own` are, the caller holds.
pub fn sendings_beside(dir: &VersionDir, own: &[PathBuf]) -> io::Result<Sendings> {
    let mut found = Sendings::default();
    let entries = match fs::read_dir(dir.sending()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNNAMED) {
            continue;
        }
        let path = entry.path();
        if own.contains(&path) {
            continue;
        }
        let note = Note::take(&path)?;
        match (note, last(&path)?) {
            (Some(note), Some(parts)) => found.abandoned.push(Sending { note, parts }),
            (None, Some(parts)) => found.under_way.push(parts),
            // Ended since.
            (_, None) => {}
        }
    }
    Ok(found)
}

impl Note {
    /// Writes a note and gives it its name once it is whole and held.
    fn create(path: PathBuf, what: &impl Serialize) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unnamed = path.with_file_name(format!("{UNNAMED}{}-{name}", std::process::id()));
        let file = File::options().read(true).append(true).create(true).open(&unnamed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut note = Self { file, path };
        note.add(what)?;
        fs::rename(&unnamed, &note.path)?;
        note.path.parent().map_or(Ok(()), sync_dir)?;
        Ok(note)
    }

    /// Takes a note that nobody holds; `None` when somebody does, or there is none.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::options().read(true).append(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            taken => taken?,
        }
        // Removed or renamed by whoever held it, between the two.
        Ok(path.exists().then(|| Self { file, path: path.to_owned() }))
    }

    /// Adds a line, which stands for all before it.
    fn add(&mut self, what: &impl Serialize) -> io::Result<()> {
        self.file.write_all(format!("{}\n", serde_json::to_string(what)?).as_bytes())?;
        self.file.sync_all()
    }

    fn since(&self) -> io::Result<Timestamp> {
        let since = self.file.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
    }

    fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            // With the version.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // A program that is just being started holds the file as well, for a moment: closing is not letting go.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Returns the last line of a note that is whole; `None` when there is none.
fn last<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    Ok(text.lines().rev().find_map(|line| serde_json::from_str(line).ok()))
}

/// Waits until the names in a directory are on the disk.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::layout::DataDir;

    fn version() -> (tempfile::TempDir, VersionDir) {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(dir.path()).unwrap();
        let ids = ("tabc123".parse().unwrap(), "ds0123456789abc".parse().unwrap(), "v000001".parse().unwrap());
        let version = data.version(&ids.0, &ids.1, &ids.2);
        version.create().unwrap();
        (dir, version)
    }

    #[test]
    fn a_version_is_abandoned_only_when_nobody_is_at_it_any_more() {
        let (_dir, version) = version();
        assert!(Making::abandoned(&version).unwrap().is_none());
        assert_eq!(provider_of(&version).unwrap(), None);
        let provider: ProviderId = "spl0123456789ab".parse().unwrap();
        let making = Making::begin(&version, &provider).unwrap();
        assert!(Making::abandoned(&version).unwrap().is_none());
        drop(making);
        let found = Making::abandoned(&version).unwrap().unwrap();
        assert!(found.since().unwrap().0 > 0);
        assert!(Making::abandoned(&version).unwrap().is_none(), "its finder is at it");
        assert_eq!(provider_of(&version).unwrap(), Some(provider.clone()));
        found.is_made().unwrap();
        assert!(Making::abandoned(&version).unwrap().is_none());
        assert_eq!(provider_of(&version).unwrap(), Some(provider));
    }

    #[test]
    fn an_upload_is_found_by_its_last_note_until_it_is_over() {
        let (_dir, version) = version();
        let mut one = Sending::begin(&version, "k/one").unwrap();
        let two = Sending::begin(&version, "k/two").unwrap();
        one.is_called("a name").unwrap();
        let found = sendings(&version).unwrap();
        assert_eq!((found.abandoned.len(), found.under_way.len()), (0, 2));
        drop(one);
        let mut found = sendings(&version).unwrap();
        assert_eq!(found.under_way, [SentParts { key: "k/two".to_owned(), upload: None }]);
        let left = found.abandoned.pop().unwrap();
        assert_eq!(left.parts(), &SentParts { key: "k/one".to_owned(), upload: Some("a name".to_owned()) });
        left.is_over().unwrap();
        two.is_over().unwrap();
        let found = sendings(&version).unwrap();
        assert_eq!((found.abandoned.len(), found.under_way.len()), (0, 0));
    }

    #[test]
    fn a_line_that_a_crash_cut_off_leaves_the_one_before() {
        let (_dir, version) = version();
        drop(Sending::begin(&version, "k").unwrap());
        let path = fs::read_dir(version.sending()).unwrap().next().unwrap().unwrap().path();
        File::options().append(true).open(&path).unwrap().write_all(b"{\"key\":\"k\",\"upl").unwrap();
        let found = sendings(&version).unwrap();
        assert_eq!(found.abandoned[0].parts(), &SentParts { key: "k".to_owned(), upload: None });
    }
}
