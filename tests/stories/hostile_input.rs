//! What is wrong is refused in words, whoever sent it and however wrong it is, and leaves nothing
//! behind.

use std::io::{Cursor, Write};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, tar_of},
    wire::Reply,
};

/// Checks that an answer is a problem document, and returns its code and field.
fn problem(reply: &Reply, of: &str) -> (u16, String, String) {
    let body = reply.json();
    assert!((400..500).contains(&reply.status), "{of}: {} {}", reply.status, reply.text());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{of}: {}", reply.text());
    assert_eq!(body["status"], reply.status, "{of}");
    for part in ["type", "title", "code", "detail", "requestId"] {
        assert!(body[part].as_str().is_some_and(|text| !text.is_empty()), "{of}: {part} of {body}");
    }
    assert!(body["detail"].as_str().unwrap().chars().all(|c| !c.is_control()), "{of}: {body}");
    assert!(reply.body.len() < 10_000, "{of}: an answer of {} bytes", reply.body.len());
    let text = |part: &str| body[part].as_str().unwrap_or_default().to_owned();
    (reply.status, text("code"), text("field"))
}

/// Says what stands in the database and on the disk.
fn holdings(daemon: &Daemon) -> (usize, usize, usize) {
    let count = |path: &str| daemon.get(path).body["items"].as_array().unwrap().len();
    let uploads = std::fs::read_dir(daemon.data().join("uploads")).map_or(0, |entries| entries.count());
    (count("/jobs"), count("/projects"), uploads)
}

