//! Looks at the sessions of TensorBoards: which answers, which nobody looks at any more, and which shows
//! something else than its members mean by now.
//!
//! A request through the proxy is somebody who looks, and so is a page that reloads by itself. So is who works in
//! a terminal of it: they must not lose it meanwhile.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Loop, Works, drive, watching::Watch};
use crate::{
    domain::{
        id::TensorBoardId,
        notebook::{Activity, EndedFor, Session},
        tensorboard::{PORT, Showing, TensorBoard},
        time::Timestamp,
        traffic::TrafficNow,
        web_name::{Target, prefix},
        workload::State,
    },
    jupyter::Servers,
    service::blocking,
    store::{StoreError, Tx, tensorboard_sessions, tensorboards, workloads},
};

/// Time between two looks. Somebody waits for what was just opened.
const PERIOD: Duration = Duration::from_secs(2);
/// A request is written down when it is so much newer than the one that is.
const WORTH_WRITING: Duration = Duration::from_secs(20);
/// What changes by itself, such as an experiment of which run after run is started, is gathered for so long
/// before a session begins anew.
const GATHERING: Duration = Duration::from_secs(15);
/// Sessions of each that are kept, for their logs.
const KEPT: u32 = 20;
/// Older ones that are removed in one transaction.
const BATCH: u32 = 50;

/// Starts the loop.
pub fn start(works: &Works) {
    let watch = Watch::begin(works.clock.now());
    let this = TensorBoards { works: works.clone(), servers: Servers::default(), watch, stuck: HashSet::new() };
    works.tasks.spawn(drive(this, works.clone(), Arc::default(), PERIOD));
}

struct TensorBoards {
    works: Works,
    servers: Servers,
    watch: Watch,
    /// Those that run and could not begin anew when they were looked at last, which was told then.
    stuck: HashSet<TensorBoardId>,
}

impl Loop for TensorBoards {
    const NAME: &'static str = "tensorboards";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let live = self.works.store.read(tensorboards::live).await?;
        self.tell_of_stuck(&live);
        let looks = live.iter().map(|board| async {
            if let Err(error) = self.look(board).await {
                tracing::warn!(tensorboard.id = %board.id, error = format!("{error:#}"), "a look at it failed");
            }
        });
        futures_util::future::join_all(looks).await;
        Ok(())
    }
}

impl TensorBoards {
    /// Tells once of each that runs on as it is because this box has no place for another session of it.
    fn tell_of_stuck(&mut self, live: &[TensorBoard]) {
        let problem = |board| Some((board, self.works.services.tensorboard_problem(board)?));
        let stuck: Vec<_> = live.iter().filter_map(problem).collect();
        for (TensorBoard { id, .. }, problem) in stuck.iter().filter(|(board, _)| !self.stuck.contains(&board.id)) {
            tracing::warn!(tensorboard.id = %id, "TensorBoard {id} runs on as it is and cannot begin anew: {problem}");
        }
        self.stuck = stuck.into_iter().map(|(board, _)| board.id.clone()).collect();
    }

    async fn look(&self, board: &TensorBoard) -> anyhow::Result<()> {
        // One that is asked to end does.
        let Some(showing) = board.live() else { return Ok(()) };
        let now = self.works.clock.now();
        if now.since(showing.session.workload.created_at) >= GATHERING
            && !self.stuck.contains(&board.id)
            && self.works.services.is_outdated(board).await?
        {
            crate::fault::point("tensorboard.renew.before");
            self.works.services.renew_tensorboard(board).await?;
            crate::fault::point("tensorboard.renew.after");
            return Ok(());
        }
        if showing.session.workload.state != State::Running {
            return Ok(());
        }
        match showing.session.ready_at {
            None => self.await_it(board, showing, now).await,
            Some(_) => self.end_if_idle(board, showing, now).await,
        }
    }

