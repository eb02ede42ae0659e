//! Machine types made up from the hardware.
//!
//! CPU types are one core, a quarter, half and all of the box; where two of them would be equal, the
//! larger's name is an alias of the smaller, so that `cpu-large` means something on every box. GPU
//! types are 1, 2, 4, 8 … and all of the whole GPUs, each with its share of cores and memory; on a
//! box of several models each model has its own as well. Each MIG profile is a type.

use std::collections::BTreeMap;

use super::{InWords, MachineType, model};
use crate::domain::gpu::{Gpu, GpuKind, GpuUuid, Inventory};

/// What is shared out.
struct Hardware {
    cpu_millis: u64,
    memory_bytes: u64,
    /// Physical GPUs, whole or cut.
    gpus: u64,
}

/// Returns the types of a box with `cores`, `memory_bytes` and these GPUs, small ones first.
pub(super) fn types(cores: u32, memory_bytes: u64, inventory: &Inventory) -> Vec<MachineType> {
    let whole: Vec<&Gpu> = inventory.gpus.iter().filter(|gpu| gpu.kind == GpuKind::Whole).collect();
    let slices = instances_by_parent(inventory);
    let all = Hardware {
        cpu_millis: u64::from(cores.max(1)) * 1000,
        memory_bytes,
        gpus: (whole.len() + slices.len()) as u64,
    };
    let mut types = cpu_types(&all);
    types.extend(gpu_types(&all, &whole));
    types.extend(mig_types(&all, inventory, &slices));
    types
}

fn cpu_types(all: &Hardware) -> Vec<MachineType> {
    let cores = all.cpu_millis / 1000;
    let sizes = [("cpu-small", 1), ("cpu-medium", cores / 4), ("cpu-large", cores / 2), ("cpu-max", cores)];
    let mut types: Vec<MachineType> = Vec::new();
    for (name, size) in sizes {
        match types.last_mut() {
            Some(last) if size * 1000 <= last.cpu_millis => last.aliases.push(name.into()),
            _ => types.push(slice(all, name.into(), size, cores)),
        }
    }
    types
}

/// Returns `part` of `of` equal parts of the box, without GPUs. Memory is in whole MiB.
fn slice(all: &Hardware, name: String, part: u64, of: u64) -> MachineType {
    let share =
        |amount: u64| u64::try_from(u128::from(amount) * u128::from(part) / u128::from(of.max(1))).unwrap_or(amount);
    let cpu_millis = share(all.cpu_millis).max(1);
    let memory_bytes = (share(all.memory_bytes) >> 20 << 20).max(1 << 20);
    MachineType {
        name,
        cpu_millis,
        memory_bytes,
        gpus: 0,
        share: 1,
        gpu_model: None,
        mig_profile: None,
        aliases: Vec::new(),
        description: InWords { cpu_millis, memory_bytes }.to_string(),
    }
}

fn gpu_types(all: &Hardware, whole: &[&Gpu]) -> Vec<MachineType> {
    let models = models(whole);
    let mut types: Vec<MachineType> =
        counts(whole.len()).map(|count| gpu_type(all, format!("gpu-{count}"), count, None)).collect();
    for (label, members) in &models {
        if let [_] = models.as_slice() {
            for machine in &mut types {
                machine.aliases.push(format!("gpu-{label}-{}", machine.gpus));
                machine.description.insert_str(0, &format!("{} × {}, ", machine.gpus, members[0].name));
            }
            break;
        }
        types.extend(counts(members.len()).map(|count| {
            let mut machine = gpu_type(all, format!("gpu-{label}-{count}"), count, Some(label.clone()));
            machine.description.insert_str(0, &format!("{count} × {}, ", members[0].name));
            machine
        }));
    }
    if models.len() > 1 {
        for machine in types.iter_mut().filter(|machine| machine.gpu_model.is_none()) {
            machine.description.insert_str(0, &format!("{} × any GPU, ", machine.gpus));
        }
    }
    types
}

fn gpu_type(all: &Hardware, name: String, count: u32, gpu_model: Option<String>) -> MachineType {
    MachineType { gpus: count, gpu_model, ..slice(all, name, u64::from(count), all.gpus) }
}

/// Returns 1, 2, 4, … below `total`, and `total`.
fn counts(total: usize) -> impl Iterator<Item = u32> {
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    (0..31).map(|power| 1 << power).take_while(move |count| *count < total).chain((total > 0).then_some(total))
}

/// Returns the models by label. A label says the memory only where one family has several sizes.
fn models<'a>(whole: &[&'a Gpu]) -> Vec<(String, Vec<&'a Gpu>)> {
    let mut families: BTreeMap<String, BTreeMap<u64, Vec<&'a Gpu>>> = BTreeMap::new();
    for gpu in whole {
        families.entry(model::family(&gpu.name)).or_default().entry(model::memory_gib(gpu)).or_default().push(gpu);
    }
    let labelled = families.into_iter().flat_map(|(family, sizes)| {
        let several = sizes.len() > 1;
        sizes.into_iter().map(move |(gib, members)| {
            (if several { model::with_memory(&family, gib) } else { family.clone() }, members)
        })
    });
    labelled.collect()
}

fn instances_by_parent(inventory: &Inventory) -> BTreeMap<&GpuUuid, u64> {
    let mut instances = BTreeMap::new();
    for gpu in &inventory.gpus {
        if let GpuKind::Mig { parent, .. } = &gpu.kind {
            *instances.entry(parent).or_default() += 1;
        }
    }
    instances
}

/// One type a profile. An instance has its part of its parent's share; where the same profile sits
/// on parents that are cut differently, the smallest part, so that all of them can be given out.
fn mig_types(all: &Hardware, inventory: &Inventory, slices: &BTreeMap<&GpuUuid, u64>) -> Vec<MachineType> {
    let mut profiles: BTreeMap<String, (u64, &Gpu)> = BTreeMap::new();
    for gpu in &inventory.gpus {
        if let GpuKind::Mig { parent, profile } = &gpu.kind {
            let siblings = slices.get(parent).copied().unwrap_or(1);
            let most = profiles.entry(profile.to_ascii_lowercase()).or_insert((siblings, gpu));
            most.0 = most.0.max(siblings);
        }
    }
    let typed = profiles.into_iter().map(|(profile, (siblings, gpu))| {
        let mut machine = slice(all, format!("mig-{profile}"), 1, all.gpus * siblings);
        machine.description.insert_str(0, &format!("one {profile} slice of {}, ", gpu.name));
        MachineType { gpus: 1, mig_profile: Some(profile), ..machine }
    });
    typed.collect()
}
