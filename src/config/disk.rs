//! `[disk]`: when the disk of the data directory counts as full.

use serde::{Deserialize, Serialize};

use super::ByteSize;

/// When the disk of the data directory counts as full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Use from which the box warns. Default 85 (percent).
    pub warn_percent: u8,
    /// Use from which new work is refused until there is room. Default 95 (percent).
    pub refuse_percent: u8,
    /// Free space below which new work is refused, whatever the percentage. Default `1GiB`.
    pub min_free: ByteSize,
}

impl Default for Disk {
    fn default() -> Self {
        Self { warn_percent: 85, refuse_percent: 95, min_free: ByteSize::gib(1) }
    }
}
