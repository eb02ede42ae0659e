//! `/files/{root}/uploads`: large files, piece by piece. What came stays, whatever breaks off.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Lease, Path, Problem,
    dataset_files::LONGEST,
    file_listing::path_base64,
    files::{FileEntryView, answer, file_root, named_path, state_named},
    problem::ProblemDocument,
    uploads::{arriving, refuse_forms},
};
use crate::{
    domain::{caller::Caller, id::FileUploadId, time::Timestamp},
    service::{
        ServiceError, Services,
        file_uploads::{NewUpload, UploadNow},
    },
    storage::files::Condition,
};

/// Says how many bytes are there before those of the body.
const OFFSET: &str = "upload-offset";

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, begin)).routes(routes!(get, append, abort)).routes(routes!(finish))
}

/// A file that is to come piece by piece.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewFileUpload {
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
    /// Its whole size.
    bytes: u64,
    /// Whether it may be executed. As the file that was there when left out.
    executable: Option<bool>,
    /// Whether it may take the place of a file. True when left out.
    overwrite: Option<bool>,
    /// The `ETag` of the file whose place it may take, and of no other.
    if_match: Option<String>,
}

/// A file that comes piece by piece.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FileUploadView {
    #[schema(value_type = String)]
    id: FileUploadId,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// Its whole size.
    bytes: u64,
    /// How many of them are there: the next piece begins after those.
    offset: u64,
    /// When it is forgotten, if nothing more comes.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Files that come piece by piece.
#[derive(Debug, Serialize, ToSchema)]
struct FileUploads {
    items: Vec<FileUploadView>,
}

impl From<UploadNow> for FileUploadView {
    fn from(now: UploadNow) -> Self {
        Self {
            path: now.path.to_text(),
            path_base64: path_base64(&now.path),
            id: now.id,
            bytes: now.bytes,
            offset: now.offset,
            expires_at: now.expires_at,
        }
    }
}

fn id(text: &str) -> Result<FileUploadId, Problem> {
    text.parse().map_err(|_| ServiceError::not_found("file upload", super::datasets::shown(text)).into())
}

/// List files that come piece by piece
///
/// Of the team, into one tree; at most 100.
#[utoipa::path(
    get, path = "/files/{root}/uploads", tag = "files",
    params(("root" = String, Path, description = "Id of a notebook, or `storage`")),
    responses((status = 200, body = FileUploads)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
) -> Result<Json<FileUploads>, Problem> {
    let items = services.file_uploads(&caller, &file_root(&root)?).await?;
    Ok(Json(FileUploads { items: items.into_iter().map(FileUploadView::from).collect() }))
}

/// Begin a file that comes piece by piece
///
/// It survives restarts, and is forgotten when nothing of it comes for a week.
#[utoipa::path(
    post, path = "/files/{root}/uploads", tag = "files", request_body = NewFileUpload,
    params(("root" = String, Path, description = "Id of a notebook, or `storage`")),
    responses(
        (status = 201, description = "Begun", body = FileUploadView),
        (status = 413, description = "It is larger than this box takes", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`bad_path`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_uploads`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`disk_full` or `quota_exceeded`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn begin(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
    Json(new): Json<NewFileUpload>,
) -> Result<(StatusCode, Json<FileUploadView>), Problem> {
    let condition = match (new.overwrite, new.if_match) {
        (None | Some(true), Some(tag)) => Condition::Unchanged(state_named(&tag).ok_or_else(|| {
            Problem::invalid("bad_condition", "ifMatch", "ifMatch is one ETag that this box gave, with its quotes")
        })?),
        (Some(false), Some(_)) => {
            return Err(Problem::invalid("bad_condition", "ifMatch", "say ifMatch or overwrite: false, not both"));
        }
        (None | Some(true), None) => Condition::Any,
        (Some(false), None) => Condition::New,
    };
    let path = named_path(new.path.as_deref(), new.path_base64.as_deref(), "path")?;
    let new = NewUpload { path, bytes: new.bytes, executable: new.executable, condition };
    Ok((StatusCode::CREATED, Json(services.begin_file_upload(&caller, &file_root(&root)?, new).await?.into())))
}

/// Look at a file that comes piece by piece
///
/// After a break this says where to go on.
#[utoipa::path(
    get, path = "/files/{root}/uploads/{id}", tag = "files",
    params(("root" = String, Path, description = "Id of a notebook, or `storage`"), ("id" = String, Path, description = "Id of the upload")),
    responses(
        (status = 200, body = FileUploadView),
        (status = 404, description = "`file_upload_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path((root, upload)): Path<(String, String)>,
) -> Result<Json<FileUploadView>, Problem> {
    Ok(Json(services.file_upload(&caller, &file_root(&root)?, &id(&upload)?).await?.into()))
}

/// Send the next piece of a file
///
/// The body is the piece, of any size. What of it came is kept when it breaks off.
#[utoipa::path(
    patch, path = "/files/{root}/uploads/{id}", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage`"), ("id" = String, Path, description = "Id of the upload"),
        ("Upload-Offset" = u64, Header, description = "How many bytes are there already"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The bytes that follow"),
    responses(
        (status = 200, description = "They are on the disk", body = FileUploadView),
        (status = 404, description = "`file_upload_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`wrong_offset` or `upload_busy`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`too_many_bytes`: more than the file was to have", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`disk_full` or `quota_exceeded`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn append(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path((root, upload)): Path<(String, String)>,
    request: Request,
) -> Result<Json<FileUploadView>, Problem> {
    refuse_forms(request.headers())?;
    let offset = offset(request.headers())?;
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    Ok(Json(services.append_to_upload(&caller, &file_root(&root)?, &id(&upload)?, offset, body).await?.into()))
}

