//! Signed URLs: made for those with a key, used by whoever has one. A URL is for one method on one
//! file until one time, and acts with the rights of the key that it was made with.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Lease, Path, Problem, Query, dataset_files,
    sent_file::Asked,
    tree_path::{self, TreePath},
    versions::both,
};
use crate::{
    domain::{
        caller::Caller,
        content::ContentHash,
        dataset::{DatasetRef, VersionRef},
        id::{DatasetId, KeyId, VersionId},
        time::Timestamp,
    },
    service::{
        Services,
        signed_urls::{Purpose, Signed, SignedCall, SignedMethod, SignedUrl, not_good},
    },
};

/// Returns the routes that need a key.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(sign))
}

/// Returns the routes for whoever has a signed URL.
pub fn open_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get, head, put, delete))
}

/// Calls that somebody without a key is to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SignCalls {
    /// 1,000 at most.
    calls: Vec<CallWire>,
}

/// A call that somebody without a key is to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CallWire {
    /// `GET`, `HEAD`, `PUT` or `DELETE`. The URL is good for it alone.
    method: String,
    /// Path of a file in the version.
    path: String,
    /// An hour when left out; `storage.signed_url` at most.
    expires_seconds: Option<u64>,
    /// Whether containers may execute the file that is put. False when left out.
    #[serde(default)]
    executable: bool,
}

/// Signed URLs, in the order of the calls.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SignedUrls {
    urls: Vec<SignedUrlView>,
}

/// A signed URL.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SignedUrlView {
    method: &'static str,
    path: String,
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// What makes a URL a signed one.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SignatureQuery {
    /// Seconds since 1970.
    expires: i64,
    /// Id of the key that it was made with.
    key: String,
    signature: String,
    /// Whether containers may execute the file that is put, as it was signed.
    #[serde(default)]
    executable: bool,
}

/// Sign URLs for files of a version
///
/// For those who have no key: each is for one method on one file, until a time or until your key ends.
/// Files on S3 are read there, and such a URL outlives your key.
#[utoipa::path(
    post, path = "/datasets/{dataset}/versions/{version}/signed-urls", tag = "dataset files",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id, tag or `latest`")),
    request_body = SignCalls, responses((status = 200, body = SignedUrls)),
)]
async fn sign(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    Json(wanted): Json<SignCalls>,
) -> Result<Json<SignedUrls>, Problem> {
    let (dataset, version) = both(&path)?;
    let calls = wanted.calls.into_iter().enumerate().map(|(at, call)| {
        let method = SignedMethod::from_word(&call.method).ok_or_else(|| {
            Problem::invalid("bad_method", format!("calls[{at}].method"), "method is GET, HEAD, PUT or DELETE")
        })?;
        let lasts = call.expires_seconds.map(Duration::from_secs);
        let path = tree_path::read(call.path.as_bytes())?;
        Ok(SignedCall { purpose: Purpose::File { method, path, executable: call.executable }, lasts })
    });
    let calls = calls.collect::<Result<_, Problem>>()?;
    let origin = origin(&headers);
    let urls = services.sign_urls(&caller, dataset, version, calls).await?;
    Ok(Json(SignedUrls { urls: urls.into_iter().filter_map(|url| shown(&origin, url)).collect() }))
}

/// Returns what this box is called by whoever asks. The guard has looked at it.
pub fn origin(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let scheme =
        if text(http::HeaderName::from_static("x-forwarded-proto")) == Some("https") { "https" } else { "http" };
    format!("{scheme}://{}", text(header::HOST).unwrap_or("localhost"))
}

/// Shows the URL of a call on a file: others are not signed here.
fn shown(origin: &str, SignedUrl { signed, signature, at_bucket }: SignedUrl) -> Option<SignedUrlView> {
    let Purpose::File { method, path, executable } = signed.purpose else { return None };
    let here = || {
        format!(
            "{origin}{}/signed/{}/{}/{}?expires={}&key={}&signature={signature}{}",
            super::router::ROOT,
            signed.dataset,
            signed.version,
            tree_path::encoded(&path),
            signed.expires,
            signed.key,
            if executable { "&executable=true" } else { "" },
        )
    };
    Some(SignedUrlView {
        method: method.as_str(),
        path: path.to_text(),
        url: at_bucket.unwrap_or_else(here),
        expires_at: Timestamp(signed.expires.saturating_mul(1_000_000)),
    })
}

/// What a signed URL says of itself, whatever it is for.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub dataset: &'a str,
    pub version: &'a str,
    /// Seconds since 1970.
    pub expires: i64,
    /// Id of the key that it was made with.
    pub key: &'a str,
    pub signature: &'a str,
}

/// Who may do it, with a URL that turned out to be good, and to which version.
pub struct Opened {
    pub caller: Caller,
    pub lease: Lease,
    pub dataset: DatasetRef,
    pub version: VersionRef,
}

