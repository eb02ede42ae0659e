//! Somebody brings a Dockerfile instead of an image.

use serde_json::json;

use crate::daemon::{BUSYBOX, Daemon, docker, tar_of};

#[test]
fn an_image_is_built_from_the_workspace_and_the_job_runs_in_it() {
    let daemon = Daemon::start();
    let upload = |files: &[(&str, &str)]| {
        let answer = daemon.post_bytes("/uploads", "application/x-tar", &tar_of(files));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    };
    let dockerfile =
        format!("FROM {BUSYBOX}\nCOPY words /built/words\nRUN echo while building && echo made > /built/made\n");
    let good = upload(&[("docker/Dockerfile", &dockerfile), ("words", "brought along\n")]);
    let bad = upload(&[("Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo why it fails && exit 7\n"))]);
    let none = upload(&[("words", "x")]);

    let built = daemon.submit(&json!({
        "workspace": {"upload": good}, "build": {"dockerfile": "docker/Dockerfile"},
        "command": "cat /built/words /built/made; cat words",
    }));
    let failing = daemon.submit(&json!({"workspace": {"upload": bad}, "build": {}}));
    let missing = daemon.submit(&json!({"workspace": {"upload": none}, "build": {}}));

    let job = daemon.wait_for_end(&built);
    assert_eq!(job["state"], "stopped", "{job:#}\n{}", daemon.text_of(&built));
    let text = daemon.text_of(&built);
    assert!(text.contains("brought along\nmade\nbrought along\n"), "{text}");
    assert!(text.contains("while building"), "what the builder says is in the log: {text}");
    assert_eq!(daemon.job(&built)["spec"]["build"], json!({"dockerfile": "docker/Dockerfile"}));

    let job = daemon.wait_for_end(&failing);
    assert_eq!((&job["state"], &job["reason"]), (&json!("error"), &json!("build_failed")), "{job:#}");
    assert!(job["message"].as_str().unwrap().contains('7'), "{job:#}");
    assert!(daemon.text_of(&failing).contains("why it fails"), "{}", daemon.text_of(&failing));
    let job = daemon.wait_for_end(&missing);
    assert_eq!((&job["state"], &job["reason"]), (&json!("error"), &json!("build_failed")), "{job:#}");
    assert!(job["message"].as_str().unwrap().contains("Dockerfile"), "{job:#}");

    // A clone builds an image of its own.
    let clone = daemon.post(&format!("/jobs/{built}/clone"), &json!({"command": "cat /built/made"}));
    assert_eq!(clone.status, 201, "{clone:?}");
    let clone = clone.body["id"].as_str().unwrap();
    assert_eq!(daemon.wait_for_end(clone)["state"], "stopped", "{}", daemon.text_of(clone));

    // The image goes with its job.
    let there = |id: &str| !docker(&["images", "-q", &format!("gradientd/build:{id}")]).is_empty();
    for id in [built.as_str(), clone] {
        assert_eq!(daemon.delete(&format!("/jobs/{id}")).status, 204);
        if there(id) {
            docker(&["rmi", &format!("gradientd/build:{id}")]);
        }
    }
}
