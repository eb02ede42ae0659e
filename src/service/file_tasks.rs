//! Copies and moves of files. What is quick is done when it is answered; what is long goes on behind, is
//! looked at, and can be ended. A daemon that dies forgets them, and nothing of them is left in its place.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Invalid, ServiceError, Services, blocking,
    dataset_files::check_new_path,
    files::{Opened, of_files},
    quota::STEP,
};
use crate::{
    domain::{
        caller::{Action, Caller},
        file_root::FileRoot,
        file_task::{FileTaskKind, FileTaskState},
        id::{FileTaskId, TeamId},
        time::Timestamp,
        user_path::UserPath,
    },
    storage::{
        copy_tree::{Copied, CopyError},
        files::{FilesError, Incoming},
    },
};

/// What is done sooner is answered for at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most copies of a team that are under way.
const MOST: usize = 4;
/// Most copies that are remembered, of all teams.
const KEPT: usize = 200;
const HELD: &str = "no code panics while it holds this lock";

/// Something long that is done to files.
#[derive(Debug, Clone)]
pub struct FileTask {
    pub id: FileTaskId,
    pub team: TeamId,
    pub kind: FileTaskKind,
    pub state: FileTaskState,
    pub from: (FileRoot, UserPath),
    pub to: (FileRoot, UserPath),
    pub copied: Copied,
    /// Why it failed: a code, and words for people.
    pub error: Option<(&'static str, String)>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    stop: Arc<AtomicBool>,
}

/// What is under way, and what was until lately.
#[derive(Default)]
pub(super) struct FileTasks(Mutex<Vec<FileTask>>);

impl FileTasks {
    fn change(&self, id: &FileTaskId, change: impl FnOnce(&mut FileTask)) {
        if let Some(task) = self.0.lock().expect(HELD).iter_mut().find(|task| task.id == *id) {
            change(task);
        }
    }

    fn get(&self, team: &TeamId, id: &FileTaskId) -> Option<FileTask> {
        self.0.lock().expect(HELD).iter().find(|task| task.id == *id && task.team == *team).cloned()
    }

    /// Adds a task, and forgets the oldest that are over.
    fn add(&self, task: FileTask) -> Result<(), ServiceError> {
        let mut all = self.0.lock().expect(HELD);
        let is_running = |task: &FileTask| task.state == FileTaskState::Running;
        if all.iter().filter(|other| other.team == task.team && is_running(other)).count() >= MOST {
            let message = format!("{MOST} copies of your team are under way, which is the most: wait for one to end");
            return Err(ServiceError::TooMany { code: "too_many_file_tasks", message });
        }
        if all.len() >= KEPT
            && let Some(oldest) = all.iter().position(|task| !is_running(task))
        {
            all.remove(oldest);
        }
        all.push(task);
        Ok(())
    }
}

/// What is to be copied or moved, and where.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub kind: FileTaskKind,
    pub from: (FileRoot, UserPath),
    pub to: (FileRoot, UserPath),
    /// A file that is in the way is replaced; a directory never is.
    pub overwrite: bool,
}

impl Services {
    /// Copies or moves a file or a directory. Returns when it is done, or after [`PATIENCE`] while it goes
    /// on.
    ///
    /// # Errors
    /// Those that are known within that time; later ones are in the task.
    pub async fn transfer_files(&self, caller: &Caller, transfer: Transfer) -> Result<FileTask, ServiceError> {
        let Transfer { kind, from, to, overwrite } = transfer;
        check_new_path("to", &to.1)?;
        if from == to {
            let message = format!("“{}” is where it is to be already", to.1);
            return Err(Invalid::new("to", "same_place", message).into());
        }
        if kind == FileTaskKind::Move && from.1.is_root() {
            return Err(Invalid::new("path", "bad_path", "name what is to be moved").into());
        }
        let source = match kind {
            FileTaskKind::Move => self.files_to_change(caller, &from.0).await?,
            FileTaskKind::Copy => self
                .files_to_read(caller, &from.0)
                .await?
                .ok_or_else(|| ServiceError::not_found("file", format!("“{}”", from.1)))?,
        };
        let target = self.files_to_change(caller, &to.0).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let id = FileTaskId::mint(&*self.ids);
        let task = FileTask {
            id: id.clone(),
            team: caller.team.clone(),
            kind,
            state: FileTaskState::Running,
            from: from.clone(),
            to: to.clone(),
            copied: Copied::default(),
            error: None,
            started_at: self.clock.now(),
            ended_at: None,
            stop: Arc::clone(&stop),
        };
        let arriving = self.arriving(&caller.team).await?;
        self.files.tasks.add(task)?;
        let (tell, told) = oneshot::channel();
        let (services, named) = (self.clone(), id.clone());
        tokio::spawn(async move {
            let work = services.clone();
            let doing = Doing {
                source,
                target,
                from: from.1,
                to: to.1,
                overwrite,
                stop: Arc::clone(&stop),
                id: named.clone(),
                arriving,
            };
            let result = blocking(move || match kind {
                FileTaskKind::Copy => doing.copy(&work),
                FileTaskKind::Move => doing.move_over(&work),
            })
            .await;
            services.files.tasks.change(&named, |task| {
                task.ended_at = Some(services.clock.now());
                (task.state, task.error) = match &result {
                    Ok(()) => (FileTaskState::Done, None),
                    Err(_) if stop.load(Ordering::Relaxed) => (FileTaskState::Cancelled, None),
                    Err(error) => (FileTaskState::Failed, Some((code(error), words_of(error)))),
                };
            });
            let _ = tell.send(result);
        });
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Err(error))) if self.find_task(caller, &id)?.state == FileTaskState::Failed => Err(error),
            _ => self.find_task(caller, &id),
        }
    }

    /// Returns a copy or move of the caller's team.
    pub fn file_task(&self, caller: &Caller, id: &FileTaskId) -> Result<FileTask, ServiceError> {
        caller.may(Action::ViewFiles)?;
        self.find_task(caller, id)
    }

    /// Lists the copies and moves of the caller's team, newest first.
    pub fn file_tasks(&self, caller: &Caller) -> Result<Vec<FileTask>, ServiceError> {
        caller.may(Action::ViewFiles)?;
        let all = self.files.tasks.0.lock().expect(HELD);
        Ok(all.iter().rev().filter(|task| task.team == caller.team).cloned().collect())
    }

    /// Ends a copy or move that is under way; nothing of it is left.
    pub fn cancel_file_task(&self, caller: &Caller, id: &FileTaskId) -> Result<(), ServiceError> {
        caller.may(Action::ChangeFiles)?;
        self.find_task(caller, id)?.stop.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn find_task(&self, caller: &Caller, id: &FileTaskId) -> Result<FileTask, ServiceError> {
        self.files.tasks.get(&caller.team, id).ok_or_else(|| ServiceError::not_found("file task", id))
    }
}

