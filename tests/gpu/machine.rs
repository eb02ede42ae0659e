//! A machine whose GPUs a test describes in a file, for NVML's real caller to find.
//!
//! Each machine has its own copy of the stand-in library, which reads the file beside itself, so
//! tests of one process do not see each other's GPUs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use gradientd::{
    domain::gpu::{GpuHealth, GpuReading},
    gpu::{
        GpuInventory,
        nvml::{NvmlGpus, NvmlSettings},
    },
};
use tempfile::TempDir;

/// Longest that a test waits for a state, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Machine {
    directory: TempDir,
}

impl Machine {
    /// A machine without NVIDIA's library.
    pub fn bare() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A machine with the library and these GPUs; the words are described in `fake_nvml.c`.
    pub fn with(config: &str) -> Self {
        let machine = Self::bare();
        machine.show(config);
        machine.install_library();
        machine
    }

    pub fn install_library(&self) {
        fs::copy(built_library(), self.library()).expect("a copy of the library");
    }

    /// Changes the GPUs under whoever is looking.
    pub fn show(&self, config: &str) {
        let new = self.directory.path().join("new.conf");
        fs::write(&new, config).expect("the description");
        fs::rename(new, self.directory.path().join("fake-nvml.conf")).expect("the description in place");
    }

    pub fn library(&self) -> PathBuf {
        self.directory.path().join("libnvidia-ml.so.1")
    }

    /// A directory that stands for /sys.
    pub fn sys(&self) -> PathBuf {
        self.directory.path().join("sys")
    }

    pub fn gpus(&self) -> NvmlGpus {
        self.gpus_within(DEADLINE)
    }

    pub fn gpus_within(&self, answer_within: Duration) -> NvmlGpus {
        NvmlGpus::start(NvmlSettings {
            library: Some(self.library()),
            answer_within,
            sys_root: self.sys(),
            ..NvmlSettings::default()
        })
        .expect("a thread")
    }
}

/// Reads the GPUs until `is_so`, and returns the readings that were.
pub fn eventually(gpus: &dyn GpuInventory, is_so: impl Fn(&[GpuReading]) -> bool) -> Vec<GpuReading> {
    let begun = Instant::now();
    loop {
        let readings = gpus.readings();
        if is_so(&readings) {
            return readings;
        }
        assert!(begun.elapsed() < DEADLINE, "still {readings:?}");
        std::thread::yield_now();
    }
}

pub fn healths(gpus: &dyn GpuInventory) -> Vec<&'static str> {
    gpus.readings().iter().map(|reading| reading.health.as_str()).collect()
}

/// The words of a state that has some.
pub fn reason(reading: &GpuReading) -> &str {
    match &reading.health {
        GpuHealth::Failing { reason } | GpuHealth::Unknown { reason } => reason,
        GpuHealth::Healthy | GpuHealth::Lost => "",
    }
}

/// The stand-in, built once a process.
fn built_library() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let out = tempfile::tempdir().expect("a temporary directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-nvml");
        let made = Command::new("make")
            .args(["--silent", "-C", source])
            .arg(format!("OUT={}", out.path().display()))
            .output()
            .expect("make, to build tests/fake-nvml");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let library = out.path().join("libnvidia-ml.so.1");
        (out, library)
    });
    library
}
