//! `[storage]`: datasets, their copies on this disk, and how they are looked after.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// Where datasets come from and how they are looked after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Most bytes that one team may keep on this disk: datasets, `/storage`, artifacts, workspaces and
    /// uploads together; a directory in one of them that is not a dataset counts 4 KiB. 0 is no limit.
    /// Default `0B`.
    pub team_quota: ByteSize,
    /// Most bytes of versions on S3 that are kept on this disk as well; the least recently used go
    /// first, never one that is mounted. Default `100GiB`.
    pub cache: ByteSize,
    /// Largest single file of a dataset. Default `1TiB`.
    pub file: ByteSize,
    /// Most files in one version. A draft in a bucket is held to it when it is committed, any other while it
    /// fills. Directories are only there where files are. Default 10000000.
    pub version_files: u64,
    /// Directories of this machine that datasets may be imported from. Default none.
    pub import_dirs: Vec<PathBuf>,
    /// Lets imports fetch from this machine itself (loopback and link-local addresses). Default false.
    pub import_local: bool,
    /// Longest life of a signed URL. Default `7d`.
    pub signed_url: Span,
    /// How long files that nothing refers to are kept. Default `1d`.
    pub gc_grace: Span,
    /// How often they are looked for. Default `1h`.
    pub gc_interval: Span,
    /// How often stored files are read again and compared with their hashes. Default `1d`.
    pub fsck_interval: Span,
    /// Part of them that is read each time. Default 2 (percent).
    pub fsck_percent: u8,
    /// Bytes a second that this may read. Default `50MiB`.
    pub fsck_rate: ByteSize,
}

impl Default for Storage {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            team_quota: ByteSize(0),
            cache: ByteSize::gib(100),
            file: ByteSize::gib(1024),
            version_files: 10_000_000,
            import_dirs: Vec::new(),
            import_local: false,
            signed_url: Span(7 * DAY),
            gc_grace: Span(DAY),
            gc_interval: Span(DAY / 24),
            fsck_interval: Span(DAY),
            fsck_percent: 2,
            fsck_rate: ByteSize::mib(50),
        }
    }
}
