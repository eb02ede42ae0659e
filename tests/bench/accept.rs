//! Jobs accepted from many clients at once, each durable before its answer. The jobs wait: the first
//! takes the whole box and holds it. The floor is what the disk makes durable one after another.

use std::{
    fs::File,
    io::Write,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    daemon::Daemon,
    engine,
    numbers::{Times, millis, per_second},
    table::Table,
};

const CLIENTS: usize = 32;
const LASTING: Duration = Duration::from_secs(5);

pub fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let whole_box = largest_machine_type(&daemon);
    let job = |command: &str| json!({"image": engine::IMAGE, "command": command, "machineType": whole_box}).to_string();
    let blocker = daemon.connect().json("POST", "/api/v1/jobs", &job("sleep 3600"));
    wait_until_running(&daemon, blocker["id"].as_str().unwrap());

    let together = Arc::new(Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut api, body, together) = (daemon.connect(), job("true"), together.clone());
            thread::spawn(move || {
                together.wait();
                let until = Instant::now() + LASTING;
                let mut times = Vec::new();
                while Instant::now() < until {
                    let began = Instant::now();
                    api.json("POST", "/api/v1/jobs", &body);
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    together.wait();
    let began = Instant::now();
    let times: Vec<Duration> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let (count, took) = (times.len(), began.elapsed());
    let times = Times::new(times);
    table.row(
        "durable POST /jobs, 32 clients",
        format!("{}, p99 {}", per_second(count, took), millis(times.percentile(99))),
        format!("fdatasync of 4 KiB {}", syncs(&daemon)),
        "1,500/s",
    );
}

fn largest_machine_type(daemon: &Daemon) -> String {
    let types = daemon.connect().json("GET", "/api/v1/machine-types", "");
    let largest = types["items"]
        .as_array()
        .unwrap()
        .iter()
        .max_by_key(|each| (each["cpuMillis"].as_u64(), each["memoryBytes"].as_u64()));
    largest.unwrap()["name"].as_str().unwrap().to_owned()
}

fn wait_until_running(daemon: &Daemon, id: &str) {
    let mut api = daemon.connect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let job = api.json("GET", &format!("/api/v1/jobs/{id}"), "");
        match job["state"].as_str() {
            Some("running") => return,
            Some("pending" | "provisioned") => thread::sleep(Duration::from_millis(20)),
            _ => panic!("the job that should hold the box ended: {job}"),
        }
    }
    panic!("the job that should hold the box does not start");
}

/// Measures how often a second this disk makes a page durable for one that waits for each.
fn syncs(daemon: &Daemon) -> String {
    let mut file = File::create(daemon.path().join("bench.sync")).unwrap();
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    per_second(count, began.elapsed())
}
