//! `/datasets/{dataset}/versions/{version}/multipart`: large files in parts, sent in any order and
//! again where a connection broke.

use axum::extract::{Request, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Lease, Path, Problem,
    dataset_files::{FileView, LONGEST},
    tree_path,
    uploads::{arriving, refuse_forms},
    versions::both,
};
use crate::{
    domain::{caller::Caller, id::MultipartId},
    service::{
        ServiceError, Services,
        dataset_multipart::{Multipart, PART_BYTES},
    },
    storage::dataset::Part,
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(list, begin))
        .routes(routes!(abort))
        .routes(routes!(part))
        .routes(routes!(complete))
}

/// A file that is to come in parts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BeginMultipart {
    path: String,
    #[serde(default)]
    executable: bool,
}

/// A file that was begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MultipartBegun {
    #[schema(value_type = String)]
    id: MultipartId,
    /// How large parts are best; others are taken too.
    part_bytes: u64,
}

/// The files that come in parts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Multiparts {
    items: Vec<MultipartView>,
}

/// A file that comes in parts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MultipartView {
    #[schema(value_type = String)]
    id: MultipartId,
    path: String,
    /// How large parts are best; others are taken too.
    part_bytes: u64,
    /// Those that have come whole.
    parts: Vec<PartView>,
}

/// A part that has come whole.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PartView {
    /// From 1 on.
    number: u32,
    bytes: u64,
}

impl From<Part> for PartView {
    fn from(part: Part) -> Self {
        Self { number: part.number, bytes: part.bytes }
    }
}

impl From<Multipart> for MultipartView {
    fn from(multipart: Multipart) -> Self {
        Self {
            id: multipart.id,
            path: multipart.path.to_text(),
            part_bytes: PART_BYTES,
            parts: multipart.parts.into_iter().map(PartView::from).collect(),
        }
    }
}

fn id(text: &str) -> Result<MultipartId, Problem> {
    text.parse().map_err(|_| ServiceError::not_found("multipart upload", super::datasets::shown(text)).into())
}

/// List files that come in parts
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}/multipart", tag = "dataset files",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version")),
    responses((status = 200, body = Multiparts)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Multiparts>, Problem> {
    let (dataset, version) = both(&path)?;
    let items = services.multiparts(&caller, dataset, version).await?;
    Ok(Json(Multiparts { items: items.into_iter().map(MultipartView::from).collect() }))
}

/// Begin a file that comes in parts
///
/// It is forgotten when nothing of it comes for a week.
#[utoipa::path(
    post, path = "/datasets/{dataset}/versions/{version}/multipart", tag = "dataset files",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version")),
    request_body = BeginMultipart, responses((status = 201, body = MultipartBegun)),
)]
async fn begin(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Json(new): Json<BeginMultipart>,
) -> Result<(StatusCode, Json<MultipartBegun>), Problem> {
    let (dataset, version) = both(&path)?;
    let path = tree_path::read(new.path.as_bytes())?;
    let id = services.begin_multipart(&caller, dataset, version, path, new.executable).await?;
    Ok((StatusCode::CREATED, Json(MultipartBegun { id, part_bytes: PART_BYTES })))
}

/// Send a part
///
/// The body is the part. One of that number that has come before is replaced.
#[utoipa::path(
    put, path = "/datasets/{dataset}/versions/{version}/multipart/{id}/{part}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version"),
        ("id" = String, Path, description = "Id of the multipart upload"), ("part" = u32, Path, description = "1 to 10,000"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The part"),
    responses((status = 200, body = PartView)),
)]
async fn part(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path((dataset, version, upload, part)): Path<(String, String, String, u32)>,
    request: Request,
) -> Result<Json<PartView>, Problem> {
    refuse_forms(request.headers())?;
    let (dataset, version) = both(&(dataset, version))?;
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    Ok(Json(services.put_part(&caller, dataset, version, (id(&upload)?, part), body).await?.into()))
}