/// Reads what a URL says that was signed for `purpose`, and its signature.
fn read(purpose: Purpose, shown: Shown<'_>) -> Result<(Signed, ContentHash), Problem> {
    let dataset: DatasetId = shown.dataset.parse().map_err(|_| not_good())?;
    let version: VersionId = shown.version.parse().map_err(|_| not_good())?;
    let key: KeyId = shown.key.parse().map_err(|_| not_good())?;
    let signature: ContentHash = shown.signature.parse().map_err(|_| not_good())?;
    Ok((Signed { purpose, dataset, version, expires: shown.expires, key }, signature))
}

/// Lets somebody who has a URL that was signed for `purpose` do that.
pub async fn open(services: &Services, purpose: Purpose, shown: Shown<'_>) -> Result<Opened, Problem> {
    let (signed, signature) = read(purpose, shown)?;
    let caller = services.signer(&signed, &signature).await?;
    let lease = Lease::of_key(Arc::new(services.clone()), signed.key);
    let (dataset, version) = (DatasetRef::Id(signed.dataset), VersionRef::Id(signed.version));
    Ok(Opened { caller, lease, dataset, version })
}

impl SignatureQuery {
    /// Returns what was shown in a URL that leads to a version.
    pub fn of<'a>(&'a self, dataset: &'a str, version: &'a str) -> Shown<'a> {
        Shown { dataset, version, expires: self.expires, key: &self.key, signature: &self.signature }
    }
}

/// Lets somebody who has a URL that was signed for one method on one file do that.
pub async fn open_file(
    services: &Services,
    method: SignedMethod,
    at: &TreePath,
    query: &SignatureQuery,
) -> Result<Opened, Problem> {
    let shown = query.of(&at.dataset, &at.version);
    open(services, Purpose::File { method, path: at.path.clone(), executable: query.executable }, shown).await
}

/// What a directory is to whoever asks for it as for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directories {
    Refused,
    /// Nothing, as in S3.
    Absent,
}

/// Sends what is asked of a file to somebody who has a URL that was signed for asking so.
pub async fn send(
    services: &Services,
    at: TreePath,
    query: &SignatureQuery,
    asked: &Asked,
    directories: Directories,
) -> Result<Response, Problem> {
    let TreePath { dataset, version, path, .. } = at;
    let method = if asked.method == Method::HEAD { SignedMethod::Head } else { SignedMethod::Get };
    let purpose = Purpose::File { method, path: path.clone(), executable: query.executable };
    let (signed, signature) = read(purpose, query.of(&dataset, &version))?;
    let found = match directories {
        Directories::Refused => services.open_signed_file(&signed, &signature, &path).await?,
        Directories::Absent => services.open_signed_object(&signed, &signature, &path).await?,
    };
    let lease = Lease::of_key(Arc::new(services.clone()), signed.key);
    dataset_files::send(found, &path, lease, false, asked).await
}

/// Fetch a file by a signed URL
#[utoipa::path(
    get, path = "/signed/{dataset}/{version}/{*path}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id"), ("version" = String, Path, description = "Id"),
        ("path" = String, Path, description = "Path of a file"), SignatureQuery,
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
    send(&services, at, &query, &asked, Directories::Refused).await
}

/// Look at a file by a signed URL
#[utoipa::path(
    head, path = "/signed/{dataset}/{version}/{*path}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id"), ("version" = String, Path, description = "Id"),
        ("path" = String, Path, description = "Path of a file"), SignatureQuery,
    ),
    responses((status = 200, description = "Its size and hash")),
)]
async fn head(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    send(&services, at, &query, &asked, Directories::Refused).await
}

/// Put a file by a signed URL
#[utoipa::path(
    put, path = "/signed/{dataset}/{version}/{*path}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id"), ("version" = String, Path, description = "Id"),
        ("path" = String, Path, description = "Path of the file"), SignatureQuery,
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file"),
    responses((status = 201, body = dataset_files::FileView), (status = 200, body = dataset_files::FileView)),
)]
async fn put(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let Opened { caller, lease, dataset, version } = open_file(&services, SignedMethod::Put, &at, &query).await?;
    dataset_files::receive(&services, &caller, lease, (dataset, version, at.path), query.executable, request).await
}

