//! Jobs as clients see them.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    job_wire::{CommandText, CreateJob},
    memory_kills::MemoryKillsView,
};
use crate::{
    domain::{
        board::Progress,
        dataset::{JobOutput, OutputState},
        gpu::{GpuUuid, Inventory},
        id::{DatasetId, ExperimentId, JobId, ProjectId, UserId, VersionId},
        job::Job,
        time::Timestamp,
        workload::{Input, Phase, Reason, Spec, State},
    },
    service::{jobs::JobNow, queue_place::QueuePlace},
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
    /// Processes that were killed because its memory was full, while it goes on; null where there were none.
    memory_kills: Option<MemoryKillsView>,
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
    /// The experiment whose run it is.
    #[schema(value_type = Option<String>)]
    experiment: Option<ExperimentId>,
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
    /// Versions that it reads, settled when it was accepted.
    datasets: Vec<InputView>,
    /// What it writes that becomes a version, and what became of it.
    outputs: Vec<OutputView>,
}

/// A version that a job reads.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InputView {
    /// As it was asked for.
    r#ref: String,
    name: String,
    #[schema(value_type = String)]
    dataset: DatasetId,
    #[schema(value_type = String)]
    version: VersionId,
    /// Where it is in the container: `/inputs/NAME`, or `/datasets/NAME` for a public one that every
    /// job gets.
    path: String,
}

