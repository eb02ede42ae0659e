//! Somebody brings code: as an archive, from git, or from an earlier job.

use std::{
    fs,
    io::{Cursor, Write},
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::daemon::{BUSYBOX, Daemon, PATIENCE, free_port};

const SCRIPT: &str = "#!/bin/sh\necho from the script in $(pwd): $(cat data/words.txt)\n";

fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text, mode) in [("run.sh", SCRIPT, 0o755), ("data/words.txt", "some words", 0o644)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn zip() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text, mode) in [("run.sh", SCRIPT, 0o755), ("data/words.txt", "some words", 0o644)] {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(mode);
        zip.start_file(path, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

impl Daemon {
    fn uploads_on_disk(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data().join("uploads")).into_iter().flatten().filter_map(Result::ok);
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn upload(daemon: &Daemon, kind: &str, bytes: &[u8]) -> String {
    let answer = daemon.post_bytes("/uploads", kind, bytes);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["sizeBytes"], bytes.len());
    assert_eq!(answer.body["files"], 2);
    assert!(answer.body["expiresAt"].is_string());
    answer.body["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_archive_of_any_kind_becomes_the_directory_that_a_job_starts_in() {
    let daemon = Daemon::start();
    let packed = tar();
    let jobs = [
        ("application/x-tar", packed.clone()),
        ("application/gzip", gzip(&packed)),
        ("application/zip", zip()),
        ("application/zstd", zstd::encode_all(&*packed, 1).unwrap()),
        // The kind is told by the first bytes, not by the header.
        ("application/octet-stream", zip()),
    ]
    .map(|(kind, bytes)| {
        let upload = upload(&daemon, kind, &bytes);
        // The bit that lets it run has to have come along; the other file has none.
        let command = "./run.sh; test ! -x data/words.txt && echo plain; echo kept > left-behind";
        (kind, daemon.submit(&json!({"image": BUSYBOX, "command": command, "workspace": {"upload": upload}})))
    });
    for (kind, id) in &jobs {
        let job = daemon.wait_for_end(id);
        assert_eq!(job["state"], "stopped", "{kind}: {job:#}");
        let text = daemon.text_of(id);
        assert!(text.contains("from the script in /home/paperspace: some words\nplain\n"), "{kind}: {text}");
    }

    // A clone starts from the upload as it was, long after, with none of what the first run wrote.
    let clone = daemon.post(
        &format!("/jobs/{}/clone", jobs[0].1),
        &json!({"command": "./run.sh && test ! -e left-behind && echo fresh"}),
    );
    assert_eq!(clone.status, 201, "{clone:?}");
    assert_eq!(clone.body["cloneOf"], jobs[0].1);
    let id = clone.body["id"].as_str().unwrap();
    assert_eq!(daemon.wait_for_end(id)["state"], "stopped", "{}", daemon.text_of(id));
    assert!(daemon.text_of(id).contains("fresh\n"));
}

#[test]
fn a_later_attempt_finds_what_an_earlier_one_wrote() {
    let daemon = Daemon::start();
    let upload = upload(&daemon, "application/x-tar", &tar());
    let id = daemon.submit(&json!({
        "image": BUSYBOX,
        "command": "test -e checkpoint && echo resumed && exit 0; ./run.sh; echo 1 > checkpoint; exit 3",
        "workspace": {"upload": upload},
        "retries": {"limit": 1, "backoffSeconds": 0},
    }));
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("stopped"), &json!(2)), "{job:#}");
    assert!(daemon.text_of(&id).contains("resumed\n"));
    // Each attempt keeps a log of its own.
    let (status, first) = daemon.get_bytes(&format!("/jobs/{id}/logs?attempt=1"), "text/plain");
    assert_eq!(status, 200);
    assert!(String::from_utf8(first).unwrap().contains("some words"));
}

#[test]
fn an_upload_that_is_not_there_is_refused_with_what_to_do() {
    let daemon = Daemon::start();
    for (id, code) in [("up0123456789abcdef", "unknown_upload"), ("../../etc", "bad_id"), ("", "bad_id")] {
        let answer = daemon.post("/jobs", &json!({"image": BUSYBOX, "workspace": {"upload": id}}));
        assert_eq!((answer.status, &answer.body["code"]), (422, &json!(code)), "{answer:?}");
        assert_eq!(answer.body["field"], "workspace.upload");
    }
}

#[test]
fn an_upload_expires_unless_a_job_was_made_of_it() {
    let mut daemon = Daemon::start_with(&[("GRADIENTD_RETENTION__UPLOADS", "1s")]);
    let unused = upload(&daemon, "application/x-tar", &tar());
    let used = upload(&daemon, "application/x-tar", &tar());
    let job = daemon.submit(&json!({"image": BUSYBOX, "command": "./run.sh", "workspace": {"upload": used}}));
    daemon.wait_for_end(&job);
    // What has expired is removed now and then, and at a start.
    let begun = Instant::now();
    while daemon.uploads_on_disk().iter().any(|name| name.contains(&unused)) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", daemon.uploads_on_disk());
        daemon.restart(&[]);
        daemon.wait_until("the collector's first pass", || {
            let now = daemon.get("/box").body;
            now["loops"]
                .as_array()?
                .iter()
                .find(|one| one["name"] == "collect" && one["lastRunAt"].is_string())
                .cloned()
        });
    }
    let answer = daemon.post("/jobs", &json!({"image": BUSYBOX, "workspace": {"upload": unused}}));
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("unknown_upload")), "{answer:?}");
    let clone = daemon.post(&format!("/jobs/{job}/clone"), &json!({}));
    assert_eq!(clone.status, 201, "{clone:?}");
    let clone = clone.body["id"].as_str().unwrap();
    assert_eq!(daemon.wait_for_end(clone)["state"], "stopped", "{}", daemon.text_of(clone));
}

