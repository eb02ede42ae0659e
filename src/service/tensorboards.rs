//! TensorBoards: make, look, change, start, stop, delete. What they show is in
//! [`super::tensorboard_members`], how they run in `tensorboard_sessions`.

use std::time::Duration;

use super::{
    Invalid, ServiceError, Services,
    accepting::check_secrets,
    blocking,
    job_draft::{DEFAULT_PROJECT, DraftPassword, leaves_registry},
    job_rules::{check_credentials, check_image},
    queue::Place,
    tensorboard_members::{self, MemberDraft, MemberNow},
    tensorboard_sessions::machine,
    text::check_text,
};
use crate::{
    domain::{
        board::Progress,
        caller::{Action, Caller},
        id::{JobId, TensorBoardId},
        idempotency::IdempotencyKey,
        notebook::NotebookState,
        tensorboard::{Choice, IdleLimit, TensorBoard, TensorBoardFilter},
        workload::{Credentials, Phase, State},
    },
    store::{idempotency, tensorboard_sessions, tensorboards, workloads},
};

/// Sessions that are looked at, at most, when a TensorBoard is deleted; each start makes one.
const MOST_SESSIONS: u32 = 100_000;
/// The shortest time after which nobody is taken to look: shorter is a mistake in the unit.
const SHORTEST_IDLE: Duration = Duration::from_secs(60);
/// The longest: more is a mistake, too.
const LONGEST_IDLE: Duration = Duration::from_secs(366 * 86_400);
const USUAL_NAME: &str = "tensorboard";

/// Secrets that something names, each with the field that names it.
type NamedSecrets = Vec<(String, String)>;

/// What the box takes where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct TensorBoardRules {
    pub image: String,
    /// `None` is never.
    pub idle: Option<Duration>,
}

/// What a user may say of a TensorBoard. What is left out stays as it is, or is the box's choice.
#[derive(Debug, Clone, Default)]
pub struct TensorBoardDraft {
    pub name: Option<String>,
    /// Id or name.
    pub project: Option<String>,
    /// `Some(None)` is the box's choice again.
    pub image: Option<Option<String>>,
    /// Who to be at the registry of `image`; `Some(None)` takes name and password away.
    pub registry_username: Option<Option<String>>,
    pub registry_password: Option<Option<DraftPassword>>,
    /// `Some(None)` is the box's choice again.
    pub machine_type: Option<Option<String>>,
    pub idle: Option<IdleLimit>,
}

/// A TensorBoard with what only the loops know of it.
#[derive(Debug, Clone)]
pub struct TensorBoardNow {
    pub board: TensorBoard,
    pub state: NotebookState,
    pub phase: Option<Phase>,
    pub progress: Option<Progress>,
    pub waiting: Option<Place>,
    /// `false` while the engine does not answer: a session may have ended since.
    pub contact: bool,
    /// What its next session runs on.
    pub image: String,
    /// `None` when this box has no such machine type any more.
    pub machine_type: Option<String>,
    /// After how long its next session ends when nobody looks; `None` is never.
    pub idle: Option<Duration>,
    /// Why it cannot begin a session, as it is set and as this box is; `None` when it can.
    pub problem: Option<String>,
}

