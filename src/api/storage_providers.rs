//! `/storage-providers`: where the files of datasets lie.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem};
use crate::{
    auth::Secret,
    domain::{
        caller::Caller,
        id::ProviderId,
        storage_provider::{S3Place, StorageProvider},
        time::Timestamp,
    },
    service::{
        Services,
        storage_providers::{NewProvider, ProviderChange},
    },
};

/// The routes of storage providers.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change, delete)).routes(routes!(check))
}

/// The kinds of providers that can be added.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddedKind {
    S3,
}

/// A bucket of an S3-compatible service, to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewStorageProvider {
    /// 1 to 128 characters; no other storage provider of the team has it.
    name: String,
    /// `s3`.
    #[serde(rename = "type")]
    kind: AddedKind,
    bucket: String,
    /// URL of the service, such as `https://s3.example.com`; AWS itself when left out.
    endpoint: Option<String>,
    /// `us-east-1` when left out.
    region: Option<String>,
    /// Whether the bucket is in the path (`https://host/bucket`) and not in the host name. When left
    /// out: yes with an endpoint, no for AWS.
    path_style: Option<bool>,
    access_key_id: String,
    /// No answer ever shows it.
    #[schema(value_type = String)]
    secret_access_key: Secret<String>,
}

/// What is to be another way. What is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StorageProviderChange {
    name: Option<String>,
    bucket: Option<String>,
    /// `null` for AWS itself.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    endpoint: Option<Option<String>>,
    region: Option<String>,
    path_style: Option<bool>,
    access_key_id: Option<String>,
    #[schema(value_type = Option<String>)]
    secret_access_key: Option<Secret<String>>,
}

/// Tells `null` from a field that is left out.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What is known of a storage provider: never its secret key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageProviderView {
    #[schema(value_type = String, example = "spl3v54dfgz1zcu")]
    id: ProviderId,
    name: String,
    /// `managed` (the disk of this box) or `s3`.
    r#type: &'static str,
    bucket: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    path_style: Option<bool>,
    access_key_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When it was last written to, read and deleted from, as a check.
    #[schema(value_type = Option<String>, format = DateTime)]
    checked_at: Option<Timestamp>,
    /// What was wrong then.
    check_error: Option<String>,
}

impl From<StorageProvider> for StorageProviderView {
    fn from(provider: StorageProvider) -> Self {
        let (bucket, endpoint, region, path_style, access_key_id) = match provider.s3 {
            Some(s3) => (Some(s3.bucket), s3.endpoint, Some(s3.region), Some(s3.path_style), Some(s3.access_key_id)),
            None => (None, None, None, None, None),
        };
        Self {
            id: provider.id,
            name: provider.name,
            r#type: provider.kind.as_str(),
            bucket,
            endpoint,
            region,
            path_style,
            access_key_id,
            created_at: provider.created_at,
            updated_at: provider.updated_at,
            checked_at: provider.checked_at,
            check_error: provider.check_error,
        }
    }
}

/// Lists storage providers, newest first. The disk of this box is always among them.
#[utoipa::path(
    get, path = "/storage-providers", tag = "storage", params(PageQuery),
    responses((status = 200, body = Page<StorageProviderView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    page: Paged,
) -> Result<Json<Page<StorageProviderView>>, Problem> {
    let providers = services.providers(&caller, page.before()?, page.limit + 1).await?;
    Ok(Json(Page::cut(providers, page.limit, |provider| provider.seq).map(StorageProviderView::from)))
}

/// Adds an S3 provider, after writing, reading and deleting something there.
#[utoipa::path(
    post, path = "/storage-providers", tag = "storage", request_body = NewStorageProvider,
    responses(
        (status = 201, body = StorageProviderView),
        (status = 422, description = "It cannot be worked with, and why: `provider_check_failed`"),
    ),
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Json(new): Json<NewStorageProvider>,
) -> Result<(StatusCode, Json<StorageProviderView>), Problem> {
    let AddedKind::S3 = new.kind;
    let place = S3Place {
        path_style: new.path_style.unwrap_or(new.endpoint.is_some()),
        bucket: new.bucket,
        endpoint: new.endpoint,
        region: new.region.unwrap_or_else(|| "us-east-1".to_owned()),
        access_key_id: new.access_key_id,
    };
    let new = NewProvider { name: new.name, place, secret_key: new.secret_access_key };
    Ok((StatusCode::CREATED, Json(services.create_provider(&caller, new).await?.into())))
}

/// Returns a storage provider.
#[utoipa::path(
    get, path = "/storage-providers/{id}", tag = "storage",
    params(("id" = String, Path, description = "The storage provider's id")),
    responses((status = 200, body = StorageProviderView)),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProviderId>,
) -> Result<Json<StorageProviderView>, Problem> {
    Ok(Json(services.provider(&caller, &id).await?.into()))
}

