//! Makes sure that every version which a run reads is on this disk and whole. One that lies on S3 is
//! brought here first, once for all who wait for it; copies that were not used for longest make room.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Works,
    prepare::{Failure, telling},
    setup_log::SetupLog,
};
use crate::{
    domain::{
        board::Progress,
        content::Totals,
        dataset::{Dataset, Use, Version},
        id::{DatasetId, TeamId, VersionId},
        storage_provider::ProviderKind,
        workload::{Input, Kind, Reason, Spec, Workload},
    },
    service::{ServiceError, blocking},
    storage::{dataset::TreeError, s3::FilesError},
    store::{StoreError, cached_versions, datasets, versions},
};

/// Tries of something that may work a moment later.
const TRIES: u32 = 3;
/// Pause before the second try; doubled for the third.
const PAUSE: Duration = Duration::from_secs(2);

/// Versions that are being brought here, by their numbers.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<i64, Arc<tokio::sync::Mutex<()>>>>);

impl Flights {
    fn of(&self, version: i64) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock().expect("no code panics while it holds this lock");
        // Those that nobody holds are over.
        all.retain(|_, flight| Arc::strong_count(flight) > 1);
        Arc::clone(all.entry(version).or_default())
    }
}

/// What is known of one version that a run reads.
struct Known {
    input: Input,
    version: Option<Version>,
    is_deleted: bool,
    /// `None` for one that is deleted.
    dataset: Option<Dataset>,
}

/// Says why a run cannot have one of its versions, if it cannot.
pub(super) async fn obstacle(works: &Works, workload: &Workload, spec: &Spec) -> anyhow::Result<Option<String>> {
    if spec.inputs.is_empty() {
        return Ok(None);
    }
    Ok(look(works, spec).await?.iter().find_map(|known| refusal(known, &workload.kind)))
}

async fn look(works: &Works, spec: &Spec) -> Result<Vec<Known>, StoreError> {
    let inputs = spec.inputs.clone();
    works
        .store
        .read(move |connection| {
            let mut known = Vec::with_capacity(inputs.len());
            for input in inputs {
                let (version, deleted_at) = versions::by_ids(connection, &input.dataset, &input.version)?.unzip();
                let dataset = datasets::by_id(connection, &input.dataset)?;
                known.push(Known { version, is_deleted: deleted_at.flatten().is_some(), dataset, input });
            }
            Ok(known)
        })
        .await
}

fn refusal(known: &Known, kind: &Kind) -> Option<String> {
    let Known { input, version, is_deleted, .. } = known;
    if input.role == Use::Public {
        // Nobody asked for it. Its files stay as long as this run has a right to them.
        return None;
    }
    let Some(version) = version.as_ref().filter(|_| !is_deleted) else {
        return Some(format!(
            "version {} of {} was deleted in the meantime: choose another one, and {}",
            input.version,
            input.reference,
            kind.once_more()
        ));
    };
    version.damaged_at.is_some().then(|| {
        format!(
            "files of version {} of {} were found damaged: put them in again as a new version, and {}",
            input.version,
            input.reference,
            kind.once_more()
        )
    })
}

/// Brings here what a run reads and is not here yet.
pub(super) async fn fetch(works: &Works, workload: &Workload, spec: &Spec, log: &SetupLog) -> Result<(), Failure> {
    if spec.inputs.is_empty() {
        return Ok(());
    }
    for known in look(works, spec).await.map_err(anyhow::Error::from)? {
        if let Some(words) = refusal(&known, &workload.kind) {
            return Err(Failure::Final(Reason::DatasetFailed, words));
        }
        let (Some(dataset), Some(version)) = (known.dataset, known.version) else { continue };
        if dataset.provider_kind == ProviderKind::S3 {
            bring_for(works, workload, &dataset, &version, log).await?;
        }
    }
    Ok(())
}

/// Who is told how the bringing of a version goes.
pub(super) struct Telling<'a> {
    /// What it is prepared for, if it is, with its log.
    pub setup: Option<(&'a Workload, &'a SetupLog)>,
    /// Is told of the bytes that are here.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Telling<'_> {
    async fn say(&self, words: String) {
        if let Some((_, log)) = self.setup {
            log.say(words).await;
        }
    }
}

/// Brings a version here for a workload that is being prepared.
pub(super) async fn bring_for(
    works: &Works,
    workload: &Workload,
    dataset: &Dataset,
    version: &Version,
    log: &SetupLog,
) -> Result<(), Failure> {
    let total = version.totals.unwrap_or_default().bytes;
    let progress = |done| {
        let what = format!("bringing dataset {}", dataset.name);
        let progress = Progress { what, done_bytes: Some(done), total_bytes: Some(total) };
        works.board.set_progress(&workload.id, Some(progress));
    };
    bring_alone(works, dataset, version, &Telling { setup: Some((workload, log)), progress: &progress }).await
}

/// Brings a version here, if it is not. Whoever comes second finds it here when the first is done.
pub(super) async fn bring_alone(
    works: &Works,
    dataset: &Dataset,
    version: &Version,
    telling: &Telling<'_>,
) -> Result<(), Failure> {
    let flight = works.flights.of(version.seq);
    let _alone = flight.lock().await;
    bring(works, dataset, version, telling).await
}

