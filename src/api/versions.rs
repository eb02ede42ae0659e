//! `/datasets/{dataset}/versions`: begun, filled, committed for ever.

use std::collections::BTreeMap;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Page, PageQuery, Paged, Path, Problem, Query,
    datasets::{DeleteQuery, named, shown},
    imports::{ChosenText, ImportView},
};
use crate::{
    domain::{
        caller::Caller,
        dataset::{DatasetRef, VersionRef, VersionState},
        id::{DatasetId, JobId, VersionId},
        time::Timestamp,
    },
    service::{
        ServiceError, Services,
        imports::ImportDraft,
        versions::{VersionChange, VersionDraft, VersionNow},
    },
};

/// Returns the routes of this resource, but for [`get`], which shares its path with the archives.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(change, delete)).routes(routes!(commit))
}

/// A version of a dataset.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionView {
    dataset: DatasetLabel,
    #[schema(value_type = String, example = "fo5rp4m")]
    version: VersionId,
    /// Names it everywhere: `ID:VERSION`.
    #[schema(example = "dst364npcw6ccok:fo5rp4m")]
    reference: String,
    /// `uncommitted` or `committed`.
    state: &'static str,
    message: String,
    metadata: BTreeMap<String, String>,
    tags: Vec<String>,
    /// Who began it.
    user: String,
    /// The version whose files it began with.
    #[schema(value_type = Option<String>)]
    parent: Option<VersionId>,
    /// The job whose output it is.
    #[schema(value_type = Option<String>)]
    made_by: Option<JobId>,
    /// Why it is as it is, such as the output of a job that failed.
    note: Option<String>,
    /// Files and links in it; while it is uncommitted, at this moment. Null while a bucket cannot be
    /// listed.
    files: Option<u64>,
    bytes: Option<u64>,
    /// Since when files of it are known to be damaged; new jobs are refused it.
    #[schema(value_type = Option<String>, format = DateTime)]
    damaged_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    committed_at: Option<Timestamp>,
}

/// The dataset of a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DatasetLabel {
    #[schema(value_type = String)]
    id: DatasetId,
    name: String,
}

impl From<VersionNow> for VersionView {
    fn from(now: VersionNow) -> Self {
        let VersionNow { dataset, version, totals } = now;
        Self {
            reference: format!("{}:{}", dataset.id, version.id),
            dataset: DatasetLabel { id: dataset.id, name: dataset.name },
            version: version.id,
            state: version.state.as_str(),
            message: version.message,
            metadata: version.metadata,
            tags: version.tags,
            user: version.user_name,
            parent: version.parent,
            made_by: version.made_by,
            note: version.note,
            files: totals.map(|totals| totals.files),
            bytes: totals.map(|totals| totals.bytes),
            damaged_at: version.damaged_at,
            created_at: version.created_at,
            updated_at: version.updated_at,
            committed_at: version.committed_at,
        }
    }
}

/// A version to be begun.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct CreateVersion {
    message: String,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    /// A committed version whose files it begins with: `VERSION`, a tag or `latest` of this dataset, or a
    /// whole reference. Nothing is copied. `latest` of a dataset that has no version yet, not even a draft, is
    /// none.
    parent: Option<String>,
    /// Files of a notebook or of `/storage` that are brought into it, as an import with `files` does. They
    /// take the place of those of the parent that have the same path.
    from: Option<ChosenText>,
    /// Directory of the version that they go into; the top when left out. Only with `from`.
    prefix: Option<String>,
    /// Commits the version when they are there; it gets its tags then, and not before. Only with `from`.
    commit: bool,
}

/// A version that was begun.
#[derive(Debug, Serialize, ToSchema)]
struct BegunVersion {
    #[serde(flatten)]
    version: VersionView,
    /// How the files that it is made from come into it: ask for it again (`GET /imports/{id}`).
    #[serde(skip_serializing_if = "Option::is_none")]
    import: Option<ImportView>,
}

/// What is to be different.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangeVersion {
    message: Option<String>,
    /// All of it; what is left out is gone.
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VersionsQuery {
    /// `uncommitted` or `committed`; both when left out.
    state: Option<String>,
}

/// Reads the version that a path names.
pub(super) fn version_named(text: &str) -> Result<VersionRef, Problem> {
    text.parse().map_err(|_| ServiceError::not_found("version", shown(text)).into())
}

/// Reads the dataset and version that a path names.
pub(super) fn both((dataset, version): &(String, String)) -> Result<(DatasetRef, VersionRef), Problem> {
    Ok((named(dataset)?, version_named(version)?))
}

