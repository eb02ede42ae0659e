//! Which headers pass, by RFC 9110 and 9112: those of one connection stay on it, and who asks is said by
//! the proxy alone.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request, response};

use super::{cookies, refusal::Refusal};

/// Headers that belong to one connection, whether `Connection` names them or not.
const OF_A_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// What a request says of where it came from. A client may say anything, so the proxy says it.
const FORWARDED: [HeaderName; 7] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
];

/// Refuses what cannot be passed on in one sense alone. The server has refused lengths that differ before.
///
/// # Errors
/// A 4xx [`Refusal`].
pub fn check(head: &request::Parts) -> Result<(), Refusal> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        let detail = format!("{} is not passed on", head.method);
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail));
    }
    let headers = &head.headers;
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let (length, more) = (lengths.next(), lengths.next());
    if more.is_some() || (length.is_some() && headers.contains_key(header::TRANSFER_ENCODING)) {
        let detail = "the request says more than one length of its body";
        return Err(Refusal::bad_request("several_lengths", detail));
    }
    Ok(())
}

/// Says whether the body of a request comes in chunks. Such a request may have had a length as well, which
/// the server has dropped; RFC 9112 has the connection end after it, as what follows may be of two minds.
pub fn is_last_of_its_connection(head: &request::Parts) -> bool {
    head.version < Version::HTTP_2 && head.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Says whether a request asks for a websocket: the one upgrade that is passed on.
pub fn asks_for_websocket(head: &request::Parts) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && names(&head.headers, header::CONNECTION, "upgrade")
        && head.headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn names(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|text| text.split(',')).any(|named| named.trim().eq_ignore_ascii_case(word))
}

/// Takes out what belongs to one connection, and what `Connection` says does.
fn end_connection(headers: &mut HeaderMap) {
    if let Some(value) = headers.get(header::CONNECTION)
        && !is_plain(value)
    {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            // A message without them would be another message.
            if name != header::HOST && name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
                headers.remove(name);
            }
        }
    }
    for name in &OF_A_CONNECTION {
        headers.remove(name);
    }
}

/// What nearly every request says.
fn is_plain(value: &HeaderValue) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade"].iter().any(|word| value.as_bytes().eq_ignore_ascii_case(word))
}

/// What the container is told of the request beside what the client says.
pub struct Told<'a> {
    pub peer: SocketAddr,
    /// What the client calls the box, with a port.
    pub host: &'a HeaderValue,
    pub https: bool,
    /// The path that was taken off.
    pub prefix: Option<&'a str>,
    /// What the container wants to be shown.
    pub authorization: Option<&'a str>,
    pub is_websocket: bool,
}

