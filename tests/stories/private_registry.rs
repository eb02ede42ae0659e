//! Somebody's image is in a registry that wants to know who asks.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::daemon::{Daemon, docker, free_port};

const USER: &str = "somebody";
const PASSWORD: &str = "of-the-many-4711";

/// A private registry of a test's own, on loopback, with one image in it.
struct Registry {
    dir: tempfile::TempDir,
    address: String,
    child: Child,
}

impl Registry {
    /// Starts it; `None`, loudly, where its programs are not installed.
    fn start(daemon: &Daemon) -> Option<Self> {
        let passwords = Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output();
        let (Ok(passwords), Ok(_)) = (passwords, Command::new("docker-registry").arg("--version").output()) else {
            eprintln!("SKIPPED: docker-registry or htpasswd is not installed, so no private image was pulled");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let file = dir.path().join("htpasswd");
        fs::write(&file, passwords.stdout).unwrap();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n\
             auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            dir.path().join("data").display(),
            file.display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { dir, address, child };
        daemon.wait_until("the registry", || std::net::TcpStream::connect(&registry.address).ok());
        Some(registry)
    }

    /// Puts an image that is nowhere else into the registry and takes it from the engine.
    fn publish(&self, name: &str) -> String {
        let mut bytes = vec![0; 2 << 20];
        // Bytes that do not compress, so that there is something to download.
        blake3::Hasher::new().update(self.address.as_bytes()).finalize_xof().fill(&mut bytes);
        let noise = self.dir.path().join("noise");
        fs::write(&noise, bytes).unwrap();
        fs::write(self.dir.path().join("Dockerfile"), format!("FROM {}\nCOPY noise /noise\n", crate::daemon::BUSYBOX))
            .unwrap();
        let image = format!("{}/{name}", self.address);
        let client = self.dir.path().join("client");
        let client = client.to_str().unwrap();
        docker(&["build", "-q", "-t", &image, self.dir.path().to_str().unwrap()]);
        docker(&["--config", client, "login", "-u", USER, "-p", PASSWORD, &self.address]);
        docker(&["--config", client, "push", "-q", &image]);
        docker(&["rmi", &image]);
        assert_eq!(docker(&["images", "-q", &image]), "", "it is not on the engine any more");
        image
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_private_image_is_pulled_with_the_right_password_and_with_no_other() {
    let daemon = Daemon::start();
    let Some(registry) = Registry::start(&daemon) else { return };
    let image = registry.publish("team/model:1");
    daemon.put("/secrets", &json!({"name": "REGISTRY", "value": PASSWORD}));
    let job = |user: Option<&str>, password: Option<&str>| {
        let mut job = json!({"image": image, "command": "wc -c < /noise"});
        if let (Some(user), Some(password)) = (user, password) {
            job["registryUsername"] = user.into();
            job["registryPassword"] = password.into();
        }
        daemon.submit(&job)
    };
    let refused = [job(None, None), job(Some(USER), Some("a wrong one")), job(Some("nobody"), Some(PASSWORD))];
    for id in &refused {
        let job = daemon.wait_for_end(id);
        assert_eq!((&job["state"], &job["reason"]), (&json!("error"), &json!("registry_unauthorized")), "{job:#}");
        assert!(job["message"].as_str().unwrap().contains("registryPassword"), "{job:#}");
        assert!(!job["message"].as_str().unwrap().contains(PASSWORD));
    }
    let missing = daemon.submit(&json!({
        "image": format!("{}/team/none:1", registry.address), "registryUsername": USER, "registryPassword": PASSWORD,
    }));
    let missing = daemon.wait_for_end(&missing);
    assert_eq!((&missing["state"], &missing["reason"]), (&json!("error"), &json!("image_not_found")), "{missing:#}");

    // What the stream of changes says meanwhile.
    let told = daemon.stream("/events", None);
    let good = job(Some(USER), Some("secret:REGISTRY"));
    let wanted = good.clone();
    let told = std::thread::spawn(move || {
        told.filter_map(|line| {
            line.strip_prefix("data:").map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap())
        })
        .take_while(|event| !(event["id"] == wanted.as_str() && event["state"] == "stopped"))
        .filter(|event| event["id"] == wanted.as_str())
        .collect::<Vec<_>>()
    });
    let ended = daemon.wait_for_end(&good);
    assert_eq!(ended["state"], "stopped", "{ended:#}\n{}", daemon.text_of(&good));
    let text = daemon.text_of(&good);
    assert!(text.contains("2097152\n"), "{text}");
    assert!(text.contains(&format!("pulling image {image}")) && text.contains("pulled"), "{text}");
    assert!(ended["setupStartedAt"].is_string());
    assert_eq!(ended["progress"], serde_json::Value::Null, "it is done");
    let told = told.join().unwrap();
    assert!(told.iter().any(|event| event["change"] == "created"), "{told:?}");

    // A clone can pull again with the password that the box keeps.
    let sealed = job(Some(USER), Some(PASSWORD));
    daemon.wait_for_end(&sealed);
    docker(&["rmi", &image]);
    let clone = daemon.post(&format!("/jobs/{sealed}/clone"), &json!({}));
    let clone = clone.body["id"].as_str().unwrap();
    let cloned = daemon.wait_for_end(clone);
    assert_eq!(cloned["state"], "stopped", "{cloned:#}\n{}", daemon.text_of(clone));
    docker(&["rmi", &image]);
}

#[test]
fn a_tensorboard_runs_a_private_image() {
    let daemon = Daemon::start();
    let Some(registry) = Registry::start(&daemon) else { return };
    let image = registry.publish("team/board:1");
    daemon.put("/secrets", &json!({"name": "REGISTRY", "value": PASSWORD}));
    let over = |board: serde_json::Value| {
        let made = daemon.post("/tensorboards", &board);
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("/tensorboards/{}", made.body["id"].as_str().unwrap());
        let over = daemon.wait_until("its end", || Some(daemon.get(&path).body).filter(|now| now["phase"].is_null()));
        (over["state"].as_str().unwrap().to_owned(), over["message"].as_str().unwrap().to_owned())
    };
    let (state, message) = over(json!({"image": image, "start": true}));
    assert!(state == "error" && message.contains("registryPassword"), "{state}: {message}");
    for password in ["secret:REGISTRY", PASSWORD] {
        let board = json!({"image": image, "registryUsername": USER, "registryPassword": password, "start": true});
        // It has no TensorBoard in it, which only who has pulled it can tell.
        let (state, message) = over(board);
        assert!(state == "failed" && message.contains("127"), "{state}: {message}");
        docker(&["rmi", &image]);
    }
    assert!(!daemon.log().contains(PASSWORD));
}
