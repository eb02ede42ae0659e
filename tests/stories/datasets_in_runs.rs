//! Runs read versions and make new ones.

use serde_json::json;

use crate::{
    daemon::{BUSYBOX, Daemon},
    data::{blake3_of, noise},
};

#[test]
fn a_run_reads_one_version_and_makes_the_next() {
    let daemon = Daemon::start();
    let large = noise(1, 3 << 20);
    let raw = daemon.filled("raw", &[("rows.csv", b"a,b\n1,2\n"), ("deep/large", &large)]);
    let made = daemon.dataset("clean");
    let command = "cp /inputs/raw/rows.csv /outputs/clean/rows && mkdir -p /outputs/clean/sub && \
        cp /inputs/raw/deep/large /outputs/clean/sub/copy && echo '#!/bin/sh' > /outputs/clean/run && \
        chmod 700 /outputs/clean/run && ln -s rows /outputs/clean/link && echo done";
    let job = daemon.run_with(&json!([{"ref": "raw"}]), &json!([{"ref": "clean"}]), command);
    assert_eq!(job["state"], "stopped", "{job:#}\n{}", daemon.text_of(job["id"].as_str().unwrap()));
    let (id, output) = (job["id"].as_str().unwrap(), &job["outputs"][0]);
    assert_eq!(
        (&output["state"], &output["dataset"]),
        (&json!("committed"), &json!(made)),
        "{job:#}\n{}",
        daemon.log()
    );
    assert_eq!(job["datasets"][0]["version"], raw.version);
    assert_eq!(job["datasets"][0]["path"], "/inputs/raw");
    let version = crate::data::Version { dataset: made, version: output["version"].as_str().unwrap().to_owned() };
    let kept = daemon.read_back(&version);
    assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), ["link", "rows", "run", "sub/copy"]);
    assert_eq!(kept["sub/copy"], blake3_of(&large));
    assert_eq!(daemon.files(&version)["run"]["executable"], true);

    // Where it came from and who read what.
    let lineage = daemon.get(&version.at("/lineage")).body;
    assert_eq!(lineage["madeBy"]["job"], id, "{lineage:#}");
    let read = daemon.get(&raw.at("/lineage")).body;
    assert_eq!((&read["readBy"][0]["job"], &read["readBy"][0]["role"]), (&json!(id), &json!("input")), "{read:#}");
    let graph = daemon.get("/datasets/clean/lineage").body;
    assert!(graph["edges"].as_array().unwrap().iter().any(|edge| edge["role"] == "output"), "{graph:#}");

    // The next step takes it as its input, by name and by the newest.
    let next = daemon.run_with(
        &json!([{"ref": "clean:latest", "name": "x"}]),
        &json!([]),
        "cd /inputs/x && cat link && test -x run",
    );
    assert_eq!(next["state"], "stopped", "{next:#}");
    assert!(daemon.text_of(next["id"].as_str().unwrap()).contains("1,2"));
}

#[test]
fn what_a_failed_run_wrote_stays_as_a_draft_that_says_so() {
    let daemon = Daemon::start();
    daemon.dataset("model");
    let job = daemon.run_with(&json!([]), &json!([{"ref": "model"}]), "echo half > /outputs/model/weights; exit 3");
    assert_eq!(job["state"], "failed");
    let output = &job["outputs"][0];
    assert_eq!(output["state"], "draft", "{job:#}\n{}", daemon.log());
    let version = crate::data::Version {
        dataset: output["dataset"].as_str().unwrap().to_owned(),
        version: output["version"].as_str().unwrap().to_owned(),
    };
    let shown = daemon.version(&version);
    assert_eq!(shown["state"], "uncommitted");
    assert!(shown["note"].as_str().unwrap().contains(job["id"].as_str().unwrap()), "{shown:#}");
    assert_eq!(daemon.read_back(&version)["weights"], blake3_of(b"half\n"));
    assert_eq!(daemon.get("/datasets/resolve?ref=model").status, 404, "a draft is never the latest");

    let nothing = daemon.run_with(&json!([]), &json!([{"ref": "model", "name": "out"}]), "true");
    assert_eq!((&nothing["outputs"][0]["state"], &nothing["outputs"][0]["version"]), (&json!("empty"), &json!(null)));
}

