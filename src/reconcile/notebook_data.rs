//! Makes `/datasets` of every session what its notebook is to have: mounts what was added, takes away what is
//! gone, brings here what lies on S3.
//!
//! [`session_wants`](super::session_wants) reads what is wanted and writes it down, [`session_fetches`](super::session_fetches)
//! and [`session_takes`](super::session_takes) get it ready, and the links on the disk, which are changed here, show it.
//! The order of steps keeps a kill harmless: a version is written down as in use before a link leads to it, and is let
//! go only after no link does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Mutex,
    time::Duration,
};

use anyhow::Context;
use futures_util::{StreamExt, stream};

use super::{
    Loop, Works, drive, inputs, notebook_launch, s3_sources,
    session_fetches::{FetchState, Fetches},
    session_takes::{Taken, Takes},
    session_wants::{Asked, KnownFile, let_go, protect},
    setup_log::SetupLog,
};
use crate::{
    domain::{
        integration::{DataNow, Origin, SessionData},
        integration_file,
        notebook::Notebook,
        storage_provider::ProviderKind,
        workload::Workload,
    },
    fault,
    service::blocking,
    storage::session_data::SessionDir,
    store::{Tx, datasets, events, notebooks, versions},
};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(2);
/// Sessions that are looked at at the same time.
const AT_ONCE: usize = 16;

/// Starts the loop.
pub fn start(works: &Works) {
    let nudge = works.services.data_nudge();
    works.tasks.spawn(drive(
        NotebookData {
            works: works.clone(),
            fetches: Fetches::default(),
            takes: Takes::default(),
            files: Mutex::default(),
        },
        works.clone(),
        nudge,
        PERIOD,
    ));
}

struct NotebookData {
    works: Works,
    /// Versions on S3 that are being brought here.
    fetches: Fetches,
    /// Trees that are being made of versions of other teams.
    takes: Takes,
    /// What is known of the files of notebooks, by the numbers of their sessions.
    files: Mutex<HashMap<i64, KnownFile>>,
}

const HELD: &str = "no code panics while it holds this lock";

impl Loop for NotebookData {
    const NAME: &'static str = "notebook data";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let running = self.works.store.read(notebooks::running).await?;
        let sessions: HashMap<_, _> = running
            .iter()
            .filter_map(|notebook| notebook.session.as_ref())
            .map(|session| (session.workload.id.clone(), session.workload.seq))
            .collect();
        self.works.board.keep_session_data(&|id| sessions.contains_key(id));
        self.fetches.keep(|session, _| sessions.values().any(|seq| *seq == session));
        self.takes.keep(|session, _| sessions.values().any(|seq| *seq == session));
        self.files.lock().expect(HELD).retain(|session, _| sessions.values().any(|seq| seq == session));
        let this = &*self;
        let looks = stream::iter(running).for_each_concurrent(AT_ONCE, |notebook| async move {
            if let Err(error) = this.settle(&notebook).await {
                tracing::warn!(notebook.id = %notebook.id, error = format!("{error:#}"), "its data could not be settled");
            }
        });
        looks.await;
        Ok(())
    }
}

