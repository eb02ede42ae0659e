//! An image registry of a test's own, on loopback.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use super::rig::{docker, soon};

pub const USER: &str = "somebody";
pub const PASSWORD: &str = "of the many";

/// A registry, ended with its value.
pub struct Registry {
    pub address: String,
    child: Child,
    dir: tempfile::TempDir,
}

impl Registry {
    /// Starts a registry, for anybody or for [`USER`] alone; `None`, loudly, when it is not
    /// installed.
    pub async fn start(private: bool) -> Option<Self> {
        if Command::new("docker-registry").arg("--version").output().is_err() {
            eprintln!("SKIPPED: docker-registry is not installed, so nothing was pulled");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let auth = if private {
            let made = Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output();
            let Ok(made) = made else {
                eprintln!("SKIPPED: htpasswd (apache2-utils) is not installed, so no private image was pulled");
                return None;
            };
            let file = dir.path().join("htpasswd");
            fs::write(&file, made.stdout).unwrap();
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{auth}",
            dir.path().join("data").display()
        );
        let file = dir.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { address, child, dir };
        soon("the registry listens", async {
            while tokio::net::TcpStream::connect(&registry.address).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Some(registry)
    }

    /// Puts an image that exists nowhere else into the registry and takes it from the engine.
    pub fn publish(&self, name: &str, tags: &[&str], marker: &str) {
        // Bytes that do not compress, so that there is something to download.
        let mut bytes = vec![0; 1 << 20];
        blake3::Hasher::new().update(marker.as_bytes()).update(self.address.as_bytes()).finalize_xof().fill(&mut bytes);
        let root = self.dir.path().join(marker);
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), bytes).unwrap();
        let archive = self.dir.path().join(format!("{marker}.tar"));
        let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
        tar.append_dir_all(".", &root).unwrap();
        tar.finish().unwrap();

        let config = self.dir.path().join("client");
        let config = config.to_str().unwrap();
        if self.dir.path().join("htpasswd").exists() {
            docker(&["--config", config, "login", "-u", USER, "-p", PASSWORD, &self.address]);
        }
        let name = format!("{}/{name}", self.address);
        for tag in tags {
            let name = format!("{name}:{tag}");
            docker(&["import", archive.to_str().unwrap(), &name]);
            docker(&["--config", config, "push", "-q", &name]);
            docker(&["rmi", &name]);
        }
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}
