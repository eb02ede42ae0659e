//! What a contract test stands on: an engine, and a hand that acts behind its back.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt;
use gradientd::executor::{
    ContainerPlan, ContainerState, EngineError, Executor, Inspection, LogChunk,
    docker::{Docker, DockerSettings},
    fake::FakeEngine,
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
};

/// How long anything may take before a test gives up on it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A static busybox, made from the host's where the engine does not have it.
pub const BUSYBOX: &str = "gradient-test/busybox";
const SOCKET: &str = "/var/run/docker.sock";
/// The network of all tests: engines have room for about thirty.
const NETWORK: &str = "gradientd-test";

/// What a container of a test does.
#[derive(Clone)]
pub enum Step {
    Print(String),
    Error(String),
    Exit(i32),
    /// Until it is stopped.
    Wait,
    /// Until it is killed.
    Stubborn,
    /// Fills its memory.
    Oom,
}

/// An engine and a hand that acts behind its back.
#[async_trait]
pub trait Rig: Sync {
    fn engine(&self) -> &dyn Executor;

    /// Returns a plan for a container that does `steps`, named like nobody else's.
    fn plan(&self, steps: &[Step]) -> ContainerPlan;

    /// Returns a plan for a container that the engine creates but cannot start.
    fn unstartable(&self) -> ContainerPlan;

    /// Returns a directory of a file system that the host does not share; `None`, loudly, where none can be
    /// made.
    fn unshared(&self) -> Option<PathBuf>;

    /// Makes somebody else's container, which claims to be this box's.
    fn put_foreign(&self, name: &str);

    fn foreign_exists(&self, name: &str) -> bool;

    /// Removes a container by force, as somebody with the engine's socket would.
    fn remove_by_hand(&self, id: &str);

    /// Takes the engine away, open streams and all.
    async fn cut(&self);

    /// Brings it back.
    async fn mend(&self);
}

/// Fails the test when `future` takes longer than anything should.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("no end of: {what}"))
}

/// Creates and starts a container.
pub async fn launch(engine: &dyn Executor, plan: &ContainerPlan) -> String {
    let id = engine.create(plan).await.unwrap();
    engine.start(&id).await.unwrap();
    id
}

/// Waits for a container's end.
pub async fn ended(engine: &dyn Executor, id: &str) -> Inspection {
    let mut events = engine.events().await.unwrap();
    soon("waiting for a container to end", async {
        loop {
            let seen = engine.inspect(id).await.unwrap().expect("the container is there");
            if seen.state == ContainerState::Exited {
                return seen;
            }
            events.next().await.unwrap().unwrap();
        }
    })
    .await
}

/// Runs a container to its end and returns how it ended and what it printed.
pub async fn run(engine: &dyn Executor, plan: &ContainerPlan) -> (Inspection, Vec<LogChunk>) {
    let id = launch(engine, plan).await;
    let log = soon("reading a log", engine.logs(&id, None).await.unwrap().map(Result::unwrap).collect()).await;
    (ended(engine, &id).await, log)
}

/// Returns what was printed, both streams in order.
pub fn text(log: &[LogChunk]) -> String {
    log.iter().map(|chunk| String::from_utf8_lossy(&chunk.bytes)).collect()
}

static COUNT: AtomicU32 = AtomicU32::new(0);

