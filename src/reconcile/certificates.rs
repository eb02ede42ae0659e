//! Exchanges, in good time, the certificate that the TLS listener shows: the daemon runs for years, and
//! the admin's files change while it does. Owns nothing but that: what is shown is in memory.

use std::{sync::Arc, time::Duration};

use super::{Loop, Works, drive};
use crate::{auth::Certificates, service::blocking};

/// Time between two looks. Two small files are read in each.
const PERIOD: Duration = Duration::from_secs(60);

/// Starts the loop.
pub fn start(works: &Works, certificates: Arc<Certificates>) {
    works.tasks.spawn(drive(Exchange { certificates }, works.clone(), Arc::default(), PERIOD));
}

struct Exchange {
    certificates: Arc<Certificates>,
}

impl Loop for Exchange {
    const NAME: &'static str = "certificates";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let certificates = Arc::clone(&self.certificates);
        Ok(blocking(move || certificates.look()).await?)
    }
}
