//! What the proxy costs: the same server in a container, asked directly, through nginx and through the
//! daemon, by the same client in the same run.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    daemon::Daemon,
    engine,
    numbers::{Times, per_second},
    served::{self, BIG, PORT},
    table::Table,
};

/// Connections that ask at the same time, and for how long.
const CLIENTS: usize = 32;
const SPAN: Duration = Duration::from_secs(5);
/// Times that all three are asked, by turns.
const ROUNDS: usize = 3;
const ROUND_TRIPS: usize = 1000;
const IDLE_SOCKETS: usize = 1000;

/// One way to the server.
#[derive(Clone)]
pub struct Way {
    pub name: &'static str,
    pub address: String,
    /// What every request says.
    pub headers: String,
}

pub fn measure(table: &mut Table) {
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        println!("proxy: there is no nginx to compare with: apt-get install nginx-light");
        return;
    }
    raise_file_limit();
    let daemon = Daemon::start();
    let id = start_server(&daemon);
    let container = address_of(&id);
    let work = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(work.path(), &container);
    let ways = [
        Way { name: "directly", address: container.clone(), headers: "Host: localhost\r\n".to_owned() },
        Way { name: "nginx", address: nginx.address.clone(), headers: "Host: localhost\r\n".to_owned() },
        Way { name: "proxy", address: daemon.workload_address().to_owned(), headers: daemon.workload_headers(&id) },
    ];
    for way in &ways {
        wait_for(way);
    }
    // First, while the daemon holds no memory that it needed for something else.
    idle(table, &daemon, &ways[2]);
    small(table, &ways);
    large(table, &ways);
    round_trips(table, &ways);
}

