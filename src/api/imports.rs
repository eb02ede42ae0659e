//! Imports into versions: begin, list, look, cancel.

use std::collections::HashSet;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem, files::named_path, problem::ProblemDocument, versions::both};
use crate::{
    auth::Secret,
    domain::{
        caller::Caller,
        dataset::ImportState,
        id::ImportId,
        import::{ImportFilter, ImportSource},
        storage_provider::S3Place,
        time::Timestamp,
        user_path::UserPath,
    },
    service::{
        Services,
        imports::{DraftSource, ImportDraft, ImportNow},
    },
};

/// Returns the routes of imports.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(list_all)).routes(routes!(get, cancel))
}

/// Files to be brought into a version. One of `url`, `s3`, `directory` and `files` says from where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateImport {
    /// One file, by HTTP or HTTPS.
    url: Option<String>,
    /// Unpacks what `url` leads to, which is a tar, perhaps compressed.
    #[serde(default)]
    unpack: bool,
    /// Everything beneath a prefix of a bucket.
    s3: Option<S3Text>,
    /// A directory of this machine that an admin allows to import from. Needs the scope `admin`.
    directory: Option<String>,
    /// Files of a notebook or of `/storage`, whether anything runs or not.
    files: Option<ChosenText>,
    /// Directory of the version that it goes into; the top when left out.
    prefix: Option<String>,
    /// Commits the version when everything is there.
    #[serde(default)]
    commit: bool,
    /// Tags that the version gets when everything is there.
    #[serde(default)]
    tags: Vec<String>,
}

/// Files that somebody chose in a notebook or in `/storage`.
///
/// Links that lead out of the directory, sockets, pipes and devices are left out and counted; no link is
/// followed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChosenText {
    /// Id of a notebook (of the team, or a public one), or `storage`.
    #[schema(example = "n012345678")]
    root: String,
    /// Directory whose entries are meant: they keep their paths from there on. The top when left out.
    beneath: Option<String>,
    /// The same as base64, where it is not UTF-8.
    beneath_base64: Option<String>,
    /// Files and directories in it, 1000 at most, each once; all that is in it when this is left out. An empty
    /// list is refused.
    paths: Option<Vec<String>>,
    /// Those of which the path is not UTF-8, as base64.
    paths_base64: Option<Vec<String>>,
}

/// A bucket: that of a storage provider, or any with keys of its own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct S3Text {
    /// Id or name of a storage provider; nothing but `prefix` is given with it.
    provider: Option<String>,
    bucket: Option<String>,
    /// URL of the service; AWS when left out.
    endpoint: Option<String>,
    /// `us-east-1` when left out.
    region: Option<String>,
    /// Whether the bucket is in the path and not in the host name. True when left out and an endpoint is
    /// given.
    path_style: Option<bool>,
    access_key_id: Option<String>,
    /// Never read back; forgotten when the import is over.
    #[schema(value_type = Option<String>)]
    secret_access_key: Option<Secret<String>>,
    /// What the keys begin with, which is left out of the paths.
    #[serde(default)]
    prefix: String,
}

impl CreateImport {
    fn draft(self) -> Result<ImportDraft, Problem> {
        let source = match (self.url, self.s3, self.directory, self.files) {
            (Some(url), None, None, None) => DraftSource::Url { url, unpack: self.unpack },
            (None, Some(s3), None, None) => s3.draft()?,
            (None, None, Some(path), None) => DraftSource::Directory { path },
            (None, None, None, Some(files)) => files.draft("files")?,
            _ => {
                let message = "an import has one source: url, s3, directory or files";
                return Err(Problem::invalid("one_source", "url", message));
            }
        };
        if self.unpack && !matches!(source, DraftSource::Url { .. }) {
            let message = "only what a url leads to is unpacked: leave unpack out";
            return Err(Problem::invalid("only_with_url", "unpack", message));
        }
        Ok(ImportDraft { source, prefix: self.prefix, commits: self.commit, tags: self.tags })
    }
}

