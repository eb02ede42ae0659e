//! The proxy as a whole, over real services, in front of a server of the test's own that stands for what
//! listens in a container.

mod access;
mod bounds;
mod passing;
mod sockets;
mod whereabouts;

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
    api::{caller::tests::Fixed, router::tests::Api},
    domain::{caller::Scope, id::JobId, time::Timestamp, web_name::ServedId, whereabouts::Located},
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
        Self::with(Names::default(), Arc::new(script), 100).await
    }

    /// With so many connections at most.
    async fn bounded(connections: u32) -> Self {
        Self::with(Names::default(), Arc::new(|_| ok("")), connections).await
    }

    async fn with(names: Names, script: Script, connections: u32) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = upstream.local_addr().unwrap().port();
        let reached = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve_script(upstream, script, Arc::clone(&reached)));
        let api = Api::new().await;
        let id = running_job(&api, port).await;
        let run: JobId = id.parse().unwrap();
        api.board.set_addresses(vec![located(&run)]);
        let stop = CancellationToken::new();
        let listener = listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let names = Names { port: address.port(), ..names };
        let control = Some("http://127.0.0.1:7070".to_owned());
        let proxy = Proxy::new(api.services.clone(), Arc::new(Noon), names, control, stop.clone());
        let serving = tokio::spawn(listener::serve(listener, Workers::start().unwrap(), proxy, PATIENCE, connections));
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

/// Says that a run's container is on this machine.
fn located(run: &JobId) -> Located {
    Located { run: run.clone(), container: format!("container-of-{run}"), address: [127, 0, 0, 1].into() }
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
