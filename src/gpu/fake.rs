//! GPUs in memory, for tests of other rooms. What it shows is set, and it behaves as NVML's does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::GpuInventory;
use crate::domain::gpu::{Gpu, GpuHealth, GpuKind, GpuReading, GpuUuid, Inventory};

/// GPUs that are whatever the test says.
#[derive(Debug, Default)]
pub struct FakeGpus {
    now: Mutex<(Inventory, Vec<GpuReading>)>,
}

impl FakeGpus {
    /// A box with these GPUs, all idle and healthy.
    pub fn new(inventory: Inventory) -> Self {
        let fake = Self::default();
        fake.set_inventory(inventory);
        fake
    }

    /// A box with `count` whole GPUs of 80 GiB named `GPU-fake-0` and so on.
    pub fn with_gpus(count: u32) -> Self {
        Self::new(Inventory {
            driver_version: Some("550.54.15".into()),
            cuda_version: Some("12.4".into()),
            gpus: (0..count).map(fake_gpu).collect(),
            ..Inventory::default()
        })
    }

    /// Replaces the inventory. A GPU that was there keeps its reading, and a new one is idle.
    pub fn set_inventory(&self, inventory: Inventory) {
        let mut now = self.lock();
        let before = std::mem::take(&mut now.1);
        now.1 = inventory
            .gpus
            .iter()
            .map(|gpu| before.iter().find(|reading| reading.uuid == gpu.uuid).cloned().unwrap_or_else(|| idle(gpu)))
            .collect();
        now.0 = inventory;
    }

    /// Replaces one GPU's reading; one of a GPU that is not there is ignored.
    pub fn set_reading(&self, reading: GpuReading) {
        if let Some(slot) = self.lock().1.iter_mut().find(|slot| slot.uuid == reading.uuid) {
            *slot = reading;
        }
    }

    /// Changes one GPU's health. A lost or unknown one tells nothing else.
    pub fn set_health(&self, uuid: &GpuUuid, health: GpuHealth) {
        if let Some(slot) = self.lock().1.iter_mut().find(|slot| slot.uuid == *uuid) {
            match health {
                GpuHealth::Healthy | GpuHealth::Failing { .. } => slot.health = health,
                GpuHealth::Lost | GpuHealth::Unknown { .. } => *slot = GpuReading::blank(uuid.clone(), health),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Inventory, Vec<GpuReading>)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GpuInventory for FakeGpus {
    fn inventory(&self) -> Inventory {
        self.lock().0.clone()
    }

    fn readings(&self) -> Vec<GpuReading> {
        self.lock().1.clone()
    }
}

/// The `index`th GPU of [`FakeGpus::with_gpus`].
pub fn fake_gpu(index: u32) -> Gpu {
    Gpu {
        uuid: GpuUuid(format!("GPU-fake-{index}").into()),
        index,
        name: "Fake NVIDIA H100 80GB HBM3".into(),
        memory_bytes: 80 << 30,
        kind: GpuKind::Whole,
        numa_node: Some(0),
        pci_bus_id: format!("00000000:{:02X}:00.0", 7 + index),
        minor: Some(index),
        compute_capability: Some((9, 0)),
    }
}

fn idle(gpu: &Gpu) -> GpuReading {
    let whole = gpu.kind == GpuKind::Whole;
    GpuReading {
        memory_used_bytes: Some(0),
        utilization_percent: whole.then_some(0),
        memory_utilization_percent: whole.then_some(0),
        temperature_celsius: Some(35),
        power_milliwatts: whole.then_some(70_000),
        power_limit_milliwatts: whole.then_some(700_000),
        ..GpuReading::blank(gpu.uuid.clone(), GpuHealth::Healthy)
    }
}
