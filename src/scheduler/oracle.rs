//! The rules of placement once more, written naively and without the scheduler's own code, to hold
//! its plans against.

use std::collections::BTreeMap;

use super::{Availability, Capacity, Demand, Plan, Running, WaitReason, Waiting};
use crate::domain::{
    gpu::{GpuKind, GpuUuid},
    machine_type,
    time::Timestamp,
};

/// What is free of the box when some have a part of it.
#[derive(Debug, Clone)]
pub struct Free<'a> {
    capacity: &'a Capacity,
    cpu: i128,
    memory: i128,
    holders: BTreeMap<&'a GpuUuid, Vec<u32>>,
}

impl<'a> Free<'a> {
    pub fn beside(capacity: &'a Capacity, held: impl IntoIterator<Item = &'a Running>) -> Self {
        let mut free = Self {
            capacity,
            cpu: i128::from(capacity.cpu_millis),
            memory: i128::from(capacity.memory_bytes),
            holders: BTreeMap::new(),
        };
        for one in held {
            free.cpu -= i128::from(one.cpu_millis);
            free.memory -= i128::from(one.memory_bytes);
            one.gpus.iter().for_each(|(gpu, share)| free.holders.entry(gpu).or_default().push(*share));
        }
        free
    }

    /// Takes what is kept for the head: as much of its demand as there is, and the very GPUs.
    pub fn keep(&mut self, demand: &Demand, members: i128, gpus: &'a [GpuUuid]) {
        self.cpu -= (i128::from(demand.cpu_millis) * members).min(self.cpu.max(0));
        self.memory -= (i128::from(demand.memory_bytes) * members).min(self.memory.max(0));
        gpus.iter().for_each(|gpu| self.holders.entry(gpu).or_default().push(demand.share.max(1)));
    }

    /// Returns whether so many with this demand fit at once, here and on the same GPUs in `as_well`.
    pub fn fits(&self, demand: &Demand, members: usize, as_well: Option<&Self>) -> bool {
        let many = members as i128;
        let enough = |need: u64, free: i128| need == 0 || i128::from(need) * many <= free;
        let has = |free: &Self| enough(demand.cpu_millis, free.cpu) && enough(demand.memory_bytes, free.memory);
        let places: usize = match as_well {
            None => self.places(demand).sum(),
            Some(other) => self.places(demand).zip(other.places(demand)).map(|(a, b)| a.min(b)).sum(),
        };
        has(self) && as_well.is_none_or(has) && places >= members * demand.gpus as usize
    }

    /// Returns how many holders could still join each GPU; members of a gang may share one.
    pub fn places(&self, demand: &Demand) -> impl Iterator<Item = usize> {
        let share = demand.share.max(1) as usize;
        self.capacity.gpus.iter().map(move |slot| {
            let kind = match (&slot.gpu.kind, demand.mig_profile.as_deref()) {
                (GpuKind::Whole, None) => true,
                (GpuKind::Mig { profile, .. }, Some(wanted)) => profile == wanted,
                _ => false,
            };
            let model = demand.gpu_model.as_deref().is_none_or(|model| machine_type::fits_model(model, &slot.gpu));
            if !kind || !model || slot.availability != Availability::Free {
                return 0;
            }
            match self.holders.get(&slot.gpu.uuid).map(Vec::as_slice).unwrap_or_default() {
                [] => share,
                holders if holders.iter().all(|held| *held as usize == share) => share.saturating_sub(holders.len()),
                _ => 0,
            }
        })
    }
}

/// Returns what runs after the starts of `plan`.
pub fn after(now: Timestamp, waiting: &[Waiting], running: &[Running], plan: &Plan) -> Vec<Running> {
    let starts = plan.starts.iter().map(|start| {
        let one = waiting.iter().find(|one| one.id == start.id).expect("only the waiting start");
        let share = one.demand.share.max(1);
        Running {
            id: one.id.clone(),
            cpu_millis: one.demand.cpu_millis,
            memory_bytes: one.demand.memory_bytes,
            gpus: start.gpus.iter().map(|gpu| (gpu.clone(), share)).collect(),
            ends_at: limit_of(waiting, one).map(|limit| now.plus(limit)),
            idles_at: None,
        }
    });
    running.iter().cloned().chain(starts).collect()
}

/// A gang ends when the last of it does.
pub fn limit_of(waiting: &[Waiting], one: &Waiting) -> Option<std::time::Duration> {
    members(waiting, one)
        .map(|member| member.time_limit)
        .try_fold(std::time::Duration::ZERO, |most, limit| Some(most.max(limit?)))
}

