//! Fetches from a real server: git's own HTTP back end behind a small door that can ask for a
//! password, redirect, or hang. Nothing leaves this machine.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::ChildStdout,
};

use super::*;

const DOOR: &str = include_str!("door.py");

/// Repositories on a port of this machine; gone when dropped.
struct Server {
    child: Child,
    _out: BufReader<ChildStdout>,
    port: u16,
    root: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut child =
            Command::new("python3").args(["-c", DOOR]).arg(root.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        Self { child, _out: out, port: line.trim().parse().unwrap(), root }
    }

    /// Makes a repository of two commits on `main` and a tag `v1` at the first; returns both hashes.
    fn repository(&self, name: &str) -> (String, String) {
        let work = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| git(work.path(), arguments);
        git(&["init", "-q", "-b", "main", "."]);
        let commit = |text: &str| {
            fs::write(work.path().join("file"), text).unwrap();
            git(&["add", "-A"]);
            git(&["commit", "-q", "-m", text]);
            git(&["rev-parse", "HEAD"])
        };
        let first = commit("first");
        git(&["tag", "-a", "v1", "-m", "v1"]);
        let second = commit("second");
        let bare = self.root.path().join(name);
        git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
        fs::write(bare.join("git-daemon-export-ok"), "").unwrap();
        (first, second)
    }

    fn url(&self, path: &str) -> GitUrl {
        format!("http://127.0.0.1:{}/{path}", self.port).parse().unwrap()
    }

