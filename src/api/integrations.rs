//! `/notebooks/{id}/integrations`: what a notebook has beneath `/datasets`, looked at, added and taken away.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Path, Problem, problem::ProblemDocument};
use crate::{
    domain::{
        caller::Caller,
        id::{DatasetId, NotebookId, VersionId},
        integration::{DataProblem, Integration, IntegrationState, InvalidIntegration, Origin, S3Draft, Source},
        integration_file::PATH,
    },
    service::{
        Invalid, Services,
        integrations::{IntegrationNow, IntegrationsNow, VersionNow},
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, remove))
}

/// What a notebook is to have at `/datasets/NAME`.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum IntegrationText {
    /// A version of a dataset, read-only.
    Dataset {
        /// `NAME`, `NAME:TAG`, `NAME:VERSION`, the same with an id, or with `gradient/NAME` of a public one.
        /// Without a version it is the newest committed one at the time when it is mounted.
        #[schema(example = "mnist:prod")]
        r#ref: String,
    },
    /// A place on S3, as files.
    S3 {
        #[schema(example = "s3://lab/raw")]
        url: String,
        access_key_id: String,
        /// `secret:NAME`. A key that is written out is refused.
        #[schema(example = "secret:LAB_S3")]
        secret_access_key: String,
        /// Of AWS. Either this or `endpoint`.
        region: Option<String>,
        /// URL of another service. Either this or `region`.
        endpoint: Option<String>,
        /// False when left out.
        #[serde(default)]
        read_only: bool,
    },
}

impl IntegrationText {
    fn checked(self, name: &str) -> Result<Integration, Invalid> {
        let checked = match self {
            Self::Dataset { r#ref } => Integration::dataset(name, &r#ref, None).map_err(|error| match error.field {
                "name" => error,
                _ => InvalidIntegration { field: "ref", ..error },
            }),
            Self::S3 { url, access_key_id, secret_access_key, region, endpoint, read_only } => {
                let said = |text: Option<String>| text.filter(|text| !text.is_empty());
                let (region, endpoint) = (said(region), said(endpoint));
                Integration::s3(name, S3Draft { url, access_key_id, secret_access_key, region, endpoint, read_only })
            }
        };
        checked.map_err(|error| {
            let code = if error.field == "ref" { "bad_reference" } else { "bad_integration" };
            Invalid::new(error.field, code, error.words)
        })
    }
}

/// All that a notebook has beneath `/datasets`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IntegrationsView {
    items: Vec<IntegrationView>,
    /// What is wrong with the file, and with entries of it that are not among `items` for that.
    problems: Vec<DataProblemView>,
    /// The file among the notebook's own that says what there is. It is read at every start, and watched while a
    /// session runs.
    #[schema(example = ".gradient/settings.yaml")]
    file: &'static str,
    has_file: bool,
}

/// Something that a notebook has at `/datasets/NAME`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IntegrationView {
    name: String,
    #[schema(example = "/datasets/mnist")]
    path: String,
    /// `dataset` or `s3`.
    r#type: &'static str,
    /// Who says that it is there: `file`, `settings` (the notebook's `datasets`), or `public` (every notebook has
    /// it). The first that has a name counts.
    #[schema(value_type = String, example = "file")]
    origin: Origin,
    /// `not_running`, `waiting`, `fetching`, `mounted` or `failed`.
    #[schema(value_type = String, example = "mounted")]
    state: IntegrationState,
    /// Why it is not there and what to do, for people.
    message: Option<String>,
    /// How far the bringing of its files to this box is.
    progress: Option<FetchView>,
    /// What is asked for, of a dataset.
    #[schema(example = "mnist:prod")]
    r#ref: Option<String>,
    /// Which version that is.
    version: Option<VersionNowView>,
    s3: Option<S3View>,
}

/// How many bytes are here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FetchView {
    done_bytes: u64,
    total_bytes: u64,
}

/// The version that is mounted, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VersionNowView {
    #[schema(value_type = String, example = "dst364npcw6ccok")]
    dataset: DatasetId,
    dataset_name: String,
    /// Of another team, for all to read.
    public: bool,
    #[schema(value_type = String, example = "fo5rp4m")]
    id: VersionId,
    tags: Vec<String>,
    files: Option<u64>,
    bytes: Option<u64>,
    /// The newest committed version of the dataset; null where this is it. Ask for the integration again to have
    /// `latest` or a tag looked up anew.
    #[schema(value_type = Option<String>)]
    newer: Option<VersionId>,
    /// Its files stay till it is taken away here.
    deleted: bool,
}

/// A place on S3.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct S3View {
    url: String,
    region: Option<String>,
    endpoint: Option<String>,
    access_key_id: String,
    /// `secret:NAME`
    secret_access_key: String,
    read_only: bool,
}

