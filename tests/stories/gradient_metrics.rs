//! Somebody watches a job with the original `gradient` command, which asks for metrics by TLS alone.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Said},
    daemon::{BUSYBOX, Daemon, PATIENCE},
};

/// The generation that has jobs.
const VERSION: &str = "1.11.0";

/// Prints points of a chart and works until it is stopped.
const WORK: &str = r#"
for i in 1 2 3; do echo "{\"chart\": \"loss\", \"x\": $i, \"y\": 0.$i}"; done
while true; do :; done
"#;

/// A job that has been sampled twice.
fn sampled(daemon: &Daemon) -> String {
    let id = daemon.shell(WORK);
    daemon.wait_until("two samples", || {
        let metrics = daemon.get(&format!("/jobs/{id}/metrics")).body;
        let series = metrics["series"].as_array()?.iter().find(|series| series["name"] == "cpuPercentage")?.clone();
        (series["v"].as_array()?.len() >= 2).then_some(())
    });
    id
}

#[test]
fn an_experiment_has_the_metrics_of_its_latest_run() {
    let daemon = quick();
    let client = Client::of(&daemon, VERSION);
    let made = daemon.post("/experiments", &json!({"spec": {"name": "e", "image": BUSYBOX, "command": WORK}}));
    let experiment = made.body["id"].as_str().unwrap().to_owned();
    let early = client.is_refused(&["experiments", "metrics", "get", "--id", &experiment]);
    assert!(early.contains("has not started yet"), "{early}");
    let run = daemon.post(&format!("/experiments/{experiment}/start"), &json!({})).body["id"].clone();
    let run = run.as_str().unwrap();
    daemon.wait_until("a sample", || {
        let metrics = daemon.get(&format!("/jobs/{run}/metrics")).body;
        metrics["series"].as_array()?.iter().any(|series| series["name"] == "cpuPercentage").then_some(())
    });
    let said = client.says(&[
        "experiments",
        "metrics",
        "get",
        "--id",
        &experiment,
        "--metric",
        "cpuPercentage",
        "--metric",
        "loss",
    ]);
    let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(found["cpuPercentage"][run].is_array() && found["loss"][run].is_array(), "{found:#}");
    let names = client.says(&["experiments", "metrics", "list", "--id", &experiment]);
    assert!(names.contains("loss"), "{names}");
    watch(&client, "experiments", &experiment, run);
}

fn quick() -> Daemon {
    Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")])
}

