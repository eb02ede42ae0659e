//! Data is brought in from elsewhere: from the web, from a bucket, from a directory of the box.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    daemon::Daemon,
    data::{Version, blake3_of, noise},
    s3::S3,
};

fn wait(daemon: &Daemon, import: &Value) -> Value {
    let path = format!("/imports/{}", import["id"].as_str().unwrap());
    daemon.wait_until("the import to end", || {
        let now = daemon.get(&path).body;
        now["finishedAt"].is_string().then_some(now)
    })
}

fn import(daemon: &Daemon, version: &Version, body: &Value) -> Value {
    let begun = daemon.post(&version.at("/imports"), body);
    assert_eq!(begun.status, 202, "{begun:?}\n{}", daemon.log());
    wait(daemon, &begun.body)
}

/// Serves `bytes` at any path, with ranges; breaks the first connection off in the middle when told to.
fn serve(bytes: Vec<u8>, breaks: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let nth = count.fetch_add(1, Ordering::SeqCst);
            let (mut from, mut line, mut path) = (0, String::new(), String::new());
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                if path.is_empty() {
                    path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                }
                if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    from = range.trim().trim_end_matches('-').parse().unwrap_or(0);
                }
                line.clear();
            }
            if let Some(to) = path.strip_prefix("/moved") {
                let _ = write!(
                    stream,
                    "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    to
                );
                continue;
            }
            if path.starts_with("/missing") {
                let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                continue;
            }
            let part = &bytes[from..];
            let status = if from == 0 {
                "200 OK".to_owned()
            } else {
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len())
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nETag: \"e\"\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                part.len()
            );
            let until = if breaks && nth == 0 { part.len() / 2 } else { part.len() };
            let _ = stream.write_all(&part[..until]);
        }
    });
    (url, asked)
}

#[test]
fn a_file_of_the_web_becomes_a_file_of_a_version() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__IMPORT_LOCAL", "true")]);
    let version = daemon.draft(&daemon.dataset("web"));
    let bytes = noise(1, 3 << 20);
    let (url, asked) = serve(bytes.clone(), true);
    let done = import(&daemon, &version, &json!({"url": format!("{url}/sets/digits.npz?x=1"), "prefix": "raw"}));
    assert_eq!(done["state"], "done", "{done:#}\n{}", daemon.log());
    assert!(asked.load(Ordering::SeqCst) >= 2, "the connection broke, and it went on");
    let moved = import(&daemon, &version, &json!({"url": format!("{url}/moved/other.bin"), "commit": true}));
    assert_eq!(moved["state"], "done", "{moved:#}");
    assert_eq!(daemon.version(&version)["state"], "committed");
    let kept = daemon.read_back(&version);
    assert_eq!(kept["raw/digits.npz"], blake3_of(&bytes));
    assert_eq!(kept.len(), 2, "{kept:?}");

    let draft = daemon.draft(&version.dataset);
    let missing = import(&daemon, &draft, &json!({"url": format!("{url}/missing")}));
    assert_eq!(missing["state"], "failed");
    assert!(missing["message"].as_str().unwrap().contains("404"), "{missing:#}");
    let nobody = import(&daemon, &draft, &json!({"url": "http://127.0.0.1:1/x"}));
    assert_eq!(nobody["state"], "failed", "{nobody:#}");
    for bad in ["file:///etc/passwd", "ftp://x/y", "http://", "not a url", "http://user:password@host/x"] {
        assert_eq!(daemon.post(&draft.at("/imports"), &json!({"url": bad})).status / 100, 4, "{bad}");
    }
}

#[test]
fn the_box_itself_is_not_reached_through_an_import() {
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("inside"));
    let (url, asked) = serve(b"internal".to_vec(), false);
    let port = url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "2130706433"] {
        let begun =
            daemon.post(&version.at("/imports"), &json!({"url": format!("http://{host}:{port}/latest/meta-data")}));
        if begun.status == 202 {
            assert_eq!(wait(&daemon, &begun.body)["state"], "failed", "{host}");
        } else {
            assert_eq!(begun.status / 100, 4, "{host}: {begun:?}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert!(daemon.files(&version).is_empty());
}

#[test]
fn a_prefix_of_a_bucket_becomes_a_version() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__IMPORT_LOCAL", "true")]);
    let s3 = S3::start();
    for n in 0..60 {
        let path = s3.bucket().join(format!("coco/train/{}/{n}.txt", n % 7));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("image {n}")).unwrap();
    }
    fs::write(s3.bucket().join("coco-other"), "not this").unwrap();
    let version = daemon.draft(&daemon.dataset("coco"));
    let done = import(&daemon, &version, &s3.inline("coco/"));
    assert_eq!(done["state"], "done", "{done:#}\n{}", daemon.log());
    assert!(!daemon.get(&version.at("/imports")).body.to_string().contains(crate::s3::secret()));
    // Again: nothing is doubled.
    assert_eq!(import(&daemon, &version, &s3.inline("coco/"))["state"], "done");
    let kept = daemon.read_back(&version);
    assert_eq!(kept.len(), 60);
    assert_eq!(kept["train/3/10.txt"], blake3_of(b"image 10"));
}

