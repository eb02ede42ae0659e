//! `/experiments`: settings that are kept, to be run again and again.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Page, PageQuery, Paged, Path, Problem, created,
    idempotency::{MaybeOnce, Once},
    job_view::{JobView, ProjectName, UserName},
    job_wire::{CommandText, CreateJob},
    paging::given,
    problem::ProblemDocument,
    projects::project_meant,
};
use crate::{
    domain::{
        caller::Caller,
        experiment::{Experiment, ExperimentFilter, ModelNote},
        id::{ExperimentId, JobId},
        time::Timestamp,
        workload::{Phase, Reason, State as RunState, Workload},
    },
    service::{
        Services,
        experiments::{ExperimentChange, ExperimentNow, NewExperiment},
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, delete))
        .routes(routes!(start))
        .routes(routes!(stop))
}

/// An experiment to be kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateExperiment {
    /// What each run is to be, as a job says it. Its name, project and tags are the experiment's.
    spec: CreateJob,
    /// Starts it at once.
    #[serde(default)]
    start: bool,
    /// What kind of model its runs make; kept and shown.
    model_type: Option<String>,
    /// Where its runs put the model; kept and shown.
    model_path: Option<String>,
}

/// What is to be another; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangeExperiment {
    /// 1 to 128 characters. Runs keep the name that they were started with.
    name: Option<String>,
    /// All tags that it is to have.
    tags: Option<Vec<String>>,
}

/// Nothing more has to be said.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartExperiment {}

/// An experiment as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExperimentView {
    #[schema(value_type = String, example = "e3v54dfgz1zcu9")]
    id: ExperimentId,
    name: String,
    project: ProjectName,
    user: UserName,
    /// `created` before the first run; then the state of the latest.
    #[schema(example = "running")]
    state: &'static str,
    tags: Vec<String>,
    /// Null when each run builds its own.
    image: Option<String>,
    /// Null when the image's own command runs.
    command: Option<CommandText>,
    machine_type: String,
    model_type: Option<String>,
    model_path: Option<String>,
    /// How many runs there are; each can be deleted by itself.
    runs: u64,
    /// The latest run. All of them are in `GET /jobs?experiment=ID`.
    latest_run: Option<RunView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// An experiment with what its runs start with.
#[derive(Debug, Serialize, ToSchema)]
struct ExperimentDetail {
    #[serde(flatten)]
    experiment: ExperimentView,
    /// The `spec` that keeps the same. Passwords are null, secrets stay names.
    spec: CreateJob,
}

/// A run in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunView {
    /// Id of a job.
    #[schema(value_type = String)]
    id: JobId,
    #[schema(value_type = String)]
    state: RunState,
    #[schema(value_type = Option<String>)]
    phase: Option<Phase>,
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
    message: Option<String>,
    exit_code: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<ExperimentNow> for ExperimentView {
    fn from(ExperimentNow { experiment, phase }: ExperimentNow) -> Self {
        let spec = &experiment.plan.spec;
        Self {
            state: experiment.state_word(),
            image: spec.build.is_none().then(|| spec.image.clone()),
            command: CommandText::of(&spec.command),
            machine_type: spec.machine_type.clone(),
            project: ProjectName { id: experiment.project, name: experiment.project_name },
            user: UserName { id: experiment.user, name: experiment.user_name },
            model_type: experiment.model.kind,
            model_path: experiment.model.path,
            runs: experiment.runs,
            latest_run: experiment.latest.map(|run| RunView::of(run, phase)),
            id: experiment.id,
            name: experiment.name,
            tags: experiment.tags,
            created_at: experiment.created_at,
        }
    }
}

impl From<ExperimentNow> for ExperimentDetail {
    fn from(now: ExperimentNow) -> Self {
        let Experiment { name, project_name, tags, plan, .. } = &now.experiment;
        Self { spec: CreateJob::of_plan(name, project_name, tags, plan), experiment: now.into() }
    }
}

impl RunView {
    fn of(run: Workload, phase: Option<Phase>) -> Self {
        Self {
            id: run.id,
            state: run.state,
            phase,
            reason: run.reason,
            message: run.message,
            exit_code: run.exit_code,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
    }
}

/// Keep an experiment
///
/// Its settings are held to the rules of a job now, and again by each start.
#[utoipa::path(
    post, path = "/experiments", tag = "experiments", request_body = CreateExperiment,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body, the same experiment is answered and no second one made")),
    responses(
        (status = 201, description = "Kept", body = ExperimentDetail, headers(("Location" = String, description = "Where the experiment is"))),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    once: Once<CreateExperiment>,
) -> Result<Response, Problem> {
    let mut wanted = once.body;
    let of_job = wanted.spec.clone_of.take();
    let new = NewExperiment {
        draft: wanted.spec.try_into()?,
        of_job,
        model: ModelNote { kind: wanted.model_type, path: wanted.model_path },
        start: wanted.start,
    };
    let now = services.create_experiment(&caller, new, once.key).await?;
    Ok(created(format!("experiments/{}", now.experiment.id), ExperimentDetail::from(now)))
}

/// Which experiments a list shows. Everything that is given must fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExperimentsQuery {
    /// Id or name of a project.
    #[serde(default)]
    project: String,
    #[serde(default)]
    tag: String,
    /// Part of the name or of the id, in any case.
    #[serde(default)]
    q: String,
}

