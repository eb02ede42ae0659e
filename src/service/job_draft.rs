//! A job as somebody asked for it: over an earlier one, of an earlier one, and as one that can run. What
//! it is held to field by field is in [`super::job_rules`].

use std::{collections::BTreeMap, time::Duration};

use super::{
    Invalid,
    job_rules::{
        check_build, check_command, check_credentials, check_directory, check_env, check_image, check_machine_type,
        check_mounts, check_ports, check_priority, check_retries, check_shared_memory, check_tags, check_time_limit,
        check_user, check_workspace, default_name, output_dataset,
    },
    text::check_text,
};
use crate::domain::{
    dataset::{DatasetRef, Reference, Use},
    experiment::Plan,
    id::{JobId, ProjectId},
    image_ref::ImageRef,
    job::Job,
    machine_type::{Catalogue, MachineType},
    user_path::shown,
    workload::{Command, Password, Port, Retries, Spec, Workspace},
};

/// What a user may say of a job. Everything is optional, so that a clone can say only what differs.
#[derive(Debug, Clone, Default)]
pub struct JobDraft {
    pub name: Option<String>,
    pub project: Option<String>,
    pub image: Option<String>,
    pub command: Option<Command>,
    pub machine_type: Option<String>,
    pub env: Option<BTreeMap<String, String>>,
    pub working_directory: Option<String>,
    pub workspace: Option<DraftWorkspace>,
    pub registry_username: Option<String>,
    pub registry_password: Option<DraftPassword>,
    pub build: Option<String>,
    pub ports: Option<Vec<Port>>,
    pub shared_memory_bytes: Option<u64>,
    pub user: Option<String>,
    pub datasets: Option<Vec<DraftMount>>,
    pub outputs: Option<Vec<DraftMount>>,
    pub time_limit_seconds: Option<u64>,
    pub retries: Option<Retries>,
    pub tags: Option<Vec<String>>,
    pub priority: Option<i32>,
}

/// Where a job's files come from, as somebody said it.
#[derive(Debug, Clone)]
pub enum DraftWorkspace {
    Empty,
    Upload(String),
    Git { url: String, reference: Option<String>, username: Option<String>, password: Option<DraftPassword> },
}

/// A dataset to read or to write, as somebody said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftMount {
    pub reference: String,
    /// The dataset's own name when left out.
    pub name: Option<String>,
}

/// A password as somebody said it, or as an earlier job keeps it.
#[derive(Clone)]
pub enum DraftPassword {
    /// `secret:NAME`, or the password itself.
    Given(String),
    Kept(Password),
}

impl std::fmt::Debug for DraftPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DraftPassword")
    }
}

/// A draft that has passed every rule.
#[derive(Debug, Clone)]
pub struct CheckedJob {
    pub name: String,
    pub project: String,
    pub spec: Spec,
    pub machine_type: MachineType,
    pub priority: i32,
    pub time_limit: Option<Duration>,
    pub retries: Retries,
    pub tags: Vec<String>,
    /// Names of secrets that it uses, each with the field that does.
    pub secrets: Vec<(String, String)>,
    /// Versions that it reads, to be found.
    pub datasets: Vec<CheckedMount<Reference>>,
    /// Datasets that get what it writes, to be found.
    pub outputs: Vec<CheckedMount<DatasetRef>>,
}

/// A dataset that a job reads or writes, well formed; what it means is for the store to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedMount<R> {
    /// `datasets[0]`.
    pub field: String,
    /// As it was asked for.
    pub text: String,
    pub reference: R,
    /// The dataset's own name when left out.
    pub name: Option<String>,
}

/// The project of a job that names none.
pub const DEFAULT_PROJECT: &str = "default";

