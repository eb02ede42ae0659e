//! `/workloads`: opening what containers serve. The proxy serves it, on an origin of its own; here somebody
//! who is known to the control plane gets what lets them in there.

use std::time::Duration;

use axum::extract::State;
use http::{HeaderMap, StatusCode, header, uri::Authority};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Lease, Path, Problem, problem::ProblemDocument};
use crate::{
    domain::{
        caller::Caller,
        time::Timestamp,
        web_name::{LocalPath, ServedId, Target, prefix},
    },
    service::{Services, tickets::TICKET_LIFE},
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(open)).routes(routes!(create_token))
}

/// What is to be opened.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct OpenWorkload {
    /// A port that the container listens on, published or not. Its main one when left out: of a job, the
    /// first that it publishes.
    port: Option<u16>,
    /// Where to begin: a path on the same host, with or without a query. `/` when left out.
    path: Option<String>,
}

/// Where a browser finds it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OpenedView {
    /// Good once, for one browser, which is led on to the path without the ticket in it.
    #[schema(example = "http://js3v54dfgz1zcu-8000.localhost:7071/?gradientd-ticket=gdt_…")]
    url: String,
    /// How long the URL waits to be opened.
    expires_in_seconds: u64,
}

/// Open a workload
///
/// Makes a URL that lets one browser in to what a running container serves. The host of the URL is the
/// workload's own, so that its pages reach neither this API nor other workloads. A TensorBoard that does
/// not run is started; its URL can be opened at once, and shows a page that waits for it.
#[utoipa::path(
    post, path = "/workloads/{id}/open", tag = "workloads", request_body = Option<OpenWorkload>,
    params(("id" = String, Path, description = "Id of a job, a notebook or a TensorBoard")),
    responses(
        (status = 200, description = "Where it is", body = OpenedView),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is over, or it has no name that this browser could reach", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A port is missing, or the path leads elsewhere", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn open(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path(id): Path<ServedId>,
    headers: HeaderMap,
    asked: Option<Json<OpenWorkload>>,
) -> Result<Json<OpenedView>, Problem> {
    let asked = asked.map(|Json(asked)| asked).unwrap_or_default();
    let target = target(&id, asked.port)?;
    let path: Option<LocalPath> = asked
        .path
        .map(|path| path.parse())
        .transpose()
        .map_err(|error| Problem::invalid("foreign_path", "path", error))?;
    let origin = origin(&services, &headers, &target)?;
    let (ticket, served) = services.open_workload(&caller, &id, lease.session()).await?;
    if target.port.is_none() && served.main_port.is_none() {
        let detail = "it publishes no port that could be meant: say which one with `port`";
        return Err(Problem::invalid("which_port", "port", detail));
    }
    // What knows its prefix has it on its own host, too.
    let home = if served.knows_its_prefix && target.port.is_none() { prefix(&target) } else { "/".to_owned() };
    let home = if origin.ends_with(home.trim_end_matches('/')) { "/".to_owned() } else { home };
    let path = path.as_ref().map_or(home.as_str(), LocalPath::as_str);
    let mark = if path.contains('?') { '&' } else { '?' };
    let url = format!("{origin}{path}{mark}gradientd-ticket={}", ticket.reveal());
    Ok(Json(OpenedView { url, expires_in_seconds: TICKET_LIFE.as_secs() }))
}

/// A token to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct NewToken {
    /// As in `open`.
    port: Option<u16>,
    /// When it ends by itself: 7 days when left out, 90 at most.
    expires_in_seconds: Option<u64>,
}

