//! Somebody keeps data on the box: versions are filled, frozen, read back, compared and built upon.

use std::io::Read;

use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, tar_of},
    data::{Version, blake3_of, encoded, noise},
};

#[test]
fn a_version_is_filled_committed_and_read_back() {
    let daemon = Daemon::start();
    let dataset = daemon.dataset("digits");
    let draft = daemon.draft_with(&dataset, &json!({"message": "first", "metadata": {"source": "scanner"}}));
    let large = noise(1, 5 << 20);
    let files: [(&str, &[u8]); 5] = [
        ("a.txt", b"one"),
        ("empty", b""),
        ("images/0/Größe 1.png", b"png"),
        ("images/1.png", b"png"),
        ("large.bin", &large),
    ];
    daemon.fill(&draft, &files);
    let shown = daemon.version(&draft);
    assert_eq!((&shown["state"], &shown["message"]), (&json!("uncommitted"), &json!("first")));
    assert_eq!((&shown["files"], &shown["bytes"]), (&json!(5), &json!(9 + large.len())), "{shown:#}");

    // Replaced, added and removed again: a draft is free.
    daemon.fill(&draft, &[("a.txt", b"two"), ("gone/away", b"x")]);
    assert_eq!(daemon.delete(&draft.file("gone")).status, 204);
    assert_eq!(daemon.delete(&draft.file("gone")).status, 404);

    let committed = daemon.commit(&draft);
    assert_eq!((&committed["files"], &committed["bytes"]), (&json!(5), &json!(9 + large.len())));
    assert_eq!(committed["metadata"]["source"], "scanner");
    assert_eq!(daemon.commit(&draft), committed, "committing again changes nothing");
    let kept = daemon.read_back(&draft);
    assert_eq!(
        kept.keys().map(String::as_str).collect::<Vec<_>>(),
        ["a.txt", "empty", "images/0/Größe 1.png", "images/1.png", "large.bin"]
    );
    assert_eq!(kept["a.txt"], blake3_of(b"two"));

    // By directory, as a tree is looked through.
    let top = daemon.list(&draft.at("/files?limit=2"));
    let kinds: Vec<_> =
        top.iter().map(|item| (item["path"].as_str().unwrap(), item["kind"].as_str().unwrap())).collect();
    assert_eq!(kinds, [("a.txt", "file"), ("empty", "file"), ("images", "directory"), ("large.bin", "file")]);
    let inner = daemon.list(&draft.at("/files?prefix=images/"));
    assert_eq!(
        inner.iter().map(|item| item["path"].as_str().unwrap()).collect::<Vec<_>>(),
        ["images/0", "images/1.png"]
    );

    // Immutable for ever.
    for reply in [
        daemon.put_file(&draft, "a.txt", b"three"),
        daemon.ask("DELETE", &format!("/api/v1{}", draft.file("a.txt"))).send(),
        daemon
            .ask("PUT", &format!("/api/v1{}", draft.at(".tar")))
            .body("application/x-tar", tar_of(&[("n", "n")]))
            .send(),
    ] {
        assert_eq!((reply.status, &reply.json()["code"]), (409, &json!("version_committed")), "{}", reply.text());
    }
    assert_eq!(daemon.read_back(&draft), kept);
}

#[test]
fn a_file_is_read_in_ranges_and_not_twice() {
    let daemon = Daemon::start();
    let bytes = noise(2, 300_000);
    let version = daemon.filled("ranges", &[("data.bin", &bytes)]);
    let ask = |method: &str| daemon.ask(method, &format!("/api/v1{}", version.file("data.bin")));
    let whole = ask("GET").send();
    assert_eq!((whole.status, whole.body == bytes), (200, true));
    let tag = whole.header("etag").unwrap().to_owned();
    assert!(tag.contains(&blake3_of(&bytes)), "{tag}");
    let head = ask("HEAD").send();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("300000"), 0));
    let part = ask("GET").with("Range", "bytes=100-199").send();
    assert_eq!((part.status, part.body == bytes[100..200]), (206, true));
    assert_eq!(part.header("content-range"), Some("bytes 100-199/300000"));
    assert_eq!(ask("GET").with("Range", "bytes=-5").send().body, bytes[299_995..]);
    assert_eq!(ask("GET").with("Range", "bytes=300000-").send().status, 416);
    assert_eq!(ask("GET").with("If-None-Match", &tag).send().status, 304);
}

