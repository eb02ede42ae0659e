//! `/datasets`: files that belong together, in versions.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem, Query};
use crate::{
    domain::{
        caller::Caller,
        dataset::{Dataset, DatasetRef, Reference},
        id::{DatasetId, ProviderId, VersionId},
        time::Timestamp,
    },
    service::{
        Services,
        datasets::{DatasetChange, DatasetDraft},
        references,
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(resolve)).routes(routes!(get, change, delete))
}

/// A dataset.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DatasetView {
    #[schema(value_type = String, example = "dst364npcw6ccok")]
    id: DatasetId,
    name: String,
    description: String,
    /// Whether every team may read it, as `gradient/NAME`.
    public: bool,
    storage_provider: ProviderLabel,
    /// Who made it.
    user: String,
    /// How many versions it has.
    versions: u64,
    /// The newest committed version.
    #[schema(value_type = Option<String>)]
    latest: Option<VersionId>,
    /// Bytes of all committed versions together, equal files counted each time.
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Where a dataset's files lie.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProviderLabel {
    #[schema(value_type = String)]
    id: ProviderId,
    name: String,
    /// `managed` or `s3`.
    r#type: &'static str,
}

impl From<Dataset> for DatasetView {
    fn from(dataset: Dataset) -> Self {
        Self {
            id: dataset.id,
            name: dataset.name,
            description: dataset.description,
            public: dataset.public,
            storage_provider: ProviderLabel {
                id: dataset.provider,
                name: dataset.provider_name,
                r#type: dataset.provider_kind.as_str(),
            },
            user: dataset.user_name,
            versions: dataset.versions,
            latest: dataset.latest,
            bytes: dataset.bytes,
            created_at: dataset.created_at,
            updated_at: dataset.updated_at,
        }
    }
}

/// A dataset to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateDataset {
    /// Letters, digits, `-`, `_` and `.`; no other dataset of the team has it.
    name: String,
    description: Option<String>,
    /// Id or name of a storage provider; the disk of this box when left out.
    storage_provider: Option<String>,
    /// Whether every team may read it, as `gradient/NAME`. Needs the scope `admin`.
    #[serde(default)]
    public: bool,
}

/// What is to be different.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangeDataset {
    name: Option<String>,
    description: Option<String>,
    /// Needs the scope `admin`.
    public: Option<bool>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DatasetsQuery {
    /// Only datasets that have this in their name.
    q: Option<String>,
}

/// Whether something that is in use goes all the same.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// Delete it although something uses it: what runs keeps its files, what waits will fail.
    #[serde(default)]
    pub force: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ResolveQuery {
    /// `ID`, `NAME` or `gradient/NAME`, perhaps with `:latest`, `:VERSION` or `:TAG` behind it.
    r#ref: String,
}

/// Reads the dataset that a path names.
pub(super) fn named(text: &str) -> Result<DatasetRef, Problem> {
    // What cannot be a reference names nothing.
    text.parse().map_err(|_| crate::service::ServiceError::not_found("dataset", shown(text)).into())
}

pub(super) fn shown(text: &str) -> String {
    crate::domain::user_path::shown(text.as_bytes())
}

/// List datasets
///
/// Those of your team, newest first.
#[utoipa::path(
    get, path = "/datasets", tag = "datasets", params(DatasetsQuery, PageQuery),
    responses((status = 200, body = Page<DatasetView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    page: Paged<DatasetsQuery>,
) -> Result<Json<Page<DatasetView>>, Problem> {
    let before = page.before()?;
    let part = page.filter.q.filter(|part| !part.is_empty());
    let datasets = services.datasets(&caller, part, before, page.limit + 1).await?;
    Ok(Json(Page::cut(datasets, page.limit, |dataset| dataset.seq).map(DatasetView::from)))
}

/// Make a dataset
#[utoipa::path(
    post, path = "/datasets", tag = "datasets", request_body = CreateDataset,
    responses(
        (status = 201, body = DatasetView),
        (status = 409, description = "There is one of that name: `name_taken`"),
    ),
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Json(new): Json<CreateDataset>,
) -> Result<(StatusCode, Json<DatasetView>), Problem> {
    let draft = DatasetDraft {
        name: new.name,
        description: new.description,
        provider: new.storage_provider,
        public: new.public,
    };
    Ok((StatusCode::CREATED, Json(services.create_dataset(&caller, draft).await?.into())))
}

/// Find the version that a reference means
#[utoipa::path(
    get, path = "/datasets/resolve", tag = "datasets", params(ResolveQuery),
    responses(
        (status = 200, body = super::versions::VersionView),
        (status = 422, description = "It is no reference: `bad_reference`"),
    ),
)]
async fn resolve(
    State(services): State<Services>,
    caller: Caller,
    Query(query): Query<ResolveQuery>,
) -> Result<Json<super::versions::VersionView>, Problem> {
    let named: Reference = references::parse("ref", &query.r#ref)?;
    Ok(Json(services.resolve(&caller, named).await?.into()))
}

/// Return a dataset
#[utoipa::path(
    get, path = "/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped")),
    responses((status = 200, body = DatasetView)),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
) -> Result<Json<DatasetView>, Problem> {
    Ok(Json(services.dataset(&caller, named(&dataset)?).await?.into()))
}