/// A token that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    /// The token itself, shown this once. Sent as `Authorization: token …`, `Authorization: Bearer …` or
    /// `?token=…`, it opens this workload and nothing else.
    #[schema(example = "gdw_…")]
    token: String,
    /// Where it is good, by path: for programs that cannot resolve names beneath `localhost`.
    #[schema(example = "http://127.0.0.1:7071/w/js3v54dfgz1zcu/")]
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Make a token for a workload
///
/// For editors and scripts. It ends with the key or the session's key that it was made with.
#[utoipa::path(
    post, path = "/workloads/{id}/tokens", tag = "workloads", request_body = Option<NewToken>,
    params(("id" = String, Path, description = "Id of a job, a notebook or a TensorBoard")),
    responses(
        (status = 201, description = "Made", body = TokenView),
        (status = 403, description = "The key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is over", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be so", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn create_token(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<ServedId>,
    headers: HeaderMap,
    asked: Option<Json<NewToken>>,
) -> Result<(StatusCode, Json<TokenView>), Problem> {
    let asked = asked.map(|Json(asked)| asked).unwrap_or_default();
    let target = target(&id, asked.port)?;
    let life = asked.expires_in_seconds.map(Duration::from_secs);
    let (made, _) = services.create_workload_token(&caller, &id, life).await?;
    let url = services.settings.names.path_url(host(&headers)?.host(), &target);
    let view = TokenView { token: made.token.reveal().to_owned(), url, expires_at: made.expires_at };
    Ok((StatusCode::CREATED, Json(view)))
}

fn target(id: &ServedId, port: Option<u16>) -> Result<Target, Problem> {
    if port == Some(0) {
        return Err(Problem::invalid("invalid_port", "port", "a port is from 1 to 65535"));
    }
    Ok(Target { id: id.clone(), port })
}

fn host(headers: &HeaderMap) -> Result<Authority, Problem> {
    let said = headers.get(header::HOST).and_then(|value| value.to_str().ok()?.parse().ok());
    said.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "bad_host", "the request needs a Host header"))
}

