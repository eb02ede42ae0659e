//! Fetches one commit of a git repository by the `git` program.
//!
//! Everything a user says reaches `git` as an argument after `--` or in an environment variable, and
//! was checked by `domain::workspace` before; no shell sees it. The program starts with an empty
//! environment, without the machine's or the user's settings, and with only the transports that move
//! bytes. `git` is never run again in a directory that a container has had: its settings and hooks
//! are the container's by then.

use std::{
    io::{self, BufReader, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::artifact::Artifacts;
use crate::domain::{
    user_path::shown,
    workspace::{GitRef, GitUrl},
};

mod words;

pub use words::GitError;

/// A user's name and password, or token, at a git server.
#[derive(Clone)]
pub struct GitCredentials {
    /// May be empty: most servers take any name beside a token.
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for GitCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitCredentials")
    }
}

/// How long a checkout may take and how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GitLimits {
    pub time: Duration,
    /// Bytes on the disk, history included.
    pub max_bytes: u64,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(30 * 60), max_bytes: 32 << 30 }
    }
}

/// What to fetch, and who watches.
pub struct GitFetch<'a> {
    pub url: &'a GitUrl,
    /// The repository's default branch when `None`.
    pub reference: Option<&'a GitRef>,
    pub credentials: Option<&'a GitCredentials>,
    pub limits: GitLimits,
    /// Is told each line that `git` prints, escaped and cut; a progress line comes again and again.
    pub progress: &'a dyn Fn(&str),
    /// Ends the fetch soon after it becomes true.
    pub cancelled: &'a AtomicBool,
}

impl GitFetch<'_> {
    /// Checks the commit out into `dest`, an empty directory, and returns its hash. After an error
    /// `dest` holds a part of it, which the caller removes. Blocks until it is done.
    ///
    /// History is left out where the server allows it; submodules and large files kept elsewhere
    /// are not fetched.
    pub fn run(&self, dest: &Path) -> Result<String, GitError> {
        self.credentials.map_or(Ok(()), check_credentials)?;
        let run = Running { fetch: self, dest, until: Instant::now() + self.limits.time };
        run.git(&["init", "--quiet", "--template=", "."])?;
        run.git(&["config", "remote.origin.url", self.url.as_str()])?;
        let commit = run.fetch_commit()?;
        run.git(&["checkout", "--quiet", "--force", "--detach", &commit])?;
        run.within_size()?;
        Ok(commit)
    }
}

/// One fetch under way.
struct Running<'a> {
    fetch: &'a GitFetch<'a>,
    dest: &'a Path,
    until: Instant,
}

/// What a run of `git` printed.
struct Printed {
    stdout: String,
    /// The last lines.
    stderr: Vec<String>,
}

