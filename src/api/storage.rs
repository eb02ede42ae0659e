//! `/storage`: what uses the disk, what can go, what is damaged.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Problem, problem::ProblemDocument};
use crate::{
    domain::{
        caller::Caller,
        content::ContentHash,
        id::{DatasetId, VersionId},
        storage_care::{DamagedContent, FsckReport, GcReport, MendedVersion, NamedVersion, Part},
        time::Timestamp,
    },
    service::{Services, storage_care::StorageNow},
};

/// Percent of all contents that a check reads when nobody says.
const PERCENT: u8 = 100;

/// Returns the routes of the disk.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(last_gc, gc)).routes(routes!(last_fsck, fsck))
}

/// What the disk holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StorageView {
    /// Null until it was looked at.
    disk: Option<StorageDisk>,
    /// Most bytes that the team may keep; null when there is no limit.
    quota_bytes: Option<u64>,
    /// What of the quota is used, when it was last counted.
    used_bytes: Option<u64>,
    #[schema(value_type = Option<String>, format = DateTime)]
    counted_at: Option<Timestamp>,
    /// What the team's files are.
    parts: Vec<PartView>,
    /// Images of the engine, whoever pulled them; null until they were counted.
    images: Option<ImagesView>,
    /// Copies of versions on S3.
    cache: CacheView,
    /// What the last check of the team's contents came to, in short; null before the first.
    check: Option<CheckView>,
}

/// A check of stored contents in short; see `/storage/fsck`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckView {
    running: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// Contents that are damaged.
    damaged: u64,
    /// Files that were, and are whole again since this check.
    mended: u64,
}

