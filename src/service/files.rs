//! Files of notebooks and of `/storage`, whether anything runs or not: listed, read, put, removed.
//!
//! Containers have the same files open. Nothing is kept out meanwhile; what is put is whole in one step,
//! and who edits may say which state of a file is meant.

use std::{
    collections::HashSet,
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::{Notify, Semaphore};

use super::{
    Invalid, ServiceError, Services, blocking, dataset_files::check_new_path, file_tasks::FileTasks, quota::Room,
    streams::paced,
};
use crate::{
    domain::{
        caller::{Action, Caller},
        file_root::FileRoot,
        id::{FileUploadId, NotebookId, TeamId},
        notebook::Notebook,
        user_path::UserPath,
        workload::Workspace,
    },
    storage::{
        beneath::Kind,
        files::{Condition, EntriesPage, FileEntry, FileTree, FilesError, Incoming, Inode, Position},
    },
    store::notebooks,
};

/// A file of up to so many bytes is taken also while too many long bodies are under way.
const SMALL: u64 = 1 << 20;
/// Entries that are chosen at once for a version of a dataset.
const MOST_CHOSEN: usize = 1000;
/// Trees that are removed at the same time.
const REMOVALS: usize = 2;

/// What this daemon is about with files.
pub struct FileWork {
    /// Names what is half done: another daemon finds what this one left.
    pub(super) run: String,
    next: AtomicU64,
    /// Uploads of which a piece is coming.
    pub(super) busy: Mutex<HashSet<FileUploadId>>,
    pub(super) tasks: FileTasks,
    removals: Arc<Semaphore>,
    /// Wakes who copies the files of forks.
    wake_forks: Arc<Notify>,
    /// Wakes who changes what is beneath sessions' `/datasets`.
    pub(super) wake_data: Arc<Notify>,
}

impl FileWork {
    /// Begins a run.
    pub(super) fn new() -> Self {
        Self {
            // Nobody has to be kept from guessing it: only the daemon reaches what has this name.
            run: format!("run-{:016x}", RandomState::new().build_hasher().finish()),
            next: AtomicU64::new(0),
            busy: Mutex::default(),
            tasks: FileTasks::default(),
            removals: Arc::new(Semaphore::new(REMOVALS)),
            wake_forks: Arc::default(),
            wake_data: Arc::default(),
        }
    }

    /// Returns a name that nothing has had in this run.
    pub(super) fn name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

/// A tree that somebody may work with.
pub(super) struct Opened {
    pub team: TeamId,
    pub tree: FileTree,
}

/// A file that is to be put.
#[derive(Debug, Clone)]
pub struct NewFile {
    pub path: UserPath,
    /// As the one that it replaces, when left open.
    pub executable: Option<bool>,
    pub condition: Condition,
    /// Its size, if the client says.
    pub announced: Option<u64>,
}

impl Services {
    /// Lists one directory, directories first, then by name, after `after`.
    pub async fn list_files(
        &self,
        caller: &Caller,
        root: &FileRoot,
        path: UserPath,
        after: Option<Position>,
        limit: usize,
    ) -> Result<EntriesPage, ServiceError> {
        let Some(opened) = self.files_to_read(caller, root).await? else {
            // Nothing has been put into it yet.
            return if path.is_root() { Ok(EntriesPage::default()) } else { Err(missing(&path)) };
        };
        let listed = path.clone();
        blocking(move || opened.tree.list(&listed, after.as_ref(), limit)).await.map_err(|error| match error {
            FilesError::NotADirectory => missing(&path),
            error => of_files(error, &path),
        })
    }

    /// Looks at one entry.
    pub async fn file_entry(
        &self,
        caller: &Caller,
        root: &FileRoot,
        path: UserPath,
    ) -> Result<FileEntry, ServiceError> {
        let opened = self.files_to_read(caller, root).await?.ok_or_else(|| missing(&path))?;
        let looked = path.clone();
        blocking(move || opened.tree.entry(&looked)).await.map_err(|error| gone(error, &path))
    }

    /// Opens one file for reading.
    pub async fn open_user_file(
        &self,
        caller: &Caller,
        root: &FileRoot,
        path: &UserPath,
    ) -> Result<(File, Inode), ServiceError> {
        let opened = self.files_to_read(caller, root).await?.ok_or_else(|| missing(path))?;
        let read = path.clone();
        blocking(move || opened.tree.file(&read)).await.map_err(|error| gone(error, path))
    }

    /// Opens a tree of which `paths` are to go out as one archive, all of it without any.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Invalid`] when two of them have one name.
    pub async fn files_to_bundle(
        &self,
        caller: &Caller,
        root: &FileRoot,
        paths: Vec<UserPath>,
    ) -> Result<FileTree, ServiceError> {
        let mut names = HashSet::new();
        if let Some(twice) = paths.iter().find(|path| !names.insert(path.name())) {
            let message = format!(
                "two entries are called like “{twice}”, and an archive can hold only one: fetch them one by one"
            );
            return Err(Invalid::new("path", "same_name", message).into());
        }
        let nothing = || ServiceError::not_found("file", format!("in {root}: nothing was ever put into it"));
        let opened = self.files_to_read(caller, root).await?.ok_or_else(nothing)?;
        blocking(move || {
            for path in paths.iter().filter(|path| !path.is_root()) {
                opened.tree.entry(path).map_err(|error| gone(error, path))?;
            }
            Ok(opened.tree)
        })
        .await
    }

    /// Checks that entries are there that somebody chose beneath a directory, to be brought into a version.
    /// Returns what the tree is called.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for the first that is not there; [`ServiceError::Invalid`] `nothing_chosen`
    /// where it is plain that no file is among them.
    pub(super) async fn check_chosen(
        &self,
        caller: &Caller,
        root: &FileRoot,
        beneath: &UserPath,
        paths: &[UserPath],
    ) -> Result<String, ServiceError> {
        if paths.len() > MOST_CHOSEN {
            let message =
                format!("at most {MOST_CHOSEN} entries are chosen one by one: name the directory that holds them");
            return Err(Invalid::new("paths", "too_many", message).into());
        }
        let name = match root {
            FileRoot::Storage => root.to_string(),
            FileRoot::Notebook(id) => self.find_notebook(caller, id).await?.name,
        };
        let nothing = || ServiceError::not_found("file", format!("in {root}: nothing was ever put into it"));
        let opened = self.files_to_read(caller, root).await?.ok_or_else(nothing)?;
        let (beneath, paths) = (beneath.clone(), paths.to_vec());
        blocking(move || {
            // One entry is asked for, as that says whether it is a directory that can be read.
            let is_empty = |path: &UserPath| {
                let first = opened.tree.list(path, None, 1).map_err(|error| gone(error, path))?;
                Ok::<_, ServiceError>(first.items.is_empty() && first.next.is_none())
            };
            let mut no_file = is_empty(&beneath)? || !paths.is_empty();
            for path in paths.iter().filter(|path| !path.is_root()) {
                let whole = [beneath.as_bytes(), b"/", path.as_bytes()].concat();
                let whole = if beneath.is_root() { &whole[1..] } else { &whole };
                let whole = UserPath::from_bytes(whole)
                    .map_err(|error| Invalid::new("paths", "bad_path", format!("“{path}” {error}")))?;
                let entry = opened.tree.entry(&whole).map_err(|error| gone(error, &whole))?;
                no_file &= entry.inode.kind == Kind::Directory && is_empty(&whole)?;
            }
            if no_file {
                let field = if paths.is_empty() { "beneath" } else { "paths" };
                let message = "there is no file in what is chosen: choose something else, or put files there first";
                return Err(Invalid::new(field, "nothing_chosen", message).into());
            }
            Ok::<_, ServiceError>(())
        })
        .await?;
        Ok(name)
    }

    /// Returns where a tree lies of which somebody of `team` chose files earlier, if they still may look at it.
    pub(crate) async fn chosen_tree(&self, team: &TeamId, root: &FileRoot) -> Result<PathBuf, ServiceError> {
        let FileRoot::Notebook(id) = root else { return Ok(self.data.team_storage(team)) };
        let (wanted, asker) = (id.clone(), team.clone());
        let notebook = self.store.read(move |connection| notebooks::get(connection, &wanted)).await?;
        let notebook = notebook.filter(|notebook| notebook.team == asker || notebook.is_public);
        let notebook = notebook.ok_or_else(|| ServiceError::not_found("notebook", id))?;
        Ok(self.data.notebook(&notebook.team, id).home())
    }

    /// Puts a file as it comes. It is on the disk when this returns; broken off, it leaves nothing.
    /// Returns also whether it took the place of another.
    pub async fn put_user_file<E: std::fmt::Display>(
        &self,
        caller: &Caller,
        root: &FileRoot,
        new: NewFile,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<(FileEntry, bool), ServiceError> {
        check_new_path("path", &new.path)?;
        let opened = self.files_to_change(caller, root).await?;
        self.refuse_large_file(new.announced)?;
        self.check_quota(&opened.team, new.announced.unwrap_or(0))?;
        let _stream = new.announced.is_none_or(|bytes| bytes > SMALL).then(|| self.stream()).transpose()?;
        let (dir, name) = self.arriving(&opened.team).await?;
        let (incoming, file) = blocking(move || Incoming::file(&dir, &name)).await?;
        let limit = self.datasets.limits().max_file_bytes;
        let sink = move |(file, there): &mut (File, u64), piece: &[u8]| {
            *there += piece.len() as u64;
            if *there > limit {
                return Err(FilesError::TooLarge { limit });
            }
            Ok(file.write_all(piece)?)
        };
        // Of an empty file the end is asked for twice.
        let mut body = paced(body).fuse();
        let first = match body.next().await {
            Some(piece) => piece.map_err(super::dataset_files::cut_off)?,
            None => Bytes::new(),
        };
        let path = new.path.clone();
        let poured = self.pour(Room::Kept(&opened.team), (file, 0u64), sink, first, body).await;
        let (mut file, _) = poured.map_err(|error| error.or(|error| of_files(error, &path)))?;
        let placed =
            blocking(move || opened.tree.place(incoming, &mut file, &new.path, &new.condition, new.executable));
        placed.await.map_err(|error| of_files(error, &path))
    }

    /// Makes a directory with those on the way.
    pub async fn make_user_dir(
        &self,
        caller: &Caller,
        root: &FileRoot,
        path: UserPath,
    ) -> Result<FileEntry, ServiceError> {
        check_new_path("path", &path)?;
        let opened = self.files_to_change(caller, root).await?;
        self.take(&opened.team, 4096)?;
        let made = path.clone();
        let made = blocking(move || {
            if !opened.tree.make_dirs(&made)? {
                return Err(FilesError::Exists);
            }
            opened.tree.entry(&made)
        });
        made.await.map_err(|error| match error {
            FilesError::Exists => exists(&path),
            error => of_files(error, &path),
        })
    }

    /// Removes a file, a link or a directory, which has to be empty unless `recursive`. A large one goes
    /// in one step and is removed behind that.
    pub async fn remove_user_file(
        &self,
        caller: &Caller,
        root: &FileRoot,
        path: UserPath,
        recursive: bool,
    ) -> Result<(), ServiceError> {
        let opened = self.files_to_change(caller, root).await?;
        let (dir, name) = self.arriving(&opened.team).await?;
        let removed = path.clone();
        let aside = blocking(move || opened.tree.remove(&removed, recursive, (&dir, &name))).await;
        if let Some(aside) = aside.map_err(|error| gone(error, &path))? {
            let removals = Arc::clone(&self.files.removals);
            tokio::spawn(async move {
                let _turn = removals.acquire_owned().await;
                if let Err(error) = blocking(move || aside.remove()).await {
                    tracing::warn!(%error, "a directory that was deleted could not be removed yet");
                }
            });
        }
        Ok(())
    }

    /// Returns what wakes who copies the files of forks.
    pub(crate) fn forks_nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.files.wake_forks)
    }

    /// Returns where something may be made on its way to a team's files, and a name for it.
    pub(super) async fn arriving(&self, team: &TeamId) -> Result<(PathBuf, String), ServiceError> {
        let (data, team, run) = (self.data.clone(), team.clone(), self.files.run.clone());
        let dir = blocking(move || data.create_team_arriving(&team, &run)).await?;
        Ok((dir, self.files.name()))
    }

    /// Opens a tree that the caller may look at; `None` when nothing has been put into it yet.
    pub(super) async fn files_to_read(&self, caller: &Caller, root: &FileRoot) -> Result<Option<Opened>, ServiceError> {
        let (team, path) = match root {
            FileRoot::Storage => {
                caller.may(Action::ViewFiles)?;
                (caller.team.clone(), self.data.team_storage(&caller.team))
            }
            FileRoot::Notebook(id) => {
                let notebook = self.find_notebook(caller, id).await?;
                refuse_copying(&notebook)?;
                let home = self.data.notebook(&notebook.team, id).home();
                (notebook.team, home)
            }
        };
        match blocking(move || FileTree::open(&path)).await {
            Ok(tree) => Ok(Some(Opened { team, tree })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a tree that the caller may change, and makes it first if nothing has been put into it yet.
    pub(super) async fn files_to_change(&self, caller: &Caller, root: &FileRoot) -> Result<Opened, ServiceError> {
        let data = self.data.clone();
        let (team, owner) = (caller.team.clone(), caller.team.clone());
        let tree = match root {
            FileRoot::Storage => {
                caller.may(Action::ChangeFiles)?;
                blocking(move || FileTree::open(&data.create_team_storage(&owner)?)).await?
            }
            FileRoot::Notebook(id) => {
                caller.may(Action::ChangeNotebook)?;
                let notebook = self.own_notebook(caller, id).await?;
                refuse_copying(&notebook)?;
                let own = data.notebook(&owner, id);
                let is_filled_later = !matches!(notebook.spec.workspace, Workspace::Empty);
                let id = id.clone();
                blocking(move || match FileTree::open(&own.home()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if is_filled_later {
                            return Err(not_filled(&id));
                        }
                        own.create_home()?;
                        Ok(FileTree::open(&own.home())?)
                    }
                    opened => Ok(opened?),
                })
                .await?
            }
        };
        Ok(Opened { team, tree })
    }
}

fn refuse_copying(notebook: &Notebook) -> Result<(), ServiceError> {
    if notebook.copying_from.is_some() { Err(super::notebooks::still_copied(notebook)) } else { Ok(()) }
}

fn not_filled(id: &NotebookId) -> ServiceError {
    let message = format!(
        "the workspace of notebook {id} is fetched at its first start: start it once, and change its files then"
    );
    ServiceError::Conflict { code: "notebook_not_filled", message }
}

fn missing(path: &UserPath) -> ServiceError {
    ServiceError::not_found("file", format!("“{path}”"))
}

fn exists(path: &UserPath) -> ServiceError {
    ServiceError::Conflict { code: "file_exists", message: format!("“{path}” is there already: take another name") }
}

/// Says what went wrong with an entry that is there or not: what is behind a link or a file is not.
fn gone(error: FilesError, path: &UserPath) -> ServiceError {
    match error {
        FilesError::NotADirectory => missing(path),
        error => of_files(error, path),
    }
}

/// Says what went wrong with a file.
pub(super) fn of_files(error: FilesError, path: &UserPath) -> ServiceError {
    let conflict = |code, message| ServiceError::Conflict { code, message };
    match error {
        FilesError::NotFound => missing(path),
        FilesError::Exists => {
            ServiceError::Unmet { code: "file_exists", message: format!("“{path}” is there already") }
        }
        FilesError::Changed => ServiceError::Unmet {
            code: "file_changed",
            message: format!(
                "“{path}” was changed by somebody else meanwhile: fetch it again, and bring both together"
            ),
        },
        FilesError::IsDirectory => conflict("is_directory", format!("“{path}” is a directory")),
        FilesError::NotADirectory => {
            conflict("not_a_directory", format!("a file or a link is on the way to “{path}”: links are not followed"))
        }
        FilesError::NotEmpty => conflict(
            "directory_not_empty",
            format!("“{path}” is not empty: say recursive=true to delete all that is in it"),
        ),
        FilesError::IntoItself => conflict("into_itself", format!("“{path}” cannot be put into itself")),
        FilesError::OtherDisk => {
            conflict("other_disk", format!("“{path}” lies on another disk: copy it, and delete it then"))
        }
        FilesError::TooLarge { limit } => ServiceError::TooLarge(format!(
            "“{path}” is larger than {limit} bytes, the most this box takes of one file"
        )),
        FilesError::OtherOffset { there } => {
            conflict("wrong_offset", format!("{there} bytes of it are there: go on after those"))
        }
        FilesError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => ServiceError::Forbidden(format!(
            "“{path}” belongs to a user of a container, and this daemon does not run as root: change it in a session"
        )),
        FilesError::Io(error) => error.into(),
    }
}
