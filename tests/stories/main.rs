//! Stories: what users do and see, over HTTP, against the daemon's own binary on a real engine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says aloud what it skips"
)]

mod client;
mod daemon;
mod data;
mod s3;
mod engine;
mod wire;

mod artifacts;
mod build_an_image;
mod charts_and_metrics;
#[cfg(feature = "faults")]
mod data_survives;
mod datasets;
mod datasets_in_runs;
mod datasets_on_s3;
mod experiments;
mod full_disk;
mod gpus_and_queue;
mod gradient_datasets;
mod gradient_experiments;
mod gradient_hostile;
mod gradient_jobs;
mod gradient_lists;
mod gradient_metrics;
mod gradient_notebooks;
mod gradient_projects;
mod gradient_sdk;
mod gradient_tensorboards;
mod hostile_data;
mod hostile_input;
mod imports;
mod inside_a_container;
mod keys_and_doors;
mod logs;
mod memory_kills;
mod notebook_data;
mod notebook_files;
mod notebook_versions;
mod notebooks;
mod private_registry;
mod projects_and_tags;
mod pushed_metrics;
mod proxy;
mod refuse_to_start;
mod run_a_job;
#[cfg(feature = "faults")]
mod s3_leftovers;
mod s3_sources;
mod secrets;
mod storage_care;
mod strangers;
mod survive_a_restart;
#[cfg(feature = "faults")]
mod survive_faults;
mod survive_the_engine;
mod tensorboards;
mod terminals;
mod workspaces;
