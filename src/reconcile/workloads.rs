//! The workload loop: moves everything that runs, or should, towards what is wanted of it.
//!
//! One pass reads the rows that are alive and the engine's list of containers, decides with
//! [`next_step`] and the scheduler, and hands each step to a task of its own, so that a stop that
//! takes its grace period holds up nobody. A workload whose step is under way is left alone until it
//! is done; this loop alone starts steps, so what a pass sees of the others cannot move under it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use tokio::sync::Semaphore;

use super::{
    Loop, Works, drive, ending, engine, launch, placement,
    prepare::Preparer,
    pump::{self, Pumps},
    source_plan,
    step::{Seen, Step, next_step},
    teardown,
};
use crate::{
    domain::{
        board::{Contact, DiskRoom},
        time::Timestamp,
        whereabouts::Located,
        workload::{Ending, State, Wanted, Workload},
    },
    executor::{ContainerState, ContainerSummary, EngineError},
    scheduler::{self, Policy},
    store::{StoreError, idle_ends, workloads},
};

/// The label that says whose container it is.
pub(super) const WORKLOAD_LABEL: &str = "gradientd.workload";
/// The label that says which attempt's.
pub(super) const ATTEMPT_LABEL: &str = "gradientd.attempt";
/// Time between two looks when nothing nudges.
const PERIOD: Duration = Duration::from_secs(5);
/// Pause before a step that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a container that no row claims is left alone, in case its row is only late.
const STRAY_GRACE: Duration = Duration::from_secs(60);
/// Our containers' ids that are remembered, so that what NVML still shows of them is not foreign.
const REMEMBERED: usize = 512;
/// With more rows than this, passes leave time between them for everybody else.
const CROWDED: usize = 500;

/// Starts the loop with what works for it.
pub fn start(works: &Works) {
    let act = Arc::new(Act {
        busy: Mutex::default(),
        starts: Arc::new(Semaphore::new(works.settings.start_parallel)),
        pumps: Pumps::new(works.clone()),
        preparer: Preparer::start(works),
        works: works.clone(),
    });
    let nudge = Arc::clone(&works.store.changes().workloads);
    let this = Workloads { act, strays: HashMap::new(), known: VecDeque::new() };
    works.tasks.spawn(drive(this, works.clone(), nudge, PERIOD));
}

struct Workloads {
    act: Arc<Act>,
    /// Containers that no row claims, and since when.
    strays: HashMap<String, Timestamp>,
    /// Engine ids of our containers, newest last.
    known: VecDeque<String>,
}

/// What steps are done with.
struct Act {
    works: Works,
    /// Rows whose step is under way.
    busy: Mutex<HashSet<i64>>,
    starts: Arc<Semaphore>,
    pumps: Pumps,
    preparer: Preparer,
}

impl Loop for Workloads {
    const NAME: &'static str = "workloads";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        let works = self.act.works.clone();
        // The order matters: what is busy, then the rows, then the engine. A step that ends in
        // between has written its row before it left the busy, so the row read here is newer.
        let heard = works.died.heard();
        let busy = self.act.busy.lock().expect("no code panics while it holds this lock").clone();
        let alive = works.store.read(workloads::alive).await.context("reading what is alive")?;
        let containers = match self.look_at_engine().await {
            Ok(containers) => containers,
            Err(error) => {
                self.say_all_wait_for_the_engine(&alive);
                return Err(error);
            }
        };
        let now = works.clock.now();
        self.remember(&containers);

