//! What a TensorBoard shows: added and taken away, while it runs or not.

use super::{Invalid, ServiceError, Services, references, tensorboards};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::Reference,
        experiment::Experiment,
        id::{ExperimentId, JobId, NotebookId, TensorBoardId},
        tensorboard::{MOST_MEMBERS, Member, Subject, TensorBoard, check_member_name, member_name},
        time::Timestamp,
        user_path::{UserPath, shown},
        workload::State,
    },
    store::{Tx, experiments, jobs, notebooks, tensorboard_members, tensorboards as rows, versions},
};

/// Something to be shown, as somebody said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDraft {
    /// What it is to be called; the box finds a name where none is said.
    pub name: Option<String>,
    pub subject: DraftSubject,
}

/// What is to be shown from now on, and what no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberChange {
    /// Members, each by its name or by the id of what it shows.
    pub removed: Vec<String>,
    pub added: Vec<MemberDraft>,
    /// Whether one that does not run is started.
    pub start: bool,
}

/// What is to be shown, as somebody said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftSubject {
    Job(JobId),
    Experiment(ExperimentId),
    /// A directory of its files; all of them when the path is empty.
    Notebook {
        id: NotebookId,
        path: String,
    },
    /// `ID:VERSION`, `NAME:latest`, …: settled when it is added.
    Dataset(String),
}

/// A draft that is well formed; what it means is for the store to say.
#[derive(Debug, Clone)]
pub(super) struct CheckedMember {
    /// `members[0]`.
    field: String,
    name: Option<String>,
    subject: CheckedSubject,
}

#[derive(Debug, Clone)]
enum CheckedSubject {
    Job(JobId),
    Experiment(ExperimentId),
    Notebook { id: NotebookId, path: UserPath },
    Dataset { reference: Reference, text: String },
}

impl Services {
    /// Adds members to a TensorBoard, all or none. One that runs shows them within seconds.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for the first that cannot be so, [`ServiceError::NotFound`] for the first
    /// that is not there, [`ServiceError::Conflict`] for one that is a member already.
    pub async fn add_tensorboard_members(
        &self,
        caller: &Caller,
        id: &TensorBoardId,
        drafts: Vec<MemberDraft>,
    ) -> Result<tensorboards::TensorBoardNow, ServiceError> {
        self.change_tensorboard_members(caller, id, MemberChange { added: drafts, ..MemberChange::default() }).await
    }

    /// Takes members away from a TensorBoard, all or none, each named by its name or by the id of what it
    /// shows. One that runs shows them no more within seconds.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for the first that it has not.
    pub async fn remove_tensorboard_members(
        &self,
        caller: &Caller,
        id: &TensorBoardId,
        named: Vec<String>,
    ) -> Result<tensorboards::TensorBoardNow, ServiceError> {
        self.change_tensorboard_members(caller, id, MemberChange { removed: named, ..MemberChange::default() }).await
    }

    /// Takes members away from a TensorBoard and then adds others: all of it or nothing, and as one change
    /// of what it shows.
    ///
    /// # Errors
    /// As [`Self::remove_tensorboard_members`], [`Self::add_tensorboard_members`] and, where it is to be
    /// started, [`Self::start_tensorboard`].
    pub async fn change_tensorboard_members(
        &self,
        caller: &Caller,
        id: &TensorBoardId,
        MemberChange { removed, added, start }: MemberChange,
    ) -> Result<tensorboards::TensorBoardNow, ServiceError> {
        caller.may(Action::ChangeTensorBoard)?;
        if start {
            caller.may(Action::StartTensorBoard)?;
        }
        let added = check(added)?;
        let before = self.find_tensorboard(caller, id).await?;
        let homes = self.homes_shown(&before.team, before.seq, notebooks_of(&added)).await?;
        let (services, asker, target) = (self.clone(), caller.clone(), id.clone());
        self.store
            .write(move |tx| {
                let now = services.clock.now();
                let board = tensorboards::find(tx, &asker, &target)?;
                remove(tx, &board, &removed)?;
                add(tx, &asker, &board, &added, now)?;
                services.renew_in(tx, &board, Some(&asker.user), &homes)?;
                if start {
                    services.start_in(tx, &asker, &board, &homes)?;
                }
                rows::tell(tx, &board.team, &board.id, "changed", now)?;
                Ok::<_, ServiceError>(())
            })
            .await?;
        self.tensorboard(caller, id).await
    }
}

