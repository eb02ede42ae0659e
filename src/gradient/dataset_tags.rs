//! `datasets tags`: list, set, delete.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    datasets::named,
    filter::Filter,
    pages::{self, PAGE},
};
use crate::{
    api::{self, Path, Problem},
    domain::{
        caller::Caller,
        dataset::{DatasetRef, VersionRef},
        id::VersionId,
        user_path::shown,
    },
    service::{ServiceError, Services},
};

/// Which version a tag is to point to.
#[derive(Debug, Deserialize)]
pub struct TagWire {
    version: String,
}

/// A tag as the client reads it.
#[derive(Debug, Serialize)]
pub struct TagView {
    name: String,
    version: VersionLabel,
}

#[derive(Debug, Serialize)]
struct VersionLabel {
    version: VersionId,
    message: String,
}

/// Lists the tags of a dataset by name.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    filter: Filter,
) -> Result<Json<Vec<TagView>>, Problem> {
    let dataset = named(&dataset)?;
    let read = |after, _| services.tags(&caller, dataset.clone(), after, PAGE);
    let mut shown = Vec::new();
    for tag in pages::some(&filter, read, |tag| tag.name.clone(), |_| true).await? {
        shown.push(view(&services, &caller, dataset.clone(), tag.name).await?);
    }
    Ok(Json(shown))
}

/// Returns a tag.
pub async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path((dataset, tag)): Path<(String, String)>,
) -> Result<Json<TagView>, Problem> {
    Ok(Json(view(&services, &caller, named(&dataset)?, tag).await?))
}

/// Points a tag to a version.
pub async fn set(
    State(services): State<Services>,
    caller: Caller,
    Path((dataset, tag)): Path<(String, String)>,
    api::Json(wanted): api::Json<TagWire>,
) -> Result<Json<Value>, Problem> {
    services.set_tag(&caller, named(&dataset)?, tag, wanted.version).await?;
    Ok(Json(json!({})))
}

/// Removes a tag.
pub async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path((dataset, tag)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    services.delete_tag(&caller, named(&dataset)?, tag).await?;
    Ok(Json(json!({})))
}

async fn view(services: &Services, caller: &Caller, dataset: DatasetRef, tag: String) -> Result<TagView, Problem> {
    let found = services.version(caller, dataset, VersionRef::Tag(tag.clone())).await;
    let version = found.map_err(|error| match error {
        ServiceError::NotFound { kind: "version", .. } => ServiceError::not_found("tag", shown(tag.as_bytes())),
        other => other,
    })?;
    let version = VersionLabel { version: version.version.id, message: version.version.message };
    Ok(TagView { name: tag, version })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn a_tag_is_set_listed_moved_and_removed() {
        let cloud = Cloud::new().await;
        let path = cloud.draft("d").await;
        let (dataset, version) = path.split_once("/versions/").unwrap();
        cloud.ask("POST", &path, Some(json!({ "message": "m" }))).await;
        for name in ["b", "a"] {
            let set =
                cloud.ask("PUT", &format!("{dataset}/tags/{name}"), Some(json!({ "version": version, "x": 1 }))).await;
            assert_eq!(set.status, 200, "{}", set.text);
        }
        let tag = json!({ "name": "a", "version": { "version": version, "message": "m" } });
        let list = cloud.get(&format!("{dataset}/tags?filter[limit]=21&filter[skip]=0")).await;
        assert_eq!((&list[0], &list[1]["name"]), (&tag, &json!("b")));
        assert_eq!(cloud.get(&format!("{dataset}/tags/a")).await, tag);
        assert_eq!(cloud.get(&path).await["tags"], json!([{ "name": "a" }, { "name": "b" }]));
        assert_eq!(cloud.ask("DELETE", &format!("{dataset}/tags/a"), None).await.status, 200);
        let gone = cloud.ask("DELETE", &format!("{dataset}/tags/a"), None).await;
        assert_eq!(printed(&gone), (404, "there is no tag a"));
        assert_eq!(printed(&cloud.ask("GET", &format!("{dataset}/tags/a"), None).await), (404, "there is no tag a"));
    }

    #[tokio::test]
    async fn what_cannot_be_a_tag_is_refused() {
        let cloud = Cloud::new().await;
        let path = cloud.draft("d").await;
        let (dataset, version) = path.split_once("/versions/").unwrap();
        for (tag, of, status) in [
            ("latest", version, 422),
            ("a/b", version, 422),
            ("t", "nothing", 404),
            ("t", "a b", 422),
            (version, version, 422),
        ] {
            let set = cloud.ask("PUT", &format!("{dataset}/tags/{tag}"), Some(json!({ "version": of }))).await;
            assert_eq!(printed(&set).0, status, "{tag} {of}: {}", set.text);
        }
        assert_eq!(printed(&cloud.ask("PUT", &format!("{dataset}/tags/t"), Some(json!({}))).await).0, 422);
    }
}
