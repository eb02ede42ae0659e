//! Inventory, use and health of the GPUs. Says what is there and what state it is in; who gets what
//! is decided in `scheduler`, and nothing here sets anything on a GPU.
//!
//! [`GpuInventory`] is the seam. `nvml` is the only place that speaks to NVIDIA's library; `process`
//! finds out in /proc whose a process is; `fake` keeps GPUs in memory for tests, and passes the same
//! contract test.

use crate::domain::gpu::{GpuReading, Inventory};

pub mod fake;
pub mod nvml;
mod process;

/// What can be asked about the GPUs. No call fails: what could not be learnt is said in the answer.
///
/// Both calls block, up to a time limit of their own: async callers use `spawn_blocking`.
pub trait GpuInventory: Send + Sync {
    /// Tells which GPUs there are.
    ///
    /// A GPU that was seen once stays listed when it is lost or NVML no longer answers, so that work
    /// on it is not taken for work on nothing. A MIG instance goes when the admin removes it.
    fn inventory(&self) -> Inventory;

    /// Tells what each GPU of the inventory does now, in the inventory's order.
    ///
    /// A value that could not be read is `None`; a GPU that could not be asked at all is there with
    /// its health alone.
    fn readings(&self) -> Vec<GpuReading>;
}
