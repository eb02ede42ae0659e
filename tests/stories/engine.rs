//! The engine as tests see it: its own account of what happened, and a way to it that can be cut.

use std::{
    fs::File,
    io,
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::daemon::PATIENCE;

const SOCKET: &str = "/var/run/docker.sock";

/// What the engine says of containers of any daemon, from before the value was made on. Read as it
/// comes: the engine itself remembers only its last few hundred events.
pub struct Account {
    dir: tempfile::TempDir,
    child: Child,
}

impl Account {
    pub fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = File::create(dir.path().join("events")).unwrap();
        let child = Command::new("docker")
            .args(["events", "--since", "1s", "--format", "{{json .}}"])
            .args(["--filter", "type=container", "--filter", "label=gradientd.box"])
            .stdout(out)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    /// Returns what happened to the container `name`, in order: `create`, `start`, `die 7`, `destroy`.
    pub fn of(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("events")).unwrap();
        // The last line may still be on its way.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["Actor"]["Attributes"]["name"] == name)
            .filter_map(|event| {
                let action = event["Action"].as_str()?.to_owned();
                match action.as_str() {
                    "die" => Some(format!("die {}", event["Actor"]["Attributes"]["exitCode"].as_str()?)),
                    "create" | "start" | "destroy" => Some(action),
                    _ => None,
                }
            })
            .collect()
    }

    /// Waits until `action` happened to the container `name`.
    pub fn wait_for(&self, name: &str, action: &str) {
        let begun = Instant::now();
        while !self.of(name).iter().any(|happened| happened == action) {
            assert!(begun.elapsed() < PATIENCE, "no {action} of {name}: {:?}", self.of(name));
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Asserts that the container `name` was made, ran, ended with `code` and was removed: each once.
    pub fn assert_ran_once(&self, name: &str, code: i64) {
        self.wait_for(name, "destroy");
        assert_eq!(self.of(name), ["create", "start", &format!("die {code}"), "destroy"], "{name}");
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A socket that leads to the engine until it is cut.
pub struct Way {
    dir: tempfile::TempDir,
    open: Option<Arc<AtomicBool>>,
    joined: Arc<Mutex<Vec<UnixStream>>>,
}

impl Way {
    /// Makes a way that is not there yet: even its socket is missing.
    pub fn missing() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), open: None, joined: Arc::default() }
    }

    pub fn open() -> Self {
        let mut way = Self::missing();
        way.mend();
        way
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("engine.sock")
    }

    /// Makes the socket and lets everybody through.
    pub fn mend(&mut self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let open = Arc::new(AtomicBool::new(true));
        self.open = Some(Arc::clone(&open));
        let joined = Arc::clone(&self.joined);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if !open.load(Ordering::SeqCst) {
                    return;
                }
                let _ = join(client.unwrap(), Path::new(SOCKET), &joined);
            }
        });
    }

    /// Breaks every connection and removes the socket, as an engine does that is killed.
    pub fn cut(&mut self) {
        if let Some(open) = self.open.take() {
            open.store(false, Ordering::SeqCst);
            // Wakes the one who accepts, who then sees that it is over.
            let _ = UnixStream::connect(self.socket());
            std::fs::remove_file(self.socket()).unwrap();
        }
        for stream in self.joined.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.cut();
    }
}

fn join(client: UnixStream, engine: &Path, joined: &Mutex<Vec<UnixStream>>) -> io::Result<()> {
    let engine = UnixStream::connect(engine)?;
    joined.lock().unwrap().extend([client.try_clone()?, engine.try_clone()?]);
    for (from, to) in [(client.try_clone()?, engine.try_clone()?), (engine, client)] {
        std::thread::spawn(move || {
            let _ = io::copy(&mut &from, &mut &to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
