//! Says who asks. [`closed`] is laid around every route that is not open to all, so that a
//! handler which forgets to ask for its [`Caller`] is still closed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    extract::{FromRequestParts, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};

use super::{Problem, cookie, guard};
use crate::{
    auth::{ApiKey, SessionProof, SessionToken, TokenHash},
    domain::{caller::Caller, id::KeyId},
};

/// How often a stream asks whether its caller may still listen. A revoked key is shut out within a
/// second, whoever revoked it: asking needs no message that could get lost.
const RENEWAL: Duration = Duration::from_millis(500);

/// The header in which our own pages show that a session is theirs. They keep it where the browser
/// tells ports apart; a cookie it sends to every port of the host, jobs' too.
pub const PROOF: &str = "x-gradientd-session";

/// What comes before the proof where a websocket shows it. The server chooses another protocol that was
/// offered beside it, so it is not sent back.
const OFFERED_PROOF: &str = "gradientd.session.";

/// The header in which the original `gradient` client sends a key.
const API_KEY: &str = "x-api-key";

/// Knows whom keys and sessions belong to.
#[async_trait]
pub trait KeyBook: Send + Sync {
    /// Returns who opens with the key of this hash; `None` when there is no such key, or it has
    /// expired or is revoked.
    async fn by_key(&self, hash: &TokenHash) -> Result<Option<Caller>, Problem>;

    /// Returns who has the key of this id; `None` when it has expired or is revoked.
    async fn by_id(&self, key: &KeyId) -> Result<Option<Caller>, Problem>;

    /// Returns who is signed in with the session of this hash, who may only look when there is no
    /// proof; `None` when there is no such session, the proof is not its own, or it or the key
    /// behind it has ended.
    async fn by_session(&self, hash: &TokenHash, proof: Option<TokenHash>) -> Result<Option<Caller>, Problem>;
}

/// What a request shows to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Credential {
    Key(TokenHash),
    /// A signature that was made with this key.
    Signed(KeyId),
    Session {
        token: TokenHash,
        proof: Option<TokenHash>,
    },
}

impl Credential {
    async fn caller(&self, book: &dyn KeyBook) -> Result<Option<Caller>, Problem> {
        match self {
            Self::Key(hash) => book.by_key(hash).await,
            Self::Signed(key) => book.by_id(key).await,
            Self::Session { token, proof } => book.by_session(token, *proof).await,
        }
    }
}

/// Closes `routes` to everybody without a good key or session.
pub fn closed<S: Clone + Send + Sync + 'static>(routes: Router<S>, book: Arc<dyn KeyBook>) -> Router<S> {
    routes.layer(from_fn(move |request: Request, next: Next| authenticate(book.clone(), request, next)))
}

/// Lets requests with a good key or session through, with their [`Caller`] and [`Lease`]; answers
/// all others 401.
async fn authenticate(book: Arc<dyn KeyBook>, mut request: Request, next: Next) -> Response {
    // The body cannot be shared between threads, so only the head is looked at across the wait.
    let shown = credential(request.method(), request.headers());
    match admit(&*book, shown).await {
        Ok((caller, credential)) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(Lease { book, credential });
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn admit(book: &dyn KeyBook, shown: Result<Credential, Problem>) -> Result<(Caller, Credential), Problem> {
    let credential = shown?;
    match credential.caller(book).await? {
        Some(caller) => Ok((caller, credential)),
        None => Err(Problem::unauthorized(match credential {
            Credential::Key(_) | Credential::Signed(_) => "this key is not known here, has expired or was revoked",
            Credential::Session { .. } => "you are no longer signed in: sign in again",
        })),
    }
}

fn credential(method: &Method, headers: &HeaderMap) -> Result<Credential, Problem> {
    if let Some(value) = headers.get(API_KEY) {
        let key = value.to_str().unwrap_or_default();
        return key.trim().parse().map(|key: ApiKey| Credential::Key(key.hash())).map_err(Problem::unauthorized);
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return bearer(value.as_bytes()).map(|key| Credential::Key(key.hash()));
    }
    let Some(session) = cookie::session(headers) else {
        return Err(Problem::unauthorized("sign in, or send a key as Authorization: Bearer gdk_…"));
    };
    // A browser sends its cookie whoever asks, so what changes something has to prove that one of
    // our own pages asked.
    if !method.is_safe() && !guard::is_from_our_page(headers) {
        let detail = "a session works only from this box's own pages: send a key as Authorization: Bearer gdk_…";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail));
    }
    let token: SessionToken =
        session.parse().map_err(|_| Problem::unauthorized("you are no longer signed in: sign in again"))?;
    let proof = proof(headers)?;
    if proof.is_none() && !method.is_safe() {
        let detail = "this page does not hold its part of the session: sign in again";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "session_proof_missing", detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
    }
    Ok(Credential::Session { token: token.hash(), proof: proof.map(|proof| proof.hash()) })
}