        let by_attempt = by_attempt(&containers);
        works.board.set_addresses(addresses(&alive, &by_attempt, &heard));
        // Who ended while the list was under way is still in it.
        works.died.heard().iter().for_each(|container| works.board.forget_address(container));
        let seen_of = |workload: &Workload| {
            by_attempt.get(&(workload.id.as_str(), workload.attempt)).map_or(Seen::Absent, |container| seen(container))
        };
        let mut queue = Vec::new();
        let mut unprepared = Vec::new();
        let died = &works.died;
        died.forget(heard, |name| containers.iter().any(|container| container.name == name));
        for workload in alive.iter().filter(|workload| !busy.contains(&workload.seq)) {
            let seen = match seen_of(workload) {
                Seen::Running if died.take(&launch::container_name(&works.settings.box_id, workload)) => Seen::Exited,
                seen => seen,
            };
            if matches!(seen, Seen::Running | Seen::Exited) && workload.state.holds_resources() {
                self.act.pumps.ensure(workload);
            }
            match next_step(workload, seen, now) {
                Step::Wait => {}
                Step::Prepare => unprepared.push(workload.clone()),
                Step::Queue => queue.push(workload),
                step => self.act.begin(workload.clone(), step),
            }
        }
        if *works.board.disk() == DiskRoom::Full {
            // Whatever is fetched now would not fit; it is fetched when there is room.
            unprepared.clear();
        }
        unprepared.sort_by_key(|workload| (-workload.priority, workload.seq));
        // The new list first: a worker that is cancelled takes the next from it.
        self.act.preparer.offer(unprepared);
        for workload in alive.iter().filter(|workload| workload.wanted == Wanted::Stop) {
            self.act.preparer.cancel(workload.seq);
        }
        self.place(&alive, &queue, now).await?;
        self.clear_strays(&containers, &alive, now);
        if alive.len() > CROWDED {
            // With thousands waiting a look is not free; a third of the time is for looking.
            tokio::time::sleep(begun.elapsed() * 2).await;
        }
        Ok(())
    }
}

impl Workloads {
    /// Lists our containers, and notes whether the engine answers.
    async fn look_at_engine(&self) -> anyhow::Result<Vec<ContainerSummary>> {
        let works = &self.act.works;
        match works.executor.list().await {
            Ok(containers) => {
                if !matches!(*works.board.contact(), Contact::Answering { .. }) {
                    let info = works.executor.info().await.context("asking the engine what it is")?;
                    tracing::info!(engine.version = info.version, engine.api = info.api_version, "the engine answers");
                    works.board.set_contact(Contact::Answering {
                        version: info.version,
                        gpu_access: info.gpu_access.map(|way| format!("{way:?}")),
                    });
                }
                Ok(containers)
            }
            Err(error) => {
                if !matches!(*works.board.contact(), Contact::Lost { .. }) {
                    tracing::warn!(%error, "contact with the engine is lost; what runs is unknown until it is back");
                    works.board.set_contact(Contact::Lost { since: works.clock.now(), message: error.to_string() });
                }
                Err(error).context("listing containers")
            }
        }
    }

    /// Whoever waits is told why while nothing can be prepared or placed.
    fn say_all_wait_for_the_engine(&self, alive: &[Workload]) {
        let board = &self.act.works.board;
        let Contact::Lost { message, .. } = &*board.contact() else { return };
        let waiting: Vec<_> = alive.iter().filter(|workload| workload.state == State::Pending).collect();
        let reason = format!("the Docker engine does not answer ({message}); it goes on when the engine does");
        board.set_queue(placement::all_wait(&waiting, &reason));
    }

    fn remember(&mut self, containers: &[ContainerSummary]) {
        for container in containers {
            if !self.known.contains(&container.id) {
                self.known.push_back(container.id.clone());
            }
        }
        while self.known.len() > REMEMBERED.max(containers.len()) {
            self.known.pop_front();
        }
    }

