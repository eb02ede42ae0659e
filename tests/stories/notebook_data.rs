//! Data comes and goes in notebooks: by the API, by the file, while a session runs and while none does.

use std::process::Command;

use serde_json::{Value, json};

#[cfg(feature = "faults")]
use crate::survive_faults::{OF_NOTEBOOKS, points};
use crate::{
    daemon::{BUSYBOX, Daemon},
    data::Version,
    s3::S3,
    wire::Reply,
};

/// Stands in for a notebook's server.
const SERVER: &str = "httpd -f -p 8888";
const FILE: &str = "/notebooks/.gradient/settings.yaml";

fn make(daemon: &Daemon, more: &Value) -> String {
    let mut notebook = json!({"image": BUSYBOX, "command": SERVER});
    notebook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = daemon.post("/notebooks", &notebook);
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

fn look(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/notebooks/{id}")).body
}

fn running(daemon: &Daemon, id: &str) -> Value {
    daemon.wait_until("its session", || {
        let notebook = look(daemon, id);
        assert!(!["failed", "error"].contains(&notebook["state"].as_str().unwrap()), "{notebook:#}\n{}", daemon.log());
        Some(notebook).filter(|notebook| notebook["state"] == "running")
    })
}

fn stop(daemon: &Daemon, id: &str) {
    assert_eq!(daemon.post(&format!("/notebooks/{id}/stop"), &json!({})).status, 200);
    daemon.wait_until("the end of its session", || Some(look(daemon, id)).filter(|now| now["phase"].is_null()));
}

/// Runs a shell in the container of a notebook's session and returns what it printed, whatever came of it.
fn inside(daemon: &Daemon, id: &str, command: &str) -> String {
    let container = daemon.container_of(look(daemon, id)["session"]["id"].as_str().unwrap(), 1);
    let ran = Command::new("docker").args(["exec", &container, "sh", "-c", command]).output().unwrap();
    String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()
}

/// Writes the file from inside.
fn write(daemon: &Daemon, id: &str, text: &str) {
    let said = inside(daemon, id, &format!("mkdir -p /notebooks/.gradient && cat > {FILE} <<'END'\n{text}\nEND"));
    assert_eq!(said, "");
}

fn data(daemon: &Daemon, id: &str) -> Value {
    let found = daemon.get(&format!("/notebooks/{id}/integrations"));
    assert_eq!(found.status, 200, "{found:?}\n{}", daemon.log());
    found.body
}

fn item(data: &Value, name: &str) -> Value {
    let items = data["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == name).cloned().unwrap_or(Value::Null)
}

fn wait_for(daemon: &Daemon, id: &str, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    daemon.wait_until(&format!("{name}: {what}"), || Some(item(&data(daemon, id), name)).filter(&is))
}

fn mounted(daemon: &Daemon, id: &str, name: &str) -> Value {
    wait_for(daemon, id, name, "mounted", |item| item["state"] == "mounted")
}

fn add(daemon: &Daemon, id: &str, name: &str, reference: &str) {
    let body = json!({"type": "dataset", "ref": reference});
    let put = daemon.put(&format!("/notebooks/{id}/integrations/{name}"), &body);
    assert_eq!(put.status, 200, "{put:?}\n{}", daemon.log());
}

fn take_away(daemon: &Daemon, id: &str, name: &str) {
    let removed = daemon.delete(&format!("/notebooks/{id}/integrations/{name}"));
    assert_eq!(removed.status, 200, "{removed:?}\n{}", daemon.log());
}

fn wait_until_gone(daemon: &Daemon, id: &str, name: &str) {
    daemon.wait_until(&format!("{name} to go"), || {
        inside(daemon, id, "ls /datasets").lines().all(|line| line != name).then_some(())
    });
}

/// Counts the live uses of a version that hold off its removal.
fn uses(daemon: &Daemon, version: &Version) -> i64 {
    daemon.count(&format!(
        "SELECT count(*) FROM version_uses x JOIN versions v ON v.seq = x.version JOIN workloads w ON w.id = x.job_id
         WHERE v.id = '{}' AND x.released_at IS NULL AND w.teardown_finished_at IS NULL",
        version.version
    ))
}

fn wait_until_let_go(daemon: &Daemon, version: &Version) {
    daemon.wait_until("its use to end", || (uses(daemon, version) == 0).then_some(()));
}

/// Makes a further version of a dataset.
fn next(daemon: &Daemon, dataset: &str, files: &[(&str, &[u8])]) -> Version {
    let version = daemon.draft(dataset);
    daemon.fill(&version, files);
    daemon.commit(&version);
    version
}

#[test]
fn a_dataset_is_mounted_moved_to_another_version_and_taken_away_while_it_runs() {
    let daemon = Daemon::start();
    let first = daemon.filled("mnist", &[("deep/a", b"one")]);
    let second = next(&daemon, &first.dataset, &[("deep/a", b"two")]);
    let id = make(&daemon, &json!({}));
    running(&daemon, &id);
    assert_eq!(data(&daemon, &id)["hasFile"], false);

    add(&daemon, &id, "digits", &first.reference());
    let item = mounted(&daemon, &id, "digits");
    assert_eq!((&item["path"], &item["origin"]), (&json!("/datasets/digits"), &json!("file")));
    assert_eq!((&item["version"]["id"], &item["version"]["newer"]), (&json!(first.version), &json!(second.version)));
    assert_eq!(inside(&daemon, &id, "cat /datasets/digits/deep/a"), "one");
    assert!(inside(&daemon, &id, "echo x > /datasets/digits/deep/a").contains("Read-only"), "it cannot be written");
    let file = inside(&daemon, &id, &format!("cat {FILE}"));
    let said = format!("  digits:\n    type: dataset\n    id: {}\n    version: {}\n", first.dataset, first.version);
    assert!(file.contains(&said), "{file}");
    // In use, so it is not deleted by mistake.
    assert_eq!(daemon.delete(&first.at("")).body["code"], "in_use");

    add(&daemon, &id, "digits", "mnist:latest");
    daemon.wait_until("the other version", || {
        (inside(&daemon, &id, "cat /datasets/digits/deep/a") == "two").then_some(())
    });
    wait_until_let_go(&daemon, &first);
    assert_eq!(uses(&daemon, &second), 1);

    // `latest` stays what it was, until somebody asks again.
    let third = next(&daemon, &first.dataset, &[("deep/a", b"three")]);
    assert_eq!(mounted(&daemon, &id, "digits")["version"]["newer"], json!(third.version));
    assert_eq!(inside(&daemon, &id, "cat /datasets/digits/deep/a"), "two");
    add(&daemon, &id, "digits", "mnist:latest");
    daemon.wait_until("the newest version", || {
        (inside(&daemon, &id, "cat /datasets/digits/deep/a") == "three").then_some(())
    });
    wait_until_let_go(&daemon, &second);

    // What somebody has open stays open.
    inside(
        &daemon,
        &id,
        "(exec 3< /datasets/digits/deep/a; echo there > /tmp/open; while [ ! -e /tmp/go ]; do :; done; cat <&3 > /tmp/read) > /dev/null 2>&1 &",
    );
    daemon.wait_until("a program that reads", || inside(&daemon, &id, "cat /tmp/open").contains("there").then_some(()));
    take_away(&daemon, &id, "digits");
    wait_until_gone(&daemon, &id, "digits");
    wait_until_let_go(&daemon, &third);
    inside(&daemon, &id, "touch /tmp/go");
    daemon.wait_until("what it read", || (inside(&daemon, &id, "cat /tmp/read") == "three").then_some(()));
    assert_eq!(data(&daemon, &id)["items"], json!([]));
    assert_eq!(daemon.delete(&format!("/notebooks/{id}/integrations/digits")).status, 404);

    // What is deleted by force stays where it is mounted, and says so.
    add(&daemon, &id, "again", &second.reference());
    mounted(&daemon, &id, "again");
    assert_eq!(daemon.delete(&second.at("?force=true")).status, 204);
    let item = mounted(&daemon, &id, "again");
    assert_eq!((&item["version"]["deleted"], item["message"].is_string()), (&json!(true), true), "{item:#}");
    assert_eq!(inside(&daemon, &id, "cat /datasets/again/deep/a"), "two");
    take_away(&daemon, &id, "again");
    wait_until_let_go(&daemon, &second);
}

#[test]
fn the_file_is_followed_while_it_runs_and_at_every_start() {
    let daemon = Daemon::start();
    let words = daemon.filled("words", &[("a", b"one")]);
    daemon.filled("mnist", &[("a", b"digits")]);
    let id = make(&daemon, &json!({"datasets": [{"ref": "words", "name": "set"}]}));
    running(&daemon, &id);
    assert_eq!(mounted(&daemon, &id, "set")["origin"], "settings");
    write(
        &daemon,
        &id,
        &format!(
            "# mine\nintegrations:\n  mine:\n    type: dataset\n    id: {}\n    version: {}",
            words.dataset, words.version
        ),
    );
    mounted(&daemon, &id, "mine");
    assert_eq!(inside(&daemon, &id, "cat /datasets/mine/a /datasets/set/a"), "oneone");

    // Half typed: what is there stays, and people are told.
    write(&daemon, &id, "integrations:\n  mine: {type: dataset, id: mnist");
    let problem = daemon.wait_until("the problem", || {
        let notebook = look(&daemon, &id);
        notebook["dataProblems"][0]["message"].as_str().map(str::to_owned)
    });
    assert!(problem.starts_with("line "), "{problem}");
    assert_eq!(inside(&daemon, &id, "cat /datasets/mine/a"), "one");
    let refused = daemon.put(&format!("/notebooks/{id}/integrations/x"), &json!({"type": "dataset", "ref": "mnist"}));
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("settings_unreadable")));

    // One that is wrong spoils no other; the file counts more than the settings.
    write(
        &daemon,
        &id,
        "integrations:\n  mine: {type: dataset, id: mnist}\n  set: {type: dataset, id: mnist}\n  none: {type: dataset, id: nothing}\n  ../up: {type: dataset, id: mnist}\n  lab: {type: s3, url: s3://lab, region: r, accessKeyId: A, secretAccessKey: wJalrXUtn}",
    );
    daemon.wait_until("the other dataset", || {
        (inside(&daemon, &id, "cat /datasets/mine/a /datasets/set/a") == "digitsdigits").then_some(())
    });
    let failed = wait_for(&daemon, &id, "none", "failed", |item| item["state"] == "failed");
    assert!(failed["message"].as_str().unwrap().contains("no dataset “nothing”"), "{failed:#}");
    let now = data(&daemon, &id);
    let wrong: Vec<_> = now["problems"].as_array().unwrap().iter().map(|problem| problem["name"].clone()).collect();
    assert_eq!(wrong, ["../up", "lab"]);
    assert!(!now.to_string().contains("wJalr") && !daemon.log().contains("wJalr"));
    assert_eq!(inside(&daemon, &id, "ls /datasets"), "mine\nset\n");

    // A start takes the file as well, and no mistake in it holds one up.
    stop(&daemon, &id);
    let state = |name| item(&data(&daemon, &id), name)["state"].clone();
    assert_eq!((state("mine"), state("none")), (json!("not_running"), json!("failed")));
    let command = format!("cat /datasets/mine/a; echo; ls /datasets; exec {SERVER}");
    let changed = daemon.patch(&format!("/notebooks/{id}"), &json!({"command": command}));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(daemon.post(&format!("/notebooks/{id}/start"), &json!({})).status, 200);
    let session = running(&daemon, &id)["session"]["id"].as_str().unwrap().to_owned();
    let log = daemon.wait_until("its log", || Some(daemon.text_of(&session)).filter(|log| log.contains("set")));
    assert!(log.contains("digits\nmine\nset\n"), "{log}");
    assert!(log.contains("nothing") && log.contains("../up"), "{log}");

    // Taken out of the settings as well, or it would come again.
    for name in ["set", "mine", "none"] {
        take_away(&daemon, &id, name);
    }
    let left = daemon.delete(&format!("/notebooks/{id}/integrations/..%2Fup"));
    assert_eq!(left.status, 200, "{left:?}");
    wait_until_gone(&daemon, &id, "set");
    assert_eq!(look(&daemon, &id)["spec"]["datasets"], json!([]));

    // Settings that are changed while it runs come at once, too.
    let changed = daemon.patch(&format!("/notebooks/{id}"), &json!({"datasets": [{"ref": "mnist"}]}));
    assert_eq!(changed.status, 200, "{changed:?}");
    mounted(&daemon, &id, "mnist");
    // Nothing but what is said is checked.
    assert_eq!(daemon.delete("/datasets/words?force=true").status, 204);
    assert_eq!(daemon.patch(&format!("/notebooks/{id}"), &json!({"tags": ["a"]})).status, 200);
}

