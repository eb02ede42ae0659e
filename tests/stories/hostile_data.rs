//! Data from people who mean harm: every entry that must not be is refused by name, and nothing of it
//! is left behind.

use std::{io::Write, net::TcpStream, process::Command, time::Duration};

use serde_json::json;

use crate::{
    daemon::{Daemon, PATIENCE},
    data::{Version, blake3_of, noise},
};

/// Lists what is on the disk below a version's directory and below the temporary ones.
fn left(daemon: &Daemon) -> String {
    let found = Command::new("find")
        .arg(daemon.data().join("teams"))
        .args(["-path", "*incoming*", "-o", "-name", "*.partial", "-o", "-name", ".*"])
        .output()
        .unwrap();
    String::from_utf8(found.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.ends_with("/incoming") && !line.ends_with("/multipart"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("paths"));
    daemon.fill(&version, &[("file", b"x"), ("dir/inner", b"x")]);
    let deep = "d/".repeat(2000);
    let (long, name) = ("a/".repeat(2500), "n".repeat(300));
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (b"../x".to_vec(), "parent"),
        (b"a/../../x".to_vec(), "parent inside"),
        (b"%2e%2e/x".to_vec(), "escaped parent"),
        (b"..%2f..%2fx".to_vec(), "escaped slash"),
        (b"%2fetc%2fpasswd".to_vec(), "absolute"),
        (b"a%00b".to_vec(), "NUL"),
        (b"a%0ab".to_vec(), "line break"),
        (b"a%1b%5b31mb".to_vec(), "escape sequence"),
        (b"a%5cb".to_vec(), "backslash"),
        (b"".to_vec(), "empty"),
        (b"%2e".to_vec(), "dot"),
        (format!("{deep}f").into_bytes(), "deep"),
        (format!("{long}f").into_bytes(), "long"),
        (name.into_bytes(), "long name"),
        (b"file/below".to_vec(), "below a file"),
        (b"dir".to_vec(), "a directory"),
    ];
    for (path, what) in bad {
        let target = format!("/api/v1{}", version.at(&format!("/files/{}", String::from_utf8(path).unwrap())));
        let reply = daemon.ask("PUT", &target).body("application/octet-stream", "hostile").send();
        assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
    }
    assert_eq!(daemon.files(&version).keys().collect::<Vec<_>>(), ["dir/inner", "file"]);
    assert_eq!(left(&daemon), "");
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header
}

/// Makes a tar with a good entry, a hostile one and another good one. The name is written as it is.
fn hostile(name: &[u8], kind: tar::EntryType, link: Option<&[u8]>) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, kind, link) in [
        (b"good/first".as_slice(), tar::EntryType::Regular, None),
        (name, kind, link),
        (b"good/last", tar::EntryType::Regular, None),
    ] {
        let size = if kind == tar::EntryType::Regular { 4 } else { 0 };
        let mut header = header(kind, size);
        let bytes = header.as_mut_bytes();
        bytes[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        if let Some(link) = link {
            bytes[157..157 + link.len()].copy_from_slice(link);
        }
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        if size > 0 {
            tar.extend_from_slice(b"data");
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn send_tar(daemon: &Daemon, version: &Version, tar: Vec<u8>) -> crate::wire::Reply {
    daemon.ask("PUT", &format!("/api/v1{}", version.at(".tar"))).body("application/x-tar", tar).send()
}

#[test]
fn a_hostile_tar_is_refused_by_the_name_of_the_entry_and_leaves_nothing() {
    use tar::EntryType as T;
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("tars"));
    daemon.fill(&version, &[("there", b"before")]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("escape-up", hostile(b"../escape-up", T::Regular, None)),
        ("escape-in", hostile(b"a/../../escape-in", T::Regular, None)),
        ("absolute", hostile(b"/absolute", T::Regular, None)),
        ("out-link", hostile(b"out-link", T::Symlink, Some(b"/etc/passwd"))),
        ("up-link", hostile(b"a/up-link", T::Symlink, Some(b"../../up"))),
        ("hard-link", hostile(b"hard-link", T::Link, Some(b"/etc/passwd"))),
        ("hard-missing", hostile(b"hard-missing", T::Link, Some(b"nothing"))),
        ("device", hostile(b"device", T::Block, None)),
        ("char-device", hostile(b"char-device", T::Char, None)),
        ("fifo", hostile(b"fifo", T::Fifo, None)),
        ("good/first", hostile(b"good/first", T::Regular, None)),
        ("good/first", hostile(b"good/first/below", T::Regular, None)),
        ("line", hostile(b"line\nbreak", T::Regular, None)),
    ];
    for (name, tar) in cases {
        let reply = send_tar(&daemon, &version, tar);
        assert!((400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.text());
        assert!(reply.text().contains(name), "the entry {name} is named: {}", reply.text());
        assert_eq!(daemon.files(&version).keys().collect::<Vec<_>>(), ["there"], "{name}");
    }
    // Sizes that lie, and archives that are none.
    let mut lying = header(T::Regular, 1 << 40);
    lying.set_path("lying").unwrap();
    lying.set_cksum();
    let mut lie = lying.as_bytes().to_vec();
    lie.extend_from_slice(&[0; 2048]);
    let whole = hostile(b"fine", T::Regular, None);
    let cut = zstd::encode_all(whole.as_slice(), 1).unwrap();
    for (what, body) in [
        ("a size that lies", lie),
        ("cut in the middle", whole[..1000].to_vec()),
        ("cut while packed", cut[..cut.len() - 5].to_vec()),
        ("no archive", b"hello".to_vec()),
        ("noise", noise(1, 5000)),
    ] {
        let reply = send_tar(&daemon, &version, body);
        assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
        assert_eq!(daemon.files(&version).keys().collect::<Vec<_>>(), ["there"], "{what}");
    }
    assert_eq!(left(&daemon), "");
    daemon.commit(&version);
    assert_eq!(daemon.read_back(&version)["there"], blake3_of(b"before"));
}

#[test]
fn a_bomb_ends_at_the_quota() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__TEAM_QUOTA", "20MiB")]);
    let version = daemon.draft(&daemon.dataset("bomb"));
    let mut head = header(tar::EntryType::Regular, 2 << 30);
    head.set_path("zeros").unwrap();
    head.set_cksum();
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packed.write_all(head.as_bytes()).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 2 << 30), &mut packed).unwrap();
    let bomb = packed.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let reply = send_tar(&daemon, &version, bomb);
    assert_eq!((reply.status, &reply.json()["code"]), (507, &json!("quota_exceeded")), "{}", reply.text());
    assert!(daemon.files(&version).is_empty());
    // What fits still fits, and what does not is told so.
    daemon.fill(&version, &[("small", &noise(1, 1 << 20))]);
    let large = daemon.put_file(&version, "large", &noise(2, 30 << 20));
    assert_eq!((large.status, &large.json()["code"]), (507, &json!("quota_exceeded")), "{}", large.text());
    assert_eq!(daemon.read_back(&version).len(), 1);
    assert_eq!(left(&daemon), "");
}

