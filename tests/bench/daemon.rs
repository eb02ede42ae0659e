//! A daemon of its own on a temporary directory: started, asked, ended, and its containers with it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{engine, http::Connection};

/// The release binary, which cargo builds before this program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_gradientd");

/// A running daemon. Dropping it kills it and removes what it left on the engine.
pub struct Daemon {
    child: Child,
    data: tempfile::TempDir,
    address: String,
    workload_address: String,
    network: String,
}

impl Daemon {
    /// Starts a daemon on an empty directory.
    pub fn start() -> Self {
        let data = tempfile::Builder::new().prefix("gradientd-bench-").tempdir().unwrap();
        let network = data.path().file_name().unwrap().to_string_lossy().into_owned();
        // Asked of the system and given back at once; nobody else is likely to be handed it meanwhile.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let workload_address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = spawn(data.path(), (&address, &workload_address), &network);
        let daemon = Self { child, data, address, workload_address, network };
        daemon.wait_until_ready();
        daemon
    }

    /// Ends the daemon as a service manager would, lets `change` have its database, and starts it
    /// again. Returns how long it took from the start of the process to the first answer.
    pub fn restart(&mut self, change: impl FnOnce(&rusqlite::Connection)) -> Duration {
        let told = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(told.success() && self.child.wait().unwrap().success(), "the daemon ended badly: {}", self.log());
        change(&rusqlite::Connection::open(self.database()).unwrap());
        let began = Instant::now();
        self.child = spawn(self.data.path(), (&self.address, &self.workload_address), &self.network);
        self.wait_until_ready();
        began.elapsed()
    }

    /// Opens a connection with the admin's key.
    pub fn connect(&self) -> Connection {
        Connection::tcp(&self.address, format!("Authorization: Bearer {}\r\n", self.key()))
    }

    /// Returns the admin's key.
    pub fn key(&self) -> String {
        fs::read_to_string(self.data.path().join("admin.key")).unwrap().trim().to_owned()
    }

    /// Returns where it is reached, such as `http://127.0.0.1:7070`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns where what containers serve is reached.
    pub fn workload_address(&self) -> &str {
        &self.workload_address
    }

    /// Returns what a request to what a workload serves says, with the admin's key.
    pub fn workload_headers(&self, id: &str) -> String {
        let key = fs::read_to_string(self.data.path().join("admin.key")).unwrap();
        let port = self.workload_address.rsplit(':').next().unwrap();
        format!("Host: {id}.localhost:{port}\r\nAuthorization: Bearer {}\r\n", key.trim())
    }

    /// Returns what the daemon holds in memory, in bytes, without what the kernel could drop.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        kib.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Returns the most that the daemon held in memory since it started, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        kib.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    pub fn path(&self) -> &Path {
        self.data.path()
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if std::net::TcpStream::connect(&self.address).is_ok() {
                let mut connection = Connection::tcp(&self.address, String::new());
                if connection.send("GET", "/api/v1/healthz", "*/*", "").status == 200 {
                    return;
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("the daemon did not answer: {}", self.log());
    }

    fn database(&self) -> PathBuf {
        let files = fs::read_dir(self.data.path()).unwrap().map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "db")).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.path().join("bench.log")).unwrap_or_default()
    }
}

fn spawn(data: &Path, (address, workload_address): (&str, &str), network: &str) -> Child {
    let log = File::options().create(true).append(true).open(data.join("bench.log")).unwrap();
    Command::new(BINARY)
        .args(["serve", "--listen", address, "--data-dir"])
        .arg(data)
        // Nobody asks there; any free port will do.
        .env("GRADIENTD_SERVER__TLS_LISTEN", "127.0.0.1:0")
        .env("GRADIENTD_ENGINE__NETWORK", network)
        .env("GRADIENTD_WORKLOAD_LISTEN", workload_address)
        // A log on a terminal would be measured too.
        .env("GRADIENTD_LOG__LEVEL", "warn")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Killed rather than told, so that nothing that waits is started on the way.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let id: Result<String, _> = rusqlite::Connection::open(self.database())
            .and_then(|database| database.query_row("SELECT id FROM box", [], |row| row.get(0)));
        if let Ok(id) = id {
            engine::remove_labelled(&format!("gradientd.box={id}"));
        }
    }
}