fn unique(kind: &str) -> String {
    format!("gradientd-test-{kind}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn small(name: String) -> ContainerPlan {
    ContainerPlan {
        name,
        image: BUSYBOX.into(),
        cpu_millis: 1000,
        memory_bytes: 64 << 20,
        shm_bytes: 16 << 20,
        pids: 64,
        log_buffer_bytes: 64 << 20,
        ..ContainerPlan::default()
    }
}

/// Containers in memory.
pub struct FakeRig(FakeEngine);

impl FakeRig {
    pub fn new() -> Self {
        let engine = FakeEngine::new();
        engine.put_image(BUSYBOX);
        Self(engine)
    }
}

#[async_trait]
impl Rig for FakeRig {
    fn engine(&self) -> &dyn Executor {
        &self.0
    }

    fn plan(&self, steps: &[Step]) -> ContainerPlan {
        let words = |step: &Step| match step {
            Step::Print(text) => vec!["print".into(), text.clone()],
            Step::Error(text) => vec!["error".into(), text.clone()],
            Step::Exit(code) => vec!["exit".into(), code.to_string()],
            Step::Wait => vec!["wait".into()],
            Step::Stubborn => vec!["stubborn".into()],
            Step::Oom => vec!["oom".into()],
        };
        ContainerPlan { command: steps.iter().flat_map(words).collect(), ..small(unique("run")) }
    }

    fn unstartable(&self) -> ContainerPlan {
        ContainerPlan { command: vec!["nostart".into()], ..small(unique("run")) }
    }

    fn unshared(&self) -> Option<PathBuf> {
        self.0.unshare(Path::new("/unshared"));
        Some("/unshared/dir".into())
    }

    fn put_foreign(&self, name: &str) {
        self.0.put_foreign(name);
    }

    fn foreign_exists(&self, name: &str) -> bool {
        self.0.plan(name).is_some()
    }

    fn remove_by_hand(&self, id: &str) {
        self.0.remove_by_hand(id);
    }

    async fn cut(&self) {
        self.0.set_reachable(false);
    }

    async fn mend(&self) {
        self.0.set_reachable(true);
    }
}

/// A real engine, reached through a relay that can be cut.
pub struct DockerRig {
    engine: Docker,
    pub settings: DockerSettings,
    relay: Mutex<Option<JoinHandle<()>>>,
    foreign: Mutex<Vec<String>>,
    dir: tempfile::TempDir,
}

impl DockerRig {
    /// Returns a rig with a box of its own, or `None`, loudly, when the engine is to be left out.
    pub async fn new() -> Option<Self> {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut DockerSettings)) -> Option<Self> {
        if std::env::var("GRADIENTD_TEST_DOCKER").is_ok_and(|value| value == "off") {
            eprintln!("SKIPPED: GRADIENTD_TEST_DOCKER=off, so nothing was tried on a real Docker engine");
            return None;
        }
        static IMAGE: OnceLock<()> = OnceLock::new();
        IMAGE.get_or_init(make_busybox);
        let dir = tempfile::tempdir().unwrap();
        let mut settings = DockerSettings::new(unique("box"), [42; 32]);
        settings.socket = dir.path().join("docker.sock");
        settings.network = NETWORK.into();
        change(&mut settings);
        let relay = Mutex::new(Some(relay(settings.socket.clone())));
        let engine = Docker::connect(settings.clone());
        Some(Self { engine, settings, relay, foreign: Mutex::default(), dir })
    }

    /// Returns the engine as what it is.
    pub fn docker(&self) -> &Docker {
        &self.engine
    }

    /// Returns a plan for `sh -c SCRIPT`.
    pub fn shell(&self, script: &str) -> ContainerPlan {
        ContainerPlan { command: ["sh", "-c", script].map(String::from).into(), ..small(unique("run")) }
    }

    /// Returns a plan for what the image does by itself.
    pub fn image_s_own(&self, image: &str) -> ContainerPlan {
        ContainerPlan { image: image.into(), command: Vec::new(), ..self.shell("") }
    }
}

#[async_trait]
impl Rig for DockerRig {
    fn engine(&self) -> &dyn Executor {
        &self.engine
    }