#[test]
fn a_container_cannot_change_a_committed_version_not_even_as_root() {
    let daemon = Daemon::start();
    let version = daemon.filled("fixed", &[("file", b"fixed"), ("dir/inner", b"inner")]);
    let before = daemon.read_back(&version);
    let attacks = [
        "echo x > /inputs/fixed/file",
        "echo x >> /inputs/fixed/file",
        "dd if=/dev/zero of=/inputs/fixed/file bs=1 count=1 conv=notrunc",
        "echo x > /inputs/fixed/new",
        "rm /inputs/fixed/file",
        "mv /inputs/fixed/file /inputs/fixed/moved",
        "rmdir /inputs/fixed/dir",
        "chmod 777 /inputs/fixed/file",
        "chown 1000 /inputs/fixed/file",
        "touch /inputs/fixed/file",
        "ln /inputs/fixed/file /inputs/fixed/link",
        "ln /inputs/fixed/file /outputs/fixed/link",
        "mount -o remount,rw /inputs/fixed",
        "mount --bind /storage /inputs/fixed",
        "umount /inputs/fixed",
        "mkdir /outputs/m && mount -t tmpfs none /outputs/m",
        "truncate -s 0 /inputs/fixed/file",
        "mknod /storage/disk b 254 0",
        "chroot /proc/1/root true && echo x > /proc/1/root/inputs/fixed/file",
    ];
    let script = attacks
        .iter()
        .map(|attack| format!("if ( {attack} ) 2>/dev/null; then echo \"DID: {attack}\"; fi"))
        .collect::<Vec<_>>();
    for user in ["0:0", "1000:1000"] {
        let id = daemon.submit(&json!({
            "image": BUSYBOX, "command": format!("id -u; {}; cat /inputs/fixed/file", script.join("; ")), "user": user,
            "datasets": [{"ref": "fixed"}], "outputs": [{"ref": "fixed"}],
        }));
        daemon.wait_for_end(&id);
        let said = daemon.text_of(&id);
        assert!(!said.contains("DID: ") && said.contains("fixed"), "{said}");
    }
    assert_eq!(daemon.read_back(&version), before);
}

#[test]
fn what_is_in_use_is_not_deleted_unless_somebody_insists() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__GC_GRACE", "1s"), ("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let version = daemon.filled("used", &[("file", b"still here")]);
    let id = daemon.submit(&json!({
        "image": BUSYBOX, "datasets": [{"ref": "used"}],
        "command": "echo up; until test -e /storage/go; do sleep 0.05; done; cat /inputs/used/file",
    }));
    daemon.wait_until("the job to read", || daemon.text_of(&id).contains("up").then_some(()));
    for target in [version.at(""), "/datasets/used".to_owned()] {
        let refused = daemon.delete(&target);
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("in_use")), "{refused:?}");
        assert!(refused.body["detail"].as_str().unwrap().contains(&id), "{refused:?}");
    }
    assert_eq!(daemon.delete(&format!("{}?force=true", version.at(""))).status, 204);
    assert_eq!(daemon.get(&version.at("")).status, 404);
    // Cleaning takes nothing from under a run.
    let cleaned = daemon.post("/storage/gc", &json!({"dryRun": false, "graceSeconds": 0}));
    assert_eq!(cleaned.status, 200, "{cleaned:?}");
    let go = daemon.shell("touch /storage/go");
    let ended = daemon.wait_for(&id, "its teardown", |job| job["teardownFinishedAt"].is_string());
    assert_eq!(ended["state"], "stopped", "{ended:#}");
    assert!(daemon.text_of(&id).contains("still here"));
    daemon.wait_for_end(&go);
    // And all of it once nobody needs it any more.
    let cleaned = daemon.post("/storage/gc", &json!({"dryRun": false, "graceSeconds": 0}));
    assert!(cleaned.body["bytes"].as_u64().unwrap() >= 10, "{cleaned:?}");
    let forced = daemon
        .count("SELECT count(*) FROM events WHERE kind = 'version' AND change = 'deleted' AND data LIKE '%force%'");
    assert_eq!(forced, 1, "it is on record");
}

#[test]
fn only_what_is_committed_and_ones_own_is_mounted() {
    let daemon = Daemon::start();
    let draft = daemon.draft(&daemon.dataset("open"));
    let refuse = |datasets: serde_json::Value, outputs: serde_json::Value| {
        let answer = daemon.post("/jobs", &json!({"image": BUSYBOX, "datasets": datasets, "outputs": outputs}));
        assert_eq!(answer.status / 100, 4, "{answer:?}");
        answer.body.to_string()
    };
    assert!(refuse(json!([{"ref": draft.reference()}]), json!([])).contains("commit"), "an uncommitted one");
    for bad in ["nothing", "open", "gradient/open", "a:b:c", ""] {
        refuse(json!([{"ref": bad}]), json!([]));
    }
    for name in ["..", "a/b", "", "x y", ".", "a\u{0}b"] {
        refuse(json!([]), json!([{"ref": "open", "name": name}]));
    }
    refuse(json!([]), json!([{"ref": "open:latest"}]));
    refuse(json!([]), json!([{"ref": "open", "name": "n"}, {"ref": "open", "name": "n"}]));
}

#[test]
fn a_clone_reads_what_the_name_means_by_now() {
    let daemon = Daemon::start();
    let one = daemon.filled("moving", &[("n", b"one")]);
    let first = daemon.run_with(&json!([{"ref": "moving"}]), &json!([]), "cat /inputs/moving/n");
    let two = daemon.draft(&one.dataset);
    daemon.fill(&two, &[("n", b"two")]);
    daemon.commit(&two);
    let clone = daemon.post(&format!("/jobs/{}/clone", first["id"].as_str().unwrap()), &json!({}));
    assert_eq!(clone.status, 201, "{clone:?}");
    let ended = daemon.wait_for_end(clone.body["id"].as_str().unwrap());
    assert_eq!(ended["datasets"][0]["version"], two.version, "{ended:#}");
    assert!(daemon.text_of(ended["id"].as_str().unwrap()).contains("two"));
}
