//! Turns away what a page of another site makes a browser ask with the reader's cookie.
//!
//! A cookie comes by itself, whoever asks. So with a cookie alone a request has to come from the target's
//! own pages, or be a person's click that opens a page. Who shows a key or token in words of their own
//! proves by that that they were meant to.

use http::{HeaderMap, Method, header, uri::Authority};

/// Says whether a request that brings nothing but a cookie may come from where it comes from. `own` is the
/// target's host and port as the browser calls them.
pub fn may_come(method: &Method, headers: &HeaderMap, own: &Authority, is_upgrade: bool) -> bool {
    let origin = headers.get(header::ORIGIN).map(|origin| is_own(origin.as_bytes(), own));
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("unreadable"));
    if origin == Some(false) {
        return false;
    }
    if is_upgrade {
        // Every browser sends it with a websocket, and nothing else holds the page back.
        return origin == Some(true);
    }
    match site {
        Some("same-origin" | "none") => true,
        Some(_) => method.is_safe() && opens_a_page(headers),
        // A browser of before 2023, or none at all. All send an origin with what changes something.
        None => method.is_safe() || origin == Some(true),
    }
}

/// Says whether a person opens a page in a window of its own, rather than a page its parts.
pub fn opens_a_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
        && headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document")
}

fn is_own(origin: &[u8], own: &Authority) -> bool {
    // A proxy in front may speak TLS, so both schemes count; host and port must be the same.
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(own.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(method: &str, headers: &[(&'static str, &str)], is_upgrade: bool) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        may_come(&method.parse().unwrap(), &headers, &"js1.localhost:7071".parse().unwrap(), is_upgrade)
    }

    const OWN: (&str, &str) = ("origin", "http://js1.localhost:7071");

    #[test]
    fn a_websocket_is_opened_by_own_pages_alone() {
        assert!(may("GET", &[OWN], true));
        for origin in ["http://evil.example", "http://js2.localhost:7071", "http://localhost:7070", "null", ""] {
            assert!(!may("GET", &[("origin", origin)], true), "{origin}");
        }
        assert!(!may("GET", &[], true));
        assert!(!may("GET", &[("sec-fetch-site", "same-origin")], true));
    }

    #[test]
    fn what_changes_something_comes_from_own_pages_alone() {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert!(may(method, &[OWN, ("sec-fetch-site", "same-origin")], false));
            assert!(may(method, &[OWN], false));
            assert!(!may(method, &[], false));
            assert!(!may(method, &[("origin", "http://127.0.0.1:7070")], false));
            assert!(!may(method, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")], false));
        }
    }

    #[test]
    fn a_link_from_elsewhere_opens_a_page_and_a_frame_or_a_fetch_does_not() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(may("GET", &[&link[..], &[("sec-fetch-dest", "document")]].concat(), false));
        assert!(!may("GET", &[&link[..], &[("sec-fetch-dest", "iframe")]].concat(), false));
        for site in ["cross-site", "same-site", "???"] {
            assert!(!may("GET", &[("sec-fetch-site", site), ("sec-fetch-mode", "cors")], false), "{site}");
        }
        assert!(may("GET", &[("sec-fetch-site", "none")], false));
    }
}
