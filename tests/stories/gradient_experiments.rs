//! Experiments through the original `gradient` command, which has them in its first generation only.

use std::fs;

use serde_json::json;

use crate::{
    client::{Client, VERSIONS, id_after},
    daemon::{BUSYBOX, Daemon},
    workspaces::GitServer,
};

fn client(daemon: &Daemon) -> Client {
    Client::of(daemon, VERSIONS[0])
}

fn project(daemon: &Daemon, name: &str) -> String {
    daemon.post("/projects", &json!({ "name": name })).body["id"].as_str().unwrap().to_owned()
}

/// The words of `create` or `run` with what every experiment here has.
fn words<'a>(verb: &'a str, project: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["experiments", verb, "singlenode", "--projectId", project, "--container", BUSYBOX];
    if !args.contains(&"--machineType") {
        all.extend(["--machineType", "cpu-small"]);
    }
    if !args.contains(&"--name") {
        all.extend(["--name", "digits"]);
    }
    all.extend(args);
    all
}

fn create(client: &Client, project: &str, args: &[&str]) -> String {
    id_after(&client.says(&words("create", project, args)), "New experiment created with ID:")
}

#[test]
fn an_experiment_is_made_of_a_directory_started_followed_listed_tagged_and_deleted() {
    let daemon = Daemon::start();
    let (project, other) = (project(&daemon, "digits"), project(&daemon, "other"));
    let input = daemon.filled("words", &[("w.txt", b"one\ntwo\n")]).reference();
    let client = client(&daemon);
    fs::create_dir_all(client.home().join("code/lib")).unwrap();
    fs::write(client.home().join("code/lib/run.sh"), "for n in $(seq 250); do echo \"line $n\"; done\n").unwrap();
    let args = [
        "--workspace",
        "code",
        "--command",
        "sh lib/run.sh; echo $GREETING; wc -l < /inputs/in/w.txt",
        "--experimentEnv",
        r#"{"GREETING": "hello there", "N": 5}"#,
        "--datasetId",
        &input,
        "--datasetName",
        "in",
        "--tag",
        "first",
        "--ports",
        "18723:80",
        "--modelType",
        "Tensorflow",
        "--modelPath",
        "/artifacts",
        "--containerUser",
        "root",
        "--isPreemptible",
        // With a cluster, it is made by the second generation of that API.
        "--clusterId",
        "box",
    ];
    let id = create(&client, &project, &args);
    let before = client.says(&["experiments", "details", "--id", &id]);
    for shown in
        ["digits", &id, "created", "18723:80", &project, "$GREETING", BUSYBOX, "cpu-small", "Tensorflow", "first"]
    {
        assert!(before.contains(shown), "{shown}: {before}");
    }
    let words = client.is_refused(&["experiments", "metrics", "list", "--id", &id]);
    assert!(words.contains("has not started yet"), "{words}");

    // The follow begins at the first line and ends by itself.
    let followed = client.says(&["experiments", "start", "--id", &id, "--logs"]);
    let lines: Vec<_> = followed.lines().filter(|line| line.contains("line ")).collect();
    assert_eq!(lines.len(), 250, "{followed}");
    assert!(lines[0].contains("line 1") && lines[249].contains("line 250"), "{followed}");
    assert!(followed.contains("hello there") && followed.trim_end().ends_with('2'), "{followed}");

    let page = client.says(&["experiments", "logs", "--id", &id, "--line", "101", "--limit", "100"]);
    assert_eq!(page.lines().filter(|line| line.contains("line ")).count(), 100, "{page}");
    let runs = daemon.list(&format!("/jobs?experiment={id}"));
    let run = runs[0]["id"].as_str().unwrap();
    daemon.wait_for(run, "its teardown", |job| job["teardownFinishedAt"].is_string());
    assert!(client.says(&["jobs", "list", "--experimentId", &id]).contains(run));
    assert!(client.says(&["experiments", "details", "--id", &id]).contains("stopped"));

    client.says(&["experiments", "tags", "add", "--id", &id, "--tag", "second"]);
    client.says(&["experiments", "tags", "remove", "--id", &id, "--tag", "first"]);
    let second = create(&client, &other, &["--command", "true", "--name", "elsewhere"]);
    let listed = |args: &[&str]| {
        let said = client.says(&[&["experiments", "list"], args].concat());
        (said.contains(&id), said.contains(&second))
    };
    assert_eq!(listed(&[]), (true, true));
    assert_eq!(listed(&["--projectId", &project]), (true, false));
    assert_eq!(listed(&["--projectId", &project, "--projectId", &other]), (true, true));
    assert_eq!(listed(&["--tag", "second"]), (true, false));
    assert_eq!(listed(&["--tag", "first"]), (false, false));
    assert_eq!(listed(&["--limit", "1", "--offset", "1"]), (true, false));

    assert!(client.says(&["experiments", "delete", "--id", &id]).contains("Experiment deleted"));
    assert_eq!(daemon.get(&format!("/experiments/{id}")).status, 404);
    assert_eq!(daemon.get(&format!("/jobs/{run}")).status, 404);
}

