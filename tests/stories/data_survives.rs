//! The daemon is killed while data comes in, is frozen, or is cleared away. No half version is ever
//! visible as committed, no content is lost or left for ever, and repeating the step completes it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, tar_of},
    data::{Version, blake3_of, noise},
    s3::S3,
    survive_faults::{OF_DATA, points as points_of_source},
};

/// Reads the points from the source, so that a new one cannot be forgotten.
fn points() -> Vec<String> {
    let of_data = |point: &String| OF_DATA.iter().any(|kind| point.starts_with(kind));
    points_of_source().into_iter().filter(of_data).collect()
}

/// Points that the way below does not pass, each with the reason.
const ELSEWHERE: [(&str, &str); 8] = [
    ("dataset.mend.replaced", "is passed when a damaged file was sent again, and none is damaged"),
    ("fsck.mended", "the same"),
    ("fsck.noted", "is passed when a file is damaged, and none is"),
    ("gc.parts-found", "is passed when an upload to a bucket was broken off: see s3_leftovers"),
    ("gc.unmade-removed", "is passed when a version was never made: see s3_leftovers"),
    ("s3.parts-forgotten", "is passed when an upload to a bucket is called off, and none is"),
    ("s3.objects-removed", "is passed when a version is discarded that could not be begun"),
    ("s3.object-hashed", "is passed for files that others put into the bucket, and nobody does"),
];

/// Points that only versions in a bucket pass. The last two need the copy of an earlier version, which is
/// removed for a later one's.
fn place_in_buckets(fault: &str) -> Option<u8> {
    match fault {
        "dataset.copy.aside" | "input.evicted" => Some(1),
        _ => (fault.starts_with("s3.") || fault.starts_with("input.")).then_some(0),
    }
}

/// What a person does with data, each step repeated until it was answered.
struct Person<'a> {
    daemon: &'a mut Daemon,
    deaths: u32,
}

impl Person<'_> {
    /// Does `step` again and again until the daemon lives through it.
    fn insist<T>(&mut self, what: &str, step: impl Fn(&Daemon) -> Option<T>) -> T {
        loop {
            if let Some(done) = step(self.daemon) {
                return done;
            }
            self.daemon.wait_until_dead();
            self.deaths += 1;
            assert!(self.deaths < 20, "{what}: the daemon dies again and again:\n{}", self.daemon.log());
            self.daemon.restart(&[]);
        }
    }

    fn send(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Value {
        self.insist(path, |daemon| {
            let answer = daemon.try_send(method, path, kind, body)?;
            assert!(answer.0 / 100 == 2, "{method} {path}: {answer:?}\n{}", daemon.log());
            Some(answer.1)
        })
    }

    fn json(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.send(method, path, "application/json", body.to_string().as_bytes())
    }
}

/// Bytes of the large file; more than is sent to a bucket in one piece.
const LARGE: usize = 9 << 20;

/// The files that the way below puts, by every way there is.
fn expected(large: &[u8], name: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = [
        ("single".to_owned(), blake3_of(b"single")),
        ("large".to_owned(), blake3_of(large)),
        ("tree/a".to_owned(), blake3_of(b"aaa")),
        ("tree/b/c".to_owned(), blake3_of(b"ccc")),
        ("parts".to_owned(), blake3_of(b"part one, part two")),
        ("known".to_owned(), blake3_of(b"single")),
    ]
    .into();
    files.insert("empty".to_owned(), blake3_of(b""));
    files.insert("own".to_owned(), blake3_of(name.as_bytes()));
    files.insert("bucket/object".to_owned(), blake3_of(b"object"));
    files.insert("imported/one".to_owned(), blake3_of(b"one"));
    files.insert("imported/deep/two".to_owned(), blake3_of(b"two"));
    files
}

