//! Makes `/datasets` of every session what its notebook is to have: mounts what was added, takes away what is
//! gone, brings here what lies on S3.
//!
//! What is wanted is read anew at each pass, from the file among the notebook's own, its settings and the
//! public datasets; what is there is the session's rows and the links on the disk. The order of steps keeps a
//! kill harmless: a version is written down as in use before a link leads to it, and is let go only after no
//! link does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    Loop, Works, drive,
    inputs::{self, Telling},
    notebook_launch, s3_sources,
    session_takes::{Taken, Takes},
    setup_log::SetupLog,
    sources,
};
use crate::{
    domain::{
        dataset::{Dataset, Reference, Use, Version},
        integration::{DataNow, Integration, Origin, SessionData, SessionMount, Source},
        integration_file::{self, IntegrationFile},
        notebook::Notebook,
        storage_provider::ProviderKind,
        time::Timestamp,
        workload::Workload,
    },
    fault,
    service::{
        ServiceError, blocking,
        integrations::{self, Unmountable, Wanted},
        settings_file::{self, SettingsFile},
    },
    storage::session_data::SessionDir,
    store::{Tx, datasets, events, notebooks, session_mounts, version_uses, versions, workloads},
};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(2);
/// Sessions that are looked at at the same time.
const AT_ONCE: usize = 16;
/// Pause before something that could not be brought here is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Starts the loop.
pub fn start(works: &Works) {
    let nudge = works.services.data_nudge();
    works.tasks.spawn(drive(
        NotebookData {
            works: works.clone(),
            fetches: Arc::default(),
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
    /// What is being brought here, by the numbers of session and version.
    fetches: Arc<Mutex<HashMap<(i64, i64), Fetch>>>,
    /// Trees that are being made of versions of other teams.
    takes: Takes,
    /// What is known of the files of notebooks, by the numbers of their sessions.
    files: Mutex<HashMap<i64, KnownFile>>,
}

/// What is known of a notebook's file from the last look.
#[derive(Debug, Clone)]
struct KnownFile {
    settings: SettingsFile,
    /// What it asked for where it could be read last, entry by entry.
    asked: Vec<Integration>,
    /// It could never be read as a whole since the daemon started, so what it asked for before is not known.
    is_guess: bool,
}

/// The bringing of a version for a session.
struct Fetch {
    ending: CancellationToken,
    state: Arc<Mutex<FetchState>>,
}

#[derive(Debug, Clone)]
enum FetchState {
    UnderWay { done: u64, total: u64 },
    Here,
    Failed { words: String, at: Timestamp },
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
        self.keep_fetches(|session, _| sessions.values().any(|seq| *seq == session));
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
            match self.here(session, mount).await? {
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
        self.keep_fetches(|seq, version| seq != session.seq || mounts.iter().any(|mount| mount.version_seq == version));
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

    /// Returns whether the files of a version are on this disk, and has them brought here if not.
    async fn here(&self, session: &Workload, mount: &SessionMount) -> anyhow::Result<FetchState> {
        let key = (session.seq, mount.version_seq);
        let now = self.works.clock.now();
        if let Some(fetch) = self.fetches.lock().expect(HELD).get(&key) {
            let state = fetch.state.lock().expect(HELD).clone();
            match &state {
                FetchState::Failed { at, .. } if now.since(*at) >= AGAIN => {}
                _ => return Ok(state),
            }
        }
        let (id, version) = (mount.dataset.clone(), mount.version.clone());
        let found = self.works.store.read(move |connection| {
            let version = versions::by_ids(connection, &id, &version)?.map(|(version, _)| version);
            Ok::<_, crate::store::StoreError>((datasets::by_id(connection, &id)?, version))
        });
        let (dataset, version) = found.await?;
        let tree = self.works.data.version(&mount.team, &mount.dataset, &mount.version).tree();
        let (Some(dataset), Some(version)) = (dataset, version) else {
            // Deleted since; what is here stays as long as it is in use.
            return Ok(of_tree(tree, now).await);
        };
        if dataset.provider_kind != ProviderKind::S3 {
            return Ok(of_tree(tree, now).await);
        }
        let total = version.totals.unwrap_or_default().bytes;
        let begun = FetchState::UnderWay { done: 0, total };
        let fetch = Fetch { ending: CancellationToken::new(), state: Arc::new(Mutex::new(begun.clone())) };
        self.works.tasks.spawn(bring(
            self.works.clone(),
            dataset,
            version,
            fetch.ending.clone(),
            Arc::clone(&fetch.state),
        ));
        self.fetches.lock().expect(HELD).insert(key, fetch);
        Ok(begun)
    }

    /// Ends the bringing of what nobody wants any more.
    fn keep_fetches(&self, keep: impl Fn(i64, i64) -> bool) {
        self.fetches.lock().expect(HELD).retain(|(session, version), fetch| {
            let keeps = keep(*session, *version);
            if !keeps {
                fetch.ending.cancel();
            }
            keeps
        });
    }
}

impl KnownFile {
    /// Takes in what the file says now.
    fn next(known: Option<&Self>, settings: SettingsFile, mounts: &[SessionMount]) -> Self {
        let before = known.map_or_else(|| integrations::of_mounts(mounts), |known| known.asked.clone());
        let is_guess = known.is_none_or(|known| known.is_guess) && !settings.file.problems.is_empty();
        Self { asked: integrations::of_file(&settings.file, &before), is_guess, settings }
    }

    /// Returns the links to places on S3 of which nobody can say whether they are still asked for, nor how: the
    /// file cannot be read, and the daemon has started since it could. They are left as they are.
    fn unknown_sources(
        &self,
        links: &BTreeMap<String, String>,
        wanted: &[s3_sources::WantedS3],
    ) -> BTreeMap<String, String> {
        if !self.is_guess {
            return BTreeMap::new();
        }
        let IntegrationFile { problems, .. } = &*self.settings.file;
        let is_unread =
            |name: &str| problems.iter().any(|problem| problem.name.is_none() || problem.name.as_deref() == Some(name));
        let is_unknown = |name: &str| is_unread(name) && wanted.iter().all(|one| one.name != name);
        let of_sources = links.iter().filter(|(name, target)| **target == sources::path_of(name) && is_unknown(name));
        of_sources.map(|(name, target)| (name.clone(), target.clone())).collect()
    }
}

async fn of_tree(tree: PathBuf, now: Timestamp) -> FetchState {
    match blocking(move || tree.is_dir()).await {
        true => FetchState::Here,
        false => {
            FetchState::Failed { words: "its files are not there any more: take another version".to_owned(), at: now }
        }
    }
}

async fn bring(
    works: Works,
    dataset: Dataset,
    version: Version,
    ending: CancellationToken,
    state: Arc<Mutex<FetchState>>,
) {
    let total = version.totals.unwrap_or_default().bytes;
    let progress = |done| *state.lock().expect(HELD) = FetchState::UnderWay { done, total };
    let telling = Telling { setup: None, progress: &progress };
    let brought = tokio::select! {
        () = ending.cancelled() => return,
        () = works.stop.cancelled() => return,
        brought = inputs::bring_alone(&works, &dataset, &version, &telling) => brought,
    };
    let now = works.clock.now();
    *state.lock().expect(HELD) = match brought {
        Ok(()) => FetchState::Here,
        Err(failure) => FetchState::Failed { words: failure.words(), at: now },
    };
    works.services.data_nudge().notify_one();
}

/// What a session is to have, written down.
struct Asked {
    mounts: Vec<SessionMount>,
    /// Names that mean nothing, with why.
    failed: BTreeMap<String, String>,
    s3: Vec<s3_sources::WantedS3>,
    file: KnownFile,
}

/// Looks at what a session is to have and writes down what is different: what comes is in use from then on,
/// what goes stays in use till [`let_go`].
async fn protect(
    works: &Works,
    notebook: &Notebook,
    session: &Workload,
    known: Option<KnownFile>,
) -> anyhow::Result<Asked> {
    let (data, team, id) = (works.data.clone(), notebook.team.clone(), notebook.id.clone());
    let read = blocking(move || {
        let settings = settings_file::read(&data, &team, &id, known.as_ref().map(|known| &known.settings));
        settings.map(|settings| (settings, known))
    });
    let (settings, known) = read.await?;
    let (spec, seq, team) = (notebook.spec.clone(), session.seq, session.team.clone());
    let looked = works.store.read(move |connection| {
        let public = integrations::public_of(&workloads::spec(connection, seq)?);
        let mounts = session_mounts::of_session(connection, seq)?;
        let file = KnownFile::next(known.as_ref(), settings, &mounts);
        let wanted = integrations::wanted(&file.asked, &spec, public);
        let plan = plan(&mounts, &wanted);
        let mut failed = BTreeMap::new();
        for ask in &plan.look_up {
            if let Err(words) = in_words(integrations::mountable(connection, &team, &ask.reference))? {
                failed.insert(ask.name.clone(), words);
            }
        }
        Ok::<_, ServiceError>((mounts, file, wanted, plan, failed))
    });
    let (mut mounts, file, wanted, mut plan, failed) = looked.await?;
    // What cannot be had is not there; what had its name before was something else.
    plan.look_up.retain(|ask| !failed.contains_key(&ask.name));
    plan.remove.extend(mounts.iter().filter(|mount| failed.contains_key(&mount.name)).map(|mount| mount.name.clone()));
    if !plan.is_empty() {
        let (clock, session) = (Arc::clone(&works.clock), session.clone());
        let write = works.store.write(move |tx| write_down(tx, &session, &plan, clock.now()));
        mounts = write.await?;
        fault::point("notebook_data.protected");
    }
    let s3 = wanted.into_iter().filter_map(|wanted| match &wanted.integration.source {
        Source::S3(source) => {
            Some(s3_sources::WantedS3 { name: wanted.integration.name().to_owned(), source: source.clone() })
        }
        Source::Dataset(_) => None,
    });
    Ok(Asked { mounts, failed, s3: s3.collect(), file })
}

fn in_words<T>(found: Result<T, Unmountable>) -> Result<Result<T, String>, ServiceError> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(Unmountable::Refused(words)) => Ok(Err(words)),
        Err(Unmountable::Service(error)) => Err(error),
    }
}

/// What a session is to get and to lose.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    remove: Vec<String>,
    /// Those whose reference is new, with what it means to be settled now.
    look_up: Vec<Ask>,
    /// Those that somebody else says by now.
    restate: Vec<(String, Origin)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask {
    name: String,
    reference: Reference,
    origin: Origin,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.look_up.is_empty() && self.restate.is_empty()
    }
}

/// Decides what is to change. A version that is there stays for as long as it is asked for in the same way,
/// even if `latest` or a tag means another one by now.
fn plan(mounts: &[SessionMount], wanted: &[Wanted]) -> Plan {
    let mut plan = Plan::default();
    let asked: BTreeMap<&str, (&Reference, Origin)> = wanted
        .iter()
        .filter_map(|wanted| match &wanted.integration.source {
            Source::Dataset(reference) => Some((wanted.integration.name(), (reference, wanted.origin))),
            Source::S3(_) => None,
        })
        .collect();
    for mount in mounts {
        match asked.get(mount.name.as_str()) {
            None => plan.remove.push(mount.name.clone()),
            Some((reference, origin)) if mount.reference.parse().as_ref() == Ok(*reference) => {
                if mount.origin != *origin {
                    plan.restate.push((mount.name.clone(), *origin));
                }
            }
            // Looked up below.
            Some(_) => {}
        }
    }
    for (name, (reference, origin)) in asked {
        let is_there =
            mounts.iter().any(|mount| mount.name == name && mount.reference.parse().as_ref() == Ok(reference));
        if !is_there {
            plan.look_up.push(Ask { name: name.to_owned(), reference: reference.clone(), origin });
        }
    }
    plan
}

fn write_down(tx: &Tx<'_>, session: &Workload, plan: &Plan, now: Timestamp) -> Result<Vec<SessionMount>, ServiceError> {
    for name in &plan.remove {
        session_mounts::remove(tx, session.seq, name)?;
    }
    for ask in &plan.look_up {
        // Looked up again: it may have been deleted since.
        let Ok(found) = in_words(integrations::mountable(tx, &session.team, &ask.reference))? else { continue };
        let role = if ask.origin == Origin::Public { Use::Public } else { Use::Input };
        let new = version_uses::NewUse {
            version: found.version.seq,
            team: &session.team,
            job: &session.id,
            job_name: &session.name,
            name: &ask.name,
            role,
        };
        version_uses::insert(tx, &new, now)?;
        let reference = ask.reference.to_string();
        let mount = session_mounts::NewMount {
            name: &ask.name,
            reference: &reference,
            origin: ask.origin,
            version: found.version.seq,
        };
        session_mounts::put(tx, session.seq, &mount)?;
    }
    for (name, origin) in &plan.restate {
        session_mounts::restate(tx, session.seq, name, *origin)?;
    }
    Ok(session_mounts::of_session(tx, session.seq)?)
}

/// Lets go of the versions that a session has no more. No link may lead to them.
async fn let_go(works: &Works, session: &Workload) -> anyhow::Result<()> {
    let (seq, id) = (session.seq, session.id.clone());
    if !works.store.read(move |connection| session_mounts::has_unmounted(connection, (seq, &id))).await? {
        return Ok(());
    }
    fault::point("notebook_data.let_go.before");
    let (id, now) = (session.id.clone(), works.clock.now());
    works.store.write(move |tx| session_mounts::release_unmounted(tx, (seq, &id), now)).await?;
    fault::point("notebook_data.let_go.after");
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::Integration;

    fn mount(name: &str, reference: &str, origin: Origin) -> SessionMount {
        SessionMount {
            name: name.to_owned(),
            reference: reference.to_owned(),
            origin,
            version_seq: 1,
            team: "tabc123".parse().unwrap(),
            dataset: "dst364npcw6ccok".parse().unwrap(),
            version: "fo5rp4m".parse().unwrap(),
        }
    }

    fn want(name: &str, reference: &str, origin: Origin) -> Wanted {
        Wanted { origin, integration: Integration::dataset(name, reference, None).unwrap() }
    }

    fn asks(plan: &Plan) -> Vec<(&str, String)> {
        plan.look_up.iter().map(|ask| (ask.name.as_str(), ask.reference.to_string())).collect()
    }

    #[test]
    fn what_is_asked_for_in_the_same_way_stays_as_it_is() {
        let mounts = [mount("a", "mnist", Origin::Settings), mount("b", "mnist:v1", Origin::File)];
        let wanted = [want("a", "mnist:latest", Origin::Settings), want("b", "mnist:v1", Origin::File)];
        assert!(plan(&mounts, &wanted).is_empty());
    }

    #[test]
    fn what_is_new_or_asked_for_otherwise_is_looked_up_and_what_is_gone_goes() {
        let mounts = [
            mount("gone", "mnist", Origin::File),
            mount("other", "mnist:v1", Origin::File),
            // Somebody asked for what it means by now.
            mount("again", "", Origin::File),
        ];
        let wanted = [
            want("new", "words", Origin::File),
            want("other", "mnist:v2", Origin::File),
            want("again", "mnist:latest", Origin::File),
        ];
        let plan = plan(&mounts, &wanted);
        assert_eq!(plan.remove, ["gone"]);
        let expected = [("again", "mnist:latest"), ("new", "words:latest"), ("other", "mnist:v2")];
        assert_eq!(asks(&plan), expected.map(|(name, reference)| (name, reference.to_owned())));
    }

    fn known(text: &str, before: Option<&KnownFile>) -> KnownFile {
        KnownFile::next(before, SettingsFile::of(text), &[])
    }

    #[test]
    fn a_place_whose_file_breaks_stays_asked_for_and_after_a_restart_it_is_left_as_it_is() {
        let lab = "  lab: {type: s3, url: s3://lab, accessKeyId: A, secretAccessKey: secret:K, region: r}\n";
        let whole = known(&format!("integrations:\n{lab}"), None);
        let broken = known("integrations:\n  lab: {", Some(&whole));
        assert_eq!((broken.asked.clone(), broken.is_guess), (whole.asked.clone(), false));
        assert_eq!(known("", Some(&broken)).asked, []);

        let links = |names: &[&str]| -> BTreeMap<String, String> {
            names.iter().map(|name| (name.to_string(), sources::path_of(name))).collect()
        };
        let mut all = links(&["lab", "other"]);
        all.insert("mnist".to_owned(), "/opt/gradientd/versions/x".to_owned());
        let restarted = known("integrations:\n  lab: {", None);
        assert_eq!(restarted.unknown_sources(&all, &[]), links(&["lab", "other"]));
        let one = known("integrations:\n  lab: {type: s3}\n", Some(&restarted));
        assert_eq!(one.unknown_sources(&all, &[]), links(&["lab"]));
        assert_eq!(known("", Some(&one)).unknown_sources(&all, &[]), BTreeMap::new());
        assert_eq!(broken.unknown_sources(&all, &[]), BTreeMap::new());
    }

    #[test]
    fn who_says_it_may_change_without_a_new_look() {
        let mounts = [mount("a", "mnist:v1", Origin::Settings)];
        let plan = plan(&mounts, &[want("a", "mnist:v1", Origin::File)]);
        assert_eq!(plan, Plan { restate: vec![("a".to_owned(), Origin::File)], ..Plan::default() });
    }
}
