//! Settings: one file per section, plain values handed to the rooms by `app.rs`.
//!
//! Layers, later wins: built-in, `/etc/gradientd/gradientd.toml` or `--config FILE`, environment
//! `GRADIENTD_SECTION__KEY`, flags. A key that does not exist is an error in every layer: a setting
//! that is silently ignored is worse than a daemon that does not start. [`layers`] gathers them,
//! [`show`] prints the result with where each value came from.

use serde::{Deserialize, Serialize};

mod check;
mod data;
mod disk;
mod engine;
#[cfg(test)]
mod example;
mod gpu;
mod layers;
mod limits;
mod log;
mod notebooks;
mod retention;
mod s3_sources;
mod scheduler;
mod server;
mod show;
mod size;
mod span;
mod storage;
mod tensorboards;
mod terminals;

pub use check::{Warning, check};
pub use data::Data;
pub use disk::Disk;
pub use engine::{Engine, GpuAccessChoice};
pub use gpu::Gpu;
pub use layers::{BUILT_IN, ConfigArgs, ConfigError, DEFAULT_FILE, Loaded};
pub use limits::Limits;
pub use log::{Log, LogFormat};
pub use notebooks::Notebooks;
pub use retention::Retention;
pub use s3_sources::S3Sources;
pub use scheduler::Scheduler;
pub use server::Server;
pub use show::show;
pub use size::ByteSize;
pub use span::Span;
pub use storage::Storage;
pub use tensorboards::TensorBoards;
pub use terminals::Terminals;

/// Every setting of the daemon. `Default` is the built-in layer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data: Data,
    pub server: Server,
    pub engine: Engine,
    pub gpu: Gpu,
    pub scheduler: Scheduler,
    pub storage: Storage,
    pub notebooks: Notebooks,
    pub terminals: Terminals,
    pub s3_sources: S3Sources,
    pub tensorboards: TensorBoards,
    pub limits: Limits,
    pub retention: Retention,
    pub disk: Disk,
    pub log: Log,
}
