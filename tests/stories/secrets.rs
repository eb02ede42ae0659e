//! Secrets reach containers and nobody else.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::daemon::{BUSYBOX, Daemon};

const TEAM: &str = "team-value-6f1e0c";
const PROJECT: &str = "project-value-b2a9d4";
const REGISTRY: &str = "registry-password-91c3";

#[test]
fn a_secret_reaches_its_jobs_and_shows_nowhere_else() {
    let daemon = Daemon::start_with(&[("GRADIENTD_LOG__LEVEL", "debug")]);
    let made = daemon.put("/secrets", &json!({"name": "TOKEN", "value": TEAM}));
    assert_eq!((made.status, &made.body["scope"]), (201, &json!("team")), "{made:?}");
    assert_eq!(daemon.put("/secrets", &json!({"name": "TOKEN", "value": TEAM})).status, 200);
    let project = daemon.post("/projects", &json!({"name": "vision"})).body["id"].as_str().unwrap().to_owned();
    let own = daemon.put("/secrets", &json!({"name": "TOKEN", "value": PROJECT, "project": "vision"}));
    assert_eq!((own.status, &own.body["projectId"]), (201, &json!(project)), "{own:?}");

    // What a container gets is told by its length and its ends: the log would mask the rest.
    let command = "echo got ${#TOKEN} and ${TOKEN%%-*}; echo all: $TOKEN; \
        printf '%s' \"${TOKEN%?????}\"; printf '%s\\n' \"${TOKEN#${TOKEN%?????}}\"; \
        echo \"$TOKEN$TOKEN\" >&2; echo $TOKEN > /artifacts/mine";
    let job = |project: &str| {
        daemon.submit(&json!({
            "image": BUSYBOX, "command": command, "project": project,
            "env": {"TOKEN": "secret:TOKEN", "PLAIN": "seen"},
        }))
    };
    let (of_team, of_project) = (job("default"), job("vision"));
    let mut bodies = Vec::new();
    for (id, value) in [(&of_team, TEAM), (&of_project, PROJECT)] {
        let ended = daemon.wait_for_end(id);
        assert_eq!(ended["state"], "stopped", "{ended:#}");
        let text = daemon.text_of(id);
        let kind = value.split('-').next().unwrap();
        assert!(text.contains(&format!("got {} and {kind}\n", value.len())), "{text}");
        // Said whole, said in two writes, and said twice without a gap.
        for line in ["all: [secret:TOKEN]", "[secret:TOKEN]", "[secret:TOKEN][secret:TOKEN]"] {
            assert!(text.lines().any(|said| said == line), "{line}: {text}");
        }
        assert_eq!(daemon.get_bytes(&format!("/jobs/{id}/artifacts/mine"), "*/*").1, format!("{value}\n").into_bytes());
        let shown = daemon.job(id);
        assert_eq!(
            (&shown["spec"]["env"]["TOKEN"], &shown["spec"]["env"]["PLAIN"]),
            (&json!("secret:TOKEN"), &json!("seen"))
        );
        for path in ["", "/logs", "/logs/download", "/charts", "/metrics", "/artifacts"] {
            bodies.push(daemon.get_bytes(&format!("/jobs/{id}{path}"), "application/json").1);
        }
        fs::remove_file(artifact(&daemon, id)).unwrap();
    }

    // A password given as text is kept sealed and never shown; one that names a secret shows the name.
    let waiting = daemon.submit(&json!({
        "image": "127.0.0.1:1/none:1", "registryUsername": "me", "registryPassword": REGISTRY,
    }));
    let shown = daemon.job(&waiting);
    assert_eq!((&shown["spec"]["registryUsername"], &shown["spec"]["registryPassword"]), (&json!("me"), &Value::Null));

    for path in ["/secrets", "/secrets?project=vision", "/jobs", "/projects", "/keys", "/queue", "/box"] {
        let (status, bytes) = daemon.get_bytes(path, "application/json");
        assert_eq!(status, 200, "{path}");
        bodies.push(bytes);
    }
    assert_eq!(daemon.get("/secrets").body["items"].as_array().unwrap().len(), 2);
    bodies.push(daemon.log().into_bytes());
    for bytes in &bodies {
        for value in [TEAM, PROJECT, REGISTRY] {
            assert!(!holds(bytes, value), "{value} is in {}", String::from_utf8_lossy(bytes));
        }
    }
    for_every_file(&daemon.data(), &mut |path, bytes| {
        for value in [TEAM, PROJECT, REGISTRY] {
            assert!(!holds(bytes, value), "{value} is in {}", path.display());
        }
    });
}

