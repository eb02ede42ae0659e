//! Jobs as clients see them.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use utoipa::ToSchema;

use super::job_wire::{CommandText, CreateJob};
use crate::{
    domain::{
        gpu::{GpuUuid, Inventory},
        id::{JobId, ProjectId, UserId},
        job::Job,
        time::Timestamp,
        workload::{Phase, Reason, Spec, State},
    },
    service::jobs::JobNow,
};

/// A job as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    #[schema(value_type = String, example = "js3v54dfgz1zcu")]
    id: JobId,
    name: String,
    project: ProjectName,
    user: UserName,
    /// `pending`, `provisioned`, `running`, and then one of `stopped` (exit code 0), `failed`, `error`
    /// and `cancelled`, which are final.
    #[schema(value_type = String, example = "running")]
    state: State,
    /// What it is busy with: `preparing`, `queued`, `backoff`, `starting`, `running` or `teardown`;
    /// null when it is over.
    #[schema(value_type = Option<String>)]
    phase: Option<Phase>,
    /// Why it ended as it did, for programs: `exit_code`, `oom`, `time_limit`, `image_not_found`, …
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
    /// What happened and what to do, for people.
    message: Option<String>,
    /// `unknown` while the engine does not answer: what ran may have ended since.
    contact: &'static str,
    exit_code: Option<i64>,
    image: String,
    /// Null when the image's own command runs.
    command: Option<CommandText>,
    machine_type: String,
    resources: Resources,
    /// The GPUs of the present or latest attempt.
    gpus: Vec<GpuName>,
    /// The present or latest attempt; 0 before the first was placed.
    attempt: u32,
    /// How many attempts there may be.
    attempts: u32,
    /// How far its preparation is.
    progress: Option<ProgressView>,
    /// Where it stands in the queue, and why it waits.
    queue: Option<QueuePlace>,
    priority: i32,
    tags: Vec<String>,
    time_limit_seconds: Option<u64>,
    #[schema(value_type = Option<String>)]
    clone_of: Option<JobId>,
    ports: Vec<PublishedPort>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    setup_started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    setup_finished_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    teardown_started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    teardown_finished_at: Option<Timestamp>,
}

/// A job with what it was asked to run.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobDetail {
    #[serde(flatten)]
    job: JobView,
    /// The body that asks for the same job. Passwords are null, secrets stay names.
    spec: CreateJob,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProjectName {
    #[schema(value_type = String)]
    id: ProjectId,
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserName {
    #[schema(value_type = String)]
    id: UserId,
    name: String,
}

/// What a job takes from the box while it is placed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Resources {
    cpu_millis: u32,
    memory_bytes: u64,
    gpus: u32,
}

/// A GPU by its lasting name, and what people call it today.
#[derive(Debug, Serialize, ToSchema)]
struct GpuName {
    #[schema(value_type = String)]
    uuid: GpuUuid,
    /// Null for one that is no longer in the box.
    name: Option<String>,
    /// As `nvidia-smi` counts. It moves across reboots.
    index: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProgressView {
    /// In words: `pulling image`.
    what: String,
    done_bytes: Option<u64>,
    total_bytes: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueuePlace {
    /// 1 is next.
    position: u32,
    reason: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    expected_start: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PublishedPort {
    container: u16,
    host: u16,
    url: String,
}

impl JobView {
    /// Shows a job. `inventory` tells what its GPUs are called today, `published` where its ports are.
    pub fn of(now: JobNow, inventory: &Inventory, published: IpAddr) -> Self {
        let Job { workload, image, command, machine_type, clone_of, tags, project_name, user_name } = now.job;
        Self {
            project: ProjectName { id: workload.project, name: project_name },
            user: UserName { id: workload.user, name: user_name },
            state: workload.state,
            phase: now.phase,
            reason: workload.reason,
            message: workload.message,
            contact: if now.contact { "ok" } else { "unknown" },
            exit_code: workload.exit_code,
            image,
            command: CommandText::of(&command),
            machine_type,
            resources: Resources {
                cpu_millis: workload.needs.cpu_millis,
                memory_bytes: workload.needs.memory_bytes,
                gpus: workload.needs.gpus,
            },
            gpus: workload.gpus.into_iter().map(|uuid| GpuName::of(uuid, inventory)).collect(),
            attempt: workload.attempt,
            attempts: workload.retries.limit.saturating_add(1),
            progress: now.progress.map(|progress| ProgressView {
                what: progress.what,
                done_bytes: progress.done_bytes,
                total_bytes: progress.total_bytes,
            }),
            queue: now.waiting.map(|waiting| QueuePlace {
                position: waiting.position,
                reason: waiting.reason,
                expected_start: waiting.expected_start,
            }),
            priority: workload.priority,
            tags,
            time_limit_seconds: workload.time_limit.map(|limit| limit.as_secs()),
            clone_of,
            ports: workload.ports.into_iter().map(|ports| PublishedPort::of(ports, published)).collect(),
            id: workload.id,
            name: workload.name,
            created_at: workload.created_at,
            setup_started_at: workload.setup_started_at,
            setup_finished_at: workload.setup_finished_at,
            started_at: workload.started_at,
            finished_at: workload.finished_at,
            teardown_started_at: workload.teardown_started_at,
            teardown_finished_at: workload.teardown_finished_at,
        }
    }

    /// Returns the job's id.
    pub fn id(&self) -> &JobId {
        &self.id
    }
}

impl JobDetail {
    /// Shows a job with what it was asked to run.
    pub fn of(now: JobNow, spec: &Spec, inventory: &Inventory, published: IpAddr) -> Self {
        let spec = CreateJob::of(&now.job, spec);
        Self { job: JobView::of(now, inventory, published), spec }
    }
}

impl GpuName {
    fn of(uuid: GpuUuid, inventory: &Inventory) -> Self {
        let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == uuid);
        Self { name: gpu.map(|gpu| gpu.name.clone()), index: gpu.map(|gpu| gpu.index), uuid }
    }
}

impl PublishedPort {
    fn of((container, host): (u16, u16), published: IpAddr) -> Self {
        Self { container, host, url: format!("http://{}", SocketAddr::new(published, host)) }
    }
}
