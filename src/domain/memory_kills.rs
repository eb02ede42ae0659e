//! Processes of a run that were killed because the run's memory was full, while the run itself goes on: a kernel
//! of a notebook, a worker of a training.

use super::{time::Timestamp, workload::Kind};

/// So many are told one by one.
const FEW: u32 = 10;

/// What is known of them, of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryKills {
    /// As many as the engine told of. Those of the same moment may be told as one.
    pub times: u32,
    pub last_at: Timestamp,
}

impl MemoryKills {
    /// Says whether the latest is worth a line of the log and an event. A program that starts its workers again
    /// and again loses thousands of them: after the first ten it is told each time that there are twice as many.
    pub fn is_news(self) -> bool {
        self.times <= FEW || self.times.is_power_of_two()
    }

    /// Says what it means for a run of this kind, which may use so much memory, and what to do, for people.
    pub fn words(kind: &Kind, memory_bytes: u64) -> String {
        let limit = memory_bytes as f64 / f64::from(1 << 30);
        let (what, next) = match kind {
            Kind::Job => (
                "What it held is gone",
                "load less at once, start fewer workers, or take a machine type with more memory",
            ),
            Kind::Notebook(_) => (
                "If that was a kernel, Jupyter started another in its place, which has none of its variables",
                "load less at once and shut down kernels that you are done with, or start it on a machine type with more memory",
            ),
            Kind::TensorBoard(_) => (
                "What it had read is there again when it was read anew",
                "show fewer runs at once, or take a machine type with more memory",
            ),
        };
        format!(
            "a process was killed because the {limit:.1} GiB of memory of the machine type were full. {what}: {next}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_are_told_one_by_one_and_then_each_doubling() {
        let told = (1..=100).filter(|&times| MemoryKills { times, last_at: Timestamp(0) }.is_news());
        assert_eq!(told.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 32, 64]);
    }

    #[test]
    fn the_words_name_the_limit_that_was_met_and_what_is_lost() {
        let job = MemoryKills::words(&Kind::Job, 3 << 29);
        assert!(job.contains("the 1.5 GiB of memory") && job.contains("fewer workers"), "{job}");
        let notebook = MemoryKills::words(&Kind::Notebook("n4kq0z81xw".parse().unwrap()), 8 << 30);
        assert!(notebook.contains("8.0 GiB") && notebook.contains("none of its variables"), "{notebook}");
    }
}
