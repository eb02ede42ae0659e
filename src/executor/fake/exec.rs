//! Commands beside the first, in memory. With a terminal it is a little shell that knows `echo WORDS`, `stty
//! size` and `exit CODE`, whatever the command; one whose script begins with `echo $$` tells its number first.
//! Without a terminal it gives back what it reads; one whose script has `kill -HUP` reads a number, and at the
//! end of input hangs up the shell of that number, unless another line came.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    sync::{mpsc, watch},
};

use super::{
    super::{ContainerState, EngineError, ExecPlan, ExecSession},
    FakeEngine,
};
use crate::domain::terminal::TtySize;

/// Bytes of input that wait to be read.
const UNREAD: usize = 64 << 10;

/// A command beside the first.
#[derive(Debug, Clone)]
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) container: String,
    /// What it knows itself as.
    pub(super) number: u64,
    pub(super) size: Option<TtySize>,
    pub(super) hung_up: bool,
    pub(super) exit_code: Option<i64>,
}

impl FakeEngine {
    pub(super) fn begin_exec(&self, id: &str, plan: &ExecPlan) -> Result<ExecSession, EngineError> {
        let exec = self.call("exec", |state, _| {
            let container = &state.containers[state.ours(id)?];
            if container.state != ContainerState::Running {
                return Err(EngineError::Conflict(format!("Container {id} is not running")));
            }
            let container = container.id.clone();
            state.ids += 1;
            let (id, number) = (format!("{:064x}", state.ids), state.ids);
            let exec = Exec { id, container, number, size: plan.tty, hung_up: false, exit_code: None };
            state.execs.push(exec.clone());
            Ok(exec)
        })?;
        let (input, read) = tokio::io::duplex(UNREAD);
        let (print, printed) = mpsc::unbounded_channel();
        let script = plan.command.join(" ");
        let running = Running {
            engine: self.clone(),
            changes: self.changes.subscribe(),
            departures: self.lock().departures,
            exec: exec.clone(),
            read,
            print,
        };
        if plan.tty.is_some() {
            let greeting = script.contains("-c echo $$").then(|| format!("{}\r\n", exec.number));
            tokio::spawn(running.shell(greeting));
        } else {
            tokio::spawn(running.pipe(script.contains("kill -HUP")));
        }
        let output = stream::unfold(printed, |mut printed| async move { Some((printed.recv().await?, printed)) });
        Ok(ExecSession { id: exec.id, output: output.boxed(), input: Box::new(input) })
    }

    pub(super) fn set_exec_size(&self, exec: &str, size: TtySize) -> Result<(), EngineError> {
        self.call("resize_exec", |state, _| {
            state.execs.iter_mut().filter(|known| known.id == exec).for_each(|known| known.size = Some(size));
            Ok(())
        })
    }

    pub(super) fn exit_code_of(&self, exec: &str) -> Result<Option<i64>, EngineError> {
        self.call("exec_end", |state, _| {
            Ok(state.execs.iter().find(|known| known.id == exec).and_then(|known| known.exit_code))
        })
    }
}

/// A command as it runs.
struct Running {
    engine: FakeEngine,
    changes: watch::Receiver<u64>,
    departures: u32,
    exec: Exec,
    read: DuplexStream,
    print: mpsc::UnboundedSender<Result<Bytes, EngineError>>,
}

impl Running {
    async fn shell(mut self, greeting: Option<String>) {
        self.say(greeting.unwrap_or_default() + "$ ");
        let (mut line, mut piece) = (Vec::new(), [0; 1024]);
        let code = loop {
            let Some(read) = self.next(&mut piece).await else { break 129 };
            if read == 0 {
                // The end of input is nothing that a terminal sees.
                self.changes.changed().await.ok();
                continue;
            }
            for byte in &piece[..read] {
                match byte {
                    b'\r' | b'\n' => {
                        self.say("\r\n".into());
                        let typed = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
                        if let Some(code) = self.obey(&typed) {
                            return self.end(code);
                        }
                        self.say("$ ".into());
                    }
                    byte => {
                        line.push(*byte);
                        let _ = self.print.send(Ok(Bytes::copy_from_slice(&[*byte])));
                    }
                }
            }
        };
        self.end(code);
    }

    /// Does a line; returns the code to exit with, if it is to.
    fn obey(&self, line: &str) -> Option<i64> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) => {}
            ("echo", words) => self.say(format!("{words}\r\n")),
            ("stty", "size") => {
                let size = self.seen().and_then(|exec| exec.size).unwrap_or_default();
                self.say(format!("{} {}\r\n", size.rows(), size.cols()));
            }
            ("exit", code) => return Some(code.parse().unwrap_or(0)),
            (word, _) => self.say(format!("sh: {word}: not found\r\n")),
        }
        None
    }

    async fn pipe(mut self, is_keeper: bool) {
        let (mut all, mut piece) = (Vec::new(), [0; 1024]);
        while let Some(read) = self.next(&mut piece).await
            && read > 0
        {
            all.extend_from_slice(&piece[..read]);
            if !is_keeper {
                let _ = self.print.send(Ok(Bytes::copy_from_slice(&piece[..read])));
            }
        }
        let text = String::from_utf8_lossy(&all).into_owned();
        let mut lines = text.lines();
        if let (true, Some(number), None) =
            (is_keeper, lines.next().and_then(|line| line.parse::<u64>().ok()), lines.next())
        {
            let mut state = self.engine.lock();
            let shell = state.execs.iter_mut().find(|exec: &&mut Exec| exec.number == number);
            shell.into_iter().for_each(|exec| exec.hung_up = true);
            self.engine.changed(state);
        }
        self.end(0);
    }

    /// Waits for input: how many bytes, 0 at its end; `None` when the command is ended from outside.
    async fn next(&mut self, piece: &mut [u8]) -> Option<usize> {
        loop {
            self.changes.borrow_and_update();
            if self.engine.lock().departures != self.departures {
                let _ = self.print.send(Err(EngineError::Unreachable("the fake engine went away".into())));
                return None;
            }
            if self.seen().is_none_or(|exec| exec.hung_up) {
                return None;
            }
            tokio::select! {
                read = self.read.read(piece) => return Some(read.unwrap_or(0)),
                changed = self.changes.changed() => changed.ok()?,
            }
        }
    }

    /// Returns what the engine has of it; `None` once its container does not run.
    fn seen(&self) -> Option<Exec> {
        let state = self.engine.lock();
        let container = &state.containers[state.at(&self.exec.container)?];
        let exec = state.execs.iter().find(|exec| exec.id == self.exec.id).cloned();
        exec.filter(|_| container.state == ContainerState::Running)
    }

    fn say(&self, text: String) {
        let _ = self.print.send(Ok(text.into()));
    }

    fn end(&self, code: i64) {
        let mut state = self.engine.lock();
        let known = state.execs.iter_mut().find(|exec| exec.id == self.exec.id);
        known.into_iter().for_each(|exec| exec.exit_code = Some(code));
        self.engine.changed(state);
    }
}
