//! The question and the answer.

use std::{sync::Arc, time::Duration};

use super::{
    backfill::{Hold, Owner, Stock, pass},
    capacity::Capacity,
    demand::{Running, Waiting},
    forecast::foretell,
    place::{Board, Grant, Hardware},
    queue::{Queue, signed},
    reason::{Explainer, WaitReason, hopeless},
};
use crate::domain::{gpu::GpuUuid, time::Timestamp};

/// What the admin may decide about placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether those behind the head may start where that does not delay it. Without, the order is strict.
    pub backfill: bool,
    /// How long what has passed its time limit is taken to need until it is gone.
    pub overdue_grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { backfill: true, overdue_grace: Duration::from_secs(10) }
    }
}

/// Who starts, and why the rest waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of the queue; members of a gang after one another.
    pub starts: Vec<Start>,
    /// Everybody else, in the order of the queue.
    pub waits: Vec<Wait>,
    /// What is kept for the first of the waiting that this box could hold.
    pub reserved: Option<Reserved>,
}

/// One that starts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub id: Box<str>,
    /// Exactly these GPUs.
    pub gpus: Vec<GpuUuid>,
}

/// One that waits on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub id: Box<str>,
    /// 1 is next. All of a gang stand at the same position.
    pub position: usize,
    pub reason: WaitReason,
    /// Who has what it needs, most first and at most 32; who goes first, where that is the reason.
    pub held_by: Arc<[Box<str>]>,
    /// When it starts if everything runs to its time limit and nobody goes ahead of it. Promised to
    /// the head, an estimate for those behind it; none where a limit is missing, or far down the queue.
    pub expected_start: Option<Timestamp>,
    /// When it starts if, besides, nobody uses what stops by itself when it is idle; none where that is no
    /// sooner. An estimate: nothing is reserved on it.
    pub expected_if_idle: Option<Timestamp>,
}

/// What is kept for the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The head; for a gang, the one of it that stands first.
    pub id: Box<str>,
    /// The time by which it starts; none when that cannot be said.
    pub at: Option<Timestamp>,
    /// What it will have, some of which others may still hold.
    pub gpus: Vec<GpuUuid>,
}

/// Decides who of `waiting` starts at `now` beside `running`, and tells the others why they wait.
///
/// Ids are unique. What `running` holds is what the ledger says, including GPUs that have since gone
/// from the box, which are passed over. The work is about linear in `waiting`.
pub fn plan(now: Timestamp, waiting: &[Waiting], running: &[Running], capacity: &Capacity, policy: &Policy) -> Plan {
    let mut hardware = Hardware::new(capacity);
    let queue = Queue::new(waiting, &mut hardware);
    let hopeless: Vec<Option<WaitReason>> = queue.classes.iter().map(|class| hopeless(&hardware, class)).collect();
    let possible = |unit: &usize| hopeless[queue.units[*unit].class].is_none();
    let mut stock = stock(now, running, &hardware, policy);
    let line = (0..queue.units.len()).filter(possible);
    let pass = pass(now, &hardware, &queue, line, &mut stock, policy.backfill);
    let mut started = vec![false; queue.units.len()];
    pass.starts.iter().for_each(|(unit, _)| started[*unit] = true);

    let mut expected: Vec<Expected> = vec![Expected::default(); queue.units.len()];
    if policy.backfill {
        let left = (0..queue.units.len()).filter(|unit| !started[*unit] && possible(unit));
        let left: Vec<usize> = left.take(super::forecast::FORETOLD).collect();
        if running.iter().any(|one| one.idles_at.is_some()) {
            let stock = if_idle(now, running, &stock, policy);
            foretell(&hardware, &queue, left.clone(), stock)
                .into_iter()
                .for_each(|(unit, at)| expected[unit].if_idle = Some(at));
        }
        foretell(&hardware, &queue, left, stock.clone())
            .into_iter()
            .for_each(|(unit, at)| expected[unit].at = Some(at));
    }
    if let Some(head) = &pass.head {
        expected[head.unit].at = head.at;
    }
    let explainer = Explainer::new(&hardware, &queue, running, &stock, &hopeless, pass.head.as_ref(), policy.backfill);
    Plan {
        starts: pass.starts.iter().flat_map(|(unit, grant)| starts(&hardware, &queue, *unit, grant)).collect(),
        waits: waits(&queue, explainer, &started, &expected),
        reserved: pass.head.map(|head| Reserved {
            id: waiting[queue.units[head.unit].first].id.clone(),
            at: head.at,
            gpus: uuids(&hardware, &head.gpus),
        }),
    }
}

