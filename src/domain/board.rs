//! What the loops know at this moment and no table holds: how far a pull is, why something waits,
//! whether the engine answers. Losing it costs nothing; the next pass writes it anew.
//!
//! Loops write, services read. Every value is replaced whole, so a reader never sees half of one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock},
    time::Duration,
};

use super::{
    gpu::{GpuReading, Inventory},
    id::{ImportId, JobId, NotebookId, TeamId},
    import::ImportProgress,
    integration::{S3Source, SessionData},
    machine_type::Catalogue,
    notebook::{ForkProgress, NotebookSize},
    source::SourceState,
    storage_care::{FsckReport, GcReport, ImagesUsage, PartUsage},
    time::Timestamp,
    whereabouts::{Located, Reach, Whereabouts},
};

/// Whether the engine answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Contact {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    Answering {
        version: String,
        gpu_access: Result<String, String>,
    },
    /// Everything that ran is `unknown`, never `failed`.
    Lost {
        since: Timestamp,
        message: String,
    },
}

impl Contact {
    /// Says whether what the store knows of running containers is what is so.
    pub fn is_good(&self) -> bool {
        !matches!(self, Self::Lost { .. })
    }
}

/// How far something long is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// In words: `pulling image`.
    pub what: String,
    pub done_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
}

/// Why one workload waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub id: JobId,
    /// 1 is next.
    pub position: u32,
    pub reason: String,
    /// Who holds what it needs.
    pub held_by: Vec<JobId>,
    /// When it starts if everything runs to its time limit.
    pub expected_start: Option<Timestamp>,
    /// When it starts if, besides, nobody uses what stops by itself when it is idle; `None` where that is no
    /// sooner.
    pub expected_if_idle: Option<Timestamp>,
}

/// The last run of one loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopReport {
    pub last_run: Timestamp,
    pub took: Duration,
    pub error: Option<String>,
}

/// Room on the disk of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskRoom {
    #[default]
    Good,
    /// Getting full; people are told.
    Scarce,
    /// New work is refused until there is room again.
    Full,
}

/// How busy the machine is.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub hostname: String,
    pub cores: u32,
    /// Of all cores together, 0 to 100; `None` at the first look.
    pub cpu_percent: Option<f64>,
    pub memory_total_bytes: u64,
    pub memory_used_bytes: u64,
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
}

/// How much of the disk a team keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeamUsage {
    pub bytes: u64,
    /// When the count began: what came in since may be missing from it.
    pub counted_at: Timestamp,
}

/// The board itself.
pub struct Board {
    contact: Slot<Contact>,
    progress: RwLock<HashMap<JobId, Progress>>,
    queue: Slot<Vec<Waiting>>,
    loops: RwLock<BTreeMap<&'static str, LoopReport>>,
    inventory: Slot<Inventory>,
    readings: Slot<Vec<GpuReading>>,
    catalogue: Slot<Catalogue>,
    disk: Slot<DiskRoom>,
    host: Slot<Option<Load>>,
    imports: RwLock<HashMap<ImportId, ImportProgress>>,
    team_parts: Slot<HashMap<TeamId, Vec<PartUsage>>>,
    images: Slot<Option<ImagesUsage>>,
    gc: Slot<Option<GcReport>>,
    fsck: Slot<Option<FsckReport>>,
    team_usage: Slot<HashMap<TeamId, TeamUsage>>,
    whereabouts: Whereabouts,
    forks: RwLock<HashMap<NotebookId, ForkProgress>>,
    session_data: RwLock<HashMap<JobId, Arc<SessionData>>>,
    notebook_sizes: Slot<HashMap<NotebookId, NotebookSize>>,
    wanted_sources: RwLock<HashMap<JobId, Arc<BTreeMap<String, S3Source>>>>,
    sources: Slot<HashMap<(JobId, String), SourceState>>,
    unshared: Slot<Option<String>>,
}

/// One value that is replaced whole.
struct Slot<T>(RwLock<Arc<T>>);

