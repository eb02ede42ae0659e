//! Lets browsers in: exchanges a ticket of the control plane for a cookie, and leads to the page without
//! it, so that neither the history nor any server behind us ever holds one that is good.

use http::{HeaderValue, Method, Response, StatusCode, header, request};

use super::{
    Proxy, cookies,
    door::{self, TICKET},
    forward::Called,
    refusal::Refusal,
    stream::Body,
};
use crate::{auth::Ticket, domain::web_name::LocalPath};

/// Returns the ticket in a query.
pub fn ticket(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|part| part.strip_prefix(TICKET))
}

impl Proxy {
    /// Exchanges `ticket`, which is used up by it.
    pub(super) async fn let_in(
        &self,
        head: &request::Parts,
        called: &Called,
        ticket: &str,
    ) -> Result<Response<Body>, Refusal> {
        if head.method != Method::GET {
            let detail = "a ticket is for opening a page";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail));
        }
        if called.prefix.is_some() && !self.names.cookies_by_path {
            let detail = "browsers open workloads by host, so that each has an origin of its own: open it from the web UI of this box, or have an admin set server.workload_cookies_by_path";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "no_cookies_by_path", detail));
        }
        let there = clean_path(head)?;
        let spent = || {
            let detail = "this link has been used, is too old, or is for another workload: open it again from the web UI of this box";
            self.with_link(door::unauthorized(detail), called)
        };
        let ticket: Ticket = ticket.parse().map_err(|_| spent())?;
        let redeemed = self.services.redeem_ticket(&ticket.hash(), &called.target.id).await?;
        let (session, life) = redeemed.ok_or_else(spent)?;
        let path = called.prefix.as_deref().unwrap_or("/");
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(header::SET_COOKIE, cookies::let_in(&session, life, called.is_secure, path));
        let there = HeaderValue::try_from(there.as_str()).expect("a local path is plain characters");
        headers.insert(header::LOCATION, there);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Ok(response)
    }
}

/// Returns where a request leads without what is for the daemon alone.
fn clean_path(head: &request::Parts) -> Result<LocalPath, Refusal> {
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    let query = door::cleaned(query).unwrap_or_else(|| query.to_owned());
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    text.parse().map_err(|error: crate::domain::web_name::InvalidLocalPath| {
        Refusal::bad_request("foreign_path", format!("this link leads to {error}"))
    })
}
