//! Mounts places on S3 for sessions of notebooks: for each a container of ours that serves it. A session never
//! waits for one; [`notebook_data`](super::notebook_data) links it beneath `/datasets` when it is there.
//!
//! What is wanted stands on the board, as does where each stands. What is so is read anew at each pass, from
//! the engine's list and the kernel's table of mounts, so a restart of the daemon finds everything as it is.
//! Nothing here looks into what is mounted: whoever serves it may be dead, and it may be somebody's bucket.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use tokio::time::Instant;

use super::{
    Loop, Works, drive,
    source_act::{Server, obstacle},
    source_plan::{NAME_LABEL, OPEN_LABEL, Owner, PLACE_LABEL, SourceId, fingerprint},
    source_step::{Seen, Step, Wanted, next_step},
    source_words::CLOSED,
    workloads::WORKLOAD_LABEL,
};
use crate::{
    domain::{
        id::JobId,
        integration::S3Source,
        source::SourceState,
        workload::{Kind, Workload},
    },
    executor::{ContainerState, ContainerSummary},
    service::blocking,
    storage::layout::DataDir,
    store::workloads,
};

/// Where a session sees what is mounted for it, for the links in `/datasets` to lead to.
pub(super) const SOURCES: &str = "/opt/gradientd/sources";
/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(2);
/// Pause after a first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Returns where a session sees the files of a place.
pub(super) fn path_of(name: &str) -> String {
    format!("{SOURCES}/{name}/files")
}

/// Starts the loop.
pub fn start(works: &Works) {
    let act = Arc::new(Act { server: Server::new(works), busy: Mutex::default(), failed: Mutex::default() });
    let this = Sources { works: works.clone(), act, idle: false };
    works.tasks.spawn(drive(this, works.clone(), Arc::default(), PERIOD));
}

struct Sources {
    works: Works,
    act: Arc<Act>,
    /// The last look found nothing to look after: no container of ours is left.
    idle: bool,
}

/// What steps are done with.
struct Act {
    server: Server,
    /// Whose step is under way.
    busy: Mutex<HashSet<SourceId>>,
    failed: Mutex<HashMap<SourceId, Failure>>,
}

/// Most places of one session, each of which is a container that no machine type pays for.
const MOST: usize = 8;

fn refused(id: &SourceId) -> ((JobId, String), SourceState) {
    let words = format!("a notebook has {MOST} places on S3 at the same time at most: take one away");
    ((id.session.clone(), id.name.clone()), SourceState::Failed(words))
}

/// How often something failed in a row.
#[derive(Debug, Clone)]
struct Failure {
    words: String,
    tries: u32,
    again: Instant,
}

/// One place on S3 that a session is to have.
#[derive(Debug, Clone)]
struct Ask {
    workload: Workload,
    owner: Owner,
    source: S3Source,
}

/// What is wanted by all sessions.
#[derive(Default)]
struct Asked {
    by_id: BTreeMap<SourceId, Ask>,
    /// Those beyond what one session may have.
    too_many: HashSet<SourceId>,
    /// Sessions of which it is not known.
    unknown: HashSet<JobId>,
    /// Every session that is not over and tidied.
    alive: HashSet<JobId>,
}

impl Loop for Sources {
    const NAME: &'static str = "sources";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let works = &self.works;
        // The order matters. Directories, then rows: one that is seen has a row unless its session is over.
        // Then what is busy, and then the engine: what a step has done by now is seen there.
        let data = works.data.clone();
        let directories = blocking(move || directories(&data)).await.context("looking for what is mounted")?;
        let asked = self.asked().await?;
        if self.idle && asked.by_id.is_empty() && directories.is_empty() {
            if !works.board.sources().is_empty() {
                works.board.set_sources(HashMap::new());
            }
            return Ok(());
        }
        let busy = self.act.busy.lock().expect(HELD).clone();
        let containers = works.executor.list().await.context("listing containers")?;
        let mounts = works.settings.sources.fuse.mounts()?;
        let ours: BTreeMap<SourceId, &ContainerSummary> = containers
            .iter()
            .filter_map(|container| Some((SourceId::of_labels(&container.labels)?, container)))
            .filter(|(id, container)| container.name == id.container(&works.settings.box_id))
            .collect();
        let closed = closed_sessions(&containers);
        let closed_why = || obstacle(works).unwrap_or_else(|| CLOSED.to_owned());
        let ids: BTreeSet<&SourceId> = asked
            .by_id
            .keys()
            .chain(ours.keys())
            .chain(directories.iter().filter_map(|directory| directory.id.as_ref()))
            .collect();
        self.idle = !containers.iter().any(|container| container.labels.contains_key(NAME_LABEL));

