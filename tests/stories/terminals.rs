//! A terminal in a running job, notebook or TensorBoard: typed into, resized, left and come back to, and kept from everybody
//! else. Whatever happens to the daemon, no shell is left behind.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{
    HandshakeError, Message, WebSocket,
    client::IntoClientRequest,
    http::{HeaderName, HeaderValue},
    protocol::frame::coding::CloseCode,
};

use crate::daemon::{BUSYBOX, Daemon, PATIENCE, docker};

/// A terminal that somebody looks at.
struct Screen {
    socket: WebSocket<TcpStream>,
    shown: String,
    words: Vec<Value>,
    closed: Option<(u16, String)>,
}

/// What refuses a websocket: the status and the code of the problem.
type Refused = (u16, String);

impl Daemon {
    /// Starts a job that waits, and opens a terminal in it; returns the ids of both.
    fn terminal_in_a_job(&self) -> (String, String) {
        let job = self.shell("exec sleep 1000");
        self.wait_for(&job, "the job", |job| job["state"] == "running");
        let terminal = self.open_terminal(&job, &json!({}));
        (job, terminal)
    }

    fn open_terminal(&self, workload: &str, size: &Value) -> String {
        let made = self.post(&format!("/workloads/{workload}/terminals"), size);
        assert_eq!(made.status, 201, "{made:?}\n{}", self.log());
        made.body["id"].as_str().unwrap().to_owned()
    }

    fn terminals(&self, workload: &str) -> Vec<Value> {
        let found = self.get(&format!("/workloads/{workload}/terminals"));
        assert_eq!(found.status, 200, "{found:?}");
        found.body["items"].as_array().unwrap().clone()
    }

    /// Attaches with the admin's key.
    fn look(&self, workload: &str, terminal: &str) -> Screen {
        let bearer = format!("Bearer {}", self.key());
        self.attach(workload, terminal, &[("authorization", &bearer)]).unwrap()
    }