fn way_of_data(person: &mut Person<'_>, name: &str, on_s3: bool, source: &Path) -> (Version, Version) {
    let large = noise(1, LARGE);
    // A name may be taken by the step that was killed after it was done.
    let dataset = person.insist("dataset", |daemon| {
        let provider = if on_s3 { "bucket" } else { "Gradient Managed" };
        let body = json!({"name": name, "storageProvider": provider}).to_string();
        let (status, body) = daemon.try_send("POST", "/datasets", "application/json", body.as_bytes())?;
        let body = if status == 409 { daemon.try_send("GET", &format!("/datasets/{name}"), "", b"")?.1 } else { body };
        Some(body["id"].as_str().unwrap().to_owned())
    });
    let made = person.json("POST", &format!("/datasets/{dataset}/versions"), &json!({}));
    let version = Version { dataset: dataset.clone(), version: made["version"].as_str().unwrap().to_owned() };
    person.send("PUT", &version.file("single"), "application/octet-stream", b"single");
    // Stored nowhere else, so that a copy from a bucket has to fetch it.
    person.send("PUT", &version.file("own"), "application/octet-stream", name.as_bytes());
    person.send("PUT", &version.file("large"), "application/octet-stream", b"replaced by the next");
    person.send("PUT", &version.file("large"), "application/octet-stream", &large);
    person.send("PUT", &version.file("empty"), "application/octet-stream", b"");
    person.send("PUT", &version.at(".tar?prefix=tree"), "application/x-tar", &tar_of(&[("a", "aaa"), ("b/c", "ccc")]));
    if on_s3 {
        person.send("PUT", &version.file("parts"), "application/octet-stream", b"part one, part two");
        person.send("PUT", &version.file("known"), "application/octet-stream", b"single");
    } else {
        let upload = person.json("POST", &version.at("/multipart"), &json!({"path": "parts"}));
        let upload = version.at(&format!("/multipart/{}", upload["id"].as_str().unwrap()));
        person.send("PUT", &format!("{upload}/1"), "application/octet-stream", b"part one, ");
        person.send("PUT", &format!("{upload}/2"), "application/octet-stream", b"part two");
        // Completed before the kill, it is not known any more; then its file is there.
        person.insist("complete", |daemon| {
            let (status, _) = daemon.try_send("POST", &format!("{upload}/complete"), "application/json", b"{}")?;
            assert!(status / 100 == 2 || status == 404, "{status}");
            Some(())
        });
        let known = json!({"files": [{"path": "known", "blake3": blake3_of(b"single")}]});
        assert_eq!(person.json("POST", &version.at("/known"), &known)["missing"], json!([]));
    }
    let sources = [
        json!({"directory": source, "prefix": "imported"}),
        json!({"s3": {"provider": "bucket", "prefix": "source/"}, "prefix": "bucket"}),
    ];
    for source in sources {
        let import = person.json("POST", &version.at("/imports"), &source);
        person.insist("the end of the import", |daemon| {
            loop {
                let path = format!("/imports/{}", import["id"].as_str().unwrap());
                let (_, body) = daemon.try_send("GET", &path, "", b"")?;
                if body["finishedAt"].is_string() {
                    assert_eq!(body["state"], "done", "{body:#}");
                    return Some(());
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
    }
    let committed = person.json("POST", &version.at("/commit"), &json!({}));
    assert_eq!((&committed["state"], &committed["files"]), (&json!("committed"), &json!(11)), "{committed:#}");

    let made = person.json("POST", &format!("/datasets/{dataset}/versions"), &json!({"parent": version.version}));
    let child = Version { dataset, version: made["version"].as_str().unwrap().to_owned() };
    person.insist("delete", |daemon| {
        let (status, _) = daemon.try_send("DELETE", &child.file("tree"), "", b"")?;
        assert!(status / 100 == 2 || status == 404, "{status}");
        Some(())
    });
    person.json("POST", &child.at("/commit"), &json!({}));
    (version, child)
}

/// Holds every committed version to its manifest, and the disk to what is known.
fn assert_whole(daemon: &Daemon, versions: &[(&Version, BTreeMap<String, String>)], what: &str) {
    for (version, files) in versions {
        assert_eq!(&daemon.read_back(version), files, "{what}");
    }
    let checked = daemon.run(&["fsck", "--percent", "100", "--rate", "1GiB"]);
    assert!(checked.status.success(), "{what}: {checked:?}");
    assert_eq!(daemon.count("SELECT count(*) FROM versions WHERE state = 'committed' AND files IS NULL"), 0, "{what}");
}

#[test]
fn data_is_whole_wherever_the_daemon_is_killed() {
    let mut faults = points();
    assert!(faults.len() >= 6, "{faults:?}");
    assert!(ELSEWHERE.iter().all(|(name, _)| faults.iter().any(|point| point == name)), "{faults:?}");
    faults.retain(|point| ELSEWHERE.iter().all(|(name, _)| name != point));
    // Commits of the database on the way, too.
    faults.extend((1..=8).flat_map(|n| [format!("store.commit.before:{n}"), format!("store.commit.after:{n}")]));
    faults.sort_by_key(|fault| place_in_buckets(fault));
    let source = tempfile::tempdir().unwrap();
    std::fs::create_dir(source.path().join("deep")).unwrap();
    std::fs::write(source.path().join("one"), "one").unwrap();
    std::fs::write(source.path().join("deep/two"), "two").unwrap();
    let dirs = format!("[{:?}]", source.path().display().to_string());
    let settings = [
        ("GRADIENTD_STORAGE__GC_GRACE", "1s"),
        ("GRADIENTD_STORAGE__IMPORT_DIRS", &*dirs),
        // So that each copy from the bucket has the one before removed.
        ("GRADIENTD_STORAGE__CACHE", "1MiB"),
    ];
    let mut daemon = Daemon::start_with(&settings);
    let s3 = S3::start();
    std::fs::create_dir(s3.bucket().join("source")).unwrap();
    std::fs::write(s3.bucket().join("source/object"), "object").unwrap();
    assert_eq!(daemon.post("/storage-providers", &s3.provider("bucket")).status, 201);
    for (n, fault) in faults.iter().enumerate() {
        let on_s3 = place_in_buckets(fault).is_some();
        let name = format!("data-{n}");
        let struck = daemon.restart_maybe(&[("GRADIENTD_FAULT", fault)]);
        let mut person = Person { daemon: &mut daemon, deaths: u32::from(struck) };
        let (version, child) = way_of_data(&mut person, &name, on_s3, source.path());
        // What only a cleaning and a run pass.
        let gone = person.json("POST", &format!("/datasets/{name}/versions"), &json!({}));
        let gone = Version { dataset: name.clone(), version: gone["version"].as_str().unwrap().to_owned() };
        person.send("PUT", &gone.file("gone"), "application/octet-stream", b"gone with its version");
        person.insist("delete a version", |daemon| {
            let (status, _) = daemon.try_send("DELETE", &gone.at(""), "", b"")?;
            assert!(status / 100 == 2 || status == 404, "{status}");
            Some(())
        });
        person.json("POST", "/storage/gc", &json!({"dryRun": false, "graceSeconds": 0}));
        let job = person.insist("a job with an output", |daemon| {
            let body = json!({"image": BUSYBOX, "datasets": [{"ref": child.reference(), "name": "in"}], "outputs": [{"ref": name, "name": "out"}],
                "command": "mkdir /outputs/out/d && cp /inputs/in/large /outputs/out/d/copy && echo new > /outputs/out/new"});
            let answer = daemon.offer("/jobs", &format!("job-{n}"), &body)?;
            assert_eq!(answer.status / 100, 2, "{answer:?}");
            Some(answer.body["id"].as_str().unwrap().to_owned())
        });
        let ended = person.insist("the end of the job", |daemon| {
            loop {
                let (_, body) = daemon.try_send("GET", &format!("/jobs/{job}"), "", b"")?;
                if body["teardownFinishedAt"].is_string() {
                    return Some(body);
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let deaths = person.deaths;
        assert_eq!(ended["state"], "stopped", "{fault}: {ended:#}\n{}", daemon.log());
        assert_eq!(ended["outputs"][0]["state"], "committed", "{fault}: {ended:#}\n{}", daemon.log());
        let output = Version {
            dataset: version.dataset.clone(),
            version: ended["outputs"][0]["version"].as_str().unwrap().to_owned(),
        };
        eprintln!("{fault}: died {deaths} times");
        assert!(deaths > 0 || fault.starts_with("store."), "{fault} is never passed: say so in ELSEWHERE");
        let files = expected(&noise(1, LARGE), &name);
        let mut without = files.clone();
        without.retain(|path, _| !path.starts_with("tree/"));
        let of_run: BTreeMap<String, String> =
            [("d/copy".to_owned(), files["large"].clone()), ("new".to_owned(), blake3_of(b"new\n"))].into();
        assert_whole(&daemon, &[(&version, files), (&child, without), (&output, of_run)], fault);
    }
    // All that was made goes again, and nothing is left for ever.
    for dataset in daemon.list("/datasets?limit=500") {
        assert_eq!(daemon.delete(&format!("/datasets/{}?force=true", dataset["id"].as_str().unwrap())).status, 204);
    }
    daemon.restart(&[]);
    daemon.post("/storage/gc", &json!({"dryRun": false, "graceSeconds": 0}));
    let left = |name: &str, links: &[&str]| {
        let mut find = std::process::Command::new("find");
        find.arg(daemon.data().join("teams")).args(["-type", "f", "-path", name]).args(links);
        String::from_utf8(find.output().unwrap().stdout).unwrap()
    };
    assert_eq!(left("*/blobs/*", &["-links", "1"]), "", "contents that nothing links");
    // What was begun and never had a row is kept for a week, in case a database was put back.
    for file in left("*/datasets/*", &[]).lines() {
        let (datasets, rest) = file.split_once("/datasets/").unwrap();
        let version: Vec<&str> = rest.split('/').take(2).collect();
        let marker = format!("{datasets}/datasets/{}/unknown", version.join("/"));
        assert!(std::path::Path::new(&marker).exists(), "left behind: {file}");
    }
}

#[test]
fn data_is_whole_after_kills_at_random() {
    let mut daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__GC_GRACE", "1s")]);
    let dataset = daemon.dataset("storm");
    let mut done: Vec<(Version, BTreeMap<String, String>)> = Vec::new();
    for round in 0..8u64 {
        let over = AtomicBool::new(false);
        let made: Vec<(Version, BTreeMap<String, String>)> = std::thread::scope(|scope| {
            let uploaders: Vec<_> = (0..3u64)
                .map(|uploader| {
                    let (daemon, dataset, over) = (&daemon, &dataset, &over);
                    scope.spawn(move || {
                        let mut committed = Vec::new();
                        let mut n = round * 1000 + uploader * 100;
                        while !over.load(Ordering::Relaxed) {
                            n += 1;
                            let Some(files) = one_version(daemon, dataset, n) else { break };
                            committed.push(files);
                        }
                        committed
                    })
                })
                .collect();
            let mut waits = [0u8; 2];
            blake3::Hasher::new().update(&round.to_le_bytes()).finalize_xof().fill(&mut waits);
            std::thread::park_timeout(Duration::from_millis(200 + u64::from(u16::from_le_bytes(waits)) % 900));
            kill_hard(daemon.pid());
            over.store(true, Ordering::Relaxed);
            uploaders.into_iter().flat_map(|uploader| uploader.join().unwrap()).collect()
        });
        daemon.wait_until_dead();
        daemon.restart(&[]);
        done.extend(made);
        daemon.post("/storage/gc", &json!({"dryRun": false, "graceSeconds": 0}));
    }
    assert!(done.len() >= 8, "only {} versions came about", done.len());
    // Every version that was acknowledged is there whole; every one that is there is whole.
    let listed: Vec<String> = daemon
        .list(&format!("/datasets/{dataset}/versions?state=committed&limit=500"))
        .iter()
        .map(|version| version["version"].as_str().unwrap().to_owned())
        .collect();
    for (version, files) in &done {
        assert!(listed.contains(&version.version));
        assert_eq!(&daemon.read_back(version), files);
    }
    for id in listed {
        let version = Version { dataset: dataset.clone(), version: id };
        assert_eq!(daemon.read_back(&version).len() as u64, daemon.version(&version)["files"].as_u64().unwrap());
    }
    let checked = daemon.run(&["fsck", "--percent", "100", "--rate", "1GiB"]);
    assert!(checked.status.success(), "{checked:?}");
}

fn kill_hard(pid: u32) {
    std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
}

/// Makes one version on a daemon that may die; returns it with its files once its commit was answered.
fn one_version(daemon: &Daemon, dataset: &str, seed: u64) -> Option<(Version, BTreeMap<String, String>)> {
    let send = |method: &str, path: &str, kind: &str, body: &[u8]| {
        let (status, answer) = daemon.try_send(method, path, kind, body)?;
        assert!(status / 100 == 2, "{method} {path}: {status} {answer}");
        Some(answer)
    };
    let made = send("POST", &format!("/datasets/{dataset}/versions"), "application/json", b"{}")?;
    let version = Version { dataset: dataset.to_owned(), version: made["version"].as_str().unwrap().to_owned() };
    let mut files = BTreeMap::new();
    for n in 0..4 {
        let bytes = noise(seed * 10 + n, usize::try_from(seed % 7 * 40_000).unwrap());
        send("PUT", &version.file(&format!("put/{n}")), "application/octet-stream", &bytes)?;
        files.insert(format!("put/{n}"), blake3_of(&bytes));
    }
    let texts: Vec<(String, String)> = (0..20).map(|n| (format!("t/{n}"), format!("{seed} {}", n % 5))).collect();
    let entries: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    send("PUT", &version.at(".tar"), "application/x-tar", &tar_of(&entries))?;
    files.extend(texts.iter().map(|(path, text)| (path.clone(), blake3_of(text.as_bytes()))));
    send("POST", &version.at("/commit"), "application/json", b"{}")?;
    Some((version, files))
}
