//! What a job reads and writes of datasets: which versions its references mean at the moment when it is
//! accepted, and that they can be mounted.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{
    Invalid, ServiceError, Services,
    job_draft::CheckedMount,
    references::{self, Resolved},
};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{Dataset, DatasetRef, JobOutput, PUBLIC, Reference, Use, VersionRef, check_mount_name},
        id::{JobId, TeamId},
        integration::Origin,
        time::Timestamp,
        user_path::shown,
        workload::{Input, Output, Spec},
    },
    store::{Tx, job_outputs, session_mounts, version_uses},
};

/// What a job reads and writes, found.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Each with the number of its version.
    pub inputs: Vec<(i64, Input)>,
    /// Each with the number of its dataset.
    pub outputs: Vec<(i64, Output)>,
    /// Whether outputs may still be committed should their dataset become public.
    pub may_publish: bool,
}

/// Finds what a job names, and the newest version of every public dataset, which every job gets.
///
/// # Errors
/// [`Invalid`] with the codes `unknown_dataset`, `unknown_version`, `version_not_committed`,
/// `version_damaged` and `duplicate_name`, for the field that says it.
pub(super) fn find(
    connection: &Connection,
    caller: &Caller,
    datasets: &[CheckedMount<Reference>],
    outputs: &[CheckedMount<DatasetRef>],
) -> Result<Mounts, ServiceError> {
    let may_publish = caller.may(Action::PublishDataset).is_ok();
    let mut mounts = Mounts { may_publish, ..Mounts::default() };
    let mut names = HashSet::new();
    for mount in datasets {
        let found = version_to_read(connection, &caller.team, mount)?;
        let name = name(mount, &found.dataset, &mut names)?;
        mounts.inputs.push((found.version.seq, input(found, name, mount.text.clone(), Use::Input)));
    }
    let mut names = HashSet::new();
    for mount in outputs {
        let dataset = dataset_to_write(connection, caller, mount)?;
        let name = name(mount, &dataset, &mut names)?;
        mounts.outputs.push((dataset.seq, Output { name, reference: mount.text.clone(), dataset: dataset.id }));
    }
    for found in references::newest_public(connection)? {
        // Nobody asked for it, so a damaged one is left out and no reason to refuse the job.
        if found.version.damaged_at.is_none() && check_mount_name(&found.dataset.name).is_ok() {
            let (name, reference) = (found.dataset.name.clone(), format!("{PUBLIC}{}", found.dataset.name));
            mounts.inputs.push((found.version.seq, input(found, name, reference, Use::Public)));
        }
    }
    Ok(mounts)
}

/// Writes down what a job that was just accepted reads and writes. `seq` is its number.
pub(super) fn insert(
    tx: &Tx<'_>,
    (seq, id, job_name): (i64, &JobId, &str),
    team: &TeamId,
    mounts: &Mounts,
    now: Timestamp,
) -> Result<(), ServiceError> {
    for (version, input) in &mounts.inputs {
        let (name, role) = (input.name.as_str(), input.role);
        version_uses::insert(
            tx,
            &version_uses::NewUse { version: *version, team, job: id, job_name, name, role },
            now,
        )?;
    }
    for (dataset, output) in &mounts.outputs {
        job_outputs::insert(tx, seq, &output.name, *dataset, mounts.may_publish)?;
    }
    Ok(())
}

/// Writes down what session `seq` of a notebook, just accepted, has at `/datasets/NAME`. What somebody asked for
/// counts more than a public dataset of that name.
pub(super) fn insert_session(tx: &Tx<'_>, seq: i64, mounts: &Mounts) -> Result<(), ServiceError> {
    let (public, asked): (Vec<_>, Vec<_>) = mounts.inputs.iter().partition(|(_, input)| input.role == Use::Public);
    for (version, input) in public.into_iter().chain(asked) {
        let origin = if input.role == Use::Public { Origin::Public } else { Origin::Settings };
        let (name, reference) = (input.name.as_str(), input.reference.as_str());
        session_mounts::put(tx, seq, &session_mounts::NewMount { name, reference, origin, version: *version })?;
    }
    Ok(())
}

