//! Made-up boxes and loads, the same for the same numbers.

use std::{collections::BTreeMap, time::Duration};

use super::SimulatedJob;
use crate::{
    domain::{
        gpu::{Gpu, GpuKind, Link},
        time::Timestamp,
    },
    scheduler::{Availability, Capacity, Demand, GpuSlot, Waiting},
};

const GIB: u64 = 1 << 30;

/// Returns a box of so many equal GPUs, in fours on one NVLink switch and one NUMA node, with 12
/// cores and 64 GiB a GPU.
pub fn machine(gpus: u32) -> Capacity {
    let slots: Vec<GpuSlot> = (0..gpus).map(slot).collect();
    let mut links = BTreeMap::new();
    for (at, a) in slots.iter().enumerate() {
        for b in &slots[at + 1..] {
            let link = if a.gpu.numa_node == b.gpu.numa_node { Link::NvLink(4) } else { Link::System };
            links.insert((a.gpu.uuid.clone(), b.gpu.uuid.clone()), link);
        }
    }
    let parts = u64::from(gpus.max(1));
    Capacity { cpu_millis: 12_000 * parts, memory_bytes: 64 * GIB * parts, gpus: slots, links }
}

fn slot(number: u32) -> GpuSlot {
    let gpu = Gpu {
        uuid: format!("GPU-{number:02}").as_str().into(),
        index: number,
        name: "NVIDIA A100-SXM4-80GB".into(),
        memory_bytes: 80 * GIB,
        kind: GpuKind::Whole,
        numa_node: Some(number / 4),
        pci_bus_id: format!("00000000:{number:02X}:00.0"),
        minor: Some(number),
        compute_capability: Some((8, 0)),
    };
    GpuSlot { gpu, availability: Availability::Free }
}

/// A load like a lab's: mostly single GPUs, some sets, some shared places, some without a GPU, one
/// in ten without a time limit, now and then a gang.
#[derive(Debug, Clone)]
pub struct Load {
    pub seed: u64,
    pub jobs: usize,
    /// The most GPUs that one asks for.
    pub gpus: u32,
    /// Mean time between arrivals.
    pub every: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self { seed: 7, jobs: 1000, gpus: 8, every: Duration::from_secs(900) }
    }
}

impl Load {
    /// Returns the jobs, in order of arrival.
    pub fn jobs(&self) -> Vec<SimulatedJob> {
        let mut dice = Dice(self.seed);
        let mut now = Timestamp(0);
        let mut jobs: Vec<SimulatedJob> = Vec::with_capacity(self.jobs);
        let mut members = 0;
        for number in 0..self.jobs {
            let gang = jobs.last().and_then(|job| job.waiting.gang.clone());
            // A gang arrives at once, and is no larger than the box.
            let gang = match gang.filter(|_| members < self.gpus && dice.below(3) > 0) {
                Some(gang) => Some(gang),
                None => {
                    members = 0;
                    let micros = u64::try_from(self.every.as_micros()).unwrap_or(u64::MAX);
                    now = now.plus(Duration::from_micros(dice.below(2 * micros)));
                    (dice.below(20) == 0).then(|| format!("gang{number}").into())
                }
            };
            members += 1;
            jobs.push(self.job(&mut dice, number, now, gang));
        }
        jobs
    }

    fn job(&self, dice: &mut Dice, number: usize, since: Timestamp, gang: Option<Box<str>>) -> SimulatedJob {
        let (gpus, share) = match dice.below(20) {
            _ if gang.is_some() => (1, 1),
            0..=3 => (0, 1),
            4..=11 => (1, 1),
            12..=13 => (1, 4),
            14..=16 => (2, 1),
            17..=18 => (4, 1),
            _ => (8, 1),
        };
        let gpus = gpus.min(self.gpus);
        let cores = if gpus == 0 { 1 + dice.below(16) } else { u64::from(gpus) * (1 + dice.below(8)) };
        let demand =
            Demand { cpu_millis: cores.min(12) * 1000, memory_bytes: cores * GIB, gpus, share, ..Demand::default() };
        let runs = Duration::from_secs(60 + dice.below(3 * 3600));
        // People guess their limits high.
        let limit = Duration::from_secs(runs.as_secs() + dice.below(2 * 3600));
        let waiting = Waiting {
            id: format!("js{number:06}").into(),
            priority: if gang.is_some() {
                0
            } else {
                [0, 0, 0, 0, 0, 0, 5, -5][usize::try_from(dice.below(8)).unwrap_or(0)]
            },
            since,
            seq: i64::try_from(number).unwrap_or(i64::MAX),
            demand,
            time_limit: (dice.below(10) > 0).then_some(limit),
            gang,
        };
        SimulatedJob { waiting, runs }
    }
}

/// SplitMix64: a generator that is a dozen lines and the same on every machine.
struct Dice(u64);

impl Dice {
    /// Returns a number below `limit`, about equally likely.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
