//! Reading with few and with many jobs in the store, and what the daemon itself costs then.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    daemon::{BINARY, Daemon},
    engine,
    http::Connection,
    numbers::{Times, millis},
    table::Table,
};

const FEW: usize = 1_000;
const MANY: usize = 100_000;
const REQUESTS: usize = 2_000;

pub fn measure(table: &mut Table) {
    let mut daemon = Daemon::start();
    let id = finished_job(&daemon);
    for (count, words) in [(FEW, "1,000 jobs"), (MANY, "100,000 jobs")] {
        let ready = daemon.restart(|database| multiply(database, &id, count));
        let mut api = daemon.connect();
        let floor = requests(&mut api, |_| "/api/v1/healthz".into());
        let floor = format!("GET /healthz p50 {}", millis(floor.median()));
        for (what, path) in [
            ("get", &(|n: usize| format!("/api/v1/jobs/{}", nth(n * 7_919 % count))) as &dyn Fn(usize) -> String),
            ("list of 50", &|_| "/api/v1/jobs?limit=50".into()),
            ("list by state", &|_| "/api/v1/jobs?limit=50&state=stopped".into()),
        ] {
            let times = requests(&mut api, path);
            let said = format!("p50 {}, p99 {}", millis(times.median()), millis(times.percentile(99)));
            table.row(&format!("{what}, {words}"), said, &*floor, "p99 5 ms");
        }
        if count == MANY {
            table.row(
                &format!("ready after start, {words}"),
                millis(ready),
                format!("--version {}", millis(bare_start())),
                "200 ms",
            );
            table.row("binary", format!("{:.1} MB", fs::metadata(BINARY).unwrap().len() as f64 / 1e6), "-", "40 MB");
            // After a few passes of every loop, and with the caches that reading has filled.
            thread::sleep(Duration::from_secs(10));
            table.row(
                &format!("resident when idle, {words}"),
                format!("{:.1} MB", daemon.resident_bytes() as f64 / 1e6),
                "-",
                "60 MB",
            );
        }
    }
}

/// Runs one job to its end, so that the store has a row as real jobs leave it.
fn finished_job(daemon: &Daemon) -> String {
    let mut api = daemon.connect();
    let job = api.json(
        "POST",
        "/api/v1/jobs",
        &json!({"image": engine::IMAGE, "command": "true", "tags": ["bench"]}).to_string(),
    );
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let job = api.json("GET", &path, "");
        if !job["teardownFinishedAt"].is_null() {
            return job["id"].as_str().unwrap().to_owned();
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the job does not end");
}

/// Returns the id of the copy number `n`.
fn nth(n: usize) -> String {
    format!("js{n:012}")
}

/// Copies the job `id` until there are `count` copies. Whatever columns a job has are copied as they
/// are, so this need not know them.
fn multiply(database: &rusqlite::Connection, id: &str, count: usize) {
    let columns = |table: &str, without: &[&str]| -> Vec<String> {
        let mut query = database.prepare("SELECT name FROM pragma_table_info(?)").unwrap();
        let names = query.query_map([table], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
        names.filter(|name| !without.contains(&&**name)).collect()
    };
    let (workload, job) = (columns("workloads", &["seq", "id"]).join(", "), columns("jobs", &["seq"]).join(", "));
    // Only what is not there yet: the second time, the few are among the many.
    let sql = format!(
        "BEGIN;
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})
         INSERT OR IGNORE INTO workloads (id, {workload})
         SELECT printf('js%012d', n.i), {workload} FROM n, workloads WHERE id = '{id}';
         INSERT OR IGNORE INTO jobs (seq, {job})
         SELECT w.seq, {job} FROM workloads w, (SELECT {job} FROM jobs WHERE seq = (SELECT seq FROM workloads WHERE id = '{id}'));
         INSERT OR IGNORE INTO tags (team_id, tag, seq) SELECT team_id, 'bench', seq FROM workloads;
         COMMIT;"
    );
    database.execute_batch(&sql).unwrap();
}

fn requests(api: &mut Connection, path: impl Fn(usize) -> String) -> Times {
    let ask = |api: &mut Connection, n: usize| {
        let path = path(n);
        let began = Instant::now();
        let answer = api.send("GET", &path, "application/json", "");
        assert_eq!(answer.status, 200, "{path}");
        answer.text();
        began.elapsed()
    };
    // The first ones fill caches.
    let times = (0..50 + REQUESTS).map(|n| ask(api, n)).skip(50).collect();
    Times::new(times)
}

/// Returns how long a process of this size takes to start and do nothing.
fn bare_start() -> Duration {
    let run = || {
        let began = Instant::now();
        std::process::Command::new(BINARY).arg("--version").output().unwrap();
        began.elapsed()
    };
    Times::new((0..20).map(|_| run()).collect()).median()
}
