//! Named points at which a build with the feature `faults` can be told to die, as `kill -9` would
//! kill it. Without the feature a point is nothing at all.
//!
//! `GRADIENTD_FAULT=NAME` dies at the first pass through NAME, `GRADIENTD_FAULT=NAME:3` at the third.

/// Dies here when the environment says so.
#[cfg(feature = "faults")]
pub fn point(name: &'static str) {
    use std::sync::{OnceLock, atomic::AtomicU32, atomic::Ordering};
    static PLAN: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSES: AtomicU32 = AtomicU32::new(0);
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("GRADIENTD_FAULT").ok()?;
        Some(match plan.rsplit_once(':').and_then(|(name, n)| Some((name.to_owned(), n.parse().ok()?))) {
            Some(named) => named,
            None => (plan, 1),
        })
    });
    if let Some((planned, nth)) = plan
        && planned == name
        && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        // SIGKILL rather than abort: no handler and no destructor may run.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Does nothing in this build.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Stays here for as long as a file exists: `GRADIENTD_HOLD=NAME:PATH`. Blocks.
#[cfg(feature = "faults")]
pub fn hold(name: &'static str) {
    let Ok(plan) = std::env::var("GRADIENTD_HOLD") else { return };
    let Some((held, path)) = plan.split_once(':') else { return };
    while held == name && std::path::Path::new(path).exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Does nothing in this build.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn hold(_name: &'static str) {}
