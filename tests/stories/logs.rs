//! Somebody reads a job's log: whole, in part, as it comes, and long after.

use serde_json::{Value, json};

use crate::daemon::{BUSYBOX, Daemon};

/// One event of a stream.
#[derive(Debug, Clone)]
struct Event {
    kind: String,
    id: Option<u64>,
    data: Value,
}

/// Puts the lines of a stream together to events.
fn events(lines: impl Iterator<Item = String>) -> impl Iterator<Item = Event> {
    let mut lines = lines;
    std::iter::from_fn(move || {
        let mut event = Event { kind: String::new(), id: None, data: Value::Null };
        for line in lines.by_ref() {
            match line.split_once(':') {
                Some(("event", kind)) => kind.trim().clone_into(&mut event.kind),
                Some(("id", id)) => event.id = Some(id.trim().parse().unwrap()),
                Some(("data", data)) => event.data = serde_json::from_str(data.trim()).unwrap(),
                // A comment keeps the connection alive.
                Some(_) => {}
                None if event.kind.is_empty() => {}
                None => return Some(event),
            }
        }
        None
    })
}

fn page(daemon: &Daemon, id: &str, query: &str) -> Value {
    let (status, bytes) = daemon.get_bytes(&format!("/jobs/{id}/logs?{query}"), "application/json");
    assert_eq!(status, 200, "{query}: {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}

fn texts(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap()).collect()
}

#[test]
fn a_log_is_read_by_line_by_end_by_text_and_as_it_comes() {
    let daemon = Daemon::start();
    // All to one stream: the engine reads the two apart, so it may swap lines of one and the other.
    let id = daemon.shell(
        "for n in 0 1 2 3 4 5 6 7 8 9; do echo line $n; done; echo 'Über Fehler'; echo; \
         printf 'one\\rtwo\\rthree\\n'; printf '\\033[31mred\\033[0m\\n'; printf 'not ended'",
    );
    // Followed from before it runs to after its end.
    let all: Vec<Event> = events(daemon.stream(&format!("/jobs/{id}/logs"), None)).collect();
    assert_eq!(all.last().unwrap().kind, "end", "{all:?}");
    let lines = &all[..all.len() - 1];
    assert_eq!(
        lines.iter().map(|event| event.id.unwrap()).collect::<Vec<_>>(),
        (0..lines.len() as u64).collect::<Vec<_>>()
    );

    daemon.wait_for_end(&id);
    let whole = page(&daemon, &id, "");
    let total = whole["total"].as_u64().unwrap();
    assert_eq!((whole["ended"].as_bool(), &whole["next"]), (Some(true), &Value::Null));
    assert_eq!(whole["items"], Value::Array(lines.iter().map(|event| event.data.clone()).collect()));
    let first = whole["items"].as_array().unwrap().iter().find(|row| row["text"] == "line 0").unwrap();
    assert_eq!(first["stream"], "stdout");
    assert!(first["time"].as_str().unwrap().ends_with('Z') && first["time"].as_str().unwrap().len() == 27, "{first}");
    let base = first["line"].as_u64().unwrap();
    let words = texts(&whole);
    assert!(words.contains(&"one\rtwo\rthree"), "a progress bar is kept as it was: {words:?}");
    assert!(words.contains(&"\u{1b}[31mred\u{1b}[0m"), "colours are kept: {words:?}");
    assert_eq!(words.last().unwrap(), &"not ended");
    assert!(words.contains(&""), "an empty line is a line");

    let some = page(&daemon, &id, &format!("start={}&limit=3", base + 2));
    assert_eq!(texts(&some), ["line 2", "line 3", "line 4"]);
    assert_eq!((&some["next"], &some["total"]), (&json!(base + 5), &json!(total)));
    assert_eq!(texts(&page(&daemon, &id, "tail=1")), ["not ended"]);
    assert_eq!(texts(&page(&daemon, &id, "tail=2")).len(), 2);
    assert_eq!(texts(&page(&daemon, &id, "q=LINE%204")), ["line 4"]);
    assert_eq!(texts(&page(&daemon, &id, "q=%C3%9Cber%20fehler")), ["Über Fehler"]);
    assert_eq!(texts(&page(&daemon, &id, "q=no%20such%20words")), [""; 0]);
    assert_eq!(texts(&page(&daemon, &id, "start=1000000")), [""; 0]);

    // A reader who lost the connection goes on behind the last line it saw.
    let rest: Vec<Event> = events(daemon.stream(&format!("/jobs/{id}/logs"), Some(base + 7))).collect();
    assert_eq!(rest[0].data["text"], "line 8");
    assert_eq!(rest[0].id, Some(base + 8));
    assert_eq!(rest.len() as u64, total - (base + 8) + 1);
    let from: Vec<Event> = events(daemon.stream(&format!("/jobs/{id}/logs?start={}", base + 9), None)).collect();
    assert_eq!(from[0].data["text"], "line 9");

    let head = daemon.ask("GET", &format!("/api/v1/jobs/{id}/logs/download")).send();
    assert_eq!(head.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(head.header("content-disposition").unwrap().starts_with("attachment"));
    assert_eq!(head.text(), daemon.text_of(&id));
    assert!(head.text().contains("line 0\nline 1\n") && head.text().contains("one\rtwo\rthree\n"));
}

#[test]
fn a_follower_sees_lines_while_the_job_waits_for_something() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let id = daemon.shell("echo begun; until test -e /storage/go; do sleep 0.05; done; echo gone on");
    let mut seen = events(daemon.stream(&format!("/jobs/{id}/logs"), None));
    assert!(seen.any(|event| event.data["text"] == "begun"));
    assert_eq!(daemon.job(&id)["state"].as_str().map(|state| state == "stopped"), Some(false));
    let go = daemon.shell("touch /storage/go");
    assert!(seen.any(|event| event.data["text"] == "gone on"));
    assert_eq!(seen.last().unwrap().kind, "end");
    daemon.wait_for_end(&go);
    daemon.wait_for_end(&id);
}

#[test]
fn twenty_thousand_quick_lines_are_all_there_in_order_also_after_the_end() {
    let daemon = Daemon::start();
    let id = daemon.shell("seq 1 20000 | sed 's/$/ of a line that is about as long as one of a training run/'");
    let expected: String =
        (1..=20_000).map(|n| format!("{n} of a line that is about as long as one of a training run\n")).collect();
    let mut followed = String::new();
    for event in events(daemon.stream(&format!("/jobs/{id}/logs"), None)) {
        if event.data["stream"] == "stdout" {
            followed.push_str(event.data["text"].as_str().unwrap());
            followed.push('\n');
        }
    }
    assert!(followed == expected, "{} bytes of {}", followed.len(), expected.len());
    daemon.wait_for_end(&id);

    // What ended is kept compressed, and reads the same.
    let size = daemon.wait_until("the log to be compressed", || {
        let size = size_of_logs(&daemon, &id);
        (size < expected.len() as u64 / 3).then_some(size)
    });
    assert!(size > 0);
    let (status, bytes) = daemon.get_bytes(&format!("/jobs/{id}/logs/download"), "*/*");
    assert_eq!(status, 200);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with(&expected), "{} bytes of {}", text.len(), expected.len());
    let row = &page(&daemon, &id, "q=19999%20of")["items"][0];
    assert_eq!(row["text"].as_str().unwrap().split(' ').next(), Some("19999"));
    let total = page(&daemon, &id, "limit=1")["total"].as_u64().unwrap();
    assert_eq!(row["line"], total - 2);
}

