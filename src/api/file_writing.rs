//! `/files/{root}`: put, deleted, directories made.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Lease, Path, Problem, Query,
    dataset_files::LONGEST,
    files::{FileEntryView, answer, file_root, named_path, state_named},
    problem::ProblemDocument,
    tree_path::TreePath,
    uploads::{announced, arriving, refuse_forms},
};
use crate::{
    domain::caller::Caller,
    service::{Services, files::NewFile},
    storage::files::Condition,
};

/// Returns the routes that change files.
pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(put, delete)).routes(routes!(make_directory))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PutQuery {
    /// Whether it may be executed. As the file that was there when left out, and not for a new one.
    executable: Option<bool>,
}

/// Put a file
///
/// The body is the file. It is whole in one step, also for what runs and has it open; directories on the
/// way are made. It takes the place of a file that is there, whose mode and owner it gets.
#[utoipa::path(
    put, path = "/files/{root}/content/{*path}", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage`"),
        ("path" = String, Path, description = "Path of the file, with its slashes"), PutQuery,
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if nothing is there"),
        ("If-Match" = Option<String>, Header, description = "An `ETag`: only if the file is still in that state"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file"),
    responses(
        (status = 201, description = "It is there now", body = FileEntryView, headers(("ETag" = String, description = "Names this state of the file"))),
        (status = 200, description = "It took the place of another", body = FileEntryView),
        (status = 403, description = "The notebook belongs to another team, or the key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`is_directory`, `not_a_directory`, `notebook_copying` or `notebook_not_filled`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 412, description = "`file_exists` or `file_changed`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "It is larger than this box takes", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`bad_path`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`disk_full` or `quota_exceeded`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn put(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    at: TreePath,
    Query(query): Query<PutQuery>,
    request: Request,
) -> Result<Response, Problem> {
    refuse_forms(request.headers())?;
    let new = NewFile {
        path: at.path,
        executable: query.executable,
        condition: condition(request.headers())?,
        announced: announced(request.headers()),
    };
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    let (entry, replaced) = services.put_user_file(&caller, &file_root(&at.root)?, new, body).await?;
    answer(entry, replaced)
}

fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    match (text(header::IF_NONE_MATCH), text(header::IF_MATCH)) {
        (None, None) => Ok(Condition::Any),
        (Some("*"), None) => Ok(Condition::New),
        (None, Some(tag)) => Ok(Condition::Unchanged(state_named(tag).ok_or_else(|| {
            Problem::invalid("bad_condition", "If-Match", "If-Match is one ETag that this box gave, with its quotes")
        })?)),
        _ => {
            let detail = "say If-None-Match: * for a file that is new, or If-Match with an ETag for one that is known";
            Err(Problem::invalid("bad_condition", "If-None-Match", detail))
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// Also a directory that is not empty, with all that is in it.
    #[serde(default)]
    recursive: bool,
}

/// Delete a file, a link or a directory
#[utoipa::path(
    delete, path = "/files/{root}/content/{*path}", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage`"),
        ("path" = String, Path, description = "Path of an entry, with its slashes"), DeleteQuery,
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "`file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`directory_not_empty`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    at: TreePath,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Problem> {
    services.remove_user_file(&caller, &file_root(&at.root)?, at.path, query.recursive).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A directory that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewDirectory {
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
}

/// Make a directory
///
/// With those on the way.
#[utoipa::path(
    post, path = "/files/{root}/directories", tag = "files", request_body = NewDirectory,
    params(("root" = String, Path, description = "Id of a notebook, or `storage`")),
    responses(
        (status = 201, description = "It is there now", body = FileEntryView),
        (status = 409, description = "`file_exists` or `not_a_directory`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`bad_path`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn make_directory(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
    Json(new): Json<NewDirectory>,
) -> Result<(StatusCode, Json<FileEntryView>), Problem> {
    let path = named_path(new.path.as_deref(), new.path_base64.as_deref(), "path")?;
    let entry = services.make_user_dir(&caller, &file_root(&root)?, path).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}
