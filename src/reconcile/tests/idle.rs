//! When a notebook ends because nothing is done in it, and when it does not. Its server is a stub that says of
//! its kernels and terminals what the test wants.

use std::{collections::HashMap, sync::Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    domain::{
        id::NotebookId,
        notebook::{EndedFor, Notebook, PORT, Session},
        series::SeriesName,
        whereabouts::Located,
    },
    gpu::{GpuInventory, fake::FakeGpus},
    reconcile::notebooks::Notebooks,
    service::notebook_draft::{Limit, NotebookDraft},
    store::{
        events, notebooks,
        points::{self, SeriesKind},
    },
};

const IDLE: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_secs(30);

/// What the stub answers, by the last word of the path: status and body.
type Answers = Arc<Mutex<HashMap<&'static str, (u16, String)>>>;

/// Answers as a Jupyter server that two tabs look at and that has one kernel, which rests.
fn jupyter() -> Answers {
    let kernels = kernel("idle");
    let answers = [
        ("status", r#"{"connections":2,"kernels":1,"started":"2025-01-01T00:00:00Z"}"#.to_owned()),
        ("kernels", kernels),
        ("sessions", r#"[{"path":"train.ipynb","kernel":{"id":"k1"}}]"#.to_owned()),
        ("terminals", "[]".to_owned()),
    ];
    Arc::new(Mutex::new(answers.into_iter().map(|(name, body)| (name, (200, body))).collect()))
}

fn kernel(state: &str) -> String {
    format!(
        r#"[{{"id":"k1","name":"python3","execution_state":"{state}","connections":2,"last_activity":"2025-01-01T00:00:00Z"}}]"#
    )
}

async fn serve(listener: TcpListener, answers: Answers) {
    while let Ok((connection, _)) = listener.accept().await {
        let _ = answer(connection, &answers).await;
    }
}

async fn answer(mut connection: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let known = path.starts_with("/w/").then(|| path.rsplit('/').next().unwrap_or_default());
    let found = known.and_then(|name| answers.lock().unwrap().get(name).cloned());
    let (status, body) = found.unwrap_or((404, String::new()));
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}

/// A notebook that is ready, with its limit of idleness, and the loop that looks at it.
struct Watched {
    rig: Rig,
    looks: Notebooks,
    answers: Answers,
    id: NotebookId,
    /// Of the processors, in percent of one.
    cpu: Option<f64>,
}

impl Watched {
    /// `host` tells tests apart that run at the same time: each has an address of its own.
    async fn begin(host: u8, gpus: u32) -> Self {
        let rig = Rig::new().await;
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 77, host));
        rig.engine.set_address(address);
        let fake = FakeGpus::with_gpus(gpus);
        rig.works.board.set_catalogue(Catalogue::generate(4, 8 << 30, &fake.inventory()));
        rig.works.board.set_inventory(fake.inventory());
        rig.works.board.set_readings(fake.readings());
        let answers = jupyter();
        let listener = TcpListener::bind((address, PORT)).await.unwrap();
        rig.works.tasks.spawn(serve(listener, Arc::clone(&answers)));
        rig.run();
        let draft = NotebookDraft {
            run: JobDraft {
                image: Some("image".to_owned()),
                command: Some(Command::Exec(vec!["wait".to_owned()])),
                machine_type: Some(if gpus > 0 { "gpu-1" } else { "cpu-small" }.to_owned()),
                ..JobDraft::default()
            },
            idle: Some(Limit::After(IDLE)),
            shutdown: Some(Limit::Never),
            ..NotebookDraft::default()
        };
        let made = rig.works.services.create_notebook(&rig.caller, draft, true, None).await.unwrap();
        let looks = Notebooks::new(&rig.works);
        let mut this = Self { rig, looks, answers, id: made.notebook.id, cpu: Some(1.0) };
        this.until(|session| session.workload.state == State::Running).await;
        this.looks.pass().await.unwrap();
        assert!(this.session().await.ready_at.is_some());
        this
    }

    async fn notebook(&self) -> Notebook {
        let id = self.id.clone();
        self.rig.works.store.read(move |connection| notebooks::get(connection, &id)).await.unwrap().unwrap()
    }

    async fn session(&self) -> Session {
        self.notebook().await.session.unwrap()
    }

    async fn until(&self, is: impl Fn(&Session) -> bool) {
        let mut events = self.rig.works.store.changes().events.subscribe();
        let wait = async {
            while !is(&self.session().await) {
                let _ = tokio::time::timeout(Duration::from_millis(50), events.changed()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("what is waited for comes");
    }

    fn answers(&self, name: &'static str, status: u16, body: String) {
        self.answers.lock().unwrap().insert(name, (status, body));
    }

    /// Lets time pass with a look every [`STEP`], `each` before it, and says why the session was ended, if it was.
    async fn after(&mut self, span: Duration, each: impl Fn(&Self)) -> Option<EndedFor> {
        let seq = self.session().await.workload.seq;
        for _ in 0..span.as_secs() / STEP.as_secs() {
            self.rig.clock.0.fetch_add(u64::try_from(STEP.as_micros()).unwrap(), Ordering::Relaxed);
            each(self);
            if let Some(used) = self.cpu {
                let second = self.now().0 / 1_000_000;
                let name = SeriesName { name: "cpuPercentage".to_owned(), gpu: String::new() };
                let write = move |tx: &crate::store::Tx<'_>| {
                    points::append(tx, seq, 1, SeriesKind::System, &name, &[(second, second as f64, used)])
                };
                self.rig.works.store.write(write).await.unwrap();
            }
            self.looks.pass().await.unwrap();
            if let Some(why) = self.session().await.ended_for {
                return Some(why);
            }
        }
        None
    }

    fn now(&self) -> Timestamp {
        self.rig.works.clock.now()
    }

    async fn last(&self) -> String {
        self.session().await.activity.unwrap().what
    }

    /// Counts how often people were told that it stops soon.
    async fn warnings(&self) -> usize {
        let team = self.rig.caller.team.clone();
        let all = self.rig.works.store.read(move |connection| events::after(connection, &team, 0, 1000)).await.unwrap();
        all.iter().filter(|event| event.change == "stops-soon").count()
    }
}

const QUIET: fn(&Watched) = |_| {};

#[tokio::test]
async fn a_notebook_in_which_nothing_is_done_ends_though_tabs_are_open() {
    let mut watched = Watched::begin(1, 0).await;
    let run = watched.session().await.workload.id;
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 77, 1));
    watched.rig.works.board.set_addresses(vec![Located { run: run.clone(), container: "c".to_owned(), address }]);
    let traffic = watched.rig.works.board.reach(&run).unwrap().traffic;
    let _socket = traffic.socket();
    let talks = |watched: &Watched| traffic.passed_out(100, watched.now());
    assert_eq!(watched.after(IDLE - STEP - STEP, talks).await, None, "its limit is not over");
    assert_eq!(watched.after(STEP * 4, talks).await, Some(EndedFor::Idle));
    watched.until(|session| !session.is_live()).await;
    assert!(watched.session().await.message().unwrap().contains("10 min without activity"));
}

