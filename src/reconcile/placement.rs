//! From the store's rows and NVML's readings to the scheduler's values, and back. Pure.

use std::collections::{HashMap, HashSet};

use crate::{
    domain::{
        board,
        gpu::{GpuHealth, GpuKind, GpuReading, GpuUuid, Inventory},
        time::Timestamp,
        workload::{Needs, Workload},
    },
    scheduler::{Availability, Behind, Capacity, Demand, GpuSlot, Plan, Running, WaitReason, Waiting},
};

/// Returns what a workload asks of the scheduler.
pub fn waiting(workload: &Workload) -> Waiting {
    Waiting {
        id: workload.id.as_str().into(),
        priority: workload.priority,
        since: workload.created_at,
        seq: workload.seq,
        demand: demand(&workload.needs),
        time_limit: workload.time_limit,
        gang: None,
    }
}

fn demand(needs: &Needs) -> Demand {
    Demand {
        cpu_millis: needs.cpu_millis.into(),
        memory_bytes: needs.memory_bytes,
        gpus: needs.gpus,
        share: needs.gpu_share,
        gpu_model: needs.gpu_model.as_deref().map(Into::into),
        mig_profile: needs.mig_profile.as_deref().map(Into::into),
    }
}

/// Returns what a placed workload holds, and until when. `idles_at` is when it stops if nobody uses it.
pub fn running(workload: &Workload, idles_at: Option<Timestamp>, now: Timestamp) -> Running {
    // One that is still starting has its whole limit before it.
    let started = workload.started_at.unwrap_or(now);
    Running {
        id: workload.id.as_str().into(),
        cpu_millis: workload.needs.cpu_millis.into(),
        memory_bytes: workload.needs.memory_bytes,
        gpus: workload.gpus.iter().map(|uuid| (uuid.clone(), workload.needs.gpu_share)).collect(),
        ends_at: workload.time_limit.map(|limit| started.plus(limit)),
        idles_at,
    }
}

/// Returns what the box has, and which GPUs nobody should be put on.
///
/// `ours` are the engine's ids of our containers, those that ended a moment ago among them: NVML is
/// read now and then, and may still show what has gone.
pub fn capacity(
    cpu_millis: u64,
    memory_bytes: u64,
    inventory: &Inventory,
    readings: &[GpuReading],
    ours: &HashSet<String>,
    avoid_busy: bool,
) -> Capacity {
    let slot = |gpu: &crate::domain::gpu::Gpu| {
        let reading = |uuid: &GpuUuid| readings.iter().find(|reading| reading.uuid == *uuid);
        let own = reading(&gpu.uuid);
        // A slice is as healthy as the GPU that it is cut from.
        let parent = match &gpu.kind {
            GpuKind::Mig { parent, .. } => reading(parent),
            GpuKind::Whole => None,
        };
        let ill = [own, parent].into_iter().flatten().find_map(|reading| match &reading.health {
            GpuHealth::Healthy => None,
            GpuHealth::Failing { reason } => Some(reason.clone()),
            GpuHealth::Lost => Some("it has fallen off the bus".to_owned()),
            GpuHealth::Unknown { reason } => Some(reason.clone()),
        });
        let foreign = own.filter(|_| avoid_busy).and_then(|reading| {
            reading.processes.iter().find(|process| process.container.as_ref().is_none_or(|id| !ours.contains(id)))
        });
        let availability = match (ill, foreign) {
            (Some(reason), _) => Availability::Unhealthy { reason },
            (None, Some(process)) => {
                Availability::Foreign { pid: process.pid, user: process.user.clone(), command: process.command.clone() }
            }
            (None, None) => Availability::Free,
        };
        GpuSlot { gpu: gpu.clone(), availability }
    };
    Capacity {
        cpu_millis,
        memory_bytes,
        gpus: inventory.gpus.iter().map(slot).collect(),
        links: inventory.links.clone(),
    }
}

/// Returns why each workload of `queue` waits, as the board shows it.
pub fn reasons(plan: &Plan, queue: &HashMap<&str, &Workload>) -> Vec<board::Waiting> {
    let words = |reason: &WaitReason| match reason {
        // The scheduler knows it by the id of its run, which is no name for a session.
        WaitReason::Behind(behind) => match queue.get(&*behind.id) {
            Some(first) => Behind { id: first.kind.called(&first.id).into(), ..behind.clone() }.to_string(),
            None => behind.to_string(),
        },
        reason => reason.to_string(),
    };
    plan.waits
        .iter()
        .filter_map(|wait| {
            Some(board::Waiting {
                id: wait.id.parse().ok()?,
                position: u32::try_from(wait.position).unwrap_or(u32::MAX),
                reason: words(&wait.reason),
                held_by: wait.held_by.iter().filter_map(|id| id.parse().ok()).collect(),
                expected_start: wait.expected_start,
                expected_if_idle: wait.expected_if_idle,
            })
        })
        .collect()
}

/// Returns the queue when one thing holds up everybody.
pub fn all_wait(queue: &[&Workload], reason: &str) -> Vec<board::Waiting> {
    let mut queue = queue.to_vec();
    queue.sort_by_key(|workload| (-workload.priority, workload.seq));
    let entry = |(workload, position): (&Workload, u32)| board::Waiting {
        id: workload.id.clone(),
        position,
        reason: reason.to_owned(),
        held_by: Vec::new(),
        expected_start: None,
        expected_if_idle: None,
    };
    queue.into_iter().zip(1..).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::workload::{Kind, State, Wanted},
        reconcile::step::tests::workload,
        scheduler::Wait,
    };

    #[test]
    fn who_goes_first_is_called_what_people_know_it_by() {
        let first =
            Workload { kind: Kind::Notebook("n000000000".parse().unwrap()), ..workload(Wanted::Run, State::Pending) };
        let behind =
            Behind { id: first.id.as_str().into(), higher_priority: false, gpus: true, at: None, backfill: false };
        let wait = Wait {
            id: "js0123456789zz".into(),
            position: 2,
            reason: WaitReason::Behind(behind),
            held_by: [first.id.as_str().into()].into(),
            expected_start: None,
            expected_if_idle: Some(Timestamp(5)),
        };
        let plan = Plan { waits: vec![wait], ..Plan::default() };
        let told = reasons(&plan, &HashMap::from([(first.id.as_str(), &first)])).remove(0);
        assert_eq!(told.reason, "behind notebook n000000000, which has waited longer and gets the next free GPUs");
        assert_eq!((told.held_by, told.expected_if_idle), (vec![first.id], Some(Timestamp(5))));
    }
}
