//! What a checked draft means at the moment when it is accepted: its project, its secrets, its upload and
//! its datasets have to be there, in the transaction that accepts it.

use super::{
    Invalid, ServiceError, Services,
    job_draft::CheckedJob,
    job_mounts::{self, Mounts},
};
use crate::{
    domain::{
        caller::Caller,
        id::{JobId, ProjectId, UploadId},
        machine_type::MachineType,
        workload::{Kind, Needs, Spec, Workspace},
    },
    store::{
        Tx, secrets, uploads,
        workloads::{self, NewWorkload},
    },
};

/// A draft of which everything was found.
pub(super) struct Settled {
    pub project: ProjectId,
    /// The archive that its workspace is made of.
    pub upload: Option<UploadId>,
    mounts: Mounts,
    /// With what its mounts are found to be.
    pub spec: Spec,
}

impl Services {
    /// Refuses more work of a team that has as much waiting as it may.
    pub(super) fn check_waiting(&self, tx: &Tx<'_>, caller: &Caller, kind: &Kind) -> Result<(), ServiceError> {
        let limit = self.settings.jobs_waiting_per_team;
        if workloads::waiting(tx, &caller.team, kind, limit)? < limit {
            return Ok(());
        }
        let many = match kind {
            Kind::Job => "jobs",
            Kind::Notebook(_) => "notebooks",
            Kind::TensorBoard(_) => "TensorBoards",
        };
        let message = format!("{limit} {many} of your team are waiting already, which is the most: try again later");
        Err(ServiceError::TooMany { code: "too_many_waiting", message })
    }

    /// Holds a draft to what there is. Makes the project that it names where there is none.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the first thing that is not there.
    pub(super) fn settle(&self, tx: &Tx<'_>, caller: &Caller, checked: &CheckedJob) -> Result<Settled, ServiceError> {
        let project = self.project_for(tx, caller, &checked.project)?;
        check_secrets(tx, caller, &project, &checked.secrets)?;
        let upload = match &checked.spec.workspace {
            Workspace::Upload(upload) => Some(upload.clone()),
            _ => None,
        };
        if let Some(upload) = &upload
            && !uploads::exists(tx, &caller.team, upload)?
        {
            let message = format!("there is no upload {upload}, or it has expired: upload the archive again");
            return Err(Invalid::new("workspace.upload", "unknown_upload", message).into());
        }
        let mounts = job_mounts::find(tx, caller, &checked.datasets, &checked.outputs)?;
        let spec = Spec {
            inputs: mounts.inputs.iter().map(|(_, input)| input.clone()).collect(),
            outputs: mounts.outputs.iter().map(|(_, output)| output.clone()).collect(),
            ..checked.spec.clone()
        };
        Ok(Settled { project, upload, mounts, spec })
    }
}

impl Settled {
    /// Returns the workload `(id, kind)` that the draft becomes, and what it reads and writes of datasets.
    pub(super) fn workload(
        self,
        caller: &Caller,
        (id, kind): (JobId, Kind),
        checked: &CheckedJob,
    ) -> (NewWorkload, Mounts) {
        let new = NewWorkload {
            id,
            kind,
            team: caller.team.clone(),
            user: caller.user.clone(),
            project: self.project,
            name: checked.name.clone(),
            needs: needs(&checked.machine_type),
            spec: self.spec,
            priority: checked.priority,
            time_limit: checked.time_limit,
            retries: checked.retries,
            upload: self.upload,
        };
        (new, self.mounts)
    }
}

/// Refuses the first secret, each with the field that names it, that is not there.
pub(super) fn check_secrets(
    tx: &Tx<'_>,
    caller: &Caller,
    project: &ProjectId,
    named: &[(String, String)],
) -> Result<(), ServiceError> {
    for (field, name) in named {
        if secrets::sealed(tx, &caller.team, project, name)?.is_none() {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
            let message =
                format!("there is no secret “{shown}” for this project or its team: set it first, or correct the name");
            return Err(Invalid::new(field.as_str(), "unknown_secret", message).into());
        }
    }
    Ok(())
}

/// Returns what a workload takes on a machine type.
pub(super) fn needs(machine: &MachineType) -> Needs {
    Needs {
        cpu_millis: u32::try_from(machine.cpu_millis).unwrap_or(u32::MAX),
        memory_bytes: machine.memory_bytes,
        gpus: machine.gpus,
        gpu_share: machine.share,
        gpu_model: machine.gpu_model.clone(),
        mig_profile: machine.mig_profile.clone(),
    }
}
