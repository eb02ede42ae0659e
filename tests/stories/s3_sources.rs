//! Places on S3 are files in notebooks: they come while a session runs, are read and written, survive what
//! happens to the daemon and to the program that serves them, and say what is wrong when they cannot come.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, docker},
    s3::{S3, secret},
};

/// Stands in for a notebook's server.
const SERVER: &str = "exec httpd -f -p 8888";
/// Settings of a box whose users may ask services that listen on its loopback, where the test's own does.
const LOCAL: [(&str, &str); 2] =
    [("GRADIENTD_S3_SOURCES__IMAGE", "gradient-test/rclone:latest"), ("GRADIENTD_STORAGE__IMPORT_LOCAL", "true")];

fn box_with_sources() -> Option<Daemon> {
    Daemon::start_on_mount(true, &LOCAL)
}

/// Makes a notebook and waits until its session runs.
fn start(daemon: &Daemon) -> String {
    let made = daemon.post("/notebooks", &json!({"image": BUSYBOX, "command": SERVER}));
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap().to_owned();
    daemon.wait_until("its session", || Some(look(daemon, &id)).filter(|notebook| notebook["ready"] == true));
    id
}

fn look(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/notebooks/{id}")).body
}

fn stop(daemon: &Daemon, id: &str) {
    assert_eq!(daemon.post(&format!("/notebooks/{id}/stop"), &json!({})).status, 200);
    daemon.wait_until("the end of its session", || Some(look(daemon, id)).filter(|now| now["phase"].is_null()));
}

fn set_secret(daemon: &Daemon, value: &str) {
    let set = daemon.put("/secrets", &json!({"name": "LAB", "value": value}));
    assert!(matches!(set.status, 200 | 201), "{set:?}");
}

fn add(daemon: &Daemon, id: &str, body: &Value) {
    let put = daemon.put(&format!("/notebooks/{id}/integrations/lab"), body);
    assert_eq!(put.status, 200, "{put:?}\n{}", daemon.log());
}