/// List the versions of a dataset
///
/// Newest first.
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions", tag = "datasets",
    params(("dataset" = String, Path, description = "Id, name, or `gradient/NAME` with its slash escaped"), VersionsQuery, PageQuery),
    responses((status = 200, body = Page<VersionView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    page: Paged<VersionsQuery>,
) -> Result<Json<Page<VersionView>>, Problem> {
    let before = page.before()?;
    let state = page.filter.state.as_deref().map(|word| {
        VersionState::from_word(word)
            .ok_or_else(|| Problem::invalid("invalid_query", "state", "state is uncommitted or committed"))
    });
    let versions = services.versions(&caller, named(&dataset)?, state.transpose()?, before, page.limit + 1).await?;
    Ok(Json(Page::cut(versions, page.limit, |now| now.version.seq).map(VersionView::from)))
}

/// Begin a version
///
/// Empty, or with the files of a parent. With `from`, files of a notebook or of `/storage` are brought into it
/// behind the answer.
#[utoipa::path(
    post, path = "/datasets/{dataset}/versions", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name")),
    request_body = CreateVersion,
    responses(
        (status = 201, body = BegunVersion),
        (status = 404, description = "There is no such dataset, parent, notebook or file"),
        (status = 409, description = "The parent is not committed: `version_not_committed`; or damaged: `version_damaged`"),
    ),
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
    new: Option<Json<CreateVersion>>,
) -> Result<(StatusCode, Json<BegunVersion>), Problem> {
    let new = new.map(|Json(new)| new).unwrap_or_default();
    let mut draft = VersionDraft {
        message: new.message,
        metadata: new.metadata,
        tags: new.tags,
        parent: new.parent,
        ..VersionDraft::default()
    };
    let Some(from) = new.from else {
        if new.commit || new.prefix.is_some() {
            let field = if new.commit { "commit" } else { "prefix" };
            let detail = format!("{field} goes with from: there is nothing to bring into the version");
            return Err(Problem::invalid("only_with_from", field, detail));
        }
        let version = services.create_version(&caller, named(&dataset)?, draft).await?;
        return Ok((StatusCode::CREATED, Json(BegunVersion { version: version.into(), import: None })));
    };
    // A tag never names half a version that is going to be whole.
    let tags = if new.commit { std::mem::take(&mut draft.tags) } else { Vec::new() };
    let files = ImportDraft { source: from.draft("from")?, prefix: new.prefix, commits: new.commit, tags };
    let (version, import) = services.create_version_with(&caller, named(&dataset)?, draft, files).await?;
    Ok((StatusCode::CREATED, Json(BegunVersion { version: version.into(), import: Some(import.into()) })))
}

/// Describe a version anew
///
/// Its message and metadata may change after it is committed; its files never do.
#[utoipa::path(
    patch, path = "/datasets/{dataset}/versions/{version}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id, tag or `latest`")),
    request_body = ChangeVersion, responses((status = 200, body = VersionView)),
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Json(change): Json<ChangeVersion>,
) -> Result<Json<VersionView>, Problem> {
    let (dataset, version) = both(&path)?;
    let change = VersionChange { message: change.message, metadata: change.metadata };
    Ok(Json(services.change_version(&caller, dataset, version, change).await?.into()))
}

