//! `/jobs/{id}/artifacts`: what a job left behind, listed, by file, or whole.
//!
//! A job may write anything, so no file is ever shown as a page of this origin; see [`sent_file`].

use std::{fmt, str::FromStr};

use axum::{extract::State, response::Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Cursor, Json, Lease, Page, Paged, Path, Problem, download,
    problem::ProblemDocument,
    sent_file::{self, Asked},
};
use crate::{
    domain::{
        caller::Caller,
        id::JobId,
        time::Timestamp,
        user_path::{InvalidPath, UserPath},
    },
    service::{Services, artifacts::ArtifactName, version_home::FileSource},
    storage::{
        artifact::Artifact,
        beneath::{Facts, Kind},
        bundle::BundleKind,
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(list, remove_all))
        .routes(routes!(file, remove))
        .routes(routes!(tar))
        .routes(routes!(zip))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ArtifactsQuery {
    /// The directory to list. The top when left out.
    #[serde(default)]
    path: String,
}

/// One entry of a directory.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ArtifactView {
    /// From the top of the artifacts. Ask for the file under it.
    path: String,
    name: String,
    /// `file`, `directory`, `link` (never followed) or `other`.
    kind: &'static str,
    size_bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
}

/// A page of a directory.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Page<ArtifactView> looks like")]
struct ArtifactPage {
    items: Vec<ArtifactView>,
    /// Hand it back as `cursor` for the next page; null on the last.
    next: Option<String>,
}

impl From<Artifact> for ArtifactView {
    fn from(artifact: Artifact) -> Self {
        Self {
            path: artifact.path.to_text(),
            name: String::from_utf8_lossy(artifact.path.name().unwrap_or_default()).into_owned(),
            kind: match artifact.facts.kind {
                Kind::File => "file",
                Kind::Directory => "directory",
                Kind::Link => "link",
                Kind::Other => "other",
            },
            size_bytes: artifact.facts.size_bytes,
            modified_at: artifact.facts.modified_at,
        }
    }
}

/// A name as cursors carry it: any bytes, while a cursor holds text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NameBytes(Vec<u8>);

impl fmt::Display for NameBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl FromStr for NameBytes {
    type Err = base64::DecodeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        URL_SAFE_NO_PAD.decode(text).map(Self)
    }
}

