//! Jobs through the original `gradient` command, which has them in its first generation only.

use std::fs;

use serde_json::json;

use crate::{
    client::{Client, VERSIONS, id_after},
    daemon::{BUSYBOX, Daemon},
};

fn client(daemon: &Daemon) -> Client {
    Client::of(daemon, VERSIONS[0])
}

fn create(client: &Client, args: &[&str]) -> String {
    let mut all = vec!["jobs", "create", "--container", BUSYBOX, "--machineType", "cpu-small"];
    all.extend(args);
    id_after(&client.says(&all), "New job created with ID:")
}

#[test]
fn a_directory_becomes_a_job_whose_log_is_followed_and_whose_artifacts_come_back() {
    let daemon = Daemon::start();
    let project = daemon.post("/projects", &json!({"name": "digits"})).body["id"].as_str().unwrap().to_owned();
    let input = daemon.filled("words", &[("w.txt", b"one\ntwo\n")]).reference();
    let output = daemon.dataset("counts");
    let client = client(&daemon);
    fs::create_dir_all(client.home().join("code/lib")).unwrap();
    fs::write(client.home().join("code/lib/run.sh"), "for n in $(seq 250); do echo \"line $n\"; done\n").unwrap();
    let command = "sh lib/run.sh; echo $GREETING; mkdir -p '/artifacts/a dir'; echo kept > '/artifacts/a dir/ü.txt'; \
                   wc -l < /inputs/in/w.txt > /outputs/out/count";
    let id = create(
        &client,
        &[
            "--name",
            "count",
            "--projectId",
            &project,
            "--workspace",
            "code",
            "--command",
            command,
            "--envVars",
            r#"{"GREETING": "hello there"}"#,
            "--tag",
            "first",
            "--dataset",
            &format!("in@{input}"),
            "--dataset",
            &format!("out@{output}"),
        ],
    );
    // It follows from the beginning, whenever it comes, and ends by itself.
    let followed = client.says(&["jobs", "logs", "--id", &id, "--follow", "true"]);
    let lines: Vec<_> = followed.lines().filter(|line| line.contains("line ")).collect();
    assert_eq!(lines.len(), 250, "{followed}");
    assert!(lines[0].contains("line 1") && lines[249].contains("line 250"), "{followed}");
    assert!(followed.contains("hello there"), "{followed}");

    let job = daemon.wait_for(&id, "its teardown", |job| job["teardownFinishedAt"].is_string());
    assert_eq!((&job["exitCode"], &job["tags"]), (&json!(0), &json!(["first"])));
    let count = daemon.get_bytes(&format!("/datasets/{output}/versions/latest/files/count"), "*/*");
    assert_eq!(String::from_utf8(count.1).unwrap().trim(), "2");

    let page = client.says(&["jobs", "logs", "--id", &id, "--line", "101", "--limit", "100"]);
    assert_eq!(page.lines().filter(|line| line.contains("line ")).count(), 100, "{page}");
    let listed = client.says(&["jobs", "list", "--projectId", &project]);
    assert!(listed.contains(&id), "{listed}");
    client.says(&["jobs", "tags", "add", "--id", &id, "--tag", "second"]);
    assert!(client.says(&["jobs", "list", "--tag", "second"]).contains(&id));

    let listed = client.says(&["jobs", "artifacts", "list", "--id", &id, "--size"]);
    assert!(listed.contains("a dir/ü.txt"), "{listed}");
    client.says(&["jobs", "artifacts", "download", "--id", &id, "--destinationDir", "back"]);
    assert_eq!(fs::read_to_string(client.home().join("back/a dir/ü.txt")).unwrap(), "kept\n");
    client.says(&["jobs", "artifacts", "destroy", "--id", &id]);
    assert!(daemon.list(&format!("/jobs/{id}/artifacts")).is_empty());
    client.says(&["jobs", "delete", "--id", &id]);
    assert_eq!(daemon.get(&format!("/jobs/{id}")).status, 404);
}

#[test]
fn a_job_is_stopped_while_its_log_is_followed_and_the_follower_ends() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let client = client(&daemon);
    let project = daemon.post("/projects", &json!({"name": "p"})).body["id"].as_str().unwrap().to_owned();
    let id = create(&client, &["--projectId", &project, "--command", "echo up; sleep 1000"]);
    daemon.wait_for(&id, "running", |job| job["state"] == "running");
    let follower = std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let other = self::client(&daemon);
            other.says(&["jobs", "logs", "--id", &id, "--follow", "true"])
        });
        client.says(&["jobs", "stop", "--id", &id]);
        following.join().unwrap()
    });
    assert!(follower.contains("up"), "{follower}");
    assert_eq!(daemon.wait_for_end(&id)["state"], "cancelled");
    client.says(&["jobs", "delete", "--id", &id]);
}

#[test]
fn each_mistake_with_a_job_reads_clearly_at_the_terminal() {
    let daemon = Daemon::start();
    let client = client(&daemon);
    let refused = |args: &[&str]| {
        let mut all = vec!["jobs", "create", "--container", BUSYBOX];
        all.extend(args);
        client.is_refused(&all)
    };
    let project = daemon.post("/projects", &json!({"name": "p"})).body["id"].as_str().unwrap().to_owned();
    let words = refused(&["--machineType", "cpu-tiny", "--projectId", &project, "--command", "true"]);
    assert!(words.contains("cpu-tiny"), "{words}");
    let words = refused(&["--machineType", "cpu-small", "--projectId", "p00000000", "--command", "true"]);
    assert!(words.contains("no project"), "{words}");
    let args =
        ["--machineType", "cpu-small", "--projectId", &project, "--command", "true", "--dataset", "in@nothing:latest"];
    let words = refused(&args);
    assert!(words.contains("nothing"), "{words}");
    let args = [
        "--machineType",
        "cpu-small",
        "--projectId",
        &project,
        "--command",
        "true",
        "--envVars",
        r#"{"A": "secret:NONE"}"#,
    ];
    let words = refused(&args);
    assert!(words.contains("NONE"), "{words}");
    for args in [["jobs", "logs", "--id"], ["jobs", "stop", "--id"], ["jobs", "delete", "--id"]] {
        let words = client.is_refused(&[args[0], args[1], args[2], "js0000000000ab"]);
        assert!(words.contains("js0000000000ab"), "{words}");
    }
    let words = client.is_refused(&["jobs", "metrics", "list", "--id", "js0000000000ab"]);
    assert!(words.contains("js0000000000ab"), "{words}");
    assert_eq!(daemon.get("/jobs").body["items"], json!([]));
}

#[test]
fn the_sdk_runs_a_job_and_reads_its_log() {
    let daemon = Daemon::start();
    let client = client(&daemon);
    let script = format!(
        r#"
import gradient, os
key = os.environ["PAPERSPACE_API_KEY"]
project = gradient.ProjectsClient(key).create("sdk")
jobs = gradient.JobsClient(key)
job = jobs.create(machine_type="cpu-small", project_id=project, container="{BUSYBOX}", command="seq 3")
print([row.message for row in jobs.yield_logs(job, line=1)])
"#
    );
    let said = client.python(&script);
    assert!(said.code == Some(0) && said.out.contains("['1', '2', '3']"), "{said:?}");
}