impl NotebookData {
    async fn settle(&self, notebook: &Notebook) -> anyhow::Result<()> {
        let Some(session) = notebook.session.as_ref().map(|session| &session.workload) else { return Ok(()) };
        let works = &self.works;
        let known = self.files.lock().expect(HELD).get(&session.seq).cloned();
        let Asked { mounts, failed, s3, file } = protect(works, notebook, session, known).await?;
        self.files.lock().expect(HELD).insert(session.seq, file.clone());
        let mut entries: BTreeMap<String, DataNow> = BTreeMap::new();
        let fail = |entries: &mut BTreeMap<String, DataNow>, name: &str, words: String| {
            entries.insert(name.to_owned(), DataNow { failed: Some(words), ..DataNow::default() });
        };
        failed.into_iter().for_each(|(name, words)| fail(&mut entries, &name, words));

        let dir = SessionDir::of(works.data.run(&session.id));
        let (look, data, team, asked) = (dir.clone(), works.data.clone(), session.team.clone(), mounts.clone());
        let looked = blocking(move || {
            let (links, bound) = (look.links()?, look.known_bound()?);
            let places: Vec<_> = asked
                .iter()
                .map(|mount| {
                    let place = notebook_launch::place_of(&data, &team, mount, bound.as_deref());
                    let is_there = place
                        .as_ref()
                        .is_ok_and(|place| links.get(&mount.name) == Some(&place.path) && place.is_made(&look, mount));
                    (place, is_there)
                })
                .collect();
            Ok::<_, std::io::Error>((links, places))
        });
        let (before, places) = looked.await.context("looking at its links")?;
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (mount, (place, is_there)) in mounts.iter().zip(places) {
            let place = match place {
                Ok(place) => place,
                Err(words) => {
                    // Whatever is there is what it began with.
                    before.get(&mount.name).map(|target| links.insert(mount.name.clone(), target.clone()));
                    fail(&mut entries, &mount.name, words);
                    continue;
                }
            };
            taken.extend(place.taken.clone());
            if is_there {
                links.insert(mount.name.clone(), place.path);
                continue;
            }
            match self.fetches.look(works, session, mount).await? {
                FetchState::Here => {}
                FetchState::UnderWay { done, total } => {
                    let now = DataNow { fetching: Some((done, total)), ..DataNow::default() };
                    entries.insert(mount.name.clone(), now);
                    continue;
                }
                FetchState::Failed { words, .. } => {
                    fail(&mut entries, &mount.name, words);
                    continue;
                }
            }
            if place.taken.is_some() {
                match self.takes.look(works, session, mount, &place).await {
                    Taken::There => {}
                    Taken::UnderWay => {
                        entries.insert(mount.name.clone(), DataNow { mounting: true, ..DataNow::default() });
                        continue;
                    }
                    Taken::Failed(words) => {
                        fail(&mut entries, &mount.name, words);
                        continue;
                    }
                }
            }
            let (name, path) = (mount.name.clone(), place.path.clone());
            match blocking(move || place.open()).await {
                Ok(()) => {
                    links.insert(name, path);
                }
                Err(error) => fail(&mut entries, &name, format!("its files could not be put there: {error}")),
            }
        }
        self.fetches.keep(|seq, version| seq != session.seq || mounts.iter().any(|mount| mount.version_seq == version));
        self.takes.keep(|seq, version| seq != session.seq || mounts.iter().any(|mount| mount.version_seq == version));
        let unknown = file.unknown_sources(&before, &s3);
        if unknown.is_empty() {
            s3_sources::ask(works, session, &s3);
        }
        links.extend(unknown);
        for (name, stand) in s3_sources::stands(works, session, &s3) {
            match stand {
                s3_sources::Stand::There(path) => {
                    links.insert(name, path);
                }
                s3_sources::Stand::Mounting => {
                    entries.insert(name, DataNow { mounting: true, ..DataNow::default() });
                }
                s3_sources::Stand::Failed(words) => fail(&mut entries, &name, words),
            }
        }
        let mut is_news = before != links;
        if is_news {
            fault::point("notebook_data.link.before");
            let (dir, links) = (dir.clone(), links.clone());
            blocking(move || {
                for name in before.keys().filter(|name| !links.contains_key(*name)) {
                    dir.unlink(name)?;
                    fault::point("notebook_data.unlinked");
                }
                for (name, target) in links.iter().filter(|(name, target)| before.get(*name) != Some(*target)) {
                    dir.link(name, target)?;
                    fault::point("notebook_data.linked");
                }
                Ok::<_, std::io::Error>(())
            })
            .await
            .context("changing its links")?;
        }
        let_go(works, session).await?;
        blocking(move || dir.keep_taken(&taken)).await.context("removing what nothing leads to any more")?;
        let problems = file.settings.file.problems.clone();
        is_news |= works.board.set_session_data(&session.id, SessionData { entries, problems, file: file.asked });
        if is_news {
            let (team, id, now) = (notebook.team.clone(), notebook.id.clone(), works.clock.now());
            let tell = move |tx: &Tx<'_>| {
                events::append(tx, &team, "notebook", id.as_str(), "data", serde_json::json!({}), now)
            };
            works.store.write(tell).await?;
        }
        Ok(())
    }
}

/// Gets what the notebook's file asks for ready for a session that is about to start. What cannot be had is
/// told in its log and tried again while it runs: it holds up no start.
pub(super) async fn prepare(works: &Works, workload: &Workload, log: &SetupLog) -> anyhow::Result<()> {
    let crate::domain::workload::Kind::Notebook(id) = workload.kind.clone() else { return Ok(()) };
    let Some(notebook) = works.store.read(move |connection| notebooks::get(connection, &id)).await? else {
        return Ok(());
    };
    let asked = protect(works, &notebook, workload, None).await?;
    for problem in &asked.file.settings.file.problems {
        let name = problem.name.as_deref().map(|name| format!("{name}: ")).unwrap_or_default();
        log.say(format!("{}: {name}{}", integration_file::PATH, problem.message)).await;
    }
    for (name, words) in &asked.failed {
        log.say(format!("/datasets/{name} is not there: {words}")).await;
    }
    for mount in asked.mounts.iter().filter(|mount| mount.origin == Origin::File) {
        let (id, version) = (mount.dataset.clone(), mount.version.clone());
        let found = works.store.read(move |connection| {
            let version = versions::by_ids(connection, &id, &version)?.map(|(version, _)| version);
            Ok::<_, crate::store::StoreError>((datasets::by_id(connection, &id)?, version))
        });
        let (Some(dataset), Some(version)) = found.await? else { continue };
        if dataset.provider_kind == ProviderKind::S3
            && let Err(failure) = inputs::bring_for(works, workload, &dataset, &version, log).await
        {
            log.say(format!("/datasets/{} is not there yet: {}", mount.name, failure.words())).await;
        }
    }
    Ok(())
}
