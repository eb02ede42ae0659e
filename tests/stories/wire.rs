//! HTTP spoken by hand, for what a well-behaved client does not say: foreign hosts, paths with `..`,
//! headers of garbage, bodies that are no JSON; and for looking at an answer's head.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE};

/// A request that says exactly what it is told to.
#[derive(Clone)]
pub struct Asked {
    port: u16,
    line: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Daemon {
    /// Begins a request for `target`, which is sent as it is, with the admin's key.
    pub fn ask(&self, method: &str, target: &str) -> Asked {
        self.ask_as_nobody(method, target).with("Authorization", &format!("Bearer {}", self.key()))
    }

    /// Begins a request without a key.
    pub fn ask_as_nobody(&self, method: &str, target: &str) -> Asked {
        let host = Some(format!("127.0.0.1:{}", self.port()));
        let line = format!("{method} {target} HTTP/1.1");
        Asked { port: self.port(), line, host, headers: Vec::new(), body: Vec::new() }
    }

    /// Begins a request without a key to what containers serve, at the host of one of them.
    pub fn visit(&self, label: &str, method: &str, target: &str) -> Asked {
        let port = self.workload_port();
        let host = Some(format!("{label}.localhost:{port}"));
        Asked { port, line: format!("{method} {target} HTTP/1.1"), host, headers: Vec::new(), body: Vec::new() }
    }
}

impl Asked {
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn host(mut self, host: Option<&str>) -> Self {
        self.host = host.map(str::to_owned);
        self
    }

    pub fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.with("Content-Type", kind)
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends it and reads the whole answer.
    pub fn send(self) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut head = format!("{}\r\nConnection: close\r\n", self.line).into_bytes();
        let host = self.host.iter().map(|host| ("Host".to_owned(), host.clone()));
        for (name, value) in host.chain(self.headers) {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        head.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        // What is refused by its size alone is not taken to its end.
        let _ = stream.write_all(&head).and_then(|()| stream.write_all(&self.body));
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert!(!bytes.is_empty(), "{}: {error}", self.line);
        }
        Reply::read(&bytes)
            .unwrap_or_else(|| panic!("{} was answered {:?}", self.line, String::from_utf8_lossy(&bytes)))
    }
}

impl Reply {
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut reply = Self { status, headers, body: bytes[end + 4..].to_vec() };
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.body = unchunked(&reply.body);
        }
        Some(reply)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        let piece = &bytes[end + 2..];
        whole.extend_from_slice(&piece[..size.min(piece.len())]);
        bytes = piece.get(size + 2..).unwrap_or_default();
    }
    whole
}
