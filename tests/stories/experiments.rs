//! Experiments through the API: kept, run again and again, stopped, deleted, and kept through the daemon's
//! death.

use std::thread;

use serde_json::{Value, json};

use crate::daemon::{Answer, BUSYBOX, Daemon};

fn keep(daemon: &Daemon, spec: Value) -> String {
    let answer = daemon.post("/experiments", &json!({ "spec": spec }));
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

fn start(daemon: &Daemon, id: &str) -> Answer {
    daemon.post(&format!("/experiments/{id}/start"), &json!({}))
}

fn started(daemon: &Daemon, id: &str) -> String {
    let answer = start(daemon, id);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["experiment"], id);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// The status and the code of a problem.
fn problem(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

fn shown(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/experiments/{id}")).body
}

#[test]
fn an_experiment_runs_again_and_again_with_what_its_references_mean_by_then() {
    let daemon = Daemon::start();
    let words = daemon.filled("words", &[("w.txt", b"one\n")]).dataset;
    let spec = json!({
        "name": "count", "image": BUSYBOX, "command": "wc -l < /inputs/words/w.txt; echo $A", "env": { "A": "a" },
        "datasets": [{ "ref": "words" }], "tags": ["first"], "project": "counting",
    });
    let id = keep(&daemon, spec);
    assert_eq!((&shown(&daemon, &id)["state"], &shown(&daemon, &id)["runs"]), (&json!("created"), &json!(0)));

    let first = started(&daemon, &id);
    assert_eq!(daemon.wait_for_end(&first)["name"], "count");
    assert_eq!(daemon.printed_by(&first), ["1", "a"]);
    let experiment = shown(&daemon, &id);
    assert_eq!((&experiment["state"], &experiment["latestRun"]["id"]), (&json!("stopped"), &json!(first)));

    let next = daemon.draft(&words);
    daemon.fill(&next, &[("w.txt", b"one\ntwo\n")]);
    daemon.commit(&next);
    let second = started(&daemon, &id);
    daemon.wait_for_end(&second);
    assert_eq!(daemon.printed_by(&second), ["2", "a"]);
    let runs = daemon.list(&format!("/jobs?experiment={id}"));
    assert_eq!(runs.iter().map(|run| run["id"].as_str().unwrap()).collect::<Vec<_>>(), [&*second, &*first]);
    // What it tells as its spec keeps the same again.
    let again = daemon.post("/experiments", &json!({ "spec": experiment["spec"], "start": true }));
    assert_eq!((again.status, &again.body["project"]["name"]), (201, &json!("counting")), "{}", again.body);
    daemon.wait_for_end(again.body["latestRun"]["id"].as_str().unwrap());

    // One run goes by itself, and the experiment stands where the one before it does.
    daemon.wait_for(&second, "its teardown", |job| job["teardownFinishedAt"].is_string());
    assert_eq!(daemon.delete(&format!("/jobs/{second}")).status, 204);
    assert_eq!(shown(&daemon, &id)["latestRun"]["id"], first);
    assert_eq!(daemon.delete(&format!("/experiments/{id}")).status, 204);
    assert_eq!(problem(&daemon.get(&format!("/experiments/{id}"))), (404, "experiment_not_found"));
    assert_eq!(daemon.get(&format!("/jobs/{first}")).status, 404);
    assert!(!daemon.data().join("runs").join(&first).exists());
}

#[test]
fn of_two_starts_at_once_one_makes_a_run_and_the_other_hears_why_not() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let id = keep(&daemon, json!({ "image": BUSYBOX, "command": "sleep 1000" }));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| start(&daemon, &id))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 1, "one start makes a run");
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(problem(refused), (409, "experiment_running"), "{}", refused.body);
        assert!(refused.body.to_string().contains("Stop it first"), "{}", refused.body);
    }
    let run = made[0].body["id"].as_str().unwrap();
    assert_eq!(problem(&daemon.delete(&format!("/experiments/{id}"))), (409, "experiment_not_finished"));
    assert_eq!(daemon.post(&format!("/experiments/{id}/stop"), &json!({})).status, 200);
    assert_eq!(daemon.wait_for_end(run)["state"], "cancelled");
    assert_eq!(shown(&daemon, &id)["state"], "cancelled");
    // Stopping what does not run leaves it as it is.
    assert_eq!(daemon.post(&format!("/experiments/{id}/stop"), &json!({})).body["state"], "cancelled");
}

