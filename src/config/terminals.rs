//! `[terminals]`: shells that people open in what runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Span;

/// Shells that people open in what runs, in the browser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminals {
    /// How long a terminal is kept at which nobody looks, with whatever runs in it. Default `10m`.
    pub detached: Span,
    /// Most terminals that are open in one job or notebook at the same time. Default 16.
    pub per_workload: u32,
}

impl Default for Terminals {
    fn default() -> Self {
        Self { detached: Span(Duration::from_secs(600)), per_workload: 16 }
    }
}
