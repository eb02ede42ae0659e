//! The GPUs as NVIDIA's management library tells them.
//!
//! One thread owns the library and does one thing after the other; callers hand it a question and
//! wait for the answer up to a time limit. That is so because a bad GPU can hang a call into the
//! driver for minutes, which must cost neither a caller nor a pile of blocked threads, and because
//! the queue of XID events lives only as long as the library's handle, which the thread's stack holds.
//!
//! - `survey` finds the cards and their MIG instances, and makes the inventory of them
//! - `links` tells how the cards reach each other
//! - `reading` tells what they do and how they are
//! - `xid` listens for the driver's errors and knows which of them are the hardware's
//! - `words` puts NVML's errors into words
//!
//! Deliberately absent: nothing is set or reset here, and the driver's log is not read.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use nvml_wrapper::{Nvml, error::NvmlError};

use self::{survey::survey, xid::XidWatch};
use super::{GpuInventory, process};
use crate::domain::gpu::{GpuHealth, GpuReading, Inventory};

mod links;
mod reading;
mod survey;
mod words;
mod xid;

/// Questions that may wait for the thread. More than that only pile up behind a call that hangs.
const WAITING_QUESTIONS: usize = 16;

/// How often the driver's events are fetched while nobody asks. NVML hands out only the newest XID
/// for all events that wait, so a hardware error must be fetched before an application's covers it.
const EVENT_PERIOD: Duration = Duration::from_secs(1);

/// Where things are, and how long to wait for an answer.
#[derive(Debug, Clone)]
pub struct NvmlSettings {
    /// The library. `None`: `libnvidia-ml.so.1` on the loader's path.
    pub library: Option<PathBuf>,
    /// How long one call may take before the GPUs count as unknown.
    pub answer_within: Duration,
    /// Where to find out whose a process is.
    pub proc_root: PathBuf,
    /// Where to find out which NUMA node a card is on.
    pub sys_root: PathBuf,
}

impl Default for NvmlSettings {
    fn default() -> Self {
        Self {
            library: None,
            answer_within: Duration::from_secs(10),
            proc_root: "/proc".into(),
            sys_root: "/sys".into(),
        }
    }
}

/// The real GPUs of this machine.
///
/// A machine without the library or its driver has none, and says why in
/// [`Inventory::unavailable`]; every further question tries again, so a driver that is loaded later
/// is found without a restart.
#[derive(Debug)]
pub struct NvmlGpus {
    questions: SyncSender<Question>,
    known: Known,
    settings: NvmlSettings,
}

/// The inventory as it was seen last. Never locked while NVML is asked.
type Known = Arc<Mutex<Inventory>>;

enum Question {
    Inventory(SyncSender<Inventory>),
    Readings(SyncSender<Vec<GpuReading>>),
}

impl NvmlGpus {
    /// Starts the thread that speaks to NVML. Does not touch the library yet.
    ///
    /// # Errors
    /// When the system gives no thread. That there is no GPU, library or driver is no error.
    pub fn start(settings: NvmlSettings) -> io::Result<Self> {
        let (questions, asked) = sync_channel(WAITING_QUESTIONS);
        let known = Known::default();
        let worker = Worker { settings: settings.clone(), known: known.clone(), asked };
        // It ends when `questions` is dropped.
        thread::Builder::new().name("nvml".into()).spawn(move || worker.run())?;
        Ok(Self { questions, known, settings })
    }

    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Question) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        self.questions.try_send(question(reply)).ok()?;
        answer.recv_timeout(self.settings.answer_within).ok()
    }
}

impl GpuInventory for NvmlGpus {
    fn inventory(&self) -> Inventory {
        self.ask(Question::Inventory).unwrap_or_else(|| Inventory {
            unavailable: Some(words::no_answer(self.settings.answer_within)),
            ..lock(&self.known).clone()
        })
    }

    fn readings(&self) -> Vec<GpuReading> {
        let Some(mut readings) = self.ask(Question::Readings) else {
            return all_unknown(&lock(&self.known), &words::no_answer(self.settings.answer_within));
        };
        // Here rather than in the thread: looking up a user may go over the network, and NVML's
        // other callers need not wait for that.
        for process in readings.iter_mut().flat_map(|reading| &mut reading.processes) {
            process::describe(&self.settings.proc_root, process);
        }
        readings
    }
}

