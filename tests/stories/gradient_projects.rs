//! Somebody whose habit is the `gradient` command points it to this box.

use std::process::Command;

use serde_json::json;

use crate::{
    client::{Client, VERSIONS, id_after},
    daemon::Daemon,
};

#[test]
fn projects_are_made_tagged_listed_and_deleted_by_both_clients() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let name = format!("digits {version}");
        let made =
            client.says(&["projects", "create", "--name", &name, "--tags", "a,c", "--repositoryUrl", "git@x:d.git"]);
        let id = id_after(&made, "Project created with ID");
        assert!(made.contains(&format!("/gradient/web/team/projects/{id}")), "{made}");
        let project = daemon.get(&format!("/projects/{id}")).body;
        assert_eq!((&project["name"], &project["tags"]), (&json!(name), &json!(["a", "c"])));
        client.says(&["projects", "tags", "add", "--id", &id, "--tag", "b"]);
        client.says(&["projects", "tags", "remove", "--id", &id, "--tags", "a,c"]);
        assert_eq!(daemon.get(&format!("/projects/{id}")).body["tags"], json!(["b"]));

        let listed = client.says(&["projects", "list", "--tag", "b"]);
        assert!(listed.contains(&id) && listed.contains(&name), "{listed}");
        let details = client.says(&["projects", "details", "--id", &id]);
        assert!(details.contains(&name) && details.contains("git@x:d.git"), "{details}");
        client.says(&["projects", "delete", "--id", &id]);
        assert_eq!(daemon.get(&format!("/projects/{id}")).status, 404);
        assert!(client.is_refused(&["projects", "details", "--id", &id]).contains("Project not found"));
    }
}

#[test]
fn a_key_may_be_kept_by_the_client_itself_until_it_is_told_to_forget_it() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version).with("PAPERSPACE_API_KEY", None);
        assert_eq!(client.says(&["version"]).trim(), format!("v{version}"));
        assert!(client.is_refused(&["projects", "list"]).contains("API key"));
        assert!(client.says(&["apiKey", &daemon.key()]).contains("Successfully added your API Key"));
        assert!(client.says(&["projects", "list"]).contains("No data found"));
        let once = client.is_refused(&["projects", "list", "--apiKey", "gdk_wrong"]);
        assert!(once.contains("this is not an API key"), "{once}");
        client.says(&["logout"]);
        assert!(client.is_refused(&["projects", "list"]).contains("API key"));
    }
}

#[test]
fn whoever_names_the_data_directory_alone_is_led_to_its_daemon() {
    let daemon = Daemon::start();
    let home = tempfile::tempdir().unwrap();
    for command in ["gradient-env", "sign-in"] {
        let said = Command::new(env!("CARGO_BIN_EXE_gradientd"))
            .args([command, "--data-dir"])
            .arg(daemon.data())
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap();
        let printed = String::from_utf8(said.stdout).unwrap();
        assert!(printed.contains(&format!("http://127.0.0.1:{}/", daemon.port())), "{command}: {printed}");
    }
}

#[test]
fn secrets_are_set_listed_and_deleted_and_never_shown() {
    let daemon = Daemon::start();
    let project = daemon.post("/projects", &json!({"name": "p"})).body["id"].as_str().unwrap().to_owned();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        for entity in [vec!["team"], vec!["project", "--id", &project], vec!["cluster", "--id", "box"]] {
            let with = |verb, rest: &[&'static str]| {
                let mut args = vec!["secrets", verb];
                args.extend(&entity);
                args.extend(rest);
                client.says(&args)
            };
            with("set", &["--name", "TOKEN", "--value", "s3cr3t-value"]);
            let listed = with("list", &[]);
            assert!(listed.contains("TOKEN") && !listed.contains("s3cr3t-value"), "{listed}");
            with("delete", &["--name", "TOKEN"]);
            assert!(!with("list", &[]).contains("TOKEN"));
        }
    }
    assert!(!daemon.log().contains("s3cr3t-value"));
}

#[test]
fn the_box_is_the_only_cluster_and_shows_its_machine_types() {
    let daemon = Daemon::start();
    let types = daemon.get("/machine-types").body;
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        assert!(client.says(&["clusters", "list", "--limit", "5", "--offset", "0"]).contains("box"));
        assert!(client.says(&["clusters", "list", "--offset", "1"]).contains("No data found"));
        let elsewhere = client.says(&["clusters", "machineTypes", "list", "--clusterId", "clg07azjl"]);
        assert!(elsewhere.contains("No data found"), "{elsewhere}");
        let here = client.says(&["clusters", "machineTypes", "list", "--clusterId", "box"]);
        assert!(here.contains("cpu-small"), "{here}");
        let listed = client.says(&["clusters", "machineTypes", "list"]);
        for kind in types["items"].as_array().unwrap() {
            assert!(listed.contains(kind["name"].as_str().unwrap()), "{listed}");
        }
        let asked = ["machines", "availability", "--machineType", "cpu-small", "--region", "CA1"];
        assert!(client.says(&asked).contains("Machine available: True"));
        let asked = ["machines", "availability", "--machineType", "cpu-tiny", "--region", "CA1"];
        assert!(client.is_refused(&asked).contains("cpu-tiny"));
    }
}

#[test]
fn each_mistake_reads_clearly_at_the_terminal() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let stranger = Client::with_key(&daemon, version, "gdk_wrong");
        assert!(stranger.is_refused(&["projects", "list"]).contains("key"));
        let client = Client::of(&daemon, version);
        assert!(client.is_refused(&["projects", "delete", "--id", "p00000000"]).contains("there is no project"));
        assert!(client.is_refused(&["projects", "create", "--name", " "]).contains("name"));
        let words = client.is_refused(&["secrets", "set", "team", "--name", "a b", "--value", "x"]);
        assert!(words.contains("a secret's name begins with a letter"), "{words}");
        for later in [vec!["workflows", "list", "--projectId", "p"], vec!["models", "list"]] {
            assert!(client.is_refused(&later).contains("not on this box yet"), "{later:?}");
        }
        let words = client.is_refused(&["deployments", "list"]);
        assert!(words.contains("not on this box yet"), "{words}");
    }
    let read =
        daemon.post("/keys", &json!({"name": "looker", "scope": "read"})).body["key"].as_str().unwrap().to_owned();
    let looker = Client::with_key(&daemon, VERSIONS[1], &read);
    assert!(looker.says(&["projects", "list"]).contains("No data found"));
    assert!(looker.is_refused(&["projects", "create", "--name", "p"]).contains("this key may not create projects"));
}
