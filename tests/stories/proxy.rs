//! Somebody uses what their containers serve, and others try to.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, PATIENCE},
    wire::Reply,
};

const APP: &str = include_str!("served/app.py");
const MIB: usize = 1 << 20;

/// Starts a job that serves on ports 8000 and 9000, and waits until it does.
fn serving(daemon: &Daemon) -> String {
    let id = daemon.submit(&json!({
        "image": "gradient-test/python:latest", "command": ["python3", "-c", APP], "ports": [8000],
    }));
    daemon.wait_until("the app to serve", || daemon.printed_by(&id).contains(&"serving".to_owned()).then_some(()));
    daemon.wait_until("the way to the app", || (by_key(daemon, &id, "/").status == 200).then_some(()));
    id
}

fn by_key(daemon: &Daemon, label: &str, path: &str) -> Reply {
    daemon.visit(label, "GET", path).with("Authorization", &format!("Bearer {}", daemon.key())).send()
}

/// Opens a job as the web UI does and returns the URL.
fn open(daemon: &Daemon, id: &str, what: &Value) -> String {
    let opened = daemon.post(&format!("/workloads/{id}/open"), what);
    assert_eq!(opened.status, 200, "{opened:?}");
    opened.body["url"].as_str().unwrap().to_owned()
}

/// Returns what follows the host of a URL.
fn path_of(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap();
    &rest[rest.find('/').unwrap()..]
}

