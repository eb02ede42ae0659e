//! Building an image from a directory, which is sent while it is read.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
    time::Duration,
};

use bollard::{models::BuildInfo, query_parameters::BuildImageOptionsBuilder};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Docker, dockerfile, dockerignore::Ignore, failure};
use crate::{
    executor::{BuildPlan, EngineError, Image},
    fault,
};

/// How much of the context is read ahead of the engine: so many pieces of so many bytes.
const PIECES: usize = 8;
const PIECE: usize = 128 << 10;
/// How many of its last lines a failed build is told with.
const LAST_LINES: usize = 5;
/// Characters of each of them.
const LAST_CHARS: usize = 1000;
/// Bytes after which a line is handed on although it has not ended.
const LONGEST_LINE: usize = 16 << 10;
/// How long one build may take.
const LONGEST: Duration = Duration::from_secs(3600);
/// The scheduler's period that a share of the processors is counted in, in microseconds.
const CPU_PERIOD: i32 = 100_000;

impl Docker {
    pub(super) async fn build_image(
        &self,
        plan: &BuildPlan,
        output: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Image, EngineError> {
        let (dir, name) = (plan.context.clone(), plan.dockerfile.clone());
        let checked = tokio::task::spawn_blocking(move || check_dockerfile(&dir, &name)).await;
        checked
            .unwrap_or_else(|_| Err("the Dockerfile could not be looked at".to_owned()))
            .map_err(EngineError::Refused)?;
        let engine = self.connection.call(self.settings.timeouts.quick, bollard::Docker::info).await?;
        refuse_gpus(engine.default_runtime.as_deref())?;
        let network = self.network_for_build().await?;
        let mut told = self.build_once(plan, &network, output).await;
        // Nothing of a build uses the network between its steps, so it can be removed at any of them.
        if let Err(error) = &told
            && self.mends_network(error, &network).await?
        {
            let network = self.network_for_build().await?;
            told = self.build_once(plan, &network, output).await;
        }
        told?;
        let built = self.inspect_image(&plan.tag).await?;
        built.ok_or_else(|| EngineError::NotFound(format!("the build made no image called {}", plan.tag)))
    }

    async fn build_once(
        &self,
        plan: &BuildPlan,
        network: &str,
        output: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), EngineError> {
        // In KiB: see `connection`.
        let memory = i32::try_from(plan.memory_bytes / 1024).unwrap_or(i32::MAX);
        let quota = i64::from(plan.cpu_millis) * i64::from(CPU_PERIOD) / 1000;
        let labels: HashMap<&str, &str> = plan.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
        let options = BuildImageOptionsBuilder::default()
            .t(&plan.tag)
            .dockerfile(&plan.dockerfile)
            .labels(&labels)
            .networkmode(network)
            .memory(memory)
            .memswap(memory)
            .cpuperiod(CPU_PERIOD)
            .cpuquota(i32::try_from(quota).unwrap_or(i32::MAX))
            .rm(true)
            .forcerm(true);
        let (context, read) = send(plan);
        fault::point("engine.build.before");
        let told = match tokio::time::timeout(LONGEST, self.follow_build(options.build(), context, output)).await {
            Ok(told) => told,
            Err(_) => Err(EngineError::Refused(format!("it took longer than {} minutes", LONGEST.as_secs() / 60))),
        };
        fault::point("engine.build.after");
        // What could not be read is the cause of whatever the engine made of half a context.
        if let Ok(Err(error)) = read.await {
            return Err(EngineError::Refused(format!("cannot read the build's directory: {error}")));
        }
        told
    }

    async fn follow_build(
        &self,
        options: bollard::query_parameters::BuildImageOptions,
        context: mpsc::Receiver<io::Result<Bytes>>,
        output: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), EngineError> {
        let context = bollard::body_try_stream(ReceiverStream::new(context));
        let mut steps = Box::pin(self.connection.bollard().await?.build_image(options, None, Some(context)));
        let mut lines = Lines::default();
        let idle = self.settings.timeouts.idle;
        loop {
            match tokio::time::timeout(idle, steps.next()).await {
                Err(_) => return Err(failure::late(idle)),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    lines.end(output);
                    return Err(lines.blame(failure::read(error)));
                }
                Ok(Some(Ok(step))) => lines.take(step, output)?,
            }
        }
        lines.end(output);
        Ok(())
    }
}

/// The engine's output, which comes in pieces of any size, as lines.
#[derive(Default)]
struct Lines {
    started: String,
    last: std::collections::VecDeque<String>,
}