    /// Lets the scheduler decide who of the queue gets a place, and launches those.
    async fn place(&self, alive: &[Workload], queue: &[&Workload], now: Timestamp) -> anyhow::Result<()> {
        let works = &self.act.works;
        if queue.is_empty() {
            works.board.set_queue(Vec::new());
            return Ok(());
        }
        if *works.board.disk() == DiskRoom::Full {
            // Whatever would start now would fail on its first write.
            works
                .board
                .set_queue(placement::all_wait(queue, "the disk of this box is full; it goes on when there is room"));
            return Ok(());
        }
        let settings = &works.settings;
        let capacity = placement::capacity(
            settings.cpu_capacity_millis,
            settings.memory_capacity_bytes,
            &works.board.inventory(),
            &works.board.readings(),
            &self.known.iter().cloned().collect(),
            settings.avoid_busy_gpus,
        );
        let idles = works.store.read(idle_ends::of_holders).await.context("reading what is idle")?;
        let waiting: Vec<_> = queue.iter().map(|workload| placement::waiting(workload)).collect();
        let running: Vec<_> = alive
            .iter()
            .filter(|workload| workload.state.holds_resources())
            .map(|workload| placement::running(workload, idles.get(&workload.seq).copied(), now))
            .collect();
        let plan = scheduler::plan(now, &waiting, &running, &capacity, &Policy::default());
        let by_id: HashMap<&str, &Workload> = queue.iter().map(|workload| (workload.id.as_str(), *workload)).collect();
        let places: Vec<_> = plan
            .starts
            .iter()
            .filter_map(|start| Some(((*by_id.get(&*start.id)?).clone(), start.gpus.clone())))
            .collect();
        works.board.set_queue(placement::reasons(&plan, &by_id));
        if places.is_empty() {
            return Ok(());
        }
        let chosen = places.clone();
        let placed = works
            .store
            .write(move |tx| {
                let mut placed = Vec::with_capacity(chosen.len());
                for (workload, gpus) in &chosen {
                    // Called off since this pass read it: the next pass withdraws it.
                    if workloads::wanted(tx, workload.seq)? == Some(Wanted::Run) {
                        workloads::place(tx, workload, gpus, now)?;
                        placed.push(workload.seq);
                    }
                }
                Ok::<_, StoreError>(placed)
            })
            .await
            .context("placing")?;
        for (workload, gpus) in places.into_iter().filter(|(workload, _)| placed.contains(&workload.seq)) {
            let workload = Workload {
                state: State::Provisioned,
                attempt: workload.attempt + 1,
                started_at: None,
                finished_at: None,
                not_before: None,
                gpus,
                memory_kills: None,
                ..workload
            };
            self.act.begin(workload, Step::Launch);
        }
        Ok(())
    }

    /// Removes containers of this box that no row claims, after a grace period: a database that was
    /// put back from a backup does not know what ran since.
    fn clear_strays(&mut self, containers: &[ContainerSummary], alive: &[Workload], now: Timestamp) {
        let claimed: HashSet<(&str, u32)> =
            alive.iter().map(|workload| (workload.id.as_str(), workload.attempt)).collect();
        let strays: HashMap<String, Timestamp> = containers
            .iter()
            // Those that mount places on S3 have a loop of their own, which knows when they are over.
            .filter(|container| !container.labels.contains_key(source_plan::SESSION_LABEL))
            .filter(|container| attempt_of(container).is_none_or(|attempt| !claimed.contains(&attempt)))
            // A launch that began in this pass has a newer attempt than the row that was read.
            .filter(|container| {
                attempt_of(container).is_none_or(|(id, attempt)| !claimed.contains(&(id, attempt.saturating_sub(1))))
            })
            .map(|container| (container.id.clone(), self.strays.get(&container.id).copied().unwrap_or(now)))
            .collect();
        self.strays = strays;
        for (id, since) in &mut self.strays {
            if now.since(*since) < STRAY_GRACE {
                continue;
            }
            // Should it fail, the grace period begins anew.
            *since = now;
            let (works, id) = (self.act.works.clone(), id.clone());
            works.tasks.clone().spawn(async move {
                tracing::warn!(container.id = id, "removing a container of this box that nothing claims");
                if let Err(error) = works.executor.remove(&id).await {
                    tracing::warn!(container.id = id, %error, "it could not be removed");
                }
            });
        }
    }
}