    /// Notes that it answers, or ends it when it has had its time.
    async fn await_it(&self, board: &TensorBoard, showing: &Showing, now: Timestamp) -> anyhow::Result<()> {
        let session = &showing.session;
        let seq = session.workload.seq;
        if let Some(reach) = self.works.board.reach(&session.workload.id) {
            let target = Target { id: board.id.as_str().parse()?, port: None };
            if self.servers.answers((reach.address, PORT).into(), &prefix(&target)).await {
                // What somebody changed while it waited was a look at it; that must not end it as it comes.
                let looked = session.activity.clone().filter(|last| last.at >= session.workload.created_at);
                let ready = board.clone();
                let write = move |tx: &Tx<'_>| {
                    if let Some(looked) = &looked {
                        tensorboard_sessions::active(tx, seq, &Activity { at: now, ..looked.clone() })?;
                    }
                    tensorboard_sessions::ready(tx, &ready, seq, now)
                };
                self.works.store.write(write).await?;
                return self.forget_old(board).await;
            }
        }
        let started = session.workload.started_at.unwrap_or(now);
        if now.since(started) >= self.works.settings.tensorboard_ready {
            let write = move |tx: &Tx<'_>| tensorboard_sessions::end(tx, seq, EndedFor::NotReady, now);
            self.works.store.write(write).await?;
        }
        Ok(())
    }

    async fn end_if_idle(&self, board: &TensorBoard, showing: &Showing, now: Timestamp) -> anyhow::Result<()> {
        let (session, seq) = (&showing.session, showing.session.workload.seq);
        let traffic = self.works.board.reach(&session.workload.id).map(|reach| reach.traffic.now());
        let typed = self.works.services.terminals.used(&session.workload.id);
        // While the daemon was away nobody could look.
        let looks = latest(session, traffic, typed, now).into_iter().chain(self.watch.sign(session, now));
        let newest = looks.max_by_key(|look| look.at);
        let is_worth_it = |newest: &Activity| {
            session.activity.as_ref().is_none_or(|known| newest.at.since(known.at) >= WORTH_WRITING)
        };
        if let Some(newest) = newest.clone().filter(is_worth_it) {
            let write = move |tx: &Tx<'_>| tensorboard_sessions::active(tx, seq, &newest);
            self.works.store.write(write).await?;
        }
        let session = Session { activity: newest, ..session.clone() };
        if session.idle_at().is_some_and(|at| at <= now) {
            tracing::info!(tensorboard.id = %board.id, "nobody looks at it, and it ends");
            crate::fault::point("tensorboard.idle.before");
            let write = move |tx: &Tx<'_>| tensorboard_sessions::end(tx, seq, EndedFor::Idle, now);
            self.works.store.write(write).await?;
        }
        Ok(())
    }

    /// Removes sessions of long ago: each change makes one.
    async fn forget_old(&self, board: &TensorBoard) -> anyhow::Result<()> {
        let (id, now) = (board.id.clone(), self.works.clock.now());
        let write = move |tx: &Tx<'_>| {
            let mut old = tensorboard_sessions::of(tx, &id, KEPT, BATCH)?;
            old.retain(|session| session.teardown_finished_at.is_some());
            old.iter().try_for_each(|session| workloads::delete(tx, session, now))?;
            Ok::<_, StoreError>(old)
        };
        let old = self.works.store.write(write).await?;
        // What a crash leaves here, the collector removes.
        let data = self.works.data.clone();
        blocking(move || old.iter().try_for_each(|session| data.remove_run(&session.id))).await?;
        Ok(())
    }
}

/// Returns when somebody looked last.
fn latest(
    session: &Session,
    traffic: Option<TrafficNow>,
    typed: Option<Timestamp>,
    now: Timestamp,
) -> Option<Activity> {
    let passes = |traffic: &TrafficNow| traffic.open_requests > 0 || traffic.open_sockets > 0;
    let last = traffic.and_then(|traffic| if passes(&traffic) { Some(now) } else { traffic.last });
    let looked = last.map(|at| Activity { at, what: "somebody looked at it".to_owned() });
    let typed = typed.map(|at| Activity { at: at.min(now), what: "a terminal was in use".to_owned() });
    looked.into_iter().chain(typed).chain(session.activity.clone()).max_by_key(|activity| activity.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::workload::Wanted, reconcile::step::tests::workload};

    #[test]
    fn who_looks_is_seen_and_who_looked_before_a_restart_is_remembered() {
        let before = Activity { at: Timestamp(50), what: "somebody looked at it".to_owned() };
        let idle = Some(Duration::from_micros(100));
        let session = Session {
            workload: workload(Wanted::Run, State::Running),
            ready_at: Some(Timestamp(10)),
            idle,
            activity: Some(before),
            ended_for: None,
        };
        let seen = |open_requests, last: Option<i64>| {
            let traffic = TrafficNow { open_requests, last: last.map(Timestamp), ..TrafficNow::default() };
            latest(&session, Some(traffic), None, Timestamp(500)).map(|activity| activity.at.0)
        };
        assert_eq!(seen(0, None), Some(50), "the daemon was restarted");
        assert_eq!(seen(0, Some(70)), Some(70));
        assert_eq!(seen(1, Some(70)), Some(500), "an answer is on its way");
        let typed = latest(&session, None, Some(Timestamp(90)), Timestamp(500));
        assert_eq!(
            typed.map(|activity| (activity.at.0, activity.what)),
            Some((90, "a terminal was in use".to_owned()))
        );
        assert_eq!(latest(&Session { activity: None, ..session.clone() }, None, None, Timestamp(500)), None);
        assert_eq!(session.idle_at(), Some(Timestamp(150)));
    }
}
