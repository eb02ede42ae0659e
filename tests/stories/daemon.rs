//! A daemon of a test's own: its directory, its port, its containers.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ureq::{Agent, http::Response};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A tiny image with a shell.
pub const BUSYBOX: &str = "gradient-test/busybox:latest";

/// A running daemon, killed and cleared away when the value goes.
pub struct Daemon {
    dir: tempfile::TempDir,
    port: u16,
    push_port: u16,
    workload_port: u16,
    tls_port: u16,
    child: Option<Child>,
    settings: Vec<(String, String)>,
    agent: Agent,
    /// Its data directory is a file system of its own.
    is_mounted: bool,
}

/// What came back: status and JSON body (`Null` when there is none).
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Daemon {
    /// Starts a daemon with the settings of a new installation.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a daemon with some settings, as environment variables.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut daemon = Self::unstarted(settings);
        daemon.restart(&[]);
        daemon
    }

    /// Makes room for a daemon that is started by the test itself.
    pub fn unstarted(settings: &[(&str, &str)]) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            push_port: free_port(),
            workload_port: free_port(),
            tls_port: free_port(),
            child: None,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            agent: Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(PATIENCE))
                .build()
                .new_agent(),
            is_mounted: false,
        }
    }

    /// Starts a daemon whose data directory shares what is mounted beneath it with containers, as all of a
    /// machine does that systemd started, or does not. `None`, loudly, where a test may not say so.
    pub fn start_on_mount(shared: bool, settings: &[(&str, &str)]) -> Option<Self> {
        let mut daemon = Self::unstarted(settings);
        std::fs::create_dir(daemon.data()).unwrap();
        let data = daemon.data().display().to_string();
        let mount = |args: &[&str]| Command::new("mount").args(args).output().is_ok_and(|done| done.status.success());
        if !Path::new("/dev/fuse").exists() || !mount(&["--bind", &data, &data]) {
            eprintln!("SKIPPED: there is no /dev/fuse, or nothing may be mounted here, so no place on S3 was tried");
            return None;
        }
        daemon.is_mounted = true;
        assert!(mount(&[if shared { "--make-shared" } else { "--make-private" }, &data]));
        daemon.restart(&[]);
        Some(daemon)
    }

    /// Starts the daemon again on the same data, with further environment variables this once.
    pub fn restart(&mut self, once: &[(&str, &str)]) {
        self.spawn(once);
        self.wait_until_ready();
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(&mut self, once: &[(&str, &str)]) {
        self.kill();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gradientd"))
            .arg("serve")
            .env("GRADIENTD_DATA_DIR", self.data())
            .env("GRADIENTD_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("GRADIENTD_ENGINE__PUSH_PORT", self.push_port.to_string())
            .env("GRADIENTD_WORKLOAD_LISTEN", format!("127.0.0.1:{}", self.workload_port))
            .env("GRADIENTD_SERVER__TLS_LISTEN", format!("127.0.0.1:{}", self.tls_port))
            // The machine that tests run on may be nearly full, and that is not their business.
            .env("GRADIENTD_DISK__REFUSE_PERCENT", "100")
            .env("GRADIENTD_DISK__WARN_PERCENT", "99")
            .env("GRADIENTD_DISK__MIN_FREE", "1MiB")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .envs(once.iter().copied())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until the daemon answers.
    pub fn wait_until_ready(&mut self) {
        let url = self.url("/healthz");
        let begun = Instant::now();
        loop {
            if self.agent.get(&url).call().is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon does not answer:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until the daemon answers or has ended by itself; says whether it answers.
    pub fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while self.lives() {
            if self.agent.get(self.url("/healthz")).call().is_ok_and(|answer| answer.status() == 200) {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon does not answer:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        false
    }

    /// Kills the daemon as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until the daemon has ended by itself, as at a planned fault, and returns how.
    pub fn wait_until_dead(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon lives on:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Ends the daemon as systemd does, and returns whether it ended well.
    pub fn terminate(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().success()
    }

    /// Returns the process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Says whether the daemon's process lives.
    pub fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Runs a subcommand with this daemon's settings and returns what it printed.
    pub fn run(&self, args: &[&str]) -> std::process::Output {
        self.run_as(args, &[])
    }

    /// Runs a subcommand with further environment variables.
    pub fn run_as(&self, args: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_gradientd"))
            .args(args)
            .env("GRADIENTD_DATA_DIR", self.data())
            .env("GRADIENTD_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("GRADIENTD_ENGINE__PUSH_PORT", self.push_port.to_string())
            .env("GRADIENTD_WORKLOAD_LISTEN", format!("127.0.0.1:{}", self.workload_port))
            .env("GRADIENTD_SERVER__TLS_LISTEN", format!("127.0.0.1:{}", self.tls_port))
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the port on which its containers push metrics.
    pub fn push_port(&self) -> u16 {
        self.push_port
    }

    /// Returns the port on which what containers serve is reached.
    pub fn workload_port(&self) -> u16 {
        self.workload_port
    }

    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns what the daemon has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/api/v1{path}", self.port)
    }

    /// Returns the admin's key.
    pub fn key(&self) -> String {
        std::fs::read_to_string(self.data().join("admin.key")).unwrap().trim().to_owned()
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key())
    }

    pub fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(self.url(path)).header("authorization", self.bearer()).call())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.agent.post(self.url(path)).header("authorization", self.bearer()).send_json(body))
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        answer(self.agent.put(self.url(path)).header("authorization", self.bearer()).send_json(body))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        answer(self.agent.patch(self.url(path)).header("authorization", self.bearer()).send_json(body))
    }

    pub fn delete(&self, path: &str) -> Answer {
        answer(self.agent.delete(self.url(path)).header("authorization", self.bearer()).call())
    }

    /// Posts bytes as they are.
    pub fn post_bytes(&self, path: &str, kind: &str, bytes: &[u8]) -> Answer {
        let request = self.agent.post(self.url(path)).header("authorization", self.bearer()).content_type(kind);
        answer(request.send(bytes))
    }

    /// Posts with one more header.
    pub fn post_with(&self, path: &str, header: (&str, &str), body: &Value) -> Answer {
        let request = self.agent.post(self.url(path)).header("authorization", self.bearer());
        answer(request.header(header.0, header.1).send_json(body))
    }

    /// Posts to a daemon that may die under it; `None` when no answer came.
    pub fn offer(&self, path: &str, idempotency_key: &str, body: &Value) -> Option<Answer> {
        let request = self.agent.post(self.url(path)).header("authorization", self.bearer());
        received(request.header("idempotency-key", idempotency_key).send_json(body))
    }

    /// Posts bytes to a daemon that may die under it; `None` when no answer came.
    pub fn offer_bytes(&self, path: &str, kind: &str, bytes: &[u8]) -> Option<Answer> {
        let request = self.agent.post(self.url(path)).header("authorization", self.bearer()).content_type(kind);
        received(request.send(bytes))
    }

    /// Asks a daemon that may die under it; `None` when no whole answer came. Returns status and JSON.
    pub fn try_send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Option<(u16, Value)> {
        let request = ureq::http::Request::builder().method(method).uri(self.url(path));
        let request = request.header("authorization", self.bearer()).header("content-type", kind);
        let mut response = self.agent.run(request.body(body).unwrap()).ok()?;
        let mut bytes = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut bytes).ok()?;
        Some((response.status().as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// Starts the daemon with a fault that may strike before it is ready; then without it. Says whether
    /// it did.
    pub fn restart_maybe(&mut self, once: &[(&str, &str)]) -> bool {
        self.spawn(once);
        let struck = !self.answers();
        if struck {
            self.restart(&[]);
        }
        struck
    }

    /// Gets bytes as they are.
    pub fn get_bytes(&self, path: &str, accept: &str) -> (u16, Vec<u8>) {
        let request = self.agent.get(self.url(path)).header("authorization", self.bearer()).header("accept", accept);
        let mut response = request.call().unwrap();
        let mut bytes = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut bytes).unwrap();
        (response.status().as_u16(), bytes)
    }

    /// Opens a stream of server-sent events and returns its lines as they come.
    pub fn stream(&self, path: &str, last: Option<u64>) -> impl Iterator<Item = String> + use<> {
        self.open_stream(&self.key(), path, last)
    }

    /// Opens a stream with another key than the admin's.
    pub fn stream_as(&self, key: &str, path: &str) -> impl Iterator<Item = String> + use<> {
        self.open_stream(key, path, None)
    }

    fn open_stream(&self, key: &str, path: &str, last: Option<u64>) -> impl Iterator<Item = String> + use<> {
        let request = self.agent.get(self.url(path)).header("authorization", format!("Bearer {key}"));
        let mut request = request.header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = request.call().unwrap();
        assert_eq!(response.status(), 200);
        BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok)
    }

    /// Submits a job and returns its id.
    pub fn submit(&self, job: &Value) -> String {
        let answer = self.post("/jobs", job);
        assert_eq!(answer.status, 201, "{answer:?}\n{}", self.log());
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Submits a job that runs a text in a shell.
    pub fn shell(&self, command: &str) -> String {
        self.submit(&json!({"image": BUSYBOX, "command": command}))
    }

    pub fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/jobs/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Waits until `is` holds for a job, and returns the job.
    pub fn wait_for(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let job = self.job(id);
            if is(&job) {
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "waiting for {what}, seen {job:#}\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until `look` finds something, and returns that.
    pub fn wait_until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waiting for {what}\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until a job is over and tidied, and returns it.
    pub fn wait_for_end(&self, id: &str) -> Value {
        self.wait_for(id, "its end", |job| !job["teardownFinishedAt"].is_null())
    }

    /// Returns a job's log as text.
    pub fn text_of(&self, id: &str) -> String {
        let (status, bytes) = self.get_bytes(&format!("/jobs/{id}/logs?limit=10000"), "text/plain");
        assert_eq!(status, 200);
        String::from_utf8(bytes).unwrap()
    }

    /// Returns a job's log as rows.
    pub fn rows_of(&self, id: &str) -> Vec<Value> {
        let (status, bytes) = self.get_bytes(&format!("/jobs/{id}/logs?limit=10000"), "application/json");
        assert_eq!(status, 200);
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        body["items"].as_array().unwrap().clone()
    }

    /// Returns what the latest attempt of a job printed, line by line, without the daemon's own words.
    pub fn printed_by(&self, id: &str) -> Vec<String> {
        let output = |row: &&Value| row["stream"] != "system";
        self.rows_of(id).iter().filter(output).map(|row| row["text"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the name of the container of one attempt.
    pub fn container_of(&self, id: &str, attempt: u32) -> String {
        format!("gradientd-{}-{id}-{attempt}", self.box_id())
    }

    /// Asks the database for one number, beside the daemon.
    pub fn count(&self, sql: &str) -> i64 {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(self.data().join("gradientd.db"), flags).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Returns the names of this daemon's containers, in any state.
    pub fn containers(&self) -> Vec<String> {
        let box_id = self.box_id();
        if box_id.is_empty() {
            return Vec::new();
        }
        let filter = format!("label=gradientd.box={box_id}");
        let output = Command::new("docker").args(["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]).output();
        let names = String::from_utf8(output.unwrap().stdout).unwrap();
        names.lines().map(str::to_owned).collect()
    }

    /// Returns what this daemon's containers are labelled with.
    pub fn box_id(&self) -> String {
        let connection = rusqlite::Connection::open_with_flags(
            self.data().join("gradientd.db"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        );
        connection.and_then(|c| c.query_row("SELECT id FROM box", [], |row| row.get(0))).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
        let containers = self.containers();
        self.kill();
        if !containers.is_empty() {
            let _ = Command::new("docker").arg("rm").arg("-fv").args(&containers).output();
        }
        if self.is_mounted {
            // With whatever is still mounted in it: removing the directory must not walk through that.
            let _ = Command::new("umount").args(["--recursive", "--lazy"]).arg(self.data()).output();
        }
    }
}

fn answer(result: Result<Response<ureq::Body>, ureq::Error>) -> Answer {
    received(result).expect("the daemon answers")
}

fn received(result: Result<Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut response = result.ok()?;
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().ok()?;
    Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
}

/// Returns a port of the loopback address that nobody uses now, and each but once: the system gives one
/// that was asked for a moment ago, and is not in use yet, to the next who asks.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Runs the docker command line and returns what it printed.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a tar archive of some files.
pub fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, Path::new(path), text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Returns a shell's words that print `lines` numbered lines.
pub fn print(word: &str, lines: usize) -> String {
    format!("i=1; while [ $i -le {lines} ]; do echo {word} $i; i=$((i+1)); done")
}

/// Returns the lines that [`print`] prints.
pub fn numbered(word: &str, lines: usize) -> Vec<String> {
    (1..=lines).map(|n| format!("{word} {n}")).collect()
}
