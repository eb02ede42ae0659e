//! What a service of others answers, in words that say what to do.

use std::error::Error;

use object_store::client::{HttpError, HttpErrorKind};

use crate::domain::storage_provider::S3Place;

/// Longest piece of a service's own words that is repeated, in characters.
const SAID: usize = 300;

/// Why something in a bucket did not work. The words never have a secret key in them.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error("{endpoint} cannot be reached ({why}): check the endpoint, and that the service runs")]
    Unreachable { endpoint: String, why: String },
    #[error("{endpoint} did not answer in time, asked several times: try again later")]
    Slow { endpoint: String },
    #[error("the connection to {endpoint} broke, and again when it was tried again ({why})")]
    Broken { endpoint: String, why: String },
    #[error(
        "the service refuses the key{said}: check the access key, its secret, and that it may read, write, list and delete in the bucket “{bucket}”"
    )]
    Forbidden { bucket: String, said: String },
    #[error("there is no bucket “{bucket}” at {endpoint}: make it there first, or check its name")]
    NoBucket { bucket: String, endpoint: String },
    #[error("the bucket “{bucket}” is not in the region “{region}”{said}: set the region that it is in")]
    WrongRegion { bucket: String, region: String, said: String },
    /// Also after it was asked again, with pauses.
    #[error(
        "the service is out of order or overloaded: it answered {status}{said}, asked several times. Try again later"
    )]
    Busy { status: u16, said: String },
    #[error("there is no “{0}” in the bucket")]
    NotFound(String),
    /// It is no longer what it was when it was looked at.
    #[error("“{0}” was changed in the bucket meanwhile: try again")]
    Changed(String),
    #[error("the service answered {status}{said}")]
    Answer { status: u16, said: String },
    /// The service does not do as S3 does, or has what cannot be had here.
    #[error("the service gives what cannot be worked with: {0}")]
    Odd(String),
    /// The settings of the provider cannot be worked with.
    #[error("the provider's settings are not usable: {0}")]
    Settings(String),
}

impl S3Error {
    /// Says what `error` of a call about `key` means.
    pub(super) fn of(place: &S3Place, key: &str, error: &object_store::Error) -> Self {
        let (bucket, endpoint) = (place.bucket.clone(), endpoint(place));
        if let object_store::Error::InvalidPath { source } = error {
            return Self::Odd(format!("it lists a key that is no path of a file: {}", plain(&source.to_string())));
        }
        if let Some(http) = links(error).find_map(|link| link.downcast_ref::<HttpError>()) {
            let why = deepest(http);
            return match http.kind() {
                HttpErrorKind::Connect => Self::Unreachable { endpoint, why },
                HttpErrorKind::Timeout => Self::Slow { endpoint },
                _ => Self::Broken { endpoint, why },
            };
        }
        // The error that holds the status is not public, so it is read from the words.
        let text = error.to_string();
        let (code, message) = (tag(&text, "Code"), tag(&text, "Message"));
        let said = said(code, message);
        let status = text.split("status code: ").nth(1).and_then(|rest| rest.get(..3)?.parse().ok());
        match (code.unwrap_or_default(), status.unwrap_or(0)) {
            ("NoSuchBucket", _) => Self::NoBucket { bucket, endpoint },
            ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IncorrectEndpoint", _)
            | (_, 301 | 302 | 307 | 308) => Self::WrongRegion { bucket, region: place.region.clone(), said },
            _ if text.contains("redirect without LOCATION") => {
                Self::WrongRegion { bucket, region: place.region.clone(), said }
            }
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AccessDenied", _) | (_, 401 | 403) => {
                Self::Forbidden { bucket, said }
            }
            (_, 404) => Self::NotFound(key.to_owned()),
            (_, 412) => Self::Changed(key.to_owned()),
            (_, status @ (408 | 429 | 500..=599)) => Self::Busy { status, said },
            ("InternalError" | "SlowDown", status) => Self::Busy { status, said },
            (_, 0) if matches!(error, object_store::Error::NotFound { .. }) => Self::NotFound(key.to_owned()),
            (_, 0) => Self::Odd(plain(&text)),
            (_, status) => Self::Answer { status, said },
        }
    }

    /// Says whether the same may work later without anybody changing a setting.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Slow { .. } | Self::Broken { .. } | Self::Busy { .. })
    }

    /// Returns the setting of a provider that the error is most likely about, as the API calls it.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::NoBucket { .. } => "bucket",
            Self::WrongRegion { .. } => "region",
            Self::Forbidden { .. } => "secretAccessKey",
            _ => "endpoint",
        }
    }
}

/// Returns the URL that a place is asked at, for messages.
pub(super) fn endpoint(place: &S3Place) -> String {
    place.endpoint.clone().unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", place.region))
}

fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |link| {
        let link: &'a (dyn Error + 'static) = *link;
        link.source()
    })
}

/// Returns the words at the root of an error: “Connection refused”, not “error sending request”.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    links(error).last().map(|root| plain(&root.to_string())).unwrap_or_default()
}

fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

fn said(code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (Some(code), Some(message)) => format!(" ({}: {})", plain(code), plain(message)),
        (Some(one), None) | (None, Some(one)) => format!(" ({})", plain(one)),
        (None, None) => String::new(),
    }
}

/// A stranger's words, short and without control characters.
fn plain(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID).collect();
    shown.trim().to_owned()
}
