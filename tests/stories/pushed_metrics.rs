//! A program in a run pushes metrics of its own, with `gradient-utils` as it is and with what Python has.

use std::{fs, path::Path};

use serde_json::{Value, json};
use ureq::Agent;

use crate::{client::environments, daemon::Daemon};

const PYTHON: &str = "gradient-test/python:latest";

/// What every script here begins with.
const PUSH: &str = r#"
import os, sys, urllib.error, urllib.request
gateway = os.environ["PAPERSPACE_METRIC_PUSHGATEWAY"]
def push(path, text, method="PUT", to=None):
    request = urllib.request.Request((to or gateway) + path, data=text.encode(), method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
# Whoever opens its other end lets the script go on.
os.mkfifo("go")
def wait():
    open("go").close()
"#;

const TRAIN: &str = r#"
from gradient_utils.metrics import MetricsLogger, add_metrics
for step in range(3):
    add_metrics({"loss": 1.0 / (step + 1), "accuracy": 0.5 + step / 10}, step=step)
add_metrics({"loss": 9}, step=2)
logger = MetricsLogger()
logger.add_gauge("lr")
logger.add_counter("batches")
logger.add_histogram("latency")
for step in range(2):
    logger.set_step(step)
    logger["lr"].set(0.5 * (step + 1))
    logger["batches"].inc()
    logger["latency"].observe(0.3)
    logger.push_metrics()
add_metrics({"free": 5})
add_metrics({"free": 6})
for n in range(2):
    assert push("/metrics/job/mine", f"plain {n}\n") == 202
open("/artifacts/gateway", "w").write(gateway)
print("the gateway is", gateway)
wait()
assert push("/metrics/job/mine", "plain 2\n") == 202
add_metrics({"loss": 0.25}, step=3)
"#;

/// An archive of a script, and of the libraries that it imports where it does.
fn workspace(script: &str, libraries: bool) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let text = format!("{PUSH}{script}");
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "train.py", text.as_bytes()).unwrap();
    if libraries {
        let lib = environments().join("2.0.6/lib");
        let python = fs::read_dir(lib).unwrap().next().unwrap().unwrap().path();
        for package in ["gradient_utils", "prometheus_client", "pymongo", "bson", "gridfs"] {
            tar.append_dir_all(Path::new(package), python.join("site-packages").join(package)).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

fn submit(daemon: &Daemon, script: &str, libraries: bool, env: &Value) -> String {
    let upload = daemon.post_bytes("/uploads", "application/x-tar", &workspace(script, libraries));
    assert_eq!(upload.status, 201, "{upload:?}");
    daemon.submit(&json!({
        "image": PYTHON, "command": "exec python3 train.py", "workspace": {"upload": upload.body["id"]}, "env": env,
    }))
}

/// Lets a script go on that waits, or is about to.
fn go(daemon: &Daemon, id: &str) {
    let other_end = daemon.data().join("runs").join(id).join("workspace/go");
    daemon.wait_until("the script", || fs::OpenOptions::new().write(true).open(&other_end).ok().map(drop));
}

fn curve(daemon: &Daemon, id: &str, name: &str) -> Value {
    let name = name.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    let answer = daemon.get(&format!("/jobs/{id}/charts/{name}"));
    assert_eq!((answer.status, &answer.body["source"]), (200, &json!("pushed")), "{answer:?}");
    json!([answer.body["x"], answer.body["y"]])
}

#[test]
fn what_a_program_pushes_is_charted_and_survives_a_kill() {
    let mut daemon = Daemon::start();
    let id = submit(&daemon, TRAIN, true, &json!({}));
    let run = daemon.data().join("runs").join(&id);
    let gateway = daemon.wait_until("what the program pushed", || {
        let over = daemon.job(&id)["finishedAt"].is_string();
        assert!(!over, "{}", daemon.text_of(&id));
        fs::read_to_string(run.join("artifacts/gateway")).ok().filter(|gateway| !gateway.is_empty())
    });
    let see = |daemon: &Daemon| {
        assert_eq!(curve(daemon, &id, "accuracy"), json!([[0.0, 1.0, 2.0], [0.5, 0.6, 0.7]]));
        assert_eq!(curve(daemon, &id, "lr"), json!([[0.0, 1.0], [0.5, 1.0]]));
        assert_eq!(curve(daemon, &id, "batches_total"), json!([[0.0, 1.0], [1.0, 2.0]]));
        assert_eq!(curve(daemon, &id, "latency_count"), json!([[0.0, 1.0], [1.0, 2.0]]));
        assert_eq!(curve(daemon, &id, "latency_bucket{le=\"0.25\"}"), json!([[0.0, 1.0], [0.0, 0.0]]));
        assert_eq!(curve(daemon, &id, "latency_bucket{le=\"0.5\"}"), json!([[0.0, 1.0], [1.0, 2.0]]));
        assert_eq!(curve(daemon, &id, "free"), json!([[0.0, 1.0], [5.0, 6.0]]));
    };
    see(&daemon);
    // The later push for a step took the place of the earlier.
    assert_eq!(curve(&daemon, &id, "loss"), json!([[0.0, 1.0, 2.0], [1.0, 0.5, 9.0]]));
    assert_eq!(curve(&daemon, &id, "plain"), json!([[0.0, 1.0], [0.0, 1.0]]));
    let charts = daemon.get(&format!("/jobs/{id}/charts")).body;
    let names: Vec<_> = charts["items"].as_array().unwrap().iter().map(|chart| chart["name"].to_string()).collect();
    assert!(!names.iter().any(|name| name.contains("created") || name.contains("handle")), "{names:?}");

    // The secret is in nothing that people are shown.
    let secret = gateway.rsplit('/').next().unwrap();
    assert!(secret.len() > 40 && gateway.ends_with(&format!(":{}/{secret}", daemon.push_port())), "{gateway}");
    daemon.wait_until("the line that prints it", || daemon.text_of(&id).contains("the gateway is").then_some(()));
    for shown in [daemon.text_of(&id), daemon.log(), daemon.job(&id).to_string()] {
        assert!(!shown.contains(secret), "{shown}");
    }

    daemon.kill();
    daemon.restart(&[]);
    see(&daemon);
    // Open again at the same place, for the same secret.
    let agent: Agent = Agent::config_builder().http_status_as_error(false).build().new_agent();
    let push = |text: &str| {
        agent.put(format!("{gateway}/metrics/job/a/step/7")).send(text).map(|answer| answer.status().as_u16())
    };
    daemon.wait_until("the door for pushes", || push("late 1\n").is_ok_and(|status| status == 202).then_some(()));
    go(&daemon, &id);
    let job = daemon.wait_for_end(&id);
    assert_eq!(job["state"], "stopped", "{}", daemon.text_of(&id));
    assert_eq!(curve(&daemon, &id, "plain"), json!([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]));
    assert_eq!(curve(&daemon, &id, "loss"), json!([[0.0, 1.0, 2.0, 3.0], [1.0, 0.5, 9.0, 0.25]]));
    assert_eq!(push("late 2\n").unwrap(), 410, "the run has ended");
}

#[test]
fn a_container_pushes_for_itself_alone_and_finds_nothing_else_behind_the_door() {
    let daemon = Daemon::start();
    let other = submit(&daemon, "wait()", false, &json!({}));
    daemon.wait_for(&other, "its start", |job| job["state"] == "running");
    let script = r#"
root, secret = gateway.rsplit("/", 1)
own, other = secret.split("-")[0], os.environ["OTHER"]
print("own", push("/metrics/job/" + other, "mine 1\n"))
print("forged", push("/metrics/job/" + other, "theirs 1\n", to=f"{root}/{secret.replace(own, other)}"))
print("attempt", push("/metrics/job/a", "theirs 1\n", to=f"{root}/{secret.replace(own + '-1-', own + '-2-')}"))
for path in ["/", "/api/v1/healthz", "/api/v1/jobs", "/metrics", "/openapi.json", "/gradient/projects/", f"/api/v1/jobs/{own}"]:
    for method in ["GET", "POST"]:
        assert push(path, "", method=method, to=root) == 404, (method, path)
print("done")
"#;
    let id = submit(&daemon, script, false, &json!({"OTHER": other}));
    assert_eq!(daemon.wait_for_end(&id)["state"], "stopped", "{}", daemon.text_of(&id));
    assert_eq!(daemon.printed_by(&id), ["own 202", "forged 403", "attempt 403", "done"]);
    // Whatever job it names, it is its own.
    assert_eq!(curve(&daemon, &id, "mine"), json!([[0.0], [1.0]]));
    assert_eq!(daemon.get(&format!("/jobs/{other}/charts")).body, json!({"items": []}));
    go(&daemon, &other);
    daemon.wait_for_end(&other);
}

#[test]
fn a_door_that_cannot_be_opened_is_told_and_opens_when_it_can() {
    let mut daemon = Daemon::start();
    let address = |daemon: &Daemon| {
        let opened = format!(":{}", daemon.push_port());
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("runs push metrics to"))?.to_owned();
        Some(format!("{}{opened}", line.split("http://").nth(1)?.split(':').next()?))
    };
    let address = daemon.wait_until("the door for pushes", || address(&daemon));
    let doctor = |daemon: &Daemon| String::from_utf8(daemon.run(&["doctor"]).stdout).unwrap();
    assert!(doctor(&daemon).contains(&format!("gradientd takes them at {address}")), "{}", doctor(&daemon));
    daemon.kill();
    let taken = std::net::TcpListener::bind(&address).unwrap();
    daemon.restart(&[]);
    let trouble = |daemon: &Daemon| {
        let loops = daemon.get("/box").body["loops"].clone();
        let door = loops.as_array()?.iter().find(|one| one["name"] == "pushes")?.clone();
        Some(door["lastError"].as_str().unwrap_or("none").to_owned())
    };
    let said = daemon.wait_until("word of the trouble", || trouble(&daemon));
    assert!(said.contains(&address) && said.contains("engine.push_port"), "{said}");
    drop(taken);
    daemon.wait_until("the door for pushes", || trouble(&daemon).filter(|said| said == "none"));
}
