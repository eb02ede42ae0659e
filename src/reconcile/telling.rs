//! Telling open pages how far something long is, while it is under way.

use std::time::Duration;

use super::Works;
use crate::{
    domain::time::Timestamp,
    store::{StoreError, Tx},
};

/// Time between two words.
const TELL: Duration = Duration::from_secs(1);

/// Does `work`, and tells every second how far it is: when `progress` is another than before, by `tell`.
pub(super) async fn while_telling<P: PartialEq, T>(
    works: &Works,
    progress: impl Fn() -> Option<P>,
    tell: impl Fn(&Tx<'_>, Timestamp) -> Result<(), StoreError> + Clone + Send + 'static,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    let mut told = None;
    let mut tick = tokio::time::interval(TELL);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => {}
        }
        let now_at = progress();
        if now_at == told {
            continue;
        }
        told = now_at;
        let (tell, now) = (tell.clone(), works.clock.now());
        if let Err(error) = works.store.write(move |tx| tell(tx, now)).await {
            tracing::debug!(%error, "progress could not be told");
        }
    }
}