#[test]
fn references_mean_the_same_everywhere() {
    let daemon = Daemon::start();
    let one = daemon.filled("mnist", &[("n", b"1")]);
    let two = daemon.draft(&one.dataset);
    daemon.fill(&two, &[("n", b"2")]);
    let resolve = |reference: &str| daemon.get(&format!("/datasets/resolve?ref={}", encoded(reference.as_bytes())));
    let version = |reference: &str| resolve(reference).body["version"].as_str().map(str::to_owned);
    assert_eq!(version("mnist"), Some(one.version.clone()), "the newest that is committed");
    daemon.commit(&two);
    for reference in ["mnist", "mnist:latest", &two.dataset, &format!("{}:latest", two.dataset), &two.reference()] {
        assert_eq!(version(reference), Some(two.version.clone()), "{reference}");
    }
    assert_eq!(version(&one.reference()), Some(one.version.clone()));

    // A tag moves.
    let tag = format!("/datasets/{}/tags/prod", one.dataset);
    assert_eq!(daemon.put(&tag, &json!({"version": one.version})).status / 100, 2);
    assert_eq!(version("mnist:prod"), Some(one.version.clone()));
    assert_eq!(daemon.put(&tag, &json!({"version": two.version})).status / 100, 2);
    assert_eq!(version("mnist:prod"), Some(two.version.clone()));
    assert_eq!(daemon.version(&two)["tags"], json!(["prod"]));
    assert_eq!(daemon.get("/datasets/mnist/versions/prod/files/n").status, 200);
    assert_eq!(daemon.delete(&tag).status, 204);
    for missing in ["mnist:prod", "mnist:zzzzzzz", "nothing", "gradient/mnist"] {
        assert_eq!(resolve(missing).status, 404, "{missing}");
    }
    for bad in ["", "a:b:c", "../x", "other/mnist"] {
        assert_eq!(resolve(bad).status, 422, "{bad}");
    }

    // Public ones have a namespace of their own.
    assert_eq!(daemon.patch("/datasets/mnist", &json!({"public": true})).status, 200);
    assert_eq!(version("gradient/mnist"), Some(two.version.clone()));
    let bare = daemon.run_with(&json!([]), &json!([]), "cat /datasets/mnist/n");
    assert_eq!(bare["state"], "stopped", "{bare:#}");
    assert!(daemon.text_of(bare["id"].as_str().unwrap()).contains('2'));
}

