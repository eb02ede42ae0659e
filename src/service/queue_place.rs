//! Where something stands in the queue, as every edge tells it to programs.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    queue::{Blocker, Place},
    run_name::RunName,
};
use crate::domain::time::Timestamp;

/// A place in the queue, and why it is waited there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuePlace {
    /// 1 is next.
    position: u32,
    /// What it waits for, for a person.
    reason: String,
    /// Who holds what it needs, or goes first; left out in lists of jobs, notebooks and TensorBoards.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<Vec<BlockerView>>,
    /// When it starts if everything runs to its time limit; null where that cannot be said.
    #[schema(value_type = Option<String>, format = DateTime)]
    expected_start: Option<Timestamp>,
    /// When it starts if, besides, nobody uses the notebooks and TensorBoards that hold what it needs until they
    /// stop by themselves; null where that is no sooner.
    #[schema(value_type = Option<String>, format = DateTime)]
    expected_if_idle: Option<Timestamp>,
}

/// A job or session for which another waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockerView {
    #[serde(flatten)]
    run: RunName,
    /// UUIDs.
    gpus: Vec<String>,
    /// When its time limit ends it.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// When it stops by itself if nobody uses it until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    idle_at: Option<Timestamp>,
    /// It holds nothing yet, and goes first.
    waits: bool,
}

impl From<Place> for QueuePlace {
    fn from(place: Place) -> Self {
        let Place { waiting, held_by } = place;
        Self {
            position: waiting.position,
            reason: waiting.reason,
            held_by: held_by.map(|held_by| held_by.into_iter().map(BlockerView::from).collect()),
            expected_start: waiting.expected_start,
            expected_if_idle: waiting.expected_if_idle,
        }
    }
}

impl From<Blocker> for BlockerView {
    fn from(blocker: Blocker) -> Self {
        Self {
            run: blocker.run.into(),
            gpus: blocker.gpus.iter().map(ToString::to_string).collect(),
            until: blocker.until,
            idle_at: blocker.idle_at,
            waits: blocker.waits,
        }
    }
}