async fn bring(works: &Works, dataset: &Dataset, version: &Version, told: &Telling<'_>) -> Result<(), Failure> {
    let (seq, now) = (version.seq, works.clock.now());
    let tree = works.data.version(&dataset.team, &dataset.id, &version.id).tree();
    let is_noted = works.store.write(move |tx| cached_versions::touch(tx, seq, now)).await;
    if is_noted.map_err(anyhow::Error::from)? && blocking(move || tree.exists()).await {
        return Ok(());
    }
    let bytes = version.totals.unwrap_or_default().bytes;
    make_room(works, &works.flights, bytes).await?;
    told.say(format!("bringing dataset {}", dataset.name)).await;
    let mut pause = PAUSE;
    let mut tried = 1;
    while let Err(error) = materialise(works, dataset, version, told).await {
        match error {
            Trouble::Later(error) => return Err(Failure::Later(error)),
            Trouble::Final(words) => return Err(Failure::Final(Reason::DatasetFailed, words)),
            Trouble::Passing(words) if tried >= TRIES => {
                // What is mounted while a session runs is asked for again where it was.
                let again = told.setup.map_or("mount it again", |(workload, _)| workload.kind.once_more());
                let words = format!(
                    "dataset {} could not be brought here, {TRIES} times: {words}. When it can be reached again, {again}; what came is kept for a while",
                    dataset.name
                );
                return Err(Failure::Final(Reason::DatasetFailed, words));
            }
            Trouble::Passing(words) => told.say(format!("that failed, trying again: {words}")).await,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
        tried += 1;
    }
    crate::fault::point("input.brought");
    let now = works.clock.now();
    works.store.write(move |tx| cached_versions::put(tx, seq, bytes, now)).await.map_err(anyhow::Error::from)?;
    Ok(())
}

enum Trouble {
    Final(String),
    Passing(String),
    Later(anyhow::Error),
}

async fn materialise(works: &Works, dataset: &Dataset, version: &Version, told: &Telling<'_>) -> Result<(), Trouble> {
    let files = works.services.s3_files(dataset, &version.id).await.map_err(|error| match error {
        ServiceError::Store(_) | ServiceError::Io(_) | ServiceError::DiskFull => Trouble::Later(error.into()),
        other => Trouble::Final(format!("dataset {} cannot be reached: {other}", dataset.name)),
    })?;
    let progress = |done: Totals| (told.progress)(done.bytes);
    progress(Totals::default());
    // Dropping this future, when the job is called off, ends it soon after.
    let cancel = CancellationToken::new();
    let _ending = cancel.clone().drop_guard();
    let bringing = files.materialise(progress, &cancel);
    let brought = match told.setup {
        Some((workload, _)) => telling(works, workload, bringing).await,
        None => bringing.await,
    };
    match brought {
        Ok(_) => Ok(()),
        Err(FilesError::S3(error)) if error.is_passing() => Err(Trouble::Passing(error.to_string())),
        Err(FilesError::Tree(TreeError::Full)) => Err(Trouble::Later(anyhow::anyhow!("the disk is full"))),
        Err(FilesError::Cancelled) => Err(Trouble::Later(anyhow::anyhow!("it was called off"))),
        Err(error) => Err(Trouble::Final(format!("dataset {} could not be brought here: {error}", dataset.name))),
    }
}

/// Removes copies until there is room for `bytes` in the budget: the least recently used first, and
/// never one that a run which is not over reads.
async fn make_room(works: &Works, flights: &Flights, bytes: u64) -> anyhow::Result<()> {
    let budget = works.services.settings.storage.cache_bytes;
    let copies = works.store.read(cached_versions::all).await?;
    let mut used: u64 = copies.iter().map(|copy| copy.bytes).sum();
    let mut evicted: HashMap<TeamId, Vec<(DatasetId, VersionId)>> = HashMap::new();
    for copy in copies.into_iter().filter(|copy| !copy.in_use) {
        if used.saturating_add(bytes) <= budget {
            break;
        }
        let seq = copy.seq;
        // Whoever wants this copy from now on waits till it is gone, and then brings it again; one that
        // somebody is at already stays.
        let flight = flights.of(seq);
        let Ok(_alone) = flight.try_lock() else { continue };
        if !works.store.write(move |tx| cached_versions::forget_unused(tx, seq)).await? {
            continue;
        }
        crate::fault::point("input.evicted");
        used = used.saturating_sub(copy.bytes);
        tracing::info!(dataset = %copy.dataset, version = %copy.version, bytes = copy.bytes, "a copy of a version on S3 makes room");
        evicted.entry(copy.team).or_default().push((copy.dataset, copy.version));
    }
    let now = works.clock.now();
    // Those of a team together: what only they share goes with the last of them.
    for (team, copies) in evicted {
        let store = works.services.dataset_store().clone();
        let removed = blocking(move || store.team(&team)?.remove_copies(&copies, now, &|_| ControlFlow::Continue(())));
        let freed = removed.await?;
        tracing::debug!(bytes = freed.bytes, "room that copies of versions gave back");
    }
    Ok(())
}
