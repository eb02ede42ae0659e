//! `/datasets/{dataset}/versions/{version}/files`: what is in a version, page by page.

use axum::extract::State;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Cursor, Json, Page, Paged, Path, Problem, versions::both};
use crate::{
    domain::{
        caller::Caller,
        content::{ContentHash, Entry, EntryKind},
        user_path::UserPath,
    },
    service::{Services, version_home::HomeItem},
    storage::dataset::ListQuery,
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct FilesQuery {
    /// Only paths that begin with this. End it with `/` for what is in a directory.
    #[serde(default)]
    prefix: String,
    /// The same as base64, where it is not UTF-8.
    prefix_base64: Option<String>,
    /// Everything below, not only what is directly there. False when left out.
    #[serde(default)]
    recursive: bool,
}

/// A file, a link or a directory.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryView {
    path: String,
    /// The path's bytes, where they are not UTF-8 and `path` shows replacements.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// `file`, `link` (never followed here) or `directory`.
    kind: &'static str,
    /// Of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Hash of a file's bytes; not there for one that came to S3 by other ways, until it is committed.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<ContentHash>,
    /// Whether a file may be executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<bool>,
    /// Where a link points.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl EntryView {
    fn new(path: &UserPath, kind: &'static str) -> Self {
        Self {
            path: path.to_text(),
            path_base64: path_base64(path),
            kind,
            bytes: None,
            blake3: None,
            executable: None,
            target: None,
        }
    }
}

/// Returns a path's bytes where they are no text.
pub(super) fn path_base64(path: &UserPath) -> Option<String> {
    std::str::from_utf8(path.as_bytes()).is_err().then(|| STANDARD.encode(path.as_bytes()))
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        match entry.kind {
            EntryKind::File(content) => Self {
                bytes: Some(content.bytes),
                blake3: Some(content.hash),
                executable: Some(content.executable),
                ..Self::new(&entry.path, "file")
            },
            EntryKind::Link(target) => {
                Self { target: Some(String::from_utf8_lossy(&target).into_owned()), ..Self::new(&entry.path, "link") }
            }
        }
    }
}

impl From<HomeItem> for EntryView {
    fn from(item: HomeItem) -> Self {
        match item {
            HomeItem::Entry(entry) => entry.into(),
            HomeItem::Directory(path) => Self::new(&path, "directory"),
            HomeItem::Unread { path, bytes } => Self { bytes: Some(bytes), ..Self::new(&path, "file") },
        }
    }
}

/// List files of a version
///
/// In the order of their paths' bytes. What is deeper is shown as its directory, unless `recursive`.
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}/files", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped"),
        ("version" = String, Path, description = "Id, tag or `latest`"), FilesQuery,
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<EntryView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    paged: Paged<FilesQuery>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let (dataset, version) = both(&path)?;
    let prefix = match paged.filter.prefix_base64 {
        None => paged.filter.prefix.into_bytes(),
        Some(text) => STANDARD
            .decode(text)
            .map_err(|_| Problem::invalid("invalid_query", "prefixBase64", "prefixBase64 is not base64"))?,
    };
    let after = paged.cursor.map(|cursor| cursor.position::<String>()).transpose()?;
    let after = after.map(|text| URL_SAFE_NO_PAD.decode(text)).transpose();
    let after =
        after.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad_cursor", "the cursor is not one of this list"))?;
    let query = ListQuery { prefix, delimiter: !paged.filter.recursive, after, limit: paged.limit as usize };
    let page = services.files(&caller, dataset, version, query).await?;
    let items = page.items.into_iter().map(EntryView::from).collect();
    Ok(Json(Page { items, next: page.next.map(|next| Cursor::new(URL_SAFE_NO_PAD.encode(next))) }))
}

#[cfg(test)]
mod tests {
    use crate::api::router::tests::{Answer, Api};

    #[tokio::test]
    async fn files_are_listed_by_directory_and_page_by_page() {
        let api = Api::new().await;
        let files = [("a/1", "1"), ("a/2", "2"), ("b", "3"), ("c/d/e", "4")];
        let path = api.committed("d", &files).await;
        let names = |answer: &Answer| -> Vec<String> {
            let items = answer.body["items"].as_array().unwrap();
            items.iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect()
        };
        let top = api.ask("GET", &format!("{path}/files"), None).await;
        assert_eq!(names(&top), ["a", "b", "c"]);
        insta::assert_snapshot!("files", serde_json::to_string_pretty(&top.body).unwrap());
        assert_eq!(names(&api.ask("GET", &format!("{path}/files?prefix=a/"), None).await), ["a/1", "a/2"]);
        let (mut seen, mut page) = (Vec::new(), format!("{path}/files?recursive=true&limit=3"));
        loop {
            let answer = api.ask("GET", &page, None).await;
            seen.extend(names(&answer));
            let Some(next) = answer.body["next"].as_str() else { break };
            page = format!("{path}/files?recursive=true&limit=3&cursor={next}");
        }
        assert_eq!(seen, ["a/1", "a/2", "b", "c/d/e"]);
    }
}