#[tokio::test]
async fn a_kernel_that_computes_is_never_ended_and_its_end_begins_the_wait() {
    let mut watched = Watched::begin(2, 0).await;
    watched.answers("kernels", 200, kernel("busy"));
    assert_eq!(watched.after(IDLE * 3, QUIET).await, None);
    assert_eq!(watched.last().await, "the kernel of train.ipynb is busy");
    watched.answers("kernels", 200, kernel("idle"));
    assert_eq!(watched.after(IDLE - STEP * 2, QUIET).await, None, "it was busy a moment ago");
    assert_eq!(watched.after(STEP * 4, QUIET).await, Some(EndedFor::Idle));
}

#[tokio::test]
async fn a_terminal_that_prints_is_work() {
    let mut watched = Watched::begin(3, 0).await;
    let prints = |watched: &Watched| {
        let terminals = format!(r#"[{{"name":"1","last_activity":"{}"}}]"#, watched.now());
        watched.answers("terminals", 200, terminals);
    };
    assert_eq!(watched.after(IDLE * 3, prints).await, None);
    assert_eq!(watched.last().await, "terminal 1 was in use");
    assert_eq!(watched.after(IDLE * 2, QUIET).await, Some(EndedFor::Idle), "a terminal that is open is none");
}

#[tokio::test]
async fn processors_at_work_are_work_whoever_keeps_them_so() {
    let mut watched = Watched::begin(4, 0).await;
    watched.cpu = Some(95.0);
    assert_eq!(watched.after(IDLE * 3, QUIET).await, None);
    assert_eq!(watched.last().await, "its processors are at work");
    watched.cpu = Some(2.0);
    assert_eq!(watched.after(IDLE * 2, QUIET).await, Some(EndedFor::Idle));
}

#[tokio::test]
async fn a_gpu_at_work_is_work() {
    let mut watched = Watched::begin(5, 1).await;
    let gpu = watched.session().await.workload.gpus[0].clone();
    let used = |percent| {
        let mut readings = FakeGpus::with_gpus(1).readings();
        readings[0].utilization_percent = Some(percent);
        assert_eq!(readings[0].uuid, gpu);
        readings
    };
    watched.rig.works.board.set_readings(used(90));
    assert_eq!(watched.after(IDLE * 3, QUIET).await, None);
    assert_eq!(watched.last().await, "its GPU is at work");
    watched.rig.works.board.set_readings(Vec::new());
    assert_eq!(watched.after(IDLE * 2, QUIET).await, None, "nobody knows what it does");
    assert!(watched.last().await.starts_with("its GPU cannot be asked"));
    watched.rig.works.board.set_readings(used(0));
    assert_eq!(watched.after(IDLE * 2, QUIET).await, Some(EndedFor::Idle));
}

#[tokio::test]
async fn what_cannot_be_asked_counts_as_work_and_is_said() {
    let mut watched = Watched::begin(6, 0).await;
    let too_long = format!("[{}]", "1,".repeat(1 << 20));
    let asleep = [("status", 403, String::new()), ("kernels", 500, String::new()), ("kernels", 200, too_long)];
    for (name, status, body) in asleep {
        let before = watched.answers.lock().unwrap()[name].clone();
        watched.answers(name, status, body);
        assert_eq!(watched.after(IDLE + STEP * 2, QUIET).await, None, "{name} {status}");
        let said = watched.last().await;
        assert!(said.starts_with("its kernels cannot be asked (it"), "{name} {status}: {said}");
        watched.answers(name, before.0, before.1);
    }
    watched.cpu = None;
    assert_eq!(watched.after(IDLE * 2, QUIET).await, None, "no sample of its processors");
    assert!(watched.last().await.starts_with("its processors cannot be asked"));
    watched.cpu = Some(1.0);
    // What is no Jupyter server has no kernels: it is seen from outside alone.
    watched.answers("status", 200, "<html>an app</html>".to_owned());
    assert_eq!(watched.after(IDLE * 2, QUIET).await, Some(EndedFor::Idle));
}

#[tokio::test]
async fn the_time_in_which_the_daemon_was_away_is_not_held_against_a_notebook() {
    let mut watched = Watched::begin(7, 0).await;
    watched.rig.clock.0.fetch_add(u64::try_from((IDLE * 20).as_micros()).unwrap(), Ordering::Relaxed);
    watched.looks = Notebooks::new(&watched.rig.works);
    watched.looks.pass().await.unwrap();
    assert_eq!(watched.session().await.ended_for, None, "the first look after a start");
    assert_eq!(watched.after(IDLE - STEP * 2, QUIET).await, None);
    assert!(watched.last().await.starts_with("gradientd was started again"));
    assert_eq!(watched.after(STEP * 8, QUIET).await, Some(EndedFor::Idle));
}

#[tokio::test]
async fn people_are_told_once_before_each_end_and_not_at_the_start_of_a_short_limit() {
    let mut watched = Watched::begin(8, 0).await;
    assert_eq!(watched.after(IDLE / 2, QUIET).await, None);
    assert_eq!(watched.warnings().await, 0, "the limit is short, and half of it is left");
    assert_eq!(watched.after(IDLE / 2 - STEP * 2, QUIET).await, None);
    assert_eq!(watched.warnings().await, 1);
    // Somebody is at work again, and then not.
    watched.cpu = Some(95.0);
    assert_eq!(watched.after(STEP, QUIET).await, None);
    watched.cpu = Some(1.0);
    assert_eq!(watched.after(IDLE - STEP * 2, QUIET).await, None);
    assert_eq!(watched.warnings().await, 2);
    // Its time is nearly over, is made longer, and is nearly over again.
    watched.cpu = Some(95.0);
    assert_eq!(watched.after(STEP, QUIET).await, None);
    let (services, caller, id) = (watched.rig.works.services.clone(), watched.rig.caller.clone(), watched.id.clone());
    let extend = async |minutes: u64| {
        services.extend_notebook(&caller, &id, Duration::from_secs(minutes * 60)).await.unwrap();
    };
    extend(3).await;
    assert_eq!(watched.after(STEP, QUIET).await, None);
    assert_eq!(watched.warnings().await, 3);
    extend(60).await;
    assert_eq!(watched.after(STEP, QUIET).await, None);
    extend(4).await;
    assert_eq!(watched.after(STEP, QUIET).await, None);
    assert_eq!(watched.warnings().await, 4);
}
