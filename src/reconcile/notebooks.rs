//! Looks at the servers of notebooks: which answers, what was the last sign of somebody at work, and which
//! session is to end because its server never came or because nothing is done in it any more.
//!
//! An open tab is not a sign: what counts is a kernel that computes, a terminal that says something,
//! processors and GPUs that are at work.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt, stream};

use super::{Loop, Works, drive, launch, notebook_launch, watching::Watch};
use crate::{
    domain::{
        notebook::{Activity, EndedFor, Notebook, PORT, Session},
        time::Timestamp,
    },
    jupyter::{Doings, Look, Servers},
    store::{
        StoreError, events, notebooks,
        points::{self, SeriesKind},
    },
};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(5);
/// Servers that are asked at the same time.
const AT_ONCE: usize = 16;
/// A sign is written down when it is so much newer than the one that is: the rest is told from memory.
const WORTH_WRITING: Duration = Duration::from_secs(20);
/// Of one core, in percent, from which on processors are at work: an idle server takes one or two.
const BUSY_CPU: f64 = 20.0;
/// Of its time, in percent, from which on a GPU is at work.
const BUSY_GPU: u32 = 5;
/// A sample of the processors that is older says nothing of now.
const FRESH: i64 = 30;

/// Starts the loop.
pub fn start(works: &Works) {
    let this = Notebooks::new(works);
    works.tasks.spawn(drive(this, works.clone(), Arc::default(), PERIOD));
}

pub(super) struct Notebooks {
    works: Works,
    servers: Servers,
    watch: Watch,
    known: Arc<Mutex<Known>>,
}

/// What is remembered from look to look, by the numbers of sessions.
#[derive(Default)]
struct Known {
    addresses: HashMap<i64, IpAddr>,
    warned: HashSet<i64>,
}

impl Loop for Notebooks {
    const NAME: &'static str = "notebooks";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let running = self.works.store.read(notebooks::running).await?;
        let sessions: HashSet<i64> =
            running.iter().filter_map(|notebook| Some(notebook.session.as_ref()?.workload.seq)).collect();
        {
            let mut known = self.known.lock().expect("no code panics while it holds this lock");
            known.addresses.retain(|seq, _| sessions.contains(seq));
            known.warned.retain(|seq| sessions.contains(seq));
        }
        let this = &*self;
        let looks = stream::iter(running).for_each_concurrent(AT_ONCE, |notebook| async move {
            if let Err(error) = this.look(&notebook).await {
                tracing::warn!(notebook.id = %notebook.id, error = format!("{error:#}"), "a look at its server failed");
            }
        });
        looks.await;
        Ok(())
    }
}

impl Notebooks {
    pub(super) fn new(works: &Works) -> Self {
        let watch = Watch::begin(works.clock.now());
        Self { works: works.clone(), servers: Servers::default(), watch, known: Arc::default() }
    }

