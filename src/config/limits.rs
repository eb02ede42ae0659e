//! `[limits]`: the bounds of everything that users can make large.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// The bounds of what users can make large.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Largest JSON body of a request. Default `1MiB`.
    pub body: ByteSize,
    /// Largest uploaded archive, as it is sent. Default `2GiB`.
    pub upload: ByteSize,
    /// Largest total of an uploaded archive's files when unpacked. Default `20GiB`.
    pub upload_unpacked: ByteSize,
    /// Most files and directories in an uploaded archive. Default 200000.
    pub upload_files: u64,
    /// Most bytes of log kept of one run; what comes later is dropped with a mark. Default `1GiB`.
    pub job_log: ByteSize,
    /// Most unfinished jobs of one team. Default 50000.
    pub jobs_waiting_per_team: u64,
    /// Longest time limit that a job may ask for. Default `365d`.
    pub job_time: Span,
    /// Most connections to the API at the same time, and as many to what containers serve; of these, one address
    /// other than loopback has three quarters at most. Default 2048.
    pub connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(1),
            upload: ByteSize::gib(2),
            upload_unpacked: ByteSize::gib(20),
            upload_files: 200_000,
            job_log: ByteSize::gib(1),
            jobs_waiting_per_team: 50_000,
            job_time: Span(Duration::from_secs(365 * 86_400)),
            connections: 2048,
        }
    }
}
