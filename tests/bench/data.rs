//! Datasets for measuring: trees of known shape, and the calls that bring them in.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{daemon::Daemon, http::Connection};

/// Bytes that do not compress, different for each seed.
pub fn noise(seed: u64) -> impl Read {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()
}

/// Writes `count` files of `bytes` each below `dir`, a hundred to a directory.
pub fn tree(dir: &Path, count: u64, bytes: u64) {
    for n in 0..count {
        let path = dir.join(name(n));
        if n % 100 == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        std::io::copy(&mut noise(n).take(bytes), &mut File::create(path).unwrap()).unwrap();
    }
}

/// Returns where the `n`th file of a tree is.
pub fn name(n: u64) -> String {
    format!("{:04}/{n:07}", n / 100)
}

/// Packs a directory into one tar beside it.
pub fn tar(dir: &Path) -> PathBuf {
    let path = dir.with_extension("tar");
    let done = Command::new("tar").arg("-cf").arg(&path).arg("-C").arg(dir).arg(".").status().unwrap();
    assert!(done.success());
    path
}

/// Measures `work` with nothing of before still under way to the disk.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    Command::new("sync").status().unwrap();
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

/// A dataset's version by its address in the API.
pub struct Version(pub String);

pub fn dataset(api: &mut Connection, name: &str, provider: Option<&str>) -> String {
    let body = json!({"name": name, "storageProvider": provider}).to_string();
    api.json("POST", "/api/v1/datasets", &body)["id"].as_str().unwrap().to_owned()
}

pub fn draft(api: &mut Connection, dataset: &str, parent: Option<&str>) -> Version {
    let body = json!({"parent": parent}).to_string();
    let made = api.json("POST", &format!("/api/v1/datasets/{dataset}/versions"), &body);
    Version(format!("/api/v1/datasets/{dataset}/versions/{}", made["version"].as_str().unwrap()))
}

impl Version {
    pub fn id(&self) -> &str {
        self.0.rsplit('/').next().unwrap()
    }

    pub fn commit(&self, api: &mut Connection) {
        assert_eq!(api.json("POST", &format!("{}/commit", self.0), "{}")["state"], "committed");
    }

    pub fn put_tar(&self, api: &mut Connection, tar: &Path) {
        let file = File::open(tar).unwrap();
        let length = file.metadata().unwrap().len();
        let answer = api.put(&format!("{}.tar", self.0), length, file);
        let status = answer.status;
        assert_eq!(status, 200, "{}", answer.text());
    }

    pub fn put_file(&self, api: &mut Connection, path: &str, from: &Path) {
        let file = File::open(from).unwrap();
        let length = file.metadata().unwrap().len();
        let answer = api.put(&format!("{}/files/{path}", self.0), length, file);
        let status = answer.status;
        let text = answer.text();
        assert!(status / 100 == 2, "{status} {text}");
    }

    /// Puts the files of a tree from `clients` at once.
    pub fn put_tree(&self, daemon: &Daemon, dir: &Path, names: &[String], clients: usize) {
        std::thread::scope(|scope| {
            for part in names.chunks(names.len().div_ceil(clients)) {
                scope.spawn(move || {
                    let mut api = daemon.connect();
                    for name in part {
                        self.put_file(&mut api, name, &dir.join(name));
                    }
                });
            }
        });
    }
}

/// Returns how many bytes stand on the disk below `dir`, each file once.
pub fn stored(dir: &Path) -> u64 {
    let told = Command::new("du").args(["-s", "--block-size=1"]).arg(dir).output().unwrap();
    String::from_utf8(told.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

pub fn mib_per_second(bytes: u64, time: Duration) -> String {
    format!("{:.0} MiB/s", bytes as f64 / time.as_secs_f64() / f64::from(1 << 20))
}