    fn attach(&self, workload: &str, terminal: &str, headers: &[(&str, &str)]) -> Result<Screen, Refused> {
        let url = self.url(&format!("/workloads/{workload}/terminals/{terminal}/attach")).replacen("http", "ws", 1);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Screen { socket, shown: String::new(), words: Vec::new(), closed: None }),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                let body = answer.body().clone().unwrap_or_default();
                let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
                Err((answer.status().as_u16(), body["code"].as_str().unwrap_or_default().to_owned()))
            }
            Err(error) => panic!("no websocket: {error}"),
        }
    }

    /// Counts the processes in a job's container whose command line has `word`.
    fn processes(&self, job: &str, word: &str) -> usize {
        let listed = docker(&["top", &self.container_of(job, 1), "-eo", "pid,args"]);
        listed.lines().skip(1).filter(|line| !line.contains("docker-init") && line.contains(word)).count()
    }

    /// Waits until so many processes of a job are alive, itself among them; the engine's own init is none.
    fn wait_for_processes(&self, job: &str, count: usize) {
        let alive = || docker(&["top", &self.container_of(job, 1), "-eo", "pid,args"]);
        let begun = Instant::now();
        while alive().lines().skip(1).filter(|line| !line.contains("docker-init")).count() != count {
            assert!(begun.elapsed() < PATIENCE, "not {count} processes: {}", alive());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Screen {
    /// Takes one message; says whether there was one.
    fn take(&mut self) -> bool {
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
            Ok(Message::Text(text)) => self.words.push(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(frame)) => {
                self.closed = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing comes any more after {:?}", self.shown)
            }
            Err(_) => return false,
        }
        true
    }

    /// Waits until something is shown.
    fn until(&mut self, mark: &str) -> &str {
        while !self.shown.contains(mark) {
            assert!(self.take(), "it ended without {mark:?}: {:?} {:?} {:?}", self.shown, self.words, self.closed);
        }
        &self.shown
    }

    fn word(&mut self, kind: &str) -> Value {
        loop {
            if let Some(word) = self.words.iter().find(|word| word["type"] == kind) {
                return word.clone();
            }
            assert!(self.take(), "it ended without {kind}: {:?} {:?}", self.words, self.closed);
        }
    }

    /// Waits for the end and returns the code with which it was closed.
    fn end(&mut self) -> u16 {
        while self.take() {}
        self.closed.as_ref().map_or(0, |(code, _)| *code)
    }

    fn keys(&mut self, text: &str) {
        self.socket.send(Message::Binary(text.to_owned().into_bytes().into())).unwrap();
    }

    fn say(&mut self, word: &Value) {
        self.socket.send(Message::Text(word.to_string().into())).unwrap();
    }
}

#[test]
fn a_shell_in_a_job_is_typed_into_resized_and_exited() {
    let daemon = Daemon::start();
    let job = daemon.submit(&json!({"image": BUSYBOX, "command": "exec sleep 1000", "env": {"LR": "0.5"}}));
    daemon.wait_for(&job, "the job", |job| job["state"] == "running");
    let terminal = daemon.open_terminal(&job, &json!({"cols": 101, "rows": 31}));
    let listed = daemon.terminals(&job);
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["id"], &listed[0]["run"]), (&json!(terminal), &json!(job)));
    assert_eq!(
        (&listed[0]["own"], &listed[0]["attached"], &listed[0]["cols"]),
        (&json!(true), &json!(false), &json!(101))
    );

    let mut screen = daemon.look(&job, &terminal);
    assert_eq!(screen.word("attached")["rows"], 31);
    screen.keys("stty size; echo $TERM $LR $PWD\r");
    screen.until("\r\n31 101\r\n");
    screen.until("\r\nxterm-256color 0.5 /home/paperspace\r\n");
    assert_eq!(daemon.terminals(&job)[0]["attached"], true);
    screen.say(&json!({"type": "resize", "cols": 60, "rows": 20}));
    screen.keys("while [ \"$(stty size)\" != '20 60' ]; do :; done; echo re''sized\r");
    screen.until("\r\nresized\r\n");
    // Bytes are bytes: what is no UTF-8 passes, and what is UTF-8 stays it.
    screen.keys("printf 'ü\\377é' | od -An -tx1\r");
    screen.until("c3 bc ff c3 a9");

    screen.keys("exit 7\r");
    assert_eq!(screen.word("ended"), json!({"type": "ended", "why": "exited", "code": 7}));
    assert_eq!(screen.end(), u16::from(CloseCode::Normal));
    daemon.wait_until("its end", || daemon.terminals(&job).is_empty().then_some(()));
    daemon.wait_for_processes(&job, 1);
    assert_eq!(daemon.job(&job)["state"], "running", "the job knows nothing of it");
    let bearer = format!("Bearer {}", daemon.key());
    let gone = daemon.attach(&job, &terminal, &[("authorization", &bearer)]);
    assert_eq!(gone.err(), Some((404, "terminal_not_found".to_owned())));
    let told = |change: &str| {
        daemon.count(&format!("SELECT count(*) FROM events WHERE subject = '{job}' AND change = '{change}'"))
    };
    assert_eq!((told("terminal-opened"), told("terminal-closed")), (1, 1));
}

#[test]
fn who_was_cut_off_comes_back_and_sees_what_was_shown_meanwhile() {
    let daemon = Daemon::start();
    let (job, terminal) = daemon.terminal_in_a_job();
    let mut screen = daemon.look(&job, &terminal);
    screen.keys("echo be''fore; sleep 1; echo mean''while\r");
    screen.until("\r\nbefore\r\n");
    // The network is gone, and says nothing of it.
    screen.socket.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    daemon.wait_until("nobody looking", || (daemon.terminals(&job)[0]["attached"] == false).then_some(()));

    let mut again = daemon.look(&job, &terminal);
    assert!(again.word("attached")["replay"].as_u64().unwrap() > 0);
    assert!(again.until("\r\nmeanwhile\r\n").contains("before"));
    again.keys("echo still $((40 + 2))\r");
    again.until("\r\nstill 42\r\n");

    // The same person in another browser takes over.
    let mut other = daemon.look(&job, &terminal);
    again.word("replaced");
    assert_eq!(again.end(), 4409);
    assert!(other.until("still 42").contains("meanwhile"));

    assert_eq!(daemon.delete(&format!("/workloads/{job}/terminals/{terminal}")).status, 204);
    assert_eq!(other.word("ended")["why"], "closed");
    daemon.wait_for_processes(&job, 1);
}