/// The thread's side.
struct Worker {
    settings: NvmlSettings,
    known: Known,
    asked: Receiver<Question>,
}

impl Worker {
    /// Answers questions until nobody can ask any more.
    fn run(self) {
        let mut open = None;
        while let Some(question) = open.take().or_else(|| self.asked.recv().ok()) {
            match self.load() {
                Ok(nvml) => {
                    tracing::info!("NVML is loaded");
                    open = self.serve(&nvml, question);
                }
                Err(error) => self.answer_without(&question, &error),
            }
        }
    }

    fn load(&self) -> Result<Nvml, NvmlError> {
        let mut builder = Nvml::builder();
        if let Some(path) = &self.settings.library {
            builder.lib_path(path.as_os_str());
        }
        builder.init()
    }

    /// Answers `question` and all that follow while the driver stays. Returns the question at which
    /// it turned out to be gone, to be answered by the driver that comes after it.
    fn serve(&self, nvml: &Nvml, question: Question) -> Option<Question> {
        let mut xids = XidWatch::default();
        self.answer(nvml, &mut xids, &question);
        loop {
            match self.asked.recv_timeout(EVENT_PERIOD) {
                Ok(question) if driver_is_gone(nvml) => {
                    tracing::warn!("the NVIDIA driver is gone; looking for it again");
                    return Some(question);
                }
                Ok(question) => self.answer(nvml, &mut xids, &question),
                Err(RecvTimeoutError::Timeout) => xids.poll(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn answer<'nvml>(&self, nvml: &'nvml Nvml, xids: &mut XidWatch<'nvml>, question: &Question) {
        let survey = match survey(nvml) {
            Ok(survey) => survey,
            Err(error) => return self.answer_without(question, &error),
        };
        let before = lock(&self.known).clone();
        xids.listen(nvml, &survey.cards);
        // An asker who stopped waiting is no error, here and below.
        match question {
            Question::Inventory(reply) => {
                let _ = reply.try_send(self.renew(nvml, &survey, &before));
            }
            Question::Readings(reply) => {
                xids.poll();
                let inventory = if survey.agrees_with(&before) { before } else { self.renew(nvml, &survey, &before) };
                let _ = reply.try_send(reading::readings(&survey, &inventory, xids));
            }
        }
    }

    fn renew(&self, nvml: &Nvml, survey: &survey::Survey<'_>, before: &Inventory) -> Inventory {
        let inventory = survey::inventory(nvml, survey, before, &self.settings.sys_root);
        if inventory.unavailable != before.unavailable
            && let Some(trouble) = &inventory.unavailable
        {
            tracing::warn!("{trouble}");
        }
        *lock(&self.known) = inventory.clone();
        inventory
    }

    /// Says that NVML does not answer: what was seen stays, and its state is unknown.
    fn answer_without(&self, question: &Question, error: &NvmlError) {
        let why = words::unavailable(error);
        let mut known = lock(&self.known);
        if known.unavailable.as_ref() != Some(&why) {
            tracing::info!("{why}");
            known.unavailable = Some(why.clone());
        }
        match question {
            Question::Inventory(reply) => drop(reply.try_send(known.clone())),
            Question::Readings(reply) => drop(reply.try_send(all_unknown(&known, &why))),
        }
    }
}

/// Tells whether the library has to be opened anew: the driver was unloaded, or upgraded under it.
fn driver_is_gone(nvml: &Nvml) -> bool {
    matches!(
        nvml.device_count(),
        Err(NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch)
    )
}

fn all_unknown(known: &Inventory, why: &str) -> Vec<GpuReading> {
    known
        .gpus
        .iter()
        .map(|gpu| GpuReading::blank(gpu.uuid.clone(), GpuHealth::Unknown { reason: why.to_owned() }))
        .collect()
}

fn lock(known: &Mutex<Inventory>) -> MutexGuard<'_, Inventory> {
    // It is replaced as a whole, so a panic elsewhere cannot have left it half-written.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
