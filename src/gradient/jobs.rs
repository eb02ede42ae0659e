//! `jobs`: create, list, look, stop, delete.

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    ending,
    filter::Filter,
    form,
    job_view::JobView,
    job_wire::JobWire,
    metrics_url::MetricsAt,
    pages::{self, PAGE},
};
use crate::{
    api::{self, Lease, Path, Problem, Query},
    domain::{caller::Caller, id::JobId, job::JobFilter},
    service::{Services, jobs::JobNow},
};

/// What is made, by its id.
#[derive(Debug, Serialize)]
pub struct Made {
    id: JobId,
}

/// Jobs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Jobs {
    job_list: Vec<JobView>,
}

/// Accepts a job, with the workspace that comes along.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Query(wanted): Query<JobWire>,
    request: Request,
) -> Result<Json<Made>, Problem> {
    // A name that there is none of makes a project; an id that there is none of is a mistake.
    let project = match wanted.project_id.is_empty() {
        true => None,
        false => Some(services.project_named(&caller, wanted.project_id.clone()).await?.to_string()),
    };
    let upload = form::upload(&services, &caller, lease, request, None).await?;
    let made = services.submit_job(&caller, wanted.draft(upload, project)?, None, None).await?;
    Ok(Json(Made { id: made.job.workload.id }))
}

/// Lists jobs, newest first.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    at: MetricsAt,
    filter: Filter,
) -> Result<Json<Jobs>, Problem> {
    let experiment = match filter.wants("experimentId") {
        Some(named) => Some(services.experiment(&caller, &named.parse()?).await?.experiment.id),
        None => None,
    };
    let project = match filter.wants("projectId").or(filter.wants("project")) {
        Some(named) => Some(services.project_named(&caller, named.to_owned()).await?),
        None => None,
    };
    let wanted = JobFilter { project, experiment, ..JobFilter::default() };
    let read = |before, _| services.jobs(&caller, wanted.clone(), before, PAGE);
    let tagged = |now: &JobNow| filter.wants_tags(&now.job.tags);
    let found = pages::some(&filter, read, |now| now.job.workload.seq, tagged).await?;
    let shown = |now| JobView::from(now).with_metrics(&at, &services, &caller);
    Ok(Json(Jobs { job_list: found.into_iter().map(shown).collect() }))
}

/// Names a job, in a body or in a query.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    pub job_id: String,
}

/// Looks at one job.
pub async fn details(
    State(services): State<Services>,
    caller: Caller,
    at: MetricsAt,
    api::Json(named): api::Json<Named>,
) -> Result<Json<Value>, Problem> {
    let (now, _) = services.job(&caller, &named.job_id.parse()?).await?;
    Ok(Json(json!({ "job": JobView::from(now).with_metrics(&at, &services, &caller) })))
}

/// Asks for a job to end.
pub async fn stop(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
) -> Result<Json<Value>, Problem> {
    services.stop_job(&caller, &id).await?;
    Ok(Json(json!({})))
}

