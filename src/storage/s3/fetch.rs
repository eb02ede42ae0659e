//! Files behind HTTP and HTTPS URLs, for imports. A connection that breaks is taken up where it broke,
//! if the file is still the same one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Response, Url};

use super::{bucket::Reach, client::http_client, error::deepest, guard};

const REDIRECTS: usize = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Longest name in bytes, as file systems have it.
const LONGEST_NAME: usize = 255;

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("this is no URL to fetch from: {0}")]
    BadUrl(String),
    #[error("{host} {why}; imports may not fetch from there (storage.import_local)")]
    Refused { host: String, why: &'static str },
    #[error("{host} cannot be reached ({why})")]
    Unreachable { host: String, why: String },
    #[error("{host} answered {status}")]
    Status { host: String, status: StatusCode },
    #[error("{0} leads from one URL to the next, more than {REDIRECTS} times")]
    TooManyRedirects(String),
    #[error("the connection to {host} broke ({why}), and again when it was tried again")]
    Broken { host: String, why: String },
    #[error("the file at {0} was changed while it came: import it again")]
    Changed(String),
}

/// Fetches. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    reach: Reach,
}

/// A file as it comes.
pub struct Fetched {
    /// What the server, or the end of the URL, calls it: one plain name.
    pub name: String,
    /// Its size; unknown for some. What comes has this size or ends in an error.
    pub bytes: Option<u64>,
    pub stream: BoxStream<'static, Result<Bytes, FetchError>>,
}

impl Fetcher {
    /// Prepares to fetch.
    pub fn new(reach: Reach) -> Result<Self, FetchError> {
        let client = http_client(reach).map_err(|error| FetchError::BadUrl(deepest(&error)))?;
        Ok(Self { client, reach })
    }

    /// Asks for the file at `url`, and returns when it begins to come.
    pub async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        let url = parse(url)?;
        let response = self.ask(&url, 0, None).await?;
        let bytes = response.content_length();
        let name = name_of(response.headers(), response.url());
        let coming = Coming {
            fetcher: self.clone(),
            validator: validator(response.headers()),
            host: host_of(response.url()),
            url,
            body: body(response),
            at: 0,
            skip: 0,
            bytes,
            failures: 0,
        };
        let stream =
            stream::try_unfold(
                coming,
                |mut coming| async move { Ok(coming.next().await?.map(|piece| (piece, coming))) },
            );
        Ok(Fetched { name, bytes, stream: stream.boxed() })
    }

    /// Asks for a file from byte `at` on, several times if it must, wherever it leads.
    async fn ask(&self, url: &Url, at: u64, validator: Option<&str>) -> Result<Response, FetchError> {
        let mut pause = self.reach.pause;
        for _ in 0..self.reach.again {
            match self.follow(url.clone(), at, validator).await {
                Err(FetchError::Unreachable { .. } | FetchError::Broken { .. }) => {}
                Err(FetchError::Status { status, .. }) if is_passing(status) => {}
                answer => return answer,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.follow(url.clone(), at, validator).await
    }

    async fn follow(&self, mut url: Url, at: u64, validator: Option<&str>) -> Result<Response, FetchError> {
        for _ in 0..=REDIRECTS {
            permitted(&url, self.reach)?;
            // The hash and the length are of what is stored, so nothing may be packed on the way.
            let mut request = self.client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
            if at > 0 {
                request = request.header(header::RANGE, format!("bytes={at}-"));
            }
            if let Some(validator) = validator {
                request = request.header(header::IF_RANGE, validator);
            }
            let host = host_of(&url);
            let response = request.send().await.map_err(|error| {
                if let Some(refused) = guard::refused(&error) {
                    return FetchError::Refused { host: host.clone(), why: refused.why };
                }
                let why = if error.is_timeout() { "it does not answer in time".to_owned() } else { deepest(&error) };
                FetchError::Unreachable { host: host.clone(), why }
            })?;
            let status = response.status();
            if status == StatusCode::OK || (at > 0 && status == StatusCode::PARTIAL_CONTENT) {
                return Ok(response);
            }
            let to = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            match to {
                Some(to) if status.is_redirection() => {
                    url = url.join(to).map_err(|error| FetchError::BadUrl(error.to_string()))?;
                }
                _ => return Err(FetchError::Status { host, status }),
            }
        }
        Err(FetchError::TooManyRedirects(host_of(&url)))
    }
}

/// Says what is wrong with a URL, before anything is sent.
///
/// # Errors
/// [`FetchError::BadUrl`], [`FetchError::Refused`].
pub fn check_url(url: &str, reach: Reach) -> Result<(), FetchError> {
    permitted(&parse(url)?, reach)
}

fn permitted(url: &Url, reach: Reach) -> Result<(), FetchError> {
    let bad = |words: &str| Err(FetchError::BadUrl(words.to_owned()));
    if !matches!(url.scheme(), "http" | "https") {
        return bad("only http and https are fetched");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return bad("a name or password in it would be kept and shown: make a signed URL instead");
    }
    let host = url.host_str().unwrap_or_default();
    match guard::refusal_of_literal(host) {
        Some(why) if !reach.local => Err(FetchError::Refused { host: host.to_owned(), why }),
        _ => Ok(()),
    }
}

/// A file on its way.
struct Coming {
    fetcher: Fetcher,
    url: Url,
    host: String,
    /// What tells this file from a later one of the same URL.
    validator: Option<String>,
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    /// Bytes that were handed on.
    at: u64,
    /// Bytes that come again and were handed on already.
    skip: u64,
    bytes: Option<u64>,
    /// In a row, without a byte between.
    failures: usize,
}

impl Coming {
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let why = match self.body.next().await {
                Some(Ok(mut piece)) => {
                    let again = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
                    let piece = piece.split_off(again);
                    self.skip -= again as u64;
                    if piece.is_empty() {
                        continue;
                    }
                    self.at += piece.len() as u64;
                    self.failures = 0;
                    return Ok(Some(piece));
                }
                Some(Err(error)) => deepest(&error),
                None if self.bytes.is_none_or(|bytes| bytes == self.at) => return Ok(None),
                None => "it ended before the file was whole".to_owned(),
            };
            self.resume(why).await?;
        }
    }

    async fn resume(&mut self, why: String) -> Result<(), FetchError> {
        self.failures += 1;
        // Without a name for its bytes, the rest could be that of another file.
        let Some(known) = self.validator.clone() else {
            return Err(FetchError::Broken { host: self.host.clone(), why });
        };
        if self.failures > self.fetcher.reach.again {
            return Err(FetchError::Broken { host: self.host.clone(), why });
        }
        tokio::time::sleep(self.fetcher.reach.pause).await;
        let response = self.fetcher.ask(&self.url, self.at, Some(&known)).await?;
        let same = validator(response.headers()).is_some_and(|now| now == known);
        match response.status() {
            StatusCode::PARTIAL_CONTENT if same && begins_at(response.headers()) == Some(self.at) => self.skip = 0,
            // It does not do ranges.
            StatusCode::OK if same => self.skip = self.at,
            _ => return Err(FetchError::Changed(self.host.clone())),
        }
        self.body = body(response);
        Ok(())
    }
}

