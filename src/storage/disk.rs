//! How full the disk is, and whether new work may still come.

use std::{io, path::Path};

/// When the disk is too full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskThresholds {
    /// From this share of the disk in use on, people are warned.
    pub warn_percent: u8,
    /// From this share of the disk in use on, new work is refused.
    pub refuse_percent: u8,
    /// New work is refused when fewer bytes than this are free, whatever share that is.
    pub min_free_bytes: u64,
}

impl Default for DiskThresholds {
    fn default() -> Self {
        Self { warn_percent: 85, refuse_percent: 95, min_free_bytes: 1 << 30 }
    }
}

/// How much room a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What the daemon can use in all, without the share reserved for root.
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskState {
    Ok,
    /// Say so, and go on.
    Warn,
    /// Take no new work. What was accepted goes on.
    Full,
}

impl DiskState {
    /// Returns the word for it in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Full => "full",
        }
    }
}

impl DiskSpace {
    /// Asks the file system that `path` is on.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Self {
            total_bytes: used.saturating_add(stat.f_bavail).saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    /// Decides what the room means.
    pub fn state(self, thresholds: DiskThresholds) -> DiskState {
        let used = u128::from(self.total_bytes.saturating_sub(self.free_bytes)) * 100;
        let reaches = |percent: u8| used >= u128::from(self.total_bytes) * u128::from(percent);
        if self.free_bytes < thresholds.min_free_bytes || reaches(thresholds.refuse_percent) {
            DiskState::Full
        } else if reaches(thresholds.warn_percent) {
            DiskState::Warn
        } else {
            DiskState::Ok
        }
    }

    /// Returns whether `bytes` more fit without the disk becoming full.
    pub fn has_room_for(self, bytes: u64, thresholds: DiskThresholds) -> bool {
        let after = Self { free_bytes: self.free_bytes.saturating_sub(bytes), ..self };
        after.state(thresholds) != DiskState::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn state(total_gib: u64, free_gib: u64) -> DiskState {
        DiskSpace { total_bytes: total_gib * GIB, free_bytes: free_gib * GIB }.state(DiskThresholds::default())
    }

    #[test]
    fn the_disk_warns_first_and_refuses_then() {
        assert_eq!(state(100, 16), DiskState::Ok);
        assert_eq!(state(100, 15), DiskState::Warn);
        assert_eq!(state(100, 6), DiskState::Warn);
        assert_eq!(state(100, 5), DiskState::Full);
    }

    #[test]
    fn a_small_disk_keeps_its_last_bytes_whatever_share_they_are() {
        assert_eq!(state(2, 0), DiskState::Full);
        assert_eq!(
            DiskSpace { total_bytes: 2 * GIB, free_bytes: GIB - 1 }.state(DiskThresholds::default()),
            DiskState::Full
        );
        assert_eq!(DiskSpace { total_bytes: 2 * GIB, free_bytes: GIB }.state(DiskThresholds::default()), DiskState::Ok);
        assert_eq!(state(0, 0), DiskState::Full);
    }

    #[test]
    fn enormous_disks_do_not_overflow() {
        let space = DiskSpace { total_bytes: u64::MAX, free_bytes: u64::MAX };
        assert_eq!(space.state(DiskThresholds::default()), DiskState::Ok);
        assert!(!space.has_room_for(u64::MAX, DiskThresholds::default()));
    }

    #[test]
    fn the_present_disk_can_be_asked() {
        let space = DiskSpace::of(Path::new("/")).unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    }
}
