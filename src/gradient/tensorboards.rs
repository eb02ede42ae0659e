//! `tensorboards`: create, list, look, add and take away experiments, delete. `experiments … --tensorboard`
//! asks for a list and then changes the only one, or makes one.

use axum::{Extension, Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    ending::destroy,
    experiment_wire::given,
    pages::{self, PAGE},
    tensorboard_view::TensorBoardView,
};
use crate::{
    api::{self, Lease, Path, Problem},
    domain::{caller::Caller, id::TensorBoardId, tensorboard::TensorBoardFilter},
    service::{
        Services,
        tensorboard_members::{DraftSubject, MemberChange, MemberDraft},
        tensorboards::{TensorBoardDraft, TensorBoardNow},
    },
};

/// What a TensorBoard is asked to be. What this box has no use for (`instance`) is left unread. It may hold
/// a password, so it is never printed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TensorBoardWire {
    experiments: Option<Vec<String>>,
    image: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// What is to be shown, and what no more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChangeWire {
    added_experiments: Option<Vec<String>>,
    removed_experiments: Option<Vec<String>>,
}

/// Makes a TensorBoard and starts it.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    api::Json(wire): api::Json<TensorBoardWire>,
) -> Result<Json<Value>, Problem> {
    // To take a password and then not ask for it would be believed.
    for (field, text) in [("username", wire.username), ("password", wire.password)] {
        if given(text).is_some() {
            let detail = "a TensorBoard is private to the team anyway, behind this box's own sign-in, and has no username and password of its own: leave out --username and --password";
            return Err(Problem::invalid("no_password", field, detail));
        }
    }
    let draft = TensorBoardDraft { image: given(wire.image).map(Some), ..TensorBoardDraft::default() };
    let members = members(wire.experiments.unwrap_or_default())?;
    let made = services.create_tensorboard(&caller, draft, members, true, None).await?;
    Ok(Json(json!({ "data": { "id": made.board.id } })))
}

/// Reads what is to be shown: experiments, and jobs as well.
fn members(ids: Vec<String>) -> Result<Vec<MemberDraft>, Problem> {
    let member = |id: String| {
        let subject = match (id.parse(), id.parse()) {
            (Ok(experiment), _) => DraftSubject::Experiment(experiment),
            (_, Ok(job)) => DraftSubject::Job(job),
            (Err(error), _) => return Err(Problem::not_found(error)),
        };
        Ok(MemberDraft { name: None, subject })
    };
    ids.into_iter().map(member).collect()
}

/// Lists TensorBoards, newest first.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let read = |before| services.tensorboards(&caller, TensorBoardFilter::default(), before, PAGE);
    let found = pages::all(read, |now| now.board.seq).await?;
    let view = |now| TensorBoardView::of(now, &services.settings.names, &headers);
    Ok(Json(json!({ "data": found.into_iter().map(view).collect::<Vec<_>>() })))
}

/// Looks at one TensorBoard.
pub async fn details(
    State(services): State<Services>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<TensorBoardId>,
) -> Result<Json<Value>, Problem> {
    let now = services.tensorboard(&caller, &id).await?;
    detail(&services, &caller, &headers, now).await
}

/// Adds experiments and takes others away. What is added is to be seen, so one that does not run is started:
/// for the client one that there is runs, and it has no word with which to start it.
pub async fn change(
    State(services): State<Services>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<TensorBoardId>,
    api::Json(wire): api::Json<ChangeWire>,
) -> Result<Json<Value>, Problem> {
    let added = members(wire.added_experiments.unwrap_or_default())?;
    let removed = wire.removed_experiments.unwrap_or_default();
    let start = !added.is_empty();
    let now = services.change_tensorboard_members(&caller, &id, MemberChange { removed, added, start }).await?;
    detail(&services, &caller, &headers, now).await
}

async fn detail(
    services: &Services,
    caller: &Caller,
    headers: &HeaderMap,
    now: TensorBoardNow,
) -> Result<Json<Value>, Problem> {
    let members = services.tensorboard_members(caller, &now.board.id).await?;
    let view = TensorBoardView::of(now, &services.settings.names, headers).with(members);
    Ok(Json(json!({ "data": view })))
}

