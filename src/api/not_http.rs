//! What is not HTTP is refused in words. No route hears of such a request: hyper answers it by itself, with
//! a status and nothing else, and the original client then prints that it cannot connect. So this sits
//! between hyper and the socket and gives that answer a body.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How old the date of an answer may be that is being given: hyper keeps a date for a second.
const DATED: SignedDuration = SignedDuration::from_secs(5);

/// A connection on which hyper's own refusals say what is wrong.
pub(super) struct Worded<S> {
    stream: S,
    /// What is still to be sent of an answer in words.
    words: Vec<u8>,
}

impl<S> Worded<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, words: Vec::new() }
    }
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    /// Sends what is left of the words.
    fn poll_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.words.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.words))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.words.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_words(cx))?;
        match in_words(bytes) {
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Some(words) => {
                // It counts as sent, and goes before whatever comes after it.
                self.words = words;
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut full = pieces.iter().filter(|piece| !piece.is_empty());
        if let (Some(only), None) = (full.next(), full.next()) {
            return self.poll_write(cx, only);
        }
        ready!(self.poll_words(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_words(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_words(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Returns what is sent in place of `bytes`, if they are a refusal of hyper's own: the whole of an answer
/// without a body, given now, with nothing but what hyper adds. Ours name their request. A piece of a file
/// may read like one, but is not dated to the moment.
fn in_words(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.strip_prefix(b"HTTP/1.1 ")?;
    let (status, detail) = [
        (400, "The request is not HTTP: its first line or one of its headers is malformed, or has a control character in it (as a key may that was pasted). Nothing of it was read."),
        (414, "The address of the request is too long. Put what is long into the body."),
        (431, "The request has more than 100 headers, or they are longer than 64 KiB in all. Send fewer or shorter ones."),
    ]
    .into_iter()
    .find(|(status, _)| head.starts_with(status.to_string().as_bytes()))?;
    let lines = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let (reason, headers) = lines.split_once("\r\n")?;
    let mut dated = false;
    for header in headers.split("\r\n") {
        match header.split_once(": ")? {
            ("connection", "close") | ("content-length", "0") => {}
            ("date", date) => dated = is_now(date),
            _ => return None,
        }
    }
    if !dated {
        return None;
    }
    let code = "not_http";
    let body = json!({
        "type": "about:blank", "status": status, "code": code, "detail": detail,
        // As the original client reads it: which of the two asks cannot be known.
        "error": { "name": code, "status": status, "message": detail },
    })
    .to_string();
    let answer = format!(
        "HTTP/1.1 {reason}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Some(answer.into_bytes())
}

/// Whether an HTTP date is of these moments.
fn is_now(date: &str) -> bool {
    let Ok(date) = jiff::fmt::rfc2822::parse(date) else { return false };
    date.timestamp().duration_until(Timestamp::now()).abs() <= DATED
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn dated(date: &str) -> String {
        format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n")
    }

    fn now() -> String {
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).unwrap()
    }

    /// Returns what arrives of what is sent in one piece, over a pipe of a few bytes.
    async fn arrives(sent: &str) -> String {
        let (stream, mut reader) = duplex(7);
        let sending = async move {
            let mut stream = Worded::new(stream);
            stream.write_all(sent.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let mut text = String::new();
        let (read, ()) = tokio::join!(reader.read_to_string(&mut text), sending);
        read.unwrap();
        text
    }

    #[tokio::test]
    async fn a_refusal_without_words_gets_them() {
        let answer = arrives(&dated(&now())).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["status"], &body["code"], &body["error"]["status"]),
            (&400.into(), &"not_http".into(), &400.into())
        );
        assert_eq!(body["detail"], body["error"]["message"]);
    }

    #[tokio::test]
    async fn whatever_else_is_sent_stays_as_it_is() {
        let ours = dated(&now()).replace("connection", "x-request-id: 1\r\nconnection");
        let fine = dated(&now()).replace("400 Bad Request", "200 OK");
        let body = dated(&now()).replace("length: 0", "length: 1") + "x";
        let of_a_file = dated("Sat, 31 Jan 2026 08:00:00 GMT");
        for sent in [ours, fine, body, of_a_file, "HTTP/1.1 400".into(), "\r\n\r\n".into()] {
            assert_eq!(arrives(&sent).await, sent);
        }
    }
}
