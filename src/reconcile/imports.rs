//! Brings files into versions from elsewhere, a few imports at a time. One that a stop or a crash broke
//! off is begun again and passes over what it has brought already.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{
    Loop, Works, caught, drive,
    import_journal::Journal,
    import_sources::{self, Brought, Trouble},
    telling::while_telling,
};
use crate::{
    domain::{
        content::Totals,
        dataset::{ImportState, VersionState},
        import::Import,
    },
    service::{
        ServiceError, blocking,
        committing::{Committer, MAY_NOT_PUBLISH},
        references::Resolved,
    },
    store::{StoreError, Tx, datasets, imports, versions},
};

/// Imports that go on at the same time.
const AT_ONCE: usize = 2;
/// Time between two looks when nothing nudges.
const PERIOD: Duration = Duration::from_secs(10);
/// Tries of something that may work later, such as a bucket that does not answer.
const TRIES: u32 = 4;
/// Pause before the second try; doubled for each further one.
const PAUSE: Duration = Duration::from_secs(2);

/// Starts the loop.
pub fn start(works: &Works) {
    let nudge = Arc::clone(&works.store.changes().imports);
    let this = Imports { works: works.clone(), under_way: Arc::default() };
    works.tasks.spawn(drive(this, works.clone(), nudge, PERIOD));
}

struct Imports {
    works: Works,
    /// By the imports' numbers.
    under_way: Arc<Mutex<HashMap<i64, CancellationToken>>>,
}

const HELD: &str = "no code panics while it holds this lock";

impl Loop for Imports {
    const NAME: &'static str = "imports";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let alive = self.works.store.read(imports::alive).await.context("reading the imports that are not over")?;
        let mut under_way = self.under_way.lock().expect(HELD);
        for (seq, token) in &*under_way {
            // Cancelled: its row is over and its work is not.
            if !alive.iter().any(|import| import.seq == *seq) {
                token.cancel();
            }
        }
        for import in alive {
            if under_way.len() >= AT_ONCE {
                break;
            }
            if under_way.contains_key(&import.seq) {
                continue;
            }
            let token = self.works.stop.child_token();
            under_way.insert(import.seq, token.clone());
            let done = UnderWay { works: self.works.clone(), under_way: Arc::clone(&self.under_way), import };
            self.works.tasks.spawn(work(done, token));
        }
        Ok(())
    }
}

/// Takes an import off the list of what is under way, however its work ends.
struct UnderWay {
    works: Works,
    under_way: Arc<Mutex<HashMap<i64, CancellationToken>>>,
    import: Import,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.works.board.set_import_progress(&self.import.id, None);
        self.under_way.lock().expect(HELD).remove(&self.import.seq);
        self.works.store.changes().imports.notify_one();
    }
}

async fn work(under_way: UnderWay, token: CancellationToken) {
    let (works, import) = (&under_way.works, &under_way.import);
    if let Err(error) = caught(bring(works, import, &token)).await {
        // The next pass begins it again.
        tracing::warn!(import.id = %import.id, error = format!("{error:#}"), "an import was broken off; it will be tried again");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = token.cancelled() => {}
        }
    }
}

/// Brings all that an import is to bring, and records how that ended.
async fn bring(works: &Works, import: &Import, token: &CancellationToken) -> anyhow::Result<()> {
    let (row, now) = (import.clone(), works.clock.now());
    if !works.store.write(move |tx| imports::started(tx, &row, now)).await? {
        return Ok(());
    }
    if import.commits && is_committed(works, import).await? {
        // Nobody else commits while it lives: it had brought everything when it was broken off.
        let message = "the version was committed; the daemon ended before it had noted what came".to_owned();
        return finish(works, import, ImportState::Done, Some(message), None).await;
    }
    let mut pause = PAUSE;
    let mut tried = 1;
    let brought = loop {
        let one = async {
            let found = version_of(works, import).await?;
            import_sources::bring(works, import, &found, token).await
        };
        let result = tokio::select! {
            // Stopped or cancelled; what it does on threads of its own ends at its next word.
            () = token.cancelled() => return Ok(()),
            result = telling(works, import, one) => result,
        };
        match result {
            Err(Trouble::Passing(words)) if tried < TRIES => {
                tracing::info!(import.id = %import.id, "an import is tried again in {pause:?}: {words}");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = token.cancelled() => return Ok(()),
                }
                pause *= 2;
                tried += 1;
            }
            other => break other,
        }
    };
    crate::fault::point("import.brought");
    let settled = match brought {
        Ok(brought) => Ok(brought),
        Err(Trouble::Final(words)) => Err(words),
        Err(Trouble::Passing(words)) => {
            Err(format!("{words}. It was tried {TRIES} times: import it again later, which passes over what came"))
        }
        Err(Trouble::Later(error)) => return Err(error),
    };
    settle(works, import, settled).await
}

