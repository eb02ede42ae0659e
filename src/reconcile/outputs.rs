//! Makes versions of what a run that is over wrote to `/outputs`. A run that ended well gives a
//! committed version; what another one wrote is kept as a draft that says so.
//!
//! Every step can be done again: the version is made once and noted before the first file moves into
//! it, a file that has moved is not there a second time, and committing twice is as good as once.

use std::{ops::ControlFlow, path::PathBuf, sync::Mutex};

use anyhow::Context;

use super::Works;
use crate::{
    domain::{
        content::Totals,
        dataset::{JobOutput, OutputState, Use, VersionState},
        id::{DatasetId, VersionId},
        workload::{State, Workload},
    },
    service::{
        ServiceError, Services, blocking,
        committing::{Committer, MAY_NOT_PUBLISH},
        references::Resolved,
        s3_versions::send_tree,
        version_home::of_tree,
    },
    storage::{
        beneath::Beneath,
        dataset::{CareError, DirError, DirTaken, TreeError, Writers, adopt_aside, adopt_dir, usage},
    },
    store::{StoreError, datasets, job_outputs, version_uses, versions, workloads},
};

/// Why an output is not a version yet.
enum Obstacle {
    /// It never will be, in words.
    Final(String),
    /// It may be later: the disk is full, or something is out of reach.
    Later(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Obstacle {
    fn from(error: E) -> Self {
        Self::Later(error.into())
    }
}

/// Collects the outputs of a run whose container is gone. Done again, it goes on where it was.
pub(super) async fn collect(works: &Works, workload: &Workload) -> anyhow::Result<()> {
    let id = workload.id.clone();
    let outputs = works.store.read(move |connection| job_outputs::of_job(connection, &id)).await?;
    for output in outputs {
        if !matches!(output.state, OutputState::Waiting | OutputState::Collecting) {
            continue;
        }
        let (state, message) = match collect_one(works, workload, &output).await {
            Ok(settled) => settled,
            Err(Obstacle::Final(words)) => {
                tracing::warn!(job.id = %workload.id, output = output.name, "an output could not be kept: {words}");
                (OutputState::Failed, Some(words))
            }
            Err(Obstacle::Later(error)) => {
                return Err(error.context(format!("making a version of /outputs/{}", output.name)));
            }
        };
        crate::fault::point("output.settled.before");
        let (seq, name) = (workload.seq, output.name.clone());
        let write = works.store.write(move |tx| job_outputs::set_state(tx, seq, &name, state, message.as_deref()));
        write.await.context("recording what became of an output")?;
    }
    Ok(())
}

async fn collect_one(
    works: &Works,
    workload: &Workload,
    output: &JobOutput,
) -> Result<(OutputState, Option<String>), Obstacle> {
    let source = works.data.run(&workload.id).output(&output.name);
    if output.version.is_none() && is_empty(source.clone()).await? {
        return Ok((OutputState::Empty, Some(format!("the run wrote nothing to /outputs/{}", output.name))));
    }
    let found = match &output.version {
        Some(version) => version_of(works, &output.dataset, version).await?,
        None => begin(works, workload, output).await?,
    };
    crate::fault::point("output.begun");
    let left_out = if found.version.state == VersionState::Committed {
        // By this, before it was broken off, or by somebody as it was; either way nothing is added.
        None
    } else {
        take(works, workload, &found, source).await?
    };
    crate::fault::point("output.taken");
    let refused = match workload.state {
        // Somebody wanted also what another run left to be one.
        _ if found.version.state == VersionState::Committed => None,
        State::Stopped => commit(&works.services, found, output.may_publish).await?,
        _ => Some(note(workload)),
    };
    let settled = match refused {
        None => (OutputState::Committed, left_out),
        Some(note) => (OutputState::Draft, Some(left_out.map_or(note.clone(), |words| format!("{note}; {words}")))),
    };
    // What it holds has its place in the version, which is on the disk.
    let (run, name) = (works.data.run(&workload.id), output.name.clone());
    blocking(move || run.remove_output(&name)).await?;
    Ok(settled)
}

/// Says why the version of a run that did not end well is a draft.
fn note(workload: &Workload) -> String {
    let why = workload.message.as_deref().map(|words| format!(": {words}")).unwrap_or_default();
    format!("outputs of run {}, which ended {}{why}", workload.id, workload.state.as_str().to_uppercase())
}

async fn is_empty(source: PathBuf) -> Result<bool, Obstacle> {
    // The first file is enough to know.
    let counted = blocking(move || match source.try_exists()? {
        true => usage(&source, &|_| ControlFlow::Break(())).map(Some),
        false => Ok(None),
    });
    match counted.await.map(Option::unwrap_or_default) {
        Ok(usage) => Ok(usage.files == 0),
        Err(CareError::Stopped) => Ok(false),
        Err(CareError::Io(error)) => Err(error.into()),
    }
}

/// Adds the version that the output becomes and notes it, in one transaction.
async fn begin(works: &Works, workload: &Workload, output: &JobOutput) -> Result<Resolved, Obstacle> {
    let gone = || {
        let words =
            "its dataset was deleted while the run went on: what it wrote stays with the run until the job is deleted";
        Obstacle::Final(words.to_owned())
    };
    if output.dataset_deleted {
        return Err(gone());
    }
    let (services, workload, output) = (works.services.clone(), workload.clone(), output.clone());
    let now = works.clock.now();
    let found = works
        .store
        .write(move |tx| {
            let Some(dataset) = datasets::by_id(tx, &output.dataset)? else { return Ok(None) };
            let mut id = VersionId::mint(&*services.ids);
            while versions::is_known(tx, dataset.seq, &id)? {
                id = VersionId::mint(&*services.ids);
            }
            let new = versions::NewVersion {
                dataset: dataset.seq,
                id,
                user: workload.user.clone(),
                message: format!("/outputs/{} of {}", output.name, workload.name),
                metadata: std::collections::BTreeMap::new(),
                parent: None,
                made_by: Some(workload.id.clone()),
                note: (workload.state != State::Stopped).then(|| note(&workload)),
            };
            let version = versions::insert(tx, &new, now)?;
            job_outputs::set_version(tx, workload.seq, &output.name, version)?;
            let used = version_uses::NewUse {
                version,
                team: &workload.team,
                job: &workload.id,
                job_name: &workload.name,
                name: &output.name,
                role: Use::Output,
            };
            version_uses::insert(tx, &used, now)?;
            let Some(version) = versions::get(tx, version)? else { return Ok(None) };
            services.tell_version(tx, &version, "created", serde_json::json!({}))?;
            Ok::<_, ServiceError>(Some(Resolved { dataset, version }))
        })
        .await?;
    found.ok_or_else(gone)
}

/// Finds the version that was begun for an output.
async fn version_of(works: &Works, dataset: &DatasetId, version: &VersionId) -> Result<Resolved, Obstacle> {
    let (dataset, version) = (dataset.clone(), version.clone());
    let found = works.store.read(move |connection| {
        let Some(dataset) = datasets::by_id(connection, &dataset)? else { return Ok(None) };
        let version = versions::by_id(connection, dataset.seq, &version)?;
        Ok::<_, StoreError>(version.map(|version| Resolved { dataset, version }))
    });
    let gone = || Obstacle::Final("the version that it was to become was deleted meanwhile".to_owned());
    found.await?.ok_or_else(gone)
}

/// Takes what the run wrote into the version, as far as the team's quota goes. Says what cannot be in one.
async fn take(
    works: &Works,
    workload: &Workload,
    found: &Resolved,
    source: PathBuf,
) -> Result<Option<String>, Obstacle> {
    let home = works.services.home(&found.dataset, &found.version.id).await;
    let home = home.map_err(Obstacle::of_service)?;
    let limit = works.services.dataset_store().limits().max_version_files;
    let pass = match works.services.pass(found).await {
        Ok(pass) => pass,
        // Somebody committed it as it was; what is not in it now never will be.
        Err(ServiceError::Conflict { code: "version_committed", .. }) => return Ok(None),
        Err(error) => return Err(Obstacle::of_service(error)),
    };
    let looked_for = source.clone();
    if !blocking(move || looked_for.try_exists()).await? {
        // All of it was taken and its place removed before this was broken off.
        return Ok(None);
    }
    let seq = workload.seq;
    // Runs of a team share a directory, and so sockets, through which one could hand another a file
    // that it has open for writing.
    let writers = match works.store.read(move |connection| workloads::had_company(connection, seq)).await? {
        true => Writers::Perhaps,
        false => Writers::Gone,
    };
    let (services, team) = (works.services.clone(), found.dataset.team.clone());
    let (files, on_disk) = (home.files.clone(), home.s3.is_none());
    let (taken, staged) = blocking(move || {
        if on_disk {
            files.create()?;
        } else {
            files.dir().create()?;
        }
        files.thaw()?;
        let refused = Mutex::new((0, None));
        let watch = |so_far: Totals| {
            let mut refused = refused.lock().expect("no code panics while it holds this lock");
            let more = so_far.bytes.saturating_sub(refused.0);
            refused.0 = so_far.bytes;
            let fits = if on_disk && so_far.files > limit {
                // What a run wrote is the first that its version holds.
                Err(of_tree(TreeError::TooManyFiles { limit }))
            } else {
                services.take(&team, more)
            };
            match fits {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    refused.1 = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let source = Beneath::open(&source)?;
        let taken = match on_disk {
            true => adopt_dir(&source, &files, writers, &watch).map(|taken| (taken, None)),
            false => adopt_aside(&source, &files, writers, &watch).map(|(staged, taken)| (taken, Some(staged))),
        };
        // Also of a part: it counts, and the next try finds it.
        files.blobs().make_durable()?;
        match refused.into_inner().expect("no code panics while it holds this lock").1 {
            Some(error) => Err(Obstacle::of_service(error)),
            None => taken.map_err(Obstacle::of_dir),
        }
    })
    .await?;
    let mut links = 0;
    if let (Some(bucket), Some(staged)) = (&home.s3, staged) {
        let sent = send_tree(bucket, staged.tree()).await;
        blocking(move || drop(staged)).await;
        links = sent.map_err(Obstacle::of_service)?.links;
    }
    pass.recount();
    works.services.tell_progress(&found.version);
    if links > 0 {
        return Ok(Some(format!("{links} symbolic links stayed behind, which S3 does not have")));
    }
    Ok(left_out(&taken))
}

/// Names what a version cannot hold, some at most.
fn left_out(taken: &DirTaken) -> Option<String> {
    let first: Vec<_> = taken.named.iter().take(5).map(|one| format!("“{}” ({})", one.path, one.why)).collect();
    (taken.left_out > 0).then(|| format!("{} entries cannot be in a version: {}", taken.left_out, first.join(", ")))
}

/// Commits a version. Says why it stays a draft, when it cannot be committed as it stands.
async fn commit(services: &Services, found: Resolved, may_publish: bool) -> Result<Option<String>, Obstacle> {
    let version = found.version.seq;
    match services.commit_found(found, Committer { may_publish, import: None }).await {
        Ok(_) => Ok(None),
        Err(ServiceError::Conflict { code: MAY_NOT_PUBLISH, message }) => {
            services.note_draft(version, message.clone()).await.map_err(Obstacle::of_service)?;
            Ok(Some(format!("the version is a draft: {message}")))
        }
        Err(ServiceError::Conflict { code: "import_running", message }) => {
            Ok(Some(format!("the version is a draft, for whoever wants to commit it: {message}")))
        }
        Err(error) => Err(Obstacle::of_service(error)),
    }
}

impl Obstacle {
    fn of_dir(error: DirError) -> Self {
        match error {
            DirError::Tree(TreeError::Full) => Self::Later(anyhow::anyhow!("the disk is full")),
            DirError::Stopped => Self::Later(anyhow::anyhow!("it was ended before it was done")),
            other => Self::Final(format!("{other}. What the run wrote stays with it until the job is deleted")),
        }
    }

    fn of_service(error: ServiceError) -> Self {
        match error {
            ServiceError::QuotaExceeded(words) => Self::Final(format!(
                "{words}. The version is a draft with what could be kept; the rest stays with the run until the job is deleted"
            )),
            ServiceError::Conflict { code: "too_many_files", message } => Self::Final(format!(
                "{message}. The version is a draft with what it could hold; the rest stays with the run until the job is deleted"
            )),
            ServiceError::Conflict { message, .. } => Self::Final(message),
            ServiceError::NotFound { .. } => Self::Final("its dataset or version was deleted meanwhile".to_owned()),
            other => Self::Later(other.into()),
        }
    }
}
