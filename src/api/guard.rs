//! Turns away requests that a web page elsewhere made a browser send.
//!
//! - A foreign `Host` means that somebody's DNS name points here (DNS rebinding).
//! - A foreign `Origin`, or `Sec-Fetch-Site` other than our own, means that another page asks
//!   (CSRF). `same-site` is foreign too: another port of this host serves what users run.
//!
//! There are no CORS headers, ever: no other page may read an answer.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::Request, middleware::Next, response::IntoResponse, response::Response};
use http::{HeaderMap, Method, StatusCode, header, uri::Authority};

use super::Problem;

/// Longest path, in bytes.
const PATH: usize = 8 << 10;
/// Longest path and query, in bytes: the original client puts a whole job into a query.
const TARGET: usize = 60 << 10;

/// The names that this box may be called by.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Addresses that are listened on.
    listen: Vec<IpAddr>,
    hosts: Vec<String>,
}

impl Guard {
    /// Allows loopback names, the address listened on, and `hosts`.
    pub fn new(listen: SocketAddr, hosts: &[String]) -> Self {
        Self { listen: vec![listen.ip()], hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Allows one more address that is listened on.
    #[must_use]
    pub fn and(mut self, listen: SocketAddr) -> Self {
        self.listen.push(listen.ip());
        self
    }

    /// Lets `request` through, or says why not.
    ///
    /// # Errors
    /// A 4xx [`Problem`].
    pub fn check(&self, request: &Request) -> Result<(), Problem> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if request.uri().path().len() > PATH || target > TARGET {
            let detail = format!("the path is longer than {PATH} bytes, or longer than {TARGET} with its query");
            return Err(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail));
        }
        let host = self.check_host(request)?;
        check_origin(request.method(), request.uri().path(), request.headers(), &host)
    }

    /// Returns the host that the request is for, if it may be called so.
    fn check_host(&self, request: &Request) -> Result<Authority, Problem> {
        let mut given = request.headers().get_all(header::HOST).iter();
        let host = given.next().and_then(|value| value.to_str().ok()?.parse::<Authority>().ok());
        let (Some(host), None) = (host, given.next()) else {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_host", "the request needs exactly one Host header"));
        };
        // An absolute target names a host of its own, which counts.
        let named = request.uri().authority().unwrap_or(&host);
        if self.allows(host.host()) && self.allows(named.host()) {
            return Ok(host);
        }
        let detail = format!(
            "this box is not known as “{}”. If it should be, add the name to server.hosts in the settings",
            named.host().chars().take(100).collect::<String>()
        );
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", detail))
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // Rebinding needs a name. When listening on all addresses, any of them may be meant.
            let listens = |listen: &IpAddr| ip == *listen || listen.is_unspecified();
            return ip.is_loopback() || self.listen.iter().any(listens) || self.hosts.contains(&host);
        }
        host == "localhost" || self.hosts.contains(&host)
    }
}

/// Turns away what another page asks.
fn check_origin(method: &Method, path: &str, headers: &HeaderMap, host: &Authority) -> Result<(), Problem> {
    if let Some(origin) = headers.get(header::ORIGIN)
        && !is_own(origin.as_bytes(), host)
    {
        return Err(cross_site());
    }
    match fetch_site(headers) {
        None | Some("same-origin" | "none") => Ok(()),
        // A link from another page to a page of ours. Pages are for everybody; the API is not.
        Some(_) if method.is_safe() && is_navigation(headers) && !path.starts_with("/api/") => Ok(()),
        Some(_) => Err(cross_site()),
    }
}

/// Says whether the request proves that one of our own pages sent it. Browsers send one of these
/// headers with every request that changes something.
pub(super) fn is_from_our_page(headers: &HeaderMap) -> bool {
    // A foreign origin has not come this far.
    headers.contains_key(header::ORIGIN) || fetch_site(headers) == Some("same-origin")
}

fn fetch_site(headers: &HeaderMap) -> Option<&str> {
    headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("unreadable"))
}

fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
        && headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document")
}

fn is_own(origin: &[u8], host: &Authority) -> bool {
    // A proxy in front may speak TLS, so both schemes count; the host and port must be the same.
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str().as_bytes()))
}

fn cross_site() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "cross_site",
        "another web page asked for this in your browser: only this box's own pages may",
    )
}