#[test]
fn a_client_that_stops_half_way_leaves_nothing() {
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("broken"));
    daemon.fill(&version, &[("file", b"whole")]);
    for (target, length) in [(version.file("file"), 1 << 20), (version.at(".tar"), 1 << 20)] {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!(
            "PUT /api/v1{target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nContent-Length: {length}\r\n\r\n",
            daemon.port(),
            daemon.key()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&hostile(b"half", tar::EntryType::Regular, None)[..1500]).unwrap();
        drop(stream);
    }
    daemon.wait_until("everything half to be gone", || left(&daemon).is_empty().then_some(()));
    assert_eq!(daemon.read_back(&version)["file"], blake3_of(b"whole"));
    assert_eq!(daemon.files(&version).len(), 1);
    assert!(PATIENCE > Duration::ZERO);
}

#[test]
fn another_team_sees_nothing_and_guesses_nothing() {
    let daemon = Daemon::start();
    let secret = noise(9, 100_000);
    let version = daemon.filled("private", &[("secret", &secret)]);
    let token = daemon.key_of_another_team("write");
    let ask = |method: &str, path: &str, body: serde_json::Value| {
        let reply =
            daemon.ask_as_nobody(method, &format!("/api/v1{path}")).with("Authorization", &format!("Bearer {token}"));
        reply.json(&body).send()
    };
    assert_eq!(ask("GET", "/datasets", json!({})).json()["items"], json!([]));
    let id = &version.dataset;
    for (method, path) in [
        ("GET", format!("/datasets/{id}")),
        ("GET", "/datasets/private".to_owned()),
        ("GET", format!("/datasets/resolve?ref={}", version.reference())),
        ("PATCH", format!("/datasets/{id}")),
        ("DELETE", format!("/datasets/{id}?force=true")),
        ("GET", version.at("")),
        ("GET", version.at("/files")),
        ("GET", version.file("secret")),
        ("PUT", version.file("secret")),
        ("GET", version.at(".tar")),
        ("POST", version.at("/commit")),
        ("GET", version.at("/lineage")),
        ("GET", format!("/datasets/{id}/tags")),
        ("POST", format!("/datasets/{id}/versions")),
    ] {
        let reply = ask(method, &path, json!({}));
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
    }
    let job = ask("POST", "/jobs", json!({"image": "x", "datasets": [{"ref": version.reference()}]}));
    assert_eq!(job.status / 100, 4, "{}", job.text());
    // Knowing a file's hash is not having it.
    let own = ask("POST", "/datasets", json!({"name": "private"})).json()["id"].as_str().unwrap().to_owned();
    let draft =
        ask("POST", &format!("/datasets/{own}/versions"), json!({})).json()["version"].as_str().unwrap().to_owned();
    let known = json!({"files": [{"path": "stolen", "blake3": blake3_of(&secret)}]});
    let answer = ask("POST", &format!("/datasets/{own}/versions/{draft}/known"), known);
    assert_eq!((&answer.json()["linked"], &answer.json()["missing"]), (&json!(0), &json!([0])), "{}", answer.text());
    // Until it is public: then everybody reads, and only reads.
    assert_eq!(daemon.patch("/datasets/private", &json!({"public": true})).status, 200);
    assert_eq!(ask("GET", "/datasets/gradient%2Fprivate", json!({})).status, 200);
    assert_eq!(ask("GET", &version.file("secret"), json!({})).body, secret);
    assert_eq!(ask("PUT", &version.file("secret"), json!({})).status / 100, 4);
    assert_eq!(ask("DELETE", &format!("/datasets/{id}"), json!({})).status / 100, 4);
    assert_eq!(daemon.read_back(&version).len(), 1);
}
