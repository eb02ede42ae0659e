//! Experiments: keep settings, start and stop runs of them, look, change, delete.

use super::{
    ServiceError, Services,
    accepting::Settled,
    blocking,
    job_draft::JobDraft,
    job_rules::check_tags,
    jobs::{JobNow, earlier},
    text::check_text,
};
use crate::{
    domain::{
        board::DiskRoom,
        caller::{Action, Caller},
        dataset::Use,
        experiment::{Experiment, ExperimentFilter, ModelNote, Plan},
        id::{ExperimentId, JobId},
        idempotency::IdempotencyKey,
        job::Job,
        workload::{Phase, Spec},
    },
    store::{Tx, experiments, idempotency, jobs, workloads},
};

/// Runs that are removed in one transaction while their experiment is deleted.
const BATCH: u32 = 200;

/// An experiment with what its latest run is busy with.
#[derive(Debug, Clone)]
pub struct ExperimentNow {
    pub experiment: Experiment,
    pub phase: Option<Phase>,
}

/// An experiment to be kept.
#[derive(Debug, Clone, Default)]
pub struct NewExperiment {
    /// What each run is to be. Name, project and tags are the experiment's.
    pub draft: JobDraft,
    /// An earlier job, of which the draft says only what differs.
    pub of_job: Option<JobId>,
    pub model: ModelNote,
    /// Whether it is started at once.
    pub start: bool,
}

/// What is to be another in an experiment; the rest stays.
#[derive(Debug, Clone, Default)]
pub struct ExperimentChange {
    pub name: Option<String>,
    pub tags: Option<Vec<String>>,
}

