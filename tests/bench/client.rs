//! The original client, unchanged, in both of its generations: files put and got beside the same
//! command when its files travel to and from a bare S3 server, and a short call beside its own start.
//!
//! The floor is the whole command, too: [`Cloud`] tells it where the files go, from memory and without a
//! signature, and that server keeps them as plain files, checks no signature and waits for no disk. So
//! what is above the floor is all that this daemon does: it signs, checks, hashes, and answers when a
//! file is on the disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    cloud::{self, Cloud},
    daemon::Daemon,
    data::{self, mib_per_second, timed},
    numbers::{Times, millis},
    s3::Server,
    table::Table,
};

const VERSIONS: [&str; 2] = ["1.11.0", "2.0.6"];
const ROUNDS: u32 = 3;
const CALLS: u32 = 15;

/// The client of one version, told where its cloud is.
struct Client {
    version: &'static str,
    host: String,
    key: String,
    home: tempfile::TempDir,
}

pub fn measure(table: &mut Table) {
    let work = tempfile::Builder::new().prefix("gradientd-bench-client-").tempdir().unwrap();
    for (what, count, bytes) in [("1 GiB in 4 files", 4, 256 << 20), ("2,000 x 5 KiB", 2000, 5 << 10)] {
        let shape = Shape { what, count, bytes, dir: work.path().join(format!("tree-{count}")) };
        fs::create_dir(&shape.dir).unwrap();
        data::tree(&shape.dir, count, bytes);
        for version in VERSIONS {
            files(table, version, &shape, work.path());
        }
    }
    for version in VERSIONS {
        calls(table, version);
    }
}

/// A tree of files of one size.
struct Shape {
    what: &'static str,
    count: u64,
    bytes: u64,
    dir: PathBuf,
}

fn files(table: &mut Table, version: &'static str, shape: &Shape, work: &Path) {
    // What is removed slows down what comes next, so small files stay; large ones would fill the disk.
    let mut kept = Vec::new();
    let (mut ours, mut bare) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..ROUNDS {
        let got = |whose: &str| work.join(format!("{whose}-{version}-{}-{round}", shape.count));
        let server = Server::open();
        let cloud = Cloud::start(&server, shape.bytes, Vec::new());
        let client = Client::new(version, cloud.origin.clone(), "none".to_owned());
        let id = format!("{}:{}", cloud::DATASET, cloud::VERSION);
        bare.0.push(client.puts(&id, shape, server.path()));
        bare.1.push(client.gets(&id, shape, &got("bare")));
        // A daemon of its own each time: what is there already would not be stored again.
        let daemon = Daemon::start();
        let client = Client::of(&daemon, version);
        let mut api = daemon.connect();
        let dataset = data::dataset(&mut api, "files", None);
        let draft = data::draft(&mut api, &dataset, None);
        let id = format!("{dataset}:{}", draft.id());
        ours.0.push(client.puts(&id, shape, daemon.path()));
        draft.commit(&mut api);
        ours.1.push(client.gets(&id, shape, &got("ours")));
        if shape.bytes < 1 << 20 {
            kept.push((server, daemon));
        } else {
            fs::remove_dir_all(got("bare")).unwrap();
            fs::remove_dir_all(got("ours")).unwrap();
        }
    }
    for (way, ours, bare) in [("put", ours.0, bare.0), ("get", ours.1, bare.1)] {
        let (ours, bare) = (Times::new(ours), Times::new(bare));
        let ratio = bare.median().as_secs_f64() / ours.median().as_secs_f64();
        let rate = mib_per_second(shape.count * shape.bytes, ours.median());
        table.row(
            &format!("gradient {version}: files {way}, {}", shape.what),
            format!("{}, {rate}, {ratio:.2} x", ours.spread()),
            format!("to a bare S3 server {}", bare.spread()),
            "-",
        );
    }
}

/// A short call beside the client's start, and beside the same answer from memory: what is between
/// those two is the client's own, too.
fn calls(table: &mut Table, version: &'static str) {
    let daemon = Daemon::start();
    let mut api = daemon.connect();
    for n in 0..10 {
        api.json("POST", "/api/v1/projects", &format!("{{\"name\": \"project {n}\"}}"));
    }
    let answer = ureq::get(format!("{}/gradient/projects/", daemon.origin())).header("X-API-Key", daemon.key());
    let answer = answer.call().unwrap().body_mut().read_to_vec().unwrap();
    let server = Server::open();
    let memory = Cloud::start(&server, 0, answer);
    let from_memory = Client::new(version, memory.origin.clone(), "none".to_owned());
    let client = Client::of(&daemon, version);
    let (mut starts, mut floors, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CALLS {
        starts.push(timed(|| client.run(["version"])).0);
        floors.push(timed(|| assert!(from_memory.run(["projects", "list"]).contains("project 9"))).0);
        lists.push(timed(|| assert!(client.run(["projects", "list"]).contains("project 9"))).0);
    }
    let (starts, floors, lists) = (Times::new(starts), Times::new(floors), Times::new(lists));
    let more = (lists.median().as_secs_f64() - floors.median().as_secs_f64()) * 1e3;
    table.row(
        &format!("gradient {version}: projects list"),
        format!("{}, {more:+.1} ms beside memory", lists.spread()),
        format!("gradient version {}, the same answer from memory {}", millis(starts.median()), floors.spread()),
        "-",
    );
}

impl Client {
    fn new(version: &'static str, host: String, key: String) -> Self {
        Self { version, host, key, home: tempfile::tempdir().unwrap() }
    }

    fn of(daemon: &Daemon, version: &'static str) -> Self {
        Self::new(version, format!("{}/gradient", daemon.origin()), daemon.key())
    }

    /// Puts a tree and returns how long it took until it was on the disk, below `dir`.
    fn puts(&self, id: &str, shape: &Shape, dir: &Path) -> Duration {
        let from = format!("{}/", shape.dir.display());
        let all = || {
            self.run(["datasets", "files", "put", "--id", id, "--source-path", &from]);
            assert!(Command::new("sync").arg("-f").arg(dir).status().unwrap().success());
        };
        timed(all).0
    }

    /// Gets all that was put, and checks that it is all.
    fn gets(&self, id: &str, shape: &Shape, into: &Path) -> Duration {
        let to = into.display().to_string();
        let (took, _) = timed(|| self.run(["datasets", "files", "get", "--id", id, "--target-path", &to]));
        for name in (0..shape.count).map(data::name) {
            // The client is silent about what it could not put.
            let bytes = fs::metadata(into.join(&name)).unwrap_or_else(|_| panic!("{name} did not come back")).len();
            assert_eq!(bytes, shape.bytes, "{name}");
        }
        took
    }

    /// Runs a command that has to go well, and returns what it printed.
    fn run<const N: usize>(&self, args: [&str; N]) -> String {
        let clients = std::env::var_os("GRADIENTD_BENCH_CLIENTS").expect("tests/bench/run sets it");
        let done = Command::new(Path::new(&clients).join(self.version).join("bin/gradient"))
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("PAPERSPACE_USE_CONSOLE_COLORS", "false")
            .env("PAPERSPACE_CONFIG_HOST", &self.host)
            .env("PAPERSPACE_API_KEY", &self.key)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && err.trim().is_empty(), "{args:?}: {out}{err}");
        out.into_owned()
    }
}
