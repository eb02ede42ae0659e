//! Trees of files of this machine that imports bring: a directory that the admin allows, and what somebody
//! chose in a notebook's files or in `/storage`.
//!
//! All of it may change while it is read, and a container may have planted anything in it. So it is read beneath
//! a directory handle, no link is followed, and it comes into the version in one step, as it was at one moment
//! for each file.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio_util::sync::CancellationToken;

use super::{
    Works,
    import_sources::{Brought, Trouble},
};
use crate::{
    domain::{
        content::Totals,
        import::{ChosenFiles, Import, ImportProgress},
        user_path::UserPath,
    },
    service::{ServiceError, Services, blocking, references::Resolved, s3_versions::send_tree, version_home::Home},
    storage::{
        beneath::Beneath,
        dataset::{Chosen, DirError, DirTaken, Staged, TreeError, join_dir, stage_chosen},
    },
};

/// Entries left out that a message names.
const NAMED: usize = 5;

/// Brings all files of a directory that an admin allows to import from.
pub(super) async fn directory(
    works: &Works,
    import: &Import,
    found: &Resolved,
    prefix: UserPath,
    path: PathBuf,
    token: &CancellationToken,
) -> Result<Brought, Trouble> {
    let allowed = works.services.settings.storage.import_dirs.clone();
    let open = move || open_allowed(&path, &allowed);
    tree(works, import, found, prefix, (open, Chosen::all(), of_dir), token).await
}

/// Brings what somebody chose in a notebook's files or in `/storage`.
pub(super) async fn chosen(
    works: &Works,
    import: &Import,
    found: &Resolved,
    prefix: UserPath,
    chosen: &ChosenFiles,
    token: &CancellationToken,
) -> Result<Brought, Trouble> {
    let path = works.services.chosen_tree(&import.team, &chosen.root).await?;
    let beneath = chosen.beneath.0.clone();
    let open =
        move || Beneath::open(&path).and_then(|top| top.dir(&beneath)).map_err(|error| unopened(&beneath, &error));
    let paths = Chosen::only(chosen.paths.iter().map(|path| path.0.clone()));
    let brought = tree(works, import, found, prefix, (open, paths, of_chosen), token).await?;
    if brought.totals.files > 0 {
        return Ok(brought);
    }
    let words = format!("there is no file in {} that a version can hold", import.source.words());
    Err(Trouble::Final(brought.left_out.map_or(words.clone(), |left_out| format!("{words}; {left_out}"))))
}

/// Brings what is chosen in the directory that `open` gives; `say` tells what is wrong with it.
async fn tree(
    works: &Works,
    import: &Import,
    found: &Resolved,
    prefix: UserPath,
    (open, chosen, say): (impl FnOnce() -> Result<Beneath, Trouble> + Send + 'static, Chosen, fn(DirError) -> Trouble),
    token: &CancellationToken,
) -> Result<Brought, Trouble> {
    let home = works.services.home(&found.dataset, &found.version.id).await?;
    let watch = Watch::of(works, import, token);
    let files = home.files.clone();
    let (staged, watch) = blocking(move || {
        let staged = open().and_then(|source| {
            stage_chosen(&source, &files, &prefix, chosen, &|so_far| watch.so_far(so_far)).map_err(say)
        });
        (staged, watch)
    })
    .await;
    watch.trouble()?;
    let (staged, taken) = staged?;
    if taken.totals.files == 0 {
        blocking(move || drop(staged)).await;
        return Ok(Brought { totals: taken.totals, left_out: left_out(&taken) });
    }
    let stayed = join(works, found, &home, staged, taken.totals).await?;
    let words: Vec<_> = [left_out(&taken), stayed].into_iter().flatten().collect();
    Ok(Brought { totals: taken.totals, left_out: (!words.is_empty()).then(|| words.join("; ")) })
}

/// Counts and names what a version cannot hold.
fn left_out(taken: &DirTaken) -> Option<String> {
    let named: Vec<_> = taken.named.iter().take(NAMED).map(|one| format!("“{}” ({})", one.path, one.why)).collect();
    let count = match taken.left_out {
        0 => return None,
        1 => "1 entry cannot be in a version and was left out".to_owned(),
        more => format!("{more} entries cannot be in a version and were left out"),
    };
    Some(format!("{count}: {}", named.join(", ")))
}

/// Opens a directory beneath one that an admin allows, following no link on the way: what was checked
/// when the import was accepted may lead elsewhere by now.
fn open_allowed(path: &Path, allowed: &[PathBuf]) -> Result<Beneath, Trouble> {
    let gone = || {
        Trouble::Final(format!(
            "{} is not in a directory that imports are allowed from (storage.import_dirs), or is gone",
            path.display()
        ))
    };
    for root in allowed {
        let Ok(root) = root.canonicalize() else { continue };
        let Ok(rest) = path.strip_prefix(&root) else { continue };
        let top = Beneath::open(&root)?;
        let rest = std::os::unix::ffi::OsStrExt::as_bytes(rest.as_os_str());
        if rest.is_empty() {
            return Ok(top);
        }
        let rest = UserPath::from_bytes(rest).map_err(|_| gone())?;
        return top.dir(&rest).map_err(|_| gone());
    }
    Err(gone())
}

/// Puts what was read where the version is: on the disk in one step that nobody else works beside, in a
/// bucket file by file. Says what stayed behind.
async fn join(
    works: &Works,
    found: &Resolved,
    home: &Home,
    staged: Staged,
    totals: Totals,
) -> Result<Option<String>, Trouble> {
    let services = &works.services;
    let (files, mut left_out) = (home.files.clone(), None);
    if let Some(bucket) = &home.s3 {
        let _pass = services.pass(found).await?;
        blocking(move || files.thaw()).await.map_err(of_tree)?;
        let sent = send_tree(bucket, staged.tree()).await;
        blocking(move || drop(staged)).await;
        left_out = sent?.left_out();
    } else {
        let room = services.room(found, home).await?;
        let alone = services.pass_alone(found).await?;
        // The pass goes along: should nobody wait any more, what is begun still ends behind the gate.
        let joined = blocking(move || {
            files.thaw()?;
            room.for_tree(&files, staged.tree(), totals.files)?;
            alone.changed(join_dir(&staged, &files, totals.files)?, totals);
            Ok::<_, TreeError>(())
        });
        joined.await.map_err(of_tree)?;
        home.blobs.durable().await?;
    }
    services.tell_progress(&found.version);
    Ok(left_out)
}

const HELD: &str = "no code panics while it holds this lock";

/// Tells how far file work is, holds it to the team's quota, and ends it when it is called off.
struct Watch {
    services: Services,
    import: Import,
    token: CancellationToken,
    /// Bytes that were told of, and why the work was ended.
    state: Mutex<(u64, Option<ServiceError>)>,
}

impl Watch {
    fn of(works: &Works, import: &Import, token: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            services: works.services.clone(),
            import: import.clone(),
            token: token.clone(),
            state: Mutex::default(),
        })
    }

    fn so_far(&self, done: Totals) -> ControlFlow<()> {
        if self.token.is_cancelled() {
            return ControlFlow::Break(());
        }
        let progress = ImportProgress { done, total_files: None, total_bytes: None };
        self.services.board.set_import_progress(&self.import.id, Some(progress));
        let mut state = self.state.lock().expect(HELD);
        let more = done.bytes.saturating_sub(state.0);
        state.0 = state.0.max(done.bytes);
        match self.services.take(&self.import.team, more) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                state.1 = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Returns why the work was ended, if the quota ended it.
    fn trouble(&self) -> Result<(), Trouble> {
        self.state.lock().expect(HELD).1.take().map_or(Ok(()), |error| Err(error.into()))
    }
}

