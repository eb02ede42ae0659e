//! `projects`: list, create, details, delete.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{
    filter::Filter,
    pages::{self, PAGE},
};
use crate::{
    api::{self, Path, Problem},
    domain::{
        caller::Caller,
        id::ProjectId,
        project::{Project, Repository},
        time::Timestamp,
    },
    service::{Services, projects::NewProject},
};

/// A project to be made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectWire {
    name: String,
    #[serde(default)]
    repo_name: Option<String>,
    #[serde(default)]
    repo_url: Option<String>,
}

/// A project as the client reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectView {
    handle: ProjectId,
    name: String,
    repo_name: Option<String>,
    repo_url: Option<String>,
    dt_created: Timestamp,
    tags: Vec<String>,
}

impl From<Project> for ProjectView {
    fn from(project: Project) -> Self {
        Self {
            handle: project.id,
            name: project.name,
            repo_name: project.repository.name,
            repo_url: project.repository.url,
            dt_created: project.created_at,
            tags: project.tags,
        }
    }
}

/// What is made, by its id.
#[derive(Debug, Serialize)]
pub struct Made {
    handle: ProjectId,
}

/// Projects, or the one that the client asks for by its handle.
#[derive(Debug, Serialize)]
pub struct Projects {
    data: Vec<ProjectView>,
}

/// Lists projects, newest first. One that is asked for by its handle and is not there is no row.
pub async fn list(State(services): State<Services>, caller: Caller, filter: Filter) -> Result<Json<Projects>, Problem> {
    let handle = filter.wants("handle");
    let wanted = |project: &Project| {
        handle.is_none_or(|handle| project.id.as_str() == handle) && filter.wants_tags(&project.tags)
    };
    let read = |before, _| services.projects(&caller, before, PAGE);
    let found = pages::some(&filter, read, |project| project.seq, wanted).await?;
    Ok(Json(Projects { data: found.into_iter().map(ProjectView::from).collect() }))
}

/// Makes a project.
pub async fn create(
    State(services): State<Services>,
    caller: Caller,
    api::Json(new): api::Json<ProjectWire>,
) -> Result<Json<Made>, Problem> {
    let repository = Repository { name: new.repo_name, url: new.repo_url };
    let new = NewProject { name: new.name, tags: Vec::new(), repository };
    Ok(Json(Made { handle: services.create_project(&caller, new).await?.id }))
}

/// Deletes a project, and says what went with it. The cloud took along whatever ran; here that is stopped first.
pub async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProjectId>,
) -> Result<Json<serde_json::Value>, Problem> {
    let gone = services.delete_project(&caller, &id).await?;
    let (jobs, experiments) = (gone.jobs, gone.experiments);
    let message =
        format!("project “{}” was deleted, with {jobs} jobs that were over and {experiments} experiments", gone.name);
    Ok(Json(serde_json::json!({ "handle": id, "message": message, "jobs": jobs, "experiments": experiments })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn a_project_is_made_found_tagged_and_deleted() {
        let cloud = Cloud::new().await;
        let new = json!({ "name": "digits", "repoUrl": "https://example.com/digits.git", "unknown": 1 });
        let made = cloud.ask("POST", "/projects/", Some(new)).await;
        let handle = made.body["handle"].as_str().unwrap_or_else(|| panic!("{}", made.text));
        let tags = json!({ "entity": "project", "entityId": handle, "tags": ["a", "b"] });
        assert_eq!(cloud.ask("PUT", "/entityTags/updateTags", Some(tags)).await.status, 200);
        let read = cloud.get(&format!("/entityTags/getTags?entity=project&entityIds={handle}")).await;
        assert_eq!(read, json!({ handle: [{ "tag": { "name": "a" } }, { "tag": { "name": "b" } }] }));

        let filter = format!("%7B%22where%22%3A%7B%22handle%22%3A%22{handle}%22%7D%7D");
        let found = cloud.get(&format!("/projects/?filter={filter}")).await;
        assert_eq!(found["data"][0]["repoUrl"], "https://example.com/digits.git");
        assert_eq!(found["data"][0]["tags"], json!(["a", "b"]));
        assert!(found["data"][0]["dtCreated"].is_string());
        assert_eq!(cloud.get("/projects/?tagFilter=b").await["data"].as_array().unwrap().len(), 1);
        assert_eq!(cloud.get("/projects/?tagFilter=c").await["data"], json!([]));

        let deleted = cloud.ask("POST", &format!("/projects/{handle}/deleteProject"), None).await;
        assert_eq!(deleted.status, 200, "{}", deleted.text);
        let said = "project “digits” was deleted, with 0 jobs that were over and 0 experiments";
        assert_eq!(deleted.body["message"], said);
        assert_eq!(cloud.get(&format!("/projects/?filter={filter}")).await["data"], json!([]));
    }

    #[tokio::test]
    async fn a_project_in_which_something_runs_is_not_deleted() {
        let cloud = Cloud::new().await;
        let made = cloud.ask("POST", "/projects/", Some(json!({ "name": "busy" }))).await;
        let handle = made.body["handle"].as_str().unwrap();
        let job = format!("/jobs/createJob/?container=busybox&projectId={handle}");
        assert_eq!(cloud.ask("POST", &job, None).await.status, 200);
        let refused = cloud.ask("POST", &format!("/projects/{handle}/deleteProject"), None).await;
        assert_eq!(printed(&refused), (409, "1 jobs of project “busy” are not over: stop them first, or wait"));
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let cloud = Cloud::new().await;
        let answer = cloud.ask("POST", "/projects/", Some(json!({ "name": "" }))).await;
        assert_eq!(printed(&answer).0, 422, "{}", answer.text);
        let answer = cloud.ask("POST", "/projects/p00000000/deleteProject", None).await;
        assert_eq!(printed(&answer), (404, "there is no project p00000000"), "{}", answer.text);
        let answer = cloud.ask("GET", "/entityTags/getTags?entity=machine&entityIds=m", None).await;
        assert_eq!(printed(&answer).0, 422, "{}", answer.text);
    }
}
