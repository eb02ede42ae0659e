//! The limit of files in one version, held to by work in the background. It is 1000 here.

use super::*;

fn many(dir: &std::path::Path, count: usize) {
    std::fs::create_dir_all(dir).unwrap();
    for n in 0..count {
        std::fs::write(dir.join(n.to_string()), "x").unwrap();
    }
}

#[tokio::test]
async fn an_import_of_too_many_files_ends_before_any_of_them_is_in_the_version() {
    let rig = Rig::new().await;
    let set = rig.works.data.root().parent().unwrap().join("shared/set");
    many(&set, 1000);
    rig.dataset("mnist").await;
    let services = &rig.works.services;
    let made = services.create_version(&rig.caller, "mnist".parse().unwrap(), Default::default()).await.unwrap();
    let named = || ("mnist".parse::<DatasetRef>().unwrap(), VersionRef::Id(made.version.id.clone()));
    imports::start(&rig.works);
    let import = async |prefix: Option<&str>| {
        let draft = service::imports::ImportDraft {
            source: service::imports::DraftSource::Directory { path: set.display().to_string() },
            prefix: prefix.map(str::to_owned),
            commits: false,
            tags: Vec::new(),
        };
        rig.over(&services.create_import(&rig.caller, named().0, named().1, draft).await.unwrap().import).await
    };
    assert_eq!(import(None).await.state, ImportState::Done);
    // What takes the place of others is no more than there was.
    assert_eq!(import(None).await.state, ImportState::Done);
    let beyond = import(Some("again")).await;
    assert_eq!(beyond.state, ImportState::Failed);
    assert!(beyond.message.unwrap().contains("1000 files"));
    let now = services.version(&rig.caller, named().0, named().1).await.unwrap();
    assert_eq!(now.totals.unwrap().files, 1000);
}

#[tokio::test]
async fn outputs_of_too_many_files_become_a_draft_of_some_and_stay_with_the_run() {
    let rig = Rig::new().await;
    rig.dataset("models").await;
    rig.run();
    let job = rig.submit_with(&["wait"], &[], &["models"]).await;
    let running = rig.until(&job, |workload| workload.state == State::Running).await;
    let output = rig.works.data.run(&running.id).output("models");
    many(&output, 1001);
    let output = rig.write_and_end(&job, "models", &[], 0).await;
    assert_eq!(output.state, OutputState::Failed);
    assert!(output.message.as_deref().unwrap().contains("1000 files"), "{:?}", output.message);
    assert!(rig.version(&output).await.version.committed_at.is_none());
    assert!(rig.works.data.run(&running.id).output("models").exists());
}

#[tokio::test]
async fn what_a_draft_holds_is_counted_after_a_restart() {
    let mut rig = Rig::new().await;
    rig.dataset("mnist").await;
    let services = rig.works.services.clone();
    let made = services.create_version(&rig.caller, "mnist".parse().unwrap(), Default::default()).await.unwrap();
    let team = services.dataset_store().team(&rig.caller.team).unwrap();
    many(&team.version(&made.dataset.id, &made.version.id).dir().tree(), 1000);
    // What a new process knows of gates.
    rig.works.services.gates = Arc::default();
    let put = async |path: &str| {
        let file = service::dataset_files::FileDraft {
            path: crate::domain::user_path::UserPath::from_bytes(path.as_bytes()).unwrap(),
            executable: false,
            expected: None,
            announced: None,
        };
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"new"))]);
        let version = VersionRef::Id(made.version.id.clone());
        rig.works.services.put_file(&rig.caller, "mnist".parse().unwrap(), version, file, body).await
    };
    let refused = put("one-more").await;
    assert!(matches!(refused, Err(service::ServiceError::Conflict { code: "too_many_files", .. })), "{refused:?}");
    assert!(put("7").await.unwrap().replaced);
}
