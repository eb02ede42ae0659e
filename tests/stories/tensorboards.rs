//! A TensorBoard is opened, follows what runs write, takes members in and out, and ends when nobody looks.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon},
    data::encoded,
    engine::Way,
    full_disk::{Disk, assert_full, wait_for_disk},
    secrets::reserve_all_but,
    wire::Reply,
};

/// An image with TensorBoard in it.
const TENSORBOARD: &str = "gradient-test/jupyter:latest";

/// Writes a point a moment, for ever, as training does.
const TRAIN: &str = r#"
import itertools, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter("/artifacts/run")
for step in itertools.count():
    value = Summary.Value(tag="loss", simple_value=1 / (step + 1))
    writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))
    writer.flush()
    time.sleep(0.5)
"#;

fn start_daemon(settings: &[(&str, &str)]) -> Daemon {
    let settings: Vec<_> = [("GRADIENTD_TENSORBOARDS__IMAGE", TENSORBOARD), ("GRADIENTD_ENGINE__STOP_GRACE", "2s")]
        .into_iter()
        .chain(settings.iter().copied())
        .collect();
    Daemon::start_with(&settings)
}

fn make(daemon: &Daemon, board: &Value) -> String {
    let made = daemon.post("/tensorboards", board);
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

fn look(daemon: &Daemon, id: &str) -> Value {
    let found = daemon.get(&format!("/tensorboards/{id}"));
    assert_eq!(found.status, 200, "{found:?}");
    found.body
}

fn wait_for(daemon: &Daemon, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    daemon.wait_until(what, || Some(look(daemon, id)).filter(&is))
}

/// Opens it, as somebody does in the web UI, and waits until it answers.
fn open(daemon: &Daemon, id: &str) -> Value {
    let opened = daemon.post(&format!("/workloads/{id}/open"), &json!({}));
    assert_eq!(opened.status, 200, "{opened:?}");
    let home = format!("http://{id}.localhost:{}/w/{id}/?gradientd-ticket=", daemon.workload_port());
    assert!(opened.body["url"].as_str().unwrap().starts_with(&home), "{opened:?}");
    wait_until_ready(daemon, id)
}

fn wait_until_ready(daemon: &Daemon, id: &str) -> Value {
    wait_for(daemon, id, "its answer", |board| {
        assert!(!["failed", "error"].contains(&board["state"].as_str().unwrap()), "{board:#}");
        board["ready"] == true
    })
}

fn session_of(board: &Value) -> &str {
    board["session"]["id"].as_str().unwrap()
}

/// Asks TensorBoard itself, through the proxy, as a program does.
fn ask(daemon: &Daemon, id: &str, path: &str) -> Reply {
    let host = format!("127.0.0.1:{}", daemon.workload_port());
    let asked = daemon.visit("", "GET", &format!("/w/{id}/{path}")).host(Some(&host));
    asked.with("Authorization", &format!("Bearer {}", daemon.key())).send()
}

/// Waits until TensorBoard shows exactly these runs.
fn wait_for_runs(daemon: &Daemon, id: &str, runs: &[&str]) {
    daemon.wait_until(&format!("the runs {runs:?}"), || {
        let seen = ask(daemon, id, "data/runs").json();
        let mut names: Vec<_> = seen.as_array()?.iter().filter_map(Value::as_str).collect();
        names.sort_unstable();
        (names == runs).then_some(())
    });
}

fn points(daemon: &Daemon, id: &str, run: &str) -> usize {
    let reply = ask(daemon, id, &format!("data/plugin/scalars/scalars?tag=loss&run={}", encoded(run.as_bytes())));
    reply.json().as_array().map_or(0, Vec::len)
}

fn training(daemon: &Daemon) -> String {
    let id = daemon.submit(&json!({"image": TENSORBOARD, "command": ["python3", "-c", TRAIN], "name": "train"}));
    daemon.wait_for(&id, "its start", |job| job["state"] == "running");
    id
}

/// Returns the bytes of the event file that a run has written so far.
fn events_of(daemon: &Daemon, job: &str) -> Vec<u8> {
    let dir = daemon.data().join("runs").join(job).join("artifacts/run");
    daemon.wait_until("its event file", || {
        let file = fs::read_dir(&dir).ok()?.next()?.ok()?.path();
        fs::read(file).ok().filter(|bytes| bytes.len() > 200)
    })
}

/// Makes a notebook that was never started, with an event file in `runs/a`, and returns its id and its home.
fn notebook_with_events(daemon: &Daemon, bytes: &[u8]) -> (String, PathBuf) {
    let made = daemon.post("/notebooks", &json!({"image": BUSYBOX, "name": "lab", "start": false}));
    let id = made.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/files/{id}/content/runs/a/events.out.tfevents.1.x.0");
    let put = daemon.ask("PUT", &path).body("application/octet-stream", bytes).send();
    assert!(put.status < 300, "{}", put.text());
    let team = fs::read_dir(daemon.data().join("teams")).unwrap().next().unwrap().unwrap().path();
    (id.clone(), team.join("notebooks").join(id).join("home"))
}

/// Runs a shell in the container of a session; `None` when it fails.
fn inside(daemon: &Daemon, board: &Value, command: &str) -> Option<String> {
    let container = daemon.container_of(session_of(board), 1);
    let ran = Command::new("docker").args(["exec", &container, "sh", "-c", command]).output().unwrap();
    ran.status.success().then(|| String::from_utf8(ran.stdout).unwrap())
}

#[test]
fn a_tensorboard_follows_a_run_that_writes_and_takes_members_in_and_out() {
    let daemon = start_daemon(&[]);
    let job = training(&daemon);
    let id = make(&daemon, &json!({"members": [{"job": job}]}));
    let first = open(&daemon, &id);
    wait_for_runs(&daemon, &id, &["train/run"]);
    let before = points(&daemon, &id, "train/run");
    daemon.wait_until("further points", || (points(&daemon, &id, "train/run") > before).then_some(()));

    // It can read that run, and nothing else of the team's.
    let container = daemon.container_of(session_of(&first), 1);
    let mounts = Command::new("docker").args(["inspect", "-f", "{{json .Mounts}}", &container]).output().unwrap();
    let mounts: Vec<Value> = serde_json::from_slice(&mounts.stdout).unwrap();
    assert!(mounts.len() == 2 && mounts.iter().all(|mount| mount["RW"] == false), "{mounts:#?}");
    let env = inside(&daemon, &first, "env").unwrap();
    assert!(!env.contains("PUSHGATEWAY") && !env.contains("PAPERSPACE"), "{env}");
    assert!(inside(&daemon, &first, "ls /storage || touch /logs/train/x").is_none());

    let events = events_of(&daemon, &job);
    let (notebook, home) = notebook_with_events(&daemon, &events);
    let version = daemon.filled("kept", &[("runs/c/events.out.tfevents.1.x.0", &events)]);
    // What somebody planted in there leads to nothing of this machine's.
    fs::write(daemon.data().join("secret.txt"), "hush").unwrap();
    symlink(daemon.data(), home.join("evil")).unwrap();
    let members = json!({"members": [
        {"notebook": notebook, "path": "runs"}, {"notebook": notebook, "path": "evil", "name": "evil"},
        {"dataset": version.reference()},
    ]});
    let changed = daemon.post(&format!("/tensorboards/{id}/members"), &members);
    assert_eq!((changed.status, &changed.body["memberCount"]), (200, &json!(4)), "{changed:?}");
    let second = wait_until_ready(&daemon, &id);
    assert_ne!(session_of(&second), session_of(&first), "mounts are settled when a container is made");
    wait_for_runs(&daemon, &id, &["kept/runs/c", "lab-runs/a", "train/run"]);
    assert!(inside(&daemon, &second, "ls /logs/evil/secret.txt").is_none());
    assert!(inside(&daemon, &second, "ls /logs/train/run /logs/lab-runs/a").is_some());
    // A folder that is made anew, as before another training, is followed.
    fs::rename(home.join("runs"), home.join("old")).unwrap();
    fs::create_dir(home.join("runs")).unwrap();
    fs::rename(home.join("old/a"), home.join("runs/b")).unwrap();
    wait_for_runs(&daemon, &id, &["kept/runs/c", "lab-runs/b", "train/run"]);

    let removed = daemon.delete(&format!("/tensorboards/{id}/members/train"));
    assert_eq!(removed.status, 200, "{removed:?}");
    wait_until_ready(&daemon, &id);
    wait_for_runs(&daemon, &id, &["kept/runs/c", "lab-runs/b"]);

    assert_eq!(daemon.post(&format!("/tensorboards/{id}/stop"), &json!({})).status, 200);
    let over = wait_for(&daemon, &id, "its end", |board| board["phase"].is_null());
    assert_eq!((&over["state"], &over["message"]), (&json!("stopped"), &Value::Null), "{over:#}");
    assert_eq!(ask(&daemon, &id, "").status, 410);
    daemon.wait_until("the end of the sessions before", || {
        (daemon.delete(&format!("/tensorboards/{id}")).status == 204).then_some(())
    });
}

#[test]
fn a_tensorboard_at_which_nobody_looks_ends_and_starts_again_when_it_is_opened() {
    let daemon = start_daemon(&[("GRADIENTD_TENSORBOARDS__IDLE", "6s")]);
    let id = make(&daemon, &json!({"name": "quiet"}));
    assert_eq!(ask(&daemon, &id, "").status, 409, "it was never started");
    let opened = daemon.post(&format!("/workloads/{id}/open"), &json!({}));
    assert_eq!(opened.status, 200, "{opened:?}");
    // Whoever comes at once is asked to wait by a page that goes on by itself.
    let early = ask(&daemon, &id, "");
    assert!(early.status == 503 || early.status == 200, "{}", early.text());
    assert!(early.status == 200 || early.header("retry-after").is_some(), "{}", early.text());
    let first = wait_until_ready(&daemon, &id);
    let over = wait_for(&daemon, &id, "its end", |board| board["state"] == "stopped");
    assert!(over["message"].as_str().unwrap().contains("nobody looked"), "{over:#}");
    let second = open(&daemon, &id);
    assert_ne!(session_of(&second), session_of(&first));
}

#[test]
fn an_image_without_tensorboard_says_so() {
    let daemon = start_daemon(&[]);
    let id = make(&daemon, &json!({"image": BUSYBOX, "start": true}));
    let over = wait_for(&daemon, &id, "its end", |board| board["phase"].is_null());
    let message = over["message"].as_str().unwrap_or_default();
    assert!(over["state"] == "failed" && message.contains("127"), "{over:#}");
    assert!(!over["lastLines"].as_array().unwrap().is_empty(), "{over:#}");
}

#[test]
fn a_tensorboard_runs_on_while_the_daemon_is_dead() {
    let mut daemon = start_daemon(&[]);
    let job = training(&daemon);
    let id = make(&daemon, &json!({"members": [{"job": job}]}));
    let before = open(&daemon, &id);
    daemon.kill();
    daemon.restart(&[]);
    let after = wait_until_ready(&daemon, &id);
    assert_eq!(session_of(&after), session_of(&before));
    wait_for_runs(&daemon, &id, &["train/run"]);
    // A run that is deleted while it is shown is shown no more, and is no reason to end.
    daemon.post(&format!("/jobs/{job}/stop"), &json!({}));
    daemon.wait_for_end(&job);
    assert_eq!(daemon.delete(&format!("/jobs/{job}")).status, 204);
    let without = wait_for(&daemon, &id, "a session without it", |board| {
        session_of(board) != session_of(&before) && board["ready"] == true
    });
    let member = &without["members"][0];
    assert!(member["gone"] == true && member["message"].as_str().unwrap().contains("deleted"), "{without:#}");
}

#[test]
fn one_whose_machine_type_is_gone_runs_on_says_so_once_and_takes_another() {
    const TYPES: &str = "GRADIENTD_SCHEDULER__MACHINE_TYPES";
    let both = r#"[{name="one", cores=1, memory_gib=1}, {name="two", cores=1, memory_gib=1}]"#;
    let mut daemon = start_daemon(&[(TYPES, both)]);
    let job = daemon.shell("true");
    daemon.wait_for_end(&job);
    let id = make(&daemon, &json!({"members": [{"job": job}], "machineType": "two"}));
    let before = open(&daemon, &id);
    assert_eq!(before["problem"], Value::Null);
    daemon.kill();
    daemon.restart(&[(TYPES, r#"[{name="one", cores=1, memory_gib=1}]"#)]);
    let stuck = look(&daemon, &id);
    assert!(stuck["problem"].as_str().unwrap().contains("no machine type “two”"), "{stuck:#}");
    assert_eq!((session_of(&stuck), &stuck["state"]), (session_of(&before), &json!("running")));
    // What changes by itself waits, and what somebody changes is refused with the way out.
    assert_eq!(daemon.delete(&format!("/jobs/{job}")).status, 204);
    let other = daemon.shell("true");
    let refused = daemon.post(&format!("/tensorboards/{id}/members"), &json!({"members": [{"job": other}]}));
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("unknown_machine_type")), "{refused:?}");
    daemon.wait_until("the word in the log", || daemon.log().contains("cannot begin anew").then_some(()));

    let changed = daemon.patch(&format!("/tensorboards/{id}"), &json!({"machineType": null}));
    assert_eq!((changed.status, &changed.body["problem"]), (200, &Value::Null), "{changed:?}");
    wait_for(&daemon, &id, "a session without what is gone", |board| {
        session_of(board) != session_of(&before) && board["ready"] == true
    });
    let log = daemon.log();
    assert_eq!(log.matches("cannot begin anew").count(), 1, "{log}");
    assert!(!log.contains("a look at it failed"), "{log}");
}

#[test]
fn an_engine_that_is_away_for_a_while_takes_no_tensorboard_with_it() {
    let mut way = Way::open();
    let daemon = start_daemon(&[("GRADIENTD_ENGINE__SOCKET", way.socket().to_str().unwrap())]);
    let job = training(&daemon);
    let id = make(&daemon, &json!({"members": [{"job": job}]}));
    let before = open(&daemon, &id);
    wait_for_runs(&daemon, &id, &["train/run"]);
    // It makes room for the other one.
    daemon.post(&format!("/jobs/{job}/stop"), &json!({}));
    daemon.wait_for_end(&job);
    let other = make(&daemon, &json!({"name": "other"}));

    way.cut();
    let away = wait_for(&daemon, &id, "contact to be unknown", |board| board["contact"] == "unknown");
    assert_eq!((&away["state"], session_of(&away)), (&json!("running"), session_of(&before)), "{away:#}");
    // Its container is there, and so is its page.
    wait_for_runs(&daemon, &id, &["train/run"]);
    // What is to begin meanwhile waits, and says for what.
    assert_eq!(daemon.post(&format!("/tensorboards/{other}/start"), &json!({})).status, 200);
    let waiting = wait_for(&daemon, &other, "a reason to wait", |board| board["queue"]["reason"].is_string());
    assert!(waiting["queue"]["reason"].as_str().unwrap().contains("engine"), "{waiting:#}");

    way.mend();
    let after = wait_for(&daemon, &id, "contact", |board| board["contact"] == "ok");
    assert_eq!((session_of(&after), &after["ready"]), (session_of(&before), &json!(true)), "{after:#}");
    wait_until_ready(&daemon, &other);
    wait_for_runs(&daemon, &id, &["train/run"]);
}

#[test]
fn a_full_disk_starts_no_tensorboard_and_ends_none() {
    let Some(disk) = Disk::mount() else { return };
    let mut daemon = disk.daemon(&[
        ("GRADIENTD_TENSORBOARDS__IMAGE", TENSORBOARD),
        ("GRADIENTD_ENGINE__STOP_GRACE", "2s"),
        ("GRADIENTD_DISK__MIN_FREE", "4MiB"),
    ]);
    daemon.restart(&[]);
    let running = make(&daemon, &json!({"name": "running"}));
    let before = open(&daemon, &running);
    let id = make(&daemon, &json!({"name": "stopped"}));

    // Opening one writes down who may come in.
    disk.fill_all_but(2 << 20);
    wait_for_disk(&daemon, "full");
    assert_full(&daemon.post(&format!("/tensorboards/{id}/start"), &json!({})));
    assert_full(&daemon.post(&format!("/workloads/{id}/open"), &json!({})));
    assert_eq!(look(&daemon, &id)["state"], "created");
    let still = open(&daemon, &running);
    assert_eq!(session_of(&still), session_of(&before), "one that runs is opened as ever");

    disk.free();
    daemon.wait_until("room", || (daemon.get("/box").body["disk"]["state"] != "full").then_some(()));
    open(&daemon, &id);
}

#[cfg(feature = "faults")]
#[test]
fn one_at_which_nobody_looks_ends_also_when_the_daemon_is_killed_over_it() {
    let mut daemon = start_daemon(&[("GRADIENTD_TENSORBOARDS__IDLE", "6s")]);
    let id = make(&daemon, &json!({}));
    let before = open(&daemon, &id);
    daemon.restart(&[("GRADIENTD_FAULT", "tensorboard.idle.before")]);
    daemon.wait_until_dead();
    assert_eq!(daemon.containers(), [daemon.container_of(session_of(&before), 1)], "nobody has ended it yet");
    daemon.restart(&[]);
    let over = wait_for(&daemon, &id, "its end", |board| board["phase"].is_null());
    assert_eq!((&over["state"], session_of(&over)), (&json!("stopped"), session_of(&before)), "{over:#}");
    assert!(over["message"].as_str().unwrap().contains("nobody looked"), "{over:#}");
    assert_eq!(daemon.containers(), Vec::<String>::new());
}

#[cfg(feature = "faults")]
#[test]
fn a_further_run_of_an_experiment_is_shown_wherever_the_daemon_is_killed() {
    let mut daemon = start_daemon(&[("GRADIENTD_TENSORBOARDS__IDLE", "1h")]);
    let spec = json!({"name": "sweep", "image": TENSORBOARD, "command": ["python3", "-c", TRAIN]});
    let made = daemon.post("/experiments", &json!({"spec": spec, "start": false}));
    assert_eq!(made.status, 201, "{made:?}");
    let experiment = made.body["id"].as_str().unwrap().to_owned();
    let id = make(&daemon, &json!({"members": [{"experiment": experiment}]}));
    let mut before = session_of(&open(&daemon, &id)).to_owned();
    let mut shown = Vec::new();
    for point in ["tensorboard.renew.before", "tensorboard.renew.after"] {
        daemon.restart(&[("GRADIENTD_FAULT", point)]);
        let started = daemon.post(&format!("/experiments/{experiment}/start"), &json!({}));
        assert!(started.status < 300, "{started:?}");
        daemon.wait_until_dead();
        daemon.restart(&[]);
        let board = wait_for(&daemon, &id, "a session that shows it", |board| {
            session_of(board) != before && board["ready"] == true
        });
        before = session_of(&board).to_owned();
        let run = daemon.get(&format!("/jobs?experiment={experiment}&limit=1")).body["items"][0]["id"].clone();
        let run = run.as_str().unwrap().to_owned();
        shown.push(format!("sweep/{run}/run"));
        shown.sort();
        wait_for_runs(&daemon, &id, &shown.iter().map(String::as_str).collect::<Vec<_>>());
        daemon.post(&format!("/jobs/{run}/stop"), &json!({}));
        daemon.wait_for_end(&run);
    }
    let parent = format!(
        "SELECT count(*) FROM workloads WHERE parent_id = '{id}' AND state IN ('pending', 'provisioned', 'running') AND wanted = 'run'"
    );
    assert_eq!(daemon.count(&parent), 1, "one session at a time goes on");
}

#[test]
fn who_waits_for_a_tensorboard_is_told_its_name_and_when_it_stops_by_itself() {
    let daemon = start_daemon(&[
        ("GRADIENTD_TENSORBOARDS__IDLE", "1h"),
        ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="all", cores=1, memory_gib=1}]"#),
        ("GRADIENTD_SCHEDULER__CPU_RESERVE_MILLIS", &reserve_all_but(1000)),
    ]);
    let holder = make(&daemon, &json!({"name": "first"}));
    open(&daemon, &holder);
    assert_eq!(daemon.patch(&format!("/tensorboards/{holder}"), &json!({"name": "quiet"})).status, 200);
    let board = make(&daemon, &json!({"name": "<b>crowded</b>", "start": true}));
    let job = daemon.submit(&json!({"image": BUSYBOX, "command": "true", "name": "last"}));

    // Its own page says what the queue says, and so does that of the job behind it.
    let waits = wait_for(&daemon, &board, "its place", |board| !board["queue"]["expectedIfIdle"].is_null());
    let (place, by) = (&waits["queue"], &waits["queue"]["heldBy"][0]);
    assert_eq!((&place["position"], &place["expectedStart"]), (&json!(1), &Value::Null), "{place:#}");
    assert_eq!((&by["kind"], &by["tensorboardId"]), (&json!("tensorboard"), &json!(holder)), "{place:#}");
    assert_eq!((&by["name"], &by["until"]), (&json!("quiet"), &Value::Null), "{place:#}");
    assert_eq!(by["idleAt"], look(&daemon, &holder)["session"]["idleAt"], "{place:#}");
    let queue = daemon.get("/queue").body;
    assert_eq!(queue["running"][0]["tensorboardId"], json!(holder), "{queue:#}");
    assert_eq!(
        (&queue["items"][0]["tensorboardId"], &queue["items"][0]["heldBy"][0]["name"]),
        (&json!(board), &by["name"])
    );
    let behind = daemon.wait_for(&job, "its place", |job| job["queue"]["position"] == 2);
    assert_eq!(behind["queue"]["heldBy"][0]["name"], "quiet", "{behind:#}");

    // The tab that waits goes on by itself, and says the same.
    let host = format!("127.0.0.1:{}", daemon.workload_port());
    let visit = |accept: &str| {
        let asked = daemon.visit("", "GET", &format!("/w/{board}/")).host(Some(&host)).with("Accept", accept);
        asked.with("Authorization", &format!("Bearer {}", daemon.key())).send()
    };
    let page = visit("text/html");
    assert_eq!((page.status, page.header("retry-after")), (503, Some("5")), "{}", page.text());
    for said in
        ["http-equiv=\"refresh\"", "“&lt;b&gt;crowded&lt;/b&gt;”", "Number 1 in the queue", "TensorBoard “quiet”"]
    {
        assert!(page.text().contains(said), "{said}: {}", page.text());
    }
    assert!(page.text().contains(&format!("/tensorboards/{board}\"")), "{}", page.text());
    let document = visit("application/json").json();
    assert_eq!((&document["code"], &document["name"]), (&json!("not_running_yet"), &json!("<b>crowded</b>")));
    assert_eq!(document["queue"]["heldBy"][0]["name"], "quiet", "{document:#}");

    assert_eq!(daemon.post(&format!("/tensorboards/{holder}/stop"), &json!({})).status, 200);
    wait_until_ready(&daemon, &board);
    let of = |board: &str| format!(" of TensorBoard {board}: stopped because somebody asked for it");
    daemon.wait_until("its line in the log", || daemon.log().contains(&of(&holder)).then_some(()));
}
