//! What cannot work is said at the start, in one line that says what to do.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    net::TcpListener,
    os::unix::fs::FileExt,
};

use crate::daemon::Daemon;

/// Starts what must not start, and returns its one line of standard error.
fn refusal(daemon: &mut Daemon, settings: &[(&str, &str)]) -> String {
    let before = daemon.log().len();
    daemon.spawn(&[settings, &[("GRADIENTD_LOG__LEVEL", "error")]].concat());
    assert!(!daemon.wait_until_dead().success(), "it says that it failed");
    let said = daemon.log()[before..].to_owned();
    let lines: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 1, "one line: {said}");
    assert!(lines[0].starts_with("gradientd: "), "{said}");
    lines[0].to_owned()
}

fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is missing: {line}");
    }
}

#[test]
fn a_port_that_is_taken() {
    let mut daemon = Daemon::unstarted(&[]);
    let _taken = TcpListener::bind(("127.0.0.1", daemon.port())).unwrap();
    let line = refusal(&mut daemon, &[]);
    assert_says(&line, &[&daemon.port().to_string(), "is taken", "--listen"]);
}

#[test]
fn a_port_for_https_that_is_taken() {
    let mut daemon = Daemon::unstarted(&[]);
    let _taken = TcpListener::bind(("127.0.0.1", daemon.tls_port())).unwrap();
    let line = refusal(&mut daemon, &[]);
    assert_says(&line, &[&daemon.tls_port().to_string(), "is taken", "server.tls_listen"]);
}

#[test]
fn a_certificate_that_cannot_be_shown() {
    let mut daemon = Daemon::unstarted(&[]);
    let line = refusal(&mut daemon, &[("GRADIENTD_SERVER__TLS_KEY", "/nowhere/key.pem")]);
    assert_says(&line, &["server.tls_certificate", "server.tls_key"]);
    let both =
        [("GRADIENTD_SERVER__TLS_KEY", "/nowhere/key.pem"), ("GRADIENTD_SERVER__TLS_CERTIFICATE", "/nowhere/cert.pem")];
    assert_says(&refusal(&mut daemon, &both), &["cannot speak TLS", "/nowhere/cert.pem"]);
}

#[test]
fn a_second_daemon_on_the_same_data() {
    let first = Daemon::start();
    let data = first.data();
    let mut second = Daemon::unstarted(&[("GRADIENTD_DATA_DIR", data.to_str().unwrap())]);
    let line = refusal(&mut second, &[]);
    assert_says(&line, &[data.to_str().unwrap(), &format!("process {}", first.pid()), "--data-dir"]);
    assert_eq!(first.get("/box").status, 200, "the first goes on");
}

#[test]
fn data_of_a_newer_version() {
    let mut daemon = Daemon::start();
    daemon.kill();
    let connection = rusqlite::Connection::open(daemon.data().join("gradientd.db")).unwrap();
    let known: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert_says(&refusal(&mut daemon, &[]), &["gradientd.db", "99", "newer gradientd"]);
    // It was left as it was.
    connection.pragma_update(None, "user_version", known).unwrap();
    drop(connection);
    daemon.restart(&[]);
}

#[test]
fn a_database_that_is_none() {
    let mut daemon = Daemon::start();
    assert!(daemon.terminate());
    let path = daemon.data().join("gradientd.db");
    let whole = std::fs::read(&path).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(&[0x5a; 100]).unwrap();
    assert_says(&refusal(&mut daemon, &[]), &["gradientd.db", "damaged", "backups/"]);
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&whole).unwrap();
    daemon.restart(&[]);
}

#[test]
fn a_database_with_garbage_in_its_middle() {
    let mut daemon = Daemon::start();
    for n in 0..50 {
        let name = format!("project {n}");
        assert_eq!(daemon.post("/projects", &serde_json::json!({"name": name})).status, 201);
    }
    assert!(daemon.terminate());
    let path = daemon.data().join("gradientd.db");
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // One page of the table of projects, found by what is in it.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(10).position(|words| words == b"project 25").unwrap() / 4096 * 4096;
    let pages = [0xa5; 4096];
    file.write_all_at(&pages, at as u64).unwrap();
    assert_says(&refusal(&mut daemon, &[]), &["damaged", "backups/"]);
}

#[test]
fn a_setting_that_there_is_none_of() {
    let mut daemon = Daemon::unstarted(&[]);
    let line = refusal(&mut daemon, &[("GRADIENTD_SCHEDULER__MASHINE_TYPES", "[]")]);
    assert_says(&line, &["scheduler.mashine_types", "did you mean", "scheduler.machine_types"]);
    assert!(!daemon.data().exists(), "nothing was made");
}