#[test]
fn only_its_user_looks_at_a_terminal_and_no_longer_than_their_key_lasts() {
    let daemon = Daemon::start();
    let (job, terminal) = daemon.terminal_in_a_job();
    let path = format!("/api/v1/workloads/{job}/terminals");
    let create = |scope: &str| {
        let made = daemon.run(&["user", "create", &format!("a-{scope}"), "--scope", scope]);
        format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim())
    };
    let (writer, reader) = (create("write"), create("read"));
    let refused = |bearer: &str| daemon.attach(&job, &terminal, &[("authorization", bearer)]).err().unwrap();
    assert_eq!(refused("Bearer gdk_x").0, 401);
    assert_eq!(refused(&reader), (403, "forbidden".to_owned()));
    // A colleague may open one of their own, and neither look at this one nor close it.
    assert_eq!(refused(&writer), (403, "forbidden".to_owned()));
    let as_writer = |method: &str, path: &str| daemon.ask_as_nobody(method, path).with("Authorization", &writer);
    assert_eq!(as_writer("DELETE", &format!("{path}/{terminal}")).send().status, 403);
    let own = as_writer("POST", &path).json(&json!({})).send();
    assert_eq!(own.status, 201, "{}", own.text());
    let own = own.json()["id"].as_str().unwrap().to_owned();
    let seen = as_writer("GET", &path).send().json()["items"].as_array().unwrap().clone();
    assert_eq!(seen.iter().map(|one| one["own"].as_bool().unwrap()).collect::<Vec<_>>(), [false, true]);
    for (method, path) in [("GET", path.clone()), ("POST", path.clone()), ("DELETE", format!("{path}/{own}"))] {
        let reply = daemon.ask_as_nobody(method, &path).with("Authorization", &reader).send();
        assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("forbidden")), "{method} {path}");
    }
    // An admin may close it.
    let mut watched = daemon.attach(&job, &own, &[("authorization", &writer)]).unwrap();
    watched.word("attached");
    assert_eq!(daemon.delete(&format!("/workloads/{job}/terminals/{own}")).status, 204);
    assert_eq!(watched.word("ended")["why"], "closed");

    // Another of the admin's own keys looks, till it is revoked.
    let key = daemon.post("/keys", &json!({"name": "k", "scope": "write"})).body;
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let mut screen = daemon.attach(&job, &terminal, &[("authorization", &bearer)]).unwrap();
    screen.word("attached");
    let begun = Instant::now();
    assert_eq!(daemon.delete(&format!("/keys/{}", key["id"].as_str().unwrap())).status, 204);
    assert_eq!(screen.end(), 4401);
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    assert_eq!(refused(&bearer).0, 401);
    daemon.look(&job, &terminal).word("attached");
}

#[test]
fn another_team_finds_nothing() {
    let daemon = Daemon::start();
    let (job, terminal) = daemon.terminal_in_a_job();
    let bearer = format!("Bearer {}", daemon.key_of_another_team("admin"));
    let refused = daemon.attach(&job, &terminal, &[("authorization", &bearer)]).err();
    assert_eq!(refused, Some((404, "job_not_found".to_owned())));
    for (method, rest) in [("GET", String::new()), ("POST", String::new()), ("DELETE", format!("/{terminal}"))] {
        let path = format!("/api/v1/workloads/{job}/terminals{rest}");
        let reply = daemon.ask_as_nobody(method, &path).with("Authorization", &bearer).send();
        assert_eq!((reply.status, &reply.json()["code"]), (404, &json!("job_not_found")), "{method} {path}");
    }
}