/// Returns the box with what runs taken from it.
fn stock(now: Timestamp, running: &[Running], hardware: &Hardware, policy: &Policy) -> Stock {
    let mut stock = Stock { board: Board::empty(hardware), holds: Vec::with_capacity(running.len()) };
    for (index, one) in running.iter().enumerate() {
        let held = one.gpus.iter().filter_map(|(uuid, share)| Some((hardware.find(uuid)?, (*share).max(1))));
        stock.take(Hold {
            owner: Owner::Running(index),
            cpu: signed(one.cpu_millis),
            memory: signed(one.memory_bytes),
            gpus: held.collect(),
            // What should be gone already is about to go.
            ends: one.ends_at.map(|ends| if ends <= now { now.plus(policy.overdue_grace) } else { ends }),
        });
    }
    stock
}

/// Returns `stock` as if whatever can stop for idleness will.
fn if_idle(now: Timestamp, running: &[Running], stock: &Stock, policy: &Policy) -> Stock {
    let mut stock = stock.clone();
    for hold in &mut stock.holds {
        let Owner::Running(index) = hold.owner else { continue };
        let idles = running[index].idles_at.map(|at| if at <= now { now.plus(policy.overdue_grace) } else { at });
        hold.ends = [hold.ends, idles].into_iter().flatten().min();
    }
    stock
}

/// When a unit may start.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    at: Option<Timestamp>,
    if_idle: Option<Timestamp>,
}

/// Hands what a unit was given to its members.
fn starts(hardware: &Hardware, queue: &Queue, unit: usize, grant: &Grant) -> Vec<Start> {
    let mut starts: Vec<Start> = queue.units[unit]
        .members()
        .map(|member| Start { id: queue.waiting[member].id.clone(), gpus: Vec::new() })
        .collect();
    let mut rest = grant.as_slice();
    for (member, count) in queue.class(unit).needs.iter().flat_map(|need| &need.members) {
        let (given, others) = rest.split_at(*count);
        starts[*member].gpus = uuids(hardware, given);
        rest = others;
    }
    starts
}

fn uuids(hardware: &Hardware, grant: &[(usize, u32)]) -> Vec<GpuUuid> {
    grant.iter().map(|(gpu, _)| hardware.slot(*gpu).gpu.uuid.clone()).collect()
}

/// Explains every unit that did not start.
fn waits(queue: &Queue, mut explainer: Explainer, started: &[bool], expected: &[Expected]) -> Vec<Wait> {
    let mut waits = Vec::with_capacity(queue.waiting.len());
    for (place, unit) in (0..queue.units.len()).filter(|unit| !started[*unit]).enumerate() {
        let (reason, held_by) = explainer.explain(unit);
        waits.extend(queue.units[unit].members().map(|member| Wait {
            id: queue.waiting[member].id.clone(),
            position: place + 1,
            reason: reason.clone(),
            held_by: Arc::clone(&held_by),
            expected_start: expected[unit].at,
            expected_if_idle: expected[unit].if_idle.filter(|idle| expected[unit].at.is_none_or(|at| *idle < at)),
        }));
    }
    waits
}

#[cfg(test)]
mod tests;
