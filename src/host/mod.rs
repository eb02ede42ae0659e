//! Facts about the machine itself: its name, cores, memory and disks, and how busy they are.
//! Decides nothing: what is too little or too full is said by who asks.
//!
//! - `cpu` and `memory` read the kernel's tables, in pure functions over their text
//! - `disk` asks a file system
//! - `fuse` looks whether containers can serve files to each other
//! - `mounts` reads what is mounted
//! - `process` looks at this process itself
//!
//! Everything here is read from memory by the kernel, so the calls are short; only [`disk`] can
//! block, on a file system that is across a network.

use std::{
    fs, io,
    num::NonZero,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

mod cpu;
mod disk;
mod fuse;
mod memory;
mod mounts;
mod process;

pub use disk::{Disk, Inodes, disk};
pub use fuse::{Fuse, NO_DEVICE, not_shared};
pub use memory::Memory;
pub use mounts::{MountPoint, Mounts};
pub use process::resident_bytes;

/// This machine.
#[derive(Debug)]
pub struct Host {
    proc_root: PathBuf,
    /// What the clocks of the cores said at the last look.
    before: Mutex<Option<cpu::Ticks>>,
}

/// The machine at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HostReading {
    pub hostname: String,
    /// Cores that this process may use, by its affinity and its cgroup's quota; at least 1.
    pub cores: u32,
    /// How busy all cores of the machine were since the look before, 0 to 100. `None` at the first look.
    pub cpu_percent: Option<f64>,
    pub memory: Memory,
}

impl Default for Host {
    fn default() -> Self {
        Self::new("/proc")
    }
}

impl Host {
    /// The machine whose kernel shows itself under `proc_root`.
    pub fn new(proc_root: impl Into<PathBuf>) -> Self {
        Self { proc_root: proc_root.into(), before: Mutex::new(None) }
    }

    /// Looks at the machine. The use of the cores is that since the look before, whoever took it:
    /// one loop should look, and share what it saw.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read or are not what they should be.
    pub fn look(&self) -> io::Result<HostReading> {
        let now = cpu::parse(&self.read("stat")?).ok_or_else(|| malformed("stat"))?;
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        Ok(HostReading {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            cores: cores(),
            cpu_percent: before.and_then(|before| cpu::busy_percent(before, now)),
            memory: memory::parse(&self.read("meminfo")?).ok_or_else(|| malformed("meminfo"))?,
        })
    }

    fn read(&self, table: &str) -> io::Result<String> {
        let path = self.proc_root.join(table);
        fs::read_to_string(&path).map_err(|e| io::Error::new(e.kind(), format!("cannot read {}: {e}", path.display())))
    }
}

/// Cores that this process may use, by its affinity and its cgroup's quota; at least 1.
pub fn cores() -> u32 {
    // It fails only where the system cannot tell, and a machine has one core at least.
    thread::available_parallelism().map_or(1, NonZero::get).try_into().unwrap_or(u32::MAX)
}

fn malformed(table: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the kernel's table {table} is not what it should be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 60 kB\n";

    #[test]
    fn the_cores_use_is_that_between_two_looks() {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::new(directory.path());
        let show = |stat: &str| fs::write(directory.path().join("stat"), stat).unwrap();
        fs::write(directory.path().join("meminfo"), MEMINFO).unwrap();

        show("cpu  100 0 0 900 0 0 0 0 0 0\n");
        assert_eq!(host.look().unwrap().cpu_percent, None);
        show("cpu  175 0 0 925 0 0 0 0 0 0\n");
        assert_eq!(host.look().unwrap().cpu_percent, Some(75.0));
        show("cpu  175 0 0 1025 0 0 0 0 0 0\n");
        assert_eq!(host.look().unwrap().cpu_percent, Some(0.0));
    }

    #[test]
    fn a_machine_without_tables_says_which_is_missing() {
        let error = Host::new("/nonexistent").look().unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/stat:"), "{error}");
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let reading = Host::default().look().unwrap();
        assert!(reading.cores >= 1);
        assert!(!reading.hostname.is_empty());
        assert!(reading.memory.available_bytes <= reading.memory.total_bytes);
        assert!(reading.memory.used_bytes > 0);
    }
}
