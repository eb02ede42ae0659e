//! The proxy as a whole, over real services, in front of a server of the test's own that stands for what
//! listens in a container.

use std::{net::SocketAddr, sync::Mutex};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use super::{workers::Workers, *};
use crate::{
    api::router::tests::Api,
    domain::{caller::Scope, id::JobId, time::Timestamp, web_name::ServedId},
    store::{StoreError, workloads},
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// What a server says to a websocket.
const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

struct Noon;
impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(1_769_860_800_000_000)
    }
}

/// What the server in the container answers to a request.
type Script = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// A box with a job that runs, and a proxy in front of it.
struct Rig {
    api: Api,
    id: String,
    run: JobId,
    address: SocketAddr,
    /// Where the job listens.
    port: u16,
    /// The requests that reached it, whole.
    reached: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Rig {
    async fn new(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with(Names::default(), Arc::new(script)).await
    }

    async fn with(names: Names, script: Script) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = upstream.local_addr().unwrap().port();
        let reached = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve_script(upstream, script, Arc::clone(&reached)));
        let api = Api::new().await;
        let id = running_job(&api, port).await;
        let run: JobId = id.parse().unwrap();
        api.board.set_addresses(vec![(run.clone(), [127, 0, 0, 1].into())]);
        let stop = CancellationToken::new();
        let listener = listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let names = Names { port: address.port(), ..names };
        let control = Some("http://127.0.0.1:7070".to_owned());
        let proxy = Proxy::new(api.services.clone(), Arc::new(Noon), names, control, stop.clone());
        let serving = tokio::spawn(listener::serve(listener, Workers::start().unwrap(), proxy, PATIENCE, 100));
        Self { api, id, run, address, port, reached, stop, serving }
    }

    fn host(&self) -> String {
        format!("{}.localhost:{}", self.id, self.address.port())
    }

    /// Sends text as it is and returns all that comes back.
    async fn say(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// Sends a request to the job's host, by key.
    async fn get(&self, path: &str, headers: &str) -> String {
        let bearer = format!("Authorization: Bearer {}\r\n", self.api.key);
        self.get_bare(path, &format!("{bearer}{headers}")).await
    }

    /// Sends a request to the job's host, by nothing.
    async fn get_bare(&self, path: &str, headers: &str) -> String {
        let host = self.host();
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")).await
    }

    /// Signs a browser in and returns its cookie.
    async fn cookie(&self) -> String {
        let caller = self.caller().await;
        let id: ServedId = self.id.parse().unwrap();
        let (ticket, _) = self.api.services.open_workload(&caller, &id, None).await.unwrap();
        let answer = self.get_bare(&format!("/start?a=b&gradientd-ticket={}", ticket.reveal()), "").await;
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        assert_eq!(header_of(&answer, "location"), Some("/start?a=b"));
        header_of(&answer, "set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    /// Opens a websocket by key.
    async fn websocket(&self, key: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let upgrade = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer {key}\r\n\r\n",
            self.host(),
        );
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101") && head.to_lowercase().contains("upgrade: websocket"), "{head}");
        stream
    }

    async fn caller(&self) -> crate::domain::caller::Caller {
        let key: crate::auth::ApiKey = self.api.key.parse().unwrap();
        crate::api::KeyBook::by_key(&self.api.services, &key.hash()).await.unwrap().unwrap()
    }

    fn reached(&self) -> Vec<String> {
        self.reached.lock().unwrap().clone()
    }
}

/// Submits a job that publishes `port`, and has it run.
async fn running_job(api: &Api, port: u16) -> String {
    let body = json!({ "image": "busybox", "command": "true", "ports": [port] });
    let made = api.ask("POST", "jobs", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let run: JobId = made.body["id"].as_str().unwrap().parse().unwrap();
    let id = run.clone();
    let started = api.store.write(move |tx| {
        let now = Noon.now();
        let workload = workloads::get(tx, &id)?.unwrap();
        workloads::place(tx, &workload, &[], now)?;
        let workload = workloads::get(tx, &id)?.unwrap();
        workloads::started(tx, &workload, &Default::default(), now, now)?;
        Ok::<_, StoreError>(())
    });
    started.await.unwrap();
    run.to_string()
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer and its end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `mark` has come.
async fn read_until(stream: &mut TcpStream, mark: &str) -> String {
    let (mut text, mut piece) = (String::new(), [0; 1024]);
    while !text.contains(mark) {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await.expect("more").unwrap();
        assert!(read > 0, "it ended after {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}

fn header_of<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (given, value) = line.split_once(':')?;
        given.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Answers request after request of each connection as the script says; an answer that says `Connection:
/// close` is the last, and one that says nothing at all breaks off.
async fn serve_script(listener: TcpListener, script: Script, reached: Arc<Mutex<Vec<String>>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (script, reached) = (Arc::clone(&script), Arc::clone(&reached));
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            loop {
                let Some(request) = next_request(&mut stream, &mut bytes).await else { return };
                let answer = script(&request);
                reached.lock().unwrap().push(request.clone());
                stream.write_all(&answer).await.unwrap();
                let text = String::from_utf8_lossy(&answer);
                if text.contains("101 Switching") {
                    // Says everything twice.
                    let mut piece = [0; 1024];
                    while let Ok(read @ 1..) = stream.read(&mut piece).await {
                        let twice = [&piece[..read], &piece[..read]].concat();
                        if stream.write_all(&twice).await.is_err() {
                            return;
                        }
                    }
                    return;
                }
                if answer.is_empty() || text.contains("Connection: close") {
                    return;
                }
            }
        });
    }
}

/// Takes one request with its body off the front of what came.
async fn next_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let head = text[..end].to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let whole = if head.contains("transfer-encoding: chunked") {
                text[end..].find("\r\n0\r\n\r\n").map(|at| end + at + 7)
            } else {
                Some(end + 4 + length.unwrap_or(0)).filter(|whole| bytes.len() >= *whole)
            };
            if let Some(whole) = whole {
                let request = text[..whole].to_owned();
                bytes.drain(..whole);
                return Some(request);
            }
        }
        let read = stream.read(&mut piece).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_request_goes_to_the_container_and_its_answer_back() {
    let rig = Rig::new(|_| ok("hello")).await;
    let answer = rig.get("/a/b?c=%20d", "X-Mine: 1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    let request = rig.reached().remove(0);
    assert!(request.starts_with("GET /a/b?c=%20d HTTP/1.1\r\n"), "{request}");
    let lower = request.to_lowercase();
    assert!(lower.contains("x-mine: 1") && lower.contains(&format!("host: {}", rig.host())), "{request}");
    assert!(!lower.contains("gdk_") && !lower.contains("authorization"), "{request}");
    assert!(lower.contains("x-forwarded-for: 127.0.0.1") && lower.contains("x-forwarded-proto: http"), "{request}");
    let traffic = rig.api.board.reach(&rig.run).unwrap().traffic.now();
    assert_eq!((traffic.requests, traffic.open_requests, traffic.bytes_out), (1, 0, 5));
    assert!(traffic.time_to_first_byte.is_some());
}

#[tokio::test]
async fn one_connection_to_a_container_serves_many_requests() {
    let rig = Rig::new(|request| ok(if request.starts_with("GET /1") { "one" } else { "two" })).await;
    let (host, key) = (rig.host(), &rig.api.key);
    let ask = |path: &str, end: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: {end}\r\n\r\n")
    };
    let answer = rig.say(&format!("{}{}", ask("/1", "keep-alive"), ask("/2", "close"))).await;
    assert!(answer.contains("\r\n\r\none") && answer.ends_with("\r\n\r\ntwo"), "{answer}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_is_the_last_of_its_connection() {
    let rig = Rig::new(|_| ok("")).await;
    let hasty = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("{}-{}.localhost", rig.id, hasty.local_addr().unwrap().port());
    tokio::spawn(async move {
        for answer in ["one", "two"] {
            let (mut stream, _) = hasty.accept().await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(&ok(answer)).await.unwrap();
            tokio::spawn(async move { read_all(&mut stream).await });
        }
    });
    let key = &rig.api.key;
    let head = |method: &str| format!("{method} / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n");
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let half = format!("{}Content-Length: 1000\r\n\r\nhalf", head("POST"));
    stream.write_all(half.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\none").await;
    let answer = rig.say(&format!("{}Connection: close\r\n\r\n", head("GET"))).await;
    assert!(answer.ends_with("\r\n\r\ntwo"), "{answer}");
}

#[tokio::test]
async fn by_path_the_prefix_is_taken_off_and_told() {
    let rig = Rig::new(|_| b"HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: a=1; Path=/; Domain=localhost\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let (id, key, port) = (&rig.id, &rig.api.key, rig.port);
    let by_path = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:7071\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n")
    };
    let answer = rig.say(&by_path(&format!("/w/{id}-{port}/a?b"))).await;
    assert_eq!(header_of(&answer, "location"), Some(format!("/w/{id}-{port}/login").as_str()), "{answer}");
    assert_eq!(header_of(&answer, "set-cookie"), Some(format!("a=1; Path=/w/{id}-{port}/").as_str()));
    assert!(header_of(&answer, "content-security-policy").unwrap().starts_with("sandbox"), "{answer}");
    let request = rig.reached().remove(0);
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains(&format!("x-forwarded-prefix: /w/{id}-{port}\r\n")), "{request}");
    let answer = rig.say(&by_path(&format!("/w/{id}?x=y"))).await;
    assert_eq!(header_of(&answer, "location"), Some(format!("/w/{id}/?x=y").as_str()), "{answer}");
}

#[tokio::test]
async fn a_ticket_becomes_a_cookie_that_the_container_never_sees() {
    let rig = Rig::new(|_| b"HTTP/1.1 200 OK\r\nSet-Cookie: __Host-gradientd=evil; Path=/; Secure\r\nSet-Cookie: own=1; Domain=localhost\r\nContent-Length: 2\r\n\r\nok".to_vec()).await;
    let cookie = rig.cookie().await;
    assert!(cookie.starts_with("__Host-gradientd-workload=gdc_"), "{cookie}");
    let answer = rig.get_bare("/", &format!("Cookie: mine=1; {cookie}; __Host-gradientd=gds_x\r\n")).await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("evil") && answer.to_lowercase().contains("set-cookie: own=1\r\n"), "{answer}");
    let request = rig.reached().remove(0);
    assert!(request.to_lowercase().contains("cookie: mine=1\r\n") && !request.contains("gd"), "{request}");
}

#[tokio::test]
async fn what_is_forged_used_or_anothers_opens_nothing() {
    let rig = Rig::new(|_| ok("secret")).await;
    let other = running_job(&rig.api, rig.port).await;
    let caller = rig.caller().await;
    let (ticket, _) = rig.api.services.open_workload(&caller, &other.parse().unwrap(), None).await.unwrap();
    let forged = crate::auth::Ticket::mint(&crate::api::caller::tests::Fixed(7));
    for text in [ticket.reveal(), forged.reveal(), "gdt_x", ""] {
        let answer = rig.get_bare(&format!("/?gradientd-ticket={text}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("Location"), "{text}: {answer}");
    }
    let cookie = rig.cookie().await;
    let host = rig.host().replace(&rig.id, &other);
    let asked = format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    assert!(rig.say(&asked).await.starts_with("HTTP/1.1 401"), "a cookie is for one workload");
    let used = rig.api.services.open_workload(&caller, &rig.id.parse().unwrap(), None).await.unwrap().0;
    let path = format!("/?gradientd-ticket={}", used.reveal());
    assert!(rig.get_bare(&path, "").await.starts_with("HTTP/1.1 303"));
    assert!(rig.get_bare(&path, "").await.starts_with("HTTP/1.1 401"), "a ticket is good once");
    for headers in [
        "",
        "Authorization: Bearer gdk_x\r\n",
        "Authorization: token gdw_x\r\n",
        "Cookie: __Host-gradientd-workload=gdc_x\r\n",
    ] {
        assert!(rig.get_bare("/", headers).await.starts_with("HTTP/1.1 401"), "{headers}");
    }
    assert_eq!(rig.reached(), Vec::<String>::new());
}

#[tokio::test]
async fn a_ticket_leads_to_no_other_host() {
    let rig = Rig::new(|_| ok("")).await;
    let caller = rig.caller().await;
    for path in ["//evil.example/", "/\\evil.example/", "//evil.example"] {
        let (ticket, _) = rig.api.services.open_workload(&caller, &rig.id.parse().unwrap(), None).await.unwrap();
        let answer = rig.get_bare(&format!("{path}?gradientd-ticket={}", ticket.reveal()), "").await;
        assert!(answer.starts_with("HTTP/1.1 400") && header_of(&answer, "location").is_none(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn names_that_are_not_ours_are_not_answered() {
    let rig = Rig::new(|_| ok("secret")).await;
    let key = &rig.api.key;
    let ask = |target: &str, host: &str| {
        format!("GET {target} HTTP/1.1\r\n{host}Authorization: Bearer {key}\r\nConnection: close\r\n\r\n")
    };
    let id = &rig.id;
    for host in ["evil.example", &format!("{id}.evil.example"), &format!("a.{id}.localhost"), "10.9.8.7"] {
        let answer = rig.say(&ask(&format!("/w/{id}/"), &format!("Host: {host}\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
    }
    let own = format!("Host: {}\r\n", rig.host());
    for (target, host) in [
        ("/", String::new()),
        ("/", format!("{own}{own}")),
        ("http://evil.example/", own.clone()),
        ("/", format!("Host: x@{}\r\n", rig.host())),
    ] {
        let answer = rig.say(&ask(target, &host)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target} {host}: {answer}");
    }
    assert!(rig.say(&ask(&format!("http://{}/", rig.host()), &own)).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rig.reached().len(), 1);
}

#[tokio::test]
async fn a_request_of_two_lengths_smuggles_nothing() {
    let rig = Rig::new(|_| ok("one")).await;
    let smuggled =
        format!("GET /smuggled HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n", rig.host(), rig.api.key);
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 5 + smuggled.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", 5 + smuggled.len()),
    ] {
        let text = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{lengths}\r\n0\r\n\r\n{smuggled}",
            rig.host(),
            rig.api.key
        );
        let answer = rig.say(&text).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    for bad in [
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 3, 4\r\n\r\nabcd",
        "Content-Length: +3\r\n\r\nabc",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{bad}", rig.host(), rig.api.key);
        let answer = rig.say(&text).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
    let reached = rig.reached();
    assert!(reached.iter().all(|request| !request.contains("smuggled")), "{reached:?}");
    assert!(reached.iter().all(|request| !request.to_lowercase().contains("content-length")), "{reached:?}");
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_never_whole() {
    let rig = Rig::new(|request| {
        if request.starts_with("GET /length") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf".to_vec()
        } else {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\n".to_vec()
        }
    })
    .await;
    let answer = rig.get("/length", "").await;
    assert!(answer.contains("content-length: 100") && answer.ends_with("half"), "{answer}");
    let answer = rig.get("/chunks", "").await;
    assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_websocket_is_joined_and_ends_with_its_key() {
    let rig = Rig::new(|_| AGREED.to_vec()).await;
    let key = rig.api.ask("POST", "keys", Some(json!({ "name": "w", "scope": "write" }))).await.body;
    let mut stream = rig.websocket(key["key"].as_str().unwrap()).await;
    stream.write_all(b"ab").await.unwrap();
    assert_eq!(read_until(&mut stream, "abab").await, "abab");
    assert_eq!(rig.api.board.reach(&rig.run).unwrap().traffic.now().open_sockets, 1);
    let revoked = rig.api.ask("DELETE", &format!("keys/{}", key["id"].as_str().unwrap()), None).await;
    assert_eq!(revoked.status, 204);
    assert_eq!(read_all(&mut stream).await, "");
    // The thread that carried it counts it out when it has closed it.
    let counted_out = async {
        while rig.api.board.reach(&rig.run).unwrap().traffic.now().open_sockets > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted_out).await.unwrap();
}

#[tokio::test]
async fn who_leaves_the_team_is_cut_off() {
    let rig = Rig::new(|_| AGREED.to_vec()).await;
    let caller = rig.caller().await;
    let (_, key) = rig.api.services.create_user(&caller, "mara".to_owned(), Scope::Write).await.unwrap();
    let mut stream = rig.websocket(key.reveal()).await;
    assert_eq!(rig.api.services.remove_user(&caller, "mara".to_owned()).await.unwrap(), 1);
    assert_eq!(read_all(&mut stream).await, "");
    let again = rig.get_bare("/", &format!("Authorization: Bearer {}\r\n", key.reveal())).await;
    assert!(again.starts_with("HTTP/1.1 401"), "{again}");
}

#[tokio::test]
async fn another_sites_page_opens_no_websocket_and_changes_nothing() {
    let rig = Rig::new(|_| ok("")).await;
    let cookie = rig.cookie().await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let host = rig.host();
    let ask = |method: &str, headers: &str| {
        format!("{method} / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n{headers}Content-Length: 0\r\n\r\n")
    };
    for origin in ["http://evil.example", "http://127.0.0.1:7070", "null"] {
        let answer = rig
            .say(&format!(
                "{}{}",
                ask("GET", &format!("{upgrade}Origin: {origin}\r\n")),
                ask("POST", &format!("Origin: {origin}\r\nConnection: close\r\n"))
            ))
            .await;
        assert_eq!(answer.matches("HTTP/1.1 403").count(), 2, "{origin}: {answer}");
    }
    assert!(rig.say(&ask("POST", "Connection: close\r\n")).await.starts_with("HTTP/1.1 403"));
    assert_eq!(rig.reached(), Vec::<String>::new());
    let own = format!("Origin: http://{host}\r\nConnection: close\r\n");
    assert!(rig.say(&ask("POST", &own)).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stream_is_passed_on_as_it_comes_and_ends_with_its_key() {
    let (sender, mut chunks) = mpsc::channel::<&'static str>(1);
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = upstream.local_addr().unwrap().port();
    let rig = Rig::new(|_| ok("")).await;
    tokio::spawn(async move {
        let (mut stream, _) = upstream.accept().await.unwrap();
        let mut bytes = Vec::new();
        next_request(&mut stream, &mut bytes).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
        while let Some(text) = chunks.recv().await {
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let key = rig.api.ask("POST", "keys", Some(json!({ "name": "w", "scope": "write" }))).await.body;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let (id, port) = (&rig.id, rig.address.port());
    let request = format!(
        "GET /events HTTP/1.1\r\nHost: {id}-{there}.localhost:{port}\r\nAuthorization: Bearer {}\r\n\r\n",
        key["key"].as_str().unwrap()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    for text in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(text).await.unwrap();
        read_until(&mut stream, text).await;
    }
    rig.api.ask("DELETE", &format!("keys/{}", key["id"].as_str().unwrap()), None).await;
    let rest = read_all(&mut stream).await;
    assert!(!rest.ends_with("0\r\n\r\n"), "cut off, not ended: {rest:?}");
}

#[tokio::test]
async fn whoever_is_not_there_is_said_to_be_not_there() {
    let rig = Rig::new(|_| Vec::new()).await;
    let answer = rig.get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("broken_off"), "{answer}");
    let free = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let (id, key, port) = (&rig.id, &rig.api.key, rig.address.port());
    let ask = |accept: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: {id}-{free}.localhost:{port}\r\nAuthorization: Bearer {key}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = rig.say(&ask("*/*")).await;
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains(&format!("nothing listens on port {free} of {id}")),
        "{answer}"
    );
    let answer = rig.say(&ask("text/html")).await;
    assert!(
        answer.contains("<h1>Bad Gateway</h1>") && answer.contains(&format!("http://127.0.0.1:7070/jobs/{id}")),
        "{answer}"
    );
    rig.api.board.set_addresses(Vec::new());
    assert!(rig.get("/", "").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_browser_without_a_cookie_is_told_where_to_go() {
    let rig = Rig::new(|_| ok("")).await;
    let answer = rig.get_bare("/", "Accept: text/html\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("web UI"), "{answer}");
    let (id, port) = (&rig.id, rig.address.port());
    let by_path =
        format!("GET /w/{id}/a?b HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
    let answer = rig.say(&by_path).await;
    assert_eq!(header_of(&answer, "location"), Some(format!("http://{id}.localhost:{port}/a?b").as_str()), "{answer}");
}

#[tokio::test]
async fn cookies_by_path_are_for_those_who_ask_for_them() {
    let by_path = |rig: &Rig, ticket: &str| {
        format!(
            "GET /w/{}/x?gradientd-ticket={ticket} HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n",
            rig.id
        )
    };
    for allowed in [false, true] {
        let names = Names { cookies_by_path: allowed, ..Names::default() };
        let rig = Rig::with(names, Arc::new(|_| ok("in"))).await;
        let caller = rig.caller().await;
        let (ticket, _) = rig.api.services.open_workload(&caller, &rig.id.parse().unwrap(), None).await.unwrap();
        let answer = rig.say(&by_path(&rig, ticket.reveal())).await;
        if !allowed {
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            continue;
        }
        assert_eq!(header_of(&answer, "location"), Some(format!("/w/{}/x", rig.id).as_str()), "{answer}");
        let set = header_of(&answer, "set-cookie").unwrap();
        assert!(set.contains(&format!("Path=/w/{}/;", rig.id)), "{set}");
        let cookie = set.split(';').next().unwrap();
        let path = format!(
            "GET /w/{}/x HTTP/1.1\r\nHost: 127.0.0.1:1\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n",
            rig.id
        );
        assert!(rig.say(&path).await.ends_with("\r\n\r\nin"));
    }
}

#[tokio::test]
async fn what_streams_does_not_hold_up_the_end() {
    let rig = Rig::new(|_| b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n".to_vec()).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n", rig.host(), rig.api.key);
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "data: 1").await;
    rig.stop.cancel();
    tokio::time::timeout(PATIENCE / 2, rig.serving).await.expect("the end").unwrap();
}

#[tokio::test]
async fn http2_is_spoken_to_those_who_begin_with_it() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let rig = Rig::new(|_| ok("two")).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://{}/x", rig.host()))
        .header("authorization", format!("Bearer {}", rig.api.key))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "two");
    let request = rig.reached().remove(0).to_lowercase();
    assert!(request.starts_with("get /x http/1.1\r\n") && request.contains("cookie: a=1; b=2\r\n"), "{request}");
    assert!(request.contains(&format!("host: {}\r\n", rig.host())), "{request}");
}
