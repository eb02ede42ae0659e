//! The executor's contract, kept by the fake and by a real Docker engine alike, and what only a real
//! engine can show. `GRADIENTD_TEST_DOCKER=off` leaves the engine out, and says so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says aloud what it skips"
)]

mod build;
mod contract;
mod gateway;
mod gpus;
mod isolation;
mod logs;
mod pull;
mod registry;
mod rig;