    /// Lists the requests so far: path and the credentials that came with it.
    fn requests(&self) -> Vec<String> {
        fs::read_to_string(self.root.path().join("requests.log"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

struct Checkout {
    dir: tempfile::TempDir,
    result: Result<String, GitError>,
    lines: Vec<String>,
}

fn fetch(url: &GitUrl, reference: Option<&str>, credentials: Option<(&str, &str)>) -> Checkout {
    fetch_within(
        url,
        reference,
        credentials,
        GitLimits { time: Duration::from_secs(60), max_bytes: 1 << 30 },
        &AtomicBool::new(false),
    )
}

fn fetch_within(
    url: &GitUrl,
    reference: Option<&str>,
    credentials: Option<(&str, &str)>,
    limits: GitLimits,
    cancelled: &AtomicBool,
) -> Checkout {
    let dir = tempfile::tempdir().unwrap();
    let reference: Option<GitRef> = reference.map(|text| text.parse().unwrap());
    let credentials = credentials.map(|(name, word)| GitCredentials { username: name.into(), password: word.into() });
    let lines = RefCell::new(Vec::new());
    let result = GitFetch {
        url,
        reference: reference.as_ref(),
        credentials: credentials.as_ref(),
        limits,
        progress: &|line| lines.borrow_mut().push(line.to_owned()),
        cancelled,
    }
    .run(dir.path());
    Checkout { dir, result, lines: lines.into_inner() }
}

fn content(checkout: &Checkout) -> String {
    fs::read_to_string(checkout.dir.path().join("file")).unwrap()
}

#[test]
fn a_branch_a_tag_and_a_commit_are_checked_out_without_history() {
    let server = Server::start();
    let (first, second) = server.repository("r.git");
    let url = server.url("r.git");
    for (reference, commit, text) in [
        (None, &second, "second"),
        (Some("main"), &second, "second"),
        (Some("refs/heads/main"), &second, "second"),
        (Some("v1"), &first, "first"),
        (Some(first.as_str()), &first, "first"),
    ] {
        let checkout = fetch(&url, reference, None);
        assert_eq!(checkout.result.as_ref().unwrap(), commit, "{reference:?}");
        assert_eq!(content(&checkout), text);
        assert_eq!(git(checkout.dir.path(), &["rev-list", "--count", "HEAD"]), "1");
        assert_eq!(git(checkout.dir.path(), &["remote", "get-url", "origin"]), url.as_str());
    }
}

#[test]
fn the_beginning_of_a_commits_hash_is_enough() {
    let server = Server::start();
    let (first, _) = server.repository("r.git");
    let checkout = fetch(&server.url("r.git"), Some(&first[..8]), None);
    assert_eq!(checkout.result.as_ref().unwrap(), &first);
    assert_eq!(content(&checkout), "first");
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::start();
    server.repository("r.git");
    git(server.root.path(), &["init", "-q", "--bare", "empty.git"]);
    let said = |path: &str, reference| fetch(&server.url(path), reference, None).result.unwrap_err();
    assert!(matches!(said("none.git", None), GitError::NotFound(_)));
    assert!(matches!(said("r.git", Some("nosuch")), GitError::RefNotFound(name) if name == "nosuch"));
    let hash = "1".repeat(40);
    assert!(matches!(said("r.git", Some(&hash)), GitError::RefNotFound(name) if name == hash));
    assert!(matches!(said("empty.git", None), GitError::EmptyRepository));
}

#[test]
fn a_host_that_does_not_answer_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["http", "git"] {
        let url: GitUrl = format!("{scheme}://127.0.0.1:{port}/r.git").parse().unwrap();
        let error = fetch(&url, None, None).result.unwrap_err();
        assert!(matches!(error, GitError::Unreachable { .. }), "{error}");
    }
    let error = fetch(&"http://no-such-host.invalid/r.git".parse().unwrap(), None, None).result.unwrap_err();
    assert!(matches!(error, GitError::Unreachable { .. }), "{error}");
}

#[test]
fn credentials_open_a_private_repository_and_stay_in_memory() {
    let server = Server::start();
    let (_, second) = server.repository("private.git");
    let url = server.url("private.git");
    assert!(matches!(fetch(&url, None, None).result, Err(GitError::CredentialsNeeded(_))));
    assert!(matches!(fetch(&url, None, Some(("ada", "wrong"))).result, Err(GitError::CredentialsRefused(_))));
    let checkout = fetch(&url, None, Some(("ada", "p:a s'\"$x%s")));
    assert_eq!(checkout.result.as_ref().unwrap(), &second);
    let found = Command::new("grep").args(["-rlF", "p:a s'\"$x"]).arg(checkout.dir.path()).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    assert!(!checkout.lines.join("\n").contains("p:a s"));
}

#[test]
fn credentials_are_not_sent_to_where_a_server_redirects() {
    let server = Server::start();
    let other = Server::start();
    other.repository("private.git");
    fs::write(server.root.path().join("redirect"), format!("http://localhost:{}", other.port)).unwrap();
    let result = fetch(&server.url("private.git"), None, Some(("ada", "p:a s'\"$x%s"))).result;
    assert!(result.is_err());
    assert!(!other.requests().is_empty(), "the redirect was not followed at all");
    assert!(other.requests().iter().all(|request| request.ends_with(" -")), "{:?}", other.requests());
}

#[test]
fn a_server_that_hangs_is_given_up_on_time_and_on_cancel() {
    let server = Server::start();
    let url = server.url("hang.git");
    let began = Instant::now();
    let limits = GitLimits { time: Duration::from_millis(500), max_bytes: 1 << 30 };
    assert!(matches!(
        fetch_within(&url, None, None, limits, &AtomicBool::new(false)).result,
        Err(GitError::TimedOut(_))
    ));
    let limits = GitLimits { time: Duration::from_secs(600), max_bytes: 1 << 30 };
    assert!(matches!(fetch_within(&url, None, None, limits, &AtomicBool::new(true)).result, Err(GitError::Cancelled)));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_checkout_over_its_size_is_refused() {
    let server = Server::start();
    server.repository("r.git");
    let limits = GitLimits { time: Duration::from_secs(60), max_bytes: 1000 };
    let result = fetch_within(&server.url("r.git"), None, None, limits, &AtomicBool::new(false)).result;
    assert!(matches!(result, Err(GitError::TooLarge { limit_bytes: 1000 })));
}

#[test]
fn a_repository_over_the_git_protocol_is_fetched() {
    let server = Server::start();
    let (_, second) = server.repository("r.git");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let exec: PathBuf = git(server.root.path(), &["--exec-path"]).into();
    let mut daemon = Command::new(exec.join("git-daemon"))
        .args(["--listen=127.0.0.1", "--reuseaddr"])
        .arg(format!("--port={port}"))
        .arg(format!("--base-path={}", server.root.path().display()))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() && Instant::now() < until {
        std::thread::yield_now();
    }
    let url: GitUrl = format!("git://127.0.0.1:{port}/r.git").parse().unwrap();
    let found = fetch(&url, None, None).result;
    let missing = fetch(&url.as_str().replace("r.git", "none.git").parse().unwrap(), None, None).result;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(found.unwrap(), second);
    assert!(matches!(missing, Err(GitError::NotFound(_))), "{missing:?}");
}

#[test]
fn credentials_that_could_be_read_as_more_are_refused() {
    for (username, password) in [("a\nhost=evil", "x"), ("a", "x\nurl=http://evil"), ("a", "\0")] {
        let credentials = GitCredentials { username: username.into(), password: password.into() };
        assert!(matches!(check_credentials(&credentials), Err(GitError::Credentials)));
    }
}

#[test]
fn a_workspace_from_git_remembers_its_commit_and_is_open_to_every_user() {
    use std::os::unix::fs::PermissionsExt;

    use crate::storage::workspace::{Contents, Prepared, prepare};
    let server = Server::start();
    let (first, _) = server.repository("r.git");
    let run = tempfile::tempdir().unwrap();
    let dest = run.path().join("workspace");
    let (url, reference, cancelled) = (server.url("r.git"), "v1".parse().unwrap(), AtomicBool::new(false));
    for _ in 0..2 {
        let fetch = GitFetch {
            url: &url,
            reference: Some(&reference),
            credentials: None,
            limits: GitLimits::default(),
            progress: &|_| {},
            cancelled: &cancelled,
        };
        assert_eq!(prepare(&dest, &Contents::Git(fetch)).unwrap(), Prepared { commit: Some(first.clone()) });
    }
    let mode = |path: &str| fs::metadata(dest.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("file"), mode(".git"), mode(".git/objects")), (0o777, 0o666, 0o777, 0o777));
}