    async fn look(&self, notebook: &Notebook) -> anyhow::Result<()> {
        let Some(session) = &notebook.session else { return Ok(()) };
        let Some(address) = self.address(session).await? else { return Ok(()) };
        let base = notebook_launch::base_path(&notebook.id);
        let token = self.works.services.jupyter_token(&session.workload.id);
        let look = self.servers.look(SocketAddr::new(address, PORT), &base, &token).await;
        let now = self.works.clock.now();
        let seq = session.workload.seq;
        if session.ready_at.is_none() {
            return match look {
                Look::Silent | Look::Late => self.unready(session, now).await,
                Look::Other | Look::Closed(_) | Look::Jupyter(_) => {
                    let (notebook, started) = (notebook.clone(), Activity { at: now, what: "it was started".into() });
                    let write = move |tx: &crate::store::Tx<'_>| {
                        notebooks::active(tx, seq, &started)?;
                        notebooks::ready(tx, &notebook, seq, now)
                    };
                    Ok(self.works.store.write(write).await?)
                }
            };
        }
        let mut signs = match look {
            Look::Jupyter(doings) => signs(&doings, now),
            // No server of Jupyter's: what it does is seen from outside alone.
            Look::Silent | Look::Other => Vec::new(),
            // What cannot be known may be work.
            Look::Late => vec![unseen("its kernels", "its server does not answer in time", now)],
            Look::Closed(why) => vec![unseen("its kernels", &why, now)],
        };
        signs.extend(self.at_work(session, now).await?);
        // Terminals of ours run beside the server, which knows nothing of them.
        let used = self.works.services.terminals.used(&session.workload.id);
        signs.extend(used.map(|at| Activity { at: at.min(now), what: "a terminal was in use".to_owned() }));
        signs.extend(self.watch.sign(session, now));
        let before = session.activity.clone();
        let last = signs.into_iter().chain(before.clone()).max_by_key(|sign| sign.at);
        if let Some(last) = last.clone()
            && before.is_none_or(|before| last.at.since(before.at) >= WORTH_WRITING)
        {
            self.works.store.write(move |tx| notebooks::active(tx, seq, &last)).await?;
        }
        self.end_or_warn(notebook, &Session { activity: last, ..session.clone() }, now).await
    }

    /// Returns where a session's container is.
    async fn address(&self, session: &Session) -> anyhow::Result<Option<IpAddr>> {
        let seq = session.workload.seq;
        if let Some(known) = self.known.lock().expect("no code panics while it holds this lock").addresses.get(&seq) {
            return Ok(Some(*known));
        }
        let name = launch::container_name(&self.works.settings.box_id, &session.workload);
        let found = self.works.executor.inspect(&name).await?.and_then(|seen| seen.ip);
        if let Some(address) = found {
            self.known.lock().expect("no code panics while it holds this lock").addresses.insert(seq, address);
        }
        Ok(found)
    }

    /// Ends a session whose server has had its time to come.
    async fn unready(&self, session: &Session, now: Timestamp) -> anyhow::Result<()> {
        let started = session.workload.started_at.unwrap_or(now);
        if now.since(started) < self.works.settings.notebook_ready {
            return Ok(());
        }
        let seq = session.workload.seq;
        Ok(self.works.store.write(move |tx| notebooks::end_session(tx, seq, EndedFor::NotReady, now)).await?)
    }

    /// Returns the signs that are seen from outside.
    async fn at_work(&self, session: &Session, now: Timestamp) -> anyhow::Result<Vec<Activity>> {
        let workload = &session.workload;
        let mut signs = Vec::new();
        let readings = self.works.board.readings();
        let own: Vec<_> = readings.iter().filter(|reading| workload.gpus.contains(&reading.uuid)).collect();
        if own.iter().any(|reading| reading.utilization_percent.is_some_and(|used| used >= BUSY_GPU)) {
            signs.push(Activity { at: now, what: "its GPU is at work".to_owned() });
        }
        // A slice of a GPU has no number for this: its processes keep a processor at work, too.
        if own.len() < workload.gpus.len() {
            signs.push(unseen("its GPU", "the driver says nothing of it", now));
        }
        let (seq, attempt) = (workload.seq, workload.attempt);
        let samples = self
            .works
            .store
            .read(move |connection| points::newest(connection, seq, attempt, SeriesKind::System))
            .await?;
        let cpu = samples.into_iter().find(|series| series.name.name == "cpuPercentage");
        let second = now.0 / 1_000_000;
        let fresh = cpu.and_then(|cpu| cpu.last.zip(cpu.last_key)).filter(|(_, key)| second - key <= FRESH);
        match fresh {
            Some(((_, used), _)) if used >= BUSY_CPU => {
                signs.push(Activity { at: now, what: "its processors are at work".to_owned() });
            }
            Some(_) => {}
            None => signs.push(unseen("its processors", "the engine does not say what it uses", now)),
        }
        Ok(signs)
    }

    /// Ends a session in which nothing is done any more; tells people some minutes before it ends by itself.
    async fn end_or_warn(&self, notebook: &Notebook, session: &Session, now: Timestamp) -> anyhow::Result<()> {
        let seq = session.workload.seq;
        if session.idle_at().is_some_and(|at| at <= now) {
            tracing::info!(notebook.id = %notebook.id, "its session is idle and ends");
            let activity = session.activity.clone();
            let write = move |tx: &crate::store::Tx<'_>| {
                if let Some(activity) = &activity {
                    notebooks::active(tx, seq, activity)?;
                }
                notebooks::end_session(tx, seq, EndedFor::Idle, now)
            };
            return Ok(self.works.store.write(write).await?);
        }
        let near = session.near_end(now);
        {
            let mut known = self.known.lock().expect("no code panics while it holds this lock");
            if near.is_none() {
                // It was extended, or somebody is at work again.
                known.warned.remove(&seq);
                return Ok(());
            }
            if !known.warned.insert(seq) {
                return Ok(());
            }
        }
        let (team, id) = (notebook.team.clone(), notebook.id.clone());
        let data = serde_json::json!({ "at": near.map(|at| at.to_string()) });
        let tell = move |tx: &crate::store::Tx<'_>| {
            events::append(tx, &team, "notebook", id.as_str(), "stops-soon", data.clone(), now)
        };
        Ok(self.works.store.write(tell).await.map_err(|error: StoreError| error)?)
    }
}

/// Returns the sign that stands for what cannot be known: it might be work, and that is never ended.
fn unseen(what: &str, why: &str, now: Timestamp) -> Activity {
    Activity { at: now, what: format!("{what} cannot be asked ({why}), so it counts as at work") }
}

/// Returns the signs that a server tells of.
fn signs(doings: &Doings, now: Timestamp) -> Vec<Activity> {
    let kernels = doings.kernels.iter().filter_map(|kernel| {
        let name = &kernel.name;
        Some(match kernel.is_busy {
            true => Activity { at: now, what: format!("the kernel of {name} is busy") },
            // A clock of a container that runs ahead must not keep it alive.
            false => Activity { at: kernel.last_activity?.min(now), what: format!("the kernel of {name} ran") },
        })
    });
    let terminals = doings.terminals.iter().filter_map(|terminal| {
        Some(Activity { at: terminal.last_activity?.min(now), what: format!("terminal {} was in use", terminal.name) })
    });
    kernels.chain(terminals).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jupyter::{Kernel, Terminal};

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn last(doings: Doings) -> Option<(i64, String)> {
        signs(&doings, NOW).into_iter().max_by_key(|sign| sign.at).map(|sign| (sign.at.0, sign.what))
    }

    #[test]
    fn a_busy_kernel_is_a_sign_now_and_an_idle_one_of_when_it_ran() {
        let kernel = |is_busy| Kernel { name: "a.ipynb".to_owned(), is_busy, last_activity: Some(Timestamp(5)) };
        let with = |is_busy| Doings { kernels: vec![kernel(is_busy)], terminals: Vec::new() };
        assert_eq!(last(with(true)), Some((NOW.0, "the kernel of a.ipynb is busy".to_owned())));
        assert_eq!(last(with(false)), Some((5, "the kernel of a.ipynb ran".to_owned())));
        assert_eq!(last(Doings::default()), None);
    }

    #[test]
    fn a_container_s_clock_does_not_reach_into_the_future() {
        let terminal = Terminal { name: "1".to_owned(), last_activity: Some(NOW.plus(Duration::from_secs(9000))) };
        let doings = Doings { kernels: Vec::new(), terminals: vec![terminal] };
        assert_eq!(last(doings), Some((NOW.0, "terminal 1 was in use".to_owned())));
    }
}
