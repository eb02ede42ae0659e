//! How the cards reach each other: over NVLink, directly or through NVSwitches, else over PCIe.

use std::{collections::BTreeMap, path::Path};

use nvml_wrapper::{
    Nvml,
    enum_wrappers::device::{P2pCapabilitiesIndex, P2pStatus, TopologyLevel},
    error::NvmlError,
    struct_wrappers::device::PciInfo,
};

use super::survey::{Card, numa_node};
use crate::domain::gpu::{GpuUuid, Inventory, Link};

/// More NVLinks than any GPU has; asking ends earlier at the first that is not there.
const MAX_LINKS: u32 = 64;

/// Where the far end of a link is: PCI domain, bus and device.
type Address = (u32, u32, u32);

/// The active NVLinks of one card.
#[derive(Default)]
struct NvLinks {
    to: BTreeMap<Address, u32>,
}

/// Tells the best way between every two whole cards that answer, and keeps from `before` what was
/// seen of the others. Pairs that only meet across sockets are left out.
///
/// Cards in MIG mode have no ways: NVLink and peer access are off there.
pub(super) fn links(
    nvml: &Nvml,
    cards: &[Card<'_>],
    before: &Inventory,
    sys_root: &Path,
) -> BTreeMap<(GpuUuid, GpuUuid), Link> {
    let whole: Vec<&Card<'_>> = cards.iter().filter(|card| card.slices.is_none()).collect();
    let addresses: Vec<Option<Address>> =
        whole.iter().map(|card| card.device.pci_info().ok().as_ref().map(address)).collect();
    let nvlinks: Vec<NvLinks> = whole.iter().map(|card| active_nvlinks(card)).collect();

    let answers = |uuid: &GpuUuid| cards.iter().any(|card| card.uuid == *uuid);
    let mut found: BTreeMap<_, _> = before
        .links
        .iter()
        .filter(|((a, b), _)| !answers(a) || !answers(b))
        .map(|(pair, link)| (pair.clone(), *link))
        .collect();
    for (i, a) in whole.iter().enumerate() {
        for (j, b) in whole.iter().enumerate().skip(i + 1) {
            let direct = nvlinks[i].count_to(addresses[j]).max(nvlinks[j].count_to(addresses[i]));
            let switched = nvlinks[i].to_others(&addresses).min(nvlinks[j].to_others(&addresses));
            let link = if direct > 0 {
                Link::NvLink(direct)
            } else if switched > 0 && is_joined(a, b) {
                Link::NvLink(switched)
            } else {
                over_pcie(nvml, a, b, sys_root)
            };
            if link > Link::System {
                let pair = if a.uuid < b.uuid { (&a.uuid, &b.uuid) } else { (&b.uuid, &a.uuid) };
                found.insert((pair.0.clone(), pair.1.clone()), link);
            }
        }
    }
    found
}

impl NvLinks {
    fn count_to(&self, address: Option<Address>) -> u32 {
        address.and_then(|address| self.to.get(&address)).copied().unwrap_or(0)
    }

    /// Links whose far end is no GPU: on machines with NVSwitches that is a switch.
    fn to_others(&self, gpus: &[Option<Address>]) -> u32 {
        self.to.iter().filter(|(address, _)| !gpus.contains(&Some(**address))).map(|(_, count)| count).sum()
    }
}

fn active_nvlinks(card: &Card<'_>) -> NvLinks {
    let mut links = NvLinks::default();
    for index in 0..MAX_LINKS {
        let link = card.device.link_wrapper_for(index);
        match link.is_active() {
            Ok(true) => {
                if let Ok(far) = link.remote_pci_info() {
                    *links.to.entry(address(&far)).or_default() += 1;
                }
            }
            Ok(false) | Err(NvmlError::NotSupported) => {}
            Err(_) => break,
        }
    }
    links
}

/// Tells whether two cards with links to switches can use them: the fabric may not be up, or the far
/// ends may not be switches. A driver that cannot tell is taken at its links' word.
fn is_joined(a: &Card<'_>, b: &Card<'_>) -> bool {
    match a.device.p2p_status(&b.device, P2pCapabilitiesIndex::NvLink) {
        Ok(status) => status == P2pStatus::Ok,
        Err(_) => true,
    }
}

fn over_pcie(nvml: &Nvml, a: &Card<'_>, b: &Card<'_>, sys_root: &Path) -> Link {
    // The call wants a handle of its own.
    match nvml.device_by_index(b.index).and_then(|other| a.device.topology_common_ancestor(other)) {
        Ok(TopologyLevel::Internal) => Link::Board,
        Ok(TopologyLevel::Single) => Link::Switch,
        Ok(TopologyLevel::Multiple) => Link::MultiSwitch,
        Ok(TopologyLevel::HostBridge) => Link::HostBridge,
        Ok(TopologyLevel::Node) => Link::Node,
        Ok(TopologyLevel::System) => Link::System,
        Err(_) => match (numa_node(&a.device, sys_root), numa_node(&b.device, sys_root)) {
            (Some(one), Some(other)) if one == other => Link::Node,
            _ => Link::System,
        },
    }
}

fn address(pci: &PciInfo) -> Address {
    (pci.domain, pci.bus, pci.device)
}
