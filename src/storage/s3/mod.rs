//! What lies elsewhere: buckets of S3-compatible services and files behind HTTP URLs. The only place
//! that speaks to them, and the only one that names `object_store`, `reqwest` and `rustls`.
//!
//! [`bucket`] is one bucket with one key; what goes wrong there comes back in words ([`S3Error`]).
//! [`files`] keeps one version of a dataset in it: ordinary keys `TEAM/datasets/DATASET/VERSION/PATH`,
//! so that any S3 tool reads them, with a local [`ledger`] of the hashes that are known. Committing
//! ([`freeze`]) lists the bucket and writes the same local manifest that a version on the disk has;
//! [`materialise`] brings a committed version to the disk, each file compared with its hash.
//! What is begun there and not finished has a note on this disk ([`unfinished`]).
//! [`fetch`] is for imports from URLs; [`guard`] keeps what anybody may name away from this machine's own services.
//!
//! Not here: which provider a dataset has, who may use it, and sealed keys (`service`).

pub mod bucket;
pub mod check;
mod client;
mod error;
mod export;
pub mod fetch;
pub mod files;
mod files_error;
mod freeze;
pub mod guard;
mod known;
mod ledger;
mod listing;
mod materialise;
mod parts;
pub mod unfinished;
mod upload;

pub use bucket::{Object, Reach, S3Bucket};
pub use error::S3Error;
pub use fetch::{FetchError, Fetched, Fetcher};
pub use files::{S3File, S3Files, S3Item, S3Page, folder_of};
pub use files_error::FilesError;
pub use known::Offered;
pub use upload::Stored;

/// Names ring to the TLS of this process, once.
fn ready() {
    // An error says that there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
