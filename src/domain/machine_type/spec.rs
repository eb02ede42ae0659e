//! A machine type as an admin writes it.

use serde::{Deserialize, Serialize};

/// One machine type of the configuration. Units are in the names, because people write this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineTypeSpec {
    /// Letters, digits, `-`, `.`, `_` and `+`; at most 64.
    pub name: String,
    /// Cores; parts of one are allowed (`0.5`).
    pub cores: f64,
    /// GiB of memory.
    pub memory_gib: f64,
    /// How many GPUs; with `mig_profile`, how many MIG instances.
    #[serde(default)]
    pub gpus: u32,
    /// 1 holds GPUs whole; n > 1 lets n jobs of this type share one GPU.
    #[serde(default = "one")]
    pub share: u32,
    /// Only GPUs of this model: `a100`, `a100-80g` or the product name.
    #[serde(default)]
    pub gpu_model: Option<String>,
    /// Only MIG instances of this profile, such as `1g.10gb`.
    #[serde(default)]
    pub mig_profile: Option<String>,
    /// Further names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// One line for people; made up from the numbers when absent.
    #[serde(default)]
    pub description: Option<String>,
}

fn one() -> u32 {
    1
}
