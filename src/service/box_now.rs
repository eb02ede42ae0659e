//! The box at a glance: what there is, who holds it, how busy and how well it is.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use super::{
    ServiceError, Services, blocking,
    queue::{Holder, People, holders},
};
use crate::{
    domain::{
        board::{Contact, DiskRoom, Load, LoopReport},
        caller::{Action, Caller},
        gpu::{Gpu, GpuHealth, GpuKind, GpuProcess, GpuReading, GpuUuid, Inventory},
        machine_type::{Catalogue, MachineType},
        time::Timestamp,
        workload::State,
    },
    host,
    scheduler::{self, Availability, Capacity, GpuSlot, Policy, Running, Waiting},
    store::{StoreError, teams, workloads},
};

/// The box at a glance.
#[derive(Debug, Clone)]
pub struct BoxNow {
    pub at: Timestamp,
    pub contact: Arc<Contact>,
    pub load: Option<Load>,
    pub disk: DiskRoom,
    pub data_dir: PathBuf,
    pub inventory: Arc<Inventory>,
    pub readings: Arc<Vec<GpuReading>>,
    pub catalogue: Arc<Catalogue>,
    pub holders: Vec<Holder>,
    /// The caller's team's jobs, without sessions of notebooks and TensorBoards.
    pub jobs: BTreeMap<State, u64>,
    /// How many wait for a place, of all teams.
    pub queued: usize,
    pub loops: BTreeMap<&'static str, LoopReport>,
    /// What there is for all workloads together.
    pub cpu_capacity_millis: u64,
    pub memory_capacity_bytes: u64,
    /// Memory that the daemon itself holds.
    pub resident_bytes: Option<u64>,
    avoid_busy_gpus: bool,
}

/// One GPU with what it does and whose it is.
#[derive(Debug, Clone)]
pub struct GpuNow<'a> {
    pub gpu: &'a Gpu,
    /// `None` until it was looked at for the first time.
    pub reading: Option<&'a GpuReading>,
    /// Its own, or that of the GPU that it is a slice of.
    pub health: GpuHealth,
    pub holders: Vec<&'a Holder>,
    /// Processes that no job of ours started.
    pub foreign: Vec<&'a GpuProcess>,
    /// No new job is put on it because of the foreign processes.
    pub avoided: bool,
}

impl Services {
    /// Returns what GPUs there are, to name those that jobs hold.
    pub fn gpu_inventory(&self) -> Arc<Inventory> {
        self.board.inventory()
    }

    /// Returns the box at a glance.
    pub async fn box_now(&self, caller: &Caller) -> Result<BoxNow, ServiceError> {
        caller.may(Action::ViewBox)?;
        let team = caller.team.clone();
        let (jobs, holders) = self
            .store
            .read(move |connection| {
                Ok::<_, ServiceError>((
                    workloads::counts(connection, &team)?,
                    holders(connection, &mut People::new(&team))?,
                ))
            })
            .await?;
        Ok(BoxNow {
            at: self.clock.now(),
            contact: self.board.contact(),
            load: (*self.board.host()).clone(),
            disk: *self.board.disk(),
            data_dir: self.data.root().to_owned(),
            inventory: self.board.inventory(),
            readings: self.board.readings(),
            catalogue: self.board.catalogue(),
            holders,
            jobs,
            queued: self.board.queue().len(),
            loops: self.board.loops(),
            cpu_capacity_millis: self.settings.cpu_capacity_millis,
            memory_capacity_bytes: self.settings.memory_capacity_bytes,
            resident_bytes: blocking(host::resident_bytes).await,
            avoid_busy_gpus: self.settings.avoid_busy_gpus,
        })
    }

    /// Says whether the store answers. Asks nobody else: an engine that is away is not ill health of
    /// the daemon's.
    ///
    /// # Errors
    /// [`ServiceError::Store`] when it is damaged or closed.
    pub async fn health(&self) -> Result<(), ServiceError> {
        let asked: Result<Option<String>, StoreError> = self.store.read(teams::box_id).await;
        asked.map(drop).map_err(ServiceError::Store)
    }
}

impl BoxNow {
    /// Counts the jobs in the states that `wanted` picks.
    pub fn count(&self, wanted: impl Fn(State) -> bool) -> u64 {
        self.jobs.iter().filter(|(state, _)| wanted(**state)).map(|(_, count)| count).sum()
    }

    /// Returns the cores that are held, in thousandths.
    pub fn cpu_held_millis(&self) -> u64 {
        self.holders.iter().map(|holder| u64::from(holder.cpu_millis)).sum()
    }

    /// Returns the memory that is held.
    pub fn memory_held_bytes(&self) -> u64 {
        self.holders.iter().map(|holder| holder.memory_bytes).sum()
    }