/// Starts this program as a job and waits until it serves.
fn start_server(daemon: &Daemon) -> String {
    let mut api = daemon.connect();
    let tar = served::packed();
    let upload = api.post_bytes("/api/v1/uploads", "application/x-tar", &tar);
    let command = ["./loader", "--library-path", ".", "./served"];
    let body = json!({
        "image": engine::IMAGE, "command": command, "ports": [PORT], "env": {served::MARK: "1"},
        "workspace": {"upload": upload["id"]},
    });
    let job = api.json("POST", "/api/v1/jobs", &body.to_string());
    let id = job["id"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let job = api.json("GET", &format!("/api/v1/jobs/{id}"), "");
        match job["state"].as_str().unwrap() {
            "running" => return id,
            "pending" | "provisioned" => assert!(Instant::now() < deadline, "{job:#}"),
            _ => panic!("the server ended: {job:#}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn address_of(id: &str) -> String {
    let filter = format!("label=gradientd.workload={id}");
    let found = Command::new("docker").args(["ps", "--quiet", "--filter", &filter]).output().unwrap();
    format!("{}:{PORT}", address_in(String::from_utf8(found.stdout).unwrap().trim()))
}

/// Returns the address of a container on its network.
pub fn address_in(container: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let seen = Command::new("docker").args(["inspect", "--format", format, container]).output().unwrap();
    String::from_utf8(seen.stdout).unwrap().trim().to_owned()
}

fn wait_for(way: &Way) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !TcpStream::connect(&way.address).is_ok_and(|_| Client::connect(way).get("/") == 200) {
        assert!(Instant::now() < deadline, "{} does not answer", way.name);
        thread::sleep(Duration::from_millis(50));
    }
}

/// Small answers, from many connections that are kept.
fn small(table: &mut Table, ways: &[Way; 3]) {
    let mut best = [0.0_f64; 3];
    let mut shown = [const { String::new() }; 3];
    for _ in 0..ROUNDS {
        for (n, way) in ways.iter().enumerate() {
            let times = ask_for(way, SPAN);
            let rate = times.len() as f64 / SPAN.as_secs_f64();
            if rate > best[n] {
                let (count, times) = (times.len(), Times::new(times));
                best[n] = rate;
                shown[n] = format!(
                    "{}, p50 {:.2} ms, p99 {:.2} ms",
                    per_second(count, SPAN),
                    times.median().as_secs_f64() * 1e3,
                    times.percentile(99).as_secs_f64() * 1e3
                );
            }
        }
    }
    let [directly, nginx, proxy] = shown;
    let what = format!("small answers, {CLIENTS} connections");
    let ratio = best[2] / best[1];
    table.row(
        &what,
        format!("{proxy}, {ratio:.2} x nginx"),
        format!("nginx {nginx}; directly {directly}"),
        "1 x nginx",
    );
}

fn ask_for(way: &Way, span: Duration) -> Vec<Duration> {
    let ends = Instant::now() + span;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let way = way.clone();
            thread::spawn(move || {
                let (mut client, mut times) = (Client::connect(&way), Vec::with_capacity(1 << 16));
                while Instant::now() < ends {
                    let began = Instant::now();
                    assert_eq!(client.get("/"), 200, "{}", way.name);
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

/// 100 MiB there and back.
fn large(table: &mut Table, ways: &[Way; 3]) {
    let rate = |time: Duration| format!("{:.0} MiB/s", BIG as f64 / f64::from(1 << 20) / time.as_secs_f64());
    for (what, ask) in [
        ("100 MiB from a container", (|client| assert_eq!(client.get("/big"), 200)) as fn(&mut Client)),
        ("100 MiB to a container", |client| assert_eq!(client.put_big(), 200)),
    ] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..5 {
            for (way, times) in ways.iter().zip(&mut times) {
                let mut client = Client::connect(way);
                let began = Instant::now();
                ask(&mut client);
                times.push(began.elapsed());
            }
        }
        let [directly, nginx, proxy] = times.map(|times| rate(Times::new(times).median()));
        table.row(what, proxy, format!("nginx {nginx}; directly {directly}"), "1 x nginx");
    }
}

/// Words over one websocket, each sent when the one before has come back.
fn round_trips(table: &mut Table, ways: &[Way; 3]) {
    let shown = ways.each_ref().map(|way| {
        let mut client = Client::connect(way);
        assert_eq!(client.upgrade(), 101, "{}", way.name);
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let began = Instant::now();
            client.stream.get_mut().write_all(&[9; 64]).unwrap();
            client.stream.read_exact(&mut [0; 64]).unwrap();
            times.push(began.elapsed());
        }
        let times = Times::new(times);
        let micros = |time: Duration| format!("{:.0} µs", time.as_secs_f64() * 1e6);
        format!("p50 {}, p99 {}", micros(times.median()), micros(times.percentile(99)))
    });
    let [directly, nginx, proxy] = shown;
    table.row("1,000 websocket round trips", proxy, format!("nginx {nginx}; directly {directly}"), "1 x nginx");
}

/// What a thousand websockets cost that say nothing.
fn idle(table: &mut Table, daemon: &Daemon, way: &Way) {
    let before = daemon.resident_bytes();
    let sockets: Vec<_> = (0..IDLE_SOCKETS)
        .map(|_| {
            let mut client = Client::connect(way);
            assert_eq!(client.upgrade(), 101);
            client
        })
        .collect();
    let after = daemon.resident_bytes();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let each = after.saturating_sub(before) / IDLE_SOCKETS as u64 / 1024;
    let shown = format!("{:.0} MiB, {each} KiB each", mib(after));
    table.row("memory with 1,000 idle websockets", shown, format!("without {:.0} MiB", mib(before)), "-");
    drop(sockets);
}

/// Clients and sockets need more files than a shell allows.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// A client that does as little as it can.
pub struct Client {
    stream: BufReader<TcpStream>,
    headers: String,
}

impl Client {
    pub fn connect(way: &Way) -> Self {
        let stream = TcpStream::connect(&way.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::with_capacity(256 << 10, stream), headers: way.headers.clone() }
    }

    pub fn get(&mut self, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", self.headers);
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        self.answer()
    }

    fn put_big(&mut self) -> u16 {
        let request = format!("POST / HTTP/1.1\r\n{}Content-Length: {BIG}\r\n\r\n", self.headers);
        let piece = vec![7; 256 << 10];
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).unwrap();
        (0..BIG / piece.len()).for_each(|_| stream.write_all(&piece).unwrap());
        self.answer()
    }

    fn upgrade(&mut self) -> u16 {
        let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        let request = format!("GET /ws HTTP/1.1\r\n{}{asks}\r\n", self.headers);
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        self.answer()
    }

    /// Reads an answer to its end and returns its status.
    fn answer(&mut self) -> u16 {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an HTTP answer");
        let mut left = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            if line.trim_end().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').expect("a header");
            if name.eq_ignore_ascii_case("content-length") {
                left = value.trim().parse().unwrap();
            }
        }
        while left > 0 {
            let read = self.stream.fill_buf().unwrap().len();
            assert!(read > 0, "the answer was cut short");
            let taken = read.min(left);
            self.stream.consume(taken);
            left -= taken;
        }
        status
    }
}

/// nginx in front of the container, set up to do what the proxy does: connections are kept, nothing is kept
/// in files, nothing is logged.
struct Nginx {
    child: Child,
    address: String,
}

impl Nginx {
    fn start(dir: &Path, container: &str) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let settings = format!(
            "daemon off; pid {dir}/pid; error_log {dir}/error.log; worker_processes auto; worker_rlimit_nofile 8192;
             events {{ worker_connections 4096; }}
             http {{
               access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
               uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 100000000; tcp_nodelay on;
               map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
               upstream container {{ server {container}; keepalive 128; keepalive_requests 100000000; }}
               server {{
                 listen {address}; client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;
                 location / {{
                   proxy_pass http://container; proxy_http_version 1.1; proxy_set_header Host $host;
                   proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
                   proxy_set_header X-Forwarded-For $remote_addr;
                 }}
               }}
             }}",
            dir = dir.display()
        );
        let path = dir.join("nginx.conf");
        std::fs::write(&path, settings).unwrap();
        let log = File::create(dir.join("out.log")).unwrap();
        let child = Command::new("nginx")
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, address }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Told rather than killed, so that its workers end with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
