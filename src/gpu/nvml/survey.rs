//! Finds the cards and their MIG instances, and makes the inventory of them.

use std::{collections::BTreeMap, path::Path};

use nvml_wrapper::{
    Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor, error::NvmlError,
    struct_wrappers::device::DeviceAttributes,
};

use super::{links::links, words};
use crate::domain::gpu::{Gpu, GpuKind, GpuUuid, Inventory};

/// Bits of a NUMA mask that are asked for, in words of 64.
const NUMA_WORDS: usize = 4;

/// One physical GPU that answers.
pub(super) struct Card<'nvml> {
    pub(super) index: u32,
    pub(super) uuid: GpuUuid,
    pub(super) device: Device<'nvml>,
    /// Its MIG instances; `None` when it is not in MIG mode.
    pub(super) slices: Option<Vec<Slice<'nvml>>>,
}

/// One MIG instance.
pub(super) struct Slice<'nvml> {
    pub(super) uuid: GpuUuid,
    pub(super) device: Device<'nvml>,
}

/// Who answers right now.
pub(super) struct Survey<'nvml> {
    pub(super) cards: Vec<Card<'nvml>>,
    /// By index, those that do not.
    pub(super) silent: BTreeMap<u32, NvmlError>,
}

/// Asks every card for its name. One that does not answer does not keep the others from being seen.
///
/// # Errors
/// When not even the number of cards can be had.
pub(super) fn survey(nvml: &Nvml) -> Result<Survey<'_>, NvmlError> {
    let mut found = Survey { cards: Vec::new(), silent: BTreeMap::new() };
    for index in 0..nvml.device_count()? {
        match card(nvml, index) {
            Ok(card) => found.cards.push(card),
            Err(error) => drop(found.silent.insert(index, error)),
        }
    }
    Ok(found)
}

fn card(nvml: &Nvml, index: u32) -> Result<Card<'_>, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let uuid = GpuUuid(device.uuid()?.into());
    let slices = if in_mig_mode(&device)? { Some(slices(&device)?) } else { None };
    Ok(Card { index, uuid, device, slices })
}

fn in_mig_mode(device: &Device<'_>) -> Result<bool, NvmlError> {
    match device.mig_mode() {
        Ok(mode) => Ok(mode.current == 1),
        // An older card, or an older driver.
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => Ok(false),
        // Not knowing is an error: a card in MIG mode must not be handed out whole.
        Err(error) => Err(error),
    }
}

fn slices<'nvml>(device: &Device<'nvml>) -> Result<Vec<Slice<'nvml>>, NvmlError> {
    let mut found = Vec::new();
    for index in 0..device.mig_device_count()? {
        match device.mig_device_by_index(index) {
            Ok(slice) => found.push(Slice { uuid: GpuUuid(slice.uuid()?.into()), device: slice }),
            // The count is of places, and not every place is taken.
            Err(NvmlError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

impl Survey<'_> {
    /// Tells whether `inventory` lists just what can be handed out of the cards that answer.
    pub(super) fn agrees_with(&self, inventory: &Inventory) -> bool {
        let here = |uuid: &GpuUuid| self.cards.iter().any(|card| card.uuid == *uuid);
        let seen = self.cards.iter().flat_map(|card| match &card.slices {
            None => vec![&card.uuid],
            Some(slices) => slices.iter().map(|slice| &slice.uuid).collect(),
        });
        let listed = inventory.gpus.iter().filter(|gpu| here(gpu.card())).map(|gpu| &gpu.uuid);
        seen.eq(listed)
    }
}

/// Describes everything that was found, and keeps from `before` the cards that no longer answer.
pub(super) fn inventory(nvml: &Nvml, survey: &Survey<'_>, before: &Inventory, sys_root: &Path) -> Inventory {
    let mut gpus = Vec::new();
    let mut troubles = Vec::new();
    for card in &survey.cards {
        let whole = describe(card, before, sys_root);
        match &card.slices {
            None => gpus.push(whole),
            Some(slices) => {
                if slices.is_empty() {
                    troubles.push(format!(
                        "GPU {} is in MIG mode and has no instances; make some with `nvidia-smi mig -cgi … -C`.",
                        card.index
                    ));
                }
                gpus.extend(slices.iter().map(|slice| describe_slice(slice, &whole, before)));
            }
        }
    }
    let answers = |uuid: &GpuUuid| survey.cards.iter().any(|card| card.uuid == *uuid);
    gpus.extend(before.gpus.iter().filter(|gpu| !answers(gpu.card())).cloned());
    // Stable: instances stay in the card's own order.
    gpus.sort_by_key(|gpu| gpu.index);

    troubles
        .extend(survey.silent.iter().map(|(index, e)| format!("GPU {index} does not answer: {}.", words::silent(e))));
    if survey.cards.is_empty() && survey.silent.is_empty() {
        troubles.push("The NVIDIA driver is loaded and sees no GPU; `lspci` and `dmesg` may say why.".into());
    }
    Inventory {
        driver_version: nvml.sys_driver_version().ok(),
        cuda_version: nvml
            .sys_cuda_driver_version()
            .ok()
            .map(|v| format!("{}.{}", cuda_driver_version_major(v), cuda_driver_version_minor(v))),
        gpus,
        links: links(nvml, &survey.cards, before, sys_root),
        unavailable: (!troubles.is_empty()).then(|| troubles.join(" ")),
    }
}

/// What a value was the last time, for one that cannot be read now: the hardware has not changed.
fn earlier<'a>(before: &'a Inventory, uuid: &GpuUuid) -> Option<&'a Gpu> {
    before.gpus.iter().find(|gpu| gpu.uuid == *uuid)
}