#[test]
fn a_job_that_names_no_known_secret_is_refused_with_that_name() {
    let daemon = Daemon::start();
    daemon.post("/projects", &json!({"name": "vision"}));
    daemon.put("/secrets", &json!({"name": "OWN", "value": "x", "project": "vision"}));
    for (body, field, name) in [
        (json!({"env": {"A": "secret:NOT_THERE"}}), "env.A", "NOT_THERE"),
        // A secret of one project is none of another.
        (json!({"env": {"A": "secret:OWN"}, "project": "default"}), "env.A", "OWN"),
        (json!({"registryUsername": "u", "registryPassword": "secret:REG"}), "registryPassword", "REG"),
        (
            json!({"workspace": {"git": "https://example.invalid/a/b", "password": "secret:GIT"}}),
            "workspace.password",
            "GIT",
        ),
    ] {
        let mut job = json!({"image": BUSYBOX});
        job.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let answer = daemon.post("/jobs", &job);
        assert_eq!((answer.status, &answer.body["code"]), (422, &json!("unknown_secret")), "{answer:?}");
        assert_eq!(answer.body["field"], field);
        assert!(answer.body["detail"].as_str().unwrap().contains(name), "{answer:?}");
    }
    assert_eq!(daemon.get("/jobs").body["items"], json!([]));
}

#[test]
fn a_secret_that_is_deleted_while_a_job_waits_ends_the_job_with_its_name() {
    let daemon = Daemon::start_with(&[
        ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="all", cores=1, memory_gib=0.25}]"#),
        ("GRADIENTD_SCHEDULER__CPU_RESERVE_MILLIS", &reserve_all_but(1000)),
        ("GRADIENTD_ENGINE__STOP_GRACE", "1s"),
    ]);
    let secret = daemon.put("/secrets", &json!({"name": "SOON_GONE", "value": "something"}));
    let holder = daemon.shell("sleep 1000");
    daemon.wait_for(&holder, "running", |job| job["state"] == "running");
    let id = daemon.submit(&json!({"image": BUSYBOX, "env": {"A": "secret:SOON_GONE"}, "command": "true"}));
    daemon.wait_for(&id, "queued", |job| job["phase"] == "queued");
    assert_eq!(daemon.delete(&format!("/secrets/{}", secret.body["id"].as_str().unwrap())).status, 204);
    daemon.post(&format!("/jobs/{holder}/stop"), &json!({}));
    let job = daemon.wait_for_end(&id);
    assert_eq!(job["state"], "error", "{job:#}");
    assert!(job["message"].as_str().unwrap().contains("SOON_GONE"), "{job:#}");
}

/// Returns how much to reserve so that `millis` of this machine's cores are left for jobs.
pub fn reserve_all_but(millis: usize) -> String {
    let cores = std::thread::available_parallelism().unwrap().get();
    (cores * 1000 - millis).to_string()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

fn for_every_file(dir: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            for_every_file(&path, look);
        } else if kind.is_file() {
            look(&path, &fs::read(&path).unwrap_or_default());
        }
    }
}

/// Finds the file that a job wrote: it holds the value because the job wrote it there.
fn artifact(daemon: &Daemon, id: &str) -> std::path::PathBuf {
    let mut found = None;
    for_every_file(&daemon.data(), &mut |path, _| {
        if path.ends_with("mine") && path.to_string_lossy().contains(id) {
            found = Some(path.to_owned());
        }
    });
    found.expect("the artifact is in the data directory")
}
