//! What users may do. Every use case is a function here: authorise, check, write intent, in one
//! transaction; or authorise and read. The API, the command line and whatever comes later call the
//! same functions, so there is one answer to who may do what.
//!
//! Not here: anything that takes long or touches the engine. Services write what is wanted and
//! return; `reconcile` makes it so.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    auth::Sealer,
    domain::{
        board::Board,
        id::{IdSource, JobId},
        time::Clock,
        web_name::Names,
    },
    storage::{dataset::DatasetStore, layout::DataDir, upload::UploadStore},
    store::Store,
};

mod accepting;
pub mod artifacts;
pub mod box_now;
mod bucket_probes;
mod bucket_sweep;
mod collecting;
pub mod committing;
pub mod checking;
pub mod dataset_archive;
pub mod dataset_files;
pub mod dataset_multipart;
pub mod datasets;
mod deleting;
pub mod diff;
pub mod error;
pub mod events;
pub mod experiments;
mod file_limit;
pub mod file_tasks;
pub mod file_uploads;
pub mod files;
pub mod first_start;
pub mod imports;
pub mod integrations;
pub mod job_draft;
mod job_mounts;
mod job_rules;
pub mod jobs;
mod last_lines;
pub mod keys;
pub mod lineage;
pub mod live_terminals;
pub mod logs;
pub mod metrics_pass;
mod mending;
pub mod notebook_draft;
pub mod notebook_listing;
pub mod notebook_sessions;
pub mod notebooks;
pub mod not_yet;
pub mod numbers;
pub mod projects;
pub mod pushes;
pub mod queue;
pub mod queue_place;
pub mod quota;
pub mod references;
pub mod run_metrics;
pub mod run_name;
pub mod s3_listing;
pub mod s3_versions;
pub mod secrets;
pub(crate) mod settings_file;
pub mod signed_artifacts;
pub mod signed_uploads;
pub mod signed_urls;
pub mod storage_care;
pub mod storage_providers;
mod streams;
pub mod tags;
pub mod tensorboard_members;
mod tensorboard_logs;
mod tensorboard_sessions;
pub mod tensorboards;
pub mod terminals;
mod text;
pub mod tickets;
pub mod uploads;
pub mod users;
mod passes;
pub mod version_gates;
pub mod version_home;
pub mod versions;
pub mod whole_logs;

pub use error::{Invalid, ServiceError};
use version_gates::VersionGates;

/// Names the log of one attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunLog {
    pub job: JobId,
    pub attempt: u32,
}

/// Wakes those who follow the logs of runs.
pub type RunLogHub = Arc<crate::storage::log::LogHub<RunLog>>;

/// What every service works with. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) data: DataDir,
    pub(crate) board: Arc<Board>,
    pub(crate) log_hub: RunLogHub,
    pub(crate) uploads: UploadStore,
    pub(crate) datasets: DatasetStore,
    /// Who works on which uncommitted version.
    pub(crate) gates: Arc<VersionGates>,
    /// What came in since teams' files were last counted.
    pub(crate) taken: Arc<quota::Taken>,
    pub(crate) settings: Arc<Settings>,
    /// Held while an upload is looked through: each keeps the names of all that is in it.
    pub(crate) checking: Arc<Semaphore>,
    /// Held by each upload or download that holds a thread.
    pub(crate) streams: Arc<Semaphore>,
    /// What is asked of those who look after the disk.
    pub(crate) care: Arc<storage_care::Care>,
    /// Buckets of storage providers that were spoken to.
    pub(crate) buckets: Arc<storage_providers::OpenBuckets>,
    /// How much runs have pushed.
    pub(crate) pushed: Arc<pushes::PushedPoints>,
    /// What is under way with files of notebooks and `/storage`.
    pub(crate) files: Arc<files::FileWork>,
    /// Those that took something just now.
    pub(crate) probes: Arc<bucket_probes::BucketProbes>,
    /// Shells that people have open in what runs.
    pub(crate) terminals: Arc<live_terminals::LiveTerminals>,
}

/// Uploads that are looked through at the same time.
const CHECKS: usize = 2;

/// The limits that services hold people to.
#[derive(Debug, Clone)]
pub struct Settings {
    pub jobs_waiting_per_team: u32,
    pub longest_time_limit: Duration,
    pub sessions_kept: Duration,
    pub sign_in_links_kept: Duration,
    /// Where the ports of jobs are published.
    pub publish_address: std::net::IpAddr,
    /// What there is for all workloads together, in thousandths of a core.
    pub cpu_capacity_millis: u64,
    pub memory_capacity_bytes: u64,
    /// Whether a GPU that a process of somebody else uses is left alone.
    pub avoid_busy_gpus: bool,
    /// Where what containers serve is reached.
    pub names: Names,
    pub storage: StorageSettings,
    /// Whether notebooks may have places on S3.
    pub s3_sources: bool,
    pub notebooks: notebook_draft::NotebookRules,
    pub terminals: live_terminals::TerminalRules,
    pub tensorboards: tensorboards::TensorBoardRules,
}

/// The limits of datasets.
#[derive(Debug, Clone, Default)]
pub struct StorageSettings {
    /// Most bytes that one team may keep; 0 is no limit.
    pub team_quota_bytes: u64,
    pub cache_bytes: u64,
    pub longest_signed_url: Duration,
    /// Directories of this machine that an admin allows to import from.
    pub import_dirs: Vec<std::path::PathBuf>,
    /// Whether imports may fetch from this machine itself.
    pub import_local: bool,
    pub gc_grace: Duration,
    pub fsck_bytes_per_second: u64,
}

impl Services {
    /// Puts the services together.
    #[expect(clippy::too_many_arguments, reason = "called once, in app.rs, where each has its name")]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        sealer: Arc<Sealer>,
        data: DataDir,
        board: Arc<Board>,
        log_hub: RunLogHub,
        uploads: UploadStore,
        datasets: DatasetStore,
        settings: Settings,
    ) -> Self {
        Self {
            files: Arc::new(files::FileWork::new()),
            store,
            clock,
            ids,
            sealer,
            data,
            board,
            log_hub,
            uploads,
            datasets,
            gates: Arc::default(),
            taken: Arc::default(),
            settings: Arc::new(settings),
            checking: Arc::new(Semaphore::new(CHECKS)),
            streams: Arc::new(Semaphore::new(streams::MOST)),
            care: Arc::default(),
            buckets: Arc::default(),
            pushed: Arc::default(),
            probes: Arc::default(),
            terminals: Arc::default(),
        }
    }

    /// Returns where uploaded archives are.
    pub fn upload_store(&self) -> &UploadStore {
        &self.uploads
    }

    /// Returns where the files of datasets are.
    pub fn dataset_store(&self) -> &DatasetStore {
        &self.datasets
    }
}

/// Runs file work beside the async world.
pub(crate) async fn blocking<T, F>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match tokio::task::spawn_blocking(f).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