#[test]
fn a_link_that_somebody_planted_is_not_followed() {
    let daemon = Daemon::start();
    daemon.filled("mnist", &[("a", b"digits")]);
    let id = make(&daemon, &json!({}));
    running(&daemon, &id);
    let outside = daemon.data().join("planted");
    std::fs::create_dir(&outside).unwrap();
    let settings = outside.join("settings.yaml");
    std::fs::write(&settings, "integrations:\n  leaked: {type: dataset, id: mnist}\n").unwrap();
    let way = format!("/notebooks/{id}/integrations/x");
    let dataset = json!({"type": "dataset", "ref": "mnist"});
    for plant in [
        format!("rm -rf /notebooks/.gradient; ln -s {} /notebooks/.gradient", outside.display()),
        format!("rm -rf /notebooks/.gradient; mkdir /notebooks/.gradient; ln -s {} {FILE}", settings.display()),
        format!("rm -rf /notebooks/.gradient; mkdir /notebooks/.gradient; mkfifo {FILE}"),
        format!("rm -rf /notebooks/.gradient; mkdir -p {FILE}/x"),
        "rm -rf /notebooks/.gradient; echo x > /notebooks/.gradient".to_owned(),
    ] {
        assert_eq!(inside(&daemon, &id, &plant), "");
        let now = data(&daemon, &id);
        assert_eq!((&now["items"], now["problems"].as_array().unwrap().len()), (&json!([]), 1), "{plant}: {now:#}");
        let refused = daemon.put(&way, &dataset);
        assert_eq!(refused.status, 409, "{plant}: {refused:?}");
        assert!(std::fs::read_to_string(&settings).unwrap().contains("leaked"), "{plant}");
    }
    inside(&daemon, &id, "rm -rf /notebooks/.gradient");
    add(&daemon, &id, "x", "mnist");
    mounted(&daemon, &id, "x");
}