/// Jobs that cannot be, each with its code and field. An image is added where none is said.
fn bad_jobs() -> Vec<(Value, u16, &'static str, &'static str)> {
    let long = "x".repeat(129);
    let many: Value = (0..1001).map(|n| (format!("A{n}"), json!(""))).collect::<serde_json::Map<_, _>>().into();
    let row = |body: Value, code, field| (body, 422, code, field);
    vec![
        row(json!({"imagee": "x"}), "unknown_field", "imagee"),
        row(json!({"privileged": true}), "unknown_field", "privileged"),
        row(json!({"mounts": ["/:/host"]}), "unknown_field", "mounts"),
        row(json!({"volumes": ["/etc:/etc"]}), "unknown_field", "volumes"),
        row(json!({"capAdd": ["SYS_ADMIN"]}), "unknown_field", "capAdd"),
        row(json!({"networkMode": "host"}), "unknown_field", "networkMode"),
        row(json!({"devices": ["/dev/sda"]}), "unknown_field", "devices"),
        row(json!({"__proto__": {}}), "unknown_field", "__proto__"),
        row(json!({"workspace": {"git": "https://a.b/c", "depth": 1}}), "unknown_field", "workspace.depth"),
        row(json!({"image": 5}), "invalid_body", "image"),
        row(json!({"image": ""}), "bad_image", "image"),
        row(json!({"image": "UPPER/Case"}), "bad_image", "image"),
        row(json!({"image": "--privileged"}), "bad_image", "image"),
        row(json!({"image": "a b"}), "bad_image", "image"),
        row(json!({"image": "../../x"}), "bad_image", "image"),
        row(json!({"image": "x:\u{0}"}), "bad_image", "image"),
        row(json!({"image": "x".repeat(5000)}), "bad_image", "image"),
        row(json!({"name": ""}), "empty", "name"),
        row(json!({"name": "   "}), "empty", "name"),
        row(json!({"name": long}), "too_long", "name"),
        row(json!({"name": "a\u{1b}[2J"}), "control_characters", "name"),
        row(json!({"name": "a\u{0}"}), "control_characters", "name"),
        row(json!({"name": ["a"]}), "invalid_body", "name"),
        row(json!({"project": ""}), "empty", "project"),
        row(json!({"project": "a\nb"}), "control_characters", "project"),
        row(json!({"project": long}), "too_long", "project"),
        row(json!({"command": ""}), "empty", "command"),
        row(json!({"command": []}), "empty", "command"),
        row(json!({"command": "a\u{0}b"}), "control_characters", "command"),
        row(json!({"command": ["a", "\u{0}"]}), "control_characters", "command"),
        row(json!({"command": {"a": 1}}), "invalid_body", "command"),
        row(json!({"command": ["a", 1]}), "invalid_body", "command[1]"),
        row(json!({"command": "x".repeat(70_000)}), "too_long", "command"),
        row(json!({"command": vec!["x"; 5000]}), "too_long", "command"),
        row(json!({"machineType": "no-such"}), "unknown_machine_type", "machineType"),
        row(json!({"machineType": ""}), "unknown_machine_type", "machineType"),
        row(json!({"env": {"NVIDIA_VISIBLE_DEVICES": "all"}}), "reserved_env", "env.NVIDIA_VISIBLE_DEVICES"),
        row(json!({"env": {"A=B": "x"}}), "bad_env_name", "env.A=B"),
        row(json!({"env": {"": "x"}}), "bad_env_name", "env."),
        row(json!({"env": {"A\u{0}": "x"}}), "bad_env_name", "env.A"),
        row(json!({"env": {"1A": "x"}}), "bad_env_name", "env.1A"),
        row(json!({"env": {"A": "x\u{0}"}}), "control_characters", "env.A"),
        row(json!({"env": {"A": "x\u{1b}"}}), "control_characters", "env.A"),
        row(json!({"env": {"A": 1}}), "invalid_body", "env.A"),
        row(json!({"env": {"A": "x".repeat(140_000)}}), "too_large", "env"),
        row(json!({"env": many}), "too_many", "env"),
        row(json!({"env": ["A=B"]}), "invalid_body", "env"),
        row(json!({"env": {"A": "secret:NONE"}}), "unknown_secret", "env.A"),
        row(json!({"env": {"A": "secret:"}}), "unknown_secret", "env.A"),
        row(json!({"workingDirectory": "relative"}), "bad_path", "workingDirectory"),
        row(json!({"workingDirectory": "/a/../b"}), "bad_path", "workingDirectory"),
        row(json!({"workingDirectory": "/a\u{0}"}), "control_characters", "workingDirectory"),
        row(json!({"workspace": {}}), "bad_workspace", "workspace"),
        row(json!({"workspace": {"upload": "x", "git": "y"}}), "bad_workspace", "workspace"),
        row(json!({"workspace": "https://a.b/c"}), "invalid_body", "workspace"),
        row(json!({"workspace": {"git": "ext::sh -c 'touch /tmp/x'"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "ext::sh"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "--upload-pack=touch"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "https://-oProxyCommand=x/a"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "file:///etc"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "/etc"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "ssh://git@a.b/c"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "git@a.b:c/d.git"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "https://u:p@a.b/c"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "https://a.b/c\nd"}}), "bad_git_url", "workspace.git"),
        row(json!({"workspace": {"git": "https://a.b/c", "ref": "--upload-pack=x"}}), "bad_git_ref", "workspace.ref"),
        row(json!({"workspace": {"git": "https://a.b/c", "ref": "a..b"}}), "bad_git_ref", "workspace.ref"),
        row(json!({"workspace": {"git": "https://a.b/c", "ref": "a:b"}}), "bad_git_ref", "workspace.ref"),
        row(json!({"workspace": {"git": "https://a.b/c", "ref": ""}}), "bad_git_ref", "workspace.ref"),
        row(json!({"workspace": {"git": "https://a.b/c", "username": "u"}}), "missing", "workspace.password"),
        row(json!({"registryPassword": "x"}), "missing", "registryUsername"),
        row(json!({"registryUsername": "x"}), "missing", "registryPassword"),
        row(json!({"build": {}}), "build_without_workspace", "build"),
        row(json!({"build": {}, "workspace": {"git": "https://a.b/c"}}), "image_and_build", "image"),
        row(
            json!({"image": null, "build": {"dockerfile": "../x"}, "workspace": {"git": "https://a.b/c"}}),
            "bad_path",
            "build.dockerfile",
        ),
        row(json!({"image": null, "build": {}}), "build_without_workspace", "build"),
        row(json!({"image": null}), "missing", "image"),
        row(json!({"ports": [0]}), "bad_port", "ports.0"),
        row(json!({"ports": [65536]}), "invalid_body", "ports[0]"),
        row(json!({"ports": [-1]}), "invalid_body", "ports[0]"),
        row(json!({"ports": [80.5]}), "invalid_body", "ports[0]"),
        row(json!({"ports": [{"container": 80, "host": 22}]}), "bad_port", "ports.0"),
        row(json!({"ports": [80, 80]}), "duplicate_port", "ports.1"),
        row(json!({"ports": (1..=33).collect::<Vec<_>>()}), "too_many", "ports"),
        row(json!({"sharedMemoryBytes": 1}), "too_small", "sharedMemoryBytes"),
        row(json!({"sharedMemoryBytes": u64::MAX}), "too_large", "sharedMemoryBytes"),
        row(json!({"sharedMemoryBytes": -1}), "invalid_body", "sharedMemoryBytes"),
        row(json!({"user": "a b"}), "bad_user", "user"),
        row(json!({"user": "-u"}), "bad_user", "user"),
        row(json!({"user": "0:0:0"}), "bad_user", "user"),
        row(json!({"timeLimitSeconds": 0}), "too_small", "timeLimitSeconds"),
        row(json!({"timeLimitSeconds": -5}), "invalid_body", "timeLimitSeconds"),
        row(json!({"timeLimitSeconds": u64::MAX}), "too_large", "timeLimitSeconds"),
        row(json!({"timeLimitSeconds": 1e300}), "invalid_body", "timeLimitSeconds"),
        row(json!({"retries": {"limit": 101}}), "too_large", "retries.limit"),
        row(json!({"retries": {"limit": -1}}), "invalid_body", "retries.limit"),
        row(json!({"retries": {"limit": 1, "backoffSeconds": u64::MAX}}), "too_large", "retries.backoffSeconds"),
        row(json!({"retries": {}}), "missing_field", "retries.limit"),
        row(json!({"tags": [""]}), "empty", "tags"),
        row(json!({"tags": ["a,b"]}), "bad_tag", "tags"),
        row(json!({"tags": ["a\u{7}"]}), "control_characters", "tags"),
        row(json!({"tags": ["x".repeat(65)]}), "too_long", "tags"),
        row(json!({"tags": vec!["x"; 51]}), "too_many", "tags"),
        row(json!({"tags": "a"}), "invalid_body", "tags"),
        row(json!({"priority": 101}), "out_of_range", "priority"),
        row(json!({"priority": -101}), "out_of_range", "priority"),
        row(json!({"priority": i64::MAX}), "invalid_body", "priority"),
        row(json!({"priority": "high"}), "invalid_body", "priority"),
        row(json!({"cloneOf": "x"}), "invalid_body", "cloneOf"),
        (json!({"cloneOf": "js0123456789ab"}), 404, "job_not_found", ""),
    ]
}

