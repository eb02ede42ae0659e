//! Committing for somebody who may not publish, when the dataset has become public since they asked.

use super::*;
use crate::domain::{caller::Scope, id::VersionId, import::Import};

impl Rig {
    fn writer(&self) -> Caller {
        Caller { scope: Scope::Write, ..self.caller.clone() }
    }

    async fn publish(&self, name: &str) {
        let change = service::datasets::DatasetChange { public: Some(true), ..Default::default() };
        self.works.services.change_dataset(&self.caller, name.parse().unwrap(), change).await.unwrap();
    }

    /// Has `caller` import a directory with one file, and commit.
    async fn import_as(&self, caller: &Caller, name: &str) -> (VersionId, Import) {
        let set = self.works.data.root().parent().unwrap().join("shared/set");
        std::fs::create_dir_all(&set).unwrap();
        std::fs::write(set.join("one"), "1").unwrap();
        let services = &self.works.services;
        let made = services.create_version(&self.caller, name.parse().unwrap(), Default::default()).await.unwrap();
        let version = made.version.id;
        let draft = service::imports::ImportDraft {
            source: service::imports::DraftSource::Directory { path: set.display().to_string() },
            prefix: None,
            commits: true,
            tags: Vec::new(),
        };
        let named = VersionRef::Id(version.clone());
        let import = services.create_import(&self.caller, name.parse().unwrap(), named, draft).await.unwrap().import;
        let (id, may) = (import.id.clone(), caller.scope == Scope::Admin);
        // Only an admin may import from directories, so whose it is is set by hand.
        let owner = move |tx: &crate::store::Tx<'_>| {
            tx.execute("UPDATE imports SET may_publish = ?2 WHERE id = ?1", (&id, may))?;
            Ok::<_, StoreError>(())
        };
        self.works.store.write(owner).await.unwrap();
        (version, import)
    }
}

#[tokio::test]
async fn an_import_of_somebody_who_may_not_publish_leaves_a_draft_once_the_dataset_is_public() {
    for (scope, state) in [(Scope::Write, ImportState::Failed), (Scope::Admin, ImportState::Done)] {
        let rig = Rig::new().await;
        rig.dataset("mnist").await;
        let caller = Caller { scope, ..rig.caller.clone() };
        let (version, import) = rig.import_as(&caller, "mnist").await;
        rig.publish("mnist").await;
        imports::start(&rig.works);
        let over = rig.over(&import).await;
        assert_eq!(over.state, state, "{:?}", over.message);
        let services = &rig.works.services;
        let named = || ("mnist".parse::<DatasetRef>().unwrap(), VersionRef::Id(version.clone()));
        let now = services.version(&rig.caller, named().0, named().1).await.unwrap();
        assert_eq!(now.totals, Some(Totals { files: 1, bytes: 1 }));
        assert_eq!(now.version.committed_at.is_some(), scope == Scope::Admin);
        if scope == Scope::Admin {
            assert_eq!(now.version.note, None);
            continue;
        }
        let note = now.version.note.unwrap();
        assert!(note.contains(import.id.as_str()) && note.contains("an admin"), "{note}");
        assert!(over.message.unwrap().contains("an admin"));
        let refused = services.commit_version(&rig.writer(), named().0, named().1).await;
        assert!(matches!(refused, Err(service::ServiceError::Denied(_))), "{refused:?}");
        let committed = services.commit_version(&rig.caller, named().0, named().1).await.unwrap();
        assert!(committed.version.committed_at.is_some());
    }
}

#[tokio::test]
async fn an_output_of_somebody_who_may_not_publish_stays_a_draft_once_the_dataset_is_public() {
    for (scope, state) in [(Scope::Write, OutputState::Draft), (Scope::Admin, OutputState::Committed)] {
        let mut rig = Rig::new().await;
        rig.dataset("models").await;
        rig.run();
        let admin = rig.caller.clone();
        rig.caller.scope = scope;
        let job = rig.submit_with(&["wait"], &[], &["models"]).await;
        rig.caller = admin;
        rig.publish("models").await;
        let output = rig.write_and_end(&job, "models", &[("model", "weights")], 0).await;
        assert_eq!(output.state, state, "{:?}", output.message);
        let made = rig.version(&output).await;
        assert_eq!(made.version.committed_at.is_some(), scope == Scope::Admin);
        if scope == Scope::Admin {
            continue;
        }
        assert!(output.message.unwrap().contains("an admin") && made.version.note.unwrap().contains("an admin"));
        assert!(!rig.works.data.run(&job.job.workload.id).output("models").exists(), "all of it is in the draft");
        let named = || (DatasetRef::Id(output.dataset.clone()), VersionRef::Id(made.version.id.clone()));
        let refused = rig.works.services.commit_version(&rig.writer(), named().0, named().1).await;
        assert!(matches!(refused, Err(service::ServiceError::Denied(_))), "{refused:?}");
        rig.works.services.commit_version(&rig.caller, named().0, named().1).await.unwrap();
    }
}

#[tokio::test]
async fn an_import_remembers_whether_who_asked_for_it_might_publish() {
    let rig = Rig::new().await;
    rig.dataset("mnist").await;
    let services = &rig.works.services;
    let made = services.create_version(&rig.caller, "mnist".parse().unwrap(), Default::default()).await.unwrap();
    for (caller, may) in [(rig.writer(), false), (rig.caller.clone(), true)] {
        let draft = service::imports::ImportDraft {
            source: service::imports::DraftSource::Url { url: "https://host.example/a".to_owned(), unpack: false },
            prefix: None,
            commits: true,
            tags: Vec::new(),
        };
        let named = VersionRef::Id(made.version.id.clone());
        let import = services.create_import(&caller, "mnist".parse().unwrap(), named, draft).await.unwrap();
        assert_eq!(import.import.may_publish, may);
    }
}

#[tokio::test]
async fn what_a_dataset_is_when_it_is_committed_counts_and_not_what_it_was_when_it_was_looked_up() {
    let rig = Rig::new().await;
    rig.dataset("mnist").await;
    let services = &rig.works.services;
    let made = services.create_version(&rig.caller, "mnist".parse().unwrap(), Default::default()).await.unwrap();
    let found = service::references::Resolved { dataset: made.dataset, version: made.version };
    rig.publish("mnist").await;
    let by = |may_publish| service::committing::Committer { may_publish, import: None };
    let refused = services.commit_found(found.clone(), by(false)).await;
    assert!(matches!(refused, Err(service::ServiceError::Conflict { code: "may_not_publish", .. })), "{refused:?}");
    assert!(services.commit_found(found, by(true)).await.unwrap().version.committed_at.is_some());
}