fn good(reply: Reply) -> Value {
    assert!((200..300).contains(&reply.status), "{} {}", reply.status, reply.text());
    reply.json()
}

#[test]
fn a_public_dataset_of_another_team_comes_while_it_runs_and_nothing_else_of_that_team() {
    let daemon = Daemon::start();
    let token = daemon.key_of_another_team("admin");
    let ask = |method: &str, path: &str| {
        daemon.ask_as_nobody(method, &format!("/api/v1{path}")).with("Authorization", &format!("Bearer {token}"))
    };
    let id = make(&daemon, &json!({}));
    running(&daemon, &id);
    let dataset =
        good(ask("POST", "/datasets").json(&json!({"name": "shared"})).send())["id"].as_str().unwrap().to_owned();
    let version = |bytes: &str| {
        let made = good(ask("POST", &format!("/datasets/{dataset}/versions")).json(&json!({})).send());
        let version = Version { dataset: dataset.clone(), version: made["version"].as_str().unwrap().to_owned() };
        good(ask("PUT", &version.file("deep/a")).body("application/octet-stream", bytes).send());
        version
    };
    let first = version("one");
    good(ask("POST", &first.at("/commit")).json(&json!({})).send());
    // A draft, and a dataset that is their own.
    version("draft");
    let private = json!({"type": "dataset", "ref": first.reference()});
    let refused = daemon.put(&format!("/notebooks/{id}/integrations/theirs"), &private);
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("ref")), "{refused:?}");
    good(ask("PATCH", &format!("/datasets/{dataset}")).json(&json!({"public": true})).send());

    add(&daemon, &id, "theirs", "gradient/shared");
    let item = mounted(&daemon, &id, "theirs");
    assert_eq!((&item["version"]["public"], &item["version"]["id"]), (&json!(true), &json!(first.version)));
    assert_eq!(inside(&daemon, &id, "cat /datasets/theirs/deep/a"), "one");
    assert!(
        inside(&daemon, &id, "rm -f /datasets/theirs/deep/a; echo x >> /datasets/theirs/deep/a").contains("Read-only")
    );
    let seen = inside(&daemon, &id, "find /opt/gradientd -type f -name a; ls /datasets/theirs/..");
    assert_eq!(
        seen,
        format!("/opt/gradientd/linked/{}-{}/deep/a\n{}-{}\n", dataset, first.version, dataset, first.version)
    );

    take_away(&daemon, &id, "theirs");
    wait_until_gone(&daemon, &id, "theirs");
    wait_until_let_go(&daemon, &first);
    daemon.wait_until("its tree to go", || inside(&daemon, &id, "ls /opt/gradientd/linked").is_empty().then_some(()));

    // The next start mounts it; and when that is over nothing of it is left behind.
    add(&daemon, &id, "theirs", &first.reference());
    mounted(&daemon, &id, "theirs");
    let session = look(&daemon, &id)["session"]["id"].as_str().unwrap().to_owned();
    stop(&daemon, &id);
    let linked = daemon.data().join("runs").join(&session).join("linked");
    assert_eq!(std::fs::read_dir(linked).unwrap().count(), 0);
    assert_eq!(daemon.post(&format!("/notebooks/{id}/start"), &json!({})).status, 200);
    running(&daemon, &id);
    mounted(&daemon, &id, "theirs");
    assert_eq!(inside(&daemon, &id, "cat /datasets/theirs/deep/a; ls /opt/gradientd/linked"), "one");
}

