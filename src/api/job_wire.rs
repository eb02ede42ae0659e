//! Jobs as clients ask for them. What a job tells as its `spec` can be sent again as it is,
//! but for passwords, which never leave the box.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use utoipa::ToSchema;

use crate::{
    domain::{
        dataset::Use,
        experiment::Plan,
        id::JobId,
        job::Job,
        workload::{Command, Password, Port, Retries, Spec, Workspace, secret_name},
    },
    service::{
        Invalid,
        job_draft::{DraftMount, DraftPassword, DraftWorkspace, JobDraft},
    },
};

/// Pause before the first retry when the client does not say.
const BACKOFF_SECONDS: u64 = 10;

/// What a job is to run, and with what. A field that is left out has its default; in a clone, it
/// stays as it was.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateJob {
    /// The image to run, such as `python:3.12`. Needed unless `build` is given.
    pub image: Option<String>,
    /// A text, run by `/bin/sh -c` inside the container, or a list, started as it is. The image's
    /// own command when left out.
    pub command: Option<CommandText>,
    /// What people call it. The image's name when left out.
    pub name: Option<String>,
    /// Id or name of the project. A name that there is none of makes one. `default` when left out.
    pub project: Option<String>,
    /// Name or alias of a machine type of this box.
    pub machine_type: Option<String>,
    /// Environment variables. A value `secret:NAME` is replaced by that secret when the job starts.
    pub env: Option<BTreeMap<String, String>>,
    /// Absolute path in the container.
    pub working_directory: Option<String>,
    /// The files that the job starts with.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<WorkspaceText>)]
    pub workspace: Option<Option<WorkspaceText>>,
    /// Who to be at the image's registry.
    pub registry_username: Option<String>,
    /// `secret:NAME` or the password itself. Never read back, unless it names a secret.
    #[schema(value_type = Option<String>)]
    pub registry_password: Option<PasswordText>,
    /// Builds the image from the workspace instead of pulling one.
    pub build: Option<BuildText>,
    /// Ports of the container to publish on this machine.
    pub ports: Option<Vec<PortText>>,
    /// Size of `/dev/shm`. Counts as memory.
    pub shared_memory_bytes: Option<u64>,
    /// Who to be in the container: a name or number known there, perhaps with `:group`.
    pub user: Option<String>,
    /// Versions of datasets to read, each in `/inputs/NAME`. Which ones is settled when the job is
    /// accepted; a clone settles it anew.
    pub datasets: Option<Vec<MountText>>,
    /// Datasets that get a new version of what the job writes to `/outputs/NAME`.
    pub outputs: Option<Vec<MountText>>,
    /// Ends the job after so long, counted from its start.
    pub time_limit_seconds: Option<u64>,
    /// How often to try again when it ends badly.
    pub retries: Option<RetriesText>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// -100 to 100; 0 is usual, and higher goes first.
    pub priority: Option<i32>,
    /// Starts from all that this earlier job was.
    #[serde(skip_serializing)]
    #[schema(value_type = Option<String>)]
    pub clone_of: Option<JobId>,
}

/// Tells `null` apart from a field that is left out.
pub(super) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A command: a text for a shell, or a list of words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum CommandText {
    Shell(String),
    Exec(Vec<String>),
}

// Written out, because a derived one would answer a wrong value with the names of variants.
impl<'de> Deserialize<'de> for CommandText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = CommandText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text for a shell, or a list of a program and its arguments")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<CommandText, E> {
                Ok(CommandText::Shell(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CommandText, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(CommandText::Exec(words))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A password, or the name of a secret that holds it. Debug output does not show it, and of all
/// passwords only `secret:NAME` is ever sent out.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct PasswordText(String);

impl fmt::Debug for PasswordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl Serialize for PasswordText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match secret_name(&self.0) {
            Some(_) => serializer.serialize_str(&self.0),
            None => serializer.serialize_none(),
        }
    }
}

impl From<PasswordText> for DraftPassword {
    fn from(password: PasswordText) -> Self {
        Self::Given(password.0)
    }
}

