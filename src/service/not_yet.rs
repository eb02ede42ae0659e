//! Why what somebody opens does not answer yet: for the page that they see instead.

use super::{
    ServiceError, Services,
    queue::{People, Place, Run},
    tickets::Served,
};
use crate::{
    domain::{
        board::Progress,
        time::Timestamp,
        workload::{Phase, State},
    },
    store::workloads,
};

/// Something that is served and does not answer yet.
#[derive(Debug, Clone)]
pub struct NotYet {
    pub run: Run,
    pub phase: Option<Phase>,
    /// Where it stands in the queue.
    pub place: Option<Place>,
    /// How far its preparation is.
    pub progress: Option<Progress>,
    pub now: Timestamp,
}

impl Services {
    /// Says why what is served does not answer yet.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when it was deleted since.
    pub async fn not_yet(&self, served: &Served) -> Result<NotYet, ServiceError> {
        let (id, team) = (served.run.clone(), served.caller.team.clone());
        let found = self.store.read(move |connection| {
            let workload = workloads::get(connection, &id)?.ok_or_else(|| ServiceError::not_found("run", &id))?;
            let run = People::new(&team).run(connection, &workload)?;
            Ok::<_, ServiceError>((workload, run))
        });
        let (workload, run) = found.await?;
        let now = self.clock.now();
        let pending = workload.state == State::Pending;
        let place = if pending { self.board.waiting(&workload.id).map(Place::from) } else { None };
        Ok(NotYet {
            run,
            phase: workload.phase(now),
            place: self.explain_wait(&served.caller, place).await?,
            progress: if pending { self.board.progress(&workload.id) } else { None },
            now,
        })
    }
}
