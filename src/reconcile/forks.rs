//! Copies the files of forks. What a fork begins with is copied under another name and gets its place when
//! all of it is on the disk, so a daemon that dies begins anew and nobody sees a part. The source may run
//! meanwhile: what it has at the moment when it is reached is what the fork gets.

use std::{
    collections::HashMap,
    io,
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;

use super::{Loop, Works, drive};
use crate::{
    domain::{
        id::{NotebookId, TeamId},
        notebook::{ForkProgress, Notebook},
        time::Timestamp,
    },
    service::{ServiceError, blocking},
    storage::{
        beneath::Beneath,
        copy_tree::{Copied, CopyError, copy_tree},
    },
    store::{StoreError, notebooks},
};

/// Time between two looks, when nobody makes a fork.
const PERIOD: Duration = Duration::from_secs(10);
/// Forks whose files are copied at the same time.
const AT_ONCE: usize = 2;
/// How long a fork that could not be copied waits for the next try.
const AGAIN: Duration = Duration::from_secs(15);
const HELD: &str = "no code panics while it holds this lock";
/// What a directory counts, in bytes.
const DIRECTORY: u64 = 4096;
/// Bytes that are taken of a quota at once.
const STEP: u64 = 8 << 20;

/// Starts the loop.
pub fn start(works: &Works) {
    let nudge = works.services.forks_nudge();
    works.tasks.spawn(drive(Forks { works: works.clone(), known: Arc::default() }, works.clone(), nudge, PERIOD));
}

struct Forks {
    works: Works,
    known: Arc<Mutex<HashMap<NotebookId, Try>>>,
}

/// How far this daemon is with one fork.
enum Try {
    /// Told to stop when the fork is deleted.
    Now(Arc<AtomicBool>),
    /// Not before then.
    Later(Timestamp),
}

/// Why a fork has no files yet, in words for its people.
enum Failed {
    /// Nothing can mend it, or the next try may.
    Told(String),
    /// It is not there any more.
    Deleted,
    Fault(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

impl Loop for Forks {
    const NAME: &'static str = "forks";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let copying = self.works.store.read(notebooks::copying).await?;
        let now = self.works.clock.now();
        let mut known = self.known.lock().expect(HELD);
        known.retain(|id, attempt| {
            let is_there = copying.iter().any(|(fork, _)| fork.id == *id);
            match attempt {
                Try::Now(stop) => {
                    stop.store(!is_there, Ordering::Relaxed);
                    true
                }
                Try::Later(_) => {
                    if !is_there {
                        self.works.board.set_fork(id, None);
                    }
                    is_there
                }
            }
        });
        for (fork, team) in copying {
            let busy = known.values().filter(|attempt| matches!(attempt, Try::Now(_))).count();
            let is_due = match known.get(&fork.id) {
                None => true,
                Some(Try::Now(_)) => false,
                Some(Try::Later(at)) => *at <= now,
            };
            if busy < AT_ONCE && is_due {
                let stop = Arc::new(AtomicBool::new(false));
                known.insert(fork.id.clone(), Try::Now(Arc::clone(&stop)));
                self.works.tasks.spawn(fill(self.works.clone(), Arc::clone(&self.known), fork, team, stop));
            }
        }
        Ok(())
    }
}

/// Brings the files of one fork, and notes what came of it.
async fn fill(
    works: Works,
    known: Arc<Mutex<HashMap<NotebookId, Try>>>,
    fork: Notebook,
    team: TeamId,
    stop: Arc<AtomicBool>,
) {
    let id = fork.id.clone();
    let result = bring(&works, fork, team, stop).await;
    let mut known = known.lock().expect(HELD);
    let message = match result {
        Ok(()) | Err(Failed::Deleted) => {
            known.remove(&id);
            works.board.set_fork(&id, None);
            // The next one that waits may begin.
            works.services.forks_nudge().notify_one();
            return;
        }
        Err(Failed::Told(message)) => message,
        Err(Failed::Fault(error)) => {
            tracing::warn!(notebook.id = %id, error = format!("{error:#}"), "the files of a fork could not be copied");
            "its files could not be copied; the daemon's log says why".to_owned()
        }
    };
    let before = works.board.fork(&id).unwrap_or_default();
    works.board.set_fork(&id, Some(ForkProgress { message: Some(message), ..before }));
    known.insert(id, Try::Later(works.clock.now().plus(AGAIN)));
}

async fn bring(works: &Works, fork: Notebook, team: TeamId, stop: Arc<AtomicBool>) -> Result<(), Failed> {
    let Some(source) = fork.copying_from.clone() else { return Ok(()) };
    let gone = || {
        Failed::Told(format!("notebook {source}, whose files it was to begin with, was deleted: delete this one, too"))
    };
    let (own, home) = (works.data.notebook(&fork.team, &fork.id), works.data.notebook(&team, &source).home());
    let (work, into) = (works.clone(), fork.clone());
    let copied = blocking(move || {
        own.create()?;
        let dir = Beneath::open(own.root())?;
        if dir.facts_of(b"home").is_ok() {
            // Copied before, by a daemon that died before it could say so.
            return Ok(true);
        }
        dir.remove_tree(COPYING)?;
        let from = match Beneath::open(&home) {
            // Nothing was ever put into it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            from => from?,
        };
        let result = copy(&work, &into, &from, &dir.make_dir(COPYING)?, &stop);
        if result.is_err() {
            // The first error says more, and the next try begins with this.
            let _ = dir.remove_tree(COPYING);
        }
        result?;
        dir.sync_file_system()?;
        Ok::<_, Failed>(true)
    });
    let copied = copied.await;
    // Looked at after the copy: what was deleted meanwhile may have been copied in part.
    let (id, from) = (fork.id.clone(), source.clone());
    let rows = works.store.read(move |connection| {
        Ok::<_, StoreError>((notebooks::get(connection, &id)?.is_some(), notebooks::get(connection, &from)?.is_some()))
    });
    let (is_there, has_source) = rows.await?;
    let own = works.data.notebook(&fork.team, &fork.id);
    if !is_there {
        let (data, team, id) = (works.data.clone(), fork.team.clone(), fork.id.clone());
        blocking(move || data.remove_notebook(&team, &id)).await?;
        return Err(Failed::Deleted);
    }
    let has_home = own.home();
    let is_placed = blocking(move || has_home.exists()).await;
    if !has_source && !is_placed {
        return Err(gone());
    }
    if copied? && !is_placed {
        crate::fault::point("fork.before_rename");
        blocking(move || {
            let dir = Beneath::open(own.root())?;
            dir.move_to_new(COPYING, &dir, b"home")?;
            dir.sync()
        })
        .await
        .context("giving the copy its place")?;
    }
    crate::fault::point("fork.before_commit");
    let now = works.clock.now();
    Ok(works.store.write(move |tx| notebooks::copied(tx, &fork, now)).await?)
}

/// Where the files of a fork are before all of them are there.
const COPYING: &[u8] = b"copying";

/// Copies what is in a home. Blocks.
fn copy(works: &Works, fork: &Notebook, from: &Beneath, into: &Beneath, stop: &AtomicBool) -> Result<(), Failed> {
    let (mut ahead, mut refused) = (0u64, None);
    let mut watch = |copied: Copied| {
        crate::fault::point("fork.entry");
        let progress = ForkProgress { files: copied.files, bytes: copied.bytes, message: None };
        works.board.set_fork(&fork.id, Some(progress));
        if stop.load(Ordering::Relaxed) || works.stop.is_cancelled() {
            return ControlFlow::Break(());
        }
        let needed = copied.bytes + copied.directories * DIRECTORY;
        if needed > ahead {
            let more = (needed - ahead).max(STEP);
            if let Err(error) = works.services.take(&fork.team, more) {
                refused = Some(error);
                return ControlFlow::Break(());
            }
            ahead += more;
        }
        ControlFlow::Continue(())
    };
    match copy_tree(from, into, &mut watch) {
        Ok(copied) => {
            if copied.skipped > 0 {
                tracing::info!(notebook.id = %fork.id, copied.skipped, "a fork was made without sockets, pipes, devices and unreadable files");
            }
            Ok(())
        }
        Err(CopyError::Stopped) => Err(match refused {
            Some(error) => Failed::Told(words(error)),
            None => Failed::Deleted,
        }),
        Err(CopyError::Io(error)) => Err(match ServiceError::from(error) {
            error @ ServiceError::DiskFull => Failed::Told(words(error)),
            error => Failed::Fault(anyhow::Error::new(error)),
        }),
    }
}

fn words(error: ServiceError) -> String {
    match error {
        ServiceError::DiskFull => {
            "the disk of this box is full: its files are copied as soon as there is room again".to_owned()
        }
        error => error.to_string(),
    }
}
