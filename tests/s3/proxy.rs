//! Stands between the daemon and a server and breaks what it is told to, request by request.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What becomes of one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It passes.
    None,
    /// It never reaches the server; this is the answer, with headers and all.
    Answer(String),
    /// The connection is cut after so many bytes of the answer.
    Cut(usize),
    /// Nothing ever comes back.
    Silence,
}

/// A proxy, ended with its value.
pub struct Proxy {
    pub port: u16,
    script: Arc<Mutex<VecDeque<Fault>>>,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the server at `port`. Requests meet the faults of `script` in order, and pass
    /// when it is at its end.
    pub async fn before(port: u16, script: impl IntoIterator<Item = Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let own_port = listener.local_addr().unwrap().port();
        let (faults, heads) = (script.clone(), seen.clone());
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, port, faults.clone(), heads.clone()));
            }
        });
        Self { port: own_port, script, seen, task }
    }

    /// Adds to the script.
    pub fn then(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script.lock().unwrap().extend(faults);
    }

    /// Returns the heads of the requests that came.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer of a status, with a body in S3's form.
pub fn s3_answer(status: u16, code: &str) -> Fault {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>words of {code}</Message></Error>");
    answer(status, "content-type: application/xml\r\n", &body)
}

pub fn answer(status: u16, headers: &str, body: &str) -> Fault {
    Fault::Answer(format!(
        "HTTP/1.1 {status} Words\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

async fn serve(mut client: TcpStream, port: u16, script: Arc<Mutex<VecDeque<Fault>>>, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    let end = loop {
        let mut piece = [0; 4096];
        let Ok(read @ 1..) = client.read(&mut piece).await else { return };
        head.extend_from_slice(&piece[..read]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    seen.lock().unwrap().push(String::from_utf8_lossy(&head[..end]).into_owned());
    let fault = script.lock().unwrap().pop_front().unwrap_or(Fault::None);
    let cut = match fault {
        Fault::None => usize::MAX,
        Fault::Cut(bytes) => bytes,
        Fault::Silence => {
            // Till the other side gives up.
            let mut rest = [0; 4096];
            while matches!(client.read(&mut rest).await, Ok(1..)) {}
            return;
        }
        Fault::Answer(text) => {
            let _ = client.write_all(text.as_bytes()).await;
            let _ = client.shutdown().await;
            // What is still on its way must not turn the answer into a broken connection.
            let mut rest = [0; 4096];
            while matches!(client.read(&mut rest).await, Ok(1..)) {}
            return;
        }
    };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    // One request a connection, so that each meets the script.
    let line = head.windows(2).position(|window| window == b"\r\n").unwrap() + 2;
    head.splice(line..line, *b"connection: close\r\n");
    if server.write_all(&head).await.is_err() {
        return;
    }
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let upwards = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        std::future::pending::<()>().await;
    };
    let downwards = async {
        let mut left = cut;
        let mut piece = vec![0; 64 << 10];
        while left > 0 {
            let Ok(read @ 1..) = from_server.read(&mut piece).await else { break };
            let passed = read.min(left);
            if to_client.write_all(&piece[..passed]).await.is_err() {
                break;
            }
            left -= passed;
        }
    };
    tokio::select! { () = upwards => {}, () = downwards => {} }
}
