//! A job with a version mounted beside one without, for versions of ten files and of a million; and
//! reading through the mount beside reading a plain directory.

use std::{
    io::{Read, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    daemon::Daemon,
    data::{self, Version, mib_per_second},
    engine,
    numbers::{Times, millis},
    run::follow_ends,
    table::Table,
};

const ROUNDS: usize = 15;
const SIZES: [u64; 3] = [10, 20_000, 1_000_000];

pub fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let mut api = daemon.connect();
    let mut references = Vec::new();
    for count in SIZES {
        let dataset = data::dataset(&mut api, &format!("files-{count}"), None);
        let version = data::draft(&mut api, &dataset, None);
        let (took, ()) = data::timed(|| put_many(&mut api, &version, count));
        let (commit, ()) = data::timed(|| version.commit(&mut api));
        if count == 1_000_000 {
            table.row("1,000,000 small files by one tar", millis(took), "-", "-");
            table.row("commit of 1,000,000 files", millis(commit), "-", "-");
        }
        references.push(format!("{dataset}:{}", version.id()));
    }
    let ends = follow_ends(daemon.connect());
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); SIZES.len() + 1];
    for round in 0..=ROUNDS {
        for (n, kept) in times.iter_mut().enumerate() {
            let datasets = n.checked_sub(1).map_or(json!([]), |n| json!([{"ref": references[n], "name": "in"}]));
            let took = one_job(&daemon, &ends, &datasets, "true").0;
            if round > 0 {
                kept.push(took);
            }
        }
    }
    let times: Vec<Times> = times.into_iter().map(Times::new).collect();
    for (count, with) in SIZES.iter().zip(&times[1..]) {
        let more = with.median().as_secs_f64() - times[0].median().as_secs_f64();
        table.row(
            &format!("job with {count} files mounted"),
            format!("{}, {:+.1} ms", with.spread(), more * 1e3),
            format!("without {}", times[0].spread()),
            "20 ms more",
        );
    }
    read_through(table, &daemon, &ends);
    table.row(
        "the daemon's memory at its peak",
        format!("{:.0} MiB", daemon.peak_bytes() as f64 / f64::from(1 << 20)),
        "-",
        "150 MiB",
    );
}

/// Sends `count` files of some bytes as one tar that is made on the way.
fn put_many(api: &mut super::http::Connection, version: &Version, count: u64) {
    let (out, pieces) = mpsc::sync_channel::<Vec<u8>>(64);
    let length = count * 1024 + 1024;
    thread::spawn(move || {
        for n in 0..count {
            let mut header = tar::Header::new_ustar();
            header.set_path(format!("{:03}/{:03}/{n:07}", n / 10_000, n / 100 % 100)).unwrap();
            let text = format!("{:>100}", n % 5000);
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            let mut piece = header.as_bytes().to_vec();
            piece.extend_from_slice(text.as_bytes());
            piece.resize(1024, 0);
            if out.send(piece).is_err() {
                return;
            }
        }
        let _ = out.send(vec![0; 1024]);
    });
    let answer = api.put(&format!("{}.tar", version.0), length, Pieces { pieces, piece: Vec::new(), at: 0 });
    let status = answer.status;
    assert_eq!(status, 200, "{}", answer.text());
}

struct Pieces {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, mut into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.piece.len() {
            let Ok(piece) = self.pieces.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let count = into.write(&self.piece[self.at..])?;
        self.at += count;
        Ok(count)
    }
}

fn one_job(
    daemon: &Daemon,
    ends: &mpsc::Receiver<(String, Instant)>,
    datasets: &Value,
    command: &str,
) -> (Duration, String) {
    let mut api = daemon.connect();
    let began = Instant::now();
    let body = json!({"image": engine::IMAGE, "command": command, "datasets": datasets}).to_string();
    let id = api.json("POST", "/api/v1/jobs", &body)["id"].as_str().unwrap().to_owned();
    loop {
        let (ended, at) = ends.recv_timeout(Duration::from_secs(600)).expect("the job ends");
        if ended == id {
            return (at - began, id);
        }
    }
}

/// Reads 20,000 small files in a container, from the mount and from a plain directory.
fn read_through(table: &mut Table, daemon: &Daemon, ends: &mpsc::Receiver<(String, Instant)>) {
    let mut api = daemon.connect();
    let dataset = data::dataset(&mut api, "read", None);
    let version = data::draft(&mut api, &dataset, None);
    let work = tempfile::tempdir().unwrap();
    data::tree(work.path(), 20_000, 5 << 10);
    let tar = data::tar(work.path());
    version.put_tar(&mut api, &tar);
    std::fs::remove_file(tar).unwrap();
    version.commit(&mut api);
    let reference = json!([{"ref": format!("{dataset}:{}", version.id()), "name": "in"}]);
    one_job(daemon, ends, &reference, "cp -r /inputs/in /storage/plain");
    // By turns, each read once before it counts.
    let turn = "read_all() { find \"$@\" -type f -print0 | xargs -0 cat > /dev/null; }
read_all /inputs/in /storage/plain
for n in 1 2 3 4 5; do for d in /storage/plain /inputs/in; do
began=$(cut -d' ' -f1 /proc/uptime); read_all $d; ended=$(cut -d' ' -f1 /proc/uptime)
echo $d $(awk \"BEGIN { print $ended - $began }\")
done; done";
    let (_, id) = one_job(daemon, ends, &reference, turn);
    let text = api.send("GET", &format!("/api/v1/jobs/{id}/logs"), "text/plain", "").text();
    let seconds = |dir: &str| {
        let times = text.lines().filter_map(|line| line.strip_prefix(dir)?.trim().parse::<f64>().ok());
        Times::new(times.map(Duration::from_secs_f64).collect())
    };
    let (plain, mounted) = (seconds("/storage/plain"), seconds("/inputs/in"));
    table.row(
        "20,000 x 5 KiB read through the mount",
        format!("{}, {}", mounted.spread(), mib_per_second(20_000 * (5 << 10), mounted.median())),
        format!("a plain directory {}", plain.spread()),
        "-",
    );
}
