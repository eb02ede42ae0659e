//! What a container prints, exactly and fast.
//!
//! bollard takes `since` in whole seconds and puts each line through three buffers. So the request
//! and the framing are ours: each frame is 8 bytes (stream, length) and one message, which starts
//! with its time. Two faults of the engine's `local` driver are made good on the way:
//!
//! - When the container ends, a follower may be told that this was all before it got the last
//!   message, or all of the newer log file while it is still in the older. So once a followed log
//!   has ended, what comes after the last message is asked for again.
//! - Before 23.0 the last piece of a line longer than 16 KiB has lost its newline.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{Docker, connection::Connection, stream::EngineStream};
use crate::executor::{EngineError, EngineTime, LogChunk, Stream};

/// Bytes before each message.
const HEAD: usize = 8;
/// The engine cuts messages at this many bytes.
const PIECE: usize = 16 << 10;
/// A message of this size is a stream that lost its framing.
const LONGEST: usize = 4 << 20;
impl Docker {
    pub(super) async fn follow_logs(
        &self,
        id: &str,
        since: Option<EngineTime>,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError> {
        let body = ask(&self.connection, id, since, true).await?;
        let reader = Reader {
            connection: self.connection.clone(),
            id: id.to_owned(),
            body,
            held: Frames::default(),
            since,
            last: None,
            following: true,
            repeated: 0,
            cut: [None; 2],
        };
        Ok(stream::try_unfold(
            reader,
            |mut reader| async move { Ok(reader.next().await?.map(|chunk| (chunk, reader))) },
        )
        .boxed())
    }
}

async fn ask(
    connection: &Connection,
    id: &str,
    since: Option<EngineTime>,
    follow: bool,
) -> Result<EngineStream, EngineError> {
    let mut path = format!("/containers/{id}/logs?follow={}&stdout=1&stderr=1&timestamps=1", u8::from(follow));
    if let Some(since) = since {
        path += &format!("&since={}.{:09}", since.seconds, since.nanos);
    }
    connection.open(&path).await
}

struct Reader {
    connection: Connection,
    id: String,
    body: EngineStream,
    held: Frames,
    since: Option<EngineTime>,
    /// The time of the last message, and how many messages had it.
    last: Option<(EngineTime, usize)>,
    following: bool,
    /// How many of the messages to come were read before.
    repeated: usize,
    /// For each stream the time of a piece that the engine cut, until the next one.
    cut: [Option<EngineTime>; 2],
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogChunk>, EngineError> {
        loop {
            while let Some(chunk) = self.held.take()? {
                if self.repeated > 0 && self.last.is_some_and(|(time, _)| time == chunk.time) {
                    self.repeated -= 1;
                } else {
                    self.repeated = 0;
                    return Ok(Some(self.note(chunk)));
                }
            }
            match self.body.piece().await? {
                Some(data) => self.held.put(data),
                None if !self.held.is_empty() => {
                    return Err(EngineError::Unreachable("the log ended within a message".into()));
                }
                None if self.following => {
                    if !self.ask_again().await? {
                        return Ok(None);
                    }
                }
                None => return Ok(None),
            }
        }
    }