impl Services {
    /// Returns what became of the outputs of a job.
    pub async fn job_outputs(&self, caller: &Caller, id: &JobId, spec: &Spec) -> Result<Vec<JobOutput>, ServiceError> {
        caller.may(Action::ViewJobs)?;
        if spec.outputs.is_empty() {
            return Ok(Vec::new());
        }
        let id = id.clone();
        self.store.read(move |connection| Ok(job_outputs::of_job(connection, &id)?)).await
    }
}

fn input(found: Resolved, name: String, reference: String, role: Use) -> Input {
    let Resolved { dataset, version } = found;
    Input { name, reference, team: dataset.team, dataset: dataset.id, version: version.id, role }
}

fn version_to_read(
    connection: &Connection,
    team: &TeamId,
    mount: &CheckedMount<Reference>,
) -> Result<Resolved, ServiceError> {
    let refused =
        |code, message: String| ServiceError::from(Invalid::new(format!("{}.ref", mount.field), code, message));
    let dataset = dataset(connection, team, &mount.field, &mount.reference.dataset)?;
    let version = match references::version(connection, team, &dataset, &mount.reference.version) {
        Ok(version) => version,
        Err(ServiceError::NotFound { .. }) if mount.reference.version == VersionRef::Latest => {
            let message = format!("“{}” has no committed version yet: commit one first", dataset.name);
            return Err(refused("version_not_committed", message));
        }
        Err(ServiceError::NotFound { .. }) => {
            let message = format!(
                "“{}” has no version or tag {}: see the list of its versions",
                dataset.name, mount.reference.version
            );
            return Err(refused("unknown_version", message));
        }
        Err(other) => return Err(other),
    };
    if version.committed_at.is_none() {
        let message = format!("{} of “{}” can still change: commit it first", version.id, dataset.name);
        return Err(refused("version_not_committed", message));
    }
    if version.damaged_at.is_some() {
        let message = format!(
            "files of {} of “{}” are damaged on the disk: take another version, or put the files in again as a new one",
            version.id, dataset.name
        );
        return Err(refused("version_damaged", message));
    }
    Ok(Resolved { dataset, version })
}

fn dataset_to_write(
    connection: &Connection,
    caller: &Caller,
    mount: &CheckedMount<DatasetRef>,
) -> Result<Dataset, ServiceError> {
    dataset(connection, &caller.team, &mount.field, &mount.reference)?;
    references::to_change(connection, caller, &mount.reference)
}

fn dataset(connection: &Connection, team: &TeamId, field: &str, named: &DatasetRef) -> Result<Dataset, ServiceError> {
    references::dataset(connection, team, named).map_err(|error| match error {
        ServiceError::NotFound { .. } => {
            let message = format!(
                "there is no dataset “{}”: make it first, or correct the name",
                shown(named.to_string().as_bytes())
            );
            Invalid::new(format!("{field}.ref"), "unknown_dataset", message).into()
        }
        other => other,
    })
}

/// Returns the name that a mount gets, which no other of its list has.
fn name<R>(mount: &CheckedMount<R>, dataset: &Dataset, names: &mut HashSet<String>) -> Result<String, ServiceError> {
    let name = mount.name.clone().unwrap_or_else(|| dataset.name.clone());
    let refused = |code, message| Err(Invalid::new(format!("{}.name", mount.field), code, message).into());
    if check_mount_name(&name).is_err() {
        let message = format!("“{name}” is too long for the name of a directory: give a shorter name with the ref");
        return refused("bad_name", message);
    }
    if !names.insert(name.clone()) {
        return refused("duplicate_name", format!("two of them are called “{name}”: give each a name of its own"));
    }
    Ok(name)
}
