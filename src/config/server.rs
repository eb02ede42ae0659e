//! `[server]`: the control plane's listener.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Span;

/// The listener of the API and the web UI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port of the API and the web UI. Default `127.0.0.1:7070`. Anything but loopback
    /// sends keys over the network in the clear: put a proxy with TLS in front. Short forms:
    /// `GRADIENTD_LISTEN`, `--listen`.
    pub listen: SocketAddr,
    /// More names that browsers and clients may call this box by (the `Host` they send), such as
    /// `gpu.lab.example`. Loopback names and the address listened on are always allowed. Default none.
    pub hosts: Vec<String>,
    /// How long requests in progress may take to end when the daemon is told to stop. Containers
    /// run on regardless. Default `30s`.
    pub shutdown_grace: Span,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            hosts: Vec::new(),
            shutdown_grace: Span(Duration::from_secs(30)),
        }
    }
}
