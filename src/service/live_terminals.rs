//! Terminals that are open now. They live in memory: a daemon that starts anew has none.
//!
//! Three sides meet at a [`LiveTerminal`]. The loop that holds the engine's side prints into it and takes what
//! is typed ([`Opening`]); one viewer at a time looks at it ([`Viewing`]); services find and close it.
//!
//! ```text
//!  container ──▶ print ──▶ scrollback, 256 KiB ──▶ Viewing::next ──▶ socket
//!            ◀── typed ◀── 64 pieces of 16 KiB ◀── Keyboard::type_in ◀── socket
//! ```
//!
//! Nothing grows: while somebody looks, printing waits for them; while nobody does, what is too old is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::ServiceError;
use crate::domain::{
    id::{JobId, TeamId, TerminalId, UserId},
    terminal::{Scrollback, TerminalEnd, TtySize},
    time::Timestamp,
    workload::Workload,
};

/// What of the past somebody sees who comes back, in bytes.
const KEPT: usize = 256 << 10;
/// How far a viewer may be behind before printing waits, in bytes; also the most that is handed out at once.
const BEHIND: u64 = 64 << 10;
const PIECE: usize = 32 << 10;
/// What a viewer that tells how far it has drawn may have before it, in bytes.
const UNDRAWN: u64 = 256 << 10;
/// Largest piece of input, in bytes, and how many of them wait for the program.
pub const INPUT: usize = 16 << 10;
const INPUTS: usize = 64;
/// Most terminals of all teams together.
const MOST: usize = 512;

const HELD: &str = "no code panics while it holds this lock";

/// How many terminals there may be, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalRules {
    /// One at which nobody looks for so long is closed.
    pub detached: Duration,
    /// Most of one workload.
    pub per_workload: usize,
}

impl Default for TerminalRules {
    fn default() -> Self {
        Self { detached: Duration::from_secs(600), per_workload: 16 }
    }
}

/// All terminals that are open.
pub struct LiveTerminals {
    live: Mutex<HashMap<TerminalId, Arc<LiveTerminal>>>,
    asked: mpsc::Sender<Opening>,
    /// Until the loop takes it.
    openings: Mutex<Option<mpsc::Receiver<Opening>>>,
}

/// A terminal that is to be opened, with the ends of it that the engine's side holds.
pub struct Opening {
    pub terminal: Arc<LiveTerminal>,
    pub workload: Workload,
    pub typed: mpsc::Receiver<Bytes>,
    pub sizes: watch::Receiver<TtySize>,
    /// Told once when the shell runs, or why it does not.
    pub answer: oneshot::Sender<Result<(), ServiceError>>,
}

/// Tells when a shell runs, or why it does not.
pub(super) type Answered = oneshot::Receiver<Result<(), ServiceError>>;

impl Default for LiveTerminals {
    fn default() -> Self {
        let (asked, openings) = mpsc::channel(MOST);
        Self { live: Mutex::default(), asked, openings: Mutex::new(Some(openings)) }
    }
}

impl LiveTerminals {
    /// Returns what is to be opened, to the one loop that does; `None` to any other.
    pub fn openings(&self) -> Option<mpsc::Receiver<Opening>> {
        self.openings.lock().expect(HELD).take()
    }

