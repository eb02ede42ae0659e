//! `notebooks`: create, start, stop, fork, delete, list, look. Each is named by its id or by that of a
//! session of its: that is what a program in one knows.

use std::time::Duration;

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    filter::Filter,
    held::held,
    metrics_url::MetricsAt,
    notebook_view::NotebookView,
    notebook_wire::{NotebookWire, StartWire},
    pages::{self, PAGE},
};
use crate::{
    api::{self, Lease, Problem},
    domain::{
        caller::Caller,
        id::{JobId, NotebookId},
        notebook::NotebookFilter,
    },
    service::{ServiceError, Services, job_draft::JobDraft, notebook_draft::NotebookDraft},
};

/// How long a session that is stopping may take, or files that are copied, before the client is told to
/// come again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the notebook is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// What is made or started, by its id.
#[derive(Debug, Serialize)]
pub struct Made {
    handle: NotebookId,
}

/// Names a notebook in a body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    notebook_id: String,
}

/// Makes a notebook and starts it.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    api::Json(wire): api::Json<NotebookWire>,
) -> Result<Json<Made>, Problem> {
    let project = project(&services, &caller, wire.project_id.clone()).await?;
    let made = services.create_notebook(&caller, wire.draft(project)?, true, None).await?;
    Ok(Json(Made { handle: made.notebook.id }))
}

/// Returns a project's id. A handle that there is no project of is a mistake, and no project to be made.
async fn project(services: &Services, caller: &Caller, named: Option<String>) -> Result<Option<String>, Problem> {
    match named.filter(|named| !named.is_empty()) {
        Some(named) => Ok(Some(services.project_named(caller, named).await?.to_string())),
        None => Ok(None),
    }
}

/// Starts a notebook, on the machine type that is said. One that is about to be stopped is waited for.
pub async fn start(
    State(services): State<Services>,
    Extension(stop): Extension<CancellationToken>,
    caller: Caller,
    lease: Lease,
    api::Json(wire): api::Json<StartWire>,
) -> Result<Json<Made>, Problem> {
    let id = services.notebook_named(&caller, &wire.notebook_id).await?;
    let over = wire.draft()?;
    let start = || services.start_notebook(&caller, &id, over.clone());
    let started = held(once_it_rests(&services, &caller, &id, PATIENCE, start), lease, &stop).await?;
    Ok(Json(Made { handle: started.notebook.id }))
}

/// Asks for the end of a notebook's session; by the id of a session, for the end of that one alone.
pub async fn stop(
    State(services): State<Services>,
    caller: Caller,
    api::Json(Named { notebook_id }): api::Json<Named>,
) -> Result<Json<Value>, Problem> {
    match notebook_id.parse::<JobId>() {
        Ok(session) => services.stop_notebook_session(&caller, &session).await?,
        Err(_) => {
            let id = services.notebook_named(&caller, &notebook_id).await?;
            services.stop_notebook(&caller, &id).await?;
        }
    }
    Ok(Json(json!({})))
}

/// Which notebook is to be forked, and where to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForkWire {
    notebook_id: String,
    project_id: Option<String>,
}

/// Makes a notebook with the files of another one.
pub async fn fork(
    State(services): State<Services>,
    caller: Caller,
    api::Json(wire): api::Json<ForkWire>,
) -> Result<Json<Made>, Problem> {
    let id = services.notebook_named(&caller, &wire.notebook_id).await?;
    let project = project(&services, &caller, wire.project_id).await?;
    let run = JobDraft { project, ..JobDraft::default() };
    let made = services.fork_notebook(&caller, &id, NotebookDraft { run, ..NotebookDraft::default() }).await?;
    Ok(Json(Made { handle: made.notebook.id }))
}

/// Deletes a notebook. One that runs is refused, as the cloud did; one that is about to be stopped is
/// waited for.
pub async fn delete(
    State(services): State<Services>,
    Extension(stop): Extension<CancellationToken>,
    caller: Caller,
    lease: Lease,
    api::Json(Named { notebook_id }): api::Json<Named>,
) -> Result<Json<Value>, Problem> {
    let id = services.notebook_named(&caller, &notebook_id).await?;
    let delete = || services.delete_notebook(&caller, &id);
    held(once_it_rests(&services, &caller, &id, PATIENCE, delete), lease, &stop).await?;
    Ok(Json(json!({})))
}