/// Opens a job in a browser and returns its cookie.
fn cookie(daemon: &Daemon, id: &str) -> String {
    let url = open(daemon, id, &json!({}));
    assert!(url.starts_with(&format!("http://{id}.localhost:{}/?gradientd-ticket=gdt_", daemon.workload_port())));
    let reply = daemon.visit(id, "GET", path_of(&url)).send();
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")), "{}", reply.text());
    reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

/// Makes a key and returns its id and text.
fn write_key(daemon: &Daemon) -> (String, String) {
    let made = daemon.post("/keys", &json!({"name": "k", "scope": "write"}));
    let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// A connection that stays open.
struct Line(TcpStream);

impl Line {
    fn say(daemon: &Daemon, text: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.workload_port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        Self(stream)
    }

    fn until(&mut self, mark: &str) -> String {
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        while !text.contains(mark) {
            let read = self.0.read(&mut piece).unwrap();
            assert!(read > 0, "it ended after {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        text
    }

    /// Waits for the end and returns how long that took.
    fn ends(&mut self) -> Duration {
        let (begun, mut rest) = (Instant::now(), Vec::new());
        let _ = self.0.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "cut off, not ended");
        begun.elapsed()
    }
}

fn websocket(daemon: &Daemon, id: &str, headers: &str) -> Line {
    let host = format!("{id}.localhost:{}", daemon.workload_port());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    Line::say(daemon, &format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{upgrade}{headers}\r\n"))
}

/// Sends a word over a websocket and waits for it to come back.
fn echo(line: &mut Line, word: &str) {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x81, 0x80 | u8::try_from(word.len()).unwrap()];
    frame.extend(mask);
    frame.extend(word.bytes().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    line.0.write_all(&frame).unwrap();
    line.until(word);
}

#[test]
fn a_browser_opens_a_job_by_a_ticket_and_the_job_learns_no_secrets() {
    let daemon = Daemon::start();
    let id = serving(&daemon);
    let cookie = cookie(&daemon, &id);
    let reply = daemon.visit(&id, "GET", "/page?a=b").with("Cookie", &format!("mine=1; {cookie}")).send();
    assert_eq!(reply.status, 200);
    let seen = reply.json();
    assert_eq!((&seen["port"], &seen["path"]), (&json!(8000), &json!("/page?a=b")));
    let told = reply.text();
    assert!(!told.contains("gdc_") && told.contains("mine=1"), "{told}");
    let told = by_key(&daemon, &format!("{id}-9000"), "/").text();
    assert!(told.contains("\"port\": 9000") && !told.contains("gdk_"), "another port has a name, too: {told}");
    // Its cookies are for its own host alone, and none is the daemon's.
    let reply = daemon.visit(&id, "GET", "/cookies").with("Cookie", &cookie).send();
    let set: Vec<_> = reply.headers().iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value).collect();
    assert_eq!(set, ["all=1; Path=/", "mine=1; Path=/"]);
}

#[test]
fn programs_come_by_path_with_a_key_or_a_token() {
    let daemon = Daemon::start();
    let id = serving(&daemon);
    let made = daemon.post(&format!("/workloads/{id}/tokens"), &json!({"port": 9000}));
    assert_eq!(made.status, 201, "{made:?}");
    let (token, url) = (made.body["token"].as_str().unwrap(), made.body["url"].as_str().unwrap());
    assert_eq!(url, format!("http://127.0.0.1:{}/w/{id}-9000/", daemon.workload_port()));
    let host = format!("127.0.0.1:{}", daemon.workload_port());
    let by_path = |path: &str| daemon.visit("", "GET", path).host(Some(&host));
    let path = path_of(url);
    for (target, header) in [
        (format!("{path}x?token={token}&y"), None),
        (format!("{path}x?y"), Some(("Authorization", format!("token {token}")))),
        (format!("{path}x?y"), Some(("Authorization", format!("Bearer {}", daemon.key())))),
        (format!("{path}x?y"), Some(("X-API-Key", daemon.key()))),
    ] {
        let mut asked = by_path(&target);
        if let Some((name, value)) = &header {
            asked = asked.with(name, value);
        }
        let reply = asked.send();
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        assert_eq!((&reply.json()["path"], &reply.json()["port"]), (&json!("/x?y"), &json!(9000)), "{target}");
        assert!(!reply.text().contains("gdw_") && !reply.text().contains("gdk_"), "{}", reply.text());
    }
    // A browser's page by path has no origin of its own, and no cookie.
    assert_eq!(by_path(path).with("Cookie", &cookie(&daemon, &id)).send().status, 401);
}

#[test]
fn a_hundred_mebibytes_go_both_ways_unchanged() {
    let daemon = Daemon::start();
    let id = serving(&daemon);
    let piece: Vec<u8> = (0..=255).cycle().take(MIB).collect();
    let whole = piece.repeat(100);
    let reply = by_key(&daemon, &id, "/big");
    assert_eq!(reply.status, 200);
    assert!(reply.body == whole, "{} bytes came", reply.body.len());
    let sent = daemon.visit(&id, "POST", "/").with("Authorization", &format!("Bearer {}", daemon.key()));
    let reply = sent.body("application/octet-stream", whole).send();
    // What `sha256sum` says of it.
    assert_eq!(reply.text(), "4cbf988462cc3ba2e10e3aae9f5268546aa79016359fb45be7dd199c073125c0");
}

#[test]
fn open_sockets_and_streams_end_with_their_key() {
    let daemon = Daemon::start();
    let id = serving(&daemon);
    let (key_id, key) = write_key(&daemon);
    let mut socket = websocket(&daemon, &id, &format!("Authorization: Bearer {key}\r\n"));
    assert!(socket.until("\r\n\r\n").contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for n in 0..100 {
        echo(&mut socket, &format!("word {n}"));
    }
    let host = format!("{id}.localhost:{}", daemon.workload_port());
    let asked = format!("GET /events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n");
    let mut events = Line::say(&daemon, &asked);
    events.until("data: 2");
    assert_eq!(daemon.delete(&format!("/keys/{key_id}")).status, 204);
    for line in [&mut socket, &mut events] {
        let took = line.ends();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    let reply = daemon.visit(&id, "GET", "/").with("Authorization", &format!("Bearer {key}")).send();
    assert_eq!(reply.status, 401);
}

#[test]
fn tickets_that_are_used_old_forged_or_for_another_open_nothing() {
    let daemon = Daemon::start();
    let id = serving(&daemon);
    let other = daemon.submit(&json!({"image": BUSYBOX, "command": "sleep 1000", "ports": [80]}));
    let used = open(&daemon, &id, &json!({}));
    assert_eq!(daemon.visit(&id, "GET", path_of(&used)).send().status, 303);
    let anothers = open(&daemon, &other, &json!({}));
    let old = open(&daemon, &id, &json!({}));
    let ticket = old.rsplit("=gdt_").next().unwrap();
    let (front, forged) = ticket.split_at(ticket.len() - 1);
    let forged = format!("/?gradientd-ticket=gdt_{front}{}", if forged == "a" { "b" } else { "a" });
    let database = rusqlite::Connection::open(daemon.data().join("gradientd.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    database.execute("UPDATE tickets SET expires_at = 1 WHERE kind = 'ticket' AND served_id = ?1", [&id]).unwrap();
    for path in [path_of(&used), path_of(&anothers), path_of(&old), &forged] {
        let reply = daemon.visit(&id, "GET", path).send();
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{path}: {}", reply.text());
    }
    let cookie = cookie(&daemon, &id);
    assert_eq!(daemon.visit(&other, "GET", "/").with("Cookie", &cookie).send().status, 401);
    // One workload's cookie is none of the control plane's, either.
    let session = cookie.replace("gradientd-workload", "gradientd");
    assert_eq!(daemon.ask_as_nobody("GET", "/api/v1/jobs").with("Cookie", &session).send().status, 401);
    let (_, token) = cookie.split_once('=').unwrap();
    let reply = daemon.ask_as_nobody("GET", "/api/v1/jobs").with("Authorization", &format!("Bearer {token}")).send();
    assert_eq!(reply.status, 401);
}

#[test]
fn other_sites_and_foreign_names_get_nothing() {
    let daemon = Daemon::start();
    let id = serving(&daemon);
    let cookie = cookie(&daemon, &id);
    let cookie = format!("Cookie: {cookie}\r\n");
    for origin in ["http://evil.example", "null", &format!("http://127.0.0.1:{}", daemon.port())] {
        let head = websocket(&daemon, &id, &format!("{cookie}Origin: {origin}\r\n")).until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 403"), "{origin}: {head}");
    }
    let own = format!("{cookie}Origin: http://{id}.localhost:{}\r\n", daemon.workload_port());
    let mut socket = websocket(&daemon, &id, &own);
    assert!(socket.until("\r\n\r\n").starts_with("HTTP/1.1 101"));
    echo(&mut socket, "own page");
    for host in ["evil.example", &format!("{id}.evil.example"), "10.9.8.7"] {
        let reply = daemon.visit(&id, "GET", "/").host(Some(host)).with("X-API-Key", &daemon.key()).send();
        assert_eq!(reply.status, 421, "{host}");
    }
    for evil in ["//evil.example", "/\\evil.example", "https://evil.example"] {
        let refused = daemon.post(&format!("/workloads/{id}/open"), &json!({"path": evil}));
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("foreign_path")), "{evil}");
        let url = open(&daemon, &id, &json!({}));
        let ticket = url.split_once('?').unwrap().1;
        let reply = daemon.visit(&id, "GET", &format!("{evil}?{ticket}")).send();
        assert!(reply.status == 400 && reply.header("location").is_none(), "{evil}: {}", reply.status);
    }
}

#[test]
fn a_container_that_is_not_there_is_named_with_its_last_words() {
    let daemon = Daemon::start();
    let id = serving(&daemon);
    let reply = by_key(&daemon, &format!("{id}-7777"), "/");
    let told = reply.json();
    assert_eq!((reply.status, &told["code"]), (502, &json!("nobody_listens")));
    assert!(told["detail"].as_str().unwrap().contains(&format!("port 7777 of {id}")), "{told}");
    assert!(told["log"].as_array().unwrap().contains(&json!("serving")), "{told}");
    // It dies in the middle of an answer, which must not look whole.
    let reply = by_key(&daemon, &id, "/half");
    assert_eq!((reply.header("content-length"), reply.text().as_str()), (Some("1000"), "half"));
    daemon.wait_for_end(&id);
    let reply = by_key(&daemon, &id, "/");
    assert_eq!((reply.status, &reply.json()["code"]), (410, &json!("workload_over")), "{}", reply.text());
    assert_eq!(daemon.post(&format!("/workloads/{id}/open"), &json!({})).status, 409);
}

#[test]
fn a_container_is_found_again_after_a_restart_of_the_daemon() {
    let mut daemon = Daemon::start();
    let id = serving(&daemon);
    let cookie = cookie(&daemon, &id);
    daemon.restart(&[]);
    let reply = daemon.wait_until("the container to be found", || {
        let reply = daemon.visit(&id, "GET", "/").with("Cookie", &cookie).send();
        (reply.status != 503).then_some(reply)
    });
    assert_eq!(reply.status, 200, "{}", reply.text());
}
