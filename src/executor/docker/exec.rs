//! Further commands in containers that run.

use bollard::models::ExecConfig;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadHalf};
use tokio_util::io::ReaderStream;

use super::{Docker, failure};
use crate::{
    domain::terminal::TtySize,
    executor::{EngineError, ExecPlan, ExecSession},
    fault,
};

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;
/// Bytes before each message of a command without a terminal: the stream and the length.
const HEAD: usize = 8;

impl Docker {
    pub(super) async fn start_exec(&self, id: &str, plan: &ExecPlan) -> Result<ExecSession, EngineError> {
        self.check_ours(id).await?;
        let tty = plan.tty.is_some();
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            cmd: Some(plan.command.clone()),
            env: Some(plan.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            ..ExecConfig::default()
        };
        let quick = self.settings.timeouts.quick;
        let made = self.connection.call(quick, |api| api.create_exec(id, config)).await?.id;
        fault::point("engine.exec.before");
        let body = serde_json::json!({ "Detach": false, "Tty": tty }).to_string().into_bytes();
        let joined = self.connection.hijack(&format!("/exec/{made}/start"), body).await?;
        fault::point("engine.exec.after");
        let (read, input) = tokio::io::split(TokioIo::new(joined));
        if let Some(size) = plan.tty {
            // The engine takes no size before the command runs, and waits here until it does.
            self.set_exec_size(&made, size).await?;
        }
        let output = if tty { plain(read) } else { unframed(read) };
        Ok(ExecSession { id: made, output, input: Box::new(input) })
    }

    pub(super) async fn set_exec_size(&self, exec: &str, size: TtySize) -> Result<(), EngineError> {
        let size = bollard::exec::ResizeExecOptions { height: size.rows(), width: size.cols() };
        let quick = self.settings.timeouts.quick;
        match self.connection.call(quick, |api| api.resize_exec(exec, size)).await {
            Err(error @ EngineError::Unreachable(_)) => Err(error),
            // It has ended, which engines say in many ways.
            _ => Ok(()),
        }
    }

    pub(super) async fn exec_exit_code(&self, exec: &str) -> Result<Option<i64>, EngineError> {
        match self.connection.call(self.settings.timeouts.quick, |api| api.inspect_exec(exec)).await {
            Ok(seen) if seen.running == Some(true) => Ok(None),
            Ok(seen) => Ok(seen.exit_code),
            Err(EngineError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

type Reading = ReadHalf<TokioIo<Upgraded>>;

/// Returns what a terminal shows.
fn plain(read: Reading) -> BoxStream<'static, Result<Bytes, EngineError>> {
    ReaderStream::with_capacity(read, PIECE).map(|piece| piece.map_err(|error| failure::unreachable(&error))).boxed()
}

/// Returns what comes in messages, without what is said of each.
fn unframed(read: impl AsyncRead + Send + Unpin + 'static) -> BoxStream<'static, Result<Bytes, EngineError>> {
    let pieces = ReaderStream::with_capacity(read, PIECE);
    stream::try_unfold((pieces, BytesMut::new(), 0usize), |(mut pieces, mut held, mut left)| async move {
        loop {
            if left > 0 && !held.is_empty() {
                let piece = held.split_to(left.min(held.len())).freeze();
                left -= piece.len();
                return Ok(Some((piece, (pieces, held, left))));
            }
            if left == 0
                && let Some(head) = held.first_chunk::<HEAD>()
            {
                left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
                held.advance(HEAD);
                continue;
            }
            match pieces.next().await {
                Some(Ok(piece)) => held.extend_from_slice(&piece),
                Some(Err(error)) => return Err(failure::unreachable(&error)),
                None if held.is_empty() && left == 0 => return Ok(None),
                None => return Err(EngineError::Unreachable("the output ended within a message".into())),
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_out_without_their_heads_wherever_they_were_cut() {
        let message = |stream: u8, text: &str| {
            let mut bytes = vec![stream, 0, 0, 0];
            bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend(text.as_bytes());
            bytes
        };
        let sent = [message(1, "one"), message(2, ""), message(2, "two")].concat();
        for cut in 0..=sent.len() {
            let pieces = [
                Ok::<_, std::io::Error>(Bytes::copy_from_slice(&sent[..cut])),
                Ok(Bytes::copy_from_slice(&sent[cut..])),
            ];
            let read = tokio_util::io::StreamReader::new(stream::iter(pieces));
            let came: Vec<_> = unframed(read).map(Result::unwrap).collect().await;
            assert_eq!(came.concat(), b"onetwo", "cut at {cut}");
        }
        let half =
            tokio_util::io::StreamReader::new(stream::iter([Ok::<_, std::io::Error>(Bytes::from(sent[..9].to_vec()))]));
        let came: Vec<_> = unframed(half).collect().await;
        assert!(came.last().unwrap().is_err(), "what breaks off is not whole");
    }
}
