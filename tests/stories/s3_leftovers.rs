//! What a daemon that was killed leaves in a bucket is found and removed, and nothing else that lies
//! there.

use serde_json::{Value, json};

use crate::{
    daemon::Daemon,
    data::{Version, noise},
    s3::S3,
};

/// Larger than what goes to a bucket in one piece.
const LARGE: usize = 20 << 20;

fn clean(daemon: &Daemon, dry_run: bool) -> Value {
    let answer = daemon.post("/storage/gc", &json!({"dryRun": dry_run, "graceSeconds": 0}));
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    answer.body["buckets"].clone()
}

/// Has the daemon die at `fault` while it does `step`, and starts it again.
fn die_at(daemon: &mut Daemon, fault: &str, step: impl Fn(&Daemon) -> bool) {
    daemon.restart(&[("GRADIENTD_FAULT", fault)]);
    assert!(!step(daemon), "{fault} is not passed:\n{}", daemon.log());
    daemon.wait_until_dead();
    daemon.restart(&[]);
}

#[test]
fn what_was_begun_in_a_bucket_and_never_finished_goes_and_nothing_else() {
    let mut daemon = Daemon::start();
    let mut s3 = S3::start();
    let dataset = s3.dataset(&daemon, "begun");
    let parent = daemon.draft(&dataset);
    let files: Vec<(String, Vec<u8>)> = (0..40).map(|n| (format!("f/{n}"), noise(n, 1000))).collect();
    daemon.fill(&parent, &files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect::<Vec<_>>());
    daemon.commit(&parent);
    let draft = daemon.draft(&dataset);
    // Others use the same bucket, and may be another box.
    std::fs::create_dir_all(s3.bucket().join("tother1/datasets/ds0123456789abc/v000001")).unwrap();
    for theirs in ["theirs", "tother1/datasets/ds0123456789abc/v000001/file"] {
        std::fs::write(s3.bucket().join(theirs), "theirs").unwrap();
    }
    let before = s3.kept();
    assert_eq!(clean(&daemon, true), json!({"bytes": 0, "objects": 0, "uploads": 0}));

    let begin_child = |daemon: &Daemon| {
        let body = json!({"parent": parent.version}).to_string();
        daemon.try_send("POST", &format!("/datasets/{dataset}/versions"), "application/json", body.as_bytes()).is_some()
    };
    let large = noise(99, LARGE);
    let put = |daemon: &Daemon, version: &Version| {
        daemon.try_send("PUT", &version.file("large"), "application/octet-stream", &large).is_some()
    };
    for fault in ["s3.making-noted", "s3.child-half-copied", "version.create.before"] {
        die_at(&mut daemon, fault, begin_child);
    }
    for fault in ["s3.multipart-noted", "s3.multipart-begun"] {
        die_at(&mut daemon, fault, |daemon| put(daemon, &draft));
    }
    assert!(s3.kept().len() > before.len(), "{:?}", s3.kept());

    let dry = clean(&daemon, true);
    assert!(dry["objects"].as_u64().unwrap() > 40 && dry["uploads"] == 2, "{dry}");
    let told = String::from_utf8(daemon.run(&["gc", "--dry-run", "--grace", "0s"]).stdout).unwrap();
    assert!(told.contains("2 unfinished uploads"), "{told}");
    // A bucket that does not answer keeps what it has, and is asked again.
    s3.stop();
    assert_eq!(clean(&daemon, false), json!({"bytes": 0, "objects": 0, "uploads": 0}));
    s3.resume();
    clean(&daemon, false);
    assert_eq!(s3.kept(), before, "{}", daemon.log());
    assert_eq!(clean(&daemon, true), json!({"bytes": 0, "objects": 0, "uploads": 0}));

    // Also when the daemon is killed while it tidies up.
    for fault in ["gc.unmade-removed", "gc.parts-found", "s3.prefix-part-deleted"] {
        die_at(&mut daemon, "s3.child-half-copied", begin_child);
        die_at(&mut daemon, "s3.multipart-begun", |daemon| put(daemon, &draft));
        die_at(&mut daemon, fault, |daemon| {
            let body = json!({"dryRun": false, "graceSeconds": 0}).to_string();
            daemon.try_send("POST", "/storage/gc", "application/json", body.as_bytes()).is_some()
        });
        clean(&daemon, false);
        assert_eq!(s3.kept(), before, "{fault}: {}", daemon.log());
    }
    assert_eq!(daemon.read_back(&parent).len(), 40);

    // A version that got its row and no more is there, and stays.
    die_at(&mut daemon, "version.create.after", begin_child);
    clean(&daemon, false);
    let made = daemon.list(&format!("/datasets/{dataset}/versions"));
    let made = made
        .iter()
        .find(|version| version["parent"]["version"] == parent.version || version["parent"] == parent.version);
    let child = Version { dataset: dataset.clone(), version: made.unwrap()["version"].as_str().unwrap().to_owned() };
    assert_eq!(daemon.commit(&child)["files"], 40);
    assert!(put(&daemon, &draft));
    assert_eq!(s3.kept().len(), before.len() + 41);
}

#[test]
fn a_version_that_could_not_be_begun_in_a_bucket_leaves_nothing_there_in_the_end() {
    let daemon = Daemon::start();
    let mut s3 = S3::start();
    let dataset = s3.dataset(&daemon, "refused");
    let parent = daemon.draft(&dataset);
    daemon.fill(&parent, &[("a", b"a"), ("gone", b"gone")]);
    daemon.commit(&parent);
    // One of its files is away, so the child cannot have it.
    let kept = s3.kept();
    let gone = kept.iter().find(|path| path.ends_with("/gone")).unwrap();
    std::fs::remove_file(gone).unwrap();
    let before = s3.kept();
    let refused = daemon.post(&format!("/datasets/{dataset}/versions"), &json!({"parent": parent.version}));
    assert!(refused.status / 100 == 4 || refused.status / 100 == 5, "{refused:?}");
    assert_eq!(s3.kept(), before);
    s3.stop();
    assert_eq!(clean(&daemon, false)["objects"], 0);
}