        let mut states: HashMap<_, _> = asked.too_many.iter().map(refused).collect();
        for id in ids {
            let ask = asked.by_id.get(id);
            let container = ours.get(id).copied();
            let source = works.data.source(&id.session, &id.name);
            let seen = Seen {
                container: container.map(|container| container.state),
                outdated: ask.zip(container).is_some_and(|(ask, container)| {
                    container.labels.get(PLACE_LABEL) != Some(&fingerprint(&id.name, &ask.source))
                }),
                mounted: mounts.beneath(source.root()).next().is_some(),
                directory: directories.iter().any(|directory| directory.id.as_ref() == Some(id)),
            };
            let closed = closed.contains(&id.session);
            let there = ask.is_some() && !closed && is_there(seen);
            if ask.is_some() {
                let state = if closed { SourceState::Failed(closed_why()) } else { self.act.state(id, there) };
                states.insert((id.session.clone(), id.name.clone()), state);
            }
            if busy.contains(id) {
                continue;
            }
            let wanted = match ask {
                _ if asked.unknown.contains(&id.session) => Wanted::Unknown,
                Some(_) if !closed => Wanted::Yes { now: self.act.may_try(id) },
                _ => Wanted::No,
            };
            match next_step(wanted, seen) {
                Step::Wait => {}
                step => self.act.begin(works, id.clone(), ask.cloned(), container.cloned(), step),
            }
        }
        if *works.board.sources() != states {
            works.board.set_sources(states);
            // It links what came and tells people.
            works.services.data_nudge().notify_one();
        }
        works.board.keep_wanted_sources(&|session| asked.alive.contains(session));
        self.act.forget(&asked);
        self.tidy(&containers, &directories, &asked, &busy);
        Ok(())
    }
}

impl Sources {
    /// Reads what sessions are to have.
    async fn asked(&self) -> anyhow::Result<Asked> {
        let alive = self.works.store.read(workloads::alive).await.context("reading what is alive")?;
        let mut asked = Asked::default();
        for workload in alive {
            let Kind::Notebook(notebook) = &workload.kind else { continue };
            asked.alive.insert(workload.id.clone());
            if !workload.state.holds_resources() {
                continue;
            }
            let Some(wanted) = self.works.board.wanted_sources(&workload.id) else {
                asked.unknown.insert(workload.id.clone());
                continue;
            };
            let owner = Owner { team: workload.team.clone(), notebook: notebook.clone() };
            for (n, (name, source)) in wanted.iter().enumerate() {
                let id = SourceId { session: workload.id.clone(), name: name.clone() };
                if n >= MOST {
                    asked.too_many.insert(id);
                    continue;
                }
                let ask = Ask { workload: workload.clone(), owner: owner.clone(), source: source.clone() };
                asked.by_id.insert(id, ask);
            }
        }
        Ok(asked)
    }

    /// Removes what steps that were cut off left: a container that took a mount away, the empty directory of
    /// a session that is over.
    fn tidy(
        &self,
        containers: &[ContainerSummary],
        directories: &[Directory],
        asked: &Asked,
        busy: &HashSet<SourceId>,
    ) {
        for directory in directories.iter().filter(|directory| directory.id.is_none()) {
            if !asked.alive.contains(&directory.session) {
                // Only when it is empty; the next pass looks again.
                let _ = fs::remove_dir(self.works.data.session_sources(&directory.session));
            }
        }
        for container in containers {
            let Some(id) = SourceId::of_labels(&container.labels) else { continue };
            if container.name == id.cleaner(&self.works.settings.box_id) && !busy.contains(&id) {
                let (executor, container) = (Arc::clone(&self.works.executor), container.id.clone());
                self.works.tasks.spawn(async move {
                    if let Err(error) = executor.remove(&container).await {
                        tracing::warn!(container.id = container, %error, "a container that ended could not be removed");
                    }
                });
            }
        }
    }
}

const HELD: &str = "no code panics while it holds this lock";

impl Act {
    /// Does one step in a task of its own.
    fn begin(
        self: &Arc<Self>,
        works: &Works,
        id: SourceId,
        ask: Option<Ask>,
        container: Option<ContainerSummary>,
        step: Step,
    ) {
        self.busy.lock().expect(HELD).insert(id.clone());
        let this = Arc::clone(self);
        works.tasks.spawn(async move {
            // Also when the step panics: nothing may stay busy for ever.
            let done = Done { act: Arc::clone(&this), id };
            let (session, name) = (&done.id.session, &done.id.name);
            if let Err(words) = this.step(&done.id, ask, container, step).await {
                tracing::warn!(session = %session, source = name, error = words, "a source is not mounted; trying again");
                this.fail(&done.id, words);
            }
        });
    }

