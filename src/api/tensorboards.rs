//! `/tensorboards`: make, look, change, delete. What each of them shows is in [`super::tensorboard_members`], how they
//! run in [`super::tensorboard_sessions`].

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Page, PageQuery, Paged, Path, Problem, created,
    idempotency::MaybeOnce,
    paging::given,
    problem::ProblemDocument,
    projects::project_meant,
    tensorboard_wire::{NewTensorBoardText, TensorBoardDetail, TensorBoardText, TensorBoardView},
};
use crate::{
    domain::{caller::Caller, id::TensorBoardId, notebook::NotebookState, tensorboard::TensorBoardFilter},
    service::{Services, tensorboards::TensorBoardNow},
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get, change, delete))
}

/// Shows a TensorBoard with what it shows and why it ended.
pub(super) async fn detail(
    services: &Services,
    caller: &Caller,
    now: TensorBoardNow,
) -> Result<TensorBoardDetail, Problem> {
    let members = services.tensorboard_members(caller, &now.board.id).await?;
    let lines = services.tensorboard_last_lines(caller, &now).await;
    Ok(TensorBoardDetail::new(now, members, lines))
}

/// Make a TensorBoard
///
/// Over any jobs, experiments, directories of notebooks and versions of datasets of the team. It is started
/// when somebody opens it, unless told to start at once.
#[utoipa::path(
    post, path = "/tensorboards", tag = "tensorboards", request_body = Option<NewTensorBoardText>,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body, the same TensorBoard is answered and no second one made")),
    responses(
        (status = 201, description = "Made", body = TensorBoardDetail, headers(("Location" = String, description = "Where the TensorBoard is"))),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "A member is not there", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Two members are the same, or are called alike", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    MaybeOnce(once): MaybeOnce<NewTensorBoardText>,
) -> Result<Response, Problem> {
    let (draft, members, start) = once.body.parts()?;
    let made = services.create_tensorboard(&caller, draft, members, start, once.key).await?;
    Ok(created(format!("tensorboards/{}", made.board.id), detail(&services, &caller, made).await?))
}

/// Which TensorBoards a list shows. Everything that is given must fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TensorBoardsQuery {
    /// Any of these states: `running,pending`.
    #[serde(default)]
    state: String,
    /// Id or name of a project.
    #[serde(default)]
    project: String,
    /// Id of a job, an experiment, a notebook or a dataset: those that have it as a member.
    #[serde(default)]
    member: String,
    /// Part of the name or of the id, in any case.
    #[serde(default)]
    q: String,
}