#[test]
fn a_browser_attaches_from_our_own_pages_alone() {
    let daemon = Daemon::start();
    let (job, terminal) = daemon.terminal_in_a_job();
    let signed_in = daemon.ask_as_nobody("POST", "/api/v1/session").json(&json!({"key": daemon.key()})).send();
    let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let proof = signed_in.json()["sessionProof"].as_str().unwrap().to_owned();
    let offer = format!("gradientd.terminal, gradientd.session.{proof}");
    let own = format!("http://127.0.0.1:{}", daemon.port());
    let attach = |origin: Option<&str>, offer: &str| {
        let origin = origin.map(|origin| ("origin", origin));
        let headers: Vec<_> =
            [("cookie", cookie.as_str()), ("sec-websocket-protocol", offer)].into_iter().chain(origin).collect();
        daemon.attach(&job, &terminal, &headers)
    };
    // Another site makes the browser open it: the browser sends the cookie, and says where it is.
    let neighbour = format!("http://127.0.0.1:{}", daemon.workload_port());
    for foreign in ["http://evil.example", "null", &neighbour, &format!("{own}.evil.example"), "http://localhost:1"] {
        assert_eq!(attach(Some(foreign), &offer).err(), Some((403, "cross_site".to_owned())), "{foreign}");
    }
    assert_eq!(attach(None, &offer).err(), Some((403, "cross_site".to_owned())), "no browser, and a cookie");
    // What listens on another port of the host was sent the cookie too, and knows no proof.
    assert_eq!(attach(Some(&own), "gradientd.terminal").err(), Some((403, "forbidden".to_owned())));
    let wrong = format!("gradientd.terminal, gradientd.session.{}", proof.replace(|c: char| c.is_ascii_digit(), "a"));
    assert_eq!(attach(Some(&own), &wrong).err().unwrap().0, 401);
    // A key is no cookie: but a page that has one still may not use it from elsewhere.
    let bearer = format!("Bearer {}", daemon.key());
    let foreign = daemon.attach(&job, &terminal, &[("authorization", &bearer), ("origin", "http://evil.example")]);
    assert_eq!(foreign.err(), Some((403, "cross_site".to_owned())));

    let mut screen = attach(Some(&own), &offer).unwrap();
    screen.word("attached");
    screen.keys("echo from a pa''ge\r");
    screen.until("\r\nfrom a page\r\n");
    let out = daemon.ask_as_nobody("DELETE", "/api/v1/session").with("Cookie", &cookie);
    let out = out.with("X-Gradientd-Session", &proof).with("Origin", &own).send();
    assert_eq!(out.status, 204);
    assert_eq!(screen.end(), 4401, "signed out is signed out");
}

#[test]
fn nonsense_is_refused_and_nothing_grows_without_end() {
    let daemon = Daemon::start_with(&[("GRADIENTD_TERMINALS__PER_WORKLOAD", "3")]);
    let (job, terminal) = daemon.terminal_in_a_job();
    let path = format!("/workloads/{job}/terminals");
    for (size, field) in [(json!({"cols": 0}), "cols"), (json!({"rows": 501}), "rows"), (json!({"cols": 1001}), "cols")]
    {
        let refused = daemon.post(&path, &size);
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{size}: {refused:?}");
    }
    for body in [json!({"command": ["rm"]}), json!({"cols": "x"}), json!({"rows": 70000})] {
        assert_eq!(daemon.post(&path, &body).status, 422, "{body}");
    }
    for id in ["x", "..", "js0123456789ab", "n123456789", "tm0123456789ab"] {
        let answer = daemon.get(&format!("/workloads/{id}/terminals"));
        assert!(answer.status == 404 || answer.status == 422, "{id}: {answer:?}");
    }
    let plain = daemon.get(&format!("{path}/{terminal}/attach"));
    assert_eq!((plain.status, &plain.body["code"]), (426, &json!("websocket_required")));
    daemon.open_terminal(&job, &json!({}));
    daemon.open_terminal(&job, &json!({}));
    let fourth = daemon.post(&path, &json!({}));
    assert_eq!((fourth.status, &fourth.body["code"]), (429, &json!("too_many_terminals")));

    for nonsense in [
        "",
        "x",
        "{}",
        "[]",
        "{\"type\":\"resize\",\"cols\":0,\"rows\":24}",
        "{\"type\":\"resize\",\"cols\":99999,\"rows\":1}",
        &"[".repeat(100_000),
    ] {
        let mut screen = daemon.look(&job, &terminal);
        screen.socket.send(Message::Text(nonsense.to_owned().into())).unwrap();
        assert_eq!(screen.end(), u16::from(CloseCode::Policy), "{}", &nonsense[..nonsense.len().min(50)]);
    }
    let mut screen = daemon.look(&job, &terminal);
    let _ = screen.socket.send(Message::Binary(vec![b'x'; 2 << 20].into()));
    screen.end();
    let mut screen = daemon.look(&job, &terminal);
    screen.keys("echo still he''re\r");
    screen.until("\r\nstill here\r\n");
}

