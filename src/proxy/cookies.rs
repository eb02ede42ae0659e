//! Which cookies pass, in which direction, and in what form.
//!
//! To the container: all but the daemon's own. From it: for this host alone, whatever the app says, so that
//! they reach neither the control plane nor other workloads; and by path beneath its own path alone.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::auth::WorkloadSession;

/// The name of our cookie where browsers keep `Secure` ones. `__Host-` holds it to the one host, and keeps
/// every page from writing it with a `Domain`.
const SECURE: &str = "__Host-gradientd-workload";
/// Its name on networks without TLS.
const PLAIN: &str = "gradientd-workload";
/// How all names begin that are the daemon's own, here or in the control plane.
const OURS: [&str; 3] = ["__host-gradientd", "__secure-gradientd", "gradientd-"];

/// Returns the texts of the sessions that a browser sent. There may be several: a page of a neighbouring
/// host can write one of the plain name.
pub fn sessions(headers: &HeaderMap, secure: bool) -> impl Iterator<Item = &str> {
    let name = if secure { SECURE } else { PLAIN };
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|text| text.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
        .take(8)
}

/// Returns the `Set-Cookie` that lets a browser in for `life`, to the paths beneath `path`.
pub fn let_in(session: &WorkloadSession, life: Duration, secure: bool, path: &str) -> HeaderValue {
    let (name, attribute) = match (secure, path) {
        (true, "/") => (SECURE, "; Secure"),
        // `__Host-` is for whole hosts.
        (true, _) => (PLAIN, "; Secure"),
        (false, _) => (PLAIN, ""),
    };
    let text = format!(
        "{name}={}; Max-Age={}; Path={path}; HttpOnly{attribute}; SameSite=Lax",
        session.reveal(),
        life.as_secs()
    );
    let mut value = HeaderValue::try_from(text).expect("a token and a checked path are plain characters");
    value.set_sensitive(true);
    value
}

fn is_ours(name: &str) -> bool {
    let name = name.trim();
    OURS.iter().any(|own| name.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own)))
}

/// Takes the daemon's own cookies out of a request, and joins what HTTP/2 splits.
pub fn to_container(headers: &mut HeaderMap) {
    let mut given = headers.get_all(header::COOKIE).iter();
    let (Some(first), second) = (given.next(), given.next()) else { return };
    let plain = second.is_none() && !contains_ours(first.as_bytes());
    if plain {
        return;
    }
    let mut kept = Vec::new();
    for value in headers.get_all(header::COOKIE) {
        let pairs =
            value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty());
        for pair in pairs {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            if !is_ours(&String::from_utf8_lossy(name)) {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(pair);
            }
        }
    }
    headers.remove(header::COOKIE);
    if let Some(value) = (!kept.is_empty()).then(|| HeaderValue::from_bytes(&kept).ok()).flatten() {
        headers.insert(header::COOKIE, value);
    }
}

/// A quick look that is sure when it says no.
fn contains_ours(value: &[u8]) -> bool {
    value.windows(9).any(|nine| nine.eq_ignore_ascii_case(b"gradientd"))
}

/// Makes an app's cookies its own host's. `prefix` is the path that they are held to in the path form.
pub fn from_container(headers: &mut HeaderMap, prefix: Option<&str>) {
    if !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let header::Entry::Occupied(given) = headers.entry(header::SET_COOKIE) else { return };
    let (_, values) = given.remove_entry_mult();
    let kept: Vec<_> = values.filter_map(|value| held_back(&value, prefix)).collect();
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Returns a cookie without what would let it leave its host; `None` when it must not be set at all.
fn held_back(value: &HeaderValue, prefix: Option<&str>) -> Option<HeaderValue> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let mut parts = text.split(';');
    let pair = parts.next()?;
    let name = pair.split('=').next().unwrap_or_default().trim();
    // A cookie without a name is read as one whose name is in its value.
    if is_ours(name) || (name.is_empty() && is_ours(pair.trim_start_matches(['=', ' ', '\t']))) || !pair.contains('=') {
        return None;
    }
    let holds_whole_host = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("__host-"));
    if holds_whole_host && prefix.is_some() {
        return None;
    }
    let mut kept = pair.trim().to_owned();
    let mut path = None;
    for part in parts {
        let (attribute, said) = part.split_once('=').unwrap_or((part, ""));
        match attribute.trim().to_ascii_lowercase().as_str() {
            "domain" => {}
            "path" if prefix.is_some() => path = Some(said.trim()),
            "" => {}
            _ => {
                kept.push_str("; ");
                kept.push_str(part.trim());
            }
        }
    }
    if let Some(prefix) = prefix {
        kept.push_str("; Path=");
        kept.push_str(&beneath(prefix, path.unwrap_or_default()));
    }
    HeaderValue::from_bytes(kept.as_bytes()).ok()
}

