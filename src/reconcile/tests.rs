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
mod publishing;

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
    engine: FakeEngine,
    works: Works,
    caller: Caller,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(&dir.path().join("data")).unwrap();
        std::fs::create_dir(dir.path().join("shared")).unwrap();
        let ids: Arc<dyn IdSource> = Arc::new(Ids(AtomicU64::new(0)));
        let clock: Arc<dyn Clock> = Arc::new(Ticking(AtomicU64::new(0)));
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
            names: Default::default(),
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
            clock,
            died: engine::Died::default(),
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
            }),
            stop: tokio_util::sync::CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { _dir: dir, engine, works, caller }
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
async fn a_run_reads_versions_it_cannot_write_to_and_writes_to_outputs() {
    let rig = Rig::new().await;
    let version = rig.dataset("mnist").await;
    rig.run();
    let job = rig.submit_with(&["wait"], &["mnist"], &["mnist"]).await;
    let running = rig.until(&job, |workload| workload.state == State::Running).await;
    let plan = rig.engine.plan_of(&rig.container(&running).await).unwrap();
    let mount = |target: &str| plan.mounts.iter().find(|mount| mount.target == target).unwrap().clone();
    let input = mount("/inputs/mnist");
    assert!(input.read_only && input.source.ends_with(format!("{version}/tree")));
    assert_eq!(std::fs::read(input.source.join("words")).unwrap(), b"one two");
    assert!(!mount("/outputs/mnist").read_only);
}

#[tokio::test]
async fn what_a_run_that_ended_well_wrote_becomes_a_committed_version() {
    let rig = Rig::new().await;
    rig.dataset("models").await;
    rig.run();
    let job = rig.submit_with(&["wait"], &[], &["models"]).await;
    let output = rig.write_and_end(&job, "models", &[("a/model", "weights"), ("log", "")], 0).await;
    assert_eq!((output.state, output.message.as_deref()), (OutputState::Committed, None));
    let made = rig.version(&output).await;
    assert!(made.version.committed_at.is_some() && made.version.made_by == Some(job.job.workload.id.clone()));
    assert_eq!(made.totals, Some(Totals { files: 2, bytes: 7 }));
    assert!(!rig.works.data.run(&job.job.workload.id).output("models").exists());
    // Collected a second time, as after a crash, nothing changes.
    let over = rig.end_of(&job).await;
    let (seq, name) = (over.seq, output.name.clone());
    let again = rig.works.store.write(move |tx| job_outputs::set_state(tx, seq, &name, OutputState::Collecting, None));
    again.await.unwrap();
    std::fs::create_dir_all(rig.works.data.run(&over.id).output("models")).unwrap();
    outputs::collect(&rig.works, &over).await.unwrap();
    let after = rig.version(&output).await;
    assert_eq!((after.version, after.totals), (made.version, made.totals));
}

#[tokio::test]
async fn a_committed_version_is_not_touched_after_a_restart() {
    let mut rig = Rig::new().await;
    rig.dataset("models").await;
    rig.run();
    let job = rig.submit_with(&["wait"], &[], &["models"]).await;
    let output = rig.write_and_end(&job, "models", &[("model", "weights")], 0).await;
    let (made, over) = (rig.version(&output).await, rig.end_of(&job).await);
    // What a new process knows of gates.
    rig.works.services.gates = Arc::default();
    let source = rig.works.data.run(&over.id).output("models");
    for leftover in [None, Some("more")] {
        if let Some(name) = leftover {
            std::fs::create_dir_all(&source).unwrap();
            std::fs::write(source.join(name), "x").unwrap();
        }
        let (seq, name) = (over.seq, output.name.clone());
        let again =
            rig.works.store.write(move |tx| job_outputs::set_state(tx, seq, &name, OutputState::Collecting, None));
        again.await.unwrap();
        outputs::collect(&rig.works, &over).await.unwrap();
        let id = over.id.clone();
        let outputs = rig.works.store.read(move |connection| job_outputs::of_job(connection, &id)).await.unwrap();
        assert_eq!(outputs[0].state, OutputState::Committed);
    }
    let mut found = service::references::Resolved { dataset: made.dataset.clone(), version: made.version.clone() };
    // As somebody saw it who looked before it was committed.
    found.version.state = crate::domain::dataset::VersionState::Uncommitted;
    for _ in 0..2 {
        let refused = rig.works.services.pass_alone(&found).await.err();
        assert!(
            matches!(refused, Some(service::ServiceError::Conflict { code: "version_committed", .. })),
            "{refused:?}"
        );
        assert!(rig.works.services.pass(&found).await.is_err());
    }
    let files = rig.works.services.home(&found.dataset, &found.version.id).await.unwrap().files;
    assert!(files.is_frozen() && files.totals().unwrap() == made.totals.unwrap());
}