fn of_tree(error: TreeError) -> Trouble {
    match error {
        TreeError::Full => Trouble::Later(anyhow::anyhow!("the disk is full")),
        TreeError::Io(error) => Trouble::Later(error.into()),
        other => Trouble::Final(other.to_string()),
    }
}

fn of_dir(error: DirError) -> Trouble {
    match error {
        DirError::Tree(error) => of_tree(error),
        DirError::Stopped => Trouble::Later(anyhow::anyhow!("it was ended before it was done")),
        other => Trouble::Final(other.to_string()),
    }
}

/// Says why the directory whose entries were chosen cannot be opened.
fn unopened(beneath: &UserPath, error: &io::Error) -> Trouble {
    let place = if beneath.is_root() { "the files".to_owned() } else { format!("“{beneath}”") };
    match error.kind() {
        io::ErrorKind::NotFound => Trouble::Final(format!("{place} cannot be found any more: choose again")),
        io::ErrorKind::NotADirectory => {
            Trouble::Final(format!("{place} is no directory any more, or a link is on the way: choose again"))
        }
        _ => Trouble::Final(format!("{place} cannot be opened: {error}")),
    }
}

/// What is wrong with files that people and containers work on while they are read.
fn of_chosen(error: DirError) -> Trouble {
    match error {
        DirError::Changing(path) => Trouble::Final(format!(
            "“{path}” changes while it is read: try again when nothing writes to it, or choose files without it"
        )),
        DirError::Missing(path) => Trouble::Final(format!("“{path}” is not there any more: choose again")),
        // Removed after its directory was listed, as temporary files are; the next look does not find it.
        DirError::Unreadable { path, error } if error.kind() == io::ErrorKind::NotFound => {
            Trouble::Passing(format!("“{path}” went away while it was read"))
        }
        DirError::Unreadable { path, error } if error.kind() == io::ErrorKind::PermissionDenied => {
            Trouble::Final(format!(
                "“{path}” may not be read: it belongs to a container's user. Open it in a session (chmod a+rX), and try again"
            ))
        }
        other => of_dir(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beneath_an_allowed_directory_is_read_whatever_was_put_there_since() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("allowed/data")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        let allowed = [root.join("allowed")];
        assert!(open_allowed(&root.join("allowed/data"), &allowed).is_ok());
        assert!(open_allowed(&root.join("allowed"), &allowed).is_ok());
        std::fs::remove_dir(root.join("allowed/data")).unwrap();
        std::os::unix::fs::symlink(root.join("other"), root.join("allowed/data")).unwrap();
        assert!(matches!(open_allowed(&root.join("allowed/data"), &allowed), Err(Trouble::Final(_))));
        assert!(matches!(open_allowed(&root.join("other"), &allowed), Err(Trouble::Final(_))));
    }

    #[test]
    fn what_is_wrong_with_a_chosen_file_says_what_to_do() {
        let unreadable = |kind: io::ErrorKind| DirError::Unreadable { path: "a".to_owned(), error: kind.into() };
        assert!(matches!(of_chosen(unreadable(io::ErrorKind::NotFound)), Trouble::Passing(_)));
        for (error, words) in [
            (unreadable(io::ErrorKind::PermissionDenied), "chmod"),
            (DirError::Changing("a".parse().unwrap()), "try again when nothing writes"),
            (DirError::Missing("a".parse().unwrap()), "choose again"),
        ] {
            assert!(matches!(of_chosen(error), Trouble::Final(said) if said.contains(words)), "{words}");
        }
    }
}
