//! `/datasets/{dataset}/versions/{version}/files/{path}`: one file of a version. Bodies are the files
//! themselves, of any size up to the limit, and go to the disk as they come.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Lease, Problem, Query,
    datasets::named,
    problem::ProblemDocument,
    sent_file::{self, Asked},
    tree_path::TreePath,
    uploads::{announced, arriving, refuse_forms},
    versions::version_named,
};
use crate::{
    domain::{
        caller::Caller,
        content::{Content, ContentHash},
        dataset::{DatasetRef, VersionRef},
        user_path::UserPath,
    },
    service::{
        Services,
        dataset_files::{FileDraft, FilePut},
        version_home::FileFound,
    },
};

/// How long one file may take to come, however steadily.
pub const LONGEST: Duration = Duration::from_secs(48 * 3600);
/// Names the hash that the bytes must have.
const HASH: &str = "x-content-blake3";

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get, put, delete))
}

/// A file that was put.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileView {
    path: String,
    bytes: u64,
    #[schema(value_type = String)]
    blake3: ContentHash,
    executable: bool,
}

impl FileView {
    pub fn new(path: &UserPath, content: Content) -> Self {
        Self { path: path.to_text(), bytes: content.bytes, blake3: content.hash, executable: content.executable }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PutQuery {
    /// Whether containers may execute it.
    #[serde(default)]
    executable: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetQuery {
    /// Have browsers save it, whatever its kind.
    #[serde(default)]
    download: bool,
}

/// Reads which file of which version a URL names.
fn place(at: TreePath) -> Result<(DatasetRef, VersionRef, UserPath), Problem> {
    Ok((named(&at.dataset)?, version_named(&at.version)?, at.path))
}

/// Fetch a file of a version
///
/// Whole or in part: one `Range`, with `If-Range`; `If-None-Match` asks whether it has changed. Its
/// `ETag` is the BLAKE3 hash of its bytes.
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}/files/{*path}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped"),
        ("version" = String, Path, description = "Id, tag or `latest`"),
        ("path" = String, Path, description = "Path of a file, with its slashes"), GetQuery,
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", headers(("ETag" = String, description = "BLAKE3 hash of the bytes"))),
        (status = 206, description = "The part that was asked for", content_type = "application/octet-stream"),
        (status = 304, description = "It has not changed"),
        (status = 404, description = "There is no such file: `file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "It is shorter than that", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    at: TreePath,
    Query(query): Query<GetQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    let (dataset, version, path) = place(at)?;
    let found = services.open_file(&caller, dataset, version, &path).await?;
    send(found, &path, lease, query.download, &asked).await
}

/// Sends what a client wants of a file that was found at `path`.
pub async fn send(
    FileFound { source, bytes, content }: FileFound,
    path: &UserPath,
    lease: Lease,
    save: bool,
    asked: &Asked,
) -> Result<Response, Problem> {
    let etag = content.map(|content| format!("\"{}\"", content.hash));
    sent_file::send(sent_file::Facts { path, etag, size_bytes: bytes, save }, source, asked, lease).await
}

/// Put a file into a version
///
/// The body is the file. It takes the place of a file that is there.
#[utoipa::path(
    put, path = "/datasets/{dataset}/versions/{version}/files/{*path}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version"),
        ("path" = String, Path, description = "Path of the file, with its slashes"), PutQuery,
        ("X-Content-Blake3" = Option<String>, Header, description = "Refuse the file unless its bytes have this hash"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file"),
    responses(
        (status = 201, description = "It is there now", body = FileView),
        (status = 200, description = "It took the place of another", body = FileView),
        (status = 409, description = "`version_committed`, `too_many_files`, `is_directory` or `not_a_directory`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "It is larger than this box takes", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`bad_path` or `hash_mismatch`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`disk_full` or `quota_exceeded`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
async fn put(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    at: TreePath,
    Query(query): Query<PutQuery>,
    request: Request,
) -> Result<Response, Problem> {
    receive(&services, &caller, lease, place(at)?, query.executable, request).await
}

/// Takes a file, from whoever has been found to be `caller`.
pub(super) async fn receive(
    services: &Services,
    caller: &Caller,
    lease: Lease,
    (dataset, version, path): (DatasetRef, VersionRef, UserPath),
    executable: bool,
    request: Request,
) -> Result<Response, Problem> {
    refuse_forms(request.headers())?;
    let file = FileDraft {
        path: path.clone(),
        executable,
        expected: expected(request.headers())?,
        announced: announced(request.headers()),
    };
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    let FilePut { content, replaced } = services.put_file(caller, dataset, version, file, body).await?;
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    let etag = HeaderValue::try_from(format!("\"{}\"", content.hash)).map_err(Problem::internal)?;
    Ok((status, [(header::ETAG, etag)], Json(FileView::new(&path, content))).into_response())
}

/// Reads the hash that a body must have, if the client names one.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<ContentHash>, Problem> {
    let Some(value) = headers.get(HASH) else { return Ok(None) };
    let hash = value.to_str().unwrap_or_default().parse();
    hash.map(Some)
        .map_err(|error| Problem::invalid("bad_hash", "X-Content-Blake3", format!("X-Content-Blake3 {error}")))
}

/// Remove a file from a version
///
/// Or a link, or a directory with all that is in it.
#[utoipa::path(
    delete, path = "/datasets/{dataset}/versions/{version}/files/{*path}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version"),
        ("path" = String, Path, description = "Path of a file or directory, with its slashes"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "`version_committed`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
async fn delete(State(services): State<Services>, caller: Caller, at: TreePath) -> Result<StatusCode, Problem> {
    let (dataset, version, path) = place(at)?;
    services.delete_file(&caller, dataset, version, path).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        api::router::tests::{Answer, Api},
        domain::board::{DiskRoom, TeamUsage},
    };

    async fn get(api: &Api, path: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {}", api.key);
        api.send("GET", path, &[&[("authorization", bearer.as_str())], headers].concat(), None).await
    }

    #[tokio::test]
    async fn a_file_comes_back_whole_or_in_part_and_not_when_it_is_known() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        let file = format!("{path}/files/dir/a%20b.csv");
        let put = api.put(&file, "0123456789").await;
        assert_eq!(put.status, 201, "{}", put.text);
        insta::assert_snapshot!("file", serde_json::to_string_pretty(&put.body).unwrap());
        assert_eq!(api.put(&file, "0123456789").await.status, 200);

        let whole = get(&api, &file, &[]).await;
        assert_eq!((whole.status.as_u16(), whole.text.as_str()), (200, "0123456789"));
        let etag = whole.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(etag, format!("\"{}\"", blake3::hash(b"0123456789")));
        assert_eq!(get(&api, &file, &[("if-none-match", &etag)]).await.status, 304);
        let part = get(&api, &file, &[("range", "bytes=2-4"), ("if-range", &etag)]).await;
        assert_eq!((part.status.as_u16(), part.text.as_str()), (206, "234"));
        assert_eq!(part.headers["content-range"], "bytes 2-4/10");
        assert_eq!(get(&api, &file, &[("range", "bytes=10-")]).await.status, 416);
        let head = api.ask("HEAD", &file, None).await;
        assert_eq!(
            (head.status.as_u16(), head.text.as_str(), &head.headers["content-length"]),
            (200, "", &"10".parse().unwrap())
        );
        assert!(whole.headers["content-disposition"].to_str().unwrap().starts_with("inline"));
        let saved = get(&api, &format!("{file}?download=true"), &[]).await;
        assert!(saved.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    }

    #[tokio::test]
    async fn a_large_file_is_kept_whole_and_one_that_breaks_off_not_at_all() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
        let hash = blake3::hash(&bytes).to_string();
        let bearer = format!("Bearer {}", api.key);
        let key = ("authorization", bearer.as_str());
        let file = format!("{path}/files/large");
        let wrong = blake3::hash(b"").to_string();
        for body in [bytes.clone(), b"small".to_vec()] {
            let put = api.send_bytes("PUT", &file, &[key, ("x-content-blake3", &wrong)], body).await;
            assert_eq!(put.problem(), (422, "hash_mismatch"));
        }
        let broken =
            futures_util::stream::iter([Ok(bytes::Bytes::from(bytes.clone())), Err(std::io::Error::other("x"))]);
        let put = api.put(&file, axum::body::Body::from_stream(broken)).await;
        assert_eq!(put.problem(), (409, "upload_cut_off"));
        assert_eq!(get(&api, &file, &[]).await.problem(), (404, "file_not_found"));

        let put = api.send_bytes("PUT", &file, &[key, ("x-content-blake3", &hash)], bytes.clone()).await;
        assert_eq!((put.status.as_u16(), &put.body["blake3"]), (201, &json!(hash)), "{}", put.text);
        assert!(get(&api, &file, &[]).await.bytes == bytes);
        assert_eq!(get(&api, &path, &[]).await.body["bytes"], json!(5_000_000));
    }

    #[tokio::test]
    async fn a_path_that_leads_out_or_astray_is_refused_and_leaves_nothing() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        let (long, deep) = ("x".repeat(256), "a/".repeat(300) + "b");
        for bad in [
            "%2e%2e/x",
            "a/%2e%2e/%2e%2e/x",
            "%2Fetc/passwd",
            "/etc/passwd",
            "a%00b",
            "a%0ab",
            "a%1b[31m",
            "a%7f",
            "a%5cb",
            "a%c2%85b",
            ".",
            "%2e",
            &long,
            &deep,
        ] {
            let put = api.put(&format!("{path}/files/{bad}"), "x").await;
            assert_eq!(put.problem(), (422, "bad_path"), "{bad}: {}", put.text);
            let asked = json!({ "files": [{ "path": bad, "blake3": "0".repeat(64) }] });
            let known = api.ask("POST", &format!("{path}/known"), Some(asked)).await;
            assert!(known.status == 422 || bad.contains('%'), "{bad}: {}", known.text);
        }
        assert_eq!(api.put(&format!("{path}/files/"), "x").await.status, 404);
        assert_eq!(get(&api, &path, &[]).await.body["files"], json!(0));
        for odd in ["..a", "a%20b", "%e6%97%a5", "%ff", ".hidden", "A", "a"] {
            let put = api.put(&format!("{path}/files/{odd}"), odd.to_owned()).await;
            assert_eq!(put.status, 201, "{odd}: {}", put.text);
            assert_eq!(get(&api, &format!("{path}/files/{odd}"), &[]).await.text, odd);
        }
        let listed = get(&api, &format!("{path}/files"), &[]).await.body;
        let last = listed["items"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["path"], &last["pathBase64"]), (&json!("\u{fffd}"), &json!("/w==")));
    }

    #[tokio::test]
    async fn a_file_is_no_directory_nor_the_other_way_about() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        api.put(&format!("{path}/files/dir/a"), "1").await;
        let large = vec![0u8; 3 << 20];
        for body in [b"1".to_vec(), large] {
            assert_eq!(api.put(&format!("{path}/files/dir"), body.clone()).await.problem(), (409, "is_directory"));
            assert_eq!(api.put(&format!("{path}/files/dir/a/b"), body).await.problem(), (409, "not_a_directory"));
        }
        assert_eq!(get(&api, &path, &[]).await.body["files"], json!(1));
    }

    #[tokio::test]
    async fn a_full_disk_and_a_file_beyond_the_limit_are_said_before_bytes_are_taken() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        let bearer = format!("Bearer {}", api.key);
        let headers = [("authorization", bearer.as_str()), ("content-length", "999999999")];
        let announced = api.send_bytes("PUT", &format!("{path}/files/a"), &headers, "").await;
        assert_eq!(announced.problem(), (413, "too_large"));
        api.board.set_disk(DiskRoom::Full);
        assert_eq!(api.put(&format!("{path}/files/a"), "1").await.problem(), (507, "disk_full"));
        assert_eq!(api.ask("POST", "datasets/d/versions", None).await.problem(), (507, "disk_full"));
    }

    #[tokio::test]
    async fn a_quota_counts_what_came_in_since_the_last_count() {
        let api = Api::with_quota(10 << 20).await;
        let path = api.draft("d").await;
        let team = api.services.local_admin("admin").await.unwrap().team;
        let counted_at = crate::domain::time::Timestamp(0);
        api.board.set_team_usage([(team, TeamUsage { bytes: 9 << 20, counted_at })].into());
        let put = |n: usize, bytes: usize| {
            let (api, path) = (&api, format!("{path}/files/{n}"));
            async move { api.put(&path, vec![0u8; bytes]).await }
        };
        assert_eq!(put(1, 600 << 10).await.status, 201);
        let refused = put(2, 600 << 10).await;
        assert_eq!(refused.problem(), (507, "quota_exceeded"));
        assert!(refused.text.contains("of the 10 MiB"), "{}", refused.text);
        assert_eq!(put(3, 3 << 20).await.problem(), (507, "quota_exceeded"));
        assert_eq!(get(&api, &path, &[]).await.body["files"], json!(1));
    }
}
