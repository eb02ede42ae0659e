//! Brings versions that lie on S3 to this disk for sessions that run already: beside what else sessions get, and ended
//! when nobody wants them any more.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Works,
    inputs::{self, Telling},
};
use crate::{
    domain::{
        dataset::{Dataset, Version},
        integration::SessionMount,
        storage_provider::ProviderKind,
        time::Timestamp,
        workload::Workload,
    },
    service::blocking,
    store::{datasets, versions},
};

/// Pause before something that could not be brought here is tried again.
const AGAIN: Duration = Duration::from_secs(60);
const HELD: &str = "no code panics while it holds this lock";

/// What is being brought here, or failed, by the numbers of session and version.
#[derive(Default)]
pub(super) struct Fetches(Mutex<HashMap<(i64, i64), Fetch>>);

/// The bringing of a version for a session.
struct Fetch {
    ending: CancellationToken,
    state: Arc<Mutex<FetchState>>,
}

/// How far it is.
#[derive(Debug, Clone)]
pub(super) enum FetchState {
    UnderWay { done: u64, total: u64 },
    Here,
    Failed { words: String, at: Timestamp },
}

impl Fetches {
    /// Returns whether the files of a version are on this disk, and has them brought here if not.
    pub(super) async fn look(
        &self,
        works: &Works,
        session: &Workload,
        mount: &SessionMount,
    ) -> anyhow::Result<FetchState> {
        let key = (session.seq, mount.version_seq);
        let now = works.clock.now();
        if let Some(fetch) = self.0.lock().expect(HELD).get(&key) {
            let state = fetch.state.lock().expect(HELD).clone();
            match &state {
                FetchState::Failed { at, .. } if now.since(*at) >= AGAIN => {}
                _ => return Ok(state),
            }
        }
        let (id, version) = (mount.dataset.clone(), mount.version.clone());
        let found = works.store.read(move |connection| {
            let version = versions::by_ids(connection, &id, &version)?.map(|(version, _)| version);
            Ok::<_, crate::store::StoreError>((datasets::by_id(connection, &id)?, version))
        });
        let (dataset, version) = found.await?;
        let tree = works.data.version(&mount.team, &mount.dataset, &mount.version).tree();
        let (Some(dataset), Some(version)) = (dataset, version) else {
            // Deleted since; what is here stays as long as it is in use.
            return Ok(of_tree(tree, now).await);
        };
        if dataset.provider_kind != ProviderKind::S3 {
            return Ok(of_tree(tree, now).await);
        }
        let total = version.totals.unwrap_or_default().bytes;
        let begun = FetchState::UnderWay { done: 0, total };
        let fetch = Fetch { ending: CancellationToken::new(), state: Arc::new(Mutex::new(begun.clone())) };
        works.tasks.spawn(bring(works.clone(), dataset, version, fetch.ending.clone(), Arc::clone(&fetch.state)));
        self.0.lock().expect(HELD).insert(key, fetch);
        Ok(begun)
    }

    /// Ends the bringing of what nobody wants any more.
    pub(super) fn keep(&self, keep: impl Fn(i64, i64) -> bool) {
        self.0.lock().expect(HELD).retain(|(session, version), fetch| {
            let keeps = keep(*session, *version);
            if !keeps {
                fetch.ending.cancel();
            }
            keeps
        });
    }
}

async fn of_tree(tree: PathBuf, now: Timestamp) -> FetchState {
    match blocking(move || tree.is_dir()).await {
        true => FetchState::Here,
        false => {
            FetchState::Failed { words: "its files are not there any more: take another version".to_owned(), at: now }
        }
    }
}

async fn bring(
    works: Works,
    dataset: Dataset,
    version: Version,
    ending: CancellationToken,
    state: Arc<Mutex<FetchState>>,
) {
    let total = version.totals.unwrap_or_default().bytes;
    let progress = |done| *state.lock().expect(HELD) = FetchState::UnderWay { done, total };
    let telling = Telling { setup: None, progress: &progress };
    let brought = tokio::select! {
        () = ending.cancelled() => return,
        () = works.stop.cancelled() => return,
        brought = inputs::bring_alone(&works, &dataset, &version, &telling) => brought,
    };
    let now = works.clock.now();
    *state.lock().expect(HELD) = match brought {
        Ok(()) => FetchState::Here,
        Err(failure) => FetchState::Failed { words: failure.words(), at: now },
    };
    works.services.data_nudge().notify_one();
}