#[test]
fn a_child_begins_with_its_parents_files_and_says_what_changed() {
    let daemon = Daemon::start();
    let shared = noise(3, 200_000);
    let parent =
        daemon.filled("grows", &[("keep/large", &shared), ("keep/b", b"b"), ("change", b"before"), ("drop", b"x")]);
    let stored = || daemon.get("/storage").body["parts"].clone();
    let child = daemon.draft_with(&parent.dataset, &json!({"parent": parent.version}));
    assert_eq!(daemon.read_back(&child), daemon.read_back(&parent));
    daemon.fill(&child, &[("change", b"after!"), ("new/file", b"new")]);
    assert_eq!(daemon.delete(&child.file("drop")).status, 204);
    daemon.commit(&child);
    assert_eq!(daemon.version(&child)["parent"], parent.version);
    assert_eq!(daemon.read_back(&parent)["change"], blake3_of(b"before"), "the parent is as it was");
    assert_eq!(daemon.files(&parent).len(), 4);

    let diff = daemon.get(&child.at(&format!("/diff?against={}&totals=true", parent.version)));
    assert_eq!(diff.status, 200, "{diff:?}");
    let items: Vec<(&str, &str, &Value, &Value)> = diff.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (
                item["path"].as_str().unwrap(),
                item["change"].as_str().unwrap(),
                &item["bytesBefore"],
                &item["bytesAfter"],
            )
        })
        .collect();
    assert_eq!(
        items,
        [
            ("change", "changed", &json!(6), &json!(6)),
            ("drop", "removed", &json!(1), &Value::Null),
            ("new/file", "added", &Value::Null, &json!(3))
        ]
    );
    assert_eq!(
        (&diff.body["totals"]["added"], &diff.body["totals"]["removed"], &diff.body["totals"]["changed"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert!(stored().is_array());
}

#[test]
fn only_what_is_missing_travels() {
    let daemon = Daemon::start();
    let (known, new) = (noise(4, 50_000), noise(5, 60_000));
    let first = daemon.filled("exchange", &[("known", &known)]);
    let second = daemon.draft(&first.dataset);
    let offer = json!({"files": [
        {"path": "dir/known", "blake3": blake3_of(&known)},
        {"path": "new", "blake3": blake3_of(&new)},
    ]});
    let answer = daemon.post(&second.at("/known"), &offer);
    assert_eq!((&answer.body["linked"], &answer.body["missing"]), (&json!(1), &json!([1])), "{answer:?}");
    daemon.fill(&second, &[("new", &new)]);
    let again = daemon.post(&second.at("/known"), &offer);
    assert_eq!((&again.body["linked"], &again.body["missing"]), (&json!(2), &json!([])));
    daemon.commit(&second);
    assert_eq!(daemon.read_back(&second)["dir/known"], blake3_of(&known));
    // A file that is not what it is said to be is refused, and what was there stays.
    let third = daemon.draft(&first.dataset);
    daemon.fill(&third, &[("f", b"right")]);
    let lie = daemon.ask("PUT", &format!("/api/v1{}", third.file("f"))).with("X-Content-Blake3", &blake3_of(b"right"));
    let lie = lie.body("application/octet-stream", "wrong").send();
    assert_eq!((lie.status, &lie.json()["code"]), (422, &json!("hash_mismatch")), "{}", lie.text());
    assert_eq!(daemon.read_back(&third)["f"], blake3_of(b"right"));
}

/// Makes a tar of everything that a version may hold.
fn tree_tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &[u8], bytes: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        let path = std::path::Path::new(std::os::unix::ffi::OsStrExt::from_bytes(path) as &std::ffi::OsStr);
        builder.append_data(&mut header, path, bytes).unwrap();
    };
    add(b"bin/run", b"#!/bin/sh\necho ran\n", 0o755);
    add(b"bin/same bytes", b"#!/bin/sh\necho ran\n", 0o644);
    add(b"data/large", &noise(6, 3 << 20), 0o644);
    add(b"data/empty", b"", 0o600);
    add(b"names/caf\xe9", b"latin", 0o644);
    add("names/Ä".as_bytes(), b"composed", 0o644);
    add("names/A\u{308}".as_bytes(), b"decomposed", 0o644);
    add(b"names/README", b"upper", 0o644);
    add(b"names/readme", b"lower", 0o644);
    for n in 0..300 {
        add(format!("many/{n:03}").as_bytes(), format!("file {n}").as_bytes(), 0o644);
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    builder.append_link(&mut header, "names/link", "../bin/run").unwrap();
    builder.into_inner().unwrap()
}

fn contents(tar: &[u8]) -> Vec<(Vec<u8>, bool, String)> {
    let mut archive = tar::Archive::new(tar);
    let mut found: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.header().entry_type().is_dir())
        .map(|mut entry| {
            let mut bytes = Vec::new();
            let what = match entry.link_name_bytes() {
                Some(target) => format!("-> {}", String::from_utf8_lossy(&target)),
                None => {
                    entry.read_to_end(&mut bytes).unwrap();
                    blake3_of(&bytes)
                }
            };
            let executable = entry.header().mode().unwrap() & 0o100 != 0 && !what.starts_with("->");
            (entry.path_bytes().into_owned(), executable, what)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn a_whole_tree_comes_in_as_one_stream_and_goes_out_as_it_was() {
    let daemon = Daemon::start();
    let dataset = daemon.dataset("trees");
    let tar = tree_tar();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &tar).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    let mut versions: Vec<Version> = Vec::new();
    for body in [tar.clone(), gzip, zstd] {
        let version = daemon.draft(&dataset);
        let taken = daemon.ask("PUT", &format!("/api/v1{}", version.at(".tar"))).body("application/x-tar", body).send();
        assert_eq!(taken.status, 200, "{}\n{}", taken.text(), daemon.log());
        assert_eq!(taken.json()["files"], 310);
        daemon.commit(&version);
        let (status, out) = daemon.get_bytes(&version.at(".tar"), "*/*");
        assert_eq!(status, 200);
        assert_eq!(contents(&out), contents(&tar));
        versions.push(version);
    }
    let diff = daemon.get(&versions[0].at(&format!("/diff?against={}", versions[2].version)));
    assert_eq!(diff.body["items"], json!([]), "all three are the same");
    let (_, part) = daemon.get_bytes(&versions[0].at(".tar?prefix=many/"), "*/*");
    assert_eq!(contents(&part).len(), 300);
    let (status, zip) = daemon.get_bytes(&versions[0].at(".zip"), "*/*");
    let names = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap().len();
    assert_eq!((status, names), (200, 308), "a zip has no links, and no names that are not UTF-8");

    // The same in a container, with what only the kernel knows.
    let look = "cd /inputs/trees && ./bin/run && ls names | wc -l && test ! -x 'bin/same bytes' && cat names/link | head -1 && ls many | wc -l";
    let job = daemon.run_with(&json!([{"ref": versions[1].reference()}]), &json!([]), look);
    assert_eq!(job["state"], "stopped", "{job:#}\n{}", daemon.text_of(job["id"].as_str().unwrap()));
    let said = daemon.text_of(job["id"].as_str().unwrap());
    assert!(said.contains("ran\n6\n#!/bin/sh\n300\n"), "{said}");
}

#[test]
fn a_tree_added_below_a_prefix_joins_what_is_there() {
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("joined"));
    daemon.fill(&version, &[("a/keep", b"keep"), ("a/b/old", b"old")]);
    let tar = tar_of(&[("b/old", "newer"), ("b/c/deep", "deep"), ("top", "top")]);
    let taken =
        daemon.ask("PUT", &format!("/api/v1{}?prefix=a", version.at(".tar"))).body("application/x-tar", tar).send();
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(taken.json()["replacedFiles"], 1);
    daemon.commit(&version);
    let kept = daemon.read_back(&version);
    assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), ["a/b/c/deep", "a/b/old", "a/keep", "a/top"]);
    assert_eq!(kept["a/b/old"], blake3_of(b"newer"));
}

