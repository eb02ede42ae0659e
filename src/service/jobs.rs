//! Jobs: submit, look, stop, clone, delete.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    ServiceError, Services, blocking,
    job_draft::{CheckedJob, JobDraft},
    job_mounts,
    job_rules::check_tags,
    queue::Place,
};
use crate::{
    auth::Secret,
    domain::{
        board::{DiskRoom, Progress},
        caller::{Action, Caller},
        id::{JobId, ProjectId},
        idempotency::IdempotencyKey,
        job::{Job, JobFilter},
        workload::{Kind, Phase, Spec, State, Workload},
    },
    store::{Tx, events, idempotency, jobs, projects, workloads},
};

/// Where sealed passwords of jobs belong; the same for all, so that a clone can keep them.
const PASSWORD_PLACE: &[u8] = b"workload password";

/// A job with what only the loops know of it.
#[derive(Debug, Clone)]
pub struct JobNow {
    pub job: Job,
    pub phase: Option<Phase>,
    pub progress: Option<Progress>,
    pub waiting: Option<Place>,
    /// `false` while the engine does not answer: what ran may have ended since.
    pub contact: bool,
}

impl Services {
    /// Accepts a job. It is on disk when this returns; it runs when its turn comes.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the first field that cannot be so.
    pub async fn submit_job(
        &self,
        caller: &Caller,
        draft: JobDraft,
        clone_of: Option<JobId>,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<JobNow, ServiceError> {
        caller.may(Action::SubmitJob)?;
        // Before everything else: what was accepted once is not refused when it is sent again.
        if let Some(key) = idempotency.clone() {
            let caller = caller.clone();
            let earlier = self.store.read(move |connection| earlier(connection, &caller, &key)).await?;
            if let Some(job) = earlier {
                return Ok(self.now(job));
            }
        }
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        let draft = self.over_earlier(caller, clone_of.as_ref(), draft).await?;
        let id = JobId::mint(&*self.ids);
        let checked = self.check_draft(&id, draft)?;
        let origin = jobs::Origin { clone_of, experiment: None };
        let (services, caller) = (self.clone(), caller.clone());
        let job = self
            .store
            .write(move |tx| {
                if let Some(key) = &idempotency
                    && let Some(earlier) = earlier(tx, &caller, key)?
                {
                    return Ok(earlier);
                }
                services.accept(tx, &caller, id, checked, &origin, idempotency.as_ref())
            })
            .await?;
        Ok(self.now(job))
    }

    /// Lays a draft over the earlier job that it names, if it names one.
    pub(super) async fn over_earlier(
        &self,
        caller: &Caller,
        earlier: Option<&JobId>,
        draft: JobDraft,
    ) -> Result<JobDraft, ServiceError> {
        let Some(id) = earlier else { return Ok(draft) };
        let (job, spec) = self.find_job(caller, id).await?;
        Ok(JobDraft::of(&job, &spec).with(draft))
    }

    /// Holds a draft to every rule that needs no store. `id` is that of the job that it becomes.
    pub(super) fn check_draft(&self, id: &JobId, draft: JobDraft) -> Result<CheckedJob, ServiceError> {
        let catalogue = self.board.catalogue();
        draft.check(id, &catalogue, self.settings.longest_time_limit, |password| self.seal_password(password))
    }

    /// Makes a job of a draft that was checked.
    pub(super) fn accept(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        id: JobId,
        checked: CheckedJob,
        origin: &jobs::Origin,
        idempotency: Option<&IdempotencyKey>,
    ) -> Result<Job, ServiceError> {
        let now = self.clock.now();
        self.check_waiting(tx, caller, &Kind::Job)?;
        let settled = self.settle(tx, caller, &checked)?;
        let (new, mounts) = settled.workload(caller, (id.clone(), Kind::Job), &checked);
        let seq = jobs::insert(tx, &new, origin, &checked.tags, now)?;
        job_mounts::insert(tx, (seq, &id, &new.name), &caller.team, &mounts, now)?;
        if let Some(key) = idempotency {
            idempotency::insert(tx, &caller.user, key, id.as_str(), now)?;
        }
        find(tx, caller, &id).map(|(job, _)| job)
    }

    /// Finds the project that somebody names, by id or by name, or makes it.
    pub(super) fn project_for(&self, tx: &Tx<'_>, caller: &Caller, named: &str) -> Result<ProjectId, ServiceError> {
        if let Ok(id) = named.parse::<ProjectId>()
            && projects::exists(tx, &caller.team, &id)?
        {
            return Ok(id);
        }
        if let Some(id) = projects::id_by_name(tx, &caller.team, named)? {
            return Ok(id);
        }
        caller.may(Action::CreateProject)?;
        let id = ProjectId::mint(&*self.ids);
        self.add_project(tx, caller, &id, named)?;
        Ok(id)
    }

    /// Returns one job with what it is to run.
    pub async fn job(&self, caller: &Caller, id: &JobId) -> Result<(JobNow, Spec), ServiceError> {
        let (job, spec) = self.find_job(caller, id).await?;
        let mut now = self.now(job);
        now.waiting = self.explain_wait(caller, now.waiting).await?;
        Ok((now, spec))
    }

    /// Lists jobs, newest first, from before number `before`.
    pub async fn jobs(
        &self,
        caller: &Caller,
        filter: JobFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<JobNow>, ServiceError> {
        caller.may(Action::ViewJobs)?;
        let team = caller.team.clone();
        let jobs = self.store.read(move |connection| jobs::list(connection, &team, &filter, before, limit)).await;
        Ok(jobs.map_err(ServiceError::from)?.into_iter().map(|job| self.now(job)).collect())
    }

    /// Asks for a job to end and returns at once; its container stops some seconds later. A job that is
    /// over stays as it is.
    pub async fn stop_job(&self, caller: &Caller, id: &JobId) -> Result<JobNow, ServiceError> {
        caller.may(Action::StopJob)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let job = self
            .store
            .write(move |tx| {
                let (job, _) = find(tx, &caller, &id)?;
                if !job.workload.state.is_terminal() {
                    workloads::ask_to_stop(tx, job.workload.seq, services.clock.now())?;
                }
                Ok::<_, ServiceError>(job)
            })
            .await?;
        Ok(self.now(job))
    }

    /// Gives a job other tags, all at once.
    pub async fn set_job_tags(&self, caller: &Caller, id: &JobId, tags: Vec<String>) -> Result<JobNow, ServiceError> {
        caller.may(Action::ChangeJob)?;
        let tags = check_tags(tags)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let job = self
            .store
            .write(move |tx| {
                let (job, _) = find(tx, &caller, &id)?;
                jobs::set_tags(tx, &job.workload, &tags)?;
                let now = services.clock.now();
                events::append(tx, &caller.team, "job", id.as_str(), "changed", serde_json::json!({}), now)?;
                Ok::<_, ServiceError>(Job { tags, ..job })
            })
            .await?;
        Ok(self.now(job))
    }

    /// Removes a job that is over, with its log, charts, metrics and artifacts.
    pub async fn delete_job(&self, caller: &Caller, id: &JobId) -> Result<(), ServiceError> {
        caller.may(Action::DeleteJob)?;
        let (services, owner, target) = (self.clone(), caller.clone(), id.clone());
        self.store
            .write(move |tx| {
                let (job, _) = find(tx, &owner, &target)?;
                if job.workload.teardown_finished_at.is_none() {
                    let message = format!("job {target} is not over: stop it first (POST /api/v1/jobs/{target}/stop) and wait for it to end");
                    return Err(ServiceError::Conflict { code: "job_not_finished", message });
                }
                workloads::delete(tx, &job.workload, services.clock.now())?;
                Ok(())
            })
            .await?;
        // The row is gone, so nobody sees the files any more; what a crash leaves here, the
        // collector removes.
        let (data, id) = (self.data.clone(), id.clone());
        blocking(move || data.remove_run(&id)).await?;
        Ok(())
    }

    pub(crate) async fn find_job(&self, caller: &Caller, id: &JobId) -> Result<(Job, Spec), ServiceError> {
        caller.may(Action::ViewJobs)?;
        let (caller, id) = (caller.clone(), id.clone());
        self.store.read(move |connection| find(connection, &caller, &id)).await
    }

    /// Finds what runs or ran, whatever it is for: a job, or a session of something else of the team's.
    pub async fn find_run(&self, caller: &Caller, id: &JobId) -> Result<Workload, ServiceError> {
        caller.may(Action::ViewJobs)?;
        let (team, id) = (caller.team.clone(), id.clone());
        self.store
            .read(move |connection| {
                let found = workloads::get(connection, &id)?.filter(|workload| workload.team == team);
                found.ok_or_else(|| ServiceError::not_found("job", &id))
            })
            .await
    }

    /// Hides a password that a workload, or what it is made of, keeps.
    pub(super) fn seal_password(&self, password: &str) -> Result<String, ServiceError> {
        Ok(BASE64.encode(self.sealer.seal(PASSWORD_PLACE, password.as_bytes())?))
    }

    /// Opens a password that was hidden by [`Self::seal_password`].
    pub(crate) fn open_password(&self, sealed: &[u8]) -> Result<Secret<Vec<u8>>, ServiceError> {
        Ok(self.sealer.open(PASSWORD_PLACE, sealed)?)
    }

    pub(super) fn now(&self, job: Job) -> JobNow {
        let now = self.clock.now();
        let pending = job.workload.state == State::Pending;
        JobNow {
            phase: job.workload.phase(now),
            progress: if pending { self.board.progress(&job.workload.id) } else { None },
            waiting: if pending { self.board.waiting(&job.workload.id).map(Place::from) } else { None },
            contact: job.workload.state.is_terminal() || self.board.contact().is_good(),
            job,
        }
    }
}

fn find(connection: &rusqlite::Connection, caller: &Caller, id: &JobId) -> Result<(Job, Spec), ServiceError> {
    jobs::get(connection, &caller.team, id)?.ok_or_else(|| ServiceError::not_found("job", id))
}

/// Returns the job that an earlier request with this key made.
pub(super) fn earlier(
    connection: &rusqlite::Connection,
    caller: &Caller,
    key: &IdempotencyKey,
) -> Result<Option<Job>, ServiceError> {
    let Some(id) = idempotency::find(connection, &caller.user, key)?? else { return Ok(None) };
    let id: JobId = id.parse().map_err(|_| ServiceError::not_found("job", &id))?;
    find(connection, caller, &id).map(|(job, _)| Some(job))
}