fn size_of_logs(daemon: &Daemon, id: &str) -> u64 {
    fn walk(dir: &std::path::Path, inside: bool, id: &str) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries
            .filter_map(Result::ok)
            .map(|entry| {
                let (path, inside) = (entry.path(), inside || entry.file_name().to_string_lossy().contains(id));
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => walk(&path, inside, id),
                    Ok(_) if inside => entry.metadata().map_or(0, |meta| meta.len()),
                    _ => 0,
                }
            })
            .sum()
    }
    walk(&daemon.data(), false, id)
}

#[test]
fn a_log_over_its_limit_is_cut_with_a_mark_and_the_job_goes_on() {
    let daemon = Daemon::start_with(&[("GRADIENTD_LIMITS__JOB_LOG", "100KiB")]);
    let id = daemon.shell("seq 1 50000; echo the end > /artifacts/done");
    let job = daemon.wait_for_end(&id);
    assert_eq!((&job["state"], &job["exitCode"]), (&json!("stopped"), &json!(0)), "{job:#}");
    assert_eq!(daemon.get_bytes(&format!("/jobs/{id}/artifacts/done"), "*/*").1, b"the end\n");
    let rows = page(&daemon, &id, "tail=2");
    let (mark, last) = (&rows["items"][0], &rows["items"][1]);
    assert_eq!((&mark["stream"], &last["stream"]), (&json!("system"), &json!("system")), "{rows:#}");
    assert!(mark["text"].as_str().unwrap().contains("cut here: it has reached 102400 bytes"), "{rows:#}");
    assert!(last["text"].as_str().unwrap().contains("bytes of output after the cut were not kept"), "{rows:#}");
    let (_, bytes) = daemon.get_bytes(&format!("/jobs/{id}/logs/download"), "*/*");
    // Each line's time counts too, and is most of it where lines are short.
    assert!((10_000..100 << 10).contains(&bytes.len()), "{} bytes", bytes.len());
    let text = String::from_utf8(bytes).unwrap();
    let numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let expected: Vec<u32> = (1..=numbers.len() as u32).collect();
    assert!(numbers == expected, "what is kept is the beginning, without gaps");
}

