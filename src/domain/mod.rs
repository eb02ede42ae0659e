//! What things are: ids, states, quantities, plans. No input or output, no async, no SQL, no HTTP.

pub mod board;
pub mod bytes;
pub mod caller;
pub mod chart;
pub mod content;
pub mod dataset;
pub mod event;
pub mod gpu;
pub mod id;
pub mod idempotency;
pub mod image_ref;
pub mod import;
pub mod job;
pub mod key;
pub mod machine_type;
pub mod output;
pub mod project;
pub mod secret;
pub mod series;
pub mod storage_care;
pub mod storage_provider;
pub mod time;
pub mod user;
pub mod user_path;
pub mod workload;
pub mod workspace;