fn metrics(client: &Client, args: &[&str]) -> Value {
    let said = client.says(&[&["jobs", "metrics"], args].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn metrics_are_listed_and_read_by_name_interval_and_time() {
    let daemon = quick();
    let client = Client::of(&daemon, VERSION);
    let id = sampled(&daemon);
    let names = metrics(&client, &["list", "--id", &id]);
    let names: Vec<_> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in ["cpuPercentage", "memoryUsage", "networkReceived", "loss"] {
        assert!(names.contains(&name), "{names:?}");
    }

    let usual = metrics(&client, &["get", "--id", &id]);
    let keys: Vec<_> = usual.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["cpuPercentage", "memoryUsage"]);
    let memory = &usual["memoryUsage"][&id][0];
    assert!(
        memory["time_stamp"].is_i64() && memory["value"].as_str().unwrap().parse::<f64>().unwrap() > 0.0,
        "{usual}"
    );
    let fine = metrics(&client, &["get", "--id", &id, "--interval", "1s", "--metric", "cpuPercentage"]);
    let points = fine["cpuPercentage"][&id].as_array().unwrap();
    assert!(points.len() >= 2, "{fine}");
    let coarse = metrics(&client, &["get", "--id", &id, "--interval", "1h", "--metric", "cpuPercentage"]);
    assert!(coarse["cpuPercentage"][&id].as_array().unwrap().len() <= 2, "{coarse}");

    let charted = metrics(&client, &["get", "--id", &id, "--metric", "loss", "--metric", "gpuTemp", "--metric", "no"]);
    let loss = json!([{"step": 1.0, "value": "0.1"}, {"step": 2.0, "value": "0.2"}, {"step": 3.0, "value": "0.3"}]);
    assert_eq!(charted, json!({"gpuTemp": {}, "loss": {&id: loss}, "no": {}}));

    let old = ["get", "--id", &id, "--start", "2020-01-01", "--end", "2020-01-02", "--metric", "cpuPercentage"];
    assert_eq!(metrics(&client, &old)["cpuPercentage"][&id], json!([]));
    let words = client.is_refused(&["jobs", "metrics", "get", "--id", &id, "--interval", "soon"]);
    assert!(words.contains("interval") && words.contains("30s"), "{words}");

    daemon.post(&format!("/jobs/{id}/stop"), &json!({}));
    daemon.wait_for_end(&id);
    assert!(metrics(&client, &["get", "--id", &id])["cpuPercentage"][&id].as_array().is_some(), "they stay");
}

#[test]
fn the_sdk_reads_metrics_and_is_told_of_an_address_that_is_not_good() {
    let daemon = quick();
    let client = Client::of(&daemon, VERSION);
    let (id, other) = (sampled(&daemon), daemon.shell("true"));
    let script = format!(
        r#"
import os, gradient
from gradient.api_sdk.repositories import jobs as repositories
jobs = gradient.JobsClient(os.environ["PAPERSPACE_API_KEY"])
print("names", jobs.list_metrics("{id}")[0])
print("pods", list(jobs.get_metrics("{id}", built_in_metrics=["memoryUsage"])["memoryUsage"]))
stream = jobs.stream_metrics("{id}", interval="1s", built_in_metrics=["cpuPercentage", "nothing"])
print("first", next(stream))
print("second", next(stream))
of = repositories.GetJobMetrics._get_metrics_api_url
def changed(change):
    repositories.GetJobMetrics._get_metrics_api_url = lambda self, instance, protocol="https": change(of(self, instance))
    try:
        jobs.get_metrics("{id}")
        print("was let in")
    except Exception as error:
        print("refused:", error)
changed(lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"))
changed(lambda url: url.replace("{id}", "{other}"))
changed(lambda url: url.replace("~1", "~2"))
changed(lambda url: url.split("/~")[0] + "/~1.k0000000000." + "0" * 64)
changed(lambda url: url.split("/~")[0] + "/~")
"#
    );
    let said = client.python(&script);
    assert!(said.code == Some(0) && said.err.is_empty(), "{said:?}");
    assert!(said.out.contains(&format!("pods ['{id}']")), "{said:?}");
    let frames: Vec<Value> =
        said.out.lines().filter_map(|line| serde_json::from_str(line.split_once(' ')?.1).ok()).collect();
    assert_eq!(frames.len(), 2, "{said:?}");
    for frame in &frames {
        assert_eq!(frame["chart_name"], "cpuPercentage", "only what was asked for and is there: {frame}");
        assert!(frame["pod_metrics"][&id]["value"].is_string(), "{frame}");
    }
    assert_eq!(
        said.out.matches("refused: Failed to fetch data: the address of these metrics is not good").count(),
        5,
        "{said:?}"
    );
    assert!(!daemon.log().contains("/~1"), "no pass is in the log");
}

/// Watches jobs, experiments or notebooks in a pseudo-terminal until `until` is on the screen, presses Ctrl-C,
/// and returns what was shown.
pub fn watch(client: &Client, nouns: &str, id: &str, until: &str) -> Said {
    let script = format!(
        r#"
import os, pty, select, signal, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    # Whoever started the tests may be deaf to it, and that is handed down.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(os.path.join(os.path.dirname(sys.executable), "gradient"),
             ["gradient", "{nouns}", "metrics", "stream", "--id", "{id}", "--interval", "1s"])
shown, press, until = b"", None, time.monotonic() + 40
while time.monotonic() < until:
    if select.select([fd], [], [], 0.2)[0]:
        try:
            got = os.read(fd, 4096)
        except OSError:
            break
        if not got:
            break
        shown += got
    if press is None and b"{until}" in shown:
        press = time.monotonic()
    # The client passes over a key that is pressed while it draws, and a person presses it again.
    if press is not None and time.monotonic() >= press:
        os.kill(pid, signal.SIGINT)
        press = time.monotonic() + 5
else:
    os.kill(pid, signal.SIGKILL)
sys.stdout.write(shown.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#
    );
    let said = client.python(&script);
    assert!(said.code == Some(1) && said.out.contains("Aborted!"), "{said:?}");
    assert!(said.out.contains("cpuPercentage") && !said.out.contains("Traceback"), "{said:?}");
    said
}

#[test]
fn a_terminal_shows_values_until_somebody_has_seen_enough() {
    let daemon = quick();
    let client = Client::of(&daemon, VERSION);
    let id = sampled(&daemon);
    watch(&client, "jobs", &id, &id);
}

#[test]
fn a_stream_falls_silent_with_its_job_and_ends_with_its_key() {
    let daemon = quick();
    let made = daemon.post("/keys", &json!({"name": "watcher", "scope": "read"})).body;
    let client = Client::with_key(&daemon, VERSION, made["key"].as_str().unwrap());
    let id = sampled(&daemon);
    let script = format!(
        r#"
import json, os, gradient, websocket
key = os.environ["PAPERSPACE_API_KEY"]
url = gradient.JobsClient(key).build_repository(gradient.api_sdk.repositories.jobs.GetJob).get(job_id="{id}").metrics_url
def opened(first):
    ws = websocket.create_connection("wss://" + url + "/metrics/api/v1/stream", timeout=30)
    ws.send(first)
    return ws
def fate(ws):
    try:
        while True:
            got = ws.recv()
            if got == "":
                return "closed politely"
    except websocket.WebSocketTimeoutException:
        return "silent"
    except websocket.WebSocketConnectionClosedException:
        return "dropped"
def asks(handle):
    return json.dumps({{"chart_names": ["cpuPercentage"], "handles": [handle], "object_type": "mljob", "poll_interval": "1s"}})
for first in ["", "nonsense", "[]", asks("js0000000000ab"), "x" * 100000, json.dumps({{"chart_names": 5}})]:
    try:
        print("first message", fate(opened(first)))
    except OSError:
        # It did not even read all of it.
        print("first message dropped")
stays = opened(asks("{id}"))
print("frame", json.loads(stays.recv())["chart_name"])
"#
    );
    let said = client.python(&script);
    assert!(said.code == Some(0) && said.out.matches("first message dropped").count() == 6, "{said:?}");
    assert!(said.out.contains("frame cpuPercentage"), "{said:?}");

    // One that is open when its job ends hears nothing more and is not closed; its key ends it.
    let follow = format!(
        r#"
import json, os, urllib.request, gradient, websocket
key = os.environ["PAPERSPACE_API_KEY"]
url = gradient.JobsClient(key).build_repository(gradient.api_sdk.repositories.jobs.GetJob).get(job_id="{id}").metrics_url
ws = websocket.create_connection("wss://" + url + "/metrics/api/v1/stream", timeout=6)
ws.send(json.dumps({{"chart_names": ["cpuPercentage"], "handles": ["{id}"], "object_type": "mljob", "poll_interval": "1s"}}))
ws.recv()
def call(method, path):
    request = urllib.request.Request("{api}" + path, method=method, headers={{"Authorization": "Bearer {admin}", "Content-Type": "application/json"}}, data=b"{{}}" if method == "POST" else None)
    urllib.request.urlopen(request).read()
call("POST", "/jobs/{id}/stop")
try:
    while True:
        assert ws.recv() != "", "closed politely"
except websocket.WebSocketTimeoutException:
    print("silent")
call("DELETE", "/keys/{key}")
ws.settimeout(20)
try:
    print("said", ws.recv())
except websocket.WebSocketConnectionClosedException:
    print("dropped")
"#,
        api = daemon.url(""),
        admin = daemon.key(),
        key = made["id"].as_str().unwrap(),
    );
    let said = client.python(&follow);
    assert!(said.code == Some(0) && said.out == "silent\ndropped\n", "{said:?}");
    let words = client.is_refused(&["jobs", "metrics", "get", "--id", &id]);
    assert!(words.contains("revoked"), "{words}");
}

#[test]
fn whom_to_trust_is_told_and_an_admin_s_certificate_is_shown_instead() {
    let daemon = quick();
    let id = sampled(&daemon);
    let stranger = Client::of(&daemon, VERSION).with("REQUESTS_CA_BUNDLE", None);
    let words = stranger.is_refused(&["jobs", "metrics", "get", "--id", &id]);
    assert!(words.contains("Can't connect"), "{words}");

    // What the page offers for download is what the printed lines name.
    let (status, pem) = daemon.get_bytes("/ca.pem", "*/*");
    assert_eq!(status, 200);
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own.pem");
    std::fs::write(&own, pem).unwrap();
    let told = stranger.with("REQUESTS_CA_BUNDLE", Some(own.to_str().unwrap()));
    assert!(metrics(&told, &["get", "--id", &id])["memoryUsage"][&id].is_array());

    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let paths = (certificate.to_str().unwrap(), key.to_str().unwrap());
    make_certificate(paths, "100");
    let mut given =
        Daemon::start_with(&[("GRADIENTD_SERVER__TLS_CERTIFICATE", paths.0), ("GRADIENTD_SERVER__TLS_KEY", paths.1)]);
    assert_eq!(given.get_bytes("/ca.pem", "*/*").0, 404);
    let id = given.shell("true");
    given.wait_for_end(&id);
    let client = Client::of(&given, VERSION);
    let words = client.is_refused(&["jobs", "metrics", "get", "--id", &id]);
    assert!(words.contains("Can't connect"), "{words}");
    let client = client.with("REQUESTS_CA_BUNDLE", Some(paths.0));
    assert!(metrics(&client, &["list", "--id", &id]).is_array());
    let said = String::from_utf8(given.run(&["doctor"]).stdout).unwrap();
    assert!(said.contains(paths.0), "{said}");

    // What cannot be shown is said at the start.
    given.kill();
    make_certificate((dir.path().join("other.pem").to_str().unwrap(), paths.1), "100");
    given.spawn(&[]);
    assert!(!given.wait_until_dead().success());
    assert!(given.log().contains("is not the key of the certificate"), "{}", given.log());
}

/// Makes a certificate of nobody's but its own.
fn make_certificate((certificate, key): (&str, &str), days: &str) {
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=box",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-days", days, "-out", certificate, "-keyout", key])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn nonsense_on_the_tls_port_hurts_nobody() {
    let daemon = Daemon::start_with(&[("GRADIENTD_LIMITS__CONNECTIONS", "8")]);
    let connect = || TcpStream::connect(("127.0.0.1", daemon.tls_port())).unwrap();
    let mut plain = connect();
    plain.write_all(b"GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = String::new();
    plain.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("https://"), "{said}");
    let mut garbage = connect();
    garbage.write_all(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]).unwrap();
    garbage.write_all(&[0x5a; 64 << 10]).ok();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(answer.len() < 100, "an alert at most");

    // Half handshakes take the places of connections, and give them back.
    let half: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect();
            stream.write_all(&[0x16, 3, 1]).unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(daemon.get("/box").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(40) && begun.elapsed() < PATIENCE);
    drop(half);
}