/// Records how an import ended, and commits the version if that was asked for.
async fn settle(works: &Works, import: &Import, brought: Result<Brought, String>) -> anyhow::Result<()> {
    let (state, message, totals) = match brought {
        Ok(brought) => (ImportState::Done, brought.left_out, Some(brought.totals)),
        Err(words) => (ImportState::Failed, Some(words), None),
    };
    // First the commit: an import that is done is done with all that was asked of it.
    let (state, message) = match state {
        ImportState::Done if import.commits => match commit(works, import).await {
            Ok(()) => (state, message),
            Err(error @ (ServiceError::DiskFull | ServiceError::Store(_) | ServiceError::Io(_))) => {
                return Err(error.into());
            }
            Err(ServiceError::Conflict { code: MAY_NOT_PUBLISH, message }) => {
                // The version says it too: whoever may commit it looks there.
                works.services.note_draft(import.version_seq, format!("import {}: {message}", import.id)).await?;
                (ImportState::Failed, Some(format!("everything is there, and the version is a draft: {message}")))
            }
            Err(error) => (
                ImportState::Failed,
                Some(format!("everything is there, and the version could not be committed: {error}")),
            ),
        },
        _ => (state, message),
    };
    finish(works, import, state, message, totals).await
}

async fn finish(
    works: &Works,
    import: &Import,
    state: ImportState,
    message: Option<String>,
    totals: Option<Totals>,
) -> anyhow::Result<()> {
    crate::fault::point("import.settled.before");
    let (row, now, services) = (import.clone(), works.clock.now(), works.services.clone());
    let write = works.store.write(move |tx| {
        // One that was cancelled meanwhile keeps that word, and its version gets no tags.
        if imports::finish(tx, &row, state, message.as_deref(), totals, now)? && state == ImportState::Done {
            services.tag_imported(tx, &row)?;
        }
        Ok::<_, ServiceError>(())
    });
    write.await?;
    let journal = journal(works, import);
    blocking(move || Journal::remove(&journal)).await?;
    works.services.care.wake_usage.notify_one();
    Ok(())
}

async fn commit(works: &Works, import: &Import) -> Result<(), ServiceError> {
    let found = match version_of(works, import).await {
        Ok(found) => found,
        Err(Trouble::Final(words)) => return Err(ServiceError::Conflict { code: "version_gone", message: words }),
        Err(Trouble::Passing(_) | Trouble::Later(_)) => {
            return Err(ServiceError::not_found("version", &import.version));
        }
    };
    let by = Committer { may_publish: import.may_publish, import: Some(import.seq) };
    works.services.commit_found(found, by).await.map(drop)
}

async fn is_committed(works: &Works, import: &Import) -> anyhow::Result<bool> {
    let seq = import.version_seq;
    let version = works.store.read(move |connection| versions::get(connection, seq)).await?;
    Ok(version.is_some_and(|version| version.state == VersionState::Committed))
}

pub(super) fn journal(works: &Works, import: &Import) -> std::path::PathBuf {
    let version = works.data.version(&import.team, &import.dataset, &import.version);
    version.root().join(format!("{}.jsonl", import.id))
}

async fn version_of(works: &Works, import: &Import) -> Result<Resolved, Trouble> {
    let (id, seq) = (import.dataset.clone(), import.version_seq);
    let found = works.store.read(move |connection| {
        let (dataset, version) = (datasets::by_id(connection, &id)?, versions::get(connection, seq)?);
        Ok::<_, StoreError>(dataset.zip(version).map(|(dataset, version)| Resolved { dataset, version }))
    });
    let found = found.await.map_err(|error| Trouble::Later(error.into()))?;
    found.ok_or_else(|| Trouble::Final("the version was deleted meanwhile".to_owned()))
}

/// Tells open pages every second how far an import is.
async fn telling<T>(works: &Works, import: &Import, work: impl Future<Output = T>) -> T {
    let row = import.clone();
    let tell = move |tx: &Tx<'_>, now| imports::tell_progress(tx, &row, now);
    while_telling(works, || works.board.import_progress(&import.id), tell, work).await
}
