//! How every edge names a run to programs, wherever somebody may want to go to its page.

use serde::Serialize;
use utoipa::ToSchema;

use super::queue::Run;
use crate::domain::{
    id::{JobId, NotebookId, TensorBoardId},
    workload::Kind,
};

/// A job, or a session of a notebook or of a TensorBoard.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunName {
    /// `job`, `notebook` or `tensorboard`.
    kind: &'static str,
    /// Of the job, or of the session.
    #[schema(value_type = String)]
    job_id: JobId,
    /// The notebook that it is a session of; null for everything else.
    #[schema(value_type = Option<String>)]
    notebook_id: Option<NotebookId>,
    /// The TensorBoard that it is a session of; null for everything else.
    #[schema(value_type = Option<String>)]
    tensorboard_id: Option<TensorBoardId>,
    /// What the job, notebook or TensorBoard is called now.
    name: String,
    /// The name of the person.
    user: String,
    /// Whether it is your team's, so that you can look at it.
    own: bool,
}

/// Returns the notebook, or the TensorBoard, that a run of this kind is a session of.
pub fn parents(kind: Kind) -> (Option<NotebookId>, Option<TensorBoardId>) {
    match kind {
        Kind::Job => (None, None),
        Kind::Notebook(id) => (Some(id), None),
        Kind::TensorBoard(id) => (None, Some(id)),
    }
}

impl From<Run> for RunName {
    fn from(run: Run) -> Self {
        let kind = run.kind.as_str();
        let (notebook_id, tensorboard_id) = parents(run.kind);
        Self { kind, job_id: run.id, notebook_id, tensorboard_id, name: run.name, user: run.user, own: run.is_own }
    }
}