/// Something that is wrong with what a notebook is to have.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DataProblemView {
    /// Whose it is; null when the whole file cannot be read.
    name: Option<String>,
    /// In words that say what to do.
    message: String,
}

impl From<DataProblem> for DataProblemView {
    fn from(DataProblem { name, message }: DataProblem) -> Self {
        Self { name, message }
    }
}

impl From<IntegrationsNow> for IntegrationsView {
    fn from(now: IntegrationsNow) -> Self {
        Self {
            items: now.items.into_iter().map(IntegrationView::from).collect(),
            problems: now.problems.into_iter().map(DataProblemView::from).collect(),
            file: PATH,
            has_file: now.has_file,
        }
    }
}

impl From<IntegrationNow> for IntegrationView {
    fn from(now: IntegrationNow) -> Self {
        let integration = now.wanted.integration;
        let (r#type, reference, s3) = match &integration.source {
            Source::Dataset(reference) => ("dataset", Some(reference.to_string()), None),
            Source::S3(s3) => {
                let view = S3View {
                    url: s3.url(),
                    region: s3.endpoint().is_none().then(|| s3.region().to_owned()),
                    endpoint: s3.endpoint().map(str::to_owned),
                    access_key_id: s3.access_key_id.to_string(),
                    secret_access_key: format!("secret:{}", s3.secret_access_key),
                    read_only: s3.read_only,
                };
                ("s3", None, Some(view))
            }
        };
        Self {
            path: integration.path(),
            name: integration.name().to_owned(),
            r#type,
            origin: now.wanted.origin,
            state: now.state,
            message: now.message,
            progress: now.fetching.map(|(done_bytes, total_bytes)| FetchView { done_bytes, total_bytes }),
            r#ref: reference,
            version: now.version.map(VersionNowView::from),
            s3,
        }
    }
}

impl From<VersionNow> for VersionNowView {
    fn from(now: VersionNow) -> Self {
        Self {
            dataset: now.dataset,
            dataset_name: now.dataset_name,
            public: now.is_public,
            id: now.version,
            tags: now.tags,
            files: now.files,
            bytes: now.bytes,
            newer: now.newer,
            deleted: now.is_deleted,
        }
    }
}

/// List what a notebook has beneath `/datasets`
///
/// Versions of datasets and places on S3, each with where it is at this moment.
#[utoipa::path(
    get, path = "/notebooks/{id}/integrations", tag = "notebooks",
    params(("id" = String, Path, description = "Id of a notebook")),
    responses(
        (status = 200, description = "All of it", body = IntegrationsView),
        (status = 403, description = "It belongs to another team", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<NotebookId>,
) -> Result<Json<IntegrationsView>, Problem> {
    Ok(Json(services.integrations(&caller, &id).await?.into()))
}

/// Mount something in a notebook
///
/// At `/datasets/NAME`, in the place of what has that name. It is written into `.gradient/settings.yaml` of the
/// notebook; where a session runs it is there soon after. Asked for again, `latest` or a tag is looked up anew.
#[utoipa::path(
    put, path = "/notebooks/{id}/integrations/{name}", tag = "notebooks", request_body = IntegrationText,
    params(
        ("id" = String, Path, description = "Id of a notebook"),
        ("name" = String, Path, description = "The name of a directory: letters, digits, `-`, `_` and `.`"),
    ),
    responses(
        (status = 200, description = "All that the notebook has by now", body = IntegrationsView),
        (status = 403, description = "The key may only read, or it belongs to another team", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The file cannot be changed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn put(
    State(services): State<Services>,
    caller: Caller,
    Path((id, name)): Path<(NotebookId, String)>,
    Json(text): Json<IntegrationText>,
) -> Result<Json<IntegrationsView>, Problem> {
    let integration = text.checked(&name)?;
    Ok(Json(services.put_integration(&caller, &id, integration).await?.into()))
}

/// Unmount something from a notebook
///
/// Takes it out of `.gradient/settings.yaml`, or out of the notebook's settings. A session that runs loses it soon
/// after; what programs have open stays open. Of S3, nothing is deleted.
#[utoipa::path(
    delete, path = "/notebooks/{id}/integrations/{name}", tag = "notebooks",
    params(
        ("id" = String, Path, description = "Id of a notebook"),
        ("name" = String, Path, description = "What it is called beneath `/datasets`"),
    ),
    responses(
        (status = 200, description = "All that the notebook has by now", body = IntegrationsView),
        (status = 403, description = "The key may only read, or it belongs to another team", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Every notebook has it, or the file cannot be changed", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn remove(
    State(services): State<Services>,
    caller: Caller,
    Path((id, name)): Path<(NotebookId, String)>,
) -> Result<Json<IntegrationsView>, Problem> {
    Ok(Json(services.remove_integration(&caller, &id, &name).await?.into()))
}