#[tokio::test]
async fn what_a_run_that_failed_wrote_stays_a_draft_that_says_so() {
    let rig = Rig::new().await;
    rig.dataset("models").await;
    rig.run();
    let job = rig.submit_with(&["wait"], &[], &["models"]).await;
    let output = rig.write_and_end(&job, "models", &[("half", "weights")], 3).await;
    assert_eq!(output.state, OutputState::Draft);
    let made = rig.version(&output).await;
    assert!(made.version.committed_at.is_none());
    let note = made.version.note.unwrap();
    assert!(note.contains(job.job.workload.id.as_str()) && note.contains("FAILED"), "{note}");
}

#[tokio::test]
async fn a_run_that_wrote_nothing_makes_no_version() {
    let rig = Rig::new().await;
    rig.dataset("models").await;
    rig.run();
    let job = rig.submit_with(&["wait"], &[], &["models"]).await;
    let output = rig.write_and_end(&job, "models", &[], 0).await;
    assert_eq!((output.state, output.version), (OutputState::Empty, None));
}

#[tokio::test]
async fn a_job_whose_version_was_deleted_while_it_waited_fails_and_says_so() {
    let rig = Rig::new().await;
    let version = rig.dataset("mnist").await;
    let job = rig.submit_with(&["print", "x"], &["mnist"], &["mnist"]).await;
    let services = &rig.works.services;
    let named = || ("mnist".parse().unwrap(), VersionRef::Id(version.clone()));
    let refused = services.delete_version(&rig.caller, named().0, named().1, false).await;
    assert!(matches!(refused, Err(service::ServiceError::Conflict { code: "in_use", .. })));
    services.delete_version(&rig.caller, named().0, named().1, true).await.unwrap();
    rig.run();
    let over = rig.end_of(&job).await;
    assert_eq!((over.state, over.reason), (State::Error, Some(Reason::DatasetFailed)));
    assert!(over.message.unwrap().contains("deleted"));
    let outputs = rig.works.store.read(move |connection| job_outputs::of_job(connection, &over.id)).await.unwrap();
    assert_eq!(outputs[0].state, OutputState::Empty);
}

#[tokio::test]
async fn what_nothing_refers_to_is_collected_once_no_run_reads_it() {
    let rig = Rig::new().await;
    let version = rig.dataset("mnist").await;
    rig.run();
    let job = rig.submit_with(&["wait"], &["mnist"], &[]).await;
    let running = rig.until(&job, |workload| workload.state == State::Running).await;
    let services = &rig.works.services;
    let deleted = services.delete_version(&rig.caller, "mnist".parse().unwrap(), VersionRef::Id(version), true);
    deleted.await.unwrap();
    let tree = rig.engine.plan_of(&rig.container(&running).await).unwrap().mounts[0].source.clone();
    services.collect_unused(false, Duration::ZERO, true).await.unwrap();
    assert!(tree.join("words").exists(), "a run still reads it");
    rig.engine.finish(&rig.container(&running).await, 0);
    rig.end_of(&job).await;
    let would = services.collect_unused(true, Duration::ZERO, true).await.unwrap();
    assert_eq!((would.versions.len(), would.versions[0].version.name.as_str()), (1, "mnist"));
    assert!(tree.join("words").exists(), "a dry run removes nothing");
    services.collect_unused(false, Duration::ZERO, true).await.unwrap();
    assert!(!tree.exists());
    assert!(services.collect_unused(true, Duration::ZERO, true).await.unwrap().versions.is_empty());
}