/// List experiments
///
/// Newest first.
#[utoipa::path(
    get, path = "/experiments", tag = "experiments",
    params(ExperimentsQuery, PageQuery),
    responses((status = 200, description = "A page", body = Page<ExperimentView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    paged: Paged<ExperimentsQuery>,
) -> Result<Json<Page<ExperimentView>>, Problem> {
    let before = paged.before()?;
    let query = paged.filter;
    let filter = ExperimentFilter {
        projects: project_meant(&services, &caller, query.project).await?.into_iter().collect(),
        tags: given(query.tag).into_iter().collect(),
        text: given(query.q),
    };
    let found = services.experiments(&caller, filter, before, paged.limit + 1).await?;
    Ok(Json(Page::cut(found, paged.limit, |now| now.experiment.seq).map(ExperimentView::from)))
}

/// Look at an experiment
///
/// With what its runs start with.
#[utoipa::path(
    get, path = "/experiments/{id}", tag = "experiments", params(("id" = String, Path, description = "Id of an experiment")),
    responses((status = 200, description = "The experiment", body = ExperimentDetail)),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
) -> Result<Json<ExperimentDetail>, Problem> {
    Ok(Json(services.experiment(&caller, &id).await?.into()))
}

/// Change an experiment
///
/// Its name and tags; what its runs start with stays as it is.
#[utoipa::path(
    patch, path = "/experiments/{id}", tag = "experiments", params(("id" = String, Path, description = "Id of an experiment")),
    request_body = ChangeExperiment, responses((status = 200, description = "The experiment as it stands", body = ExperimentView)),
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
    Json(change): Json<ChangeExperiment>,
) -> Result<Json<ExperimentView>, Problem> {
    let change = ExperimentChange { name: change.name, tags: change.tags };
    Ok(Json(services.change_experiment(&caller, &id, change).await?.into()))
}