    /// Returns every GPU, in the inventory's order.
    pub fn gpus(&self) -> Vec<GpuNow<'_>> {
        self.inventory.gpus.iter().map(|gpu| self.gpu(gpu)).collect()
    }

    fn gpu<'a>(&'a self, gpu: &'a Gpu) -> GpuNow<'a> {
        let reading = self.reading(&gpu.uuid);
        let holders: Vec<&Holder> = self.holders.iter().filter(|holder| holder.gpus.contains(&gpu.uuid)).collect();
        let processes = reading.map(|reading| reading.processes.as_slice()).unwrap_or_default();
        let foreign = foreign(processes, !holders.is_empty());
        let avoided = self.avoid_busy_gpus && !foreign.is_empty();
        GpuNow { gpu, reading, health: self.health(gpu), holders, foreign, avoided }
    }

    fn reading(&self, uuid: &GpuUuid) -> Option<&GpuReading> {
        self.readings.iter().find(|reading| reading.uuid == *uuid)
    }

    /// A slice is as healthy as the GPU that it is cut from.
    fn health(&self, gpu: &Gpu) -> GpuHealth {
        let parent = match &gpu.kind {
            GpuKind::Mig { parent, .. } => Some(parent),
            GpuKind::Whole => None,
        };
        let readings: Vec<_> =
            [Some(&gpu.uuid), parent].into_iter().flatten().filter_map(|uuid| self.reading(uuid)).collect();
        match readings.iter().find(|reading| !reading.health.is_usable()).or(readings.first()) {
            Some(reading) => reading.health.clone(),
            None => GpuHealth::Unknown { reason: "it has not been looked at yet".to_owned() },
        }
    }

    /// Says which machine types have their place free at this moment, by name. Whoever waits already
    /// may take it first; that is the queue's to say.
    pub fn free_types(&self) -> HashSet<&str> {
        let gpus: Vec<GpuSlot> = self.gpus().into_iter().map(slot).collect();
        let capacity = Capacity {
            cpu_millis: self.cpu_capacity_millis,
            memory_bytes: self.memory_capacity_bytes,
            gpus,
            links: self.inventory.links.clone(),
        };
        let running: Vec<Running> = self.holders.iter().map(running).collect();
        let fits = |kind: &&MachineType| {
            let alone = Waiting {
                id: "one".into(),
                priority: 0,
                since: self.at,
                seq: 0,
                demand: (*kind).into(),
                time_limit: None,
                gang: None,
            };
            !scheduler::plan(self.at, &[alone], &running, &capacity, &Policy::default()).starts.is_empty()
        };
        self.catalogue.types().iter().filter(fits).map(|kind| kind.name.as_str()).collect()
    }
}

fn slot(now: GpuNow<'_>) -> GpuSlot {
    let availability = match (now.health, now.foreign.first()) {
        (GpuHealth::Healthy, Some(process)) if now.avoided => {
            Availability::Foreign { pid: process.pid, user: process.user.clone(), command: process.command.clone() }
        }
        (GpuHealth::Healthy, _) => Availability::Free,
        (GpuHealth::Lost, _) => Availability::Unhealthy { reason: "lost".to_owned() },
        (GpuHealth::Failing { reason } | GpuHealth::Unknown { reason }, _) => Availability::Unhealthy { reason },
    };
    GpuSlot { gpu: now.gpu.clone(), availability }
}

fn running(holder: &Holder) -> Running {
    Running {
        id: holder.run.id.as_str().into(),
        cpu_millis: holder.cpu_millis.into(),
        memory_bytes: holder.memory_bytes,
        gpus: holder.gpus.iter().map(|uuid| (uuid.clone(), holder.share)).collect(),
        ends_at: holder.until,
        idles_at: holder.idle_at,
    }
}

/// Returns the processes that no job of ours started.
///
/// Which containers are ours is known to the loops alone. Here a process in some container counts as
/// ours while a job holds the GPU: two who share a held GPU by going behind our back look like one.
fn foreign(processes: &[GpuProcess], held: bool) -> Vec<&GpuProcess> {
    processes.iter().filter(|process| !(held && process.container.is_some())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, container: Option<&str>) -> GpuProcess {
        GpuProcess { pid, memory_bytes: None, user: None, command: None, container: container.map(str::to_owned) }
    }

    #[test]
    fn a_process_in_a_container_is_ours_only_while_a_job_holds_the_gpu() {
        let processes = [process(1, Some("c")), process(2, None)];
        let pids = |held| foreign(&processes, held).iter().map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!(pids(true), [2]);
        assert_eq!(pids(false), [1, 2]);
    }
}