impl PasswordText {
    pub(super) fn of(password: &Password) -> Option<Self> {
        match password {
            Password::Secret(name) => Some(Self(format!("secret:{name}"))),
            Password::Sealed(_) => None,
        }
    }
}

/// Where a job's files come from: an upload, or a git repository.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkspaceText {
    /// Id of an upload (`POST /uploads`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// URL of a repository: `https://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Branch, tag or commit. The repository's own choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// `secret:NAME` or the password or token itself. Never read back, unless it names a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub password: Option<PasswordText>,
}

/// A dataset that a job reads or writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountText {
    /// To read: ID, NAME or gradient/NAME, perhaps with `:latest`, `:VERSION` or `:TAG` behind it. To
    /// write: ID or NAME.
    #[schema(example = "mnist:prod")]
    pub r#ref: String,
    /// Name of the directory. The dataset's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl MountText {
    pub(super) fn draft(self) -> DraftMount {
        DraftMount { reference: self.r#ref, name: self.name }
    }
}

/// An image to be built.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildText {
    /// Path in the workspace.
    #[serde(default = "dockerfile")]
    #[schema(default = "Dockerfile")]
    pub dockerfile: String,
}

fn dockerfile() -> String {
    "Dockerfile".to_owned()
}

/// A port: its number in the container, or that with the number on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum PortText {
    Container(u16),
    Mapped(PortPair),
}

/// A port of the container and the one of this machine that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortPair {
    pub container: u16,
    /// A free one is chosen when left out.
    pub host: Option<u16>,
}

impl<'de> Deserialize<'de> for PortText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = PortText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535, or one with container and host")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortText, E> {
                let out_of_range = |_| E::invalid_value(de::Unexpected::Unsigned(number), &self);
                u16::try_from(number).map(PortText::Container).map_err(out_of_range)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PortText, A::Error> {
                PortPair::deserialize(MapAccessDeserializer::new(map)).map(PortText::Mapped)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// How often, and after what pause, a job that ends badly is tried again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetriesText {
    /// Further attempts after the first.
    pub limit: u32,
    /// Before the first retry; doubled for each further one, up to an hour.
    #[serde(default = "backoff")]
    #[schema(default = 10)]
    pub backoff_seconds: u64,
}

fn backoff() -> u64 {
    BACKOFF_SECONDS
}

impl TryFrom<CreateJob> for JobDraft {
    type Error = Invalid;
    fn try_from(job: CreateJob) -> Result<Self, Invalid> {
        Ok(Self {
            name: job.name,
            project: job.project,
            image: job.image,
            command: job.command.map(Command::from),
            machine_type: job.machine_type,
            env: job.env,
            working_directory: job.working_directory,
            workspace: job.workspace.map(draft_workspace).transpose()?,
            registry_username: job.registry_username,
            registry_password: job.registry_password.map(DraftPassword::from),
            build: job.build.map(|build| build.dockerfile),
            ports: job.ports.map(|ports| ports.into_iter().map(Port::from).collect()),
            shared_memory_bytes: job.shared_memory_bytes,
            user: job.user,
            datasets: job.datasets.map(|list| list.into_iter().map(MountText::draft).collect()),
            outputs: job.outputs.map(|list| list.into_iter().map(MountText::draft).collect()),
            time_limit_seconds: job.time_limit_seconds,
            retries: job
                .retries
                .map(|retries| Retries { limit: retries.limit, backoff: Duration::from_secs(retries.backoff_seconds) }),
            tags: job.tags,
            priority: job.priority,
        })
    }
}

pub(super) fn draft_workspace(workspace: Option<WorkspaceText>) -> Result<DraftWorkspace, Invalid> {
    let Some(workspace) = workspace else { return Ok(DraftWorkspace::Empty) };
    match workspace {
        WorkspaceText { upload: Some(id), git: None, r#ref: None, username: None, password: None } => {
            Ok(DraftWorkspace::Upload(id))
        }
        WorkspaceText { upload: None, git: Some(url), r#ref: reference, username, password } => {
            let password = password.map(DraftPassword::from);
            Ok(DraftWorkspace::Git { url, reference, username, password })
        }
        _ => {
            let message =
                "a workspace is {\"upload\": id}, or {\"git\": url} perhaps with ref, username and password, or null";
            Err(Invalid::new("workspace", "bad_workspace", message))
        }
    }
}

