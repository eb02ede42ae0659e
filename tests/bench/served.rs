//! What stands in the container while the proxy is measured: this program itself, as a server that costs
//! as little as it can. `/` says hello, `/big` sends 100 MiB, a body is read to its end, and what asks for
//! an upgrade gets back what it sends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

/// Set, it makes this program the server.
pub const MARK: &str = "GRADIENTD_BENCH_SERVE";
/// Where it listens in its container.
pub const PORT: u16 = 8000;
/// Bytes of `/big`, and of what is sent the other way.
pub const BIG: usize = 100 << 20;
const PIECE: usize = 256 << 10;

/// Serves until it is killed.
pub fn serve() {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    println!("serving");
    for stream in listener.incoming().flatten() {
        thread::Builder::new().stack_size(128 << 10).spawn(move || answer(stream)).unwrap();
    }
}

/// Answers until the other side has gone.
fn answer(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(head) = head(&mut stream) {
        let sent = if head.upgrades {
            let _ = stream
                .get_mut()
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            echo(stream);
            return;
        } else if head.path == "/big" {
            send_big(stream.get_mut())
        } else {
            let read = std::io::copy(&mut (&mut stream).take(head.length), &mut std::io::sink());
            read.and_then(|_| stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
        };
        if sent.is_err() {
            return;
        }
    }
}

struct Head {
    path: String,
    length: u64,
    upgrades: bool,
}

fn head(stream: &mut impl BufRead) -> Option<Head> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut head = Head { path: line.split(' ').nth(1)?.to_owned(), length: 0, upgrades: false };
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            return Some(head);
        }
        if let Some(length) = lower.strip_prefix("content-length:") {
            head.length = length.trim().parse().ok()?;
        }
        head.upgrades |= lower.starts_with("upgrade:");
    }
}

fn send_big(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n")?;
    let piece = vec![7; PIECE];
    (0..BIG / PIECE).try_for_each(|_| stream.write_all(&piece))
}

fn echo(mut stream: BufReader<TcpStream>) {
    let mut piece = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        if stream.get_mut().write_all(&piece[..read]).is_err() {
            return;
        }
    }
}

/// Packs this program with the libraries that it needs, for a container that has none of them.
pub fn packed() -> Vec<u8> {
    let program = std::env::current_exe().unwrap();
    let needed = Command::new("ldd").arg(&program).output().unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &Path, name: &str| {
        let bytes = std::fs::read(path).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    };
    add(&program, "served");
    for path in needed.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
        // Its loader has another name on another machine.
        add(Path::new(path), if name.starts_with("ld-") { "loader" } else { &name });
    }
    tar.into_inner().unwrap()
}
