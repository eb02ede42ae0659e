//! Containers on a Docker engine. The only place that speaks to Docker.
//!
//! Every call goes over one pooled connection, has its own time-out and reconnects by itself: an
//! engine that is away costs the calls made meanwhile, and nothing has to be set up again when it
//! is back. What this box made is told from what others made by a keyed MAC over the labels.
//!
//! In reading order: [`settings`], `connection`, `stream` and `hijack` (the socket), `failure` (its errors), `seal` (what
//! is ours), `create`, `gpus`, `probe`, `network`, `containers`, `images`, `reference`, `build`,
//! `dockerfile`, `dockerignore`, `logs`, `usage`, `exec`, `events`.

use std::{
    net::IpAddr,
    sync::{Mutex, atomic::AtomicBool},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{
    BuildPlan, ContainerPlan, ContainerSummary, EngineError, EngineEvent, EngineInfo, EngineTime, ExecPlan,
    ExecSession, Executor, GpuAccess, Image, Inspection, LogChunk, Progress, RegistryCredentials, Usage,
};
use crate::domain::{storage_care::ImagesUsage, terminal::TtySize, time::Timestamp};

mod build;
mod connection;
mod containers;
mod create;
mod dockerfile;
mod dockerignore;
mod events;
mod exec;
mod failure;
mod gpus;
mod hijack;
mod images;
mod logs;
mod network;
mod probe;
mod reference;
mod seal;
pub mod settings;
mod stream;
mod usage;

pub use settings::{CallTimeouts, DockerSettings};

/// A Docker engine behind its unix socket.
pub struct Docker {
    settings: DockerSettings,
    connection: connection::Connection,
    /// Whether the box's network is known to exist on this engine.
    network_ready: AtomicBool,
    network_making: tokio::sync::Mutex<()>,
    /// What the last probe said about GPUs; asked again after contact was lost.
    gpu_access: Mutex<Option<Result<GpuAccess, String>>>,
}

impl Docker {
    /// Makes ready to speak to the engine; nothing is sent until the first call, so an engine that
    /// is absent is no error here.
    #[must_use]
    pub fn connect(settings: DockerSettings) -> Self {
        let connection = connection::Connection::new(&settings.socket, settings.timeouts.quick);
        Self {
            settings,
            connection,
            network_ready: false.into(),
            network_making: tokio::sync::Mutex::new(()),
            gpu_access: Mutex::new(None),
        }
    }
}

#[async_trait]
impl Executor for Docker {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.probe().await
    }

    async fn gateway(&self) -> Result<Option<IpAddr>, EngineError> {
        self.make_gateway().await
    }

    async fn list(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        self.list_containers().await
    }

    async fn create(&self, plan: &ContainerPlan) -> Result<String, EngineError> {
        self.create_container(plan).await
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.start_container(id).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Inspection>, EngineError> {
        self.inspect_container(id).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        self.stop_container(id, grace).await
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.remove_container(id).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        self.inspect_image(reference).await
    }

    async fn images(&self) -> Result<ImagesUsage, EngineError> {
        self.count_images().await
    }

    async fn pull(
        &self,
        reference: &str,
        credentials: Option<&RegistryCredentials>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, EngineError> {
        self.pull_image(reference, credentials, progress).await
    }

    async fn build(
        &self,
        plan: &BuildPlan,
        output: &(dyn for<'line> Fn(&'line str) + Send + Sync),
    ) -> Result<Image, EngineError> {
        self.build_image(plan, output).await
    }

    async fn logs(
        &self,
        id: &str,
        since: Option<EngineTime>,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError> {
        self.follow_logs(id, since).await
    }

    async fn usage(&self, id: &str) -> Result<BoxStream<'static, Result<Usage, EngineError>>, EngineError> {
        self.sample_usage(id).await
    }

    async fn exec(&self, id: &str, plan: &ExecPlan) -> Result<ExecSession, EngineError> {
        self.start_exec(id, plan).await
    }

    async fn resize_exec(&self, exec: &str, size: TtySize) -> Result<(), EngineError> {
        self.set_exec_size(exec, size).await
    }

    async fn exec_end(&self, exec: &str) -> Result<Option<i64>, EngineError> {
        self.exec_exit_code(exec).await
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        self.watch_events().await
    }

    async fn memory_kills(&self, id: &str, since: Timestamp) -> Result<Vec<Timestamp>, EngineError> {
        self.times_of_oom(id, since).await
    }
}
