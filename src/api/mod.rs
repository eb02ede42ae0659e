//! HTTP: routes, wire types, problem documents. Translates, decides nothing.
//!
//! The shell, in reading order: [`server`] speaks to sockets, [`shell`] wraps every answer,
//! [`guard`] turns away what comes from elsewhere, [`caller`] says who asks, [`body`] and
//! [`paging`] read what they ask, [`sse`] streams, and [`problem`] is the one door from errors to
//! status codes.
//!
//! The resources have one file each; [`router`] lists them, [`openapi`] describes them.

pub mod body;
pub mod box_now;
pub mod caller;
pub mod cookie;
pub mod gpus;
pub mod guard;
pub mod health;
pub mod idempotency;
pub mod key_book;
pub mod keys;
mod leftover;
pub mod machine_types;
pub mod metrics;
pub mod openapi;
pub mod paging;
pub mod problem;
pub mod projects;
pub mod queue;
pub mod request_id;
pub mod router;
pub mod secrets;
pub mod server;
mod slow_reader;
pub mod session;
pub mod shell;
pub mod sse;

pub mod artifacts;
pub mod dataset_archive;
pub mod dataset_files;
pub mod dataset_multipart;
pub mod dataset_tags;
pub mod datasets;
pub mod diff;
mod download;
pub mod events;
pub mod experiments;
pub mod file_listing;
mod file_reading;
mod file_tasks;
mod file_uploads;
mod file_writing;
mod files;
pub mod imports;
pub mod job_charts;
pub mod job_logs;
pub mod job_metrics;
pub mod job_view;
pub mod known_files;
pub mod job_wire;
pub mod jobs;
pub mod lineage;
mod memory_kills;
mod not_http;
mod notebook_wire;
pub mod integrations;
pub mod notebooks;
mod log_follow;
mod range;
pub mod sent_file;
pub mod signed;
pub mod signed_artifacts;
pub mod storage_providers;
pub mod storage;
pub mod tensorboard_members;
pub mod tensorboard_sessions;
pub mod tensorboard_wire;
pub mod tensorboards;
mod terminal_socket;
pub mod terminals;
pub mod tls;
pub mod tree_path;
pub mod uploads;
pub mod versions;
pub mod workloads;

use body::created;
pub use body::{Json, Path, Query};
pub use caller::{KeyBook, Lease};
pub use paging::{Cursor, Page, PageQuery, Paged};
pub use problem::Problem;
