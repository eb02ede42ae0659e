//! `/keys`: who may use the API.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Page, PageQuery, Paged, Path, Problem, session::Named};
use crate::{
    domain::{
        caller::{Caller, Scope},
        id::KeyId,
        key::Key,
        time::Timestamp,
    },
    service::Services,
};

/// The routes of keys.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewKey {
    /// What it is for, for people; 1 to 128 characters.
    name: String,
    /// `read` looks, `write` also submits and changes, `admin` also manages people and keys.
    #[schema(value_type = String, example = "write")]
    scope: Scope,
    /// When it ends by itself. Never when left out.
    expires_in_seconds: Option<u64>,
}

/// What is known of a key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    #[schema(value_type = String, example = "k3v54dfgz1z")]
    id: KeyId,
    name: String,
    /// `read`, `write` or `admin`.
    #[schema(value_type = String)]
    scope: Scope,
    user: Named,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Exact to a minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// Whether this request came with it.
    current: bool,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeKey {
    #[serde(flatten)]
    view: KeyView,
    /// The key itself, shown this once.
    #[schema(example = "gdk_…")]
    key: String,
}

fn view(key: Key, caller: &Caller) -> KeyView {
    KeyView {
        current: key.id == caller.key,
        id: key.id,
        name: key.name,
        scope: key.scope,
        user: Named { id: key.user.to_string(), name: key.user_name },
        created_at: key.created_at,
        expires_at: key.expires_at,
        last_used_at: key.last_used_at,
        revoked_at: key.revoked_at,
    }
}

/// Lists keys, newest first.
///
/// An admin sees everybody's, others see their own. Keys that have ended stay in the list.
#[utoipa::path(get, path = "/keys", tag = "keys", params(PageQuery), responses((status = 200, body = Page<KeyView>)))]
async fn list(State(services): State<Services>, caller: Caller, page: Paged) -> Result<Json<Page<KeyView>>, Problem> {
    let keys = services.keys(&caller, page.before()?, page.limit + 1).await?;
    Ok(Json(Page::cut(keys, page.limit, |key| key.seq).map(|key| view(key, &caller))))
}

/// Makes a key of the caller's own. Only for admins.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = NewKey, responses((status = 201, body = MadeKey)))]
async fn create(
    State(services): State<Services>,
    caller: Caller,
    Json(new): Json<NewKey>,
) -> Result<(StatusCode, Json<MadeKey>), Problem> {
    let life = new.expires_in_seconds.map(Duration::from_secs);
    let (key, text) = services.create_key(&caller, new.name, new.scope, life).await?;
    Ok((StatusCode::CREATED, Json(MadeKey { view: view(key, &caller), key: text.reveal().to_owned() })))
}

/// Shuts a key out at once, on open streams too.
///
/// One's own, unless it has a larger scope; anybody's for admins. Twice does no harm.
#[utoipa::path(
    delete, path = "/keys/{id}", tag = "keys", params(("id" = String, Path, description = "The key's id")),
    responses((status = 204, description = "It opens nothing any more")),
)]
async fn revoke(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<KeyId>,
) -> Result<StatusCode, Problem> {
    services.revoke_key(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::router::tests::Api;

    #[tokio::test]
    async fn a_key_is_shown_once_works_and_is_shut_out() {
        let api = Api::new().await;
        let body = json!({ "name": "ci", "scope": "write", "expiresInSeconds": 3600 });
        let made = api.ask("POST", "keys", Some(body)).await;
        assert_eq!(made.status, 201);
        insta::assert_snapshot!("made_key", serde_json::to_string_pretty(&made.body).unwrap());
        let bearer = format!("Bearer {}", made.body["key"].as_str().unwrap());
        let as_it = [("authorization", bearer.as_str())];
        assert_eq!(api.send("GET", "projects", &as_it, None).await.status, 200);
        let refused = api.send("POST", "keys", &as_it, Some(json!({ "name": "x", "scope": "read" }))).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (403, &json!("forbidden")));

        let list = api.ask("GET", "keys", None).await;
        assert!(!list.text.contains("gdk_"), "a list never shows a key");
        let current: Vec<_> = list.body["items"].as_array().unwrap().iter().map(|key| &key["current"]).collect();
        assert_eq!(current, [&json!(false), &json!(true)]);

        let path = format!("keys/{}", made.body["id"].as_str().unwrap());
        assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
        assert_eq!(api.send("GET", "projects", &as_it, None).await.status, 401);
        assert_eq!(api.ask("DELETE", "keys/k0000000000", None).await.body["code"], "key_not_found");
    }

    #[tokio::test]
    async fn a_small_key_does_not_shut_a_larger_one_of_its_owner_out() {
        let api = Api::new().await;
        let made = api.ask("POST", "keys", Some(json!({ "name": "ci", "scope": "write" }))).await;
        let bearer = format!("Bearer {}", made.body["key"].as_str().unwrap());
        let as_it = [("authorization", bearer.as_str())];
        let first = api.ask("GET", "session", None).await.body["keyId"].as_str().unwrap().to_owned();
        let refused = api.send("DELETE", &format!("keys/{first}"), &as_it, None).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (403, &json!("forbidden")));
        let own = format!("keys/{}", made.body["id"].as_str().unwrap());
        assert_eq!(api.send("DELETE", &own, &as_it, None).await.status, 204);
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_new_key_is_named() {
        let api = Api::new().await;
        for (body, field) in [
            (json!({ "name": "", "scope": "read" }), "name"),
            (json!({ "name": "x", "scope": "root" }), "scope"),
            (json!({ "name": "x", "scope": "read", "expiresInSeconds": 0 }), "expiresInSeconds"),
            (json!({ "name": "x", "scope": "read", "expires": 1 }), "expires"),
        ] {
            let answer = api.ask("POST", "keys", Some(body)).await;
            assert_eq!((answer.status.as_u16(), &answer.body["field"]), (422, &json!(field)), "{}", answer.text);
        }
    }
}
