//! Datasets as a client meets them: made, filled, committed, listed, read back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon},
    wire::Reply,
};

/// A version of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub dataset: String,
    pub version: String,
}

impl Version {
    /// Returns its address in the API, with `rest` behind it.
    pub fn at(&self, rest: &str) -> String {
        format!("/datasets/{}/versions/{}{rest}", self.dataset, self.version)
    }

    /// Returns the address of one file.
    pub fn file(&self, path: &str) -> String {
        self.at(&format!("/files/{}", encoded(path.as_bytes())))
    }

    pub fn reference(&self) -> String {
        format!("{}:{}", self.dataset, self.version)
    }
}

/// Escapes everything in a path but what is plain.
pub fn encoded(path: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    path.iter().map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Bytes that compress badly and differ by `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

impl Daemon {
    /// Makes a dataset on the disk of the box and returns its id.
    pub fn dataset(&self, name: &str) -> String {
        let made = self.post("/datasets", &json!({"name": name}));
        assert_eq!(made.status, 201, "{made:?}\n{}", self.log());
        made.body["id"].as_str().unwrap().to_owned()
    }

    /// Makes an empty version.
    pub fn draft(&self, dataset: &str) -> Version {
        self.draft_with(dataset, &json!({}))
    }

    pub fn draft_with(&self, dataset: &str, body: &Value) -> Version {
        let made = self.post(&format!("/datasets/{dataset}/versions"), body);
        assert_eq!(made.status, 201, "{made:?}\n{}", self.log());
        let version = made.body["version"].as_str().unwrap().to_owned();
        Version { dataset: made.body["dataset"]["id"].as_str().unwrap().to_owned(), version }
    }

    /// Sends one file, whatever comes of it.
    pub fn put_file(&self, version: &Version, path: &str, bytes: &[u8]) -> Reply {
        self.ask("PUT", &format!("/api/v1{}", version.file(path))).body("application/octet-stream", bytes).send()
    }

    /// Sends files that are taken.
    pub fn fill(&self, version: &Version, files: &[(&str, &[u8])]) {
        for (path, bytes) in files {
            let reply = self.put_file(version, path, bytes);
            assert!([200, 201].contains(&reply.status), "{path}: {} {}\n{}", reply.status, reply.text(), self.log());
            assert_eq!(reply.json()["blake3"], blake3_of(bytes), "{path}");
        }
    }

    pub fn commit(&self, version: &Version) -> Value {
        let committed = self.post(&version.at("/commit"), &json!({}));
        assert_eq!(committed.status, 200, "{committed:?}\n{}", self.log());
        assert_eq!(committed.body["state"], "committed");
        committed.body
    }

    /// Makes a dataset with one committed version.
    pub fn filled(&self, name: &str, files: &[(&str, &[u8])]) -> Version {
        let version = self.draft(&self.dataset(name));
        self.fill(&version, files);
        self.commit(&version);
        version
    }

    pub fn version(&self, version: &Version) -> Value {
        let found = self.get(&version.at(""));
        assert_eq!(found.status, 200, "{found:?}");
        found.body
    }

    /// Lists all files of a version, page by page: path → what is said of it.
    pub fn files(&self, version: &Version) -> BTreeMap<String, Value> {
        self.list(&version.at("/files?recursive=true&limit=100"))
            .into_iter()
            .map(|file| (file["path"].as_str().unwrap().to_owned(), file))
            .collect()
    }

    /// Lists all of a list.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{cursor}"));
            assert_eq!(page.status, 200, "{page:?}\n{}", self.log());
            items.extend(page.body["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page.body["next"].as_str() else { return items };
            cursor = format!("&cursor={next}");
        }
    }

    /// Reads every file of a version back and compares it with the hash that it is listed with.
    /// Returns path → hash.
    pub fn read_back(&self, version: &Version) -> BTreeMap<String, String> {
        let files = self.files(version);
        for (path, file) in files.iter().filter(|(_, file)| file["kind"] == "file") {
            let (status, bytes) = self.get_bytes(&version.file(path), "*/*");
            assert_eq!(status, 200, "{path}");
            assert_eq!(file["blake3"], blake3_of(&bytes), "{path} is not what it is listed as");
            assert_eq!(file["bytes"], bytes.len(), "{path}");
        }
        files.into_iter().map(|(path, file)| (path, file["blake3"].as_str().unwrap_or("").to_owned())).collect()
    }

    /// Runs a command with versions mounted and returns the job when it has ended and is tidied.
    pub fn run_with(&self, datasets: &Value, outputs: &Value, command: &str) -> Value {
        let id = self.submit(&json!({"image": BUSYBOX, "command": command, "datasets": datasets, "outputs": outputs}));
        self.wait_for(&id, "its teardown", |job| job["teardownFinishedAt"].is_string())
    }
}
