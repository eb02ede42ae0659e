//! The engine's side of terminals: starts a shell in a container, carries what it shows and what is typed, and
//! ends it.
//!
//! An engine lets a command run on when whoever began it goes away, so a shell would outlive a daemon that was
//! killed, and hold what it holds for ever. So a *keeper* goes with each: a second command, without a terminal,
//! that was told the shell's number and waits for the end of its input. When the daemon ends, however it does,
//! the kernel closes the keeper's connection, the engine closes its input, and it hangs up the shell, as a
//! modem would: what ignores that (`nohup`, `tmux`) was meant to go on.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
};

use super::{Works, launch};
use crate::{
    domain::{
        terminal::{TerminalEnd, TtySize},
        time::Clock,
        workload::Workload,
    },
    executor::{EngineError, ExecPlan, ExecSession, Executor},
    service::{
        ServiceError,
        live_terminals::{LiveTerminal, Opening},
    },
    store::events,
};

/// Tells its number, then becomes the best shell that is there, in the container's working directory. Nothing of
/// it is a user's text.
const SHELL: &str = "echo $$; : \"${LANG:=C.UTF-8}\"; export LANG; \
    command -v bash >/dev/null 2>&1 && exec bash; exec sh";
/// Reads the number of a shell. At the end of input, unless a word came before it, hangs up all that belongs to the
/// shell's session: some shells do not pass it on to what they have in the background. Of `/proc/N/stat` the session
/// is the fourth word after the command's name. Nothing but the shell itself is needed for it.
const KEEPER: &str = "read -r shell || exit 0; read -r word && exit 0; \
    for process in /proc/[0-9]*; do \
    { read -r stat < \"$process/stat\"; } 2>/dev/null || continue; set -- ${stat##*) }; \
    [ \"$4\" = \"$shell\" ] && kill -HUP \"${process#/proc/}\"; done";
/// Ends a shell that did not heed that.
const KILL: &str = "kill -KILL \"$1\"";

/// How long a shell may take to tell its number, and how much it may print before that.
const COMING: Duration = Duration::from_secs(30);
const GREETING: usize = 4096;
/// How long a shell that was hung up may take to end.
const GOING: Duration = Duration::from_secs(5);
/// How long a daemon that ends waits for those who look to be told.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How long to wait for the engine to know how a shell ended, and how often it is asked.
const KNOWING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Starts what opens terminals.
pub fn start(works: &Works) {
    let Some(mut openings) = works.services.terminals.openings() else { return };
    let works = works.clone();
    works.tasks.clone().spawn(async move {
        loop {
            let opening = tokio::select! {
                () = works.stop.cancelled() => return,
                opening = openings.recv() => opening,
            };
            let Some(opening) = opening else { return };
            works.tasks.spawn(serve(works.clone(), opening));
        }
    });
}

/// Opens a terminal and stays with it to its end.
async fn serve(works: Works, opening: Opening) {
    let Opening { terminal, workload, typed, sizes, answer } = opening;
    let size = *sizes.borrow();
    let shell = match Shell::start(&works, &workload, size).await {
        Ok(shell) => shell,
        Err(error) => {
            works.services.terminals.forget(&terminal.id);
            let _ = answer.send(Err(error));
            return;
        }
    };
    tracing::info!(terminal.id = %terminal.id, run.id = %workload.id, "Terminal {} is open: {}", terminal.id, workload.title());
    let _ = answer.send(Ok(()));
    let end = shell.run(&works, &terminal, typed, sizes).await;
    terminal.end(end.clone());
    if end == TerminalEnd::Shutdown {
        // Nothing waits for sockets that are open, and who looks is to hear of it.
        let _ = tokio::time::timeout(LAST_LOOK, terminal.unviewed()).await;
    }
    works.services.terminals.forget(&terminal.id);
    tracing::info!(terminal.id = %terminal.id, why = end.as_str(), "Terminal {} is closed", terminal.id);
    let (team, now) = (workload.team.clone(), works.clock.now());
    let data = serde_json::json!({ "terminal": terminal.id, "user": terminal.user, "why": end.as_str() });
    let tell = move |tx: &crate::store::Tx<'_>| {
        let (kind, subject) = workload.subject();
        events::append(tx, &team, kind, subject, "terminal-closed", data.clone(), now)
    };
    if let Err(error) = works.store.write(tell).await {
        tracing::warn!(terminal.id = %terminal.id, %error, "the end of a terminal was not recorded");
    }
}

