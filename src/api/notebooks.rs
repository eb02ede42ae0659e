//! `/notebooks`: make, start, look, change, extend, stop, fork, delete.

use std::time::Duration;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Page, PageQuery, Paged, Path, Problem, created,
    idempotency::{MaybeOnce, Once},
    notebook_wire::{NotebookDetail, NotebookText, NotebookView, SessionView},
    paging::given,
    problem::ProblemDocument,
    projects::project_meant,
};
use crate::{
    domain::{caller::Caller, id::NotebookId, notebook::NotebookFilter},
    service::Services,
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, delete))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(extend))
        .routes(routes!(fork))
        .routes(routes!(sessions))
}

/// Make a notebook
///
/// And start it, unless told otherwise. Its files are in `/notebooks` and outlive every session.
#[utoipa::path(
    post, path = "/notebooks", tag = "notebooks", request_body = NotebookText,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body, the same notebook is answered and no second one made")),
    responses(
        (status = 201, description = "Made", body = NotebookView, headers(("Location" = String, description = "Where the notebook is"))),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    once: Once<NotebookText>,
) -> Result<Response, Problem> {
    let mut text = once.body;
    let start = text.start.take().unwrap_or(true);
    Ok(made(services.create_notebook(&caller, text.try_into()?, start, once.key).await?.into()))
}

fn made(view: NotebookView) -> Response {
    created(format_args!("notebooks/{}", view.id()), &view)
}

/// Which notebooks a list shows. Everything that is given must fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NotebooksQuery {
    /// Id or name of a project.
    #[serde(default)]
    project: String,
    #[serde(default)]
    tag: String,
    /// Part of the name or of the id, in any case.
    #[serde(default)]
    q: String,
    /// Only those that the caller made.
    #[serde(default)]
    mine: bool,
    /// Only those that have a session.
    #[serde(default)]
    live: bool,
    /// Those that everybody may look at, of any team, instead of the team's own.
    #[serde(default)]
    public: bool,
}

