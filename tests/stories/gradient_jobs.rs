//! Jobs through the original `gradient` command, which has them in its first generation only.

use std::fs;

use serde_json::json;

use crate::{
    client::{Client, VERSIONS, id_after},
    daemon::{BUSYBOX, Daemon, docker, free_port},
    workspaces::GitServer,
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
                   echo > /artifacts/b.txt; \
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
    for by in [["--projectId", &project], ["--project", "digits"]] {
        let listed = client.says(&["jobs", "list", by[0], by[1]]);
        assert!(listed.contains(&id), "{listed}");
    }
    client.says(&["jobs", "tags", "add", "--id", &id, "--tags", "second,third"]);
    client.says(&["jobs", "tags", "remove", "--id", &id, "--tag", "first", "--tags", "third"]);
    assert!(client.says(&["jobs", "list", "--tag", "second"]).contains(&id));
    assert_eq!(daemon.job(&id)["tags"], json!(["second"]));

    let listed = client.says(&["jobs", "artifacts", "list", "--id", &id, "--size"]);
    assert!(listed.contains("a dir/ü.txt"), "{listed}");
    client.says(&["jobs", "artifacts", "download", "--id", &id, "--destinationDir", "back"]);
    assert_eq!(fs::read_to_string(client.home().join("back/a dir/ü.txt")).unwrap(), "kept\n");
    let some = client.says(&["jobs", "artifacts", "list", "--id", &id, "--links", "--files", "b*"]);
    assert!(some.contains("b.txt") && !some.contains("a dir"), "{some}");
    let place = client.says(&["jobs", "artifacts", "get", "--id", &id]);
    assert!(place.contains(&format!("/jobs/{id}/artifacts.zip")), "{place}");
    client.says(&["jobs", "artifacts", "destroy", "--id", &id, "--files", "b.txt"]);
    let rest = client.says(&["jobs", "artifacts", "list", "--id", &id]);
    assert!(rest.contains("a dir/ü.txt") && !rest.contains("b.txt"), "{rest}");
    let words = client.is_refused(&["jobs", "artifacts", "destroy", "--id", &id, "--files", "b.txt"]);
    assert!(words.contains("there is no artifact b.txt"), "{words}");
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
fn a_zip_a_repository_or_a_dockerfile_is_what_a_job_runs() {
    let daemon = Daemon::start();
    let client = client(&daemon);
    let project = daemon.post("/projects", &json!({"name": "p"})).body["id"].as_str().unwrap().to_owned();
    fs::create_dir_all(client.home().join("code/docker")).unwrap();
    fs::write(client.home().join("code/words"), "from the directory\n").unwrap();
    fs::write(client.home().join("code/left.log"), "left out\n").unwrap();
    let dockerfile = format!("FROM {BUSYBOX}\nRUN echo made > /made\n");
    fs::write(client.home().join("code/docker/Dockerfile"), dockerfile).unwrap();
    let zipped = client.python("import shutil; shutil.make_archive('packed', 'zip', 'code')");
    assert_eq!(zipped.code, Some(0), "{zipped:?}");
    let server = GitServer::start();
    server.git(&["init", "-q"]);
    server.commit("from git");
    let git = server.url();
    let of = |args: &[&str]| {
        let id = create(&client, &[&["--projectId", &project], args].concat());
        let job = daemon.wait_for_end(&id);
        assert_eq!(job["exitCode"], 0, "{args:?}: {job:#}");
        (daemon.text_of(&id), id)
    };
    let look = ["--command", "cat words; ls"];
    for (workspace, words, has_log) in [
        (vec!["--workspace", "code"], "from the directory", true),
        (vec!["--workspace", "code", "--ignoreFiles", "*.log"], "from the directory", false),
        (vec!["--workspace", "packed.zip"], "from the directory", true),
        (vec!["--workspace", &git], "from git", false),
    ] {
        let (text, _) = of(&[&workspace[..], &look].concat());
        assert_eq!((text.contains(words), text.contains("left.log")), (true, has_log), "{workspace:?}: {text}");
    }
    let build = ["--workspace", "code", "--useDockerfile", "true", "--relDockerfilePath", "./docker/Dockerfile"];
    let (text, id) = of(&[&build[..], &["--command", "cat /made"]].concat());
    assert!(text.contains("made"), "{text}");
    client.says(&["jobs", "delete", "--id", &id]);
    let image = format!("gradientd/build:{id}");
    if !docker(&["images", "-q", &image]).is_empty() {
        docker(&["rmi", &image]);
    }
}

#[test]
fn what_a_job_is_told_is_kept_as_it_was_said() {
    let daemon = Daemon::start();
    let client = client(&daemon);
    let project = daemon.post("/projects", &json!({"name": "p"})).body["id"].as_str().unwrap().to_owned();
    let port = free_port().to_string();
    let ports = format!("{port}:80");
    let args =
        ["--projectId", &project, "--project", "passed over", "--clusterId", "box", "--workingDirectory", "/tmp"];
    let passed_over = ["--isPublic", "false", "--isPreemptible", "true", "--startedByUserId", "u", "--nodeAttrs", "{}"];
    let told = ["--ports", &ports, "--tags", "a,b", "--command", "pwd; sleep 1000"];
    let id = create(&client, &[&args[..], &passed_over, &told].concat());
    let job = daemon.wait_for(&id, "running", |job| job["state"] == "running");
    assert_eq!((&job["project"]["name"], &job["tags"]), (&json!("p"), &json!(["a", "b"])));
    assert_eq!(job["ports"][0]["host"].to_string(), port, "{job:#}");
    assert_eq!(daemon.wait_until("its line", || daemon.printed_by(&id).pop()), "/tmp");
    client.says(&["jobs", "delete", "--id", &id]);

    let registry = ["--registryUsername", "ada", "--registryPassword", "pa55"];
    let git = ["--workspace", "https://git:w0rd@127.0.0.1:1/code.git", "--command", "true"];
    let id = create(&client, &[&["--projectId", &project][..], &registry, &git].concat());
    let job = daemon.wait_for_end(&id);
    let workspace = json!({"git": "https://127.0.0.1:1/code.git", "username": "git"});
    assert_eq!((&job["spec"]["workspace"], &job["reason"]), (&workspace, &json!("workspace_failed")), "{job:#}");
    assert_eq!(job["spec"]["registryUsername"], "ada", "{job:#}");
    for word in ["pa55", "w0rd"] {
        assert!(!job.to_string().contains(word) && !daemon.log().contains(word), "{job:#}");
    }
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
    let good = ["--machineType", "cpu-small", "--projectId", &project, "--command", "true"];
    for (args, said) in [
        (["--buildOnly", "--isPreemptible=true"], "--buildOnly"),
        (["--registryTarget", "127.0.0.1:1/mine"], "--registryTarget"),
        (["--registryTargetUsername", "ada"], "--registryTargetUsername"),
        (["--registryTargetPassword", "pa55"], "--registryTargetPassword"),
        (["--isPublic", "true"], "public dataset"),
        (["--registryUsername", "ada"], "registryPassword"),
        (["--clusterId", "clg07azjl"], "its id is box"),
        (["--cluster", "Public"], "its id is box"),
        (["--experimentId", "e0123456789abc"], "--experimentId"),
        (["--workingDirectory", "src"], "workingDirectory"),
        (["--ports", "http"], "host:container"),
        (["--workspace", "s3://bucket/code.zip"], "git repository"),
        (["--workspace", "https://127.0.0.1:1/code.zip"], "download it first"),
        (["--workspace", "not-there"], "Invalid workspace path"),
    ]
    .map(|(args, said)| (args.to_vec(), said))
    {
        let words = refused(&[&good[..], &args].concat());
        assert!(words.contains(said), "{args:?}: {words}");
    }
    for args in [
        &["logs"][..],
        &["stop"],
        &["delete"],
        &["metrics", "list"],
        &["artifacts", "list"],
        &["artifacts", "get"],
        &["artifacts", "destroy"],
        &["tags", "add", "--tag", "t"],
    ] {
        let words = client.is_refused(&[&["jobs"], args, &["--id", "js0000000000ab"]].concat());
        assert!(words.contains("js0000000000ab"), "{args:?}: {words}");
    }
    assert!(client.is_refused(&["jobs", "list", "--project", "none"]).contains("there is no project none"));
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