/// Holds drafts to what can be said without looking anything up.
pub(super) fn check(drafts: Vec<MemberDraft>) -> Result<Vec<CheckedMember>, Invalid> {
    if drafts.len() > MOST_MEMBERS {
        return Err(too_many());
    }
    let check = |(at, draft): (usize, MemberDraft)| {
        let field = format!("members[{at}]");
        if let Some(name) = &draft.name {
            check_member_name(name).map_err(|error| {
                Invalid::new(format!("{field}.name"), "bad_name", format!("“{}” {error}", shown(name.as_bytes())))
            })?;
        }
        let subject = match draft.subject {
            DraftSubject::Job(id) => CheckedSubject::Job(id),
            DraftSubject::Experiment(id) => CheckedSubject::Experiment(id),
            DraftSubject::Notebook { id, path } => {
                let refused = |words: String| {
                    let message = format!("“{}” {words}", shown(path.as_bytes()));
                    Invalid::new(format!("{field}.path"), "bad_path", message)
                };
                let parsed = UserPath::from_bytes(path.as_bytes()).map_err(|error| refused(error.to_string()))?;
                if !parsed.is_root() {
                    parsed.check_fit().map_err(|error| refused(error.to_string()))?;
                }
                CheckedSubject::Notebook { id, path: parsed }
            }
            DraftSubject::Dataset(text) => {
                let reference = references::parse(&format!("{field}.dataset"), &text)?;
                CheckedSubject::Dataset { reference, text }
            }
        };
        Ok(CheckedMember { field, name: draft.name, subject })
    };
    drafts.into_iter().enumerate().map(check).collect()
}

/// Returns the notebooks among drafts.
pub(super) fn notebooks_of(checked: &[CheckedMember]) -> Vec<NotebookId> {
    let notebooks = checked.iter().filter_map(|draft| match &draft.subject {
        CheckedSubject::Notebook { id, .. } => Some(id.clone()),
        _ => None,
    });
    notebooks.collect()
}

fn too_many() -> Invalid {
    let message = format!("a TensorBoard has at most {MOST_MEMBERS} members: make another one for the rest");
    Invalid::new("members", "too_many_members", message)
}

/// Takes away what is named, be it by the name of a member or by the id of what it shows.
fn remove(tx: &Tx<'_>, board: &TensorBoard, named: &[String]) -> Result<(), ServiceError> {
    for named in named {
        let members = tensorboard_members::of(tx, board.seq)?;
        let by_name: Vec<_> = members.iter().filter(|member| member.name == *named).collect();
        let meant = match by_name.is_empty() {
            true => members.iter().filter(|member| member.subject.id() == named).collect(),
            false => by_name,
        };
        if meant.is_empty() {
            return Err(ServiceError::not_found("member", format!("“{}”", shown(named.as_bytes()))));
        }
        for member in meant {
            tensorboard_members::delete(tx, board.seq, &member.name)?;
        }
    }
    Ok(())
}

/// Finds what is meant, of the caller's team, and writes it down.
pub(super) fn add(
    tx: &Tx<'_>,
    caller: &Caller,
    board: &TensorBoard,
    checked: &[CheckedMember],
    now: Timestamp,
) -> Result<(), ServiceError> {
    let mut members = tensorboard_members::of(tx, board.seq)?;
    if members.len() + checked.len() > MOST_MEMBERS {
        return Err(too_many().into());
    }
    for draft in checked {
        let (title, subject) = find(tx, caller, draft)?;
        if let Some(same) = members.iter().find(|member| member.subject.is_same(&subject)) {
            let message = format!("{} {} is a member already, as “{}”", subject.kind(), subject.id(), same.name);
            return Err(ServiceError::Conflict { code: "already_member", message });
        }
        let is_taken = |name: &str| members.iter().any(|member| member.name == name);
        let name = match &draft.name {
            Some(name) if is_taken(name) => {
                let message = format!("a member is called “{name}” already: give it another name");
                return Err(ServiceError::Conflict { code: "name_taken", message });
            }
            Some(name) => name.clone(),
            None => member_name(&title, subject.id(), is_taken),
        };
        let member = Member { name, subject, added_at: now };
        tensorboard_members::insert(tx, board.seq, &member)?;
        members.push(member);
    }
    Ok(())
}