/// A copy or move that is under way.
struct Doing {
    source: Opened,
    target: Opened,
    from: UserPath,
    to: UserPath,
    overwrite: bool,
    stop: Arc<AtomicBool>,
    id: FileTaskId,
    /// Where it may be made, and under which name.
    arriving: (std::path::PathBuf, String),
}

impl Doing {
    fn copy(&self, services: &Services) -> Result<(), ServiceError> {
        self.copied(services).map(drop)
    }

    /// Copies, and returns what was copied.
    fn copied(&self, services: &Services) -> Result<Copied, ServiceError> {
        let wrong = |error| self.wrong(error);
        if !self.overwrite && self.target.tree.entry(&self.to).is_ok() {
            return Err(wrong(FilesError::Exists));
        }
        let (mut ahead, mut refused) = (0u64, None);
        let mut watch = |copied: Copied| {
            services.files.tasks.change(&self.id, |task| task.copied = copied);
            if self.stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            let needed = copied.bytes + copied.directories * 4096;
            if needed > ahead {
                let more = (needed - ahead).max(STEP);
                if let Err(error) = services.take(&self.target.team, more) {
                    refused = Some(error);
                    return ControlFlow::Break(());
                }
                ahead += more;
            }
            ControlFlow::Continue(())
        };
        let made = Incoming::copy(&self.arriving.0, &self.arriving.1, &self.source.tree, &self.from, &mut watch);
        let (made, copied) = made.map_err(|error| match error {
            CopyError::Stopped => refused.unwrap_or_else(|| ServiceError::Conflict {
                code: "file_task_cancelled",
                message: "it was cancelled".to_owned(),
            }),
            CopyError::Io(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                Invalid::new("path", "special_file", format!("“{}” is a socket, a pipe or a device", self.from)).into()
            }
            CopyError::Io(error) => of_files(error.into(), &self.from),
        })?;
        services.files.tasks.change(&self.id, |task| task.copied = copied);
        if self.stop.load(Ordering::Relaxed) {
            return Err(ServiceError::Conflict { code: "file_task_cancelled", message: "it was cancelled".to_owned() });
        }
        self.target.tree.place_copy(made, &self.to, self.overwrite).map_err(wrong)?;
        Ok(copied)
    }

    fn move_over(&self, services: &Services) -> Result<(), ServiceError> {
        match self.source.tree.move_to(&self.from, &self.target.tree, &self.to, self.overwrite) {
            Ok(_) => return Ok(()),
            Err(FilesError::NotFound) => return Err(of_files(FilesError::NotFound, &self.from)),
            Err(FilesError::OtherDisk) => {}
            Err(error) => return Err(self.wrong(error)),
        }
        if self.copied(services)?.skipped > 0 {
            let message = format!(
                "“{}” was copied but not deleted: sockets, pipes, devices or files that this daemon may not read are in it",
                self.from
            );
            return Err(ServiceError::Conflict { code: "not_all_moved", message });
        }
        let aside = (self.arriving.0.as_path(), self.arriving.1.as_str());
        match self.source.tree.remove(&self.from, true, aside).map_err(|error| of_files(error, &self.from))? {
            Some(aside) => Ok(aside.remove()?),
            None => Ok(()),
        }
    }

    fn wrong(&self, error: FilesError) -> ServiceError {
        match error {
            // Nobody set a condition: it is simply in the way.
            FilesError::Exists | FilesError::NotEmpty => ServiceError::Conflict {
                code: "file_exists",
                message: format!("“{}” is there already: take another name, or delete it first", self.to),
            },
            error => of_files(error, &self.to),
        }
    }
}

fn code(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Conflict { code, .. } | ServiceError::Unmet { code, .. } | ServiceError::TooMany { code, .. } => {
            code
        }
        ServiceError::Invalid(invalid) => invalid.code,
        ServiceError::NotFound { .. } => "file_not_found",
        ServiceError::DiskFull => "disk_full",
        ServiceError::QuotaExceeded(_) => "quota_exceeded",
        ServiceError::TooLarge(_) => "too_large",
        ServiceError::Forbidden(_) | ServiceError::Denied(_) => "forbidden",
        _ => "failed",
    }
}

/// Returns an error's words, if they are for people.
fn words_of(error: &ServiceError) -> String {
    match code(error) {
        "failed" => {
            tracing::error!(%error, cause = ?std::error::Error::source(error).map(ToString::to_string), "a copy of files failed");
            "something went wrong here; the daemon's log says more".to_owned()
        }
        _ => error.to_string(),
    }
}
