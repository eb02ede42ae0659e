//! Makes a run's working directory, once.
//!
//! A workspace is filled under a name of its own, opened to every user, made durable, and renamed
//! into place. So a directory at the destination means that it is complete, and preparing again,
//! after a crash or for a second attempt, finds it done: an attempt keeps what the one before it
//! wrote.

use std::{
    fs::{self, File},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    path::Path,
};

use super::{
    archive::{self, ArchiveError, ArchiveLimits, BadArchive},
    artifact::Artifacts,
    beneath::{Beneath, Kind, parent_of},
    git::{GitError, GitFetch},
};

/// Up to this many files are made durable one by one. Beyond that the whole file system is asked,
/// which may have to wait for what running jobs write.
const SYNC_ONE_BY_ONE: u64 = 1000;

/// What a workspace is made of.
pub enum Contents<'a> {
    /// Nothing: an empty directory to work in.
    Nothing,
    /// An archive, as `UploadStore::archive` opens it.
    Archive { file: &'a File, limits: ArchiveLimits },
    /// A commit of a repository.
    Git(GitFetch<'a>),
}

/// A workspace that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The commit, where it came from git.
    pub commit: Option<String>,
}

/// Why a workspace could not be made. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error(transparent)]
    Archive(BadArchive),
    #[error(transparent)]
    Git(GitError),
    #[error("the disk is full")]
    DiskFull,
    #[error("the workspace cannot be written")]
    Io(#[source] io::Error),
}

impl From<io::Error> for WorkspaceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<ArchiveError> for WorkspaceError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Bad(bad) => Self::Archive(bad),
            ArchiveError::Io(error) => error.into(),
        }
    }
}

impl From<GitError> for WorkspaceError {
    fn from(error: GitError) -> Self {
        match error {
            GitError::DiskFull => Self::DiskFull,
            GitError::Io(error) => error.into(),
            error => Self::Git(error),
        }
    }
}

/// Makes the workspace at `dest`, whose parent is there, or finds it made. Blocks until it is done;
/// only one caller at a time may prepare the same `dest`.
pub fn prepare(dest: &Path, contents: &Contents<'_>) -> Result<Prepared, WorkspaceError> {
    let (parent, name) = parent_of(dest)?;
    let beside = |suffix: &str| [b".", name.as_slice(), suffix.as_bytes()].concat();
    let commit_note = beside(".commit");
    if parent.facts_of(&name).is_ok_and(|facts| facts.kind == Kind::Directory) {
        return Ok(Prepared { commit: read_note(dest, &commit_note)? });
    }
    remove_unfinished(&parent, &beside(".new-"))?;
    // A git that outlived a killed daemon may still write to the name that it was given.
    let unfinished = beside(&format!(".new-{:016x}", RandomState::new().build_hasher().finish()));
    let made = fill(&parent, dest, &unfinished, contents).and_then(|commit| {
        if let Some(commit) = &commit {
            parent.remove_file(&commit_note)?;
            let mut note = parent.new_file(&commit_note, 0o600)?;
            note.write_all(commit.as_bytes())?;
            note.sync_all()?;
        }
        crate::fault::point("workspace.before_rename");
        match parent.move_to_new(&unfinished, &parent, &name) {
            // Somebody put a file into a notebook that was never started: it is there, and no longer empty.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && matches!(contents, Contents::Nothing) => {
                parent.remove_tree(&unfinished)?;
            }
            moved => moved?,
        }
        parent.sync()?;
        Ok(Prepared { commit })
    });
    if made.is_err() {
        // The first error says more than a failure to clean up after it, and the next try cleans up.
        let _ = parent.remove_tree(&unfinished);
    }
    made
}

/// Removes what tries that never came to an end have left.
fn remove_unfinished(parent: &Beneath, prefix: &[u8]) -> io::Result<()> {
    let mut found = Vec::new();
    parent.each_name(|name| {
        if name.starts_with(prefix) {
            found.push(name.to_vec());
        }
        Ok(())
    })?;
    found.iter().try_for_each(|name| parent.remove_tree(name))
}

fn fill(
    parent: &Beneath,
    dest: &Path,
    unfinished: &[u8],
    contents: &Contents<'_>,
) -> Result<Option<String>, WorkspaceError> {
    let dir = parent.make_dir(unfinished)?;
    let path = dest.with_file_name(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(unfinished));
    let commit = match contents {
        Contents::Nothing => None,
        Contents::Archive { file, limits } => {
            archive::unpack(file, &dir, *limits)?;
            None
        }
        Contents::Git(fetch) => {
            let commit = fetch.run(&path)?;
            open_to_all(&path)?;
            Some(commit)
        }
    };
    make_durable(&path, &dir)?;
    Ok(commit)
}

