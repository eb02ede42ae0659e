//! Somebody with many jobs keeps them apart, finds them again, and puts them in order.

use serde_json::{Value, json};

use crate::{
    daemon::{Answer, BUSYBOX, Daemon},
    secrets::reserve_all_but,
};

/// Starts a daemon on which one job runs at a time, and one that holds its place until it is stopped.
fn full_box() -> (Daemon, String) {
    let reserve = reserve_all_but(1000);
    let daemon = Daemon::start_with(&[
        ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="all", cores=1, memory_gib=0.25}]"#),
        ("GRADIENTD_SCHEDULER__CPU_RESERVE_MILLIS", &reserve),
        ("GRADIENTD_ENGINE__STOP_GRACE", "1s"),
    ]);
    let holder =
        daemon.submit(&json!({"image": BUSYBOX, "command": "sleep 1000", "name": "holder", "project": "held"}));
    daemon.wait_for(&holder, "running", |job| job["state"] == "running");
    (daemon, holder)
}

fn stop(daemon: &Daemon, id: &str) {
    assert_eq!(daemon.post(&format!("/jobs/{id}/stop"), &json!({})).status, 200);
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{answer:?}");
}

#[test]
fn two_hundred_and_fifty_jobs_are_listed_by_page_and_found_by_what_they_are() {
    let (daemon, holder) = full_box();
    let ids: Vec<String> = (0..250)
        .map(|n| {
            daemon.submit(&json!({
                "image": BUSYBOX, "command": "true", "name": format!("run {n}"),
                "project": if n % 5 == 0 { "fifths" } else { "others" },
                "tags": [if n % 2 == 0 { "even" } else { "odd" }, "all"],
            }))
        })
        .collect();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.get(&format!("/jobs?limit=100{cursor}")).body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(page["items"].as_array().unwrap().len(), 100);
        if cursor.is_empty() {
            // What comes in between two pages moves nothing.
            let late =
                daemon.submit(&json!({"image": BUSYBOX, "command": "true", "name": "late", "project": "others"}));
            stop(&daemon, &late);
        }
        cursor = format!("&cursor={next}");
    }
    let newest_first: Vec<String> = ids.iter().rev().cloned().chain([holder.clone()]).collect();
    assert!(seen == newest_first, "{} of {} jobs, each once and in order", seen.len(), newest_first.len());

    let count = |query: &str| {
        let list = daemon.get(&format!("/jobs?limit=500&{query}"));
        assert_eq!(list.status, 200, "{list:?}");
        list.body["items"].as_array().unwrap().len()
    };
    assert_eq!(count("project=fifths"), 50);
    assert_eq!(count("tag=even"), 125);
    assert_eq!(count("tag=eve"), 0, "a tag is not a part of one");
    assert_eq!(count("project=fifths&tag=even"), 25);
    assert_eq!(count("state=running"), 1);
    assert_eq!(count("state=pending&project=fifths"), 50);
    assert_eq!(count("state=running,pending&tag=all"), 250);
    assert_eq!(names(&daemon.get("/jobs?q=RUN%20249").body), ["run 249"]);
    assert_eq!(count(&format!("q={}", &ids[7][2..])), 1);
    // What SQL would take for patterns is text.
    assert_eq!((count("q=%25"), count("q=_un"), count("q=%27%20OR%201=1--")), (0, 0, 0));
    refused(&daemon.get("/jobs?project=nothing"), 404, "project_not_found");

    let projects = daemon.get("/projects").body;
    let fifths = projects["items"].as_array().unwrap().iter().find(|project| project["name"] == "fifths").unwrap();
    assert_eq!(fifths["jobs"], json!({"total": 50, "active": 50}));
    let id = fifths["id"].as_str().unwrap();
    assert_eq!(count(&format!("project={id}")), 50);

    // The queue tells the order, and who is in the way.
    let queue = daemon.wait_until("a queue of all", || {
        let queue = daemon.get("/queue?limit=500").body;
        (queue["items"].as_array().unwrap().len() == 250).then_some(queue)
    });
    assert_eq!((&queue["items"][0]["jobId"], &queue["items"][0]["position"]), (&json!(ids[0]), &json!(1)));
    assert_eq!(queue["items"][0]["heldBy"][0]["jobId"], holder, "{:#}", queue["items"][0]);
    assert!(!queue["items"][249]["reason"].as_str().unwrap().is_empty());
    assert_eq!(queue["running"][0]["jobId"], holder);
}

