//! `[scheduler]`: what jobs may have of the box, and the names that slices of it have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ByteSize;
use crate::domain::machine_type::MachineTypeSpec;

/// What jobs may have of the box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduler {
    /// Thousandths of a core that are kept for the system and the daemon. Default 0.
    pub cpu_reserve_millis: u32,
    /// Memory that is kept for the system and the daemon. Default `1GiB`.
    pub memory_reserve: ByteSize,
    /// The machine type of a job that names none. Default: the smallest there is.
    pub default_machine_type: Option<String>,
    /// The machine types of this box, each a table `[[scheduler.machine_types]]` with `name`, `cores`,
    /// `memory_gib` and perhaps more. Default: generated from its hardware.
    pub machine_types: Vec<MachineTypeSpec>,
    /// More names for machine types, such as those that the cloud had: `"P4000" = "gpu-1"`.
    /// Default none.
    pub aliases: BTreeMap<String, String>,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            cpu_reserve_millis: 0,
            memory_reserve: ByteSize::gib(1),
            default_machine_type: None,
            machine_types: Vec::new(),
            aliases: BTreeMap::new(),
        }
    }
}