#[test]
fn a_large_file_comes_in_parts_and_goes_on_after_a_break() {
    let mut daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("parts"));
    let bytes = noise(7, 20 << 20);
    let begun = daemon.post(&version.at("/multipart"), &json!({"path": "big.bin"}));
    assert_eq!(begun.status, 201, "{begun:?}");
    let (id, size) = (
        begun.body["id"].as_str().unwrap().to_owned(),
        usize::try_from(begun.body["partBytes"].as_u64().unwrap()).unwrap(),
    );
    let send = |daemon: &Daemon, n: usize, bytes: &[u8]| {
        let path = format!("/api/v1{}/{n}", version.at(&format!("/multipart/{id}")));
        daemon.ask("PUT", &path).body("application/octet-stream", bytes).send()
    };
    let parts: Vec<&[u8]> = bytes.chunks(size.min(6 << 20)).collect();
    // Out of order, one twice, and the daemon killed in between.
    assert_eq!(send(&daemon, 2, parts[1]).status / 100, 2);
    assert_eq!(send(&daemon, 1, b"not yet right").status / 100, 2);
    daemon.kill();
    daemon.restart(&[]);
    assert_eq!(send(&daemon, 1, parts[0]).status / 100, 2);
    let there = daemon.get(&version.at("/multipart"));
    assert_eq!(there.body["items"][0]["parts"].as_array().unwrap().len(), 2, "{there:?}");
    for (n, part) in parts.iter().enumerate().skip(2) {
        assert_eq!(send(&daemon, n + 1, part).status / 100, 2);
    }
    let whole = daemon.post(&version.at(&format!("/multipart/{id}/complete")), &json!({}));
    assert_eq!((whole.status / 100, &whole.body["blake3"]), (2, &json!(blake3_of(&bytes))), "{whole:?}");
    daemon.commit(&version);
    assert_eq!(daemon.read_back(&version)["big.bin"], blake3_of(&bytes));
}

