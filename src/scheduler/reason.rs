//! Why somebody waits, in numbers and in words.

mod explain;

use std::{fmt, sync::Arc};

use super::capacity::Availability;
use crate::domain::{bytes::Bytes, gpu::GpuUuid, machine_type::Cores, time::Timestamp};

pub(super) use explain::{Explainer, hopeless};

/// Why one waits. `Display` says it to a person; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// Too little is free.
    Short(Shortage),
    /// Enough is free, but it is kept for somebody who goes first.
    Behind(Behind),
    /// This box could not hold it if it were empty. It holds up nobody.
    NeverFits(Misfit),
    /// Only GPUs that cannot be given out now would do. It holds up nobody.
    Barred(Arc<Barred>),
}

/// How much is needed, free, and there at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    pub need: u64,
    pub free: u64,
    pub of: u64,
}

/// What is short; at least one of them is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shortage {
    pub gpus: Option<Amount>,
    /// The model or MIG profile that was asked for.
    pub gpu_sort: Option<Arc<str>>,
    /// Whether `gpus` counts places on shared GPUs.
    pub shared: bool,
    pub cpu_millis: Option<Amount>,
    pub memory_bytes: Option<Amount>,
}

/// Who goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    pub id: Arc<str>,
    /// Else it has waited longer.
    pub higher_priority: bool,
    /// Whether it waits for GPUs.
    pub gpus: bool,
    /// When it starts at the latest; none when that cannot be said.
    pub at: Option<Timestamp>,
    /// Whether one that ends in time may go before it.
    pub backfill: bool,
}

/// Why the box can never hold a demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    CpuMillis {
        need: u64,
        of: u64,
    },
    MemoryBytes {
        need: u64,
        of: u64,
    },
    Gpus {
        need: u64,
        of: u64,
        sort: Option<Arc<str>>,
    },
    /// Each part would fit, but not all of the gang at once.
    Gang,
}

/// A GPU that would be needed and cannot be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barred {
    pub gpu: GpuUuid,
    pub index: u32,
    pub why: Availability,
    /// `free` counts those that could be given out if nobody of ours held them.
    pub gpus: Amount,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(shortage) => shortage.fmt(f),
            Self::Behind(behind) => behind.fmt(f),
            Self::NeverFits(misfit) => misfit.fmt(f),
            Self::Barred(barred) => barred.fmt(f),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(gpus) = self.gpus {
            let what = match (self.shared, gpus.need) {
                (true, 1) => "a place on a shared GPU".into(),
                (true, need) => format!("{need} places on shared GPUs"),
                (false, need) => counted(need, self.gpu_sort.as_deref()),
            };
            write!(f, "needs {what}; {}", Free(gpus.free, gpus.of))?;
            separator = "; ";
        }
        if let Some(cpu) = self.cpu_millis {
            let free = Cores(cpu.free).to_string();
            let free = free.trim_end_matches(" cores").trim_end_matches(" core");
            write!(f, "{separator}needs {}; {free} of {} are free", Cores(cpu.need), cpu.of / 1000)?;
            separator = "; ";
        }
        if let Some(memory) = self.memory_bytes {
            write!(
                f,
                "{separator}needs {} of memory; {} of {} are free",
                Bytes(memory.need),
                Bytes(memory.free),
                Bytes(memory.of)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.higher_priority { "has higher priority" } else { "has waited longer" };
        let gets = if self.gpus { "gets the next free GPUs" } else { "gets what is free next" };
        write!(f, "behind {}, which {why} and {gets}", self.id)?;
        match self.at {
            _ if !self.backfill => Ok(()),
            Some(at) => write!(f, " by {at}; with a time limit that ends before then it could go first"),
            None => f.write_str("; with a time limit it could go first"),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpuMillis { need, of } => write!(f, "needs {}; this box has {} for jobs", Cores(*need), Cores(*of)),
            Self::MemoryBytes { need, of } => {
                write!(f, "needs {} of memory; this box has {} for jobs", Bytes(*need), Bytes(*of))
            }
            Self::Gpus { need, of: 0, sort } => {
                write!(f, "this box has no GPU that fits: it needs {}", counted(*need, sort.as_deref()))
            }
            Self::Gpus { need, of, sort } => write!(f, "needs {}; this box has {of}", counted(*need, sort.as_deref())),
            Self::Gang => f.write_str("all of the gang at once is more than this box has"),
        }
    }
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.gpus.of > 1 {
            write!(
                f,
                "needs {}; {} of the {} that fit can be given out: ",
                counted(self.gpus.need, None),
                self.gpus.free,
                self.gpus.of
            )?;
        }
        write!(f, "GPU {} ({}) is ", self.index, self.gpu)?;
        match &self.why {
            Availability::Free => f.write_str("free"),
            Availability::Unhealthy { reason } => write!(f, "not healthy: {reason}"),
            Availability::Foreign { pid, user, command } => {
                write!(f, "used by a process that is not ours (pid {pid}")?;
                user.iter().try_for_each(|user| write!(f, ", user {user}"))?;
                command.iter().try_for_each(|command| write!(f, ": {command}"))?;
                f.write_str(")")
            }
        }
    }
}

/// `1 GPU`, `2 a100 GPUs`.
fn counted(need: u64, sort: Option<&str>) -> String {
    let sort = sort.map(|sort| format!("{sort} ")).unwrap_or_default();
    format!("{need} {sort}GPU{}", if need == 1 { "" } else { "s" })
}

/// `1 of 4 is free`.
struct Free(u64, u64);

impl fmt::Display for Free {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (0, 1) => f.write_str("the only one is not free"),
            (0, of) => write!(f, "none of {of} is free"),
            (1, of) => write!(f, "1 of {of} is free"),
            (free, of) => write!(f, "{free} of {of} are free"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_says_what_is_short() {
        let amount = |need, free, of| Some(Amount { need, free, of });
        let gpus = Shortage { gpus: amount(2, 1, 4), ..Shortage::default() };
        assert_eq!(gpus.to_string(), "needs 2 GPUs; 1 of 4 is free");
        let both = Shortage {
            gpus: amount(1, 0, 2),
            gpu_sort: Some("a100".into()),
            cpu_millis: amount(8000, 2500, 16_000),
            memory_bytes: amount(64 << 30, 3 << 30, 128 << 30),
            ..Shortage::default()
        };
        assert_eq!(
            both.to_string(),
            "needs 1 a100 GPU; none of 2 is free; needs 8 cores; 2.5 of 16 are free; \
             needs 64 GiB of memory; 3 GiB of 128 GiB are free"
        );
    }

    #[test]
    fn a_foreign_process_is_named() {
        let why = Availability::Foreign { pid: 42, user: Some("bob".into()), command: Some("python train.py".into()) };
        let barred = Barred { gpu: "GPU-a".into(), index: 3, why, gpus: Amount { need: 1, free: 0, of: 1 } };
        assert_eq!(
            barred.to_string(),
            "GPU 3 (GPU-a) is used by a process that is not ours (pid 42, user bob: python train.py)"
        );
    }

    #[test]
    fn who_is_behind_is_told_how_to_go_first() {
        let behind = Behind { id: "js1".into(), higher_priority: false, gpus: true, at: None, backfill: true };
        assert_eq!(
            behind.to_string(),
            "behind js1, which has waited longer and gets the next free GPUs; with a time limit it could go first"
        );
        let strict = Behind { higher_priority: true, backfill: false, ..behind };
        assert_eq!(strict.to_string(), "behind js1, which has higher priority and gets the next free GPUs");
    }
}
