//! `[notebooks]`: when sessions of notebooks end by themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Span;

/// When sessions of notebooks end by themselves. Files in `/notebooks` and `/storage` outlive them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notebooks {
    /// How long a session lasts where its notebook does not say; it can be extended while it runs.
    /// Default `12h`.
    pub shutdown: Span,
    /// The longest time that a notebook may ask for, or a session be extended by at once. Default `7d`.
    pub longest_shutdown: Span,
    /// A session in which nothing is done for so long ends, where its notebook does not say otherwise: no
    /// kernel is busy, no terminal says anything, processors and GPUs are quiet. An open tab is not
    /// activity. 0 is never. Default `3h`.
    pub idle: Span,
    /// How long a server may take to answer after its container started. Default `2m`.
    pub ready: Span,
}

impl Default for Notebooks {
    fn default() -> Self {
        let hours = |hours: u64| Span(Duration::from_secs(hours * 3600));
        Self {
            shutdown: hours(12),
            longest_shutdown: hours(7 * 24),
            idle: hours(3),
            ready: Span(Duration::from_secs(120)),
        }
    }
}
