//! What containers serve: who may reach it, by what, and where it is.
//!
//! A browser gets there by a ticket that it exchanges for a session with that one workload; editors and
//! scripts show a token or a key. All of it ends with the key that it was made with.

use std::time::Duration;

use super::{Invalid, ServiceError, Services, logs::LogQuery};
use crate::{
    auth::{Secret, Ticket, TokenHash, WorkloadSession, WorkloadToken},
    domain::{
        caller::{Action, Caller},
        id::{JobId, NotebookId, TensorBoardId},
        key::Key,
        notebook, tensorboard,
        time::Timestamp,
        web_name::ServedId,
        whereabouts::Reach,
        workload::State,
    },
    store::{Tx, jobs, keys, notebooks, tickets},
};

/// How long a ticket waits to be used.
pub const TICKET_LIFE: Duration = Duration::from_secs(60);
/// How long a browser stays let in.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long a token is good unless something else is asked for, and at most.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 86_400);
const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Most tickets, sessions and tokens of one key.
const MOST: u32 = 10_000;
/// Lines of a log that go with the news that nothing answers.
const LAST_LINES: usize = 5;

/// What somebody shows at the door of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Key(TokenHash),
    Session(TokenHash),
    Token(TokenHash),
}

/// Something that is served, and who asks for it.
#[derive(Debug, Clone)]
pub struct Served {
    pub caller: Caller,
    /// The run whose container serves it; what has many runs has another as time goes by.
    pub run: JobId,
    pub state: State,
    /// The port that is meant when none is said.
    pub main_port: Option<u16>,
    /// What is to listen on the main port has not answered yet, and is waited for.
    pub is_starting: bool,
    /// What listens on the main port knows that its paths begin with `/w/ID/`, and gets them whole.
    pub knows_its_prefix: bool,
    /// What the container wants as `Authorization` on its main port, known to nobody else.
    pub authorization: Option<Secret<String>>,
}

/// A token that was just made. Its text is here and nowhere else.
#[derive(Debug)]
pub struct MadeToken {
    pub token: WorkloadToken,
    pub expires_at: Timestamp,
}

impl Services {
    /// Makes a ticket that lets a browser in to what `id` serves, once. A TensorBoard that does not run is
    /// started.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] when it is over, so that nothing will ever answer.
    pub async fn open_workload(
        &self,
        caller: &Caller,
        id: &ServedId,
        session: Option<TokenHash>,
    ) -> Result<(Ticket, Served), ServiceError> {
        let ticket = Ticket::mint(&*self.ids);
        let holder = tickets::Holder { key: caller.key.clone(), session: session.map(|hash| *hash.as_bytes()) };
        let starting = match id.as_str().parse::<TensorBoardId>() {
            Ok(board) => Some((self.homes_to_show(caller, &board).await?, board)),
            Err(_) => None,
        };
        let (services, caller, id, hash) = (self.clone(), caller.clone(), id.clone(), ticket.hash());
        let served = self
            .store
            .write(move |tx| {
                if let Some((homes, board)) = &starting {
                    services.open_in(tx, &caller, board, homes)?;
                }
                let served = running(services.find_served(tx, &caller, &id)?, &id)?;
                services.add_ticket(tx, &hash, tickets::Kind::Ticket, &id, &holder, TICKET_LIFE)?;
                Ok::<_, ServiceError>(served)
            })
            .await?;
        Ok((ticket, served))
    }

    /// Makes a token that opens what `id` serves for an editor or a script.
    pub async fn create_workload_token(
        &self,
        caller: &Caller,
        id: &ServedId,
        life: Option<Duration>,
    ) -> Result<(MadeToken, Served), ServiceError> {
        let life = life.unwrap_or(TOKEN_LIFE);
        if life.is_zero() || life > LONGEST_TOKEN_LIFE {
            let message = format!("expiresInSeconds is from 1 to {}", LONGEST_TOKEN_LIFE.as_secs());
            return Err(Invalid::new("expiresInSeconds", "out_of_range", message).into());
        }
        let token = WorkloadToken::mint(&*self.ids);
        let holder = tickets::Holder { key: caller.key.clone(), session: None };
        let (services, caller, id, hash) = (self.clone(), caller.clone(), id.clone(), token.hash());
        let (served, expires_at) = self
            .store
            .write(move |tx| {
                let served = running(services.find_served(tx, &caller, &id)?, &id)?;
                let ends = services.add_ticket(tx, &hash, tickets::Kind::Token, &id, &holder, life)?;
                Ok::<_, ServiceError>((served, ends))
            })
            .await?;
        Ok((MadeToken { token, expires_at }, served))
    }