    /// Asks for what comes after the last message; tells whether the log is still there.
    async fn ask_again(&mut self) -> Result<bool, EngineError> {
        self.following = false;
        self.repeated = self.last.map_or(0, |(_, messages)| messages);
        let since = self.last.map(|(time, _)| time).or(self.since);
        match ask(&self.connection, &self.id, since, false).await {
            Ok(body) => {
                self.body = body;
                Ok(true)
            }
            Err(EngineError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn note(&mut self, chunk: LogChunk) -> LogChunk {
        match &mut self.last {
            Some((time, messages)) if *time == chunk.time => *messages += 1,
            last => *last = Some((chunk.time, 1)),
        }
        end_line(&mut self.cut, chunk)
    }
}

/// Ends the last piece of a line that the engine cut, if it did not. Pieces of one line have one
/// time, and all but the last are of full length.
fn end_line(cut: &mut [Option<EngineTime>; 2], mut chunk: LogChunk) -> LogChunk {
    let before = &mut cut[usize::from(chunk.stream == Stream::Stderr)];
    let open = !chunk.bytes.ends_with(b"\n");
    if open && chunk.bytes.len() >= PIECE {
        *before = Some(chunk.time);
    } else if before.take() == Some(chunk.time) && open {
        chunk.bytes = [&chunk.bytes[..], b"\n"].concat().into();
    }
    chunk
}

/// Bytes received that are not a whole message yet.
#[derive(Default)]
struct Frames(Bytes);

impl Frames {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&mut self, data: Bytes) {
        // The engine nearly always sends whole messages, which are handed on without a copy.
        if self.0.is_empty() {
            self.0 = data;
        } else {
            let mut joined = BytesMut::with_capacity(self.0.len() + data.len());
            joined.extend_from_slice(&self.0);
            joined.extend_from_slice(&data);
            self.0 = joined.freeze();
        }
    }

    fn take(&mut self) -> Result<Option<LogChunk>, EngineError> {
        let Some(head) = self.0.first_chunk::<HEAD>() else { return Ok(None) };
        let kind = head[0];
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if kind > 3 || length > LONGEST {
            return Err(EngineError::Refused("the engine's log has lost its framing".into()));
        }
        if self.0.len() < HEAD + length {
            return Ok(None);
        }
        self.0.advance(HEAD);
        let mut message = self.0.split_to(length);
        let stream = match kind {
            2 => Stream::Stderr,
            // The engine tells its own troubles with the log this way.
            3 => return Err(EngineError::Refused(String::from_utf8_lossy(&message).into_owned())),
            _ => Stream::Stdout,
        };
        let (time, taken) = time(&message)
            .ok_or_else(|| EngineError::Refused("the engine's log has a message without a time".into()))?;
        message.advance(taken);
        Ok(Some(LogChunk { stream, time, bytes: message }))
    }
}

/// Reads the time and the space after it; returns how many bytes that was.
fn time(message: &[u8]) -> Option<(EngineTime, usize)> {
    // The engine pads to nine digits and writes UTC as `Z`, so the length never varies, but nothing
    // promises that.
    let end = message.iter().take(40).position(|byte| *byte == b' ')?;
    let text = std::str::from_utf8(&message[..end]).ok()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    Some((EngineTime { seconds, nanos: u32::try_from(nanos).ok()? }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, message: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        frame
    }

    #[test]
    fn frames_come_out_whole_wherever_they_were_cut() {
        let sent = [
            frame(1, b"2026-01-31T08:00:00.000000001Z one\n"),
            frame(2, b"2026-01-31T08:00:00.123456789Z \xff two"),
            frame(1, b"2026-01-31T08:00:01.000000000Z "),
        ]
        .concat();
        for cut in 0..sent.len() {
            let mut frames = Frames::default();
            let mut read = Vec::new();
            for part in [&sent[..cut], &sent[cut..]] {
                frames.put(Bytes::copy_from_slice(part));
                while let Some(chunk) = frames.take().unwrap() {
                    read.push(chunk);
                }
            }
            assert!(frames.is_empty());
            assert_eq!(read.len(), 3);
            assert_eq!((read[0].stream, &read[0].bytes[..]), (Stream::Stdout, &b"one\n"[..]));
            assert_eq!((read[1].stream, &read[1].bytes[..]), (Stream::Stderr, &b"\xff two"[..]));
            assert_eq!(read[1].time, EngineTime { seconds: 1_769_846_400, nanos: 123_456_789 });
            assert_eq!(&read[2].bytes[..], b"");
        }
    }

    #[test]
    fn a_line_in_pieces_is_ended_once() {
        let time = |nanos| EngineTime { seconds: 1, nanos };
        let chunk = |nanos, bytes: Vec<u8>| LogChunk { stream: Stream::Stdout, time: time(nanos), bytes: bytes.into() };
        let mut cut = [None; 2];
        let mut ended = |chunk| end_line(&mut cut, chunk).bytes.ends_with(b"\n");
        assert!(!ended(chunk(1, vec![b'x'; PIECE])));
        assert!(!ended(chunk(1, vec![b'x'; PIECE])));
        assert!(ended(chunk(1, b"rest".to_vec())));
        // Unended without having been cut: its writer left it so.
        assert!(!ended(chunk(1, b"no newline".to_vec())));
        assert!(!ended(chunk(2, vec![b'x'; PIECE])));
        assert!(!ended(chunk(3, b"of another line".to_vec())));
        // A newer engine ends it itself.
        assert!(!ended(chunk(4, vec![b'x'; PIECE])));
        assert_eq!(&end_line(&mut cut, chunk(4, b"rest\n".to_vec())).bytes[..], b"rest\n");
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let mut frames = Frames(Bytes::from_static(b"Error: something"));
        assert!(frames.take().is_err());
        let mut frames = Frames(frame(1, b"no time").into());
        assert!(frames.take().is_err());
        let mut frames = Frames(frame(3, b"error reading the log").into());
        assert_eq!(frames.take().unwrap_err().to_string(), "error reading the log");
    }
}