/// Delete a version
///
/// Its files go when nothing mounts them any more.
#[utoipa::path(
    delete, path = "/datasets/{dataset}/versions/{version}", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id, tag or `latest`"), DeleteQuery),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Jobs that are not over use it, or it is tagged: `in_use`"),
    ),
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Problem> {
    let (dataset, version) = both(&path)?;
    services.delete_version(&caller, dataset, version, query.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Commit a version
///
/// From then on it never changes. Committing it again changes nothing and answers the same.
#[utoipa::path(
    post, path = "/datasets/{dataset}/versions/{version}/commit", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id or tag")),
    responses(
        (status = 200, body = VersionView),
        (status = 409, description = "An import still brings files into it: `import_running`"),
    ),
)]
async fn commit(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<VersionView>, Problem> {
    let (dataset, version) = both(&path)?;
    Ok(Json(services.commit_version(&caller, dataset, version).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::router::tests::{Api, busy_box},
        domain::{dataset::Use, id::JobId},
        store::{StoreError, events, version_uses, versions},
    };

    #[tokio::test]
    async fn a_version_is_begun_filled_committed_once_and_never_changed() {
        let api = Api::new().await;
        api.ask("POST", "datasets", Some(json!({ "name": "mnist" }))).await;
        let new = json!({ "message": "first", "tags": ["v1.0"], "metadata": { "source": "web" } });
        let made = api.ask("POST", "datasets/mnist/versions", Some(new)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let path = format!("datasets/mnist/versions/{}", made.body["version"].as_str().unwrap());
        api.put(&format!("{path}/files/a/b"), "12345").await;
        api.put(&format!("{path}/files/c"), "").await;
        let draft = api.ask("GET", &path, None).await.body;
        assert_eq!((&draft["files"], &draft["bytes"], &draft["state"]), (&json!(2), &json!(5), &json!("uncommitted")));
        assert_eq!(api.ask("GET", "datasets/mnist/versions/latest", None).await.problem(), (404, "version_not_found"));

        let commit = format!("{path}/commit");
        let (one, two) = tokio::join!(api.ask("POST", &commit, None), api.ask("POST", &commit, None));
        assert_eq!((one.status.as_u16(), &one.body), (200, &two.body));
        insta::assert_snapshot!("version", serde_json::to_string_pretty(&one.body).unwrap());
        assert_eq!(api.ask("POST", &commit, None).await.body, one.body);
        assert_eq!(api.ask("GET", "datasets/mnist/versions/latest", None).await.body, one.body);
        assert_eq!(api.ask("GET", "datasets/mnist/versions/v1.0", None).await.body, one.body);

        for (method, tail, body) in [("PUT", "files/a/b", "x"), ("DELETE", "files/a", ""), ("POST", "multipart", "")] {
            let bearer = format!("Bearer {}", api.key);
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let body = if tail == "multipart" { r#"{"path":"x"}"# } else { body };
            let answer = api.send_bytes(method, &format!("{path}/{tail}"), &headers, body).await;
            assert_eq!(answer.problem(), (409, "version_committed"), "{method} {tail}: {}", answer.text);
        }
        let described = api.ask("PATCH", &path, Some(json!({ "message": "better" }))).await;
        assert_eq!((&described.body["message"], &described.body["bytes"]), (&json!("better"), &json!(5)));
    }

    #[tokio::test]
    async fn only_one_of_two_commits_tells_of_it() {
        let api = Api::new().await;
        let path = api.draft("d").await;
        let commit = format!("{path}/commit");
        tokio::join!(api.ask("POST", &commit, None), api.ask("POST", &commit, None), api.ask("POST", &commit, None));
        let caller = api.services.local_admin("admin").await.unwrap();
        let told = api.store.read(move |c| events::after(c, &caller.team, 0, 100)).await.unwrap();
        assert_eq!(told.iter().filter(|event| event.change == "committed").count(), 1);
    }

    #[tokio::test]
    async fn a_child_has_its_parents_files_and_changes_none_of_them() {
        let api = Api::new().await;
        let parent = api.committed("mnist", &[("a", "1"), ("dir/b", "22")]).await;
        let named = parent.rsplit('/').next().unwrap();
        for reference in [named.to_owned(), "latest".to_owned(), format!("mnist:{named}")] {
            let made = api.ask("POST", "datasets/mnist/versions", Some(json!({ "parent": reference }))).await;
            assert_eq!((made.status.as_u16(), &made.body["parent"]), (201, &json!(named)), "{}", made.text);
            assert_eq!((&made.body["files"], &made.body["bytes"]), (&json!(2), &json!(3)));
            let child = format!("datasets/mnist/versions/{}", made.body["version"].as_str().unwrap());
            assert_eq!(api.put(&format!("{child}/files/a"), "333").await.status, 200);
            assert_eq!(api.ask("DELETE", &format!("{child}/files/dir"), None).await.status, 204);
            let now = api.ask("GET", &child, None).await.body;
            assert_eq!((&now["files"], &now["bytes"]), (&json!(1), &json!(3)));
            assert_eq!(api.ask("GET", &format!("{parent}/files/a"), None).await.text, "1");
            assert_eq!(api.ask("GET", &format!("{parent}/files/dir/b"), None).await.text, "22");
        }
        let draft = api.draft("mnist").await;
        let unfinished = json!({ "parent": draft.rsplit('/').next().unwrap() });
        let made = api.ask("POST", "datasets/mnist/versions", Some(unfinished)).await;
        assert_eq!(made.problem(), (409, "version_not_committed"));
    }

    #[tokio::test]
    async fn the_latest_of_a_dataset_without_versions_is_none_and_a_draft_is_told() {
        let api = Api::new().await;
        assert_eq!(api.ask("POST", "datasets", Some(json!({ "name": "mnist" }))).await.status, 201);
        let from = |parent: &str| Some(json!({ "parent": parent }));
        let first = api.ask("POST", "datasets/mnist/versions", from("latest")).await;
        assert_eq!((first.status.as_u16(), &first.body["parent"]), (201, &Value::Null), "{}", first.text);
        let again = api.ask("POST", "datasets/mnist/versions", from("latest")).await;
        assert_eq!(again.problem(), (404, "version_not_found"));
        assert!(again.text.contains("“mnist” that is committed: commit one first"), "{}", again.text);
        let unknown = api.ask("POST", "datasets/mnist/versions", from("v7")).await;
        assert_eq!(unknown.problem(), (404, "version_not_found"));
        assert!(unknown.text.contains("v7 of “mnist”"), "{}", unknown.text);
        let other = api.ask("POST", "datasets/mnist/versions", from("words:latest")).await;
        assert_eq!(other.problem(), (404, "dataset_not_found"));
    }

    #[tokio::test]
    async fn what_is_used_or_tagged_goes_only_by_force_which_is_written_down() {
        let api = busy_box().await;
        let path = api.committed("mnist", &[("a", "1")]).await;
        let named = path.rsplit('/').next().unwrap().to_owned();
        api.ask("PUT", "datasets/mnist/tags/prod", Some(json!({ "version": named }))).await;
        let tagged = api.ask("DELETE", &path, None).await;
        assert_eq!(tagged.problem(), (409, "in_use"));
        assert!(tagged.text.contains("prod"), "{}", tagged.text);
        api.ask("DELETE", "datasets/mnist/tags/prod", None).await;

        let jobs = api.ask("GET", "jobs", None).await.body;
        let job: JobId = jobs["items"][0]["id"].as_str().unwrap().parse().unwrap();
        let (caller, reader) = (api.services.local_admin("admin").await.unwrap(), job.clone());
        let team = caller.team.clone();
        let used = api.store.write(move |tx| {
            let version = versions::of_team(tx, &team)?.remove(0).seq;
            let new = version_uses::NewUse {
                version,
                team: &team,
                job: &reader,
                job_name: "reads",
                name: "mnist",
                role: Use::Input,
            };
            version_uses::insert(tx, &new, crate::domain::time::Timestamp(1))?;
            version_uses::insert(tx, &new, crate::domain::time::Timestamp(2))
        });
        used.await.unwrap();
        for path in [path.as_str(), "datasets/mnist"] {
            let refused = api.ask("DELETE", path, None).await;
            assert_eq!(refused.problem(), (409, "in_use"));
            assert!(refused.text.contains(job.as_str()), "{}", refused.text);
        }
        let lineage = api.ask("GET", &format!("{path}/lineage"), None).await.body;
        assert_eq!(lineage["readBy"][0]["job"], job.as_str());
        assert_eq!((lineage["readBy"].as_array().unwrap().len(), &lineage["madeBy"]), (1, &json!(null)));
        let graph = api.ask("GET", "datasets/mnist/lineage", None).await.body;
        assert_eq!(graph["edges"], json!([{ "from": named, "to": job.as_str(), "role": "input" }]));

        assert_eq!(api.ask("DELETE", &format!("{path}?force=true"), None).await.status, 204);
        assert_eq!(api.ask("GET", &path, None).await.problem(), (404, "version_not_found"));
        let told = api.store.read(move |c| events::after(c, &caller.team, 0, 100)).await.unwrap();
        let forced = told.iter().find(|event| event.kind == "version" && event.change == "deleted").unwrap();
        assert_eq!((&forced.data["forced"], &forced.data["jobs"]), (&json!(true), &json!([job.as_str()])));
        // Its files stay for as long as the job is not over.
        let left = api.store.read(|c| versions::to_remove(c, crate::domain::time::Timestamp(i64::MAX), 10)).await;
        assert_eq!(left.map_err(|error: StoreError| error.to_string()), Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_commit_that_died_before_its_row_is_undone_by_a_write_and_finished_by_a_commit() {
        let api = Api::new().await;
        for heal in ["write", "commit"] {
            let path = api.draft("mnist").await;
            api.put(&format!("{path}/files/a"), "1").await;
            let (id, version) = ids(&api, &path).await;
            let caller = api.services.local_admin("admin").await.unwrap();
            let files = api.services.dataset_store().team(&caller.team).unwrap().version(&id, &version);
            files.freeze(&|_| ()).unwrap();
            if heal == "write" {
                assert_eq!(api.put(&format!("{path}/files/b"), "22").await.status, 201);
                assert!(!files.is_frozen());
                let listed = api.ask("GET", &format!("{path}/files"), None).await;
                assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
            }
            let committed = api.ask("POST", &format!("{path}/commit"), None).await;
            let files = if heal == "write" { 2 } else { 1 };
            assert_eq!((committed.status.as_u16(), &committed.body["files"]), (200, &json!(files)));
        }
    }

    async fn ids(api: &Api, path: &str) -> (crate::domain::id::DatasetId, crate::domain::id::VersionId) {
        let shown = api.ask("GET", path, None).await.body;
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (text(&shown["dataset"]["id"]).parse().unwrap(), text(&shown["version"]).parse().unwrap())
    }
}
