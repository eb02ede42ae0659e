//! Datasets that lie in a bucket: readable with any tool, and on the disk of the box when runs need
//! them.

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, tar_of},
    data::{Version, blake3_of, noise},
    s3::{S3, secret},
};

#[test]
fn a_provider_is_checked_before_it_is_taken() {
    let daemon = Daemon::start();
    let mut s3 = S3::start();
    let list = daemon.get("/storage-providers").body;
    assert_eq!((&list["items"][0]["name"], &list["items"][0]["type"]), (&json!("Gradient Managed"), &json!("managed")));
    let with = |field: &str, value: Value| {
        let mut body = s3.provider("bad");
        body[field] = value;
        let answer = daemon.post("/storage-providers", &body);
        assert_eq!(answer.status / 100, 4, "{field}: {answer:?}");
        assert!(!answer.body.to_string().contains(secret()), "{answer:?}");
        answer.body.to_string()
    };
    assert!(with("bucket", json!("no-such-bucket")).contains("no-such-bucket"));
    with("secretAccessKey", json!("wrong"));
    with("accessKeyId", json!("nobody"));
    with("endpoint", json!("http://127.0.0.1:1"));
    with("endpoint", json!("ftp://x"));
    with("bucket", json!("../up"));
    assert_eq!(daemon.get("/storage-providers").body["items"].as_array().unwrap().len(), 1);

    let made = daemon.post("/storage-providers", &s3.provider("Bucket"));
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/storage-providers/{}", made.body["id"].as_str().unwrap());
    assert!(made.body["checkError"].is_null() && made.body["checkedAt"].is_string(), "{made:?}");
    assert_eq!(
        std::fs::read_dir(s3.bucket())
            .unwrap()
            .flat_map(|entry| std::fs::read_dir(entry.unwrap().path()))
            .flatten()
            .count(),
        0,
        "the check leaves nothing"
    );
    s3.stop();
    let checked = daemon.post(&format!("{path}/check"), &json!({}));
    assert!(checked.body.to_string().contains("reach"), "{checked:?}");
    s3.resume();
    assert!(daemon.post(&format!("{path}/check"), &json!({})).body["checkError"].is_null());
    for text in [daemon.get("/storage-providers").body.to_string(), daemon.get(&path).body.to_string(), daemon.log()] {
        assert!(!text.contains(secret()));
    }
    let database = std::fs::read(daemon.data().join("gradientd.db")).unwrap();
    assert!(!database.windows(secret().len()).any(|window| window == secret().as_bytes()), "sealed in the store");
    assert_eq!(daemon.delete(&path).status, 204);
}

