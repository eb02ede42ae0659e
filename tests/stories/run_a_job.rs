//! Somebody submits a job and sees what becomes of it.

use serde_json::json;

use crate::daemon::{BUSYBOX, Daemon};

#[test]
fn a_job_runs_to_its_end() {
    let daemon = Daemon::start();
    let id = daemon.shell("echo hello; echo world >&2");
    let job = daemon.wait_for_end(&id);
    assert_eq!(job["state"], "stopped", "{job:#}");
    assert_eq!(job["exitCode"], 0);
    for time in ["createdAt", "setupFinishedAt", "startedAt", "finishedAt", "teardownFinishedAt"] {
        assert!(job[time].is_string(), "{time} of {job:#}");
    }
    let text = daemon.text_of(&id);
    assert!(text.contains("hello\n") && text.contains("world\n"), "{text}");
    let rows = daemon.rows_of(&id);
    for (words, stream) in [("hello", "stdout"), ("world", "stderr")] {
        let row = rows.iter().find(|row| row["text"] == words).unwrap();
        assert_eq!(row["stream"], stream);
    }
    assert_eq!(daemon.containers(), Vec::<String>::new(), "nothing is left on the engine");
}

#[test]
fn exit_codes_are_exact() {
    let daemon = Daemon::start();
    let codes = [1, 3, 42, 126, 127, 137, 255];
    let ids: Vec<_> = codes.iter().map(|code| daemon.shell(&format!("exit {code}"))).collect();
    for (id, code) in ids.iter().zip(codes) {
        let job = daemon.wait_for_end(id);
        assert_eq!(job["state"], "failed");
        assert_eq!(job["exitCode"], code);
        assert_eq!(job["reason"], "exit_code");
    }
}

#[test]
fn out_of_memory_is_named_with_what_to_do() {
    let daemon =
        Daemon::start_with(&[("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="tiny", cores=1, memory_gib=0.05}]"#)]);
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": ["tail", "/dev/zero"], "machineType": "tiny"}));
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], &job["reason"]), (&json!("failed"), &json!("oom")), "{job:#}");
    assert!(job["message"].as_str().unwrap().contains("machine type"), "{job:#}");
}

#[test]
fn a_time_limit_ends_a_run() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": "sleep 1000", "timeLimitSeconds": 1}));
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], &job["reason"]), (&json!("failed"), &json!("time_limit")), "{job:#}");
}

#[test]
fn a_missing_command_and_a_missing_image_are_told_apart() {
    let daemon = Daemon::start();
    let command = daemon.submit(&json!({"image": BUSYBOX, "command": ["no-such-command"]}));
    let image = daemon.submit(&json!({"image": "127.0.0.1:1/no/such:image"}));
    let job = daemon.wait_for_end(&command);
    assert_eq!((&job["state"], &job["exitCode"]), (&json!("failed"), &json!(127)), "{job:#}");
    assert!(job["message"].as_str().unwrap().contains("did not find the command"), "{job:#}");
    let job = daemon.wait_for_end(&image);
    assert_eq!(job["state"], "error", "{job:#}");
    assert!(["pull_failed", "image_not_found"].contains(&job["reason"].as_str().unwrap()), "{job:#}");
}

#[test]
fn a_job_that_is_stopped_is_cancelled() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let id = daemon.shell("echo up; sleep 1000");
    daemon.wait_for(&id, "running", |job| job["state"] == "running");
    assert_eq!(daemon.post(&format!("/jobs/{id}/stop"), &json!({})).status, 200);
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], &job["reason"]), (&json!("cancelled"), &json!("cancelled")));
    // Stopping what is over does nothing.
    assert_eq!(daemon.post(&format!("/jobs/{id}/stop"), &json!({})).body["state"], "cancelled");
}

#[test]
fn a_job_that_fails_is_tried_again_as_often_as_it_says() {
    let daemon = Daemon::start();
    let id = daemon.submit(&json!({
        "image": BUSYBOX,
        "command": "echo try $GRADIENTD_ATTEMPT; test $GRADIENTD_ATTEMPT = 3",
        "retries": {"limit": 5, "backoffSeconds": 0},
    }));
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("stopped"), &json!(3)), "{job:#}");
    assert!(daemon.text_of(&id).contains("try 3"));
}