impl<T: Default> Default for Slot<T> {
    fn default() -> Self {
        Self(RwLock::new(Arc::new(T::default())))
    }
}

const HELD: &str = "no code panics while it holds this lock";

impl<T> Slot<T> {
    fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().expect(HELD))
    }

    fn set(&self, value: T) {
        *self.0.write().expect(HELD) = Arc::new(value);
    }
}

macro_rules! slots {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $type:ty;)+) => {$(
        $(#[$doc])*
        pub fn $get(&self) -> Arc<$type> {
            self.$get.get()
        }

        /// Replaces it.
        pub fn $set(&self, value: $type) {
            self.$get.set(value);
        }
    )+};
}

impl Board {
    /// Makes a board that knows the machine types and nothing else.
    pub fn new(catalogue: Catalogue) -> Self {
        Self {
            contact: Slot::default(),
            progress: RwLock::default(),
            queue: Slot::default(),
            loops: RwLock::default(),
            inventory: Slot::default(),
            readings: Slot::default(),
            catalogue: Slot(RwLock::new(Arc::new(catalogue))),
            disk: Slot::default(),
            host: Slot::default(),
            imports: RwLock::default(),
            team_parts: Slot::default(),
            images: Slot::default(),
            gc: Slot::default(),
            fsck: Slot::default(),
            team_usage: Slot::default(),
            whereabouts: Whereabouts::default(),
            forks: RwLock::default(),
            session_data: RwLock::default(),
            notebook_sizes: Slot::default(),
            wanted_sources: RwLock::default(),
            sources: Slot::default(),
            unshared: Slot::default(),
        }
    }

    slots! {
        /// Returns whether the engine answers.
        contact, set_contact: Contact;
        /// Returns everything that waits for a place, next first.
        queue, set_queue: Vec<Waiting>;
        /// Returns the GPUs of the box.
        inventory, set_inventory: Inventory;
        /// Returns what the GPUs did when they were last looked at.
        readings, set_readings: Vec<GpuReading>;
        /// Returns the machine types.
        catalogue, set_catalogue: Catalogue;
        /// Returns how busy the machine was when it was last looked at.
        host, set_host: Option<Load>;
        /// Returns what the engine's images used when they were last counted.
        images, set_images: Option<ImagesUsage>;
        /// Returns what the last collection of unused files came to.
        gc, set_gc: Option<GcReport>;
        /// Returns the check of stored contents that is under way, or the last one.
        fsck, set_fsck: Option<FsckReport>;
        /// Returns how much room the disk has.
        disk, set_disk: DiskRoom;
        /// Returns how much every team kept when that was last counted.
        team_usage, set_team_usage: HashMap<TeamId, TeamUsage>;
        /// Returns what of that is what.
        team_parts, set_team_parts: HashMap<TeamId, Vec<PartUsage>>;
        /// Returns what every notebook kept when that was last counted.
        notebook_sizes, set_notebook_sizes: HashMap<NotebookId, NotebookSize>;
        /// Returns where the places on S3 stand that sessions want, by session and name.
        sources, set_sources: HashMap<(JobId, String), SourceState>;
        /// Returns why nothing can be mounted into sessions, where the engine said so.
        unshared, set_unshared: Option<String>;
    }

    /// Returns how far the preparation of a workload is, while it is under way.
    pub fn progress(&self, id: &JobId) -> Option<Progress> {
        self.progress.read().expect(HELD).get(id).cloned()
    }

    /// Returns why a workload waits for a place, if it does.
    pub fn waiting(&self, id: &JobId) -> Option<Waiting> {
        // A thousand waiting are looked through in microseconds; a map would be made at every pass.
        self.queue.get().iter().find(|waiting| waiting.id == *id).cloned()
    }

    /// Says how far a workload's preparation is; `None` when it is over.
    pub fn set_progress(&self, id: &JobId, progress: Option<Progress>) {
        let mut all = self.progress.write().expect(HELD);
        match progress {
            Some(progress) => all.insert(id.clone(), progress),
            None => all.remove(id),
        };
    }