fn parse(url: &str) -> Result<Url, FetchError> {
    Url::parse(url.trim()).map_err(|error| FetchError::BadUrl(error.to_string()))
}

fn body(response: Response) -> BoxStream<'static, reqwest::Result<Bytes>> {
    response.bytes_stream().boxed()
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

/// Returns what names the file's bytes: a strong ETag, or when it was changed.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name)?.to_str().ok();
    let strong = text(header::ETAG).filter(|etag| !etag.starts_with("W/"));
    strong.or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned)
}

fn begins_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// Returns what to call a file: by its server, by the end of its URL, or `download`.
fn name_of(headers: &HeaderMap, url: &Url) -> String {
    let disposition =
        headers.get(header::CONTENT_DISPOSITION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = disposition.split(';').find_map(|part| part.trim().strip_prefix("filename="));
    let last = url.path_segments().and_then(Iterator::last).unwrap_or_default();
    let candidates = [said.unwrap_or_default().trim_matches('"').to_owned(), decoded(last)];
    candidates.into_iter().find(|name| is_plain(name)).unwrap_or_else(|| "download".to_owned())
}

fn is_plain(name: &str) -> bool {
    let length = (1..=LONGEST_NAME).contains(&name.len());
    length && !matches!(name, "." | "..") && !name.chars().any(|c| matches!(c, '/' | '\\') || c.is_control())
}

/// Undoes `%20` and the like; empty for what is not UTF-8 then.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match (first, pair) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_addresses_elsewhere_are_fetched() {
        for bad in [
            "",
            "file:///etc/passwd",
            "ftp://example.com/x",
            "//example.com/x",
            "http://user:secret@example.com/x",
            "http://127.0.0.1/x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://[::ffff:7f00:1]/x",
            "http://169.254.169.254/latest/meta-data",
            "http://0/x",
        ] {
            let words = check_url(bad, Reach::ELSEWHERE).unwrap_err().to_string();
            assert!(!words.contains("secret"), "{words}");
        }
        assert!(check_url("https://example.com/a.tar?x=1", Reach::ELSEWHERE).is_ok());
        assert!(check_url("http://127.0.0.1/x", Reach::WORK).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_box_is_refused() {
        let error = Fetcher::new(Reach { again: 0, ..Reach::ELSEWHERE })
            .unwrap()
            .fetch("http://localhost:1/x")
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("import_local"), "{error}");
    }

    #[test]
    fn a_file_is_called_what_its_server_or_its_url_says_if_that_is_a_plain_name() {
        let name = |url: &str, disposition: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_DISPOSITION, disposition.parse().unwrap());
            name_of(&headers, &Url::parse(url).unwrap())
        };
        assert_eq!(name("http://h/a/train%20set.csv?x=/y", ""), "train set.csv");
        assert_eq!(name("http://h/a", "attachment; filename=\"b.tar\""), "b.tar");
        assert_eq!(name("http://h/a", "attachment; filename=\"../../b\""), "a");
        for url in ["http://h/", "http://h/%2e%2e%2f", "http://h/a%00b", "http://h/%ff"] {
            assert_eq!(name(url, ""), "download", "{url}");
        }
    }
}
