//! A change that somebody may be waiting to hear of.

use super::time::Timestamp;

/// One change to one thing. `seq` grows by at least one and is where a stream resumes.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub seq: i64,
    pub at: Timestamp,
    /// What kind of thing: `job`, `project`, `secret`, `key`, …
    pub kind: String,
    /// Its id.
    pub subject: String,
    /// What happened to it: `created`, `state`, `deleted`, …
    pub change: String,
    pub data: serde_json::Value,
}
