//! Runs containers. Speaks to an engine and decides nothing: what should run is said by
//! `reconcile`, and what an answer means for a run is decided there too.
//!
//! [`Executor`] is the seam. `docker` is the only place that speaks to Docker; `fake` keeps
//! containers in memory for tests, and passes the same contract test.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

use crate::domain::{gpu::GpuUuid, storage_care::ImagesUsage, terminal::TtySize, time::Timestamp};

pub use crate::domain::output::{EngineTime, LogChunk, Stream};

pub mod docker;
pub mod fake;

/// What can be asked of an engine. Every call has a time-out of its own.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Tells what engine this is and how it can hand out GPUs.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// Returns the address at which containers reach what listens on this machine, on a network that is
    /// made if need be. `None` when theirs leads nowhere.
    async fn gateway(&self) -> Result<Option<IpAddr>, EngineError>;

    /// Lists this box's containers in any state. A container whose label was not written by this
    /// box (the keyed MAC does not fit) is not listed.
    async fn list(&self) -> Result<Vec<ContainerSummary>, EngineError>;

    /// Makes a container, or finds the one that has this name already: creating twice is harmless.
    /// Returns the engine's id. A container of this name that is not ours is a [`EngineError::Conflict`].
    async fn create(&self, plan: &ContainerPlan) -> Result<String, EngineError>;

    /// Starts a container; one that runs or has run is left alone.
    async fn start(&self, id: &str) -> Result<(), EngineError>;

    /// Looks at one container by id or name; `None` when there is none.
    async fn inspect(&self, id: &str) -> Result<Option<Inspection>, EngineError>;

    /// Asks the container to end and kills it after `grace`. Returns when it has ended. One that
    /// has ended, or is gone, is left alone.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError>;

    /// Removes a container and its anonymous volumes; killing it first if it runs. One that is gone
    /// is no error.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;

    /// Looks up an image by name or id; `None` when it is not on this box.
    async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError>;

    /// Counts the images on this box, whoever fetched them.
    async fn images(&self) -> Result<ImagesUsage, EngineError>;

    /// Fetches an image, telling how far it is. Cancelled by dropping.
    async fn pull(
        &self,
        reference: &str,
        credentials: Option<&RegistryCredentials>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, EngineError>;

    /// Builds an image from a context directory. Each line that the engine prints goes to `output`.
    async fn build(
        &self,
        plan: &BuildPlan,
        // Said in full because `async_trait` would tie an elided lifetime to the call's own.
        output: &(dyn for<'line> Fn(&'line str) + Send + Sync),
    ) -> Result<Image, EngineError>;

    /// Follows a container's output from `since` (inclusive; from its beginning when `None`) until
    /// it has ended and everything is read.
    async fn logs(
        &self,
        id: &str,
        since: Option<EngineTime>,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError>;

    /// Samples what a container uses, about once a second, until it ends.
    async fn usage(&self, id: &str) -> Result<BoxStream<'static, Result<Usage, EngineError>>, EngineError>;

    /// Runs one more command in a container that runs. It has begun when this returns; how it ended tells
    /// [`Executor::exec_end`]. It outlives the session: whoever drops that has to see to its end.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a container that is not ours, [`EngineError::Conflict`] for one that
    /// does not run. A command that cannot be started may also say so in its output, and end with 126 or 127.
    async fn exec(&self, id: &str, plan: &ExecPlan) -> Result<ExecSession, EngineError>;

    /// Gives the terminal of a command another size. A command that has ended is left alone.
    async fn resize_exec(&self, exec: &str, size: TtySize) -> Result<(), EngineError>;

    /// Looks at how a command ended; `None` while it runs, and when nobody knows any more.
    async fn exec_end(&self, exec: &str) -> Result<Option<i64>, EngineError>;

    /// Tells of what happens to this box's containers, from now on. The first item may be awaited
    /// only after something happens; the subscription exists when this returns.
    async fn events(&self) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError>;

    /// Tells when processes of a container were killed because its memory was full, be it the first of them or
    /// another, from `since` to the present second, which may be left out; the earliest first. The engine
    /// remembers a few hundred events of all containers, so it may have forgotten.
    async fn memory_kills(&self, id: &str, since: Timestamp) -> Result<Vec<Timestamp>, EngineError>;
}

/// What engine this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    pub version: String,
    pub api_version: String,
    /// Where the engine keeps images and containers.
    pub data_root: PathBuf,
    pub storage_driver: String,
    pub cgroup_version: String,
    /// How GPUs can be handed to a container, or why not.
    pub gpu_access: Result<GpuAccess, String>,
}

/// The ways to hand a GPU to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuAccess {
    /// The container runtime named `nvidia`, told by NVIDIA_VISIBLE_DEVICES.
    Runtime,
    /// The engine's own device requests, served by NVIDIA's hook.
    DeviceRequest,
    /// Container Device Interface names such as `nvidia.com/gpu=GPU-…`.
    Cdi,
    /// Device nodes and the driver's libraries, bound by us.
    Devices,
}