/// Changes an S3 provider. Another place or key is tried first; the files of its datasets are not moved.
#[utoipa::path(
    patch, path = "/storage-providers/{id}", tag = "storage",
    params(("id" = String, Path, description = "The storage provider's id")), request_body = StorageProviderChange,
    responses(
        (status = 200, body = StorageProviderView),
        (status = 409, description = "It is the disk of this box: `managed_provider`"),
        (status = 422, description = "It could not be worked with, and why: `provider_check_failed`"),
    ),
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProviderId>,
    Json(change): Json<StorageProviderChange>,
) -> Result<Json<StorageProviderView>, Problem> {
    let change = ProviderChange {
        name: change.name,
        bucket: change.bucket,
        endpoint: change.endpoint,
        region: change.region,
        path_style: change.path_style,
        access_key_id: change.access_key_id,
        secret_key: change.secret_access_key,
    };
    Ok(Json(services.change_provider(&caller, &id, change).await?.into()))
}

/// Writes, reads and deletes something on a storage provider; `checkError` says what was wrong.
#[utoipa::path(
    post, path = "/storage-providers/{id}/check", tag = "storage",
    params(("id" = String, Path, description = "The storage provider's id")),
    responses((status = 200, body = StorageProviderView)),
)]
async fn check(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProviderId>,
) -> Result<Json<StorageProviderView>, Problem> {
    Ok(Json(services.check_provider(&caller, &id).await?.into()))
}

/// Deletes an S3 provider. What lies in its bucket stays there.
#[utoipa::path(
    delete, path = "/storage-providers/{id}", tag = "storage",
    params(("id" = String, Path, description = "The storage provider's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Datasets are on it: `in_use`; or it is the disk of this box: `managed_provider`"),
    ),
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProviderId>,
) -> Result<StatusCode, Problem> {
    services.delete_provider(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::router::tests::Api;

    /// A place where nobody listens.
    fn nowhere(change: Value) -> Value {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut body = json!({
            "name": "s3", "type": "s3", "bucket": "files", "endpoint": format!("http://127.0.0.1:{port}"),
            "accessKeyId": "AKIA0", "secretAccessKey": "swordfish",
        });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    }

    #[tokio::test]
    async fn the_disk_of_this_box_is_always_there_and_stays_as_it_is() {
        let api = Api::new().await;
        let list = api.ask("GET", "storage-providers", None).await;
        assert_eq!(list.status, 200, "{}", list.text);
        assert_eq!(api.ask("GET", "storage-providers", None).await.body, list.body);
        insta::assert_snapshot!("storage_provider", serde_json::to_string_pretty(&list.body["items"][0]).unwrap());
        let path = format!("storage-providers/{}", list.body["items"][0]["id"].as_str().unwrap());
        assert_eq!(api.ask("GET", &path, None).await.body, list.body["items"][0]);
        let changed = api.ask("PATCH", &path, Some(json!({ "name": "mine" }))).await;
        assert_eq!((changed.status.as_u16(), &changed.body["code"]), (409, &json!("managed_provider")));
        assert_eq!(api.ask("DELETE", &path, None).await.body["code"], "managed_provider");
        let checked = api.ask("POST", &format!("{path}/check"), None).await;
        assert_eq!(checked.status, 200, "{}", checked.text);
        assert_eq!(checked.body["checkError"], Value::Null);
        assert_ne!(checked.body["checkedAt"], Value::Null);
    }

    #[tokio::test]
    async fn a_place_that_nobody_answers_at_is_refused_in_words_without_the_key() {
        let api = Api::new().await;
        let answer = api.ask("POST", "storage-providers", Some(nowhere(json!({})))).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (422, &json!("provider_check_failed")));
        assert_eq!(answer.body["field"], "endpoint");
        assert!(answer.text.contains("cannot be reached") && answer.text.contains("refused"), "{}", answer.text);
        assert!(!answer.text.contains("swordfish"));
    }

    #[tokio::test]
    async fn a_refusal_does_not_repeat_the_secret_key() {
        let api = Api::new().await;
        for (change, field) in [
            (json!({ "endpoint": "http://user:swordfish@host" }), "endpoint"),
            (json!({ "bucket": "swordfish/" }), "bucket"),
            (json!({ "accessKeyId": "swordfish/" }), "accessKeyId"),
            (json!({ "secretAccessKey": "swordfish\n" }), "secretAccessKey"),
            (json!({ "secretAccessKey": ["swordfish"] }), "secretAccessKey"),
            (json!({ "name": "" }), "name"),
            (json!({ "type": "gcs" }), "type"),
        ] {
            let answer = api.ask("POST", "storage-providers", Some(nowhere(change))).await;
            assert_eq!((answer.status.as_u16(), &answer.body["field"]), (422, &json!(field)), "{}", answer.text);
            assert!(!answer.text.contains("swordfish"), "{}", answer.text);
        }
    }

    #[tokio::test]
    async fn only_an_admin_adds_or_checks_a_provider() {
        let api = Api::new().await;
        let body = json!({ "name": "ci", "scope": "write" });
        let key = api.ask("POST", "keys", Some(body)).await.body["key"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        let list = api.send("GET", "storage-providers", &headers, None).await;
        let id = list.body["items"][0]["id"].as_str().unwrap();
        for (method, path, body) in [
            ("POST", "storage-providers".to_owned(), Some(nowhere(json!({})))),
            ("POST", format!("storage-providers/{id}/check"), None),
            ("PATCH", format!("storage-providers/{id}"), Some(json!({ "name": "x" }))),
            ("DELETE", format!("storage-providers/{id}"), None),
        ] {
            assert_eq!(api.send(method, &path, &headers, body).await.status, 403, "{method} {path}");
        }
    }
}
