//! Puts versions of other teams where a session sees them that are asked for while it runs: trees of further names
//! of the same files, which takes as long as there are files. So it is done beside what else sessions get, a few at a
//! time, and ended when nobody wants it any more.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Works, notebook_launch::Place};
use crate::{
    domain::{integration::SessionMount, time::Timestamp, workload::Workload},
    fault,
    service::blocking,
    storage::session_data::SessionDir,
    store::workloads,
};

/// Trees that are made at the same time, of all sessions together.
const AT_ONCE: usize = 4;
/// Pause before one that failed is tried again.
const AGAIN: Duration = Duration::from_secs(60);
const HELD: &str = "no code panics while it holds this lock";

/// What is being made, or failed, by the numbers of session and version.
pub(super) struct Takes {
    all: Mutex<HashMap<(i64, i64), Take>>,
    room: Arc<Semaphore>,
}

impl Default for Takes {
    fn default() -> Self {
        Self { all: Mutex::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

struct Take {
    ending: CancellationToken,
    state: Arc<Mutex<TakeState>>,
}

#[derive(Debug, Clone)]
enum TakeState {
    UnderWay,
    /// It is there, or was ended: whoever wants it looks.
    Over,
    Failed {
        words: String,
        at: Timestamp,
    },
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    There,
    UnderWay,
    /// In words for people.
    Failed(String),
}

impl Takes {
    /// Returns whether a version is where a session sees it, and has it put there if not.
    pub(super) async fn look(&self, works: &Works, session: &Workload, mount: &SessionMount, place: &Place) -> Taken {
        let dir = SessionDir::of(works.data.run(&session.id));
        let (look, dataset, version) = (dir.clone(), mount.dataset.clone(), mount.version.clone());
        if blocking(move || look.has_taken(&dataset, &version)).await {
            return Taken::There;
        }
        let key = (session.seq, mount.version_seq);
        let now = works.clock.now();
        let mut all = self.all.lock().expect(HELD);
        match all.get(&key).map(|take| take.state.lock().expect(HELD).clone()) {
            // One that is ending must be over before another writes in the same place.
            Some(TakeState::UnderWay) => return Taken::UnderWay,
            Some(TakeState::Failed { words, at }) if now.since(at) < AGAIN => return Taken::Failed(words),
            Some(TakeState::Failed { .. } | TakeState::Over) | None => {}
        }
        let take = Take { ending: CancellationToken::new(), state: Arc::new(Mutex::new(TakeState::UnderWay)) };
        let (ending, state) = (take.ending.clone(), Arc::clone(&take.state));
        let (works, session, mount, tree) = (works.clone(), session.clone(), mount.clone(), place.tree.clone());
        let room = Arc::clone(&self.room);
        works.tasks.clone().spawn(async move {
            let told = Told { works: works.clone(), state };
            let permit = tokio::select! {
                () = ending.cancelled() => return,
                () = works.stop.cancelled() => return,
                permit = room.acquire_owned() => permit,
            };
            let (into, stop) = (dir.clone(), works.stop.clone());
            let made = blocking(move || {
                fault::hold("notebook_data.take");
                let goes_on = || !ending.is_cancelled() && !stop.is_cancelled();
                into.take(&tree, &mount.dataset, &mount.version, &goes_on).map(|_| ())
            });
            told.end(made.await);
            drop(permit);
            tidy(&works, &session, dir).await;
        });
        all.insert(key, take);
        Taken::UnderWay
    }

    /// Ends the making of what nobody wants any more.
    pub(super) fn keep(&self, keep: impl Fn(i64, i64) -> bool) {
        self.all.lock().expect(HELD).retain(|(session, version), take| {
            let keeps = keep(*session, *version);
            if !keeps {
                take.ending.cancel();
            }
            keeps || matches!(*take.state.lock().expect(HELD), TakeState::UnderWay)
        });
    }
}

/// Says how it ended, also when it panicked: nothing may stay under way for ever.
struct Told {
    works: Works,
    state: Arc<Mutex<TakeState>>,
}

impl Told {
    fn end(&self, made: io::Result<()>) {
        *self.state.lock().expect(HELD) = match made {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => TakeState::Failed {
                words: format!("its files could not be put there: {error}"),
                at: self.works.clock.now(),
            },
            _ => TakeState::Over,
        };
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let mut state = self.state.lock().expect(HELD);
        if matches!(*state, TakeState::UnderWay) {
            *state = TakeState::Over;
        }
        // It links what is there and tells people.
        self.works.services.data_nudge().notify_one();
    }
}

/// Removes what was made for a session that ended meanwhile: its teardown may have looked before.
async fn tidy(works: &Works, session: &Workload, dir: SessionDir) {
    let id = session.id.clone();
    let found = works.store.read(move |connection| workloads::get(connection, &id)).await;
    let is_over = matches!(found, Ok(found) if found.as_ref().is_none_or(|workload| workload.state.is_terminal()));
    if is_over && let Err(error) = blocking(move || dir.keep_taken(&Default::default())).await {
        tracing::warn!(session = %session.id, %error, "what a session got while it ended could not be removed");
    }
}
