//! A client as small as a floor needs: one kept connection, over TCP or a Unix socket, that blocks.
//! A general client would cost time of its own in every number.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// The daemon ends connections on which nothing was asked for twice as long.
const IDLE: Duration = Duration::from_secs(5);

/// A connection that is kept between requests.
pub struct Connection {
    stream: BufReader<Box<dyn ReadWrite>>,
    /// Lines that go with each request, such as `Authorization`.
    headers: String,
    /// Where to connect anew.
    address: Option<String>,
    used: Instant,
}

trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

/// An answer whose body is still to come.
pub struct Answer<'a> {
    pub status: u16,
    body: Body,
    stream: &'a mut BufReader<Box<dyn ReadWrite>>,
}

enum Body {
    Length(usize),
    Chunked,
}

impl Connection {
    pub fn tcp(address: &str, headers: String) -> Self {
        Self { stream: connect(address), headers, address: Some(address.to_owned()), used: Instant::now() }
    }

    pub fn unix(path: &str) -> Self {
        let stream: Box<dyn ReadWrite> = Box::new(UnixStream::connect(path).unwrap());
        Self { stream: BufReader::new(stream), headers: String::new(), address: None, used: Instant::now() }
    }

    fn connect_if_idle(&mut self) {
        if let Some(address) = self.address.as_deref().filter(|_| self.used.elapsed() > IDLE) {
            self.stream = connect(address);
        }
    }

    /// Sends a request and reads the head of its answer.
    pub fn send(&mut self, method: &str, path: &str, accept: &str, body: &str) -> Answer<'_> {
        self.connect_if_idle();
        // In one write, so that no packet waits for another to be acknowledged.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{body}",
            body.len(),
            self.headers
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        self.head()
    }

    /// Sends `length` bytes of `body` as they are, and reads the head of the answer.
    pub fn put(&mut self, path: &str, length: u64, body: impl Read) -> Answer<'_> {
        self.connect_if_idle();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n{}\r\n",
            self.headers
        );
        let stream = self.stream.get_mut();
        // A small body goes with the head, so that no packet waits for another to be acknowledged.
        let mut out = std::io::BufWriter::with_capacity(256 << 10, stream);
        out.write_all(head.as_bytes()).unwrap();
        assert_eq!(std::io::copy(&mut body.take(length), &mut out).unwrap(), length);
        out.flush().unwrap();
        drop(out);
        self.head()
    }

    /// Posts bytes as they are, expects a 2xx and returns the body.
    pub fn post_bytes(&mut self, path: &str, kind: &str, bytes: &[u8]) -> serde_json::Value {
        self.connect_if_idle();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{}\r\n",
            bytes.len(),
            self.headers
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(bytes).unwrap();
        let answer = self.head();
        let status = answer.status;
        let text = answer.text();
        assert!((200..300).contains(&status), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn head(&mut self) -> Answer<'_> {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        self.used = Instant::now();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an HTTP answer");
        let mut kind = Body::Length(0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let lower = line.trim_end().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if let Some(length) = lower.strip_prefix("content-length:") {
                kind = Body::Length(length.trim().parse().unwrap());
            }
            if lower == "transfer-encoding: chunked" {
                kind = Body::Chunked;
            }
        }
        Answer { status, body: kind, stream: &mut self.stream }
    }

    /// Sends a request, expects a 2xx and returns the body.
    pub fn json(&mut self, method: &str, path: &str, body: &str) -> serde_json::Value {
        let answer = self.send(method, path, "application/json", body);
        let status = answer.status;
        let text = answer.text();
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}

fn connect(address: &str) -> BufReader<Box<dyn ReadWrite>> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(Box::new(stream))
}

impl Answer<'_> {
    /// Reads the whole body.
    pub fn text(mut self) -> String {
        let mut bytes = Vec::new();
        self.pieces(|piece| {
            bytes.extend_from_slice(piece);
            true
        });
        String::from_utf8(bytes).unwrap()
    }

    /// Hands over the body in pieces as they come, until it ends or `take` has enough. In the second
    /// case the connection is of no more use.
    pub fn pieces(&mut self, mut take: impl FnMut(&[u8]) -> bool) {
        match self.body {
            Body::Length(length) => {
                let mut piece = vec![0; length];
                self.stream.read_exact(&mut piece).unwrap();
                take(&piece);
            }
            Body::Chunked => {
                let (mut line, mut piece) = (String::new(), Vec::new());
                loop {
                    line.clear();
                    if self.stream.read_line(&mut line).unwrap() == 0 {
                        // The server went away in the middle of a stream that has no end.
                        return;
                    }
                    let length = usize::from_str_radix(line.trim(), 16).expect("the length of a chunk");
                    // What follows each chunk is an empty line.
                    piece.resize(length + 2, 0);
                    self.stream.read_exact(&mut piece).unwrap();
                    if length == 0 || !take(&piece[..length]) {
                        return;
                    }
                }
            }
        }
    }
}