#[test]
fn run_makes_starts_and_follows_and_a_zip_or_a_repository_is_the_workspace() {
    let daemon = Daemon::start();
    let project = project(&daemon, "p");
    let client = client(&daemon);
    fs::create_dir_all(client.home().join("code")).unwrap();
    fs::write(client.home().join("code/words"), "from the directory\n").unwrap();
    fs::write(client.home().join("code/left.log"), "left out\n").unwrap();
    let zipped = client.python("import shutil; shutil.make_archive('packed', 'zip', 'code')");
    assert_eq!(zipped.code, Some(0), "{zipped:?}");
    let server = GitServer::start();
    server.git(&["init", "-q"]);
    server.commit("from git");
    server.git(&["tag", "v1"]);
    server.commit("from git, later");
    let git = server.url();
    for (workspace, said) in [
        (vec!["--workspace", "code", "--ignoreFiles", "*.log"], "from the directory"),
        (vec!["--workspace", "packed.zip"], "from the directory"),
        (vec!["--workspace", git.as_str()], "from git, later"),
        (vec!["--workspace", git.as_str(), "--workspaceRef", "v1"], "from git"),
    ] {
        let command = [vec!["--command", "cat words; ls"], workspace].concat();
        let out = client.says(&words("run", &project, &command));
        assert!(out.contains("New experiment created and started with ID:"), "{out}");
        assert!(out.lines().any(|line| line.trim_end().ends_with(said)), "{said}: {out}");
        assert_eq!(out.contains("left.log"), command.contains(&"packed.zip"), "{out}");
    }
    let quiet = client.says(&words("run", &project, &["--command", "true", "--no-logs"]));
    assert!(!quiet.contains("PSEOF") && daemon.list("/experiments").len() == 5, "{quiet}");
}

#[test]
fn a_follower_waits_for_the_start_and_ends_with_the_stop() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let project = project(&daemon, "p");
    let client = client(&daemon);
    let id = create(&client, &project, &["--command", "echo up; sleep 1000"]);
    let followed = std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let other = self::client(&daemon);
            other.says(&["experiments", "logs", "--id", &id, "--follow", "true"])
        });
        client.says(&["experiments", "start", "--id", &id]);
        let run = daemon.list(&format!("/jobs?experiment={id}"))[0]["id"].as_str().unwrap().to_owned();
        daemon.wait_for(&run, "its line", |_| !daemon.printed_by(&run).is_empty());
        let twice = client.is_refused(&["experiments", "start", "--id", &id]);
        assert!(twice.contains("Failed to start experiment") && twice.contains("Stop it first"), "{twice}");
        client.says(&["experiments", "stop", "--id", &id]);
        following.join().unwrap()
    });
    assert!(followed.contains("up"), "{followed}");
    let shown = client.says(&["experiments", "details", "--id", &id]);
    assert!(shown.contains("canceled"), "{shown}");
    // One that runs is stopped first.
    client.says(&["experiments", "start", "--id", &id]);
    client.says(&["experiments", "delete", "--id", &id]);
    assert_eq!(daemon.get("/jobs").body["items"], json!([]));
}

