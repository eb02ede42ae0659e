//! URLs of artifacts for those who have no key. A URL is for reading one file of one job until one time,
//! and ends with the key that it was made with.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Lease, Problem, Query, artifacts,
    sent_file::Asked,
    tree_path::{self, TreePath},
};
use crate::service::{
    Services,
    signed_artifacts::{ArtifactUrl, SignedArtifact},
    signed_urls::not_good,
};

/// Returns the routes for whoever has a signed URL.
pub fn open_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Writes a URL of this box, which is called `origin` by whoever asks for it.
pub fn url(origin: &str, ArtifactUrl { signed, signature }: &ArtifactUrl) -> String {
    format!(
        "{origin}{}/signed/artifacts/{}/{}?expires={}&key={}&signature={signature}",
        super::router::ROOT,
        signed.job,
        tree_path::encoded(&signed.path),
        signed.expires,
        signed.key,
    )
}

/// What makes a URL a signed one.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SignatureQuery {
    /// Seconds since 1970.
    expires: i64,
    /// Id of the key that it was made with.
    key: String,
    signature: String,
}

/// Fetch an artifact by a signed URL
///
/// Such URLs are in the lists that the original client gets.
#[utoipa::path(
    get, path = "/signed/artifacts/{id}/{*path}", tag = "artifacts",
    params(
        ("id" = String, Path, description = "Id of a job"), ("path" = String, Path, description = "Path of a file"),
        SignatureQuery,
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream"),
        (status = 403, description = "The URL is not good for this, or no longer"),
    ),
)]
async fn get(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    let signed = SignedArtifact {
        job: at.id.parse().map_err(|_| not_good())?,
        path: at.path,
        expires: query.expires,
        key: query.key.parse().map_err(|_| not_good())?,
    };
    let shown = query.signature.parse().map_err(|_| not_good())?;
    let caller = services.artifact_signer(&signed, &shown).await?;
    let lease = Lease::of_key(Arc::new(services.clone()), signed.key);
    artifacts::send(&services, &caller, lease, &signed.job, signed.path, &asked).await
}
