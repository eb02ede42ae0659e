//! What gradientd does with buckets and URLs, on a real S3 server (`tests/env/start-s3`) and behind a
//! proxy that breaks things. Each test has a server of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod bucket;
mod faults;
mod fetch;
mod files;
mod proxy;
mod server;
mod unfinished;
