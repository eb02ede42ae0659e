//! The file of certificates that the original client is told to trust: this box's authority and whatever
//! was trusted before. Its variable replaces the built-in roots for every HTTPS call of a process, and a
//! script may call others than this box.
//!
//! It lies with the user, beside the client's own settings: the data directory is closed to them.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const ANSWER: u64 = 64 << 10;
/// Where systems keep the roots that they trust.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The variables that name the file: of the library for requests, and of the one for websockets.
pub const VARIABLES: [&str; 2] = ["REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"];

/// Writes the file for the daemon at `url`, and returns where it is. Blocks on the network and the disk.
///
/// `known` is a certificate of the authority to use where the daemon does not answer.
///
/// # Errors
/// In words for a comment: the rest of the client works without.
pub fn write(url: &str, known: Option<&Path>) -> Result<PathBuf, String> {
    let authority = match (fetch(url), known.map(fs::read_to_string)) {
        (Ok(pem), _) | (Err(_), Some(Ok(pem))) => pem,
        (Err(words), _) => return Err(words),
    };
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).ok_or("HOME is not set")?;
    let name: String =
        url.chars().skip_while(|c| *c != '/').map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let dir = PathBuf::from(home).join(".paperspace");
    let path = dir.join(format!("gradientd-{}.pem", name.trim_matches('-')));
    let before = env::var_os(VARIABLES[0]).map(PathBuf::from).filter(|before| *before != path);
    let roots = before.into_iter().chain(ROOTS.map(PathBuf::from)).find_map(|path| fs::read_to_string(path).ok());
    let draft = path.with_extension(format!("part{}", std::process::id()));
    let written = (|| {
        fs::create_dir_all(&dir)?;
        fs::write(&draft, format!("{}\n{}", authority.trim_end(), roots.unwrap_or_default()))?;
        fs::rename(&draft, &path)
    })();
    written.map_err(|error: io::Error| format!("{} cannot be written: {error}", path.display()))?;
    Ok(path)
}

/// Asks the daemon for its authority's certificate.
fn fetch(url: &str) -> Result<String, String> {
    let address = url.trim_end_matches('/');
    let Some(authority) = address.strip_prefix("http://") else {
        return Err(format!("fetch {address}/api/v1/ca.pem in a way that you trust"));
    };
    let asked = ask(authority).map_err(|error| format!("{address} does not answer: {error}"))?;
    let (head, body) = asked.split_once("\r\n\r\n").unwrap_or((&asked, ""));
    match head.split_whitespace().nth(1) {
        Some("200") if body.starts_with("-----BEGIN CERTIFICATE-----") => Ok(body.to_owned()),
        Some("404") => Err("the box shows a certificate of its admin's: name the file of who signed it".to_owned()),
        _ => Err(format!("{address} is no gradientd that speaks TLS")),
    }
}

fn ask(authority: &str) -> io::Result<String> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let named = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let address = named.to_socket_addrs()?.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /api/v1/ca.pem HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}