#[test]
fn each_mistake_with_an_experiment_reads_clearly_at_the_terminal() {
    let daemon = Daemon::start();
    let client = client(&daemon);
    let project = project(&daemon, "p");
    let refused = |verb: &str, project: &str, args: &[&str]| client.is_refused(&words(verb, project, args));
    for (args, said) in [
        (&["--command", "true", "--machineType", "cpu-tiny"][..], "cpu-tiny"),
        (&["--command", "true", "--experimentEnv", r#"{"A": "secret:NONE"}"#], "NONE"),
        (&["--command", "true", "--datasetId", "nothing:latest"], "nothing"),
        (&["--command", "true", "--datasetUri", "s3://bucket/data.zip"], "--datasetId"),
        (&["--command", "true", "--workspace", "s3://bucket/code.zip"], "git repository"),
        (&["--command", "true", "--artifactDirectory", "/out"], "/artifacts"),
        (&["--command", "true", "--registryUsername", "ada"], "registryPassword"),
        (&["--command", "true", "--registryUrl", "https://reg.example/v1/"], "registryUrl names reg.example"),
        (&["--command", "true", "--clusterId", "clg07azjl"], "its id is box"),
        (&["--command", "true", "--datasetId", "words", "--datasetVersionId", "none"], "words"),
        (&["--command", "true", "--datasetId", "words", "--datasetEtag", "e"], "--datasetEtag"),
        (&["--command", "true", "--workingDirectory", "src"], "workingDirectory"),
    ] {
        for verb in ["create", "run"] {
            let words = refused(verb, &project, args);
            assert!(words.contains(said), "{verb} {args:?}: {words}");
        }
    }
    let words_of_none = refused("create", "p00000000", &["--command", "true"]);
    assert!(words_of_none.contains("no project"), "{words_of_none}");
    fs::create_dir_all(client.home().join("code")).unwrap();
    fs::write(client.home().join("code/a"), "a").unwrap();
    let with_code = ["--command", "true", "--workspace", "code"];
    let said = refused("create", "p00000000", &with_code);
    assert!(said.contains("there is no project p00000000"), "{said}");
    let wrong = Client::with_key(&daemon, VERSIONS[0], "gdk_wrong");
    let said = wrong.is_refused(&words("create", &project, &["--command", "true"]));
    assert!(said.contains("key"), "{said}");
    let mut image = words("create", &project, &["--command", "true"]);
    image[6] = "Upper Case";
    let said = client.is_refused(&image);
    assert!(said.contains("image"), "{said}");

    for command in [
        &["details"][..],
        &["start"],
        &["stop"],
        &["delete"],
        &["logs"],
        &["tags", "add", "--tag", "t"],
        &["metrics", "get"],
        &["metrics", "list"],
    ] {
        let words = client.is_refused(&[&["experiments"], command, &["--id", "e0123456789abc"]].concat());
        assert!(words.contains("e0123456789abc"), "{command:?}: {words}");
    }
    let nodes = [
        "--projectId",
        &project,
        "--name",
        "n",
        "--experimentType",
        "MPI",
        "--workerContainer",
        BUSYBOX,
        "--workerMachineType",
        "cpu-small",
        "--workerCommand",
        "true",
        "--workerCount",
        "2",
        "--masterContainer",
        BUSYBOX,
        "--masterMachineType",
        "cpu-small",
        "--masterCommand",
        "true",
        "--masterCount",
        "1",
    ];
    let said = client.is_refused(&[&["experiments", "create", "multinode"], &nodes[..]].concat());
    assert!(said.contains("singlenode"), "{said}");
    let said = client.is_refused(&["experiments", "hyperparameters", "list"]);
    assert!(said.contains("not on this box yet"), "{said}");
    assert!(daemon.list("/experiments").is_empty() && daemon.list("/jobs").is_empty(), "nothing is left of mistakes");
}

#[test]
fn what_an_experiment_is_told_is_kept_as_it_was_said() {
    let daemon = Daemon::start();
    let client = client(&daemon);
    let project = project(&daemon, "p");
    let input = daemon.filled("words", &[("w.txt", b"one")]);
    let spec = |args: &[&str]| {
        let id = create(&client, &project, args);
        daemon.get(&format!("/experiments/{id}")).body["spec"].clone()
    };
    let mut args = vec!["--command", "true", "--workingDirectory", "/tmp", "--tags", "a,b"];
    args.extend(["--datasetId", "words", "--datasetVersionId", &input.version]);
    args.extend(["--datasetVolumeKind", "dynamic", "--datasetVolumeSize", "5"]);
    args.extend([
        "--workspace",
        "http://127.0.0.1:1/code.git",
        "--workspaceUsername",
        "git",
        "--workspacePassword",
        "w0rd",
    ]);
    // Of an option that is given twice, the client takes the last.
    args.extend(["--container", "reg.example/mine:1", "--registryUrl", "https://reg.example/v1/"]);
    args.extend(["--registryUsername", "ada", "--registryPassword", "pa55"]);
    let kept = spec(&args);
    assert_eq!((&kept["workingDirectory"], &kept["tags"]), (&json!("/tmp"), &json!(["a", "b"])), "{kept:#}");
    assert_eq!(kept["datasets"][0]["ref"], format!("words:{}", input.version), "{kept:#}");
    let workspace = json!({"git": "http://127.0.0.1:1/code.git", "username": "git"});
    assert_eq!((&kept["workspace"], &kept["registryUsername"]), (&workspace, &json!("ada")), "{kept:#}");
    let beside = spec(&["--command", "true", "--workspace", "http://git:w0rd@127.0.0.1:1/code.git"]);
    assert_eq!(beside["workspace"], workspace, "{beside:#}");
    for word in ["pa55", "w0rd"] {
        assert!(!kept.to_string().contains(word) && !daemon.log().contains(word), "{kept:#}");
    }
}

#[test]
fn the_sdk_runs_an_experiment_and_reads_its_log() {
    let daemon = Daemon::start();
    let client = client(&daemon);
    let script = format!(
        r#"
import gradient, os
key = os.environ["PAPERSPACE_API_KEY"]
project = gradient.ProjectsClient(key).create("sdk")
experiments = gradient.ExperimentsClient(key)
made = experiments.create_single_node(project_id=project, name="sdk", machine_type="cpu-small",
    container="{BUSYBOX}", command="seq 3", experiment_env={{"A": "1"}}, tags=["a"])
experiments.start(made)
print([row.message for row in experiments.yield_logs(made, line=1)])
one = experiments.get(made)
print(one.name, one.command, one.experiment_env, one.tags)
print([experiment.id == made for experiment in experiments.list(project_id=project)])
experiments.delete(made)
print(experiments.list())
"#
    );
    let said = client.python(&script);
    assert!(said.code == Some(0), "{said:?}");
    for line in ["['1', '2', '3']", "sdk seq 3 {'A': '1'} ['a']", "[True]", "[]"] {
        assert!(said.out.lines().any(|printed| printed == line), "{line}: {said:?}");
    }
}
