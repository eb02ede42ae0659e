//! `/jobs`: submit, list, look, stop, clone, delete.

use std::str::FromStr;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Page, PageQuery, Paged, Path, Problem, created,
    idempotency::{MaybeOnce, Once},
    job_view::{JobDetail, JobView},
    job_wire::CreateJob,
    paging::{comma_list, given},
    problem::ProblemDocument,
    projects::project_meant,
};
use crate::{
    domain::{
        caller::Caller,
        id::{ExperimentId, JobId, UserId},
        job::JobFilter,
        workload,
    },
    service::Services,
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, delete))
        .routes(routes!(stop))
        .routes(routes!(clone))
}

/// Submit a job
///
/// It is on disk when this answers, and runs when its turn comes.
#[utoipa::path(
    post, path = "/jobs", tag = "jobs", request_body = CreateJob,
    params(("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body, the same job is answered and no second one made")),
    responses(
        (status = 201, description = "Accepted", body = JobView, headers(("Location" = String, description = "Where the job is"))),
        (status = 400, description = "The body is not JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many jobs of the team are waiting", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create(State(services): State<Services>, caller: Caller, once: Once<CreateJob>) -> Result<Response, Problem> {
    let mut wanted = once.body;
    let clone_of = wanted.clone_of.take();
    submit(&services, &caller, wanted, clone_of, once.key).await
}

async fn submit(
    services: &Services,
    caller: &Caller,
    wanted: CreateJob,
    clone_of: Option<JobId>,
    key: Option<crate::domain::idempotency::IdempotencyKey>,
) -> Result<Response, Problem> {
    let now = services.submit_job(caller, wanted.try_into()?, clone_of, key).await?;
    let view = JobView::of(now, &services.gpu_inventory(), services.settings.publish_address);
    Ok(created(format_args!("jobs/{}", view.id()), &view))
}

/// Which jobs a list shows. Everything that is given must fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// States, with commas between them: `running,failed`.
    #[serde(default, deserialize_with = "comma_list")]
    #[param(value_type = Option<String>)]
    state: Vec<StateWord>,
    /// Id or name of a project.
    #[serde(default)]
    project: String,
    #[serde(default)]
    tag: String,
    /// Part of the name or of the id, in any case.
    #[serde(default)]
    q: String,
    /// Id of an experiment, whose runs are shown.
    #[serde(default, deserialize_with = "comma_list")]
    #[param(value_type = Option<String>)]
    experiment: Vec<ExperimentId>,
    /// Id of a person.
    #[serde(default, deserialize_with = "comma_list")]
    #[param(value_type = Option<String>)]
    user: Vec<UserId>,
}

/// A state, by its word.
#[derive(Debug, Clone, Copy)]
struct StateWord(workload::State);

impl FromStr for StateWord {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        workload::State::from_word(word).map(Self).ok_or_else(|| {
            let known: Vec<_> = workload::State::ALL.iter().map(|state| state.as_str()).collect();
            let word: String = word.chars().filter(|c| !c.is_control()).take(40).collect();
            format!("there is no state “{word}”: there are {}", known.join(", "))
        })
    }
}

/// List jobs
///
/// Newest first.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs",
    params(JobsQuery, PageQuery),
    responses(
        (status = 200, description = "A page", body = Page<JobView>),
        (status = 404, description = "There is no such project", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A parameter cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    paged: Paged<JobsQuery>,
) -> Result<Json<Page<JobView>>, Problem> {
    let before = paged.before()?;
    let query = paged.filter;
    let project = project_meant(&services, &caller, query.project).await?;
    let mut users = query.user.into_iter();
    let mut experiments = query.experiment.into_iter();
    let filter = JobFilter {
        states: query.state.into_iter().map(|word| word.0).collect(),
        project,
        user: users.next(),
        experiment: experiments.next(),
        tag: given(query.tag),
        text: given(query.q),
    };
    if users.next().is_some() {
        return Err(Problem::invalid("invalid_query", "user", "user is the id of one person"));
    }
    if experiments.next().is_some() {
        return Err(Problem::invalid("invalid_query", "experiment", "experiment is the id of one experiment"));
    }
    let jobs = services.jobs(&caller, filter, before, paged.limit + 1).await?;
    let inventory = services.gpu_inventory();
    let view = |now| JobView::of(now, &inventory, services.settings.publish_address);
    Ok(Json(Page::cut(jobs, paged.limit, |now| now.job.workload.seq).map(view)))
}

/// Look at a job
///
/// With what it was asked to run.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "Id of a job")),
    responses(
        (status = 200, description = "The job", body = JobDetail),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<JobDetail>, Problem> {
    let (now, spec) = services.job(&caller, &id).await?;
    let outputs = services.job_outputs(&caller, &id, &spec).await?;
    Ok(Json(JobDetail::of(now, &spec, outputs, &services.gpu_inventory(), services.settings.publish_address)))
}

/// What is to be another in a job.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JobChange {
    /// All tags that it is to have.
    tags: Vec<String>,
}

/// Change a job
///
/// Its tags; what it was asked to run stays as it is.
#[utoipa::path(
    patch, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "Id of a job")),
    request_body = JobChange,
    responses(
        (status = 200, description = "The job as it stands", body = JobView),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn change(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
    Json(change): Json<JobChange>,
) -> Result<Json<JobView>, Problem> {
    let now = services.set_job_tags(&caller, &id, change.tags).await?;
    Ok(Json(JobView::of(now, &services.gpu_inventory(), services.settings.publish_address)))
}

/// Stop a job
///
/// Asks for its end and answers at once; the container stops some seconds later. A job that is over
/// stays as it is.
#[utoipa::path(
    post, path = "/jobs/{id}/stop", tag = "jobs", params(("id" = String, Path, description = "Id of a job")),
    responses(
        (status = 200, description = "The job as it stands", body = JobView),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn stop(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<JobView>, Problem> {
    let now = services.stop_job(&caller, &id).await?;
    Ok(Json(JobView::of(now, &services.gpu_inventory(), services.settings.publish_address)))
}

/// Clone a job
///
/// Submits a job that is all that this one was, but for what the body says.
#[utoipa::path(
    post, path = "/jobs/{id}/clone", tag = "jobs", request_body = Option<CreateJob>,
    params(
        ("id" = String, Path, description = "Id of a job"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again with the same body, the same job is answered and no second one made"),
    ),
    responses(
        (status = 201, description = "Accepted", body = JobView, headers(("Location" = String, description = "Where the job is"))),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so; `field` names it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many jobs of the team are waiting", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn clone(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
    MaybeOnce(once): MaybeOnce<CreateJob>,
) -> Result<Response, Problem> {
    if once.body.clone_of.as_ref().is_some_and(|other| *other != id) {
        let detail = format!("this clones {id}: leave cloneOf out");
        return Err(Problem::invalid("clone_of_another", "cloneOf", detail));
    }
    submit(&services, &caller, once.body, Some(id), once.key).await
}

/// Delete a job
///
/// With its log, charts, metrics and artifacts. It must be over.
#[utoipa::path(
    delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "Id of a job")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is not over", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<StatusCode, Problem> {
    services.delete_job(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
