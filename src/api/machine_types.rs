//! `/machine-types`: the slices of this box that jobs ask for by name.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, Problem};
use crate::{
    domain::{caller::Caller, machine_type::MachineType},
    service::Services,
};

/// The routes of machine types.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A named slice of the box.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineTypeView {
    name: String,
    /// Thousandths of a core.
    cpu_millis: u64,
    memory_bytes: u64,
    gpus: u32,
    /// Only GPUs of this model; null for any.
    gpu_model: Option<String>,
    /// Only MIG instances of this profile; null for whole GPUs.
    mig_profile: Option<String>,
    /// How many jobs share each of its GPUs; 1 is whole.
    share: u32,
    /// Other names that mean this type.
    aliases: Vec<String>,
    /// Whether it is meant where none is named.
    default: bool,
    /// Whether its place is free at this moment. Those who wait already may take it first.
    available_now: bool,
    /// One line for a person.
    description: String,
}

fn view(kind: &MachineType, default: bool, available_now: bool) -> MachineTypeView {
    MachineTypeView {
        name: kind.name.clone(),
        cpu_millis: kind.cpu_millis,
        memory_bytes: kind.memory_bytes,
        gpus: kind.gpus,
        gpu_model: kind.gpu_model.clone(),
        mig_profile: kind.mig_profile.clone(),
        share: kind.share,
        aliases: kind.aliases.clone(),
        default,
        available_now,
        description: kind.description.clone(),
    }
}

/// Lists the machine types of this box, small ones first. All on one page.
#[utoipa::path(
    get, path = "/machine-types", tag = "box", responses((status = 200, body = Page<MachineTypeView>)),
)]
async fn list(State(services): State<Services>, caller: Caller) -> Result<Json<Page<MachineTypeView>>, Problem> {
    let now = services.box_now(&caller).await?;
    let (free, default) = (now.free_types(), &now.catalogue.default_type().name);
    let items = now.catalogue.types().iter();
    let items = items.map(|kind| view(kind, kind.name == *default, free.contains(kind.name.as_str()))).collect();
    Ok(Json(Page { items, next: None }))
}

#[cfg(test)]
mod tests {
    use crate::api::router::tests::busy_box;

    #[tokio::test]
    async fn a_type_whose_gpus_are_taken_is_not_available_now() {
        let api = busy_box().await;
        let answer = api.ask("GET", "machine-types", None).await;
        let items = answer.body["items"].as_array().unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&items[0]).unwrap());
        assert_eq!(items.iter().filter(|item| item["default"] == true).count(), 1);
        // One GPU is held and a stranger uses the other.
        for item in items {
            let wants_gpus = item["gpus"].as_u64().unwrap() > 0;
            assert!(!(wants_gpus && item["availableNow"] == true), "{item}");
        }
        let free = items.iter().any(|item| item["availableNow"] == true);
        assert!(free, "cores are left for the small types");
    }
}