impl Running<'_> {
    /// Brings the commit in and returns its hash.
    fn fetch_commit(&self) -> Result<String, GitError> {
        let wanted = self.fetch.reference.map_or("HEAD", GitRef::as_str);
        let shallow = ["--depth=1", "--", self.fetch.url.as_str(), wanted];
        match self.fetch_with(&shallow) {
            Ok(()) => return self.resolve("FETCH_HEAD^{commit}"),
            // A server may refuse to send a commit that no branch or tag is at, and none knows a
            // commit by the beginning of its hash.
            Err(GitError::RefNotFound(_) | GitError::Failed(_))
                if self.fetch.reference.is_some_and(GitRef::may_be_commit) => {}
            Err(error) => return Err(error),
        }
        let all = ["--tags", "--", self.fetch.url.as_str(), "+refs/heads/*:refs/remotes/origin/*"];
        self.fetch_with(&all)?;
        self.resolve(&format!("{wanted}^{{commit}}"))
    }

    fn fetch_with(&self, arguments: &[&str]) -> Result<(), GitError> {
        let mut line = vec!["fetch", "--progress", "--no-recurse-submodules", "--no-auto-gc"];
        if !arguments.contains(&"--tags") {
            line.push("--no-tags");
        }
        line.extend_from_slice(arguments);
        self.git(&line).map(drop)
    }

    fn resolve(&self, name: &str) -> Result<String, GitError> {
        let missing = || GitError::RefNotFound(self.fetch.reference.map_or("HEAD".into(), ToString::to_string));
        match self.git(&["rev-parse", "--verify", "--quiet", "--end-of-options", name]) {
            // Older versions print the option itself before the hash.
            Ok(printed) => printed.stdout.lines().last().map(str::to_owned).ok_or_else(missing),
            Err(GitError::Failed(_)) => Err(missing()),
            Err(error) => Err(error),
        }
    }

    /// Runs `git` once, to its end, the time-out, the size bound or the cancel.
    fn git(&self, arguments: &[&str]) -> Result<Printed, GitError> {
        let mut child = self.command(arguments).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NotInstalled,
            _ => GitError::Io(error),
        })?;
        let group = Pid::from_child(&child);
        let watched = self.watch(&mut child);
        // Helpers of git may outlive it; all of them are in its group.
        if watched.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait()?;
        let printed = watched?;
        if status.success() {
            return Ok(printed);
        }
        Err(words::explain(&printed.stderr, self.fetch.url, self.fetch.reference, self.fetch.credentials.is_some()))
    }

    /// Passes on what `git` prints until it closes its outputs.
    fn watch(&self, child: &mut Child) -> Result<Printed, GitError> {
        let (sender, lines) = mpsc::sync_channel(64);
        let stderr = child.stderr.take();
        let stdout = child.stdout.take();
        std::thread::scope(|scope| {
            if let Some(stderr) = stderr {
                scope.spawn(move || read_lines(stderr, &sender));
            }
            let stdout = scope.spawn(move || {
                let mut text = String::new();
                // A hash, or nothing.
                let read = stdout.map_or(Ok(0), |stdout| stdout.take(4096).read_to_string(&mut text));
                read.map(|_| text)
            });
            let watched = self.watch_lines(&lines);
            if watched.is_err() {
                // The readers end when nobody holds the other end of the pipes any more.
                let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
                drop(lines);
            }
            let stdout = stdout.join().map_err(|_| io::Error::other("a reader panicked"))??;
            Ok(Printed { stdout, stderr: watched? })
        })
    }

    fn watch_lines(&self, lines: &mpsc::Receiver<String>) -> Result<Vec<String>, GitError> {
        let mut last: Vec<String> = Vec::new();
        let mut measure_at = Instant::now() + Duration::from_secs(1);
        loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    (self.fetch.progress)(&line);
                    if last.len() == 20 {
                        last.remove(0);
                    }
                    last.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(last),
            }
            if self.fetch.cancelled.load(Ordering::Relaxed) {
                return Err(GitError::Cancelled);
            }
            let now = Instant::now();
            if now >= self.until {
                return Err(GitError::TimedOut(self.fetch.limits.time));
            }
            if now >= measure_at {
                self.within_size()?;
                // A large tree takes long to measure; a tenth of the time is enough for it.
                measure_at = Instant::now() + (now.elapsed() * 10).max(Duration::from_secs(1));
            }
        }
    }

    fn within_size(&self) -> Result<(), GitError> {
        let size = Artifacts::open(self.dest)?.size(u64::MAX)?;
        if size.disk_bytes > self.fetch.limits.max_bytes {
            return Err(GitError::TooLarge { limit_bytes: self.fetch.limits.max_bytes });
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        // How to reach the outside is the machine's business, and so are its certificates.
        for name in [
            "PATH",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "ALL_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "GIT_SSL_CAINFO",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("GIT_ALLOW_PROTOCOL", "https:http:git")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .current_dir(self.dest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.autocrlf=false",
            "advice.detachedHead=false",
            "init.defaultBranch=main",
            "protocol.version=2",
            "fetch.writeCommitGraph=false",
            "safe.directory=*",
            // A server that says nothing for a minute will not.
            "http.lowSpeedLimit=1",
            "http.lowSpeedTime=60",
        ] {
            command.args(["-c", setting]);
        }
        if let Some(credentials) = self.fetch.credentials {
            give_credentials(&mut command, self.fetch.url, credentials);
        }
        command.args(arguments);
        command
    }
}

/// Lets `git` ask for the credentials, and only for the host that they were given for.
///
/// A header set by configuration would be sent to wherever the server redirects to. A credential
/// helper is asked again for each host, and this one is configured for a single one. The helper is
/// a fixed line of shell; name and password reach it through the environment, so they are neither in
/// an argument that other users can list nor in a file.
fn give_credentials(command: &mut Command, url: &GitUrl, credentials: &GitCredentials) {
    const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \"$GRADIENTD_GIT_USERNAME\" \"$GRADIENTD_GIT_PASSWORD\"; }; f";
    let host = url.host();
    let mut origins = vec![format!("{}://{host}", url.scheme())];
    if url.scheme() == "http" && !host.contains(':') {
        // Servers commonly lead from http to https; the other way is never followed.
        origins.push(format!("https://{host}"));
    }
    for origin in origins {
        command.arg("-c").arg(format!("credential.{origin}.helper={HELPER}"));
    }
    let username = if credentials.username.is_empty() { "git" } else { &credentials.username };
    command.env("GRADIENTD_GIT_USERNAME", username).env("GRADIENTD_GIT_PASSWORD", &credentials.password);
}

/// Sends each line, and each state of a progress line, escaped and cut.
fn read_lines(stderr: impl Read, lines: &mpsc::SyncSender<String>) {
    let mut line = Vec::new();
    for byte in BufReader::new(stderr).bytes() {
        let Ok(byte) = byte else { return };
        if byte != b'\n' && byte != b'\r' {
            // Longer ones are cut for show anyway.
            if line.len() < 1000 {
                line.push(byte);
            }
            continue;
        }
        let text = shown(String::from_utf8_lossy(&line).trim().as_bytes());
        line.clear();
        if !text.is_empty() && lines.send(text).is_err() {
            return;
        }
    }
}

/// Refuses credentials that would be read as more than a name and a password. For saying so early;
/// a fetch checks them too.
///
/// # Errors
/// [`GitError::Credentials`].
pub fn check_credentials(credentials: &GitCredentials) -> Result<(), GitError> {
    let plain = |text: &str| text.len() <= 8192 && !text.chars().any(char::is_control);
    if plain(&credentials.username) && plain(&credentials.password) { Ok(()) } else { Err(GitError::Credentials) }
}

#[cfg(test)]
mod tests;
