//! A notebook is made, worked in, stopped and started again; its files stay.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    client::Client,
    daemon::{BUSYBOX, Daemon},
    full_disk::{Disk, assert_full, wait_for_disk},
    workspaces::GitServer,
};

/// An image with JupyterLab in it.
const JUPYTER: &str = "gradient-test/jupyter:latest";

fn make(daemon: &Daemon, notebook: &Value) -> String {
    let made = daemon.post("/notebooks", notebook);
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

fn look(daemon: &Daemon, id: &str) -> Value {
    let found = daemon.get(&format!("/notebooks/{id}"));
    assert_eq!(found.status, 200, "{found:?}");
    found.body
}

/// Waits until `is` holds for a notebook, and returns it.
fn wait_for(daemon: &Daemon, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    daemon.wait_until(what, || Some(look(daemon, id)).filter(&is))
}

fn wait_until_ready(daemon: &Daemon, id: &str) -> Value {
    wait_for(daemon, id, "its server", |notebook| {
        assert!(!["failed", "error", "stopped"].contains(&notebook["state"].as_str().unwrap()), "{notebook:#}");
        notebook["ready"] == true
    })
}

fn wait_until_over(daemon: &Daemon, id: &str) -> Value {
    wait_for(daemon, id, "the end of its session", |notebook| notebook["phase"].is_null())
}

fn session_of(notebook: &Value) -> &str {
    notebook["session"]["id"].as_str().unwrap()
}

/// Runs a shell in the container of a session and returns what it printed.
fn inside(daemon: &Daemon, notebook: &Value, command: &str) -> String {
    let container = daemon.container_of(session_of(notebook), 1);
    let ran = Command::new("docker").args(["exec", &container, "sh", "-c", command]).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn a_notebook_starts_answers_stops_and_keeps_its_files() {
    let daemon = Daemon::start();
    let id = make(&daemon, &json!({"image": JUPYTER, "name": "first", "env": {"LR": "0.1"}, "tags": ["a"]}));
    let ready = wait_until_ready(&daemon, &id);
    assert_eq!((&ready["state"], &ready["name"], &ready["tags"]), (&json!("running"), &json!("first"), &json!(["a"])));
    assert!(ready["session"]["shutsDownAt"].is_string() && ready["session"]["idleAt"].is_string(), "{ready:#}");
    assert_eq!(ready["session"]["activity"]["what"], "it was started");

    let env = inside(&daemon, &ready, "env; pwd; cat /etc/hostname");
    for line in [
        "LR=0.1",
        &format!("PAPERSPACE_FQDN={id}.localhost"),
        &format!("PAPERSPACE_NOTEBOOK_ID={id}"),
        &format!("PAPERSPACE_NOTEBOOK_REPO_ID={id}"),
        "PAPERSPACE_CLUSTER_ID=box",
        &format!("PAPERSPACE_METRIC_WORKLOAD_ID={}", session_of(&ready)),
        "PAPERSPACE_METRIC_WORKLOAD_TYPE=notebook",
        "/notebooks",
        &id,
    ] {
        assert!(env.lines().any(|seen| seen == line), "{line} is not in {env}");
    }
    for name in ["JUPYTER_TOKEN=", "PAPERSPACE_METRIC_PUSHGATEWAY="] {
        assert!(env.lines().any(|seen| seen.len() > name.len() && seen.starts_with(name)), "{name} is not in {env}");
    }
    inside(
        &daemon,
        &ready,
        "echo kept > /notebooks/note.txt; echo shared > /storage/all.txt; echo gone > /root/lost.txt",
    );

    let again = daemon.post(&format!("/notebooks/{id}/start"), &json!({}));
    assert_eq!((again.status, &again.body["code"]), (409, &json!("notebook_running")));
    assert_eq!(daemon.delete(&format!("/notebooks/{id}")).status, 409);

    assert_eq!(daemon.post(&format!("/notebooks/{id}/stop"), &json!({})).status, 200);
    let stopped = wait_until_over(&daemon, &id);
    assert_eq!((&stopped["state"], &stopped["message"]), (&json!("stopped"), &Value::Null), "{stopped:#}");
    assert!(daemon.text_of(session_of(&stopped)).contains("jupyter"), "its log can be read");

    let started = daemon.post(&format!("/notebooks/{id}/start"), &json!({"name": "second"}));
    assert_eq!((started.status, &started.body["name"]), (200, &json!("second")), "{started:?}");
    let ready = wait_until_ready(&daemon, &id);
    assert_ne!(session_of(&ready), session_of(&stopped));
    let files = "cat /notebooks/note.txt /storage/all.txt; ls /root/lost.txt 2>&1 || true";
    let files = inside(&daemon, &ready, files);
    assert!(files.starts_with("kept\nshared\n") && files.contains("No such file"), "{files}");
    let sessions = daemon.get(&format!("/notebooks/{id}/sessions")).body;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);

    daemon.post(&format!("/notebooks/{id}/stop"), &json!({}));
    wait_until_over(&daemon, &id);
    assert_eq!(daemon.delete(&format!("/notebooks/{id}")).status, 204);
    assert_eq!(daemon.get(&format!("/notebooks/{id}")).status, 404);
    assert_eq!(daemon.get("/notebooks").body["items"], json!([]));
    assert_eq!(daemon.containers(), Vec::<String>::new());
}

#[test]
fn a_notebook_is_opened_through_the_proxy_and_an_editor_has_a_token_for_it() {
    let daemon = Daemon::start();
    let id = make(&daemon, &json!({"image": JUPYTER}));
    wait_until_ready(&daemon, &id);
    let opened = daemon.post(&format!("/workloads/{id}/open"), &json!({}));
    assert_eq!(opened.status, 200, "{opened:?}");
    let url = opened.body["url"].as_str().unwrap();
    let home = format!("http://{id}.localhost:{}/w/{id}/?gradientd-ticket=", daemon.workload_port());
    assert!(url.starts_with(&home), "{url}");

    let made = daemon.post(&format!("/workloads/{id}/tokens"), &json!({}));
    assert_eq!(made.status, 201, "{made:?}");
    let (base, token) = (made.body["url"].as_str().unwrap(), made.body["token"].as_str().unwrap());
    assert_eq!(base, format!("http://127.0.0.1:{}/w/{id}/", daemon.workload_port()));
    // As an editor does that attaches to a remote server: a kernel is made, and seen.
    let script = format!(
        r#"
import json, urllib.request
def ask(path, data=None):
    request = urllib.request.Request("{base}" + path, data=data, headers={{"Authorization": "token {token}"}})
    return json.load(urllib.request.urlopen(request, timeout=60))
assert ask("api/status")["kernels"] == 0
kernel = ask("api/kernels", b"{{}}")["id"]
assert [one["id"] for one in ask("api/kernels")] == [kernel]
try:
    urllib.request.urlopen("{base}api/status", timeout=60)
    raise SystemExit("let in without a token")
except urllib.error.HTTPError as refused:
    assert refused.code == 401, refused.code
"#
    );
    let ran = Command::new("python3").args(["-c", &script]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    // A kernel that starts or ran is a sign of somebody at work.
    let seen = wait_for(&daemon, &id, "a sign of the kernel", |notebook| {
        notebook["session"]["activity"]["what"].as_str().is_some_and(|what| what.contains("kernel"))
    });
    assert!(seen["session"]["idleAt"].is_string(), "{seen:#}");
}

#[test]
fn what_does_not_come_up_says_why() {
    let daemon = Daemon::start_with(&[("GRADIENTD_NOTEBOOKS__READY", "3s")]);
    let end = |notebook: Value| {
        let id = make(&daemon, &notebook);
        let over = wait_until_over(&daemon, &id);
        (over["state"].as_str().unwrap().to_owned(), over["message"].as_str().unwrap_or_default().to_owned())
    };
    let (state, message) = end(json!({"image": BUSYBOX}));
    assert!(state == "failed" && message.contains("JupyterLab"), "{state}: {message}");
    let (state, message) = end(json!({"image": BUSYBOX, "command": "no-such-program"}));
    assert!(state == "failed" && message.contains("127"), "{state}: {message}");
    let (state, message) = end(json!({"image": BUSYBOX, "command": "exit 1"}));
    assert!(state == "failed" && message.contains("crashed"), "{state}: {message}");
    let (state, message) = end(json!({"image": BUSYBOX, "command": "kill -9 $$"}));
    assert!(state == "failed" && message.contains("137"), "{state}: {message}");
    // It runs, and nothing ever listens.
    let id = make(&daemon, &json!({"image": BUSYBOX, "command": "echo no ear; exec sleep 1000"}));
    let over = wait_until_over(&daemon, &id);
    assert!(over["message"].as_str().unwrap().contains("on port 8888"), "{over:#}");
    assert_eq!((&over["state"], &over["lastLines"]), (&json!("failed"), &json!(["no ear"])), "{over:#}");
    let (state, message) = end(json!({"image": BUSYBOX, "workspace": {"git": "https://127.0.0.1:1/none.git"}}));
    assert!(state == "error" && message.contains("workspace"), "{state}: {message}");
}

#[test]
fn a_server_without_kernels_is_stopped_after_a_minute_in_which_nothing_is_done() {
    let daemon = Daemon::start();
    let id = make(&daemon, &json!({"image": JUPYTER, "idleSeconds": 60}));
    let ready = wait_until_ready(&daemon, &id);
    let seconds = |time: &Value| time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    wait_for(&daemon, &id, "that half of its time is over", |notebook| {
        seconds(&notebook["session"]["idleAt"]) - jiff::Timestamp::now().as_second() < 30
    });
    let over = wait_until_over(&daemon, &id);
    assert_eq!((&over["state"], &over["lastLines"]), (&json!("stopped"), &json!([])), "{over:#}");
    let message = over["message"].as_str().unwrap();
    assert!(message.contains("stopped after 1 min without activity"), "{message}");
    let ran = seconds(&over["session"]["finishedAt"]) - seconds(&ready["session"]["readyAt"]);
    assert!(ran >= 60, "{ran} s");
}

#[test]
fn a_session_ends_when_its_time_is_over_whatever_is_done_in_it() {
    let daemon = Daemon::start();
    let id = make(&daemon, &json!({"image": JUPYTER, "idleSeconds": 60}));
    let ready = wait_until_ready(&daemon, &id);
    assert_eq!(daemon.patch(&format!("/notebooks/{id}"), &json!({"idleSeconds": 5})).body["code"], "too_short");
    assert!(ready["session"]["idleAt"].as_str().unwrap() < ready["session"]["shutsDownAt"].as_str().unwrap());
    // Its time over, whatever is done in it.
    let extended = daemon.post(&format!("/notebooks/{id}/extend"), &json!({"seconds": 4}));
    assert_eq!(extended.status, 200, "{extended:?}");
    let over = wait_until_over(&daemon, &id);
    assert_eq!(over["state"], "stopped");
    let message = over["message"].as_str().unwrap();
    assert!(message.contains("after its start") && message.contains("extend its time"), "{message}");
    // The list of sessions says the same of it as the notebook.
    let sessions = daemon.get(&format!("/notebooks/{id}/sessions")).body;
    assert_eq!(
        (&sessions["items"][0]["state"], &sessions["items"][0]["message"]),
        (&json!("stopped"), &json!(message))
    );
    assert!(
        sessions["items"][0]["readyAt"].is_string() && sessions["items"][0]["activity"].is_object(),
        "{sessions:#}"
    );
}

/// Has a kernel run code, as an editor does that attached to it, and returns what it printed.
fn told(client: &Client, (base, token): (&str, &str), kernel: &str, code: &str) -> String {
    let script = format!(
        r#"
import json, uuid, websocket
ws = websocket.create_connection("{base}api/kernels/{kernel}/channels?token={token}".replace("http:", "ws:"), timeout=60)
id = uuid.uuid4().hex
header = {{"msg_id": id, "msg_type": "execute_request", "username": "", "session": id, "date": "", "version": "5.3"}}
content = {{"code": {code:?}, "silent": False, "store_history": False, "user_expressions": {{}}, "allow_stdin": False}}
ws.send(json.dumps({{"header": header, "parent_header": {{}}, "metadata": {{}}, "content": content, "channel": "shell"}}))
while True:
    said = json.loads(ws.recv())
    if said["parent_header"].get("msg_id") != id:
        continue
    if said["msg_type"] == "stream":
        print(said["content"]["text"], end="")
    if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
        break
"#
    );
    let said = client.python(&script);
    assert!(said.code == Some(0), "{said:?}");
    said.out
}

#[test]
fn a_kernel_that_an_editor_attached_to_survives_the_death_of_the_daemon() {
    let mut daemon = Daemon::start();
    let id = make(&daemon, &json!({"image": JUPYTER}));
    let before = wait_until_ready(&daemon, &id);
    let made = daemon.post(&format!("/workloads/{id}/tokens"), &json!({})).body;
    let at = (made["url"].as_str().unwrap(), made["token"].as_str().unwrap());
    let client = Client::of(&daemon, "2.0.6");
    let script = format!(
        "import json, urllib.request as web\nprint(json.load(web.urlopen('{}api/kernels?token={}', b'{{}}'))['id'])",
        at.0, at.1
    );
    let kernel = client.python(&script).out.trim().to_owned();
    assert_eq!(told(&client, at, &kernel, "kept = 41"), "");
    daemon.kill();
    daemon.restart(&[]);
    let after = wait_until_ready(&daemon, &id);
    assert_eq!(session_of(&after), session_of(&before));
    assert_eq!(after["session"]["startedAt"], before["session"]["startedAt"]);
    assert_eq!(told(&client, at, &kernel, "print(kept + 1)"), "42\n", "at the same address, with the same token");
}

/// Makes and installs a package without a network: a wheel is an archive with a module in it.
const INSTALL: &str = r#"python3 - <<'END'
import zipfile
with zipfile.ZipFile("/tmp/own-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("own.py", "word = 'kept'\n")
    info = "own-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: own\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", f"own.py,,\n{info}METADATA,,\n{info}WHEEL,,\n{info}RECORD,,\n")
END
python3 -m pip install --quiet --no-index --no-deps /tmp/own-1.0-py3-none-any.whl
python3 -c 'import own; print(own.word)'"#;

#[test]
fn packages_stay_where_somebody_asks_for_it_and_their_size_is_told() {
    let daemon = Daemon::start();
    for keeps in [true, false] {
        let id = make(&daemon, &json!({"image": JUPYTER, "keepPackages": keeps}));
        let ready = wait_until_ready(&daemon, &id);
        assert!(inside(&daemon, &ready, INSTALL).ends_with("kept\n"));
        daemon.post(&format!("/notebooks/{id}/stop"), &json!({}));
        wait_until_over(&daemon, &id);
        daemon.post(&format!("/notebooks/{id}/start"), &json!({}));
        let ready = wait_until_ready(&daemon, &id);
        let there = inside(&daemon, &ready, "python3 -c 'import own; print(own.word)' 2>&1 || true");
        assert_eq!(there == "kept\n", keeps, "{there}");
        if keeps {
            daemon.wait_until("the size of its packages", || {
                // Looking at the storage has it counted.
                assert_eq!(daemon.get("/storage").status, 200);
                look(&daemon, &id)["size"]["packagesBytes"].as_u64().filter(|bytes| *bytes > 0)
            });
        }
        daemon.post(&format!("/notebooks/{id}/stop"), &json!({}));
        wait_until_over(&daemon, &id);
    }
}

#[test]
fn a_workspace_that_is_not_there_says_so() {
    let server = GitServer::start();
    server.git(&["init", "-q"]);
    server.commit("first");
    let daemon = Daemon::start();
    let nothing = server.url().replace("/code", "/nothing");
    for (workspace, named) in [
        (json!({"git": nothing}), "nothing"),
        (json!({"git": server.url(), "ref": "no-such-branch"}), "no-such-branch"),
    ] {
        let id = make(&daemon, &json!({"image": BUSYBOX, "workspace": workspace}));
        let over = wait_until_over(&daemon, &id);
        assert_eq!(over["state"], "error", "{over:#}");
        assert!(over["message"].as_str().unwrap().contains(named), "{over:#}");
    }
}

#[test]
fn people_of_a_team_find_their_own_notebooks_among_all() {
    let daemon = Daemon::start();
    let mine = make(&daemon, &json!({"image": BUSYBOX, "name": "mine", "start": false}));
    let made = daemon.run(&["user", "create", "ada", "--scope", "write"]);
    let printed = String::from_utf8_lossy(&made.stdout).into_owned();
    let key = printed.split_whitespace().find(|word| word.starts_with("gdk_")).unwrap_or_else(|| panic!("{made:?}"));
    let bearer = format!("Bearer {key}");
    let as_ada = |method: &str, path: &str| {
        daemon.ask_as_nobody(method, &format!("/api/v1{path}")).with("Authorization", &bearer)
    };
    let body = json!({"image": BUSYBOX, "name": "theirs", "start": false});
    let theirs = as_ada("POST", "/notebooks").json(&body).send().json()["id"].clone();
    let ids = |list: &Value| {
        list["items"].as_array().unwrap().iter().map(|notebook| notebook["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&daemon.get("/notebooks").body), [theirs.clone(), json!(mine)]);
    assert_eq!(ids(&daemon.get("/notebooks?mine=true").body), [json!(mine)]);
    assert_eq!(ids(&as_ada("GET", "/notebooks?mine=true").send().json()), [theirs]);
    assert_eq!(ids(&as_ada("GET", "/notebooks?mine=true&q=mine").send().json()), Vec::<Value>::new());
}

#[test]
fn two_starts_at_once_make_one_session() {
    let daemon = Daemon::start();
    let id = make(&daemon, &json!({"image": BUSYBOX, "command": "exec sleep 1000", "start": false}));
    assert_eq!(look(&daemon, &id)["state"], "created");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| daemon.post(&format!("/notebooks/{id}/start"), &json!({})).status)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 3, "{statuses:?}");
}

#[test]
fn a_full_disk_starts_no_notebook_and_ends_none() {
    let Some(disk) = Disk::mount() else { return };
    let mut daemon = disk.daemon(&[("GRADIENTD_ENGINE__STOP_GRACE", "2s"), ("GRADIENTD_DISK__MIN_FREE", "4MiB")]);
    daemon.restart(&[]);
    let id = make(&daemon, &json!({"image": JUPYTER}));
    let before = wait_until_ready(&daemon, &id);
    inside(&daemon, &before, "echo kept > /notebooks/kept.txt");
    let other = make(&daemon, &json!({"image": JUPYTER, "start": false}));

    disk.fill_all_but(2 << 20);
    wait_for_disk(&daemon, "full");
    assert_full(&daemon.post(&format!("/notebooks/{other}/start"), &json!({})));
    assert_eq!(look(&daemon, &other)["state"], "created");
    let written = inside(&daemon, &before, "dd if=/dev/zero of=/notebooks/big bs=1M count=8 2>&1 || true");
    assert!(written.contains("No space left"), "{written}");
    let still = look(&daemon, &id);
    assert_eq!((&still["state"], session_of(&still)), (&json!("running"), session_of(&before)), "{still:#}");

    disk.free();
    inside(&daemon, &before, "rm /notebooks/big");
    daemon.wait_until("room", || (daemon.get("/box").body["disk"]["state"] != "full").then_some(()));
    assert_eq!(inside(&daemon, &before, "cat /notebooks/kept.txt"), "kept\n");
    assert_eq!(daemon.post(&format!("/notebooks/{other}/start"), &json!({})).status, 200);
    wait_until_ready(&daemon, &other);
}