/// Finds one, with what people call it.
fn find(tx: &Tx<'_>, caller: &Caller, draft: &CheckedMember) -> Result<(String, Subject), ServiceError> {
    let team = &caller.team;
    Ok(match &draft.subject {
        CheckedSubject::Job(id) => {
            let (job, _) = jobs::get(tx, team, id)?.ok_or_else(|| ServiceError::not_found("job", id))?;
            (job.workload.name, Subject::Job(id.clone()))
        }
        CheckedSubject::Experiment(id) => {
            let found = experiments::get(tx, team, id)?.ok_or_else(|| ServiceError::not_found("experiment", id))?;
            (found.name, Subject::Experiment(id.clone()))
        }
        CheckedSubject::Notebook { id, path } => {
            // A public one of another team is to be looked at and forked, not to be worked with.
            let found = notebooks::get(tx, id)?.filter(|notebook| notebook.team == *team);
            let found = found.ok_or_else(|| ServiceError::not_found("notebook", id))?;
            let title = match path.is_root() {
                true => found.name,
                false => format!("{}-{}", found.name, shown(path.as_bytes())),
            };
            (title, Subject::Notebook { id: id.clone(), path: path.clone() })
        }
        CheckedSubject::Dataset { reference, text } => {
            let found = references::resolve(tx, team, reference)?;
            let refused =
                |code, message: String| Err(Invalid::new(format!("{}.dataset", draft.field), code, message).into());
            let (dataset, version) = (found.dataset, found.version);
            if version.committed_at.is_none() {
                let message = format!("{} of “{}” can still change: commit it first", version.id, dataset.name);
                return refused("version_not_committed", message);
            }
            if version.damaged_at.is_some() {
                let message = format!("files of {} of “{}” are damaged on the disk", version.id, dataset.name);
                return refused("version_damaged", message);
            }
            (dataset.name, Subject::Dataset { id: dataset.id, version: version.id, reference: text.clone() })
        }
    })
}

/// A member with what is known of what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberNow {
    pub member: Member,
    /// What people call it; `None` when it was deleted, or is not for this team any more.
    pub title: Option<String>,
    /// Where a job stands, or the latest run of an experiment; `None` for what never ran, and what does not.
    pub state: Option<State>,
}

/// Looks up what the members of a TensorBoard are.
pub(super) fn look(connection: &rusqlite::Connection, board: &TensorBoard) -> Result<Vec<MemberNow>, ServiceError> {
    let mut looked = Vec::new();
    for member in tensorboard_members::of(connection, board.seq)? {
        let mut state = None;
        let title = match &member.subject {
            Subject::Job(id) => {
                let found = jobs::get(connection, &board.team, id)?.map(|(job, _)| job.workload);
                state = found.as_ref().map(|run| run.state);
                found.map(|run| run.name)
            }
            Subject::Experiment(id) => {
                let found = experiments::get(connection, &board.team, id)?;
                state = found.as_ref().and_then(Experiment::state);
                found.map(|found| found.name)
            }
            Subject::Notebook { id, .. } => {
                let found = notebooks::get(connection, id)?.filter(|notebook| notebook.team == board.team);
                found.map(|notebook| notebook.name)
            }
            Subject::Dataset { id, version, .. } => {
                let dataset = crate::store::datasets::by_id(connection, id)?;
                let dataset = dataset.filter(|dataset| dataset.team == board.team || dataset.public);
                let version = versions::by_ids(connection, id, version)?.filter(|(_, deleted_at)| deleted_at.is_none());
                dataset.filter(|_| version.is_some()).map(|dataset| dataset.name)
            }
        };
        looked.push(MemberNow { member, title, state });
    }
    Ok(looked)
}
