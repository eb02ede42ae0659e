//! Who is let in to what, and for how long.
//!
//! What somebody shows is looked up once and believed for half a second; while something of theirs is open
//! it is looked up again by itself, and what is open ends when it is no longer good.

use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{cookies, refusal::Refusal};
use crate::{
    auth::{ApiKey, WorkloadSession, WorkloadToken},
    domain::web_name::ServedId,
    service::{
        ServiceError, Services,
        tickets::{Served, Shown},
    },
};

/// How long an answer of the services is believed. Whoever's key is revoked is shut out within a second.
const RENEWAL: Duration = Duration::from_millis(500);
/// How long what nobody shows any more is remembered.
const FORGET: Duration = Duration::from_secs(60);
/// The header in which the original `gradient` client sends a key.
const API_KEY: &str = "x-api-key";
/// The name in a query by which editors know tokens.
const TOKEN: &str = "token=";
/// The name of a ticket in a query.
pub const TICKET: &str = "gradientd-ticket=";

const HELD: &str = "no code panics while it holds this lock";

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
pub enum Credential {
    /// In a header or the query, in words of its own.
    Spoken(Shown),
    /// In cookies, which a browser sends whoever asks.
    Cookies(Vec<Shown>),
}

/// Reads what a request shows. What is not ours is the app's business and is passed on.
///
/// # Errors
/// When something of ours is mistyped; a good cookie does not excuse it.
pub fn credential(
    headers: &HeaderMap,
    query: Option<&str>,
    cookies: Option<bool>,
) -> Result<Option<Credential>, Refusal> {
    let spoken = spoken(headers).or_else(|| in_query(query?));
    if let Some(text) = spoken {
        let shown = if text.starts_with(ApiKey::PREFIX) {
            text.parse().map(|key: ApiKey| Shown::Key(key.hash()))
        } else {
            text.parse().map(|token: WorkloadToken| Shown::Token(token.hash()))
        };
        return shown.map(|shown| Some(Credential::Spoken(shown))).map_err(|error| unauthorized(error.to_string()));
    }
    let Some(secure) = cookies else { return Ok(None) };
    let sessions: Vec<_> = cookies::sessions(headers, secure)
        .filter_map(|text| Some(Shown::Session(text.parse::<WorkloadSession>().ok()?.hash())))
        .collect();
    Ok((!sessions.is_empty()).then_some(Credential::Cookies(sessions)))
}

/// Says that nobody is let in for what was shown.
pub fn unauthorized(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

fn is_ours(text: &str) -> bool {
    text.starts_with(ApiKey::PREFIX) || text.starts_with(WorkloadToken::PREFIX)
}

fn spoken(headers: &HeaderMap) -> Option<&str> {
    let key = headers.get(API_KEY).and_then(|value| value.to_str().ok()).map(str::trim);
    key.filter(|text| is_ours(text)).or_else(|| {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, text) = value.trim().split_once(' ')?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        Some(text.trim()).filter(|text| known && is_ours(text))
    })
}

fn in_query(query: &str) -> Option<&str> {
    let tokens = query.split('&').filter_map(|part| part.strip_prefix(TOKEN));
    tokens.into_iter().find(|text| text.starts_with(WorkloadToken::PREFIX))
}

/// Says whether a part of a query is for the daemon's eyes alone.
fn is_for_us(part: &str) -> bool {
    part.starts_with(TICKET) || part.strip_prefix(TOKEN).is_some_and(is_ours)
}

/// Returns a query without what is for the daemon's eyes alone; `None` when it stays as it is.
pub fn cleaned(query: &str) -> Option<String> {
    query
        .split('&')
        .any(is_for_us)
        .then(|| query.split('&').filter(|part| !is_for_us(part)).collect::<Vec<_>>().join("&"))
}

/// Takes what opens doors out of a request's headers.
pub fn take_credentials(headers: &mut HeaderMap) {
    let ours = |value: &http::HeaderValue| {
        let text = value.to_str().unwrap_or_default().trim();
        is_ours(text.rsplit(' ').next().unwrap_or_default())
    };
    for name in [header::AUTHORIZATION, header::HeaderName::from_static(API_KEY)] {
        if headers.get_all(&name).iter().any(ours) {
            headers.remove(&name);
        }
    }
    headers.remove("x-gradientd-session");
    // The address of a page that was opened with a token or a ticket has it in it.
    let told = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    if told.and_then(|text| text.split_once('?')).is_some_and(|(_, query)| query.split('&').any(is_for_us)) {
        headers.remove(header::REFERER);
    }
    cookies::to_container(headers);
}

