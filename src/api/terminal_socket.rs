//! What goes over the websocket of a terminal: bytes as binary messages, words about them as text.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::Lease;
use crate::{
    domain::terminal::{TerminalEnd, TtySize},
    service::{
        Services,
        live_terminals::{Keyboard, Seen, Viewing},
    },
};

/// The protocol that is spoken, of those that a browser offers.
const PROTOCOL: &str = "gradientd.terminal";
/// Largest message that is read, in bytes: what is pasted at once.
const MESSAGE: usize = 1 << 20;
/// Bytes that wait to be sent before sending waits.
const UNSENT: usize = 128 << 10;
/// How long the other side may take to read a message.
const UNREAD: Duration = Duration::from_secs(30);
/// How often a ping is sent, which the other side answers by itself, and how long it may say nothing at all.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// Why a socket was closed, for programs: the key or the session has ended.
const NOT_SIGNED_IN: u16 = 4401;
/// It is attached to from somewhere else.
const REPLACED: u16 = 4409;

/// Sets what a socket may take.
pub(super) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(MESSAGE)
        .max_frame_size(MESSAGE)
        .write_buffer_size(0)
        .max_write_buffer_size(UNSENT)
}

/// What the other side says in words.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
enum Told {
    Resize { cols: u16, rows: u16 },
    Drawn { bytes: u64 },
}

/// What it is told in words.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Word {
    Attached {
        /// Bytes to come that were shown before.
        replay: u64,
        cols: u16,
        rows: u16,
    },
    Ended {
        why: &'static str,
        code: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    Replaced,
}

impl Word {
    fn ended(end: &TerminalEnd) -> Self {
        let (code, message) = match end {
            TerminalEnd::Exited(code) => (*code, None),
            TerminalEnd::Lost(words) => (None, Some(words.clone())),
            _ => (None, None),
        };
        Self::Ended { why: end.as_str(), code, message }
    }

    fn message(&self) -> Message {
        Message::Text(serde_json::to_string(self).unwrap_or_default().into())
    }
}

/// Why it was closed, as the last frame says it.
type Farewell = (u16, &'static str);

/// Somebody's look at a terminal by websocket.
pub(super) struct Socket {
    pub viewing: Viewing,
    pub size: TtySize,
    pub lease: Lease,
    pub shutdown: CancellationToken,
    pub services: Services,
}

impl Socket {
    /// Carries bytes and words until either side has gone, or the caller may not look any more.
    pub async fn talk(mut self, socket: WebSocket) {
        let (mut sink, mut source) = socket.split();
        let keyboard = self.viewing.keyboard();
        // What is shown and what is typed go their ways apart: a program that reads nothing may be waiting for
        // what it has written to be taken.
        let farewell = tokio::select! {
            biased;
            // By then the terminal is about to say itself that it ends.
            () = stopped(&self.shutdown) => Some((close_code::AWAY, "the daemon ends")),
            () = self.lease.clone().ended() => Some((NOT_SIGNED_IN, "the key or session has ended")),
            farewell = show(&mut sink, &mut self.viewing, self.size) => farewell,
            farewell = listen(&mut source, &keyboard, &self.services) => farewell,
        };
        // Who looks no more holds up nothing while the last word is on its way. One that has ended holds up the
        // daemon's own end instead, so that the word arrives.
        let is_over = matches!(farewell, Some((close_code::NORMAL, _)));
        let kept = is_over.then_some(self.viewing);
        if let Some((code, reason)) = farewell {
            let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            let _ = timeout(UNREAD, sink.send(close)).await;
            drop(kept);
            // The other side answers, and then closes the connection.
            let _ = timeout(UNREAD, async { while let Some(Ok(_)) = source.next().await {} }).await;
        }
    }
}

/// How long terminals have to say that they end with the daemon.
const LAST_WORDS: Duration = Duration::from_secs(7);

async fn stopped(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// Sends what the terminal shows; `None` when the other side is gone.
async fn show(sink: &mut SplitSink<WebSocket, Message>, viewing: &mut Viewing, size: TtySize) -> Option<Farewell> {
    let attached = Word::Attached { replay: viewing.replay, cols: size.cols(), rows: size.rows() };
    send(sink, attached.message()).await?;
    let mut pings = interval_at(Instant::now() + PING, PING);
    loop {
        let seen = tokio::select! {
            seen = viewing.next() => seen,
            _ = pings.tick() => {
                send(sink, Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        match seen {
            Seen::Shown(bytes) => send(sink, Message::Binary(bytes)).await?,
            Seen::Ended(end) => {
                send(sink, Word::ended(&end).message()).await?;
                return Some((close_code::NORMAL, "the terminal is closed"));
            }
            Seen::Replaced => {
                send(sink, Word::Replaced.message()).await?;
                return Some((REPLACED, "attached from somewhere else"));
            }
        }
    }
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> Option<()> {
    timeout(UNREAD, sink.send(message)).await.ok()?.ok()
}

/// Hands on what is typed; returns when the other side has gone, says nothing at all, or talks nonsense.
async fn listen(source: &mut SplitStream<WebSocket>, keyboard: &Keyboard, services: &Services) -> Option<Farewell> {
    // Only the wait for a message counts as silence, not that for a program which reads nothing.
    while let Ok(Some(message)) = timeout(SILENCE, source.next()).await {
        match message {
            Ok(Message::Binary(typed)) => keyboard.type_in(typed, services.clock.now()).await,
            Ok(Message::Text(text)) => match serde_json::from_str(&text) {
                Ok(Told::Resize { cols, rows }) => match TtySize::new(cols, rows) {
                    Ok(size) => keyboard.resize(size),
                    Err(_) => return Some((close_code::POLICY, "no terminal has such a size")),
                },
                Ok(Told::Drawn { bytes }) => keyboard.drew(bytes),
                Err(_) => return Some((close_code::POLICY, "a text message is JSON: a resize or drawn")),
            },
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) => return None,
            // Too large, or no message at all: nothing that could be answered.
            Err(_) => return Some((close_code::SIZE, "a message is too large, or none at all")),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_understood() {
        let read = serde_json::from_str::<Told>;
        assert!(matches!(read(r#"{"type":"resize","cols":80,"rows":24}"#), Ok(Told::Resize { cols: 80, rows: 24 })));
        assert!(matches!(read(r#"{"type":"drawn","bytes":5}"#), Ok(Told::Drawn { bytes: 5 })));
        for nonsense in [
            "",
            "x",
            "null",
            "[]",
            r#"{"type":"resize"}"#,
            r#"{"type":"resize","cols":-1,"rows":24}"#,
            r#"{"type":"resize","cols":70000,"rows":24}"#,
            r#"{"type":"resize","cols":80,"rows":24,"x":1}"#,
            r#"{"type":"exec","command":"x"}"#,
        ] {
            assert!(read(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn an_end_is_told_with_what_is_known_of_it() {
        let word = |end| serde_json::to_value(Word::ended(&end)).unwrap();
        assert_eq!(
            word(TerminalEnd::Exited(Some(3))),
            serde_json::json!({"type": "ended", "why": "exited", "code": 3})
        );
        let lost = word(TerminalEnd::Lost("away".to_owned()));
        assert_eq!(lost, serde_json::json!({"type": "ended", "why": "lost", "code": null, "message": "away"}));
        assert_eq!(serde_json::to_value(Word::Replaced).unwrap(), serde_json::json!({"type": "replaced"}));
    }
}
