//! The workspace of an experiment: the client asks for a URL, posts its zip there as S3 takes it from a
//! form, and then names it as `s3://BUCKET/KEY`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ROOT, form};
use crate::{
    api::{Lease, Path, Problem, Query, signed::origin},
    domain::{
        caller::Caller,
        id::{KeyId, UploadId},
    },
    service::{
        ServiceError, Services,
        signed_uploads::{SignedUpload, UploadUrl},
    },
};

/// The route of the signed URLs, which need no key.
pub const WORKSPACES: &str = "/workspaces/{upload}";
/// What addresses of such workspaces begin with. There is no such bucket: only this box reads them.
const BUCKET: &str = "gradientd-workspaces";
/// What a workspace is called in there.
const NAME: &str = "workspace.zip";

/// Returns the address by which the client names an upload.
pub fn address(upload: &UploadId) -> String {
    format!("s3://{BUCKET}/{}", key(upload))
}

/// Returns the upload that an address names, if it is one of ours.
pub fn of_address(address: &str) -> Option<UploadId> {
    let key = address.strip_prefix("s3://")?.strip_prefix(BUCKET)?.strip_prefix('/')?;
    key.strip_suffix(NAME)?.strip_suffix('/')?.parse().ok()
}

fn key(upload: &UploadId) -> String {
    format!("{upload}/{NAME}")
}

/// For which project.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    #[serde(default)]
    project_handle: String,
}

/// Answers with where to send a workspace.
pub async fn presigned(
    State(services): State<Services>,
    caller: Caller,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let url = services.sign_upload(&caller)?;
    // The client prints no text of a refusal here, and that of an answer which is no success.
    match services.project_named(&caller, wanted.project_handle).await {
        Err(error @ ServiceError::NotFound { .. }) => return Ok(Json(json!({ "message": error.to_string() }))),
        other => other?,
    };
    let UploadUrl { signed: SignedUpload { upload, expires, key: signer }, signature } = &url;
    let place = format!("{}{ROOT}/workspaces/{upload}", origin(&headers));
    let url = format!("{place}?expires={expires}&key={signer}&signature={signature}");
    let data = json!({ "url": url, "bucket_name": BUCKET, "fields": { "key": key(upload) } });
    Ok(Json(json!({ "message": "success", "data": data })))
}

/// What makes a URL a signed one.
#[derive(Debug, Deserialize)]
pub struct SignatureQuery {
    expires: i64,
    key: String,
    signature: String,
}

/// Takes a workspace from whoever has a signed URL.
pub async fn post(
    State(services): State<Services>,
    Path(upload): Path<String>,
    Query(query): Query<SignatureQuery>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let refused = || {
        let detail = "the signed URL is not good for this, or no longer: ask for another one";
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
    };
    let key: KeyId = query.key.parse().map_err(|_| refused())?;
    let signed = SignedUpload { upload: upload.parse().map_err(|_| refused())?, expires: query.expires, key };
    let shown = query.signature.parse().map_err(|_| refused())?;
    let caller = services.upload_signer(&signed, &shown).await?;
    let lease = Lease::of_key(Arc::new(services.clone()), signed.key);
    match form::upload(&services, &caller, lease, request, Some(signed.upload)).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Problem::invalid("bad_form", "file", "there is no workspace in the request")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{
        form::tests::{HEADERS, KIND, ZIP, form},
        router::tests::{Cloud, printed},
    };

    const FIELD: &str = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nx\r\n";

    async fn send(cloud: &Cloud, url: &str, file: &[u8]) -> crate::api::router::tests::Answer {
        let path = url.strip_prefix("http://localhost").unwrap();
        let body = form(&format!("{FIELD}{HEADERS}"), file);
        cloud.0.send_bytes("POST", path, &[("content-type", KIND)], body).await
    }

    async fn asked(cloud: &Cloud) -> Value {
        cloud.ask("POST", "/projects/", Some(json!({ "name": "p" }))).await;
        cloud.get("/experiments/v1/workspace/get_presigned_url?workspaceName=workspace.zip&projectHandle=p").await
    }

    #[tokio::test]
    async fn a_workspace_is_sent_once_without_a_key_and_named_by_its_address() {
        let cloud = Cloud::new().await;
        let asked = asked(&cloud).await;
        let (url, key) = (asked["data"]["url"].as_str().unwrap(), asked["data"]["fields"]["key"].as_str().unwrap());
        assert_eq!(asked["message"], "success");
        let cut_off = send(&cloud, url, &ZIP[..10]).await;
        assert_eq!(printed(&cut_off).0, 422, "{}", cut_off.text);
        let sent = send(&cloud, url, ZIP).await;
        assert_eq!(sent.status, 204, "{}", sent.text);
        let again = send(&cloud, url, ZIP).await;
        assert_eq!(printed(&again).0, 409, "{}", again.text);
        let address = format!("s3://{}/{key}", asked["data"]["bucket_name"].as_str().unwrap());
        let upload = of_address(&address).unwrap();
        assert_eq!(self::address(&upload), address);
    }

    #[tokio::test]
    async fn a_url_is_for_one_workspace_and_nothing_else() {
        let cloud = Cloud::new().await;
        let asked = asked(&cloud).await;
        let url = asked["data"]["url"].as_str().unwrap();
        let upload = url.split("/workspaces/").nth(1).unwrap().split('?').next().unwrap();
        for other in [
            url.replace(upload, "up0123456789abcdef"),
            url.replace(upload, "../jobs"),
            url.replace("expires=", "expires=1"),
            url.replace("signature=", "signature=0"),
            url.replace("key=k", "key=x"),
        ] {
            let answer = send(&cloud, &other, ZIP).await;
            assert!(answer.status.is_client_error(), "{other}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn a_project_that_is_not_there_is_said_in_the_way_that_is_printed() {
        let cloud = Cloud::new().await;
        let asked = cloud.get("/experiments/v1/workspace/get_presigned_url?projectHandle=nothing").await;
        assert_eq!(asked, json!({ "message": "there is no project nothing" }));
    }

    #[test]
    fn another_bucket_is_not_ours() {
        for address in [
            "s3://bucket/up0123456789abcdef/workspace.zip",
            "s3://gradientd-workspaces/up0123456789abcdef/other.zip",
            "s3://gradientd-workspaces/../workspace.zip",
            "s3://gradientd-workspacesup0123456789abcdef/workspace.zip",
        ] {
            assert_eq!(of_address(address), None, "{address}");
        }
    }
}
