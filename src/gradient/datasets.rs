//! `datasets`: list, create, details, update, delete.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    filter::Filter,
    pages::{self, PAGE},
    storage_providers::S3,
    versions::VersionView,
};
use crate::{
    api::{self, Path, Problem},
    domain::{
        caller::Caller,
        dataset::{Dataset, DatasetRef, Reference, VersionRef},
        id::{DatasetId, ProviderId},
        time::Timestamp,
        user_path::shown,
    },
    service::{
        ServiceError, Services,
        datasets::{DatasetChange, DatasetDraft},
    },
};

/// A dataset to be made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetWire {
    name: String,
    description: Option<String>,
    storage_provider_id: Option<String>,
}

/// What of a dataset is to be different.
#[derive(Debug, Default, Deserialize)]
pub struct DatasetChangeWire {
    name: Option<String>,
    description: Option<String>,
}

/// A dataset as the client reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetView {
    id: DatasetId,
    name: String,
    description: String,
    storage_provider: ProviderLabel,
    dt_created: Timestamp,
}

/// Where a dataset lies. Its place is told by the provider's own details.
#[derive(Debug, Serialize)]
struct ProviderLabel {
    id: ProviderId,
    name: String,
    r#type: &'static str,
    config: Value,
}

impl From<Dataset> for DatasetView {
    fn from(dataset: Dataset) -> Self {
        let provider =
            ProviderLabel { id: dataset.provider, name: dataset.provider_name, r#type: S3, config: json!({}) };
        Self {
            id: dataset.id,
            name: dataset.name,
            description: dataset.description,
            storage_provider: provider,
            dt_created: dataset.created_at,
        }
    }
}

/// A dataset with the version that a reference means.
#[derive(Debug, Serialize)]
pub struct ReferenceView {
    #[serde(flatten)]
    dataset: DatasetView,
    version: VersionView,
}

/// What is made, by its id.
#[derive(Debug, Serialize)]
pub struct Made {
    id: DatasetId,
}

/// Reads the dataset that a path names. What cannot be a reference names nothing.
pub fn named(text: &str) -> Result<DatasetRef, Problem> {
    text.parse().map_err(|_| ServiceError::not_found("dataset", shown(text.as_bytes())).into())
}

/// Reads the dataset and the version, or its tag, that a path names.
pub fn both((dataset, version): &(String, String)) -> Result<(DatasetRef, VersionRef), Problem> {
    let version = version.parse().map_err(|_| ServiceError::not_found("version", shown(version.as_bytes())))?;
    Ok((named(dataset)?, version))
}

/// Lists the team's datasets by name.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    filter: Filter,
) -> Result<Json<Vec<DatasetView>>, Problem> {
    let read = |before| services.datasets(&caller, None, before, PAGE);
    let mut found = pages::all(read, |dataset| dataset.seq).await?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Json(filter.cut(found).into_iter().map(DatasetView::from).collect()))
}

/// Makes a dataset, on the disk of this box when no provider is named.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    api::Json(new): api::Json<DatasetWire>,
) -> Result<Json<Made>, Problem> {
    let draft =
        DatasetDraft { name: new.name, description: new.description, provider: new.storage_provider_id, public: false };
    Ok(Json(Made { id: services.create_dataset(&caller, draft).await?.id }))
}

/// Returns a dataset.
pub async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
) -> Result<Json<DatasetView>, Problem> {
    Ok(Json(services.dataset(&caller, named(&dataset)?).await?.into()))
}

