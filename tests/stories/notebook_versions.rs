//! Versions of datasets that are made of files of a notebook or of `/storage`, whether anything runs or not.

use std::{collections::BTreeMap, process::Command};

use serde_json::{Value, json};

#[cfg(feature = "faults")]
use crate::survive_faults::points;
use crate::{
    daemon::{Answer, BUSYBOX, Daemon},
    data::{Version, blake3_of, encoded, noise},
    full_disk::{Disk, assert_full, wait_for_disk},
    s3::S3,
};

/// Makes a notebook whose session runs `command`, and starts it unless that is empty.
fn notebook(daemon: &Daemon, command: &str) -> String {
    let body = json!({"image": BUSYBOX, "name": "maker", "command": command, "start": !command.is_empty()});
    let made = daemon.post("/notebooks", &body);
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap().to_owned();
    if !command.is_empty() {
        daemon.wait_until("its session", || {
            Some(daemon.get(&format!("/notebooks/{id}")).body).filter(|notebook| notebook["state"] == "running")
        });
    }
    id
}

/// Runs a shell in the container of a notebook's session.
fn inside(daemon: &Daemon, id: &str, command: &str) {
    let notebook = daemon.get(&format!("/notebooks/{id}")).body;
    let container = daemon.container_of(notebook["session"]["id"].as_str().unwrap(), 1);
    let ran = Command::new("docker").args(["exec", &container, "sh", "-c", command]).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn stop(daemon: &Daemon, id: &str) {
    assert_eq!(daemon.post(&format!("/notebooks/{id}/stop"), &json!({})).status, 200);
    daemon.wait_until("the end of its session", || {
        Some(daemon.get(&format!("/notebooks/{id}")).body).filter(|notebook| notebook["phase"].is_null())
    });
}

fn put(daemon: &Daemon, root: &str, path: &[u8], bytes: &[u8]) {
    let place = format!("/api/v1/files/{root}/content/{}", encoded(path));
    let reply = daemon.ask("PUT", &place).body("application/octet-stream", bytes).send();
    assert!([200, 201].contains(&reply.status), "{}", reply.text());
}

/// Begins a version of files.
fn begin(daemon: &Daemon, dataset: &str, body: &Value) -> (Version, String) {
    let begun = daemon.post(&format!("/datasets/{dataset}/versions"), body);
    assert_eq!(begun.status, 201, "{begun:?}\n{}", daemon.log());
    of_answer(&begun)
}

fn of_answer(begun: &Answer) -> (Version, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let version = Version { dataset: text(&begun.body["dataset"]["id"]), version: text(&begun.body["version"]) };
    (version, text(&begun.body["import"]["id"]))
}

fn wait(daemon: &Daemon, import: &str) -> Value {
    daemon.wait_until("the files to be there", || {
        Some(daemon.get(&format!("/imports/{import}")).body).filter(|import| import["finishedAt"].is_string())
    })
}

/// Makes a version and returns it with what its import said.
fn make(daemon: &Daemon, dataset: &str, body: &Value) -> (Version, Value) {
    let (version, import) = begin(daemon, dataset, body);
    (version, wait(daemon, &import))
}

fn hashes(files: &[(&str, &[u8])]) -> BTreeMap<String, String> {
    files.iter().map(|(path, bytes)| ((*path).to_owned(), blake3_of(bytes))).collect()
}

#[test]
fn files_of_a_running_notebook_become_a_version_that_says_where_it_came_from() {
    let daemon = Daemon::start();
    let id = notebook(&daemon, "exec sleep 1000");
    let weights = noise(1, 5 << 20);
    put(&daemon, &id, "größe/日本 1.txt".as_bytes(), b"text");
    put(&daemon, &id, b"data/deep/weights", &weights);
    put(&daemon, &id, b"data/other", b"other");
    put(&daemon, &id, b"not-this", b"x");
    inside(
        &daemon,
        &id,
        "cd data; ln -s deep/weights latest; ln -s /etc/passwd out; ln -s ../not-this up; mkfifo pipe; mkdir empty; \
         printf '#!/bin/sh' > run.sh; chmod 700 run.sh; ln -s /etc ../chosen",
    );
    let dataset = daemon.dataset("made");
    let body = json!({
        "from": {"root": id, "paths": ["data", "größe", "chosen"]}, "commit": true, "message": "first", "tags": ["good"],
    });
    let (first, import) = make(&daemon, &dataset, &body);
    assert_eq!(import["state"], "done", "{import:#}\n{}", daemon.log());
    let message = import["message"].as_str().unwrap();
    assert!(message.contains("3 entries") && message.contains("data/out"), "{message}");
    assert_eq!(import["source"]["root"], id.as_str());
    let version = daemon.version(&first);
    assert_eq!(
        (&version["state"], &version["tags"], &version["message"]),
        (&json!("committed"), &json!(["good"]), &json!("first"))
    );
    let files = daemon.read_back(&first);
    assert_eq!(files["größe/日本 1.txt"], blake3_of(b"text"));
    assert_eq!(files["data/deep/weights"], blake3_of(&weights));
    assert_eq!(files["data/run.sh"], blake3_of(b"#!/bin/sh"));
    let mut names: Vec<_> = files.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["data/deep/weights", "data/latest", "data/other", "data/run.sh", "data/up", "größe/日本 1.txt"]);

    // What is done to the files afterwards is no matter of the version.
    inside(&daemon, &id, "echo changed >> data/other; rm -r data/deep");
    stop(&daemon, &id);
    let body = json!({
        "from": {"root": id, "beneath": "data", "paths": ["other"]}, "parent": "good", "prefix": "data", "commit": true,
        "tags": ["good"],
    });
    let (second, import) = make(&daemon, &dataset, &body);
    assert_eq!((&import["state"], &import["message"]), (&json!("done"), &Value::Null), "{import:#}");
    let after = daemon.read_back(&second);
    assert_eq!(after["data/other"], blake3_of(b"otherchanged\n"));
    assert_eq!(after.len(), files.len(), "all else is as in its parent");
    assert_eq!(daemon.read_back(&first), files);
    assert_eq!(daemon.version(&second)["tags"], json!(["good"]), "the tag went on");

    let lineage = daemon.get(&second.at("/lineage")).body;
    assert_eq!(lineage["parent"], first.version.as_str());
    assert_eq!(
        lineage["madeFrom"],
        json!([{"root": id, "name": "maker", "words": format!("/notebooks of maker ({id}): data: “other”")}])
    );
    // Its files are its own: the notebook may go.
    assert_eq!(daemon.delete(&format!("/notebooks/{id}")).status, 204);
    assert_eq!(daemon.read_back(&second), after);
    let graph = daemon.get(&format!("/datasets/{dataset}/lineage")).body;
    let nodes = graph["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().filter(|node| node["kind"] == "notebook").count(), 1, "{graph:#}");
    let edges = graph["edges"].as_array().unwrap();
    assert_eq!(edges.iter().filter(|edge| edge["role"] == "files" && edge["from"] == id.as_str()).count(), 2);
}

#[test]
fn a_name_that_is_no_text_is_chosen_by_its_bytes_and_kept() {
    let daemon = Daemon::start();
    put(&daemon, "storage", b"in/odd-\xff", b"odd");
    put(&daemon, "storage", b"in/other", b"other");
    let body = json!({"from": {"root": "storage", "beneath": "in", "pathsBase64": ["b2RkLf8="]}, "commit": true});
    let (version, import) = make(&daemon, &daemon.dataset("odd"), &body);
    assert_eq!(import["state"], "done", "{import:#}");
    let files = daemon.files(&version);
    assert_eq!(files.len(), 1, "{files:#?}");
    assert_eq!(files.values().next().unwrap()["pathBase64"], "b2RkLf8=");
    let (status, bytes) = daemon.get_bytes(&version.at("/files/odd-%FF"), "*/*");
    assert_eq!((status, bytes.as_slice()), (200, &b"odd"[..]));
}

#[test]
fn what_a_notebook_reads_is_drawn_as_the_notebook_and_not_as_a_job() {
    let daemon = Daemon::start();
    let version = daemon.filled("read", &[("a", b"a")]);
    let body = json!({
        "image": BUSYBOX, "command": "exec sleep 1000", "name": "reader", "datasets": [{"ref": version.reference()}],
    });
    let id = daemon.post("/notebooks", &body).body["id"].as_str().unwrap().to_owned();
    let graph = daemon.get(&format!("/datasets/{}/lineage", version.dataset)).body;
    let node = graph["nodes"].as_array().unwrap().iter().find(|node| node["kind"] != "version").cloned().unwrap();
    assert_eq!((&node["kind"], &node["id"], &node["label"]), (&json!("notebook"), &json!(id), &json!("reader")));
    assert_eq!(daemon.get(&version.at("/lineage")).body["readBy"][0]["notebook"], id.as_str());
}

#[test]
fn what_a_container_plants_while_it_is_read_brings_nothing_of_the_host() {
    let daemon = Daemon::start();
    // What no container may see lies beside what it may.
    let secret = daemon.data().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("file"), "of the host").unwrap();
    let swap = format!(
        "mkdir -p a b; echo mine > a/file; ln -s {} b/link; while :; do mv a c; cp -P b/link a; rm a; mv c a; done",
        secret.display()
    );
    let id = notebook(&daemon, &swap);
    let dataset = daemon.dataset("planted");
    let chosen = [json!({"paths": ["a"]}), json!({}), json!({"paths": ["a/file"]})];
    for chosen in chosen.iter().cycle().take(12) {
        let mut from = chosen.clone();
        from["root"] = json!(id);
        let begun = daemon.post(&format!("/datasets/{dataset}/versions"), &json!({ "from": from }));
        if begun.status == 404 {
            continue;
        }
        assert_eq!(begun.status, 201, "{begun:?}");
        let (version, import) = of_answer(&begun);
        wait(&daemon, &import);
        for (path, hash) in daemon.read_back(&version) {
            assert_ne!(hash, blake3_of(b"of the host"), "{path}");
        }
    }
    for (from, code) in [
        (json!({"root": id, "beneath": "b/link"}), "file_not_found"),
        (json!({"root": id, "paths": ["b/link/file"]}), "file_not_found"),
        (json!({"root": id, "paths": ["../x"]}), "bad_path"),
        (json!({"root": id, "paths": ["none"]}), "file_not_found"),
        (json!({"root": id, "paths": []}), "nothing_chosen"),
        (json!({"root": id, "paths": ["b", "b"]}), "chosen_twice"),
        (json!({"root": "n000000000"}), "notebook_not_found"),
    ] {
        let refused = daemon.post(&format!("/datasets/{dataset}/versions"), &json!({"from": from}));
        assert_eq!(refused.body["code"], code, "{from}: {refused:?}");
    }
    let lone = daemon.post(&format!("/datasets/{dataset}/versions"), &json!({"commit": true}));
    assert_eq!((lone.status, &lone.body["code"]), (422, &json!("only_with_from")));
}

#[test]
fn a_file_that_somebody_writes_to_is_named_and_leaves_a_draft_without_its_tag() {
    let daemon = Daemon::start();
    let writes = "dd if=/dev/zero of=log bs=1M count=64 2>/dev/null; while :; do printf x | dd of=log conv=notrunc 2>/dev/null; done";
    let id = notebook(&daemon, writes);
    daemon.wait_until("its log", || {
        let entry = daemon.get(&format!("/files/{id}/entry?path=log")).body;
        (entry["bytes"].as_u64()? >= 64 << 20).then_some(())
    });
    let dataset = daemon.dataset("busy");
    let body = json!({"from": {"root": id}, "commit": true, "tags": ["good"]});
    let (version, import) = make(&daemon, &dataset, &body);
    assert_eq!(import["state"], "failed", "{import:#}");
    assert!(import["message"].as_str().unwrap().contains("“log” changes while it is read"), "{import:#}");
    let draft = daemon.version(&version);
    assert_eq!((&draft["state"], &draft["tags"], &draft["files"]), (&json!("uncommitted"), &json!([]), &json!(0)));
    let empty = notebook(&daemon, "mkdir -p only/empty; exec sleep 1000");
    daemon.wait_until("its directories", || {
        (daemon.get(&format!("/files/{empty}/entry?path=only/empty")).status == 200).then_some(())
    });
    for from in [json!({"root": empty, "beneath": "only/empty"}), json!({"root": empty, "paths": ["only/empty"]})] {
        let refused = daemon.post(&format!("/datasets/{dataset}/versions"), &json!({"from": from, "commit": true}));
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("nothing_chosen")), "{from}: {refused:?}");
    }
    let (_, import) = daemon.wait_until("its directories", || {
        let begun =
            daemon.post(&format!("/datasets/{dataset}/versions"), &json!({"from": {"root": empty, "paths": ["only"]}}));
        (begun.status == 201).then(|| of_answer(&begun))
    });
    let import = wait(&daemon, &import);
    assert!(import["message"].as_str().unwrap().contains("there is no file in"), "{import:#}");
}

