//! Terminals in what runs: who may open one, where, and who may look at it.
//!
//! A terminal is its user's: to be shown what it shows is to see what they type. Everybody of the team who may
//! submit jobs may open one of their own in anything of the team that runs, which is no more than a port of
//! Jupyter gives them.

use std::{sync::Arc, time::Duration};

use super::{
    ServiceError, Services,
    live_terminals::{LiveTerminal, Viewing},
};
use crate::{
    domain::{
        caller::{Action, Caller, Scope},
        id::{JobId, NotebookId, TensorBoardId, TerminalId, UserId},
        terminal::TtySize,
        time::Timestamp,
        web_name::ServedId,
        workload::{Kind, State, Workload},
    },
    store::{Tx, events, notebooks, tensorboards, workloads},
};

/// How long a shell may take to come. The engine has time-outs of its own before this.
const COMING: Duration = Duration::from_secs(90);

/// A terminal, as its user sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminalLine {
    pub id: TerminalId,
    pub run: JobId,
    pub user: UserId,
    /// Whether it is the caller's, who alone may look at it.
    pub is_own: bool,
    pub opened_at: Timestamp,
    pub size: TtySize,
    /// Somebody looks at it now.
    pub is_viewed: bool,
}

impl TerminalLine {
    fn of(terminal: &LiveTerminal, caller: &Caller) -> Self {
        Self {
            id: terminal.id.clone(),
            run: terminal.run.clone(),
            user: terminal.user.clone(),
            is_own: terminal.user == caller.user,
            opened_at: terminal.opened_at,
            size: terminal.size(),
            is_viewed: terminal.is_viewed(),
        }
    }
}

impl Services {
    /// Opens a terminal in what `id` runs now: a job, a session, or the present session of a notebook
    /// or a TensorBoard. Returns when its shell runs.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] when nothing runs there, or what runs has no shell;
    /// [`ServiceError::TooMany`] with the code `too_many_terminals`.
    pub async fn open_terminal(
        &self,
        caller: &Caller,
        id: &ServedId,
        size: TtySize,
    ) -> Result<TerminalLine, ServiceError> {
        let workload = running(self.workload_named(caller, id).await?)?;
        let (now, terminal) = (self.clock.now(), TerminalId::mint(&*self.ids));
        let rules = self.settings.terminals;
        let (kind, subject) = workload.subject();
        let subject = subject.to_owned();
        let (opened, answered) = self.terminals.add(terminal, caller.user.clone(), workload, size, rules, now)?;
        let unheard = |message: &str| ServiceError::Conflict { code: "terminal_failed", message: message.to_owned() };
        let answer = match tokio::time::timeout(COMING, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unheard("the daemon ends, so no terminal is opened: try again in a moment")),
            Err(_) => Err(unheard("its container did not start a shell in time: it may be too busy, try again")),
        };
        let (team, user, line) = (caller.team.clone(), caller.user.clone(), TerminalLine::of(&opened, caller));
        let told = match answer {
            Ok(()) => {
                let data = serde_json::json!({ "terminal": line.id, "user": user });
                let tell =
                    move |tx: &Tx<'_>| events::append(tx, &team, kind, &subject, "terminal-opened", data.clone(), now);
                self.store.write(tell).await.map_err(ServiceError::from)
            }
            refused => refused,
        };
        if let Err(error) = told {
            opened.close();
            self.terminals.forget(&opened.id);
            return Err(error);
        }
        Ok(line)
    }

    /// Returns the terminals in what `id` runs now, oldest first: those of everybody, of which the caller may
    /// look at their own.
    pub async fn terminals(&self, caller: &Caller, id: &ServedId) -> Result<Vec<TerminalLine>, ServiceError> {
        let workload = self.workload_named(caller, id).await?;
        let open = self.terminals.of_run(&workload.id);
        Ok(open.iter().map(|terminal| TerminalLine::of(terminal, caller)).collect())
    }

    /// Closes a terminal: whatever runs in it is hung up. An admin may close those of others.
    pub async fn close_terminal(&self, caller: &Caller, id: &ServedId, which: &TerminalId) -> Result<(), ServiceError> {
        let terminal = self.find_terminal(caller, id, which).await?;
        if terminal.user != caller.user && caller.scope < Scope::Admin {
            let message = format!("terminal {which} is somebody else's: they or an admin may close it");
            return Err(ServiceError::Forbidden(message));
        }
        terminal.close();
        Ok(())
    }

    /// Lets the caller look at their terminal, and type. Whoever looked at it before is told that they are
    /// replaced.
    pub async fn view_terminal(
        &self,
        caller: &Caller,
        id: &ServedId,
        which: &TerminalId,
    ) -> Result<Viewing, ServiceError> {
        let terminal = self.find_terminal(caller, id, which).await?;
        if terminal.user != caller.user {
            let message =
                format!("terminal {which} is somebody else's, and shows what they type: open one of your own");
            return Err(ServiceError::Forbidden(message));
        }
        Ok(terminal.view())
    }

    async fn find_terminal(
        &self,
        caller: &Caller,
        id: &ServedId,
        which: &TerminalId,
    ) -> Result<Arc<LiveTerminal>, ServiceError> {
        let workload = self.workload_named(caller, id).await?;
        let found = self.terminals.get(which).filter(|terminal| terminal.run == workload.id);
        found.ok_or_else(|| ServiceError::not_found("terminal", which))
    }

    /// Returns what `id` runs, or ran last.
    async fn workload_named(&self, caller: &Caller, id: &ServedId) -> Result<Workload, ServiceError> {
        caller.may(Action::OpenTerminal)?;
        let (team, id) = (caller.team.clone(), id.clone());
        self.store
            .read(move |connection| {
                if let Ok(notebook) = id.as_str().parse::<NotebookId>() {
                    let found = notebooks::get(connection, &notebook)?.filter(|notebook| notebook.team == team);
                    let notebook = found.ok_or_else(|| ServiceError::not_found("notebook", &id))?;
                    return notebook.session.map(|session| session.workload).ok_or_else(|| {
                        let message = format!("notebook {id} was never started: start it, then open a terminal");
                        ServiceError::Conflict { code: "workload_over", message }
                    });
                }
                if let Ok(board) = id.as_str().parse::<TensorBoardId>() {
                    let found = tensorboards::get(connection, &team, &board)?;
                    let board = found.ok_or_else(|| ServiceError::not_found("TensorBoard", &id))?;
                    return board.session.map(|showing| showing.session.workload).ok_or_else(|| {
                        let message = format!("TensorBoard {id} was never started: start it, then open a terminal");
                        ServiceError::Conflict { code: "workload_over", message }
                    });
                }
                let missing = || ServiceError::not_found("job", &id);
                let run: JobId = id.as_str().parse().map_err(|_| missing())?;
                workloads::get(connection, &run)?.filter(|workload| workload.team == team).ok_or_else(missing)
            })
            .await
    }
}

/// Refuses what has no container in which a shell could run, with what to do.
fn running(workload: Workload) -> Result<Workload, ServiceError> {
    let (kind, subject) = workload.subject();
    let (code, message) = match workload.state {
        State::Running => return Ok(workload),
        State::Pending | State::Provisioned => {
            ("workload_not_running", format!("{kind} {subject} does not run yet: open a terminal as soon as it does"))
        }
        _ => {
            let way_out = match workload.kind {
                Kind::Job => "clone it, and open a terminal while the new one runs",
                _ => "start it again, then open a terminal",
            };
            ("workload_over", format!("{kind} {subject} is over, and its container is gone: {way_out}"))
        }
    };
    Err(ServiceError::Conflict { code, message })
}
