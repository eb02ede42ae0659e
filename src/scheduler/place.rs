//! Who gets which GPUs: the choice among those that are free.
//!
//! The smallest sort of GPU that suffices is taken, so that large ones stay free for large jobs; all
//! of one sort where that can be, since work on unequal GPUs runs at the pace of the slowest; among
//! those, the set that is best connected. A shared place goes to the GPU that is shared by most
//! already, so that whole GPUs stay whole.

use super::{
    capacity::{Availability, Capacity},
    queue::{Class, Need, signed},
    topology::Topology,
};
use crate::domain::{
    gpu::{GpuKind, GpuUuid},
    machine_type,
};

/// The box, its GPUs in order of UUID.
pub(super) struct Hardware<'a> {
    pub capacity: &'a Capacity,
    /// Positions in `capacity.gpus`.
    order: Vec<usize>,
    pub topology: Topology,
    /// What the waiting ask for, by model and MIG profile.
    pub sorts: Vec<Sort<'a>>,
}

/// The GPUs that one wish for a model or a profile may be given.
pub(super) struct Sort<'a> {
    model: Option<&'a str>,
    profile: Option<&'a str>,
    /// How many there are, free or not.
    pub all: usize,
    /// Those that may be given out, of equal model and memory together, smallest memory first.
    pub tiers: Vec<Vec<usize>>,
    /// Those that may not.
    pub barred: Vec<usize>,
}

impl Sort<'_> {
    /// Returns what was asked for; none when any whole GPU will do.
    pub fn name(&self) -> Option<&str> {
        self.profile.or(self.model)
    }

    /// Returns those that may be given out, small ones first.
    pub fn usable(&self) -> impl Iterator<Item = usize> {
        self.tiers.iter().flatten().copied()
    }
}

impl<'a> Hardware<'a> {
    /// Takes stock of `capacity`.
    pub fn new(capacity: &'a Capacity) -> Self {
        let mut order: Vec<usize> = (0..capacity.gpus.len()).collect();
        order.sort_unstable_by_key(|position| &capacity.gpus[*position].gpu.uuid);
        let topology = Topology::new(capacity, &order);
        Self { capacity, order, topology, sorts: Vec::new() }
    }

    /// Returns how many GPUs there are.
    pub fn gpus(&self) -> usize {
        self.order.len()
    }

    /// Returns GPU number `gpu`.
    pub fn slot(&self, gpu: usize) -> &'a super::GpuSlot {
        &self.capacity.gpus[self.order[gpu]]
    }

    /// Returns the number of the GPU called `uuid`; none when it has gone from the box.
    pub fn find(&self, uuid: &GpuUuid) -> Option<usize> {
        self.order.binary_search_by_key(&uuid, |position| &self.capacity.gpus[*position].gpu.uuid).ok()
    }

    /// Returns the position in `sorts` of a wish, adding it where it is new.
    pub fn sort(&mut self, model: Option<&'a str>, profile: Option<&'a str>) -> usize {
        if let Some(known) = self.sorts.iter().position(|sort| sort.model == model && sort.profile == profile) {
            return known;
        }
        let fitting: Vec<usize> = (0..self.gpus()).filter(|gpu| self.fits(*gpu, model, profile)).collect();
        let (mut usable, barred): (Vec<_>, Vec<_>) =
            fitting.iter().partition(|gpu| self.slot(**gpu).availability == Availability::Free);
        let tier = |gpu: &usize| {
            let gpu = &self.slot(*gpu).gpu;
            (machine_type::memory_gib(gpu), &gpu.name)
        };
        usable.sort_by_key(tier);
        let tiers = usable.chunk_by(|a, b| tier(a) == tier(b)).map(<[usize]>::to_vec).collect();
        self.sorts.push(Sort { model, profile, all: fitting.len(), tiers, barred });
        self.sorts.len() - 1
    }

    fn fits(&self, gpu: usize, model: Option<&str>, profile: Option<&str>) -> bool {
        let gpu = &self.slot(gpu).gpu;
        let kind = match (&gpu.kind, profile) {
            (GpuKind::Whole, None) => true,
            (GpuKind::Mig { profile, .. }, Some(wanted)) => profile.eq_ignore_ascii_case(wanted),
            _ => false,
        };
        kind && model.is_none_or(|model| machine_type::fits_model(model, gpu))
    }
}

/// Who holds one GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The share that its holders asked for; of unlike ones, which only a changed configuration can
    /// leave behind, the least, so that nobody joins them.
    share: u32,
    pub holders: u32,
}

impl Held {
    /// Returns whether one more holder with `share` may join.
    pub fn takes(self, share: u32) -> bool {
        self.holders == 0 || (share > 1 && self.share == share && self.holders < share)
    }

    fn take(&mut self, share: u32) {
        self.share = if self.holders == 0 { share } else { self.share.min(share) };
        self.holders += 1;
    }

    fn give_back(&mut self) {
        self.holders = self.holders.saturating_sub(1);
    }
}

/// What is free. Cores and memory go below zero where more is held than there is.
#[derive(Debug, Clone)]
pub(super) struct Board {
    pub cpu: i64,
    pub memory: i64,
    pub gpus: Vec<Held>,
}

/// GPUs by number, each with its share, in order of the class's needs.
pub(super) type Grant = Vec<(usize, u32)>;

impl Board {
    /// Returns the box with nothing held.
    pub fn empty(hardware: &Hardware) -> Self {
        let Capacity { cpu_millis, memory_bytes, .. } = hardware.capacity;
        Self { cpu: signed(*cpu_millis), memory: signed(*memory_bytes), gpus: vec![Held::default(); hardware.gpus()] }
    }