#[test]
fn a_version_in_a_bucket_lies_there_as_ordinary_keys_and_is_mounted_like_any_other() {
    let daemon = Daemon::start();
    let s3 = S3::start();
    let dataset = s3.dataset(&daemon, "bucketed");
    let large = noise(1, 9 << 20);
    let version = daemon.draft(&dataset);
    daemon.fill(&version, &[("a b/Größe.txt", b"one"), ("large", &large), ("empty", b"")]);
    let tar = tar_of(&[("t/x", "xx"), ("t/y", "yy")]);
    let taken = daemon.ask("PUT", &format!("/api/v1{}", version.at(".tar"))).body("application/x-tar", tar).send();
    assert_eq!(taken.status, 200, "{}\n{}", taken.text(), daemon.log());
    // Somebody else's tool adds a key, and we replace and remove others.
    daemon.fill(&version, &[("a b/Größe.txt", b"two"), ("away", b"x")]);
    assert_eq!(daemon.delete(&version.file("away")).status, 204);
    let team =
        std::fs::read_dir(s3.bucket()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let there = team.join("datasets").join(&dataset).join(&version.version);
    std::fs::write(there.join("direct"), "straight to the bucket").unwrap();
    // Reading by URL is between the client and the bucket.
    let signed = daemon.post(&version.at("/signed-urls"), &json!({"calls": [{"method": "GET", "path": "large"}]}));
    let url = signed.body["urls"][0]["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&s3.endpoint()), "{url}");
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut ureq::get(&url).call().unwrap().body_mut().as_reader(), &mut got).unwrap();
    assert_eq!(blake3_of(&got), blake3_of(&large));

    let committed = daemon.commit(&version);
    assert_eq!(committed["files"], 6, "{committed:#}");
    let kept = daemon.read_back(&version);
    assert_eq!(kept["direct"], blake3_of(b"straight to the bucket"));
    assert_eq!(kept["a b/Größe.txt"], blake3_of(b"two"));
    // In the bucket: TEAM/datasets/DATASET/VERSION/path.
    let team =
        std::fs::read_dir(s3.bucket()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let there = team.join("datasets").join(&dataset).join(&version.version);
    assert_eq!(std::fs::read(there.join("large")).unwrap(), large);
    assert_eq!(std::fs::read(there.join("a b/Größe.txt")).unwrap(), b"two");

    let command = "cd /inputs/bucketed && cat 'a b/Größe.txt' && wc -c < large && ls t && cat direct";
    let job = daemon.run_with(&json!([{"ref": "bucketed"}]), &json!([]), command);
    assert_eq!(job["state"], "stopped", "{job:#}\n{}", daemon.log());
    let said = daemon.text_of(job["id"].as_str().unwrap());
    assert!(said.contains(&format!("two{}\nx\ny\nstraight to the bucket", large.len())), "{said}");
    // Once it is here, the bucket is not asked again.
    let cache = daemon.get("/storage").body["cache"].clone();
    assert_eq!(cache["items"][0]["version"], version.version, "{cache:#}");

    // A child, its difference, and what both are in the bucket.
    let child = daemon.draft_with(&dataset, &json!({"parent": version.version}));
    daemon.fill(&child, &[("new", b"new")]);
    assert_eq!(daemon.delete(&child.file("t")).status, 204);
    daemon.commit(&child);
    let diff = daemon.get(&child.at(&format!("/diff?against={}&totals=true", version.version))).body;
    assert_eq!(
        (&diff["totals"]["added"], &diff["totals"]["removed"], &diff["totals"]["changed"]),
        (&json!(1), &json!(2), &json!(0)),
        "{diff:#}"
    );
    let (status, out) = daemon.get_bytes(&child.at(".tar"), "*/*");
    assert_eq!((status, tar::Archive::new(out.as_slice()).entries().unwrap().count()), (200, 5));
}

#[test]
fn runs_that_share_a_version_share_the_copy_and_the_cache_keeps_its_budget() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__CACHE", "5MiB"), ("GRADIENTD_STORAGE__GC_GRACE", "1s")]);
    let s3 = S3::start();
    let dataset = s3.dataset(&daemon, "shared");
    let versions: Vec<Version> = (0..3)
        .map(|n| {
            let version = daemon.draft(&dataset);
            daemon.fill(&version, &[("data", &noise(n, 2 << 20))]);
            daemon.commit(&version);
            version
        })
        .collect();
    let ids: Vec<String> = (0..4)
        .map(|_| {
            let body = json!({"image": BUSYBOX, "command": "wc -c < /inputs/in/data", "datasets": [{"ref": versions[0].reference(), "name": "in"}]});
            daemon.submit(&body)
        })
        .collect();
    for id in &ids {
        assert_eq!(daemon.wait_for_end(id)["state"], "stopped", "{}", daemon.log());
    }
    for version in &versions[1..] {
        let job = daemon.run_with(
            &json!([{"ref": version.reference(), "name": "in"}]),
            &json!([]),
            "wc -c < /inputs/in/data",
        );
        assert_eq!(job["state"], "stopped", "{job:#}");
    }
    daemon.wait_until("the oldest copy to go", || {
        let cache = daemon.get("/storage").body["cache"].clone();
        let kept: Vec<&str> =
            cache["items"].as_array().unwrap().iter().map(|item| item["version"].as_str().unwrap()).collect();
        (!kept.contains(&versions[0].version.as_str()) && kept.contains(&versions[2].version.as_str())).then_some(())
    });
    // It comes back when it is asked for.
    let job = daemon.run_with(
        &json!([{"ref": versions[0].reference(), "name": "in"}]),
        &json!([]),
        "wc -c < /inputs/in/data",
    );
    assert_eq!(job["state"], "stopped", "{job:#}");
}

#[test]
fn a_bucket_that_is_away_or_was_changed_is_said_in_words() {
    let daemon = Daemon::start();
    let mut s3 = S3::start();
    let dataset = s3.dataset(&daemon, "away");
    let version = daemon.draft(&dataset);
    daemon.fill(&version, &[("data", b"as it was"), ("more", b"more")]);
    daemon.commit(&version);
    // Changed behind our back: never mounted as if it were right.
    let team =
        std::fs::read_dir(s3.bucket()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let key = team.join("datasets").join(&dataset).join(&version.version).join("data");
    std::fs::write(&key, b"as it is!").unwrap();
    let job = daemon.run_with(&json!([{"ref": "away"}]), &json!([]), "cat /inputs/away/data");
    assert_eq!(
        (&job["state"], &job["reason"]),
        (&json!("error"), &json!("dataset_failed")),
        "{job:#}\n{}",
        daemon.log()
    );
    assert!(job["message"].as_str().unwrap().contains("data"), "{job:#}");
    std::fs::write(&key, b"as it was").unwrap();
    // Away: reads say so, writes say so, a run says so.
    s3.stop();
    let reply = daemon.ask("GET", &format!("/api/v1{}", version.file("data"))).send();
    assert!(reply.status == 502 || reply.status == 503, "{} {}", reply.status, reply.text());
    assert!(reply.text().contains("away-s3") || reply.text().contains("reach"), "{}", reply.text());
    let draft = daemon.draft(&dataset);
    let put = daemon.put_file(&draft, "x", b"x");
    assert!(put.status == 502 || put.status == 503, "{} {}", put.status, put.text());
    s3.resume();
    let job = daemon.run_with(&json!([{"ref": "away"}]), &json!([]), "cat /inputs/away/data");
    assert_eq!(job["state"], "stopped", "{job:#}");
}

#[test]
fn a_run_writes_its_output_to_the_bucket() {
    let daemon = Daemon::start();
    let s3 = S3::start();
    let dataset = s3.dataset(&daemon, "outbound");
    let job = daemon.run_with(
        &json!([]),
        &json!([{"ref": "outbound"}]),
        "mkdir /outputs/outbound/d; echo out > /outputs/outbound/d/file",
    );
    assert_eq!(
        (&job["state"], &job["outputs"][0]["state"]),
        (&json!("stopped"), &json!("committed")),
        "{job:#}\n{}",
        daemon.log()
    );
    let version = Version { dataset, version: job["outputs"][0]["version"].as_str().unwrap().to_owned() };
    assert_eq!(daemon.read_back(&version)["d/file"], blake3_of(b"out\n"));
}

#[test]
fn a_damaged_copy_that_a_run_reads_is_told_of_until_the_bucket_mends_it() {
    let daemon = Daemon::start();
    let s3 = S3::start();
    let dataset = s3.dataset(&daemon, "rotting");
    let version = daemon.draft(&dataset);
    let bytes = noise(7, 200_000);
    daemon.fill(&version, &[("d/data", &bytes), ("d/other", b"other")]);
    daemon.commit(&version);
    let team = std::fs::read_dir(daemon.data().join("teams")).unwrap().next().unwrap().unwrap().path();
    let id = daemon.submit(&json!({
        "image": BUSYBOX, "datasets": [{"ref": "rotting", "name": "in"}],
        "command": "echo reading; while [ ! -e /storage/go ]; do sleep 0.1; done; sha256sum < /inputs/in/d/data",
    }));
    daemon.wait_for(&id, "its first line", |_| daemon.text_of(&id).contains("reading"));
    let hash = blake3_of(&bytes);
    let blob = team.join("blobs").join(&hash[..2]).join(&hash);
    let spoiled = vec![b'x'; bytes.len()];
    std::fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&blob, &spoiled).unwrap();
    let object = s3.kept().into_iter().find(|path| path.ends_with("/d/data")).unwrap();
    std::fs::write(&object, &spoiled).unwrap();

    let check = || {
        let before = daemon.get("/storage/fsck").body["startedAt"].clone();
        assert_eq!(daemon.post("/storage/fsck", &json!({"percent": 100})).status, 202);
        daemon.wait_until("the check to end", || {
            let report = daemon.get("/storage/fsck").body;
            (report["startedAt"] != before && report["finishedAt"].is_string()).then_some(report)
        })
    };
    // Neither the bucket nor anybody else has the bytes: told of by every check, and refused.
    for _ in 0..2 {
        let report = check();
        let damaged = &report["damaged"][0];
        assert_eq!((&damaged["blake3"], &damaged["versions"][0]["version"]), (&json!(hash), &json!(version.version)));
        assert_eq!(daemon.get("/storage").body["check"]["damaged"], 1);
    }
    let refused = daemon.post("/jobs", &json!({"image": BUSYBOX, "datasets": [{"ref": "rotting"}]}));
    assert!(refused.status / 100 == 4 && refused.body.to_string().contains("damaged"), "{refused:?}");
    // The bucket has them again, and the run that reads the copy gets them.
    std::fs::write(&object, &bytes).unwrap();
    let report = check();
    assert_eq!(report["damaged"], json!([]), "{report:#}\n{}", daemon.log());
    assert_eq!((&report["mended"][0]["version"], &report["mended"][0]["files"]), (&json!(version.version), &json!(1)));
    assert_eq!(daemon.get("/storage").body["check"]["mended"], 1);
    assert!(daemon.version(&version)["damagedAt"].is_null());
    std::fs::write(team.join("storage/go"), "").unwrap();
    assert_eq!(daemon.wait_for_end(&id)["state"], "stopped");
    let whole =
        daemon.run_with(&json!([{"ref": "rotting", "name": "in"}]), &json!([]), "sha256sum < /inputs/in/d/data");
    let printed = daemon.text_of(whole["id"].as_str().unwrap());
    assert!(daemon.text_of(&id).contains(printed.trim()), "{printed}");
    assert_eq!(daemon.read_back(&version)["d/data"], hash);
}

#[test]
fn what_is_here_on_its_way_to_a_bucket_counts_towards_the_quota_as_long_as_it_is() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__TEAM_QUOTA", "40MiB")]);
    let s3 = S3::start();
    let dataset = s3.dataset(&daemon, "passing");
    let version = daemon.draft(&dataset);
    for n in 0..3 {
        let put = daemon.put_file(&version, &format!("f{n}"), &noise(n, 20 << 20));
        assert_eq!(put.status, 201, "{}\n{}", put.text(), daemon.log());
    }
    let put = daemon.put_file(&version, "larger", &noise(9, 48 << 20));
    assert!(put.status / 100 == 4 || put.status == 507, "{}", put.status);
    assert!(put.text().contains("team_quota"), "{}", put.text());
    assert_eq!(daemon.commit(&version)["files"], 3);
}