#[test]
fn files_of_storage_become_a_version_in_a_bucket_and_say_what_stayed_behind() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__IMPORT_LOCAL", "true")]);
    let s3 = S3::start();
    let dataset = s3.dataset(&daemon, "bucket");
    let large = noise(2, 9 << 20);
    let files: [(&str, &[u8]); 3] = [("a/large", &large), ("a/é.txt", b"accent"), ("b", b"b")];
    for (path, bytes) in files {
        put(&daemon, "storage", path.as_bytes(), bytes);
    }
    let id = notebook(&daemon, "ln -s b /storage/link; exec sleep 1000");
    daemon.wait_until("its link", || (daemon.get("/files/storage/entry?path=link").status == 200).then_some(()));
    let (version, import) = make(&daemon, &dataset, &json!({"from": {"root": "storage"}, "commit": true}));
    assert_eq!(import["state"], "done", "{import:#}\n{}", daemon.log());
    assert!(import["message"].as_str().unwrap().contains("S3 has none"), "{import:#}");
    assert_eq!(daemon.read_back(&version), hashes(&files));
    let lineage = daemon.get(&version.at("/lineage")).body;
    assert_eq!(lineage["madeFrom"][0]["root"], "storage");
    assert_eq!(daemon.get(&format!("/imports?root={id}")).body["items"], json!([]));
    assert_eq!(daemon.get("/imports?root=storage&live=true").body["items"], json!([]));
    assert_eq!(daemon.get("/imports?root=storage").body["items"][0]["id"], import["id"]);
}