fn proof(headers: &HeaderMap) -> Result<Option<SessionProof>, Problem> {
    let Some(shown) = headers.get(PROOF).map(|value| value.to_str().ok()).or_else(|| offered(headers).map(Some)) else {
        return Ok(None);
    };
    let proof = shown.and_then(|text| text.parse().ok());
    proof.map(Some).ok_or_else(|| Problem::unauthorized("you are no longer signed in: sign in again"))
}

/// Returns what stands for [`PROOF`] among the protocols that a websocket offers: a page can give it no header of its own.
fn offered(headers: &HeaderMap) -> Option<&str> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|text| text.split(',')).find_map(|offer| offer.trim().strip_prefix(OFFERED_PROOF))
}

fn bearer(value: &[u8]) -> Result<ApiKey, Problem> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::unauthorized("only Authorization: Bearer gdk_… is understood"));
    }
    key.trim().parse().map_err(Problem::unauthorized)
}

/// How long a caller may go on listening: until the key or session has ended.
#[derive(Clone)]
pub struct Lease {
    book: Arc<dyn KeyBook>,
    credential: Credential,
}

impl Lease {
    /// A lease for what somebody may do by a signature that was made with a key.
    pub fn of_key(book: Arc<dyn KeyBook>, key: KeyId) -> Self {
        Self { book, credential: Credential::Signed(key) }
    }

    /// Returns within a second after the key or session is no longer good.
    pub async fn ended(self) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            // A store that does not answer has not said no.
            if let Ok(None) = self.credential.caller(&*self.book).await {
                return;
            }
        }
    }

    /// Returns the hash of the browser session, if that is what the caller came with.
    pub fn session(&self) -> Option<TokenHash> {
        match self.credential {
            Credential::Session { token, .. } => Some(token),
            Credential::Key(_) | Credential::Signed(_) => None,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        extension(parts)
    }
}

impl<S: Sync> FromRequestParts<S> for Lease {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        extension(parts)
    }
}

/// Only a route that [`closed`] is not laid around has none, which is our mistake and must
/// not open it.
fn extension<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, Problem> {
    parts.extensions.get::<T>().cloned().ok_or_else(|| Problem::unauthorized("this needs a key"))
}

