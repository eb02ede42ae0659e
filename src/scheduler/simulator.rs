//! Runs made-up jobs through [`plan`] on a made-up box, in made-up time.
//!
//! It stands in for the loop, the ledger and the engine: it keeps its own books, and refuses a plan
//! that gives away what somebody has, breaks up a gang, forgets one of the waiting, or breaks a
//! promise made to a head. The tests and the benchmark use it; the daemon does not.

mod books;
mod load;

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{Capacity, Plan, Policy, Waiting, plan};
use crate::domain::time::Timestamp;
use books::Books;

pub use load::{Load, machine};

/// One job of a simulated load.
#[derive(Debug, Clone)]
pub struct SimulatedJob {
    /// Arrives at its `since`.
    pub waiting: Waiting,
    /// How long it runs, cut short by its time limit.
    pub runs: Duration,
}

/// What a load made of a box.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub jobs: usize,
    pub passes: usize,
    /// From the first arrival to the last end.
    pub took: Duration,
    pub mean_wait: Duration,
    pub longest_wait: Duration,
    /// Parts of one, over the whole time.
    pub cpu_used: f64,
    pub gpus_used: f64,
    /// How many heads were promised a time.
    pub promises: usize,
    /// The longest queue that a pass had to walk.
    pub longest_queue: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} jobs in {:.1} h, {} passes, queue up to {}: GPUs {:.1} % used, cores {:.1} %; wait {:.1} min on average, \
             {:.1} h at most; {} promises, all kept",
            self.jobs,
            self.took.as_secs_f64() / 3600.0,
            self.passes,
            self.longest_queue,
            self.gpus_used * 100.0,
            self.cpu_used * 100.0,
            self.mean_wait.as_secs_f64() / 60.0,
            self.longest_wait.as_secs_f64() / 3600.0,
            self.promises,
        )
    }
}

/// A rule that a plan broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {what}")]
pub struct Broken {
    pub at: Timestamp,
    pub what: String,
}

/// Runs `jobs` to their ends on `capacity`, planning whenever one arrives or ends.
///
/// # Errors
/// [`Broken`] at the first plan that breaks a rule, and when somebody is left who never starts.
pub fn simulate(capacity: &Capacity, policy: &Policy, mut jobs: Vec<SimulatedJob>) -> Result<Report, Broken> {
    jobs.sort_by_key(|job| (job.waiting.since, job.waiting.seq));
    let lengths: BTreeMap<Box<str>, Duration> = jobs.iter().map(|job| (job.waiting.id.clone(), job.runs)).collect();
    let first = jobs.first().map_or(Timestamp(0), |job| job.waiting.since);
    let total = jobs.len();
    let mut arrivals = jobs.into_iter().map(|job| job.waiting).peekable();
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut books = Books::new(capacity);
    let (mut passes, mut longest_queue) = (0, 0);
    let mut promises = Promises::default();
    while let Some(now) = arrivals.peek().map(|one| one.since).into_iter().chain(books.next_end()).min() {
        books.advance(now);
        while let Some(one) = arrivals.next_if(|one| one.since <= now) {
            promises.arrived(&one);
            waiting.push(one);
        }
        let broken = |what| Broken { at: now, what };
        let plan = plan(now, &waiting, books.running(), capacity, policy);
        passes += 1;
        longest_queue = longest_queue.max(waiting.len());
        promises.check(now, &plan, &waiting).map_err(broken)?;
        waiting = books.start(now, waiting, &plan, &lengths).map_err(broken)?;
    }
    if let Some(left) = waiting.first() {
        return Err(Broken {
            at: books.now(),
            what: format!("{} and {} more never started", left.id, waiting.len() - 1),
        });
    }
    let promises = promises.made;
    Ok(books.report(first, Report { jobs: total, passes, promises, longest_queue, ..Report::default() }))
}

impl Default for Report {
    fn default() -> Self {
        let zero = Duration::ZERO;
        Self {
            jobs: 0,
            passes: 0,
            took: zero,
            mean_wait: zero,
            longest_wait: zero,
            cpu_used: 0.0,
            gpus_used: 0.0,
            promises: 0,
            longest_queue: 0,
        }
    }
}

/// What the head was told, while nobody came who goes before it.
#[derive(Default)]
struct Promises {
    standing: Option<(Waiting, Timestamp)>,
    made: usize,
}

impl Promises {
    /// Somebody who goes before the head takes its place, and the promise with it.
    fn arrived(&mut self, one: &Waiting) {
        self.standing.take_if(|(head, _)| one.priority > head.priority || one.gang.is_some());
    }

    fn check(&mut self, now: Timestamp, plan: &Plan, waiting: &[Waiting]) -> Result<(), String> {
        let started = |id: &str| plan.starts.iter().any(|start| *start.id == *id);
        if let Some((head, at)) = &self.standing
            && !started(&head.id)
        {
            let reserved = plan.reserved.as_ref().filter(|reserved| reserved.id == head.id);
            match reserved.map(|reserved| reserved.at) {
                Some(Some(later)) if later <= *at && *at > now => {}
                other => return Err(format!("{} was promised {at} and now has {other:?}", head.id)),
            }
        }
        self.standing = plan.reserved.as_ref().and_then(|reserved| {
            let head = waiting.iter().find(|one| one.id == reserved.id)?;
            self.made += usize::from(reserved.at.is_some());
            Some((head.clone(), reserved.at?))
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_jobs_all_start_and_no_promise_is_broken() {
        for (seed, gpus) in [(1, 8), (2, 4), (3, 1)] {
            let every = Duration::from_secs(1200 * 8 / u64::from(gpus));
            let load = Load { seed, jobs: 1000, gpus, every };
            let report = simulate(&machine(gpus), &Policy::default(), load.jobs()).unwrap();
            println!("{gpus} GPUs: {report}");
            assert!(report.promises > 10, "the load is too light to test anything: {report}");
        }
    }

    #[test]
    fn backfill_uses_the_box_better_than_strict_order() {
        let load = Load { seed: 4, jobs: 600, ..Load::default() };
        let strict = Policy { backfill: false, ..Policy::default() };
        let strict = simulate(&machine(8), &strict, load.jobs()).unwrap();
        let backfilled = simulate(&machine(8), &Policy::default(), load.jobs()).unwrap();
        println!("strict:     {strict}\nbackfilled: {backfilled}");
        assert!(backfilled.gpus_used > strict.gpus_used);
        assert!(backfilled.mean_wait < strict.mean_wait);
    }

    #[test]
    fn a_simulation_is_the_same_every_time() {
        let run = || simulate(&machine(4), &Policy::default(), Load { jobs: 300, ..Load::default() }.jobs());
        assert_eq!(run(), run());
    }
}