/// Makes a request's headers those that a container may see. What opens doors has been taken out before.
pub fn to_container(headers: &mut HeaderMap, told: &Told<'_>) {
    end_connection(headers);
    for name in &FORWARDED {
        headers.remove(name);
    }
    // The proxy has asked the client to go on, or will when the container reads.
    headers.remove(header::EXPECT);
    headers.insert(header::HOST, told.host.clone());
    let peer = match told.peer.ip() {
        ip if ip.is_loopback() => HeaderValue::from_static("127.0.0.1"),
        ip => HeaderValue::try_from(ip.to_string()).expect("an address is plain characters"),
    };
    headers.insert(HeaderName::from_static("x-forwarded-for"), peer);
    let scheme = HeaderValue::from_static(if told.https { "https" } else { "http" });
    headers.insert(HeaderName::from_static("x-forwarded-proto"), scheme);
    headers.insert(HeaderName::from_static("x-forwarded-host"), told.host.clone());
    if let Some(prefix) = told.prefix {
        let prefix = HeaderValue::try_from(prefix.trim_end_matches('/')).expect("a prefix is plain characters");
        headers.insert(HeaderName::from_static("x-forwarded-prefix"), prefix);
    }
    if let Some(mut value) = told.authorization.and_then(|text| HeaderValue::try_from(text).ok()) {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if told.is_websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// How a target is called by whoever asked.
pub struct Called<'a> {
    pub host: &'a HeaderValue,
    /// The path form's, whether it was taken off or not.
    pub prefix: Option<&'a str>,
    /// Whether it was.
    pub is_stripped: bool,
    /// Whether a page may act for its whole origin, which by path is not its own.
    pub is_own_origin: bool,
    /// Whether the address has a token in it.
    pub has_token: bool,
}

/// Makes an answer's headers those that a client may see.
pub fn from_container(head: &mut response::Parts, called: &Called<'_>) {
    let headers = &mut head.headers;
    end_connection(headers);
    // These speak for a whole host or network, and are not the app's to say.
    for name in [header::STRICT_TRANSPORT_SECURITY, header::ALT_SVC] {
        headers.remove(name);
    }
    cookies::from_container(headers, called.prefix);
    if let Some(prefix) = called.prefix {
        headers.remove("clear-site-data");
        headers.remove("service-worker-allowed");
        if called.is_stripped
            && let Some(there) = headers.get(header::LOCATION).and_then(|value| beneath(value, called.host, prefix))
        {
            headers.insert(header::LOCATION, there);
        }
        if !called.is_own_origin {
            // Whatever a browser shows of it has an origin that is nobody's.
            let policy = HeaderValue::from_static("sandbox allow-scripts allow-forms allow-popups allow-downloads");
            headers.append(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
    if called.has_token {
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
}

/// Returns where an app that does not know its prefix leads, as the client has to call it.
fn beneath(location: &HeaderValue, host: &HeaderValue, prefix: &str) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    let own = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let path = match own {
        Some(rest) => rest.strip_prefix(host.to_str().ok()?)?,
        None => text,
    };
    let inner = path.strip_prefix('/').filter(|inner| !inner.starts_with('/'))?;
    HeaderValue::try_from(format!("{prefix}{inner}")).ok()
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};

    use super::*;

    fn request(headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn sent(headers: &[(&str, &str)], prefix: Option<&str>) -> HeaderMap {
        let mut head = request(headers);
        let host = HeaderValue::from_static("js1.localhost:7071");
        let peer = "10.0.0.7:5555".parse().unwrap();
        let told = Told { peer, host: &host, https: false, prefix, authorization: None, is_websocket: false };
        to_container(&mut head.headers, &told);
        head.headers
    }

    #[test]
    fn what_belongs_to_one_connection_stays_there() {
        let headers = sent(
            &[
                ("connection", "close, X-Secret , , host, content-length"),
                ("connection", "x-more"),
                ("x-secret", "1"),
                ("x-more", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("trailer", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("proxy-authorization", "x"),
                ("proxy-connection", "x"),
                ("expect", "100-continue"),
                ("content-length", "3"),
                ("x-kept", "1"),
            ],
            None,
        );
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        let expected = ["content-length", "host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-kept"];
        assert_eq!(names, expected);
    }

    #[test]
    fn who_asks_is_said_by_the_proxy_alone() {
        let headers = sent(
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-proto", "gopher"),
                ("forwarded", "for=1.2.3.4"),
                ("x-real-ip", "1.2.3.4"),
                ("x-forwarded-prefix", "/evil"),
                // Naming them does not take out what is said afterwards.
                ("connection", "x-forwarded-for, x-forwarded-host"),
            ],
            Some("/w/js1/"),
        );
        assert_eq!(headers["x-forwarded-for"], "10.0.0.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "js1.localhost:7071");
        assert_eq!(headers["x-forwarded-prefix"], "/w/js1");
        assert!(!headers.contains_key("forwarded") && !headers.contains_key("x-real-ip"));
    }

    #[test]
    fn a_message_of_two_lengths_is_refused() {
        assert!(check(&request(&[("content-length", "3"), ("transfer-encoding", "chunked")])).is_err());
        assert!(check(&request(&[("content-length", "3"), ("content-length", "4")])).is_err());
        assert!(check(&request(&[("content-length", "3")])).is_ok());
        let mut tunnel = request(&[]);
        tunnel.method = Method::CONNECT;
        assert!(check(&tunnel).is_err());
    }

    #[test]
    fn the_one_upgrade_is_a_websocket() {
        let asks = |headers: &[(&str, &str)]| asks_for_websocket(&request(headers));
        assert!(asks(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]));
        assert!(!asks(&[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!asks(&[("upgrade", "websocket")]));
        assert!(!asks(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")]));
    }

    fn answered(headers: &[(&str, &str)], prefix: Option<&str>, is_own_origin: bool) -> HeaderMap {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let mut head = response.body(()).unwrap().into_parts().0;
        let host = HeaderValue::from_static("127.0.0.1:7071");
        let called = Called { host: &host, prefix, is_stripped: prefix.is_some(), is_own_origin, has_token: false };
        from_container(&mut head, &called);
        head.headers
    }

    #[test]
    fn redirects_of_an_app_that_does_not_know_its_prefix_stay_beneath_it() {
        let led = |location: &str| {
            let headers = answered(&[("location", location)], Some("/w/js1/"), false);
            headers[header::LOCATION].to_str().unwrap().to_owned()
        };
        assert_eq!(led("/login?next=/"), "/w/js1/login?next=/");
        assert_eq!(led("http://127.0.0.1:7071/a"), "/w/js1/a");
        assert_eq!(led("next"), "next");
        assert_eq!(led("//evil.example/"), "//evil.example/");
        assert_eq!(led("https://example.com/"), "https://example.com/");
    }

    #[test]
    fn an_app_speaks_for_no_more_than_itself() {
        let headers = answered(
            &[
                ("strict-transport-security", "max-age=9; includeSubDomains"),
                ("alt-svc", "h3=\":1\""),
                ("clear-site-data", "\"cookies\""),
                ("service-worker-allowed", "/"),
                ("connection", "close"),
                ("x-kept", "1"),
            ],
            Some("/w/js1/"),
            false,
        );
        let names: Vec<_> = headers.keys().map(header::HeaderName::as_str).collect();
        assert_eq!(names, ["x-kept", "content-security-policy"]);
        let own = answered(&[("clear-site-data", "\"cookies\"")], None, true);
        assert!(own.contains_key("clear-site-data"), "a host of its own is its own");
    }
}
