//! The engine goes away and comes back, and containers go away by hand.

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, docker, numbered, print},
    engine::{Account, Way},
};

/// A daemon whose engine is at the end of `way`.
fn daemon_on(way: &Way) -> Daemon {
    let socket = way.socket();
    Daemon::start_with(&[
        ("GRADIENTD_ENGINE__SOCKET", socket.to_str().unwrap()),
        (
            "GRADIENTD_SCHEDULER__MACHINE_TYPES",
            r#"[{name="half", cores=0.5, memory_gib=0.1}, {name="all", cores=1, memory_gib=0.1}]"#,
        ),
        // Room for two of the one and one of the other, whatever machine this is.
        ("GRADIENTD_SCHEDULER__CPU_RESERVE_MILLIS", "10000000"),
    ])
}

fn contact_of(daemon: &Daemon) -> Value {
    daemon.get("/box").body["engine"]["state"].clone()
}

#[test]
fn an_engine_that_is_away_for_a_while_fails_nothing() {
    let account = Account::open();
    let mut way = Way::open();
    let daemon = daemon_on(&way);
    let lines = 300;
    let slow = print("line", lines).replace("i=$((i+1))", "i=$((i+1)); sleep 0.02");
    let running =
        daemon.submit(&json!({"image": BUSYBOX, "command": format!("{slow}; exit 4"), "machineType": "half"}));
    // It ends while the engine is away.
    let ending =
        daemon.submit(&json!({"image": BUSYBOX, "command": "echo up; sleep 2; exit 5", "machineType": "half"}));
    for id in [&running, &ending] {
        daemon.wait_for(id, "its first line", |_| !daemon.printed_by(id).is_empty());
    }
    let waiting = daemon.submit(&json!({"image": BUSYBOX, "command": "exit 6", "machineType": "all"}));
    daemon.wait_for(&waiting, "a reason to wait", |job| job["queue"]["reason"].is_string());

    way.cut();
    let ids = [&running, &ending, &waiting];
    for id in ids {
        daemon.wait_for(id, "contact to be unknown", |job| job["contact"] == "unknown");
    }
    let preparing = daemon.shell("exit 8");
    let job = daemon.wait_for(&preparing, "a reason to wait", |job| job["queue"]["reason"].is_string());
    assert!(job["queue"]["reason"].as_str().unwrap().contains("engine"), "{job:#}");
    assert_eq!(contact_of(&daemon), "unreachable");
    // The engine itself says when it is over; the daemon cannot know.
    account.wait_for(&daemon.container_of(&ending, 1), "die 5");
    for id in [&running, &ending] {
        assert_eq!(daemon.job(id)["state"], "running", "nothing is known to have changed");
    }
    assert_eq!(daemon.job(&waiting)["state"], "pending");

    way.mend();
    for (id, code) in [(&running, 4), (&ending, 5), (&waiting, 6), (&preparing, 8)] {
        let job = daemon.wait_for_end(id);
        assert_eq!(
            (&job["state"], &job["exitCode"], &job["attempt"]),
            (&json!("failed"), &json!(code), &json!(1)),
            "{job:#}"
        );
        assert_eq!(job["contact"], "ok");
        account.assert_ran_once(&daemon.container_of(id, 1), code);
    }
    assert_eq!(daemon.printed_by(&running), numbered("line", lines));
    assert_eq!(contact_of(&daemon), "ok");
    assert_eq!(daemon.containers(), Vec::<String>::new());
}

#[test]
fn a_connection_that_breaks_again_and_again_loses_and_doubles_nothing() {
    let account = Account::open();
    let mut way = Way::open();
    let daemon = daemon_on(&way);
    let lines = 600;
    let slow = print("line", lines).replace("i=$((i+1))", "i=$((i+1)); sleep 0.005");
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": format!("{slow}; exit 9"), "machineType": "half"}));
    let mut seen = 0;
    for _ in 0..5 {
        // Cuts while it is launched, while its lines come, and at its end.
        daemon.wait_for(&id, "more lines, or its end", |job| {
            let now = daemon.printed_by(&id).len();
            now > seen + 20 || now == lines || !job["finishedAt"].is_null() || job["state"] == "provisioned"
        });
        seen = daemon.printed_by(&id).len();
        way.cut();
        way.mend();
    }
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["exitCode"], &job["attempt"]), (&json!(9), &json!(1)), "{job:#}");
    assert_eq!(daemon.printed_by(&id), numbered("line", lines));
    account.assert_ran_once(&daemon.container_of(&id, 1), 9);
}