#[tokio::test]
async fn a_damaged_content_is_named_its_version_refused_and_mended_when_it_is_sent_again() {
    let rig = Rig::new().await;
    let mnist = || "mnist".parse::<crate::domain::dataset::DatasetRef>().unwrap();
    let version = rig.dataset("mnist").await;
    let services = &rig.works.services;
    let order = || service::checking::CheckOrder { percent: 100, bytes_per_second: 0, stop: Arc::default() };
    let whole = services.check_contents(order()).await.unwrap();
    assert!(whole.checked_files == 1 && whole.damaged.is_empty());
    let dataset = services.dataset(&rig.caller, "mnist".parse().unwrap()).await.unwrap();
    let file = rig.works.data.version(&dataset.team, &dataset.id, &version).tree().join("words");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&file, "one tow").unwrap();
    for _ in 0..2 {
        // Also the second time, when its name among the contents is gone.
        let found = services.check_contents(order()).await.unwrap();
        let named = &found.damaged[0].versions[0];
        assert_eq!((named.version.name.as_str(), &named.paths[..]), ("mnist", &["words".to_owned()][..]));
    }
    let draft = JobDraft {
        image: Some("image".to_owned()),
        datasets: Some(vec![DraftMount { reference: "mnist".to_owned(), name: None }]),
        ..JobDraft::default()
    };
    let refused = services.submit_job(&rig.caller, draft, None, None).await;
    assert!(matches!(refused, Err(service::ServiceError::Invalid(invalid)) if invalid.code == "version_damaged"));
    let named = || (mnist(), VersionRef::Id(version.clone()));
    let child = || {
        let parent = Some(version.to_string());
        services.create_version(&rig.caller, mnist(), service::versions::VersionDraft { parent, ..Default::default() })
    };
    let refused = child().await;
    assert!(matches!(refused, Err(service::ServiceError::Conflict { code: "version_damaged", .. })));
    // The bytes are sent again, into another version.
    let draft = services.create_version(&rig.caller, mnist(), Default::default()).await.unwrap();
    let local = rig.works.services.dataset_store().team(&dataset.team).unwrap();
    let again = crate::domain::user_path::UserPath::from_bytes(b"again").unwrap();
    local.version(&dataset.id, &draft.version.id).put_small(&again, b"one two", false).unwrap();
    let mended = services.check_contents(order()).await.unwrap();
    assert_eq!((mended.mended[0].version.version.clone(), mended.mended[0].files), (version.clone(), 1));
    assert_eq!(mended.damaged, []);
    assert_eq!(std::fs::read(&file).unwrap(), b"one two");
    let whole = services.version(&rig.caller, named().0, named().1).await.unwrap();
    assert_eq!(whole.version.damaged_at, None);
    child().await.unwrap();
    let quiet = services.check_contents(order()).await.unwrap();
    assert!(quiet.mended.is_empty() && quiet.damaged.is_empty());
}

#[tokio::test]
async fn a_directory_is_imported_beneath_its_prefix_and_committed() {
    let rig = Rig::new().await;
    let shared = rig.works.data.root().parent().unwrap().join("shared");
    std::fs::create_dir_all(shared.join("set/a")).unwrap();
    std::fs::write(shared.join("set/a/one"), "1").unwrap();
    std::fs::write(shared.join("set/two"), "22").unwrap();
    rig.dataset("mnist").await;
    let services = &rig.works.services;
    let made = services.create_version(&rig.caller, "mnist".parse().unwrap(), Default::default()).await.unwrap();
    let named = || VersionRef::Id(made.version.id.clone());
    let draft = service::imports::ImportDraft {
        source: service::imports::DraftSource::Directory { path: shared.join("set").display().to_string() },
        prefix: Some("in".to_owned()),
        commits: true,
    };
    let import = services.create_import(&rig.caller, "mnist".parse().unwrap(), named(), draft).await.unwrap();
    imports::start(&rig.works);
    let over = rig.over(&import.import).await;
    assert_eq!((over.state, over.message.as_deref()), (ImportState::Done, None));
    let version = services.version(&rig.caller, "mnist".parse().unwrap(), named()).await.unwrap();
    assert!(version.version.committed_at.is_some());
    assert_eq!(version.totals, Some(Totals { files: 2, bytes: 3 }));
    let path = crate::domain::user_path::UserPath::from_bytes(b"in/a/one").unwrap();
    services.open_file(&rig.caller, "mnist".parse().unwrap(), named(), &path).await.unwrap();
    assert_eq!(std::fs::read(shared.join("set/two")).unwrap(), b"22", "what was imported stays where it is");
}

#[tokio::test]
async fn what_a_team_keeps_is_counted_once_for_equal_files() {
    let rig = Rig::new().await;
    rig.dataset("one").await;
    rig.dataset("two").await;
    std::fs::write(rig.works.data.create_team_storage(&rig.caller.team).unwrap().join("x"), "12345").unwrap();
    usage::start(&rig.works);
    let counted = async {
        loop {
            if let Some(usage) = rig.works.board.team_usage().get(&rig.caller.team) {
                return *usage;
            }
            tokio::task::yield_now().await;
        }
    };
    let counted = tokio::time::timeout(Duration::from_secs(30), counted).await.expect("it is counted");
    assert_eq!(counted.bytes, 7 + 5);
    let now = rig.works.services.storage_now(&rig.caller).await.unwrap();
    let of = |part| now.parts.iter().find(|usage| usage.part == part).unwrap().bytes;
    assert_eq!((of(Part::Datasets), of(Part::Storage)), (7, 5));
}

#[tokio::test]
async fn directories_without_files_count_towards_what_a_team_keeps() {
    let rig = Rig::new().await;
    let storage = rig.works.data.create_team_storage(&rig.caller.team).unwrap();
    std::fs::create_dir_all(storage.join("a/b/c")).unwrap();
    usage::start(&rig.works);
    let counted = async {
        while !rig.works.board.team_usage().contains_key(&rig.caller.team) {
            tokio::task::yield_now().await;
        }
        rig.works.board.team_usage()[&rig.caller.team].bytes
    };
    let counted = tokio::time::timeout(Duration::from_secs(30), counted).await.expect("it is counted");
    assert_eq!(counted, 3 * 4096);
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
