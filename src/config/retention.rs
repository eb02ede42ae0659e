//! `[retention]`: how long things are kept that nobody deletes by hand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Span;

/// How long things are kept that nobody deletes by hand. Jobs, their logs and artifacts are not
/// among them: they stay until somebody deletes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Changes that a client of the event stream can catch up with. Default `1d`.
    pub events: Span,
    /// How long an `Idempotency-Key` is remembered. Default `1d`.
    pub idempotency: Span,
    /// An upload that no job was made of. Default `1d`.
    pub uploads: Span,
    /// A browser's session. Default `30d`.
    pub sessions: Span,
    /// A sign-in link that was not used. Default `15m`.
    pub sign_in_links: Span,
    /// System metrics as they were read; then one point a minute is kept. Default `1d`.
    pub metrics_raw: Span,
    /// System metrics by the minute; then one point an hour is kept, for as long as the job is.
    /// Default `30d`.
    pub metrics_minute: Span,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Span(Duration::from_secs(days * 86_400));
        Self {
            events: days(1),
            idempotency: days(1),
            uploads: days(1),
            sessions: days(30),
            sign_in_links: Span(Duration::from_secs(15 * 60)),
            metrics_raw: days(1),
            metrics_minute: days(30),
        }
    }
}