impl Services {
    /// Makes a TensorBoard that shows `members` and, if asked to, starts it.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the first field that cannot be so; [`ServiceError::NotFound`] the
    /// first member that is not there.
    pub async fn create_tensorboard(
        &self,
        caller: &Caller,
        draft: TensorBoardDraft,
        members: Vec<MemberDraft>,
        start: bool,
        key: Option<IdempotencyKey>,
    ) -> Result<TensorBoardNow, ServiceError> {
        caller.may(Action::CreateTensorBoard)?;
        let members = tensorboard_members::check(members)?;
        let name = check_text("name", draft.name.clone().unwrap_or_else(|| USUAL_NAME.to_owned()), 128)?;
        let (choice, secrets) = self.choose(Choice::default(), &draft)?;
        let homes = self.homes_shown(&caller.team, 0, tensorboard_members::notebooks_of(&members)).await?;
        let id = TensorBoardId::mint(&*self.ids);
        let (services, caller) = (self.clone(), caller.clone());
        let board = self
            .store
            .write(move |tx| {
                let now = services.clock.now();
                if let Some(key) = &key
                    && let Some(earlier) = idempotency::find(tx, &caller.user, key)??
                {
                    let id = earlier.parse().map_err(|_| ServiceError::not_found("TensorBoard", &earlier))?;
                    return find(tx, &caller, &id);
                }
                let project = services.project_for(tx, &caller, draft.project.as_deref().unwrap_or(DEFAULT_PROJECT))?;
                check_secrets(tx, &caller, &project, &secrets)?;
                let new = tensorboards::NewTensorBoard {
                    id: id.clone(),
                    team: caller.team.clone(),
                    user: caller.user.clone(),
                    project,
                    name: name.clone(),
                    choice: choice.clone(),
                };
                tensorboards::insert(tx, &new, now)?;
                let board = find(tx, &caller, &id)?;
                tensorboard_members::add(tx, &caller, &board, &members, now)?;
                if start {
                    services.start_in(tx, &caller, &board, &homes)?;
                }
                if let Some(key) = &key {
                    idempotency::insert(tx, &caller.user, key, id.as_str(), now)?;
                }
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.tensorboard_now(board))
    }

    /// Lays what a draft says over a choice. Returns it with the secrets that the draft names, each with its
    /// field.
    fn choose(&self, before: Choice, draft: &TensorBoardDraft) -> Result<(Choice, NamedSecrets), ServiceError> {
        let image = match &draft.image {
            Some(Some(image)) => Some(check_image(Some(image.clone()), false, &JobId::mint(&*self.ids))?),
            Some(None) => None,
            None => before.image.clone(),
        };
        let machine_type = match &draft.machine_type {
            Some(Some(named)) => Some(machine(Some(named), &self.board.catalogue())?.name),
            Some(None) => None,
            None => before.machine_type,
        };
        if let Some(IdleLimit::After(span)) = draft.idle
            && !(SHORTEST_IDLE..=LONGEST_IDLE).contains(&span)
        {
            let (code, word, limit) = match span < SHORTEST_IDLE {
                true => ("too_short", "least", SHORTEST_IDLE),
                false => ("too_long", "most", LONGEST_IDLE),
            };
            let message = format!("idleSeconds is at {word} {} seconds, or null for never", limit.as_secs());
            return Err(Invalid::new("idleSeconds", code, message).into());
        }
        // A password stays with the registry that it is for.
        let stays = image.is_some() && !leaves_registry(before.image.as_deref(), image.as_deref());
        let kept = before.registry.filter(|_| stays);
        let (registry, secrets) = self.choose_registry(kept, draft)?;
        if registry.is_some() && image.is_none() {
            let message =
                "name the image that the password is for: it is not given to whatever this box has as its usual one";
            return Err(Invalid::new("image", "missing", message).into());
        }
        Ok((Choice { image, registry, machine_type, idle: draft.idle.or(before.idle) }, secrets))
    }

    /// Lays what a draft says over the credentials that there were. What it says nothing of is not looked at:
    /// a secret that is gone holds up nothing but the next start.
    fn choose_registry(
        &self,
        before: Option<Credentials>,
        draft: &TensorBoardDraft,
    ) -> Result<(Option<Credentials>, NamedSecrets), ServiceError> {
        let TensorBoardDraft { registry_username: username, registry_password: password, .. } = draft;
        if username.is_none() && password.is_none() {
            return Ok((before, Vec::new()));
        }
        let before = before.filter(|_| !matches!(username, Some(None)) && !matches!(password, Some(None)));
        let (known_as, known_by) = before.map(|before| (before.username, DraftPassword::Kept(before.password))).unzip();
        let mut secrets = Vec::new();
        let registry = check_credentials(
            username.clone().flatten().or(known_as),
            password.clone().flatten().or(known_by),
            ("registryUsername", "registryPassword"),
            &mut secrets,
            &|password: &str| self.seal_password(password),
        )?;
        Ok((registry, secrets))
    }

    /// Changes what a draft says of a TensorBoard. The idle limit counts at once, image and machine type
    /// from the next start on.
    pub async fn change_tensorboard(
        &self,
        caller: &Caller,
        id: &TensorBoardId,
        draft: TensorBoardDraft,
    ) -> Result<TensorBoardNow, ServiceError> {
        caller.may(Action::ChangeTensorBoard)?;
        let name = draft.name.clone().map(|name| check_text("name", name, 128)).transpose()?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let board = self
            .store
            .write(move |tx| {
                let mut board = find(tx, &caller, &id)?;
                let (choice, secrets) = services.choose(board.choice, &draft)?;
                board.choice = choice;
                board.name = name.clone().unwrap_or(board.name);
                if let Some(project) = &draft.project {
                    board.project = services.project_for(tx, &caller, project)?;
                }
                check_secrets(tx, &caller, &board.project, &secrets)?;
                let live = board.session.as_ref().filter(|showing| showing.session.is_live());
                if let Some(live) = live.filter(|_| draft.idle.is_some()) {
                    let idle = services.tensorboard_idle(&board);
                    tensorboard_sessions::set_idle(tx, live.session.workload.seq, idle)?;
                }
                tensorboards::update(tx, &board, services.clock.now())?;
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.tensorboard_now(board))
    }

    /// Returns one TensorBoard.
    pub async fn tensorboard(&self, caller: &Caller, id: &TensorBoardId) -> Result<TensorBoardNow, ServiceError> {
        let mut now = self.tensorboard_now(self.find_tensorboard(caller, id).await?);
        now.waiting = self.explain_wait(caller, now.waiting).await?;
        Ok(now)
    }

    /// Returns what a TensorBoard shows, in the order in which it was added.
    pub async fn tensorboard_members(
        &self,
        caller: &Caller,
        id: &TensorBoardId,
    ) -> Result<Vec<MemberNow>, ServiceError> {
        caller.may(Action::ViewTensorBoards)?;
        let (caller, id) = (caller.clone(), id.clone());
        self.store.read(move |connection| tensorboard_members::look(connection, &find(connection, &caller, &id)?)).await
    }

    /// Lists TensorBoards, newest first, from before number `before`.
    pub async fn tensorboards(
        &self,
        caller: &Caller,
        filter: TensorBoardFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TensorBoardNow>, ServiceError> {
        caller.may(Action::ViewTensorBoards)?;
        let team = caller.team.clone();
        let list = self.store.read(move |connection| tensorboards::list(connection, &team, &filter, before, limit));
        let list = list.await.map_err(ServiceError::from)?;
        Ok(list.into_iter().map(|board| self.tensorboard_now(board)).collect())
    }

    /// Starts a TensorBoard; one that runs stays as it is.
    pub async fn start_tensorboard(&self, caller: &Caller, id: &TensorBoardId) -> Result<TensorBoardNow, ServiceError> {
        caller.may(Action::StartTensorBoard)?;
        let before = self.find_tensorboard(caller, id).await?;
        let homes = self.homes_shown(&before.team, before.seq, Vec::new()).await?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let board = self
            .store
            .write(move |tx| {
                services.start_in(tx, &caller, &find(tx, &caller, &id)?, &homes)?;
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.tensorboard_now(board))
    }

    /// Asks for the end of a TensorBoard's session and returns at once. One that does not run stays as it
    /// is.
    pub async fn stop_tensorboard(&self, caller: &Caller, id: &TensorBoardId) -> Result<TensorBoardNow, ServiceError> {
        caller.may(Action::StopTensorBoard)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let board = self
            .store
            .write(move |tx| {
                let board = find(tx, &caller, &id)?;
                if let Some(live) = board.live() {
                    workloads::ask_to_stop(tx, live.session.workload.seq, services.clock.now())?;
                }
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.tensorboard_now(board))
    }

    /// Removes a TensorBoard that does not run. What it showed stays where it is.
    pub async fn delete_tensorboard(&self, caller: &Caller, id: &TensorBoardId) -> Result<(), ServiceError> {
        caller.may(Action::DeleteTensorBoard)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let sessions = self
            .store
            .write(move |tx| {
                let board = find(tx, &caller, &id)?;
                let sessions = tensorboard_sessions::of(tx, &id, 0, MOST_SESSIONS)?;
                if sessions.iter().any(|session| session.teardown_finished_at.is_none()) {
                    let message = format!("TensorBoard {id} is not stopped: stop it first, and wait for it to end");
                    return Err(ServiceError::Conflict { code: "tensorboard_running", message });
                }
                tensorboards::delete(tx, &board, &sessions, services.clock.now())?;
                Ok(sessions)
            })
            .await?;
        // The rows are gone; what a crash leaves here, the collector removes.
        let data = self.data.clone();
        blocking(move || sessions.iter().try_for_each(|session| data.remove_run(&session.id))).await?;
        Ok(())
    }

    /// Finds a TensorBoard of the caller's team.
    pub(super) async fn find_tensorboard(
        &self,
        caller: &Caller,
        id: &TensorBoardId,
    ) -> Result<TensorBoard, ServiceError> {
        caller.may(Action::ViewTensorBoards)?;
        let (caller, id) = (caller.clone(), id.clone());
        self.store.read(move |connection| find(connection, &caller, &id)).await
    }

    fn tensorboard_now(&self, board: TensorBoard) -> TensorBoardNow {
        let now = self.clock.now();
        let workload = board.session.as_ref().map(|showing| &showing.session.workload);
        let pending = workload.filter(|workload| workload.state == State::Pending);
        TensorBoardNow {
            state: board.state(),
            phase: workload.and_then(|workload| workload.phase(now)),
            progress: pending.and_then(|workload| self.board.progress(&workload.id)),
            waiting: pending.and_then(|workload| self.board.waiting(&workload.id)).map(Place::from),
            contact: workload.is_none_or(|workload| workload.state.is_terminal()) || self.board.contact().is_good(),
            image: self.tensorboard_image(&board),
            machine_type: self.tensorboard_machine(&board).ok().map(|machine| machine.name),
            idle: self.tensorboard_idle(&board),
            problem: self.tensorboard_problem(&board),
            board,
        }
    }
}

/// Finds a TensorBoard of the caller's team.
pub(super) fn find(
    connection: &rusqlite::Connection,
    caller: &Caller,
    id: &TensorBoardId,
) -> Result<TensorBoard, ServiceError> {
    tensorboards::get(connection, &caller.team, id)?.ok_or_else(|| ServiceError::not_found("TensorBoard", id))
}
