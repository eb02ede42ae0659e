//! `experiments` of a single node: create, run, list, look, start, stop, delete.

use axum::{
    Extension, Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    ending::destroy,
    experiment_view::ExperimentView,
    experiment_wire::ExperimentWire,
    filter::Filter,
    pages::{self, PAGE},
};
use crate::{
    api::{self, Lease, Path, Problem},
    domain::{
        caller::Caller,
        experiment::ExperimentFilter,
        id::{ExperimentId, ProjectId},
    },
    service::{Services, experiments::ExperimentNow},
};

/// Most projects that one list is of.
const MOST_PROJECTS: usize = 100;

/// What is made, by its id.
#[derive(Debug, Serialize)]
pub struct Made {
    handle: ExperimentId,
}

/// Keeps an experiment.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    api::Json(wire): api::Json<ExperimentWire>,
) -> Result<Json<Made>, Problem> {
    make(&services, &caller, wire, false).await
}

/// Keeps an experiment and starts it: both or neither.
pub async fn run(
    State(services): State<Services>,
    caller: Caller,
    api::Json(wire): api::Json<ExperimentWire>,
) -> Result<Json<Made>, Problem> {
    make(&services, &caller, wire, true).await
}

async fn make(services: &Services, caller: &Caller, wire: ExperimentWire, start: bool) -> Result<Json<Made>, Problem> {
    let handle = wire.project_handle.clone().filter(|handle| !handle.is_empty()).ok_or_else(|| {
        Problem::invalid("missing_field", "projectHandle", "name the project that it belongs to by --projectId")
    })?;
    let new = wire.experiment(handle.clone(), start)?;
    // A handle that there is no project of is a mistake, and no project to be made.
    services.project_named(caller, handle).await?;
    let made = services.create_experiment(caller, new, None).await?;
    Ok(Json(Made { handle: made.experiment.id }))
}

/// Lists experiments, newest first; those of some projects in a group for each, as the client reads them.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    filter: Filter,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut projects = Vec::new();
    for named in projects_named(query.as_deref().unwrap_or_default()) {
        projects.push(services.project_named(&caller, named).await?);
    }
    if projects.len() > MOST_PROJECTS {
        let detail = format!("a list is of {MOST_PROJECTS} projects at most");
        return Err(Problem::invalid("too_many", "projectHandle", detail));
    }
    let grouped = !projects.is_empty();
    let wanted = ExperimentFilter { projects, tags: filter.tags().to_vec(), text: None };
    let read = |before, _| services.experiments(&caller, wanted.clone(), before, PAGE);
    let found = pages::some(&filter, read, |now| now.experiment.seq, |_| true).await?;
    let total = services.count_experiments(&caller, wanted.clone()).await?;
    let data = match grouped {
        true => groups(found),
        false => json!(views(found)),
    };
    Ok(Json(json!({ "data": data, "meta": { "totalItems": total } })))
}

fn projects_named(query: &str) -> Vec<String> {
    let named = |name: &str| name == "projectHandle" || name.starts_with("projectHandle[");
    let pairs = form_urlencoded::parse(query.as_bytes());
    let values = pairs.filter(|(name, value)| named(name) && !value.is_empty());
    values.take(MOST_PROJECTS + 1).map(|(_, value)| value.into_owned()).collect()
}

fn views(found: Vec<ExperimentNow>) -> Vec<ExperimentView> {
    found.into_iter().map(ExperimentView::from).collect()
}

fn groups(found: Vec<ExperimentNow>) -> Value {
    let mut groups: Vec<(ProjectId, Vec<ExperimentNow>)> = Vec::new();
    for now in found {
        match groups.iter_mut().find(|(project, _)| *project == now.experiment.project) {
            Some((_, group)) => group.push(now),
            None => groups.push((now.experiment.project.clone(), vec![now])),
        }
    }
    groups.into_iter().map(|(_, group)| json!({ "data": views(group) })).collect()
}

/// Looks at one experiment.
pub async fn details(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
) -> Result<Json<Value>, Problem> {
    let now = services.experiment(&caller, &id).await?;
    Ok(Json(json!({ "data": ExperimentView::from(now) })))
}

/// Starts an experiment.
pub async fn start(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
) -> Result<Json<Value>, Problem> {
    services.start_experiment(&caller, &id, None).await?;
    Ok(Json(json!({})))
}