/// Returns where the browser that asks finds a target.
fn origin(services: &Services, headers: &HeaderMap, target: &Target) -> Result<String, Problem> {
    let host = host(headers)?;
    services.settings.names.url(host.host(), target).ok_or_else(|| {
        let detail = format!(
            "seen from {} a workload has no name of its own: have an admin set server.workload_domain to a domain whose names lead to this box, or come through ssh -L to localhost",
            host.host()
        );
        Problem::conflict("no_workload_domain", detail)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::router::tests::Api, auth::Ticket, domain::caller::Scope};

    async fn job(api: &Api, ports: serde_json::Value) -> String {
        let body = json!({ "image": "busybox", "command": "true", "ports": ports });
        let made = api.ask("POST", "jobs", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.body["id"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_ticket_is_good_once_and_for_its_workload_alone() {
        let api = Api::new().await;
        let (id, other) = (job(&api, json!([8000])).await, job(&api, json!([])).await);
        let opened = api.ask("POST", &format!("workloads/{id}/open"), Some(json!({ "path": "/a?b=c" }))).await;
        assert_eq!(opened.status, 200, "{}", opened.text);
        let url = opened.body["url"].as_str().unwrap();
        let ticket = url.strip_prefix(&format!("http://{id}.localhost:7071/a?b=c&gradientd-ticket=")).unwrap();
        let hash = ticket.parse::<Ticket>().unwrap().hash();
        let (id, other): (ServedId, ServedId) = (id.parse().unwrap(), other.parse().unwrap());
        assert!(api.services.redeem_ticket(&hash, &other).await.unwrap().is_none());
        let (session, _) = api.services.redeem_ticket(&hash, &id).await.unwrap().unwrap();
        assert!(api.services.redeem_ticket(&hash, &id).await.unwrap().is_none(), "it is used up");
        let shown = crate::service::tickets::Shown::Session(session.hash());
        assert!(api.services.served(shown, &id).await.unwrap().is_some());
        assert!(api.services.served(shown, &other).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_opened_says_why() {
        let api = Api::new().await;
        let id = job(&api, json!([])).await;
        let ask = |body| api.ask("POST", "workloads/js0123456789ab/open", Some(body));
        assert_eq!(ask(json!({})).await.problem(), (404, "job_not_found"));
        let path = format!("workloads/{id}/open");
        assert_eq!(api.ask("POST", &path, Some(json!({}))).await.problem(), (422, "which_port"));
        for evil in ["//evil.example", "https://evil.example", "/\\evil", "evil"] {
            let answer = api.ask("POST", &path, Some(json!({ "port": 80, "path": evil }))).await;
            assert_eq!(answer.problem(), (422, "foreign_path"), "{evil}");
        }
        let stranger = api.stranger(Scope::Admin).await;
        let answer = api.send("POST", &path, &[("authorization", &stranger)], Some(json!({ "port": 80 }))).await;
        assert_eq!(answer.problem(), (404, "job_not_found"));
    }

    #[tokio::test]
    async fn nothing_need_be_said_of_what_has_one_port() {
        let api = Api::new().await;
        let id = job(&api, json!([8000])).await;
        let opened = api.ask("POST", &format!("workloads/{id}/open"), None).await;
        assert_eq!(opened.status, 200, "{}", opened.text);
        let made = api.ask("POST", &format!("workloads/{id}/tokens"), None).await;
        assert_eq!(made.status, 201, "{}", made.text);
    }

    #[tokio::test]
    async fn a_read_key_opens_nothing() {
        let api = Api::new().await;
        let id = job(&api, json!([8000])).await;
        let made = api.ask("POST", "keys", Some(json!({ "name": "r", "scope": "read" }))).await;
        let bearer = format!("Bearer {}", made.body["key"].as_str().unwrap());
        for path in ["open", "tokens"] {
            let path = format!("workloads/{id}/{path}");
            let answer = api.send("POST", &path, &[("authorization", &bearer)], Some(json!({}))).await;
            assert_eq!(answer.problem(), (403, "forbidden"));
        }
    }

    #[tokio::test]
    async fn a_token_is_for_one_workload_and_ends_with_its_key() {
        let api = Api::new().await;
        let id = job(&api, json!([8000])).await;
        let key = api.ask("POST", "keys", Some(json!({ "name": "w", "scope": "write" }))).await;
        let bearer = format!("Bearer {}", key.body["key"].as_str().unwrap());
        let path = format!("workloads/{id}/tokens");
        let made = api.send("POST", &path, &[("authorization", &bearer)], Some(json!({}))).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(made.body["url"], format!("http://localhost:7071/w/{id}/"));
        let token: crate::auth::WorkloadToken = made.body["token"].as_str().unwrap().parse().unwrap();
        let shown = crate::service::tickets::Shown::Token(token.hash());
        let id: ServedId = id.parse().unwrap();
        assert_eq!(api.services.served(shown, &id).await.unwrap().unwrap().main_port, Some(8000));
        let revoked = api.ask("DELETE", &format!("keys/{}", key.body["id"].as_str().unwrap()), None).await;
        assert_eq!(revoked.status, 204);
        assert!(api.services.served(shown, &id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn signing_out_ends_what_was_opened_in_that_browser() {
        let api = Api::new().await;
        let id = job(&api, json!([8000])).await;
        let signed_in = api.send("POST", "session", &[], Some(json!({ "key": api.key }))).await;
        let cookie = signed_in.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let proof = signed_in.body["sessionProof"].as_str().unwrap().to_owned();
        let page = [("cookie", cookie.as_str()), ("x-gradientd-session", &proof), ("sec-fetch-site", "same-origin")];
        let opened = api.send("POST", &format!("workloads/{id}/open"), &page, Some(json!({}))).await;
        let ticket = opened.body["url"].as_str().unwrap().rsplit('=').next().unwrap().parse::<Ticket>().unwrap();
        let id: ServedId = id.parse().unwrap();
        let (session, _) = api.services.redeem_ticket(&ticket.hash(), &id).await.unwrap().unwrap();
        let shown = crate::service::tickets::Shown::Session(session.hash());
        assert!(api.services.served(shown, &id).await.unwrap().is_some());
        assert_eq!(api.send("DELETE", "session", &page, None).await.status, 204);
        assert!(api.services.served(shown, &id).await.unwrap().is_none());
    }
}
