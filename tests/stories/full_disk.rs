//! The disk of the data directory is full for a while: new work is refused, nothing accepted is lost,
//! and all goes on by itself when there is room.

use std::{fs::File, io::Write, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{
    daemon::{Answer, BUSYBOX, Daemon, PATIENCE, numbered, print, tar_of},
    engine::Account,
};

/// A small disk of a test's own.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// Mounts a disk of 64 MiB; `None` where nobody may mount.
    pub fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "none"]).arg(dir.path()).output();
        if mount.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("SKIPPED: no small disk can be mounted here: {mount:?}");
        None
    }

    /// Prepares a daemon that keeps its data here.
    pub fn daemon(&self, settings: &[(&str, &str)]) -> Daemon {
        let daemon = Daemon::unstarted(settings);
        std::os::unix::fs::symlink(self.0.path(), daemon.data()).unwrap();
        daemon
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Fills all that is free, or `most` bytes of it.
    pub fn fill(&self, most: usize) {
        let mut file = File::create(self.filler()).unwrap();
        let (piece, mut written) = ([7; 4096], 0);
        while written < most && file.write_all(&piece).is_ok() {
            written += piece.len();
        }
    }

    /// Fills all that is free but the last `left` bytes, which may be less than the daemon wants.
    pub fn fill_all_but(&self, left: u64) {
        self.fill(usize::MAX);
        let file = File::options().write(true).open(self.filler()).unwrap();
        file.set_len(file.metadata().unwrap().len().checked_sub(left).unwrap()).unwrap();
    }

    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

pub fn assert_full(answer: &Answer) {
    assert_eq!((answer.status, &answer.body["code"]), (507, &json!("disk_full")), "{answer:?}");
    assert!(answer.body["detail"].as_str().unwrap().contains("free some space"), "{answer:?}");
}

fn disk_of(daemon: &Daemon) -> Value {
    daemon.get("/box").body["disk"]["state"].clone()
}

pub fn wait_for_disk(daemon: &Daemon, state: &str) {
    let begun = std::time::Instant::now();
    while disk_of(daemon) != state {
        assert!(begun.elapsed() < PATIENCE, "the disk is {}, not {state}", disk_of(daemon));
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_disk_without_a_byte_left_loses_nothing_that_was_accepted() {
    let Some(disk) = Disk::mount() else { return };
    let account = Account::open();
    let mut daemon = disk.daemon(&[("GRADIENTD_DISK__MIN_FREE", "0")]);
    daemon.restart(&[]);
    let word = "a long line of which the disk is soon full,".repeat(5);
    let lines = 400;
    let chatty = print(&word, lines).replace("i=$((i+1))", "i=$((i+1)); sleep 0.01");
    let chatty = daemon.submit(&json!({"image": BUSYBOX, "command": format!("{chatty}; exit 3")}));
    daemon.wait_for(&chatty, "its first lines", |_| daemon.printed_by(&chatty).len() > 10);

    disk.fill(usize::MAX);
    // What the database has already taken of the disk may do for some more.
    let mut accepted = vec![chatty.clone()];
    let refused = loop {
        let answer = daemon.post("/jobs", &json!({"image": BUSYBOX, "command": "exit 3"}));
        if answer.status != 201 {
            break answer;
        }
        accepted.push(answer.body["id"].as_str().unwrap().to_owned());
        assert!(accepted.len() < 5000, "the disk is not full");
    };
    assert_full(&refused);
    let archive = tar_of(&[("data", &"x".repeat(100_000))]);
    assert_full(&daemon.post_bytes("/uploads", "application/x-tar", &archive));
    wait_for_disk(&daemon, "full");
    // It ends while nothing can be written down.
    account.wait_for(&daemon.container_of(&chatty, 1), "die 3");
    assert_eq!(daemon.get("/jobs").status, 200, "it can still be looked at");
    assert_full(&daemon.post("/jobs", &json!({"image": BUSYBOX, "command": "exit 3"})));

    disk.free();
    for id in &accepted {
        let job = daemon.wait_for_end(id);
        assert_eq!((&job["exitCode"], &job["attempt"]), (&json!(3), &json!(1)), "{job:#}");
        account.assert_ran_once(&daemon.container_of(id, 1), 3);
    }
    assert_eq!(daemon.printed_by(&chatty), numbered(&word, lines));
    wait_for_disk(&daemon, "ok");
    let id = daemon.shell("exit 0");
    assert_eq!(daemon.wait_for_end(&id)["state"], "stopped");
    assert_eq!(daemon.post_bytes("/uploads", "application/x-tar", &archive).status, 201);
}

#[test]
fn new_work_is_refused_before_the_last_byte_and_what_was_accepted_waits() {
    let Some(disk) = Disk::mount() else { return };
    let mut daemon = disk.daemon(&[
        ("GRADIENTD_DISK__MIN_FREE", "24MiB"),
        ("GRADIENTD_SCHEDULER__CPU_RESERVE_MILLIS", "10000000"),
        ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="all", cores=1, memory_gib=0.1}]"#),
    ]);
    daemon.restart(&[]);
    let first = daemon.shell("while [ ! -e /artifacts/go ]; do sleep 0.05; done");
    let second = daemon.shell("exit 5");
    daemon.wait_for(&first, "running", |job| job["state"] == "running");
    daemon.wait_for(&second, "a reason to wait", |job| job["queue"]["reason"].is_string());

    disk.fill(44 << 20);
    wait_for_disk(&daemon, "full");
    assert_full(&daemon.post("/jobs", &json!({"image": BUSYBOX, "command": "exit 0"})));
    assert_full(&daemon.post_bytes("/uploads", "application/x-tar", &tar_of(&[("a", "b")])));
    // What runs goes on to its end; what waits goes on waiting, and says why.
    let go = daemon.data().join("runs").join(&first).join("artifacts/go");
    File::create(&go).unwrap();
    assert_eq!(daemon.wait_for_end(&first)["state"], "stopped");
    let told = |job: &Value| job["queue"]["reason"].as_str().is_some_and(|reason| reason.contains("disk"));
    assert_eq!(daemon.wait_for(&second, "the disk as reason", told)["state"], "pending");

    disk.free();
    assert_eq!(daemon.wait_for_end(&second)["exitCode"], 5);
    assert_ne!(disk_of(&daemon), "full");
}
