//! What a session printed last, for whoever finds that it ended badly.

use super::{Services, notebooks::NotebookNow, tensorboards::TensorBoardNow};
use crate::domain::{
    caller::Caller,
    notebook::{NotebookState, Session},
};

impl Services {
    /// Returns the last lines of a notebook's session that ended badly; none otherwise.
    pub async fn notebook_last_lines(&self, caller: &Caller, now: &NotebookNow) -> Vec<String> {
        self.lines_of_failed(caller, now.state, now.notebook.session.as_ref()).await
    }

    /// Returns the last lines of the session of a TensorBoard that ended badly; none otherwise.
    pub async fn tensorboard_last_lines(&self, caller: &Caller, now: &TensorBoardNow) -> Vec<String> {
        self.lines_of_failed(caller, now.state, now.board.session.as_ref().map(|showing| &showing.session)).await
    }

    async fn lines_of_failed(&self, caller: &Caller, state: NotebookState, session: Option<&Session>) -> Vec<String> {
        let failed = matches!(state, NotebookState::Failed | NotebookState::Error);
        match session.filter(|_| failed) {
            Some(session) => self.last_lines(caller, &session.workload.id).await,
            None => Vec::new(),
        }
    }
}