/// Remove a file by a signed URL
#[utoipa::path(
    delete, path = "/signed/{dataset}/{version}/{*path}", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id"), ("version" = String, Path, description = "Id"),
        ("path" = String, Path, description = "Path of a file"), SignatureQuery,
    ),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
) -> Result<Response, Problem> {
    let Opened { caller, dataset, version, .. } = open_file(&services, SignedMethod::Delete, &at, &query).await?;
    services.delete_one_file(&caller, dataset, version, at.path).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::{Answer, Api};

    /// Signs a call, and returns its URL without the origin.
    async fn signed(api: &Api, path: &str, method: &str, file: &str) -> String {
        let calls = json!({ "calls": [{ "method": method, "path": file, "expiresSeconds": 60 }] });
        let answer = api.ask("POST", &format!("{path}/signed-urls"), Some(calls)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let url = answer.body["urls"][0]["url"].as_str().unwrap();
        url.strip_prefix("http://localhost").unwrap().to_owned()
    }

    async fn use_it(api: &Api, method: &str, url: &str) -> Answer {
        api.send_bytes(method, url, &[], "signed").await
    }

    #[tokio::test]
    async fn a_signed_url_opens_one_method_on_one_file_and_nothing_else() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        api.put(&format!("{path}/files/other"), "other").await;
        let file = "dir/a b%\u{e9}";
        let put = signed(&api, &path, "PUT", file).await;
        assert_eq!(use_it(&api, "PUT", &put).await.status, 201);
        let get = signed(&api, &path, "GET", file).await;
        assert_eq!(use_it(&api, "GET", &get).await.text, "signed");
        let head = signed(&api, &path, "HEAD", file).await;
        assert_eq!(use_it(&api, "HEAD", &head).await.status, 200);

        for (method, url) in [("PUT", &get), ("HEAD", &get), ("DELETE", &put), ("GET", &put), ("GET", &head)] {
            assert_eq!(use_it(&api, method, url).await.status, 403, "{method} {url}");
        }
        let draft = api.draft("d").await;
        let other = |url: &str| url.replace(path.rsplit('/').next().unwrap(), draft.rsplit('/').next().unwrap());
        let expires = get.split("expires=").nth(1).unwrap().split('&').next().unwrap();
        for url in [
            get.replace("dir/", "dir2/"),
            get.replace("/dir/a%20b%25%C3%A9?", "/other?"),
            other(&get),
            get.replace(expires, &(expires.parse::<i64>().unwrap() + 1).to_string()),
            get.replace("signature=", "signature=0"),
            get[..get.len() - 1].to_owned() + if get.ends_with('0') { "1" } else { "0" },
            get.replace("key=k", "key=j"),
        ] {
            assert!(matches!(use_it(&api, "GET", &url).await.status.as_u16(), 400 | 403 | 404), "{url}");
        }
        assert_eq!(use_it(&api, "PUT", &format!("{put}&executable=true")).await.status, 403);
        let delete = signed(&api, &path, "DELETE", "dir").await;
        assert_eq!(use_it(&api, "DELETE", &delete).await.status, 404);
        let delete = signed(&api, &path, "DELETE", file).await;
        assert_eq!(use_it(&api, "DELETE", &delete).await.status, 204);
        assert_eq!(use_it(&api, "GET", &get).await.problem(), (404, "file_not_found"));
    }

    #[tokio::test]
    async fn a_signed_url_ends_with_the_key_that_made_it() {
        let api = Api::new().await;
        let path = api.committed("d", &[("a", "1")]).await;
        let made = api.ask("POST", "keys", Some(json!({ "name": "r", "scope": "read" }))).await.body;
        let reader = format!("Bearer {}", made["key"].as_str().unwrap());
        let sign = |method: &str| {
            let body = json!({ "calls": [{ "method": method, "path": "a" }] });
            let (path, reader, api) = (format!("{path}/signed-urls"), reader.clone(), &api);
            async move { api.send("POST", &path, &[("authorization", &reader)], Some(body)).await }
        };
        assert_eq!(sign("PUT").await.status, 403);
        let url = sign("GET").await.body["urls"][0]["url"].as_str().unwrap().replace("http://localhost", "");
        assert_eq!(use_it(&api, "GET", &url).await.text, "1");
        api.ask("DELETE", &format!("keys/{}", made["id"].as_str().unwrap()), None).await;
        assert_eq!(use_it(&api, "GET", &url).await.problem(), (403, "forbidden"));
    }

    #[tokio::test]
    async fn what_may_not_be_signed_is_said_so() {
        let api = Api::new().await;
        let path = api.committed("d", &[("a", "1")]).await;
        let sign = |call: serde_json::Value| {
            let api = &api;
            let path = format!("{path}/signed-urls");
            async move { api.ask("POST", &path, Some(json!({ "calls": [call] }))).await }
        };
        for (call, problem) in [
            (json!({ "method": "PUT", "path": "a" }), (409, "version_committed")),
            (json!({ "method": "POST", "path": "a" }), (422, "bad_method")),
            (json!({ "method": "GET", "path": "../a" }), (422, "bad_path")),
            (json!({ "method": "GET", "path": "a", "expiresSeconds": 0 }), (422, "out_of_range")),
            (json!({ "method": "GET", "path": "a", "expiresSeconds": 86401 }), (422, "out_of_range")),
        ] {
            assert_eq!(sign(call.clone()).await.problem(), problem, "{call}");
        }
    }
}
