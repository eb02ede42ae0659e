//! An S3 server of a test's own, on loopback, ended with its value.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use gradientd::{
    domain::storage_provider::S3Place,
    storage::s3::{Reach, S3Bucket},
};

pub const KEY: &str = "gradient-test";
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const BUCKET: &str = "files";

/// As patient as a test is.
pub const REACH: Reach = Reach {
    silence: Duration::from_secs(2),
    again: 2,
    pause: Duration::from_millis(5),
    keep_on: Duration::from_secs(20),
    local: true,
};

pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(BUCKET)).unwrap();
        // Another process may take the port between; then this one dies at once.
        for _ in 0..10 {
            let port = free_port();
            let mut child = Command::new(binary())
                .args([dir.path().to_str().unwrap(), "--host", "127.0.0.1", "--port", &port.to_string()])
                .args(["--access-key", KEY, "--secret-key", SECRET])
                .env("RUST_LOG", "off")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let end = Instant::now() + Duration::from_secs(30);
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, dir, port };
                }
                assert!(Instant::now() < end, "the S3 server does not come up");
                std::thread::yield_now();
            }
        }
        panic!("the S3 server ends at once");
    }

    pub fn bucket(&self) -> S3Bucket {
        S3Bucket::open(&place(self.port), SECRET, REACH).unwrap()
    }

    /// Returns the file that an object is, to act behind the daemon's back.
    pub fn object(&self, key: &str) -> PathBuf {
        self.dir.path().join(BUCKET).join(key)
    }

    /// Returns the files that the server keeps of uploads in parts which are not over.
    pub fn parts(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".upload")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn place(port: u16) -> S3Place {
    S3Place {
        bucket: BUCKET.to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: "us-east-1".to_owned(),
        path_style: true,
        access_key_id: KEY.to_owned(),
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn binary() -> PathBuf {
    let cache = std::env::var_os("GRADIENTD_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/gradientd"),
        PathBuf::from,
    );
    let path = cache.join("s3s-fs-0.14.1/bin/s3s-fs");
    assert!(path.exists(), "{} is not there: run tests/env/start-s3 --binary", path.display());
    path
}
