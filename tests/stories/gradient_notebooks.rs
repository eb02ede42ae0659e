//! Notebooks through the original `gradient` command, in both of its generations.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    client::{Client, VERSIONS, id_after},
    daemon::{BUSYBOX, Daemon},
    gradient_metrics::watch,
    workspaces::GitServer,
};

/// An image with JupyterLab in it.
const JUPYTER: &str = "gradient-test/jupyter:latest";

fn project(daemon: &Daemon, name: &str) -> String {
    daemon.post("/projects", &json!({ "name": name })).body["id"].as_str().unwrap().to_owned()
}

fn create(client: &Client, project: &str, image: &str, args: &[&str]) -> String {
    let words = ["notebooks", "create", "--projectId", project, "--container", image, "--machineType", "cpu-small"];
    id_after(&client.says(&[&words[..], args].concat()), "Created new notebook with id:")
}

/// Waits until the client says that a notebook is there, and returns its session.
fn wait_until(daemon: &Daemon, client: &Client, id: &str, state: &str) -> String {
    daemon.wait_until(state, || {
        let shown = client.says(&["notebooks", "details", "--id", id]);
        assert!(!["Failed", "Error"].iter().any(|bad| shown.contains(bad)), "{shown}");
        shown.contains(state).then_some(())
    });
    look(daemon, id)["session"]["id"].as_str().unwrap().to_owned()
}

fn look(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/notebooks/{id}")).body
}

