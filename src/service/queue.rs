//! The queue: who waits and why, and who holds what they wait for.

use std::collections::HashMap;

use super::{ServiceError, Services};
use crate::{
    domain::{
        board::Waiting,
        caller::{Action, Caller},
        gpu::GpuUuid,
        id::{JobId, NotebookId, UserId},
        time::Timestamp,
        workload::{Kind, State, Workload},
    },
    store::{teams, workloads},
};

/// Somebody who holds something.
#[derive(Debug, Clone)]
pub struct Holder {
    pub job: JobId,
    /// The notebook that it is a session of, if it is one.
    pub notebook: Option<NotebookId>,
    pub name: String,
    pub user: String,
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub gpus: Vec<GpuUuid>,
    /// How many may hold each of its GPUs; 1 is whole.
    pub share: u32,
    pub started_at: Option<Timestamp>,
    /// When its time limit ends it.
    pub until: Option<Timestamp>,
}

/// Somebody who waits.
#[derive(Debug, Clone)]
pub struct QueueEntry {
    pub waiting: Waiting,
    pub user: String,
    pub machine_type: String,
    pub workload: Workload,
    pub held_by: Vec<Holder>,
}

/// The queue, next first, and who holds places now.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    pub waiting: Vec<QueueEntry>,
    pub holders: Vec<Holder>,
}

impl Services {
    /// Returns who waits, and why, `limit` at most, and who holds places.
    pub async fn queue(&self, caller: &Caller, limit: usize) -> Result<Queue, ServiceError> {
        caller.may(Action::ViewBox)?;
        let waiting = self.board.queue();
        let team = caller.team.clone();
        self.store
            .read(move |connection| {
                let holders = holders(connection)?;
                let by_id: HashMap<&JobId, &Holder> = holders.iter().map(|holder| (&holder.job, holder)).collect();
                let mut entries = Vec::new();
                for waiting in waiting.iter().take(limit) {
                    // It may have gone on since the loop looked.
                    let found = workloads::get(connection, &waiting.id)?;
                    let here = found.filter(|workload| workload.team == team && workload.state == State::Pending);
                    let Some(workload) = here else { continue };
                    entries.push(QueueEntry {
                        user: teams::user_name(connection, &workload.user)?.unwrap_or_default(),
                        machine_type: workloads::spec(connection, workload.seq)?.machine_type,
                        workload,
                        held_by: waiting
                            .held_by
                            .iter()
                            .filter_map(|id| by_id.get(id).map(|holder| (*holder).clone()))
                            .collect(),
                        waiting: waiting.clone(),
                    });
                }
                Ok(Queue { waiting: entries, holders })
            })
            .await
    }
}

/// Returns the notebook that a workload is a session of.
pub fn notebook_of(kind: &Kind) -> Option<NotebookId> {
    match kind {
        Kind::Notebook(id) => Some(id.clone()),
        Kind::Job | Kind::TensorBoard(_) => None,
    }
}

/// Returns everybody who holds cores, memory and GPUs.
pub(super) fn holders(connection: &rusqlite::Connection) -> Result<Vec<Holder>, ServiceError> {
    let mut names: HashMap<UserId, String> = HashMap::new();
    let mut holders = Vec::new();
    for workload in workloads::holding(connection)? {
        let user = match names.get(&workload.user) {
            Some(name) => name.clone(),
            None => {
                let name = teams::user_name(connection, &workload.user)?.unwrap_or_default();
                names.insert(workload.user.clone(), name.clone());
                name
            }
        };
        holders.push(Holder {
            until: workload.deadline(),
            notebook: notebook_of(&workload.kind),
            job: workload.id,
            name: workload.name,
            user,
            cpu_millis: workload.needs.cpu_millis,
            memory_bytes: workload.needs.memory_bytes,
            share: workload.needs.gpu_share,
            gpus: workload.gpus,
            started_at: workload.started_at,
        });
    }
    Ok(holders)
}