impl Lines {
    fn take(&mut self, step: BuildInfo, output: &(dyn Fn(&str) + Send + Sync)) -> Result<(), EngineError> {
        if let Some(text) = step.stream {
            for piece in text.split_inclusive('\n') {
                self.started.push_str(piece);
                if piece.ends_with('\n') || self.started.len() > LONGEST_LINE {
                    let line = std::mem::take(&mut self.started);
                    self.line(line.trim_end_matches(['\n', '\r']), output);
                }
            }
        }
        match step.error_detail.and_then(|detail| detail.message) {
            Some(message) => {
                self.end(output);
                Err(self.blame(EngineError::Refused(message.chars().take(LAST_CHARS).collect())))
            }
            None => Ok(()),
        }
    }

    fn line(&mut self, line: &str, output: &(dyn Fn(&str) + Send + Sync)) {
        let mut rest = line;
        while rest.len() > LONGEST_LINE {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(LONGEST_LINE));
            output(piece);
            rest = after;
        }
        output(rest);
        if !line.trim().is_empty() {
            self.last.push_back(line.chars().take(LAST_CHARS).collect());
            if self.last.len() > LAST_LINES {
                self.last.pop_front();
            }
        }
    }

    fn end(&mut self, output: &(dyn Fn(&str) + Send + Sync)) {
        let line = std::mem::take(&mut self.started);
        if !line.is_empty() {
            self.line(&line, output);
        }
    }

    /// Puts what was printed last beside the engine's own words.
    fn blame(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Unreachable(_) => error,
            other if self.last.is_empty() => EngineError::Refused(other.to_string()),
            other => EngineError::Refused(format!("{other}\n{}", Vec::from(self.last.clone()).join("\n"))),
        }
    }
}

/// A build's containers get the engine's default runtime, and NVIDIA's shows them every GPU, also those
/// that others hold.
fn refuse_gpus(default_runtime: Option<&str>) -> Result<(), EngineError> {
    match default_runtime {
        Some(runtime) if runtime.starts_with("nvidia") => Err(EngineError::Refused(format!(
            "the engine's default runtime is {runtime}, which would show a build the GPUs of others: \
             take default-runtime out of the engine's daemon.json, or use an image that is built already"
        ))),
        _ => Ok(()),
    }
}

fn check_dockerfile(dir: &Path, name: &str) -> Result<(), String> {
    let text = read_inside(dir, name, dockerfile::LARGEST).map_err(|error| format!("cannot read {name}: {error}"))?;
    let text = text.ok_or_else(|| format!("there is no {name} in the workspace"))?;
    dockerfile::check(&text).map_err(|why| format!("{name}, {why}"))
}

/// Reads a text of at most `largest` bytes inside `dir`, following no link; `None` when there is none.
/// Whoever filled the directory must not have us read what is elsewhere on the box.
pub(super) fn read_inside(dir: &Path, name: &str, largest: u64) -> io::Result<Option<String>> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let invalid = |words: String| io::Error::new(io::ErrorKind::InvalidData, words);
    let root = File::open(dir)?;
    // Opening a pipe must not wait for somebody to write into it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&root, name, flags, Mode::empty(), inside) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err(invalid(format!("{name} is a link: put the file itself there"))),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(invalid(format!("{name} is no file")));
    }
    let mut text = String::new();
    file.take(largest + 1).read_to_string(&mut text)?;
    if text.len() as u64 > largest {
        return Err(invalid(format!("{name} is larger than {} KiB", largest >> 10)));
    }
    Ok(Some(text))
}

type Reading = tokio::task::JoinHandle<io::Result<()>>;

/// Starts to read the context into a tar archive, a few pieces ahead of whoever takes them.
fn send(plan: &BuildPlan) -> (mpsc::Receiver<io::Result<Bytes>>, Reading) {
    let (pieces, context) = mpsc::channel(PIECES);
    let (dir, dockerfile) = (plan.context.clone(), plan.dockerfile.clone());
    let read = tokio::task::spawn_blocking(move || {
        let gone = || pieces.is_closed();
        let sent =
            archive(&dir, &dockerfile, &gone, Pieces { held: Vec::with_capacity(PIECE), pieces: pieces.clone() });
        match sent {
            // Nobody takes the pieces any more: the build ended before its context did.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => {
                let _ = pieces.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    });
    (context, read)
}

/// Writes the directory as an archive, without what its `.dockerignore` names. Links go as links,
/// so nothing outside the directory is ever read. Ends early once nobody is there to take it: a
/// directory that is left out can be long, and writes nothing that would show it.
fn archive(dir: &Path, dockerfile: &str, gone: &dyn Fn() -> bool, out: impl io::Write) -> io::Result<()> {
    let ignore = Ignore::read(dir, dockerfile)?;
    let mut tar = tar::Builder::new(out);
    tar.follow_symlinks(false);
    append(&mut tar, &ignore, dir, "", gone)?;
    tar.into_inner()?.flush()
}

fn append<W: io::Write>(
    tar: &mut tar::Builder<W>,
    ignore: &Ignore,
    dir: &Path,
    inside: &str,
    gone: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    // The engine's cache goes by the archive's contents; an order of its own would not hurt it, but
    // a build that is the same twice is easier to compare.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the name {} is not UTF-8", name.display()))
        })?;
        let path = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if ignore.leaves_out(&path) {
                // Something below may be wanted back.
                if ignore.may_want_below(&path) {
                    append(tar, ignore, &entry.path(), &path, gone)?;
                }
                continue;
            }
            tar.append_dir(&path, entry.path())?;
            append(tar, ignore, &entry.path(), &path, gone)?;
        } else if (kind.is_file() || kind.is_symlink()) && !ignore.leaves_out(&path) {
            tar.append_path_with_name(entry.path(), &path)?;
        }
        // Sockets, pipes and devices mean nothing in an image.
    }
    Ok(())
}