#[test]
fn bytes_that_are_no_text_and_endless_lines_do_no_harm() {
    let daemon = Daemon::start();
    let long = 3_000_000;
    let id =
        daemon.shell(&format!("printf 'a\\377b\\000c\\n'; head -c {long} /dev/zero | tr '\\0' x; echo; echo after"));
    let job = daemon.wait_for_end(&id);
    assert_eq!(job["state"], "stopped", "{job:#}");
    let rows = page(&daemon, &id, "limit=10000");
    let rows = rows["items"].as_array().unwrap();
    let first = rows.iter().find(|row| row["stream"] == "stdout").unwrap();
    assert!(
        first["text"].as_str().unwrap().starts_with('a') && first["text"].as_str().unwrap().contains('b'),
        "{first}"
    );
    assert_eq!(rows.last().unwrap()["text"], "after");
    assert!(rows.iter().any(|row| row["partial"] == true), "a long line comes in pieces");
    let text = daemon.text_of(&id);
    assert!(
        text.lines().any(|line| line.len() == long && line.bytes().all(|byte| byte == b'x')),
        "and is whole as text"
    );
    let job = daemon.submit(&json!({"image": BUSYBOX, "command": "true"}));
    daemon.wait_for_end(&job);
}

#[test]
fn the_log_of_a_job_that_never_ran_ends_too() {
    let daemon = Daemon::start_with(&[
        ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="one", cores=1, memory_gib=0.25}]"#),
        ("GRADIENTD_SCHEDULER__CPU_RESERVE_MILLIS", &crate::secrets::reserve_all_but(1000)),
        ("GRADIENTD_ENGINE__STOP_GRACE", "1s"),
    ]);
    let failing = daemon.submit(&json!({"image": "127.0.0.1:1/no/such:image"}));
    let unknown = daemon.submit(&json!({"image": BUSYBOX, "command": ["no-such-command"]}));
    let holder = daemon.shell("while true; do echo tick; sleep 0.05; done");
    let follow = |id: &str| {
        let stream = daemon.stream(&format!("/jobs/{id}/logs"), None);
        std::thread::spawn(move || events(stream).collect::<Vec<_>>())
    };
    let (of_failing, of_unknown) = (follow(&failing), follow(&unknown));
    daemon.wait_for(&holder, "running", |job| job["state"] == "running");
    let called_off = daemon.shell("true");
    daemon.wait_for(&called_off, "queued", |job| job["phase"] == "queued");
    let of_called_off = follow(&called_off);
    daemon.post(&format!("/jobs/{called_off}/stop"), &json!({}));
    let of_called_off = of_called_off.join().unwrap();
    assert_eq!(of_called_off.last().unwrap().kind, "end", "{of_called_off:?}");
    assert_eq!(daemon.wait_for_end(&called_off)["state"], "cancelled");
    assert_eq!(page(&daemon, &called_off, "")["ended"], true);

    let following = follow(&holder);
    daemon.post(&format!("/jobs/{holder}/stop"), &json!({}));
    assert_eq!(following.join().unwrap().last().unwrap().kind, "end");

    for (told, id) in [(of_failing, &failing), (of_unknown, &unknown)] {
        let told = told.join().unwrap();
        assert_eq!(told.last().unwrap().kind, "end", "{told:?}");
        daemon.wait_for_end(id);
        // Why it did not run is in its log.
        let rows = page(&daemon, id, "");
        assert!(texts(&rows).iter().any(|text| text.contains("no-such") || text.contains("no/such")), "{rows:#}");
        assert_eq!(rows["ended"], true);
    }
}

#[test]
fn a_follower_is_let_go_when_the_daemon_drains() {
    let mut daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let id = daemon.shell("echo begun; sleep 1000");
    let mut seen = events(daemon.stream(&format!("/jobs/{id}/logs"), None));
    assert!(seen.any(|event| event.data["text"] == "begun"));
    assert!(daemon.terminate(), "{}", daemon.log());
    assert!(seen.all(|event| event.kind != "end"), "the job goes on, so its log has not ended");
    daemon.restart(&[]);
    assert_eq!(daemon.job(&id)["state"], "running");
    daemon.post(&format!("/jobs/{id}/stop"), &json!({}));
    daemon.wait_for_end(&id);
}