impl Act {
    /// Does one step in a task of its own.
    fn begin(self: &Arc<Self>, workload: Workload, step: Step) {
        self.busy.lock().expect("no code panics while it holds this lock").insert(workload.seq);
        let this = Arc::clone(self);
        self.works.tasks.spawn(async move {
            let (seq, id, title) = (workload.seq, workload.id.clone(), workload.title());
            // Also when the step panics: a workload must not stay busy for ever.
            let done = Done { act: Arc::clone(&this), seq };
            if let Err(error) = this.step(workload, step).await {
                tracing::warn!(run.id = %id, error = format!("{error:#}"), "{title}: step {step:?} failed; it will be tried again");
                // It stays busy for a moment, so that trying again does not spin.
                tokio::time::sleep(RETRY).await;
            }
            drop(done);
            this.works.store.changes().workloads.notify_one();
        });
    }

    async fn step(self: &Arc<Self>, workload: Workload, step: Step) -> anyhow::Result<()> {
        let works = &self.works;
        match step {
            Step::Wait | Step::Prepare | Step::Queue => Ok(()),
            Step::Launch => {
                let _permit = self.starts.acquire().await.context("the loop is ending")?;
                launch::launch(works, &self.pumps, workload).await
            }
            Step::Relaunch => {
                let _permit = self.starts.acquire().await.context("the loop is ending")?;
                self.relaunch(workload).await
            }
            Step::NoteStarted => launch::note_started(works, &self.pumps, workload).await,
            Step::Stop => {
                let name = launch::container_name(&works.settings.box_id, &workload);
                works.executor.stop(&name, works.settings.stop_grace).await.context("stopping")?;
                engine::note_end(works, &name);
                Ok(())
            }
            Step::RecordExit => self.record_exit(workload).await,
            Step::RecordLost => {
                let name = launch::container_name(&works.settings.box_id, &workload);
                // The list may be a moment older than the container's start; its name is sure.
                match works.executor.inspect(&name).await.context("looking for what seems lost")? {
                    Some(_) => Ok(()),
                    None => {
                        self.pumps.drained(&workload).await?;
                        self.pumps.forget(&workload);
                        let ending = ending::of_loss(&workload, works.clock.now());
                        record(works, workload, ending).await
                    }
                }
            }
            Step::RecordWithdrawn => {
                let ending = ending::of_withdrawal(&workload, works.clock.now());
                record(works, workload, ending).await
            }
            Step::TearDown => teardown::tear_down(works, &self.pumps, workload).await,
        }
    }

    /// Goes on with a launch that was broken off. A start that was asked for then may have been under
    /// way when the engine made its list; an inspect waits for it. What has run meanwhile must not be
    /// started: the engine would run it a second time.
    async fn relaunch(&self, workload: Workload) -> anyhow::Result<()> {
        let works = &self.works;
        let name = launch::container_name(&works.settings.box_id, &workload);
        let seen = works.executor.inspect(&name).await.context("looking what became of its launch")?;
        match seen.map(|seen| seen.state) {
            None | Some(ContainerState::Created) => launch::launch(works, &self.pumps, workload).await,
            Some(ContainerState::Running) => launch::note_started(works, &self.pumps, workload).await,
            Some(ContainerState::Exited | ContainerState::Removing) => {
                self.pumps.ensure(&workload);
                self.record_exit(workload).await
            }
        }
    }

    async fn record_exit(&self, workload: Workload) -> anyhow::Result<()> {
        let works = &self.works;
        let name = launch::container_name(&works.settings.box_id, &workload);
        crate::fault::point("workload.exit.before");
        let Some(seen) = works.executor.inspect(&name).await.context("asking how it ended")? else {
            let ending = ending::of_loss(&workload, works.clock.now());
            return record(works, workload, ending).await;
        };
        if matches!(seen.state, ContainerState::Running | ContainerState::Removing) {
            return Ok(());
        }
        let exit = ending::Exit {
            code: seen.exit_code,
            oom_killed: seen.oom_killed,
            started_at: seen.started_at,
            finished_at: seen.finished_at,
            error: seen.error.filter(|error| !error.is_empty()),
        };
        let now = works.clock.now();
        let row = self.fresh(&workload).await?;
        record(works, workload, ending::of_exit(&row, &exit, now)).await
    }

