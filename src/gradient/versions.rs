//! `datasets versions`: create, list, details, update, commit, delete.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    datasets::{both, named},
    filter::Filter,
    pages,
};
use crate::{
    api::{self, Path, Problem},
    domain::{
        caller::Caller,
        dataset::{Version, VersionState},
        id::VersionId,
        time::Timestamp,
    },
    service::{
        Services,
        versions::{VersionChange, VersionDraft},
    },
};

/// Versions that are read at a time: the files of one that is not committed may have to be counted.
const PAGE: usize = 100;

/// What is said of a version, new or not.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionWire {
    message: Option<String>,
    is_committed: Option<bool>,
}

/// A version as the client reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    version: VersionId,
    message: String,
    is_committed: bool,
    tags: Vec<TagLabel>,
    dt_created: Timestamp,
}

#[derive(Debug, Serialize)]
struct TagLabel {
    name: String,
}

impl From<Version> for VersionView {
    fn from(version: Version) -> Self {
        Self {
            version: version.id,
            message: version.message,
            is_committed: version.state == VersionState::Committed,
            tags: version.tags.into_iter().map(|name| TagLabel { name }).collect(),
            dt_created: version.created_at,
        }
    }
}

/// What is begun, by its id.
#[derive(Debug, Serialize)]
pub struct Begun {
    version: VersionId,
}

/// Lists the versions of a dataset, newest first: committed, uncommitted, or both.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    filter: Filter,
) -> Result<Json<Vec<VersionView>>, Problem> {
    let dataset = named(&dataset)?;
    let state = match filter.wants("isCommitted").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("true") => Some(VersionState::Committed),
        Some("false") => Some(VersionState::Uncommitted),
        Some(_) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_filter", "isCommitted is true or false"));
        }
    };
    let read = |before, left: usize| services.versions(&caller, dataset.clone(), state, before, left.min(PAGE) as u32);
    let found = pages::some(&filter, read, |now| now.version.seq, |_| true).await?;
    Ok(Json(found.into_iter().map(|now| now.version.into()).collect()))
}

/// Begins a version, with nothing in it.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    new: Option<api::Json<VersionWire>>,
) -> Result<Json<Begun>, Problem> {
    let new = new.map(|api::Json(new)| new).unwrap_or_default();
    let draft = VersionDraft { message: new.message.unwrap_or_default(), ..VersionDraft::default() };
    Ok(Json(Begun { version: services.create_version(&caller, named(&dataset)?, draft).await?.version.id }))
}

/// Returns a version.
pub async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<VersionView>, Problem> {
    let (dataset, version) = both(&path)?;
    Ok(Json(services.version(&caller, dataset, version).await?.version.into()))
}

/// Describes a version anew, or commits it.
pub async fn update(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    change: Option<api::Json<VersionWire>>,
) -> Result<Json<VersionView>, Problem> {
    let change = change.map(|api::Json(change)| change).unwrap_or_default();
    let (dataset, version) = both(&path)?;
    if change.message.is_some() {
        let described = VersionChange { message: change.message, metadata: None };
        services.change_version(&caller, dataset.clone(), version.clone(), described).await?;
    }
    if change.is_committed == Some(true) {
        return Ok(Json(services.commit_version(&caller, dataset, version).await?.version.into()));
    }
    let now = services.version(&caller, dataset, version).await?.version;
    if change.is_committed == Some(false) && now.state == VersionState::Committed {
        let words = "this version is committed and stays so: begin another one";
        return Err(Problem::conflict("version_committed", words));
    }
    Ok(Json(now.into()))
}

/// Deletes a version, unless something uses it.
pub async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let (dataset, version) = both(&path)?;
    services.delete_version(&caller, dataset, version, false).await?;
    Ok(Json(json!({})))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn a_version_is_begun_described_committed_once_and_deleted() {
        let cloud = Cloud::new().await;
        let path = cloud.draft("d").await;
        let list = format!("{}/versions", path.split_once("/versions").unwrap().0);
        let committed = format!("{list}?filter[where][isCommitted]=true&filter[limit]=21&filter[skip]=0");
        assert_eq!(cloud.get(&committed).await, json!([]));
        assert_eq!(cloud.get(&format!("{list}?filter[where][isCommitted]=false")).await[0]["isCommitted"], false);
        let say = |body| cloud.ask("POST", &path, Some(body));
        assert_eq!(say(json!({ "message": "first" })).await.status, 200);
        assert_eq!(say(json!({ "isCommitted": true })).await.status, 200);
        assert_eq!(say(json!({ "isCommitted": true })).await.status, 200);
        let found = cloud.get(&committed).await;
        assert_eq!((&found[0]["message"], &found[0]["tags"]), (&json!("first"), &json!([])));
        assert_eq!(cloud.get(&path).await, found[0]);
        let opened = say(json!({ "isCommitted": false })).await;
        assert!(printed(&opened).0 == 409 && printed(&opened).1.contains("stays so"), "{}", opened.text);
        assert_eq!(cloud.ask("DELETE", &path, None).await.status, 200);
        assert_eq!(printed(&cloud.ask("GET", &path, None).await).0, 404);
    }

    #[tokio::test]
    async fn versions_are_paged_newest_first() {
        let cloud = Cloud::new().await;
        let path = cloud.draft("d").await;
        let list = format!("{}/versions", path.split_once("/versions").unwrap().0);
        for message in ["b", "c"] {
            assert_eq!(cloud.ask("POST", &list, Some(json!({ "message": message }))).await.status, 200);
        }
        let page = cloud.get(&format!("{list}?filter[limit]=1&filter[skip]=1")).await;
        assert_eq!((page.as_array().unwrap().len(), &page[0]["message"]), (1, &json!("b")));
        for nonsense in ["filter[where][isCommitted]=perhaps", "filter[limit]=x", "filter[skip]=-1"] {
            assert_eq!(printed(&cloud.ask("GET", &format!("{list}?{nonsense}"), None).await).0, 400, "{nonsense}");
        }
        let strange = cloud.ask("GET", &format!("{list}/..%2f.."), None).await;
        assert_eq!(printed(&strange).0, 404, "{}", strange.text);
    }
}
