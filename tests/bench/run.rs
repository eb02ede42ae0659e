//! A job from `POST /jobs` to its end as a client learns of it, beside the same container made by
//! hand on the engine's API. Both are measured in turns, so that whatever else the machine does
//! meanwhile falls on both.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{daemon::Daemon, engine, http::Connection, numbers::Times, table::Table};

const ROUNDS: usize = 25;

pub fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let mut engine = engine::connect();
    let ends = follow_ends(daemon.connect());
    let (mut jobs, mut floors) = (Vec::new(), Vec::new());
    // The first of each warms caches and makes the network.
    for round in 0..=ROUNDS {
        let job = one_job(&daemon, &ends);
        let floor = one_container(&mut engine);
        if round > 0 {
            jobs.push(job);
            floors.push(floor);
        }
    }
    let (jobs, floors) = (Times::new(jobs), Times::new(floors));
    let ratio = jobs.median().as_secs_f64() / floors.median().as_secs_f64();
    table.row(
        "job, accepted to exit known",
        format!("{}, {ratio:.2} x", jobs.spread()),
        format!("create+start+wait {}", floors.spread()),
        "1.15 x",
    );
}

fn one_job(daemon: &Daemon, ends: &mpsc::Receiver<(String, Instant)>) -> Duration {
    let mut api = daemon.connect();
    let began = Instant::now();
    let job = api.json("POST", "/api/v1/jobs", &json!({"image": engine::IMAGE, "command": "true"}).to_string());
    let id = job["id"].as_str().unwrap();
    loop {
        let (ended, at) = ends.recv_timeout(Duration::from_secs(60)).expect("the job ends within a minute");
        if ended == id {
            return at - began;
        }
    }
}

fn one_container(engine: &mut Connection) -> Duration {
    let began = Instant::now();
    let id = engine::run_to_end(engine, "true");
    let took = began.elapsed();
    engine::remove(engine, &id);
    took
}

/// Listens to the stream of events and passes on each job's end with the time at which it was heard.
pub fn follow_ends(mut api: Connection) -> mpsc::Receiver<(String, Instant)> {
    let (tell, ends) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        api.send("GET", "/api/v1/events", "text/event-stream", "").pieces(|piece| {
            let at = Instant::now();
            text.push_str(&String::from_utf8_lossy(piece));
            while let Some(end) = text.find('\n') {
                let line: String = text.drain(..=end).collect();
                let Some(event) =
                    line.strip_prefix("data:").and_then(|data| serde_json::from_str::<serde_json::Value>(data).ok())
                else {
                    continue;
                };
                if matches!(event["state"].as_str(), Some("stopped" | "failed" | "error" | "cancelled")) {
                    assert_eq!(event["state"], "stopped", "{event}");
                    if tell.send((event["id"].as_str().unwrap().to_owned(), at)).is_err() {
                        return false;
                    }
                }
            }
            true
        });
    });
    ends
}
