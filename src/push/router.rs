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