    /// Makes a place for a terminal and asks for its shell; the answer tells when it runs.
    pub(super) fn add(
        &self,
        id: TerminalId,
        user: UserId,
        workload: Workload,
        size: TtySize,
        rules: TerminalRules,
        now: Timestamp,
    ) -> Result<(Arc<LiveTerminal>, Answered), ServiceError> {
        let too_many = |message| ServiceError::TooMany { code: "too_many_terminals", message };
        let mut live = self.live.lock().expect(HELD);
        if live.len() >= MOST {
            return Err(too_many(format!("{MOST} terminals are open on this box, which is the most: close some")));
        }
        let here = live.values().filter(|terminal| terminal.run == workload.id).count();
        if here >= rules.per_workload {
            let most = rules.per_workload;
            return Err(too_many(format!(
                "{most} terminals are open in {}, which is the most: close some",
                workload.subject().1
            )));
        }
        let (typing, typed) = mpsc::channel(INPUTS);
        let (size, sizes) = watch::channel(size);
        let terminal = Arc::new(LiveTerminal {
            id: id.clone(),
            run: workload.id.clone(),
            team: workload.team.clone(),
            user,
            opened_at: now,
            state: Mutex::new(State {
                scrollback: Scrollback::new(KEPT),
                viewers: 0,
                viewer: None,
                left_at: Instant::now(),
                end: None,
                used_at: now,
            }),
            changed: watch::Sender::new(()),
            typing,
            size,
            closing: CancellationToken::new(),
        });
        let (answer, answered) = oneshot::channel();
        let opening = Opening { terminal: Arc::clone(&terminal), workload, typed, sizes, answer };
        if self.asked.try_send(opening).is_err() {
            return Err(too_many(
                "terminals cannot be opened now: the daemon ends, or has too many to open".to_owned(),
            ));
        }
        live.insert(id, Arc::clone(&terminal));
        Ok((terminal, answered))
    }

    /// Returns the terminals of a run, oldest first.
    pub(super) fn of_run(&self, run: &JobId) -> Vec<Arc<LiveTerminal>> {
        let live = self.live.lock().expect(HELD);
        let mut found: Vec<_> = live.values().filter(|terminal| terminal.run == *run).cloned().collect();
        found.sort_by(|one, other| (one.opened_at, &one.id).cmp(&(other.opened_at, &other.id)));
        found
    }

    pub(super) fn get(&self, id: &TerminalId) -> Option<Arc<LiveTerminal>> {
        self.live.lock().expect(HELD).get(id).cloned()
    }

    /// Forgets a terminal that is over. Who looks at it sees the rest and how it ended.
    pub fn forget(&self, id: &TerminalId) {
        self.live.lock().expect(HELD).remove(id);
    }

    /// Returns when something was last typed into a terminal of a run, or shown by one.
    pub fn used(&self, run: &JobId) -> Option<Timestamp> {
        self.of_run(run).iter().map(|terminal| terminal.used_at()).max()
    }
}

/// A terminal that is open.
pub struct LiveTerminal {
    pub id: TerminalId,
    /// Whose container the shell is in.
    pub run: JobId,
    pub team: TeamId,
    /// The only one who may look at it.
    pub user: UserId,
    pub opened_at: Timestamp,
    state: Mutex<State>,
    /// Sent whenever something of the state has changed.
    changed: watch::Sender<()>,
    typing: mpsc::Sender<Bytes>,
    size: watch::Sender<TtySize>,
    closing: CancellationToken,
}

struct State {
    scrollback: Scrollback,
    /// How many have looked so far; each has a number.
    viewers: u64,
    viewer: Option<Viewer>,
    /// Since when nobody looks.
    left_at: Instant,
    end: Option<TerminalEnd>,
    used_at: Timestamp,
}

#[derive(Clone, Copy)]
struct Viewer {
    number: u64,
    /// The place at which it began.
    begun: u64,
    /// The place up to which it has everything.
    at: u64,
    /// The place up to which it has drawn, once it tells.
    drawn: Option<u64>,
}

/// The side of the engine.
impl LiveTerminal {
    /// Waits until more may be printed.
    pub async fn room(&self) {
        let behind = |state: &State| state.viewer.map_or(0, |viewer| state.scrollback.end() - viewer.at);
        self.until(|state| (behind(state) < BEHIND).then_some(())).await;
    }

    /// Notes what the terminal shows.
    pub fn print(&self, shown: &[u8], now: Timestamp) {
        self.change(|state| {
            state.scrollback.push(shown);
            state.used_at = now;
        });
    }