/// List TensorBoards
///
/// Newest first.
#[utoipa::path(
    get, path = "/tensorboards", tag = "tensorboards",
    params(TensorBoardsQuery, PageQuery),
    responses(
        (status = 200, description = "A page", body = Page<TensorBoardView>),
        (status = 422, description = "A parameter cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    paged: Paged<TensorBoardsQuery>,
) -> Result<Json<Page<TensorBoardView>>, Problem> {
    let before = paged.before()?;
    let query = paged.filter;
    let state = |word: &str| {
        NotebookState::from_word(word).ok_or_else(|| {
            let words: Vec<_> = NotebookState::ALL.iter().map(|state| state.as_str()).collect();
            Problem::invalid("invalid_query", "state", format!("state is one of {}", words.join(", ")))
        })
    };
    let filter = TensorBoardFilter {
        project: project_meant(&services, &caller, query.project).await?,
        states: query.state.split(',').filter(|word| !word.is_empty()).map(state).collect::<Result<_, _>>()?,
        member: given(query.member),
        text: given(query.q),
    };
    let found = services.tensorboards(&caller, filter, before, paged.limit + 1).await?;
    Ok(Json(Page::cut(found, paged.limit, |now| now.board.seq).map(TensorBoardView::from)))
}

/// Look at a TensorBoard
///
/// With what it shows.
#[utoipa::path(
    get, path = "/tensorboards/{id}", tag = "tensorboards", params(("id" = String, Path, description = "Id of a TensorBoard")),
    responses(
        (status = 200, description = "The TensorBoard", body = TensorBoardDetail),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<TensorBoardId>,
) -> Result<Json<TensorBoardDetail>, Problem> {
    let now = services.tensorboard(&caller, &id).await?;
    Ok(Json(detail(&services, &caller, now).await?))
}

/// Change a TensorBoard
///
/// What is left out stays. The idle limit counts at once for one that runs; image and machine type from the
/// next start on.
#[utoipa::path(
    patch, path = "/tensorboards/{id}", tag = "tensorboards", params(("id" = String, Path, description = "Id of a TensorBoard")),
    request_body = TensorBoardText,
    responses(
        (status = 200, description = "The TensorBoard as it stands", body = TensorBoardDetail),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<TensorBoardId>,
    Json(change): Json<TensorBoardText>,
) -> Result<Json<TensorBoardDetail>, Problem> {
    let now = services.change_tensorboard(&caller, &id, change.into()).await?;
    Ok(Json(detail(&services, &caller, now).await?))
}

/// Delete a TensorBoard
///
/// It must not run. What it showed stays where it is.
#[utoipa::path(
    delete, path = "/tensorboards/{id}", tag = "tensorboards", params(("id" = String, Path, description = "Id of a TensorBoard")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It runs", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<TensorBoardId>,
) -> Result<StatusCode, Problem> {
    services.delete_tensorboard(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::router::tests::{Answer, Api},
        domain::caller::Scope,
    };

    pub async fn made(api: &Api, path: &str, body: Value) -> String {
        let made = api.ask("POST", path, Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.body["id"].as_str().unwrap().to_owned()
    }

    pub async fn job(api: &Api, name: &str) -> String {
        made(api, "jobs", json!({ "image": "busybox", "command": "true", "name": name })).await
    }

    pub async fn notebook(api: &Api) -> String {
        made(api, "notebooks", json!({ "image": "lab", "name": "lab", "start": false })).await
    }

    pub async fn experiment(api: &Api) -> String {
        let spec = json!({ "name": "e", "image": "busybox", "command": "true" });
        made(api, "experiments", json!({ "spec": spec, "start": false })).await
    }

    pub async fn board(api: &Api, members: Value) -> Answer {
        api.ask("POST", "tensorboards", Some(json!({ "name": "sweep", "members": members }))).await
    }

    #[tokio::test]
    async fn a_password_is_for_the_registry_of_its_own_image_and_never_read_back() {
        let api = Api::new().await;
        let asked = |more: Value| {
            let mut body =
                json!({ "image": "reg.example/tb:1", "registryUsername": "ada", "registryPassword": "hunter2" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let refused = async |more: Value| {
            let answer = api.ask("POST", "tensorboards", Some(asked(more))).await;
            assert!(!answer.text.contains("hunter2"), "{}", answer.text);
            (answer.status.as_u16(), answer.body["field"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(refused(json!({ "image": null })).await, (422, "image".to_owned()));
        assert_eq!(refused(json!({ "registryUsername": null })).await, (422, "registryUsername".to_owned()));
        let unknown = json!({ "registryPassword": "secret:NONE" });
        assert_eq!(refused(unknown).await, (422, "registryPassword".to_owned()));
        let made = api.ask("POST", "tensorboards", Some(asked(json!({ "start": true })))).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let path = format!("tensorboards/{}", made.body["id"].as_str().unwrap());
        let shown = |answer: &Answer| {
            assert!(!answer.text.contains("hunter2"), "{}", answer.text);
            assert_eq!(answer.status, 200, "{}", answer.text);
            (answer.body["registryUsername"].clone(), answer.body["registryPassword"].clone())
        };
        let change = async |body: Value| shown(&api.ask("PATCH", &path, Some(body)).await);
        assert_eq!(change(json!({ "name": "same" })).await, (json!("ada"), Value::Null));
        assert_eq!(change(json!({ "image": "reg.example/tb:2" })).await, (json!("ada"), Value::Null));
        api.ask("PUT", "secrets", Some(json!({ "name": "REGISTRY", "value": "hunter2" }))).await;
        let by_secret = (json!("ada"), json!("secret:REGISTRY"));
        assert_eq!(change(json!({ "registryPassword": "secret:REGISTRY" })).await, by_secret);
        // What a change says nothing of is not looked at.
        api.ask("DELETE", "secrets/REGISTRY", None).await;
        assert_eq!(change(json!({ "idleSeconds": null })).await, by_secret);
        // The password of one registry is not shown to another.
        assert_eq!(change(json!({ "image": "other.example/tb:2" })).await, (Value::Null, Value::Null));
        let again = json!({ "registryUsername": "eve", "registryPassword": "hunter2" });
        assert_eq!(change(again.clone()).await, (json!("eve"), Value::Null));
        assert_eq!(change(json!({ "registryUsername": null })).await, (Value::Null, Value::Null));
        change(again).await;
        assert_eq!(change(json!({ "image": null })).await, (Value::Null, Value::Null));
    }

    #[tokio::test]
    async fn what_belongs_to_others_is_not_there() {
        let api = Api::new().await;
        let (job, notebook) = (job(&api, "train").await, notebook(&api).await);
        api.committed("logs", &[("events", "x")]).await;
        let dataset = api.ask("GET", "datasets/logs", None).await.body["id"].as_str().unwrap().to_owned();
        let experiment = experiment(&api).await;
        let mine = board(&api, json!([])).await;
        let id = mine.body["id"].as_str().unwrap();
        let stranger = api.stranger(Scope::Admin).await;
        let ask = async |method: &str, path: &str, body: Option<Value>| {
            let answer = api.send(method, path, &[("authorization", &stranger)], body).await;
            (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or_default().to_owned())
        };
        for (member, code) in [
            (json!({ "job": job }), "job_not_found"),
            (json!({ "experiment": experiment }), "experiment_not_found"),
            (json!({ "notebook": notebook }), "notebook_not_found"),
            (json!({ "dataset": format!("{dataset}:latest") }), "dataset_not_found"),
        ] {
            let body = Some(json!({ "members": [member] }));
            assert_eq!(ask("POST", "tensorboards", body).await, (404, code.to_owned()));
        }
        let gone = (404, "tensorboard_not_found".to_owned());
        for (method, path) in [
            ("GET", format!("tensorboards/{id}")),
            ("DELETE", format!("tensorboards/{id}")),
            ("POST", format!("tensorboards/{id}/start")),
            ("POST", format!("tensorboards/{id}/stop")),
            ("GET", format!("tensorboards/{id}/members")),
            ("DELETE", format!("tensorboards/{id}/members/x")),
            ("POST", format!("workloads/{id}/open")),
            ("POST", format!("workloads/{id}/tokens")),
        ] {
            assert_eq!(ask(method, &path, None).await, gone, "{method} {path}");
        }
        assert_eq!(ask("PATCH", &format!("tensorboards/{id}"), Some(json!({}))).await, gone);
    }

    #[tokio::test]
    async fn a_key_that_may_only_read_changes_nothing() {
        let api = Api::new().await;
        let made = board(&api, json!([])).await;
        let id = made.body["id"].as_str().unwrap();
        let key = api.ask("POST", "keys", Some(json!({ "name": "r", "scope": "read" }))).await;
        let bearer = format!("Bearer {}", key.body["key"].as_str().unwrap());
        let ask = async |method: &str, path: &str, body: Option<Value>| {
            api.send(method, path, &[("authorization", &bearer)], body).await.status
        };
        assert_eq!(ask("GET", "tensorboards", None).await, 200);
        assert_eq!(ask("GET", &format!("tensorboards/{id}"), None).await, 200);
        assert_eq!(ask("POST", "tensorboards", Some(json!({}))).await, 403);
        assert_eq!(ask("PATCH", &format!("tensorboards/{id}"), Some(json!({ "name": "x" }))).await, 403);
        assert_eq!(ask("POST", &format!("tensorboards/{id}/members"), Some(json!({ "members": [] }))).await, 403);
        for (method, path) in [
            ("POST", format!("tensorboards/{id}/start")),
            ("POST", format!("tensorboards/{id}/stop")),
            ("DELETE", format!("tensorboards/{id}")),
            ("DELETE", format!("tensorboards/{id}/members/x")),
            ("POST", format!("workloads/{id}/open")),
        ] {
            assert_eq!(ask(method, &path, None).await, 403, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn what_is_not_said_is_the_box_s_choice_and_can_be_so_again() {
        let api = Api::new().await;
        let body = json!({ "name": "t", "image": "mine:1", "idleSeconds": 600, "project": "other" });
        let key = [("idempotency-key", "once"), ("authorization", &*format!("Bearer {}", api.key))];
        let made = api.send("POST", "tensorboards", &key, Some(body.clone())).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let again = api.send("POST", "tensorboards", &key, Some(body)).await;
        assert_eq!(again.body["id"], made.body["id"]);
        let path = format!("tensorboards/{}", made.body["id"].as_str().unwrap());
        assert!(made.body["image"].as_str().unwrap().ends_with("mine:1"), "{}", made.text);
        let changed = api.ask("PATCH", &path, Some(json!({ "image": null, "idleSeconds": null }))).await;
        assert_eq!((&changed.body["image"], &changed.body["idleSeconds"]), (&json!("tensorboard"), &Value::Null));
        assert_eq!(changed.body["name"], "t");
        for (body, code) in [
            (json!({ "idleSeconds": 5 }), "too_short"),
            (json!({ "idleSeconds": u64::MAX }), "too_long"),
            (json!({ "machineType": "cray" }), "unknown_machine_type"),
            (json!({ "image": "A B" }), "bad_image"),
            (json!({ "name": " " }), "empty"),
        ] {
            assert_eq!(api.ask("PATCH", &path, Some(body)).await.problem(), (422, code));
        }
        let other = board(&api, json!([])).await;
        let count = async |query: &str| {
            let list = api.ask("GET", &format!("tensorboards?{query}"), None).await;
            assert_eq!(list.status, 200, "{}", list.text);
            list.body["items"].as_array().unwrap().len()
        };
        assert_eq!(count("").await, 2);
        assert_eq!(count("project=other").await, 1);
        assert_eq!(count("state=created").await, 2);
        assert_eq!(count("state=running,stopped,failed,cancelled,error,provisioned").await, 0);
        let job = job(&api, "j").await;
        assert_eq!(count(&format!("member={job}")).await, 0);
        let id = other.body["id"].as_str().unwrap();
        api.ask("POST", &format!("tensorboards/{id}/members"), Some(json!({ "members": [{ "job": job }] }))).await;
        assert_eq!(count(&format!("member={job}")).await, 1);
        assert_eq!(count("q=SWEE").await, 1);
        assert_eq!(api.ask("GET", "tensorboards?state=gone", None).await.problem(), (422, "invalid_query"));
        let page = api.ask("GET", "tensorboards?limit=1", None).await;
        let next = page.body["next"].as_str().unwrap();
        assert_eq!(count(&format!("limit=1&cursor={next}")).await, 1);
        assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
        assert_eq!(api.ask("GET", &path, None).await.problem(), (404, "tensorboard_not_found"));
    }
}
