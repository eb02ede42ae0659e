//! `secrets`: list, set, delete, for the team, for a project, and for the cluster, which is this box.

use axum::{
    Json,
    extract::{FromRequestParts, State},
};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    clusters,
    pages::{self, PAGE},
};
use crate::{
    api::{self, Path, Problem, Query},
    auth::Secret,
    domain::{
        caller::Caller,
        id::ProjectId,
        secret::{SecretEntry, SecretScope},
    },
    service::{Services, secrets::Whose},
};

/// Whose secrets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfProject {
    project_id: ProjectId,
}

/// The cluster, which has to be this box.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OfCluster {
    cluster_id: String,
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

/// Whose secrets the path and the query name.
pub struct Of(SecretScope);

impl<S: Send + Sync> FromRequestParts<S> for Of {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = parts.uri.path();
        if path.starts_with("/clusters/") {
            let Query(of) = Query::<OfCluster>::from_request_parts(parts, state).await?;
            clusters::require(&of.cluster_id)?;
            return Ok(Self(SecretScope::Box));
        }
        if path.starts_with("/teams/") {
            return Ok(Self(SecretScope::Team));
        }
        let Query(of) = Query::<OfProject>::from_request_parts(parts, state).await?;
        Ok(Self(SecretScope::Project(of.project_id)))
    }
}

/// Lists the names of secrets.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    Of(scope): Of,
) -> Result<Json<Vec<NameView>>, Problem> {
    let mut names: Vec<_> = all(&services, &caller, &scope).await?.into_iter().map(|secret| secret.name).collect();
    names.sort();
    Ok(Json(names.into_iter().map(|name| NameView { name }).collect()))
}

/// Sets a secret.
pub async fn set(
    State(services): State<Services>,
    caller: Caller,
    Path(name): Path<String>,
    Of(scope): Of,
    api::Json(new): api::Json<ValueWire>,
) -> Result<Json<Value>, Problem> {
    let whose = match scope {
        SecretScope::Box => Whose::Box,
        SecretScope::Team => Whose::Team,
        SecretScope::Project(project) => Whose::Project(project.to_string()),
    };
    services.set_secret(&caller, name, Secret::new(new.value), whose).await?;
    Ok(Json(json!({})))
}

/// Deletes a secret.
pub async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(name): Path<String>,
    Of(scope): Of,
) -> Result<Json<Value>, Problem> {
    let found = all(&services, &caller, &scope).await?.into_iter().find(|secret| secret.name == name);
    let Some(secret) = found else { return Err(Problem::not_found(format!("there is no secret {name}"))) };
    services.delete_secret(&caller, &secret.id).await?;
    Ok(Json(json!({})))
}

/// Returns the secrets of exactly this scope: a project's list has the team's and the box's, too.
async fn all(services: &Services, caller: &Caller, scope: &SecretScope) -> Result<Vec<SecretEntry>, Problem> {
    let read = |before| services.secrets(caller, scope.project().map(ToString::to_string), before, PAGE);
    let mut found = pages::all(read, |secret| secret.seq).await?;
    found.retain(|secret| secret.scope == *scope);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        domain::caller::Scope,
        gradient::router::tests::{Cloud, printed},
    };

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
    async fn a_cluster_s_secrets_are_the_whole_box_s_and_only_an_admin_sets_them() {
        let cloud = Cloud::new().await;
        let set = cloud.ask("PUT", "/clusters/secrets/C?clusterId=box", Some(json!({ "value": "1" }))).await;
        assert_eq!(set.status, 200, "{}", set.text);
        let other = cloud.ask("PUT", "/clusters/secrets/C?clusterId=clg07azjl", Some(json!({ "value": "1" }))).await;
        let words = "there is no cluster clg07azjl: this box is the only one, and its id is box";
        assert_eq!(printed(&other), (404, words));
        let stranger = cloud.0.stranger(Scope::Write).await;
        let key = stranger.trim_start_matches("Bearer ");
        let seen = cloud.ask_as(key, "GET", "/clusters/secrets?clusterId=box", None).await;
        assert_eq!(seen.body, json!([{ "name": "C" }]));
        assert_eq!(cloud.ask_as(key, "GET", "/teams/secrets", None).await.body, json!([]));
        for (method, body) in [("PUT", Some(json!({ "value": "2" }))), ("DELETE", None)] {
            let refused = cloud.ask_as(key, method, "/clusters/secrets/C?clusterId=box", body).await;
            assert_eq!(printed(&refused).0, 403, "{}", refused.text);
        }
        assert_eq!(cloud.ask("DELETE", "/clusters/secrets/C?clusterId=box", None).await.status, 200);
    }

    #[tokio::test]
    async fn a_name_that_becomes_more_parts_of_the_path_is_refused_by_its_rule() {
        let cloud = Cloud::new().await;
        let set = cloud.ask("PUT", "/teams/secrets/a/b", Some(json!({ "value": "x" }))).await;
        let (status, words) = printed(&set);
        assert!(status == 422 && words.contains("a secret's name"), "{}", set.text);
    }
}