impl From<&FsckReport> for CheckView {
    fn from(report: &FsckReport) -> Self {
        Self {
            running: report.running,
            finished_at: report.finished_at,
            damaged: report.damaged.len() as u64,
            mended: report.mended.iter().map(|mended| mended.files).sum(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StorageDisk {
    total_bytes: u64,
    free_bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct PartView {
    /// `datasets`, `storage`, `artifacts`, `workspaces`, `logs`, `uploads` or `cache`. Logs and the cache
    /// do not count towards the quota.
    #[schema(value_type = String, example = "datasets")]
    kind: Part,
    bytes: u64,
    files: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct ImagesView {
    /// Layers that several images share are counted for each.
    bytes: u64,
    count: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CacheView {
    budget_bytes: u64,
    /// Of all teams together.
    used_bytes: u64,
    /// The team's own, least recently used first.
    items: Vec<CachedView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CachedView {
    #[schema(value_type = String)]
    dataset: DatasetId,
    name: String,
    #[schema(value_type = String)]
    version: VersionId,
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    used_at: Timestamp,
    /// Whether a job that is not over uses it; then it stays.
    mounted: bool,
}

impl From<StorageNow> for StorageView {
    fn from(now: StorageNow) -> Self {
        Self {
            disk: now.disk.map(|(total_bytes, free_bytes)| StorageDisk { total_bytes, free_bytes }),
            quota_bytes: now.quota_bytes,
            used_bytes: now.usage.map(|usage| usage.bytes),
            counted_at: now.usage.map(|usage| usage.counted_at),
            parts: now
                .parts
                .iter()
                .map(|part| PartView { kind: part.part, bytes: part.bytes, files: part.files })
                .collect(),
            images: now.images.map(|images| ImagesView { bytes: images.bytes, count: images.count }),
            check: now.check.as_ref().map(CheckView::from),
            cache: CacheView {
                budget_bytes: now.cache_budget_bytes,
                used_bytes: now.cache_used_bytes,
                items: now
                    .cached
                    .into_iter()
                    .map(|copy| CachedView {
                        dataset: copy.dataset,
                        name: copy.name,
                        version: copy.version,
                        bytes: copy.bytes,
                        used_at: copy.used_at,
                        mounted: copy.in_use,
                    })
                    .collect(),
            },
        }
    }
}

/// A collection of files that nothing refers to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct CollectGarbage {
    /// Says what would go and removes nothing.
    dry_run: bool,
    /// How long files that nothing refers to are kept; the setting `storage.gc_grace` when left out.
    grace_seconds: Option<u64>,
}

/// What a collection removed, or would remove, of the team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GcView {
    dry_run: bool,
    /// Bytes that come free: contents that no version has any more.
    bytes: u64,
    files: u64,
    /// Deleted versions whose files went. What they share with others stays.
    versions: Vec<GcVersionView>,
    /// What goes from buckets, beside the disk.
    buckets: GcBucketsView,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// What goes from buckets: of versions that were deleted or never came about.
#[derive(Debug, Default, Serialize, ToSchema)]
struct GcBucketsView {
    bytes: u64,
    objects: u64,
    /// Uploads in parts that nobody goes on with. How much was sent of them is not in `bytes`.
    uploads: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GcVersionView {
    #[schema(value_type = String)]
    dataset: DatasetId,
    name: String,
    #[schema(value_type = String)]
    version: VersionId,
    /// Of its own files; what of them others share stays.
    bytes: u64,
    files: u64,
}

impl From<GcReport> for GcView {
    fn from(report: GcReport) -> Self {
        Self {
            dry_run: report.dry_run,
            bytes: report.bytes(),
            files: report.files(),
            at: report.at,
            buckets: report.buckets.iter().fold(GcBucketsView::default(), |sum, left| GcBucketsView {
                bytes: sum.bytes + left.bytes,
                objects: sum.objects + left.objects,
                uploads: sum.uploads + left.uploads,
            }),
            versions: report
                .versions
                .into_iter()
                .map(|gone| GcVersionView {
                    dataset: gone.version.dataset,
                    name: gone.version.name,
                    version: gone.version.version,
                    bytes: gone.bytes,
                    files: gone.files,
                })
                .collect(),
        }
    }
}

/// A check of stored contents.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct CheckContents {
    /// Part of all contents that is read, 1 to 100. All when left out.
    percent: Option<u8>,
}

/// A check of stored contents, under way or done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FsckView {
    running: bool,
    percent: u8,
    done_bytes: u64,
    total_bytes: u64,
    checked_files: u64,
    /// Contents of the team that are not what their hashes say, whichever check found them.
    damaged: Vec<DamagedView>,
    /// Versions that have files back which were damaged: their bytes were sent again, into any version.
    mended: Vec<MendedView>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// A content that is not what its hash says, with the versions that new jobs are refused for it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DamagedView {
    #[schema(value_type = String)]
    blake3: ContentHash,
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    found_at: Timestamp,
    versions: Vec<DamagedVersionView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MendedView {
    #[schema(value_type = String)]
    dataset: DatasetId,
    name: String,
    #[schema(value_type = String)]
    version: VersionId,
    /// How many files are whole again.
    files: u64,
}

impl From<MendedVersion> for MendedView {
    fn from(MendedVersion { version, files }: MendedVersion) -> Self {
        let NamedVersion { dataset, name, version, .. } = version;
        Self { dataset, name, version, files }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct DamagedVersionView {
    #[schema(value_type = String)]
    dataset: DatasetId,
    name: String,
    #[schema(value_type = String)]
    version: VersionId,
    /// Where it is in the version; some at most.
    paths: Vec<String>,
}

impl From<FsckReport> for FsckView {
    fn from(report: FsckReport) -> Self {
        Self {
            running: report.running,
            percent: report.percent,
            done_bytes: report.done_bytes,
            total_bytes: report.total_bytes,
            checked_files: report.checked_files,
            damaged: report.damaged.into_iter().map(DamagedView::from).collect(),
            mended: report.mended.into_iter().map(MendedView::from).collect(),
            started_at: report.started_at,
            finished_at: report.finished_at,
        }
    }
}

impl From<DamagedContent> for DamagedView {
    fn from(content: DamagedContent) -> Self {
        let version =
            |NamedVersion { dataset, name, version, .. }, paths| DamagedVersionView { dataset, name, version, paths };
        Self {
            blake3: content.hash,
            bytes: content.bytes,
            found_at: content.found_at,
            versions: content.versions.into_iter().map(|damaged| version(damaged.version, damaged.paths)).collect(),
        }
    }
}

/// Shows what uses the disk.
#[utoipa::path(get, path = "/storage", tag = "storage", responses((status = 200, body = StorageView)))]
async fn get(State(services): State<Services>, caller: Caller) -> Result<Json<StorageView>, Problem> {
    Ok(Json(services.storage_now(&caller).await?.into()))
}

/// Removes files that nothing refers to.
///
/// With `dryRun`, says which it would remove. Needs the scope `admin`.
#[utoipa::path(
    post, path = "/storage/gc", tag = "storage", request_body = CollectGarbage,
    responses(
        (status = 200, body = GcView),
        (status = 403, description = "The key may not do that", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn gc(
    State(services): State<Services>,
    caller: Caller,
    body: Option<Json<CollectGarbage>>,
) -> Result<Json<GcView>, Problem> {
    let Json(body) = body.unwrap_or(Json(CollectGarbage::default()));
    let grace = body.grace_seconds.map(Duration::from_secs);
    Ok(Json(services.collect_garbage(&caller, body.dry_run, grace).await?.into()))
}

/// Shows what the last collection came to; null before the first.
#[utoipa::path(get, path = "/storage/gc", tag = "storage", responses((status = 200, body = Option<GcView>)))]
async fn last_gc(State(services): State<Services>, caller: Caller) -> Result<Json<Option<GcView>>, Problem> {
    Ok(Json(services.last_collection(&caller)?.map(GcView::from)))
}

/// Reads stored contents again and compares them with their hashes.
///
/// Answers at once and works in the background. Needs the scope `admin`.
#[utoipa::path(
    post, path = "/storage/fsck", tag = "storage", request_body = CheckContents,
    responses(
        (status = 202, description = "It begins"),
        (status = 403, description = "The key may not do that", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`percent` cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn fsck(
    State(services): State<Services>,
    caller: Caller,
    body: Option<Json<CheckContents>>,
) -> Result<StatusCode, Problem> {
    let Json(body) = body.unwrap_or(Json(CheckContents::default()));
    services.ask_for_check(&caller, body.percent.unwrap_or(PERCENT))?;
    Ok(StatusCode::ACCEPTED)
}

/// Shows the check that is under way, or the last one; null before the first.
#[utoipa::path(get, path = "/storage/fsck", tag = "storage", responses((status = 200, body = Option<FsckView>)))]
async fn last_fsck(State(services): State<Services>, caller: Caller) -> Result<Json<Option<FsckView>>, Problem> {
    Ok(Json(services.last_check(&caller)?.map(FsckView::from)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::{Api, busy_box};

    #[tokio::test]
    async fn what_was_not_counted_yet_is_null_and_no_error() {
        let api = busy_box().await;
        let answer = api.ask("GET", "storage", None).await;
        assert_eq!(
            answer.body,
            json!({
                "disk": { "totalBytes": 100u64 << 30, "freeBytes": 60u64 << 30 }, "quotaBytes": null, "usedBytes": null,
                "countedAt": null, "parts": [], "images": null,
                "cache": { "budgetBytes": 0, "usedBytes": 0, "items": [] }, "check": null,
            })
        );
        for path in ["storage/gc", "storage/fsck"] {
            assert_eq!(api.ask("GET", path, None).await.text, "null");
        }
    }

    #[tokio::test]
    async fn a_collection_says_what_it_would_remove_and_is_remembered() {
        let api = Api::new().await;
        let answer = api.ask("POST", "storage/gc", Some(json!({ "dryRun": true, "graceSeconds": 0 }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!((&answer.body["dryRun"], &answer.body["bytes"]), (&json!(true), &json!(0)));
        assert_eq!(api.ask("GET", "storage/gc", None).await.body, answer.body);
        assert_eq!(api.ask("POST", "storage/fsck", None).await.status, 202);
        let answer = api.ask("POST", "storage/fsck", Some(json!({ "percent": 0 }))).await;
        assert_eq!((answer.status.as_u16(), &answer.body["field"]), (422, &json!("percent")));
    }
}
