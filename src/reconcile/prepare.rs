//! Gets everything a workload needs before it holds any GPU: its workspace, the versions that it reads,
//! and its image.
//!
//! A few workers take from a list that the workload loop keeps in order, so a slow pull holds up one
//! of them and not the loop.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Works, caught, ending, inputs, launch, notebook_data,
    setup_log::SetupLog,
    telling::while_telling,
    workloads::{may_pass, record},
};
use crate::{
    domain::{
        board::Progress,
        workload::{Credentials, Kind, Reason, Retries, Spec, State, Wanted, Workload, Workspace},
        workspace::{GitRef, GitUrl, InvalidGitRef},
    },
    executor::{BuildPlan, EngineError, RegistryCredentials},
    service::blocking,
    storage::{
        git::{GitCredentials, GitFetch, GitLimits},
        layout::DataDir,
        upload::{UploadError, UploadStore},
        workspace::{self, Contents, WorkspaceError},
    },
    store::{Tx, events, workloads},
};

/// Tries of something that may work a moment later, such as a pull.
const TRIES: u32 = 3;
/// Pause before the second try; doubled for the third.
const PAUSE: Duration = Duration::from_secs(2);
/// Pause of a worker after a preparation that failed for a moment.
const RETRY: Duration = Duration::from_secs(1);
/// How long an image that was found is taken to be there still.
const IMAGE_KNOWN: Duration = Duration::from_secs(5);

/// The workers and their list.
pub(super) struct Preparer {
    shared: Arc<Shared>,
}

struct Shared {
    list: Mutex<VecDeque<Workload>>,
    under_way: Mutex<HashMap<i64, CancellationToken>>,
    images: Mutex<HashMap<String, (String, tokio::time::Instant)>>,
    more: Notify,
}

/// Why a workload cannot be prepared.
pub(super) enum Failure {
    /// For good: the workload ends with this.
    Final(Reason, String),
    /// For now; the loop offers the workload again.
    Later(anyhow::Error),
}

