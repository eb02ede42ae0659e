//! Files of notebooks and of `/storage` without a session, and with one that works on them meanwhile.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use serde_json::{Value, json};

#[cfg(feature = "faults")]
use crate::survive_faults::{OF_FILES, points};
use crate::{
    daemon::{BUSYBOX, Daemon},
    data::noise,
    full_disk::{Disk, assert_full},
    wire::Reply,
};

const FILES: &str = "/api/v1/files";

/// Makes a notebook whose session runs `command`, or does not.
fn make(daemon: &Daemon, command: &str, start: bool) -> String {
    let made = daemon.post("/notebooks", &json!({"image": BUSYBOX, "command": command, "start": start}));
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

fn look(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/notebooks/{id}")).body
}

fn running(daemon: &Daemon, id: &str) -> Value {
    daemon.wait_until("its session", || Some(look(daemon, id)).filter(|notebook| notebook["state"] == "running"))
}

fn stop(daemon: &Daemon, id: &str) {
    assert_eq!(daemon.post(&format!("/notebooks/{id}/stop"), &json!({})).status, 200);
    daemon
        .wait_until("the end of its session", || Some(look(daemon, id)).filter(|notebook| notebook["phase"].is_null()));
}

/// Runs a shell in the container of a notebook's session, as `user`, and returns what it printed.
fn inside(daemon: &Daemon, notebook: &Value, user: &str, command: &str) -> String {
    let container = daemon.container_of(notebook["session"]["id"].as_str().unwrap(), 1);
    let ran = Command::new("docker").args(["exec", "-u", user, &container, "sh", "-c", command]).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn put(daemon: &Daemon, root: &str, path: &str, bytes: &[u8]) -> Reply {
    daemon.ask("PUT", &format!("{FILES}/{root}/content/{path}")).body("application/octet-stream", bytes).send()
}

fn get(daemon: &Daemon, root: &str, path: &str) -> (u16, Vec<u8>) {
    let reply = daemon.ask("GET", &format!("{FILES}/{root}/content/{path}")).send();
    (reply.status, reply.body)
}

fn names(daemon: &Daemon, root: &str, path: &str) -> Vec<String> {
    let listed = daemon.get(&format!("/files/{root}/list?path={path}"));
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.body["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

fn fork(daemon: &Daemon, id: &str) -> String {
    let made = daemon.post(&format!("/notebooks/{id}/fork"), &json!({}));
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

fn wait_until_copied(daemon: &Daemon, id: &str) {
    daemon.wait_until("the files of the fork", || Some(look(daemon, id)).filter(|fork| fork["copying"] == false));
}

#[test]
fn what_containers_write_is_changed_from_outside_and_the_other_way_round() {
    let daemon = Daemon::start();
    let id = make(&daemon, "exec sleep 1000", false);
    // Before anything ever ran.
    assert_eq!(put(&daemon, &id, "in/before.txt", b"early").status, 201);
    assert_eq!(put(&daemon, "storage", "all.txt", b"shared").status, 201);
    assert_eq!(daemon.post(&format!("/notebooks/{id}/start"), &json!({})).status, 200);
    let notebook = running(&daemon, &id);
    for user in ["0", "1000"] {
        assert_eq!(inside(&daemon, &notebook, user, "cat in/before.txt /storage/all.txt"), "earlyshared");
        inside(
            &daemon,
            &notebook,
            user,
            &format!("echo more >> in/before.txt; umask 077; mkdir of{user}; echo {user} > of{user}/mine"),
        );
        inside(
            &daemon,
            &notebook,
            user,
            "echo again > /storage/all.txt; printf early > in/before.txt; printf shared > /storage/all.txt",
        );
        assert_eq!(get(&daemon, &id, &format!("of{user}/mine")), (200, format!("{user}\n").into_bytes()));
        // What belongs to a user of the container stays so.
        assert_eq!(put(&daemon, &id, &format!("of{user}/mine"), b"changed").status, 200);
        assert_eq!(
            inside(&daemon, &notebook, user, &format!("cat of{user}/mine; stat -c %a:%u of{user}/mine")),
            format!("changed600:{user}\n")
        );
        assert_eq!(put(&daemon, &id, &format!("new/{user}/a"), b"new").status, 201);
        inside(
            &daemon,
            &notebook,
            "1000",
            &format!("echo x >> new/{user}/a; rm new/{user}/a; echo mine > new/{user}/b"),
        );
    }
    inside(
        &daemon,
        &notebook,
        "0",
        "ln -s /etc/passwd link; ln -s / root; mkfifo pipe; echo '#!/bin/sh' > run.sh; chmod 755 run.sh",
    );
    assert_eq!(put(&daemon, &id, "run.sh", b"#!/bin/sh\necho ran").status, 200);
    assert_eq!(inside(&daemon, &notebook, "1000", "./run.sh"), "ran\n");
    for path in ["link", "root/etc/passwd", "pipe"] {
        assert_eq!(get(&daemon, &id, path).0, 404, "{path}");
    }
    assert_eq!(put(&daemon, &id, "root/tmp/x", b"x").status, 409);
    stop(&daemon, &id);
    assert_eq!(get(&daemon, &id, "of1000/mine"), (200, b"changed".to_vec()));
    let moved = json!({"path": "of1000", "to": "kept/of1000", "toRoot": "storage"});
    assert_eq!(daemon.post(&format!("/files/{id}/move"), &moved).status, 200);
    assert_eq!(names(&daemon, "storage", "kept"), ["of1000"]);
    let copied = daemon.post(&format!("/files/{id}/copy"), &json!({"path": "", "to": "whole", "toRoot": "storage"}));
    assert_eq!((copied.status, &copied.body["state"], &copied.body["skipped"]), (200, &json!("done"), &json!(1)));
    let archive = daemon.ask("GET", &format!("{FILES}/{id}/archive?format=tar&path=new&path=link")).send();
    let mut archive = tar::Archive::new(&*archive.body);
    let mut held: Vec<_> =
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    held.sort();
    assert_eq!(held, ["link", "new", "new/0", "new/0/b", "new/1000", "new/1000/b"]);
    assert_eq!(daemon.delete(&format!("/files/{id}/content/new?recursive=true")).status, 204);
    assert!(!names(&daemon, &id, "").contains(&"new".to_owned()));
}

/// Begins an upload of a file and returns its path.
fn begin(daemon: &Daemon, root: &str, path: &str, bytes: usize) -> String {
    let begun = daemon.post(&format!("/files/{root}/uploads"), &json!({"path": path, "bytes": bytes}));
    assert_eq!(begun.status, 201, "{begun:?}");
    format!("/files/{root}/uploads/{}", begun.body["id"].as_str().unwrap())
}

fn piece(daemon: &Daemon, upload: &str, offset: usize, bytes: &[u8]) -> Reply {
    let asked = daemon.ask("PATCH", &format!("/api/v1{upload}")).with("Upload-Offset", &offset.to_string());
    asked.body("application/octet-stream", bytes).send()
}

/// Sends a piece and hangs up in the middle of it.
fn cut_off(daemon: &Daemon, upload: &str, offset: usize, said: usize, sent: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    let head = format!(
        "PATCH /api/v1{upload} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nUpload-Offset: {offset}\r\nContent-Length: {said}\r\n\r\n",
        daemon.port(),
        daemon.key()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn a_large_upload_goes_on_where_it_was_cut_off_and_across_a_kill() {
    let mut daemon = Daemon::start();
    let bytes = noise(3, 64 << 20);
    let upload = begin(&daemon, "storage", "big/model.bin", bytes.len());
    assert_eq!(piece(&daemon, &upload, 0, &bytes[..10 << 20]).json()["offset"], 10 << 20);
    cut_off(&daemon, &upload, 10 << 20, 20 << 20, &bytes[10 << 20..15 << 20]);
    let offset = |daemon: &Daemon| usize::try_from(daemon.get(&upload).body["offset"].as_u64().unwrap()).unwrap();
    // The server may learn of the end a moment later than we.
    let kept = daemon.wait_until("what came to be kept", || Some(offset(&daemon)).filter(|there| *there == 15 << 20));
    assert_eq!(daemon.get("/files/storage/list").body["items"], json!([]), "a part is never seen");
    let sent = daemon.wait_until("its turn", || {
        Some(piece(&daemon, &upload, kept, &bytes[kept..30 << 20])).filter(|sent| sent.status != 409)
    });
    assert_eq!(sent.status, 200, "{sent:?}");
    daemon.kill();
    daemon.restart(&[]);
    assert_eq!(offset(&daemon), 30 << 20);
    assert_eq!(piece(&daemon, &upload, 29 << 20, &bytes[29 << 20..]).json()["code"], "wrong_offset");
    assert_eq!(daemon.post(&format!("{upload}/finish"), &json!({})).status, 409);
    assert_eq!(piece(&daemon, &upload, 30 << 20, &bytes[30 << 20..]).status, 200);
    let done = daemon.post(&format!("{upload}/finish"), &json!({}));
    assert_eq!((done.status, &done.body["bytes"]), (201, &json!(64 << 20)), "{done:?}");
    assert!(get(&daemon, "storage", "big/model.bin").1 == bytes);
    assert_eq!(daemon.get(&upload).status, 404);
}

#[test]
fn a_fork_gets_the_files_of_a_notebook_that_runs() {
    let daemon = Daemon::start();
    let id = make(&daemon, "i=0; while :; do i=$((i+1)); echo $i > busy/$((i % 50)); done", false);
    put(&daemon, &id, "busy/first", b"x");
    put(&daemon, &id, "dir/run.sh", b"#!/bin/sh");
    assert_eq!(daemon.post(&format!("/notebooks/{id}/start"), &json!({})).status, 200);
    let notebook = running(&daemon, &id);
    inside(
        &daemon,
        &notebook,
        "1000",
        "ln -s ../dir dir/loop; ln -s /etc out; mkfifo pipe; echo mine > mine; chmod 600 mine",
    );
    let copy = fork(&daemon, &id);
    wait_until_copied(&daemon, &copy);
    assert_eq!(look(&daemon, &id)["state"], "running");
    assert_eq!(names(&daemon, &copy, ""), ["busy", "dir", "mine", "out"]);
    assert_eq!(get(&daemon, &copy, "mine"), (200, b"mine\n".to_vec()));
    let link = daemon.get(&format!("/files/{copy}/entry?path=dir/loop")).body;
    assert_eq!((&link["kind"], &link["target"]), (&json!("link"), &json!("../dir")));
    // Both go their own ways from here.
    put(&daemon, &copy, "mine", b"changed");
    assert_eq!(get(&daemon, &id, "mine").1, b"mine\n");
    assert_eq!(daemon.post(&format!("/notebooks/{copy}/start"), &json!({"command": "exec sleep 1000"})).status, 200);
    let forked = running(&daemon, &copy);
    assert_eq!(inside(&daemon, &forked, "1000", "cat mine"), "changed");
    // One that was never started has nothing to copy, and its fork can be used at once.
    let empty = make(&daemon, "exec sleep 1000", false);
    let of_empty = fork(&daemon, &empty);
    wait_until_copied(&daemon, &of_empty);
    assert_eq!(put(&daemon, &of_empty, "a", b"a").status, 201);
}

#[test]
fn a_fork_whose_source_is_deleted_says_so_and_can_be_deleted() {
    let daemon = Daemon::start();
    let id = make(&daemon, "exec sleep 1000", false);
    put(&daemon, &id, "a", b"a");
    let first = fork(&daemon, &id);
    wait_until_copied(&daemon, &first);
    assert_eq!(daemon.delete(&format!("/notebooks/{id}")).status, 204);
    assert_eq!(get(&daemon, &first, "a"), (200, b"a".to_vec()), "what was copied is its own");
    assert_eq!(daemon.get(&format!("/files/{id}/list")).status, 404);
    assert_eq!(daemon.delete(&format!("/notebooks/{first}")).status, 204);
    let team = std::fs::read_dir(daemon.data().join("teams")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_dir(team.join("notebooks")).unwrap().count(), 0);
}

#[cfg(feature = "faults")]
#[test]
fn a_daemon_killed_in_the_middle_of_a_copy_or_an_upload_leaves_no_part_behind() {
    let mut daemon = Daemon::start();
    let id = make(&daemon, "exec sleep 1000", false);
    for n in 0..20 {
        put(&daemon, &id, &format!("dir/{n}"), format!("file {n}").as_bytes());
    }
    let points: Vec<String> =
        points().into_iter().filter(|point| OF_FILES.iter().any(|kind| point.starts_with(kind))).collect();
    assert!(points.len() >= 6, "{points:?}");
    for point in points {
        let upload = begin(&daemon, "storage", "piecewise", 9);
        daemon.kill();
        daemon
            .restart(&[("GRADIENTD_FAULT", &if point == "fork.entry" { format!("{point}:7") } else { point.clone() })]);
        match point.as_str() {
            point if point.starts_with("fork.") => {
                // The daemon may die before it answers; the notebook is there or is not.
                let _ = daemon.try_send("POST", &format!("/notebooks/{id}/fork"), "application/json", b"{}");
            }
            "files.upload.piece" => {
                let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
                let head = format!(
                    "PATCH /api/v1{upload} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nUpload-Offset: 0\r\nContent-Length: 9\r\n\r\npiecewise",
                    daemon.port(),
                    daemon.key()
                );
                stream.write_all(head.as_bytes()).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
            _ => {
                assert!(daemon.try_send("PUT", "/files/storage/content/put", "text/plain", b"whole").is_none());
            }
        }
        assert!(!daemon.wait_until_dead().success(), "{point}");
        daemon.restart(&[]);
        for fork in daemon.get("/notebooks").body["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|notebook| notebook["id"] != id.as_str())
        {
            let fork = fork["id"].as_str().unwrap();
            wait_until_copied(&daemon, fork);
            assert_eq!(names(&daemon, fork, "dir").len(), 20, "{point}");
            assert_eq!(daemon.delete(&format!("/notebooks/{fork}")).status, 204);
        }
        let there = get(&daemon, "storage", "put");
        assert!(there.0 == 404 || there.1 == b"whole", "{point}: {there:?}");
        let offset = usize::try_from(daemon.get(&upload).body["offset"].as_u64().unwrap()).unwrap();
        assert!(point != "files.upload.piece" || offset == 9, "{offset}");
        assert_eq!(piece(&daemon, &upload, offset, &b"piecewise"[offset..]).status, 200, "{point}");
        assert!(daemon.post(&format!("{upload}/finish"), &json!({})).status < 300, "{point}");
        assert_eq!(get(&daemon, "storage", "piecewise").1, b"piecewise", "{point}");
    }
    // What the daemons that died had begun is removed by the one that lives.
    let team = std::fs::read_dir(daemon.data().join("teams")).unwrap().next().unwrap().unwrap().path();
    daemon.wait_until("what is left to be removed", || {
        let left = std::fs::read_dir(team.join("arriving")).unwrap().count();
        (left <= 2).then_some(())
    });
}

#[test]
fn a_full_disk_loses_nothing_and_a_fork_waits_for_room() {
    let Some(disk) = Disk::mount() else { return };
    let mut daemon = disk.daemon(&[("GRADIENTD_DISK__MIN_FREE", "4MiB")]);
    daemon.restart(&[]);
    let id = make(&daemon, "exec sleep 1000", false);
    let bytes = noise(5, 12 << 20);
    assert_eq!(put(&daemon, &id, "data", &bytes).status, 201);
    let upload = begin(&daemon, &id, "other", 4 << 20);
    assert_eq!(piece(&daemon, &upload, 0, &bytes[..2 << 20]).status, 200);
    disk.fill(usize::MAX);
    crate::full_disk::wait_for_disk(&daemon, "full");
    let refused = put(&daemon, &id, "data", &bytes);
    assert_eq!((refused.status, &refused.json()["code"]), (507, &json!("disk_full")));
    assert!(get(&daemon, &id, "data").1 == bytes, "what was there stays");
    assert_eq!(piece(&daemon, &upload, 2 << 20, &bytes[2 << 20..4 << 20]).status, 507);
    assert_full(&daemon.post(&format!("/notebooks/{id}/fork"), &json!({})));
    disk.free();
    crate::full_disk::wait_for_disk(&daemon, "ok");
    assert_eq!(piece(&daemon, &upload, 2 << 20, &bytes[2 << 20..4 << 20]).status, 200);
    assert_eq!(daemon.post(&format!("{upload}/finish"), &json!({})).status, 201);
    assert!(get(&daemon, &id, "other").1 == bytes[..4 << 20]);
    // There is not room enough for a second set of its files.
    disk.fill(40 << 20);
    let copy = fork(&daemon, &id);
    let told = daemon.wait_until("a word of the fork", || {
        Some(look(&daemon, &copy)).filter(|fork| fork["copy"]["message"].is_string())
    });
    assert!(told["copy"]["message"].as_str().unwrap().contains("disk"), "{told:#}");
    let early = daemon.post(&format!("/notebooks/{copy}/start"), &json!({}));
    assert_eq!(early.status, 409, "{early:?}");
    disk.free();
    wait_until_copied(&daemon, &copy);
    assert!(get(&daemon, &copy, "data").1 == bytes);
}
