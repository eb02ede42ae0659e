//! The stream of changes that open pages follow.

use tokio::sync::watch;

use super::{ServiceError, Services};
use crate::{
    domain::{
        caller::{Action, Caller},
        event::Event,
    },
    store::events,
};

/// Events that one look fetches.
const PAGE: u32 = 500;

impl Services {
    /// Returns the caller's events after number `after`, oldest first, some hundreds at most.
    ///
    /// When events after it have been forgotten already, the answer begins with what there is: a
    /// reader fetches afresh what it shows whenever its stream begins.
    pub async fn events_after(&self, caller: &Caller, after: i64) -> Result<Vec<Event>, ServiceError> {
        caller.may(Action::ViewBox)?;
        let team = caller.team.clone();
        self.store.read(move |connection| Ok(events::after(connection, &team, after, PAGE)?)).await
    }

    /// Returns the number of the newest event, to be watched.
    pub fn newest_event(&self) -> watch::Receiver<i64> {
        self.store.changes().events.subscribe()
    }
}
