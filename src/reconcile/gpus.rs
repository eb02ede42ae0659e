//! Reads NVML: the inventory, what the GPUs do, and their health.

use std::{sync::Arc, time::Duration};

use super::{Loop, Works, drive};
use crate::{
    domain::{
        gpu::Inventory,
        machine_type::{Catalogue, MachineTypeSpec},
    },
    gpu::GpuInventory,
    service::blocking,
};

/// How machine types are made of the hardware, or what the admin wrote instead.
#[derive(Debug, Clone, Default)]
pub struct Types {
    pub cores: u32,
    pub memory_bytes: u64,
    pub specs: Vec<MachineTypeSpec>,
    pub default: Option<String>,
    pub aliases: Vec<(String, String)>,
}

impl Types {
    /// Returns the machine types for this hardware.
    ///
    /// # Errors
    /// Words for the admin when what they wrote does not fit.
    pub fn catalogue(&self, inventory: &Inventory) -> anyhow::Result<Catalogue> {
        let mut catalogue = if self.specs.is_empty() {
            Catalogue::generate(self.cores, self.memory_bytes, inventory)
        } else {
            Catalogue::configured(&self.specs, self.cores, self.memory_bytes, inventory)?
        };
        for (alias, name) in &self.aliases {
            catalogue = catalogue.with_alias(alias, name)?;
        }
        if let Some(default) = &self.default {
            catalogue = catalogue.with_default(default)?;
        }
        Ok(catalogue)
    }
}

/// A driver that is slow to answer must not keep the daemon from starting.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Looks once, so that the machine types of the GPUs are known when the first job comes, and starts
/// the loop.
pub async fn start(works: &Works, gpus: Arc<dyn GpuInventory>, types: Types, period: Duration) {
    let mut this = Gpus { works: works.clone(), gpus, types };
    if tokio::time::timeout(FIRST_LOOK, this.pass()).await.is_err() {
        tracing::warn!("NVML takes long to answer; starting without knowing the GPUs");
    }
    works.tasks.spawn(drive(this, works.clone(), Arc::default(), period));
}

struct Gpus {
    works: Works,
    gpus: Arc<dyn GpuInventory>,
    types: Types,
}

impl Loop for Gpus {
    const NAME: &'static str = "gpus";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let gpus = Arc::clone(&self.gpus);
        let (inventory, readings) = blocking(move || (gpus.inventory(), gpus.readings())).await;
        let board = &self.works.board;
        let free_before: Vec<_> =
            board.readings().iter().map(|reading| (reading.health.clone(), reading.processes.len())).collect();
        let free_now: Vec<_> =
            readings.iter().map(|reading| (reading.health.clone(), reading.processes.len())).collect();
        let new_hardware = *board.inventory() != inventory;
        if new_hardware {
            tracing::info!(gpus = inventory.gpus.len(), "GPUs of this box");
            // What the admin wrote was checked at the start; GPUs that came or went since may make it
            // unfit, and then the types stay as they were.
            match self.types.catalogue(&inventory) {
                Ok(catalogue) => board.set_catalogue(catalogue),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the machine types do not fit the GPUs any more")
                }
            }
            board.set_inventory(inventory);
        }
        board.set_readings(readings);
        if new_hardware || free_before != free_now {
            // A GPU may be free, or ill, that was not so before.
            self.works.store.changes().workloads.notify_one();
        }
        Ok(())
    }
}