    fn add_ticket(
        &self,
        tx: &Tx<'_>,
        hash: &TokenHash,
        kind: tickets::Kind,
        id: &ServedId,
        holder: &tickets::Holder,
        life: Duration,
    ) -> Result<Timestamp, ServiceError> {
        if tickets::count(tx, &holder.key, MOST)? >= MOST {
            let message = format!(
                "this key has opened {MOST} tickets, sessions and tokens, which is the most: they end by themselves, or with the key"
            );
            return Err(ServiceError::TooMany { code: "too_many_tickets", message });
        }
        let now = self.clock.now();
        tickets::insert(tx, hash.as_bytes(), kind, id, holder, now, now.plus(life))?;
        Ok(now.plus(life))
    }

    /// Exchanges a ticket for a session with what `id` serves; `None` when the ticket was used, is for
    /// something else, is too old, or its key is no longer good.
    pub async fn redeem_ticket(
        &self,
        ticket: &TokenHash,
        id: &ServedId,
    ) -> Result<Option<(WorkloadSession, Duration)>, ServiceError> {
        let session = WorkloadSession::mint(&*self.ids);
        let (services, ticket, id, hash) = (self.clone(), *ticket, id.clone(), session.hash());
        // Looked for first, so that a flood of forged ones holds up nobody who writes.
        let (wanted, now) = (id.clone(), self.clock.now());
        let found = self
            .store
            .read(move |connection| tickets::key_of(connection, ticket.as_bytes(), tickets::Kind::Ticket, &wanted, now))
            .await?;
        if found.is_none() {
            return Ok(None);
        }
        let redeemed = self
            .store
            .write(move |tx| {
                let now = services.clock.now();
                let Some(holder) = tickets::take(tx, ticket.as_bytes(), &id, now)? else { return Ok(false) };
                if keys::get(tx, &holder.key)?.is_none_or(|key| !key.is_good(now)) {
                    return Ok(false);
                }
                services.add_ticket(tx, &hash, tickets::Kind::Session, &id, &holder, SESSION_LIFE)?;
                Ok::<_, ServiceError>(true)
            })
            .await?;
        Ok(redeemed.then_some((session, SESSION_LIFE)))
    }

    /// Returns what `id` serves to whoever shows this; `None` when that is not good, or not for `id`.
    ///
    /// # Errors
    /// [`ServiceError::Denied`] when a key may not open workloads, [`ServiceError::NotFound`] when its
    /// team has nothing of that id.
    pub async fn served(&self, shown: Shown, id: &ServedId) -> Result<Option<Served>, ServiceError> {
        let (services, now, id) = (self.clone(), self.clock.now(), id.clone());
        let found = self
            .store
            .read(move |connection| {
                let key = match shown {
                    Shown::Key(hash) => keys::by_hash(connection, hash.as_bytes())?,
                    Shown::Session(hash) | Shown::Token(hash) => {
                        let kind = match shown {
                            Shown::Token(_) => tickets::Kind::Token,
                            _ => tickets::Kind::Session,
                        };
                        match tickets::key_of(connection, hash.as_bytes(), kind, &id, now)? {
                            Some(key) => keys::get(connection, &key)?,
                            None => None,
                        }
                    }
                };
                let Some(key) = key.filter(|key| key.is_good(now)) else { return Ok(None) };
                let served = services.find_served(connection, &caller(&key), &id)?;
                Ok::<_, ServiceError>(Some((key, served)))
            })
            .await?;
        let Some((key, served)) = found else { return Ok(None) };
        self.used(Some(key)).await;
        Ok(Some(served))
    }

