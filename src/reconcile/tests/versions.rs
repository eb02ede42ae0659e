//! What runs read and write of versions, what is brought into them, and what is kept of it all.

use super::*;

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
        tags: Vec::new(),
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
