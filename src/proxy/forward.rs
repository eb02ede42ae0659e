//! The way of one request: whose port is meant, who asks, where the container is, there and back.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request,
    uri::{Authority, PathAndQuery},
};
use hyper::{
    body::{Body as _, Incoming},
    upgrade::OnUpgrade,
};
use tokio::time::Instant;

use super::{
    Proxy,
    door::{self, Credential, Pass},
    headers::{self, Told},
    listener::Place,
    refusal::Refusal,
    site,
    stream::{Body, Carried, Progress, Way},
    tickets, tunnel,
    upstream::{Failure, Slot},
    waiting,
};
use crate::{
    domain::{
        id::{NotebookId, TensorBoardId},
        traffic::OpenRequest,
        web_name::{self, Host, Target},
        whereabouts::Reach,
        workload::State,
    },
    service::tickets::Served,
};

/// How long a request's body may stand still, and a container think after it.
const THINK: Duration = Duration::from_secs(600);
/// How long an answer may stand still.
const STILL: Duration = Duration::from_secs(3600);

/// How the client calls what it wants.
pub(super) struct Called {
    pub target: Target,
    /// Host and port, as the client says them.
    pub host: HeaderValue,
    pub authority: Authority,
    /// The path form's prefix; `None` when the host names the target.
    pub prefix: Option<String>,
    /// Whether a browser holds the cookie of this host to TLS or loopback.
    pub is_secure: bool,
}

/// One request on its way.
struct Going {
    called: Called,
    served: Arc<Served>,
    pass: Arc<Pass>,
    reach: Reach,
    port: u16,
    has_token: bool,
    is_stripped: bool,
}