/// Asks for an experiment's run to end.
pub async fn stop(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
) -> Result<Json<Value>, Problem> {
    services.stop_experiment(&caller, &id).await?;
    Ok(Json(json!({})))
}

/// Deletes an experiment. One that runs is stopped first, and waited for.
pub async fn delete(
    State(services): State<Services>,
    Extension(stop): Extension<CancellationToken>,
    caller: Caller,
    lease: Lease,
    Path(id): Path<ExperimentId>,
) -> Result<Json<Value>, Problem> {
    let delete = || services.delete_experiment(&caller, &id);
    let end = || async { services.stop_experiment(&caller, &id).await.map(drop) };
    destroy(format!("experiment {id}"), "experiment_not_finished", delete, end, lease, &stop).await
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

    use super::*;
    use crate::{
        api::router::tests::Answer,
        domain::caller::Scope,
        gradient::router::tests::{Cloud, printed},
    };

    const V2: &str = "/experiments/v2/experiments";

    fn wire(project: &str) -> Value {
        json!({
            "experimentTypeId": 1, "projectHandle": project, "name": "digits", "container": "busybox",
            "machineType": "cpu-small", "command": BASE64.encode("echo $A"), "experimentEnv": { "A": "1" },
            "ports": "8080:80", "modelType": "Tensorflow", "registryUsername": "u", "registryPassword": "hunter2",
        })
    }

    async fn project(cloud: &Cloud, name: &str) -> String {
        let made = cloud.ask("POST", "/projects/", Some(json!({ "name": name }))).await;
        made.body["handle"].as_str().unwrap().to_owned()
    }

    async fn made(cloud: &Cloud, path: &str, wire: Value) -> String {
        let answer = cloud.ask("POST", path, Some(wire)).await;
        answer.body["handle"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
    }

    async fn start(cloud: &Cloud, id: &str) -> Answer {
        cloud.ask("PUT", &format!("{V2}/{id}/start/"), None).await
    }

    fn handles(data: &Value) -> Vec<&str> {
        data.as_array().unwrap().iter().map(|row| row["handle"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn an_experiment_is_kept_shown_without_passwords_and_started_once_at_a_time() {
        let cloud = Cloud::new().await;
        let project = project(&cloud, "p").await;
        let id = made(&cloud, "/experiments/v1/experiments/", wire(&project)).await;
        let shown = cloud.get(&format!("{V2}/{id}/")).await["data"].clone();
        let params = &shown["templateHistory"]["params"];
        assert_eq!(
            (&shown["state"], &shown["experimentTypeId"], &shown["dtStarted"]),
            (&json!(10), &json!(1), &Value::Null)
        );
        assert_eq!((&params["worker_command"], &params["ports"]), (&json!("echo $A"), &json!("8080:80")));
        assert_eq!(params["modelType"], "Tensorflow");
        assert!(!shown.to_string().contains("hunter2"));
        let jobs = |id: &str| {
            let filter = json!({ "filter": { "where": { "experimentId": id } } }).to_string();
            format!("/jobs/getJobList/?{}", serde_urlencoded::to_string([("filter", filter)]).unwrap())
        };
        assert_eq!(cloud.get(&jobs(&id)).await["jobList"], json!([]));

        assert_eq!(start(&cloud, &id).await.status, 200);
        let again = start(&cloud, &id).await;
        let (status, words) = printed(&again);
        assert!(status == 409 && words.contains("Stop it first"), "{}", again.text);
        assert_eq!(cloud.get(&format!("{V2}/{id}/")).await["data"]["state"], 1);
        let runs = cloud.get(&jobs(&id)).await["jobList"].clone();
        assert_eq!((runs.as_array().unwrap().len(), &runs[0]["name"]), (1, &json!("digits")));
        assert_eq!(cloud.ask("PUT", &format!("{V2}/{id}/stop/"), None).await.status, 200);
        // Nobody stops jobs in here, so it is not over.
        let caller = cloud.0.services.local_admin("admin").await.unwrap();
        let refused = cloud.0.services.delete_experiment(&caller, &id.parse().unwrap()).await.unwrap_err();
        assert!(refused.to_string().contains("is not over"), "{refused}");
        assert_eq!(cloud.ask("GET", &jobs("e0000000000000"), None).await.status, 404);
    }

    #[tokio::test]
    async fn lists_are_flat_or_in_groups_of_projects_and_counted_whole() {
        let cloud = Cloud::new().await;
        let (one, two) = (project(&cloud, "one").await, project(&cloud, "two").await);
        let mut ids = Vec::new();
        for project in [&one, &two, &one] {
            ids.push(made(&cloud, &format!("{V2}/"), wire(project)).await);
        }
        let tags = json!({ "entity": "experiment", "entityId": ids[1], "tags": ["b", "a"] });
        assert_eq!(cloud.ask("PUT", "/entityTags/updateTags", Some(tags)).await.status, 200);
        let read = cloud.get(&format!("/entityTags/getTags?entity=experiment&entityIds={}", ids[1])).await;
        assert_eq!(read[&ids[1]].as_array().unwrap().len(), 2);

        let all = cloud.get(&format!("{V2}/?limit=2&offset=1")).await;
        assert_eq!((handles(&all["data"]), &all["meta"]["totalItems"]), (vec![&*ids[1], &*ids[0]], &json!(3)));
        let tagged = cloud.get(&format!("{V2}/?limit=20&offset=0&tag=x&tag=a")).await;
        assert_eq!((handles(&tagged["data"]), &tagged["meta"]["totalItems"]), (vec![&*ids[1]], &json!(1)));
        assert_eq!(tagged["data"][0]["tags"], json!([{ "name": "b" }, { "name": "a" }]));
        let of_one = cloud.get(&format!("{V2}/?limit=20&offset=0&projectHandle%5B0%5D={one}")).await;
        assert_eq!(of_one["data"].as_array().unwrap().len(), 1);
        assert_eq!(
            (handles(&of_one["data"][0]["data"]), &of_one["meta"]["totalItems"]),
            (vec![&*ids[2], &*ids[0]], &json!(2))
        );
        let both = cloud.get(&format!("{V2}/?projectHandle%5B0%5D={one}&projectHandle%5B1%5D={two}")).await;
        assert_eq!(both["data"].as_array().unwrap().len(), 2);
        let unknown = cloud.ask("GET", &format!("{V2}/?projectHandle%5B0%5D=p00000000"), None).await;
        assert_eq!(printed(&unknown), (404, "there is no project p00000000"));
    }

    #[tokio::test]
    async fn what_runs_at_once_is_kept_only_if_it_can_run() {
        let cloud = Cloud::new().await;
        let project = project(&cloud, "p").await;
        let id = made(&cloud, &format!("{V2}/run/"), wire(&project)).await;
        assert_eq!(cloud.get(&format!("{V2}/{id}/")).await["data"]["state"], 1);
        let mut wrong = wire(&project);
        wrong["datasets"] = json!([{ "id": "nothing:latest" }]);
        let refused = cloud.ask("POST", &format!("{V2}/run/"), Some(wrong)).await;
        assert!(printed(&refused).1.contains("nothing"), "{}", refused.text);
        let elsewhere = cloud.ask("POST", &format!("{V2}/"), Some(wire("p00000000"))).await;
        assert_eq!(printed(&elsewhere), (404, "there is no project p00000000"));
        assert_eq!(cloud.get(&format!("{V2}/")).await["meta"]["totalItems"], 1);
    }

    #[tokio::test]
    async fn an_experiment_of_another_team_is_not_there() {
        let cloud = Cloud::new().await;
        let project = project(&cloud, "p").await;
        let id = made(&cloud, &format!("{V2}/"), wire(&project)).await;
        let key = cloud.0.stranger(Scope::Admin).await;
        let key = key.strip_prefix("Bearer ").unwrap();
        for (method, path) in [
            ("GET", format!("{V2}/{id}/")),
            ("PUT", format!("{V2}/{id}/start/")),
            ("PUT", format!("{V2}/{id}/stop/")),
            ("DELETE", format!("{V2}/{id}/")),
            ("GET", format!("/jobs/logs?experimentId={id}")),
            ("GET", format!("/entityTags/getTags?entity=experiment&entityIds={id}")),
        ] {
            let answer = cloud.ask_as(key, method, &path, None).await;
            assert_eq!(printed(&answer).0, 404, "{path}: {}", answer.text);
        }
        assert_eq!(cloud.ask_as(key, "GET", &format!("{V2}/"), None).await.body["data"], json!([]));
    }
}