fn inside(daemon: &Daemon, session: &str, command: &str) {
    let container = daemon.container_of(session, 1);
    let ran = Command::new("docker").args(["exec", &container, "sh", "-c", command]).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn a_notebook_lives(version: &'static str) {
    let daemon = Daemon::start();
    let client = Client::of(&daemon, version);
    let (home, other) = (project(&daemon, "home"), project(&daemon, "other"));
    let args = [
        "--name",
        "digits",
        "--environment",
        r#"{"GREETING": "hello there", "N": 5}"#,
        "--shutdownTimeout",
        "2",
        "--tag",
        "first",
        "--clusterId",
        "box",
        "--isPreemptible",
    ];
    let id = create(&client, &home, JUPYTER, &args);
    let said = client.says(&["notebooks", "list"]);
    assert!(said.contains("digits") && said.contains(&id), "{said}");
    let session = wait_until(&daemon, &client, &id, "Running");
    let shown = client.says(&["notebooks", "details", "--id", &id]);
    for word in ["digits", &id, &home, "cpu-small", "Running", &format!("{id}.localhost"), "first"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert_eq!(look(&daemon, &id)["spec"]["shutdownSeconds"], 7200);

    daemon.wait_until("a sample of what it uses", || {
        let metrics = daemon.get(&format!("/jobs/{session}/metrics")).body;
        metrics["series"].as_array()?.iter().any(|series| series["name"] == "cpuPercentage").then_some(())
    });
    let metrics = client.says(&["notebooks", "metrics", "get", "--id", &id]);
    assert!(metrics.contains("cpuPercentage") && metrics.contains(&session), "{metrics}");
    let names = client.says(&["notebooks", "metrics", "list", "--id", &id]);
    assert!(names.contains("memoryUsage"), "{names}");

    let write = "mkdir data; echo 12345 > data/numbers.txt; env > env.txt; echo '{}' > train.ipynb";
    inside(&daemon, &session, write);
    let listed = client.says(&["notebooks", "artifacts", "list", "--id", &id, "--size", "--links"]);
    let row = listed.lines().find(|line| line.contains("data/numbers.txt")).unwrap_or_else(|| panic!("{listed}"));
    assert!(row.contains(" 6 ") && listed.contains("train.ipynb"), "{listed}");
    let some = client.says(&["notebooks", "artifacts", "list", "--id", &id, "--files", "data*"]);
    assert!(some.contains("data/numbers.txt") && !some.contains("train.ipynb"), "{some}");
    let log = client.says(&["notebooks", "logs", "--id", &id]);
    assert!(log.contains(&session) && log.contains("8888"), "{log}");
    let line = client.says(&["notebooks", "logs", "--id", &id, "--line", "1", "--limit", "1"]);
    assert!(!line.contains(&session) && line.lines().count() < log.lines().count(), "{line}");

    daemon.wait_until("a sample", || {
        let names = client.says(&["notebooks", "metrics", "list", "--id", &id]);
        names.contains("cpuPercentage").then_some(())
    });
    let metrics = client.says(&["notebooks", "metrics", "get", "--id", &id, "--metric", "memoryUsage"]);
    let metrics: Value = serde_json::from_str(&metrics).unwrap_or_else(|error| panic!("{error}: {metrics}"));
    assert!(metrics["memoryUsage"][&session][0]["value"].is_string(), "{metrics}");
    let script = format!(
        r#"
import os, gradient
notebooks = gradient.NotebooksClient(os.environ["PAPERSPACE_API_KEY"])
print(next(notebooks.stream_metrics("{id}", interval="1s", built_in_metrics=["cpuPercentage"])))
"#
    );
    let first = client.python(&script);
    assert!(first.code == Some(0) && first.out.contains(&session) && first.out.contains("cpuPercentage"), "{first:?}");

    watch(&client, "notebooks", &id, &session);

    client.says(&["notebooks", "tags", "add", "--id", &id, "--tags", "second,more"]);
    client.says(&["notebooks", "tags", "remove", "--id", &id, "--tags", "first,more"]);
    assert!(client.says(&["notebooks", "list", "--tag", "second"]).contains(&id));
    assert!(!client.run(&["notebooks", "list", "--tag", "first"]).out.contains(&id));

    for (command, words) in
        [(&["start", "--machineType", "cpu-small"][..], "stop it first"), (&["delete"], "stop it first")]
    {
        let said = client.is_refused(&[&["notebooks"], command, &["--id", &id]].concat());
        assert!(said.contains(words), "{command:?}: {said}");
    }
    // A program in it knows the session alone.
    client.says(&["notebooks", "stop", "--id", &session]);
    wait_until(&daemon, &client, &id, "Stopped");
    let kept = client.says(&["notebooks", "artifacts", "list", "--id", &id]);
    assert!(kept.contains("data/numbers.txt"), "{kept}");

    let fork = client.says(&["notebooks", "fork", "--id", &id, "--projectId", &other]);
    let fork = id_after(&fork, "Notebook forked to id:");
    let start = ["--machineType", "cpu-max", "--shutdownTimeout", "5", "--tag", "third"];
    let started = client.says(&[&["notebooks", "start", "--id", &id], &start[..]].concat());
    assert!(started.contains(&id), "{started}");
    let again = wait_until(&daemon, &client, &id, "Running");
    assert_ne!(again, session);
    inside(
        &daemon,
        &again,
        "grep 12345 data/numbers.txt && grep -x 'GREETING=hello there' env.txt && grep -x N=5 env.txt",
    );
    let now = look(&daemon, &id);
    assert_eq!((&now["machineType"], &now["spec"]["shutdownSeconds"]), (&json!("cpu-max"), &json!(18_000)));
    assert_eq!(now["tags"], json!(["second", "third"]));
    let forked = client.says(&["notebooks", "details", "--id", &fork]);
    assert!(forked.contains("Fork of digits") && forked.contains(&other) && forked.contains("Stopped"), "{forked}");
    // What was just stopped is waited for.
    client.says(&["notebooks", "stop", "--id", &id]);
    for gone in [&id, &fork] {
        client.says(&["notebooks", "delete", "--id", gone]);
    }
    assert_eq!(daemon.get("/notebooks").body["items"], json!([]));
}

#[test]
fn a_notebook_lives_with_the_first_generation_of_the_command() {
    a_notebook_lives(VERSIONS[0]);
}

#[test]
fn a_notebook_lives_with_the_second_generation_of_the_command() {
    a_notebook_lives(VERSIONS[1]);
}

#[test]
fn a_repository_and_a_command_of_one_s_own_come_with_a_notebook() {
    let daemon = Daemon::start();
    let project = project(&daemon, "p");
    let server = GitServer::start();
    server.git(&["init", "-q"]);
    server.commit("from git");
    server.git(&["tag", "v1"]);
    let later = server.commit("from git, later");
    for (client, reference) in
        [(Client::of(&daemon, VERSIONS[0]), "v1"), (Client::of(&daemon, VERSIONS[1]), later.trim())]
    {
        let url = server.url();
        let args = ["--workspace", &url, "--workspaceRef", reference, "--command", "cat words; exec sleep 1000"];
        let id = create(&client, &project, BUSYBOX, &args);
        let printed = daemon.wait_until("its line", || {
            let said = client.says(&["notebooks", "logs", "--id", &id]);
            said.contains("from git").then_some(said)
        });
        assert_eq!(printed.contains("later"), reference == later.trim(), "{printed}");
        client.says(&["notebooks", "stop", "--id", &id]);
    }
}

#[test]
fn each_mistake_with_a_notebook_reads_clearly_at_the_terminal() {
    let daemon = Daemon::start();
    let project = project(&daemon, "p");
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let base =
            ["notebooks", "create", "--projectId", &project, "--container", BUSYBOX, "--machineType", "cpu-small"];
        for (at, value, extra, words) in [
            (3, "p00000000", &[][..], "there is no project p00000000"),
            (5, "Upper Case", &[], "image"),
            (7, "cpu-tiny", &[], "cpu-tiny"),
            (3, &project, &["--workspace", "s3://bucket/code.zip"], "git repository"),
            (3, &project, &["--workspace", "./code"], "git repository"),
            (3, &project, &["--shutdownTimeout", "0"], "hours"),
            (3, &project, &["--shutdownTimeout", "100000"], "168 h at most on this box"),
            (3, &project, &["--registryUsername", "ada"], "registryPassword"),
            (3, &project, &["--environment", r#"{"A": "secret:NONE"}"#], "NONE"),
            (3, &project, &["--clusterId", "clg07azjl"], "its id is box"),
        ] {
            let mut words_of = base;
            words_of[at] = value;
            let said = client.is_refused(&[&words_of, extra].concat());
            assert!(said.contains(words), "{value} {extra:?}: {said}");
        }
        for command in [
            &["details"][..],
            &["start", "--machineType", "cpu-small"],
            &["stop"],
            &["fork", "--projectId", &project],
            &["delete"],
            &["logs"],
            &["artifacts", "list"],
            &["metrics", "get"],
            &["metrics", "list"],
            &["tags", "add", "--tag", "t"],
        ] {
            let said = client.is_refused(&[&["notebooks"], command, &["--id", "n00000000a"]].concat());
            assert!(said.contains("there is no notebook n00000000a"), "{command:?}: {said}");
        }
        let wrong = Client::with_key(&daemon, version, "gdk_wrong");
        let said = wrong.is_refused(&["notebooks", "list"]);
        assert!(said.contains("key"), "{said}");
    }
    assert_eq!(daemon.get("/notebooks").body["items"], json!([]), "nothing is left of mistakes");
}

#[test]
fn what_a_notebook_is_told_is_kept_as_it_was_said() {
    let daemon = Daemon::start();
    let project = project(&daemon, "p");
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let mut args = vec!["--isPublic", "--tags", "a,b", "--registryUsername", "ada", "--registryPassword", "pa55"];
        args.extend([
            "--workspace",
            "http://127.0.0.1:1/code.git",
            "--workspaceUsername",
            "git",
            "--workspacePassword",
        ]);
        args.push("w0rd");
        if version == VERSIONS[0] {
            args.extend(["--containerUser", "1000"]);
        }
        let id = create(&client, &project, "127.0.0.1:1/none:1", &args);
        let notebook = look(&daemon, &id);
        let spec = &notebook["spec"];
        assert_eq!((&notebook["public"], &notebook["tags"]), (&json!(true), &json!(["a", "b"])), "{notebook:#}");
        assert_eq!(spec["workspace"], json!({"git": "http://127.0.0.1:1/code.git", "username": "git"}), "{spec:#}");
        assert_eq!(spec["registryUsername"], "ada", "{spec:#}");
        let user = if version == VERSIONS[0] { json!("1000") } else { Value::Null };
        assert_eq!(spec["user"], user, "{spec:#}");
        for word in ["pa55", "w0rd"] {
            assert!(!notebook.to_string().contains(word), "{notebook:#}");
        }
    }
    assert!(!daemon.log().contains("pa55") && !daemon.log().contains("w0rd"));
}

#[test]
fn an_image_that_there_is_none_of_ends_in_words() {
    let daemon = Daemon::start();
    let client = Client::of(&daemon, VERSIONS[1]);
    let id = create(&client, &project(&daemon, "p"), "127.0.0.1:1/none:1", &[]);
    daemon
        .wait_until("its end", || client.says(&["notebooks", "details", "--id", &id]).contains("Error").then_some(()));
    let log = client.says(&["notebooks", "logs", "--id", &id]);
    assert!(log.contains("127.0.0.1:1/none:1"), "{log}");
    client.says(&["notebooks", "delete", "--id", &id]);
}

#[test]
fn the_sdk_keeps_a_notebook() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let script = format!(
            r#"
import gradient, os
key = os.environ["PAPERSPACE_API_KEY"]
project = gradient.ProjectsClient(key).create("sdk {version}")
notebooks = gradient.NotebooksClient(key)
made = notebooks.create(machine_type="cpu-small", container="{BUSYBOX}", project_id=project, name="sdk",
    command="exec sleep 1000", environment={{"A": "1"}}, shutdown_timeout=3, tags=["a", "b"])
one = notebooks.get(made)
print(one.id == made, one.name, one.shutdown_timeout, sorted(one.tags), one.project_handle == project)
notebooks.add_tags(made, ["c"])
notebooks.remove_tags(made, ["a"])
print(notebooks.list_tags([made]) == [{{made: ["b", "c"]}}])
rows, meta = notebooks.list(tags=["b"], limit=5, offset=0, get_meta=True)
print([row.id == made for row in rows], meta["total"])
session = one.job_handle
notebooks.stop(session)
notebooks.delete(made)
print(notebooks.list(limit=5, offset=0, tags=[]))
"#
        );
        let said = client.python(&script);
        assert!(said.code == Some(0), "{said:?}");
        for line in ["True sdk 3 ['a', 'b'] True", "True", "[True] 1", "[]"] {
            assert!(said.out.lines().any(|printed| printed == line), "{line}: {said:?}");
        }
    }
}