#[cfg(test)]
pub mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::{body::Body, routing::any};
    use tower::ServiceExt;

    use super::*;
    use crate::domain::{caller::Scope, id::IdSource};

    pub struct Fixed(pub u8);
    impl IdSource for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = self.0.wrapping_add(at as u8);
            }
        }
    }

    /// Knows one key and one session, until they are revoked.
    pub struct Book {
        pub revoked: AtomicBool,
    }

    impl Book {
        fn find(&self, good: TokenHash, hash: &TokenHash) -> Option<Caller> {
            let caller = Caller {
                user: "u00000000".parse().unwrap(),
                team: "t000000".parse().unwrap(),
                key: "k0000000000".parse().unwrap(),
                scope: Scope::Write,
            };
            (*hash == good && !self.revoked.load(Ordering::SeqCst)).then_some(caller)
        }
    }

    #[async_trait]
    impl KeyBook for Book {
        async fn by_key(&self, hash: &TokenHash) -> Result<Option<Caller>, Problem> {
            Ok(self.find(ApiKey::mint(&Fixed(1)).hash(), hash))
        }
        async fn by_id(&self, _key: &KeyId) -> Result<Option<Caller>, Problem> {
            Ok(self.find(ApiKey::mint(&Fixed(1)).hash(), &ApiKey::mint(&Fixed(1)).hash()))
        }
        async fn by_session(&self, hash: &TokenHash, proof: Option<TokenHash>) -> Result<Option<Caller>, Problem> {
            let own = SessionProof::mint(&Fixed(3)).hash();
            let found = self.find(SessionToken::mint(&Fixed(2)).hash(), hash);
            Ok(found.filter(|_| proof.is_none_or(|shown| shown == own)))
        }
    }

    pub fn lease(book: Arc<Book>) -> Lease {
        Lease { book, credential: Credential::Key(ApiKey::mint(&Fixed(1)).hash()) }
    }

    async fn send(method: &str, headers: &[(&str, &str)]) -> Response {
        let book: Arc<dyn KeyBook> = Arc::new(Book { revoked: false.into() });
        let who = any(|caller: Caller| async move { caller.user.to_string() });
        let routes = closed(Router::new().route("/who", who.clone()), book).route("/forgotten", who);
        let mut request = Request::builder().method(method).uri("/who");
        for (name, value) in headers {
            request = if *name == "path" { request.uri(*value) } else { request.header(*name, *value) };
        }
        routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    fn key(seed: u8) -> String {
        format!("Bearer {}", ApiKey::mint(&Fixed(seed)).reveal())
    }

    fn session(seed: u8) -> String {
        format!("{}={}", cookie::NAME, SessionToken::mint(&Fixed(seed)).reveal())
    }

    #[tokio::test]
    async fn a_good_key_or_session_opens() {
        assert_eq!(send("POST", &[("authorization", &key(1))]).await.status(), 200);
        assert_eq!(send("GET", &[("cookie", &session(2))]).await.status(), 200);
    }

    #[tokio::test]
    async fn everything_else_is_told_to_bring_a_key() {
        let session_as_key = format!("Bearer {}", SessionToken::mint(&Fixed(2)).reveal());
        for headers in [
            &[][..],
            &[("authorization", key(9).as_str())],
            &[("authorization", "Bearer gdk_x")],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "")],
            &[("authorization", session_as_key.as_str())],
            &[("cookie", session(9).as_str())],
            &[("cookie", "__Host-gradientd=x")],
            // A wrong key is not excused by a good session.
            &[("authorization", key(9).as_str()), ("cookie", session(2).as_str())],
            &[("path", "/forgotten"), ("authorization", key(1).as_str())],
        ] {
            let response = send("GET", headers).await;
            assert_eq!(response.status(), 401, "{headers:?}");
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        }
    }

    #[tokio::test]
    async fn a_session_changes_things_only_from_our_own_pages() {
        let (session, proof) = (session(2), SessionProof::mint(&Fixed(3)).reveal().to_owned());
        let held = [("cookie", session.as_str()), (PROOF, proof.as_str())];
        assert_eq!(send("POST", &held).await.status(), 403);
        assert_eq!(send("POST", &[&held[..], &[("sec-fetch-site", "none")]].concat()).await.status(), 403);
        assert_eq!(send("POST", &[&held[..], &[("sec-fetch-site", "same-origin")]].concat()).await.status(), 200);
    }

    #[tokio::test]
    async fn a_cookie_without_its_proof_changes_nothing() {
        let (session, other) = (session(2), SessionProof::mint(&Fixed(9)).reveal().to_owned());
        let page = [("cookie", session.as_str()), ("sec-fetch-site", "same-origin")];
        for proof in [&[][..], &[(PROOF, other.as_str())], &[(PROOF, "")], &[(PROOF, "gdp_x")]] {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert_eq!(send(method, &[&page[..], proof].concat()).await.status(), 401, "{method} {proof:?}");
            }
        }
        // A proof that is not the session's own is not excused by a request that only looks.
        assert_eq!(send("GET", &[("cookie", &session), (PROOF, &other)]).await.status(), 401);
    }

    #[tokio::test]
    async fn a_websocket_shows_the_proof_among_the_protocols_that_it_offers() {
        let session = session(2);
        let offer =
            |seed: u8| format!("gradientd.terminal, gradientd.session.{}", SessionProof::mint(&Fixed(seed)).reveal());
        for (offered, expected) in [(offer(3), 200), (offer(9), 401), ("gradientd.session.x".to_owned(), 401)] {
            let shown = [("cookie", session.as_str()), ("sec-websocket-protocol", &offered)];
            assert_eq!(send("GET", &shown).await.status(), expected, "{offered}");
        }
    }

    #[tokio::test]
    async fn a_lease_holds_as_long_as_the_key() {
        let book = Arc::new(Book { revoked: false.into() });
        let ended = lease(book.clone()).ended();
        tokio::pin!(ended);
        assert!(tokio::time::timeout(RENEWAL * 2, &mut ended).await.is_err());
        book.revoked.store(true, Ordering::SeqCst);
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    }
}
