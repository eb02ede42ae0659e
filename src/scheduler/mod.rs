//! Pure placement: what waits and what there is, in; who runs where and why the rest waits, out.
//!
//! [`plan()`] takes plain values and returns plain values: no clock, no engine, no database, and the
//! same answer for the same question. It decides once; the loop that calls it writes the starts into
//! the ledger and calls again when something changed.
//!
//! # The order and the reservation
//!
//! Who waits is ordered by priority, then by age. Walking in that order, everything that fits starts.
//! The first that does not is the **head**. It gets a reservation: the earliest time at which, by the
//! time limits of what runs, its demand is free, and the very GPUs, cores and memory that it will
//! have then. What is behind it starts (is *backfilled*) only when it ends by that time, or takes
//! nothing that is reserved.
//!
//! The head is therefore never delayed: at its time, what ran before has ended as its limits say;
//! what was backfilled has ended or is outside the reservation. The next pass finds the same time or
//! an earlier one.
//!
//! # Nobody starves
//!
//! A head that waits for something without a time limit has no such time. It then reserves what it
//! can have of its demand beside everything without a limit, and only work *with* a limit is
//! backfilled onto that. So nothing without a limit ever takes what the head still lacks: each one
//! that ends brings the head nearer, and once enough of them have, the head has a time. A head that
//! starts makes the next one the head. So, among jobs that end, everything starts, as long as there is
//! no endless stream of higher priority, and its GPUs are there to be had.
//!
//! What this box can never hold, and what only a GPU in foreign use or in bad health could hold,
//! reserves nothing and holds up nobody.
//!
//! # What stops by itself
//!
//! Notebooks and TensorBoards end when nobody uses them for some time. Whoever uses one moves that end, so
//! nothing is reserved and nobody is backfilled on it: who waits is told of it beside what is promised.
//!
//! # What is deliberately absent
//!
//! Preemption, fair shares between users, and any memory of earlier passes.

mod backfill;
mod capacity;
mod demand;
mod forecast;
mod place;
mod plan;
mod queue;
mod reason;
pub mod simulator;
mod topology;

pub use capacity::{Availability, Capacity, GpuSlot};
pub use demand::{Demand, Running, Waiting};
pub use plan::{Plan, Policy, Reserved, Start, Wait, plan};
pub use reason::{Amount, Behind, Misfit, Shortage, WaitReason};

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
