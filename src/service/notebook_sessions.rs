//! Notebooks by their sessions: a program that runs in one knows itself by the id of its session.

use super::{ServiceError, Services};
use crate::{
    domain::{
        caller::{Action, Caller},
        id::{JobId, NotebookId},
        user_path::shown,
        workload::{Kind, Workload},
    },
    store::workloads,
};

impl Services {
    /// Returns the notebook that is meant by its own id, or by that of one of its sessions.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for a text that is neither, and for a session of another team.
    pub async fn notebook_named(&self, caller: &Caller, named: &str) -> Result<NotebookId, ServiceError> {
        caller.may(Action::ViewNotebooks)?;
        if let Ok(id) = named.parse() {
            return Ok(id);
        }
        let missing = ServiceError::not_found("notebook", shown(named.as_bytes()));
        let Ok(session) = named.parse::<JobId>() else { return Err(missing) };
        let caller = caller.clone();
        let found = self.store.read(move |connection| Ok::<_, ServiceError>(find(connection, &caller, &session)?));
        found.await?.map(|(notebook, _)| notebook).ok_or(missing)
    }

    /// Asks for the end of one session and returns at once. One that is over stays as it is, and so does
    /// whatever the notebook has run since.
    pub async fn stop_notebook_session(&self, caller: &Caller, session: &JobId) -> Result<(), ServiceError> {
        caller.may(Action::StopNotebook)?;
        let (services, caller, id) = (self.clone(), caller.clone(), session.clone());
        self.store
            .write(move |tx| {
                let (_, session) =
                    find(tx, &caller, &id)?.ok_or_else(|| ServiceError::not_found("session of a notebook", &id))?;
                if !session.state.is_terminal() {
                    workloads::ask_to_stop(tx, session.seq, services.clock.now())?;
                }
                Ok(())
            })
            .await
    }
}

fn find(
    connection: &rusqlite::Connection,
    caller: &Caller,
    session: &JobId,
) -> Result<Option<(NotebookId, Workload)>, crate::store::StoreError> {
    let found = workloads::get(connection, session)?.filter(|workload| workload.team == caller.team);
    Ok(found.and_then(|workload| match workload.kind.clone() {
        Kind::Notebook(id) => Some((id, workload)),
        Kind::Job | Kind::TensorBoard(_) => None,
    }))
}
