//! The simulator's own books: who holds what, kept without any of the scheduler's code.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::Report;
use crate::{
    domain::{gpu::GpuUuid, time::Timestamp},
    scheduler::{Availability, Capacity, Plan, Running, Waiting},
};

pub(super) struct Books<'a> {
    capacity: &'a Capacity,
    now: Timestamp,
    running: Vec<Running>,
    /// When each of `running` really ends, in the same order.
    ends: Vec<Timestamp>,
    started: usize,
    waited: Duration,
    longest_wait: Duration,
    /// Millicore-microseconds and GPU-microseconds, a share counting as its part.
    cpu_time: f64,
    gpu_time: f64,
}

impl<'a> Books<'a> {
    pub fn new(capacity: &'a Capacity) -> Self {
        Self {
            capacity,
            now: Timestamp(0),
            running: Vec::new(),
            ends: Vec::new(),
            started: 0,
            waited: Duration::ZERO,
            longest_wait: Duration::ZERO,
            cpu_time: 0.0,
            gpu_time: 0.0,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn running(&self) -> &[Running] {
        &self.running
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.iter().min().copied()
    }

    /// Lets time pass until `now` and ends what ends by then.
    #[expect(clippy::cast_precision_loss, reason = "parts of a whole, for people")]
    pub fn advance(&mut self, now: Timestamp) {
        let span = now.since(self.now).as_micros() as f64;
        self.cpu_time += span * self.running.iter().map(|one| one.cpu_millis as f64).sum::<f64>();
        let parts = |one: &Running| one.gpus.iter().map(|(_, share)| 1.0 / f64::from(*share)).sum::<f64>();
        self.gpu_time += span * self.running.iter().map(parts).sum::<f64>();
        self.now = now;
        let mut ends = self.ends.iter();
        self.running.retain(|_| ends.next().is_some_and(|end| *end > now));
        self.ends.retain(|end| *end > now);
    }

    /// Writes the starts of `plan` into the books; returns who still waits.
    pub fn start(
        &mut self,
        now: Timestamp,
        waiting: Vec<Waiting>,
        plan: &Plan,
        lengths: &BTreeMap<Box<str>, Duration>,
    ) -> Result<Vec<Waiting>, String> {
        let given: HashMap<&str, &[GpuUuid]> =
            plan.starts.iter().map(|start| (start.id.as_ref(), start.gpus.as_slice())).collect();
        if plan.starts.len() + plan.waits.len() != waiting.len() || given.len() != plan.starts.len() {
            return Err("somebody is forgotten or told twice".into());
        }
        let (starting, left): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|one| given.contains_key(one.id.as_ref()));
        if let Some(torn) =
            starting.iter().find(|one| one.gang.is_some() && left.iter().any(|other| other.gang == one.gang))
        {
            return Err(format!("the gang of {} is torn apart", torn.id));
        }
        for one in starting {
            let gpus = given[one.id.as_ref()];
            self.check(&one, gpus)?;
            let length = lengths.get(&one.id).copied().unwrap_or_default();
            let wait = now.since(one.since);
            self.waited += wait;
            self.longest_wait = self.longest_wait.max(wait);
            self.started += 1;
            self.ends.push(now.plus(one.time_limit.map_or(length, |limit| limit.min(length))));
            self.running.push(Running {
                id: one.id,
                cpu_millis: one.demand.cpu_millis,
                memory_bytes: one.demand.memory_bytes,
                gpus: gpus.iter().map(|gpu| (gpu.clone(), one.demand.share.max(1))).collect(),
                ends_at: one.time_limit.map(|limit| now.plus(limit)),
                idles_at: None,
            });
        }
        Ok(left)
    }

    fn check(&self, one: &Waiting, gpus: &[GpuUuid]) -> Result<(), String> {
        let Waiting { id, demand, .. } = one;
        let cpu: u64 = self.running.iter().map(|held| held.cpu_millis).sum();
        let memory: u64 = self.running.iter().map(|held| held.memory_bytes).sum();
        if cpu + demand.cpu_millis > self.capacity.cpu_millis
            || memory + demand.memory_bytes > self.capacity.memory_bytes
        {
            return Err(format!("{id} takes more cores or memory than are free"));
        }
        if gpus.len() != demand.gpus as usize {
            return Err(format!("{id} asked for {} GPUs and gets {}", demand.gpus, gpus.len()));
        }
        for (at, gpu) in gpus.iter().enumerate() {
            let free =
                self.capacity.gpus.iter().any(|slot| slot.gpu.uuid == *gpu && slot.availability == Availability::Free);
            let held: Vec<u32> = self.holders(gpu).collect();
            let share = demand.share.max(1);
            let joins = held.is_empty() || (held.len() < share as usize && held.iter().all(|other| *other == share));
            if !free || !joins || gpus[..at].contains(gpu) {
                return Err(format!("{id} gets {gpu}, which it cannot have: held by shares {held:?}"));
            }
        }
        Ok(())
    }

    fn holders<'b>(&'b self, gpu: &'b GpuUuid) -> impl Iterator<Item = u32> + 'b {
        self.running.iter().flat_map(|one| &one.gpus).filter(move |(held, _)| held == gpu).map(|(_, share)| *share)
    }

    #[expect(clippy::cast_precision_loss, reason = "parts of a whole, for people")]
    pub fn report(&self, first: Timestamp, report: Report) -> Report {
        let took = self.now.since(first);
        let part = |used: f64, of: f64| if of > 0.0 { used / of } else { 0.0 };
        let span = took.as_micros() as f64;
        Report {
            took,
            mean_wait: self.waited / u32::try_from(self.started.max(1)).unwrap_or(u32::MAX),
            longest_wait: self.longest_wait,
            cpu_used: part(self.cpu_time, span * self.capacity.cpu_millis as f64),
            gpus_used: part(self.gpu_time, span * self.capacity.gpus.len() as f64),
            ..report
        }
    }
}