impl ChosenText {
    /// Reads what was chosen, out of the field `field` of a request.
    pub(super) fn draft(self, field: &str) -> Result<DraftSource, Problem> {
        let root = self.root.parse().map_err(|error| {
            Problem::invalid("bad_root", format!("{field}.root"), format!("{error}; or say “storage”"))
        })?;
        let beneath = format!("{field}.beneath");
        let beneath = named_path(self.beneath.as_deref(), self.beneath_base64.as_deref(), &beneath)?;
        let paths = self.paths(&format!("{field}.paths"))?;
        Ok(DraftSource::Files { root, beneath, paths })
    }

    /// Nothing chosen is a mistake of whoever chose, as is one thing twice; only without any list is all meant.
    fn paths(&self, field: &str) -> Result<Vec<UserPath>, Problem> {
        if self.paths.is_none() && self.paths_base64.is_none() {
            return Ok(Vec::new());
        }
        let text = self.paths.iter().flatten().map(|path| named_path(Some(path), None, field));
        let base64 = self.paths_base64.iter().flatten().map(|path| named_path(None, Some(path), field));
        let mut paths: Vec<UserPath> = Vec::new();
        let mut known = HashSet::new();
        for path in text.chain(base64) {
            let path = path?;
            if path.is_root() {
                let message = "one of them has no name: leave the list out to take all that is there";
                return Err(Problem::invalid("bad_path", field, message));
            }
            if !known.insert(path.as_bytes().to_vec()) {
                let message = format!("“{path}” is there twice: name each file and directory once");
                return Err(Problem::invalid("chosen_twice", field, message));
            }
            paths.push(path);
        }
        if paths.is_empty() {
            let message =
                "nothing is chosen: name files or directories, or leave the list out to take all that is there";
            return Err(Problem::invalid("nothing_chosen", field, message));
        }
        Ok(paths)
    }
}

impl S3Text {
    fn draft(self) -> Result<DraftSource, Problem> {
        let missing = |field: &str| {
            let message = format!("{field} is missing: an s3 source is a provider, or a bucket with its keys");
            Problem::invalid("missing", field, message)
        };
        match self {
            Self {
                provider: Some(provider),
                bucket: None,
                endpoint: None,
                region: None,
                path_style: None,
                access_key_id: None,
                secret_access_key: None,
                prefix,
            } => Ok(DraftSource::Provider { provider, prefix }),
            Self { provider: Some(_), .. } => {
                let message = "a provider has its bucket and keys: give nothing but prefix with it";
                Err(Problem::invalid("provider_and_bucket", "s3.provider", message))
            }
            Self { provider: None, bucket, endpoint, region, path_style, access_key_id, secret_access_key, prefix } => {
                Ok(DraftSource::Bucket {
                    place: S3Place {
                        bucket: bucket.ok_or_else(|| missing("s3.bucket"))?,
                        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
                        path_style: path_style.unwrap_or(endpoint.is_some()),
                        access_key_id: access_key_id.ok_or_else(|| missing("s3.accessKeyId"))?,
                        endpoint,
                    },
                    secret_key: secret_access_key.ok_or_else(|| missing("s3.secretAccessKey"))?,
                    prefix,
                })
            }
        }
    }
}

/// Something that is being brought into a version, or was.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportView {
    #[schema(value_type = String, example = "im3v54dfgz1zcu")]
    id: ImportId,
    /// `waiting`, `running`, and then one of `done`, `failed` and `cancelled`.
    #[schema(value_type = String, example = "running")]
    state: ImportState,
    /// `DATASET:VERSION` that it goes into.
    version: String,
    source: SourceView,
    prefix: String,
    commit: bool,
    /// Tags that the version gets when everything is there.
    tags: Vec<String>,
    /// How far it is, or what came.
    progress: Option<ImportProgressView>,
    /// What went wrong and what to do.
    message: Option<String>,
    user: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// Where an import's files come from.
#[derive(Debug, Serialize, ToSchema)]
struct SourceView {
    /// `url`, `s3`, `directory` or `files`.
    kind: &'static str,
    /// For people. Shows no password.
    words: String,
    /// Of `files`: the id of the notebook, or `storage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
}

/// How far an import is. Totals are null until they are known.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ImportProgressView {
    done_files: u64,
    done_bytes: u64,
    total_files: Option<u64>,
    total_bytes: Option<u64>,
}