/// Join the parts
///
/// In the order of their numbers, from 1 to the last, of which none may be missing.
#[utoipa::path(
    post, path = "/datasets/{dataset}/versions/{version}/multipart/{id}/complete", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version"),
        ("id" = String, Path, description = "Id of the multipart upload"),
    ),
    responses(
        (status = 201, description = "It is there now", body = FileView),
        (status = 200, description = "It took the place of another", body = FileView),
        (status = 409, description = "`missing_part`, `version_committed`, `too_many_files`, `is_directory` or `not_a_directory`"),
    ),
)]
async fn complete(
    State(services): State<Services>,
    caller: Caller,
    Path((dataset, version, upload)): Path<(String, String, String)>,
) -> Result<(StatusCode, Json<FileView>), Problem> {
    let (dataset, version) = both(&(dataset, version))?;
    let (path, put) = services.complete_multipart(&caller, dataset, version, id(&upload)?).await?;
    let status = if put.replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(FileView::new(&path, put.content))))
}

/// End a file that comes in parts
///
/// The parts are forgotten.
#[utoipa::path(
    delete, path = "/datasets/{dataset}/versions/{version}/multipart/{id}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version"),
        ("id" = String, Path, description = "Id of the multipart upload"),
    ),
    responses((status = 204, description = "It is gone")),
)]
async fn abort(
    State(services): State<Services>,
    caller: Caller,
    Path((dataset, version, upload)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    let (dataset, version) = both(&(dataset, version))?;
    services.abort_multipart(&caller, dataset, version, id(&upload)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn parts_in_any_order_become_one_file() {
        let api = Api::new().await;
        let path = format!("{}/multipart", api.draft("d").await);
        let begun = api.ask("POST", &path, Some(json!({ "path": "big/file", "executable": true }))).await;
        assert_eq!(begun.status, 201, "{}", begun.text);
        let upload = format!("{path}/{}", begun.body["id"].as_str().unwrap());
        assert_eq!(api.put(&format!("{upload}/2"), "world").await.body, json!({ "number": 2, "bytes": 5 }));
        let missing = api.ask("POST", &format!("{upload}/complete"), None).await;
        assert_eq!(missing.problem(), (409, "missing_part"), "{}", missing.text);
        api.put(&format!("{upload}/1"), "nonsense").await;
        api.put(&format!("{upload}/1"), "hello ").await;
        let listed = api.ask("GET", &path, None).await.body;
        assert_eq!(listed["items"][0]["partBytes"], begun.body["partBytes"]);
        assert_eq!(listed["items"][0]["parts"], json!([{ "number": 1, "bytes": 6 }, { "number": 2, "bytes": 5 }]));

        let other = format!("{}/multipart/{}", api.draft("d").await, begun.body["id"].as_str().unwrap());
        assert_eq!(api.put(&format!("{other}/3"), "x").await.problem(), (404, "multipart_not_found"));
        let done = api.ask("POST", &format!("{upload}/complete"), None).await;
        assert_eq!(
            (done.status.as_u16(), &done.body["bytes"], &done.body["executable"]),
            (201, &json!(11), &json!(true))
        );
        let file = path.replace("/multipart", "/files/big/file");
        assert_eq!(api.ask("GET", &file, None).await.text, "hello world");
        assert_eq!(api.ask("GET", &path, None).await.body["items"], json!([]));
        assert_eq!(api.put(&format!("{upload}/1"), "x").await.problem(), (404, "multipart_not_found"));
    }

    #[tokio::test]
    async fn an_upload_that_is_ended_leaves_nothing_and_odd_parts_are_refused() {
        let api = Api::new().await;
        let path = format!("{}/multipart", api.draft("d").await);
        for bad in ["../x", "", "a\\b", "/x"] {
            assert_eq!(
                api.ask("POST", &path, Some(json!({ "path": bad }))).await.problem(),
                (422, "bad_path"),
                "{bad}"
            );
        }
        let begun = api.ask("POST", &path, Some(json!({ "path": "a" }))).await;
        let upload = format!("{path}/{}", begun.body["id"].as_str().unwrap());
        for bad in ["0", "10001"] {
            assert_eq!(api.put(&format!("{upload}/{bad}"), "x").await.problem(), (422, "out_of_range"), "{bad}");
        }
        assert_eq!(api.ask("DELETE", &upload, None).await.status, 204);
        assert_eq!(api.ask("DELETE", &upload, None).await.problem(), (404, "multipart_not_found"));
        assert_eq!(api.ask("DELETE", &format!("{path}/mpnone"), None).await.problem(), (404, "multipart_not_found"));
    }
}