#[test]
fn what_waits_starts_by_priority_and_then_by_age_and_can_be_called_off() {
    let (daemon, holder) = full_box();
    let submit = |name: &str, priority: i32| {
        daemon.submit(&json!({"image": BUSYBOX, "name": name, "priority": priority, "command": "true"}))
    };
    let called_off = submit("called off", 100);
    let ids = [submit("third", 0), submit("fourth", 0), submit("last", -5), submit("first", 10), submit("second", 10)];
    daemon.wait_for(&called_off, "its place in the queue", |job| job["queue"]["position"] == 1);
    stop(&daemon, &called_off);
    let job = daemon.wait_for_end(&called_off);
    assert_eq!((&job["state"], &job["startedAt"], &job["exitCode"]), (&json!("cancelled"), &Value::Null, &Value::Null));

    refused(&daemon.delete(&format!("/jobs/{holder}")), 409, "job_not_finished");
    stop(&daemon, &holder);
    let mut ended: Vec<Value> = ids.iter().map(|id| daemon.wait_for_end(id)).collect();
    ended.sort_by_key(|job| job["startedAt"].as_str().unwrap().to_owned());
    let order: Vec<_> = ended.iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(order, ["first", "second", "third", "fourth", "last"]);
}

#[test]
fn a_request_that_is_sent_twice_makes_one_job() {
    let daemon = Daemon::start();
    let body = json!({"image": BUSYBOX, "command": "true"});
    let key = ("Idempotency-Key", "0f2d-once");
    let first = daemon.post_with("/jobs", key, &body);
    let again = daemon.post_with("/jobs", key, &body);
    assert_eq!((first.status, again.status), (201, 201), "{again:?}");
    assert_eq!(first.body["id"], again.body["id"]);
    refused(
        &daemon.post_with("/jobs", key, &json!({"image": BUSYBOX, "command": "false"})),
        422,
        "idempotency_key_reused",
    );
    let other = daemon.post_with("/jobs", ("Idempotency-Key", "another"), &body);
    assert_ne!(other.body["id"], first.body["id"]);
    for bad in ["", "with space", &"x".repeat(256)] {
        refused(&daemon.post_with("/jobs", ("Idempotency-Key", bad), &body), 400, "bad_idempotency_key");
    }
    // What it made may be gone since; it is not made again.
    daemon.wait_for_end(other.body["id"].as_str().unwrap());
    let path = format!("/jobs/{}", other.body["id"].as_str().unwrap());
    assert_eq!(daemon.delete(&path).status, 204);
    refused(&daemon.post_with("/jobs", ("Idempotency-Key", "another"), &body), 404, "job_not_found");
    // Many at once are one, too.
    let ids: Vec<Value> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| daemon.post_with("/jobs", ("Idempotency-Key", "race"), &body).body["id"].clone()))
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(daemon.get("/jobs").body["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_clone_is_the_earlier_job_but_for_what_is_said() {
    let daemon = Daemon::start();
    let original = daemon.submit(&json!({
        "image": BUSYBOX, "command": "echo $A $B", "name": "original", "project": "vision", "tags": ["t"],
        "env": {"A": "1", "B": "2"}, "priority": 7, "timeLimitSeconds": 60, "retries": {"limit": 2, "backoffSeconds": 1},
    }));
    daemon.wait_for_end(&original);
    let same = daemon.ask("POST", &format!("/api/v1/jobs/{original}/clone")).send();
    assert_eq!(same.status, 201, "{}", same.text());
    let same = same.json()["id"].as_str().unwrap().to_owned();
    assert_ne!(same, original);
    let (first, second) = (daemon.job(&original), daemon.job(&same));
    assert_eq!(first["spec"], second["spec"]);
    assert_eq!((&second["cloneOf"], &first["cloneOf"]), (&json!(original), &Value::Null));
    let other = daemon.post("/jobs", &json!({"cloneOf": original, "env": {"A": "other"}, "name": "other"})).body;
    let other = other["id"].as_str().unwrap();
    daemon.wait_for_end(other);
    let shown = daemon.job(other);
    assert_eq!(
        (&shown["name"], &shown["priority"], &shown["project"]["name"]),
        (&json!("other"), &json!(7), &json!("vision"))
    );
    assert!(daemon.text_of(other).ends_with("other\n"), "{}", daemon.text_of(other));
    // What a job tells of itself can be sent as a job.
    let resent = daemon.post("/jobs", &shown["spec"]);
    assert_eq!(resent.status, 201, "{resent:?}");
    refused(&daemon.post("/jobs/js0123456789ab/clone", &json!({})), 404, "job_not_found");
    refused(&daemon.post(&format!("/jobs/{original}/clone"), &json!({"cloneOf": same})), 422, "clone_of_another");
}

#[test]
fn what_is_deleted_is_gone_with_its_files() {
    let daemon = Daemon::start();
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": "echo x > /artifacts/x", "project": "short"}));
    daemon.wait_for_end(&id);
    let keep = daemon.shell("true");
    let kept = || {
        let mut left = Vec::new();
        walk(&daemon.data(), &mut left);
        left.into_iter().filter(|path| path.contains(&id)).count()
    };
    assert!(kept() > 0);
    assert_eq!(daemon.delete(&format!("/jobs/{id}")).status, 204);
    assert_eq!(kept(), 0);
    for path in ["", "/logs", "/charts", "/metrics", "/artifacts", "/artifacts/x"] {
        refused(&daemon.get(&format!("/jobs/{id}{path}")), 404, "job_not_found");
    }
    refused(&daemon.delete(&format!("/jobs/{id}")), 404, "job_not_found");
    daemon.wait_for_end(&keep);
}

fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        found.push(entry.path().to_string_lossy().into_owned());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        }
    }
}

