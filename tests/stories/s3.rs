//! An S3-compatible server of a test's own, which checks signatures.

use std::{
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, free_port};

pub const BUCKET: &str = "lab";
const KEY: &str = "test-key";
const SECRET: &str = "test-secret-that-nobody-may-see";

/// A running server on a directory of its own, gone with the value.
pub struct S3 {
    dir: tempfile::TempDir,
    host: &'static str,
    port: u16,
    child: Option<Child>,
}

impl S3 {
    pub fn start() -> Self {
        Self::start_on("127.0.0.1")
    }

    /// Starts one that containers reach, too.
    pub fn start_on_all() -> Self {
        Self::start_on("0.0.0.0")
    }

    fn start_on(host: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let mut server = Self { dir, host, port: free_port(), child: None };
        server.resume();
        server
    }

    /// Starts it on the same data and port.
    pub fn resume(&mut self) {
        let cache = std::env::var_os("GRADIENTD_CACHE").map(PathBuf::from).unwrap_or_else(|| {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/gradientd")
        });
        let child = Command::new(cache.join("s3s-fs-0.14.1/bin/s3s-fs"))
            .args(["--host", self.host, "--port", &self.port.to_string(), "--access-key", KEY, "--secret-key", SECRET])
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3s-fs is installed by tests/run");
        self.child = Some(child);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the S3 server does not answer");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint_at("127.0.0.1")
    }

    /// Returns its URL for those who reach this machine at `address`.
    pub fn endpoint_at(&self, address: &str) -> String {
        format!("http://{address}:{}", self.port)
    }

    /// Returns where the server keeps the bucket.
    pub fn bucket(&self) -> PathBuf {
        self.dir.path().join(BUCKET)
    }

    /// Returns everything that the server keeps: files in the bucket, and parts of uploads.
    pub fn kept(&self) -> Vec<String> {
        fn gather(dir: &std::path::Path, kept: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    gather(&path, kept);
                } else {
                    kept.push(path.display().to_string());
                }
            }
        }
        let mut kept = Vec::new();
        gather(&self.bucket(), &mut kept);
        let parts = std::fs::read_dir(self.dir.path()).unwrap();
        let parts = parts.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        kept.extend(parts.filter(|name| name.starts_with(".upload")));
        kept.sort();
        kept
    }

    /// Returns the body that makes a provider of it.
    pub fn provider(&self, name: &str) -> Value {
        json!({
            "name": name, "type": "s3", "bucket": BUCKET, "endpoint": self.endpoint(), "region": "us-east-1",
            "pathStyle": true, "accessKeyId": KEY, "secretAccessKey": SECRET,
        })
    }

    /// Returns what an import needs to read here.
    pub fn inline(&self, prefix: &str) -> Value {
        json!({"s3": {
            "bucket": BUCKET, "endpoint": self.endpoint(), "region": "us-east-1", "accessKeyId": KEY,
            "secretAccessKey": SECRET, "prefix": prefix,
        }})
    }

    /// Returns the body that makes a place of it in a notebook, with its key in the secret `LAB`.
    pub fn source(&self, endpoint: &str, prefix: &str) -> Value {
        json!({
            "type": "s3", "url": format!("s3://{BUCKET}/{prefix}"), "endpoint": endpoint, "accessKeyId": KEY,
            "secretAccessKey": "secret:LAB",
        })
    }

    /// Adds it to a daemon and makes a dataset that lies on it. Returns the dataset's id.
    pub fn dataset(&self, daemon: &Daemon, name: &str) -> String {
        let made = daemon.post("/storage-providers", &self.provider(&format!("{name}-s3")));
        assert_eq!(made.status, 201, "{made:?}\n{}", daemon.log());
        let made = daemon.post("/datasets", &json!({"name": name, "storageProvider": format!("{name}-s3")}));
        assert_eq!(made.status, 201, "{made:?}");
        made.body["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The words that may not be seen anywhere.
pub fn secret() -> &'static str {
    SECRET
}
