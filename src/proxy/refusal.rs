//! What is said instead of an answer: a small page for people, a problem document for programs.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::stream::Body;
use crate::service::ServiceError;

/// Why a request was not passed on, or got no answer.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// What happened and what to do.
    pub detail: String,
    /// What is known of what was meant, for which the status and the detail are too little.
    pub known: Option<Box<Known>>,
    /// The last lines that the container printed.
    pub log: Vec<String>,
    /// Where a person can go on, with what is there.
    pub link: Option<Box<(String, &'static str)>>,
    /// When it may work, in seconds.
    pub retry_after: Option<u32>,
}

/// What is known of something that does not answer.
#[derive(Debug)]
pub struct Known {
    /// Heads the page.
    pub title: String,
    /// What a person wants to know instead of the detail, each a sentence or more.
    pub facts: Vec<String>,
    /// The same for programs: fields of the document.
    pub fields: serde_json::Value,
}

impl Refusal {
    /// Says why not.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), known: None, log: Vec::new(), link: None, retry_after: None }
    }

    /// Says that a message cannot be understood in one way alone.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// Answers with the refusal, as a page if `accept` has pages.
    pub fn into_response(self, accept: Option<&HeaderValue>) -> Response<Body> {
        let accept = accept.and_then(|value| value.to_str().ok());
        let wants_page = accept.is_some_and(|accept| accept.contains("text/html"));
        let (kind, text) = if wants_page {
            ("text/html; charset=utf-8", self.page())
        } else {
            ("application/problem+json", self.document())
        };
        let mut response = Response::new(Body::from(Bytes::from(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn document(&self) -> String {
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let mut document = serde_json::json!({
            "type": "about:blank", "title": title, "status": self.status.as_u16(),
            "code": self.code, "detail": self.detail,
        });
        if let Some(serde_json::Value::Object(fields)) = self.known.as_ref().map(|known| &known.fields) {
            fields.iter().for_each(|(name, value)| document[name] = value.clone());
        }
        if !self.log.is_empty() {
            document["log"] = self.log.as_slice().into();
        }
        document.to_string()
    }

    fn page(&self) -> String {
        let again = self.retry_after.map(|seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"));
        let link = self.link.as_deref().map(|(url, words)| format!("<p><a href=\"{}\">{words}</a></p>", escaped(url)));
        let log = (!self.log.is_empty()).then(|| format!("<pre>{}</pre>", escaped(&self.log.join("\n"))));
        let (title, told) = match self.known.as_deref() {
            Some(known) => (known.title.as_str(), known.facts.as_slice()),
            None => (self.status.canonical_reason().unwrap_or("Refused"), std::slice::from_ref(&self.detail)),
        };
        let title = escaped(title);
        let told: String = told.iter().map(|fact| format!("<p>{}</p>", escaped(fact))).collect();
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             {}<title>{title}</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:15vh auto;padding:0 1rem;\
             color-scheme:light dark}}pre{{overflow:auto;padding:1rem;border:1px solid #8884;border-radius:6px}}h1{{font-size:1.5rem;overflow-wrap:anywhere}}</style>\
             <h1>{title}</h1>{told}{}{}</html>\n",
            again.unwrap_or_default(),
            log.unwrap_or_default(),
            link.unwrap_or_default(),
        )
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Denied(denied) => Self::new(StatusCode::FORBIDDEN, "forbidden", denied.to_string()),
            error @ ServiceError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string()),
            ServiceError::Conflict { code, message } => Self::new(StatusCode::CONFLICT, code, message),
            ServiceError::TooMany { code, message } => Self::new(StatusCode::TOO_MANY_REQUESTS, code, message),
            error @ ServiceError::DiskFull => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", error.to_string())
            }
            error => {
                let error = anyhow::Error::new(error);
                tracing::error!(error = format!("{error:#}"), "whether a workload may be reached is not known");
                let detail = "the daemon cannot say at this moment whether you may: see its log, and try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_started_is_no_trouble_of_the_daemon_s() {
        let message = "notebook n1 was never started: start it first".to_owned();
        let refusal = Refusal::from(ServiceError::Conflict { code: "workload_over", message });
        assert_eq!((refusal.status, refusal.code), (StatusCode::CONFLICT, "workload_over"));
        assert!(refusal.detail.contains("start it first"));
    }

    #[test]
    fn a_page_shows_what_a_container_printed_and_runs_none_of_it() {
        let mut refusal = Refusal::new(StatusCode::BAD_GATEWAY, "nobody_listens", "nothing <b>listens</b>");
        refusal.log = vec!["<script>alert(1)</script>\u{1b}[31m".to_owned()];
        refusal.link = Some(Box::new(("http://x/\"><script>".to_owned(), "here")));
        let page = refusal.page();
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains('\u{1b}'), "{page}");
        assert!(page.contains("&lt;script&gt;"));
        refusal.known = Some(Box::new(Known {
            title: "notebook “<script>”".to_owned(),
            facts: vec!["held by <img src=x>".to_owned()],
            fields: serde_json::Value::Null,
        }));
        let page = refusal.page();
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    }

    #[test]
    fn programs_are_told_what_is_known_beside_what_they_know() {
        let mut refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_running_yet", "later");
        let fields = serde_json::json!({ "name": "lab" });
        refusal.known = Some(Box::new(Known { title: String::new(), facts: Vec::new(), fields }));
        let document: serde_json::Value = serde_json::from_str(&refusal.document()).unwrap();
        assert_eq!((&document["code"], &document["name"]), (&"not_running_yet".into(), &"lab".into()));
    }
}
