//! How much a team may keep on this disk. What it keeps is counted now and then by a loop; what came
//! in since is added here, so that a quota holds between two counts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use super::{ServiceError, Services};
use crate::domain::{board::DiskRoom, bytes::Bytes, id::TeamId, time::Timestamp};

/// Width of a slice of time, in microseconds: the finest that a count is compared with.
const SLICE: i64 = 10_000_000;
/// How much is asked for at once while something long comes in, in bytes.
pub(super) const STEP: u64 = 8 << 20;

const HELD: &str = "no code panics while it holds this lock";

/// Bytes that came in, by team and slice of time.
#[derive(Default)]
pub struct Taken(Mutex<HashMap<TeamId, BTreeMap<i64, u64>>>);

impl Taken {
    fn add(&self, team: &TeamId, now: Timestamp, bytes: u64) {
        let mut all = self.0.lock().expect(HELD);
        if !all.contains_key(team) {
            all.insert(team.clone(), BTreeMap::new());
        }
        if let Some(slices) = all.get_mut(team) {
            *slices.entry(now.0 / SLICE).or_default() += bytes;
        }
    }

    /// Returns what came in since `counted`, and forgets what is older.
    fn since(&self, team: &TeamId, counted: Option<Timestamp>) -> u64 {
        let mut all = self.0.lock().expect(HELD);
        let Some(slices) = all.get_mut(team) else { return 0 };
        if let Some(counted) = counted {
            *slices = slices.split_off(&(counted.0 / SLICE));
        }
        slices.values().sum()
    }
}

impl Services {
    /// Refuses `more_bytes` that a team may no longer keep, and notes them as taken otherwise.
    ///
    /// # Errors
    /// [`ServiceError::DiskFull`], [`ServiceError::QuotaExceeded`].
    pub fn take(&self, team: &TeamId, more_bytes: u64) -> Result<(), ServiceError> {
        self.check_quota(team, more_bytes)?;
        if self.settings.storage.team_quota_bytes > 0 {
            self.taken.add(team, self.clock.now(), more_bytes);
        }
        Ok(())
    }

    /// Says whether a team may keep `more_bytes` than it does.
    ///
    /// # Errors
    /// [`ServiceError::DiskFull`], [`ServiceError::QuotaExceeded`].
    pub fn check_quota(&self, team: &TeamId, more_bytes: u64) -> Result<(), ServiceError> {
        if *self.board.disk() == DiskRoom::Full {
            return Err(ServiceError::DiskFull);
        }
        let quota = self.settings.storage.team_quota_bytes;
        if quota == 0 {
            return Ok(());
        }
        let counted = self.board.team_usage().get(team).copied();
        let since = self.taken.since(team, counted.map(|usage| usage.counted_at));
        let used = counted.map_or(0, |usage| usage.bytes).saturating_add(since);
        if used.saturating_add(more_bytes) <= quota {
            return Ok(());
        }
        Err(ServiceError::QuotaExceeded(format!(
            "your team keeps {} of the {} that it may (storage.team_quota): delete versions, artifacts or files in /storage that are no longer needed, then POST /api/v1/storage/gc, and try again",
            Bytes(used),
            Bytes(quota)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_count_has_seen_is_not_added_to_it() {
        let taken = Taken::default();
        let team: TeamId = "t000000".parse().unwrap();
        taken.add(&team, Timestamp(5), 10);
        taken.add(&team, Timestamp(3 * SLICE), 100);
        taken.add(&team, Timestamp(3 * SLICE + 1), 100);
        assert_eq!(taken.since(&team, None), 210);
        assert_eq!(taken.since(&team, Some(Timestamp(2 * SLICE))), 200);
        assert_eq!(taken.since(&team, Some(Timestamp(4 * SLICE))), 0);
    }
}