impl From<ImportNow> for ImportView {
    fn from(now: ImportNow) -> Self {
        let import = now.import;
        Self {
            version: format!("{}:{}", import.dataset, import.version),
            source: SourceView {
                kind: import.source.kind(),
                words: import.source.words(),
                root: match import.source {
                    ImportSource::Files(chosen) => Some(chosen.root.to_string()),
                    _ => None,
                },
            },
            progress: now.progress.map(|progress| ImportProgressView {
                done_files: progress.done.files,
                done_bytes: progress.done.bytes,
                total_files: progress.total_files,
                total_bytes: progress.total_bytes,
            }),
            id: import.id,
            state: import.state,
            prefix: import.prefix,
            commit: import.commits,
            tags: import.tags,
            message: import.message,
            user: import.user_name,
            created_at: import.created_at,
            finished_at: import.finished_at,
        }
    }
}

/// Brings files into an uncommitted version.
///
/// Answers at once and works in the background. Repeating it after a failure goes on where it ended.
#[utoipa::path(
    post, path = "/datasets/{dataset}/versions/{version}/imports", tag = "datasets", request_body = CreateImport,
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Version or tag")),
    responses(
        (status = 202, description = "Accepted", body = ImportView),
        (status = 403, description = "The key may not do that", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is no such version, notebook or file", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The version is committed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The source cannot be so; `field` names what", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Path(named): Path<(String, String)>,
    Json(body): Json<CreateImport>,
) -> Result<(StatusCode, Json<ImportView>), Problem> {
    let (dataset, version) = both(&named)?;
    let now = services.create_import(&caller, dataset, version, body.draft()?).await?;
    Ok((StatusCode::ACCEPTED, Json(now.into())))
}

/// Lists the imports into a version, newest first.
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}/imports", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Version or tag"), PageQuery),
    responses((status = 200, body = Page<ImportView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(named): Path<(String, String)>,
    page: Paged,
) -> Result<Json<Page<ImportView>>, Problem> {
    let (dataset, version) = both(&named)?;
    let found = services.imports(&caller, dataset, version, page.before()?, page.limit + 1).await?;
    Ok(Json(Page::cut(found, page.limit, |now| now.import.seq).map(ImportView::from)))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportsQuery {
    /// Only those that are not over.
    #[serde(default)]
    live: bool,
    /// Only those of files that are there: the id of a notebook, or `storage`.
    root: Option<String>,
}

/// Lists the imports of the team, newest first.
#[utoipa::path(
    get, path = "/imports", tag = "datasets", params(ImportsQuery, PageQuery),
    responses((status = 200, body = Page<ImportView>)),
)]
async fn list_all(
    State(services): State<Services>,
    caller: Caller,
    page: Paged<ImportsQuery>,
) -> Result<Json<Page<ImportView>>, Problem> {
    let root = page.filter.root.as_deref().map(|root| {
        root.parse().map_err(|error| Problem::invalid("bad_root", "root", format!("{error}; or say “storage”")))
    });
    let filter = ImportFilter { live: page.filter.live, root: root.transpose()? };
    let found = services.all_imports(&caller, filter, page.before()?, page.limit + 1).await?;
    Ok(Json(Page::cut(found, page.limit, |now| now.import.seq).map(ImportView::from)))
}

/// Shows an import.
#[utoipa::path(
    get, path = "/imports/{id}", tag = "datasets", params(("id" = String, Path, description = "Id of an import")),
    responses(
        (status = 200, body = ImportView),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ImportId>,
) -> Result<Json<ImportView>, Problem> {
    Ok(Json(services.import(&caller, &id).await?.into()))
}

