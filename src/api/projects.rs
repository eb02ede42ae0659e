//! `/projects`: what belongs together.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem};
use crate::{
    domain::{caller::Caller, id::ProjectId, project::Project, time::Timestamp},
    service::Services,
};

/// The routes of projects.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, rename, delete))
}

/// A project to be made, or another name for one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProjectName {
    /// 1 to 128 characters; no other project of the team has it.
    name: String,
}

/// A project with how much is in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectView {
    #[schema(value_type = String, example = "p3v54dfgz")]
    id: ProjectId,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    jobs: ProjectJobs,
}

/// How many jobs a project has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectJobs {
    total: u64,
    /// Those that are not over.
    active: u64,
}

impl From<Project> for ProjectView {
    fn from(project: Project) -> Self {
        Self {
            id: project.id,
            name: project.name,
            created_at: project.created_at,
            jobs: ProjectJobs { total: project.jobs, active: project.active_jobs },
        }
    }
}

/// Lists projects, newest first.
#[utoipa::path(
    get, path = "/projects", tag = "projects", params(PageQuery), responses((status = 200, body = Page<ProjectView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    page: Paged,
) -> Result<Json<Page<ProjectView>>, Problem> {
    let projects = services.projects(&caller, page.before()?, page.limit + 1).await?;
    Ok(Json(Page::cut(projects, page.limit, |project| project.seq).map(ProjectView::from)))
}

/// Makes a project.
#[utoipa::path(
    post, path = "/projects", tag = "projects", request_body = ProjectName,
    responses((status = 201, body = ProjectView)),
)]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Json(new): Json<ProjectName>,
) -> Result<(StatusCode, Json<ProjectView>), Problem> {
    Ok((StatusCode::CREATED, Json(services.create_project(&caller, new.name).await?.into())))
}

/// Returns a project.
#[utoipa::path(
    get, path = "/projects/{id}", tag = "projects", params(("id" = String, Path, description = "The project's id")),
    responses((status = 200, body = ProjectView)),
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProjectId>,
) -> Result<Json<ProjectView>, Problem> {
    Ok(Json(services.project(&caller, &id).await?.into()))
}

/// Gives a project another name.
#[utoipa::path(
    patch, path = "/projects/{id}", tag = "projects", params(("id" = String, Path, description = "The project's id")),
    request_body = ProjectName, responses((status = 200, body = ProjectView)),
)]
async fn rename(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProjectId>,
    Json(new): Json<ProjectName>,
) -> Result<Json<ProjectView>, Problem> {
    Ok(Json(services.rename_project(&caller, &id, new.name).await?.into()))
}

/// Deletes a project with its secrets and its jobs, all of which must be over.
#[utoipa::path(
    delete, path = "/projects/{id}", tag = "projects", params(("id" = String, Path, description = "The project's id")),
    responses(
        (status = 204, description = "It is gone, with everything in it"),
        (status = 409, description = "Jobs in it are not over: `project_not_empty`"),
    ),
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ProjectId>,
) -> Result<StatusCode, Problem> {
    services.delete_project(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn a_project_is_made_renamed_and_deleted() {
        let api = Api::new().await;
        let made = api.ask("POST", "projects", Some(json!({ "name": "vision" }))).await;
        assert_eq!(made.status, 201);
        insta::assert_snapshot!("project", serde_json::to_string_pretty(&made.body).unwrap());
        let again = api.ask("POST", "projects", Some(json!({ "name": "vision" }))).await;
        assert_eq!((again.status.as_u16(), &again.body["code"]), (409, &json!("name_taken")));

        let path = format!("projects/{}", made.body["id"].as_str().unwrap());
        let renamed = api.ask("PATCH", &path, Some(json!({ "name": "speech" }))).await;
        assert_eq!(renamed.body["name"], "speech");
        assert_eq!(api.ask("GET", &path, None).await.body, renamed.body);
        assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
        let gone = api.ask("GET", &path, None).await;
        assert_eq!((gone.status.as_u16(), &gone.body["code"]), (404, &json!("project_not_found")));
    }

    #[tokio::test]
    async fn pages_follow_one_another_newest_first() {
        let api = Api::new().await;
        for name in ["a", "b", "c"] {
            api.ask("POST", "projects", Some(json!({ "name": name }))).await;
        }
        let (mut names, mut path) = (Vec::new(), "projects?limit=2".to_owned());
        loop {
            let page = api.ask("GET", &path, None).await.body;
            names
                .extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("projects?limit=2&cursor={next}");
        }
        assert_eq!(names, ["c", "b", "a"]);
    }
}