impl Services {
    /// Keeps an experiment, and starts it where that is asked for, too: both or neither.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the first field that cannot be so; what could not be started now is
    /// not kept either.
    pub async fn create_experiment(
        &self,
        caller: &Caller,
        new: NewExperiment,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<ExperimentNow, ServiceError> {
        caller.may(Action::CreateExperiment)?;
        if new.start {
            caller.may(Action::StartExperiment)?;
        }
        // Before everything else: what was kept once is not refused when it is sent again.
        if let Some(key) = idempotency.clone() {
            let caller = caller.clone();
            let made = self.store.read(move |connection| made_before(connection, &caller, &key)).await?;
            if let Some(experiment) = made {
                return Ok(self.experiment_now(experiment));
            }
        }
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        let model = check_model(new.model)?;
        let draft = self.over_earlier(caller, new.of_job.as_ref(), new.draft).await?;
        // The rules know a job by its id; this one never becomes a job.
        let checked = self.check_draft(&JobId::mint(&*self.ids), draft)?;
        let (services, caller) = (self.clone(), caller.clone());
        let experiment = self
            .store
            .write(move |tx| {
                if let Some(key) = &idempotency
                    && let Some(made) = made_before(tx, &caller, key)?
                {
                    return Ok(made);
                }
                let now = services.clock.now();
                let Settled { project, upload, spec, .. } = services.settle(tx, &caller, &checked)?;
                let plan = Plan {
                    spec: asked_for(spec),
                    priority: checked.priority,
                    time_limit: checked.time_limit,
                    retries: checked.retries,
                };
                let id = ExperimentId::mint(&*services.ids);
                let new_row = experiments::NewExperiment {
                    id: id.clone(),
                    team: caller.team.clone(),
                    user: caller.user.clone(),
                    project,
                    name: checked.name.clone(),
                    tags: checked.tags.clone(),
                    model: model.clone(),
                    plan,
                    upload,
                };
                experiments::insert(tx, &new_row, now)?;
                if let Some(key) = &idempotency {
                    idempotency::insert(tx, &caller.user, key, id.as_str(), now)?;
                }
                if new.start {
                    services.run(tx, &caller, &find(tx, &caller, &id)?, None)?;
                }
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.experiment_now(experiment))
    }

    /// Makes a job of an experiment's settings, as they are today: a tag or `latest` of a dataset means what
    /// it means now. It is on disk when this returns; it runs when its turn comes.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] while a run is not over; otherwise those of [`Services::submit_job`].
    pub async fn start_experiment(
        &self,
        caller: &Caller,
        id: &ExperimentId,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<JobNow, ServiceError> {
        caller.may(Action::StartExperiment)?;
        if let Some(key) = idempotency.clone() {
            let caller = caller.clone();
            let started = self.store.read(move |connection| earlier(connection, &caller, &key)).await?;
            if let Some(job) = started {
                return Ok(self.now(job));
            }
        }
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let job = self
            .store
            .write(move |tx| {
                if let Some(key) = &idempotency
                    && let Some(started) = earlier(tx, &caller, key)?
                {
                    return Ok(started);
                }
                services.run(tx, &caller, &find(tx, &caller, &id)?, idempotency.as_ref())
            })
            .await?;
        Ok(self.now(job))
    }

    fn run(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        experiment: &Experiment,
        idempotency: Option<&IdempotencyKey>,
    ) -> Result<Job, ServiceError> {
        let id = &experiment.id;
        if let Some(run) = experiment.live() {
            let message = format!(
                "experiment {id} is not over: its run {} is {}. Stop it first, or wait for it to end",
                run.id, run.state
            );
            return Err(ServiceError::Conflict { code: "experiment_running", message });
        }
        let draft = JobDraft::of_plan(&experiment.name, &experiment.project, &experiment.plan);
        let job = JobId::mint(&*self.ids);
        let checked = self.check_draft(&job, draft)?;
        let origin = jobs::Origin { clone_of: None, experiment: Some(id.clone()) };
        let job = self.accept(tx, caller, job, checked, &origin, idempotency)?;
        experiments::tell(tx, &caller.team, id, "started", self.clock.now())?;
        Ok(job)
    }

    /// Asks for an experiment's run to end and returns at once. One that does not run stays as it is.
    pub async fn stop_experiment(&self, caller: &Caller, id: &ExperimentId) -> Result<ExperimentNow, ServiceError> {
        caller.may(Action::StopExperiment)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let experiment = self
            .store
            .write(move |tx| {
                let experiment = find(tx, &caller, &id)?;
                if let Some(run) = experiment.live() {
                    workloads::ask_to_stop(tx, run.seq, services.clock.now())?;
                }
                Ok::<_, ServiceError>(experiment)
            })
            .await?;
        Ok(self.experiment_now(experiment))
    }

    /// Returns one experiment.
    pub async fn experiment(&self, caller: &Caller, id: &ExperimentId) -> Result<ExperimentNow, ServiceError> {
        caller.may(Action::ViewExperiments)?;
        let (caller, id) = (caller.clone(), id.clone());
        let experiment = self.store.read(move |connection| find(connection, &caller, &id)).await?;
        Ok(self.experiment_now(experiment))
    }

    /// Lists experiments, newest first, from before number `before`.
    pub async fn experiments(
        &self,
        caller: &Caller,
        filter: ExperimentFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ExperimentNow>, ServiceError> {
        caller.may(Action::ViewExperiments)?;
        let team = caller.team.clone();
        let rows = self.store.read(move |connection| experiments::list(connection, &team, &filter, before, limit));
        let rows = rows.await.map_err(ServiceError::from)?;
        Ok(rows.into_iter().map(|experiment| self.experiment_now(experiment)).collect())
    }

    /// Counts experiments.
    pub async fn count_experiments(&self, caller: &Caller, filter: ExperimentFilter) -> Result<u64, ServiceError> {
        caller.may(Action::ViewExperiments)?;
        let team = caller.team.clone();
        Ok(self.store.read(move |connection| experiments::count(connection, &team, &filter)).await?)
    }

    /// Gives an experiment what `change` says of it. Runs keep the name that they were started with.
    pub async fn change_experiment(
        &self,
        caller: &Caller,
        id: &ExperimentId,
        change: ExperimentChange,
    ) -> Result<ExperimentNow, ServiceError> {
        caller.may(Action::ChangeExperiment)?;
        let name = change.name.map(|name| check_text("name", name, 128)).transpose()?;
        let tags = change.tags.map(check_tags).transpose()?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let experiment = self
            .store
            .write(move |tx| {
                let experiment = find(tx, &caller, &id)?;
                let (name, tags) = (name.unwrap_or(experiment.name), tags.unwrap_or(experiment.tags));
                experiments::change(tx, &caller.team, &id, &name, &tags, services.clock.now())?;
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.experiment_now(experiment))
    }

    /// Removes an experiment with its runs, all of which must be over, and their logs, charts, metrics and
    /// artifacts. Versions of datasets that they made stay.
    pub async fn delete_experiment(&self, caller: &Caller, id: &ExperimentId) -> Result<(), ServiceError> {
        caller.may(Action::DeleteExperiment)?;
        loop {
            let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
            let removed = self
                .store
                .write(move |tx| {
                    let now = services.clock.now();
                    find(tx, &caller, &id)?;
                    if let Some(run) = experiments::unfinished(tx, &id)? {
                        let message = format!(
                            "experiment {id} is not over: its run {run} is, or is being tidied up. Stop it first and wait for it to end"
                        );
                        return Err(ServiceError::Conflict { code: "experiment_not_finished", message });
                    }
                    let over = experiments::runs(tx, &id, BATCH)?;
                    over.iter().try_for_each(|run| workloads::delete(tx, run, now))?;
                    if over.is_empty() {
                        experiments::delete(tx, &caller.team, &id, now)?;
                    }
                    Ok(over.into_iter().map(|run| run.id).collect::<Vec<_>>())
                })
                .await?;
            if removed.is_empty() {
                return Ok(());
            }
            let data = self.data.clone();
            blocking(move || removed.iter().try_for_each(|run| data.remove_run(run))).await?;
        }
    }

    fn experiment_now(&self, experiment: Experiment) -> ExperimentNow {
        let now = self.clock.now();
        ExperimentNow { phase: experiment.latest.as_ref().and_then(|run| run.phase(now)), experiment }
    }
}

fn find(connection: &rusqlite::Connection, caller: &Caller, id: &ExperimentId) -> Result<Experiment, ServiceError> {
    experiments::get(connection, &caller.team, id)?.ok_or_else(|| ServiceError::not_found("experiment", id))
}

/// Returns the experiment that an earlier request with this key made.
fn made_before(
    connection: &rusqlite::Connection,
    caller: &Caller,
    key: &IdempotencyKey,
) -> Result<Option<Experiment>, ServiceError> {
    let Some(id) = idempotency::find(connection, &caller.user, key)?? else { return Ok(None) };
    let id: ExperimentId = id.parse().map_err(|_| ServiceError::not_found("experiment", &id))?;
    find(connection, caller, &id).map(Some)
}

/// Leaves out the public datasets that every job gets: nobody asked for them.
fn asked_for(mut spec: Spec) -> Spec {
    spec.inputs.retain(|input| input.role == Use::Input);
    spec
}

fn check_model(model: ModelNote) -> Result<ModelNote, ServiceError> {
    let check = |field, text: Option<String>, most| {
        text.filter(|text| !text.trim().is_empty()).map(|text| check_text(field, text, most)).transpose()
    };
    Ok(ModelNote { kind: check("modelType", model.kind, 64)?, path: check("modelPath", model.path, 4096)? })
}