#[test]
fn a_flood_waits_for_its_reader_and_holds_up_nobody_else() {
    let daemon = Daemon::start();
    let (job, terminal) = daemon.terminal_in_a_job();
    let mut flooded = daemon.look(&job, &terminal);
    flooded.word("attached");
    let before = resident(&daemon);
    flooded.keys("yes 0123456789012345678901234567890123456789\r");
    flooded.until("0123456789\r\n0123456789");
    // Nobody reads from here on. Another terminal works, and the daemon does not hold what is not read.
    let other = daemon.open_terminal(&job, &json!({}));
    let mut beside = daemon.look(&job, &other);
    for round in 0..20 {
        beside.keys(&format!("echo round''{round}.\r"));
        beside.until(&format!("\r\nround{round}.\r\n"));
    }
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 64 << 20, "the daemon grew by {} MiB", grown >> 20);
    // Interrupted, though there is much to be read yet.
    flooded.keys("\u{3}");
    flooded.keys("echo ca''lm\r");
    while !flooded.shown.contains("\r\ncalm\r\n") {
        assert!(flooded.take());
        let keep = flooded.shown.len().saturating_sub(4096);
        flooded.shown = flooded.shown.split_off(flooded.shown.ceil_char_boundary(keep));
    }

    // A viewer that says what it has drawn is sent no more than a little ahead.
    drop(flooded);
    let mut slow = daemon.look(&job, &terminal);
    slow.word("attached");
    slow.say(&json!({"type": "drawn", "bytes": 0}));
    slow.keys("yes 0123456789012345678901234567890123456789\r");
    slow.socket.get_ref().set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut came = 0;
    while let Ok(message) = slow.socket.read() {
        came += message.len();
    }
    assert!((100_000..600_000).contains(&came), "{came} bytes came");
}

/// Bytes of memory that the daemon holds.
fn resident(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn a_large_paste_arrives_whole_and_input_that_nobody_reads_ends_nothing() {
    let daemon = Daemon::start();
    let (job, terminal) = daemon.terminal_in_a_job();
    let mut screen = daemon.look(&job, &terminal);
    screen.word("attached");
    // Bytes as they are, without the line's editor in between.
    screen.keys("stty raw -echo; echo go''ing; head -c 600000 | md5sum; stty sane\r");
    screen.until("going");
    let paste: String = (0..60_000).map(|n| format!("{n:09}\n")).collect();
    for piece in paste.as_bytes().chunks(100_000) {
        screen.socket.send(Message::Binary(piece.to_vec().into())).unwrap();
    }
    let sum = std::process::Command::new("sh")
        .args(["-c", "i=0; while [ $i -lt 60000 ]; do printf '%09d\\n' $i; i=$((i+1)); done | md5sum"])
        .output()
        .unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    screen.until(sum.split_whitespace().next().unwrap());
    // Nobody reads: it is bounded, and closing works.
    screen.keys("sleep 1000\r");
    for _ in 0..16 {
        screen.socket.get_ref().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        if screen.socket.send(Message::Binary(vec![b'x'; 512 << 10].into())).is_err() {
            break;
        }
    }
    assert_eq!(daemon.delete(&format!("/workloads/{job}/terminals/{terminal}")).status, 204);
    daemon.wait_for_processes(&job, 1);
}

#[test]
fn what_does_not_run_says_what_to_do() {
    let daemon = Daemon::start();
    let over = daemon.shell("true");
    daemon.wait_for(&over, "its end", |job| job["state"] == "stopped");
    let refused = daemon.post(&format!("/workloads/{over}/terminals"), &json!({}));
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("workload_over")));
    assert!(refused.body["detail"].as_str().unwrap().contains("clone it"), "{refused:?}");
    let waiting = daemon.submit(&json!({"image": "gradient-test/no-such-image:1", "command": "true"}));
    let refused = daemon.post(&format!("/workloads/{waiting}/terminals"), &json!({}));
    assert_eq!(refused.status, 409, "{refused:?}");
    let notebook = daemon.post("/notebooks", &json!({"image": BUSYBOX, "command": "sleep 1000"})).body;
    let id = notebook["id"].as_str().unwrap();
    daemon.post(&format!("/notebooks/{id}/stop"), &json!({}));
    let over = daemon.wait_until("the notebook's end", || {
        let refused = daemon.post(&format!("/workloads/{id}/terminals"), &json!({}));
        (refused.body["code"] == "workload_over").then_some(refused)
    });
    assert!(over.body["detail"].as_str().unwrap().contains("start it again"), "{over:?}");

    // A terminal ends with its job.
    let (job, terminal) = daemon.terminal_in_a_job();
    let mut screen = daemon.look(&job, &terminal);
    screen.word("attached");
    assert_eq!(daemon.post(&format!("/jobs/{job}/stop"), &json!({})).status, 200);
    assert_eq!(screen.word("ended")["why"], "exited");
}