/// A large version is one whose files are still being put there: it is held up here for as long as a file exists.
#[cfg(feature = "faults")]
#[test]
fn a_large_version_of_another_team_holds_up_nobody_and_goes_with_its_session() {
    let mut daemon = Daemon::start();
    let token = daemon.key_of_another_team("admin");
    let hold = daemon.data().join("hold");
    std::fs::write(&hold, "").unwrap();
    daemon.kill();
    daemon.restart(&[("GRADIENTD_HOLD", &format!("notebook_data.take:{}", hold.display()))]);
    let ask = |method: &str, path: &str| {
        daemon.ask_as_nobody(method, &format!("/api/v1{path}")).with("Authorization", &format!("Bearer {token}"))
    };
    let made = good(ask("POST", "/datasets").json(&json!({"name": "large"})).send());
    let dataset = made["id"].as_str().unwrap().to_owned();
    let made = good(ask("POST", &format!("/datasets/{dataset}/versions")).json(&json!({})).send());
    let version = Version { dataset: dataset.clone(), version: made["version"].as_str().unwrap().to_owned() };
    good(ask("PUT", &version.file("a")).body("application/octet-stream", "one").send());
    good(ask("POST", &version.at("/commit")).json(&json!({})).send());
    daemon.filled("near", &[("a", b"here")]);
    let [id, other] = [0; 2].map(|_| make(&daemon, &json!({})));
    for id in [&id, &other] {
        running(&daemon, id);
    }
    good(ask("PATCH", &format!("/datasets/{dataset}")).json(&json!({"public": true})).send());

    add(&daemon, &id, "theirs", "gradient/large");
    wait_for(&daemon, &id, "theirs", "mounting", |item| item["state"] == "mounting");
    // In its own session and in others all else comes and goes.
    for id in [&id, &other] {
        add(&daemon, id, "near", "near");
        mounted(&daemon, id, "near");
        assert_eq!(inside(&daemon, id, "cat /datasets/near/a"), "here");
    }
    take_away(&daemon, &other, "near");
    wait_until_gone(&daemon, &other, "near");
    assert_eq!(item(&data(&daemon, &id), "theirs")["state"], "mounting");
    // A session that ends meanwhile gets nothing any more.
    add(&daemon, &other, "theirs", "gradient/large");
    wait_for(&daemon, &other, "theirs", "mounting", |item| item["state"] == "mounting");
    let session = look(&daemon, &other)["session"]["id"].as_str().unwrap().to_owned();
    stop(&daemon, &other);

    std::fs::remove_file(&hold).unwrap();
    mounted(&daemon, &id, "theirs");
    assert_eq!(inside(&daemon, &id, "cat /datasets/theirs/a"), "one");
    let linked = daemon.data().join("runs").join(&session).join("linked");
    assert_eq!(std::fs::read_dir(linked).unwrap().count(), 0);
    take_away(&daemon, &id, "theirs");
    wait_until_let_go(&daemon, &version);
}