/// Returns the dataset and version that a reference means, such as `ID:TAG`.
pub async fn reference(
    State(services): State<Services>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Json<ReferenceView>, Problem> {
    let missing = |_| ServiceError::not_found("dataset", shown(text.as_bytes()));
    let reference: Reference = text.parse().map_err(missing)?;
    let now = services.resolve(&caller, reference).await?;
    Ok(Json(ReferenceView { dataset: now.dataset.into(), version: now.version.into() }))
}

/// Changes a dataset's name or description.
pub async fn update(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    change: Option<api::Json<DatasetChangeWire>>,
) -> Result<Json<Value>, Problem> {
    let change = change.map(|api::Json(change)| change).unwrap_or_default();
    let change = DatasetChange { name: change.name, description: change.description, public: None };
    services.change_dataset(&caller, named(&dataset)?, change).await?;
    Ok(Json(json!({})))
}

/// Deletes a dataset with its versions, unless something uses one.
pub async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
) -> Result<Json<Value>, Problem> {
    services.delete_dataset(&caller, named(&dataset)?, false).await?;
    Ok(Json(json!({})))
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use crate::{
        domain::caller::Scope,
        gradient::router::tests::{Cloud, printed},
    };

    impl Cloud {
        /// Makes a dataset and begins a version of it; returns the version's path.
        pub async fn draft(&self, name: &str) -> String {
            let made = self.ask("POST", "/datasets", Some(json!({ "name": name }))).await;
            let id = made.body["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned();
            let begun = self.ask("POST", &format!("/datasets/{id}/versions"), Some(json!({}))).await;
            format!("/datasets/{id}/versions/{}", begun.body["version"].as_str().unwrap())
        }
    }

    #[tokio::test]
    async fn a_dataset_is_made_listed_by_name_described_and_deleted() {
        let cloud = Cloud::new().await;
        let provider = cloud.get("/storageProviders").await[0]["id"].clone();
        for name in ["zebra", "ant"] {
            let new = json!({ "name": name, "storageProviderId": provider, "description": null, "more": 1 });
            assert_eq!(cloud.ask("POST", "/datasets", Some(new)).await.status, 200);
        }
        let list = cloud.get("/datasets?filter[limit]=21&filter[skip]=0&filter[order][]=name+ASC").await;
        assert_eq!((&list[0]["name"], &list[1]["name"]), (&json!("ant"), &json!("zebra")));
        assert_eq!(cloud.get("/datasets?filter[limit]=21&filter[skip]=1").await[0]["name"], "zebra");
        assert_eq!((&list[0]["storageProvider"]["id"], &list[0]["storageProvider"]["type"]), (&provider, &json!("s3")));
        let path = format!("/datasets/{}", list[0]["id"].as_str().unwrap());
        let changed = cloud.ask("POST", &path, Some(json!({ "description": "six legs" }))).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!(cloud.get(&path).await["description"], "six legs");
        assert_eq!(cloud.ask("DELETE", &path, None).await.status, 200);
        let gone = cloud.ask("GET", &path, None).await;
        assert!(printed(&gone).0 == 404 && printed(&gone).1.contains("there is no dataset"), "{}", gone.text);
    }

    #[tokio::test]
    async fn a_reference_means_a_dataset_and_one_version() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        let (dataset, version) = version.split_once("/versions/").unwrap();
        let id = dataset.trim_start_matches("/datasets/");
        let tag = cloud.ask("PUT", &format!("{dataset}/tags/prod"), Some(json!({ "version": version }))).await;
        assert_eq!(tag.status, 200, "{}", tag.text);
        for reference in [format!("{id}:prod"), format!("{id}:{version}"), "d:prod".to_owned()] {
            let found = cloud.get(&format!("/datasets/ref/{reference}")).await;
            assert_eq!((&found["id"], &found["version"]["version"]), (&json!(id), &json!(version)), "{reference}");
        }
        for nothing in [format!("{id}:other"), id.to_owned(), "a%2Fb".to_owned(), ":".to_owned()] {
            let answer = cloud.ask("GET", &format!("/datasets/ref/{nothing}"), None).await;
            assert_eq!(printed(&answer).0, 404, "{nothing}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_and_what_is_anothers_is_not_there() {
        let cloud = Cloud::new().await;
        for (body, words) in [
            (json!({}), "name"),
            (json!({ "name": "a/b" }), "the name"),
            (json!({ "name": "a", "storageProviderId": "nowhere" }), "no storage provider"),
            (json!({ "name": 5 }), "name"),
        ] {
            let answer = cloud.ask("POST", "/datasets", Some(body)).await;
            let (status, said) = printed(&answer);
            assert!(status == 422 && said.contains(words), "{}", answer.text);
        }
        let version = cloud.draft("d").await;
        let key = cloud.0.stranger(Scope::Admin).await;
        let key = key.trim_start_matches("Bearer ");
        let dataset = version.split_once("/versions").unwrap().0;
        for (method, path) in [
            ("GET", dataset.to_owned()),
            ("POST", dataset.to_owned()),
            ("DELETE", dataset.to_owned()),
            ("GET", format!("{dataset}/versions")),
            ("POST", format!("{dataset}/versions")),
            ("GET", version.clone()),
            ("POST", version.clone()),
            ("DELETE", version.clone()),
            ("GET", format!("{dataset}/tags")),
            ("GET", format!("{dataset}/tags/x")),
            ("DELETE", format!("{dataset}/tags/x")),
        ] {
            assert_eq!(printed(&cloud.ask_as(key, method, &path, None).await).0, 404, "{method} {path}");
        }
        let calls = json!({ "calls": [{ "method": "listObjectsV2", "params": { "Prefix": "/" } }] });
        let signed = cloud.ask_as(key, "POST", &format!("{version}/s3/preSignedUrls"), Some(calls)).await;
        assert_eq!(printed(&signed).0, 404, "{}", signed.text);
    }
}
