//! `/files/{root}/copy` and `/move`, and `/file-tasks`: those of them that take longer.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Path, Problem,
    file_listing::path_base64,
    files::{file_root, named_path},
    problem::ProblemDocument,
};
use crate::{
    domain::{
        caller::Caller,
        file_root::FileRoot,
        file_task::{FileTaskKind, FileTaskState},
        id::FileTaskId,
        time::Timestamp,
        user_path::UserPath,
    },
    service::{
        ServiceError, Services,
        file_tasks::{FileTask, Transfer},
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(copy))
        .routes(routes!(move_over))
        .routes(routes!(list))
        .routes(routes!(get, cancel))
}

/// What is to be copied or moved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileTransfer {
    /// A file, a link, or a directory with all that is in it.
    path: Option<String>,
    path_base64: Option<String>,
    /// Its whole new path.
    to: Option<String>,
    to_base64: Option<String>,
    /// The tree that it comes into: a notebook's id or `storage`. The same when left out.
    to_root: Option<String>,
    /// Whether a file may take the place of another; a directory never does. False when left out.
    #[serde(default)]
    overwrite: bool,
}

/// A place in a tree of files.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PlaceView {
    /// A notebook's id or `storage`.
    root: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
}

impl From<(FileRoot, UserPath)> for PlaceView {
    fn from((root, path): (FileRoot, UserPath)) -> Self {
        Self { root: root.to_string(), path: path.to_text(), path_base64: path_base64(&path) }
    }
}

/// Why a copy or move failed.
#[derive(Debug, Serialize, ToSchema)]
struct TaskErrorView {
    code: &'static str,
    detail: String,
}

/// A copy or a move.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FileTaskView {
    #[schema(value_type = String)]
    id: FileTaskId,
    /// `copy` or `move`.
    #[schema(value_type = String)]
    kind: FileTaskKind,
    /// `running`, and then `done`, `failed` or `cancelled`.
    #[schema(value_type = String)]
    state: FileTaskState,
    from: PlaceView,
    to: PlaceView,
    /// Files and links that were copied so far; none for a move within one disk.
    files: u64,
    bytes: u64,
    /// Sockets, pipes and devices, and what the daemon may not read: left out.
    skipped: u64,
    error: Option<TaskErrorView>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

/// Copies and moves.
#[derive(Debug, Serialize, ToSchema)]
struct FileTasks {
    items: Vec<FileTaskView>,
}

impl From<FileTask> for FileTaskView {
    fn from(task: FileTask) -> Self {
        Self {
            id: task.id,
            kind: task.kind,
            state: task.state,
            from: task.from.into(),
            to: task.to.into(),
            files: task.copied.files,
            bytes: task.copied.bytes,
            skipped: task.copied.skipped,
            error: task.error.map(|(code, detail)| TaskErrorView { code, detail }),
            started_at: task.started_at,
            ended_at: task.ended_at,
        }
    }
}

fn id(text: &str) -> Result<FileTaskId, Problem> {
    text.parse().map_err(|_| ServiceError::not_found("file task", super::datasets::shown(text)).into())
}

/// Copy a file or a directory
///
/// Also from a public notebook, into one of the team's or into `/storage`. Links stay links; modes and
/// times are kept. It has its place when all of it is there.
#[utoipa::path(
    post, path = "/files/{root}/copy", tag = "files", request_body = FileTransfer,
    params(("root" = String, Path, description = "Id of a notebook, or `storage`")),
    responses(
        (status = 200, description = "It is done", body = FileTaskView),
        (status = 202, description = "It goes on: ask for it again", body = FileTaskView),
        (status = 404, description = "`file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`file_exists`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_file_tasks`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`disk_full` or `quota_exceeded`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn copy(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
    Json(transfer): Json<FileTransfer>,
) -> Result<Response, Problem> {
    answer(&services, &caller, FileTaskKind::Copy, &root, transfer).await
}

/// Move or rename a file or a directory
///
/// In one step, unless the other tree lies on another disk.
#[utoipa::path(
    post, path = "/files/{root}/move", tag = "files", request_body = FileTransfer,
    params(("root" = String, Path, description = "Id of a notebook, or `storage`")),
    responses(
        (status = 200, description = "It is done", body = FileTaskView),
        (status = 202, description = "It goes on: ask for it again", body = FileTaskView),
        (status = 404, description = "`file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`file_exists` or `into_itself`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn move_over(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
    Json(transfer): Json<FileTransfer>,
) -> Result<Response, Problem> {
    answer(&services, &caller, FileTaskKind::Move, &root, transfer).await
}

async fn answer(
    services: &Services,
    caller: &Caller,
    kind: FileTaskKind,
    root: &str,
    asked: FileTransfer,
) -> Result<Response, Problem> {
    let root = file_root(root)?;
    let to_root = match &asked.to_root {
        Some(text) => text
            .parse()
            .map_err(|error| Problem::invalid("bad_root", "toRoot", format!("{error}; or say “storage”")))?,
        None => root.clone(),
    };
    let from = named_path(asked.path.as_deref(), asked.path_base64.as_deref(), "path")?;
    let to = named_path(asked.to.as_deref(), asked.to_base64.as_deref(), "to")?;
    let transfer = Transfer { kind, from: (root, from), to: (to_root, to), overwrite: asked.overwrite };
    let task = services.transfer_files(caller, transfer).await?;
    let status = if task.state == FileTaskState::Running { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(FileTaskView::from(task))).into_response())
}

/// List copies and moves
///
/// Of the team, newest first: those under way, and those that ended lately.
#[utoipa::path(get, path = "/file-tasks", tag = "files", responses((status = 200, body = FileTasks)))]
async fn list(State(services): State<Services>, caller: Caller) -> Result<Json<FileTasks>, Problem> {
    let items = services.file_tasks(&caller)?;
    Ok(Json(FileTasks { items: items.into_iter().map(FileTaskView::from).collect() }))
}

/// Look at a copy or a move
///
/// They are forgotten when the daemon is restarted; nothing of what was under way is left then.
#[utoipa::path(
    get, path = "/file-tasks/{id}", tag = "files", params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, body = FileTaskView),
        (status = 404, description = "`file_task_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(task): Path<String>,
) -> Result<Json<FileTaskView>, Problem> {
    Ok(Json(services.file_task(&caller, &id(&task)?)?.into()))
}

/// End a copy or a move
///
/// Nothing of it is left. One that is over stays as it is.
#[utoipa::path(
    delete, path = "/file-tasks/{id}", tag = "files", params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "It ends"),
        (status = 404, description = "`file_task_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn cancel(
    State(services): State<Services>,
    caller: Caller,
    Path(task): Path<String>,
) -> Result<StatusCode, Problem> {
    services.cancel_file_task(&caller, &id(&task)?)?;
    Ok(StatusCode::NO_CONTENT)
}
