//! A process is killed because the memory of its run is full, and the run goes on: people are told.

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, docker},
    survive_faults::{OF_MEMORY, points},
};

/// Room for a Jupyter server and one kernel, and for nothing large.
const SMALL: (&str, &str) = ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="small", cores=1, memory_gib=0.4}]"#);

/// Has a kernel of the server in this container hold more than there is.
const FILL_A_KERNEL: &str = r#"
import json, os, urllib.request
from jupyter_client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir
server = f"http://127.0.0.1:8888{os.environ['BASE']}/api/kernels"
head = {"Authorization": "token " + os.environ["JUPYTER_TOKEN"], "Content-Type": "application/json"}
made = urllib.request.urlopen(urllib.request.Request(server, b"{}", head))
kernel = json.load(made)["id"]
client = BlockingKernelClient(connection_file=os.path.join(jupyter_runtime_dir(), f"kernel-{kernel}.json"))
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute("kept = []\nwhile True: kept.append(bytearray(1 << 20))")
"#;

fn kills(view: &Value) -> Option<u64> {
    view["memoryKills"]["times"].as_u64()
}

#[test]
fn a_job_that_loses_children_for_memory_goes_on_and_says_so_also_what_happened_while_the_daemon_was_away() {
    let mut daemon = Daemon::start_with(&[SMALL]);
    // Each file that appears has it lose one more.
    let command = "for n in 1 2; do until test -e /storage/$n; do sleep 0.1; done; tail /dev/zero; echo lost $n; done
        until test -e /storage/3; do sleep 0.1; done";
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": command, "machineType": "small"}));
    daemon.wait_for(&id, "its container", |job| job["state"] == "running");
    assert_eq!(daemon.job(&id)["memoryKills"], json!(null));
    let container = daemon.container_of(&id, 1);
    let go = |n: u32| docker(&["exec", &container, "touch", &format!("/storage/{n}")]);
    go(1);
    let job = daemon.wait_for(&id, "the loss of the first", |job| kills(job) == Some(1));
    assert_eq!(job["state"], "running", "it goes on: {job:#}");
    let words = job["memoryKills"]["message"].as_str().unwrap();
    assert!(words.contains("the 0.4 GiB of memory of the machine type were full"), "{words}");
    let first = job["memoryKills"]["lastAt"].clone();
    let told_in_log = |daemon: &Daemon| daemon.text_of(&id).matches("A process was killed because the 0.4 GiB").count();
    daemon.wait_until("its log to say so", || (told_in_log(&daemon) == 1).then_some(()));

    daemon.kill();
    go(2);
    daemon.wait_until("the loss of the second", || docker(&["logs", &container]).contains("lost 2").then_some(()));
    daemon.restart(&[]);
    let job = daemon.wait_for(&id, "what happened meanwhile", |job| kills(job) == Some(2));
    assert!(job["memoryKills"]["lastAt"].as_str() > first.as_str(), "{job:#}");
    daemon.wait_until("its log to say so", || (told_in_log(&daemon) == 2).then_some(()));
    daemon.kill();
    daemon.restart(&[]);
    go(3);
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], kills(&job)), (&json!("stopped"), Some(2)), "told again, counted once: {job:#}");
    assert_eq!(told_in_log(&daemon), 2, "{}", daemon.text_of(&id));
    // The shell says "Killed" of its own.
    let printed: Vec<_> = daemon.printed_by(&id).into_iter().filter(|line| line.starts_with("lost")).collect();
    assert_eq!(printed, ["lost 1", "lost 2"], "nothing that it printed is gone or doubled");
}

#[test]
fn a_loss_is_counted_once_wherever_the_daemon_is_killed() {
    let points: Vec<String> = points().into_iter().filter(|point| point.starts_with(OF_MEMORY)).collect();
    assert!(points.len() >= 2, "{points:?}");
    let mut daemon = Daemon::start_with(&[SMALL]);
    let command = "for n in $(seq $LOSSES); do until test -e /storage/$n; do sleep 0.1; done; tail /dev/zero; done
        until test -e /storage/end; do sleep 0.1; done";
    let env = json!({"LOSSES": points.len().to_string()});
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": command, "env": env, "machineType": "small"}));
    daemon.wait_for(&id, "its container", |job| job["state"] == "running");
    let container = daemon.container_of(&id, 1);
    let go = |name: &str| docker(&["exec", &container, "touch", &format!("/storage/{name}")]);
    for (n, point) in (1..).zip(&points) {
        // The engine tells of the last moments again, so the one before may already reach the point.
        daemon.spawn(&[("GRADIENTD_FAULT", point)]);
        go(&n.to_string());
        assert!(!daemon.wait_until_dead().success(), "{point}");
        daemon.restart(&[]);
        daemon.wait_for(&id, "the loss", |job| kills(job) == Some(n));
    }
    go("end");
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], kills(&job)), (&json!("stopped"), Some(points.len() as u64)), "{job:#}");
}

#[test]
fn a_kernel_that_is_killed_for_memory_is_said_at_its_notebook_until_another_session() {
    let daemon = Daemon::start_with(&[SMALL]);
    let made = daemon.post("/notebooks", &json!({"image": "gradient-test/jupyter:latest", "machineType": "small"}));
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap();
    let look = || daemon.get(&format!("/notebooks/{id}")).body;
    let ready = || Some(look()).filter(|notebook| notebook["ready"] == true);
    let notebook = daemon.wait_until("its server", ready);
    assert_eq!(notebook["session"]["memoryKills"], json!(null));
    let container = daemon.container_of(notebook["session"]["id"].as_str().unwrap(), 1);
    let base = format!("BASE=/w/{id}");
    docker(&["exec", "-e", &base, &container, "python3", "-c", FILL_A_KERNEL]);
    let told = daemon.wait_until("word of it", || Some(look()).filter(|seen| kills(&seen["session"]).is_some()));
    assert_eq!(told["state"], "running", "the session goes on: {told:#}");
    let words = told["session"]["memoryKills"]["message"].as_str().unwrap();
    assert!(words.contains("Jupyter started another in its place"), "{words}");

    assert_eq!(daemon.post(&format!("/notebooks/{id}/stop"), &json!({})).status, 200);
    daemon.wait_until("its end", || Some(look()).filter(|seen| seen["phase"].is_null()));
    assert_eq!(daemon.post(&format!("/notebooks/{id}/start"), &json!({})).status, 200);
    let notebook = daemon.wait_until("another session", ready);
    assert_eq!(notebook["session"]["memoryKills"], json!(null), "it begins without");
}
