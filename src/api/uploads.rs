//! `/uploads`: archives that become workspaces. The body is the archive itself, of any size up to
//! the limit, and goes to the disk as it comes.

use std::{io, pin::Pin, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Lease, Problem, problem::ProblemDocument};
use crate::{
    domain::{caller::Caller, id::UploadId, time::Timestamp},
    service::Services,
    storage::upload::Upload,
};

/// A client that sends nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one upload may take, however steadily it comes.
pub(crate) const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(create))
}

/// An archive that was taken.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UploadView {
    /// Say it as `workspace.upload` of a job.
    #[schema(value_type = String)]
    id: UploadId,
    size_bytes: u64,
    /// Files and links in it.
    files: u64,
    /// It is kept until then, or for as long as a job names it.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<Upload> for UploadView {
    fn from(upload: Upload) -> Self {
        Self { id: upload.id, size_bytes: upload.size_bytes, files: upload.files, expires_at: upload.expires_at }
    }
}

/// Upload an archive
///
/// A zip, tar, tar.gz or tar.zst, as the body itself; its kind is told by its first bytes. Every
/// entry is checked before it is taken.
#[utoipa::path(
    post, path = "/uploads", tag = "uploads",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The archive"),
    responses(
        (status = 201, description = "Taken", body = UploadView),
        (status = 413, description = "It is larger than this box takes", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "It is wrapped in a form", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`bad_archive`: the entry that cannot be taken and why", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_streams`: too many large bodies are under way", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    request: Request,
) -> Result<(StatusCode, Json<UploadView>), Problem> {
    refuse_forms(request.headers())?;
    services.refuse_large_upload(announced(request.headers()))?;
    let upload = services.upload(&caller, Box::pin(arriving(request.into_body(), lease, LONGEST))).await?;
    Ok((StatusCode::CREATED, Json(upload.into())))
}

pub(super) fn refuse_forms(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return Ok(());
    }
    let detail = "send the archive as the body itself, not as a form: curl --data-binary @archive.zip";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_an_archive", detail))
}

pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns the body as it arrives; an error when it stands still for too long, takes longer than
/// `longest`, or the caller's key has ended.
pub fn arriving(body: Body, lease: Lease, longest: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let ended = Box::pin(lease.ended()) as Pin<Box<dyn Future<Output = ()> + Send>>;
    let late = Box::pin(tokio::time::sleep(longest));
    stream::unfold(Some((body.into_data_stream(), ended, late)), move |state| async move {
        let (mut body, mut ended, mut late) = state?;
        let words = tokio::select! {
            biased;
            () = &mut ended => "the key or session has ended".to_owned(),
            () = &mut late => format!("it took longer than {} minutes", longest.as_secs() / 60),
            piece = tokio::time::timeout(PATIENCE, body.next()) => match piece {
                Ok(piece) => return Some((piece?.map_err(io::Error::other), Some((body, ended, late)))),
                Err(_) => format!("nothing came for {} seconds", PATIENCE.as_secs()),
            },
        };
        Some((Err(io::Error::new(io::ErrorKind::TimedOut, words)), None))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use super::*;
    use crate::{
        api::{
            caller::tests::{Book, lease},
            router::tests::Api,
        },
        domain::board::DiskRoom,
        service::{ServiceError, users::FIRST_USER},
    };

    fn body_without_end() -> Body {
        Body::from_stream(stream::pending::<io::Result<Bytes>>())
    }

    async fn broken_off(body: impl Stream<Item = io::Result<Bytes>>) -> String {
        let mut body = std::pin::pin!(body);
        tokio::time::timeout(Duration::from_secs(20), body.next()).await.unwrap().unwrap().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn an_upload_breaks_off_when_its_key_is_revoked() {
        let book = Arc::new(Book { revoked: false.into() });
        let arriving = arriving(body_without_end(), lease(book.clone()), LONGEST);
        book.revoked.store(true, Ordering::SeqCst);
        assert!(broken_off(arriving).await.contains("has ended"));
    }

    #[tokio::test]
    async fn an_upload_does_not_go_on_for_ever() {
        let book = Arc::new(Book { revoked: false.into() });
        let arriving = arriving(body_without_end(), lease(book), Duration::from_millis(1));
        assert!(broken_off(arriving).await.contains("took longer"));
    }

    #[tokio::test]
    async fn an_upload_ends_when_the_disk_fills_meanwhile() {
        let api = Api::new().await;
        let caller = api.services.local_admin(FIRST_USER).await.unwrap();
        let board = api.board.clone();
        let body = stream::once(async move {
            board.set_disk(DiskRoom::Full);
            Ok::<_, io::Error>(Bytes::from(vec![0; 1 << 20]))
        });
        let ended = api.services.upload(&caller, Box::pin(body)).await.unwrap_err();
        assert!(matches!(ended, ServiceError::DiskFull), "{ended:?}");
    }

    #[tokio::test]
    async fn a_large_upload_is_refused_while_too_many_bodies_are_under_way_and_a_small_one_is_not() {
        let api = Api::new().await;
        let caller = api.services.local_admin(FIRST_USER).await.unwrap();
        let mut held = Vec::new();
        while let Ok(permit) = api.services.stream() {
            held.push(permit);
        }
        let upload = async |bytes: usize| {
            let body = stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b'x'; bytes]))]);
            api.services.upload(&caller, Box::pin(body)).await.unwrap_err()
        };
        assert!(matches!(upload(1 << 20).await, ServiceError::TooMany { code: "too_many_streams", .. }));
        assert!(matches!(upload(100).await, ServiceError::Invalid(_)), "it is read, and is no archive");
        drop(held);
        assert!(matches!(upload(1 << 20).await, ServiceError::Invalid(_)));
    }
}