/// Everybody who is let in somewhere.
pub struct Doors {
    services: Services,
    begun: Instant,
    /// By what is shown; the same key may open several.
    passes: RwLock<HashMap<[u8; 32], Vec<Arc<Pass>>>>,
}

/// Somebody who is let in to one workload.
pub struct Pass {
    services: Services,
    shown: Shown,
    id: ServedId,
    served: RwLock<Arc<Served>>,
    begun: Instant,
    /// When the services last said yes, in milliseconds since `begun`.
    checked: AtomicU64,
    /// Held by whoever asks them, so that a crowd asks once.
    asking: tokio::sync::Mutex<()>,
    ended: CancellationToken,
    /// How many streams and sockets are open, and whether somebody looks after them.
    open: AtomicUsize,
    watched: AtomicBool,
}

impl Doors {
    pub fn new(services: Services) -> Self {
        Self { services, begun: Instant::now(), passes: RwLock::default() }
    }

    /// Lets somebody in to `id`, or says why not.
    pub async fn admit(&self, shown: Shown, id: &ServedId) -> Result<Arc<Pass>, Refusal> {
        if let Some(pass) = self.known(shown, id) {
            if pass.is_fresh() || pass.renew().await? {
                return Ok(pass);
            }
            return Err(stale(shown));
        }
        let served = self.services.served(shown, id).await?.ok_or_else(|| stale(shown))?;
        let pass = Arc::new(Pass {
            services: self.services.clone(),
            shown,
            id: id.clone(),
            served: RwLock::new(Arc::new(served)),
            begun: self.begun,
            checked: AtomicU64::new(0),
            asking: tokio::sync::Mutex::default(),
            ended: CancellationToken::new(),
            open: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
        });
        pass.note_checked();
        let mut passes = self.passes.write().expect(HELD);
        let of_shown = passes.entry(*hash(&shown)).or_default();
        if let Some(first) = of_shown.iter().find(|pass| pass.is_for(shown, id)) {
            // Two came at once; streams hang on the first.
            return Ok(Arc::clone(first));
        }
        of_shown.push(Arc::clone(&pass));
        Ok(pass)
    }

    fn known(&self, shown: Shown, id: &ServedId) -> Option<Arc<Pass>> {
        let passes = self.passes.read().expect(HELD);
        passes.get(hash(&shown))?.iter().find(|pass| pass.is_for(shown, id)).cloned()
    }

    /// Forgets who has gone.
    pub fn tidy(&self) {
        self.passes.write().expect(HELD).retain(|_, of_shown| {
            of_shown.retain(|pass| !pass.ended.is_cancelled() && (pass.is_in_use() || pass.age() < FORGET));
            !of_shown.is_empty()
        });
    }
}

fn hash(shown: &Shown) -> &[u8; 32] {
    match shown {
        Shown::Key(hash) | Shown::Session(hash) | Shown::Token(hash) => hash.as_bytes(),
    }
}

fn stale(shown: Shown) -> Refusal {
    unauthorized(match shown {
        Shown::Key(_) => "this key is not known here, has expired or was revoked",
        Shown::Token(_) => "this token is not known here, is for another workload, or has ended",
        Shown::Session(_) => "this page's session has ended: open it again from the web UI of this box",
    })
}

impl Pass {
    /// Returns what is served, as it was half a second ago at most.
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().expect(HELD))
    }

    fn is_for(&self, shown: Shown, id: &ServedId) -> bool {
        self.shown == shown && self.id == *id && !self.ended.is_cancelled()
    }

    fn age(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.checked.load(Ordering::Acquire)))
    }

    fn is_fresh(&self) -> bool {
        self.age() < RENEWAL
    }

    fn is_in_use(&self) -> bool {
        self.open.load(Ordering::SeqCst) > 0
    }

    fn note_checked(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.checked.store(millis, Ordering::Release);
    }

    /// Asks whether this still holds. When not, all that is open under it ends.
    async fn renew(&self) -> Result<bool, ServiceError> {
        let _asking = self.asking.lock().await;
        if self.ended.is_cancelled() {
            return Ok(false);
        }
        if self.is_fresh() {
            return Ok(true);
        }
        match self.services.served(self.shown, &self.id).await {
            Ok(Some(served)) => {
                *self.served.write().expect(HELD) = Arc::new(served);
                self.note_checked();
                Ok(true)
            }
            Ok(None) => {
                self.ended.cancel();
                Ok(false)
            }
            Err(error @ (ServiceError::Denied(_) | ServiceError::NotFound { .. })) => {
                self.ended.cancel();
                Err(error)
            }
            // A store that does not answer has not said no.
            Err(error) => Err(error),
        }
    }

    /// Returns what is served as it is now: what is believed of it did not fit with what is so.
    pub async fn look_again(&self) -> Result<Arc<Served>, Refusal> {
        self.checked.store(0, Ordering::Release);
        if self.renew().await? { Ok(self.served()) } else { Err(stale(self.shown)) }
    }

    /// Holds the pass for something that stays open, which has to end when [`Open::ended`] says so.
    pub fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        if !self.watched.swap(true, Ordering::SeqCst) {
            tokio::spawn(watch(Arc::clone(self)));
        }
        Open(Arc::clone(self))
    }
}