fn offset(headers: &HeaderMap) -> Result<u64, Problem> {
    let text = headers.get(OFFSET).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        Problem::invalid("bad_offset", "Upload-Offset", "Upload-Offset says how many bytes are there already")
    })
}

/// Give a file that came its place
#[utoipa::path(
    post, path = "/files/{root}/uploads/{id}/finish", tag = "files",
    params(("root" = String, Path, description = "Id of a notebook, or `storage`"), ("id" = String, Path, description = "Id of the upload")),
    responses(
        (status = 201, description = "It is there now", body = FileEntryView),
        (status = 200, description = "It took the place of another", body = FileEntryView),
        (status = 409, description = "`upload_incomplete`, `upload_busy`, `is_directory` or `not_a_directory`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 412, description = "`file_exists` or `file_changed`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn finish(
    State(services): State<Services>,
    caller: Caller,
    Path((root, upload)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (entry, replaced) = services.finish_file_upload(&caller, &file_root(&root)?, &id(&upload)?).await?;
    answer(entry, replaced)
}

/// End a file that comes piece by piece
///
/// What came is forgotten.
#[utoipa::path(
    delete, path = "/files/{root}/uploads/{id}", tag = "files",
    params(("root" = String, Path, description = "Id of a notebook, or `storage`"), ("id" = String, Path, description = "Id of the upload")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "`file_upload_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn abort(
    State(services): State<Services>,
    caller: Caller,
    Path((root, upload)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    services.abort_file_upload(&caller, &file_root(&root)?, &id(&upload)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::{Answer, Api};

    async fn send(api: &Api, upload: &str, offset: &str, body: &'static str) -> Answer {
        let bearer = format!("Bearer {}", api.key);
        api.send_bytes("PATCH", upload, &[("authorization", &bearer), ("upload-offset", offset)], body).await
    }

    #[tokio::test]
    async fn a_file_comes_piece_by_piece_and_in_no_other_order() {
        let api = Api::new().await;
        let new = json!({ "path": "big/file", "bytes": 11, "executable": true, "overwrite": false });
        let begun = api.ask("POST", "files/storage/uploads", Some(new)).await;
        assert_eq!((begun.status.as_u16(), &begun.body["offset"]), (201, &json!(0)), "{}", begun.text);
        let upload = format!("files/storage/uploads/{}", begun.body["id"].as_str().unwrap());
        assert_eq!(send(&api, &upload, "0", "hello ").await.body["offset"], 6);
        assert_eq!(send(&api, &upload, "0", "hello ").await.problem(), (409, "wrong_offset"));
        assert_eq!(send(&api, &upload, "x", "hello ").await.problem(), (422, "bad_offset"));
        let early = api.ask("POST", &format!("{upload}/finish"), None).await;
        assert_eq!(early.problem(), (409, "upload_incomplete"));
        assert_eq!(send(&api, &upload, "6", "world and more").await.problem(), (422, "too_many_bytes"));
        assert_eq!(api.ask("GET", &upload, None).await.body["offset"], 6);
        assert_eq!(send(&api, &upload, "6", "world").await.body["offset"], 11);
        assert_eq!(api.ask("GET", "files/storage/uploads", None).await.body["items"][0]["path"], "big/file");
        let done = api.ask("POST", &format!("{upload}/finish"), None).await;
        assert_eq!((done.status.as_u16(), &done.body["executable"]), (201, &json!(true)), "{}", done.text);
        assert_eq!(api.ask("GET", "files/storage/content/big/file", None).await.text, "hello world");
        assert_eq!(api.ask("GET", &upload, None).await.problem(), (404, "file_upload_not_found"));
    }

    #[tokio::test]
    async fn what_is_in_the_way_at_the_end_is_told_and_the_bytes_are_kept() {
        let api = Api::new().await;
        let new = json!({ "path": "a", "bytes": 3, "overwrite": false });
        let begun = api.ask("POST", "files/storage/uploads", Some(new)).await;
        let upload = format!("files/storage/uploads/{}", begun.body["id"].as_str().unwrap());
        send(&api, &upload, "0", "new").await;
        api.put("files/storage/content/a", "theirs").await;
        let finish = api.ask("POST", &format!("{upload}/finish"), None).await;
        assert_eq!(finish.problem(), (412, "file_exists"));
        assert_eq!(api.ask("DELETE", "files/storage/content/a", None).await.status, 204);
        assert_eq!(api.ask("POST", &format!("{upload}/finish"), None).await.status, 201);
        let begun = api.ask("POST", "files/storage/uploads", Some(json!({ "path": "b", "bytes": 3 }))).await;
        let upload = format!("files/storage/uploads/{}", begun.body["id"].as_str().unwrap());
        assert_eq!(api.ask("DELETE", &upload, None).await.status, 204);
        assert_eq!(api.ask("DELETE", &upload, None).await.problem(), (404, "file_upload_not_found"));
    }
}
