//! `clusters machineTypes list` and `machines availability`.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::clusters::BOX;
use crate::{
    api::{Problem, Query},
    domain::{caller::Caller, machine_type::MachineType},
    service::Services,
};

/// A machine type with where it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeView {
    vm_type: VmTypeView,
    clusters: [ClusterId; 1],
    /// Whether it can be asked for. One that has to wait can.
    is_available: bool,
}

/// The id alone.
#[derive(Debug, Serialize)]
struct ClusterId {
    id: &'static str,
}

/// A machine type.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VmTypeView {
    label: String,
    kind: &'static str,
    /// Whole cores, rounded up.
    cpus: u64,
    /// Bytes of memory, as text.
    ram: String,
    gpu_count: u32,
    gpu_model: Option<GpuModelView>,
}

/// A model of GPUs.
#[derive(Debug, Serialize)]
struct GpuModelView {
    label: String,
}

impl From<&MachineType> for TypeView {
    fn from(kind: &MachineType) -> Self {
        let model = || kind.gpu_model.clone().unwrap_or_else(|| "GPU".to_owned());
        Self {
            vm_type: VmTypeView {
                label: kind.name.clone(),
                kind: if kind.gpus > 0 { "gpu" } else { "cpu" },
                cpus: kind.cpu_millis.div_ceil(1000),
                ram: kind.memory_bytes.to_string(),
                gpu_count: kind.gpus,
                gpu_model: (kind.gpus > 0).then(|| GpuModelView { label: model() }),
            },
            clusters: [ClusterId { id: BOX }],
            is_available: true,
        }
    }
}

/// Lists the machine types of this box, by the id of the one cluster.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
) -> Result<Json<BTreeMap<&'static str, Vec<TypeView>>>, Problem> {
    let now = services.box_now(&caller).await?;
    Ok(Json([(BOX, now.catalogue.types().iter().map(TypeView::from).collect())].into()))
}

/// A machine type that somebody asks about. The region is the cloud's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    machine_type: String,
}

/// Whether a machine type is free now.
#[derive(Debug, Serialize)]
pub struct Availability {
    available: bool,
}

/// Says whether a job of this type would start at once.
pub async fn availability(
    State(services): State<Services>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Result<Json<Availability>, Problem> {
    let now = services.box_now(&caller).await?;
    let kind = now.catalogue.get(&asked.machine_type);
    let kind = kind.map_err(|unknown| Problem::invalid("unknown_machine_type", "machineType", unknown))?;
    Ok(Json(Availability { available: now.free_types().contains(kind.name.as_str()) }))
}

#[cfg(test)]
mod tests {
    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn this_box_is_the_only_cluster_and_has_its_types() {
        let cloud = Cloud::new().await;
        assert_eq!(cloud.get("/clusters/getClusters?filter=%7B%22limit%22%3A20%7D").await[0]["id"], "box");
        let types = cloud.get("/vmTypes/getVmTypesByClusters?includePublicClusters=true").await;
        for row in types["box"].as_array().unwrap() {
            assert!(row["vmType"]["label"].is_string() && row["vmType"].get("gpuModel").is_some(), "{row}");
            assert!(row["isAvailable"].as_bool().unwrap() && row["clusters"][0]["id"] == "box", "{row}");
        }
        let label = types["box"][0]["vmType"]["label"].as_str().unwrap();
        let free = cloud.get(&format!("/machines/getAvailability/?machineType={label}&region=x")).await;
        assert_eq!(free["available"], true);
        let unknown = cloud.ask("GET", "/machines/getAvailability/?machineType=none&region=x", None).await;
        assert_eq!(printed(&unknown).0, 422, "{}", unknown.text);
    }
}
