//! The workload loop on an engine in memory: what it does when calls fail, answers are lost, and the
//! engine goes away.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    auth::Sealer,
    domain::{
        caller::Caller,
        content::Totals,
        dataset::{DatasetRef, ImportState, JobOutput, OutputState, VersionRef},
        gpu::Inventory,
        id::IdSource,
        machine_type::Catalogue,
        storage_care::Part,
        time::Timestamp,
        workload::{Command, Reason, State},
    },
    executor::{
        EngineError,
        fake::{FakeEngine, FakeFault, FaultTime},
    },
    host::Fuse,
    service::{
        self,
        job_draft::{DraftMount, JobDraft},
        jobs::JobNow,
    },
    storage::{
        dataset::{DatasetLimits, DatasetStore},
        upload::{UploadLimits, UploadStore},
    },
    store::{StoreError, job_outputs, keys, teams},
};

mod file_limit;
mod gateway;
mod idle;
mod memory_kills;
mod publishing;
mod session_words;
mod sources;
mod versions;
mod whereabouts;

struct Ids(AtomicU64);

impl IdSource for Ids {
    fn fill(&self, bytes: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::hash(&n.to_le_bytes());
        for (byte, random) in bytes.iter_mut().zip(hash.as_bytes().iter().cycle()) {
            *byte = *random;
        }
    }
}

struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        // Every look at the clock is a millisecond later than the last.
        Timestamp(1_767_225_600_000_000 + i64::try_from(self.0.fetch_add(1000, Ordering::Relaxed)).unwrap())
    }
}

struct Rig {
    _dir: tempfile::TempDir,
    clock: Arc<Ticking>,
    engine: FakeEngine,
    works: Works,
    caller: Caller,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(&dir.path().join("data")).unwrap();
        std::fs::create_dir(dir.path().join("shared")).unwrap();
        // A machine that can serve files, and has nothing mounted.
        std::fs::write(dir.path().join("fuse"), "").unwrap();
        std::fs::write(dir.path().join("mounts"), "1 0 0:1 / / rw shared:1 - ext4 a rw\n").unwrap();
        let ids: Arc<dyn IdSource> = Arc::new(Ids(AtomicU64::new(0)));
        let ticking = Arc::new(Ticking(AtomicU64::new(0)));
        let clock: Arc<dyn Clock> = Arc::<Ticking>::clone(&ticking);
        let sealer = Arc::new(Sealer::open_or_create(&data.keys().join("secrets.key"), Arc::clone(&ids)).unwrap());
        let store = Store::open(&data.database(), &data.backups()).unwrap();
        let board = Arc::new(Board::new(Catalogue::generate(4, 8 << 30, &Inventory::default())));
        let log_hub = service::RunLogHub::default();
        let uploads = UploadStore::at(&data.uploads(), UploadLimits::default());
        let datasets = DatasetStore::open(&data, DatasetLimits { max_file_bytes: 1 << 20, max_version_files: 1000 });
        let settings = service::Settings {
            jobs_waiting_per_team: 1000,
            longest_time_limit: Duration::from_secs(3600),
            sessions_kept: Duration::from_secs(3600),
            sign_in_links_kept: Duration::from_secs(3600),
            publish_address: std::net::Ipv4Addr::LOCALHOST.into(),
            cpu_capacity_millis: 4000,
            memory_capacity_bytes: 8 << 30,
            avoid_busy_gpus: true,
            notebooks: Default::default(),
            terminals: Default::default(),
            tensorboards: Default::default(),
            names: Default::default(),
            s3_sources: true,
            storage: service::StorageSettings { import_dirs: vec![dir.path().join("shared")], ..Default::default() },
        };
        let services = Services::new(
            store.clone(),
            Arc::clone(&clock),
            ids,
            sealer,
            data.clone(),
            Arc::clone(&board),
            Arc::clone(&log_hub),
            uploads,
            datasets,
            settings,
        );
        let key = services.first_start(|_| Ok(())).await.unwrap().unwrap().key;
        let hash = *key.hash().as_bytes();
        let key = store.read(move |connection| keys::by_hash(connection, &hash)).await.unwrap().unwrap();
        let caller = Caller { user: key.user, team: key.team, key: key.id, scope: key.scope };
        let engine = FakeEngine::new();
        engine.put_image("image:latest");
        let works = Works {
            services,
            store,
            executor: Arc::new(engine.clone()),
            data,
            board,
            log_hub,
            flights: Arc::default(),
            clock,
            died: engine::Died::default(),
            asides: asides::Asides::default(),
            settings: Arc::new(Settings {
                box_id: "box".to_owned(),
                stop_grace: Duration::from_millis(10),
                prepare_parallel: 2,
                start_parallel: 2,
                pids: 100,
                shared_memory_percent: 50,
                log_buffer_bytes: 1 << 20,
                log_bytes: 1 << 20,
                publish_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                push_port: Some(7072),
                hostname: "host".to_owned(),
                cpu_capacity_millis: 4000,
                memory_capacity_bytes: 8 << 30,
                avoid_busy_gpus: true,
                keep_events: Duration::from_secs(3600),
                keep_idempotency: Duration::from_secs(3600),
                keep_raw_metrics: Duration::from_secs(3600),
                keep_minute_metrics: Duration::from_secs(3600),
                disk_warn_percent: 99,
                disk_refuse_percent: 100,
                disk_min_free_bytes: 0,
                gc_interval: Duration::from_secs(3600),
                fsck_interval: Duration::from_secs(86_400),
                fsck_percent: 0,
                notebook_ready: Duration::from_secs(120),
                sources: SourceSettings {
                    enabled: true,
                    image: "rclone:latest".to_owned(),
                    memory_bytes: 512 << 20,
                    cache_bytes: 1 << 30,
                    flush: Duration::from_secs(1),
                    fuse: Fuse { device: dir.path().join("fuse"), mounts: dir.path().join("mounts") },
                },
                tensorboard_ready: Duration::from_secs(120),
            }),
            stop: tokio_util::sync::CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { _dir: dir, clock: ticking, engine, works, caller }
    }

