//! How well sets of GPUs are connected.
//!
//! Work that is spread over several GPUs runs at the pace of its slowest pair, so a set is judged by
//! its weakest link first and by the sum of its links second. Of equal sets the one whose GPUs mean
//! least to those left behind is taken: one GPU is not taken out of a pair on one NVLink while a lone
//! one is to be had. What is still equal goes to the lowest UUIDs.

use std::cmp::Reverse;

use super::capacity::Capacity;
use crate::domain::gpu::{GpuKind, Link};

/// Up to so many candidates every set is tried (at most 70 sets of 4 from 8); above, sets are grown
/// from every candidate by the best next one, which finds the same on switched boxes.
const EXHAUSTIVE: usize = 8;

/// The worth of the link between any two GPUs, by their positions in order of UUID.
pub(super) struct Topology {
    gpus: usize,
    worth: Vec<u32>,
}

/// How good a set is; the greater the better.
type Quality = (u32, u32, Reverse<u32>);

impl Topology {
    /// Reads the matrix for `order`, which holds positions in `capacity.gpus`.
    pub fn new(capacity: &Capacity, order: &[usize]) -> Self {
        let gpus = order.len();
        let mut worth = vec![0; gpus * gpus];
        for (a, &first) in order.iter().enumerate() {
            for (b, &second) in order.iter().enumerate().skip(a + 1) {
                let value = pair(capacity, first, second);
                worth[a * gpus + b] = value;
                worth[b * gpus + a] = value;
            }
        }
        Self { gpus, worth }
    }

    /// Returns the best `count` of `candidates` that hold at most `budget` costly ones, in ascending
    /// order. The caller has made sure that there are so many.
    pub fn best(
        &self,
        candidates: &[usize],
        count: usize,
        costly: &dyn Fn(usize) -> bool,
        budget: usize,
    ) -> Vec<usize> {
        let mut set = if candidates.len() == count {
            candidates.to_vec()
        } else if candidates.len() <= EXHAUSTIVE {
            self.try_all(candidates, count, costly, budget)
        } else {
            self.grow_from_each(candidates, count, costly, budget)
        };
        set.sort_unstable();
        set
    }

    fn try_all(&self, candidates: &[usize], count: usize, costly: &dyn Fn(usize) -> bool, budget: usize) -> Vec<usize> {
        let members =
            |mask: u32| candidates.iter().enumerate().filter(move |(bit, _)| mask >> bit & 1 == 1).map(|(_, gpu)| *gpu);
        (0u32..1 << candidates.len())
            .filter(|mask| mask.count_ones() as usize == count)
            .filter(|mask| members(*mask).filter(|gpu| costly(*gpu)).count() <= budget)
            .map(|mask| members(mask).collect::<Vec<_>>())
            .max_by_key(|set| (self.quality(set, candidates), Reverse(ascending(set))))
            .unwrap_or_default()
    }

    fn grow_from_each(
        &self,
        candidates: &[usize],
        count: usize,
        costly: &dyn Fn(usize) -> bool,
        budget: usize,
    ) -> Vec<usize> {
        let seeds = candidates.iter().filter(|gpu| budget > 0 || !costly(**gpu));
        seeds
            .map(|&seed| self.grow(seed, candidates, count, costly, budget))
            // A costly seed may leave too little budget to reach the count.
            .filter(|set| set.len() == count)
            .max_by_key(|set| (self.quality(set, candidates), Reverse(ascending(set))))
            .unwrap_or_default()
    }

    fn grow(
        &self,
        seed: usize,
        candidates: &[usize],
        count: usize,
        costly: &dyn Fn(usize) -> bool,
        budget: usize,
    ) -> Vec<usize> {
        let mut set = vec![seed];
        let mut left = budget - usize::from(costly(seed));
        while set.len() < count {
            let next =
                candidates.iter().copied().filter(|gpu| !set.contains(gpu) && (left > 0 || !costly(*gpu))).max_by_key(
                    |gpu| {
                        let links = || set.iter().map(|member| self.worth(*member, *gpu));
                        (links().min(), links().sum::<u32>(), Reverse(*gpu))
                    },
                );
            let Some(next) = next else { break };
            left -= usize::from(costly(next));
            set.push(next);
        }
        set
    }

    fn quality(&self, set: &[usize], candidates: &[usize]) -> Quality {
        let pairs = || set.iter().enumerate().flat_map(|(at, a)| set[at + 1..].iter().map(|b| self.worth(*a, *b)));
        let behind = candidates.iter().filter(|gpu| !set.contains(gpu));
        let cut = behind.map(|left| set.iter().map(|taken| self.worth(*left, *taken)).sum::<u32>()).sum();
        (pairs().min().unwrap_or(0), pairs().sum(), Reverse(cut))
    }

    fn worth(&self, a: usize, b: usize) -> u32 {
        self.worth[a * self.gpus + b]
    }
}

fn ascending(set: &[usize]) -> Vec<usize> {
    let mut set = set.to_vec();
    set.sort_unstable();
    set
}

/// Returns the worth of one link. Any NVLink is worth more than any way over PCIe, and one NUMA node
/// settles what the links leave equal.
fn pair(capacity: &Capacity, a: usize, b: usize) -> u32 {
    let (a, b) = (&capacity.gpus[a].gpu, &capacity.gpus[b].gpu);
    let key = if a.uuid < b.uuid { (a.uuid.clone(), b.uuid.clone()) } else { (b.uuid.clone(), a.uuid.clone()) };
    let link = match (&a.kind, &b.kind) {
        // Instances do not reach each other over NVLink, wherever their parents are.
        (GpuKind::Mig { .. }, _) | (_, GpuKind::Mig { .. }) => Link::System,
        _ => capacity.links.get(&key).copied().unwrap_or(Link::System),
    };
    let worth = match link {
        Link::System => 0,
        Link::Node => 10,
        Link::HostBridge => 20,
        Link::MultiSwitch => 30,
        Link::Switch => 40,
        Link::Board => 50,
        Link::NvLink(lanes) => 100 + 100 * lanes.min(64),
    };
    worth + if a.numa_node.is_some() && a.numa_node == b.numa_node { 5 } else { 0 }
}
