//! `secrets`: list, set, delete, for the team and for a project.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::{self, Path, Problem, Query},
    auth::Secret,
    domain::{caller::Caller, id::ProjectId, secret::SecretEntry},
    service::Services,
};

/// Rows that are read at a time.
const STEP: u32 = 500;

/// Whose secrets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfProject {
    project_id: ProjectId,
}

/// A secret's value on its way in.
#[derive(Deserialize)]
pub struct ValueWire {
    value: String,
}

/// A secret's name: nobody gets more.
#[derive(Debug, Serialize)]
pub struct NameView {
    name: String,
}

/// Lists secrets of the team.
pub async fn list_of_team(State(services): State<Services>, caller: Caller) -> Result<Json<Vec<NameView>>, Problem> {
    names(&services, &caller, None).await
}

/// Lists secrets of a project.
pub async fn list_of_project(
    State(services): State<Services>,
    caller: Caller,
    Query(of): Query<OfProject>,
) -> Result<Json<Vec<NameView>>, Problem> {
    names(&services, &caller, Some(of.project_id)).await
}

/// Sets a secret of the team.
pub async fn set_of_team(
    State(services): State<Services>,
    caller: Caller,
    Path(name): Path<String>,
    api::Json(new): api::Json<ValueWire>,
) -> Result<Json<Value>, Problem> {
    services.set_secret(&caller, name, Secret::new(new.value), None).await?;
    Ok(Json(json!({})))
}

/// Sets a secret of a project.
pub async fn set_of_project(
    State(services): State<Services>,
    caller: Caller,
    Path(name): Path<String>,
    Query(of): Query<OfProject>,
    api::Json(new): api::Json<ValueWire>,
) -> Result<Json<Value>, Problem> {
    services.set_secret(&caller, name, Secret::new(new.value), Some(of.project_id.to_string())).await?;
    Ok(Json(json!({})))
}

/// Deletes a secret of the team.
pub async fn delete_of_team(
    State(services): State<Services>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    delete(&services, &caller, &name, None).await
}

/// Deletes a secret of a project.
pub async fn delete_of_project(
    State(services): State<Services>,
    caller: Caller,
    Path(name): Path<String>,
    Query(of): Query<OfProject>,
) -> Result<Json<Value>, Problem> {
    delete(&services, &caller, &name, Some(of.project_id)).await
}

async fn names(
    services: &Services,
    caller: &Caller,
    project: Option<ProjectId>,
) -> Result<Json<Vec<NameView>>, Problem> {
    let mut names: Vec<_> = all(services, caller, project).await?.into_iter().map(|secret| secret.name).collect();
    names.sort();
    Ok(Json(names.into_iter().map(|name| NameView { name }).collect()))
}

async fn delete(
    services: &Services,
    caller: &Caller,
    name: &str,
    project: Option<ProjectId>,
) -> Result<Json<Value>, Problem> {
    let found = all(services, caller, project).await?.into_iter().find(|secret| secret.name == name);
    let Some(secret) = found else { return Err(Problem::not_found(format!("there is no secret {name}"))) };
    services.delete_secret(caller, &secret.id).await?;
    Ok(Json(json!({})))
}

/// Returns the secrets of the team itself, or of the project itself: a project's list has the team's, too.
async fn all(services: &Services, caller: &Caller, project: Option<ProjectId>) -> Result<Vec<SecretEntry>, Problem> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let step = services.secrets(caller, project.as_ref().map(ToString::to_string), before, STEP).await?;
        let Some(last) = step.last() else { return Ok(found) };
        before = Some(last.seq);
        found.extend(step.into_iter().filter(|secret| secret.project == project));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn secrets_of_the_team_and_of_a_project_are_two_lists() {
        let cloud = Cloud::new().await;
        let project = cloud.ask("POST", "/projects/", Some(json!({ "name": "p" }))).await;
        let of = format!("projectId={}", project.body["handle"].as_str().unwrap());
        for (path, value) in [("/teams/secrets/A".to_owned(), "1"), (format!("/projects/secrets/B?{of}"), "2")] {
            let set = cloud.ask("PUT", &path, Some(json!({ "value": value }))).await;
            assert_eq!(set.status, 200, "{}", set.text);
        }
        assert_eq!(cloud.get("/teams/secrets").await, json!([{ "name": "A" }]));
        assert_eq!(cloud.get(&format!("/projects/secrets?{of}")).await, json!([{ "name": "B" }]));
        assert_eq!(cloud.ask("DELETE", &format!("/projects/secrets/B?{of}"), None).await.status, 200);
        assert_eq!(cloud.get(&format!("/projects/secrets?{of}")).await, json!([]));
        let gone = cloud.ask("DELETE", "/teams/secrets/B", None).await;
        assert_eq!(printed(&gone), (404, "there is no secret B"));
    }

    #[tokio::test]
    async fn a_name_that_becomes_more_parts_of_the_path_is_refused_by_its_rule() {
        let cloud = Cloud::new().await;
        let set = cloud.ask("PUT", "/teams/secrets/a/b", Some(json!({ "value": "x" }))).await;
        let (status, words) = printed(&set);
        assert!(status == 422 && words.contains("a secret's name"), "{}", set.text);
    }
}
