//! Somebody fetches what a job left behind, and nothing else of this machine.

use std::io::{Cursor, Read};

use serde_json::{Value, json};

use crate::daemon::Daemon;

/// Leaves files of several kinds, and traps.
const LEAVE: &str = r#"
cd /artifacts
mkdir -p model/deep empty
printf 0123456789 > model/weights.bin
printf '{"a":1}' > model/deep/config.json
printf '<script>alert(1)</script>' > page.html
printf '<svg onload="alert(1)"/>' > image.svg
printf x > 'with space & ünïcode.txt'
printf x > "$(printf 'line\nbreak')"
ln -s /etc/passwd passwd
ln -s / root
ln -s model/weights.bin inner
mkfifo pipe
chmod 755 model/weights.bin
"#;

#[test]
fn what_a_job_left_is_listed_and_fetched_and_nothing_else() {
    let daemon = Daemon::start();
    let id = daemon.shell(LEAVE);
    let job = daemon.wait_for_end(&id);
    assert_eq!(job["state"], "stopped", "{job:#}\n{}", daemon.text_of(&id));
    lists(&daemon, &id);
    fetches_in_parts(&daemon, &id);
    shows_no_page(&daemon, &id);
    leaves_no_way_out(&daemon, &id);
    bundles(&daemon, &id);
}

fn lists(daemon: &Daemon, id: &str) {
    let listed = |query: &str| {
        let answer = daemon.get(&format!("/jobs/{id}/artifacts{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let top = listed("");
    let kinds: Vec<_> = top["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["name"].as_str().unwrap(), item["kind"].as_str().unwrap()))
        .collect();
    for expected in [
        ("model", "directory"),
        ("empty", "directory"),
        ("page.html", "file"),
        ("with space & ünïcode.txt", "file"),
        ("passwd", "link"),
        ("root", "link"),
        ("pipe", "other"),
    ] {
        assert!(kinds.contains(&expected), "{expected:?} in {kinds:?}");
    }
    let model = listed("?path=model");
    assert_eq!(model["items"][1]["path"], "model/weights.bin", "{model:#}");
    assert_eq!(model["items"][1]["sizeBytes"], 10);
    assert_eq!(listed("?path=empty")["items"], json!([]));
    // A page at a time, all of them once.
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = listed(&query);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()));
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=3&cursor={next}"),
            None => break,
        }
    }
    let whole: Vec<Value> = top["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
    assert_eq!(seen, whole);
}

fn fetches_in_parts(daemon: &Daemon, id: &str) {
    let path = format!("/api/v1/jobs/{id}/artifacts/model/weights.bin");
    let whole = daemon.ask("GET", &path).send();
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!((whole.header("content-length"), whole.header("accept-ranges")), (Some("10"), Some("bytes")));
    let etag = whole.header("etag").unwrap().to_owned();
    for (range, status, body, said) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=5-500", 206, "56789", Some("bytes 5-9/10")),
        // More than one part, or nonsense: the whole is a correct answer to both.
        ("bytes=0-1,4-5", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
    ] {
        let part = daemon.ask("GET", &path).with("Range", range).send();
        assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (status, body, said), "{range}");
    }
    let beyond = daemon.ask("GET", &path).with("Range", "bytes=10-").send();
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    assert_eq!(beyond.json()["code"], "range_not_satisfiable");
    let known = daemon.ask("GET", &path).with("If-None-Match", &etag).send();
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(etag.as_str())));
    let resumed = daemon.ask("GET", &path).with("Range", "bytes=8-").with("If-Range", &etag).send();
    assert_eq!(resumed.text(), "89");
    let changed = daemon.ask("GET", &path).with("Range", "bytes=8-").with("If-Range", "\"other\"").send();
    assert_eq!((changed.status, changed.text().as_str()), (200, "0123456789"), "a part of another file helps nobody");
    let head = daemon.ask("HEAD", &path).send();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
}

fn shows_no_page(daemon: &Daemon, id: &str) {
    for name in ["page.html", "image.svg"] {
        let page = daemon.ask("GET", &format!("/api/v1/jobs/{id}/artifacts/{name}")).send();
        assert_eq!((page.status, page.header("content-type")), (200, Some("application/octet-stream")), "{name}");
        assert!(page.header("content-disposition").unwrap().starts_with("attachment"), "{name}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{name}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{name}: {policy}");
    }
    let json = daemon.ask("GET", &format!("/api/v1/jobs/{id}/artifacts/model/deep/config.json")).send();
    assert_eq!(json.header("content-type"), Some("text/plain; charset=utf-8"));
    let spaced = format!("/api/v1/jobs/{id}/artifacts/with%20space%20&%20%C3%BCn%C3%AFcode.txt");
    assert_eq!(daemon.ask("GET", &spaced).send().text(), "x");
}

fn leaves_no_way_out(daemon: &Daemon, id: &str) {
    for path in [
        "passwd",
        "root/etc/passwd",
        "root",
        "inner",
        "pipe",
        "model",
        "",
        "none",
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/x",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "model/../../logs",
        "model/%00",
        "%ff%fe",
        "model/weights.bin/x",
    ] {
        let answer = daemon.ask("GET", &format!("/api/v1/jobs/{id}/artifacts/{path}")).send();
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("root:"), "{path}: {}", answer.text());
    }
    for path in ["..", "%2e%2e", "/etc", "root", "root/etc", "passwd", "model/../..", "none"] {
        let answer = daemon.ask("GET", &format!("/api/v1/jobs/{id}/artifacts?path={path}")).send();
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
    }
    let foreign = daemon.get("/jobs/js0123456789ab/artifacts");
    assert_eq!((foreign.status, &foreign.body["code"]), (404, &json!("job_not_found")), "{foreign:?}");
}

fn bundles(daemon: &Daemon, id: &str) {
    let (status, bytes) = daemon.get_bytes(&format!("/jobs/{id}/artifacts.tar"), "*/*");
    assert_eq!(status, 200);
    let (mut files, mut links) = (Vec::new(), Vec::new());
    for entry in tar::Archive::new(Cursor::new(bytes)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        match entry.header().entry_type() {
            tar::EntryType::Regular => files.push((name, text, entry.header().mode().unwrap() & 0o111)),
            tar::EntryType::Symlink => links.push(name),
            _ => {}
        }
    }
    let weights = files.iter().find(|(name, ..)| name.ends_with("model/weights.bin")).unwrap();
    assert_eq!((weights.1.as_str(), weights.2), ("0123456789", 0o111));
    assert!(files.iter().all(|(_, text, _)| !text.contains("root:")), "no link is followed");
    assert!(links.iter().any(|name| name.ends_with("inner")), "links stay links: {links:?}");

    let (status, bytes) = daemon.get_bytes(&format!("/jobs/{id}/artifacts.zip"), "*/*");
    assert_eq!(status, 200);
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert!(!names.iter().any(|name| name.contains("passwd") || name.contains("root")), "{names:?}");
    let mut text = String::new();
    let inside = names.iter().find(|name| name.ends_with("deep/config.json")).unwrap();
    zip.by_name(inside).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, r#"{"a":1}"#);
}
