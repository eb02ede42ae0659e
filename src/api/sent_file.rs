//! One file as an answer: whole or in part, with the conditions that a client sets, and never shown
//! as a page of this origin: only kinds that cannot act are named as what they are.

use std::{convert::Infallible, fs::File, io::SeekFrom};

use axum::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    Lease, Problem, download,
    range::{self, Part},
};
use crate::{
    domain::user_path::UserPath,
    service::version_home::{FileSource, read_s3},
};

/// Bytes that are read from a file at once.
const PIECE: usize = 256 << 10;

/// How a client asks for a file: for all of it or a part, unless it has it already, or only for what is known of it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self { method: parts.method.clone(), headers: parts.headers.clone() })
    }
}

/// What is known of a file before it is sent.
pub(super) struct Facts<'a> {
    /// Where it lies. Its last name is what it is saved as, and says what it may be shown as.
    pub path: &'a UserPath,
    /// Names this state of it, with the quotes. `None` of one whose bytes are not known: it may change at any time,
    /// so it is sent as a whole, and is never the one that the client has.
    pub etag: Option<String>,
    pub size_bytes: u64,
    /// Whether it is to be saved, whatever its kind.
    pub save: bool,
}

/// What of a file to send.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// Nothing: the client has it.
    Known,
    /// Bytes from the first on, so many.
    Bytes { first: u64, length: u64, part: bool },
}

impl Facts<'_> {
    /// Says what of the file the client wants.
    fn wanted(&self, headers: &HeaderMap) -> Result<Wanted, Problem> {
        let whole = Wanted::Bytes { first: 0, length: self.size_bytes, part: false };
        let Some(etag) = &self.etag else { return Ok(whole) };
        if range::is_known(headers, etag) {
            return Ok(Wanted::Known);
        }
        match range::wanted(headers, etag, self.size_bytes) {
            Part::Whole => Ok(whole),
            Part::Some { first, length } => Ok(Wanted::Bytes { first, length, part: true }),
            Part::Unsatisfiable => Err(unsatisfiable(self.size_bytes)),
        }
    }

    /// Puts the answer together, with `body` for the bytes that are wanted.
    fn answer(self, wanted: Wanted, body: Body) -> Result<Response, Problem> {
        let etag = self.etag.unwrap_or_else(|| format!("\"unread-{}\"", self.size_bytes));
        let Wanted::Bytes { first, length, part } = wanted else {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
        };
        let name = String::from_utf8_lossy(self.path.name().unwrap_or_default());
        let mut response = body.into_response();
        let (kind, disposition) = match harmless(&name) {
            Some(kind) if !self.save => (kind, download::inline(&name)),
            _ => ("application/octet-stream", download::attachment(&name)),
        };
        let head = response.headers_mut();
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        head.insert(header::CONTENT_DISPOSITION, disposition);
        head.insert(header::CONTENT_LENGTH, length.into());
        head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        head.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        head.insert(header::ETAG, HeaderValue::try_from(etag).map_err(Problem::internal)?);
        if part {
            let range = format!("bytes {first}-{}/{}", first + length - 1, self.size_bytes);
            head.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).map_err(Problem::internal)?);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Ok(response)
    }
}

/// Sends what the client wants of a file. Of one in a bucket nothing is fetched that is not sent.
///
/// # Errors
/// When it has none of the bytes that are asked for, and when it cannot be read.
pub(super) async fn send(
    facts: Facts<'_>,
    source: FileSource,
    asked: &Asked,
    lease: Lease,
) -> Result<Response, Problem> {
    let wanted = facts.wanted(&asked.headers)?;
    let body = match wanted {
        Wanted::Bytes { first, length, .. } if asked.method != Method::HEAD && length > 0 => match source {
            FileSource::Read(bytes) => Body::from(bytes.slice(first as usize..(first + length) as usize)),
            FileSource::Disk(file) => part(file, first, length, lease).await.map_err(Problem::internal)?,
            FileSource::S3 { files, path } => {
                download::body(read_s3(&files, &path, (first, length, facts.size_bytes)).await?, lease)
            }
        },
        _ => Body::empty(),
    };
    facts.answer(wanted, body)
}

/// Streams `length` bytes of a file; what it has grown by meanwhile is left out.
async fn part(file: File, first: u64, length: u64, lease: Lease) -> std::io::Result<Body> {
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(PIECE);
    if first > 0 {
        file.seek(SeekFrom::Start(first)).await?;
    }
    let pieces = ReaderStream::with_capacity(file.take(length), PIECE);
    Ok(download::body(pieces, lease))
}

fn unsatisfiable(size: u64) -> Problem {
    let range = HeaderValue::try_from(format!("bytes */{size}")).expect("a number is visible ASCII");
    let detail = format!("the file has {size} bytes: ask for some of those");
    Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail)
        .header(header::CONTENT_RANGE, range)
}

