//! `storageProviders`: list, details, create, update, delete.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    filter::Filter,
    pages::{self, PAGE},
};
use crate::{
    api::{self, Path, Problem},
    auth::Secret,
    domain::{
        caller::Caller,
        id::ProviderId,
        storage_provider::{S3Place, StorageProvider},
    },
    service::{
        Services,
        storage_providers::{NewProvider, ProviderChange},
    },
};

/// What the client calls a provider whose files it can put and get. Ours all are: to it, the disk of
/// this box is a bucket, too.
pub const S3: &str = "s3";

/// Where a bucket is when nobody says.
const USUAL_REGION: &str = "us-east-1";

/// An S3 provider to be added.
#[derive(Deserialize)]
pub struct ProviderWire {
    r#type: String,
    name: String,
    config: ConfigWire,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigWire {
    bucket: String,
    access_key: String,
    secret_access_key: Secret<String>,
    endpoint: Option<String>,
    region: Option<String>,
}

/// What of an S3 provider is to be another way.
#[derive(Deserialize)]
pub struct ProviderChangeWire {
    name: Option<String>,
    config: Option<ConfigChangeWire>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigChangeWire {
    bucket: Option<String>,
    access_key: Option<String>,
    secret_access_key: Option<Secret<String>>,
    endpoint: Option<String>,
    region: Option<String>,
}

/// A provider as the client reads it, and prints all of it: so never its secret key.
#[derive(Debug, Serialize)]
pub struct ProviderView {
    id: ProviderId,
    name: String,
    r#type: &'static str,
    config: Map<String, Value>,
}

impl From<StorageProvider> for ProviderView {
    fn from(provider: StorageProvider) -> Self {
        let mut config = Map::new();
        if let Some(place) = provider.s3 {
            config.insert("bucket".to_owned(), place.bucket.into());
            config.insert("accessKey".to_owned(), place.access_key_id.into());
            config.insert("region".to_owned(), place.region.into());
            config.extend(place.endpoint.map(|endpoint| ("endpoint".to_owned(), endpoint.into())));
        }
        Self { id: provider.id, name: provider.name, r#type: S3, config }
    }
}

/// What is made, by its id.
#[derive(Debug, Serialize)]
pub struct Made {
    id: ProviderId,
}

/// Reads an endpoint, of which an empty one stands for AWS itself.
fn endpoint(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// Lists storage providers by name.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    filter: Filter,
) -> Result<Json<Vec<ProviderView>>, Problem> {
    let read = |before| services.providers(&caller, before, PAGE);
    let mut found = pages::all(read, |provider| provider.seq).await?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Json(filter.cut(found).into_iter().map(ProviderView::from).collect()))
}

/// Adds an S3 provider, after trying it.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    api::Json(new): api::Json<ProviderWire>,
) -> Result<Json<Made>, Problem> {
    if new.r#type != S3 {
        return Err(Problem::invalid("bad_type", "type", "a storage provider that can be added is of type s3"));
    }
    let endpoint = endpoint(new.config.endpoint);
    let place = S3Place {
        path_style: endpoint.is_some(),
        bucket: new.config.bucket,
        endpoint,
        region: new.config.region.unwrap_or_else(|| USUAL_REGION.to_owned()),
        access_key_id: new.config.access_key,
    };
    let new = NewProvider { name: new.name, place, secret_key: new.config.secret_access_key };
    Ok(Json(Made { id: services.create_provider(&caller, new).await?.id }))
}

/// Returns a storage provider.
pub async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProviderId>,
) -> Result<Json<ProviderView>, Problem> {
    Ok(Json(services.provider(&caller, &id).await?.into()))
}

/// Changes an S3 provider, after trying what is new.
pub async fn update(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProviderId>,
    api::Json(change): api::Json<ProviderChangeWire>,
) -> Result<Json<Value>, Problem> {
    let config = change.config.unwrap_or_default();
    let place = config.endpoint.map(|text| endpoint(Some(text)));
    let change = ProviderChange {
        name: change.name,
        bucket: config.bucket,
        path_style: place.as_ref().map(Option::is_some),
        endpoint: place,
        region: config.region,
        access_key_id: config.access_key,
        secret_key: config.secret_access_key,
    };
    services.change_provider(&caller, &id, change).await?;
    Ok(Json(json!({})))
}

/// Deletes an S3 provider.
pub async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProviderId>,
) -> Result<Json<Value>, Problem> {
    services.delete_provider(&caller, &id).await?;
    Ok(Json(json!({})))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn the_disk_of_this_box_looks_like_a_bucket_and_stays_as_it_is() {
        let cloud = Cloud::new().await;
        let list = cloud.get("/storageProviders?filter[limit]=21&filter[skip]=0&filter[order][]=name+ASC").await;
        assert_eq!(list[0]["type"], "s3");
        assert_eq!(list[0]["config"], json!({}));
        let path = format!("/storageProviders/{}", list[0]["id"].as_str().unwrap());
        assert_eq!(cloud.get(&path).await, list[0]);
        let changed = cloud.ask("POST", &path, Some(json!({ "config": { "bucket": "b" } }))).await;
        let (status, words) = printed(&changed);
        assert!(status == 409 && words.contains("storage of this box itself"), "{}", changed.text);
        assert_eq!(printed(&cloud.ask("DELETE", &path, None).await).0, 409);
        assert_eq!(printed(&cloud.ask("GET", "/storageProviders/nonsense", None).await).0, 404);
    }

    #[tokio::test]
    async fn what_cannot_be_added_is_said_and_its_key_is_not() {
        let cloud = Cloud::new().await;
        let whole = json!({
            "bucket": "files", "accessKey": "AKIA0", "secretAccessKey": "swordfish",
            "endpoint": "http://127.0.0.1:1", "signatureVersion": "v4",
        });
        for (kind, change, words) in [
            ("s3", json!({}), "cannot be reached"),
            ("gcs", json!({}), "type s3"),
            ("s3", json!({ "bucket": null }), "bucket"),
            ("s3", json!({ "secretAccessKey": ["swordfish"] }), "secretAccessKey"),
            ("s3", json!({ "endpoint": "swordfish" }), "an endpoint is a URL"),
        ] {
            let mut config = whole.clone();
            config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let body = json!({ "type": kind, "name": "x", "config": config });
            let answer = cloud.ask("POST", "/storageProviders", Some(body)).await;
            let (status, said) = printed(&answer);
            assert!(status == 422 && said.contains(words) && !said.contains("swordfish"), "{}", answer.text);
        }
    }
}
