//! gradientd gives one machine what Paperspace Gradient gave in its cloud.
//!
//! The rooms, in reading order. `ARCHITECTURE.md` draws them with their arrows; a test holds the
//! imports to those arrows.

pub mod domain;
pub mod scheduler;
pub mod fault;
pub mod store;
pub mod executor;
pub mod gpu;
pub mod host;
pub mod jupyter;
pub mod storage;
pub mod auth;
pub mod service;
pub mod reconcile;
pub mod proxy;
pub mod api;
pub mod gradient;
pub mod push;
pub mod ui;
pub mod config;
pub mod telemetry;
pub mod cli;
pub mod app;