    fn plan(&self, steps: &[Step]) -> ContainerPlan {
        let line = |step: &Step| match step {
            Step::Print(text) => format!("echo '{text}'"),
            Step::Error(text) => format!("echo '{text}' >&2"),
            Step::Exit(code) => format!("exit {code}"),
            Step::Wait => "sleep 1000".into(),
            Step::Stubborn => "trap '' TERM; echo deaf; while :; do sleep 1000; done".into(),
            Step::Oom => "tail /dev/zero".into(),
        };
        self.shell(&steps.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    fn unstartable(&self) -> ContainerPlan {
        ContainerPlan { user: Some("no-such-user".into()), ..self.shell("true") }
    }

    fn unshared(&self) -> Option<PathBuf> {
        let dir = self.dir.path().join("unshared");
        std::fs::create_dir(&dir).unwrap();
        let path = dir.to_str().unwrap();
        if !run_quietly("mount", &["-t", "tmpfs", "none", path]) {
            eprintln!("SKIPPED: nothing may be mounted here, so no engine was shown what is not shared");
            return None;
        }
        assert!(run_quietly("mount", &["--make-private", path]));
        Some(dir)
    }

    fn put_foreign(&self, name: &str) {
        let label = format!("gradientd.box={}", self.settings.box_id);
        docker(&["create", "--name", name, "--label", &label, "--label", "gradientd.sealed=[]", BUSYBOX, "true"]);
        self.foreign.lock().unwrap().push(name.into());
    }

    fn foreign_exists(&self, name: &str) -> bool {
        Command::new("docker").args(["container", "inspect", name]).output().unwrap().status.success()
    }

    fn remove_by_hand(&self, id: &str) {
        docker(&["rm", "-f", id]);
    }

    async fn cut(&self) {
        if let Some(relay) = self.relay.lock().unwrap().take() {
            relay.abort();
        }
        // Connections that were open are closed by the relay's own end.
        let _ = std::fs::remove_file(&self.settings.socket);
    }

    async fn mend(&self) {
        *self.relay.lock().unwrap() = Some(relay(self.settings.socket.clone()));
    }
}

impl Drop for DockerRig {
    fn drop(&mut self) {
        let label = format!("label=gradientd.box={}", self.settings.box_id);
        let found = docker(&["ps", "-aq", "--no-trunc", "--filter", &label]);
        let ids: Vec<&str> = found.split_whitespace().collect();
        if !ids.is_empty() {
            docker(&[&["rm", "-fv"], &ids[..]].concat());
        }
        let unshared = self.dir.path().join("unshared");
        if unshared.exists() {
            run_quietly("umount", &[unshared.to_str().unwrap()]);
        }
    }
}

/// Listens at `socket` and passes everything on to the engine, until it is aborted.
fn relay(socket: PathBuf) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        // Aborted with the set, so that cutting the relay cuts what goes through it.
        let mut open = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            open.spawn(async move {
                let mut far = UnixStream::connect(SOCKET).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    })
}

fn run_quietly(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|done| done.status.success())
}

/// Runs the engine's own client and returns what it prints.
pub fn docker(args: &[&str]) -> String {
    let done = Command::new("docker").args(args).output().expect("the docker client is installed");
    assert!(done.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Imports the host's static busybox unless the image is there. No registry is asked.
fn make_busybox() {
    if Command::new("docker").args(["image", "inspect", BUSYBOX]).output().unwrap().status.success() {
        return;
    }
    let script = "set -e; d=$(mktemp -d); mkdir -p $d/bin $d/tmp $d/etc; cp $(command -v busybox) $d/bin/busybox; \
                  for a in $($d/bin/busybox --list); do [ $a = busybox ] || ln -s busybox $d/bin/$a; done; \
                  echo root:x:0:0:root:/root:/bin/sh > $d/etc/passwd; \
                  tar -C $d -c . | docker import --change 'ENV PATH=/bin' --change 'CMD [\"sh\"]' - $0; rm -r $d";
    let made = Command::new("sh").args(["-c", script, BUSYBOX]).output().unwrap();
    assert!(made.status.success(), "install busybox-static: {}", String::from_utf8_lossy(&made.stderr));
}

/// Asserts that a call was refused, and returns the engine's words.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, EngineError>) -> String {
    match answer {
        Err(EngineError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}