/// List a directory of a job's artifacts
///
/// By name.
#[utoipa::path(
    get, path = "/jobs/{id}/artifacts", tag = "artifacts",
    params(
        ("id" = String, Path, description = "Id of a job"), ArtifactsQuery,
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page; empty for a job that has not run yet", body = ArtifactPage),
        (status = 404, description = "There is no such job or directory", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The path leads out", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
    paged: Paged<ArtifactsQuery>,
) -> Result<Json<Page<ArtifactView>>, Problem> {
    let after = paged.cursor.map(|cursor| cursor.position::<NameBytes>()).transpose()?.map(|name| name.0);
    let page = services.artifacts(&caller, &id, &paged.filter.path, after, paged.limit as usize).await?;
    let items = page.items.into_iter().map(ArtifactView::from).collect();
    Ok(Json(Page { items, next: page.next.map(|name| Cursor::new(NameBytes(name))) }))
}

/// Fetch one file of a job's artifacts
///
/// Whole or in part: one `Range`, with `If-Range`; `If-None-Match` asks whether it has changed.
#[utoipa::path(
    get, path = "/jobs/{id}/artifacts/{*path}", tag = "artifacts",
    params(("id" = String, Path, description = "Id of a job"), ("path" = String, Path, description = "Path of a file, with its slashes")),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", headers(("ETag" = String, description = "Names this state of the file"))),
        (status = 206, description = "The part that was asked for", content_type = "application/octet-stream"),
        (status = 304, description = "It has not changed"),
        (status = 404, description = "There is no such file", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "It is shorter than that", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn file(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path((id, path)): Path<(JobId, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    send(&services, &caller, lease, &id, user_path(&path)?, &asked).await
}

/// Sends one file of a job's artifacts.
pub(super) async fn send(
    services: &Services,
    caller: &Caller,
    lease: Lease,
    id: &JobId,
    path: UserPath,
    asked: &Asked,
) -> Result<Response, Problem> {
    let (file, facts) = services.artifact(caller, id, path.clone()).await?;
    let etag = Some(etag(&facts));
    let facts = sent_file::Facts { path: &path, etag, size_bytes: facts.size_bytes, save: false };
    sent_file::send(facts, FileSource::Disk(file), asked, lease).await
}

fn user_path(path: &str) -> Result<UserPath, Problem> {
    path.parse().map_err(|error: InvalidPath| Problem::invalid("bad_path", "path", error))
}

/// Delete all of a job's artifacts
///
/// A job that still runs may write new ones.
#[utoipa::path(
    delete, path = "/jobs/{id}/artifacts", tag = "artifacts", params(("id" = String, Path, description = "Id of a job")),
    responses(
        (status = 204, description = "They are gone"),
        (status = 404, description = "There is no such job", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn remove_all(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<StatusCode, Problem> {
    services.delete_artifacts(&caller, &id, Vec::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete one file of a job's artifacts
///
/// Or a directory, with all that is in it.
#[utoipa::path(
    delete, path = "/jobs/{id}/artifacts/{*path}", tag = "artifacts",
    params(("id" = String, Path, description = "Id of a job"), ("path" = String, Path, description = "Path of a file or directory, with its slashes")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such job or file", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn remove(
    State(services): State<Services>,
    caller: Caller,
    Path((id, path)): Path<(JobId, String)>,
) -> Result<StatusCode, Problem> {
    services.delete_artifacts(&caller, &id, vec![ArtifactName::Exactly(user_path(&path)?)]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Names a state of a file. Whoever writes to it moves its time.
fn etag(facts: &Facts) -> String {
    format!("\"{:x}-{:x}\"", facts.modified_at.0, facts.size_bytes)
}

/// Fetch all of a job's artifacts as a tar archive
#[utoipa::path(
    get, path = "/jobs/{id}/artifacts.tar", tag = "artifacts", params(("id" = String, Path, description = "Id of a job")),
    responses(
        (status = 200, description = "The archive, written while it is sent", content_type = "application/x-tar"),
        (status = 404, description = "There is no such job, or it has not run yet", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn tar(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path(id): Path<JobId>,
) -> Result<Response, Problem> {
    bundle(&services, &caller, lease, &id, BundleKind::Tar).await
}

/// Fetch all of a job's artifacts as a zip archive
///
/// Links are left out.
#[utoipa::path(
    get, path = "/jobs/{id}/artifacts.zip", tag = "artifacts", params(("id" = String, Path, description = "Id of a job")),
    responses(
        (status = 200, description = "The archive, written while it is sent", content_type = "application/zip"),
        (status = 404, description = "There is no such job, or it has not run yet", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn zip(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path(id): Path<JobId>,
) -> Result<Response, Problem> {
    bundle(&services, &caller, lease, &id, BundleKind::Zip).await
}

async fn bundle(
    services: &Services,
    caller: &Caller,
    lease: Lease,
    id: &JobId,
    bundle: BundleKind,
) -> Result<Response, Problem> {
    let tree = services.artifact_tree(caller, id).await?;
    let job = id.clone();
    download::archive(services, lease, bundle, &format!("{id}-artifacts"), move |out| {
        let bundled = tree.bundle(bundle, out)?;
        if bundled.left_out + bundled.shrank > 0 {
            tracing::info!(%job, ?bundled, "some artifacts could not be bundled as they are");
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_bytes_survives_a_cursor() {
        let name = NameBytes(b"\xff\x00\n..".to_vec());
        assert_eq!(name.to_string().parse::<NameBytes>().unwrap(), name);
        assert!("a b".parse::<NameBytes>().is_err());
    }
}
