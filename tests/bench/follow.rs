//! Lines from a container to a client that follows, beside `docker logs -f` on the same output. Every
//! line is counted: a fast way that loses some is no way.

use std::{
    io::{BufReader, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{daemon::Daemon, engine, http::Connection, table::Table};

const LINES: usize = 200_000;
/// With the end of the line.
const LINE_BYTES: usize = 200;
const ROUNDS: usize = 3;

pub fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let mut engine = engine::connect();
    // In turns, and the best of each: what is asked is what the way can carry.
    let (mut ours, mut floor) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        ours = ours.min(follow_job(&daemon));
        floor = floor.min(follow_container(&mut engine));
    }
    let rate = |time: Duration| (LINES * LINE_BYTES) as f64 / 1e6 / time.as_secs_f64();
    table.row(
        "log follow, container to client",
        format!("{:.1} MB/s, {:.2} x", rate(ours), rate(ours) / rate(floor)),
        format!("docker logs -f {:.1} MB/s", rate(floor)),
        "0.9 x",
    );
}

/// Writes for so long that the pipeline, not the start of the container, is what is measured.
fn command() -> String {
    format!("yes $(printf %0{}d 7) | head -n {LINES}", LINE_BYTES - 1)
}

/// Returns the time from the first piece of the log to the last.
fn follow_job(daemon: &Daemon) -> Duration {
    let body = json!({"image": engine::IMAGE, "command": command()}).to_string();
    let job = daemon.connect().json("POST", "/api/v1/jobs", &body);
    let path = format!("/api/v1/jobs/{}/logs?start=0", job["id"].as_str().unwrap());
    let (mut first, mut last, mut lines) = (None, Instant::now(), 0);
    let mut tail: Vec<u8> = Vec::new();
    let mut follower: Connection = daemon.connect();
    follower.send("GET", &path, "text/event-stream", "").pieces(|piece| {
        last = Instant::now();
        first.get_or_insert(last);
        tail.extend_from_slice(piece);
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut ended = false;
        for line in tail[..whole].split(|byte| *byte == b'\n') {
            // The job's own lines; the daemon's words about the run are of another stream.
            lines += usize::from(line.starts_with(b"data:") && contains(line, b"\"stdout\""));
            ended |= line.starts_with(b"event: end");
        }
        tail.drain(..whole);
        !ended
    });
    assert_eq!(lines, LINES, "lines were lost or doubled");
    last - first.unwrap()
}

fn contains(line: &[u8], what: &[u8]) -> bool {
    line.windows(what.len()).any(|window| window == what)
}

fn follow_container(engine: &mut Connection) -> Duration {
    let id = engine::create(engine, &command());
    engine.json("POST", &format!("/containers/{id}/start"), "");
    let mut follower = Command::new("docker").args(["logs", "-f", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::with_capacity(1 << 20, follower.stdout.take().unwrap());
    let (mut first, mut last, mut bytes) = (None, Instant::now(), 0);
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = output.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        last = Instant::now();
        first.get_or_insert(last);
        bytes += length;
    }
    follower.wait().unwrap();
    engine::remove(engine, &id);
    assert_eq!(bytes, LINES * LINE_BYTES, "the floor lost lines");
    last - first.unwrap()
}
