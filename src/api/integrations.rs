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
    /// While a session runs, what the file asked for last is among them where it cannot be read now.
    items: Vec<IntegrationView>,
    /// What is wrong with the file or with entries of it: the line, the field and what is expected.
    problems: Vec<DataProblemView>,
    /// The file among the notebook's own that says what there is. It is read at every start, and watched while a
    /// session runs.
    #[schema(example = ".gradient/settings.yaml")]
    file: &'static str,
    has_file: bool,
    /// Whether this box mounts places on S3 (`s3_sources.enabled`).
    s3_sources: bool,
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
    /// `not_running`, `waiting`, `fetching`, `mounting`, `mounted` or `failed`.
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
            s3_sources: now.s3_sources,
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
                    access_key_id: s3.access_key_id.clone(),
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
        (status = 409, description = "The file cannot be changed, or places on S3 are switched off", body = ProblemDocument, content_type = "application/problem+json"),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::router::tests::Api, domain::caller::Scope};

    async fn notebook(api: &Api, more: Value) -> String {
        let mut body = json!({ "image": "busybox", "start": false });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = api.ask("POST", "notebooks", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        format!("notebooks/{}/integrations", made.body["id"].as_str().unwrap())
    }

    fn s3() -> Value {
        json!({
            "type": "s3", "url": "s3://lab/raw", "endpoint": "https://minio.lab.example", "accessKeyId": "LAB",
            "secretAccessKey": "secret:LAB_S3",
        })
    }

    async fn keep_secret(api: &Api) {
        let kept = api.ask("PUT", "secrets", Some(json!({ "name": "LAB_S3", "value": "wJalrXUtn" }))).await;
        assert_eq!(kept.status, 201, "{}", kept.text);
    }

    #[tokio::test]
    async fn a_place_on_s3_is_kept_in_the_file_and_shown_without_its_key() {
        let api = Api::new().await;
        keep_secret(&api).await;
        let way = notebook(&api, json!({})).await;
        let empty = api.ask("GET", &way, None).await;
        assert_eq!((&empty.body["items"], &empty.body["hasFile"]), (&json!([]), &json!(false)), "{}", empty.text);
        let put = api.ask("PUT", &format!("{way}/lab"), Some(s3())).await;
        assert_eq!(put.status, 200, "{}", put.text);
        let item = &put.body["items"][0];
        assert_eq!((&item["path"], &item["state"]), (&json!("/datasets/lab"), &json!("not_running")));
        assert_eq!((&item["s3"]["region"], &item["s3"]["secretAccessKey"]), (&Value::Null, &json!("secret:LAB_S3")));
        assert!(!put.text.contains("wJalr"));
        let again = api.ask("GET", &way, None).await;
        assert_eq!((&again.body["items"], &again.body["hasFile"]), (&put.body["items"], &json!(true)));
        let removed = api.ask("DELETE", &format!("{way}/lab"), None).await;
        assert_eq!((removed.status.as_u16(), &removed.body["items"]), (200, &json!([])), "{}", removed.text);
        assert_eq!(api.ask("DELETE", &format!("{way}/lab"), None).await.status, 404);
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_by_its_field_and_leaves_no_file() {
        let api = Api::new().await;
        let way = notebook(&api, json!({})).await;
        let with = |field: &str, value: Value| {
            let mut body = s3();
            body[field] = value;
            body
        };
        let dataset = |reference: &str| json!({ "type": "dataset", "ref": reference });
        for (name, body, field) in [
            ("..%2Fup", dataset("mnist"), "name"),
            (".hidden", dataset("mnist"), "name"),
            ("a%00b", dataset("mnist"), "name"),
            ("a", dataset("a:b:c"), "ref"),
            ("a", dataset("../x"), "ref"),
            ("a", dataset("nothing"), "ref"),
            ("a", dataset("gradient/nothing:latest"), "ref"),
            ("a", with("url", json!("http://lab")), "url"),
            ("a", with("url", json!("s3://lab/../x")), "url"),
            ("a", with("region", json!("eu-west-1")), "endpoint"),
            ("a", with("endpoint", json!("http://u:p@h")), "endpoint"),
            ("a", with("endpoint", Value::Null), "region"),
            ("a", with("accessKeyId", json!("a b")), "accessKeyId"),
            ("a", with("secretAccessKey", json!("wJalrXUtn")), "secretAccessKey"),
            ("a", with("secretAccessKey", json!("secret:none")), "secretAccessKey"),
        ] {
            let refused = api.ask("PUT", &format!("{way}/{name}"), Some(body)).await;
            assert_eq!((refused.status.as_u16(), &refused.body["field"]), (422, &json!(field)), "{}", refused.text);
            assert!(!refused.text.contains("wJalr"), "{}", refused.text);
        }
        for body in
            [json!({}), json!({ "type": "ftp" }), json!({ "type": "dataset" }), json!([]), with("more", json!(1))]
        {
            let refused = api.ask("PUT", &format!("{way}/a"), Some(body)).await;
            assert!([400, 422].contains(&refused.status.as_u16()), "{}", refused.text);
        }
        assert_eq!(api.ask("GET", &way, None).await.body["hasFile"], false);
    }

    #[tokio::test]
    async fn who_may_only_look_and_who_is_of_another_team_changes_nothing() {
        let api = Api::new().await;
        keep_secret(&api).await;
        let way = notebook(&api, json!({ "public": true })).await;
        let caller = api.services.local_admin("admin").await.unwrap();
        let (_, key) = api.services.create_key(&caller, "looker".to_owned(), Scope::Read, None).await.unwrap();
        let looker = format!("Bearer {}", key.reveal());
        let stranger = api.stranger(Scope::Admin).await;
        for (method, path, body, looks) in [
            ("GET", way.clone(), None, 200),
            ("PUT", format!("{way}/a"), Some(s3()), 403),
            ("DELETE", format!("{way}/a"), None, 403),
        ] {
            let answer = api.send(method, &path, &[("authorization", &looker)], body.clone()).await;
            assert_eq!(answer.status.as_u16(), looks, "{method} {path}: {}", answer.text);
            // What is in the file names things of the team.
            let answer = api.send(method, &path, &[("authorization", &stranger)], body).await;
            assert_eq!(answer.status.as_u16(), 403, "{method} {path}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn files_that_are_still_to_be_fetched_are_not_begun_with_this_one() {
        let api = Api::new().await;
        keep_secret(&api).await;
        let way = notebook(&api, json!({ "workspace": { "git": "https://git.example/a/b.git" } })).await;
        assert_eq!(api.ask("PUT", &format!("{way}/lab"), Some(s3())).await.problem(), (409, "notebook_not_filled"));
    }

    #[tokio::test]
    async fn a_change_is_held_to_nothing_that_it_does_not_say() {
        let api = Api::new().await;
        keep_secret(&api).await;
        let way = notebook(&api, json!({ "env": { "KEY": "secret:LAB_S3" } })).await;
        let id = way.strip_suffix("/integrations").unwrap();
        let secrets = api.ask("GET", "secrets", None).await;
        let secret = secrets.body["items"][0]["id"].as_str().unwrap();
        assert_eq!(api.ask("DELETE", &format!("secrets/{secret}"), None).await.status, 204);
        let changed = api.ask("PATCH", id, Some(json!({ "tags": ["a"], "name": "b" }))).await;
        assert_eq!((changed.status.as_u16(), &changed.body["tags"]), (200, &json!(["a"])), "{}", changed.text);
        let kept = api.ask("GET", id, None).await;
        assert_eq!(kept.body["spec"]["env"], json!({ "KEY": "secret:LAB_S3" }));
        let said = api.ask("PATCH", id, Some(json!({ "env": { "KEY": "secret:LAB_S3" } }))).await;
        assert_eq!(said.problem(), (422, "unknown_secret"));
    }
}