#[test]
fn a_job_that_cannot_be_is_refused_by_the_field_that_is_wrong() {
    let daemon = Daemon::start();
    let before = holdings(&daemon);
    for (mut body, status, code, field) in bad_jobs() {
        match body.get("image") {
            Some(Value::Null) => drop(body.as_object_mut().unwrap().remove("image")),
            Some(_) => {}
            None => body["image"] = BUSYBOX.into(),
        }
        // A project is made on the fly, but not for a job that is none.
        if body.get("project").is_none() {
            body["project"] = "made in vain".into();
        }
        let shown: String = body.to_string().chars().take(200).collect();
        let reply = daemon.ask("POST", "/api/v1/jobs").json(&body).send();
        let told = problem(&reply, &shown);
        assert_eq!((told.0, told.1.as_str(), told.2.as_str()), (status, code, field), "{shown}: {}", reply.text());
    }
    let types = daemon.get("/machine-types").body;
    let known = types["items"][0]["name"].as_str().unwrap();
    let unknown = daemon.post("/jobs", &json!({"image": BUSYBOX, "machineType": "p4000-x"}));
    assert!(unknown.body["detail"].as_str().unwrap().contains(known), "those that there are: {unknown:?}");
    assert_eq!(holdings(&daemon), before, "nothing is left behind");
}

