//! What everybody may know of the TLS listener: where it is, and the certificate to trust it by.

use std::sync::Arc;

use axum::{
    Extension,
    response::{IntoResponse, Response},
};
use http::header;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Problem, problem::ProblemDocument};
use crate::{auth::Certificates, service::Services};

/// The listener, as requests find it beside them.
#[derive(Debug, Clone)]
pub struct TlsDoor {
    pub certificates: Arc<Certificates>,
    pub port: u16,
}

/// The route for everybody: who is to trust the box has no way yet to sign in safely.
pub fn open_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(authority))
}

/// Fetch the authority's certificate
///
/// In PEM. Clients that are given it trust this box's HTTPS listener; nothing in it is secret.
#[utoipa::path(
    get, path = "/ca.pem", tag = "box",
    responses(
        (status = 200, description = "The certificate", content_type = "application/x-pem-file"),
        (status = 404, description = "The box shows a certificate of its admin's", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
async fn authority(door: Option<Extension<TlsDoor>>) -> Result<Response, Problem> {
    let pem = door.and_then(|Extension(door)| door.certificates.authority_pem());
    let pem = pem.ok_or_else(|| {
        Problem::not_found("this box shows a certificate of its admin's: ask them whom it is to be trusted by")
    })?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"gradientd-ca.pem\""),
    ];
    Ok((headers, pem).into_response())
}
