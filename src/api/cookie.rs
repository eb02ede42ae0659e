//! The session cookie of the web UI.
//!
//! `__Host-` makes browsers hold it to this host, `Secure` and `Path=/`; they count loopback as
//! secure. Cookies do not heed ports, so whatever else is served on this host, such as a job's port, is
//! sent it too. That is why it only looks at things without the proof of [`super::caller`], and why
//! [`super::guard`] also refuses `same-site`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::auth::SessionToken;

/// The cookie's name.
pub const NAME: &str = "__Host-gradientd";

/// Returns the session's text as the browser sent it.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// Returns the `Set-Cookie` that signs a browser in for `life`.
pub fn sign_in(token: &SessionToken, life: Duration) -> HeaderValue {
    let mut value = set(token.reveal(), life.as_secs());
    value.set_sensitive(true);
    value
}

/// Returns the `Set-Cookie` that signs a browser out.
pub fn sign_out() -> HeaderValue {
    set("", 0)
}

fn set(value: &str, seconds: u64) -> HeaderValue {
    HeaderValue::try_from(format!("{NAME}={value}; Max-Age={seconds}; Path=/; HttpOnly; Secure; SameSite=Strict"))
        .expect("a token is letters and digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; __Host-gradientdx=no".parse().unwrap());
        headers.append(header::COOKIE, "c=d;__Host-gradientd=yes; e=f".parse().unwrap());
        assert_eq!(session(&headers), Some("yes"));
        headers.clear();
        assert_eq!(session(&headers), None);
    }

    #[test]
    fn the_cookie_is_locked_down() {
        let text = sign_out().to_str().unwrap().to_owned();
        for part in ["__Host-gradientd=;", "Max-Age=0", "Path=/", "HttpOnly", "Secure", "SameSite=Strict"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("Domain"));
    }
}