/// Asks again and again while something is open.
async fn watch(pass: Arc<Pass>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        if !pass.is_in_use() {
            pass.watched.store(false, Ordering::SeqCst);
            // Something may have been opened since the look.
            if !pass.is_in_use() || pass.watched.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        let _ = pass.renew().await;
        if pass.ended.is_cancelled() {
            return;
        }
    }
}

/// Something that is open under a pass.
pub struct Open(Arc<Pass>);

impl Open {
    /// Returns what is cancelled within a second after the pass is no longer good.
    pub fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::caller::tests::Fixed;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_or_a_token_is_read_wherever_clients_put_it() {
        let (key, token) = (ApiKey::mint(&Fixed(1)), WorkloadToken::mint(&Fixed(2)));
        let read = |pairs: &[(&'static str, &str)], query: Option<&str>| {
            credential(&headers(pairs), query, Some(true)).unwrap()
        };
        let by_key = Some(Credential::Spoken(Shown::Key(key.hash())));
        let by_token = Some(Credential::Spoken(Shown::Token(token.hash())));
        assert_eq!(read(&[("authorization", &format!("Bearer {}", key.reveal()))], None), by_key);
        assert_eq!(read(&[("x-api-key", key.reveal())], None), by_key);
        assert_eq!(read(&[("authorization", &format!("token {}", token.reveal()))], None), by_token);
        assert_eq!(read(&[], Some(&format!("a=b&token={}", token.reveal()))), by_token);
    }

    #[test]
    fn what_is_the_apps_own_is_left_to_it() {
        let given = [("authorization", "Bearer eyJhbGciOi"), ("x-api-key", "sk-1")];
        assert_eq!(credential(&headers(&given), Some("token=abc"), Some(true)).unwrap(), None);
        let mut kept = headers(&given);
        take_credentials(&mut kept);
        assert_eq!(kept, headers(&given));
        assert_eq!(cleaned("token=abc&x=%20y"), None);
    }

    #[test]
    fn a_mistyped_key_is_not_excused_by_a_cookie() {
        let session = WorkloadSession::mint(&Fixed(3));
        let cookie = format!("__Host-gradientd-workload={}", session.reveal());
        let good = credential(&headers(&[("cookie", &cookie)]), None, Some(true)).unwrap();
        assert_eq!(good, Some(Credential::Cookies(vec![Shown::Session(session.hash())])));
        assert!(credential(&headers(&[("cookie", &cookie), ("x-api-key", "gdk_x")]), None, Some(true)).is_err());
        assert_eq!(credential(&headers(&[("cookie", &cookie)]), None, None).unwrap(), None, "no cookies by path");
    }

    #[test]
    fn nothing_that_opens_doors_goes_to_a_container() {
        let key = ApiKey::mint(&Fixed(1));
        let bearer = format!("Bearer {}", key.reveal());
        let mut given = headers(&[
            ("authorization", &bearer),
            ("x-api-key", key.reveal()),
            ("x-gradientd-session", "gdp_x"),
            ("cookie", "__Host-gradientd=gds_x; __Host-gradientd-workload=gdc_y"),
            ("referer", "http://h/w/js1/?a=b&token=gdw_z"),
            ("accept", "*/*"),
        ]);
        take_credentials(&mut given);
        assert_eq!(given, headers(&[("accept", "*/*")]));
        assert_eq!(cleaned("a=1&token=gdw_x&gradientd-ticket=gdt_y&b=2").unwrap(), "a=1&b=2");
        assert_eq!(cleaned("gradientd-ticket=x").unwrap(), "");
    }
}
