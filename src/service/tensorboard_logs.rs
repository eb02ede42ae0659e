//! What a TensorBoard shows when it starts: which directories its members mean at that moment. What is not
//! there is left out, with a word on why; the rest is shown all the same.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{ServiceError, Services, blocking};
use crate::{
    domain::{
        dataset::Use,
        id::{NotebookId, TeamId},
        tensorboard::{LeftOut, LogDirectory, LogSource, Logs, MOST_DIRECTORIES, Member, Subject, TensorBoard},
        workload::Input,
    },
    store::{datasets, experiments, jobs, notebooks, tensorboard_members, versions},
};

/// What members were found to be.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub logs: Logs,
    /// The versions among them, each with its number.
    pub inputs: Vec<(i64, Input)>,
}

/// Notebooks whose files are there.
pub(super) type Homes = HashSet<NotebookId>;

impl Services {
    /// Looks which notebooks have files: of the members of TensorBoard `seq`, and of `more`.
    pub(super) async fn homes_shown(
        &self,
        team: &TeamId,
        seq: i64,
        more: Vec<NotebookId>,
    ) -> Result<Homes, ServiceError> {
        let members = self.store.read(move |connection| tensorboard_members::of(connection, seq)).await?;
        let (data, team) = (self.data.clone(), team.clone());
        let notebooks = members.into_iter().filter_map(|member| match member.subject {
            Subject::Notebook { id, .. } => Some(id),
            _ => None,
        });
        let notebooks: Homes = notebooks.chain(more).collect();
        if notebooks.is_empty() {
            return Ok(notebooks);
        }
        let has_files = move |id: &NotebookId| data.notebook(&team, id).home().is_dir();
        Ok(blocking(move || notebooks.into_iter().filter(has_files).collect()).await)
    }
}

/// Finds what the members of a TensorBoard mean now. `homes` are the notebooks whose files are there.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn find(connection: &Connection, board: &TensorBoard, homes: &Homes) -> Result<Found, ServiceError> {
    let members = tensorboard_members::of(connection, board.seq)?;
    let experiments = members.iter().filter(|member| matches!(member.subject, Subject::Experiment(_))).count();
    // Every other member is one directory; experiments share what is left.
    let mut room = MOST_DIRECTORIES.saturating_sub(members.len() - experiments);
    let mut found = Found::default();
    for member in members {
        let outcome = match &member.subject {
            Subject::Job(id) => match jobs::get(connection, &board.team, id)? {
                Some(_) => Ok(LogSource::Run(id.clone())),
                None => Err(format!("job {id} was deleted")),
            },
            Subject::Experiment(_) => {
                experiment(connection, board, &member, &mut room, &mut found)?;
                continue;
            }
            Subject::Notebook { id, path } => {
                let notebook = notebooks::get(connection, id)?.filter(|notebook| notebook.team == board.team);
                let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
                match notebook {
                    None => Err(format!("notebook {id} was deleted")),
                    Some(notebook) if notebook.copying_from.is_some() => {
                        Err(format!("the files of notebook {id} are still being copied"))
                    }
                    Some(_) if !homes.contains(id) => {
                        Err(format!("notebook {id} has no files yet: they are shown once it was started"))
                    }
                    Some(_) => Ok(LogSource::Notebook { id: id.clone(), path }),
                }
            }
            Subject::Dataset { .. } => version(connection, board, &member, &mut found)?,
        };
        match outcome {
            Ok(source) => found.logs.directories.push(LogDirectory { name: member.name, run: None, source }),
            Err(message) => found.logs.left_out.push(LeftOut { name: member.name, message }),
        }
    }
    Ok(found)
}

/// Adds the runs of an experiment, newest first, as far as there is room.
fn experiment(
    connection: &Connection,
    board: &TensorBoard,
    member: &Member,
    room: &mut usize,
    found: &mut Found,
) -> Result<(), ServiceError> {
    let Subject::Experiment(id) = &member.subject else { return Ok(()) };
    let mut leave_out = |message| found.logs.left_out.push(LeftOut { name: member.name.clone(), message });
    if experiments::get(connection, &board.team, id)?.is_none() {
        leave_out(format!("experiment {id} was deleted"));
        return Ok(());
    }
    let limit = u32::try_from(*room).unwrap_or(u32::MAX).saturating_add(1);
    let mut runs = experiments::newest_runs(connection, id, limit)?;
    if runs.is_empty() {
        leave_out(format!("experiment {id} has no runs yet: they are shown when it is started"));
        return Ok(());
    }
    if runs.len() > *room {
        runs.truncate(*room);
        leave_out(format!(
            "its newest {} runs are shown: there are no more than {MOST_DIRECTORIES} directories in one TensorBoard",
            runs.len()
        ));
    }
    *room -= runs.len();
    found.logs.directories.extend(runs.into_iter().map(|run| LogDirectory {
        name: member.name.clone(),
        run: Some(run.clone()),
        source: LogSource::Run(run),
    }));
    Ok(())
}

/// Finds the version that a member is, or why it is not there.
fn version(
    connection: &Connection,
    board: &TensorBoard,
    member: &Member,
    found: &mut Found,
) -> Result<Result<LogSource, String>, ServiceError> {
    let Subject::Dataset { id, version, reference } = &member.subject else {
        return Ok(Err("it is no dataset".to_owned()));
    };
    let dataset = datasets::by_id(connection, id)?;
    let Some(dataset) = dataset.filter(|dataset| dataset.team == board.team || dataset.public) else {
        return Ok(Err(format!("dataset {reference} was deleted, or is not public any more")));
    };
    let row = versions::by_ids(connection, id, version)?;
    let Some((row, _)) = row.filter(|(_, deleted_at)| deleted_at.is_none()) else {
        return Ok(Err(format!("version {version} of “{}” was deleted", dataset.name)));
    };
    if row.damaged_at.is_some() {
        return Ok(Err(format!("files of version {version} of “{}” are damaged on the disk", dataset.name)));
    }
    let input = Input {
        name: member.name.clone(),
        reference: reference.clone(),
        team: dataset.team.clone(),
        dataset: id.clone(),
        version: version.clone(),
        role: Use::Input,
    };
    found.inputs.push((row.seq, input));
    Ok(Ok(LogSource::Version { team: dataset.team, dataset: id.clone(), version: version.clone() }))
}
