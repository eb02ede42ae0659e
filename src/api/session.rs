//! `/session`: signing a browser in and out, and saying who asks.

use axum::extract::State;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Lease, Problem, cookie};
use crate::{
    auth::Secret,
    domain::{caller::Caller, caller::Scope, id::KeyId},
    service::{
        ServiceError, Services,
        keys::{SignedIn, WhoAmI},
    },
};

/// For those who are signed in.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(who_am_i, sign_out))
}

/// For everybody.
pub fn open_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(sign_in))
}

/// What signs a browser in: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignIn {
    /// A key of the API.
    #[schema(value_type = Option<String>, example = "gdk_…")]
    key: Option<Secret<String>>,
    /// The one-time token of a sign-in link: what follows its `#`.
    #[schema(value_type = Option<String>, example = "gdi_…")]
    sign_in: Option<Secret<String>>,
}

/// The half of a session that is not in the cookie.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedInView {
    /// To be sent as `X-Gradientd-Session` with every request. Browsers send a cookie to every port of
    /// a host; with the cookie alone a session only looks at things.
    #[schema(example = "gdp_…")]
    session_proof: String,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    user: Named,
    team: Named,
    /// `read`, `write` or `admin`.
    #[schema(value_type = String)]
    scope: Scope,
    key_name: String,
    #[schema(value_type = String)]
    key_id: KeyId,
}

/// Something with a name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Named {
    pub id: String,
    pub name: String,
}

impl From<WhoAmI> for SessionView {
    fn from(who: WhoAmI) -> Self {
        let key = who.key;
        Self {
            user: Named { id: key.user.to_string(), name: key.user_name },
            team: Named { id: key.team.to_string(), name: who.team_name },
            scope: key.scope,
            key_name: key.name,
            key_id: key.id,
        }
    }
}

/// Signs a browser in.
///
/// The answer sets the session's cookie and holds its proof. What is mistyped, unknown, expired, revoked or used up is
/// refused in the same words.
#[utoipa::path(
    post, path = "/session", tag = "session", request_body = SignIn,
    responses((status = 200, description = "Signed in; the cookie is set", body = SignedInView)),
)]
async fn sign_in(
    State(services): State<Services>,
    Json(body): Json<SignIn>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<SignedInView>), Problem> {
    // A text whose checksum is wrong is not looked up. That tells nobody anything: how the checksum is
    // made is no secret, and what is before it has 175 random bits.
    let signed_in = match (&body.key, &body.sign_in) {
        (Some(key), None) => match key.reveal().trim().parse() {
            Ok(key) => services.sign_in(&key).await,
            Err(_) => Err(ServiceError::NotSignedIn),
        },
        (None, Some(token)) => match token.reveal().trim().parse() {
            Ok(token) => services.sign_in_once(&token).await,
            Err(_) => Err(ServiceError::NotSignedIn),
        },
        _ => return Err(Problem::invalid("key_or_link", "key", "say either key or signIn")),
    };
    let SignedIn { token, proof, life } = signed_in?;
    let view = SignedInView { session_proof: proof.reveal().to_owned() };
    Ok(([(header::SET_COOKIE, cookie::sign_in(&token, life))], Json(view)))
}

/// Says who asks.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = SessionView)))]
async fn who_am_i(State(services): State<Services>, caller: Caller) -> Result<Json<SessionView>, Problem> {
    Ok(Json(services.who_am_i(&caller).await?.into()))
}

/// Signs the browser out.
///
/// A script that comes with a key has no session, and nothing happens.
#[utoipa::path(
    delete, path = "/session", tag = "session",
    responses((status = 204, description = "Signed out; the cookie is gone")),
)]
async fn sign_out(
    State(services): State<Services>,
    lease: Lease,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1]), Problem> {
    if let Some(session) = lease.session() {
        services.sign_out(*session.as_bytes()).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie::sign_out())]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{KeyBook, caller::PROOF, router::tests::Api};

    fn cookie_of(headers: &http::HeaderMap) -> String {
        headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_key_opens_a_session_and_signing_out_ends_it() {
        let api = Api::new().await;
        let answer = api.send("POST", "session", &[], Some(json!({ "key": api.key }))).await;
        assert_eq!(answer.status, 200);
        let (cookie, proof) = (cookie_of(&answer.headers), answer.body["sessionProof"].as_str().unwrap().to_owned());
        let page = [("cookie", cookie.as_str()), (PROOF, proof.as_str()), ("sec-fetch-site", "same-origin")];
        let who = api.send("GET", "session", &page, None).await;
        insta::assert_snapshot!("session", serde_json::to_string_pretty(&who.body).unwrap());

        let answer = api.send("DELETE", "session", &page, None).await;
        assert_eq!(answer.status, 204);
        assert!(answer.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(api.send("GET", "session", &[("cookie", &cookie)], None).await.status, 401);
    }

    #[tokio::test]
    async fn a_cookie_alone_only_looks() {
        let api = Api::new().await;
        let answer = api.send("POST", "session", &[], Some(json!({ "key": api.key }))).await;
        let (cookie, proof) = (cookie_of(&answer.headers), answer.body["sessionProof"].as_str().unwrap().to_owned());
        let alone = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        assert_eq!(api.send("GET", "jobs", &alone, None).await.status, 200);
        let body = json!({ "name": "x", "scope": "admin" });
        let answer = api.send("POST", "keys", &alone, Some(body.clone())).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (401, &json!("session_proof_missing")));
        let whole = [&alone[..], &[(PROOF, proof.as_str())]].concat();
        assert_eq!(api.send("POST", "keys", &whole, Some(body)).await.status, 201);
        let token: crate::auth::SessionToken = cookie.split_once('=').unwrap().1.parse().unwrap();
        let looks = api.services.by_session(&token.hash(), None).await.unwrap().unwrap();
        assert_eq!(looks.scope, Scope::Read);
    }

    #[tokio::test]
    async fn a_link_signs_in_once() {
        let api = Api::new().await;
        let body = json!({ "signIn": api.link });
        assert_eq!(api.send("POST", "session", &[], Some(body.clone())).await.status, 200);
        assert_eq!(api.send("POST", "session", &[], Some(body)).await.status, 401);
    }

    #[tokio::test]
    async fn every_wrong_key_or_link_is_refused_in_the_same_words() {
        let api = Api::new().await;
        let unknown = crate::auth::ApiKey::mint(&crate::api::caller::tests::Fixed(9)).reveal().to_owned();
        let used = json!({ "signIn": api.link });
        api.send("POST", "session", &[], Some(used.clone())).await;
        let mut answers = Vec::new();
        for body in [
            json!({ "key": unknown }),
            json!({ "key": "gdk_x" }),
            json!({ "key": "" }),
            json!({ "key": api.link }),
            used,
        ] {
            let answer = api.send("POST", "session", &[], Some(body)).await;
            assert!(!answer.headers.contains_key(header::SET_COOKIE));
            answers.push(answer.text);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        for body in [json!({}), json!({ "key": api.key, "signIn": api.link })] {
            assert_eq!(api.send("POST", "session", &[], Some(body)).await.body["code"], "key_or_link");
        }
    }
}