#[test]
fn a_version_on_s3_is_brought_here_while_it_runs() {
    let daemon = Daemon::start();
    let mut s3 = S3::start();
    let dataset = s3.dataset(&daemon, "bucketed");
    let version = daemon.draft(&dataset);
    daemon.fill(&version, &[("a", b"far away")]);
    daemon.commit(&version);
    let id = make(&daemon, &json!({}));
    running(&daemon, &id);
    // While the bucket is away it says why, and nothing else is held up.
    s3.stop();
    add(&daemon, &id, "far", "bucketed");
    daemon.filled("near", &[("a", b"here")]);
    add(&daemon, &id, "near", "near");
    mounted(&daemon, &id, "near");
    let failed = wait_for(&daemon, &id, "far", "failed", |item| item["state"] == "failed");
    assert!(failed["message"].as_str().unwrap().contains("bucketed"), "{failed:#}");
    s3.resume();
    take_away(&daemon, &id, "far");
    add(&daemon, &id, "far", &version.reference());
    mounted(&daemon, &id, "far");
    assert_eq!(inside(&daemon, &id, "cat /datasets/far/a"), "far away");
    assert_eq!(uses(&daemon, &version), 1);
}

#[test]
fn an_s3_source_names_its_key_and_never_shows_it() {
    let daemon = Daemon::start();
    let id = make(&daemon, &json!({"start": false}));
    let way = format!("/notebooks/{id}/integrations/lab");
    let source = |secret: &str| json!({"type": "s3", "url": "s3://lab/raw", "endpoint": "http://127.0.0.1:9", "accessKeyId": "LAB", "secretAccessKey": secret});
    let refused = daemon.put(&way, &source("wJalrXUtn"));
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("secretAccessKey")));
    assert!(!refused.body.to_string().contains("wJalr"));
    let refused = daemon.put(&way, &source("secret:LAB_S3"));
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("unknown_secret")));
    assert_eq!(daemon.put("/secrets", &json!({"name": "LAB_S3", "value": "wJalrXUtn"})).status, 201);
    let put = daemon.put(&way, &source("secret:LAB_S3"));
    assert_eq!(put.status, 200, "{put:?}");
    let item = item(&put.body, "lab");
    assert_eq!((&item["state"], &item["s3"]["secretAccessKey"]), (&json!("not_running"), &json!("secret:LAB_S3")));
    assert_eq!(daemon.post(&format!("/notebooks/{id}/start"), &json!({})).status, 200);
    running(&daemon, &id);
    wait_for(&daemon, &id, "lab", "an answer", |item| ["failed", "mounted"].contains(&item["state"].as_str().unwrap()));
    assert!(!daemon.log().contains("wJalr") && !data(&daemon, &id).to_string().contains("wJalr"));
    // While the file is broken it stays where it is, beneath the mistake.
    let whole = inside(&daemon, &id, &format!("cat {FILE}"));
    write(&daemon, &id, &format!("{whole}\n  - broken"));
    let broken = daemon.wait_until("the mistake", || {
        let now = look(&daemon, &id)["dataProblems"].clone();
        now.as_array().unwrap().iter().any(|problem| problem["name"].is_null()).then(|| data(&daemon, &id))
    });
    assert!(broken["problems"][0]["message"].as_str().unwrap().starts_with("line "), "{broken:#}");
    let lab = broken["items"].as_array().unwrap().iter().find(|item| item["name"] == "lab").unwrap();
    assert!(["failed", "mounted"].contains(&lab["state"].as_str().unwrap()), "{lab:#}");
    write(&daemon, &id, &whole);
    let file = daemon.ask("GET", &format!("/api/v1/files/{id}/content/.gradient/settings.yaml")).send();
    assert_eq!((file.status, file.text().contains("secret:LAB_S3")), (200, true), "{}", file.text());
}

