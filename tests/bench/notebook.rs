//! A notebook from `POST …/start` to the first answer of its JupyterLab through the proxy, beside the same
//! image started by `docker run` and asked directly. Both are measured in turns.

use std::{
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    daemon::Daemon,
    engine,
    numbers::Times,
    proxy::{Client, Way, address_in},
    table::Table,
};

const IMAGE: &str = "gradient-test/jupyter";
const PORT: u16 = 8888;
const ROUNDS: usize = 5;
const LABEL: &str = "gradientd.bench=notebook";
const PATIENCE: Duration = Duration::from_secs(120);

pub fn measure(table: &mut Table) {
    if !Command::new("docker").args(["image", "inspect", IMAGE]).output().unwrap().status.success() {
        println!("notebook: there is no {IMAGE}: tests/env/make-images jupyter");
        return;
    }
    let daemon = Daemon::start();
    let mut api = daemon.connect();
    let body = json!({"name": "bench", "image": IMAGE, "machineType": "cpu-max", "start": false}).to_string();
    let id = api.json("POST", "/api/v1/notebooks", &body)["id"].as_str().unwrap().to_owned();
    let way =
        Way { name: "notebook", address: daemon.workload_address().to_owned(), headers: daemon.workload_headers(&id) };
    let (mut notebooks, mut floors) = (Vec::new(), Vec::new());
    // The first of each warms caches and makes the network.
    for round in 0..=ROUNDS {
        let began = Instant::now();
        api.json("POST", &format!("/api/v1/notebooks/{id}/start"), "");
        wait(&way, &format!("/w/{id}/api"), began);
        let notebook = began.elapsed();
        api.json("POST", &format!("/api/v1/notebooks/{id}/stop"), "");
        wait_until_over(&daemon, &id);
        let floor = container();
        if round > 0 {
            notebooks.push(notebook);
            floors.push(floor);
        }
    }
    let (notebooks, floors) = (Times::new(notebooks), Times::new(floors));
    let ratio = notebooks.median().as_secs_f64() / floors.median().as_secs_f64();
    table.row(
        "notebook, start to Jupyter's first 200",
        format!("{}, {ratio:.2} x", notebooks.spread()),
        format!("docker run, asked directly {}", floors.spread()),
        "-",
    );
}

fn container() -> Duration {
    let began = Instant::now();
    let command = ["jupyter", "lab", "--allow-root", "--no-browser", "--ip=0.0.0.0"];
    let run = ["run", "--detach", "--label", LABEL, IMAGE];
    let started = Command::new("docker").args(run).args(command).output().unwrap();
    let id = String::from_utf8(started.stdout).unwrap();
    let address = format!("{}:{PORT}", address_in(id.trim()));
    wait(&Way { name: "docker run", address, headers: "Host: localhost\r\n".to_owned() }, "/api", began);
    let took = began.elapsed();
    engine::remove_labelled(LABEL);
    took
}

/// Asks until the answer is 200.
fn wait(way: &Way, path: &str, began: Instant) {
    while !TcpStream::connect(&way.address).is_ok_and(|_| Client::connect(way).get(path) == 200) {
        assert!(began.elapsed() < PATIENCE, "{} does not answer", way.name);
        thread::sleep(Duration::from_millis(10));
    }
}

fn wait_until_over(daemon: &Daemon, id: &str) {
    let (mut api, began) = (daemon.connect(), Instant::now());
    while api.json("GET", &format!("/api/v1/notebooks/{id}"), "")["state"] != "stopped" {
        assert!(began.elapsed() < PATIENCE, "the notebook does not stop");
        thread::sleep(Duration::from_millis(50));
    }
}