#[test]
fn several_uploaders_fill_one_version_and_one_commit_counts() {
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("crowd"));
    std::thread::scope(|scope| {
        for uploader in 0..8u64 {
            let (daemon, version) = (&daemon, &version);
            scope.spawn(move || {
                for n in 0..25 {
                    // All write the same file, too, and equal bytes under other names.
                    daemon.fill(
                        version,
                        &[(&format!("own/{uploader}/{n}"), &noise(uploader * 100 + n, 2000)), ("same", &noise(n, 10))],
                    );
                }
            });
        }
    });
    std::thread::scope(|scope| {
        let commits: Vec<_> = (0..4).map(|_| scope.spawn(|| daemon.commit(&version))).collect();
        let answers: Vec<Value> = commits.into_iter().map(|commit| commit.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    });
    assert_eq!(daemon.read_back(&version).len(), 201);
    assert_eq!(daemon.count("SELECT count(*) FROM events WHERE kind = 'version' AND change = 'committed'"), 1);
}

#[test]
fn a_signed_url_opens_exactly_what_it_was_made_for() {
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("signed"));
    daemon.fill(&version, &[("a b.txt", b"hello"), ("other", b"other")]);
    let calls = json!({"calls": [
        {"method": "GET", "path": "a b.txt"}, {"method": "PUT", "path": "new"}, {"method": "GET", "path": "a b.txt", "expiresSeconds": 1},
    ]});
    let signed = daemon.post(&version.at("/signed-urls"), &calls);
    assert_eq!(signed.status, 200, "{signed:?}");
    let target = |n: usize| {
        let url = signed.body["urls"][n]["url"].as_str().unwrap();
        url[url.find("/api/").unwrap()..].to_owned()
    };
    let (read, write) = (target(0), target(1));
    let got = daemon.ask_as_nobody("GET", &read).send();
    assert_eq!((got.status, got.text()), (200, "hello".to_owned()), "{}", daemon.log());
    assert_eq!(daemon.ask_as_nobody("PUT", &write).body("text/plain", "by url").send().status / 100, 2);
    assert_eq!(daemon.read_back(&version)["new"], blake3_of(b"by url"));

    // Another method, another key, a changed signature or time.
    let refused = [
        ("PUT", read.clone()),
        ("DELETE", read.clone()),
        ("GET", write.clone()),
        ("GET", read.replace("a%20b.txt", "other")),
        ("GET", read.replace(&version.version, "zzzzzzz")),
        ("GET", read.replace("expires=", "expires=9")),
        ("GET", read[..read.len() - 2].to_owned()),
        ("GET", read.split('?').next().unwrap().to_owned()),
    ];
    for (method, target) in refused {
        let reply = daemon.ask_as_nobody(method, &target).body("text/plain", "x").send();
        assert!([403, 422].contains(&reply.status), "{method} {target}: {} {}", reply.status, reply.text());
    }
    daemon.wait_until("the short one to end", || {
        (daemon.ask_as_nobody("GET", &target(2)).send().status == 403).then_some(())
    });
    // It has the right to nothing more than its maker has, and ends with the version's freedom.
    daemon.commit(&version);
    assert_eq!(daemon.ask_as_nobody("PUT", &write).body("text/plain", "late").send().status, 409);
}
