//! An admin looks after what is stored: what uses the disk, what can go, what is damaged.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon},
    data::{blake3_of, noise},
};

fn blob(daemon: &Daemon, hash: &str) -> PathBuf {
    let teams = fs::read_dir(daemon.data().join("teams")).unwrap();
    let found: Vec<PathBuf> = teams
        .map(|team| team.unwrap().path().join("blobs").join(&hash[..2]).join(hash))
        .filter(|path| path.exists())
        .collect();
    assert_eq!(found.len(), 1, "{hash}: {found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn equal_files_are_stored_once_and_go_when_nobody_needs_them() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__GC_GRACE", "1s")]);
    let (shared, own) = (noise(1, 1 << 20), noise(2, 1 << 20));
    let one = daemon.filled("one", &[("shared", &shared), ("own", &own), ("again/shared", &shared)]);
    let two = daemon.filled("two", &[("renamed", &shared)]);
    // Three names and the content itself are one file on the disk.
    let links =
        |bytes: &[u8]| std::os::unix::fs::MetadataExt::nlink(&fs::metadata(blob(&daemon, &blake3_of(bytes))).unwrap());
    assert_eq!((links(&shared), links(&own)), (4, 2));

    assert_eq!(daemon.delete(&one.at("")).status, 204);
    let clean = |dry: bool| daemon.post("/storage/gc", &json!({"dryRun": dry, "graceSeconds": 0}));
    let dry = clean(true);
    assert_eq!((dry.status, &dry.body["bytes"]), (200, &json!(1 << 20)), "only what no other version has: {dry:?}");
    assert_eq!(dry.body["versions"][0]["version"], one.version, "{dry:?}");
    assert_eq!(links(&own), 2, "a dry run removes nothing");
    let told = daemon.run(&["gc", "--dry-run", "--grace", "0s"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && text.contains("1 MiB") && text.contains("one"), "{text}");

    let wet = clean(false);
    assert_eq!(wet.body["bytes"], json!(1 << 20), "{wet:?}");
    assert_eq!(links(&shared), 2);
    assert_eq!(daemon.read_back(&two).len(), 1);
    assert_eq!(clean(true).body["bytes"], json!(0), "nothing is left to do");
}

#[test]
fn what_is_young_or_in_use_is_never_cleaned_away() {
    let daemon = Daemon::start();
    let version = daemon.filled("kept", &[("file", &noise(3, 100_000))]);
    let draft = daemon.draft(&version.dataset);
    daemon.fill(&draft, &[("draft", b"draft")]);
    assert_eq!(daemon.post("/storage/gc", &json!({"dryRun": false, "graceSeconds": 0})).body["bytes"], json!(0));
    assert_eq!((daemon.read_back(&version).len(), daemon.read_back(&draft).len()), (1, 1));
    // Deleted just now, and the grace of a new installation is a day.
    assert_eq!(daemon.delete(&version.at("")).status, 204);
    assert_eq!(daemon.post("/storage/gc", &json!({"dryRun": false})).body["bytes"], json!(0));
    assert!(blob(&daemon, &blake3_of(&noise(3, 100_000))).exists());
}

#[test]
fn damage_is_found_named_and_refused_to_new_runs() {
    let daemon = Daemon::start();
    let bytes = noise(4, 200_000);
    let hurt = daemon.filled("hurt", &[("fine", b"fine"), ("deep/damaged", &bytes)]);
    let also = daemon.filled("also", &[("same", &bytes)]);
    let whole = daemon.filled("whole", &[("fine", b"fine")]);
    // The disk changes one byte.
    let path = blob(&daemon, &blake3_of(&bytes));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut spoiled = bytes.clone();
    spoiled[100_000] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &spoiled, 0).unwrap();

    let checked = daemon.run(&["fsck", "--percent", "100", "--rate", "1GiB"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    for word in ["hurt", "also", "deep/damaged", "same", &blake3_of(&bytes)[..12]] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("whole"), "{said}");
    assert!(daemon.version(&hurt)["damagedAt"].is_string() && daemon.version(&also)["damagedAt"].is_string());
    assert!(daemon.version(&whole)["damagedAt"].is_null());
    let refused = daemon.post("/jobs", &json!({"image": BUSYBOX, "datasets": [{"ref": "hurt"}]}));
    assert_eq!(refused.status / 100, 4, "{refused:?}");
    assert!(refused.body.to_string().contains("damaged"), "{refused:?}");
    assert_eq!(daemon.run_with(&json!([{"ref": "whole"}]), &json!([]), "cat /inputs/whole/fine")["state"], "stopped");

    // The daemon's own check says the same.
    assert_eq!(daemon.post("/storage/fsck", &json!({"percent": 100})).status, 202);
    let report = daemon.wait_until("the check to end", || {
        let report = daemon.get("/storage/fsck").body;
        (report["running"] == false && report["finishedAt"].is_string()).then_some(report)
    });
    let damaged = report["damaged"].as_array().unwrap();
    assert_eq!((damaged.len(), &damaged[0]["blake3"]), (1, &json!(blake3_of(&bytes))), "{report:#}");
    let touched: Vec<&Value> =
        damaged[0]["versions"].as_array().unwrap().iter().map(|version| &version["name"]).collect();
    assert_eq!(touched.len(), 2, "{report:#}");

    // Sent again, the content is whole again, and so is what has it.
    let draft = daemon.draft(&hurt.dataset);
    daemon.fill(&draft, &[("sent/again", &bytes)]);
    daemon.run(&["fsck", "--percent", "100", "--rate", "1GiB"]);
    daemon.commit(&draft);
    assert_eq!(daemon.read_back(&draft).len(), 1);
}

#[test]
fn what_uses_the_disk_is_shown_by_part() {
    let daemon = Daemon::start();
    daemon.filled("data", &[("file", &noise(5, 3 << 20))]);
    let id =
        daemon.shell("head -c 2000000 /dev/urandom > /storage/shared; head -c 1000000 /dev/urandom > /artifacts/model");
    daemon.wait_for_end(&id);
    daemon.wait_until("the parts to be counted", || {
        let storage = daemon.get("/storage").body;
        let part = |kind: &str| {
            let parts = storage["parts"].as_array()?;
            parts.iter().find(|part| part["kind"] == kind)?["bytes"].as_u64()
        };
        let counted = part("datasets")? >= 3 << 20 && part("storage")? >= 2_000_000 && part("artifacts")? >= 1_000_000;
        counted.then_some(())
    });
}

#[test]
fn a_box_with_nothing_on_it_says_so_instead_of_counting() {
    let daemon = Daemon::start();
    let used = daemon.wait_until("a first count", || daemon.get("/storage").body["usedBytes"].as_u64());
    assert_eq!(used, 0);
}