#[test]
fn an_image_without_a_shell_says_so() {
    let daemon = Daemon::start();
    // Nothing but one program: the whole of busybox by the one name under which it is no shell.
    let image = "gradient-test/term-shell-less";
    let script = "set -e; c=$(docker create $0); docker cp $c:/bin/busybox - | docker import - $1; docker rm $c";
    let made = std::process::Command::new("sh").args(["-c", script, BUSYBOX, image]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let job = daemon.submit(&json!({"image": image, "command": ["/busybox", "sleep", "1000"]}));
    daemon.wait_for(&job, "the job", |job| job["state"] == "running");
    let refused = daemon.post(&format!("/workloads/{job}/terminals"), &json!({}));
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("terminal_failed")), "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("/bin/sh"), "{refused:?}");
    assert_eq!(daemon.terminals(&job), Vec::<Value>::new());
    drop(daemon);
    docker(&["rmi", image]);
}

#[test]
fn one_at_which_nobody_looks_is_closed_after_its_time() {
    let daemon = Daemon::start_with(&[("GRADIENTD_TERMINALS__DETACHED", "2s")]);
    let (job, terminal) = daemon.terminal_in_a_job();
    let mut screen = daemon.look(&job, &terminal);
    screen.keys("sleep 1001 & sleep 1002\r");
    screen.until("1002");
    drop(screen);
    daemon.wait_until("its end", || daemon.terminals(&job).is_empty().then_some(()));
    daemon.wait_for_processes(&job, 1);
    assert_eq!(daemon.processes(&job, "sleep 1000"), 1);
}

#[test]
fn a_daemon_that_is_killed_or_stopped_leaves_no_shell_behind() {
    let mut daemon = Daemon::start();
    let (job, terminal) = daemon.terminal_in_a_job();
    let mut screen = daemon.look(&job, &terminal);
    // What was meant to outlive a hang-up does.
    screen.keys("(trap '' HUP; exec sleep 1003) >/dev/null 2>&1 &\r");
    screen.keys("sleep 1004\r");
    screen.until("1004\r\n");
    daemon.wait_for_processes(&job, 5);
    daemon.kill();
    daemon.wait_for_processes(&job, 2);
    assert_eq!((daemon.processes(&job, "sleep 1000"), daemon.processes(&job, "sleep 1003")), (1, 1));
    daemon.restart(&[]);
    assert_eq!(daemon.terminals(&job), Vec::<Value>::new(), "a daemon that starts anew has none");
    let bearer = format!("Bearer {}", daemon.key());
    let gone = daemon.attach(&job, &terminal, &[("authorization", &bearer)]).err();
    assert_eq!(gone, Some((404, "terminal_not_found".to_owned())));

    let terminal = daemon.open_terminal(&job, &json!({}));
    let mut screen = daemon.look(&job, &terminal);
    screen.keys("sleep 1005\r");
    screen.until("1005\r\n");
    let begun = Instant::now();
    let ended = std::thread::scope(|scope| {
        let reading = scope.spawn(|| (screen.word("ended"), screen.end()));
        assert!(daemon.terminate());
        reading.join().unwrap()
    });
    assert_eq!((&ended.0["why"], ended.1), (&json!("shutdown"), u16::from(CloseCode::Normal)));
    assert!(begun.elapsed() < Duration::from_secs(9), "the daemon took {:?} to stop", begun.elapsed());
    daemon.wait_for_processes(&job, 2);
}

