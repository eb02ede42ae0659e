//! One file as an answer: whole or in part, with the conditions that a client sets, and never shown
//! as a page of this origin: only kinds that cannot act are named as what they are.

use std::{fs::File, io::SeekFrom};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    Lease, Problem, download,
    range::{self, Part},
};

/// Bytes that are read from a file at once.
const PIECE: usize = 256 << 10;

/// What is known of a file before it is sent.
pub(super) struct Facts<'a> {
    /// Its last name.
    pub name: &'a str,
    /// Names this state of it, with the quotes.
    pub etag: String,
    pub size_bytes: u64,
    /// Whether it is to be saved, whatever its kind.
    pub save: bool,
}

/// What of a file to send.
pub(super) enum Wanted {
    /// Nothing: the client has it.
    Known,
    /// Bytes from the first on, so many.
    Bytes { first: u64, length: u64, part: bool },
}

impl Facts<'_> {
    /// Says what of the file the client wants.
    pub fn wanted(&self, headers: &HeaderMap) -> Result<Wanted, Problem> {
        if range::is_known(headers, &self.etag) {
            return Ok(Wanted::Known);
        }
        match range::wanted(headers, &self.etag, self.size_bytes) {
            Part::Whole => Ok(Wanted::Bytes { first: 0, length: self.size_bytes, part: false }),
            Part::Some { first, length } => Ok(Wanted::Bytes { first, length, part: true }),
            Part::Unsatisfiable => Err(unsatisfiable(self.size_bytes)),
        }
    }

    /// Puts the answer together, with `body` for the bytes that are wanted.
    pub fn answer(self, wanted: Wanted, body: Body) -> Result<Response, Problem> {
        let Wanted::Bytes { first, length, part } = wanted else {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, self.etag)]).into_response());
        };
        let mut response = body.into_response();
        let (kind, disposition) = match harmless(self.name) {
            Some(kind) if !self.save => (kind, download::inline(self.name)),
            _ => ("application/octet-stream", download::attachment(self.name)),
        };
        let head = response.headers_mut();
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        head.insert(header::CONTENT_DISPOSITION, disposition);
        head.insert(header::CONTENT_LENGTH, length.into());
        head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        head.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        head.insert(header::ETAG, HeaderValue::try_from(self.etag).map_err(Problem::internal)?);
        if part {
            let range = format!("bytes {first}-{}/{}", first + length - 1, self.size_bytes);
            head.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).map_err(Problem::internal)?);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Ok(response)
    }
}

/// Sends what the client wants of an open file.
pub(super) async fn send(facts: Facts<'_>, headers: &HeaderMap, file: File, lease: Lease) -> Result<Response, Problem> {
    let wanted = facts.wanted(headers)?;
    let body = match &wanted {
        Wanted::Known => Body::empty(),
        Wanted::Bytes { first, length, .. } => part(file, *first, *length, lease).await.map_err(Problem::internal)?,
    };
    facts.answer(wanted, body)
}

/// Sends what the client wants of a file that has been read.
pub(super) fn send_read(facts: Facts<'_>, headers: &HeaderMap, bytes: &Bytes) -> Result<Response, Problem> {
    let wanted = facts.wanted(headers)?;
    let body = match &wanted {
        Wanted::Known => Body::empty(),
        Wanted::Bytes { first, length, .. } => {
            let (first, length) = (*first as usize, *length as usize);
            Body::from(bytes.slice(first..first + length))
        }
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
    use super::*;

    #[tokio::test]
    async fn of_a_file_that_was_read_comes_what_is_wanted() {
        let facts = || Facts { name: "a", etag: "\"e\"".to_owned(), size_bytes: 5, save: false };
        let sent = async |name: header::HeaderName, value: &'static str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            let response = send_read(facts(), &headers, &Bytes::from_static(b"hello")).unwrap();
            let status = response.status();
            (status.as_u16(), axum::body::to_bytes(response.into_body(), 100).await.unwrap())
        };
        assert_eq!(sent(header::ACCEPT, "*/*").await, (200, Bytes::from_static(b"hello")));
        assert_eq!(sent(header::RANGE, "bytes=1-3").await, (206, Bytes::from_static(b"ell")));
        assert_eq!(sent(header::RANGE, "bytes=-2").await, (206, Bytes::from_static(b"lo")));
        assert_eq!(sent(header::IF_NONE_MATCH, "\"e\"").await, (304, Bytes::new()));
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