#[test]
fn a_version_that_is_cancelled_stays_a_draft_without_its_tag() {
    let daemon = Daemon::start();
    for n in 0..20 {
        put(&daemon, "storage", format!("{n}").as_bytes(), &noise(n, 4 << 20));
    }
    let dataset = daemon.dataset("cancelled");
    let (version, import) =
        begin(&daemon, &dataset, &json!({"from": {"root": "storage"}, "commit": true, "tags": ["t"]}));
    assert_eq!(daemon.delete(&format!("/imports/{import}")).status, 200);
    let ended = wait(&daemon, &import);
    let now = daemon.version(&version);
    match ended["state"].as_str().unwrap() {
        "cancelled" => assert_eq!(now["tags"], json!([]), "{now:#}"),
        // It was as fast as we.
        state => assert_eq!((state, &now["tags"]), ("done", &json!(["t"]))),
    }
}

#[cfg(feature = "faults")]
#[test]
fn a_daemon_killed_while_it_makes_a_version_makes_it_whole_once() {
    let mut daemon = Daemon::start();
    let contents: Vec<(String, Vec<u8>)> = (0..30).map(|n| (format!("dir/{n}"), noise(n, 100_000))).collect();
    for (path, bytes) in &contents {
        put(&daemon, "storage", path.as_bytes(), bytes);
    }
    let files: Vec<(&str, &[u8])> = contents.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let dataset = daemon.dataset("killed");
    let on_the_way = ["dataset.import.", "import.brought", "import.settled.", "version.create.", "version.commit."];
    let points: Vec<String> =
        points().into_iter().filter(|point| on_the_way.iter().any(|kind| point.starts_with(kind))).collect();
    assert!(points.len() >= 7, "{points:?}");
    for point in points {
        daemon.restart(&[("GRADIENTD_FAULT", &point)]);
        let body = json!({"from": {"root": "storage"}, "commit": true, "tags": [point]}).to_string();
        let path = format!("/datasets/{dataset}/versions");
        let begun = daemon.try_send("POST", &path, "application/json", body.as_bytes());
        assert!(!daemon.wait_until_dead().success(), "{point}");
        daemon.restart(&[]);
        let known = daemon.get("/imports?root=storage").body["items"].as_array().unwrap().clone();
        let known = known.into_iter().find(|import| import["tags"] == json!([point]));
        let Some(import) = known else {
            assert!(begun.is_none() && point.starts_with("version.create."), "{point}: what was accepted is there");
            continue;
        };
        let done = wait(&daemon, import["id"].as_str().unwrap());
        assert_eq!(done["state"], "done", "{point}: {done:#}\n{}", daemon.log());
        let (_, version) = done["version"].as_str().unwrap().split_once(':').unwrap();
        let version = Version { dataset: dataset.clone(), version: version.to_owned() };
        let now = daemon.version(&version);
        assert_eq!((&now["state"], &now["tags"]), (&json!("committed"), &json!([point])), "{point}");
        assert_eq!(daemon.read_back(&version), hashes(&files), "{point}");
    }
    // None that nobody was told of is left, but for drafts that would be.
    let versions = daemon.list(&format!("/datasets/{dataset}/versions?limit=100"));
    assert!(versions.iter().all(|version| version["state"] == "committed"), "{versions:#?}");
}

