//! Places on S3 come to sessions, go, fail in words and are found again.

use super::*;
use crate::{
    auth::Secret,
    domain::{
        id::JobId,
        integration::{Integration, S3Draft, Source},
        source::SourceState,
        workload::{Kind, Workload},
    },
    executor::{ContainerState, Propagation},
    reconcile::{launch, sources},
    service::{notebook_draft::NotebookDraft, secrets::Whose},
};

const PROGRAM: &str = "rclone:latest";

impl Rig {
    /// Makes and starts a notebook, and returns its session once its container runs.
    async fn session(&self) -> Workload {
        let run = JobDraft {
            image: Some("image".to_owned()),
            command: Some(Command::Exec(vec!["wait".to_owned()])),
            ..JobDraft::default()
        };
        let draft = NotebookDraft { run, ..NotebookDraft::default() };
        let made = self.works.services.create_notebook(&self.caller, draft, true, None).await.unwrap();
        let session = made.notebook.session.unwrap().workload;
        self.settled("the session runs", || async {
            let rows = self.works.store.read(crate::store::workloads::alive).await.unwrap();
            rows.into_iter().find(|row| row.id == session.id && row.state == State::Running)
        })
        .await
    }

    async fn stop(&self, session: &Workload) {
        let Kind::Notebook(notebook) = &session.kind else { panic!("it is a session") };
        self.works.services.stop_notebook(&self.caller, notebook).await.unwrap();
    }

