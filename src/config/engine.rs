//! `[engine]`: the Docker engine that runs the containers.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{ByteSize, Span};

/// The Docker engine and how containers are run on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// The engine's socket. Default `/var/run/docker.sock`.
    pub socket: PathBuf,
    /// Name of the engine's network that containers join; made when missing. Default `gradientd`.
    pub network: String,
    /// Address of this box on which published ports are reachable. Default `127.0.0.1`.
    pub publish_address: IpAddr,
    /// Port on which containers push metrics of their own, as `gradient-utils` does. It listens on the
    /// gateway of `network` alone; 0 switches it off. Default 7072.
    pub push_port: u16,
    /// How GPUs are handed to containers: `auto` takes the first of the others that this box has.
    /// Default `auto`.
    pub gpu_access: GpuAccessChoice,
    /// How long a container that is stopped may take to end before it is killed. Default `10s`.
    pub stop_grace: Span,
    /// How many jobs may pull, build or unpack at the same time. Default 4.
    pub prepare_parallel: u32,
    /// How many containers may be created and started at the same time. Default 8.
    pub start_parallel: u32,
    /// Most processes and threads in one container. Default 8192.
    pub pids: u32,
    /// Part of a job's memory that it may use as `/dev/shm` where it does not say. Default 50 (percent).
    pub shared_memory_percent: u8,
    /// Size of the engine's own log of each container, from which lines are read. Lines written
    /// faster than they are read are lost beyond it. Default `64MiB`.
    pub log_buffer: ByteSize,
}

/// How GPUs are handed to containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuAccessChoice {
    Auto,
    /// The container runtime named `nvidia`.
    Runtime,
    /// The engine's device requests.
    DeviceRequest,
    /// Container Device Interface.
    Cdi,
    /// Device nodes and the driver's libraries, bound directly.
    Devices,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            socket: "/var/run/docker.sock".into(),
            network: "gradientd".into(),
            publish_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            push_port: 7072,
            gpu_access: GpuAccessChoice::Auto,
            stop_grace: Span(Duration::from_secs(10)),
            prepare_parallel: 4,
            start_parallel: 8,
            pids: 8192,
            shared_memory_percent: 50,
            log_buffer: ByteSize::mib(64),
        }
    }
}