/// Deletes a job. One that is not over is stopped first, and waited for.
pub async fn destroy(
    State(services): State<Services>,
    Extension(stop): Extension<CancellationToken>,
    caller: Caller,
    lease: Lease,
    Path(id): Path<JobId>,
) -> Result<Json<Value>, Problem> {
    let delete = || services.delete_job(&caller, &id);
    let end = || async { services.stop_job(&caller, &id).await.map(drop) };
    ending::destroy(format!("job {id}"), "job_not_finished", delete, end, lease, &stop).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::router::tests::Answer,
        domain::{caller::Scope, workload::Workspace},
        gradient::{
            form::tests::{HEADERS, KIND, ZIP, form},
            router::tests::{Cloud, printed},
        },
        service::users::FIRST_USER,
    };

    async fn create(cloud: &Cloud, query: &[(&str, &str)]) -> Answer {
        let query = serde_urlencoded::to_string(query).unwrap();
        cloud.ask("POST", &format!("/jobs/createJob/?{query}"), None).await
    }

    async fn created(cloud: &Cloud, query: &[(&str, &str)]) -> String {
        let answer = create(cloud, query).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_job_is_made_found_by_project_and_tag_and_stopped() {
        let cloud = Cloud::new().await;
        let project = cloud.ask("POST", "/projects/", Some(json!({ "name": "p" }))).await.body["handle"].clone();
        let project = project.as_str().unwrap();
        let query = [("projectId", project), ("name", "n"), ("command", "echo $A"), ("clusterId", "box")];
        let id = created(&cloud, &query).await;
        let other = created(&cloud, &[("project", "other"), ("container", "busybox")]).await;
        let tags = json!({ "entity": "job", "entityId": id, "tags": ["a", "b"] });
        assert_eq!(cloud.ask("PUT", "/entityTags/updateTags", Some(tags)).await.status, 200);

        let ids = |list: Value| -> Vec<String> {
            let rows = list["jobList"].as_array().unwrap().clone();
            rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
        };
        let wanted = |field: &str, value: &str| {
            let filter = json!({ "filter": { "where": { field: value } } }).to_string();
            format!("/jobs/getJobList/?{}", serde_urlencoded::to_string([("filter", filter)]).unwrap())
        };
        assert_eq!(ids(cloud.get("/jobs/getJobList/").await), [other.clone(), id.clone()]);
        assert_eq!(ids(cloud.get("/jobs/getJobList/?limit=1").await), [other.as_str()]);
        for passed_over in ["limit=1&offset=1", "limit=-1&offset=1", "tagFilter=a&limit=1"] {
            assert_eq!(ids(cloud.get(&format!("/jobs/getJobList/?{passed_over}")).await), [id.as_str()]);
        }
        for none in ["offset=4294967295", "tagFilter=a&offset=1"] {
            assert_eq!(ids(cloud.get(&format!("/jobs/getJobList/?{none}")).await), Vec::<String>::new());
        }
        assert_eq!(ids(cloud.get(&wanted("projectId", project)).await), [id.as_str()]);
        assert_eq!(ids(cloud.get(&wanted("project", "other")).await), [other.as_str()]);
        let tagged = "/jobs/getJobList/?modelName=team&tagFilter%5B0%5D=x&tagFilter%5B1%5D=b";
        assert_eq!(ids(cloud.get(tagged).await), [id.as_str()]);

        let found = cloud.ask("POST", "/jobs/getPublicJob", Some(json!({ "jobId": id }))).await;
        let job = &found.body["job"];
        assert_eq!(
            (&job["state"], &job["container"]),
            (&json!("Pending"), &json!("paperspace/tensorflow-python:latest"))
        );
        assert_eq!((&job["project"], &job["command"]), (&json!("p"), &json!("echo $A")));
        assert!(job["dtCreated"].is_string() && job["dtStarted"].is_null(), "{job}");
        assert_eq!(cloud.ask("POST", &format!("/jobs/{id}/stop"), None).await.status, 200);
    }

    #[tokio::test]
    async fn a_form_brings_the_workspace() {
        let cloud = Cloud::new().await;
        let headers = [("x-api-key", cloud.0.key.as_str()), ("content-type", KIND)];
        let path = "/gradient/jobs/createJob/?workspaceFileName=workspace.zip&container=busybox";
        let answer = cloud.0.send_bytes("POST", path, &headers, form(HEADERS, ZIP)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let caller = cloud.0.services.local_admin(FIRST_USER).await.unwrap();
        let (_, spec) =
            cloud.0.services.job(&caller, &answer.body["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
        assert!(matches!(spec.workspace, Workspace::Upload(_)), "{:?}", spec.workspace);
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_and_never_our_fault() {
        let cloud = Cloud::new().await;
        for (query, status) in [
            (("projectId", "pnone"), 404),
            (("clusterId", "clg07azjl"), 404),
            (("cluster", "Public Cluster"), 404),
            (("workspaceFileName", "workspace.zip"), 422),
            (("workspaceFileName", "s3://bucket/w.zip"), 422),
            (("workspaceFileName", "git@github.com:a/b.git"), 422),
            (("useDockerfile", "True"), 422),
            (("machineType", "nothing-like-it"), 422),
            (("envVars", "{"), 422),
            (("datasets", r#"[{"id": "none:v", "name": "x"}]"#), 422),
            (("ports", "0"), 422),
            (("registryUsername", "ada"), 422),
            (("workingDirectory", "src"), 422),
            (("container", "UPPER CASE"), 422),
        ] {
            let answer = create(&cloud, &[query]).await;
            let (found, words) = printed(&answer);
            assert!(found == status && !words.is_empty(), "{query:?}: {}", answer.text);
        }
        for (method, path, body, status) in [
            ("POST", "/jobs/x/stop", None, 404),
            ("POST", "/jobs/js0123456789ab/destroy", None, 404),
            ("POST", "/jobs/getPublicJob", Some(json!({ "jobId": 5 })), 422),
            ("POST", "/jobs/getPublicJob", Some(json!({ "jobId": "x" })), 404),
            ("GET", "/jobs/logs?line=-1&jobId=js0123456789ab", None, 422),
            ("GET", "/jobs/logs?limit=0&jobId=js0123456789ab", None, 422),
            ("GET", "/jobs/logs?jobId=x", None, 404),
            ("GET", "/jobs/logs?experimentId=x", None, 404),
            ("GET", "/jobs/logs?line=0", None, 422),
            ("GET", "/jobs/artifactsListV2", None, 404),
            ("GET", "/jobs/artifactsGet?jobId=", None, 404),
            ("GET", "/jobs/metrics", None, 501),
        ] {
            let answer = cloud.ask(method, path, body).await;
            let (found, words) = printed(&answer);
            assert!(found == status && !words.is_empty(), "{method} {path}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn a_command_may_be_as_long_as_people_write_them() {
        let cloud = Cloud::new().await;
        created(&cloud, &[("container", "busybox"), ("command", &"echo a; ".repeat(3_000))]).await;
        let answer = create(&cloud, &[("container", "busybox"), ("command", &"a".repeat(62 << 10))]).await;
        assert_eq!(answer.status, 414, "{}", answer.text);
    }

    #[tokio::test]
    async fn another_team_s_job_is_not_there() {
        let cloud = Cloud::new().await;
        let id = created(&cloud, &[("container", "busybox")]).await;
        let key = cloud.0.stranger(Scope::Admin).await;
        let key = key.trim_start_matches("Bearer ");
        for (method, path) in [
            ("POST", format!("/jobs/{id}/stop")),
            ("POST", format!("/jobs/{id}/destroy")),
            ("POST", format!("/jobs/{id}/artifactsDestroy")),
            ("GET", format!("/jobs/logs?jobId={id}")),
            ("GET", format!("/jobs/artifactsListV2?jobId={id}&links=True")),
            ("GET", format!("/jobs/artifactsGet?jobId={id}")),
        ] {
            let answer = cloud.ask_as(key, method, &path, None).await;
            assert_eq!(printed(&answer).0, 404, "{path}: {}", answer.text);
        }
        let body = Some(json!({ "jobId": id }));
        assert_eq!(cloud.ask_as(key, "POST", "/jobs/getPublicJob", body).await.status, 404);
        assert_eq!(cloud.ask_as(key, "GET", "/jobs/getJobList/", None).await.body["jobList"], json!([]));
    }

    #[tokio::test]
    async fn a_job_that_does_not_end_in_time_is_not_deleted() {
        let cloud = Cloud::new().await;
        let id: JobId = created(&cloud, &[("container", "busybox")]).await.parse().unwrap();
        let caller = cloud.0.services.local_admin(FIRST_USER).await.unwrap();
        // Nobody stops jobs in here.
        let services = &cloud.0.services;
        let delete = || services.delete_job(&caller, &id);
        let end = || async { services.stop_job(&caller, &id).await.map(drop) };
        let patience = std::time::Duration::from_millis(200);
        let refused = ending::end_and_delete("it", "job_not_finished", patience, delete, end).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (409, "job_not_finished"));
        let (now, _) = cloud.0.services.job(&caller, &id).await.unwrap();
        assert!(now.job.workload.stop_asked_at.is_some());
    }
}
