//! GPUs as the rest of the house sees them: plain values, named by NVML UUID because indices move
//! across reboots.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// NVML's name of a GPU (`GPU-…`) or of a MIG instance (`MIG-…`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GpuUuid(pub Box<str>);

impl fmt::Display for GpuUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GpuUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for GpuUuid {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Something that can be given to a container: a whole GPU, or one MIG instance of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub uuid: GpuUuid,
    /// NVML's index today, for people only: it moves across reboots. A MIG instance has its parent's.
    pub index: u32,
    /// The product name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// 0 when the driver does not tell, as where GPU and CPU share their memory.
    pub memory_bytes: u64,
    pub kind: GpuKind,
    pub numa_node: Option<u32>,
    pub pci_bus_id: String,
    /// The N of `/dev/nvidiaN`.
    pub minor: Option<u32>,
    /// CUDA compute capability, major and minor.
    pub compute_capability: Option<(u32, u32)>,
}

/// Whether a GPU is whole or a slice that the admin has cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuKind {
    Whole,
    /// One MIG instance. A GPU in MIG mode is not itself in the inventory; its instances are.
    Mig {
        parent: GpuUuid,
        profile: String,
    },
}

/// How two GPUs reach each other, worst first, so that the greater is the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// Across CPU sockets.
    System,
    /// Within one NUMA node.
    Node,
    /// Through one PCIe host bridge.
    HostBridge,
    /// Through several PCIe switches.
    MultiSwitch,
    /// Through one PCIe switch.
    Switch,
    /// On one board.
    Board,
    /// Over so many NVLinks.
    NvLink(u32),
}

/// Everything NVML tells about the hardware that does not change from second to second.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    pub driver_version: Option<String>,
    pub cuda_version: Option<String>,
    /// In order of NVML's index, MIG instances after one another.
    pub gpus: Vec<Gpu>,
    /// By the UUIDs of both whole GPUs, lesser first. A missing pair is [`Link::System`].
    pub links: BTreeMap<(GpuUuid, GpuUuid), Link>,
    /// What NVML could not be asked, in words that say what to do: why there is no GPU, or why what
    /// stands here is only what was seen last.
    pub unavailable: Option<String>,
}

/// What one GPU does right now.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuReading {
    pub uuid: GpuUuid,
    pub health: GpuHealth,
    pub memory_used_bytes: Option<u64>,
    pub utilization_percent: Option<u32>,
    pub memory_utilization_percent: Option<u32>,
    pub temperature_celsius: Option<u32>,
    pub power_milliwatts: Option<u32>,
    pub power_limit_milliwatts: Option<u32>,
    /// Who uses it. Includes our own containers' processes.
    pub processes: Vec<GpuProcess>,
}

/// One process on a GPU, by its id on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuProcess {
    pub pid: u32,
    pub memory_bytes: Option<u64>,
    /// Owner of the process, from /proc; a number when it has no name.
    pub user: Option<String>,
    /// Command line, from /proc, cut to 256 characters.
    pub command: Option<String>,
    /// The 64 hexadecimal digits of the container that the process runs in, from /proc/PID/cgroup.
    pub container: Option<String>,
}

/// Whether a GPU can be given to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuHealth {
    Healthy,
    /// It answers, but something was seen that work should not be put on top of.
    Failing {
        reason: String,
    },
    /// It has fallen off the bus.
    Lost,
    /// It could not be asked. Nobody new gets it, and what runs on it is left alone: no answer is
    /// not a failure.
    Unknown {
        reason: String,
    },
}

impl GpuHealth {
    /// Tells whether work may be put on a GPU in this state.
    pub fn is_usable(&self) -> bool {
        *self == Self::Healthy
    }

    /// The word that clients see.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Failing { .. } => "failing",
            Self::Lost => "lost",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl Gpu {
    /// The UUID of the card: its own, or of the one that it is a slice of.
    pub fn card(&self) -> &GpuUuid {
        match &self.kind {
            GpuKind::Whole => &self.uuid,
            GpuKind::Mig { parent, .. } => parent,
        }
    }
}

impl Inventory {
    /// Tells how two GPUs reach each other, asked in either order.
    pub fn link(&self, a: &GpuUuid, b: &GpuUuid) -> Link {
        let pair = if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
        self.links.get(&pair).copied().unwrap_or(Link::System)
    }
}

impl GpuReading {
    /// A reading that tells nothing but the state.
    pub fn blank(uuid: GpuUuid, health: GpuHealth) -> Self {
        Self {
            uuid,
            health,
            memory_used_bytes: None,
            utilization_percent: None,
            memory_utilization_percent: None,
            temperature_celsius: None,
            power_milliwatts: None,
            power_limit_milliwatts: None,
            processes: Vec::new(),
        }
    }
}