#[test]
fn a_directory_of_the_box_is_imported_when_an_admin_allows_it() {
    let source = tempfile::tempdir().unwrap();
    let allowed = source.path().join("allowed");
    fs::create_dir_all(allowed.join("set/deep")).unwrap();
    fs::write(allowed.join("set/deep/file"), "bytes").unwrap();
    fs::write(allowed.join("set/top"), "top").unwrap();
    fs::write(source.path().join("private"), "private").unwrap();
    std::os::unix::fs::symlink("deep/file", allowed.join("set/inside")).unwrap();
    std::os::unix::fs::symlink(source.path(), allowed.join("escape")).unwrap();
    let dirs = format!("[{:?}]", allowed.display().to_string());
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__IMPORT_DIRS", &dirs)]);
    let version = daemon.draft(&daemon.dataset("host"));
    let done = import(&daemon, &version, &json!({"directory": allowed.join("set")}));
    assert_eq!(done["state"], "done", "{done:#}\n{}", daemon.log());
    let kept = daemon.read_back(&version);
    assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), ["deep/file", "inside", "top"]);
    // Whoever owns the directory cannot write through to the version.
    fs::write(allowed.join("set/top"), "changed").unwrap();
    daemon.commit(&version);
    assert_eq!(daemon.read_back(&version)["top"], blake3_of(b"top"));

    let draft = daemon.draft(&version.dataset);
    for bad in [
        source.path().display().to_string(),
        allowed.join("..").display().to_string(),
        allowed.join("escape").display().to_string(),
        "/etc".to_owned(),
        "relative".to_owned(),
        String::new(),
    ] {
        let begun = daemon.post(&draft.at("/imports"), &json!({"directory": bad}));
        let refused = begun.status / 100 == 4 || wait(&daemon, &begun.body)["state"] == "failed";
        assert!(refused, "{bad}");
    }
    assert!(daemon.files(&draft).is_empty());
    let key = daemon.post("/keys", &json!({"name": "writer", "scope": "write"}));
    let token = key.body["key"].as_str().or(key.body["token"].as_str()).unwrap();
    let asked = daemon.ask_as_nobody("POST", &format!("/api/v1{}", draft.at("/imports")));
    let reply =
        asked.with("Authorization", &format!("Bearer {token}")).json(&json!({"directory": allowed.join("set")})).send();
    assert_eq!(reply.status, 403, "only an admin: {}", reply.text());
}

#[test]
fn an_import_that_is_killed_goes_on_and_one_that_is_cancelled_ends() {
    let mut daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__IMPORT_LOCAL", "true")]);
    let s3 = S3::start();
    fs::create_dir_all(s3.bucket().join("many")).unwrap();
    for n in 0..400 {
        fs::write(s3.bucket().join(format!("many/{n:03}")), noise(n, 20_000)).unwrap();
    }
    let version = daemon.draft(&daemon.dataset("resumed"));
    let begun = daemon.post(&version.at("/imports"), &s3.inline("many/"));
    assert_eq!(begun.status, 202, "{begun:?}");
    daemon.wait_until("some of it to be there", || (!daemon.files(&version).is_empty()).then_some(()));
    daemon.kill();
    daemon.restart(&[]);
    let done = wait(&daemon, &begun.body);
    assert_eq!(done["state"], "done", "{done:#}\n{}", daemon.log());
    assert_eq!(daemon.read_back(&version).len(), 400);

    let draft = daemon.draft(&version.dataset);
    let begun = daemon.post(&draft.at("/imports"), &s3.inline("many/"));
    assert_eq!(daemon.delete(&format!("/imports/{}", begun.body["id"].as_str().unwrap())).status / 100, 2);
    let ended = wait(&daemon, &begun.body);
    assert!(["cancelled", "done"].contains(&ended["state"].as_str().unwrap()), "{ended:#}");
}
