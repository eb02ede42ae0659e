//! Answers pushes, and nothing else.
//!
//! Refusals are one line of text: clients raise an error in the code that trains, and whoever reads it
//! there sees little more than the status and, if they ask for it, this line.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use super::address::{Address, BadAddress};
use crate::service::{
    Services,
    pushes::{PushError, Pusher},
};

/// Largest text of one push, in bytes.
const LARGEST: usize = 1 << 20;
/// How long one push may take to arrive and to be kept. Clients wait for 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns what answers at the door.
pub fn router(services: Services) -> Router {
    Router::new()
        .fallback(answer)
        .with_state(services)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, PATIENCE))
        .layer(CatchPanicLayer::new())
}

/// Why a push was refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{}", super::NOTHING_ELSE)]
    Nothing,
    #[error("metrics are pushed with PUT or POST, and taken back with DELETE")]
    Method,
    #[error("send Prometheus' text format, version 0.0.4, not compressed")]
    Format,
    #[error("a push has at most {LARGEST} bytes: push fewer metrics at once")]
    TooLarge,
    #[error("the push ended before it was whole")]
    Broken,
    #[error("the push is not UTF-8")]
    NotText,
    #[error(transparent)]
    Address(#[from] BadAddress),
    #[error(transparent)]
    Push(#[from] PushError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Nothing => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Format => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken | Self::NotText | Self::Address(_) => StatusCode::BAD_REQUEST,
            Self::Push(error) => match error {
                PushError::NotTheirs => StatusCode::FORBIDDEN,
                PushError::Ended { .. } => StatusCode::GONE,
                PushError::Bad(_) => StatusCode::BAD_REQUEST,
                PushError::TooManySeries | PushError::TooManyPoints => StatusCode::PAYLOAD_TOO_LARGE,
                PushError::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
                PushError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if let Self::Push(PushError::Store(error)) = &self {
            tracing::error!(error = format!("{:#}", anyhow::Error::msg(error.to_string())), "a push could not be kept");
        }
        (self.status(), format!("{self}\n")).into_response()
    }
}

async fn answer(State(services): State<Services>, request: Request) -> Result<StatusCode, Refusal> {
    let path = request.uri().path().to_owned();
    let address = Address::of(&path).ok_or(Refusal::Nothing)?;
    // Nobody's text is read before it is known whose it is.
    let pusher = services.pusher(address.secret)?;
    match *request.method() {
        Method::PUT | Method::POST => keep(&services, pusher, address, request).await?,
        Method::DELETE => services.take_back(pusher, address.group()?).await?,
        _ => return Err(Refusal::Method),
    }
    Ok(StatusCode::ACCEPTED)
}

async fn keep(services: &Services, pusher: Pusher, address: Address<'_>, request: Request) -> Result<(), Refusal> {
    let group = address.group()?;
    if !is_text(request.headers()) {
        return Err(Refusal::Format);
    }
    let text = text(request.into_body()).await?;
    Ok(services.push(pusher, &group, &text).await?)
}

/// Says whether what comes can be read here. Clients that say nothing mean text.
fn is_text(headers: &HeaderMap) -> bool {
    let says = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase);
    let plain = says(header::CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    // What urllib and curl say when they are not told is no claim about the format.
    let text = says(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.starts_with("text/plain") || kind == "application/x-www-form-urlencoded");
    plain && text
}

async fn text(body: Body) -> Result<String, Refusal> {
    let collected = Limited::new(body, LARGEST).collect().await.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() { Refusal::TooLarge } else { Refusal::Broken }
    })?;
    String::from_utf8(collected.to_bytes().into()).map_err(|_| Refusal::NotText)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        api::router::tests::{Api, busy_box},
        domain::{id::JobId, time::Timestamp},
        store::{StoreError, workloads},
    };

    /// A box on which one job runs, and the job.
    async fn running() -> (Api, JobId) {
        let api = busy_box().await;
        let jobs = api.ask("GET", "jobs", None).await;
        let held = jobs.body["items"].as_array().unwrap().iter().find(|job| job["name"] == "holds").unwrap();
        (api, held["id"].as_str().unwrap().parse().unwrap())
    }

    async fn send(api: &Api, method: &str, path: &str, body: impl Into<Body>) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = router(api.services.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let text = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    async fn curve(api: &Api, job: &JobId, name: &str) -> serde_json::Value {
        let chart = api.ask("GET", &format!("jobs/{job}/charts/{name}"), None).await;
        assert_eq!(chart.status, 200, "{}", chart.text);
        assert_eq!(chart.body["source"], "pushed");
        json!([chart.body["x"], chart.body["y"]])
    }

    #[tokio::test]
    async fn pushes_become_points_and_a_step_is_pushed_once() {
        let (api, job) = running().await;
        let root = format!("/{}/metrics/job/{job}", api.services.push_secret(&job, 1).reveal());
        for (method, path, text) in [
            ("PUT", "/name/loss/step/0", "loss 4\n"),
            ("PUT", "/name/loss/step/10", "loss{step=\"10\"} 2\n"),
            ("POST", "/name/loss/step/5", "loss 3\n"),
            ("PUT", "/name/loss/step/10", "loss 1\n"),
            ("PUT", "/step/None", "other 7\nskipped NaN\n"),
            ("PUT", "", "other 8\n"),
        ] {
            assert_eq!(send(&api, method, &format!("{root}{path}"), text).await, (202, String::new()), "{path}");
        }
        assert_eq!(curve(&api, &job, "loss").await, json!([[0.0, 5.0, 10.0], [4.0, 3.0, 1.0]]));
        assert_eq!(curve(&api, &job, "other").await, json!([[0.0, 1.0], [7.0, 8.0]]));
        assert_eq!(send(&api, "DELETE", &format!("{root}/name/loss/step/5"), "").await.0, 202);
        assert_eq!(send(&api, "DELETE", &root, "").await.0, 202);
        assert_eq!(curve(&api, &job, "loss").await, json!([[0.0, 10.0], [4.0, 1.0]]));
        assert_eq!(curve(&api, &job, "other").await, json!([[0.0, 1.0], [7.0, 8.0]]), "history stays");
    }

    #[tokio::test]
    async fn a_printed_and_a_pushed_chart_may_share_a_name() {
        let (api, job) = running().await;
        let root = format!("/{}/metrics/job/a", api.services.push_secret(&job, 1).reveal());
        assert_eq!(send(&api, "PUT", &root, "loss 1\n").await.0, 202);
        let id = job.clone();
        let printed = api.store.write(move |tx| {
            use crate::store::points::{SeriesKind, append};
            let name = crate::domain::series::SeriesName { name: "loss".to_owned(), gpu: String::new() };
            let seq = workloads::get(tx, &id)?.unwrap().seq;
            append(tx, seq, 1, SeriesKind::Chart, &name, &[(3, 3.0, 30.0)])
        });
        printed.await.unwrap();
        let list = api.ask("GET", &format!("jobs/{job}/charts"), None).await;
        let sources: Vec<_> = list.body["items"].as_array().unwrap().iter().map(|chart| &chart["source"]).collect();
        assert_eq!(sources, ["printed", "pushed"]);
        for (query, y) in [("", 30.0), ("?source=printed", 30.0), ("?source=pushed", 1.0)] {
            let chart = api.ask("GET", &format!("jobs/{job}/charts/loss{query}"), None).await;
            assert_eq!(chart.body["y"], json!([y]), "{query}");
        }
        assert_eq!(api.ask("GET", &format!("jobs/{job}/charts/loss?source=x"), None).await.status, 422);
    }

    #[tokio::test]
    async fn nobody_pushes_for_another_and_nothing_else_is_here() {
        let (api, job) = running().await;
        let secret = api.services.push_secret(&job, 1);
        let waits =
            api.ask("GET", "jobs?state=pending", None).await.body["items"][0]["id"].as_str().unwrap().to_owned();
        let forged = secret.reveal().replace(job.as_str(), &waits);
        let unplaced = api.services.push_secret(&waits.parse().unwrap(), 1);
        for (method, path, status) in [
            ("PUT", format!("/{forged}/metrics/job/a"), 403),
            ("PUT", "/x/metrics/job/a".to_owned(), 403),
            ("DELETE", format!("/{forged}/metrics/job/a/step/1"), 403),
            ("PUT", format!("/{}/metrics/job/a", api.services.push_secret(&job, 2).reveal()), 410),
            ("PUT", format!("/{}/metrics/job/a", unplaced.reveal()), 410),
            ("GET", format!("/{}/metrics/job/a", secret.reveal()), 405),
            ("GET", "/".to_owned(), 404),
            ("GET", "/metrics".to_owned(), 404),
            ("GET", "/api/v1/healthz".to_owned(), 404),
            ("GET", "/api/v1/jobs".to_owned(), 404),
            ("POST", "/api/v1/session".to_owned(), 404),
            ("GET", format!("/api/v1/jobs/{job}/charts"), 404),
            ("GET", "/gradient/projects/".to_owned(), 404),
        ] {
            let (answered, words) = send(&api, method, &path, "x 1\n").await;
            assert_eq!(answered, status, "{method} {path}: {words}");
            assert!(!words.contains(secret.reveal()) && words.ends_with('\n'), "{words}");
        }
        assert_eq!(api.ask("GET", &format!("jobs/{job}/charts"), None).await.body, json!({ "items": [] }));
    }

    #[tokio::test]
    async fn what_cannot_be_taken_is_refused_whole_and_in_words() {
        let (api, job) = running().await;
        let root = format!("/{}/metrics/job/a", api.services.push_secret(&job, 1).reveal());
        let many: String = (0..1001).map(|at| format!("m{at} 1\n")).collect();
        for (path, text, status, words) in [
            ("", "good 1\nbad\n".to_owned(), 400, "line 2"),
            ("/step/later", "good 1\n".to_owned(), 400, "whole number"),
            ("/odd", "good 1\n".to_owned(), 400, "without a value"),
            ("", many, 413, "at most 1000 metrics"),
            ("", "#".repeat(LARGEST + 1), 413, "bytes"),
        ] {
            let (answered, said) = send(&api, "PUT", &format!("{root}{path}"), text).await;
            assert!(answered == status && said.contains(words), "{path}: {answered} {said}");
        }
        assert_eq!(send(&api, "PUT", &root, vec![0xff]).await.0, 400);
        let request =
            Request::builder().method("PUT").uri(&root).header("content-type", "application/vnd.google.protobuf");
        let answer = router(api.services.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 415);
        assert_eq!(api.ask("GET", &format!("jobs/{job}/charts"), None).await.body, json!({ "items": [] }));
    }

    #[tokio::test]
    async fn a_run_that_is_full_is_refused_without_counting_its_points_again() {
        let (api, job) = running().await;
        let secret = api.services.push_secret(&job, 1);
        let root = format!("/{}/metrics/job/a", secret.reveal());
        assert_eq!(send(&api, "PUT", &format!("{root}/step/1"), "x 1\n").await.0, 202);
        // Whoever counted now would find one.
        api.services.pushed.note(&api.services.pusher(secret.reveal()).unwrap(), 5_000_000);
        for _ in 0..2 {
            let (status, words) = send(&api, "PUT", &format!("{root}/step/2"), "x 2\n").await;
            assert!(status == 413 && words.contains("5000000 points"), "{status} {words}");
        }
        assert_eq!(send(&api, "PUT", &format!("{root}/step/1"), "x 3\n").await.0, 202, "it takes no more room");
        assert_eq!(send(&api, "DELETE", &format!("{root}/step/1"), "").await.0, 202);
        assert_eq!(send(&api, "PUT", &format!("{root}/step/2"), "x 2\n").await.0, 202, "there is room again");
        assert_eq!(curve(&api, &job, "x").await, json!([[2.0], [2.0]]));
    }

    #[tokio::test]
    async fn many_points_at_once_wait_outside_the_store_where_they_hold_up_nobody() {
        let (api, job) = running().await;
        let root = format!("/{}/metrics/job/a", api.services.push_secret(&job, 1).reveal());
        let others = api.services.pushed.turn(20_000).await;
        let mut push = Box::pin(send(&api, "PUT", &root, "x 1\n"));
        assert!(futures_util::poll!(&mut push).is_pending());
        // Had it gone to the store, this would come after it.
        api.store.write(|_| Ok::<_, StoreError>(())).await.unwrap();
        assert_eq!(api.ask("GET", &format!("jobs/{job}/charts"), None).await.body, json!({ "items": [] }));
        drop(others);
        assert_eq!(push.await.0, 202);
    }

    #[tokio::test]
    async fn a_run_that_has_ended_takes_nothing_more() {
        let (api, job) = running().await;
        let root = format!("/{}/metrics/job/a", api.services.push_secret(&job, 1).reveal());
        assert_eq!(send(&api, "PUT", &root, "x 1\n").await.0, 202);
        let id = job.clone();
        let ended = api.store.write(move |tx| {
            let workload = workloads::get(tx, &id)?.unwrap();
            workloads::unplace(tx, &workload, "again", Timestamp(0))?;
            Ok::<_, StoreError>(())
        });
        ended.await.unwrap();
        let (status, words) = send(&api, "PUT", &root, "x 2\n").await;
        assert!(status == 410 && words.contains("has ended"), "{words}");
    }
}