/// Does what needs a notebook without a session: again and again while the one that it has comes to its
/// end, or its files are still on their way.
async fn once_it_rests<T, Doing>(
    services: &Services,
    caller: &Caller,
    id: &NotebookId,
    patience: Duration,
    act: impl Fn() -> Doing,
) -> Result<T, Problem>
where
    Doing: Future<Output = Result<T, ServiceError>>,
{
    let until = Instant::now() + patience;
    loop {
        let refused = match act().await {
            Err(refused @ ServiceError::Conflict { .. }) => refused,
            done => return Ok(done?),
        };
        let session = services.notebook(caller, id).await?.notebook.session;
        let goes_on = session.is_some_and(|session| session.is_live() && session.workload.stop_asked_at.is_none());
        if goes_on || Instant::now() >= until {
            return Err(refused.into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Notebooks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notebooks {
    notebook_list: Vec<NotebookView>,
    /// Of all pages.
    total: u64,
    display_total: u64,
    running_total: u64,
}

/// Lists notebooks, newest first.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    at: MetricsAt,
    filter: Filter,
) -> Result<Json<Notebooks>, Problem> {
    let named = ["projectHandle", "projectId"].into_iter().find_map(|field| filter.wants(field));
    let project = match named {
        Some(named) => Some(services.project_named(&caller, named.to_owned()).await?),
        None => None,
    };
    let wanted = NotebookFilter { project, tags: filter.tags().to_vec(), ..NotebookFilter::default() };
    let read = |before, _| services.notebooks(&caller, wanted.clone(), before, PAGE);
    let found = pages::some(&filter, read, |now| now.notebook.seq, |_| true).await?;
    let total = services.count_notebooks(&caller, wanted.clone()).await?;
    let running_total = services.count_notebooks(&caller, NotebookFilter { live: true, ..wanted }).await?;
    let namespace = services.who_am_i(&caller).await?.team_name;
    let shown = |now| NotebookView::of(now, &namespace, &services.settings.names).with_metrics(&at, &services, &caller);
    let notebook_list = found.into_iter().map(shown).collect();
    Ok(Json(Notebooks { notebook_list, total, display_total: total, running_total }))
}

/// Looks at one notebook.
pub async fn details(
    State(services): State<Services>,
    caller: Caller,
    at: MetricsAt,
    api::Json(Named { notebook_id }): api::Json<Named>,
) -> Result<Json<NotebookView>, Problem> {
    let id = services.notebook_named(&caller, &notebook_id).await?;
    let now = services.notebook(&caller, &id).await?;
    let namespace = services.who_am_i(&caller).await?.team_name;
    Ok(Json(NotebookView::of(now, &namespace, &services.settings.names).with_metrics(&at, &services, &caller)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::router::tests::Answer,
        domain::{
            caller::Scope,
            time::Timestamp,
            workload::{Ending, Event, Reason},
        },
        gradient::router::tests::{Cloud, printed},
        store::{StoreError, workloads},
    };

    const NOW: Timestamp = Timestamp(1_769_860_800_000_000);

    async fn post(cloud: &Cloud, call: &str, body: Value) -> Answer {
        cloud.ask("POST", &format!("/notebooks/v2/{call}Notebook"), Some(body)).await
    }

    async fn made(cloud: &Cloud, name: &str) -> String {
        let wire = json!({ "container": "x", "machineType": "cpu-small", "name": name, "workspace": "none" });
        let answer = post(cloud, "create", wire).await;
        answer.body["handle"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
    }

    async fn look(cloud: &Cloud, id: &str) -> Value {
        let answer = cloud.ask("GET", "/notebooks/getNotebook", Some(json!({ "notebookId": id }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }

    /// Lets the session of a notebook come to its end, as the loops would.
    async fn end(cloud: &Cloud, session: &Value) {
        let session: JobId = session.as_str().unwrap().parse().unwrap();
        let ended = cloud.0.store.write(move |tx| {
            let workload = workloads::get(tx, &session)?.unwrap();
            let ending = Ending {
                event: Event::Withdrawn,
                reason: Some(Reason::Cancelled),
                message: None,
                exit_code: None,
                started_at: None,
                finished_at: NOW,
            };
            workloads::ended(tx, &workload, &ending, None, NOW)?;
            workloads::torn_down(tx, &workload, NOW)?;
            Ok::<_, StoreError>(())
        });
        ended.await.unwrap();
    }

    fn ids(list: &Value) -> Vec<&str> {
        list["notebookList"].as_array().unwrap().iter().map(|row| row["handle"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_notebook_is_made_looked_at_stopped_started_forked_and_deleted() {
        let cloud = Cloud::new().await;
        let project = cloud.ask("POST", "/projects/", Some(json!({ "name": "p" }))).await.body["handle"].clone();
        let wire = json!({
            "container": "busybox", "machineType": "cpu-small", "projectId": project, "name": "n", "shutdownTimeout": 2,
            "isPublic": true, "registryUsername": "u", "registryPassword": "hunter2", "environment": { "A": "1" },
        });
        let id = post(&cloud, "create", wire).await.body["handle"].as_str().unwrap().to_owned();
        let shown = look(&cloud, &id).await;
        let words = |field: &str| shown[field].as_str().unwrap().to_owned();
        assert_eq!(
            (words("state"), words("namespace"), words("vmType")),
            ("Pending".into(), "team".into(), "cpu-small".into())
        );
        assert_eq!((&shown["projectHandle"], &shown["fqdn"]), (&project, &json!(format!("{id}.localhost"))));
        assert_eq!((&shown["isPublic"], &shown["shutdownTimeout"]), (&json!(true), &json!(2)));
        assert!(
            shown["dtCreated"].is_string() && shown["dtStarted"].is_null() && shown["tags"] == json!([]),
            "{shown}"
        );
        assert!(!shown.to_string().contains("hunter2"));

        let by_id = json!({ "notebookId": id });
        for (call, words) in [("start", "stop it first"), ("delete", "stop it first")] {
            let refused = post(&cloud, call, by_id.clone()).await;
            assert!(printed(&refused).0 == 409 && printed(&refused).1.contains(words), "{call}: {}", refused.text);
        }
        assert_eq!(post(&cloud, "stop", by_id.clone()).await.status, 200);
        // Nobody stops sessions in here but the test.
        end(&cloud, &shown["jobHandle"]).await;
        assert_eq!(look(&cloud, &id).await["state"], "Cancelled");

        let started =
            json!({ "notebookId": id, "machineType": "cpu-max", "shutdownTimeout": 5, "isPreemptible": false });
        let answer = post(&cloud, "start", started).await;
        assert_eq!((answer.status.as_u16(), &answer.body["handle"]), (200, &json!(id)), "{}", answer.text);
        let again = look(&cloud, &id).await;
        assert_eq!((&again["vmType"], &again["shutdownTimeout"]), (&json!("cpu-max"), &json!(5)));
        assert_ne!(again["jobHandle"], shown["jobHandle"]);

        let fork = post(&cloud, "fork", json!({ "notebookId": id, "projectId": "p" })).await;
        let fork = fork.body["handle"].as_str().unwrap_or_else(|| panic!("{}", fork.text)).to_owned();
        let forked = look(&cloud, &fork).await;
        assert_eq!((&forked["state"], &forked["name"]), (&json!("Stopped"), &json!("Fork of n")));
        assert_eq!((&forked["isPublic"], &forked["jobHandle"]), (&json!(false), &Value::Null));
        assert_eq!(post(&cloud, "delete", json!({ "notebookId": fork })).await.status, 200);
        assert_eq!(post(&cloud, "delete", json!({ "notebookId": fork })).await.status, 404);
    }

    #[tokio::test]
    async fn what_is_stopping_is_waited_for() {
        let cloud = Cloud::new().await;
        let id = made(&cloud, "n").await;
        let session = look(&cloud, &id).await["jobHandle"].clone();
        post(&cloud, "stop", json!({ "notebookId": id })).await;
        let (started, ()) = tokio::join!(post(&cloud, "start", json!({ "notebookId": id })), end(&cloud, &session));
        assert_eq!(started.status, 200, "{}", started.text);
        let session = look(&cloud, &id).await["jobHandle"].clone();
        post(&cloud, "stop", json!({ "notebookId": id })).await;
        // It may be that it takes too long.
        let services = &cloud.0.services;
        let (caller, named) = (services.local_admin("admin").await.unwrap(), id.parse().unwrap());
        let delete = || services.delete_notebook(&caller, &named);
        let refused = once_it_rests(services, &caller, &named, LOOK * 2, delete).await.unwrap_err();
        assert_eq!(refused.code(), "notebook_running");
        let (deleted, ()) = tokio::join!(post(&cloud, "delete", json!({ "notebookId": id })), end(&cloud, &session));
        assert_eq!(deleted.status, 200, "{}", deleted.text);
    }

    #[tokio::test]
    async fn a_notebook_is_known_by_its_sessions_and_an_old_one_stops_nothing() {
        let cloud = Cloud::new().await;
        let id = made(&cloud, "n").await;
        let first = look(&cloud, &id).await["jobHandle"].clone();
        let by_first = json!({ "notebookId": first });
        assert_eq!(look(&cloud, first.as_str().unwrap()).await["handle"], json!(id));
        let caller = cloud.0.services.local_admin("admin").await.unwrap();
        let asked = async || {
            let now = cloud.0.services.notebook(&caller, &id.parse().unwrap()).await.unwrap();
            now.notebook.session.unwrap().workload.stop_asked_at.is_some()
        };
        assert!(!asked().await);
        assert_eq!(post(&cloud, "stop", by_first.clone()).await.status, 200);
        assert!(asked().await);
        end(&cloud, &first).await;
        assert_eq!(post(&cloud, "start", by_first.clone()).await.body["handle"], json!(id));
        assert_eq!(post(&cloud, "stop", by_first).await.status, 200);
        assert!(!asked().await, "another session runs by now");

        let tags = json!({ "entity": "notebook", "entityId": first, "tags": ["a"] });
        assert_eq!(cloud.ask("PUT", "/entityTags/updateTags", Some(tags)).await.status, 200);
        let read = cloud.get(&format!("/entityTags/getTags?entity=notebook&entityIds={id}")).await;
        assert_eq!(read, json!({ &id: [{ "tag": { "name": "a" } }] }));
        // A job is no session of a notebook.
        let job = cloud.ask("POST", "/jobs/createJob/?container=busybox", None).await.body["id"].clone();
        for call in ["start", "stop", "delete", "fork"] {
            let answer = post(&cloud, call, json!({ "notebookId": job })).await;
            assert!(printed(&answer).0 == 404 && printed(&answer).1.contains("notebook"), "{call}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn a_list_is_paged_counted_whole_and_cut_by_tag_and_project() {
        let cloud = Cloud::new().await;
        let project = cloud.ask("POST", "/projects/", Some(json!({ "name": "p" }))).await.body["handle"].clone();
        let mut all = Vec::new();
        for name in ["a", "b", "c"] {
            all.insert(0, made(&cloud, name).await);
        }
        let there = post(&cloud, "create", json!({ "container": "x", "projectId": project })).await;
        all.insert(0, there.body["handle"].as_str().unwrap().to_owned());
        for (id, tag) in [(&all[1], "x"), (&all[2], "y"), (&all[3], "z")] {
            let tags = json!({ "entity": "notebook", "entityId": id, "tags": [tag] });
            assert_eq!(cloud.ask("PUT", "/entityTags/updateTags", Some(tags)).await.status, 200);
        }
        let path = |limit: u32, offset: u32, wanted: Value, rest: &str| {
            let inner = json!({ "limit": limit, "offset": offset, "where": wanted, "order": "jobId desc" });
            let filter = serde_urlencoded::to_string([("filter", json!({ "filter": inner }).to_string())]).unwrap();
            format!("/notebooks/getNotebooks?{filter}{rest}")
        };
        let whole = cloud.get(&path(20, 0, json!({ "dtDeleted": null }), "")).await;
        assert_eq!((ids(&whole), &whole["total"]), (all.iter().map(String::as_str).collect(), &json!(4)));
        assert_eq!(whole["runningTotal"], 4);
        let page = cloud.get(&path(2, 1, json!({}), "")).await;
        assert_eq!((ids(&page), &page["total"]), (vec![&*all[1], &*all[2]], &json!(4)));
        let tagged = cloud.get(&path(20, 0, json!({}), "&tagFilter%5B0%5D=x&tagFilter%5B1%5D=z")).await;
        assert_eq!((ids(&tagged), &tagged["total"]), (vec![&*all[1], &*all[3]], &json!(2)));
        let of_project = cloud.get(&path(20, 0, json!({ "projectHandle": project }), "")).await;
        assert_eq!((ids(&of_project), &of_project["total"]), (vec![&*all[0]], &json!(1)));
        let none = cloud.get(&path(20, 0, json!({}), "&tagFilter%5B0%5D=none")).await;
        assert_eq!((ids(&none).len(), &none["total"], &none["runningTotal"]), (0, &json!(0), &json!(0)));
    }

    #[tokio::test]
    async fn another_team_s_notebook_is_not_there_and_a_public_one_can_be_read() {
        let cloud = Cloud::new().await;
        let id = made(&cloud, "n").await;
        let session = look(&cloud, &id).await["jobHandle"].clone();
        let key = cloud.0.stranger(Scope::Admin).await;
        let key = key.strip_prefix("Bearer ").unwrap();
        let ask = async |method: &str, path: &str, body: Option<Value>| cloud.ask_as(key, method, path, body).await;
        let asked = async |named: &Value| {
            let mut statuses = Vec::new();
            let body = Some(json!({ "notebookId": named }));
            statuses.push(ask("GET", "/notebooks/getNotebook", body.clone()).await.status.as_u16());
            for call in ["start", "stop", "delete", "fork"] {
                let path = format!("/notebooks/v2/{call}Notebook");
                statuses.push(ask("POST", &path, body.clone()).await.status.as_u16());
            }
            let named = named.as_str().unwrap();
            for path in [
                format!("/notebooks/artifactsList?notebookId={named}"),
                format!("/jobs/logs?notebookId={named}&line=0"),
                format!("/jobs/logs?jobId={}&notebookId={named}&line=0", session.as_str().unwrap()),
            ] {
                statuses.push(ask("GET", &path, None).await.status.as_u16());
            }
            statuses
        };
        assert_eq!(asked(&json!(id)).await, [404; 8]);
        assert_eq!(asked(&session).await, [404; 8]);
        let services = &cloud.0.services;
        let public = NotebookDraft { is_public: Some(true), ..NotebookDraft::default() };
        let caller = services.local_admin("admin").await.unwrap();
        services.change_notebook(&caller, &id.parse().unwrap(), public).await.unwrap();
        assert_eq!(asked(&json!(id)).await, [200, 403, 403, 403, 200, 200, 403, 404]);
        let shown = ask("GET", "/notebooks/getNotebook", Some(json!({ "notebookId": id }))).await.body;
        assert!(shown["jobHandle"].is_null() && shown["jobError"].is_null(), "{shown}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let cloud = Cloud::new().await;
        for (call, body, status, words) in [
            ("create", json!({ "container": "x", "projectId": "p00000000" }), 404, "no project p00000000"),
            ("create", json!({ "container": "Upper Case" }), 422, "image"),
            ("create", json!({ "containerId": 5 }), 422, "container"),
            ("create", json!({ "container": "x", "machineType": "P9999" }), 422, "P9999"),
            ("create", json!({ "container": "x", "clusterId": "clg07azjl" }), 404, "box"),
            ("create", json!({ "container": "x", "registryUsername": "u" }), 422, "registryPassword"),
            ("create", json!({ "container": "x", "shutdownTimeout": 0 }), 422, "hours"),
            ("start", json!({ "notebookId": "n00000000" }), 404, "no notebook n00000000"),
            ("start", json!({ "notebookId": "n000000000" }), 404, "no notebook n000000000"),
            ("stop", json!({ "notebookId": "js0123456789ab" }), 404, "notebook js0123456789ab"),
            ("stop", json!({}), 422, "notebookId"),
            ("fork", json!({ "notebookId": "n000000000", "projectId": "none" }), 404, "none"),
            ("delete", json!({ "notebookId": null }), 422, "string"),
        ] {
            let answer = post(&cloud, call, body.clone()).await;
            let (found, said) = printed(&answer);
            assert!(found == status && said.contains(words), "{call} {body}: {}", answer.text);
        }
    }
}