#[test]
fn a_full_disk_refuses_a_version_and_what_was_accepted_waits_for_room() {
    let Some(disk) = Disk::mount() else { return };
    let mut daemon = disk.daemon(&[("GRADIENTD_DISK__MIN_FREE", "4MiB")]);
    daemon.restart(&[]);
    let bytes = noise(5, 16 << 20);
    put(&daemon, "storage", b"data", &bytes);
    let dataset = daemon.dataset("full");
    disk.fill(usize::MAX);
    wait_for_disk(&daemon, "full");
    let body = json!({"from": {"root": "storage"}, "commit": true});
    assert_full(&daemon.post(&format!("/datasets/{dataset}/versions"), &body));
    disk.free();
    wait_for_disk(&daemon, "ok");
    // Room for a part of it alone.
    disk.fill(32 << 20);
    let begun = daemon.post(&format!("/datasets/{dataset}/versions"), &body);
    assert_eq!(begun.status, 201, "{begun:?}");
    let (version, import) = of_answer(&begun);
    // It is tried again and again, and what a try took of the disk it gives back.
    daemon.wait_until("the first try", || daemon.log().contains("the disk is full").then_some(()));
    assert_eq!(daemon.get(&format!("/imports/{import}")).body["finishedAt"], Value::Null);
    disk.free();
    let done = wait(&daemon, &import);
    assert_eq!(done["state"], "done", "{done:#}\n{}", daemon.log());
    assert_eq!(daemon.read_back(&version), hashes(&[("data", &bytes)]));
}