#[test]
fn a_container_that_somebody_removed_is_lost_and_said_to_be() {
    let daemon = Daemon::start();
    let id = daemon.shell("echo kept; sleep 1000");
    daemon.wait_for(&id, "its line", |_| daemon.printed_by(&id) == ["kept"]);
    docker(&["rm", "-f", &daemon.container_of(&id, 1)]);
    let job = daemon.wait_for_end(&id);
    // The engine may still tell how it ended just before it was gone; that is as true.
    let truths = [("error", "lost"), ("failed", "exit_code")];
    let told = (job["state"].as_str().unwrap(), job["reason"].as_str().unwrap());
    assert!(truths.contains(&told), "{job:#}");
    assert_eq!(daemon.printed_by(&id), ["kept"]);
}

#[test]
fn a_container_that_went_while_the_daemon_was_away_is_lost() {
    let mut daemon = Daemon::start();
    let lost = daemon.shell("echo kept; sleep 1000");
    let killed = daemon.shell("echo kept; sleep 1000");
    for id in [&lost, &killed] {
        daemon.wait_for(id, "its line", |_| daemon.printed_by(id) == ["kept"]);
    }
    daemon.kill();
    docker(&["rm", "-f", &daemon.container_of(&lost, 1)]);
    docker(&["kill", &daemon.container_of(&killed, 1)]);
    daemon.restart(&[]);
    let job = daemon.wait_for_end(&lost);
    assert_eq!(
        (&job["state"], &job["reason"], &job["exitCode"]),
        (&json!("error"), &json!("lost"), &Value::Null),
        "{job:#}"
    );
    assert!(job["message"].as_str().unwrap().contains("by hand"), "{job:#}");
    let job = daemon.wait_for_end(&killed);
    assert_eq!((&job["state"], &job["exitCode"]), (&json!("failed"), &json!(137)), "{job:#}");
    for id in [&lost, &killed] {
        assert_eq!(daemon.printed_by(id), ["kept"]);
    }
}

#[test]
fn a_container_that_somebody_killed_has_its_true_exit_code() {
    let daemon = Daemon::start();
    let id = daemon.shell("echo up; sleep 1000");
    daemon.wait_for(&id, "its line", |_| daemon.printed_by(&id) == ["up"]);
    docker(&["kill", &daemon.container_of(&id, 1)]);
    let job = daemon.wait_for_end(&id);
    assert_eq!(
        (&job["state"], &job["exitCode"], &job["reason"]),
        (&json!("failed"), &json!(137), &json!("exit_code")),
        "{job:#}"
    );
}

#[test]
fn without_an_engine_the_daemon_starts_and_jobs_wait_for_it() {
    let account = Account::open();
    let mut way = Way::missing();
    let daemon = daemon_on(&way);
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": "echo at last; exit 2"}));
    let job = daemon.wait_for(&id, "a reason to wait", |job| job["queue"]["reason"].is_string());
    assert!(job["queue"]["reason"].as_str().unwrap().contains("the Docker engine does not answer"), "{job:#}");
    assert_eq!((&job["state"], &job["contact"]), (&json!("pending"), &json!("unknown")));
    let engine = daemon.get("/box").body["engine"].clone();
    assert_eq!(engine["state"], "unreachable", "{engine}");
    assert!(engine["message"].as_str().is_some_and(|words| !words.is_empty()), "{engine}");
    let queue = daemon.get("/queue").body;
    assert_eq!(queue["items"][0]["jobId"], json!(id), "{queue:#}");
    // What waits can be called off as ever, once somebody can see that nothing runs.
    let unwanted = daemon.shell("exit 0");
    assert_eq!(daemon.post(&format!("/jobs/{unwanted}/stop"), &json!({})).status, 200);

    way.mend();
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["exitCode"], &job["contact"]), (&json!(2), &json!("ok")), "{job:#}");
    assert_eq!(daemon.printed_by(&id), ["at last"]);
    account.assert_ran_once(&daemon.container_of(&id, 1), 2);
    assert_eq!(daemon.wait_for_end(&unwanted)["state"], "cancelled");
}
