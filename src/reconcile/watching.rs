//! From when on a look can say that nothing is done in a session. While the daemon was not there nobody saw
//! what was done, and right after its start there is no sample of the processors and no reading of the GPUs yet.
//! That time is not held against a session.

use std::time::Duration;

use crate::domain::{
    notebook::{Activity, Session},
    time::Timestamp,
};

/// From a start until every sign was looked for at least once: the processors are sampled every 5 s, the GPUs
/// more often, and a page that reloads by itself does so every 30 s.
const SETTLING: Duration = Duration::from_secs(45);

/// Since when sessions are watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    begun: Timestamp,
}

impl Watch {
    /// Begins to watch, at the start of the daemon.
    pub(super) fn begin(now: Timestamp) -> Self {
        Self { begun: now }
    }

    /// Returns what counts as a sign of work for a session that ran before this daemon did: that nobody could see
    /// one.
    pub(super) fn sign(self, session: &Session, now: Timestamp) -> Option<Activity> {
        session.ready_at.filter(|ready| *ready < self.begun)?;
        let at = self.begun.plus(SETTLING).min(now);
        Some(Activity { at, what: "gradientd was started again, and saw nothing before".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::workload::{State, Wanted},
        reconcile::step::tests::workload,
    };

    #[test]
    fn what_nobody_saw_is_not_held_against_a_session() {
        let begun = Timestamp(1_000_000_000);
        let watch = Watch::begin(begun);
        let session = |ready_at| Session {
            workload: workload(Wanted::Run, State::Running),
            ready_at,
            idle: Some(Duration::from_secs(600)),
            activity: Some(Activity { at: Timestamp(5), what: "long ago".to_owned() }),
            ended_for: None,
        };
        let old = session(Some(Timestamp(1)));
        assert!(old.idle_at().unwrap() < begun, "by what was written down it is idle already");
        let at = |now| watch.sign(&old, now).unwrap().at;
        assert_eq!(at(begun), begun, "a sign is never in the future");
        let settled = begun.plus(SETTLING);
        assert_eq!(at(settled.plus(Duration::from_secs(3600))), settled, "and from then on it counts");
        assert_eq!(watch.sign(&session(Some(begun)), settled), None, "it was seen all the time");
        assert_eq!(watch.sign(&session(None), settled), None);
    }
}