    /// Notes how it ended; the first word counts.
    pub fn end(&self, end: TerminalEnd) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Waits until it is to be closed, by a person or because nobody has looked for `detached`.
    pub async fn unwanted(&self, detached: Duration) -> TerminalEnd {
        let abandoned = async {
            loop {
                self.unviewed().await;
                let ends = self.lock().left_at + detached;
                tokio::time::sleep_until(ends).await;
                // Somebody may have come meanwhile, or come and gone.
                let state = self.lock();
                if state.viewer.is_none() && state.left_at + detached <= Instant::now() {
                    return;
                }
            }
        };
        tokio::select! {
            // Who closes it is told so, also when its time is over just then.
            biased;
            () = self.closing.cancelled() => TerminalEnd::Closed,
            () = abandoned => TerminalEnd::Abandoned,
        }
    }

    /// Waits until nobody looks.
    pub async fn unviewed(&self) {
        self.until(|state| state.viewer.is_none().then_some(())).await;
    }

    /// Waits until somebody looks.
    pub async fn viewed(&self) {
        self.until(|state| state.viewer.map(|_| ())).await;
    }

    /// Waits until `look` finds something.
    async fn until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(&self.lock()) {
                return found;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The side of services.
impl LiveTerminal {
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    pub fn size(&self) -> TtySize {
        *self.size.borrow()
    }

    pub fn is_viewed(&self) -> bool {
        self.lock().viewer.is_some()
    }

    fn used_at(&self) -> Timestamp {
        self.lock().used_at
    }

    /// Lets somebody look, from the first byte that is kept on. Whoever looked before is told so.
    pub(super) fn view(self: &Arc<Self>) -> Viewing {
        let (number, at, replay) = self.change(|state| {
            state.viewers += 1;
            let at = state.scrollback.beginning();
            state.viewer = Some(Viewer { number: state.viewers, begun: at, at, drawn: None });
            (state.viewers, at, state.scrollback.end() - at)
        });
        Viewing { terminal: Arc::clone(self), number, at, replay }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(HELD)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.send_replace(());
        changed
    }
}

/// Somebody looks at a terminal; dropped, they look away.
pub struct Viewing {
    terminal: Arc<LiveTerminal>,
    number: u64,
    /// The place up to which everything was handed out.
    at: u64,
    /// Bytes at the beginning that were shown before: what they ask of a terminal was answered then.
    pub replay: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Shown(Bytes),
    /// Nothing comes any more.
    Ended(TerminalEnd),
    /// Its user looks at it from somewhere else now.
    Replaced,
}

impl Viewing {
    /// Returns how large the terminal is.
    pub fn size(&self) -> TtySize {
        self.terminal.size()
    }

    /// Returns what the viewer types with.
    pub fn keyboard(&self) -> Keyboard {
        Keyboard { terminal: Arc::clone(&self.terminal), number: self.number }
    }

    /// Waits for what comes next. Calling it says that all of what it returned before has gone on its way.
    pub async fn next(&mut self) -> Seen {
        let (number, at) = (self.number, self.at);
        self.terminal.change(|state| {
            if let Some(viewer) = state.viewer.as_mut().filter(|viewer| viewer.number == number) {
                viewer.at = at;
            }
        });
        let look = |state: &State| {
            let Some(viewer) = state.viewer.filter(|viewer| viewer.number == number) else {
                return Some((Seen::Replaced, at));
            };
            let undrawn = viewer.drawn.map_or(0, |drawn| at.saturating_sub(drawn));
            let most = PIECE.min(usize::try_from(UNDRAWN.saturating_sub(undrawn)).unwrap_or(PIECE));
            let (bytes, behind) = state.scrollback.read(at, most);
            if !bytes.is_empty() {
                return Some((Seen::Shown(bytes), behind));
            }
            let end = state.end.clone().filter(|_| state.scrollback.end() == behind);
            end.map(|end| (Seen::Ended(end), behind))
        };
        let (seen, behind) = self.terminal.until(look).await;
        self.at = behind;
        seen
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        let number = self.number;
        self.terminal.change(|state| {
            if state.viewer.is_some_and(|viewer| viewer.number == number) {
                state.viewer = None;
                state.left_at = Instant::now();
            }
        });
    }
}

/// What somebody who looks at a terminal does to it. Apart from the looking, which must go on while a program
/// reads nothing: it may be waiting for what it shows to be taken.
pub struct Keyboard {
    terminal: Arc<LiveTerminal>,
    number: u64,
}

impl Keyboard {
    /// Hands on what was typed, in pieces; waits while the program reads nothing. What comes from somebody who
    /// does not look any more is dropped.
    pub async fn type_in(&self, mut typed: Bytes, now: Timestamp) {
        while !typed.is_empty() && self.is_viewer() {
            let piece = typed.split_to(typed.len().min(INPUT));
            if self.terminal.typing.send(piece).await.is_err() {
                return;
            }
            self.terminal.lock().used_at = now;
        }
    }

    /// Gives the terminal another size.
    pub fn resize(&self, size: TtySize) {
        if self.is_viewer() {
            self.terminal.size.send_if_modified(|known| std::mem::replace(known, size) != size);
        }
    }

    /// Notes that so many bytes were drawn since the viewer began. One that says so is sent only so much before it
    /// says so again.
    pub fn drew(&self, bytes: u64) {
        self.terminal.change(|state| {
            if let Some(viewer) = state.viewer.as_mut().filter(|viewer| viewer.number == self.number) {
                viewer.drawn = Some(viewer.begun.saturating_add(bytes).min(viewer.at));
            }
        });
    }

    fn is_viewer(&self) -> bool {
        self.terminal.lock().viewer.is_some_and(|viewer| viewer.number == self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn terminal() -> (Arc<LiveTerminal>, mpsc::Receiver<Bytes>) {
        let (typing, typed) = mpsc::channel(INPUTS);
        let state = State {
            scrollback: Scrollback::new(KEPT),
            viewers: 0,
            viewer: None,
            left_at: Instant::now(),
            end: None,
            used_at: NOW,
        };
        let terminal = LiveTerminal {
            id: "tm000000000000".parse().unwrap(),
            run: "js000000000000".parse().unwrap(),
            team: "t000000".parse().unwrap(),
            user: "u00000000".parse().unwrap(),
            opened_at: NOW,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            typing,
            size: watch::Sender::new(TtySize::default()),
            closing: CancellationToken::new(),
        };
        (Arc::new(terminal), typed)
    }

    /// What `future` gives if it does not have to wait.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        use futures_util::FutureExt;
        future.now_or_never()
    }

    fn shown(text: &'static str) -> Option<Seen> {
        Some(Seen::Shown(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn who_comes_back_sees_what_was_shown_meanwhile() {
        let (terminal, _typed) = terminal();
        let mut first = terminal.view();
        assert_eq!(first.replay, 0);
        terminal.print(b"one ", NOW);
        assert_eq!(now(first.next()), shown("one "));
        drop(first);
        terminal.print(b"two", NOW);
        let mut second = terminal.view();
        assert_eq!(second.replay, 7);
        assert_eq!(now(second.next()), shown("one two"));
        assert_eq!(now(second.next()), None);
    }

    #[tokio::test]
    async fn the_second_viewer_takes_over_and_the_first_is_told() {
        let (terminal, mut typed) = terminal();
        let mut first = terminal.view();
        let keyboard = first.keyboard();
        let mut second = terminal.view();
        terminal.print(b"hello", NOW);
        assert_eq!(now(first.next()), Some(Seen::Replaced));
        keyboard.type_in(Bytes::from_static(b"rm"), NOW).await;
        keyboard.resize(TtySize::new(10, 10).unwrap());
        assert!(typed.try_recv().is_err() && terminal.size() == TtySize::default(), "the first types no more");
        drop(first);
        assert!(terminal.is_viewed(), "the second still looks");
        assert_eq!(now(second.next()), shown("hello"));
    }

    #[tokio::test]
    async fn printing_waits_for_a_viewer_and_for_nobody_else() {
        let (terminal, _typed) = terminal();
        let piece = vec![b'x'; 16 << 10];
        for _ in 0..100 {
            assert!(now(terminal.room()).is_some(), "nobody looks, so nothing waits");
            terminal.print(&piece, NOW);
        }
        let mut viewing = terminal.view();
        assert_eq!(viewing.replay, KEPT as u64, "only the last is kept");
        assert!(now(terminal.room()).is_none());
        let mut seen = 0;
        while let Some(Seen::Shown(bytes)) = now(viewing.next()) {
            seen += bytes.len();
        }
        assert_eq!(seen, KEPT);
        assert!(now(terminal.room()).is_some());
        terminal.print(&[b'x'; 70 << 10], NOW);
        assert!(now(terminal.room()).is_none());
        drop(viewing);
        assert!(now(terminal.room()).is_some(), "who has left holds up nothing");
    }

    #[tokio::test]
    async fn a_viewer_that_says_what_it_has_drawn_is_not_flooded() {
        let (terminal, _typed) = terminal();
        let mut viewing = terminal.view();
        let keyboard = viewing.keyboard();
        keyboard.drew(0);
        let mut seen = 0u64;
        for _ in 0..200 {
            if now(terminal.room()).is_some() {
                terminal.print(&[b'x'; 8 << 10], NOW);
            }
            while let Some(Seen::Shown(bytes)) = now(viewing.next()) {
                seen += bytes.len() as u64;
            }
        }
        assert_eq!(seen, UNDRAWN);
        keyboard.drew(seen);
        assert!(matches!(now(viewing.next()), Some(Seen::Shown(_))));
        keyboard.drew(u64::MAX);
        assert!(matches!(now(viewing.next()), Some(Seen::Shown(_))), "more than was sent counts as all of it");
    }

    #[tokio::test]
    async fn the_end_comes_after_everything_that_was_shown() {
        let (terminal, _typed) = terminal();
        let mut viewing = terminal.view();
        terminal.print(b"bye", NOW);
        terminal.end(TerminalEnd::Exited(Some(3)));
        terminal.end(TerminalEnd::Closed);
        assert_eq!(now(viewing.next()), shown("bye"));
        assert_eq!(now(viewing.next()), Some(Seen::Ended(TerminalEnd::Exited(Some(3)))));
    }

    #[tokio::test]
    async fn typing_waits_for_a_program_that_reads_nothing() {
        let (terminal, mut typed) = terminal();
        let viewing = terminal.view();
        let keyboard = viewing.keyboard();
        let paste = Bytes::from(vec![b'x'; (INPUTS + 1) * INPUT]);
        let mut typing = std::pin::pin!(keyboard.type_in(paste, NOW));
        assert!(now(typing.as_mut()).is_none());
        assert_eq!(typed.recv().await.unwrap().len(), INPUT);
        assert!(now(typing).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_which_nobody_looks_is_unwanted_after_its_time() {
        let (terminal, _typed) = terminal();
        let detached = Duration::from_secs(600);
        let viewing = terminal.view();
        let watched = Arc::clone(&terminal);
        let unwanted = tokio::spawn(async move { watched.unwanted(detached).await });
        tokio::time::sleep(detached * 3).await;
        assert!(!unwanted.is_finished(), "somebody looks");
        drop(viewing);
        tokio::time::sleep(detached / 2).await;
        drop(terminal.view());
        tokio::time::sleep(detached - Duration::from_secs(1)).await;
        assert!(!unwanted.is_finished(), "somebody looked in between");
        assert_eq!(unwanted.await.unwrap(), TerminalEnd::Abandoned);
        terminal.close();
        assert_eq!(terminal.unwanted(detached).await, TerminalEnd::Closed);
    }
}