    pub fn take(&mut self, cpu: i64, memory: i64, gpus: &[(usize, u32)]) {
        self.cpu = self.cpu.saturating_sub(cpu);
        self.memory = self.memory.saturating_sub(memory);
        gpus.iter().for_each(|(gpu, share)| self.gpus[*gpu].take(*share));
    }

    pub fn give_back(&mut self, cpu: i64, memory: i64, gpus: &[(usize, u32)]) {
        self.cpu = self.cpu.saturating_add(cpu);
        self.memory = self.memory.saturating_add(memory);
        gpus.iter().for_each(|(gpu, _)| self.gpus[*gpu].give_back());
    }

    /// Returns how many GPUs that suit `need` are free.
    pub fn free(&self, hardware: &Hardware, need: &Need) -> usize {
        hardware.sorts[need.sort].usable().filter(|gpu| self.gpus[*gpu].takes(need.share)).count()
    }

    /// Chooses what `class` is given; none when it does not fit. `beside` is what is left when a
    /// reservation is kept: what is given must be free there as well.
    pub fn place(&self, hardware: &Hardware, class: &Class, beside: Option<&Self>) -> Option<Grant> {
        if !self.has(class) || !beside.is_none_or(|beside| beside.has(class)) {
            return None;
        }
        let Some((first, more)) = class.needs.split_first() else { return Some(Grant::new()) };
        let mut grant = choose(hardware, first, &self.gpus, Rule::beside(beside))?;
        if more.is_empty() {
            return Some(grant);
        }
        let mut board = self.clone();
        let mut beside = beside.cloned();
        let mut new = 0;
        for need in more {
            board.take(0, 0, &grant[new..]);
            if let Some(beside) = &mut beside {
                beside.take(0, 0, &grant[new..]);
            }
            new = grant.len();
            grant.extend(choose(hardware, need, &board.gpus, Rule::beside(beside.as_ref()))?);
        }
        Some(grant)
    }

    /// Returns whether the GPUs that `class` needs are all free at once, whatever its cores and memory.
    pub fn could_place(&self, hardware: &Hardware, class: &Class) -> bool {
        let roomy = Self { cpu: i64::MAX, memory: i64::MAX, gpus: self.gpus.clone() };
        roomy.place(hardware, class, None).is_some()
    }

    /// Chooses what is kept for `class` on this board, which is the box as it will be: all of its
    /// demand, or as many GPUs of it as there will be. GPUs that are not free `now` are kept first,
    /// because nobody else could have them meanwhile.
    pub fn keep(&self, hardware: &Hardware, class: &Class, now: &Self) -> Grant {
        let mut board = self.clone();
        let mut kept = Grant::new();
        for need in &class.needs {
            let count = need.gpus.min(board.free(hardware, need));
            let part = Need { gpus: count, members: Vec::new(), ..*need };
            let more = choose(hardware, &part, &board.gpus, Rule::sparing(now)).unwrap_or_default();
            board.take(0, 0, &more);
            kept.extend(more);
        }
        kept
    }

    fn has(&self, class: &Class) -> bool {
        // Who needs no GPU, no core or no memory is not held up by a want of it.
        (class.cpu == 0 || class.cpu <= self.cpu) && (class.memory == 0 || class.memory <= self.memory)
    }
}

/// What else matters in a choice.
#[derive(Clone, Copy, Default)]
struct Rule<'a> {
    /// Must be free here as well.
    beside: Option<&'a [Held]>,
    /// As few as possible of those that are free here.
    spare: Option<&'a [Held]>,
}

impl<'a> Rule<'a> {
    fn beside(board: Option<&'a Board>) -> Self {
        Self { beside: board.map(|board| board.gpus.as_slice()), spare: None }
    }

    fn sparing(board: &'a Board) -> Self {
        Self { beside: None, spare: Some(&board.gpus) }
    }
}

/// Chooses the GPUs for `need` among those free on `gpus`; none when there are too few.
fn choose(hardware: &Hardware, need: &Need, gpus: &[Held], rule: Rule) -> Option<Grant> {
    let free =
        |gpu: &usize| gpus[*gpu].takes(need.share) && rule.beside.is_none_or(|beside| beside[*gpu].takes(need.share));
    let costly = |gpu: usize| rule.spare.is_some_and(|spare| spare[gpu].takes(need.share));
    let sort = &hardware.sorts[need.sort];
    let (total, costing) = sort.usable().filter(free).fold((0, 0), |(n, c), gpu| (n + 1, c + usize::from(costly(gpu))));
    if total < need.gpus {
        return None;
    }
    // Of the costly ones no more than it takes.
    let budget = need.gpus.saturating_sub(total - costing);
    let chosen = if need.share > 1 {
        let mut candidates: Vec<usize> = sort.usable().filter(free).collect();
        // Stable: within equal fullness, small GPUs come first.
        candidates.sort_by_key(|gpu| (costly(*gpu), std::cmp::Reverse(gpus[*gpu].holders)));
        candidates.truncate(need.gpus);
        candidates
    } else {
        let enough = |tier: &[usize]| {
            let costing = tier.iter().filter(|gpu| costly(**gpu)).count();
            tier.len() - costing + costing.min(budget) >= need.gpus
        };
        let mut tiers = sort.tiers.iter().map(|tier| tier.iter().copied().filter(free).collect::<Vec<_>>());
        let candidates = tiers.find(|tier| enough(tier)).unwrap_or_else(|| sort.usable().filter(free).collect());
        hardware.topology.best(&candidates, need.gpus, &costly, budget)
    };
    Some(chosen.into_iter().map(|gpu| (gpu, need.share)).collect())
}

#[cfg(test)]
mod tests;