/// Hands on what is written in pieces, and waits while too many are not taken.
struct Pieces {
    held: Vec<u8>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

impl io::Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(data);
        if self.held.len() >= PIECE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.held, Vec::with_capacity(PIECE));
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_leaves_out_what_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Dockerfile", "FROM scratch");
        write(".dockerignore", "*\n!src\n!keep/this/one\nsrc/*.tmp\n");
        write("src/main.py", "");
        write("src/a.tmp", "");
        write("data/huge", "");
        write("keep/this/one", "");
        write("keep/this/two", "");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("src/link")).unwrap();

        let mut archived = Vec::new();
        archive(dir.path(), "Dockerfile", &|| false, &mut archived).unwrap();
        let mut archive = tar::Archive::new(&archived[..]);
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            names.push(entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned());
            if names.last().unwrap() == "src/link" {
                assert_eq!(entry.header().entry_type(), tar::EntryType::Symlink);
            }
        }
        names.sort();
        assert_eq!(names, [".dockerignore", "Dockerfile", "keep/this/one", "src", "src/link", "src/main.py"]);
    }

    #[test]
    fn reading_a_context_ends_when_nobody_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".dockerignore"), "*\n").unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let ended = archive(dir.path(), "Dockerfile", &|| true, &mut Vec::new()).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn texts_are_read_inside_the_workspace_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("plain"), "text").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path("link")).unwrap();
        std::os::unix::fs::symlink("/etc", path("etc")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(read_inside(dir.path(), "plain", 4).unwrap().as_deref(), Some("text"));
        assert_eq!(read_inside(dir.path(), "none", 4).unwrap(), None);
        for (name, largest) in [("plain", 3), ("link", 9999), ("etc/passwd", 9999), ("../x", 9), ("pipe", 9), (".", 9)]
        {
            assert!(read_inside(dir.path(), name, largest).is_err(), "{name}");
        }
    }

    #[test]
    fn a_build_is_refused_where_it_would_see_every_gpu() {
        assert!(refuse_gpus(Some("nvidia")).is_err());
        assert!(refuse_gpus(Some("runc")).is_ok() && refuse_gpus(None).is_ok());
    }

    #[test]
    fn a_line_without_an_end_is_handed_on_in_pieces() {
        let mut lines = Lines::default();
        let seen = std::sync::Mutex::new(Vec::new());
        let output = |line: &str| seen.lock().unwrap().push(line.len());
        for _ in 0..40 {
            let step = BuildInfo { stream: Some("é".repeat(1024)), ..BuildInfo::default() };
            lines.take(step, &output).unwrap();
            assert!(lines.started.len() <= LONGEST_LINE);
        }
        lines.take(BuildInfo { stream: Some("x".repeat(100_000) + "\n"), ..BuildInfo::default() }, &output).unwrap();
        lines.end(&output);
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.iter().sum::<usize>(), 40 * 2048 + 100_000);
        assert!(seen.iter().all(|length| *length <= LONGEST_LINE + 2048), "{seen:?}");
        let told = lines.blame(EngineError::Refused(String::new())).to_string();
        assert!(told.chars().count() <= LAST_LINES * (LAST_CHARS + 1));
    }

    #[test]
    fn a_failed_build_is_told_with_its_last_lines() {
        let mut lines = Lines::default();
        let step = |text: &str| BuildInfo { stream: Some(text.into()), ..BuildInfo::default() };
        let seen = std::sync::Mutex::new(Vec::new());
        let output = |line: &str| seen.lock().unwrap().push(line.to_owned());
        lines.take(step("Step 1/2 : FROM x\n"), &output).unwrap();
        lines.take(step("half a "), &output).unwrap();
        lines.take(step("line\n"), &output).unwrap();
        lines.take(step("boom"), &output).unwrap();
        lines.end(&output);
        let told = lines.blame(EngineError::Refused("returned a non-zero code: 1".into())).to_string();
        assert_eq!(told, "returned a non-zero code: 1\nStep 1/2 : FROM x\nhalf a line\nboom");
        assert_eq!(*seen.lock().unwrap(), ["Step 1/2 : FROM x", "half a line", "boom"]);
    }
}