    /// # Errors
    /// What went wrong, in words for a person.
    async fn step(
        &self,
        id: &SourceId,
        ask: Option<Ask>,
        container: Option<ContainerSummary>,
        step: Step,
    ) -> Result<(), String> {
        match (step, ask) {
            (Step::Serve, Some(ask)) => self.server.serve(id, &ask.workload, &ask.owner, &ask.source).await,
            (Step::Note, Some(ask)) => Err(self.server.note(id, &ask.workload, &ask.source).await?),
            (Step::End, _) => self.server.end(id, container.as_ref()).await,
            (Step::Clean, _) => self.server.clean(id).await,
            (Step::Forget, _) => self.server.forget(id).await,
            (Step::Wait | Step::Serve | Step::Note, _) => Ok(()),
        }
    }

    /// Returns where something stands that is wanted.
    fn state(&self, id: &SourceId, there: bool) -> SourceState {
        let mut failed = self.failed.lock().expect(HELD);
        if there {
            failed.remove(id);
            return SourceState::Mounted;
        }
        failed.get(id).map_or(SourceState::Mounting, |failure| SourceState::Failed(failure.words.clone()))
    }

    fn may_try(&self, id: &SourceId) -> bool {
        self.failed.lock().expect(HELD).get(id).is_none_or(|failure| failure.again <= Instant::now())
    }

    fn fail(&self, id: &SourceId, words: String) {
        let mut failed = self.failed.lock().expect(HELD);
        let tries = failed.get(id).map_or(0, |failure| failure.tries);
        let again = Instant::now() + pause_after(tries);
        failed.insert(id.clone(), Failure { words, tries: tries + 1, again });
    }

    /// Forgets failures of what nobody wants any more.
    fn forget(&self, asked: &Asked) {
        self.failed
            .lock()
            .expect(HELD)
            .retain(|id, _| asked.by_id.contains_key(id) || asked.unknown.contains(&id.session));
    }
}

fn pause_after(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE)
}

/// Says whether its files are there. What is mounted while nothing runs is dead.
fn is_there(seen: Seen) -> bool {
    seen.container == Some(ContainerState::Running) && seen.mounted && !seen.outdated
}

/// Takes a source off the list of the busy, however its step ends.
struct Done {
    act: Arc<Act>,
    id: SourceId,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.act.busy.lock().expect(HELD).remove(&self.id);
    }
}

/// A directory in which something is, was or is to be mounted; or a session's, which holds them.
struct Directory {
    session: JobId,
    id: Option<SourceId>,
}

/// Lists the directories of all sessions, and looks into none that may have something mounted.
fn directories(data: &DataDir) -> io::Result<Vec<Directory>> {
    let mut found = Vec::new();
    for session in fs::read_dir(data.sources())? {
        let Some(Ok(session)) = session?.file_name().to_str().map(str::parse::<JobId>) else { continue };
        let entries = match fs::read_dir(data.session_sources(&session)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let id = Some(SourceId { session: session.clone(), name });
            found.push(Directory { session: session.clone(), id });
        }
        found.push(Directory { session, id: None });
    }
    Ok(found)
}

/// Returns the sessions whose containers were made so that nothing can come into them.
fn closed_sessions(containers: &[ContainerSummary]) -> HashSet<JobId> {
    containers
        .iter()
        .filter(|container| !container.labels.contains_key(OPEN_LABEL))
        .filter_map(|container| container.labels.get(WORKLOAD_LABEL)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SourceId {
        SourceId { session: "js0123456789ab".parse().unwrap(), name: "lab".to_owned() }
    }

    #[test]
    fn pauses_grow_and_end_growing() {
        assert_eq!(pause_after(0), Duration::from_secs(5));
        assert_eq!(pause_after(3), Duration::from_secs(40));
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn what_a_dead_program_left_mounted_is_not_there() {
        let seen = Seen { mounted: true, directory: true, ..Seen::default() };
        assert!(!is_there(seen));
        assert!(!is_there(Seen { container: Some(ContainerState::Exited), ..seen }));
        assert!(is_there(Seen { container: Some(ContainerState::Running), ..seen }));
        assert!(!is_there(Seen { container: Some(ContainerState::Running), outdated: true, ..seen }));
    }

    #[test]
    fn directories_are_found_without_a_look_into_what_is_mounted() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::create(temp.path()).unwrap();
        data.create_session_sources(&id().session).unwrap();
        data.source(&id().session, "lab").create().unwrap();
        fs::create_dir(data.sources().join("nonsense")).unwrap();
        let found = directories(&data).unwrap();
        let ids: Vec<_> = found.into_iter().map(|directory| directory.id).collect();
        assert_eq!(ids, [Some(id()), None]);
    }
}
