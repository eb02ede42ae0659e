//! The original `gradient` command line, unchanged, in the virtual environments that `tests/run` makes.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Instant,
};

use crate::daemon::{Daemon, PATIENCE};

/// The two generations that people have.
pub const VERSIONS: [&str; 2] = ["1.11.0", "2.0.6"];

/// The client of one version, pointed to a daemon as its user would point it.
pub struct Client {
    version: &'static str,
    variables: Vec<(String, String)>,
    home: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Client {
    /// A client with the admin's key.
    pub fn of(daemon: &Daemon, version: &'static str) -> Self {
        Self::with_key(daemon, version, &daemon.key())
    }

    pub fn with_key(daemon: &Daemon, version: &'static str, key: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let at_home = [("HOME", home.path().to_str().unwrap())];
        let exports = String::from_utf8(daemon.run_as(&["gradient-env"], &at_home).stdout).unwrap();
        let export = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let mut variables: Vec<_> = exports.lines().filter_map(export).collect();
        assert!(variables.len() > 4, "{exports}");
        variables.push(("PAPERSPACE_API_KEY".to_owned(), key.to_owned()));
        Self { version, variables, home }
    }

    /// The same client with one of its variables left out, or set to something else.
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    /// A directory of this client's user.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a command in the user's directory and waits for its end.
    pub fn run(&self, args: &[&str]) -> Said {
        self.run_program("gradient", args, "")
    }

    /// Runs a command that asks something, and answers it.
    pub fn answering(&self, args: &[&str], answers: &str) -> Said {
        self.run_program("gradient", args, answers)
    }

    /// Runs a Python script that uses the SDK.
    pub fn python(&self, script: &str) -> Said {
        self.run_program("python", &["-c", script], "")
    }

    fn run_program(&self, program: &str, args: &[&str], answers: &str) -> Said {
        std::fs::write(self.home().join(".in"), answers).unwrap();
        let mut child = Command::new(environments().join(self.version).join("bin").join(program))
            .args(args)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            // It packs every workspace into a file of one name there.
            .env("TMPDIR", self.home())
            .env("PAPERSPACE_USE_CONSOLE_COLORS", "false")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home())
            .stdin(std::fs::File::open(self.home().join(".in")).unwrap())
            .stdout(self.spill("out"))
            .stderr(self.spill("err"))
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        };
        let read = |name: &str| String::from_utf8_lossy(&std::fs::read(self.home().join(name)).unwrap()).into_owned();
        Said { code, out: read(".out"), err: read(".err") }
    }

    fn spill(&self, name: &str) -> std::fs::File {
        std::fs::File::create(self.home().join(format!(".{name}"))).unwrap()
    }

    /// Runs a command that has to go well, and returns what it printed.
    pub fn says(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert!(said.code == Some(0) && said.complaints().is_empty(), "{} {args:?}: {said:?}", self.version);
        said.out
    }

    /// Runs a command that has to be refused in words, and returns them. Its exit code is 0 all the same.
    pub fn is_refused(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert!(said.code == Some(0) && !said.err.trim().is_empty(), "{} {args:?}: {said:?}", self.version);
        assert!(!said.err.contains("Traceback"), "{} {args:?}: {said:?}", self.version);
        said.err
    }
}

impl Said {
    /// Returns what it printed on standard error beside bars that show how far an upload is.
    fn complaints(&self) -> Vec<&str> {
        let is_bar = |line: &str| line.contains('%') && line.contains("Elapsed Time:");
        self.err.split(['\n', '\r']).filter(|line| !line.trim().is_empty() && !is_bar(line)).collect()
    }
}

/// Returns the last word of the first line that begins with `label`.
pub fn id_after(printed: &str, label: &str) -> String {
    let line = printed.lines().find(|line| line.contains(label));
    let line = line.unwrap_or_else(|| panic!("no line has {label:?}: {printed}"));
    line.split_whitespace().last().unwrap().to_owned()
}

/// Where the virtual environments are; made by the script that `tests/run` calls, too.
pub fn environments() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/gradient-clients");
        let made = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "the clients could not be installed");
        PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
    })
}
