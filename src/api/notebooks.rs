//! `/notebooks`: make, start, look, change, extend, stop, fork, delete.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Page, Paged, Path, Problem,
    idempotency::Once,
    notebook_wire::{NotebookDetail, NotebookText, NotebookView, SessionView},
    problem::ProblemDocument,
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
    made(services.create_notebook(&caller, text.try_into()?, start, once.key).await?.into())
}

fn made(view: NotebookView) -> Result<Response, Problem> {
    let place = [(header::LOCATION, format!("/api/v1/notebooks/{}", view.id()))];
    Ok((StatusCode::CREATED, place, Json(view)).into_response())
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

/// A page of notebooks.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Page<NotebookView> looks like")]
struct NotebookPage {
    items: Vec<NotebookView>,
    /// Hand it back as `cursor` for the next page; null on the last.
    next: Option<String>,
}

/// List notebooks
///
/// Newest first.
#[utoipa::path(
    get, path = "/notebooks", tag = "notebooks",
    params(
        NotebooksQuery,
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = NotebookPage),
        (status = 422, description = "A parameter cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    paged: Paged<NotebooksQuery>,
) -> Result<Json<Page<NotebookView>>, Problem> {
    let query = paged.filter;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let project = match given(query.project) {
        Some(named) => Some(services.project_named(&caller, named).await?),
        None => None,
    };
    let filter = NotebookFilter {
        project,
        tag: given(query.tag),
        text: given(query.q),
        user: query.mine.then(|| caller.user.clone()),
        live: query.live,
        public: query.public,
    };
    let before = paged.cursor.map(|cursor| cursor.position()).transpose()?;
    let found = services.notebooks(&caller, filter, before, paged.limit + 1).await?;
    let page = Page::cut(found, paged.limit, |now| now.notebook.seq);
    Ok(Json(Page { items: page.items.into_iter().map(NotebookView::from).collect(), next: page.next }))
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
    Ok(Json(services.notebook(&caller, &id).await?.into()))
}

/// Change a notebook
///
/// What is left out stays. Limits count at once for a session that runs; all else that a session runs with,
/// from the next start on.
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

/// What differs from what is there; nothing, when there is no body.
struct Over(Once<NotebookText>);

impl<S: Send + Sync> FromRequest<S> for Over {
    type Rejection = Problem;
    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            *request.body_mut() = Body::from("{}");
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Once::from_request(request, state).await.map(Self)
    }
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
    Over(over): Over,
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
    Over(over): Over,
) -> Result<Response, Problem> {
    made(services.fork_notebook(&caller, &id, over.body.try_into()?).await?.into())
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

/// A page of sessions.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Page<SessionView> looks like")]
struct SessionPage {
    items: Vec<SessionView>,
    /// Hand it back as `cursor` for the next page; null on the last.
    next: Option<String>,
}

/// Nothing but the page's own parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFilter {}

/// List sessions of a notebook
///
/// Newest first.
#[utoipa::path(
    get, path = "/notebooks/{id}/sessions", tag = "notebooks",
    params(
        ("id" = String, Path, description = "Id of a notebook"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = SessionPage),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn sessions(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
    paged: Paged<NoFilter>,
) -> Result<Json<Page<SessionView>>, Problem> {
    let before = paged.cursor.map(|cursor| cursor.position()).transpose()?;
    let found = services.notebook_sessions(&caller, &id, before, paged.limit + 1).await?;
    let page = Page::cut(found, paged.limit, |workload| workload.seq);
    Ok(Json(Page { items: page.items.into_iter().map(SessionView::from).collect(), next: page.next }))
}
