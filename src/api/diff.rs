//! `/datasets/{dataset}/versions/{version}/diff`: what a version has over another.

use axum::extract::State;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Cursor, Json, Paged, Path, Problem, file_listing::path_base64, versions::both};
use crate::{
    domain::{caller::Caller, user_path::UserPath},
    service::{
        Services,
        diff::{DiffPage, DiffQuery, DiffTotals},
    },
    storage::dataset::{Change, Difference},
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AgainstQuery {
    /// The version that it is compared with: a version or tag of the same dataset, or a reference.
    against: String,
    /// Also add the whole comparison up. False when left out.
    #[serde(default)]
    totals: bool,
}

/// A part of a comparison, in the order of the paths' bytes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DiffView {
    items: Vec<DifferenceView>,
    /// Hand it back as `cursor` for the next page; null on the last.
    #[schema(value_type = Option<String>)]
    next: Option<Cursor>,
    /// Of the whole comparison; null when they were not asked for.
    totals: Option<TotalsView>,
}

/// A path that is not the same in both.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DifferenceView {
    path: String,
    /// The path's bytes, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// `added`, `removed` or `changed`.
    change: &'static str,
    bytes_before: Option<u64>,
    bytes_after: Option<u64>,
}

/// How much two versions differ.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TotalsView {
    added: u64,
    removed: u64,
    changed: u64,
    /// In files that are new or have grown.
    bytes_added: u64,
    /// In files that are gone or have shrunk.
    bytes_removed: u64,
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        Self {
            path: difference.path.to_text(),
            path_base64: path_base64(&difference.path),
            change: match difference.change {
                Change::Added => "added",
                Change::Removed => "removed",
                Change::Changed => "changed",
            },
            bytes_before: difference.bytes_before,
            bytes_after: difference.bytes_after,
        }
    }
}

impl From<DiffTotals> for TotalsView {
    fn from(totals: DiffTotals) -> Self {
        let DiffTotals { added, removed, changed, bytes_added, bytes_removed } = totals;
        Self { added, removed, changed, bytes_added, bytes_removed }
    }
}

impl From<DiffPage> for DiffView {
    fn from(page: DiffPage) -> Self {
        Self {
            items: page.items.into_iter().map(DifferenceView::from).collect(),
            next: page.next.map(|path| Cursor::new(URL_SAFE_NO_PAD.encode(path.as_bytes()))),
            totals: page.totals.map(TotalsView::from),
        }
    }
}

/// Compare a version with another
///
/// What it has over `against`, by path. Both are committed; they need not be of one dataset.
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}/diff", tag = "dataset files",
    params(
        ("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped"),
        ("version" = String, Path, description = "Id, tag or `latest`"), AgainstQuery,
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, body = DiffView),
        (status = 409, description = "One of them still changes: `version_not_committed`"),
    ),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    paged: Paged<AgainstQuery>,
) -> Result<Json<DiffView>, Problem> {
    let (dataset, version) = both(&path)?;
    let after = paged.cursor.map(|cursor| cursor.position::<String>()).transpose()?;
    let after = after.map(|text| read(&text)).transpose()?;
    let query = DiffQuery { after, limit: paged.limit as usize, totals: paged.filter.totals };
    Ok(Json(services.diff(&caller, dataset, version, &paged.filter.against, query).await?.into()))
}

fn read(text: &str) -> Result<UserPath, Problem> {
    let path = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| UserPath::from_bytes(&bytes).ok());
    path.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "bad_cursor", "the cursor is not one of this list"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn a_comparison_goes_on_page_by_page_and_adds_up_to_the_whole() {
        let api = Api::new().await;
        let before = api.committed("d", &[("a", "1"), ("b", "22"), ("c", "333")]).await;
        let after = api.committed("d", &[("b", "22"), ("c", "4444"), ("d", "55555")]).await;
        let against = before.rsplit('/').next().unwrap();
        let whole = api.ask("GET", &format!("{after}/diff?against=d:{against}&totals=true"), None).await;
        assert_eq!(whole.status, 200, "{}", whole.text);
        insta::assert_snapshot!("diff", serde_json::to_string_pretty(&whole.body).unwrap());
        let first = api.ask("GET", &format!("{after}/diff?against=d:{against}&limit=2"), None).await.body;
        assert_eq!((first["items"].as_array().unwrap().len(), &first["totals"]), (2, &json!(null)));
        let next = first["next"].as_str().unwrap();
        let rest = api.ask("GET", &format!("{after}/diff?against=d:{against}&limit=2&cursor={next}"), None).await.body;
        assert_eq!((&rest["items"][0]["path"], &rest["next"]), (&json!("d"), &json!(null)));
        let draft = api.draft("d").await;
        let refused = api.ask("GET", &format!("{draft}/diff?against=d"), None).await;
        assert_eq!(refused.problem(), (409, "version_not_committed"));
    }
}
