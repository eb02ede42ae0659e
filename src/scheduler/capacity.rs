//! What there is to give out.

use std::collections::BTreeMap;

use crate::domain::gpu::{Gpu, GpuUuid, Link};

/// The box as the scheduler sees it, with nothing of ours subtracted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Capacity {
    /// Thousandths of a core, for all workloads together.
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub gpus: Vec<GpuSlot>,
    /// By the UUIDs of both whole GPUs, lesser first. A missing pair is [`Link::System`].
    pub links: BTreeMap<(GpuUuid, GpuUuid), Link>,
}

/// One GPU or MIG instance, and whether it may be given to anybody.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuSlot {
    pub gpu: Gpu,
    pub availability: Availability,
}

/// Whether a GPU may be given out. What our own workloads hold is not said here but in `running`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    Free,
    /// A process that we did not start uses it.
    Foreign {
        pid: u32,
        user: Option<String>,
        command: Option<String>,
    },
    Unhealthy {
        reason: String,
    },
}