/// Returns the kind of a file that a browser may show: one that can hold no script.
fn harmless(name: &str) -> Option<&'static str> {
    let ending = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "txt" | "log" | "md" | "csv" | "tsv" | "json" | "jsonl" | "yaml" | "yml" | "toml" => {
            "text/plain; charset=utf-8"
        }
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Seek, Write},
        sync::Arc,
    };

    use bytes::Bytes;

    use super::*;
    use crate::api::caller::tests::{Book, lease};

    fn asked(method: Method, headers: &[(header::HeaderName, &'static str)]) -> Asked {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Asked { method, headers: headers.collect() }
    }

    /// Asks for a file of five bytes, of which `etag` is known.
    async fn sent(source: FileSource, etag: Option<&str>, asked: &Asked) -> Result<Response, Problem> {
        let path = "a.bin".parse().unwrap();
        let facts = Facts { path: &path, etag: etag.map(str::to_owned), size_bytes: 5, save: false };
        send(facts, source, asked, lease(Arc::new(Book { revoked: false.into() }))).await
    }

    fn text<'a>(response: &'a Response, header: &str) -> &'a str {
        response.headers().get(header).map_or("", |value| value.to_str().unwrap())
    }

    fn read() -> FileSource {
        FileSource::Read(Bytes::from_static(b"hello"))
    }

    fn on_disk() -> FileSource {
        let mut file = tempfile::tempfile().unwrap();
        // It may grow while it is sent.
        file.write_all(b"hello and more").unwrap();
        file.rewind().unwrap();
        FileSource::Disk(file)
    }

    #[tokio::test]
    async fn of_a_file_comes_what_is_wanted_wherever_it_is_read() {
        let cases: [(&[_], u16, &[u8], &str); 6] = [
            (&[], 200, b"hello", ""),
            (&[(header::RANGE, "bytes=1-3")], 206, b"ell", "bytes 1-3/5"),
            (&[(header::RANGE, "bytes=-2")], 206, b"lo", "bytes 3-4/5"),
            (&[(header::RANGE, "bytes=1-3"), (header::IF_RANGE, "\"e\"")], 206, b"ell", "bytes 1-3/5"),
            (&[(header::RANGE, "bytes=1-3"), (header::IF_RANGE, "\"f\"")], 200, b"hello", ""),
            (&[(header::IF_NONE_MATCH, "\"e\"")], 304, b"", ""),
        ];
        for (headers, status, body, range) in cases {
            for source in [read(), on_disk()] {
                let response = sent(source, Some("\"e\""), &asked(Method::GET, headers)).await.unwrap();
                assert_eq!((response.status().as_u16(), text(&response, "etag")), (status, "\"e\""), "{headers:?}");
                assert_eq!(text(&response, "content-range"), range, "{headers:?}");
                assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), body, "{headers:?}");
            }
        }
    }

    #[tokio::test]
    async fn who_asks_beyond_the_end_is_told_where_that_is() {
        let beyond = asked(Method::GET, &[(header::RANGE, "bytes=5-")]);
        let response = sent(on_disk(), Some("\"e\""), &beyond).await.unwrap_err().into_response();
        assert_eq!((response.status().as_u16(), text(&response, "content-range")), (416, "bytes */5"));
    }

    #[tokio::test]
    async fn who_looks_gets_the_size_and_no_bytes() {
        for (headers, status, length) in [(&[][..], 200, "5"), (&[(header::RANGE, "bytes=1-3")], 206, "3")] {
            let response = sent(on_disk(), Some("\"e\""), &asked(Method::HEAD, headers)).await.unwrap();
            assert_eq!((response.status().as_u16(), text(&response, "content-length")), (status, length));
            assert!(axum::body::to_bytes(response.into_body(), 100).await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn what_may_change_at_any_time_is_sent_whole_and_is_never_known() {
        for header in
            [(header::RANGE, "bytes=1-3"), (header::IF_NONE_MATCH, "\"unread-5\""), (header::RANGE, "bytes=5-")]
        {
            let response = sent(read(), None, &asked(Method::GET, &[header])).await.unwrap();
            assert_eq!((response.status().as_u16(), text(&response, "etag")), (200, "\"unread-5\""));
            assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "hello");
        }
    }

    #[test]
    fn nothing_that_can_hold_a_script_is_shown() {
        for name in
            ["a.html", "a.htm", "a.svg", "a.xml", "a.xhtml", "a.js", "a.pdf", "a.mhtml", "a.", "html", "a.png.html"]
        {
            assert_eq!(harmless(name), None, "{name}");
        }
        assert_eq!(harmless("loss.PNG"), Some("image/png"));
    }
}
