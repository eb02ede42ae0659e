//! Where the client asks for metrics: an address without a scheme, because it puts `https://` or `wss://`
//! in front, with a secret in its path, because it sends no key on its streams.
//!
//! ```text
//! HOST:PORT/gradient/watch/RUN/~EXPIRES.KEY.SIGNATURE
//! ```
//! The client appends `/metrics/api/v1/…` to it. A part of a path that begins with `~` is not logged.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{header, request::Parts, uri::Authority};

use super::ROOT;
use crate::{
    api::{Problem, signed, tls::TlsDoor},
    domain::{caller::Caller, content::ContentHash, id::JobId},
    service::{Services, metrics_pass::MetricsPass},
};

/// The path of such an address, as a route.
pub const WATCH: &str = "/watch/{run}/{pass}";

/// Where this box speaks TLS, by the name that it is called by whoever asks.
#[derive(Debug, Clone)]
pub struct MetricsAt(Option<String>);

impl MetricsAt {
    /// Returns where the metrics of a run are, for a caller who was shown it.
    pub fn url(&self, services: &Services, caller: &Caller, run: &JobId) -> Option<String> {
        let authority = self.0.as_ref()?;
        let (pass, signature) = services.metrics_pass(caller, run);
        Some(format!("{authority}{ROOT}/watch/{}/~{}.{}.{signature}", pass.run, pass.expires, pass.key))
    }
}

impl<S: Sync> FromRequestParts<S> for MetricsAt {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let door = parts.extensions.get::<TlsDoor>();
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        // Who asks by HTTPS, here or at a proxy in front, gets metrics in the same place.
        let by_https = signed::origin(&parts.headers).starts_with("https://");
        Ok(Self(match (host, door) {
            (Some(host), _) if by_https => Some(host.to_string()),
            (Some(host), Some(door)) => Some(format!("{}:{}", host.host(), door.port)),
            _ => None,
        }))
    }
}

/// Reads what an address names. Whether it is good is for [`Services::metrics_holder`] to say.
///
/// # Errors
/// A 403 [`Problem`], as for one that is not good.
pub fn read(run: &str, pass: &str) -> Result<(MetricsPass, ContentHash), Problem> {
    let read = || {
        let mut parts = pass.strip_prefix('~')?.split('.');
        let (expires, key, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let pass = MetricsPass { run: run.parse().ok()?, expires: expires.parse().ok()?, key: key.parse().ok()? };
        parts.next().is_none().then_some((pass, signature.parse().ok()?))
    };
    read().ok_or_else(|| {
        let detail = "the address of these metrics is not good, or no longer: look at the job again";
        Problem::new(http::StatusCode::FORBIDDEN, "forbidden", detail)
    })
}

#[cfg(test)]
pub mod tests {
    use std::{path::Path, sync::Arc};

    use axum::extract::Request;

    use super::*;
    use crate::{
        auth::Certificates,
        domain::{
            id::IdSource,
            time::{Clock, Timestamp},
        },
    };

    struct Fixed;
    impl IdSource for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }
    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp(1_769_860_800_000_000)
        }
    }

    /// A listener at port 7443.
    pub fn door(keys: &Path) -> TlsDoor {
        let names = ["localhost".to_owned()].into();
        TlsDoor { certificates: Arc::new(Certificates::own(keys, names, &Fixed, Arc::new(Fixed)).unwrap()), port: 7443 }
    }

    #[tokio::test]
    async fn metrics_are_where_the_box_is_reached_by_tls() {
        let dir = tempfile::tempdir().unwrap();
        let door = door(dir.path());
        for (headers, with_door, expected) in [
            (&[("host", "box.lab:7070")][..], true, Some("box.lab:7443")),
            (&[("host", "[::1]:7070")], true, Some("[::1]:7443")),
            (&[("host", "box.lab:7443"), ("x-forwarded-proto", "https")], true, Some("box.lab:7443")),
            (&[("host", "box.lab"), ("x-forwarded-proto", "https")], false, Some("box.lab")),
            (&[("host", "box.lab:7070")], false, None),
            (&[], true, None),
        ] {
            let mut request = Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            if with_door {
                parts.extensions.insert(door.clone());
            }
            let Ok(at) = MetricsAt::from_request_parts(&mut parts, &()).await;
            assert_eq!(at.0.as_deref(), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let (run, signature) = ("js0123456789ab", "0".repeat(64));
        assert!(read(run, &format!("~5.k0000000000.{signature}")).is_ok());
        for (run, pass) in [
            ("js0", format!("~5.k0000000000.{signature}")),
            (run, format!("5.k0000000000.{signature}")),
            (run, format!("~x.k0000000000.{signature}")),
            (run, format!("~5.k0000000000.{signature}.more")),
            (run, format!("~5.k.{signature}")),
            (run, "~5.k0000000000.00".to_owned()),
            (run, "~".to_owned()),
        ] {
            assert_eq!(read(run, &pass).unwrap_err().status().as_u16(), 403, "{run} {pass}");
        }
    }
}
