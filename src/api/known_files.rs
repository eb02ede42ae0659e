//! `/datasets/{dataset}/versions/{version}/known`: which files need not be sent, for their bytes are
//! stored already.

use axum::{Extension, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Path, Problem, body::BodyLimit, tree_path, versions::both};
use crate::{
    domain::{caller::Caller, content::ContentHash},
    service::{Services, dataset_files::KnownFile},
};

/// Largest body of a question, in bytes.
const BODY: u64 = 16 << 20;

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(known)).layer(Extension(BodyLimit(BODY)))
}

/// Files that may be stored already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AskKnown {
    /// 10,000 at most.
    files: Vec<AskedFile>,
}

/// A file that may be stored already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AskedFile {
    path: String,
    #[schema(value_type = String)]
    blake3: ContentHash,
    #[serde(default)]
    executable: bool,
}

/// What was there, and what must be sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KnownView {
    /// How many are in the version now without having been sent.
    linked: u64,
    /// Places in `files` of those that must be sent, counted from 0.
    missing: Vec<usize>,
}

/// Put files that are stored already
///
/// By hash: those whose bytes your team has are in the version at once, and only the others must be
/// sent.
#[utoipa::path(
    post, path = "/datasets/{dataset}/versions/{version}/known", tag = "dataset files",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag of an uncommitted version")),
    request_body = AskKnown, responses((status = 200, body = KnownView)),
)]
async fn known(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Json(asked): Json<AskKnown>,
) -> Result<Json<KnownView>, Problem> {
    let (dataset, version) = both(&path)?;
    let read = |file: AskedFile| {
        let path = tree_path::read(file.path.as_bytes())?;
        Ok(KnownFile { path, hash: file.blake3, executable: file.executable })
    };
    let files = asked.files.into_iter().map(read).collect::<Result<_, Problem>>()?;
    let known = services.put_known(&caller, dataset, version, files).await?;
    Ok(Json(KnownView { linked: known.linked, missing: known.missing }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn what_is_stored_already_need_not_be_sent_but_only_within_the_team() {
        let api = Api::new().await;
        api.committed("one", &[("a", "hello"), ("b", "world")]).await;
        let hash = |text: &str| blake3::hash(text.as_bytes()).to_string();
        let asked = json!({ "files": [
            { "path": "x/a", "blake3": hash("hello") },
            { "path": "x/c", "blake3": hash("new") },
            { "path": "x/b", "blake3": hash("world") },
        ] });
        let path = api.draft("two").await;
        let known = api.ask("POST", &format!("{path}/known"), Some(asked.clone())).await;
        assert_eq!(known.body, json!({ "linked": 2, "missing": [1] }), "{}", known.text);
        assert_eq!(api.ask("GET", &format!("{path}/files/x/b"), None).await.text, "world");
        let now = api.ask("GET", &path, None).await.body;
        assert_eq!((&now["files"], &now["bytes"]), (&json!(2), &json!(10)));

        let stranger = api.stranger(crate::domain::caller::Scope::Write).await;
        let key = [("authorization", stranger.as_str())];
        api.send("POST", "datasets", &key, Some(json!({ "name": "three" }))).await;
        let version = api.send("POST", "datasets/three/versions", &key, None).await.body;
        let path = format!("datasets/three/versions/{}/known", version["version"].as_str().unwrap());
        let known = api.send("POST", &path, &key, Some(asked)).await;
        assert_eq!(known.body, json!({ "linked": 0, "missing": [0, 1, 2] }));
    }

    #[tokio::test]
    async fn ten_thousand_files_are_asked_about_at_once_and_no_more() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        let ask = |count: usize| {
            let files: Vec<_> = (0..count)
                .map(|n| json!({ "path": format!("{}/{n}", "dir".repeat(30)), "blake3": "0".repeat(64) }))
                .collect();
            json!({ "files": files })
        };
        let known = api.ask("POST", &format!("{path}/known"), Some(ask(10_000))).await;
        assert_eq!(known.body["missing"].as_array().map(Vec::len), Some(10_000), "{}", known.text);
        assert_eq!(api.ask("POST", &format!("{path}/known"), Some(ask(10_001))).await.status, 422);
    }
}
