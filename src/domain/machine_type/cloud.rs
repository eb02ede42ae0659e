//! The names that Paperspace's cloud had, and the local type that each one means.
//!
//! The rule, for a box with the types at hand:
//! - `C1`–`C10` and `Free-CPU` mean the smallest CPU type with at least the cores and the memory
//!   that the cloud's had, else the largest CPU type.
//! - A card (`P4000`, `A100-80G`, …) means one whole GPU: of that very model if the box has it, else
//!   the smallest sort with at least the card's memory, else the largest. Where all GPUs are cut into
//!   MIG instances, an instance is chosen the same way.
//! - `x2`, `x4` and `x8` ask for that many. A type with fewer is no stand-in, because what is told to
//!   run on eight GPUs breaks on four: the name is then unknown.
//! - A card's name on a box without GPUs is unknown.

use super::{MachineType, model};
use crate::domain::gpu::{Gpu, GpuKind, Inventory};

/// Name, cores, GiB of memory: near enough to the cloud's to choose by.
const CPU: [(&str, u64, u64); 11] = [
    ("Free-CPU", 1, 2),
    ("C1", 1, 1),
    ("C2", 1, 2),
    ("C3", 2, 4),
    ("C4", 2, 8),
    ("C5", 4, 8),
    ("C6", 8, 16),
    ("C7", 12, 30),
    ("C8", 16, 60),
    ("C9", 24, 120),
    ("C10", 32, 244),
];

/// Name, the card's family here, GiB of its memory.
const CARDS: [(&str, &str, u64); 19] = [
    ("Free-GPU", "m4000", 8),
    ("Free-P5000", "p5000", 16),
    ("Free-A4000", "a4000", 16),
    ("GPU+", "m4000", 8),
    ("P4000", "p4000", 8),
    ("P5000", "p5000", 16),
    ("P6000", "p6000", 24),
    ("K80", "k80", 12),
    ("P100", "p100", 16),
    ("V100", "v100", 16),
    ("V100-32G", "v100", 32),
    ("RTX4000", "rtx4000", 8),
    ("RTX5000", "rtx5000", 16),
    ("A4000", "a4000", 16),
    ("A5000", "a5000", 24),
    ("A6000", "a6000", 48),
    ("A100", "a100", 40),
    ("A100-80G", "a100", 80),
    ("H100", "h100", 80),
];

const COUNTS: [(u32, &str); 4] = [(1, ""), (2, "x2"), (4, "x4"), (8, "x8")];

/// Returns every name of the cloud that means something here, with the index of its type.
pub(super) fn names(types: &[MachineType], inventory: &Inventory) -> Vec<(String, usize)> {
    let cpus = CPU.iter().filter_map(|&(name, cores, gib)| Some((name.to_owned(), cpu(types, cores, gib)?)));
    let cards = CARDS.iter().flat_map(|&(name, family, gib)| {
        COUNTS.iter().filter_map(move |&(count, suffix)| {
            Some((format!("{name}{suffix}"), card(types, inventory, family, gib, count)?))
        })
    });
    cpus.chain(cards).collect()
}

fn cpu(types: &[MachineType], cores: u64, gib: u64) -> Option<usize> {
    let of_cpu = || types.iter().enumerate().filter(|(_, t)| t.gpus == 0);
    let enough = of_cpu().filter(|(_, t)| t.cpu_millis >= cores * 1000 && t.memory_bytes >= gib << 30);
    let nearest = enough.min_by_key(|(_, t)| t.size());
    // Of equal ones the first, here as there.
    nearest.or_else(|| of_cpu().rev().max_by_key(|(_, t)| t.size())).map(|(index, _)| index)
}

fn card(types: &[MachineType], inventory: &Inventory, family: &str, gib: u64, count: u32) -> Option<usize> {
    let of_count = || types.iter().enumerate().filter(move |(_, t)| t.gpus == count && t.share == 1);
    let whole = of_count().any(|(_, t)| t.mig_profile.is_none());
    of_count()
        .filter(|(_, t)| t.mig_profile.is_none() == whole)
        .filter_map(|(index, machine)| {
            let gpu = smallest(machine, inventory)?;
            let other_model = model::family(&gpu.name) != family;
            let memory = model::memory_gib(gpu);
            // Of those with too little memory the largest is nearest.
            let distance = if memory >= gib { (false, memory - gib) } else { (true, gib - memory) };
            // A type that names the model keeps the choice when the box changes.
            Some(((other_model, distance, machine.gpu_model.is_none() && !other_model, index), index))
        })
        .min()
        .map(|(_, index)| index)
}

/// Returns the GPU of least memory that `machine` may be given, which is the one it is given first.
fn smallest<'a>(machine: &MachineType, inventory: &'a Inventory) -> Option<&'a Gpu> {
    inventory.gpus.iter().filter(|gpu| may_use(machine, gpu)).min_by_key(|gpu| (gpu.memory_bytes, &gpu.uuid))
}

/// Returns whether `machine` may be given `gpu`.
pub(super) fn may_use(machine: &MachineType, gpu: &Gpu) -> bool {
    let kind = match (&gpu.kind, &machine.mig_profile) {
        (GpuKind::Whole, None) => true,
        (GpuKind::Mig { profile, .. }, Some(wanted)) => profile.eq_ignore_ascii_case(wanted),
        _ => false,
    };
    kind && machine.gpu_model.as_deref().is_none_or(|wanted| model::fits_model(wanted, gpu))
}