/// A shell that runs, and what sees to its end.
struct Shell {
    id: String,
    container: String,
    /// What it is called in its container.
    number: u32,
    output: BoxStream<'static, Result<Bytes, EngineError>>,
    input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What came behind the number.
    first: Bytes,
    keeper: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Shell {
    async fn start(works: &Works, workload: &Workload, size: TtySize) -> Result<Self, ServiceError> {
        let container = launch::container_name(&works.settings.box_id, workload);
        let subject = workload.subject().1;
        let script = |script: &str, tty| ExecPlan {
            command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            env: [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            tty,
        };
        let (shell, keeper) = (script(SHELL, Some(size)), script(KEEPER, None));
        // The keeper first: a daemon that dies in between leaves one that ends by itself.
        let keeper = works.executor.exec(&container, &keeper).await.map_err(|error| refused(subject, error))?;
        crate::fault::point("terminal.keeper.after");
        let ExecSession { id, mut output, input } =
            works.executor.exec(&container, &shell).await.map_err(|error| refused(subject, error))?;
        let mut keeper = keeper.input;
        let (number, first) = match tokio::time::timeout(COMING, number(&mut output)).await {
            Ok(Ok(found)) => found,
            Ok(Err(words)) => return Err(no_shell(subject, &words)),
            Err(_) => return Err(no_shell(subject, "it did not come in time")),
        };
        let told = keeper.write_all(format!("{number}\n").as_bytes()).await;
        told.map_err(|error| no_shell(subject, &error.to_string()))?;
        crate::fault::point("terminal.shell.after");
        Ok(Self { id, container, number, output, input, first, keeper })
    }

    /// Carries what is shown and typed, until it has ended or nobody wants it any more.
    async fn run(
        mut self,
        works: &Works,
        terminal: &LiveTerminal,
        typed: mpsc::Receiver<Bytes>,
        sizes: watch::Receiver<TtySize>,
    ) -> TerminalEnd {
        let executor = &*works.executor;
        let detached = works.services.settings.terminals.detached;
        if !self.first.is_empty() {
            terminal.print(&self.first, works.clock.now());
        }
        let unwanted = tokio::select! {
            ended = print(terminal, &mut self.output, &*works.clock) => match ended {
                Ok(()) => None,
                Err(error) => return TerminalEnd::Lost(error.to_string()),
            },
            () = type_in(&mut self.input, typed) => None,
            () = resize(executor, &self.id, sizes) => None,
            end = terminal.unwanted(detached) => Some(end),
            () = works.stop.cancelled() => Some(TerminalEnd::Shutdown),
        };
        if let Some(end) = unwanted {
            self.hang_up(executor, terminal, &*works.clock).await;
            return end;
        }
        // A word before the end of its input: the keeper has nothing to hang up any more.
        let _ = self.keeper.write_all(b"done\n").await;
        let _ = self.keeper.shutdown().await;
        exit_code(executor, &self.id).await
    }

    /// Hangs up, and kills what does not heed that.
    async fn hang_up(mut self, executor: &dyn Executor, terminal: &LiveTerminal, clock: &dyn Clock) {
        let _ = self.keeper.shutdown().await;
        let rest = print(terminal, &mut self.output, clock);
        if tokio::time::timeout(GOING, rest).await.is_ok() {
            return;
        }
        let number = self.number.to_string();
        let command = ["/bin/sh", "-c", KILL, "sh", &number].map(str::to_owned).into();
        if let Err(error) = executor.exec(&self.container, &ExecPlan { command, ..ExecPlan::default() }).await {
            tracing::warn!(terminal.id = %terminal.id, %error, "a shell that does not heed a hang-up was left");
        }
    }
}

/// Reads the number that a shell tells first, and what came behind it.
///
/// # Errors
/// What came instead: the engine says there why it could not start it.
async fn number(output: &mut BoxStream<'static, Result<Bytes, EngineError>>) -> Result<(u32, Bytes), String> {
    let mut read = BytesMut::new();
    loop {
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line = read.split_to(end + 1);
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            return line.parse().map(|number| (number, read.freeze())).map_err(|_| line);
        }
        if read.len() > GREETING {
            return Err("something else answered".to_owned());
        }
        match output.next().await {
            Some(Ok(piece)) => read.extend_from_slice(&piece),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err(String::from_utf8_lossy(&read).trim().to_owned()),
        }
    }
}

/// How long a byte takes that nobody sees: 4 MB a second. What prints without end would else keep the
/// engine and the daemon busy, outside the limits of its container.
const UNSEEN: Duration = Duration::from_nanos(250);

/// Prints what comes, as fast as it is looked at, to the end.
async fn print(
    terminal: &LiveTerminal,
    output: &mut BoxStream<'static, Result<Bytes, EngineError>>,
    clock: &dyn Clock,
) -> Result<(), EngineError> {
    loop {
        terminal.room().await;
        match output.next().await {
            Some(piece) => {
                let piece = piece?;
                terminal.print(&piece, clock.now());
                let pause = UNSEEN * u32::try_from(piece.len()).unwrap_or(u32::MAX);
                let _ = tokio::time::timeout(pause, terminal.viewed()).await;
            }
            None => return Ok(()),
        }
    }
}

/// Hands on what is typed. Does not return: what the end of a shell is, its output tells.
async fn type_in(input: &mut (dyn AsyncWrite + Send + Unpin), mut typed: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = typed.recv().await {
        if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Gives the terminal each size that is asked for. Does not return.
async fn resize(executor: &dyn Executor, exec: &str, mut sizes: watch::Receiver<TtySize>) {
    while sizes.changed().await.is_ok() {
        let size = *sizes.borrow_and_update();
        if let Err(error) = executor.resize_exec(exec, size).await {
            tracing::debug!(%error, "a terminal kept its size");
        }
    }
    std::future::pending().await
}

/// Asks how a shell ended whose output is over.
async fn exit_code(executor: &dyn Executor, exec: &str) -> TerminalEnd {
    let begun = tokio::time::Instant::now();
    loop {
        match executor.exec_end(exec).await {
            Ok(Some(code)) => return TerminalEnd::Exited(Some(code)),
            Ok(None) if begun.elapsed() < KNOWING => tokio::time::sleep(LOOK_AGAIN).await,
            // Its container is gone, and what the engine knew of it.
            Ok(None) => return TerminalEnd::Exited(None),
            Err(error) => return TerminalEnd::Lost(error.to_string()),
        }
    }
}

fn refused(subject: &str, error: EngineError) -> ServiceError {
    match error {
        EngineError::NotFound(_) | EngineError::Conflict(_) => {
            let message = format!("the container of {subject} does not run: look at it again in a moment");
            ServiceError::Conflict { code: "workload_not_running", message }
        }
        EngineError::Unreachable(words) => {
            let message = format!("the container engine does not answer, so no terminal can be opened: {words}");
            ServiceError::Conflict { code: "engine_unreachable", message }
        }
        other => no_shell(subject, &other.to_string()),
    }
}

fn no_shell(subject: &str, words: &str) -> ServiceError {
    // The engine's own words; they go to a person, so nothing may draw there.
    let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
    let message = format!("no shell could be started in {subject}: its image needs /bin/sh. The engine says: {words}");
    ServiceError::Conflict { code: "terminal_failed", message }
}
