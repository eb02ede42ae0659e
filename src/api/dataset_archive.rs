//! `/datasets/{dataset}/versions/{version}` with `.tar` or `.zip` behind it: a version, or a part of
//! it, as one archive, in and out. The router knows no endings, so what shows a version is here too.

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Lease, Path, Problem, Query,
    dataset_files::LONGEST,
    download, tree_path,
    uploads::{arriving, refuse_forms},
    versions::{VersionView, both},
};
use crate::{
    domain::{caller::Caller, user_path::UserPath},
    service::Services,
    storage::{bundle::BundleKind, dataset::Taken},
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::with_openapi(Archives::openapi())
        .routes(routes!(get))
        .route("/datasets/{dataset}/versions/{version}", routing::put(put))
}

/// Describes what has no routes of its own.
#[derive(OpenApi)]
#[openapi(paths(tar, zip, take))]
struct Archives;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ArchiveQuery {
    /// A directory of the version. The whole of it when left out.
    #[serde(default)]
    prefix: String,
}

impl ArchiveQuery {
    fn prefix(&self) -> Result<UserPath, Problem> {
        match self.prefix.as_str() {
            "" => Ok(UserPath::root()),
            prefix => tree_path::read(prefix.as_bytes()),
        }
    }
}

/// What came of an archive.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TakenView {
    /// Files and links that came.
    files: u64,
    bytes: u64,
    /// Files and links whose place they took.
    replaced_files: u64,
}

impl From<Taken> for TakenView {
    fn from(taken: Taken) -> Self {
        Self { files: taken.totals.files, bytes: taken.totals.bytes, replaced_files: taken.replaced.files }
    }
}

/// Return a version
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}", tag = "datasets",
    params(
        ("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped"),
        ("version" = String, Path, description = "Id, tag or `latest`"),
    ),
    responses((status = 200, body = VersionView)),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path((dataset, version)): Path<(String, String)>,
    Query(query): Query<ArchiveQuery>,
) -> Result<Response, Problem> {
    if let Some(version) = version.strip_suffix(".tar") {
        return tar(Asked { services, caller, lease, dataset, version, query }).await;
    }
    if let Some(version) = version.strip_suffix(".zip") {
        return zip(Asked { services, caller, lease, dataset, version, query }).await;
    }
    let (dataset, version) = both(&(dataset, version))?;
    Ok(Json(VersionView::from(services.version(&caller, dataset, version).await?)).into_response())
}

/// Fetch a version as a tar archive
///
/// Or one directory of it.
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}.tar", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped"),
        ("version" = String, Path, description = "Id, tag or `latest`"), ArchiveQuery,
    ),
    responses((status = 200, description = "The archive, written while it is sent", content_type = "application/x-tar")),
)]
async fn tar(asked: Asked<'_>) -> Result<Response, Problem> {
    asked.send(BundleKind::Tar).await
}

/// Fetch a version as a zip archive
///
/// Or one directory of it. Links are left out, and names that are not UTF-8.
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}.zip", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped"),
        ("version" = String, Path, description = "Id, tag or `latest`"), ArchiveQuery,
    ),
    responses((status = 200, description = "The archive, written while it is sent", content_type = "application/zip")),
)]
async fn zip(asked: Asked<'_>) -> Result<Response, Problem> {
    asked.send(BundleKind::Zip).await
}

/// Who asked for an archive, and of what.
struct Asked<'a> {
    services: Services,
    caller: Caller,
    lease: Lease,
    dataset: String,
    /// Without the ending.
    version: &'a str,
    query: ArchiveQuery,
}

impl Asked<'_> {
    async fn send(self, bundle: BundleKind) -> Result<Response, Problem> {
        let (dataset, version) = both(&(self.dataset, self.version.to_owned()))?;
        let outgoing = self.services.outgoing(&self.caller, dataset, version, self.query.prefix()?).await?;
        let name = outgoing.name.clone();
        download::archive(&self.services, self.lease, bundle, &name, move |out| outgoing.write(bundle, out))
    }
}

