//! Looking after the disk: what uses it, what nothing needs any more, what is damaged. The loops, the
//! API and the command line call the same functions; each works beside a daemon that runs as well as
//! without one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Invalid, ServiceError, Services};
use crate::{
    domain::{
        board::TeamUsage,
        caller::{Action, Caller},
        content::ContentHash,
        id::TeamId,
        storage_care::{FsckReport, GcReport, ImagesUsage, PartUsage},
    },
    store::cached_versions::{self, CachedVersion},
};

/// What is asked of those who look after the disk, and where they were.
#[derive(Default)]
pub struct Care {
    /// Percent of all contents to be read.
    fsck: Mutex<Option<u8>>,
    /// Where the next check of a team's contents begins, once one was done since the start.
    stretches: Mutex<HashMap<TeamId, Option<ContentHash>>>,
    /// Held by whoever removes what nothing refers to.
    pub(super) collecting: tokio::sync::Mutex<()>,
    pub(crate) wake_fsck: Arc<Notify>,
    pub(crate) wake_usage: Arc<Notify>,
}

const HELD: &str = "no code panics while it holds this lock";

impl Care {
    /// Returns where the next check of a team's contents begins; `first` says it for the first.
    pub(super) fn stretch(&self, team: &TeamId, first: impl FnOnce() -> ContentHash) -> Option<ContentHash> {
        let stretches = self.stretches.lock().expect(HELD);
        stretches.get(team).copied().unwrap_or_else(|| Some(first()))
    }

    /// Notes where the next one begins.
    pub(super) fn set_stretch(&self, team: &TeamId, next: Option<ContentHash>) {
        self.stretches.lock().expect(HELD).insert(team.clone(), next);
    }
}

/// What the disk holds.
#[derive(Debug, Clone)]
pub struct StorageNow {
    /// Size and free bytes; `None` until it was looked at.
    pub disk: Option<(u64, u64)>,
    /// Most bytes that the team may keep.
    pub quota_bytes: Option<u64>,
    /// `None` until it was counted.
    pub usage: Option<TeamUsage>,
    pub parts: Vec<PartUsage>,
    /// All images of the engine, whoever pulled them.
    pub images: Option<ImagesUsage>,
    pub cache_budget_bytes: u64,
    /// Of all teams together.
    pub cache_used_bytes: u64,
    /// The team's own.
    pub cached: Vec<CachedVersion>,
    /// The check that is under way or the last one, with what it found of the team.
    pub check: Option<FsckReport>,
}

/// A count that is older than this is done again when somebody looks at it.
const FRESH: Duration = Duration::from_secs(15);

impl Services {
    /// Returns what the disk holds of the caller's team.
    pub async fn storage_now(&self, caller: &Caller) -> Result<StorageNow, ServiceError> {
        caller.may(Action::ViewStorage)?;
        let fresh = self.clock.now().minus(FRESH);
        if self.board.team_usage().get(&caller.team).is_none_or(|usage| usage.counted_at < fresh) {
            // The next look shows what is counted now.
            self.care.wake_usage.notify_one();
        }
        let cached: Vec<CachedVersion> = self.store.read(cached_versions::all).await?;
        let settings = &self.settings.storage;
        let check = self.last_check(caller)?;
        Ok(StorageNow {
            check,
            disk: self.board.host().as_ref().as_ref().map(|load| (load.disk_total_bytes, load.disk_free_bytes)),
            quota_bytes: Some(settings.team_quota_bytes).filter(|bytes| *bytes > 0),
            usage: self.board.team_usage().get(&caller.team).copied(),
            parts: self.board.team_parts().get(&caller.team).cloned().unwrap_or_default(),
            images: *self.board.images(),
            cache_budget_bytes: settings.cache_bytes,
            cache_used_bytes: cached.iter().map(|copy| copy.bytes).sum(),
            cached: cached.into_iter().filter(|copy| copy.team == caller.team).collect(),
        })
    }

    /// Removes files that nothing refers to, or says which it would remove. Tells of the caller's team
    /// alone.
    pub async fn collect_garbage(
        &self,
        caller: &Caller,
        dry_run: bool,
        grace: Option<Duration>,
    ) -> Result<GcReport, ServiceError> {
        caller.may(Action::CareForStorage)?;
        let report = self.collect_unused(dry_run, grace.unwrap_or(self.settings.storage.gc_grace), true).await?;
        Ok(of_team(report, caller))
    }

    /// Returns what the last collection came to for the caller's team.
    pub fn last_collection(&self, caller: &Caller) -> Result<Option<GcReport>, ServiceError> {
        caller.may(Action::ViewStorage)?;
        Ok((*self.board.gc()).clone().map(|report| of_team(report, caller)))
    }

    /// Asks for stored contents to be read again and compared with their hashes, `percent` of them.
    /// Begins at once, unless a check is under way: then after it.
    pub fn ask_for_check(&self, caller: &Caller, percent: u8) -> Result<(), ServiceError> {
        caller.may(Action::CareForStorage)?;
        check_percent(percent)?;
        *self.care.fsck.lock().expect(HELD) = Some(percent);
        self.care.wake_fsck.notify_one();
        Ok(())
    }

    /// Takes what was asked for.
    pub(crate) fn check_asked(&self) -> Option<u8> {
        self.care.fsck.lock().expect(HELD).take()
    }

    /// Returns the check that is under way or the last one, with what it found of the caller's team.
    pub fn last_check(&self, caller: &Caller) -> Result<Option<FsckReport>, ServiceError> {
        caller.may(Action::ViewStorage)?;
        let mut report = (*self.board.fsck()).clone();
        if let Some(report) = &mut report {
            report.damaged.retain(|content| content.team == caller.team);
            report.mended.retain(|mended| mended.version.team == caller.team);
        }
        Ok(report)
    }
}

/// Says whether a part of all contents can be read.
pub(crate) fn check_percent(percent: u8) -> Result<(), Invalid> {
    if (1..=100).contains(&percent) {
        return Ok(());
    }
    Err(Invalid::new("percent", "out_of_range", "percent is a number from 1 to 100: how many of all files are read"))
}

fn of_team(mut report: GcReport, caller: &Caller) -> GcReport {
    report.versions.retain(|version| version.version.team == caller.team);
    report.contents.retain(|contents| contents.team == caller.team);
    report.buckets.retain(|left| left.team == caller.team);
    report
}