/// List notebooks
///
/// Newest first.
#[utoipa::path(
    get, path = "/notebooks", tag = "notebooks",
    params(NotebooksQuery, PageQuery),
    responses(
        (status = 200, description = "A page", body = Page<NotebookView>),
        (status = 422, description = "A parameter cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    paged: Paged<NotebooksQuery>,
) -> Result<Json<Page<NotebookView>>, Problem> {
    let before = paged.before()?;
    let query = paged.filter;
    let project = project_meant(&services, &caller, query.project).await?;
    let filter = NotebookFilter {
        project,
        tags: given(query.tag).into_iter().collect(),
        text: given(query.q),
        user: query.mine.then(|| caller.user.clone()),
        live: query.live,
        public: query.public,
    };
    let found = services.notebooks(&caller, filter, before, paged.limit + 1).await?;
    Ok(Json(Page::cut(found, paged.limit, |now| now.notebook.seq).map(NotebookView::from)))
}

/// Look at a notebook
///
/// With what its next start runs.
#[utoipa::path(
    get, path = "/notebooks/{id}", tag = "notebooks", params(("id" = String, Path, description = "Id of a notebook")),
    responses(
        (status = 200, description = "The notebook", body = NotebookDetail),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
) -> Result<Json<NotebookDetail>, Problem> {
    let now = services.notebook(&caller, &id).await?;
    let lines = services.notebook_last_lines(&caller, &now).await;
    Ok(Json(NotebookDetail::new(now, lines)))
}

/// Change a notebook
///
/// What is left out stays, and is not checked again. Limits and datasets count at once for a session that runs;
/// all else that a session runs with, from the next start on.
#[utoipa::path(
    patch, path = "/notebooks/{id}", tag = "notebooks", params(("id" = String, Path, description = "Id of a notebook")),
    request_body = NotebookText,
    responses(
        (status = 200, description = "The notebook as it stands", body = NotebookView),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
    Json(change): Json<NotebookText>,
) -> Result<Json<NotebookView>, Problem> {
    Ok(Json(services.change_notebook(&caller, &id, change.try_into()?).await?.into()))
}

/// Start a notebook
///
/// As it stands, but for what the body says, such as another `machineType`; that stays for later starts.
#[utoipa::path(
    post, path = "/notebooks/{id}/start", tag = "notebooks", request_body = Option<NotebookText>,
    params(("id" = String, Path, description = "Id of a notebook")),
    responses(
        (status = 200, description = "The notebook as it stands", body = NotebookView),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has a session, or its files are still being copied", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn start(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
    MaybeOnce(over): MaybeOnce<NotebookText>,
) -> Result<Json<NotebookView>, Problem> {
    Ok(Json(services.start_notebook(&caller, &id, over.body.try_into()?).await?.into()))
}

/// Stop a notebook
///
/// Asks for the end of its session and answers at once; its files stay. One that has none stays as it is.
#[utoipa::path(
    post, path = "/notebooks/{id}/stop", tag = "notebooks", params(("id" = String, Path, description = "Id of a notebook")),
    responses(
        (status = 200, description = "The notebook as it stands", body = NotebookView),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn stop(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
) -> Result<Json<NotebookView>, Problem> {
    Ok(Json(services.stop_notebook(&caller, &id).await?.into()))
}

/// How much longer a session is to last.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Extension {
    /// From now on.
    seconds: u64,
}

/// Extend a session
///
/// It is shut down so long from now, instead of when it was to be.
#[utoipa::path(
    post, path = "/notebooks/{id}/extend", tag = "notebooks", params(("id" = String, Path, description = "Id of a notebook")),
    request_body = Extension,
    responses(
        (status = 200, description = "The notebook as it stands", body = NotebookView),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has no session", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Longer than this box allows", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn extend(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
    Json(Extension { seconds }): Json<Extension>,
) -> Result<Json<NotebookView>, Problem> {
    Ok(Json(services.extend_notebook(&caller, &id, Duration::from_secs(seconds)).await?.into()))
}

/// Fork a notebook
///
/// Makes one with copies of its files as they are now, and its settings but for what the body says. It is
/// not started.
#[utoipa::path(
    post, path = "/notebooks/{id}/fork", tag = "notebooks", request_body = Option<NotebookText>,
    params(("id" = String, Path, description = "Id of a notebook: of the team, or a public one")),
    responses(
        (status = 201, description = "Made", body = NotebookView, headers(("Location" = String, description = "Where the notebook is"))),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn fork(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
    MaybeOnce(over): MaybeOnce<NotebookText>,
) -> Result<Response, Problem> {
    Ok(made(services.fork_notebook(&caller, &id, over.body.try_into()?).await?.into()))
}

/// Delete a notebook
///
/// With its files, for good. It must not have a session.
#[utoipa::path(
    delete, path = "/notebooks/{id}", tag = "notebooks", params(("id" = String, Path, description = "Id of a notebook")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has a session", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
) -> Result<StatusCode, Problem> {
    services.delete_notebook(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List sessions of a notebook
///
/// Newest first.
#[utoipa::path(
    get, path = "/notebooks/{id}/sessions", tag = "notebooks",
    params(("id" = String, Path, description = "Id of a notebook"), PageQuery),
    responses(
        (status = 200, description = "A page", body = Page<SessionView>),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn sessions(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
    paged: Paged,
) -> Result<Json<Page<SessionView>>, Problem> {
    let found = services.notebook_sessions(&caller, &id, paged.before()?, paged.limit + 1).await?;
    Ok(Json(Page::cut(found, paged.limit, |session| session.workload.seq).map(SessionView::from)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::router::tests::Api, domain::caller::Scope};

    async fn kept(api: &Api, name: &str, more: Value) -> String {
        let mut body = json!({
            "name": name, "image": "busybox", "project": "p", "start": false, "registryUsername": "ada",
            "registryPassword": "hunter2", "env": { "TOKEN": "hush" },
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = api.ask("POST", "notebooks", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert!(!made.text.contains("hunter2"));
        made.body["id"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_notebook_is_shown_with_what_asks_for_the_same() {
        let api = Api::new().await;
        let id = kept(&api, "first", json!({ "shutdownSeconds": 3600, "idleSeconds": null, "tags": ["t"] })).await;
        let found = api.ask("GET", &format!("notebooks/{id}"), None).await;
        assert_eq!((&found.body["state"], &found.body["ready"]), (&json!("created"), &json!(false)));
        let spec = &found.body["spec"];
        assert_eq!((&spec["shutdownSeconds"], &spec["idleSeconds"]), (&json!(3600), &Value::Null));
        assert_eq!((&spec["registryPassword"], &spec["env"]["TOKEN"]), (&Value::Null, &json!("hush")));
        let mut same = spec.clone();
        same["registryUsername"] = Value::Null;
        let again = api.ask("POST", "notebooks", Some(same)).await;
        assert_eq!(again.status, 201, "{}", again.text);
        assert_eq!((&again.body["state"], &again.body["phase"]), (&json!("pending"), &json!("preparing")));
        assert!(again.body["session"]["id"].as_str().unwrap().starts_with("js"), "{}", again.text);
    }

    #[tokio::test]
    async fn a_field_that_cannot_be_so_is_named() {
        let api = Api::new().await;
        for (body, field, code) in [
            (json!({}), "image", "missing"),
            (json!({ "image": "a b" }), "image", "bad_image"),
            (json!({ "image": "x", "idleSeconds": 3 }), "idleSeconds", "too_short"),
            (json!({ "image": "x", "env": { "A": "secret:NONE" } }), "env.A", "unknown_secret"),
            (json!({ "image": "x", "datasets": [{ "ref": "none" }] }), "datasets[0].ref", "unknown_dataset"),
            (json!({ "image": "x", "machineType": "none" }), "machineType", "unknown_machine_type"),
            (json!({ "image": "x", "name": " " }), "name", "empty"),
        ] {
            let refused = api.ask("POST", "notebooks", Some(body.clone())).await;
            assert_eq!((refused.status.as_u16(), &refused.body["field"]), (422, &json!(field)), "{}", refused.text);
            assert_eq!(refused.body["code"], code, "{body}");
        }
        let id = kept(&api, "n", json!({})).await;
        let elsewhere = json!({ "workspace": { "git": "https://a/b" } });
        let later = api.ask("PATCH", &format!("notebooks/{id}"), Some(elsewhere)).await;
        assert_eq!(later.problem(), (422, "not_changeable"));
        let start = api.ask("POST", &format!("notebooks/{id}/start"), Some(json!({ "start": true }))).await;
        assert_eq!(start.problem(), (422, "not_here"));
        let extended = api.ask("POST", &format!("notebooks/{id}/extend"), Some(json!({ "seconds": 60 }))).await;
        assert_eq!(extended.problem(), (409, "notebook_not_running"));
    }

    #[tokio::test]
    async fn another_team_sees_what_is_public_and_forks_it_without_its_secrets() {
        let api = Api::new().await;
        let (hidden, open) = (kept(&api, "hidden", json!({})).await, kept(&api, "open", json!({"public": true})).await);
        let stranger = api.stranger(Scope::Admin).await;
        let ask = |method: &'static str, path: String, body: Option<Value>| {
            let (api, stranger) = (&api, &stranger);
            async move { api.send(method, &path, &[("authorization", stranger)], body).await }
        };
        assert_eq!(ask("GET", format!("notebooks/{hidden}"), None).await.status, 404);
        let seen = ask("GET", format!("notebooks/{open}"), None).await;
        assert_eq!(seen.status, 200, "{}", seen.text);
        assert!(!seen.text.contains("hush") && !seen.text.contains("ada"), "{}", seen.text);
        // Nor what is done in it.
        assert_eq!(api.ask("POST", &format!("notebooks/{open}/start"), None).await.status, 200);
        let listed = ask("GET", "notebooks?public=true".to_owned(), None).await.body["items"][0].clone();
        for seen in [ask("GET", format!("notebooks/{open}"), None).await.body, listed] {
            assert_eq!(
                (&seen["state"], &seen["name"], &seen["user"]["name"]),
                (&json!("pending"), &json!("open"), &json!("admin"))
            );
            for hidden in ["session", "phase", "progress", "queue", "message", "project"] {
                assert_eq!(seen[hidden], Value::Null, "{hidden}: {seen:#}");
            }
        }
        for (method, path, body) in [
            ("PATCH", format!("notebooks/{open}"), Some(json!({ "name": "mine" }))),
            ("POST", format!("notebooks/{open}/start"), None),
            ("POST", format!("notebooks/{open}/stop"), None),
            ("POST", format!("notebooks/{open}/extend"), Some(json!({ "seconds": 60 }))),
            ("DELETE", format!("notebooks/{open}"), None),
            ("GET", format!("notebooks/{open}/sessions"), None),
        ] {
            let refused = ask(method, path.clone(), body).await;
            assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text);
        }
        assert_eq!(ask("GET", "notebooks".to_owned(), None).await.body["items"], json!([]));
        assert_eq!(ask("GET", "notebooks?public=true".to_owned(), None).await.body["items"][0]["id"], json!(open));
        let fork = ask("POST", format!("notebooks/{open}/fork"), None).await;
        assert_eq!((fork.status.as_u16(), &fork.body["copying"]), (201, &json!(true)), "{}", fork.text);
        let mine = ask("GET", format!("notebooks/{}", fork.body["id"].as_str().unwrap()), None).await;
        assert_eq!((&mine.body["spec"]["env"], &mine.body["public"]), (&json!({}), &json!(false)), "{}", mine.text);
        let early = ask("POST", format!("notebooks/{}/start", fork.body["id"].as_str().unwrap()), None).await;
        assert_eq!(early.problem(), (409, "notebook_copying"));
    }

    #[tokio::test]
    async fn who_may_only_look_changes_nothing() {
        let api = Api::new().await;
        let id = kept(&api, "n", json!({})).await;
        let caller = api.services.local_admin("admin").await.unwrap();
        let (_, key) = api.services.create_key(&caller, "looker".to_owned(), Scope::Read, None).await.unwrap();
        let looker = format!("Bearer {}", key.reveal());
        for (method, path, body, looks) in [
            ("GET", "notebooks".to_owned(), None, true),
            ("GET", format!("notebooks/{id}"), None, true),
            ("GET", format!("notebooks/{id}/sessions"), None, true),
            ("POST", "notebooks".to_owned(), Some(json!({ "image": "x" })), false),
            ("PATCH", format!("notebooks/{id}"), Some(json!({ "name": "m" })), false),
            ("POST", format!("notebooks/{id}/start"), None, false),
            ("POST", format!("notebooks/{id}/stop"), None, false),
            ("POST", format!("notebooks/{id}/extend"), Some(json!({ "seconds": 60 })), false),
            ("POST", format!("notebooks/{id}/fork"), None, false),
            ("DELETE", format!("notebooks/{id}"), None, false),
        ] {
            let answer = api.send(method, &path, &[("authorization", &looker)], body).await;
            assert_eq!(answer.status.as_u16(), if looks { 200 } else { 403 }, "{method} {path}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn a_project_with_notebooks_stays_until_they_moved_or_went() {
        let api = Api::new().await;
        let id = kept(&api, "n", json!({})).await;
        let project = api.ask("GET", &format!("notebooks/{id}"), None).await.body["project"]["id"].clone();
        let path = format!("projects/{}", project.as_str().unwrap());
        assert_eq!(api.ask("DELETE", &path, None).await.problem(), (409, "project_has_notebooks"));
        let moved = api.ask("PATCH", &format!("notebooks/{id}"), Some(json!({ "project": "other" }))).await;
        assert_eq!(moved.body["project"]["name"], "other", "{}", moved.text);
        assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
        assert_eq!(api.ask("DELETE", &format!("notebooks/{id}"), None).await.status, 204);
    }

    #[tokio::test]
    async fn one_session_at_a_time_and_what_a_start_says_stays() {
        let api = Api::new().await;
        let id = kept(&api, "n", json!({})).await;
        let over = json!({ "name": "other", "shutdownSeconds": 7200 });
        let started = api.ask("POST", &format!("notebooks/{id}/start"), Some(over)).await;
        assert_eq!((started.status.as_u16(), &started.body["name"]), (200, &json!("other")), "{}", started.text);
        let again = api.ask("POST", &format!("notebooks/{id}/start"), None).await;
        assert_eq!(again.problem(), (409, "notebook_running"));
        assert_eq!(api.ask("DELETE", &format!("notebooks/{id}"), None).await.problem(), (409, "notebook_running"));
        let found = api.ask("GET", &format!("notebooks/{id}"), None).await;
        assert_eq!(found.body["spec"]["shutdownSeconds"], 7200);
        assert_eq!(found.body["spec"]["registryUsername"], "ada");
        let sessions = api.ask("GET", &format!("notebooks/{id}/sessions"), None).await;
        assert_eq!(sessions.body["items"].as_array().unwrap().len(), 1, "{}", sessions.text);
        assert_eq!(sessions.body["items"][0], started.body["session"], "the list says what the notebook says");
        assert_eq!(api.ask("GET", "notebooks?live=true&tag=none", None).await.body["items"], json!([]));
        assert_eq!(api.ask("GET", "notebooks?live=true", None).await.body["items"][0]["id"], json!(id));
        assert_eq!(api.ask("GET", "jobs", None).await.body["items"], json!([]), "a session is no job");
    }

    #[tokio::test]
    async fn a_team_cannot_have_any_number_of_notebooks_wait() {
        let api = Api::new().await;
        for _ in 0..100 {
            let made = api.ask("POST", "notebooks", Some(json!({ "image": "lab" }))).await;
            assert_eq!(made.status, 201, "{}", made.text);
        }
        let over = api.ask("POST", "notebooks", Some(json!({ "image": "lab" }))).await;
        assert_eq!(over.problem(), (429, "too_many_waiting"));
        let kept = api.ask("POST", "notebooks", Some(json!({ "image": "lab", "start": false }))).await;
        assert_eq!(kept.status, 201, "one that does not start waits for nothing: {}", kept.text);
    }
}
