//! Notebooks: make, start, look, change, extend, stop, fork, delete.

use super::{
    Invalid, ServiceError, Services, blocking,
    job_draft::{CheckedJob, DraftWorkspace},
    job_mounts,
    job_rules::check_tags,
    notebook_draft::{NotebookDraft, Unsaid},
    queue::Place,
    text::check_text,
};
use crate::{
    domain::{
        board::{DiskRoom, Progress},
        caller::{Action, Caller},
        id::{JobId, NotebookId},
        idempotency::IdempotencyKey,
        integration::DataProblem,
        notebook::{ForkProgress, Limits, Notebook, NotebookFilter, NotebookSize, NotebookState, Session},
        workload::{Kind, Phase, Spec, State},
    },
    store::{Tx, idempotency, notebooks, workloads},
};

/// Sessions that are looked at, at most, when a notebook is deleted; each start makes one.
const MOST_SESSIONS: u32 = 100_000;

/// A notebook with what only the loops know of it.
#[derive(Debug, Clone)]
pub struct NotebookNow {
    pub notebook: Notebook,
    pub state: NotebookState,
    pub phase: Option<Phase>,
    pub progress: Option<Progress>,
    pub waiting: Option<Place>,
    /// Of a fork whose files are on their way: how far they are.
    pub copy: Option<ForkProgress>,
    /// What it keeps on the disk, once it was counted.
    pub size: Option<NotebookSize>,
    /// `false` while the engine does not answer: a session may have ended since.
    pub contact: bool,
    /// It belongs to another team than the caller's, who is shown what it takes to look at its files and to
    /// fork it.
    pub is_foreign: bool,
    /// What its session was to have beneath `/datasets` and has not.
    pub data_problems: Vec<DataProblem>,
}

impl NotebookNow {
    /// Leaves out what another team does in it, if it is another team's.
    fn seen_by(self, caller: &Caller) -> Self {
        if self.notebook.team == caller.team {
            return self;
        }
        Self {
            notebook: Notebook { session: None, ..self.notebook },
            phase: None,
            progress: None,
            waiting: None,
            copy: None,
            contact: true,
            is_foreign: true,
            data_problems: Vec::new(),
            ..self
        }
    }
}

impl Services {
    /// Makes a notebook and, unless told otherwise, starts it.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the first field that cannot be so.
    pub async fn create_notebook(
        &self,
        caller: &Caller,
        draft: NotebookDraft,
        start: bool,
        key: Option<IdempotencyKey>,
    ) -> Result<NotebookNow, ServiceError> {
        caller.may(Action::CreateNotebook)?;
        if let Some(key) = key.clone() {
            let caller = caller.clone();
            let earlier = self.store.read(move |connection| earlier(connection, &caller, &key)).await?;
            if let Some(notebook) = earlier {
                return Ok(self.notebook_now(notebook));
            }
        }
        self.make(caller, draft, None, start, key).await
    }

    /// Makes a notebook with the files of another one as they are now, and with its settings but for what
    /// `over` says. It is not started: its files are copied first.
    pub async fn fork_notebook(
        &self,
        caller: &Caller,
        id: &NotebookId,
        over: NotebookDraft,
    ) -> Result<NotebookNow, ServiceError> {
        caller.may(Action::CreateNotebook)?;
        let from = self.find_notebook(caller, id).await?;
        if from.copying_from.is_some() {
            return Err(still_copied(&from));
        }
        let own = from.team == caller.team;
        let mut draft = NotebookDraft::of(&from);
        draft.is_public = Some(false);
        draft.run.name = Some(format!("Fork of {}", from.name).chars().take(128).collect());
        let home = self.data.notebook(&from.team, id).home();
        if blocking(move || home.exists()).await || !own {
            // Its files come with it, so it is not filled a second time.
            draft.run.workspace = None;
        }
        if !own {
            // What names things of another team, or opens its registry, stays there.
            draft.run.project = None;
            draft.run.datasets = None;
            draft.run.env = None;
            (draft.run.registry_username, draft.run.registry_password) = (None, None);
        }
        let forked = self.make(caller, draft.with(over), Some(&from), false, None).await;
        self.forks_nudge().notify_one();
        forked
    }