fn describe(card: &Card<'_>, before: &Inventory, sys_root: &Path) -> Gpu {
    let (device, earlier) = (&card.device, earlier(before, &card.uuid));
    let fact = |now: Option<String>, then: fn(&Gpu) -> &String| now.or_else(|| earlier.map(|gpu| then(gpu).clone()));
    Gpu {
        uuid: card.uuid.clone(),
        index: card.index,
        name: fact(device.name().ok(), |gpu| &gpu.name).unwrap_or_else(|| "NVIDIA GPU".into()),
        memory_bytes: memory(device).or(earlier.map(|gpu| gpu.memory_bytes)).unwrap_or(0),
        kind: GpuKind::Whole,
        numa_node: numa_node(device, sys_root),
        pci_bus_id: fact(device.pci_info().ok().map(|pci| pci.bus_id), |gpu| &gpu.pci_bus_id).unwrap_or_default(),
        minor: device.minor_number().ok().or_else(|| earlier?.minor),
        compute_capability: compute_capability(device).or_else(|| earlier?.compute_capability),
    }
}

fn describe_slice(slice: &Slice<'_>, card: &Gpu, before: &Inventory) -> Gpu {
    let earlier = earlier(before, &slice.uuid);
    let name = slice.device.name().ok().or_else(|| Some(earlier?.name.clone())).unwrap_or_else(|| card.name.clone());
    let attributes = slice.device.attributes().ok();
    let profile = profile_in(&name)
        .or_else(|| attributes.as_ref().map(profile_of))
        .or_else(|| match &earlier?.kind {
            GpuKind::Mig { profile, .. } => Some(profile.clone()),
            GpuKind::Whole => None,
        })
        .unwrap_or_else(|| "unknown".into());
    Gpu {
        uuid: slice.uuid.clone(),
        memory_bytes: memory(&slice.device)
            .or_else(|| Some(attributes?.memory_size_mb << 20))
            .or(earlier.map(|gpu| gpu.memory_bytes))
            .unwrap_or(0),
        name,
        kind: GpuKind::Mig { parent: card.uuid.clone(), profile },
        ..card.clone()
    }
}

fn memory(device: &Device<'_>) -> Option<u64> {
    device.memory_info().ok().map(|memory| memory.total)
}

fn compute_capability(device: &Device<'_>) -> Option<(u32, u32)> {
    let version = device.cuda_compute_capability().ok()?;
    Some((version.major.try_into().ok()?, version.minor.try_into().ok()?))
}

/// The NUMA node of a card's bus: from the kernel, else from NVML.
///
/// NVML's call named NumaNodeId is not asked: it tells where the GPU's own memory stands on machines
/// that make it a node of the host.
pub(super) fn numa_node(device: &Device<'_>, sys_root: &Path) -> Option<u32> {
    let from_kernel = device.pci_info().ok().and_then(|pci| {
        let address = format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device);
        let text = std::fs::read_to_string(sys_root.join("bus/pci/devices").join(address).join("numa_node")).ok()?;
        // -1 where the firmware does not say.
        text.trim().parse().ok()
    });
    from_kernel.or_else(|| only_bit(&device.memory_affinity(NUMA_WORDS, 0).ok()?))
}

/// The number of the one bit that is set; a card near several nodes is near none in particular.
fn only_bit(words: &[u64]) -> Option<u32> {
    let set: u32 = words.iter().map(|word| word.count_ones()).sum();
    let (at, word) = words.iter().enumerate().find(|(_, word)| **word != 0)?;
    (set == 1).then(|| at as u32 * u64::BITS + word.trailing_zeros())
}

/// The profile at the end of an instance's name, as in `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
fn profile_in(name: &str) -> Option<String> {
    let last = name.split_ascii_whitespace().next_back()?;
    let plain = last.split('+').next().unwrap_or(last);
    let (slices, memory) = plain.rsplit_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let slices_fit = slices.split('.').all(|part| part.strip_suffix(['c', 'g']).is_some_and(is_number));
    (slices_fit && memory.strip_suffix("gb").is_some_and(is_number)).then(|| last.to_owned())
}

/// The profile that NVIDIA's tools would name: compute slices only when they are not all.
fn profile_of(attributes: &DeviceAttributes) -> String {
    let (slices, compute) = (attributes.gpu_instance_slice_count, attributes.compute_instance_slice_count);
    let memory = attributes.memory_size_mb.div_ceil(1024);
    if compute == slices { format!("{slices}g.{memory}gb") } else { format!("{compute}c.{slices}g.{memory}gb") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_an_instance_s_name() {
        assert_eq!(profile_in("NVIDIA H100 80GB HBM3 MIG 1g.10gb").as_deref(), Some("1g.10gb"));
        assert_eq!(profile_in("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me").as_deref(), Some("1g.5gb+me"));
        assert_eq!(profile_in("NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb").as_deref(), Some("1c.3g.20gb"));
        for name in ["NVIDIA H100 80GB HBM3", "Some MIG device", "v1.2gb", "g.gb", ""] {
            assert_eq!(profile_in(name), None, "{name}");
        }
    }

    #[test]
    fn a_numa_mask_tells_a_node_only_if_it_names_one() {
        assert_eq!(only_bit(&[0b10, 0]), Some(1));
        assert_eq!(only_bit(&[0, 1]), Some(64));
        assert_eq!(only_bit(&[0b11, 0]), None);
        assert_eq!(only_bit(&[1, 1]), None);
        assert_eq!(only_bit(&[0, 0]), None);
    }
}