/// Start an experiment
///
/// Submits a job of its settings. A tag or `latest` of a dataset means what it means now.
#[utoipa::path(
    post, path = "/experiments/{id}/start", tag = "experiments", request_body = Option<StartExperiment>,
    params(
        ("id" = String, Path, description = "Id of an experiment"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again, the same run is answered and no second one made"),
    ),
    responses(
        (status = 201, description = "Accepted", body = JobView, headers(("Location" = String, description = "Where the job is"))),
        (status = 409, description = "`experiment_running`: its run is not over", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Its settings do not hold any more; `field` names what", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many jobs of the team are waiting", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn start(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
    MaybeOnce(once): MaybeOnce<StartExperiment>,
) -> Result<Response, Problem> {
    let now = services.start_experiment(&caller, &id, once.key).await?;
    let view = JobView::of(now, &services.gpu_inventory(), services.settings.publish_address);
    Ok(created(format_args!("jobs/{}", view.id()), &view))
}

/// Stop an experiment
///
/// Asks for its run's end and answers at once. One that does not run stays as it is.
#[utoipa::path(
    post, path = "/experiments/{id}/stop", tag = "experiments", params(("id" = String, Path, description = "Id of an experiment")),
    responses((status = 200, description = "The experiment as it stands", body = ExperimentView)),
)]
async fn stop(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
) -> Result<Json<ExperimentView>, Problem> {
    Ok(Json(services.stop_experiment(&caller, &id).await?.into()))
}

/// Delete an experiment
///
/// With its runs, their logs, charts, metrics and artifacts. It must not be running. Versions of datasets
/// that its runs made stay.
#[utoipa::path(
    delete, path = "/experiments/{id}", tag = "experiments", params(("id" = String, Path, description = "Id of an experiment")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "`experiment_not_finished`: a run is not over", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ExperimentId>,
) -> Result<StatusCode, Problem> {
    services.delete_experiment(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::router::tests::Api, domain::caller::Scope};

    async fn kept(api: &Api, name: &str) -> String {
        let body = json!({ "spec": { "name": name, "image": "busybox", "tags": ["t"], "project": "p" } });
        let made = api.ask("POST", "experiments", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.body["id"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn an_experiment_is_shown_with_what_keeps_the_same() {
        let api = Api::new().await;
        let spec = json!({
            "name": "digits", "image": "busybox", "command": ["true"], "timeLimitSeconds": 60, "registryUsername": "ada",
            "registryPassword": "hunter2", "retries": { "limit": 2 }, "ports": [80], "tags": ["t"],
        });
        let body = json!({ "spec": spec, "modelType": "ONNX", "start": true });
        let made = api.ask("POST", "experiments", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert!(!made.text.contains("hunter2"));
        insta::assert_snapshot!("experiment", serde_json::to_string_pretty(&made.body).unwrap());
        let again =
            api.ask("POST", "experiments", Some(json!({ "spec": { "cloneOf": made.body["latestRun"]["id"] } })));
        let again = again.await;
        assert_eq!((again.status.as_u16(), &again.body["command"]), (201, &json!(["true"])), "{}", again.text);
    }

    #[tokio::test]
    async fn an_experiment_gets_another_name_and_other_tags_and_is_found_by_them() {
        let api = Api::new().await;
        let (one, two) = (kept(&api, "one").await, kept(&api, "two").await);
        let changed =
            api.ask("PATCH", &format!("experiments/{one}"), Some(json!({ "name": "uno", "tags": ["x"] }))).await;
        assert_eq!((&changed.body["name"], &changed.body["tags"]), (&json!("uno"), &json!(["x"])));
        let same = api.ask("PATCH", &format!("experiments/{one}"), Some(json!({}))).await;
        assert_eq!(same.body, changed.body);
        for (query, found) in [
            ("", vec![&two, &one]),
            ("?tag=x", vec![&one]),
            ("?q=UN", vec![&one]),
            ("?project=p&limit=1", vec![&two]),
            ("?tag='", vec![]),
        ] {
            let page = api.ask("GET", &format!("experiments{query}"), None).await.body;
            let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
            assert_eq!(ids, found.iter().map(|id| Value::from(id.as_str())).collect::<Vec<_>>(), "{query}");
        }
        for (query, status) in [("?project=none", 404), ("?limit=0", 422), ("?state=running", 422), ("?cursor=x", 400)]
        {
            assert_eq!(api.ask("GET", &format!("experiments{query}"), None).await.status, status, "{query}");
        }
        assert_eq!(api.ask("PATCH", &format!("experiments/{one}"), Some(json!({ "name": "" }))).await.status, 422);
        assert_eq!(api.ask("GET", "jobs?experiment=x", None).await.status, 422);
    }

    #[tokio::test]
    async fn who_may_only_look_changes_nothing_and_another_team_sees_nothing() {
        let api = Api::new().await;
        let id = kept(&api, "n").await;
        let caller = api.services.local_admin("admin").await.unwrap();
        let (_, key) = api.services.create_key(&caller, "looker".to_owned(), Scope::Read, None).await.unwrap();
        let (looker, stranger) = (format!("Bearer {}", key.reveal()), api.stranger(Scope::Admin).await);
        let body = json!({ "spec": { "image": "busybox" } });
        for (method, path, body, looks) in [
            ("GET", "experiments".to_owned(), None, true),
            ("GET", format!("experiments/{id}"), None, true),
            ("POST", "experiments".to_owned(), Some(body), false),
            ("PATCH", format!("experiments/{id}"), Some(json!({ "name": "m" })), false),
            ("POST", format!("experiments/{id}/start"), None, false),
            ("POST", format!("experiments/{id}/stop"), None, false),
            ("DELETE", format!("experiments/{id}"), None, false),
        ] {
            let answer = api.send(method, &path, &[("authorization", &looker)], body.clone()).await;
            assert_eq!(answer.status.as_u16(), if looks { 200 } else { 403 }, "{method} {path}: {}", answer.text);
            let answer = api.send(method, &path, &[("authorization", &stranger)], body).await;
            assert!(answer.status == 404 || path == "experiments", "{method} {path}: {}", answer.text);
            assert!(!answer.text.contains(&id) || answer.status == 404, "{method} {path}: {}", answer.text);
        }
        assert_eq!(api.ask("GET", &format!("experiments/{id}"), None).await.body["state"], "created");
    }

    #[tokio::test]
    async fn a_project_takes_its_experiments_along() {
        let api = Api::new().await;
        let id = kept(&api, "n").await;
        let project = api.ask("GET", &format!("experiments/{id}"), None).await.body["project"]["id"].clone();
        let deleted = api.ask("DELETE", &format!("projects/{}", project.as_str().unwrap()), None).await;
        assert_eq!(deleted.status, 204, "{}", deleted.text);
        assert_eq!(api.ask("GET", &format!("experiments/{id}"), None).await.problem(), (404, "experiment_not_found"));
    }
}