/// Cancels an import.
///
/// What came so far stays in the version. One that is over stays as it is.
#[utoipa::path(
    delete, path = "/imports/{id}", tag = "datasets", params(("id" = String, Path, description = "Id of an import")),
    responses(
        (status = 200, description = "The import as it stands", body = ImportView),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn cancel(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ImportId>,
) -> Result<Json<ImportView>, Problem> {
    Ok(Json(services.cancel_import(&caller, &id).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    async fn draft(api: &Api) -> String {
        assert_eq!(api.ask("POST", "datasets", Some(json!({ "name": "mnist" }))).await.status, 201);
        let made = api.ask("POST", "datasets/mnist/versions", Some(json!({}))).await;
        format!("datasets/mnist/versions/{}", made.body["version"].as_str().unwrap())
    }

    #[tokio::test]
    async fn an_import_is_accepted_shown_and_cancelled_and_tells_no_password() {
        let api = Api::new().await;
        let version = draft(&api).await;
        let body =
            json!({ "url": "https://host/a.tar?signature=hush", "prefix": "in", "unpack": true, "commit": true });
        let made = api.ask("POST", &format!("{version}/imports"), Some(body)).await;
        assert_eq!(made.status, 202, "{}", made.text);
        assert_eq!(made.body["source"], json!({ "kind": "url", "words": "https://host/a.tar" }));
        assert_eq!((&made.body["state"], &made.body["commit"]), (&json!("waiting"), &json!(true)));
        assert!(!made.text.contains("hush"));
        let listed = api.ask("GET", &format!("{version}/imports"), None).await;
        assert_eq!(listed.body["items"], json!([made.body]));
        let commit = api.ask("POST", &format!("{version}/commit"), None).await;
        assert_eq!((commit.status.as_u16(), &commit.body["code"]), (409, &json!("import_running")));
        let one = format!("imports/{}", made.body["id"].as_str().unwrap());
        assert_eq!(api.ask("DELETE", &one, None).await.body["state"], "cancelled");
        assert_eq!(api.ask("DELETE", &one, None).await.body["state"], "cancelled");
        assert_eq!(api.ask("POST", &format!("{version}/commit"), None).await.status, 200);
        let late = api.ask("POST", &format!("{version}/imports"), Some(json!({ "url": "https://host/a" }))).await;
        assert_eq!((late.status.as_u16(), &late.body["code"]), (409, &json!("version_committed")));
    }

    #[tokio::test]
    async fn a_source_that_cannot_be_is_refused_by_its_field() {
        let api = Api::new().await;
        let version = draft(&api).await;
        for (body, field) in [
            (json!({}), "url"),
            (json!({ "url": "https://a/b", "directory": "/data" }), "url"),
            (json!({ "url": "file:///etc/passwd" }), "url"),
            (json!({ "url": "https://a/b", "prefix": "../up" }), "prefix"),
            (json!({ "directory": "/etc" }), "directory"),
            (json!({ "directory": "/etc", "unpack": true }), "unpack"),
            (json!({ "s3": { "bucket": "b" } }), "s3.accessKeyId"),
            (json!({ "s3": { "provider": "none" } }), "s3.provider"),
            (json!({ "s3": { "provider": "Gradient Managed" } }), "s3.provider"),
            (json!({ "s3": { "provider": "x", "bucket": "b" } }), "s3.provider"),
            (json!({ "files": { "root": "storage" }, "url": "https://a/b" }), "url"),
            (json!({ "files": { "root": "js0123456789ab" } }), "files.root"),
            (json!({ "files": { "root": "storage", "beneath": "../up" } }), "files.beneath"),
            (json!({ "files": { "root": "storage", "paths": ["a", "/etc/passwd"] } }), "files.paths"),
            (json!({ "files": { "root": "storage", "pathsBase64": ["?"] } }), "files.paths"),
            (json!({ "files": { "root": "storage", "paths": [] } }), "files.paths"),
            (json!({ "files": { "root": "storage", "paths": [], "pathsBase64": [] } }), "files.paths"),
            (json!({ "files": { "root": "storage", "paths": ["a", "b", "a"] } }), "files.paths"),
            (json!({ "files": { "root": "storage", "paths": ["a"], "pathsBase64": ["YQ=="] } }), "files.paths"),
            (json!({ "files": { "root": "storage", "paths": [""] } }), "files.paths"),
            (json!({ "url": "https://a/b", "tags": ["no tag"] }), "tags"),
        ] {
            let answer = api.ask("POST", &format!("{version}/imports"), Some(body)).await;
            assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (422, Some(field)), "{}", answer.text);
        }
    }
}
