//! Asks where containers reach this machine, again and again: the network may not be there yet, and
//! may be removed and made anew with another address while the daemon runs.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::sync::watch;

use super::{Loop, Works, drive};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(5);

/// Starts the loop; returns where it tells the address. The last one known stands while the engine is away.
pub fn start(works: &Works) -> watch::Receiver<Option<IpAddr>> {
    let (tell, told) = watch::channel(None);
    let this = Gateway { works: works.clone(), tell };
    works.tasks.spawn(drive(this, works.clone(), Arc::default(), PERIOD));
    told
}

struct Gateway {
    works: Works,
    tell: watch::Sender<Option<IpAddr>>,
}

impl Loop for Gateway {
    const NAME: &'static str = "gateway";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let seen = self.works.executor.gateway().await.context("asking for the gateway of the containers' network")?;
        self.tell.send_if_modified(|known| std::mem::replace(known, seen) != seen);
        Ok(())
    }
}