/// A container of this box, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    pub id: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
    /// Address on the box's network, while it runs.
    pub ip: Option<std::net::IpAddr>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    /// Being removed by the engine.
    Removing,
}

/// Everything about one container that decides how a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub id: String,
    pub name: String,
    pub state: ContainerState,
    /// The engine's own word for a start that failed.
    pub error: Option<String>,
    pub exit_code: Option<i64>,
    pub oom_killed: bool,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub image_id: String,
    /// Address on the box's network, while it runs.
    pub ip: Option<IpAddr>,
    /// Container port → port on the host that the engine chose or was told.
    pub ports: BTreeMap<u16, u16>,
}

/// A container to be made. Everything in it is data: nothing of it meets a shell.
#[derive(Debug, Clone, Default)]
pub struct ContainerPlan {
    /// Also how a second create finds the first.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Name or id; must be on the box already.
    pub image: String,
    /// Replaces the image's entry point when it is set.
    pub entrypoint: Option<Vec<String>>,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub hostname: Option<String>,
    pub mounts: Vec<Mount>,
    /// Published on the host's address in the engine's settings.
    pub ports: Vec<PortMapping>,
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub shm_bytes: u64,
    pub pids: u32,
    pub gpus: Vec<GpuUuid>,
    /// Size bound of the engine's own log buffer.
    pub log_buffer_bytes: u64,
    pub powers: Powers,
    pub net: Net,
}

/// What root may do inside. A closed list: no plan can ask for a privilege that is not thought of here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Powers {
    /// What whatever users run may do.
    #[default]
    Ordinary,
    /// Mount file systems through `/dev/fuse`, and nothing else: for programs of ours that serve files,
    /// never for what users run. Mounting is a power over the machine.
    Fuse,
}

/// Where a container's network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Net {
    /// The box's bridge, where containers do not reach each other.
    #[default]
    Bridge,
    /// This machine's own, its loopback too: for programs of ours alone.
    Host,
}

/// A directory of the host, shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    pub source: PathBuf,
    pub target: String,
    pub read_only: bool,
    pub propagation: Propagation,
}

/// Whether what is mounted beneath a [`Mount`] later is seen on the other side. Either of the last two needs
/// a file system that the host shares (`mount --make-rshared`); elsewhere the start is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    #[default]
    Private,
    /// What the host mounts beneath it appears inside.
    FromHost,
    /// That, and what is mounted inside appears on the host.
    Both,
}

/// A port of the container, reachable on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    pub container: u16,
    /// The engine picks a free one when `None`.
    pub host: Option<u16>,
}

/// One more command for a container that runs. It has the container's user, working directory, devices and
/// limits.
#[derive(Debug, Clone, Default)]
pub struct ExecPlan {
    pub command: Vec<String>,
    /// Beside what the container has.
    pub env: BTreeMap<String, String>,
    /// A terminal of this size; pipes when `None`.
    pub tty: Option<TtySize>,
}

/// A command that was begun beside others.
pub struct ExecSession {
    pub id: String,
    /// What it prints, both streams together, until it has ended.
    pub output: BoxStream<'static, Result<Bytes, EngineError>>,
    /// What it reads. Shutting it down is the end of input, for a command without a terminal.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
}

impl std::fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecSession").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An image on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// `name@sha256:…` of the registry that it came from.
    pub digests: Vec<String>,
    pub size_bytes: u64,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
}

/// How far a pull is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes downloaded so far, of all layers.
    pub done_bytes: u64,
    /// Bytes of all layers known so far.
    pub total_bytes: u64,
    pub layers_done: u32,
    pub layers_total: u32,
}

/// A user's name and password at an image registry.
#[derive(Clone)]
pub struct RegistryCredentials {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryCredentials")
    }
}

/// An image to be built.
#[derive(Debug, Clone)]
pub struct BuildPlan {
    /// The name and tag that the image gets on this box.
    pub tag: String,
    pub context: PathBuf,
    /// Path of the Dockerfile inside the context.
    pub dockerfile: String,
    pub labels: BTreeMap<String, String>,
    pub cpu_millis: u32,
    pub memory_bytes: u64,
}

/// What a container uses at one moment. Counters grow from the container's start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Of one core: 250 is two and a half cores.
    pub cpu_percent: f64,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub network_received_bytes: u64,
    pub network_sent_bytes: u64,
    pub block_read_bytes: u64,
    pub block_written_bytes: u64,
}

/// Something that happened to a container of this box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    pub container_id: String,
    pub container_name: String,
    /// The engine's word: `create`, `start`, `die`, `oom`, `destroy`, …
    pub action: String,
    /// By the engine's clock.
    pub at: Timestamp,
    pub exit_code: Option<i64>,
}

/// Why the engine did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// No answer, or none in time. Nothing is known about what was asked for.
    #[error("the Docker engine does not answer: {0}")]
    Unreachable(String),
    /// There is no such container or image.
    #[error("{0}")]
    NotFound(String),
    /// Something else has the name, or the state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The registry wants other credentials.
    #[error("{0}")]
    Unauthorized(String),
    /// The engine said no, in its own words.
    #[error("{0}")]
    Refused(String),
}
