//! The daemon is killed at each planned point and started again; the job that was under way reaches
//! its true end, exactly once.

use std::{path::Path, process::Command, sync::Mutex, thread};

use serde_json::{Value, json};

use crate::{
    daemon::{Answer, BUSYBOX, Daemon, docker, numbered, print, tar_of},
    engine::Account,
};

/// Lines that each job prints.
const LINES: usize = 200;
/// Daemons that take the points in turns.
const DAEMONS: usize = 3;
/// Commits of a start and a job; the daemon is killed around each of them.
const COMMITS: u32 = 8;

/// Points that no job here passes, each with the reason.
const ELSEWHERE: [(&str, &str); 1] =
    [("engine.pull.after", "is passed when a registry gave the image, and there is no registry here")];

/// Points on the way of data, which have a story of their own.
pub const OF_DATA: [&str; 8] = ["dataset.", "fsck.", "gc.", "import.", "input.", "output.", "s3.", "version."];

/// Points on the way of files of notebooks and `/storage`, with theirs.
pub const OF_FILES: [&str; 2] = ["files.", "fork."];

/// Points on the way of terminals, with theirs.
const OF_TERMINALS: [&str; 2] = ["terminal.", "engine.exec."];
/// Points on the way of TensorBoards, with theirs.
pub const OF_TENSORBOARDS: [&str; 1] = ["tensorboard."];
/// Points on the way of kills for memory, with theirs.
pub const OF_MEMORY: &str = "memory.";
/// Points on the way of what is mounted in notebooks, with theirs.
pub const OF_NOTEBOOKS: [&str; 1] = ["notebook_data."];

/// Points on the way of places on S3 in notebooks, with theirs.
pub const OF_SOURCES: &str = "source.";

/// A way of a job that passes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Prints and exits with 7.
    Plain,
    /// As plain, on a network that has to be made.
    NewNetwork,
    /// Is stopped while it runs.
    Stopped,
    /// Has an uploaded workspace.
    Uploaded,
    /// Builds its image.
    Built,
    /// Asks for an image that cannot be pulled.
    NoImage,
}

fn way_past(point: &str) -> Way {
    match point {
        "engine.network.before" | "engine.network.after" => Way::NewNetwork,
        "engine.stop.before" | "engine.stop.after" => Way::Stopped,
        "engine.build.before" | "engine.build.after" => Way::Built,
        "engine.pull.before" => Way::NoImage,
        "upload.before_rename" | "workspace.before_rename" => Way::Uploaded,
        _ => Way::Plain,
    }
}

/// Reads the points from the source, so that a new one cannot be forgotten.
pub fn points() -> Vec<String> {
    fn gather(dir: &Path, points: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, points);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.split("fault::point(\"").skip(1).filter_map(|rest| rest.split_once('"'));
                points.extend(named.map(|(name, _)| name.to_owned()));
            }
        }
    }
    let mut points = Vec::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut points);
    points.sort();
    points.dedup();
    points
}

#[test]
fn a_job_reaches_its_true_end_once_wherever_the_daemon_is_killed() {
    // Those of data have a story of their own.
    let points: Vec<String> = points()
        .into_iter()
        .filter(|point| {
            let of_others =
                [&OF_DATA[..], &OF_FILES, &OF_TERMINALS, &OF_TENSORBOARDS, &OF_NOTEBOOKS, &[OF_SOURCES, OF_MEMORY]];
            !of_others.concat().iter().any(|kind| point.starts_with(kind))
        })
        .collect();
    assert!(points.len() >= 20, "{points:?}");
    assert!(ELSEWHERE.iter().all(|(name, _)| points.iter().any(|point| point == name)), "{points:?}");
    let mut faults: Vec<(String, Way)> = Vec::new();
    for point in points.iter().filter(|point| ELSEWHERE.iter().all(|(name, _)| name != point)) {
        if point.starts_with("store.commit.") {
            faults.extend((1..=COMMITS).map(|n| (format!("{point}:{n}"), Way::Plain)));
        } else {
            faults.push((point.clone(), way_past(point)));
        }
    }
    let (account, faults) = (Account::open(), Mutex::new(faults));
    thread::scope(|scope| {
        for _ in 0..DAEMONS {
            scope.spawn(|| {
                let mut daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
                let mut jobs = 0;
                loop {
                    let Some((fault, way)) = faults.lock().unwrap().pop() else { return };
                    eprintln!("{fault} ({way:?})");
                    jobs += 1;
                    kill_at(&mut daemon, &account, &fault, way);
                    assert_eq!(daemon.count("SELECT count(*) FROM workloads"), jobs, "{fault}: each was accepted once");
                }
            });
        }
    });
}

#[test]
fn a_first_start_that_was_killed_is_done_again() {
    for fault in ["store.commit.before:1", "store.commit.after:1"] {
        let mut daemon = Daemon::unstarted(&[]);
        daemon.spawn(&[("GRADIENTD_FAULT", fault)]);
        daemon.wait_until_dead();
        daemon.restart(&[]);
        assert_eq!(daemon.get("/box").status, 200, "the key that is on disk is good");
        assert_eq!(daemon.count("SELECT count(*) FROM users"), 1);
    }
}