impl Proxy {
    /// Answers one request, in whatever way.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        place: Place,
    ) -> Response<Body> {
        let asked = request.headers().get(header::ACCEPT).cloned();
        let (head, body) = request.into_parts();
        let closes = headers::is_last_of_its_connection(&head);
        let mut response = match self.pass_on(head, body, peer, place).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(asked.as_ref()),
        };
        if closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn pass_on(
        &self,
        mut head: request::Parts,
        body: Incoming,
        peer: SocketAddr,
        place: Place,
    ) -> Result<Response<Body>, Refusal> {
        headers::check(&head)?;
        let called = self.called(&head)?;
        if let Some(prefix) = called.prefix.as_deref().filter(|prefix| head.uri.path().len() < prefix.len()) {
            return Ok(moved(StatusCode::PERMANENT_REDIRECT, &with_query(prefix, head.uri.query())));
        }
        if let Some(ticket) = tickets::ticket(head.uri.query()) {
            return self.let_in(&head, &called, ticket).await;
        }
        let upgrade = headers::asks_for_websocket(&head).then(|| head.extensions.remove::<OnUpgrade>()).flatten();
        if upgrade.is_some() && !body.is_end_stream() {
            return Err(Refusal::bad_request("upgrade_with_body", "a request for a websocket has no body"));
        }
        let pass = match self.admit(&head, &called, upgrade.is_some()).await? {
            Admitted::Pass(pass) => pass,
            Admitted::Elsewhere(url) => return Ok(moved(StatusCode::TEMPORARY_REDIRECT, &url)),
        };
        let has_token = head.uri.query().is_some_and(|query| door::cleaned(query).is_some());
        let going = self.find(called, pass, has_token).await?;
        let own = web_name::prefix(&going.called.target);
        let knows = going.served.knows_its_prefix && going.called.target.port.is_none();
        if knows && going.called.prefix.is_none() && !head.uri.path().starts_with(&own) {
            let path = format!("{own}{}", head.uri.path().trim_start_matches('/'));
            return Ok(moved(StatusCode::TEMPORARY_REDIRECT, &with_query(&path, head.uri.query())));
        }
        let going = Going { is_stripped: going.called.prefix.is_some() && !knows, ..going };
        self.exchange(going, head, body, upgrade, peer, place).await
    }

    /// Reads whose port is meant.
    fn called(&self, head: &request::Parts) -> Result<Called, Refusal> {
        let bad = || Refusal::bad_request("bad_host", "the request needs exactly one host");
        let mut given = head.headers.get_all(header::HOST).iter();
        let (said, more) = (given.next(), given.next());
        let named = head.uri.authority();
        let authority: Authority = match (said, named) {
            (Some(said), _) => said.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(bad)?,
            (None, Some(named)) if head.version == Version::HTTP_2 => named.clone(),
            _ => return Err(bad()),
        };
        // A target of the absolute form names a host as well, and both have to be the same.
        if more.is_some() || named.is_some_and(|named| !named.as_str().eq_ignore_ascii_case(authority.as_str())) {
            return Err(bad());
        }
        if authority.as_str().contains('@') {
            return Err(bad());
        }
        let host = match said {
            Some(said) => said.clone(),
            None => HeaderValue::try_from(authority.as_str()).map_err(|_| bad())?,
        };
        let secure = self.names.is_secure(authority.host());
        match self.names.read(authority.host()) {
            Host::Of(target) => Ok(Called { target, host, authority, prefix: None, is_secure: secure }),
            Host::Shared => {
                let Some((target, _)) = web_name::by_path(head.uri.path()) else {
                    let detail = "this is where what containers serve is reached: open it from the web UI of this box, or as /w/ID/";
                    return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", detail));
                };
                let prefix = Some(web_name::prefix(&target));
                Ok(Called { target, host, authority, prefix, is_secure: secure })
            }
            Host::Foreign => {
                let name: String = authority.host().chars().take(100).collect();
                let detail = format!(
                    "nothing here is called “{name}”. Workloads are called ID.localhost, or ID-PORT.localhost for one of their ports"
                );
                Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", detail))
            }
        }
    }

    /// Asks whether whoever asks may.
    async fn admit(&self, head: &request::Parts, called: &Called, is_upgrade: bool) -> Result<Admitted, Refusal> {
        let id = &called.target.id;
        let by_host = called.prefix.is_none();
        let cookies = (by_host || self.names.cookies_by_path).then_some(by_host && called.is_secure);
        match door::credential(&head.headers, head.uri.query(), cookies)? {
            Some(Credential::Spoken(shown)) => self.doors.admit(shown, id).await.map(Admitted::Pass),
            Some(Credential::Cookies(sessions)) => {
                if !site::may_come(&head.method, &head.headers, &called.authority, is_upgrade) {
                    let detail =
                        "a page of another site asked for this in your browser: only the workload's own pages may";
                    return Err(Refusal::new(StatusCode::FORBIDDEN, "cross_site", detail));
                }
                let mut refused = None;
                for shown in sessions {
                    match self.doors.admit(shown, id).await {
                        Ok(pass) => return Ok(Admitted::Pass(pass)),
                        Err(refusal) => refused = Some(refusal),
                    }
                }
                let refusal = refused.unwrap_or_else(|| door::unauthorized("open it from the web UI of this box"));
                Err(self.with_link(refusal, called))
            }
            None if !by_host && !self.names.cookies_by_path && is_page(head) => {
                let there = self.names.url(called.authority.host(), &called.target);
                match there {
                    Some(origin) => {
                        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
                        let prefix = called.prefix.as_deref().unwrap_or_default();
                        Ok(Admitted::Elsewhere(format!("{origin}/{}", path.strip_prefix(prefix).unwrap_or_default())))
                    }
                    None => Err(nobody(self, called)),
                }
            }
            None => Err(nobody(self, called)),
        }
    }

    /// Adds where in the web UI a person can go on.
    pub(super) fn with_link(&self, refusal: Refusal, called: &Called) -> Refusal {
        let id = &called.target.id;
        let pages = match id.as_str() {
            id if id.parse::<NotebookId>().is_ok() => "notebooks",
            id if id.parse::<TensorBoardId>().is_ok() => "tensorboards",
            _ => "jobs",
        };
        let url = self.control.as_ref().map(|control| format!("{control}/{pages}/{id}"));
        let link = url.map(|url| Box::new((url, "Open it in the web UI")));
        Refusal { link, ..refusal }
    }

    /// Finds the container, or says what is waited for.
    async fn find(&self, called: Called, pass: Arc<Pass>, has_token: bool) -> Result<Going, Refusal> {
        let served = pass.served();
        let id = &called.target.id;
        let Some(port) = called.target.port.or(served.main_port) else {
            let detail =
                format!("{id} has no port of its own that could be meant: add one to its name, such as {id}-8000");
            return Err(Refusal::new(StatusCode::NOT_FOUND, "which_port", detail));
        };
        if let Some(reach) = self.services.reach(&served.run).filter(|_| !served.state.is_terminal()) {
            return Ok(Going { called, served, pass, reach, port, has_token, is_stripped: false });
        }
        Err(self.nowhere(&called, &pass).await)
    }

    /// Says why a container is not reached that is not known to be anywhere.
    async fn nowhere(&self, called: &Called, pass: &Pass) -> Refusal {
        let id = &called.target.id;
        // A run may have begun or ended since it was looked up.
        let served = match pass.look_again().await {
            Ok(served) => served,
            Err(refusal) => return refusal,
        };
        let detail = match served.state {
            State::Pending | State::Provisioned => {
                format!("{id} does not run yet ({}): this goes on by itself when it does", served.state)
            }
            State::Running => format!("{id} runs, and the engine has not said yet where: try again in a moment"),
            _ => {
                let detail = format!("{id} is over, so nothing answers there any more: start it anew");
                return self.with_link(Refusal::new(StatusCode::GONE, "workload_over", detail), called);
            }
        };
        self.with_link(self.not_yet(&served, detail).await, called)
    }

    /// Says that something does not answer yet, and what is known of why.
    async fn not_yet(&self, served: &Served, detail: String) -> Refusal {
        waiting::refusal(detail, self.services.not_yet(served).await.ok())
    }

    async fn exchange(
        &self,
        going: Going,
        mut head: request::Parts,
        body: Incoming,
        upgrade: Option<OnUpgrade>,
        peer: SocketAddr,
        place: Place,
    ) -> Result<Response<Body>, Refusal> {
        let traffic = &going.reach.traffic;
        head.uri = target(&head.uri, going.called.prefix.as_deref().filter(|_| going.is_stripped))?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        door::take_credentials(&mut head.headers);
        let authorization = going.served.authorization.as_ref().filter(|_| going.served.main_port == Some(going.port));
        let told = Told {
            peer,
            host: &going.called.host,
            https: self.names.https && !self.is_loopback(&going.called),
            prefix: going.called.prefix.as_deref().filter(|_| going.is_stripped),
            authorization: authorization.map(|text| text.reveal().as_str()),
            is_websocket: upgrade.is_some(),
        };
        headers::to_container(&mut head.headers, &told);

        let counted = traffic.request(self.clock.now());
        let progress = (!body.is_end_stream()).then(Progress::begin);
        let body = match &progress {
            None => Body::Empty,
            Some(progress) => {
                let carried = self.carried(body, Way::ToContainer, THINK, &going);
                Body::Carried(carried.telling(Arc::clone(progress)))
            }
        };
        let begun = Instant::now();
        let request = Request::from_parts(head, body);
        let answered = if upgrade.is_some() {
            self.wait(&going, progress, place.upstreams.upgrade(&going.reach, going.port, request)).await
        } else {
            self.wait(&going, progress, place.upstreams.send(&going.reach, going.port, request)).await
        };
        let (response, slot) = match answered {
            Ok(answered) => answered,
            Err(unanswered) => {
                traffic.unanswered();
                return Err(self.explain(&going, unanswered).await);
            }
        };
        traffic.answered(begun.elapsed());
        self.hand_back(going, response, slot, counted, upgrade, place)
    }

    fn is_loopback(&self, called: &Called) -> bool {
        let host = called.authority.host();
        host.eq_ignore_ascii_case("localhost")
            || host.to_ascii_lowercase().trim_end_matches('.').ends_with(".localhost")
    }

    fn carried(&self, body: Incoming, way: Way, idle: Duration, going: &Going) -> Carried {
        let traffic = Arc::clone(&going.reach.traffic);
        Carried::new(body, way, idle, going.pass.open(), traffic, Arc::clone(&self.clock))
    }

    /// Waits for the head of an answer as long as it is right to.
    async fn wait(
        &self,
        going: &Going,
        progress: Option<Arc<Progress>>,
        answer: impl Future<Output = Result<(Response<Incoming>, Slot), Failure>>,
    ) -> Result<(Response<Incoming>, Slot), Unanswered> {
        let (open, begun) = (going.pass.open(), Instant::now());
        let mut answer = std::pin::pin!(answer);
        loop {
            let last = progress.as_ref().map_or(begun, |progress| progress.last());
            tokio::select! {
                biased;
                answered = &mut answer => return answered.map_err(Unanswered::Failed),
                () = open.ended().cancelled() => return Err(Unanswered::NotLetIn),
                () = tokio::time::sleep_until(last + THINK) => {}
            }
            if progress.as_ref().is_none_or(|progress| progress.last() == last) {
                return Err(Unanswered::Late);
            }
        }
    }

    /// Says what was waited for in vain.
    async fn explain(&self, going: &Going, unanswered: Unanswered) -> Refusal {
        let (id, port) = (&going.called.target.id, going.port);
        let (status, code, detail) = match unanswered {
            Unanswered::Failed(Failure::Ended) => return self.nowhere(&going.called, &going.pass).await,
            Unanswered::NotLetIn => return door::unauthorized("the key, token or session behind this has ended"),
            Unanswered::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "no_answer",
                format!(
                    "what listens on port {port} of {id} took the request and did not answer within {} minutes",
                    THINK.as_secs() / 60
                ),
            ),
            Unanswered::Failed(Failure::NobodyListens)
                if going.served.is_starting && going.served.main_port == Some(port) =>
            {
                let detail = format!("{id} is starting: this goes on by itself when it answers");
                return self.with_link(self.not_yet(&going.served, detail).await, &going.called);
            }
            Unanswered::Failed(Failure::NobodyListens) => (
                StatusCode::BAD_GATEWAY,
                "nobody_listens",
                format!(
                    "nothing listens on port {port} of {id}: what runs there may still be starting, listen on another port, or listen on 127.0.0.1 inside the container instead of 0.0.0.0"
                ),
            ),
            Unanswered::Failed(Failure::NotAccepted) => (
                StatusCode::GATEWAY_TIMEOUT,
                "not_accepted",
                format!("port {port} of {id} does not accept connections"),
            ),
            Unanswered::Failed(failure @ (Failure::Unreachable(_) | Failure::Broken(_))) => {
                let error = anyhow::Error::new(failure);
                tracing::debug!(error = format!("{error:#}"), %id, port, "a container did not answer");
                (
                    StatusCode::BAD_GATEWAY,
                    "broken_off",
                    format!("what listens on port {port} of {id} broke the connection off before it answered"),
                )
            }
        };
        let mut refusal = self.with_link(Refusal::new(status, code, detail), &going.called);
        refusal.log = self.services.last_words(&going.served).await;
        if !refusal.log.is_empty() {
            refusal.detail.push_str(". The last it printed is below");
        }
        refusal
    }

    /// Carries the answer back.
    fn hand_back(
        &self,
        going: Going,
        response: Response<Incoming>,
        slot: Slot,
        counted: OpenRequest,
        upgrade: Option<OnUpgrade>,
        place: Place,
    ) -> Result<Response<Body>, Refusal> {
        let (mut head, body) = response.into_parts();
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let agreed = switches
            && head
                .headers
                .get(header::UPGRADE)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let container = agreed.then(|| head.extensions.remove::<OnUpgrade>()).flatten();
        if switches && (upgrade.is_none() || container.is_none()) {
            let detail = format!(
                "port {} of {} changed to a protocol that nobody asked for",
                going.port, going.called.target.id
            );
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, "broken_off", detail));
        }
        let called = headers::Called {
            host: &going.called.host,
            prefix: going.called.prefix.as_deref(),
            is_stripped: going.is_stripped,
            is_own_origin: going.called.prefix.is_none() || self.names.cookies_by_path,
            has_token: going.has_token,
        };
        headers::from_container(&mut head, &called);
        head.version = Version::HTTP_11;
        if let (Some(client), Some(container)) = (upgrade, container) {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            let terms = tunnel::Terms {
                open: going.pass.open(),
                traffic: Arc::clone(&going.reach.traffic),
                clock: Arc::clone(&self.clock),
                stop: self.stop.clone(),
                place,
            };
            tokio::spawn(async move {
                let _request = counted;
                match tokio::try_join!(client, container) {
                    Ok((client, container)) => tunnel::join(client, container, terms).await,
                    Err(error) => tracing::debug!(%error, "a websocket did not come about"),
                }
            });
            return Ok(Response::from_parts(head, Body::Empty));
        }
        let endless = head
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut carried = self.carried(body, Way::FromContainer, STILL, &going).of(counted, slot);
        if endless {
            carried = carried.until(self.stop.clone());
        }
        Ok(Response::from_parts(head, Body::Carried(carried)))
    }
}

