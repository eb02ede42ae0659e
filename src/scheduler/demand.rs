//! What waits and what runs, as far as placement cares.

use std::time::Duration;

use crate::domain::{gpu::GpuUuid, machine_type::MachineType, time::Timestamp};

/// What one container needs of the box.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Demand {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub gpus: u32,
    /// 1 (or 0) holds GPUs whole; n > 1 holds a place on each GPU among up to n holders that all
    /// asked for the same n.
    pub share: u32,
    /// Only GPUs of this model, as [`crate::domain::machine_type::fits_model`] understands it.
    pub gpu_model: Option<Box<str>>,
    /// Only MIG instances of this profile; whole GPUs when absent.
    pub mig_profile: Option<Box<str>>,
}

impl From<&MachineType> for Demand {
    fn from(machine: &MachineType) -> Self {
        Self {
            cpu_millis: machine.cpu_millis,
            memory_bytes: machine.memory_bytes,
            gpus: machine.gpus,
            share: machine.share,
            gpu_model: machine.gpu_model.as_deref().map(Into::into),
            mig_profile: machine.mig_profile.as_deref().map(Into::into),
        }
    }
}

/// One that wants to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub id: Box<str>,
    /// The greater goes first.
    pub priority: i32,
    /// Since when it has been waiting: of equal priority, the earlier goes first.
    pub since: Timestamp,
    /// Which came first of those that wait since the same time.
    pub seq: i64,
    pub demand: Demand,
    /// How long it may run at most; none when it may run for ever.
    pub time_limit: Option<Duration>,
    /// All that name the same gang start together or not at all, at the place in the queue of the
    /// one that stands first.
    pub gang: Option<Box<str>>,
}

/// One that holds a part of the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub id: Box<str>,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// Each GPU with the `share` that it is held by; 1 is whole.
    pub gpus: Vec<(GpuUuid, u32)>,
    /// When its time limit will end it; none when nothing will.
    pub ends_at: Option<Timestamp>,
    /// When it stops by itself if nobody uses it until then; none when it does not. Nothing is promised on
    /// this: whoever uses it again moves it.
    pub idles_at: Option<Timestamp>,
}
