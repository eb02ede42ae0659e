//! A bare S3 server, `s3s-fs`, which keeps objects as files of a directory of its own.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

pub const KEY: &str = "bench";
pub const SECRET: &str = "bench-secret";

/// The one bucket.
const BUCKET: &str = "bench";

/// A running server. Dropping it ends it and removes its objects.
pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    /// Starts a server that wants every request signed with [`KEY`] and [`SECRET`].
    pub fn start() -> Self {
        Self::with(&["--access-key", KEY, "--secret-key", SECRET])
    }

    /// Starts a server that asks nobody for anything.
    pub fn open() -> Self {
        Self::with(&[])
    }

    fn with(keys: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("gradientd-bench-s3-").tempdir().unwrap();
        fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
        let cache = std::env::var_os("GRADIENTD_CACHE")
            .map_or_else(|| PathBuf::from(home).join(".cache/gradientd"), PathBuf::from);
        let child = Command::new(cache.join("s3s-fs-0.14.1/bin/s3s-fs"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(keys)
            .arg(dir.path())
            // Nobody reads its log, and a line for each request would be measured too.
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, dir, port }
    }

    /// Returns where the bucket's objects lie, by their keys.
    pub fn bucket(&self) -> PathBuf {
        self.dir.path().join(BUCKET)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the URL of the bucket.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{BUCKET}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
