//! What a session is to have beneath `/datasets`: what its notebook asks for, compared with what the session has, and
//! written down as in use.
//!
//! What is wanted is read anew each time, from the file among the notebook's own, its settings and the public
//! datasets. A version is in use before a link leads to it, and till no link does any more.

use std::{collections::BTreeMap, sync::Arc};

use super::{Works, s3_sources, sources};
use crate::{
    domain::{
        dataset::{Reference, Use},
        integration::{Integration, Origin, SessionMount, Source},
        integration_file::IntegrationFile,
        notebook::Notebook,
        time::Timestamp,
        workload::Workload,
    },
    fault,
    service::{
        ServiceError, blocking,
        integrations::{self, Unmountable, Wanted},
        settings_file::{self, SettingsFile},
    },
    store::{Tx, session_mounts, version_uses, workloads},
};

/// What a session is to have, written down.
pub(super) struct Asked {
    pub mounts: Vec<SessionMount>,
    /// Names that mean nothing, with why.
    pub failed: BTreeMap<String, String>,
    pub s3: Vec<s3_sources::WantedS3>,
    pub file: KnownFile,
}

/// What is known of a notebook's file from the last look.
#[derive(Debug, Clone)]
pub(super) struct KnownFile {
    pub settings: SettingsFile,
    /// What it asked for where it could be read last, entry by entry.
    pub asked: Vec<Integration>,
    /// It could never be read as a whole since the daemon started, so what it asked for before is not known.
    is_guess: bool,
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
    pub(super) fn unknown_sources(
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

/// Looks at what a session is to have and writes down what is different: what comes is in use from then on,
/// what goes stays in use till [`let_go`].
pub(super) async fn protect(
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
pub(super) async fn let_go(works: &Works, session: &Workload) -> anyhow::Result<()> {
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