async fn put(
    services: State<Services>,
    caller: Caller,
    lease: Lease,
    Path((dataset, version)): Path<(String, String)>,
    query: Query<ArchiveQuery>,
    request: Request,
) -> Result<Json<TakenView>, Problem> {
    let Some(version) = version.strip_suffix(".tar") else {
        let detail = "only archives are put here: PUT …/versions/VERSION.tar; or begin a version with POST …/versions";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail));
    };
    take(services, caller, lease, (dataset, version.to_owned()), query, request).await
}

/// Put a tar archive into a version
///
/// The body is a tar, tar.gz or tar.zst. All that is in it is in the version at its end, or nothing.
#[utoipa::path(
    put, path = "/datasets/{dataset}/versions/{version}.tar", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id or name"),
        ("version" = String, Path, description = "Id or tag of an uncommitted version"), ArchiveQuery,
    ),
    request_body(content = Vec<u8>, content_type = "application/x-tar", description = "The archive"),
    responses(
        (status = 200, body = TakenView),
        (status = 409, description = "`version_committed`, `too_many_files`, `is_directory` or `not_a_directory`"),
        (status = 422, description = "`bad_archive`: the entry that cannot be taken and why"),
        (status = 507, description = "`disk_full` or `quota_exceeded`"),
    ),
)]
async fn take(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    path: (String, String),
    Query(query): Query<ArchiveQuery>,
    request: Request,
) -> Result<Json<TakenView>, Problem> {
    refuse_forms(request.headers())?;
    let (dataset, version) = both(&path)?;
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    Ok(Json(services.take_tar(&caller, dataset, version, query.prefix()?, body).await?.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::json;

    use crate::{api::router::tests::Api, domain::board::TeamUsage};

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_tar_goes_in_and_comes_out_whole_or_by_directory() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        api.put(&format!("{path}/files/in/a"), "old").await;
        let tar = packed(&[("a", b"1"), ("dir/b", b"22")]);
        let zst = zstd::encode_all(tar.as_slice(), 1).unwrap();
        let taken = api.put(&format!("{path}.tar?prefix=in/"), zst).await;
        assert_eq!(taken.body, json!({ "files": 2, "bytes": 3, "replacedFiles": 1 }), "{}", taken.text);
        let now = api.ask("GET", &path, None).await.body;
        assert_eq!((&now["files"], &now["bytes"]), (&json!(2), &json!(3)));
        for commit in [false, true] {
            if commit {
                api.ask("POST", &format!("{path}/commit"), None).await;
            }
            let out = api.ask("GET", &format!("{path}.tar?prefix=in"), None).await;
            assert_eq!(out.headers["content-type"], "application/x-tar");
            let mut names = Vec::new();
            for entry in tar::Archive::new(&out.bytes[..]).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                if entry.header().entry_type().is_file() {
                    names.push((entry.path().unwrap().display().to_string(), text));
                }
            }
            assert_eq!(names, [("a".to_owned(), "1".to_owned()), ("dir/b".to_owned(), "22".to_owned())]);
            let out = api.ask("GET", &format!("{path}.zip"), None).await;
            assert!(zip::ZipArchive::new(std::io::Cursor::new(&out.bytes[..])).unwrap().by_name("in/dir/b").is_ok());
            let missing = api.ask("GET", &format!("{path}.tar?prefix=none"), None).await;
            assert_eq!(missing.problem(), (404, "file_not_found"));
        }
        assert_eq!(api.put(&format!("{path}.tar"), packed(&[])).await.problem(), (409, "version_committed"));
        assert_eq!(api.put(&path, "x").await.problem(), (405, "method_not_allowed"));
    }

    #[tokio::test]
    async fn a_tar_that_is_refused_or_breaks_off_leaves_nothing() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        api.put(&format!("{path}/files/a"), "1").await;
        let good: &[(&str, &[u8])] = &[("fine", b"1"), ("b", b"2")];
        for (bad, problem) in [
            (packed(&[good, &[("../out", b"3")]].concat()), (422, "bad_archive")),
            (packed(&[good, &[("/etc/passwd", b"3")]].concat()), (422, "bad_archive")),
            (packed(&[good, &[("a\nb", b"3")]].concat()), (422, "bad_archive")),
            (packed(&[good, &[("b", b"3")]].concat()), (422, "bad_archive")),
            (packed(&[good, &[("a/b", b"3")]].concat()), (409, "not_a_directory")),
            (packed(good)[..700].to_vec(), (422, "bad_archive")),
        ] {
            let taken = api.put(&format!("{path}.tar"), bad).await;
            assert_eq!(taken.problem(), problem, "{}", taken.text);
        }
        let half = packed(&[("large", &vec![7; 3 << 20])])[..2 << 20].to_vec();
        let broken = futures_util::stream::iter([Ok(bytes::Bytes::from(half)), Err(std::io::Error::other("gone"))]);
        let taken = api.put(&format!("{path}.tar"), axum::body::Body::from_stream(broken)).await;
        assert_eq!(taken.problem(), (409, "upload_cut_off"), "{}", taken.text);
        let now = api.ask("GET", &path, None).await.body;
        assert_eq!((&now["files"], &now["bytes"]), (&json!(1), &json!(1)));
    }

    #[tokio::test]
    async fn a_tar_is_held_to_what_unpacks_of_it() {
        let api = Api::with_quota(20 << 20).await;
        let path = api.draft("d").await;
        let team = api.services.local_admin("admin").await.unwrap().team;
        let counted_at = crate::domain::time::Timestamp(0);
        api.board.set_team_usage([(team, TeamUsage { bytes: 1 << 20, counted_at })].into());
        let bomb = zstd::encode_all(packed(&[("zeros", &vec![0; 40 << 20])]).as_slice(), 1).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert_eq!(api.put(&format!("{path}.tar"), bomb).await.problem(), (507, "quota_exceeded"));
        assert_eq!(api.ask("GET", &path, None).await.body["files"], json!(0));
    }

    #[tokio::test]
    async fn a_full_version_takes_on_no_more_files_however_they_come_and_replaces_those_it_has() {
        let api = Api::with_limits(0, 2).await;
        let path = api.draft("d").await;
        let file = |name: &str| format!("{path}/files/{name}");
        for name in ["a", "b"] {
            assert_eq!(api.put(&file(name), "old").await.status, 201);
        }
        let refused = api.put(&file("c"), "new").await;
        assert_eq!(refused.problem(), (409, "too_many_files"));
        assert!(refused.text.contains("2 files") && refused.text.contains("storage.version_files"), "{}", refused.text);
        assert_eq!(api.put(&file("c"), vec![0; 3 << 20]).await.problem(), (409, "too_many_files"));
        let known = |name: &str| json!({ "files": [{ "path": name, "blake3": blake3::hash(b"old").to_string() }] });
        let ask = async |name: &str| api.ask("POST", &format!("{path}/known"), Some(known(name))).await;
        assert_eq!(ask("c").await.problem(), (409, "too_many_files"));
        let begun = api.ask("POST", &format!("{path}/multipart"), Some(json!({ "path": "c" }))).await;
        assert_eq!(begun.problem(), (409, "too_many_files"));
        for files in [&[("c", &b"1"[..])][..], &[("a", b"1"), ("c", b"1")]] {
            assert_eq!(api.put(&format!("{path}.tar"), packed(files)).await.problem(), (409, "too_many_files"));
        }
        assert_eq!(api.ask("GET", &file("a"), None).await.text, "old");

        assert_eq!(api.put(&file("a"), "new").await.status, 200);
        assert_eq!(ask("b").await.body, json!({ "linked": 1, "missing": [] }));
        let taken = api.put(&format!("{path}.tar"), packed(&[("a", b"1"), ("b", b"2")])).await;
        assert_eq!(taken.body["replacedFiles"], json!(2), "{}", taken.text);
        assert_eq!(api.ask("DELETE", &file("b"), None).await.status, 204);
        assert_eq!(api.put(&file("c"), "new").await.status, 201);
        assert_eq!(api.ask("POST", &format!("{path}/commit"), None).await.status, 200);
    }
}