    /// Returns where the container of a run is, and its counters, while it runs.
    pub fn reach(&self, run: &JobId) -> Option<Reach> {
        self.board.reach(run)
    }

    /// Returns the last lines that a run printed, for whoever finds nobody at home; none when they cannot be read.
    pub async fn last_words(&self, served: &Served) -> Vec<String> {
        self.last_lines(&served.caller, &served.run).await
    }

    /// Returns the last lines that a run printed; none when they cannot be read.
    pub(super) async fn last_lines(&self, caller: &Caller, run: &JobId) -> Vec<String> {
        let query = LogQuery { limit: LAST_LINES, tail: Some(LAST_LINES), ..LogQuery::default() };
        let page = self.log(caller, run, query).await;
        page.map(|page| page.rows.into_iter().map(|row| row.text).collect()).unwrap_or_default()
    }
}

fn caller(key: &Key) -> Caller {
    Caller { user: key.user.clone(), team: key.team.clone(), key: key.id.clone(), scope: key.scope }
}

impl Services {
    /// Finds what an id serves to a caller. What has a kind of its own is looked up here by its own id.
    fn find_served(
        &self,
        connection: &rusqlite::Connection,
        caller: &Caller,
        id: &ServedId,
    ) -> Result<Served, ServiceError> {
        caller.may(Action::OpenWorkload)?;
        if let Ok(notebook) = id.as_str().parse::<NotebookId>() {
            return self.served_notebook(connection, caller, &notebook);
        }
        if let Ok(board) = id.as_str().parse::<TensorBoardId>() {
            return served_tensorboard(connection, caller, &board);
        }
        let nothing = || ServiceError::not_found("job", id);
        let run: JobId = id.as_str().parse().map_err(|_| nothing())?;
        let (job, spec) = jobs::get(connection, &caller.team, &run)?.ok_or_else(nothing)?;
        Ok(Served {
            caller: caller.clone(),
            run,
            state: job.workload.state,
            main_port: spec.ports.first().map(|port| port.container),
            is_starting: false,
            knows_its_prefix: false,
            authorization: None,
        })
    }

    /// A notebook is served by its latest session; its server knows us by that session's token.
    fn served_notebook(
        &self,
        connection: &rusqlite::Connection,
        caller: &Caller,
        id: &NotebookId,
    ) -> Result<Served, ServiceError> {
        let found = notebooks::get(connection, id)?.filter(|notebook| notebook.team == caller.team);
        let notebook = found.ok_or_else(|| ServiceError::not_found("notebook", id))?;
        let Some(session) = notebook.session else {
            let message = format!("notebook {id} was never started: start it first");
            return Err(ServiceError::Conflict { code: "workload_over", message });
        };
        let token = self.jupyter_token(&session.workload.id);
        let is_starting = session.ready_at.is_none();
        Ok(Served {
            caller: caller.clone(),
            run: session.workload.id,
            state: session.workload.state,
            main_port: Some(notebook::PORT),
            is_starting,
            knows_its_prefix: true,
            authorization: Some(Secret::new(format!("token {token}"))),
        })
    }
}

/// A TensorBoard is served by its latest session, so its address stays when it begins anew.
fn served_tensorboard(
    connection: &rusqlite::Connection,
    caller: &Caller,
    id: &TensorBoardId,
) -> Result<Served, ServiceError> {
    let board = super::tensorboards::find(connection, caller, id)?;
    let Some(showing) = board.session else {
        let message = format!("TensorBoard {id} was never started: open it from the web UI of this box");
        return Err(ServiceError::Conflict { code: "workload_over", message });
    };
    Ok(Served {
        caller: caller.clone(),
        run: showing.session.workload.id,
        state: showing.session.workload.state,
        main_port: Some(tensorboard::PORT),
        is_starting: showing.session.ready_at.is_none(),
        knows_its_prefix: true,
        authorization: None,
    })
}

fn running(served: Served, id: &ServedId) -> Result<Served, ServiceError> {
    if served.state.is_terminal() {
        let message = format!("{id} is over, so nothing answers there any more: start it anew");
        return Err(ServiceError::Conflict { code: "workload_over", message });
    }
    Ok(served)
}