    fn run(&self) {
        engine::start(&self.works);
        workloads::start(&self.works);
    }

    async fn submit(&self, words: &[&str]) -> JobNow {
        let draft = JobDraft {
            image: Some("image".to_owned()),
            command: Some(Command::Exec(words.iter().map(|word| (*word).to_owned()).collect())),
            ..JobDraft::default()
        };
        self.works.services.submit_job(&self.caller, draft, None, None).await.unwrap()
    }

    /// Waits for a job to be over and tidied.
    async fn end_of(&self, job: &JobNow) -> crate::domain::workload::Workload {
        self.until(job, |workload| workload.teardown_finished_at.is_some()).await
    }

    async fn until(
        &self,
        job: &JobNow,
        is: impl Fn(&crate::domain::workload::Workload) -> bool,
    ) -> crate::domain::workload::Workload {
        let mut events = self.works.store.changes().events.subscribe();
        let wait = async {
            loop {
                let (now, _) = self.works.services.job(&self.caller, &job.job.workload.id).await.unwrap();
                if is(&now.job.workload) {
                    return now.job.workload;
                }
                // Also when no event comes: what is waited for may be told by none.
                let _ = tokio::time::timeout(Duration::from_millis(50), events.changed()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("what is waited for comes")
    }
}

#[tokio::test]
async fn a_job_goes_its_way_and_leaves_nothing_behind() {
    let rig = Rig::new().await;
    rig.run();
    let job = rig.submit(&["print", "hello", "exit", "3"]).await;
    let over = rig.end_of(&job).await;
    assert_eq!((over.state, over.exit_code, over.reason), (State::Failed, Some(3), Some(Reason::ExitCode)));
    assert!(rig.works.executor.list().await.unwrap().is_empty());
    let log =
        rig.works.services.log(&rig.caller, &over.id, service::logs::LogQuery { limit: 10, ..Default::default() });
    let rows = log.await.unwrap().rows;
    assert!(rows.iter().any(|row| row.text == "hello"), "{rows:?}");
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_made_again_and_nothing_is_doubled() {
    for call in ["create", "start", "inspect", "remove"] {
        for when in [FaultTime::Before, FaultTime::After] {
            let rig = Rig::new().await;
            let error = EngineError::Unreachable("cut off".to_owned());
            rig.engine.fail(FakeFault { call, when, error });
            rig.run();
            let job = rig.submit(&["print", "once"]).await;
            let over = rig.end_of(&job).await;
            assert_eq!((over.state, over.attempt), (State::Stopped, 1), "{call} {when:?}");
            assert!(rig.works.executor.list().await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_name_that_is_taken_by_a_container_being_made_is_waited_for() {
    let rig = Rig::new().await;
    let error = EngineError::Conflict("the container name is already in use".to_owned());
    rig.engine.fail(FakeFault { call: "create", when: FaultTime::Before, error });
    rig.run();
    let job = rig.submit(&["print", "once"]).await;
    assert_eq!(rig.end_of(&job).await.state, State::Stopped);
}

#[tokio::test]
async fn whoever_waits_for_an_engine_that_is_away_is_told_so() {
    let rig = Rig::new().await;
    rig.engine.set_reachable(false);
    rig.run();
    let job = rig.submit(&["print", "once"]).await;
    let id = job.job.workload.id.clone();
    rig.until(&job, |_| rig.works.board.waiting(&id).is_some()).await;
    assert!(rig.works.board.waiting(&id).unwrap().reason.contains("the Docker engine does not answer"));
    rig.engine.set_reachable(true);
    assert_eq!(rig.end_of(&job).await.state, State::Stopped);
    assert!(rig.works.board.waiting(&id).is_none());
}

#[tokio::test]
async fn an_engine_that_is_away_makes_nothing_fail() {
    let rig = Rig::new().await;
    rig.run();
    let job = rig.submit(&["wait"]).await;
    rig.until(&job, |workload| workload.state == State::Running).await;
    rig.engine.set_reachable(false);
    let id = job.job.workload.id.clone();
    rig.until(&job, |_| !rig.works.board.contact().is_good()).await;
    let (now, _) = rig.works.services.job(&rig.caller, &id).await.unwrap();
    assert_eq!((now.job.workload.state, now.contact), (State::Running, false));
    rig.engine.set_reachable(true);
    let name = launch::container_name("box", &now.job.workload);
    let container = rig.engine.inspect(&name).await.unwrap().unwrap();
    rig.engine.finish(&container.id, 7);
    let over = rig.end_of(&job).await;
    assert_eq!((over.state, over.exit_code), (State::Failed, Some(7)));
}

#[tokio::test]
async fn a_container_that_somebody_removes_is_lost() {
    let rig = Rig::new().await;
    rig.run();
    let job = rig.submit(&["wait"]).await;
    let running = rig.until(&job, |workload| workload.state == State::Running).await;
    let name = launch::container_name("box", &running);
    let container = rig.engine.inspect(&name).await.unwrap().unwrap();
    rig.engine.remove_by_hand(&container.id);
    let over = rig.end_of(&job).await;
    assert_eq!((over.state, over.reason, over.exit_code), (State::Error, Some(Reason::Lost), None));
}

#[tokio::test]
async fn what_the_engine_refuses_to_start_is_an_error_and_is_removed() {
    let rig = Rig::new().await;
    rig.run();
    let job = rig.submit(&["nostart"]).await;
    let over = rig.end_of(&job).await;
    assert_eq!(over.state, State::Error);
    assert!(rig.works.executor.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_holds_more_than_there_is() {
    let rig = Rig::new().await;
    rig.run();
    let mut jobs = Vec::new();
    for _ in 0..12 {
        jobs.push(rig.submit(&["print", "x"]).await);
    }
    for job in &jobs {
        assert_eq!(rig.end_of(job).await.state, State::Stopped);
    }
    let held = rig.works.store.read(workloads_of_store).await.unwrap();
    assert_eq!(held, 0);
}

fn workloads_of_store(connection: &rusqlite::Connection) -> Result<usize, StoreError> {
    let _ = teams::box_id(connection)?;
    Ok(crate::store::workloads::holding(connection)?.len())
}

impl Rig {
    /// Makes a dataset of the team, with one committed version that has the file `words` in it.
    async fn dataset(&self, name: &str) -> crate::domain::id::VersionId {
        let services = &self.works.services;
        let draft =
            service::datasets::DatasetDraft { name: name.to_owned(), description: None, provider: None, public: false };
        services.create_dataset(&self.caller, draft).await.unwrap();
        let named = || name.parse().unwrap();
        let made = services.create_version(&self.caller, named(), Default::default()).await.unwrap();
        let version = made.version.id;
        let file = service::dataset_files::FileDraft {
            path: crate::domain::user_path::UserPath::from_bytes(b"words").unwrap(),
            executable: false,
            expected: None,
            announced: None,
        };
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"one two"))]);
        services.put_file(&self.caller, named(), VersionRef::Id(version.clone()), file, body).await.unwrap();
        services.commit_version(&self.caller, named(), VersionRef::Id(version.clone())).await.unwrap();
        version
    }

    async fn submit_with(&self, words: &[&str], datasets: &[&str], outputs: &[&str]) -> JobNow {
        let mounts = |names: &[&str]| {
            Some(names.iter().map(|name| DraftMount { reference: (*name).to_owned(), name: None }).collect())
        };
        let draft = JobDraft {
            image: Some("image".to_owned()),
            command: Some(Command::Exec(words.iter().map(|word| (*word).to_owned()).collect())),
            datasets: mounts(datasets),
            outputs: mounts(outputs),
            ..JobDraft::default()
        };
        self.works.services.submit_job(&self.caller, draft, None, None).await.unwrap()
    }

    /// Waits until a job runs, writes `files` to its output `name`, and ends it.
    async fn write_and_end(&self, job: &JobNow, name: &str, files: &[(&str, &str)], code: i64) -> JobOutput {
        let running = self.until(job, |workload| workload.state == State::Running).await;
        let output = self.works.data.run(&running.id).output(name);
        for (path, text) in files {
            std::fs::create_dir_all(output.join(path).parent().unwrap()).unwrap();
            std::fs::write(output.join(path), text).unwrap();
        }
        let container = self.container(&running).await;
        self.engine.finish(&container, code);
        let over = self.end_of(job).await;
        let outputs = self.works.store.read(move |connection| job_outputs::of_job(connection, &over.id)).await.unwrap();
        outputs.into_iter().find(|output| output.name == name).unwrap()
    }

    /// Waits for an import to be over.
    async fn over(&self, import: &crate::domain::import::Import) -> crate::domain::import::Import {
        let mut events = self.works.store.changes().events.subscribe();
        let over = async {
            loop {
                let now = self.works.services.import(&self.caller, &import.id).await.unwrap();
                if now.import.finished_at.is_some() {
                    return now.import;
                }
                let _ = tokio::time::timeout(Duration::from_millis(50), events.changed()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), over).await.expect("it ends")
    }

    async fn container(&self, workload: &crate::domain::workload::Workload) -> String {
        self.engine.inspect(&launch::container_name("box", workload)).await.unwrap().unwrap().id
    }

    async fn version(&self, output: &JobOutput) -> service::versions::VersionNow {
        let version = VersionRef::Id(output.version.clone().unwrap());
        let dataset = DatasetRef::Id(output.dataset.clone());
        self.works.services.version(&self.caller, dataset, version).await.unwrap()
    }
}

#[tokio::test]
async fn a_run_has_had_company_also_when_that_was_deleted_since() {
    let rig = Rig::new().await;
    rig.run();
    let had = async |job: &JobNow| {
        let seq = job.job.workload.seq;
        rig.works.store.read(move |connection| crate::store::workloads::had_company(connection, seq)).await.unwrap()
    };
    let first = rig.submit(&["wait"]).await;
    let running = rig.until(&first, |workload| workload.state == State::Running).await;
    assert!(!had(&first).await);
    let second = rig.submit(&["print", "x"]).await;
    rig.end_of(&second).await;
    rig.works.services.delete_job(&rig.caller, &second.job.workload.id).await.unwrap();
    assert!(had(&first).await);
    rig.engine.finish(&rig.container(&running).await, 0);
    rig.end_of(&first).await;
    let third = rig.submit(&["print", "x"]).await;
    rig.end_of(&third).await;
    assert!(!had(&third).await, "the first was gone by then");
}