/// A directory of a job that becomes a version of a dataset.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OutputView {
    /// As it was asked for.
    r#ref: String,
    name: String,
    #[schema(value_type = String)]
    dataset: DatasetId,
    /// The version that it became.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
    /// `waiting`, `collecting`, and then one of `committed`, `draft` (the run did not end well),
    /// `empty` and `failed`.
    #[schema(value_type = String, example = "committed")]
    state: OutputState,
    message: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProjectName {
    #[schema(value_type = String)]
    pub id: ProjectId,
    pub name: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserName {
    #[schema(value_type = String)]
    pub id: UserId,
    pub name: String,
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
pub(super) struct ProgressView {
    /// In words: `pulling image`.
    what: String,
    done_bytes: Option<u64>,
    total_bytes: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PublishedPort {
    container: u16,
    host: u16,
    url: String,
}

impl From<Progress> for ProgressView {
    fn from(progress: Progress) -> Self {
        Self { what: progress.what, done_bytes: progress.done_bytes, total_bytes: progress.total_bytes }
    }
}

impl JobView {
    /// Shows a job. `inventory` tells what its GPUs are called today, `published` where its ports are.
    pub fn of(now: JobNow, inventory: &Inventory, published: IpAddr) -> Self {
        let Job { workload, image, command, machine_type, clone_of, experiment, tags, project_name, user_name } =
            now.job;
        Self {
            memory_kills: MemoryKillsView::of(&workload),
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
            progress: now.progress.map(ProgressView::from),
            queue: now.waiting.map(QueuePlace::from),
            priority: workload.priority,
            tags,
            time_limit_seconds: workload.time_limit.map(|limit| limit.as_secs()),
            clone_of,
            experiment,
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
    pub fn of(now: JobNow, spec: &Spec, outputs: Vec<JobOutput>, inventory: &Inventory, published: IpAddr) -> Self {
        Self {
            spec: CreateJob::of(&now.job, spec),
            datasets: spec.inputs.iter().map(InputView::of).collect(),
            outputs: outputs.into_iter().map(|output| OutputView::of(output, spec)).collect(),
            job: JobView::of(now, inventory, published),
        }
    }
}

impl InputView {
    fn of(input: &Input) -> Self {
        Self {
            r#ref: input.reference.clone(),
            name: input.name.clone(),
            dataset: input.dataset.clone(),
            version: input.version.clone(),
            path: input.path(),
        }
    }
}

impl OutputView {
    fn of(output: JobOutput, spec: &Spec) -> Self {
        let asked = spec.outputs.iter().find(|asked| asked.name == output.name);
        Self {
            r#ref: asked.map_or_else(|| output.dataset.to_string(), |asked| asked.reference.clone()),
            name: output.name,
            dataset: output.dataset,
            version: output.version,
            state: output.state,
            message: output.message,
        }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::router::tests::{Answer, Api},
        auth::ApiKey,
        domain::{content::Totals, id::VersionId, time::Timestamp},
        store::{datasets, keys, storage_providers, version_tags, versions},
    };

    const NOW: Timestamp = Timestamp(1_769_860_800_000_000);

    /// Makes a dataset with versions, committed but for the last, and returns the versions' numbers.
    async fn dataset(api: &Api, id: &str, name: &str, public: bool, ids: &[&str]) -> Vec<i64> {
        let (name, id) = (name.to_owned(), id.parse().unwrap());
        let ids: Vec<VersionId> = ids.iter().map(|id| id.parse().unwrap()).collect();
        let hash = *api.key.parse::<ApiKey>().unwrap().hash().as_bytes();
        let made = api.store.write(move |tx| {
            let key = keys::by_hash(tx, &hash)?.unwrap();
            let provider = storage_providers::managed(tx, &key.team, || "splabcdefghijkl".parse().unwrap(), NOW)?;
            let new = datasets::NewDataset {
                id,
                team: key.team.clone(),
                user: key.user.clone(),
                provider: provider.id,
                name: name.clone(),
                description: String::new(),
                public,
            };
            datasets::insert(tx, &new, NOW)?;
            let dataset = datasets::by_name(tx, &key.team, &name)?.unwrap().seq;
            let mut made = Vec::new();
            for (at, id) in ids.iter().enumerate() {
                let new = versions::NewVersion {
                    dataset,
                    id: id.clone(),
                    user: key.user.clone(),
                    message: String::new(),
                    metadata: std::collections::BTreeMap::new(),
                    parent: None,
                    made_by: None,
                    note: None,
                };
                let seq = versions::insert(tx, &new, NOW)?;
                if at + 1 < ids.len() {
                    versions::commit(tx, seq, Totals::default(), Timestamp(NOW.0 + at as i64))?;
                }
                made.push(seq);
            }
            Ok::<_, crate::store::StoreError>(made)
        });
        made.await.unwrap()
    }

    async fn submit(api: &Api, datasets: Value, outputs: Value) -> Answer {
        let body = json!({ "image": "busybox", "datasets": datasets, "outputs": outputs });
        api.ask("POST", "jobs", Some(body)).await
    }

    #[tokio::test]
    async fn a_job_gets_the_versions_that_its_references_meant_when_it_was_accepted() {
        let api = Api::new().await;
        let seqs = dataset(&api, "dst364npcw6ccok", "mnist", false, &["aaaaaa1", "aaaaaa2", "aaaaaa3"]).await;
        dataset(&api, "dst364npcw6cco2", "words", true, &["bbbbbb1", "bbbbbb2"]).await;
        let last = seqs[2];
        let tagged = api.store.write(move |tx| {
            let dataset = datasets::by_id(tx, &"dst364npcw6ccok".parse().unwrap())?.unwrap().seq;
            version_tags::set(tx, dataset, "prod", seqs[0], NOW)
        });
        tagged.await.unwrap();
        let refs = json!([{ "ref": "mnist" }, { "ref": "dst364npcw6ccok:prod", "name": "old" }]);
        let made = submit(&api, refs.clone(), json!([{ "ref": "mnist" }])).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let job = api.ask("GET", &format!("jobs/{}", made.body["id"].as_str().unwrap()), None).await.body;
        assert_eq!(
            job["datasets"],
            json!([
                { "ref": "mnist", "name": "mnist", "dataset": "dst364npcw6ccok", "version": "aaaaaa2", "path": "/inputs/mnist" },
                { "ref": "dst364npcw6ccok:prod", "name": "old", "dataset": "dst364npcw6ccok", "version": "aaaaaa1", "path": "/inputs/old" },
                { "ref": "gradient/words", "name": "words", "dataset": "dst364npcw6cco2", "version": "bbbbbb1", "path": "/datasets/words" },
            ])
        );
        assert_eq!(
            job["outputs"],
            json!([{ "ref": "mnist", "name": "mnist", "dataset": "dst364npcw6ccok", "version": null, "state": "waiting", "message": null }])
        );
        // What everybody gets is not asked for again by a clone; the rest is, as it was written.
        assert_eq!(
            job["spec"]["datasets"],
            json!([{ "ref": "mnist", "name": "mnist" }, { "ref": "dst364npcw6ccok:prod", "name": "old" }])
        );
        let third = api.store.write(move |tx| versions::commit(tx, last, Totals::default(), Timestamp(NOW.0 + 9)));
        third.await.unwrap();
        let clone = api.ask("POST", &format!("jobs/{}/clone", job["id"].as_str().unwrap()), None).await;
        let clone = api.ask("GET", &format!("jobs/{}", clone.body["id"].as_str().unwrap()), None).await.body;
        assert_eq!(clone["datasets"][0]["version"], "aaaaaa3");
        assert_eq!(clone["datasets"][1]["version"], "aaaaaa1");
        assert_eq!(clone["outputs"][0]["name"], "mnist");
    }

    #[tokio::test]
    async fn what_cannot_be_read_or_written_is_refused_by_its_field() {
        let api = Api::new().await;
        let seqs = dataset(&api, "dst364npcw6ccok", "mnist", false, &["aaaaaa1", "aaaaaa2", "aaaaaa3"]).await;
        dataset(&api, "dst364npcw6cco2", "empty", false, &["bbbbbb1"]).await;
        api.store.write(move |tx| versions::set_damaged(tx, seqs[0], Some(NOW))).await.unwrap();
        for (datasets, outputs, field, code) in [
            (json!([{ "ref": "mnist" }, { "ref": "nothing" }]), json!([]), "datasets[1].ref", "unknown_dataset"),
            (json!([{ "ref": "gradient/mnist" }]), json!([]), "datasets[0].ref", "unknown_dataset"),
            (json!([{ "ref": "empty" }]), json!([]), "datasets[0].ref", "version_not_committed"),
            (json!([{ "ref": "mnist:aaaaaa3" }]), json!([]), "datasets[0].ref", "version_not_committed"),
            (json!([{ "ref": "mnist:aaaaaa1" }]), json!([]), "datasets[0].ref", "version_damaged"),
            (json!([{ "ref": "mnist:prod" }]), json!([]), "datasets[0].ref", "unknown_version"),
            (json!([{ "ref": "mnist" }, { "ref": "mnist" }]), json!([]), "datasets[1].name", "duplicate_name"),
            (json!([]), json!([{ "ref": "nothing" }]), "outputs[0].ref", "unknown_dataset"),
            (json!([]), json!([{ "ref": "mnist:latest" }]), "outputs[0].ref", "bad_reference"),
            (json!([]), json!([{ "ref": "mnist", "name": ".." }]), "outputs[0].name", "bad_name"),
        ] {
            let answer = submit(&api, datasets, outputs).await;
            assert_eq!(answer.status, 422, "{}", answer.text);
            assert_eq!((answer.body["field"].as_str(), answer.body["code"].as_str()), (Some(field), Some(code)));
        }
        let jobs = api.ask("GET", "jobs", None).await;
        assert_eq!(jobs.body["items"], json!([]), "a refused job leaves nothing behind");
    }
}