#[test]
fn what_is_sent_again_makes_nothing_twice() {
    let daemon = Daemon::start();
    let body = json!({ "spec": { "image": BUSYBOX, "command": "true" } });
    let made: Vec<_> =
        (0..2).map(|_| daemon.post_with("/experiments", ("Idempotency-Key", "k1"), &body).body["id"].clone()).collect();
    assert_eq!(made[0], made[1]);
    let id = made[0].as_str().unwrap();
    let path = format!("/experiments/{id}/start");
    let run = daemon.post_with(&path, ("Idempotency-Key", "k2"), &json!({})).body["id"].clone();
    daemon.wait_for_end(run.as_str().unwrap());
    // It is over, so another start would make another run.
    assert_eq!(daemon.post_with(&path, ("Idempotency-Key", "k2"), &json!({})).body["id"], run);
    assert_eq!(shown(&daemon, id)["runs"], 1);
    let other = daemon.post_with(&path, ("Idempotency-Key", "k1"), &json!({}));
    assert_eq!(problem(&other), (422, "idempotency_key_reused"));
}

#[test]
fn settings_are_held_to_the_rules_when_they_are_kept_and_at_each_start() {
    let daemon = Daemon::start();
    for (spec, field) in [
        (json!({ "image": "UPPER CASE" }), "image"),
        (json!({ "image": BUSYBOX, "machineType": "none-such" }), "machineType"),
        (json!({ "image": BUSYBOX, "env": { "A": "secret:NONE" } }), "env.A"),
        (json!({ "image": BUSYBOX, "datasets": [{ "ref": "nothing" }] }), "datasets[0].ref"),
        (json!({ "image": BUSYBOX, "workspace": { "upload": "up0123456789abcdef" } }), "workspace.upload"),
    ] {
        let answer = daemon.post("/experiments", &json!({ "spec": spec }));
        assert_eq!((answer.status, answer.body["field"].as_str()), (422, Some(field)), "{}", answer.body);
    }
    assert!(daemon.list("/experiments").is_empty());

    assert_eq!(daemon.put("/secrets", &json!({ "name": "TOKEN", "value": "hunter2" })).status, 201);
    let registry = json!({
        "image": BUSYBOX, "command": "true", "env": { "T": "secret:TOKEN" }, "registryUsername": "ada",
        "registryPassword": "hunter3",
    });
    let id = keep(&daemon, registry);
    assert!(!shown(&daemon, &id).to_string().contains("hunter3"));
    assert_eq!(daemon.count("SELECT count(*) FROM experiments WHERE spec LIKE '%hunter3%'"), 0);
    let secret = daemon.list("/secrets")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(daemon.delete(&format!("/secrets/{secret}")).status, 204);
    let refused = start(&daemon, &id);
    assert_eq!((problem(&refused), &refused.body["field"]), ((422, "unknown_secret"), &json!("env.T")));
    assert_eq!(shown(&daemon, &id)["state"], "created");
}

#[test]
fn a_run_that_was_accepted_runs_although_the_daemon_is_killed_at_once() {
    let mut daemon = Daemon::start();
    let id = keep(&daemon, json!({ "image": BUSYBOX, "command": "echo ran" }));
    let run = started(&daemon, &id);
    daemon.kill();
    daemon.restart(&[]);
    assert_eq!(daemon.wait_for_end(&run)["exitCode"], 0);
    assert_eq!(daemon.printed_by(&run), ["ran"]);
    let experiment = shown(&daemon, &id);
    assert_eq!((&experiment["state"], &experiment["runs"]), (&json!("stopped"), &json!(1)));
}

/// The commit that makes the run is the first after the restart that a request makes; the daemon dies on either
/// side of it, and of those before.
#[cfg(feature = "faults")]
#[test]
fn a_start_that_is_cut_off_is_repeated_and_makes_one_run() {
    let mut daemon = Daemon::start();
    for fault in ["store.commit.before:1", "store.commit.after:1", "store.commit.before:2", "store.commit.after:2"] {
        let id = keep(&daemon, json!({ "image": BUSYBOX, "command": "echo ran" }));
        daemon.kill();
        if daemon.restart_maybe(&[("GRADIENTD_FAULT", fault)]) {
            let path = format!("/experiments/{id}/start");
            if daemon.offer(&path, fault, &json!({})).is_none() {
                daemon.wait_until_dead();
            }
        }
        daemon.kill();
        daemon.restart(&[]);
        let path = format!("/experiments/{id}/start");
        let again = daemon.post_with(&path, ("Idempotency-Key", fault), &json!({}));
        assert_eq!(again.status, 201, "{fault}: {}", again.body);
        let run = again.body["id"].as_str().unwrap();
        assert_eq!(daemon.wait_for_end(run)["exitCode"], 0, "{fault}");
        assert_eq!(shown(&daemon, &id)["runs"], 1, "{fault}: one run, however often it was asked for");
    }
}
