//! `[log]`: what the daemon says about itself.

use serde::{Deserialize, Serialize};

/// What the daemon says about itself, on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter by part such as
    /// `info,gradientd::reconcile=debug`. Default `info`.
    pub level: String,
    /// `text` for people (coloured on a terminal), `json` for collectors. Default `text`.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}