/// Returns a path of an app as the browser sees it: beneath `prefix`.
fn beneath(prefix: &str, path: &str) -> String {
    let top = prefix.trim_end_matches('/');
    let already = path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let climbs = path.split('/').any(|part| part == ".." || part.eq_ignore_ascii_case("%2e%2e"));
    if already && !climbs {
        return path.to_owned();
    }
    let inner = path.trim_start_matches('/');
    if climbs { prefix.to_owned() } else { format!("{prefix}{inner}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::caller::tests::Fixed;

    fn request(cookies: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, cookie.parse().unwrap());
        }
        to_container(&mut headers);
        headers.get_all(header::COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    fn answer(cookie: &str, prefix: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, cookie.parse().unwrap());
        from_container(&mut headers, prefix);
        headers.get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_container_sees_all_cookies_but_the_daemons() {
        assert_eq!(request(&["a=1; __Host-gradientd-workload=gdc_x; b=2"]), ["a=1; b=2"]);
        assert_eq!(request(&["__Host-gradientd=gds_x"]), Vec::<String>::new());
        assert_eq!(request(&["gradientd-workload=x;__HOST-GRADIENTD=y; c=gradientd"]), ["c=gradientd"]);
        assert_eq!(request(&["a=1", "b=2"]), ["a=1; b=2"], "HTTP/2 may send each by itself");
        assert_eq!(request(&["_xsrf=2|x; username-js1=\"2|1:0\""]), ["_xsrf=2|x; username-js1=\"2|1:0\""]);
    }

    #[test]
    fn an_app_sets_cookies_for_its_own_host_alone() {
        assert_eq!(answer("a=1; Domain=localhost; Path=/; HttpOnly", None).unwrap(), "a=1; Path=/; HttpOnly");
        assert_eq!(answer("a=1;domain=.localhost;DOMAIN = x", None).unwrap(), "a=1");
        assert_eq!(answer("__Host-mine=1; Secure; Path=/", None).unwrap(), "__Host-mine=1; Secure; Path=/");
        for ours in [
            "__Host-gradientd=x; Path=/; Secure",
            "__host-gradientd-workload=x",
            " __Host-gradientd=x",
            "gradientd-workload=x",
            "=__Host-gradientd=x",
            "__Host-gradientd",
            "nameless",
        ] {
            assert_eq!(answer(ours, None), None, "{ours}");
        }
    }

    #[test]
    fn by_path_cookies_stay_beneath_the_path() {
        let by_path = |cookie| answer(cookie, Some("/w/js1/"));
        assert_eq!(by_path("a=1; Path=/").unwrap(), "a=1; Path=/w/js1/");
        assert_eq!(by_path("a=1; Secure").unwrap(), "a=1; Secure; Path=/w/js1/");
        assert_eq!(by_path("a=1; Path=/api").unwrap(), "a=1; Path=/w/js1/api");
        assert_eq!(by_path("a=1; Path=/w/js1/api").unwrap(), "a=1; Path=/w/js1/api");
        assert_eq!(by_path("a=1; Path=/w/js12/").unwrap(), "a=1; Path=/w/js1/w/js12/");
        assert_eq!(by_path("a=1; Path=/w/js1/../js2/").unwrap(), "a=1; Path=/w/js1/");
        assert_eq!(by_path("__Host-a=1; Path=/; Secure"), None);
    }

    #[test]
    fn our_cookie_is_locked_down_and_found_again() {
        let session = WorkloadSession::mint(&Fixed(1));
        let set = let_in(&session, Duration::from_secs(9), true, "/");
        let text = set.to_str().unwrap();
        assert_eq!(
            text,
            format!(
                "__Host-gradientd-workload={}; Max-Age=9; Path=/; HttpOnly; Secure; SameSite=Lax",
                session.reveal()
            )
        );
        let mut headers = HeaderMap::new();
        let pair = text.split(';').next().unwrap();
        headers.append(header::COOKIE, format!("x=y; {pair}").parse().unwrap());
        assert_eq!(sessions(&headers, true).collect::<Vec<_>>(), [session.reveal()]);
        assert_eq!(sessions(&headers, false).count(), 0);
    }
}