impl JobDraft {
    /// Lays `over` on top of this draft: what it says counts, the rest stays. A registry's password
    /// stays with that registry.
    #[must_use]
    pub fn with(mut self, over: Self) -> Self {
        if over.registry_password.is_none() && leaves_registry(self.image.as_deref(), over.image.as_deref()) {
            (self.registry_username, self.registry_password) = (None, None);
        }
        Self {
            name: over.name.or(self.name),
            project: over.project.or(self.project),
            image: over.image.or(self.image),
            command: over.command.or(self.command),
            machine_type: over.machine_type.or(self.machine_type),
            env: over.env.or(self.env),
            working_directory: over.working_directory.or(self.working_directory),
            workspace: over.workspace.or(self.workspace),
            registry_username: over.registry_username.or(self.registry_username),
            registry_password: over.registry_password.or(self.registry_password),
            build: over.build.or(self.build),
            ports: over.ports.or(self.ports),
            shared_memory_bytes: over.shared_memory_bytes.or(self.shared_memory_bytes),
            user: over.user.or(self.user),
            datasets: over.datasets.or(self.datasets),
            outputs: over.outputs.or(self.outputs),
            time_limit_seconds: over.time_limit_seconds.or(self.time_limit_seconds),
            retries: over.retries.or(self.retries),
            tags: over.tags.or(self.tags),
            priority: over.priority.or(self.priority),
        }
    }

    /// Makes a draft of an earlier job, with all that it was.
    pub fn of(job: &Job, spec: &Spec) -> Self {
        let workload = &job.workload;
        let plan = Plan {
            spec: spec.clone(),
            priority: workload.priority,
            time_limit: workload.time_limit,
            retries: workload.retries,
        };
        Self { tags: Some(job.tags.clone()), ..Self::of_plan(&workload.name, &workload.project, &plan) }
    }

    /// Makes a draft of what an experiment keeps, or an earlier job had, without tags.
    pub fn of_plan(name: &str, project: &ProjectId, plan: &Plan) -> Self {
        let spec = &plan.spec;
        let workspace = match spec.workspace.clone() {
            Workspace::Empty => DraftWorkspace::Empty,
            Workspace::Upload(id) => DraftWorkspace::Upload(id.to_string()),
            Workspace::Git { url, reference, credentials } => {
                let (username, password) = credentials.map(|c| (c.username, DraftPassword::Kept(c.password))).unzip();
                DraftWorkspace::Git { url, reference, username, password }
            }
        };
        let (registry_username, registry_password) =
            spec.registry.clone().map(|c| (c.username, DraftPassword::Kept(c.password))).unzip();
        Self {
            name: Some(name.to_owned()),
            project: Some(project.to_string()),
            // A built image's name is the job's own, so the clone gets one of its own.
            image: spec.build.is_none().then(|| spec.image.clone()),
            command: Some(spec.command.clone()),
            machine_type: Some(spec.machine_type.clone()),
            env: Some(spec.env.clone()),
            working_directory: spec.working_directory.clone(),
            workspace: Some(workspace),
            registry_username,
            registry_password,
            build: spec.build.clone().map(|build| build.dockerfile),
            ports: Some(spec.ports.clone()),
            shared_memory_bytes: spec.shared_memory_bytes,
            user: spec.user.clone(),
            // As they were asked for: `latest` means today's in the clone.
            datasets: Some(
                spec.inputs
                    .iter()
                    .filter(|input| input.role == Use::Input)
                    .map(|input| DraftMount { reference: input.reference.clone(), name: Some(input.name.clone()) })
                    .collect(),
            ),
            outputs: Some(
                spec.outputs
                    .iter()
                    .map(|output| DraftMount { reference: output.reference.clone(), name: Some(output.name.clone()) })
                    .collect(),
            ),
            time_limit_seconds: plan.time_limit.map(|limit| limit.as_secs()),
            retries: Some(plan.retries),
            tags: None,
            priority: Some(plan.priority),
        }
    }

