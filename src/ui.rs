//! The embedded files of `assets/`: caching, security headers, index fallback.
//!
//! A release carries the files inside the binary; a debug build reads them from the source tree,
//! so that an edit shows on reload. Everything the browser may do is said in one policy here:
//! scripts, styles, fonts and requests from this origin alone, nothing inline. Compression and the
//! checks on `Host` and `Origin` belong to the listener that mounts [`router`].

use std::fmt::Write as _;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

const SHELL: &str = "index.html";

/// Inline scripts and style attributes are refused by the browser; the pages are written so.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
];

/// What is made to be shown elsewhere: the badge in a repository's README, which other origins display.
const SHOWN_ELSEWHERE: &str = "/run-on-gradient.svg";

/// A vendored path names its version, so what it holds never changes.
const CACHE_VENDORED: &str = "public, max-age=31536000, immutable";

/// The browser keeps its copy and asks each time; the tag makes the answer a short 304.
const CACHE_REVALIDATED: &str = "no-cache";

/// Returns a router whose fallback is the web UI, to be merged under the API's routes.
pub fn router() -> Router {
    Router::new().fallback(serve)
}

/// Answers a `GET` or `HEAD` with a file of the UI.
///
/// A path that names no file is a page of the UI and gets the shell, unless it looks like a file
/// (its last part has a dot) or lies under `/api` or `/vendor`: those are 404, so that a missing
/// script never answers with HTML and a mistyped API path never answers 200. Beneath `/github` and `/git`
/// the path is one of a repository, whose parts may be called anything.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut response = if method == Method::GET || method == Method::HEAD {
        answer(uri.path(), &headers)
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response()
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if uri.path() == SHOWN_ELSEWHERE {
        let anybody = HeaderValue::from_static("cross-origin");
        response.headers_mut().insert("cross-origin-resource-policy", anybody);
    }
    response
}

fn answer(path: &str, headers: &HeaderMap) -> Response {
    let path = path.trim_start_matches('/');
    if let Some(file) = Assets::get(path) {
        return file_response(path, file, headers);
    }
    match Assets::get(SHELL) {
        Some(shell) if is_page(path) => file_response(SHELL, shell, headers),
        _ => (StatusCode::NOT_FOUND, "There is no such file.\n").into_response(),
    }
}

fn is_page(path: &str) -> bool {
    let (first, last) = (path.split('/').next(), path.rsplit('/').next());
    if matches!(first, Some("github" | "git")) {
        return true;
    }
    !matches!(first, Some("api" | "vendor")) && !last.is_some_and(|name| name.contains('.'))
}

fn file_response(path: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = entity_tag(&file.metadata.sha256_hash());
    let caching = if path.starts_with("vendor/") { CACHE_VENDORED } else { CACHE_REVALIDATED };
    let standing = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, caching.to_owned())];
    if names_tag(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, standing).into_response();
    }
    let kind = content_type(file.metadata.mimetype());
    (standing, [(header::CONTENT_TYPE, kind)], Body::from(file.data.into_owned())).into_response()
}

/// Text without a charset is guessed at by some browsers; ours is all UTF-8.
fn content_type(guessed: &str) -> String {
    if guessed.starts_with("text/") { format!("{guessed}; charset=utf-8") } else { guessed.to_owned() }
}

fn entity_tag(hash: &[u8; 32]) -> String {
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in &hash[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether `If-None-Match` names the tag. A proxy that compressed the body may have weakened it.
fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|candidate| candidate.trim().trim_start_matches("W/"))
        .any(|candidate| candidate == tag || candidate == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(path: &str) -> Response {
        ask(Method::GET, path, HeaderMap::new()).await
    }

    async fn ask(method: Method, path: &str, headers: HeaderMap) -> Response {
        serve(method, path.parse().unwrap(), headers).await
    }

    fn text<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn vendored_script() -> String {
        let named = |path: &str| path.starts_with("vendor/lit-html@") && path.ends_with("/lit-html.js");
        let path = Assets::iter().find(|path| named(path)).expect("lit-html is vendored");
        format!("/{path}")
    }

    #[tokio::test]
    async fn every_page_of_the_ui_answers_with_the_shell() {
        let repository = "/github/fastai/fastbook/blob/master/01_intro.ipynb";
        for path in ["/", "/jobs", "/jobs/js1/charts", "/sign-in", repository, "/git/code.example/a/b/blob/v1.0/c.d"] {
            let response = get(path).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(text(&response, "content-type"), "text/html; charset=utf-8", "{path}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_or_api_path_is_not_the_shell() {
        for path in ["/missing.js", "/pages/missing.js", "/vendor/nothing", "/api/v1/nothing", "/api"] {
            assert_eq!(get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn nothing_outside_the_folder_can_be_read() {
        for path in ["/../Cargo.toml", "/..%2fCargo.toml", "//etc/passwd", "/styles/../../Cargo.toml"] {
            let response = get(path).await;
            let kind = text(&response, "content-type").to_owned();
            let shell_or_nothing = response.status() == StatusCode::NOT_FOUND || kind.starts_with("text/html");
            assert!(shell_or_nothing, "{path}: {} {kind}", response.status());
        }
    }

    #[tokio::test]
    async fn a_known_tag_is_answered_without_the_body() {
        let first = get("/app.js").await;
        let tag = text(&first, "etag").to_owned();
        assert!(tag.len() > 2, "{tag}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
            let again = ask(Method::GET, "/app.js", headers).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(text(&again, "etag"), tag);
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(ask(Method::GET, "/app.js", headers).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn vendored_files_are_kept_and_our_own_are_asked_for_again() {
        assert_eq!(text(&get(&vendored_script()).await, "cache-control"), CACHE_VENDORED);
        assert_eq!(text(&get("/app.js").await, "cache-control"), CACHE_REVALIDATED);
        assert_eq!(text(&get("/jobs").await, "cache-control"), CACHE_REVALIDATED);
    }

    #[tokio::test]
    async fn every_answer_carries_the_policy() {
        for path in ["/", "/app.js", "/missing.js"] {
            let response = get(path).await;
            let policy = text(&response, "content-security-policy");
            assert!(policy.contains("default-src 'none'; script-src 'self'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(text(&response, "x-content-type-options"), "nosniff", "{path}");
        }
    }

    #[tokio::test]
    async fn the_badge_alone_is_shown_by_pages_of_others() {
        let policy = "cross-origin-resource-policy";
        assert_eq!(text(&get(SHOWN_ELSEWHERE).await, policy), "cross-origin");
        assert_eq!(text(&get(SHOWN_ELSEWHERE).await, "content-type"), "image/svg+xml");
        for path in ["/", "/app.js", "/favicon.svg"] {
            assert_eq!(text(&get(path).await, policy), "same-origin", "{path}");
        }
    }

    #[tokio::test]
    async fn only_reading_is_allowed() {
        let response = ask(Method::POST, "/jobs", HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(text(&response, "allow"), "GET, HEAD");
    }

    /// The policy would refuse them in the browser; this says so before a browser is started.
    #[test]
    fn no_file_of_ours_holds_an_inline_script_style_or_handler() {
        for path in Assets::iter().filter(|path| !path.starts_with("vendor/")) {
            let file = Assets::get(&path).unwrap();
            let Ok(source) = std::str::from_utf8(&file.data) else { continue };
            for forbidden in ["<script>", "<style", " style=\"", " onclick=", "innerHTML", "eval("] {
                assert!(!source.contains(forbidden), "{path} holds {forbidden}");
            }
        }
    }
}