#[test]
fn projects_are_made_renamed_and_deleted_when_nothing_of_them_is_under_way() {
    let (daemon, holder) = full_box();
    let made = daemon.post("/projects", &json!({"name": "vision"}));
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap();
    refused(&daemon.post("/projects", &json!({"name": "vision"})), 409, "name_taken");
    let renamed = daemon.patch(&format!("/projects/{id}"), &json!({"name": "sight"}));
    assert_eq!((renamed.status, &renamed.body["name"]), (200, &json!("sight")));
    refused(&daemon.patch(&format!("/projects/{id}"), &json!({"name": "held"})), 409, "name_taken");
    assert_eq!(daemon.get(&format!("/projects/{id}")).body["name"], "sight");

    let held = daemon.job(&holder)["project"]["id"].as_str().unwrap().to_owned();
    refused(&daemon.delete(&format!("/projects/{held}")), 409, "project_not_empty");
    stop(&daemon, &holder);
    daemon.wait_for_end(&holder);
    let deleted = daemon.delete(&format!("/projects/{held}"));
    assert_eq!(deleted.status, 204, "{deleted:?}");
    refused(&daemon.get(&format!("/projects/{held}")), 404, "project_not_found");
    refused(&daemon.get(&format!("/jobs/{holder}")), 404, "job_not_found");
    assert_eq!(daemon.delete(&format!("/projects/{id}")).status, 204);
}