    /// Waits until `look` finds something.
    async fn settled<T, F: Future<Output = Option<T>>>(&self, what: &str, look: impl Fn() -> F) -> T {
        let wait = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    async fn state(&self, session: &Workload, what: &str, is: impl Fn(&SourceState) -> bool) -> SourceState {
        self.settled(what, || async { self.works.board.source(&session.id, "lab").filter(&is) }).await
    }

    fn want(&self, session: &JobId, endpoint: &str) {
        let draft = S3Draft {
            url: "s3://bucket/raw".to_owned(),
            access_key_id: "LABKEY".to_owned(),
            secret_access_key: "secret:LAB".to_owned(),
            region: None,
            endpoint: Some(endpoint.to_owned()),
            read_only: false,
        };
        let Source::S3(source) = Integration::s3("lab", draft).unwrap().source else { panic!("a place on S3") };
        self.works.board.want_sources(session, [("lab".to_owned(), source)].into());
    }

    async fn set_secret(&self) {
        let value = Secret::new("nobody-may-see-it".to_owned());
        self.works.services.set_secret(&self.caller, "LAB".to_owned(), value, Whose::Team).await.unwrap();
    }

    /// Returns the container that serves the place, if there is one.
    async fn server(&self) -> Option<crate::executor::ContainerSummary> {
        let all = self.works.executor.list().await.unwrap();
        all.into_iter().find(|container| container.name.contains("-source-") && !container.name.ends_with("-clean"))
    }

    /// Says what is mounted, as the kernel would.
    fn show_mounted(&self, session: &Workload, mounted: bool) {
        let files = self.works.data.source(&session.id, "lab").files();
        let mut table = "1 0 0:1 / / rw shared:1 - ext4 a rw\n".to_owned();
        if mounted {
            table += &format!("2 1 0:2 / {} rw - fuse.rclone place rw\n", files.display());
        }
        std::fs::write(&self.works.settings.sources.fuse.mounts, table).unwrap();
    }
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.engine.put_image(PROGRAM);
    rig.engine.set_script(PROGRAM, &["wait"]);
    rig.set_secret().await;
    rig.run();
    sources::start(&rig.works);
    rig
}

#[tokio::test]
async fn a_place_comes_while_a_session_runs_and_goes_and_leaves_nothing() {
    let rig = rig().await;
    let session = rig.session().await;
    let own = rig.engine.plan_of(&launch::container_name("box", &session)).unwrap();
    let into = own.mounts.iter().find(|mount| mount.target == "/opt/gradientd/sources").unwrap();
    assert_eq!((into.read_only, into.propagation), (true, Propagation::FromHost));

    rig.want(&session.id, "http://10.0.0.5:9000");
    let server = rig.settled("it is served", || async { rig.server().await }).await;
    assert_eq!(rig.works.board.source(&session.id, "lab"), Some(SourceState::Mounting), "nothing is mounted yet");
    let plan = rig.engine.plan_of(&server.id).unwrap();
    assert_eq!(plan.env["PLACE_SECRET_ACCESS_KEY"], "nobody-may-see-it");
    assert_eq!(plan.mounts[0].source, rig.works.data.source(&session.id, "lab").root());

    rig.show_mounted(&session, true);
    rig.state(&session, "it is mounted", |state| *state == SourceState::Mounted).await;

    // What is started from here on takes the mount away, and ends.
    rig.engine.set_script(PROGRAM, &["exit", "0"]);
    rig.works.board.want_sources(&session.id, Default::default());
    rig.settled("its container went", || async { rig.server().await.is_none().then_some(()) }).await;
    assert_eq!(rig.works.board.source(&session.id, "lab"), None);
    // A program that was killed leaves its mount. The container that takes it away has done its work when the
    // table says so.
    rig.show_mounted(&session, false);
    let dir = rig.works.data.source(&session.id, "lab");
    rig.settled("its directory went", || async { (!dir.root().exists()).then_some(()) }).await;
    rig.stop(&session).await;
    let all = rig.works.data.session_sources(&session.id);
    rig.settled("the session's directory went", || async { (!all.exists()).then_some(()) }).await;
    assert!(rig.works.executor.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_place_ends_after_its_session() {
    let rig = rig().await;
    let session = rig.session().await;
    rig.want(&session.id, "http://10.0.0.5:9000");
    rig.settled("it is served", || async { rig.server().await }).await;
    rig.stop(&session).await;
    rig.settled("its container went", || async { rig.server().await.is_none().then_some(()) }).await;
    let events = rig.engine.history();
    let died = |part: &str| events.iter().position(|event| event.0.contains(part) && event.1 == "die").unwrap();
    let own = launch::container_name("box", &session);
    assert!(died(&own) < died("-source-"), "{events:?}");
}

#[tokio::test]
async fn what_the_program_says_is_told_without_its_keys_and_it_is_tried_again() {
    let rig = rig().await;
    let said = "2026/11/21 15:04:06 ERROR : : error listing: InvalidAccessKeyId: LABKEY nobody-may-see-it";
    rig.engine.set_script(PROGRAM, &["error", said, "exit", "1"]);
    let session = rig.session().await;
    rig.want(&session.id, "http://10.0.0.5:9000");
    let state = rig.state(&session, "it fails", |state| matches!(state, SourceState::Failed(_))).await;
    let SourceState::Failed(words) = state else { panic!("it failed") };
    assert!(words.contains("set the secret again") && words.contains("InvalidAccessKeyId"), "{words}");
    assert!(!words.contains("nobody-may-see-it") && !words.contains("LABKEY"), "{words}");
    rig.engine.set_script(PROGRAM, &["wait"]);
    rig.settled("it is tried again", || async {
        rig.server().await.filter(|server| server.state == ContainerState::Running)
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_is_this_box_is_refused_unless_the_admin_lets_it() {
    let rig = rig().await;
    let session = rig.session().await;
    rig.want(&session.id, "http://127.0.0.1:9000");
    let state = rig.state(&session, "it fails", |state| matches!(state, SourceState::Failed(_))).await;
    let SourceState::Failed(words) = state else { panic!("it failed") };
    assert!(words.contains("storage.import_local"), "{words}");
    assert!(rig.server().await.is_none());
}

#[tokio::test]
async fn a_machine_that_shares_nothing_says_what_to_run_and_its_notebooks_run() {
    let rig = rig().await;
    std::fs::write(&rig.works.settings.sources.fuse.mounts, "1 0 0:1 / / rw - ext4 a rw\n").unwrap();
    let session = rig.session().await;
    let own = rig.engine.plan_of(&launch::container_name("box", &session)).unwrap();
    assert!(own.mounts.iter().all(|mount| mount.propagation == Propagation::Private));
    rig.want(&session.id, "http://10.0.0.5:9000");
    let state = rig.state(&session, "it fails", |state| matches!(state, SourceState::Failed(_))).await;
    let SourceState::Failed(words) = state else { panic!("it failed") };
    assert!(words.contains("mount --make-rshared /`"), "{words}");
    assert!(rig.server().await.is_none());
    // Put right while it runs: this session's container was made without.
    rig.show_mounted(&session, false);
    rig.state(
        &session,
        "what to do now",
        |state| matches!(state, SourceState::Failed(words) if words.contains("start it again")),
    )
    .await;
}

#[tokio::test]
async fn an_engine_that_refuses_to_share_keeps_no_notebook_from_starting() {
    let rig = rig().await;
    rig.engine.unshare(rig.works.data.root());
    let session = rig.session().await;
    let own = rig.engine.plan_of(&launch::container_name("box", &session)).unwrap();
    assert!(own.mounts.iter().all(|mount| mount.propagation == Propagation::Private));
    assert!(rig.works.board.unshared().as_ref().as_ref().unwrap().contains("mount --make-rshared"));
}

#[tokio::test]
async fn nothing_is_taken_away_before_it_is_known_what_is_wanted() {
    let rig = rig().await;
    let session = rig.session().await;
    rig.want(&session.id, "http://10.0.0.5:9000");
    let before = rig.settled("it is served", || async { rig.server().await }).await;
    rig.show_mounted(&session, true);
    rig.state(&session, "it is mounted", |state| *state == SourceState::Mounted).await;
    // As after a restart, when nobody has read yet what the notebook is to have.
    rig.works.board.keep_wanted_sources(&|_| false);
    let seen = || rig.works.board.loops()["sources"].last_run;
    for _ in 0..2 {
        let last = seen();
        rig.settled("a pass", || async { (seen() != last).then_some(()) }).await;
    }
    assert_eq!(rig.server().await.unwrap().id, before.id);
    rig.want(&session.id, "http://10.0.0.5:9000");
    rig.state(&session, "it is mounted still", |state| *state == SourceState::Mounted).await;
    assert_eq!(rig.server().await.unwrap().id, before.id);
    // The same name stands for something else: that is another container.
    rig.want(&session.id, "http://10.0.0.6:9000");
    rig.settled("it is exchanged", || async { rig.server().await.filter(|server| server.id != before.id) }).await;
}