/// Returns all that start together with `one`.
pub fn members<'a>(waiting: &'a [Waiting], one: &'a Waiting) -> impl Iterator<Item = &'a Waiting> {
    waiting.iter().filter(move |other| other.id == one.id || (one.gang.is_some() && other.gang == one.gang))
}

/// Nobody is left waiting who could start.
///
/// Exactly: who waits either does not fit what is free after the plan; or is not sure to have ended
/// when the head starts (a head without a time: has no limit) and does not fit, on GPUs that are free
/// now, what is left beside the reservation at that time.
pub fn nobody_waits_needlessly(
    now: Timestamp,
    waiting: &[Waiting],
    running: &[Running],
    capacity: &Capacity,
    plan: &Plan,
) -> Result<(), String> {
    let after = after(now, waiting, running, plan);
    let free = Free::beside(capacity, &after);
    let beside = plan.reserved.as_ref().map(|reserved| {
        let head = waiting.iter().find(|one| one.id == reserved.id).expect("the head waits");
        let staying = after.iter().filter(|one| one.ends_at.is_none_or(|ends| reserved.at.is_some_and(|at| ends > at)));
        let mut beside = Free::beside(capacity, staying);
        beside.keep(&head.demand, members(waiting, head).count() as i128, &reserved.gpus);
        (reserved, beside)
    });
    for wait in &plan.waits {
        let one = waiting.iter().find(|one| one.id == wait.id).expect("only the waiting wait");
        let count = members(waiting, one).count();
        if !free.fits(&one.demand, count, None) {
            continue;
        }
        let Some((reserved, beside)) = &beside else { return Err(format!("{} fits and nothing is reserved", wait.id)) };
        let ends = limit_of(waiting, one).map(|limit| now.plus(limit));
        let in_time = ends.is_some_and(|ends| reserved.at.is_none_or(|at| ends <= at));
        if in_time || free.fits(&one.demand, count, Some(beside)) {
            return Err(format!("{} could start without delaying {} ({})", wait.id, reserved.id, wait.reason));
        }
    }
    Ok(())
}

/// The head is the first that waits and is not hopeless; its time is the first at which it fits.
pub fn the_head_has_the_first_time_there_is(
    now: Timestamp,
    waiting: &[Waiting],
    running: &[Running],
    capacity: &Capacity,
    plan: &Plan,
) -> Result<(), String> {
    let hopeful =
        plan.waits.iter().find(|wait| !matches!(wait.reason, WaitReason::NeverFits(_) | WaitReason::Barred(_)));
    let Some(reserved) = &plan.reserved else {
        return hopeful.map_or(Ok(()), |wait| Err(format!("{} waits and nothing is reserved", wait.id)));
    };
    let head = waiting.iter().find(|one| one.id == reserved.id).expect("the head waits");
    let count = members(waiting, head).count();
    let before = |other: &Waiting| {
        (std::cmp::Reverse(other.priority), other.since, other.seq, &other.id)
            < (std::cmp::Reverse(head.priority), head.since, head.seq, &head.id)
    };
    let earlier: Vec<&Waiting> = waiting.iter().filter(|other| members(waiting, other).any(before)).collect();
    let passed_over = plan.waits.iter().find(|wait| {
        let hopeless = matches!(wait.reason, WaitReason::NeverFits(_) | WaitReason::Barred(_));
        !hopeless && earlier.iter().any(|one| one.id == wait.id)
    });
    if let Some(passed) = passed_over {
        return Err(format!("{} stands before the head {}", passed.id, reserved.id));
    }
    // What starts ahead of the head counts; what is backfilled must not matter.
    let ahead = Plan {
        starts: plan.starts.iter().filter(|start| earlier.iter().any(|one| one.id == start.id)).cloned().collect(),
        ..Plan::default()
    };
    for (which, plan) in [("ahead", &ahead), ("all", plan)] {
        let held = after(now, waiting, running, plan);
        let mut ends: Vec<Timestamp> = held.iter().filter_map(|one| one.ends_at).collect();
        ends.sort_unstable();
        let first = ends.into_iter().find(|at| {
            let staying = held.iter().filter(|one| one.ends_at.is_none_or(|ends| ends > *at));
            Free::beside(capacity, staying).fits(&head.demand, count, None)
        });
        // The backfilled may happen to end at better times, or leave a timeless head with a time.
        let agrees = if which == "ahead" {
            first == reserved.at
        } else {
            reserved.at.is_none() || first.is_some_and(|first| Some(first) <= reserved.at)
        };
        if !agrees {
            return Err(format!("{} has {:?}; by {which} it is {first:?}", reserved.id, reserved.at));
        }
    }
    Ok(())
}
