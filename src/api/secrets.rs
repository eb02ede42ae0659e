//! `/secrets`: names whose values only containers see.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem};
use crate::{
    auth::Secret,
    domain::{
        caller::Caller,
        id::{ProjectId, SecretId},
        secret::SecretEntry,
        time::Timestamp,
    },
    service::{Services, secrets::Whose},
};

/// The routes of secrets.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, set)).routes(routes!(delete))
}

/// Which secrets a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SecretFilter {
    /// A project, by id or name: shows what its jobs can use, which is its own secrets, the team's and the
    /// box's.
    project: Option<String>,
}

/// A secret to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewSecret {
    /// A letter, then letters, digits and `_`; 128 at most.
    name: String,
    /// 1 to 8192 characters. No answer ever shows it.
    #[schema(value_type = String)]
    value: Secret<String>,
    /// A project, by id or name. The secret is the whole team's when left out.
    project: Option<String>,
    /// `box` for a secret that the jobs of every team can use, which needs the scope `admin`; else left out.
    scope: Option<BoxScope>,
}

/// The one scope that has to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum BoxScope {
    Box,
}

/// What is known of a secret: never its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    #[schema(value_type = String, example = "sec3v54dfgz1zcu")]
    id: SecretId,
    name: String,
    /// `box`, `team` or `project`.
    scope: &'static str,
    #[schema(value_type = Option<String>)]
    project_id: Option<ProjectId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<SecretEntry> for SecretView {
    fn from(secret: SecretEntry) -> Self {
        Self {
            id: secret.id,
            name: secret.name,
            scope: secret.scope.as_str(),
            project_id: secret.scope.project().cloned(),
            created_at: secret.created_at,
            updated_at: secret.updated_at,
        }
    }
}

/// Lists secrets, newest first. Never values.
#[utoipa::path(
    get, path = "/secrets", tag = "secrets", params(SecretFilter, PageQuery),
    responses((status = 200, body = Page<SecretView>)),
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    page: Paged<SecretFilter>,
) -> Result<Json<Page<SecretView>>, Problem> {
    let before = page.before()?;
    let secrets = services.secrets(&caller, page.filter.project, before, page.limit + 1).await?;
    Ok(Json(Page::cut(secrets, page.limit, |secret| secret.seq).map(SecretView::from)))
}

/// Sets a secret, or another value for it. What runs keeps the value that it was started with.
#[utoipa::path(
    put, path = "/secrets", tag = "secrets", request_body = NewSecret,
    responses(
        (status = 201, description = "It is new", body = SecretView),
        (status = 200, description = "It has another value", body = SecretView),
    ),
)]
async fn set(
    State(services): State<Services>,
    caller: Caller,
    Json(new): Json<NewSecret>,
) -> Result<(StatusCode, Json<SecretView>), Problem> {
    let whose = match (new.scope, new.project) {
        (Some(BoxScope::Box), Some(_)) => {
            return Err(Problem::invalid("bad_scope", "scope", "a secret is a project's or the whole box's, not both"));
        }
        (Some(BoxScope::Box), None) => Whose::Box,
        (None, Some(project)) => Whose::Project(project),
        (None, None) => Whose::Team,
    };
    let (secret, is_new) = services.set_secret(&caller, new.name, new.value, whose).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(secret.into())))
}

/// Deletes a secret. What runs keeps its value; what starts later and asks for it does not run.
#[utoipa::path(
    delete, path = "/secrets/{id}", tag = "secrets", params(("id" = String, Path, description = "The secret's id")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<SecretId>,
) -> Result<StatusCode, Problem> {
    services.delete_secret(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{api::router::tests::Api, domain::id::ProjectId};

    #[tokio::test]
    async fn a_value_goes_in_and_never_comes_out() {
        let api = Api::new().await;
        let project = api.ask("POST", "projects", Some(json!({ "name": "vision" }))).await.body["id"].clone();
        let first = api.ask("PUT", "secrets", Some(json!({ "name": "TOKEN", "value": "swordfish" }))).await;
        assert_eq!(first.status, 201);
        insta::assert_snapshot!("secret", serde_json::to_string_pretty(&first.body).unwrap());
        let again = api.ask("PUT", "secrets", Some(json!({ "name": "TOKEN", "value": "swordfish2" }))).await;
        assert_eq!((again.status.as_u16(), &again.body["id"]), (200, &first.body["id"]));
        let own = api.ask("PUT", "secrets", Some(json!({ "name": "TOKEN", "value": "x", "project": "vision" }))).await;
        assert_eq!((&own.body["scope"], &own.body["projectId"]), (&json!("project"), &project));

        let list = api.ask("GET", "secrets?project=vision", None).await;
        assert_eq!(list.body["items"].as_array().unwrap().len(), 2);
        for answer in [first, again, list] {
            assert!(!answer.text.contains("swordfish"));
        }
        let path = format!("secrets/{}", own.body["id"].as_str().unwrap());
        assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
        assert_eq!(api.ask("DELETE", &path, None).await.body["code"], "secret_not_found");
    }

    #[tokio::test]
    async fn a_refusal_does_not_repeat_the_value() {
        let api = Api::new().await;
        for body in [
            json!({ "name": "1x", "value": "swordfish" }),
            json!({ "name": "x", "value": ["swordfish"] }),
            json!({ "name": "x", "value": "swordfish", "scope": "team" }),
            json!({ "name": "x", "value": "swordfish", "project": "nowhere" }),
        ] {
            let answer = api.ask("PUT", "secrets", Some(body)).await;
            assert!(answer.status.is_client_error() && !answer.text.contains("swordfish"), "{}", answer.text);
        }
    }

    #[tokio::test]
    async fn the_narrowest_secret_of_a_name_is_meant() {
        let api = Api::new().await;
        let project = api.ask("POST", "projects", Some(json!({ "name": "p" }))).await.body["id"].clone();
        let project: ProjectId = project.as_str().unwrap().parse().unwrap();
        let team = api.services.local_admin("admin").await.unwrap().team;
        let meant = async || {
            let found = api.services.reveal_secret(team.clone(), project.clone(), "A".to_owned()).await.unwrap();
            found.map(|value| String::from_utf8(value.reveal().clone()).unwrap())
        };
        assert_eq!(meant().await, None);
        for (whose, value) in [
            (json!({ "scope": "box" }), "box's"),
            (json!({}), "team's"),
            (json!({ "project": project.as_str() }), "project's"),
        ] {
            let mut body = json!({ "name": "A", "value": value });
            body.as_object_mut().unwrap().extend(whose.as_object().unwrap().clone());
            assert_eq!(api.ask("PUT", "secrets", Some(body)).await.status, 201);
            assert_eq!(meant().await.as_deref(), Some(value));
        }
        let both = json!({ "name": "A", "value": "x", "scope": "box", "project": "p" });
        assert_eq!(api.ask("PUT", "secrets", Some(both)).await.problem(), (422, "bad_scope"));
    }
}