/// Answers with a problem what `guard` does not let through.
pub async fn admit(guard: std::sync::Arc<Guard>, request: Request, next: Next) -> Response {
    match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn guard() -> Guard {
        Guard::new("127.0.0.1:7070".parse().unwrap(), &["Box.lab".into()])
    }

    fn answer(method: &str, path: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard().check(&request.body(Body::empty()).unwrap()).map_err(|problem| problem.code())
    }

    #[test]
    fn only_names_of_this_box_are_answered() {
        for host in ["127.0.0.1:7070", "localhost", "LOCALHOST:1", "[::1]:7070", "box.lab", "box.lab.:80", "127.0.0.2"]
        {
            assert_eq!(answer("GET", "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "box.lab.evil"] {
            assert_eq!(answer("GET", "/", &[("host", host)]), Err("foreign_host"), "{host}");
        }
    }

    #[test]
    fn a_host_is_needed_and_only_one() {
        assert_eq!(answer("GET", "/", &[]), Err("bad_host"));
        assert_eq!(answer("GET", "/", &[("host", "localhost"), ("host", "evil.example")]), Err("bad_host"));
        assert_eq!(answer("GET", "/", &[("host", "a b")]), Err("bad_host"));
        assert_eq!(answer("GET", "http://evil.example/", &[("host", "localhost")]), Err("foreign_host"));
    }

    #[test]
    fn any_address_will_do_when_listening_on_all() {
        let guard = Guard::new("0.0.0.0:7070".parse().unwrap(), &[]);
        assert!(guard.allows("10.1.2.3") && !guard.allows("evil.example"));
    }

    #[test]
    fn a_second_address_and_one_that_a_router_hands_on_are_this_box_s_too() {
        let guard = Guard::new("127.0.0.1:7070".parse().unwrap(), &["192.0.2.9".into()]);
        let guard = guard.and("10.0.0.5:7443".parse().unwrap());
        assert!(guard.allows("10.0.0.5") && guard.allows("192.0.2.9") && !guard.allows("10.0.0.6"));
    }

    #[test]
    fn scripts_without_browser_headers_pass() {
        assert_eq!(answer("POST", "/api/v1/jobs", &[("host", "localhost:7070")]), Ok(()));
    }

    #[test]
    fn a_foreign_origin_is_refused_for_every_method() {
        for origin in [
            "https://evil.example",
            "null",
            "http://127.0.0.1:7071",
            "http://localhost:7070",
            "http://127.0.0.1:7070.evil.example",
        ] {
            for method in ["GET", "POST", "DELETE", "OPTIONS"] {
                let headers = [("host", "127.0.0.1:7070"), ("origin", origin)];
                assert_eq!(answer(method, "/api/v1/jobs", &headers), Err("cross_site"), "{method} {origin}");
            }
        }
        for origin in ["http://127.0.0.1:7070", "https://127.0.0.1:7070"] {
            let headers = [("host", "127.0.0.1:7070"), ("origin", origin), ("sec-fetch-site", "same-origin")];
            assert_eq!(answer("POST", "/api/v1/jobs", &headers), Ok(()), "{origin}");
        }
    }

    #[test]
    fn another_port_of_this_host_is_foreign() {
        for site in ["cross-site", "same-site", "???"] {
            let headers = [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")];
            assert_eq!(answer("GET", "/api/v1/jobs", &headers), Err("cross_site"));
            assert_eq!(answer("GET", "/app.js", &headers), Err("cross_site"));
        }
    }

    #[test]
    fn a_link_from_elsewhere_opens_a_page_and_never_the_api() {
        let link = [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(answer("GET", "/jobs/js1", &link), Ok(()));
        assert_eq!(answer("POST", "/jobs/js1", &link), Err("cross_site"));
        assert_eq!(answer("GET", "/api/v1/jobs", &link), Err("cross_site"));
        let frame = [&link[..], &[("sec-fetch-dest", "iframe")]].concat();
        assert_eq!(answer("GET", "/jobs/js1", &frame), Err("cross_site"));
    }

    #[test]
    fn an_endless_path_or_query_is_refused() {
        let long = |bytes: usize| "a".repeat(bytes);
        let answer = |target: String| answer("GET", &target, &[("host", "localhost")]);
        assert_eq!(answer(format!("/{}", long(9000))), Err("uri_too_long"));
        assert_eq!(answer(format!("/a?{}", long(61 << 10))), Err("uri_too_long"));
        assert_eq!(answer(format!("/a?{}", long(50_000))), Ok(()));
    }
}
