//! `/box`: the box at a glance.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Problem};
use crate::{
    domain::{
        board::{Contact, DiskRoom, Load, LoopReport},
        caller::Caller,
        time::Timestamp,
        workload::State as JobState,
    },
    service::{Services, box_now::BoxNow},
};

/// The routes of the box.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get))
}

/// The box at a glance. What the daemon has not looked at yet is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoxView {
    hostname: Option<String>,
    /// The daemon's.
    version: &'static str,
    cpu: CpuView,
    memory: MemoryView,
    disk: DiskView,
    engine: EngineView,
    gpu: GpuCount,
    jobs: JobCount,
    /// The last run of each loop that makes things so.
    loops: Vec<LoopView>,
}

/// Cores.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuView {
    cores: Option<u32>,
    /// Of all cores together, 0 to 100.
    used_percent: Option<f64>,
    /// Held by jobs, in thousandths of a core.
    allocated_millis: u64,
    /// What jobs can have together.
    capacity_millis: u64,
}

/// Memory.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryView {
    total_bytes: Option<u64>,
    used_bytes: Option<u64>,
    /// Held by jobs, whether they use it or not.
    allocated_bytes: u64,
    /// What jobs can have together.
    capacity_bytes: u64,
}

/// The disk of the data directory.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskView {
    path: String,
    total_bytes: Option<u64>,
    free_bytes: Option<u64>,
    /// `ok`, `warn`, or `full`: then no new work is taken until there is room.
    state: &'static str,
}

/// The engine that runs the containers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineView {
    /// `ok`, `unreachable`, or `unknown` until it was asked for the first time.
    state: &'static str,
    version: Option<String>,
    /// What is wrong, for a person.
    message: Option<String>,
}

/// GPUs, MIG instances counted one by one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuCount {
    count: usize,
    /// Healthy, held by no job and not avoided.
    free: usize,
    /// Why there are none, or why what is known of them is old.
    unavailable: Option<String>,
}

/// Jobs of the team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobCount {
    pending: u64,
    /// Those that hold a place.
    running: u64,
    finished: u64,
}

/// The last run of a loop.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoopView {
    name: &'static str,
    #[schema(value_type = String, format = DateTime)]
    last_run_at: Timestamp,
    last_duration_millis: u64,
    /// Null when it went well.
    last_error: Option<String>,
}

impl From<BoxNow> for BoxView {
    fn from(now: BoxNow) -> Self {
        let load = now.load.as_ref();
        let gpus = now.gpus();
        let free = gpus.iter().filter(|gpu| gpu.health.is_usable() && gpu.holders.is_empty() && !gpu.avoided).count();
        Self {
            hostname: load.map(|load| load.hostname.clone()),
            version: env!("CARGO_PKG_VERSION"),
            cpu: CpuView {
                cores: load.map(|load| load.cores),
                used_percent: load.and_then(|load| load.cpu_percent),
                allocated_millis: now.cpu_held_millis(),
                capacity_millis: now.cpu_capacity_millis,
            },
            memory: MemoryView {
                total_bytes: load.map(|load| load.memory_total_bytes),
                used_bytes: load.map(|load| load.memory_used_bytes),
                allocated_bytes: now.memory_held_bytes(),
                capacity_bytes: now.memory_capacity_bytes,
            },
            disk: disk(&now, load),
            engine: engine(&now),
            gpu: GpuCount { count: gpus.len(), free, unavailable: now.inventory.unavailable.clone() },
            jobs: JobCount {
                pending: now.count(|state| state == JobState::Pending),
                running: now.count(JobState::holds_resources),
                finished: now.count(JobState::is_terminal),
            },
            loops: now.loops.iter().map(|(name, report)| last_run(name, report)).collect(),
        }
    }
}

fn disk(now: &BoxNow, load: Option<&Load>) -> DiskView {
    DiskView {
        path: now.data_dir.display().to_string(),
        total_bytes: load.map(|load| load.disk_total_bytes),
        free_bytes: load.map(|load| load.disk_free_bytes),
        state: match now.disk {
            DiskRoom::Good => "ok",
            DiskRoom::Scarce => "warn",
            DiskRoom::Full => "full",
        },
    }
}

fn engine(now: &BoxNow) -> EngineView {
    match &*now.contact {
        Contact::Unasked => EngineView { state: "unknown", version: None, message: None },
        Contact::Answering { version, gpu_access } => {
            // Where there are no GPUs, nobody misses a way to hand them out.
            let missed = gpu_access.as_ref().err().filter(|_| !now.inventory.gpus.is_empty());
            EngineView { state: "ok", version: Some(version.clone()), message: missed.cloned() }
        }
        Contact::Lost { since, message } => {
            EngineView { state: "unreachable", version: None, message: Some(format!("{message} (since {since})")) }
        }
    }
}

fn last_run(name: &'static str, report: &LoopReport) -> LoopView {
    LoopView {
        name,
        last_run_at: report.last_run,
        last_duration_millis: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        last_error: report.error.clone(),
    }
}

/// Shows the box at a glance: load, room, engine, GPUs, jobs and loops.
#[utoipa::path(get, path = "/box", tag = "box", responses((status = 200, body = BoxView)))]
async fn get(State(services): State<Services>, caller: Caller) -> Result<Json<BoxView>, Problem> {
    Ok(Json(services.box_now(&caller).await?.into()))
}

#[cfg(test)]
mod tests {
    use crate::api::router::tests::{Api, busy_box};

    #[tokio::test]
    async fn the_box_is_shown_at_a_glance() {
        let api = busy_box().await;
        let mut answer = api.ask("GET", "box", None).await;
        assert!(answer.body["disk"]["path"].as_str().unwrap().starts_with('/'));
        answer.body["disk"]["path"] = "/data".into();
        insta::assert_snapshot!(serde_json::to_string_pretty(&answer.body).unwrap());
    }

    #[tokio::test]
    async fn what_was_not_looked_at_yet_is_null_and_no_error() {
        let api = Api::new().await;
        let answer = api.ask("GET", "box", None).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body["hostname"].is_null() && answer.body["engine"]["state"] == "unknown");
    }
}