#[test]
fn whoever_runs_a_job_may_write_in_its_workspace() {
    let daemon = Daemon::start();
    let upload = upload(&daemon, "application/x-tar", &tar());
    let id = daemon.submit(&json!({
        "image": BUSYBOX, "workspace": {"upload": upload}, "user": "1000:1000",
        "command": "./run.sh && echo more >> data/words.txt && touch data/new && mkdir made && echo done",
    }));
    assert_eq!(daemon.wait_for_end(&id)["state"], "stopped", "{}", daemon.text_of(&id));
}

/// A git server of a test's own, on loopback.
pub struct GitServer {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl GitServer {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", dir.path().display()))
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { dir, port, child };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "git daemon does not listen");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        server
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(self.repository())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn repository(&self) -> std::path::PathBuf {
        let path = self.dir.path().join("code");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Commits a file that says `words`, and returns the commit.
    pub fn commit(&self, words: &str) -> String {
        fs::write(self.repository().join("words"), format!("{words}\n")).unwrap();
        self.git(&["add", "."]);
        self.git(&["commit", "-qm", words]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn url(&self) -> String {
        format!("git://127.0.0.1:{}/code", self.port)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // It starts a process for each connection, which ends with its connection.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_repository_is_checked_out_at_the_branch_tag_or_commit_that_is_named() {
    let server = GitServer::start();
    server.git(&["init", "-q"]);
    let first = server.commit("first");
    server.git(&["tag", "v1"]);
    server.git(&["checkout", "-qb", "side/work"]);
    server.commit("side");
    server.git(&["checkout", "-q", "main"]);
    let last = server.commit("last");

    let daemon = Daemon::start();
    let submit = |reference: Option<&str>| {
        let mut workspace = json!({"git": server.url()});
        if let Some(reference) = reference {
            workspace["ref"] = reference.into();
        }
        let answer = daemon.post("/jobs", &json!({"image": BUSYBOX, "command": "cat words", "workspace": workspace}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    };
    let good = [
        (None, "last"),
        (Some("main"), "last"),
        (Some("side/work"), "side"),
        (Some("v1"), "first"),
        (Some(first.as_str()), "first"),
        (Some(&last[..10]), "last"),
    ]
    .map(|(reference, words)| (reference, words, submit(reference)));
    let unknown = submit(Some("no-such-branch"));
    let gone = daemon.submit(&json!({
        "image": BUSYBOX, "workspace": {"git": format!("git://127.0.0.1:{}/nothing", server.port)},
    }));
    for (reference, words, id) in &good {
        let job = daemon.wait_for_end(id);
        assert_eq!(job["state"], "stopped", "{reference:?}: {job:#}\n{}", daemon.text_of(id));
        assert!(daemon.text_of(id).ends_with(&format!("{words}\n")), "{reference:?}: {}", daemon.text_of(id));
    }
    // The log says which commit a name was at that time.
    let rows = setup_words(&daemon, &good[3].2);
    assert!(rows.contains(&first), "{rows}");

    for (id, named) in [(&unknown, "no-such-branch"), (&gone, "nothing")] {
        let job = daemon.wait_for_end(id);
        assert_eq!((&job["state"], &job["reason"]), (&json!("error"), &json!("workspace_failed")), "{job:#}");
        assert!(job["message"].as_str().unwrap().contains(named), "{job:#}");
        assert_eq!(job["startedAt"], Value::Null);
    }
}

#[test]
fn a_job_is_called_off_while_it_is_prepared_and_while_it_waits_to_be_tried_again() {
    let daemon = Daemon::start();
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/code", silent.local_addr().unwrap());
    let preparing = daemon.submit(&json!({"image": BUSYBOX, "workspace": {"git": url}}));
    let failing = daemon.submit(&json!({
        "image": BUSYBOX, "command": "exit 5", "retries": {"limit": 3, "backoffSeconds": 3600},
    }));
    let job = daemon.wait_for(&preparing, "its checkout", |job| job["progress"]["what"] == "checking out git");
    assert_eq!((&job["state"], &job["phase"]), (&json!("pending"), &json!("preparing")), "{job:#}");
    daemon.wait_for(&failing, "its pause", |job| job["phase"] == "backoff");
    for id in [&preparing, &failing] {
        assert_eq!(daemon.post(&format!("/jobs/{id}/stop"), &json!({})).status, 200);
        let job = daemon.wait_for_end(id);
        assert_eq!(
            (&job["state"], &job["phase"], &job["progress"]),
            (&json!("cancelled"), &Value::Null, &Value::Null),
            "{job:#}"
        );
    }
    assert_eq!(daemon.job(&failing)["attempt"], 1);
    assert_eq!(daemon.containers(), Vec::<String>::new());
}

/// Returns the daemon's own lines in a job's log.
fn setup_words(daemon: &Daemon, id: &str) -> String {
    let rows = daemon.rows_of(id);
    let own = rows.iter().filter(|row| row["stream"] == "system").filter_map(|row| row["text"].as_str());
    own.collect::<Vec<_>>().join("\n")
}
