//! `/datasets/{dataset}/tags`: names that point to versions and can be moved.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem, datasets::named};
use crate::{
    domain::{caller::Caller, dataset::VersionTag, id::VersionId, time::Timestamp},
    service::Services,
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set, delete))
}

/// A tag.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TagView {
    name: String,
    #[schema(value_type = String)]
    version: VersionId,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<VersionTag> for TagView {
    fn from(tag: VersionTag) -> Self {
        Self { name: tag.name, version: tag.version, updated_at: tag.updated_at }
    }
}

/// Where a tag is to point.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SetTag {
    /// Id of a version, another tag, or `latest`.
    version: String,
}

/// List the tags of a dataset
///
/// By name.
#[utoipa::path(
    get, path = "/datasets/{dataset}/tags", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), PageQuery),
    responses((status = 200, body = Page<TagView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    page: Paged,
) -> Result<Json<Page<TagView>>, Problem> {
    let after = page.cursor.map(|cursor| cursor.position::<String>()).transpose()?;
    let tags = services.tags(&caller, named(&dataset)?, after, page.limit + 1).await?;
    Ok(Json(Page::cut(tags, page.limit, |tag| tag.name.clone()).map(TagView::from)))
}

/// Set or move a tag
#[utoipa::path(
    put, path = "/datasets/{dataset}/tags/{tag}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("tag" = String, Path, description = "Letters, digits, `-`, `_` and `.`")),
    request_body = SetTag, responses((status = 200, body = TagView)),
)]
async fn set(
    State(services): State<Services>,
    caller: Caller,
    Path((dataset, tag)): Path<(String, String)>,
    Json(set): Json<SetTag>,
) -> Result<Json<TagView>, Problem> {
    Ok(Json(services.set_tag(&caller, named(&dataset)?, tag, set.version).await?.into()))
}

/// Remove a tag
///
/// Its version stays.
#[utoipa::path(
    delete, path = "/datasets/{dataset}/tags/{tag}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("tag" = String, Path, description = "The tag")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path((dataset, tag)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    services.delete_tag(&caller, named(&dataset)?, tag).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn a_tag_is_set_moved_listed_and_removed() {
        let api = Api::new().await;
        let (one, two) = (api.committed("d", &[("a", "1")]).await, api.committed("d", &[("a", "2")]).await);
        let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
        let set = |version: String| api.ask("PUT", "datasets/d/tags/prod", Some(json!({ "version": version })));
        assert_eq!(set(id(&one)).await.body["version"], id(&one));
        assert_eq!(set(id(&two)).await.body["version"], id(&two));
        let listed = api.ask("GET", "datasets/d/tags", None).await.body;
        assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["version"]), (1, &json!(id(&two))));
        assert_eq!(api.ask("GET", &one, None).await.body["tags"], json!([]));
        assert_eq!(api.ask("GET", "datasets/d/versions/prod", None).await.body["tags"], json!(["prod"]));
        assert_eq!(api.ask("DELETE", "datasets/d/tags/prod", None).await.status, 204);
        assert_eq!(api.ask("DELETE", "datasets/d/tags/prod", None).await.problem(), (404, "tag_not_found"));
        for bad in ["latest", "v1.tar", "fo5rp4m"] {
            let set = api.ask("PUT", &format!("datasets/d/tags/{bad}"), Some(json!({ "version": "latest" }))).await;
            assert_eq!(set.problem(), (422, "bad_tag"), "{bad}");
        }
    }
}