impl From<CommandText> for Command {
    fn from(command: CommandText) -> Self {
        match command {
            CommandText::Shell(text) => Self::Shell(text),
            CommandText::Exec(words) => Self::Exec(words),
        }
    }
}

impl From<PortText> for Port {
    fn from(port: PortText) -> Self {
        match port {
            PortText::Container(container) => Self { container, host: None },
            PortText::Mapped(PortPair { container, host }) => Self { container, host },
        }
    }
}

impl CreateJob {
    /// Writes an accepted job as the body that asks for the same.
    pub fn of(job: &Job, spec: &Spec) -> Self {
        let workload = &job.workload;
        let plan = Plan {
            spec: spec.clone(),
            priority: workload.priority,
            time_limit: workload.time_limit,
            retries: workload.retries,
        };
        Self::of_plan(&workload.name, &job.project_name, &job.tags, &plan)
    }

    /// Writes what an experiment keeps as the body that asks for a job of the same.
    pub fn of_plan(name: &str, project_name: &str, tags: &[String], plan: &Plan) -> Self {
        let spec = &plan.spec;
        Self {
            // A built image's name is the box's own.
            image: spec.build.is_none().then(|| spec.image.clone()),
            command: CommandText::of(&spec.command),
            name: Some(name.to_owned()),
            project: Some(project_name.to_owned()),
            machine_type: Some(spec.machine_type.clone()),
            env: Some(spec.env.clone()),
            working_directory: spec.working_directory.clone(),
            workspace: Some(WorkspaceText::of(&spec.workspace)),
            registry_username: spec.registry.as_ref().map(|registry| registry.username.clone()),
            registry_password: spec.registry.as_ref().and_then(|registry| PasswordText::of(&registry.password)),
            build: spec.build.as_ref().map(|build| BuildText { dockerfile: build.dockerfile.clone() }),
            ports: Some(spec.ports.iter().map(|port| PortText::of(*port)).collect()),
            shared_memory_bytes: spec.shared_memory_bytes,
            user: spec.user.clone(),
            datasets: Some(
                spec.inputs
                    .iter()
                    .filter(|input| input.role == Use::Input)
                    .map(|input| MountText { r#ref: input.reference.clone(), name: Some(input.name.clone()) })
                    .collect(),
            ),
            outputs: Some(
                spec.outputs
                    .iter()
                    .map(|output| MountText { r#ref: output.reference.clone(), name: Some(output.name.clone()) })
                    .collect(),
            ),
            time_limit_seconds: plan.time_limit.map(|limit| limit.as_secs()),
            retries: Some(RetriesText { limit: plan.retries.limit, backoff_seconds: plan.retries.backoff.as_secs() }),
            tags: Some(tags.to_vec()),
            priority: Some(plan.priority),
            clone_of: None,
        }
    }
}

impl CommandText {
    pub fn of(command: &Command) -> Option<Self> {
        match command {
            Command::Image => None,
            Command::Shell(text) => Some(Self::Shell(text.clone())),
            Command::Exec(words) => Some(Self::Exec(words.clone())),
        }
    }
}

impl PortText {
    fn of(port: Port) -> Self {
        match port.host {
            None => Self::Container(port.container),
            host => Self::Mapped(PortPair { container: port.container, host }),
        }
    }
}

impl WorkspaceText {
    pub(super) fn of(workspace: &Workspace) -> Option<Self> {
        match workspace {
            Workspace::Empty => None,
            Workspace::Upload(id) => Some(Self { upload: Some(id.to_string()), ..Self::default() }),
            Workspace::Git { url, reference, credentials } => Some(Self {
                upload: None,
                git: Some(url.clone()),
                r#ref: reference.clone(),
                username: credentials.as_ref().map(|credentials| credentials.username.clone()),
                password: credentials.as_ref().and_then(|credentials| PasswordText::of(&credentials.password)),
            }),
        }
    }
}