/// A daemon on its way to a fault, and past it.
struct Trial<'a> {
    daemon: &'a mut Daemon,
    fault: &'a str,
    /// What it is started with besides the fault.
    settings: Vec<(&'a str, &'a str)>,
    killed: bool,
}

/// Has a job pass a fault, starts the daemon again, and sees that the job ends as it should.
fn kill_at(daemon: &mut Daemon, account: &Account, fault: &str, way: Way) {
    let network = NewNetwork::named(fault);
    let mut trial = Trial { daemon, fault, settings: Vec::new(), killed: false };
    if way == Way::NewNetwork {
        trial.settings.push(("GRADIENTD_ENGINE__NETWORK", &network.0));
    }
    let id = trial.run(way);
    let job = trial.daemon.wait_for_end(&id);
    let (state, code) = match way {
        Way::Stopped => ("cancelled", json!(143)),
        Way::NoImage => ("error", Value::Null),
        _ => ("failed", json!(7)),
    };
    assert_eq!((&job["state"], &job["exitCode"]), (&json!(state), &code), "{fault}: {job:#}");
    if way != Way::NoImage {
        assert_eq!(job["attempt"], 1, "{fault}: {job:#}");
        account.assert_ran_once(&daemon.container_of(&id, 1), code.as_i64().unwrap());
        assert_eq!(daemon.printed_by(&id), numbered("line", LINES), "{fault}");
    }
    assert_eq!(daemon.containers(), Vec::<String>::new(), "{fault}");
    assert_eq!(daemon.count("SELECT count(*) FROM gpu_holdings"), 0, "{fault}");
    if way == Way::Built {
        let image = docker(&["images", "-q", "--filter", &format!("label=gradientd.workload={id}")]);
        docker(&["rmi", "-f", &image]);
    }
}

impl Trial<'_> {
    /// Starts the daemon with the fault, has a job pass it, and starts the daemon again. Returns the job.
    fn run(&mut self, way: Way) -> String {
        let mut settings = self.settings.clone();
        settings.push(("GRADIENTD_FAULT", self.fault));
        self.daemon.spawn(&settings);
        if !self.daemon.answers() {
            self.revive();
        }
        let id = self.submit(way);
        if way == Way::Stopped {
            self.daemon.wait_for(&id, "its last line", |_| self.daemon.printed_by(&id).len() == LINES);
            let path = format!("/jobs/{id}/stop");
            self.insist(|daemon| daemon.offer(&path, "stop", &json!({})));
        }
        if !self.killed {
            self.revive();
        }
        id
    }

    /// Waits for the fault, and starts the daemon again without it.
    fn revive(&mut self) {
        self.daemon.wait_until_dead();
        assert!(!self.killed, "{}: the daemon died again:\n{}", self.fault, self.daemon.log());
        self.killed = true;
        self.daemon.restart(&self.settings);
    }

    fn submit(&mut self, way: Way) -> String {
        let print = print("line", LINES);
        let mut job = match way {
            Way::Plain | Way::NewNetwork | Way::Uploaded => {
                json!({"image": BUSYBOX, "command": format!("{print}; exit 7")})
            }
            Way::Stopped => {
                let command = format!("trap 'exit 143' TERM; {print}; while :; do sleep 0.1; done");
                json!({"image": BUSYBOX, "command": command})
            }
            Way::Built => json!({"build": {}, "command": format!("{print}; exit 7")}),
            Way::NoImage => json!({"image": "127.0.0.1:1/no/such:image"}),
        };
        if matches!(way, Way::Uploaded | Way::Built) {
            let dockerfile = format!("FROM {BUSYBOX}\nENV FAULT={}\n", self.fault);
            let archive = tar_of(&[("Dockerfile", &dockerfile)]);
            let upload = self.insist(|daemon| daemon.offer_bytes("/uploads", "application/x-tar", &archive));
            job["workspace"] = json!({"upload": upload["id"]});
        }
        let fault = self.fault;
        self.insist(|daemon| daemon.offer("/jobs", fault, &job))["id"].as_str().unwrap().to_owned()
    }

    /// Asks until an answer comes, as a client does whose connection broke.
    fn insist(&mut self, ask: impl Fn(&Daemon) -> Option<Answer>) -> Value {
        loop {
            if let Some(answer) = ask(self.daemon) {
                assert!((200..300).contains(&answer.status), "{answer:?}\n{}", self.daemon.log());
                return answer.body;
            }
            self.revive();
        }
    }
}

/// A name of a network; the network is removed with it.
struct NewNetwork(String);

impl NewNetwork {
    fn named(fault: &str) -> Self {
        Self(format!("gradientd-faults-{}-{}", std::process::id(), fault.replace(['.', ':'], "-")))
    }
}

impl Drop for NewNetwork {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["network", "rm", &self.0]).output();
    }
}