#[cfg(feature = "faults")]
#[test]
fn a_daemon_that_dies_while_it_opens_a_terminal_leaves_none() {
    for point in ["engine.exec.before", "engine.exec.after:2", "terminal.keeper.after", "terminal.shell.after"] {
        let mut daemon = Daemon::start();
        let job = daemon.shell("exec sleep 1000");
        daemon.wait_for(&job, "the job", |job| job["state"] == "running");
        daemon.restart(&[("GRADIENTD_FAULT", point)]);
        assert!(daemon.offer(&format!("/workloads/{job}/terminals"), "once", &json!({})).is_none(), "{point}");
        daemon.wait_until_dead();
        if point != "engine.exec.after:2" {
            // In that instant a shell runs whose number nobody knows yet.
            daemon.wait_for_processes(&job, 1);
        }
        daemon.restart(&[]);
        assert_eq!(daemon.job(&job)["state"], "running", "{point}");
        let terminal = daemon.open_terminal(&job, &json!({}));
        daemon.look(&job, &terminal).word("attached");
    }
}

#[test]
fn what_is_typed_in_a_notebook_s_terminal_is_a_sign_of_work() {
    let daemon = Daemon::start();
    let made = daemon.post("/notebooks", &json!({"image": "gradient-test/jupyter:latest"}));
    let id = made.body["id"].as_str().unwrap();
    let look = || daemon.get(&format!("/notebooks/{id}")).body;
    let ready = daemon.wait_until("its server", || Some(look()).filter(|notebook| notebook["ready"] == true));
    let terminal = daemon.open_terminal(id, &json!({}));
    let mut screen = daemon.look(id, &terminal);
    screen.keys("pwd; echo kept > note.txt; id -u\r");
    screen.until("\r\n/notebooks\r\n");
    // Known by its session as well.
    let session = ready["session"]["id"].as_str().unwrap();
    assert_eq!(daemon.terminals(session)[0]["id"], json!(terminal));
    // A sign is written down when it is 20 s newer than the one before; here it is typed until it is.
    let seen = daemon.wait_until("a sign of the terminal", || {
        screen.keys("true\r");
        Some(look()).filter(|notebook| notebook["session"]["activity"]["what"] == "a terminal was in use")
    });
    assert_eq!(seen["ready"], true);
    let note = daemon.get_bytes(&format!("/files/{id}/content/note.txt"), "*/*");
    assert_eq!(note, (200, b"kept\n".to_vec()));
}

#[test]
fn a_terminal_in_a_tensorboard_sees_what_it_shows_and_writes_nothing() {
    let daemon = Daemon::start_with(&[("GRADIENTD_TENSORBOARDS__IMAGE", "gradient-test/jupyter:latest")]);
    let job = daemon.shell("echo kept > /artifacts/points");
    daemon.wait_for_end(&job);
    let made = daemon.post("/tensorboards", &json!({"members": [{"job": job, "name": "train"}]}));
    let id = made.body["id"].as_str().unwrap();
    let refused = daemon.post(&format!("/workloads/{id}/terminals"), &json!({}));
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("workload_over")), "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("never started"), "{refused:?}");
    assert_eq!(daemon.post(&format!("/tensorboards/{id}/start"), &json!({})).status, 200);
    let look = || daemon.get(&format!("/tensorboards/{id}")).body;
    daemon.wait_until("its container", || (look()["state"] == "running").then_some(()));
    let terminal = daemon.open_terminal(id, &json!({}));
    let mut screen = daemon.look(id, &terminal);
    screen.keys("cat /logs/train/points; touch /logs/train/x || echo can''not\r");
    let shown = screen.until("cannot\r\n");
    assert!(shown.contains("kept\r\n"), "{shown}");
}