#[test]
fn a_body_that_is_no_json_or_too_much_of_it_is_refused() {
    let daemon = Daemon::start();
    let before = holdings(&daemon);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_value = format!("{{\"image\":\"x\",\"env\":{}{}}}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let large = format!("{{\"image\":\"{}\"}}", "x".repeat(10 << 20));
    let json = "application/json";
    let rows: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        (json, b"".to_vec(), 400, "malformed_json"),
        (json, b"{".to_vec(), 400, "malformed_json"),
        (json, b"{\"image\": \"x\",}".to_vec(), 400, "malformed_json"),
        (json, b"\xff\xfe{}".to_vec(), 400, "malformed_json"),
        (json, b"{\"image\": \"\xff\"}".to_vec(), 400, "malformed_json"),
        (json, b"{\"image\": \"x\"} {}".to_vec(), 400, "malformed_json"),
        (json, b"{\"image\": \"\\ud800\"}".to_vec(), 400, "malformed_json"),
        (json, b"\0\0\0\0".to_vec(), 400, "malformed_json"),
        (json, b"[]".to_vec(), 422, "invalid_body"),
        (json, b"null".to_vec(), 422, "invalid_body"),
        (json, b"\"text\"".to_vec(), 422, "invalid_body"),
        (json, b"{\"image\":\"x\",\"image\":\"y\"}".to_vec(), 422, "invalid_body"),
        (json, deep.into_bytes(), 0, ""),
        (json, deep_value.into_bytes(), 0, ""),
        (json, large.into_bytes(), 413, "body_too_large"),
        ("text/plain", b"{}".to_vec(), 415, "not_json"),
        ("application/x-www-form-urlencoded", b"image=x".to_vec(), 415, "not_json"),
        ("multipart/form-data; boundary=x", b"--x--".to_vec(), 415, "not_json"),
    ];
    for (kind, body, status, code) in rows {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let reply = daemon.ask("POST", "/api/v1/jobs").body(kind, body).send();
        let told = problem(&reply, &shown);
        if status != 0 {
            assert_eq!((told.0, told.1.as_str()), (status, code), "{kind} {shown}: {}", reply.text());
        }
    }
    assert_eq!(holdings(&daemon), before);
    assert_eq!(daemon.get("/healthz").status, 200);
}

#[test]
fn paths_queries_and_headers_of_garbage_are_answered_in_kind() {
    let daemon = Daemon::start();
    let id = daemon.shell("true");
    daemon.wait_for_end(&id);
    let rows = [
        ("/jobs?limit=0", 422),
        ("/jobs?limit=501", 422),
        ("/jobs?limit=-1", 422),
        ("/jobs?limit=x", 422),
        ("/jobs?limit=99999999999999999999", 422),
        ("/jobs?limit=1&limit=2", 422),
        ("/jobs?nonsense=1", 422),
        ("/jobs?cursor=x", 400),
        ("/jobs?cursor=%00", 400),
        ("/jobs?cursor=LTE", 0),
        ("/jobs?cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk", 400),
        ("/jobs?state=flying", 422),
        ("/jobs?user=x", 422),
        ("/jobs?project=%00", 404),
        ("/jobs?q=%00%ff", 0),
        ("/jobs/x", 404),
        ("/jobs/js0123456789ab", 404),
        ("/jobs/JS0123456789AB", 404),
        ("/jobs/%2e%2e", 404),
        ("/jobs/js0123456789ab%00", 404),
        ("/jobs/..%2f..%2fetc", 404),
        ("/jobs//logs", 404),
        ("/projects/p", 404),
        ("/nothing", 404),
        ("/", 404),
        ("/jobs/", 404),
        ("//jobs", 404),
        ("/jobs/ID/logs?start=-1", 422),
        ("/jobs/ID/logs?start=99999999999999999999", 422),
        ("/jobs/ID/logs?limit=0", 422),
        ("/jobs/ID/logs?limit=10001", 422),
        ("/jobs/ID/logs?tail=x", 422),
        ("/jobs/ID/logs?attempt=0", 422),
        ("/jobs/ID/logs?attempt=4294967295", 404),
        ("/jobs/ID/charts/x?points=0", 422),
        ("/jobs/ID/charts/%ff", 404),
        ("/jobs/ID/metrics?points=1", 422),
        ("/jobs/ID/metrics?from=never", 422),
        ("/jobs/ID/metrics?points=1000000", 422),
        ("/jobs/ID/artifacts?cursor=!!", 400),
        ("/jobs/ID/artifacts?path=%00", 422),
        ("/secrets?project=none", 404),
        ("/queue?limit=-1", 422),
    ];
    let mut wrong = Vec::new();
    for (path, status) in rows {
        let reply = daemon.ask("GET", &format!("/api/v1{}", path.replace("ID", &id))).send();
        // 0: whatever it is, no fault of ours.
        if status == 0 && reply.status < 500 || status == reply.status && problem(&reply, path).0 == status {
            continue;
        }
        wrong.push(format!("{path}: {} {}", reply.status, reply.text().chars().take(300).collect::<String>()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (method, path, status) in [
        ("PUT", "/jobs", 405),
        ("PATCH", "/jobs", 405),
        ("DELETE", "/jobs", 405),
        ("TRACE", "/jobs", 405),
        ("BREW", "/jobs", 405),
        ("POST", "/healthz", 405),
        ("DELETE", "/jobs/x", 404),
        ("POST", "/jobs/x/stop", 404),
        ("DELETE", "/keys/x", 404),
    ] {
        let reply = daemon.ask(method, &format!("/api/v1{path}")).send();
        assert_eq!(problem(&reply, path).0, status, "{method} {path}: {}", reply.text());
    }
    let long = daemon.ask("GET", &format!("/api/v1/jobs?q={}", "x".repeat(62_000))).send();
    assert_eq!(long.status, 414);
    let headers: Vec<String> = (0..200).map(|n| format!("X-{n}")).collect();
    let many = headers.iter().fold(daemon.ask("GET", "/api/v1/jobs"), |asked, name| asked.with(name, "y"));
    assert_eq!(many.send().status, 431);
    let huge = daemon.ask("GET", "/api/v1/jobs").with("X-Huge", &"y".repeat(300_000)).send();
    assert_eq!(huge.status, 431);
    for (name, value) in [
        ("Accept", "\u{fc}\u{1}"),
        ("Accept", "text/event-stream;q=nan"),
        ("Last-Event-ID", "x"),
        ("Last-Event-ID", "-5"),
        ("Last-Event-ID", "99999999999999999999"),
        ("Range", "bytes=5-1"),
        ("If-None-Match", "\u{1}\u{2}"),
        ("Cookie", "=;;;=\u{fc}"),
        ("Content-Length", "5"),
    ] {
        let reply = daemon.ask("GET", &format!("/api/v1/jobs/{id}/logs")).with(name, value).send();
        assert!(reply.status < 500, "{name}: {value:?}: {} {}", reply.status, reply.text());
    }
    assert_eq!(daemon.get("/healthz").status, 200);
    assert!(!daemon.log().contains(" ERROR "), "{}", daemon.log());
}

/// Makes a tar of one entry that says what it likes.
fn crooked(name: &str, kind: tar::EntryType, link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, std::io::empty()).unwrap();
    tar.into_inner().unwrap()
}

fn zip_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn an_archive_that_reaches_out_or_blows_up_is_refused_by_its_entry() {
    use tar::EntryType as E;
    let daemon = Daemon::start_with(&[
        ("GRADIENTD_LIMITS__UPLOAD_UNPACKED", "10MiB"),
        ("GRADIENTD_LIMITS__UPLOAD", "4MiB"),
        ("GRADIENTD_LIMITS__UPLOAD_FILES", "1000"),
    ]);
    let before = holdings(&daemon);
    let zeros = vec![0; 50 << 20];
    let bomb = {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()));
        let mut header = tar::Header::new_gnu();
        header.set_size(zeros.len() as u64);
        tar.append_data(&mut header, "zeros", &*zeros).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    };
    let many: Vec<String> = (0..1500).map(|n| format!("f{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
    let cut = {
        let whole = tar_of(&[("a", "some text")]);
        whole[..600].to_vec()
    };
    for (what, bytes, names) in [
        ("up and out", crooked("../escape", E::Regular, ""), "escape"),
        ("up inside", crooked("a/../../escape", E::Regular, ""), "escape"),
        ("absolute", crooked("/etc/cron.d/x", E::Regular, ""), "/etc/cron.d/x"),
        ("a link out", crooked("link", E::Symlink, "/etc/passwd"), "link"),
        ("a link up", crooked("link", E::Symlink, "../../x"), "link"),
        ("a hard link", crooked("hard", E::Link, "/etc/passwd"), "hard"),
        ("a device", crooked("dev", E::Char, ""), "dev"),
        ("a block device", crooked("blk", E::Block, ""), "blk"),
        ("a pipe", crooked("fifo", E::Fifo, ""), "fifo"),
        ("a zip that goes up", zip_of("../escape", b"x"), "escape"),
        ("a zip from the root", zip_of("/etc/x", b"x"), "/etc/x"),
        ("a zip with backslashes", zip_of("..\\escape", b"x"), "escape"),
        ("a bomb", bomb, "zeros"),
        ("a zip bomb", zip_of("zeros", &zeros), "zeros"),
        ("too many files", tar_of(&many), "1000"),
        ("cut off", cut, ""),
        ("nothing", Vec::new(), ""),
        ("no archive", b"#!/bin/sh\nrm -rf /\n".to_vec(), ""),
        ("half a zip", zip_of("a", b"x")[..40].to_vec(), ""),
    ] {
        let reply = daemon.ask("POST", "/api/v1/uploads").body("application/octet-stream", bytes).send();
        let told = problem(&reply, what);
        assert_eq!((told.0, told.1.as_str()), (422, "bad_archive"), "{what}: {}", reply.text());
        assert!(reply.json()["detail"].as_str().unwrap().contains(names), "{what}: {}", reply.text());
    }
    let mut noise = vec![0; 5 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let reply = daemon.ask("POST", "/api/v1/uploads").body("application/zip", noise).send();
    assert_eq!(problem(&reply, "too large").0, 413);
    let form = daemon.ask("POST", "/api/v1/uploads").body("multipart/form-data; boundary=x", "--x--").send();
    assert_eq!(problem(&form, "a form").0, 415);
    assert_eq!(holdings(&daemon), before, "nothing is left behind");
}

#[test]
fn names_and_values_of_secrets_and_projects_are_checked_too() {
    let daemon = Daemon::start();
    let before = holdings(&daemon);
    for (path, body, code) in [
        ("/secrets", json!({"name": "1A", "value": "x"}), "bad_secret_name"),
        ("/secrets", json!({"name": "A-B", "value": "x"}), "bad_secret_name"),
        ("/secrets", json!({"name": "A".repeat(129), "value": "x"}), "bad_secret_name"),
        ("/secrets", json!({"name": "A", "value": ""}), "bad_secret_value"),
        ("/secrets", json!({"name": "A", "value": "x".repeat(8193)}), "bad_secret_value"),
        ("/secrets", json!({"name": "A", "value": "a\u{0}b"}), "bad_secret_value"),
        ("/secrets", json!({"name": "A"}), "missing_field"),
        ("/secrets", json!({"name": "A", "value": 5}), "invalid_body"),
        ("/secrets", json!({"name": "A", "value": "x", "project": "none"}), "project_not_found"),
    ] {
        let reply = daemon.ask("PUT", &format!("/api/v1{path}")).json(&body).send();
        let told = problem(&reply, code);
        assert_eq!(told.1, code, "{}", reply.text());
        assert!(!reply.text().contains("xxxx"), "a value is not repeated");
    }
    for body in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "a\u{1b}b"}),
        json!({"name": "x".repeat(129)}),
        json!({"name": 1}),
    ] {
        let reply = daemon.ask("POST", "/api/v1/projects").json(&body).send();
        assert_eq!(problem(&reply, "a project").0, 422, "{body}");
    }
    assert_eq!(daemon.get("/secrets").body["items"], json!([]));
    assert_eq!(holdings(&daemon), before);
}
