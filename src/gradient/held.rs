//! Requests that are held open until there is something to say.

use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::api::{Lease, Problem};

/// Returns what `work` comes to, or why nobody waits for it any more: the caller's key has ended, or the
/// daemon stops.
pub async fn held<T>(
    work: impl Future<Output = Result<T, Problem>>,
    lease: Lease,
    stop: &CancellationToken,
) -> Result<T, Problem> {
    tokio::select! {
        biased;
        () = lease.ended() => Err(Problem::unauthorized("this key is no longer good")),
        () = stop.cancelled() => {
            let detail = "this box is being stopped: ask again once it is back";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail))
        }
        done = work => done,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use super::*;
    use crate::api::caller::tests::{Book, lease};

    #[tokio::test]
    async fn a_held_request_ends_with_its_key_and_with_the_daemon() {
        let book = Arc::new(Book { revoked: false.into() });
        let stop = CancellationToken::new();
        let waits = || std::future::pending::<Result<(), Problem>>();
        book.revoked.store(true, Ordering::SeqCst);
        assert_eq!(held(waits(), lease(book.clone()), &stop).await.unwrap_err().status(), StatusCode::UNAUTHORIZED);
        book.revoked.store(false, Ordering::SeqCst);
        stop.cancel();
        let ended = held(waits(), lease(book), &stop).await.unwrap_err();
        assert_eq!(ended.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
