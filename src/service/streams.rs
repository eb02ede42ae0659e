//! Bodies that go on for long. Each holds a thread till it ends, and there are only so many threads.
//!
//! Imports are not among those that are counted: the loop that brings them has a few under way at most,
//! each with a few files.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{ServiceError, Services};

/// Uploads and downloads that hold a thread at the same time, of all teams together.
pub(super) const MOST: usize = 64;
/// A body that brings nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Time over which a body has to bring [`LEAST`].
const WINDOW: Duration = Duration::from_secs(600);
/// Bytes: a KiB in each second of [`WINDOW`].
const LEAST: u64 = 600 << 10;

impl Services {
    /// Lets one more body hold a thread, till what this returns is dropped.
    ///
    /// # Errors
    /// [`ServiceError::TooMany`] with the code `too_many_streams`.
    pub fn stream(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        one_of(&self.streams)
    }
}

fn one_of(streams: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ServiceError> {
    Arc::clone(streams).try_acquire_owned().map_err(|_| {
        let message =
            format!("{MOST} long uploads and downloads are under way, which is the most: try again in a moment");
        ServiceError::TooMany { code: "too_many_streams", message }
    })
}

/// Returns `body`, which ends in an error when it brings nothing, or too little, for too long. Only the
/// time that is spent waiting for it counts: it is not to blame for a slow disk.
pub(super) fn paced<E: std::fmt::Display>(
    body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
) -> impl Stream<Item = Result<Bytes, String>> + Unpin + Send {
    let paced = stream::unfold(Some((body, Duration::ZERO, 0u64)), |state| async move {
        let (mut body, mut waited, mut brought) = state?;
        let since = Instant::now();
        let Ok(next) = timeout(SILENCE, body.next()).await else {
            return Some((Err(format!("nothing came for {} seconds", SILENCE.as_secs())), None));
        };
        let piece = match next? {
            Ok(piece) => piece,
            Err(error) => return Some((Err(error.to_string()), None)),
        };
        waited += since.elapsed();
        brought += piece.len() as u64;
        if waited >= WINDOW {
            if brought < LEAST {
                return Some((Err("less than 1 KiB came in a second".to_owned()), None));
            }
            (waited, brought) = (Duration::ZERO, 0);
        }
        Some((Ok(piece), Some((body, waited, brought))))
    });
    Box::pin(paced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_all_streams_are_taken_the_next_is_told_to_come_again() {
        let streams = Arc::new(Semaphore::new(1));
        let held = one_of(&streams).unwrap();
        assert!(matches!(one_of(&streams), Err(ServiceError::TooMany { code: "too_many_streams", .. })));
        drop(held);
        assert!(one_of(&streams).is_ok());
    }

    #[tokio::test]
    async fn a_body_at_a_good_pace_comes_as_it_is_with_its_error() {
        let pieces = vec![Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b")), Err("broken")];
        let came: Vec<_> = paced(stream::iter(pieces)).collect().await;
        assert_eq!(came, [Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b")), Err("broken".to_owned())]);
    }

    /// A body that brings `bytes` and then nothing for `pause`, again and again; and what came of it
    /// after how long, for an hour at most.
    async fn brought(bytes: usize, pause: Duration) -> (Option<String>, Duration) {
        let piece = Bytes::from(vec![0; bytes]);
        let body = stream::repeat(piece).then(|piece| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, String>(piece)
        });
        let (begun, mut body) = (Instant::now(), paced(Box::pin(body)));
        let coming = async {
            loop {
                if let Err(words) = body.next().await.expect("it has no end") {
                    assert!(body.next().await.is_none(), "nothing comes after the error");
                    return words;
                }
            }
        };
        (timeout(Duration::from_secs(3600), coming).await.ok(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up_after_a_minute() {
        let (words, after) = brought(1 << 20, Duration::from_secs(61)).await;
        assert_eq!((words.as_deref(), after), (Some("nothing came for 60 seconds"), SILENCE));
        assert_eq!(brought(1 << 20, Duration::from_secs(59)).await.0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_after_ten_minutes() {
        let (words, after) = brought(1, Duration::from_secs(30)).await;
        assert_eq!((words.as_deref(), after), (Some("less than 1 KiB came in a second"), WINDOW));
        assert!(brought(1000, Duration::from_secs(1)).await.0.is_some());
        assert_eq!(brought(1024, Duration::from_secs(1)).await.0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_not_to_blame_for_a_disk_that_is_slow() {
        let mut body = paced(stream::iter(vec![Ok::<_, String>(Bytes::from_static(b"a")); 100]));
        while let Some(piece) = body.next().await {
            piece.unwrap();
            tokio::time::sleep(WINDOW).await;
        }
    }
}
