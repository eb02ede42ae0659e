//! How much a team may keep on this disk. What it keeps is counted now and then by a loop; what came
//! in since is added here, so that a quota holds between two counts; and what is on this disk on its way
//! to a bucket, as long as it is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
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
pub struct Taken {
    kept: Mutex<HashMap<TeamId, BTreeMap<i64, u64>>>,
    /// What is on this disk only on its way elsewhere.
    passing: Arc<Mutex<HashMap<TeamId, u64>>>,
}

/// Bytes on this disk that go on elsewhere. They count towards a team's quota until this is dropped.
pub(super) struct Passing {
    team: TeamId,
    bytes: u64,
    all: Arc<Mutex<HashMap<TeamId, u64>>>,
}

/// What pays for bytes that are written to this disk.
pub(super) enum Room<'a> {
    /// They stay, and are the team's.
    Kept(&'a TeamId),
    /// They go on elsewhere.
    Passing(&'a mut Passing),
}

impl Taken {
    fn add(&self, team: &TeamId, now: Timestamp, bytes: u64) {
        let mut all = self.kept.lock().expect(HELD);
        if !all.contains_key(team) {
            all.insert(team.clone(), BTreeMap::new());
        }
        if let Some(slices) = all.get_mut(team) {
            *slices.entry(now.0 / SLICE).or_default() += bytes;
        }
    }

    /// Returns what came in since `counted`, and forgets what is older.
    fn since(&self, team: &TeamId, counted: Option<Timestamp>) -> u64 {
        let mut all = self.kept.lock().expect(HELD);
        let Some(slices) = all.get_mut(team) else { return 0 };
        if let Some(counted) = counted {
            *slices = slices.split_off(&(counted.0 / SLICE));
        }
        slices.values().sum()
    }

    fn passing(&self, team: &TeamId) -> u64 {
        self.passing.lock().expect(HELD).get(team).copied().unwrap_or(0)
    }
}

impl Passing {
    fn add(&mut self, bytes: u64) {
        *self.all.lock().expect(HELD).entry(self.team.clone()).or_default() += bytes;
        self.bytes += bytes;
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut all = self.all.lock().expect(HELD);
        if let Some(bytes) = all.get_mut(&self.team) {
            *bytes = bytes.saturating_sub(self.bytes);
            if *bytes == 0 {
                all.remove(&self.team);
            }
        }
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

    /// Begins to count what is on this disk on its way elsewhere.
    pub(super) fn passing(&self, team: &TeamId) -> Passing {
        Passing { team: team.clone(), bytes: 0, all: Arc::clone(&self.taken.passing) }
    }

    /// Takes `more_bytes` of `room`.
    ///
    /// # Errors
    /// [`ServiceError::DiskFull`], [`ServiceError::QuotaExceeded`].
    pub(super) fn take_of(&self, room: &mut Room<'_>, more_bytes: u64) -> Result<(), ServiceError> {
        match room {
            Room::Kept(team) => self.take(team, more_bytes),
            Room::Passing(passing) => {
                self.check_quota(&passing.team, more_bytes)?;
                passing.add(more_bytes);
                Ok(())
            }
        }
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
        let used = used.saturating_add(self.taken.passing(team));
        if used.saturating_add(more_bytes) <= quota {
            return Ok(());
        }
        Err(ServiceError::QuotaExceeded(format!(
            "your team keeps {} of the {} that it may (storage.team_quota): delete versions, artifacts, notebooks or files in /storage that are no longer needed, have the storage cleaned, and try again",
            Bytes(used),
            Bytes(quota)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_elsewhere_counts_as_long_as_it_is_here() {
        let taken = Taken::default();
        let team: TeamId = "t000000".parse().unwrap();
        let passing = || Passing { team: team.clone(), bytes: 0, all: Arc::clone(&taken.passing) };
        let (mut one, mut two) = (passing(), passing());
        one.add(10);
        one.add(5);
        two.add(100);
        assert_eq!((taken.passing(&team), taken.since(&team, None)), (115, 0));
        drop(one);
        assert_eq!(taken.passing(&team), 100);
        assert_eq!(taken.passing(&"t000001".parse().unwrap()), 0);
        drop(two);
        assert_eq!(taken.passing(&team), 0);
        assert!(taken.passing.lock().unwrap().is_empty());
    }

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
