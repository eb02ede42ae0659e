//! Where containers push metrics of their own: the wire of Prometheus' push gateway, as `gradient-utils`
//! and Prometheus' own clients speak it.
//!
//! A door of its own, on the gateway of the containers' network: nothing of the control plane is behind
//! it. [`door`] keeps it open wherever that network is, [`router`] answers, [`address`] reads the path
//! that a push is sent to. The first part of that path is the run's secret, so that a container pushes
//! for itself alone.
//!
//! What is like Prometheus' gateway: methods, paths, the format. What is not: points are kept by their
//! label `step`, so `PUT` and `POST` both replace the metrics that they name at that step and leave
//! others alone; `DELETE` takes back one step; and nothing is to be scraped.
//!
//! Not here: what a push may do and where it is kept (`service/pushes.rs`), and reading numbers again.

mod address;
mod door;
mod router;

pub use door::Door;

/// What the door answers to whoever asks it for something else.
pub const NOTHING_ELSE: &str = "this port takes pushed metrics and has nothing else";
