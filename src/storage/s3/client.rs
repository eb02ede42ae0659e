//! The HTTP client under everything here: how long it waits, and where it may not go.

use std::{sync::Arc, time::Duration};

use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector},
};

use super::{bucket::Reach, guard::GuardedResolver};

/// Longest time till a connection stands.
const CONNECT: Duration = Duration::from_secs(10);

/// Makes a client. It follows no redirects: whoever uses it looks at where one leads first.
///
/// A large file takes as long as it takes; what is limited is silence.
pub(super) fn http_client(reach: Reach) -> reqwest::Result<reqwest::Client> {
    super::ready();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("gradientd/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(reach.silence.min(CONNECT))
        .read_timeout(reach.silence);
    if reach.local {
        return builder.build();
    }
    // Past any proxy, which would look names up itself and might stand on this box.
    builder.no_proxy().dns_resolver(Arc::new(GuardedResolver)).build()
}

/// Gives object_store a client of ours: its own follows redirects.
#[derive(Debug)]
pub(super) struct Connector(pub Reach);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = http_client(self.0)
            .map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}