    /// Reads the row again: somebody may have asked it to stop since the pass read it.
    async fn fresh(&self, workload: &Workload) -> anyhow::Result<Workload> {
        let id = workload.id.clone();
        let row = self.works.store.read(move |connection| workloads::get(connection, &id)).await?;
        row.context("the row of a workload that is alive")
    }
}

/// Writes how an attempt ended: for good, or to be tried again.
pub(super) async fn record(works: &Works, workload: Workload, ending: Ending) -> anyhow::Result<()> {
    let now = works.clock.now();
    let again = ending
        .reason
        .filter(|reason| reason.may_pass() && workload.wanted == Wanted::Run && workload.attempt > 0)
        .and_then(|_| workload.retries.pause_after(workload.attempt))
        .map(|pause| now.plus(pause));
    let over_before_it_ran =
        (workload.attempt == 0 && again.is_none()).then(|| Workload { attempt: 1, ..workload.clone() });
    let (id, title) = (workload.id.clone(), workload.title());
    let words = ending.message.clone().unwrap_or_else(|| "ended well".to_owned());
    works
        .store
        .write(move |tx| workloads::ended(tx, &workload, &ending, again, now))
        .await
        .context("recording how it ended")?;
    tracing::info!(run.id = %id, again = again.is_some(), "{title}: {words}");
    if let Some(never_ran) = over_before_it_ran {
        // It has no teardown, but what was said of its setup has an end.
        pump::close(works, &never_ran).await?;
    }
    Ok(())
}

/// Takes a workload off the list of the busy, however its step ends.
struct Done {
    act: Arc<Act>,
    seq: i64,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.act.busy.lock().expect("no code panics while it holds this lock").remove(&self.seq);
    }
}

fn attempt_of(container: &ContainerSummary) -> Option<(&str, u32)> {
    let id = container.labels.get(WORKLOAD_LABEL)?;
    Some((id, container.labels.get(ATTEMPT_LABEL)?.parse().ok()?))
}

fn by_attempt(containers: &[ContainerSummary]) -> HashMap<(&str, u32), &ContainerSummary> {
    containers.iter().filter_map(|container| Some((attempt_of(container)?, container))).collect()
}

/// Returns where the containers of the present attempts are, of those that run and are not in `ended`.
fn addresses(
    alive: &[Workload],
    by_attempt: &HashMap<(&str, u32), &ContainerSummary>,
    ended: &[String],
) -> Vec<Located> {
    let ended: HashSet<&str> = ended.iter().map(String::as_str).collect();
    let reached = alive.iter().filter(|workload| workload.state.holds_resources());
    reached
        .filter_map(|workload| {
            let container = by_attempt.get(&(workload.id.as_str(), workload.attempt))?;
            let address = container.ip.filter(|_| !ended.contains(container.name.as_str()))?;
            Some(Located { run: workload.id.clone(), container: container.name.clone(), address })
        })
        .collect()
}

fn seen(container: &ContainerSummary) -> Seen {
    match container.state {
        ContainerState::Created => Seen::Created,
        ContainerState::Running => Seen::Running,
        ContainerState::Exited => Seen::Exited,
        // Somebody removes it; in a moment it is gone.
        ContainerState::Removing => Seen::Absent,
    }
}

/// Says whether an answer of the engine means that the same call may work later: it is away, or its disk
/// is full.
pub(super) fn may_pass(error: &EngineError) -> bool {
    match error {
        EngineError::Unreachable(_) => true,
        EngineError::Refused(words) => {
            let words = words.to_lowercase();
            ["no space left on device", "disk quota exceeded", "context deadline exceeded"]
                .iter()
                .any(|full| words.contains(full))
        }
        EngineError::NotFound(_) | EngineError::Conflict(_) | EngineError::Unauthorized(_) => false,
    }
}