impl Failure {
    /// Returns what is wrong, for people.
    pub(super) fn words(self) -> String {
        match self {
            Self::Final(_, words) => words,
            Self::Later(error) => format!("{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Later(error)
    }
}

impl Preparer {
    pub(super) fn start(works: &Works) -> Self {
        let shared = Arc::new(Shared {
            list: Mutex::default(),
            under_way: Mutex::default(),
            images: Mutex::default(),
            more: Notify::new(),
        });
        for _ in 0..works.settings.prepare_parallel.max(1) {
            works.tasks.spawn(work(works.clone(), Arc::clone(&shared)));
        }
        Self { shared }
    }

    /// Replaces the list of what is to be prepared, first things first.
    pub(super) fn offer(&self, list: Vec<Workload>) {
        let some = !list.is_empty();
        *self.shared.list.lock().expect("no code panics while it holds this lock") = list.into();
        if some {
            self.shared.more.notify_waiters();
            self.shared.more.notify_one();
        }
    }

    /// Gives up preparing a workload that was called off.
    pub(super) fn cancel(&self, seq: i64) {
        if let Some(token) = self.shared.under_way.lock().expect("no code panics while it holds this lock").get(&seq) {
            token.cancel();
        }
    }
}

impl Shared {
    /// Takes the first workload that nobody prepares yet.
    fn take(&self) -> Option<(Workload, CancellationToken)> {
        let mut under_way = self.under_way.lock().expect("no code panics while it holds this lock");
        let mut list = self.list.lock().expect("no code panics while it holds this lock");
        let taken: HashSet<i64> = under_way.keys().copied().collect();
        let at = list.iter().position(|workload| !taken.contains(&workload.seq))?;
        let workload = list.remove(at)?;
        let token = CancellationToken::new();
        under_way.insert(workload.seq, token.clone());
        Some((workload, token))
    }

    fn known_image(&self, reference: &str) -> Option<String> {
        let images = self.images.lock().expect("no code panics while it holds this lock");
        images.get(reference).filter(|(_, seen)| seen.elapsed() < IMAGE_KNOWN).map(|(id, _)| id.clone())
    }

    fn note_image(&self, reference: &str, id: &str) {
        let mut images = self.images.lock().expect("no code panics while it holds this lock");
        images.retain(|_, (_, seen)| seen.elapsed() < IMAGE_KNOWN);
        images.insert(reference.to_owned(), (id.to_owned(), tokio::time::Instant::now()));
    }
}

async fn work(works: Works, shared: Arc<Shared>) {
    loop {
        let Some((workload, token)) = shared.take() else {
            tokio::select! {
                () = works.stop.cancelled() => return,
                () = shared.more.notified() => continue,
            }
        };
        let (seq, id, title) = (workload.seq, workload.id.clone(), workload.title());
        let under_way = UnderWay { works: works.clone(), shared: Arc::clone(&shared), seq, id: id.clone() };
        tokio::select! {
            () = works.stop.cancelled() => return,
            () = token.cancelled() => {}
            result = caught(prepare(&works, &shared, workload)) => if let Err(error) = result {
                // Offered again at the next pass; not at once, or it would spin.
                tokio::time::sleep(RETRY).await;
                tracing::warn!(run.id = %id, error = format!("{error:#}"), "{title}: preparing failed; it will be tried again");
            }
        }
        drop(under_way);
        // What was called off is withdrawn by the loop; what is ready is placed by it.
        if token.is_cancelled() {
            works.store.changes().workloads.notify_one();
        }
    }
}

/// Takes a workload off the list of what is under way, however its preparation ends.
struct UnderWay {
    works: Works,
    shared: Arc<Shared>,
    seq: i64,
    id: crate::domain::id::JobId,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.works.board.set_progress(&self.id, None);
        self.shared.under_way.lock().expect("no code panics while it holds this lock").remove(&self.seq);
    }
}

async fn prepare(works: &Works, shared: &Shared, workload: Workload) -> anyhow::Result<()> {
    let (seq, id) = (workload.seq, workload.id.clone());
    // The offer may be a pass old: look whether it still stands.
    let row = works.store.read(move |connection| workloads::get(connection, &id)).await?;
    let now = works.clock.now();
    let stands = |row: &Workload| {
        row.image_id.is_none()
            && row.state == State::Pending
            && row.wanted == Wanted::Run
            && row.attempt == workload.attempt
            && row.not_before.is_none_or(|time| time <= now)
    };
    let Some(workload) = row.filter(stands) else { return Ok(()) };
    let spec = works.store.read(move |connection| workloads::spec(connection, seq)).await?;
    let outcome = ready(works, shared, &workload, &spec).await;
    let now = works.clock.now();
    match outcome {
        Ok(image) => works
            .store
            .write(move |tx| workloads::prepared(tx, &workload, &image, now))
            .await
            .context("recording that it is ready"),
        Err(Failure::Later(error)) => Err(error),
        Err(Failure::Final(reason, words)) => {
            SetupLog::new(works, &workload, workload.attempt + 1).say(words.clone()).await;
            let ending = ending::of_failed_setup(&workload, reason, words, now);
            // What could not be prepared is tried several times right here, and no attempt counts it.
            record(works, Workload { retries: Retries::default(), ..workload }, ending).await
        }
    }
}

/// Gets workspace and image ready and returns the image's id.
async fn ready(works: &Works, shared: &Shared, workload: &Workload, spec: &Spec) -> Result<String, Failure> {
    let simple = matches!(spec.workspace, Workspace::Empty) && spec.build.is_none();
    let log = SetupLog::new(works, workload, workload.attempt + 1);
    // An empty workspace is made at the launch: thousands may wait that never need one at the same time.
    if !simple {
        let (seq, now) = (workload.seq, works.clock.now());
        works.store.write(move |tx| workloads::setup_started(tx, seq, now)).await.map_err(anyhow::Error::from)?;
        fetch_workspace(works, workload, spec, &log).await?;
    }
    inputs::fetch(works, workload, spec, &log).await?;
    notebook_data::prepare(works, workload, &log).await?;
    if let Some(image) = shared.known_image(&spec.image) {
        return Ok(image);
    }
    if let Some(image) = works.executor.image(&spec.image).await.map_err(anyhow::Error::from)? {
        shared.note_image(&spec.image, &image.id);
        return Ok(image.id);
    }
    let (seq, now) = (workload.seq, works.clock.now());
    works.store.write(move |tx| workloads::setup_started(tx, seq, now)).await.map_err(anyhow::Error::from)?;
    if spec.build.is_some() {
        build(works, workload, spec, &log).await
    } else {
        pull(works, workload, spec, &log).await
    }
}

async fn credentials(
    works: &Works,
    workload: &Workload,
    from: Option<&Credentials>,
) -> Result<Option<RegistryCredentials>, Failure> {
    let Some(from) = from else { return Ok(None) };
    match launch::password(works, workload, &from.password).await? {
        Ok(password) => Ok(Some(RegistryCredentials { username: from.username.clone(), password })),
        Err(name) => Err(Failure::Final(
            Reason::SecretMissing,
            format!("there is no secret “{name}” any more: set it again, and {}", workload.kind.once_more()),
        )),
    }
}

async fn pull(works: &Works, workload: &Workload, spec: &Spec, log: &SetupLog) -> Result<String, Failure> {
    let credentials = credentials(works, workload, spec.registry.as_ref()).await?;
    log.say(format!("pulling image {}", spec.image)).await;
    let mut pause = PAUSE;
    let mut tried = 1;
    loop {
        let progress = |progress: crate::executor::Progress| {
            let progress = Progress {
                what: "pulling image".to_owned(),
                done_bytes: Some(progress.done_bytes),
                total_bytes: Some(progress.total_bytes),
            };
            works.board.set_progress(&workload.id, Some(progress));
        };
        let pulled = telling(works, workload, works.executor.pull(&spec.image, credentials.as_ref(), &progress)).await;
        let error = match pulled {
            Ok(image) => {
                log.say(format!("pulled {} bytes", image.size_bytes)).await;
                return Ok(image.id);
            }
            Err(error) => error,
        };
        let image = &spec.image;
        match error {
            EngineError::NotFound(words) => {
                let words = format!(
                    "there is no image {image}: check its name and tag, and give registryUsername and registryPassword if it is private ({words})"
                );
                return Err(Failure::Final(Reason::ImageNotFound, words));
            }
            EngineError::Unauthorized(words) => {
                let words = format!(
                    "the registry of {image} wants other credentials: set registryUsername and registryPassword ({words})"
                );
                return Err(Failure::Final(Reason::RegistryUnauthorized, words));
            }
            error if may_pass(&error) => return Err(Failure::Later(error.into())),
            error if tried >= TRIES => {
                let words = format!(
                    "image {image} could not be pulled, {TRIES} times: {error}. Check the network and the registry, then {}",
                    workload.kind.once_more()
                );
                return Err(Failure::Final(Reason::PullFailed, words));
            }
            error => log.say(format!("the pull failed, trying again: {error}")).await,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
        tried += 1;
    }
}

/// Tells open pages every second how far the preparing of a workload is.
pub(super) async fn telling<T>(works: &Works, workload: &Workload, work: impl Future<Output = T>) -> T {
    let told = workload.clone();
    let tell = move |tx: &Tx<'_>, now| {
        let (kind, id) = told.subject();
        events::append(tx, &told.team, kind, id, "progress", serde_json::json!({}), now)
    };
    while_telling(works, || works.board.progress(&workload.id), tell, work).await
}

async fn build(works: &Works, workload: &Workload, spec: &Spec, log: &SetupLog) -> Result<String, Failure> {
    let Some(build) = &spec.build else { return Err(anyhow::anyhow!("nothing to build").into()) };
    works.board.set_progress(
        &workload.id,
        Some(Progress { what: "building image".to_owned(), done_bytes: None, total_bytes: None }),
    );
    log.say(format!("building image from {}", build.dockerfile)).await;
    let plan = BuildPlan {
        tag: spec.image.clone(),
        context: works.data.run(&workload.id).workspace(),
        dockerfile: build.dockerfile.clone(),
        labels: [("gradientd.workload".to_owned(), workload.id.to_string())].into(),
        cpu_millis: workload.needs.cpu_millis,
        memory_bytes: workload.needs.memory_bytes,
    };
    let keep = |line: &str| log.keep(line);
    let building = works.executor.build(&plan, &keep);
    tokio::pin!(building);
    let mut flush = tokio::time::interval(Duration::from_millis(500));
    let result = loop {
        tokio::select! {
            result = &mut building => break result,
            _ = flush.tick() => log.flush().await,
        }
    };
    log.flush().await;
    match result {
        Ok(image) => Ok(image.id),
        Err(error) if may_pass(&error) => Err(Failure::Later(error.into())),
        Err(error) => {
            let words = format!("the image could not be built: {error}. The log has the builder's words");
            Err(Failure::Final(Reason::BuildFailed, words))
        }
    }
}

/// Fills the working directory. It may already be there: an attempt keeps what the one before wrote.
async fn fetch_workspace(works: &Works, workload: &Workload, spec: &Spec, log: &SetupLog) -> Result<(), Failure> {
    if let Kind::Notebook(notebook) = &workload.kind {
        // A later session goes on with the files as the one before left them.
        let home = works.data.notebook(&workload.team, notebook).home();
        if blocking(move || home.exists()).await {
            return Ok(());
        }
    }
    let what = match &spec.workspace {
        Workspace::Empty => "making workspace",
        Workspace::Upload(_) => "unpacking workspace",
        Workspace::Git { .. } => "checking out git",
    };
    works
        .board
        .set_progress(&workload.id, Some(Progress { what: what.to_owned(), done_bytes: None, total_bytes: None }));
    let from = match &spec.workspace {
        Workspace::Git { url, reference, credentials } => {
            let at = reference.as_deref().map(|reference| format!(" at {reference}")).unwrap_or_default();
            log.say(format!("checking out {url}{at}")).await;
            self::credentials(works, workload, credentials.as_ref()).await?
        }
        _ => None,
    };
    let (source, progress) = (spec.workspace.clone(), log.clone());
    let (data, run) = (works.data.clone(), workload.clone());
    let uploads = works.services.upload_store().clone();
    // Dropping this future, when the workload is called off, ends git soon after.
    let cancelled = CancelOnDrop::default();
    let flag = Arc::clone(&cancelled.0);
    let prepared = blocking(move || {
        let dest = destination(&data, &run).map_err(FillError::Io)?;
        fill(&dest, &source, &uploads, from, &progress, &flag)
    })
    .await;
    drop(cancelled);
    log.flush().await;
    match prepared {
        Ok(Some(commit)) => log.say(format!("checked out commit {commit}")).await,
        Ok(None) => {}
        Err(FillError::Upload(error)) => {
            return Err(Failure::Final(
                Reason::WorkspaceFailed,
                format!("the uploaded workspace is not there: {error}. Upload it again"),
            ));
        }
        // Room may come back; until then it waits, and nothing of it is lost.
        Err(FillError::Workspace(WorkspaceError::DiskFull)) => {
            return Err(Failure::Later(anyhow::anyhow!("the disk is full")));
        }
        Err(FillError::Workspace(error)) => {
            return Err(Failure::Final(Reason::WorkspaceFailed, format!("the workspace could not be made: {error}")));
        }
        Err(FillError::Bad(words)) => return Err(Failure::Final(Reason::WorkspaceFailed, words)),
        Err(FillError::Io(error)) => return Err(Failure::Later(error.into())),
    }
    Ok(())
}

#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

enum FillError {
    Upload(UploadError),
    Workspace(WorkspaceError),
    Bad(String),
    Io(std::io::Error),
}

/// Makes the directory in which a workload's files are to lie, and returns where.
fn destination(data: &DataDir, workload: &Workload) -> std::io::Result<PathBuf> {
    if let Kind::Notebook(notebook) = &workload.kind {
        let notebook = data.notebook(&workload.team, notebook);
        notebook.create()?;
        return Ok(notebook.home());
    }
    let run = data.run(&workload.id);
    run.create()?;
    Ok(run.workspace())
}

fn fill(
    dest: &Path,
    source: &Workspace,
    uploads: &UploadStore,
    credentials: Option<RegistryCredentials>,
    log: &SetupLog,
    cancelled: &AtomicBool,
) -> Result<Option<String>, FillError> {
    let prepared = match source {
        Workspace::Empty => workspace::prepare(dest, &Contents::Nothing),
        Workspace::Upload(id) => {
            let file = uploads.archive(id).map_err(FillError::Upload)?;
            workspace::prepare(dest, &Contents::Archive { file: &file, limits: uploads.archive_limits() })
        }
        Workspace::Git { url, reference, .. } => {
            let url: GitUrl = url.parse().map_err(|error| FillError::Bad(format!("{error}")))?;
            let reference: Option<GitRef> = reference
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|error: InvalidGitRef| FillError::Bad(error.to_string()))?;
            let credentials =
                credentials.map(|from| GitCredentials { username: from.username, password: from.password });
            let fetch = GitFetch {
                url: &url,
                reference: reference.as_ref(),
                credentials: credentials.as_ref(),
                limits: GitLimits::default(),
                progress: &|line| {
                    // Percentages come many times a second; only what is done is worth a line.
                    if line.contains("done") || !line.contains('%') {
                        log.keep(line);
                    }
                },
                cancelled,
            };
            workspace::prepare(dest, &Contents::Git(fetch))
        }
    };
    prepared.map(|prepared| prepared.commit).map_err(FillError::Workspace)
}
