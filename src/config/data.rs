//! `[data]`: where everything is kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The data directory: database, keys, logs, artifacts, shared storage. Made when missing, for
    /// its owner alone. Default `/var/lib/gradientd`. Short forms: `GRADIENTD_DATA_DIR`, `--data-dir`.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "/var/lib/gradientd".into() }
    }
}
