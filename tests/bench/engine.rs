//! The floor: the engine's own API, asked as directly as can be.

use std::process::{Command, Stdio};

use serde_json::json;

use super::http::Connection;

pub const IMAGE: &str = "gradient-test/busybox";
const SOCKET: &str = "/var/run/docker.sock";

/// Opens a connection to the engine, kept between calls as the daemon keeps its own.
pub fn connect() -> Connection {
    Connection::unix(SOCKET)
}

/// Creates a container that runs `command`, starts it and waits for its end. Returns its id.
pub fn run_to_end(engine: &mut Connection, command: &str) -> String {
    let id = create(engine, command);
    engine.json("POST", &format!("/containers/{id}/start"), "");
    engine.json("POST", &format!("/containers/{id}/wait"), "");
    id
}

/// Creates a container that runs `command` in a shell.
pub fn create(engine: &mut Connection, command: &str) -> String {
    let body = json!({"Image": IMAGE, "Cmd": ["/bin/sh", "-c", command]}).to_string();
    engine.json("POST", "/containers/create", &body)["Id"].as_str().unwrap().to_owned()
}

pub fn remove(engine: &mut Connection, id: &str) {
    engine.json("DELETE", &format!("/containers/{id}?force=true"), "");
}

/// Removes the containers and networks that carry `label`.
pub fn remove_labelled(label: &str) {
    let filter = format!("label={label}");
    remove_found(&["ps", "--all", "--quiet", "--filter", &filter], &["rm", "--force"]);
    remove_found(&["network", "ls", "--quiet", "--filter", &filter], &["network", "rm"]);
}

fn remove_found(list: &[&str], remove: &[&str]) {
    let found = String::from_utf8(Command::new("docker").args(list).output().unwrap().stdout).unwrap();
    if !found.trim().is_empty() {
        let done = Command::new("docker").args(remove).args(found.split_whitespace()).stdout(Stdio::null()).status();
        assert!(done.unwrap().success(), "docker {remove:?} failed");
    }
}
