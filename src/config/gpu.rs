//! `[gpu]`: what is asked of NVML.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::Span;

/// How GPUs are watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// NVML's library. Default: found as the system finds `libnvidia-ml.so.1`.
    pub nvml_library: Option<PathBuf>,
    /// Leaves alone a GPU that a process of somebody else uses, until it is free. Default true.
    pub avoid_busy: bool,
    /// How often health and use are read. Default `5s`.
    pub poll_interval: Span,
}

impl Default for Gpu {
    fn default() -> Self {
        Self { nvml_library: None, avoid_busy: true, poll_interval: Span(Duration::from_secs(5)) }
    }
}
