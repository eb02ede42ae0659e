//! What the admin decides about the engine and the containers on it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use crate::executor::GpuAccess;

/// Where the engine is and what every container on it gets.
#[derive(Clone)]
pub struct DockerSettings {
    /// The engine's unix socket.
    pub socket: PathBuf,
    /// Tells this box's containers from those of another gradientd on the same engine.
    pub box_id: String,
    /// Signs the labels, so that a container that somebody else labelled is not taken for ours.
    pub mac_key: [u8; 32],
    /// The host's address on which containers' ports are published.
    pub publish_address: IpAddr,
    /// The bridge network of the containers, made when it is missing. `bridge` is the engine's own:
    /// a start is some 45 ms quicker there, but its containers reach each other unless the engine
    /// runs with `--icc=false`.
    pub network: String,
    /// The cgroup under which the engine puts containers; its own choice when `None`.
    pub cgroup_parent: Option<String>,
    /// How GPUs are handed out, when the probe is not to decide.
    pub gpu_access: Option<GpuAccess>,
    /// Whether containers may lock any amount of memory. Off, because an engine without
    /// CAP_SYS_RESOURCE refuses to raise a limit, and then no container starts at all.
    pub unlimited_memlock: bool,
    pub timeouts: CallTimeouts,
}

/// How long calls may take. Streams have none once they are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTimeouts {
    /// Anything that only looks.
    pub quick: Duration,
    /// Create and start, which wait for disks and for the network's set-up.
    pub launch: Duration,
    /// Remove, and what a stop may take beyond its grace period.
    pub teardown: Duration,
    /// The longest silence in a pull or a build.
    pub idle: Duration,
}

impl Default for CallTimeouts {
    fn default() -> Self {
        Self {
            quick: Duration::from_secs(30),
            launch: Duration::from_secs(180),
            teardown: Duration::from_secs(120),
            idle: Duration::from_secs(900),
        }
    }
}

impl DockerSettings {
    /// Returns the settings for the usual engine on this machine.
    #[must_use]
    pub fn new(box_id: impl Into<String>, mac_key: [u8; 32]) -> Self {
        Self {
            socket: "/var/run/docker.sock".into(),
            box_id: box_id.into(),
            mac_key,
            publish_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            network: "gradientd".into(),
            cgroup_parent: None,
            gpu_access: None,
            unlimited_memlock: false,
            timeouts: CallTimeouts::default(),
        }
    }
}

impl std::fmt::Debug for DockerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerSettings")
            .field("socket", &self.socket)
            .field("box_id", &self.box_id)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}