fn integration(daemon: &Daemon, id: &str) -> Value {
    let found = daemon.get(&format!("/notebooks/{id}/integrations"));
    assert_eq!(found.status, 200, "{found:?}");
    let items = found.body["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == "lab").cloned().unwrap_or(Value::Null)
}

fn wait_for(daemon: &Daemon, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    daemon.wait_until(what, || Some(integration(daemon, id)).filter(&is))
}

fn wait_until_mounted(daemon: &Daemon, id: &str) {
    wait_for(daemon, id, "the place is mounted", |item| item["state"] == "mounted");
}

fn wait_until_failed(daemon: &Daemon, id: &str) -> String {
    let failed = wait_for(daemon, id, "the place fails", |item| item["state"] == "failed");
    failed["message"].as_str().unwrap().to_owned()
}

/// Runs a shell in a container under some user and returns what it printed.
fn run_in(container: &str, user: &str, command: &str) -> String {
    let ran = Command::new("docker").args(["exec", "-u", user, container, "sh", "-c", command]).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn session_container(daemon: &Daemon, id: &str) -> String {
    daemon.container_of(look(daemon, id)["session"]["id"].as_str().unwrap(), 1)
}

/// Returns the containers that serve places.
fn servers(daemon: &Daemon) -> Vec<String> {
    daemon.containers().into_iter().filter(|name| name.contains("-source-")).collect()
}

fn mounted_beneath(dir: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.contains(&format!(" {}/sources/", dir.display()))
}

/// Waits until nothing of a place is left on the machine.
fn wait_until_gone(daemon: &Daemon) {
    daemon.wait_until("its program and its mount go", || {
        (servers(daemon).is_empty() && !mounted_beneath(&daemon.data())).then_some(())
    });
    daemon.wait_until("its directories go", || {
        let left = std::fs::read_dir(daemon.data().join("sources")).unwrap().flatten();
        left.flat_map(|session| std::fs::read_dir(session.path()).into_iter().flatten()).next().is_none().then_some(())
    });
}

fn wait_for_object(daemon: &Daemon, s3: &S3, path: &str, text: &str) {
    daemon.wait_until(&format!("{path} is in the bucket"), || {
        std::fs::read_to_string(s3.bucket().join(path)).ok().filter(|found| found == text)
    });
}

fn bucket() -> S3 {
    let s3 = S3::start();
    put_first(&s3);
    s3
}

fn put_first(s3: &S3) {
    std::fs::create_dir(s3.bucket().join("raw")).unwrap();
    std::fs::write(s3.bucket().join("raw/first.txt"), "from the bucket").unwrap();
}

#[test]
fn a_bucket_that_comes_while_a_notebook_runs_is_read_and_written_and_the_last_write_is_sent() {
    let image = LOCAL[0];
    let Some(daemon) = Daemon::start_on_mount(true, &[image]) else { return };
    let s3 = S3::start_on_all();
    put_first(&s3);
    set_secret(&daemon, secret());
    let id = start(&daemon);
    let container = session_container(&daemon, &id);
    let gateway = docker(&["network", "inspect", "gradientd", "-f", "{{(index .IPAM.Config 0).Gateway}}"]);
    add(&daemon, &id, &s3.source(&s3.endpoint_at(&gateway), "raw"));
    wait_until_mounted(&daemon, &id);
    assert_eq!(run_in(&container, "0", "cat /datasets/lab/first.txt"), "from the bucket");
    // Whatever user a container runs under may write, in place as well.
    run_in(&container, "1000", "mkdir /datasets/lab/deep && echo one > /datasets/lab/deep/new.txt");
    run_in(&container, "1000", "echo two >> /datasets/lab/deep/new.txt");
    wait_for_object(&daemon, &s3, "raw/deep/new.txt", "one\ntwo\n");
    // Nothing else of the machine came along, and nothing can be put beside it.
    assert_eq!(run_in(&container, "0", "ls /opt/gradientd/sources").trim(), "lab");
    run_in(
        &container,
        "0",
        "! touch /opt/gradientd/sources/x 2>/dev/null && ! touch /opt/gradientd/sources/lab/x 2>/dev/null",
    );

    let server = servers(&daemon).remove(0);
    let words = docker(&["inspect", "-f", "{{.Path}} {{.Args}} {{.Config.Labels}} {{.HostConfig.Binds}}", &server]);
    assert!(!words.contains(secret()), "{words}");
    assert!(!docker(&["logs", &server]).contains(secret()));

    run_in(&container, "0", "echo last > /datasets/lab/last.txt");
    stop(&daemon, &id);
    wait_until_gone(&daemon);
    assert_eq!(std::fs::read_to_string(s3.bucket().join("raw/last.txt")).unwrap(), "last\n");
    assert_eq!(std::fs::read_to_string(s3.bucket().join("raw/first.txt")).unwrap(), "from the bucket");
    for path in [format!("/notebooks/{id}"), format!("/notebooks/{id}/integrations"), "/secrets".to_owned()] {
        assert!(!daemon.get(&path).body.to_string().contains(secret()), "{path}");
    }
    assert!(!daemon.log().contains(secret()));
}

#[test]
fn a_wrong_key_is_told_while_the_notebook_runs_and_the_right_one_helps_and_it_goes_when_it_is_taken_away() {
    let Some(daemon) = box_with_sources() else { return };
    let s3 = bucket();
    set_secret(&daemon, "not-the-key-of-this-bucket");
    let id = start(&daemon);
    add(&daemon, &id, &s3.source(&s3.endpoint(), "raw"));
    let words = wait_until_failed(&daemon, &id);
    assert!(words.contains("set the secret again") && words.contains("SignatureDoesNotMatch"), "{words}");
    assert_eq!(look(&daemon, &id)["state"], "running");
    assert!(!daemon.log().contains("not-the-key-of-this-bucket"));

    set_secret(&daemon, secret());
    wait_until_mounted(&daemon, &id);
    let container = session_container(&daemon, &id);
    run_in(&container, "0", "echo sent > /datasets/lab/sent.txt");
    assert_eq!(daemon.delete(&format!("/notebooks/{id}/integrations/lab")).status, 200);
    wait_until_gone(&daemon);
    assert_eq!(std::fs::read_to_string(s3.bucket().join("raw/sent.txt")).unwrap(), "sent\n");
    assert_eq!(run_in(&container, "0", "ls /datasets").trim(), "");
    assert_eq!(look(&daemon, &id)["state"], "running");
}

#[test]
fn a_bucket_that_is_not_there_and_a_service_that_is_away_are_told_in_words() {
    let Some(daemon) = box_with_sources() else { return };
    let mut s3 = bucket();
    set_secret(&daemon, secret());
    let id = start(&daemon);
    let mut nowhere = s3.source(&s3.endpoint(), "");
    nowhere["url"] = json!("s3://nowhere");
    add(&daemon, &id, &nowhere);
    let words = wait_until_failed(&daemon, &id);
    assert!(words.contains("there is no such bucket"), "{words}");
    s3.stop();
    add(&daemon, &id, &s3.source(&s3.endpoint(), "raw"));
    wait_for(&daemon, &id, "the service is away", |item| {
        item["message"].as_str().is_some_and(|words| words.contains("does not answer at this endpoint"))
    });
    s3.resume();
    wait_until_mounted(&daemon, &id);
}

#[test]
fn a_daemon_that_is_killed_leaves_the_files_readable_and_finds_them_again() {
    let Some(mut daemon) = box_with_sources() else { return };
    let s3 = bucket();
    set_secret(&daemon, secret());
    let id = start(&daemon);
    let container = session_container(&daemon, &id);
    // Asked for in the file among the notebook's own.
    let file = format!(
        "integrations:\n  lab:\n    type: s3\n    url: s3://lab/raw\n    endpoint: {}\n    accessKeyId: {}\n    secretAccessKey: secret:LAB\n",
        s3.endpoint(),
        s3.source("", "")["accessKeyId"].as_str().unwrap(),
    );
    run_in(
        &container,
        "0",
        &format!("mkdir /notebooks/.gradient && printf '{file}' > /notebooks/.gradient/settings.yaml"),
    );
    wait_until_mounted(&daemon, &id);
    let server = docker(&["inspect", "-f", "{{.Id}}", &servers(&daemon)[0]]);
    daemon.kill();
    assert_eq!(run_in(&container, "0", "cat /datasets/lab/first.txt"), "from the bucket");
    run_in(&container, "0", "echo alone > /datasets/lab/alone.txt");
    daemon.restart(&[]);
    assert_eq!(run_in(&container, "0", "cat /datasets/lab/first.txt"), "from the bucket");
    wait_until_mounted(&daemon, &id);
    assert_eq!(docker(&["inspect", "-f", "{{.Id}}", &servers(&daemon)[0]]), server, "the same program serves it");
    wait_for_object(&daemon, &s3, "raw/alone.txt", "alone\n");

    // Also where the file broke meanwhile, so that nobody can know what it asked for.
    run_in(&container, "0", "echo '  - broken' >> /notebooks/.gradient/settings.yaml");
    daemon.kill();
    daemon.restart(&[]);
    daemon.wait_until("the mistake is told", || {
        look(&daemon, &id)["dataProblems"].as_array().filter(|problems| !problems.is_empty()).map(|_| ())
    });
    assert_eq!(run_in(&container, "0", "cat /datasets/lab/first.txt"), "from the bucket");
    run_in(&container, "0", &format!("printf '{file}' > /notebooks/.gradient/settings.yaml"));
    wait_until_mounted(&daemon, &id);
    assert_eq!(docker(&["inspect", "-f", "{{.Id}}", &servers(&daemon)[0]]), server, "it was left at work");

    // Its program dies, and its mount is left behind dead.
    docker(&["kill", &server]);
    daemon.wait_until("another program serves it", || {
        let now = servers(&daemon).pop()?;
        (docker(&["inspect", "-f", "{{.Id}}", &now]) != server).then_some(())
    });
    wait_until_mounted(&daemon, &id);
    daemon.wait_until("its files are there again", || {
        let cat = ["exec", &container, "cat", "/datasets/lab/first.txt"];
        (docker(&cat) == "from the bucket").then_some(())
    });
    // And once more, with nobody there to see it, for good.
    let server = servers(&daemon).remove(0);
    daemon.kill();
    docker(&["kill", &server]);
    docker(&["kill", &container]);
    daemon.restart(&[]);
    wait_until_gone(&daemon);
    assert!(s3.bucket().join("raw/first.txt").exists() && s3.bucket().join("raw/alone.txt").exists());
}

#[cfg(feature = "faults")]
#[test]
fn wherever_the_daemon_is_killed_one_program_serves_a_place_and_none_is_left() {
    use crate::survive_faults::{OF_SOURCES, points};

    let Some(mut daemon) = box_with_sources() else { return };
    let s3 = bucket();
    set_secret(&daemon, secret());
    let points: Vec<String> = points().into_iter().filter(|point| point.starts_with(OF_SOURCES)).collect();
    assert_eq!(points.len(), 5, "{points:?}");
    for point in points {
        daemon.restart(&[("GRADIENTD_FAULT", &point)]);
        let id = start(&daemon);
        let is_last = point.starts_with("source.stop");
        // A daemon that dies at once may not answer.
        let body = s3.source(&s3.endpoint(), "raw").to_string();
        let way = format!("/notebooks/{id}/integrations/lab");
        let _ = daemon.try_send("PUT", &way, "application/json", body.as_bytes());
        if is_last {
            wait_until_mounted(&daemon, &id);
            let _ = daemon.try_send("DELETE", &way, "application/json", b"");
        }
        daemon.wait_until_dead();
        daemon.restart(&[]);
        if !is_last {
            wait_until_mounted(&daemon, &id);
            assert_eq!(servers(&daemon).len(), 1, "{point}");
        }
        stop(&daemon, &id);
        wait_until_gone(&daemon);
        assert_eq!(daemon.containers(), Vec::<String>::new(), "{point}");
    }
    assert_eq!(std::fs::read_to_string(s3.bucket().join("raw/first.txt")).unwrap(), "from the bucket");
}

#[test]
fn an_admin_switches_places_on_s3_off_and_on_again() {
    let Some(mut daemon) = box_with_sources() else { return };
    let s3 = bucket();
    set_secret(&daemon, secret());
    let id = start(&daemon);
    add(&daemon, &id, &s3.source(&s3.endpoint(), "raw"));
    wait_until_mounted(&daemon, &id);
    daemon.kill();
    daemon.restart(&[("GRADIENTD_S3_SOURCES__ENABLED", "false")]);
    let words = wait_until_failed(&daemon, &id);
    assert!(words.contains("s3_sources.enabled"), "{words}");
    wait_until_gone(&daemon);
    let body = s3.source(&s3.endpoint(), "raw");
    let refused = daemon.put(&format!("/notebooks/{id}/integrations/more"), &body);
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("s3_sources_off")), "{refused:?}");
    assert_eq!(daemon.get(&format!("/notebooks/{id}/integrations")).body["s3Sources"], json!(false));
    let doctor =
        String::from_utf8(daemon.run_as(&["doctor"], &[("GRADIENTD_S3_SOURCES__ENABLED", "false")]).stdout).unwrap();
    assert!(doctor.contains("switched off for notebooks"), "{doctor}");
    daemon.kill();
    daemon.restart(&[("GRADIENTD_S3_SOURCES__ENABLED", "true")]);
    wait_until_mounted(&daemon, &id);
    assert!(s3.bucket().join("raw/first.txt").exists());
}

#[test]
fn a_box_that_shares_no_mounts_says_what_to_run_and_its_notebooks_start() {
    let Some(daemon) = Daemon::start_on_mount(false, &LOCAL) else { return };
    let s3 = bucket();
    set_secret(&daemon, secret());
    let id = start(&daemon);
    add(&daemon, &id, &s3.source(&s3.endpoint(), "raw"));
    let words = wait_until_failed(&daemon, &id);
    let way = format!("mount --make-rshared {}", daemon.data().display());
    assert!(words.contains(&way), "{words}");
    let doctor = String::from_utf8(daemon.run(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains(&way), "{doctor}");
    assert_eq!(look(&daemon, &id)["state"], "running");
}