    /// Holds the draft to every rule.
    ///
    /// `seal` hides a password that was given as text.
    ///
    /// # Errors
    /// The first field that breaks a rule, with what to do.
    pub fn check<E: From<Invalid>>(
        self,
        id: &JobId,
        catalogue: &Catalogue,
        longest_time_limit: Duration,
        seal: impl Fn(&str) -> Result<String, E>,
    ) -> Result<CheckedJob, E> {
        let mut secrets = Vec::new();
        let workspace = check_workspace(self.workspace, &mut secrets, &seal)?;
        let build = self.build.map(|dockerfile| check_build(dockerfile, &workspace)).transpose()?;
        let image = check_image(self.image, build.is_some(), id)?;
        let registry = check_credentials(
            self.registry_username,
            self.registry_password,
            ("registryUsername", "registryPassword"),
            &mut secrets,
            &seal,
        )?;
        let machine_type = check_machine_type(self.machine_type.as_deref(), catalogue)?;
        let env = self.env.unwrap_or_default();
        check_env(&env, &mut secrets)?;
        let command = self.command.unwrap_or(Command::Image);
        check_command(&command)?;
        let ports = self.ports.unwrap_or_default();
        check_ports(&ports)?;
        if let Some(bytes) = self.shared_memory_bytes {
            check_shared_memory(bytes, &machine_type)?;
        }
        if let Some(user) = &self.user {
            check_user(user)?;
        }
        let datasets = check_mounts("datasets", self.datasets.unwrap_or_default(), |text| {
            text.parse().map_err(|error| format!("“{}” {error}", shown(text.as_bytes())))
        })?;
        let outputs = check_mounts("outputs", self.outputs.unwrap_or_default(), output_dataset)?;
        let name = match self.name {
            Some(name) => check_text("name", name, 128)?,
            None => default_name(&image),
        };
        Ok(CheckedJob {
            name,
            project: match self.project {
                Some(project) => check_text("project", project, 128)?,
                None => DEFAULT_PROJECT.to_owned(),
            },
            spec: Spec {
                image,
                registry,
                command,
                env,
                working_directory: self.working_directory.map(check_directory).transpose()?,
                workspace,
                build,
                ports,
                shared_memory_bytes: self.shared_memory_bytes,
                user: self.user,
                machine_type: machine_type.name.clone(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                keep_packages: false,
            },
            time_limit: self.time_limit_seconds.map(|secs| check_time_limit(secs, longest_time_limit)).transpose()?,
            retries: check_retries(self.retries.unwrap_or_default())?,
            tags: check_tags(self.tags.unwrap_or_default())?,
            priority: check_priority(self.priority.unwrap_or(0))?,
            machine_type,
            secrets,
            datasets,
            outputs,
        })
    }
}

/// Says whether `to` is fetched from another registry than `from` was. What cannot be read, and what
/// was built, is another.
pub(super) fn leaves_registry(from: Option<&str>, to: Option<&str>) -> bool {
    let Some(to) = to else { return false };
    let parse = |image: &str| image.parse::<ImageRef>().ok();
    match (from.and_then(parse), parse(to)) {
        (Some(from), Some(to)) => from.registry() != to.registry(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_s_password_does_not_follow_a_clone_to_another_registry() {
        let earlier = |image: Option<&str>| JobDraft {
            image: image.map(str::to_owned),
            registry_username: Some("ada".to_owned()),
            registry_password: Some(DraftPassword::Given("secret:P".to_owned())),
            ..JobDraft::default()
        };
        let over = |image: &str| JobDraft { image: Some(image.to_owned()), ..JobDraft::default() };
        for (from, to, kept) in [
            (Some("reg.example/a:1"), "reg.example/b:2", true),
            (Some("reg.example/a:1"), "reg.evil/a:1", false),
            (Some("reg.example/a:1"), "reg.example:8443/a:1", false),
            (Some("reg.example/a:1"), "a:1", false),
            (Some("a:1"), "reg.evil/a:1", false),
            (None, "reg.evil/a:1", false),
        ] {
            let clone = earlier(from).with(over(to));
            assert_eq!(clone.registry_password.is_some(), kept, "{from:?} to {to}");
            assert_eq!(clone.registry_username.is_some(), kept, "{from:?} to {to}");
        }
        assert!(earlier(Some("reg.example/a:1")).with(JobDraft::default()).registry_password.is_some());
        let again = JobDraft { registry_password: Some(DraftPassword::Given("x".to_owned())), ..over("reg.evil/a") };
        assert!(earlier(Some("reg.example/a:1")).with(again).registry_password.is_some());
    }
}