/// Change a dataset
///
/// Its name, its description, or who may read it.
#[utoipa::path(
    patch, path = "/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name")),
    request_body = ChangeDataset, responses((status = 200, body = DatasetView)),
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    Json(change): Json<ChangeDataset>,
) -> Result<Json<DatasetView>, Problem> {
    let change = DatasetChange { name: change.name, description: change.description, public: change.public };
    Ok(Json(services.change_dataset(&caller, named(&dataset)?, change).await?.into()))
}

/// Delete a dataset
///
/// With all of its versions. Their files go when nothing mounts them any more.
#[utoipa::path(
    delete, path = "/datasets/{dataset}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), DeleteQuery),
    responses(
        (status = 204, description = "It is gone, with all versions"),
        (status = 409, description = "Something uses it: `in_use`"),
    ),
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Problem> {
    services.delete_dataset(&caller, named(&dataset)?, query.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{api::router::tests::Api, domain::caller::Scope};

    #[tokio::test]
    async fn a_dataset_is_made_found_by_any_name_changed_and_deleted() {
        let api = Api::new().await;
        let made =
            api.ask("POST", "datasets", Some(json!({ "name": "mnist", "description": "digits\nby hand" }))).await;
        assert_eq!(made.status, 201, "{}", made.text);
        insta::assert_snapshot!("dataset", serde_json::to_string_pretty(&made.body).unwrap());
        let again = api.ask("POST", "datasets", Some(json!({ "name": "mnist" }))).await;
        assert_eq!(again.problem(), (409, "name_taken"));

        let id = made.body["id"].as_str().unwrap();
        for named in [id, "mnist"] {
            assert_eq!(api.ask("GET", &format!("datasets/{named}"), None).await.body, made.body);
        }
        api.ask("POST", "datasets", Some(json!({ "name": "cifar" }))).await;
        let taken = api.ask("PATCH", "datasets/mnist", Some(json!({ "name": "cifar" }))).await;
        assert_eq!(taken.problem(), (409, "name_taken"));
        let found = api.ask("GET", "datasets?q=MNI", None).await;
        assert_eq!(found.body["items"].as_array().unwrap().len(), 1, "{}", found.text);

        let renamed = api.ask("PATCH", "datasets/mnist", Some(json!({ "name": "digits" }))).await;
        assert_eq!((&renamed.body["name"], &renamed.body["id"]), (&json!("digits"), &json!(id)));
        assert_eq!(api.ask("GET", "datasets/mnist", None).await.problem(), (404, "dataset_not_found"));
        assert_eq!(api.ask("DELETE", "datasets/digits", None).await.status, 204);
        assert_eq!(api.ask("GET", &format!("datasets/{id}"), None).await.problem(), (404, "dataset_not_found"));
        assert_eq!(api.ask("POST", "datasets", Some(json!({ "name": "digits" }))).await.status, 201);
    }

    #[tokio::test]
    async fn a_name_that_could_be_a_reference_or_a_path_is_refused() {
        let api = Api::new().await;
        for name in ["", "a/b", "..", "ds0123456789abc", "a:b", "a b", "gradient/x", "a\n"] {
            let made = api.ask("POST", "datasets", Some(json!({ "name": name }))).await;
            assert_eq!(made.problem(), (422, "bad_name"), "{name}");
        }
        let unknown = api.ask("POST", "datasets", Some(json!({ "name": "a", "storageProvider": "none" }))).await;
        assert_eq!(unknown.problem(), (422, "unknown_storage_provider"));
    }

    #[tokio::test]
    async fn another_teams_dataset_is_not_there_until_it_is_public() {
        let api = Api::new().await;
        let version = api.committed("mnist", &[("a", "1")]).await;
        let id = api.ask("GET", "datasets/mnist", None).await.body["id"].as_str().unwrap().to_owned();
        let draft = api.draft("mnist").await;
        let stranger = api.stranger(Scope::Admin).await;
        let key = [("authorization", stranger.as_str())];
        let of = |path: &str| path.replace("datasets/mnist", &format!("datasets/{id}"));
        let writes = [("PATCH", format!("datasets/{id}")), ("DELETE", format!("datasets/{id}"))];
        for (method, path) in
            [("GET", format!("datasets/{id}")), ("GET", of(&version)), ("GET", of(&version) + "/files")]
                .iter()
                .chain(&writes)
        {
            let body = (*method == "PATCH").then(|| json!({ "name": "x" }));
            assert_eq!(api.send(method, path, &key, body).await.problem(), (404, "dataset_not_found"), "{path}");
        }
        assert_eq!(api.send("GET", "datasets/gradient%2Fmnist", &key, None).await.status, 404);
        assert_eq!(api.send("GET", "datasets", &key, None).await.body["items"], json!([]));

        api.ask("PATCH", "datasets/mnist", Some(json!({ "public": true }))).await;
        for path in ["datasets/gradient%2Fmnist", "datasets/resolve?ref=gradient/mnist"] {
            assert_eq!(api.send("GET", path, &key, None).await.status, 200, "{path}");
        }
        let file = of(&version) + "/files/a";
        assert_eq!(api.send("GET", &file, &key, None).await.text, "1");
        let child = json!({ "parent": version.rsplit('/').next().unwrap(), "tags": ["wip"] });
        assert_eq!(api.ask("POST", "datasets/mnist/versions", Some(child)).await.status, 201);
        for (who, seen) in [(&key[..], 0), (&[], 1)] {
            let tags = match who {
                [] => api.ask("GET", &of("datasets/mnist/tags"), None).await,
                key => api.send("GET", &of("datasets/mnist/tags"), key, None).await,
            };
            assert_eq!(tags.body["items"].as_array().unwrap().len(), seen);
            let lineage = match who {
                [] => api.ask("GET", &(of(&version) + "/lineage"), None).await,
                key => api.send("GET", &(of(&version) + "/lineage"), key, None).await,
            };
            assert_eq!(lineage.body["children"].as_array().unwrap().len(), seen);
        }
        // What is not committed is nobody else's business.
        assert_eq!(api.send("GET", &of(&draft), &key, None).await.problem(), (404, "version_not_found"));
        let listed = api.send("GET", "datasets/gradient%2Fmnist/versions", &key, None).await;
        assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
        for (method, path) in &writes {
            let body = (*method == "PATCH").then(|| json!({ "name": "x" }));
            assert_eq!(api.send(method, path, &key, body).await.problem(), (403, "forbidden"), "{path}");
        }
        let made = api.send("POST", "datasets", &key, Some(json!({ "name": "mnist", "public": true }))).await;
        assert_eq!(made.problem(), (409, "name_taken"));
        assert_eq!(api.send("POST", "datasets", &key, Some(json!({ "name": "mnist" }))).await.status, 201);
    }

    #[tokio::test]
    async fn what_every_team_reads_is_changed_by_admins_alone() {
        let api = Api::new().await;
        let path = api.draft("shared").await;
        let made = api.ask("POST", "keys", Some(json!({ "name": "w", "scope": "write" }))).await;
        let writer = format!("Bearer {}", made.body["key"].as_str().unwrap());
        let key = [("authorization", writer.as_str())];
        let publish = Some(json!({ "public": true }));
        assert_eq!(api.send("PATCH", "datasets/shared", &key, publish.clone()).await.problem(), (403, "forbidden"));
        assert_eq!(api.send_bytes("PUT", &format!("{path}/files/a"), &key, "1").await.status, 201);
        assert_eq!(api.ask("PATCH", "datasets/shared", publish).await.status, 200);
        let file = format!("{path}/files/b");
        assert_eq!(api.send_bytes("PUT", &file, &key, "1").await.problem(), (403, "forbidden"));
        for (method, path) in
            [("POST", format!("{path}/commit")), ("DELETE", path.clone()), ("DELETE", "datasets/shared".into())]
        {
            assert_eq!(api.send(method, &path, &key, None).await.problem(), (403, "forbidden"), "{method} {path}");
        }
        assert_eq!(api.ask("POST", &format!("{path}/commit"), None).await.status, 200);
    }

    #[tokio::test]
    async fn every_form_of_a_reference_resolves() {
        let api = Api::new().await;
        let path = api.committed("mnist", &[("a", "1")]).await;
        let version = path.rsplit('/').next().unwrap();
        api.ask("PUT", "datasets/mnist/tags/prod", Some(json!({ "version": version }))).await;
        let id = api.ask("GET", "datasets/mnist", None).await.body["id"].as_str().unwrap().to_owned();
        for named in ["mnist".to_owned(), "mnist:latest".into(), "mnist:prod".into(), format!("{id}:{version}"), id] {
            let found = api.ask("GET", &format!("datasets/resolve?ref={named}"), None).await;
            assert_eq!(found.body["version"], version, "{named}: {}", found.text);
        }
        for (named, problem) in [
            ("mnist:none", (404, "version_not_found")),
            ("none", (404, "dataset_not_found")),
            ("gradient/mnist", (404, "dataset_not_found")),
            ("a:b:c", (422, "bad_reference")),
        ] {
            let found = api.ask("GET", &format!("datasets/resolve?ref={named}"), None).await;
            assert_eq!(found.problem(), problem, "{named}");
        }
    }
}
