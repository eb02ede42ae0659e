//! `[s3_sources]`: the containers that show places on S3 in notebooks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// The containers that show places on S3 in notebooks, one for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Sources {
    /// Whether notebooks may have places on S3 beneath `/datasets` at all. Switched off, no such container is
    /// started, those that run end, and the places say why they are not there. Default `true`.
    pub enabled: bool,
    /// The image that mounts places on S3: any with `rclone`, `fusermount3`, `sh`, `umount`, `grep` and
    /// `timeout`. Fetched at its first use. Default `rclone/rclone:1`.
    pub image: String,
    /// Most memory of one such container; it is not counted among what machine types give.
    /// Default `512MiB`.
    pub memory: ByteSize,
    /// Most bytes of files that were written to one place and sent that are kept on this disk as well; what
    /// is not sent yet is kept beyond it. Default `10GiB`.
    pub cache: ByteSize,
    /// How long one may take, when a notebook ends, to send what was written last. What is left then is sent
    /// when the notebook starts again. Default `2m`.
    pub flush: Span,
}

impl Default for S3Sources {
    fn default() -> Self {
        Self {
            enabled: true,
            image: "rclone/rclone:1".to_owned(),
            memory: ByteSize(512 << 20),
            cache: ByteSize::gib(10),
            flush: Span(Duration::from_secs(120)),
        }
    }
}