/// Deletes a TensorBoard. One that runs is stopped first, and waited for.
pub async fn delete(
    State(services): State<Services>,
    Extension(stop): Extension<CancellationToken>,
    caller: Caller,
    lease: Lease,
    Path(id): Path<TensorBoardId>,
) -> Result<Json<Value>, Problem> {
    let delete = || services.delete_tensorboard(&caller, &id);
    let end = || async { services.stop_tensorboard(&caller, &id).await.map(drop) };
    destroy(format!("TensorBoard {id}"), "tensorboard_running", delete, end, lease, &stop).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::router::tests::Answer,
        domain::caller::Scope,
        gradient::router::tests::{Cloud, printed},
    };

    const V1: &str = "/tensorboards/v1/";

    async fn experiment(cloud: &Cloud, name: &str) -> String {
        cloud.ask("POST", "/projects/", Some(json!({ "name": "p" }))).await;
        let wire = json!({
            "experimentTypeId": 1, "projectHandle": "p", "name": name, "container": "busybox", "machineType": "cpu-small", "command": "dHJ1ZQ==",
        });
        let made = cloud.ask("POST", "/experiments/v2/experiments/", Some(wire)).await;
        made.body["handle"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
    }

    async fn create(cloud: &Cloud, wire: Value) -> Answer {
        cloud.ask("POST", V1, Some(wire)).await
    }

    async fn made(cloud: &Cloud, wire: Value) -> String {
        let made = create(cloud, wire).await;
        made.body["data"]["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned()
    }

    async fn change(cloud: &Cloud, id: &str, added: Value, removed: Value) -> Answer {
        let wire = json!({ "added_experiments": added, "removed_experiments": removed });
        cloud.ask("PUT", &format!("{V1}{id}"), Some(wire)).await
    }

    fn shown(data: &Value) -> Vec<(&str, &str)> {
        let rows = data["experiments"].as_array().unwrap();
        rows.iter().map(|row| (row["id"].as_str().unwrap(), row["state"].as_str().unwrap())).collect()
    }

    #[tokio::test]
    async fn it_starts_when_it_is_made_and_shows_experiments_and_jobs() {
        let cloud = Cloud::new().await;
        let (one, two) = (experiment(&cloud, "one").await, experiment(&cloud, "two").await);
        let job = cloud.ask("POST", "/jobs/createJob/?container=busybox", None).await.body["id"].clone();
        let job = job.as_str().unwrap();
        let wire = json!({ "experiments": [one], "image": "mine:1", "username": "", "instance": { "type": "gpu" } });
        let id = made(&cloud, wire).await;
        let data = cloud.get(&format!("{V1}{id}/")).await["data"].clone();
        assert_eq!((&data["id"], &data["state"]), (&json!(id), &json!("Pending")));
        assert!(data["image"].as_str().unwrap().ends_with("mine:1"), "{data}");
        assert_eq!(data["url"], format!("http://{id}.localhost:7071/"));
        assert_eq!(shown(&data), [(&*one, "created")]);

        assert_eq!(cloud.ask("PUT", &format!("/experiments/v2/experiments/{one}/start/"), None).await.status, 200);
        let changed = change(&cloud, &id, json!([two, job]), json!([])).await;
        assert_eq!(shown(&changed.body["data"]), [(&*one, "pending"), (&*two, "created"), (job, "pending")]);
        assert_eq!(changed.body, cloud.get(&format!("{V1}{id}")).await);
        // All of a change, or nothing: what is taken away stays when what is added is not there.
        let none = "e000000000none";
        let refused = change(&cloud, &id, json!([none]), json!([two])).await;
        assert_eq!(printed(&refused), (404, &*format!("there is no experiment {none}")));
        assert_eq!(cloud.get(&format!("{V1}{id}")).await["data"]["experiments"].as_array().unwrap().len(), 3);
        let swapped = change(&cloud, &id, json!([two]), json!([two, job])).await;
        assert_eq!(shown(&swapped.body["data"]), [(&*one, "pending"), (&*two, "created")]);
        assert_eq!(cloud.ask("DELETE", &format!("/experiments/v2/experiments/{two}/"), None).await.status, 200);
        assert_eq!(shown(&cloud.get(&format!("{V1}{id}")).await["data"])[1], (&*two, "deleted"));

        // What the client has no word for is not there for it.
        let notebook = json!({ "image": "lab", "name": "lab", "start": false });
        let notebook = cloud.0.ask("POST", "notebooks", Some(notebook)).await.body["id"].clone();
        let other = json!({ "members": [{ "notebook": notebook }] });
        let other = cloud.0.ask("POST", "tensorboards", Some(other)).await.body["id"].clone();
        let other = other.as_str().unwrap();
        let data = cloud.get(&format!("{V1}{other}/")).await["data"].clone();
        assert_eq!((shown(&data).len(), &data["state"]), (0, &json!("Stopped")), "it was never started");
        let all = cloud.get(V1).await["data"].clone();
        let ids: Vec<_> = all.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids, [other, &id]);
        assert_eq!(all[1]["url"], format!("http://{id}.localhost:7071/"));
        assert_eq!(cloud.ask("DELETE", &format!("{V1}{other}"), None).await.status, 200);
        assert_eq!(cloud.ask("DELETE", &format!("{V1}{other}"), None).await.status, 404);
    }

    #[tokio::test]
    async fn what_is_added_is_to_be_seen_so_it_starts() {
        let cloud = Cloud::new().await;
        let (one, two) = (experiment(&cloud, "one").await, experiment(&cloud, "two").await);
        let made = cloud.0.ask("POST", "tensorboards", Some(json!({ "members": [{ "experiment": one }] }))).await;
        let id = made.body["id"].as_str().unwrap();
        let less = change(&cloud, id, json!([]), json!([one])).await;
        assert_eq!(less.body["data"]["state"], "Stopped", "{}", less.text);
        let more = change(&cloud, id, json!([two]), json!([])).await;
        assert_eq!(more.body["data"]["state"], "Pending", "{}", more.text);
    }

    #[tokio::test]
    async fn nobody_is_left_to_believe_in_a_password() {
        let cloud = Cloud::new().await;
        for wire in [json!({ "username": "ada" }), json!({ "username": "", "password": "hunter2" })] {
            let refused = create(&cloud, wire).await;
            let (status, words) = printed(&refused);
            assert!(status == 422 && words.contains("private to the team anyway"), "{}", refused.text);
            assert!(!refused.text.contains("hunter2"));
        }
        assert_eq!(cloud.get(V1).await["data"], json!([]));
    }

    #[tokio::test]
    async fn what_is_wrong_or_of_others_is_refused_in_words() {
        let cloud = Cloud::new().await;
        let one = experiment(&cloud, "one").await;
        let id = made(&cloud, json!({ "experiments": [one] })).await;
        for (wrong, words) in [
            ("nonsense", "is no experiment id"),
            ("e000000000000x", "there is no experiment"),
            (id.as_str(), "is no experiment id"),
        ] {
            for refused in [
                create(&cloud, json!({ "experiments": [one, wrong] })).await,
                change(&cloud, &id, json!([wrong]), json!([])).await,
            ] {
                assert!(printed(&refused).0 == 404 && printed(&refused).1.contains(words), "{}", refused.text);
            }
            let refused = change(&cloud, &id, json!([]), json!([wrong])).await;
            assert!(printed(&refused).0 == 404 && printed(&refused).1.contains("member"), "{}", refused.text);
        }
        let twice = change(&cloud, &id, json!([one]), json!([])).await;
        assert!(printed(&twice).0 == 409 && printed(&twice).1.contains("already"), "{}", twice.text);
        assert_eq!(create(&cloud, json!({ "image": "A B" })).await.status, 422);
        assert_eq!(create(&cloud, json!({ "experiments": "e" })).await.status, 422);

        let key = cloud.0.stranger(Scope::Admin).await;
        let key = key.strip_prefix("Bearer ").unwrap();
        for (method, body) in [("GET", None), ("PUT", Some(json!({ "removed_experiments": [one] }))), ("DELETE", None)]
        {
            let answer = cloud.ask_as(key, method, &format!("{V1}{id}"), body).await;
            assert_eq!(printed(&answer), (404, &*format!("there is no TensorBoard {id}")));
        }
        let theirs = cloud.ask_as(key, "POST", V1, Some(json!({ "experiments": [one] }))).await;
        assert_eq!(printed(&theirs), (404, &*format!("there is no experiment {one}")));
        assert_eq!(cloud.ask_as(key, "GET", V1, None).await.body, json!({ "data": [] }));
        assert_eq!(cloud.get(V1).await["data"].as_array().unwrap().len(), 1);
    }
}
