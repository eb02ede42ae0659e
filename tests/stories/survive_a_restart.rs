//! The daemon is stopped, well or badly, while jobs run; they go on, and so does what is known of them.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon, PATIENCE, numbered, print},
    engine::Account,
};

#[test]
fn jobs_run_on_while_the_daemon_is_stopped_and_started() {
    let account = Account::open();
    let mut daemon = Daemon::start_with(&[("GRADIENTD_SERVER__SHUTDOWN_GRACE", "10s")]);
    let begins = daemon.submit(&steady(400, 0.01, 3));
    let ends = daemon.submit(&steady(10, 0.01, 0));
    for id in [&begins, &ends] {
        daemon.wait_for(id, "its first lines", |_| !daemon.printed_by(id).is_empty());
    }
    let (log, events) = (daemon.stream(&format!("/jobs/{begins}/logs"), None), daemon.stream("/events", None));
    let streams = [thread::spawn(move || log.count()), thread::spawn(move || events.count())];

    let begun = Instant::now();
    assert!(daemon.terminate(), "it ends well:\n{}", daemon.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "within its grace");
    assert!(!daemon.data().join("gradientd.db-wal").exists(), "the database is one file");
    for stream in streams {
        assert!(stream.join().unwrap() > 0, "a stream that was open has ended");
    }
    let container = daemon.container_of(&begins, 1);
    assert!(daemon.containers().contains(&container), "what runs is left alone");

    daemon.restart(&[]);
    for (id, lines, code) in [(&begins, 400, 3), (&ends, 10, 0)] {
        let job = daemon.wait_for_end(id);
        assert_eq!((&job["exitCode"], &job["attempt"]), (&json!(code), &json!(1)), "{job:#}");
        assert_eq!(daemon.printed_by(id), numbered("line", lines));
        account.assert_ran_once(&daemon.container_of(id, 1), code);
    }
    assert!(!daemon.log().contains(" ERROR "), "{}", daemon.log());
}

/// How one job of the crowd goes.
struct Member {
    id: String,
    attempts: u32,
    /// Of the last attempt.
    code: i64,
    lines: usize,
}

#[test]
fn a_crowd_of_jobs_reaches_its_true_ends_through_random_kills() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("SEED={seed}");
    let mut random = Random(seed);
    let account = Account::open();
    let mut daemon = Daemon::start();
    let mut crowd = Vec::new();
    for n in 0..24 {
        // A few at a time, so that kills come at every age of a job.
        crowd.push(join_in(&mut daemon, n, seed));
        if n % 3 == 2 {
            let pause = Duration::from_millis(50 + random.below(900));
            let id = &crowd[random.below(crowd.len() as u64) as usize].id;
            await_end_or(&daemon, id, pause);
            daemon.kill();
            daemon.restart(&[]);
        }
    }
    for _ in 0..4 {
        let pause = Duration::from_millis(50 + random.below(1500));
        await_end_or(&daemon, &crowd[crowd.len() - 1].id, pause);
        daemon.kill();
        daemon.restart(&[]);
    }
    for member in &crowd {
        let job = daemon.wait_for_end(&member.id);
        assert_eq!(job["attempt"], member.attempts, "{job:#}");
        assert_eq!(job["exitCode"], member.code, "{job:#}");
        assert_eq!(job["state"], if member.code == 0 { "stopped" } else { "failed" }, "{job:#}");
        assert_eq!(daemon.printed_by(&member.id), numbered("line", member.lines), "{}", member.id);
        for attempt in 1..=member.attempts {
            let code = if attempt < member.attempts { 1 } else { member.code };
            account.assert_ran_once(&daemon.container_of(&member.id, attempt), code);
        }
    }
    assert_eq!(daemon.containers(), Vec::<String>::new());
    assert_eq!(daemon.count("SELECT count(*) FROM workloads"), crowd.len() as i64);
}

/// Submits one of the sorts of jobs there are.
fn join_in(daemon: &mut Daemon, n: u64, seed: u64) -> Member {
    let (body, attempts, code, lines) = match n % 4 {
        0 => (json!({"image": BUSYBOX, "command": print("line", 50)}), 1, 0, 50),
        1 => (steady(100, 0.015, 0), 1, 0, 100),
        2 => (steady(30, 0.01, 40 + n as i64), 1, 40 + n as i64, 30),
        _ => {
            let command = format!("{}; test $GRADIENTD_ATTEMPT = 2", print("line", 20));
            (json!({"image": BUSYBOX, "command": command, "retries": {"limit": 3, "backoffSeconds": 0}}), 2, 0, 20)
        }
    };
    let answer = daemon.offer("/jobs", &format!("{seed}-{n}"), &body).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    Member { id: answer.body["id"].as_str().unwrap().to_owned(), attempts, code, lines }
}

/// A job that prints a line every `pause` seconds and ends with `code`.
fn steady(lines: usize, pause: f64, code: i64) -> Value {
    let print = print("line", lines).replace("i=$((i+1))", &format!("i=$((i+1)); sleep {pause}"));
    json!({"image": BUSYBOX, "command": format!("{print}; exit {code}")})
}

/// Waits until a job is over, but no longer than `most`.
fn await_end_or(daemon: &Daemon, id: &str, most: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < most.min(PATIENCE) && daemon.job(id)["teardownFinishedAt"].is_null() {
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Numbers that a seed repeats (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