    /// Returns where a workload's container is, while it runs and the workload loop has seen it.
    pub fn reach(&self, id: &JobId) -> Option<Reach> {
        self.whereabouts.reach(id)
    }

    /// Says who runs now, all at once. Of several at one address it is the newest's: see [`Whereabouts::set`].
    pub fn set_addresses(&self, now: Vec<Located>) {
        self.whereabouts.set(now);
    }

    /// Forgets where a container is that has ended, before its address is somebody else's.
    pub fn forget_address(&self, container: &str) {
        self.whereabouts.forget(container);
    }

    /// Returns how far an import is, while it is under way.
    pub fn import_progress(&self, id: &ImportId) -> Option<ImportProgress> {
        self.imports.read().expect(HELD).get(id).copied()
    }

    /// Says how far an import is; `None` when it is over.
    pub fn set_import_progress(&self, id: &ImportId, progress: Option<ImportProgress>) {
        let mut all = self.imports.write().expect(HELD);
        match progress {
            Some(progress) => all.insert(id.clone(), progress),
            None => all.remove(id),
        };
    }

    /// Returns how far the copying of a fork's files is, while it is under way.
    pub fn fork(&self, id: &NotebookId) -> Option<ForkProgress> {
        self.forks.read().expect(HELD).get(id).cloned()
    }

    /// Says how far the copying of a fork's files is; `None` when it is over.
    pub fn set_fork(&self, id: &NotebookId, progress: Option<ForkProgress>) {
        let mut all = self.forks.write().expect(HELD);
        match progress {
            Some(progress) => all.insert(id.clone(), progress),
            None => all.remove(id),
        };
    }

    /// Returns the places on S3 that a session is to have, by name; `None` while that is not known, as after
    /// a restart, when nothing may be taken from it.
    pub fn wanted_sources(&self, session: &JobId) -> Option<Arc<BTreeMap<String, S3Source>>> {
        self.wanted_sources.read().expect(HELD).get(session).cloned()
    }

    /// Says which places on S3 a session is to have.
    pub fn want_sources(&self, session: &JobId, wanted: BTreeMap<String, S3Source>) {
        self.wanted_sources.write().expect(HELD).insert(session.clone(), Arc::new(wanted));
    }

    /// Forgets what is wanted of all sessions but these.
    pub fn keep_wanted_sources(&self, keep: &dyn Fn(&JobId) -> bool) {
        self.wanted_sources.write().expect(HELD).retain(|id, _| keep(id));
    }

    /// Returns where one place on S3 of a session stands; `None` while nobody has looked at it.
    pub fn source(&self, session: &JobId, name: &str) -> Option<SourceState> {
        self.sources.get().get(&(session.clone(), name.to_owned())).cloned()
    }

    /// Returns what only the loop knows of the data of a session, once it has looked.
    pub fn session_data(&self, id: &JobId) -> Option<Arc<SessionData>> {
        self.session_data.read().expect(HELD).get(id).cloned()
    }

    /// Says how the data of a session is. Says whether that is news.
    pub fn set_session_data(&self, id: &JobId, data: SessionData) -> bool {
        let before = self.session_data.write().expect(HELD).insert(id.clone(), Arc::new(data.clone()));
        before.is_none_or(|before| *before != data)
    }

    /// Forgets the data of all sessions but these.
    pub fn keep_session_data(&self, keep: &dyn Fn(&JobId) -> bool) {
        self.session_data.write().expect(HELD).retain(|id, _| keep(id));
    }

    /// Returns the last run of every loop, by name.
    pub fn loops(&self) -> BTreeMap<&'static str, LoopReport> {
        self.loops.read().expect(HELD).clone()
    }

    /// Notes a run of a loop.
    pub fn report(&self, name: &'static str, report: LoopReport) {
        self.loops.write().expect(HELD).insert(name, report);
    }
}