    async fn make(
        &self,
        caller: &Caller,
        draft: NotebookDraft,
        from: Option<&Notebook>,
        start: bool,
        key: Option<IdempotencyKey>,
    ) -> Result<NotebookNow, ServiceError> {
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        let id = NotebookId::mint(&*self.ids);
        let limits = draft.limits(&self.settings.notebooks)?;
        let (is_public, fork_of) =
            (draft.is_public.unwrap_or(false), from.map(|from| (from.id.clone(), from.team.clone())));
        let (session, checked) = self.check_session(draft, limits)?;
        let (services, caller) = (self.clone(), caller.clone());
        let notebook = self
            .store
            .write(move |tx| {
                let now = services.clock.now();
                if let Some(key) = &key
                    && let Some(earlier) = earlier(tx, &caller, key)?
                {
                    return Ok(earlier);
                }
                // Also where it is not started: a name that is wrong is told at once.
                let settled = services.settle(tx, &caller, &checked)?;
                let new = notebooks::NewNotebook {
                    id: id.clone(),
                    team: caller.team.clone(),
                    user: caller.user.clone(),
                    project: settled.project,
                    name: checked.name.clone(),
                    tags: checked.tags.clone(),
                    is_public,
                    fork_of,
                    spec: settled.spec,
                    limits,
                };
                notebooks::insert(tx, &new, now)?;
                let notebook = find(tx, &caller, &id)?;
                if start {
                    services.begin(tx, &caller, &notebook, session, &checked, limits)?;
                }
                if let Some(key) = &key {
                    idempotency::insert(tx, &caller.user, key, id.as_str(), now)?;
                }
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.notebook_now(notebook))
    }

    /// Starts a notebook: as it stands, but for what `over` says, which it keeps.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] when it runs, is still stopping, or its files are still being copied.
    pub async fn start_notebook(
        &self,
        caller: &Caller,
        id: &NotebookId,
        over: NotebookDraft,
    ) -> Result<NotebookNow, ServiceError> {
        caller.may(Action::StartNotebook)?;
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        let notebook = self.own_notebook(caller, id).await?;
        let mut draft = NotebookDraft::of(&notebook).with(over);
        let home = self.data.notebook(&notebook.team, id).home();
        if blocking(move || home.exists()).await {
            // Fetched once; an upload may be gone since.
            draft.run.workspace = Some(DraftWorkspace::Empty);
        }
        let limits = draft.limits(&self.settings.notebooks)?;
        let is_public = draft.is_public.unwrap_or(notebook.is_public);
        let (session, checked) = self.check_session(draft, limits)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let notebook = self
            .store
            .write(move |tx| {
                let notebook = own(tx, &caller, &id)?;
                services.begin(tx, &caller, &notebook, session, &checked, limits)?;
                let project = services.project_for(tx, &caller, &checked.project)?;
                let started = own(tx, &caller, &id)?;
                let workload = started.session.as_ref().map(|session| session.workload.clone());
                let spec = match workload {
                    Some(workload) => workloads::spec(tx, workload.seq)?,
                    None => started.spec.clone(),
                };
                let kept = Notebook {
                    name: checked.name.clone(),
                    project,
                    tags: checked.tags.clone(),
                    is_public,
                    spec: Spec { workspace: notebook.spec.workspace, ..spec },
                    limits,
                    ..started
                };
                notebooks::update(tx, &kept, services.clock.now())?;
                own(tx, &caller, &id)
            })
            .await?;
        Ok(self.notebook_now(notebook))
    }

    /// Holds what a session is to run to every rule.
    fn check_session(&self, draft: NotebookDraft, limits: Limits) -> Result<(JobId, CheckedJob), ServiceError> {
        draft.check_fields()?;
        let session = JobId::mint(&*self.ids);
        let keep_packages = draft.keep_packages.unwrap_or(false);
        let mut run = draft.run;
        run.time_limit_seconds = limits.shutdown.map(|span| span.as_secs());
        let longest = self.settings.longest_time_limit.max(self.settings.notebooks.longest_shutdown);
        let mut checked =
            run.check(&session, &self.board.catalogue(), longest, |password| self.seal_password(password))?;
        checked.spec.keep_packages = keep_packages;
        Ok((session, checked))
    }

    /// Accepts a session.
    fn begin(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        notebook: &Notebook,
        id: JobId,
        checked: &CheckedJob,
        limits: Limits,
    ) -> Result<(), ServiceError> {
        let now = self.clock.now();
        if notebook.copying_from.is_some() {
            return Err(still_copied(notebook));
        }
        if let Some(session) = &notebook.session
            && session.workload.teardown_finished_at.is_none()
        {
            let (code, message) = match session.is_live() {
                true => ("notebook_running", format!("notebook {} has a session already: stop it first", notebook.id)),
                false => {
                    ("notebook_stopping", format!("notebook {} is still stopping: try again in a moment", notebook.id))
                }
            };
            return Err(ServiceError::Conflict { code, message });
        }
        let kind = Kind::Notebook(notebook.id.clone());
        self.check_waiting(tx, caller, &kind)?;
        let (new, mounts) = self.settle(tx, caller, checked)?.workload(caller, (id, kind), checked);
        let seq = workloads::insert(tx, &new, now)?;
        notebooks::insert_session(tx, seq, limits.idle)?;
        job_mounts::insert(tx, (seq, &new.id, &new.name), &caller.team, &mounts, now)?;
        job_mounts::insert_session(tx, seq, &mounts)?;
        let data = serde_json::json!({ "state": "pending" });
        crate::store::events::append(tx, &caller.team, "notebook", notebook.id.as_str(), "state", data, now)?;
        Ok(())
    }

    /// Returns one notebook: of the team, or one that is public.
    pub async fn notebook(&self, caller: &Caller, id: &NotebookId) -> Result<NotebookNow, ServiceError> {
        let mut now = self.notebook_now(self.find_notebook(caller, id).await?).seen_by(caller);
        now.waiting = self.explain_wait(caller, now.waiting).await?;
        Ok(now)
    }

    /// Lists notebooks, newest first, from before number `before`.
    pub async fn notebooks(
        &self,
        caller: &Caller,
        filter: NotebookFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<NotebookNow>, ServiceError> {
        caller.may(Action::ViewNotebooks)?;
        let team = caller.team.clone();
        let list = self.store.read(move |connection| notebooks::list(connection, &team, &filter, before, limit)).await;
        let list = list.map_err(ServiceError::from)?.into_iter();
        Ok(list.map(|notebook| self.notebook_now(notebook).seen_by(caller)).collect())
    }

    /// Counts notebooks.
    pub async fn count_notebooks(&self, caller: &Caller, filter: NotebookFilter) -> Result<u64, ServiceError> {
        caller.may(Action::ViewNotebooks)?;
        let team = caller.team.clone();
        Ok(self.store.read(move |connection| notebooks::count(connection, &team, &filter)).await?)
    }

    /// Returns the sessions of a notebook, newest first, from before number `before`.
    pub async fn notebook_sessions(
        &self,
        caller: &Caller,
        id: &NotebookId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Session>, ServiceError> {
        self.own_notebook(caller, id).await?;
        let id = id.clone();
        self.store.read(move |connection| Ok(notebooks::sessions(connection, &id, before, limit)?)).await
    }

    /// Changes what `over` says of a notebook. Limits and datasets count for a session that runs from now on;
    /// all else that it runs with, from its next start. What is not said is not looked at: a dataset, a secret
    /// or a machine type that is gone holds up nothing but the next start.
    pub async fn change_notebook(
        &self,
        caller: &Caller,
        id: &NotebookId,
        over: NotebookDraft,
    ) -> Result<NotebookNow, ServiceError> {
        caller.may(Action::ChangeNotebook)?;
        let before = self.own_notebook(caller, id).await?;
        if over.run.workspace.is_some() {
            let message = "a notebook's workspace is fetched once, when it starts first: clone the repository in it";
            return Err(Invalid::new("workspace", "not_changeable", message).into());
        }
        let limits_said = over.shutdown.is_some() || over.idle.is_some();
        let unsaid = Unsaid::of(&over);
        let mut draft = NotebookDraft::of(&before).with(over);
        draft.run.workspace = None;
        let limits = draft.limits(&self.settings.notebooks)?;
        let is_public = draft.is_public.unwrap_or(before.is_public);
        unsaid.leave_out(&mut draft);
        let (_, checked) = self.check_session(draft, limits)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let notebook = self
            .store
            .write(move |tx| {
                let now = services.clock.now();
                let notebook = own(tx, &caller, &id)?;
                let settled = services.settle(tx, &caller, &checked)?;
                let live = notebook.session.as_ref().filter(|session| session.is_live());
                if let Some(live) = live.filter(|_| limits_said) {
                    notebooks::set_session_limits(tx, &notebook, &live.workload, limits, now)?;
                }
                let changed = Notebook {
                    name: check_text("name", checked.name.clone(), 128)?,
                    project: settled.project,
                    tags: check_tags(checked.tags.clone())?,
                    is_public,
                    spec: Spec {
                        workspace: notebook.spec.workspace.clone(),
                        ..unsaid.put_back(&notebook.spec, settled.spec)
                    },
                    limits,
                    ..notebook
                };
                notebooks::update(tx, &changed, now)?;
                own(tx, &caller, &id)
            })
            .await?;
        self.data_nudge().notify_one();
        Ok(self.notebook_now(notebook))
    }

    /// Gives the session that runs so much more time, from now on, before it is shut down.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] when nothing runs; [`ServiceError::Invalid`] when it would then last
    /// longer than the box allows.
    pub async fn extend_notebook(
        &self,
        caller: &Caller,
        id: &NotebookId,
        more: std::time::Duration,
    ) -> Result<NotebookNow, ServiceError> {
        caller.may(Action::StartNotebook)?;
        let longest = self.settings.notebooks.longest_shutdown;
        if more.is_zero() || more > longest {
            let message = format!("seconds is 1 to {}: so much longer from now on", longest.as_secs());
            return Err(Invalid::new("seconds", "out_of_range", message).into());
        }
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let notebook = self
            .store
            .write(move |tx| {
                let now = services.clock.now();
                let notebook = own(tx, &caller, &id)?;
                let Some(session) = notebook.session.as_ref().filter(|session| session.is_live()) else {
                    let message = format!("notebook {id} has no session that could be extended: start it");
                    return Err(ServiceError::Conflict { code: "notebook_not_running", message });
                };
                // Its limit counts from its start; what has not started has all of its time before it.
                let ran = session.workload.started_at.map(|start| now.since(start)).unwrap_or_default();
                let shutdown = Some(std::time::Duration::from_secs((ran + more).as_secs()));
                let limits = Limits { shutdown, idle: session.idle };
                notebooks::set_session_limits(tx, &notebook, &session.workload, limits, now)?;
                own(tx, &caller, &id)
            })
            .await?;
        Ok(self.notebook_now(notebook))
    }

    /// Asks for the end of a notebook's session and returns at once. One that does not run stays as it is.
    pub async fn stop_notebook(&self, caller: &Caller, id: &NotebookId) -> Result<NotebookNow, ServiceError> {
        caller.may(Action::StopNotebook)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let notebook = self
            .store
            .write(move |tx| {
                let notebook = own(tx, &caller, &id)?;
                if let Some(session) = notebook.session.as_ref().filter(|session| session.is_live()) {
                    workloads::ask_to_stop(tx, session.workload.seq, services.clock.now())?;
                }
                own(tx, &caller, &id)
            })
            .await?;
        Ok(self.notebook_now(notebook))
    }

    /// Removes a notebook that has no session, with its files, for good.
    pub async fn delete_notebook(&self, caller: &Caller, id: &NotebookId) -> Result<(), ServiceError> {
        caller.may(Action::DeleteNotebook)?;
        let (services, owner, target) = (self.clone(), caller.clone(), id.clone());
        let (notebook, sessions) = self
            .store
            .write(move |tx| {
                let notebook = own(tx, &owner, &target)?;
                let sessions = notebooks::sessions(tx, &target, None, MOST_SESSIONS)?;
                if sessions.iter().any(|session| session.workload.teardown_finished_at.is_none()) {
                    let message = format!("notebook {target} is not stopped: stop it first, and wait for it to end");
                    return Err(ServiceError::Conflict { code: "notebook_running", message });
                }
                notebooks::delete(tx, &notebook, &sessions, services.clock.now())?;
                Ok((notebook, sessions))
            })
            .await?;
        // The rows are gone, so nobody sees the files any more; what a crash leaves here, the collector
        // removes.
        let data = self.data.clone();
        blocking(move || {
            data.remove_notebook(&notebook.team, &notebook.id)?;
            sessions.iter().try_for_each(|session| data.remove_run(&session.workload.id))
        })
        .await?;
        Ok(())
    }

    /// Returns the secret by which a session's Jupyter server knows this box.
    pub fn jupyter_token(&self, session: &JobId) -> String {
        let key = self.sealer.derive("gradientd 2026 tokens of Jupyter servers");
        blake3::keyed_hash(&key, session.as_str().as_bytes()).to_hex()[..48].to_owned()
    }

    /// Finds a notebook that the caller may look at.
    pub(crate) async fn find_notebook(&self, caller: &Caller, id: &NotebookId) -> Result<Notebook, ServiceError> {
        caller.may(Action::ViewNotebooks)?;
        let (caller, id) = (caller.clone(), id.clone());
        self.store.read(move |connection| find(connection, &caller, &id)).await
    }

    /// Finds a notebook of the caller's team.
    pub(crate) async fn own_notebook(&self, caller: &Caller, id: &NotebookId) -> Result<Notebook, ServiceError> {
        caller.may(Action::ViewNotebooks)?;
        let (caller, id) = (caller.clone(), id.clone());
        self.store.read(move |connection| own(connection, &caller, &id)).await
    }

    fn notebook_now(&self, notebook: Notebook) -> NotebookNow {
        let now = self.clock.now();
        let workload = notebook.session.as_ref().map(|session| &session.workload);
        let pending = workload.filter(|workload| workload.state == State::Pending);
        NotebookNow {
            state: NotebookState::of(notebook.session.as_ref()),
            phase: workload.and_then(|workload| workload.phase(now)),
            progress: pending.and_then(|workload| self.board.progress(&workload.id)),
            waiting: pending.and_then(|workload| self.board.waiting(&workload.id)).map(Place::from),
            contact: workload.is_none_or(|workload| workload.state.is_terminal()) || self.board.contact().is_good(),
            copy: notebook.copying_from.as_ref().map(|_| self.board.fork(&notebook.id).unwrap_or_default()),
            size: self.board.notebook_sizes().get(&notebook.id).copied(),
            is_foreign: false,
            data_problems: workload.map(|workload| self.data_problems(&workload.id)).unwrap_or_default(),
            notebook,
        }
    }
}

fn find(connection: &rusqlite::Connection, caller: &Caller, id: &NotebookId) -> Result<Notebook, ServiceError> {
    let found = notebooks::get(connection, id)?;
    let seen = found.filter(|notebook| notebook.team == caller.team || notebook.is_public);
    seen.ok_or_else(|| ServiceError::not_found("notebook", id))
}

fn own(connection: &rusqlite::Connection, caller: &Caller, id: &NotebookId) -> Result<Notebook, ServiceError> {
    let notebook = find(connection, caller, id)?;
    if notebook.team == caller.team {
        return Ok(notebook);
    }
    Err(ServiceError::Forbidden(format!("notebook {id} belongs to another team: fork it to work with its files")))
}

/// Returns the notebook that an earlier request with this key made.
fn earlier(
    connection: &rusqlite::Connection,
    caller: &Caller,
    key: &IdempotencyKey,
) -> Result<Option<Notebook>, ServiceError> {
    let Some(id) = idempotency::find(connection, &caller.user, key)?? else { return Ok(None) };
    let id: NotebookId = id.parse().map_err(|_| ServiceError::not_found("notebook", &id))?;
    find(connection, caller, &id).map(Some)
}

pub(super) fn still_copied(notebook: &Notebook) -> ServiceError {
    let message = format!("the files of notebook {} are still being copied: try again in a moment", notebook.id);
    ServiceError::Conflict { code: "notebook_copying", message }
}
