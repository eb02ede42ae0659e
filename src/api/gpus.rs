//! `/gpus`: what each GPU is, does, and whose it is.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Problem};
use crate::{
    domain::{
        caller::Caller,
        gpu::{GpuHealth, GpuKind, GpuProcess, Link},
    },
    service::{
        Services,
        box_now::{BoxNow, GpuNow},
        run_name::RunName,
    },
};

/// The routes of GPUs.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The GPUs of the box.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gpus {
    items: Vec<GpuView>,
    driver_version: Option<String>,
    cuda_version: Option<String>,
    /// Why there are no GPUs, or why what stands here is only what was seen last.
    unavailable: Option<String>,
    /// How pairs of GPUs reach each other, where NVML tells.
    links: Vec<LinkView>,
}

/// A whole GPU, or one MIG instance of one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuView {
    /// NVML's name, which does not change.
    uuid: String,
    /// NVML's index today; a MIG instance has its parent's.
    index: u32,
    name: String,
    /// 0 where the driver does not tell.
    memory_bytes: u64,
    /// `whole` or `mig`.
    kind: &'static str,
    /// The GPU that a MIG instance is a slice of.
    parent: Option<String>,
    mig_profile: Option<String>,
    numa_node: Option<u32>,
    pci_bus_id: String,
    /// `healthy`, `failing`, `lost`, or `unknown` while it cannot be asked. Only a healthy one gets new work.
    health: &'static str,
    health_reason: Option<String>,
    utilization_percent: Option<u32>,
    memory_used_bytes: Option<u64>,
    temperature_celsius: Option<u32>,
    power_watts: Option<f64>,
    power_limit_watts: Option<f64>,
    /// The jobs, notebooks and TensorBoards that hold it.
    holders: Vec<RunName>,
    /// Processes on it that no job started.
    foreign: Vec<ProcessView>,
    /// Whether new jobs keep off it because of them.
    avoided: bool,
}

/// A process on a GPU.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessView {
    pid: u32,
    user: Option<String>,
    command: Option<String>,
    memory_bytes: Option<u64>,
}

/// How two GPUs reach each other.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkView {
    a: String,
    b: String,
    /// `nvlink:N` for N NVLinks, `board`, `switch`, `multi-switch`, `host-bridge`, `node` or `system`,
    /// best first.
    link: String,
}

impl From<&BoxNow> for Gpus {
    fn from(now: &BoxNow) -> Self {
        let links = now.inventory.links.iter();
        Self {
            items: now.gpus().into_iter().map(GpuView::from).collect(),
            driver_version: now.inventory.driver_version.clone(),
            cuda_version: now.inventory.cuda_version.clone(),
            unavailable: now.inventory.unavailable.clone(),
            links: links
                .map(|((a, b), link)| LinkView { a: a.to_string(), b: b.to_string(), link: word(*link) })
                .collect(),
        }
    }
}

impl From<GpuNow<'_>> for GpuView {
    fn from(now: GpuNow<'_>) -> Self {
        let (gpu, reading) = (now.gpu, now.reading);
        let (parent, mig_profile) = match &gpu.kind {
            GpuKind::Whole => (None, None),
            GpuKind::Mig { parent, profile } => (Some(parent.to_string()), Some(profile.clone())),
        };
        Self {
            uuid: gpu.uuid.to_string(),
            index: gpu.index,
            name: gpu.name.clone(),
            memory_bytes: gpu.memory_bytes,
            kind: if parent.is_some() { "mig" } else { "whole" },
            parent,
            mig_profile,
            numa_node: gpu.numa_node,
            pci_bus_id: gpu.pci_bus_id.clone(),
            health: now.health.as_str(),
            health_reason: match now.health {
                GpuHealth::Failing { reason } | GpuHealth::Unknown { reason } => Some(reason),
                GpuHealth::Lost => Some("it has fallen off the bus: look at dmesg, and reset or reboot".to_owned()),
                GpuHealth::Healthy => None,
            },
            utilization_percent: reading.and_then(|reading| reading.utilization_percent),
            memory_used_bytes: reading.and_then(|reading| reading.memory_used_bytes),
            temperature_celsius: reading.and_then(|reading| reading.temperature_celsius),
            power_watts: reading.and_then(|reading| reading.power_milliwatts).map(watts),
            power_limit_watts: reading.and_then(|reading| reading.power_limit_milliwatts).map(watts),
            holders: now.holders.into_iter().map(|holder| holder.run.clone().into()).collect(),
            foreign: now.foreign.into_iter().map(ProcessView::from).collect(),
            avoided: now.avoided,
        }
    }
}

impl From<&GpuProcess> for ProcessView {
    fn from(process: &GpuProcess) -> Self {
        Self {
            pid: process.pid,
            user: process.user.clone(),
            command: process.command.clone(),
            memory_bytes: process.memory_bytes,
        }
    }
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1000.0
}

fn word(link: Link) -> String {
    match link {
        Link::NvLink(count) => format!("nvlink:{count}"),
        Link::Board => "board".to_owned(),
        Link::Switch => "switch".to_owned(),
        Link::MultiSwitch => "multi-switch".to_owned(),
        Link::HostBridge => "host-bridge".to_owned(),
        Link::Node => "node".to_owned(),
        Link::System => "system".to_owned(),
    }
}

/// Lists the GPUs with what they do, who holds them, and who uses them besides.
///
/// While a job holds a GPU, a process in any container on it counts as the job's own.
#[utoipa::path(get, path = "/gpus", tag = "box", responses((status = 200, body = Gpus)))]
async fn list(State(services): State<Services>, caller: Caller) -> Result<Json<Gpus>, Problem> {
    Ok(Json(Gpus::from(&services.box_now(&caller).await?)))
}

#[cfg(test)]
mod tests {
    use crate::api::router::tests::busy_box;

    #[tokio::test]
    async fn a_gpu_shows_who_holds_it_and_who_uses_it_besides() {
        let api = busy_box().await;
        let answer = api.ask("GET", "gpus", None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        insta::assert_snapshot!(serde_json::to_string_pretty(&answer.body).unwrap());
    }
}