/// What became of somebody at the door.
enum Admitted {
    Pass(Arc<Pass>),
    /// A browser that came by path is led to the host that is the target's own.
    Elsewhere(String),
}

/// Why there is no answer.
enum Unanswered {
    Failed(Failure),
    Late,
    NotLetIn,
}

fn nobody(proxy: &Proxy, called: &Called) -> Refusal {
    let detail = format!(
        "open {} from the web UI of this box; programs send a key or a workload's token as Authorization: Bearer …",
        called.target.id
    );
    proxy.with_link(door::unauthorized(detail), called)
}

/// Says whether a person opens a page.
fn is_page(head: &request::Parts) -> bool {
    let wants = |accept: &HeaderValue| accept.to_str().is_ok_and(|accept| accept.contains("text/html"));
    head.method == Method::GET
        && head.headers.get(header::ACCEPT).is_some_and(wants)
        && (site::opens_a_page(&head.headers) || !head.headers.contains_key("sec-fetch-mode"))
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn moved(status: StatusCode, there: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    // What came as a path of a request can be written as one.
    if let Ok(there) = HeaderValue::try_from(there) {
        response.headers_mut().insert(header::LOCATION, there);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns what the container is asked for: the path and query without what is for the daemon alone, and
/// without the prefix where the container does not know it.
fn target(asked: &Uri, stripped: Option<&str>) -> Result<Uri, Refusal> {
    let whole = asked.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let clean = whole.query().and_then(door::cleaned);
    let path_and_query = if clean.is_none() && stripped.is_none() {
        whole
    } else {
        let path = stripped
            .and_then(|prefix| whole.path().strip_prefix(prefix))
            .map_or(Cow::Borrowed(whole.path()), |rest| Cow::Owned(format!("/{rest}")));
        let query = clean.as_deref().or(whole.query()).filter(|query| !query.is_empty());
        with_query(&path, query)
            .parse()
            .map_err(|_| Refusal::bad_request("bad_target", "the path of the request cannot be understood"))?
    };
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts)
        .map_err(|_| Refusal::bad_request("bad_target", "the path of the request cannot be understood"))
}
