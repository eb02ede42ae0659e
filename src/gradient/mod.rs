//! The wire of the original `gradient` command line and SDK, versions 1.11 and 2.0. Translates to the
//! services that the API uses; decides nothing and keeps nothing.
//!
//! Everything is beneath [`ROOT`], which is what the client's environment variables name, so that no
//! path of the cloud's meets one of our own. [`router`] lists the routes, [`error`] says refusals in the
//! words that the client prints, [`later`] what there is instead of what is not here. [`filter`] reads
//! the client's several ways to page, [`pages`] cuts lists accordingly, [`form`] reads a workspace that is
//! sent, [`workspace_upload`] takes one by a signed URL, [`workspace`] reads the address of one that is
//! elsewhere. [`held`] ends requests that wait, [`ending`] stops what is to be deleted. [`environment`] is
//! what points the client here, [`web`] where the links that it prints lead.
//!
//! The resources have a file for each noun, named as in [`crate::api`]; [`entity_tags`] are the tags of
//! all of them but datasets. Jobs come in two more, [`job_wire`] for what is asked and [`job_view`] for
//! what is answered, and so do experiments and notebooks; TensorBoards have [`tensorboard_view`] alone. Files
//! of datasets are two more as well: [`dataset_files`] signs URLs, and [`objects`] answers them, listings in
//! the words of [`listing_xml`]. Metrics are asked for by TLS at an address that [`metrics_url`] makes,
//! answered by [`metrics`] and [`metrics_stream`].
//!
//! Not here: what the client asks of itself (`apiKey`, `login`, `version`), and looking at what it says
//! it is: unknown fields are ignored, missing ones defaulted as the cloud did.

mod clusters;
mod dataset_files;
mod dataset_tags;
mod datasets;
mod ending;
mod entity_tags;
pub mod environment;
mod error;
mod experiment_view;
mod experiment_wire;
mod experiments;
mod filter;
mod form;
mod held;
mod job_artifacts;
mod job_logs;
mod job_view;
mod job_wire;
mod jobs;
mod later;
mod listing_xml;
mod machine_types;
mod metrics;
mod metrics_stream;
mod metrics_url;
mod notebook_files;
mod notebook_view;
mod notebook_wire;
mod notebooks;
mod objects;
mod pages;
mod projects;
mod router;
mod secrets;
mod storage_providers;
mod teams;
mod tensorboard_view;
mod tensorboards;
mod versions;
mod web;
#[cfg(test)]
mod who_may;
mod workspace;
mod workspace_upload;

pub use error::worded;
pub use router::router;

/// Where all of it begins.
pub const ROOT: &str = "/gradient";