/// Kills the daemon at every point on the way. What a link leads to is in use, also while nobody looks.
#[cfg(feature = "faults")]
#[test]
fn nothing_is_mounted_that_could_be_removed_wherever_the_daemon_is_killed() {
    let mut daemon = Daemon::start();
    let versions = [daemon.filled("odd", &[("a", b"odd")]), daemon.filled("even", &[("a", b"even")])];
    let id = make(&daemon, &json!({}));
    running(&daemon, &id);
    let session = look(&daemon, &id)["session"]["id"].as_str().unwrap().to_owned();
    let links = daemon.data().join("runs").join(&session).join("datasets");
    let points: Vec<String> =
        points().into_iter().filter(|point| OF_NOTEBOOKS.iter().any(|kind| point.starts_with(kind))).collect();
    assert_eq!(points.len(), 6, "{points:?}");
    let mut round = 0;
    for point in points {
        // One is replaced by the other, which mounts, unmounts and lets go; a second name comes and goes.
        round += 1;
        let [new, old] = [&versions[round % 2], &versions[(round + 1) % 2]];
        add(&daemon, &id, "data", &old.reference());
        add(&daemon, &id, "side", &old.reference());
        mounted(&daemon, &id, "side");
        mounted(&daemon, &id, "data");
        daemon.kill();
        daemon.restart(&[("GRADIENTD_FAULT", &point)]);
        let _ = daemon.try_send("DELETE", &format!("/notebooks/{id}/integrations/side"), "application/json", b"");
        let body = json!({"type": "dataset", "ref": new.reference()}).to_string();
        let _ =
            daemon.try_send("PUT", &format!("/notebooks/{id}/integrations/data"), "application/json", body.as_bytes());
        daemon.wait_until_dead();
        for entry in std::fs::read_dir(&links).unwrap() {
            let target = std::fs::read_link(entry.unwrap().path()).unwrap();
            let version = versions.iter().find(|version| target.to_string_lossy().contains(&version.version)).unwrap();
            assert!(uses(&daemon, version) > 0, "{point}: {} is mounted and not in use", target.display());
        }
        daemon.restart(&[]);
        // Asked again where the kill came before the request was taken.
        if item(&data(&daemon, &id), "side") != Value::Null {
            take_away(&daemon, &id, "side");
        }
        add(&daemon, &id, "data", &new.reference());
        wait_until_gone(&daemon, &id, "side");
        let expected = if round % 2 == 0 { "odd" } else { "even" };
        daemon.wait_until("the other version", || {
            (inside(&daemon, &id, "cat /datasets/data/a") == expected).then_some(())
        });
        wait_until_let_go(&daemon, old);
        assert_eq!(uses(&daemon, new), 1, "{point}");
    }
}