/// Lets every user read and write everything: nobody knows which one the container runs as.
fn open_to_all(root: &Path) -> io::Result<()> {
    Artifacts::open(root)?.walk(|dir, name, _| {
        dir.open_to_all(name)?;
        Ok(true)
    })
}

fn make_durable(root: &Path, dir: &Beneath) -> io::Result<()> {
    let tree = Artifacts::open(root)?;
    if !tree.size(SYNC_ONE_BY_ONE)?.complete {
        return dir.sync_file_system();
    }
    tree.walk(|dir, name, entry| {
        match entry.facts.kind {
            Kind::File => tree.file(&entry.path)?.0.sync_all()?,
            Kind::Directory => dir.dir(&one_name(name)?)?.sync()?,
            Kind::Link | Kind::Other => {}
        }
        Ok(true)
    })?;
    dir.sync()
}

fn one_name(name: &[u8]) -> io::Result<crate::domain::user_path::UserPath> {
    crate::domain::user_path::UserPath::root().join(name).map_err(io::Error::other)
}

fn read_note(dest: &Path, note: &[u8]) -> io::Result<Option<String>> {
    let path = dest.with_file_name(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(note));
    match fs::read_to_string(path) {
        Ok(commit) => Ok(Some(commit)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::atomic::AtomicBool};

    use super::*;
    use crate::storage::git::GitLimits;

    fn archive(entries: &[(&str, &str)]) -> File {
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_mode(0o755);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn from(file: &File) -> Contents<'_> {
        Contents::Archive { file, limits: ArchiveLimits::default() }
    }

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_workspace_is_made_once_and_keeps_what_an_attempt_wrote() {
        let run = tempfile::tempdir().unwrap();
        let dest = run.path().join("workspace");
        let file = archive(&[("train.py", "print"), ("src/a", "x")]);
        assert_eq!(prepare(&dest, &from(&file)).unwrap(), Prepared { commit: None });
        fs::write(dest.join("checkpoint"), "1").unwrap();
        fs::remove_file(dest.join("train.py")).unwrap();
        prepare(&dest, &from(&file)).unwrap();
        assert!(dest.join("checkpoint").exists() && !dest.join("train.py").exists());
        assert_eq!(names(run.path()), ["workspace"]);
    }

    #[test]
    fn what_a_crash_left_half_done_is_made_anew() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir_all(run.path().join(".workspace.new-1/old")).unwrap();
        let dest = run.path().join("workspace");
        prepare(&dest, &from(&archive(&[("a", "x")]))).unwrap();
        assert_eq!((names(&dest), names(run.path())), (vec!["a".to_owned()], vec!["workspace".to_owned()]));
    }

    #[test]
    fn a_workspace_that_cannot_be_made_leaves_nothing_behind() {
        let run = tempfile::tempdir().unwrap();
        let dest = run.path().join("workspace");
        let bad = archive(&[("a", "x"), ("../b", "x")]);
        assert!(matches!(prepare(&dest, &from(&bad)), Err(WorkspaceError::Archive(_))));
        assert!(names(run.path()).is_empty());
    }

    #[test]
    fn any_user_of_the_container_can_work_in_an_empty_workspace() {
        let run = tempfile::tempdir().unwrap();
        let dest = run.path().join("workspace");
        prepare(&dest, &Contents::Nothing).unwrap();
        assert_eq!(fs::metadata(&dest).unwrap().permissions().mode() & 0o7777, 0o777);
    }

    #[test]
    fn more_files_than_are_synced_one_by_one_are_made_durable_too() {
        let run = tempfile::tempdir().unwrap();
        let many: Vec<_> = (0..SYNC_ONE_BY_ONE + 5).map(|n| format!("f{n}")).collect();
        let entries: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
        let dest = run.path().join("workspace");
        prepare(&dest, &from(&archive(&entries))).unwrap();
        assert_eq!(names(&dest).len(), many.len());
    }

    #[test]
    fn a_fetch_that_fails_says_so_and_leaves_nothing_behind() {
        let run = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/r").parse().unwrap();
        let cancelled = AtomicBool::new(false);
        let fetch = GitFetch {
            url: &url,
            reference: None,
            credentials: None,
            limits: GitLimits::default(),
            progress: &|_| {},
            cancelled: &cancelled,
        };
        let result = prepare(&run.path().join("workspace"), &Contents::Git(fetch));
        assert!(matches!(result, Err(WorkspaceError::Git(GitError::Unreachable { .. }))), "{result:?}");
        assert!(names(run.path()).is_empty());
    }
}
