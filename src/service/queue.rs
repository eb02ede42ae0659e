//! The queue: who waits and why, and who holds what they wait for.

use std::collections::HashMap;

use super::{ServiceError, Services};
use crate::{
    domain::{
        board::Waiting,
        caller::{Action, Caller},
        gpu::GpuUuid,
        id::{JobId, TeamId, UserId},
        time::Timestamp,
        workload::{Kind, State, Workload},
    },
    store::{StoreError, idle_ends, teams, workloads},
};

/// A job, or a session of something, as people know it.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: JobId,
    pub kind: Kind,
    /// The name that the job, notebook or TensorBoard has now.
    pub name: String,
    /// The name of the person.
    pub user: String,
    /// Whether it is of the team that asks, so that there is a page of it for them.
    pub is_own: bool,
}

/// Somebody who holds something.
#[derive(Debug, Clone)]
pub struct Holder {
    pub run: Run,
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub gpus: Vec<GpuUuid>,
    /// How many may hold each of its GPUs; 1 is whole.
    pub share: u32,
    pub started_at: Option<Timestamp>,
    /// When its time limit ends it.
    pub until: Option<Timestamp>,
    /// When it stops by itself if nobody uses it until then.
    pub idle_at: Option<Timestamp>,
}

/// Somebody for whom another waits.
#[derive(Debug, Clone)]
pub struct Blocker {
    pub run: Run,
    /// None of one that waits as well, and only goes first.
    pub gpus: Vec<GpuUuid>,
    pub until: Option<Timestamp>,
    pub idle_at: Option<Timestamp>,
    pub waits: bool,
}

/// Where something stands in the queue, and why.
#[derive(Debug, Clone)]
pub struct Place {
    pub waiting: Waiting,
    /// Who holds what it needs, or goes first; `None` where that was not looked up, as for lists.
    pub held_by: Option<Vec<Blocker>>,
}

/// Somebody who waits.
#[derive(Debug, Clone)]
pub struct QueueEntry {
    pub place: Place,
    pub run: Run,
    pub machine_type: String,
    pub workload: Workload,
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
                let mut people = People::new(&team);
                let holders = holders(connection, &mut people)?;
                let by_id: HashMap<&JobId, &Holder> = holders.iter().map(|holder| (&holder.run.id, holder)).collect();
                let mut entries = Vec::new();
                for waiting in waiting.iter().take(limit) {
                    // It may have gone on since the loop looked.
                    let found = workloads::get(connection, &waiting.id)?;
                    let here = found.filter(|workload| workload.team == team && workload.state == State::Pending);
                    let Some(workload) = here else { continue };
                    entries.push(QueueEntry {
                        run: people.run(connection, &workload)?,
                        machine_type: workloads::spec(connection, workload.seq)?.machine_type,
                        workload,
                        place: Place {
                            held_by: Some(blockers(connection, waiting, &by_id, &mut people)?),
                            waiting: waiting.clone(),
                        },
                    });
                }
                Ok(Queue { waiting: entries, holders })
            })
            .await
    }

    /// Adds to a place in the queue who holds what is waited for there.
    pub(super) async fn explain_wait(
        &self,
        caller: &Caller,
        place: Option<Place>,
    ) -> Result<Option<Place>, ServiceError> {
        let Some(Place { waiting, .. }) = place else { return Ok(None) };
        let team = caller.team.clone();
        self.store
            .read(move |connection| {
                let mut people = People::new(&team);
                let holders = holders(connection, &mut people)?;
                let by_id = holders.iter().map(|holder| (&holder.run.id, holder)).collect();
                let held_by = blockers(connection, &waiting, &by_id, &mut people)?;
                Ok(Some(Place { waiting, held_by: Some(held_by) }))
            })
            .await
    }
}

impl From<Waiting> for Place {
    fn from(waiting: Waiting) -> Self {
        Self { waiting, held_by: None }
    }
}

impl From<&Holder> for Blocker {
    fn from(holder: &Holder) -> Self {
        let Holder { run, gpus, until, idle_at, .. } = holder.clone();
        Self { run, gpus, until, idle_at, waits: false }
    }
}

/// Returns for whom somebody waits, as far as they still hold something or wait themselves.
fn blockers(
    connection: &rusqlite::Connection,
    waiting: &Waiting,
    holders: &HashMap<&JobId, &Holder>,
    people: &mut People<'_>,
) -> Result<Vec<Blocker>, StoreError> {
    let mut blockers = Vec::new();
    for id in &waiting.held_by {
        if let Some(holder) = holders.get(id) {
            blockers.push(Blocker::from(*holder));
        } else if let Some(first) = workloads::get(connection, id)?.filter(|first| first.state == State::Pending) {
            let run = people.run(connection, &first)?;
            blockers.push(Blocker { run, gpus: Vec::new(), until: None, idle_at: None, waits: true });
        }
    }
    Ok(blockers)
}

/// Tells whose runs are, each person looked up once.
pub(super) struct People<'a> {
    team: &'a TeamId,
    names: HashMap<UserId, String>,
}

impl<'a> People<'a> {
    /// Begins to tell `team`.
    pub fn new(team: &'a TeamId) -> Self {
        Self { team, names: HashMap::new() }
    }

    /// Returns a workload as people know it.
    pub fn run(&mut self, connection: &rusqlite::Connection, workload: &Workload) -> Result<Run, StoreError> {
        let user = match self.names.get(&workload.user) {
            Some(name) => name.clone(),
            None => {
                let name = teams::user_name(connection, &workload.user)?.unwrap_or_default();
                self.names.insert(workload.user.clone(), name.clone());
                name
            }
        };
        Ok(Run {
            id: workload.id.clone(),
            kind: workload.kind.clone(),
            name: workloads::name_now(connection, workload)?,
            user,
            is_own: workload.team == *self.team,
        })
    }
}

/// Returns everybody who holds cores, memory and GPUs.
pub(super) fn holders(connection: &rusqlite::Connection, people: &mut People<'_>) -> Result<Vec<Holder>, StoreError> {
    let mut holders = Vec::new();
    let idles = idle_ends::of_holders(connection)?;
    for workload in workloads::holding(connection)? {
        holders.push(Holder {
            run: people.run(connection, &workload)?,
            until: workload.deadline(),
            idle_at: idles.get(&workload.seq).copied(),
            cpu_millis: workload.needs.cpu_millis,
            memory_bytes: workload.needs.memory_bytes,
            share: workload.needs.gpu_share,
            gpus: workload.gpus,
            started_at: workload.started_at,
        });
    }
    Ok(holders)
}
