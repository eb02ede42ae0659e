//! `[server]`: the listeners of the control plane and of what containers serve.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Span;

/// The listeners, and the names that they are called by.
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
    /// Address and port of what containers serve: a second origin, so that no page of theirs can act as the
    /// web UI. Default `127.0.0.1:7071`. Short forms: `GRADIENTD_WORKLOAD_LISTEN`, `--workload-listen`.
    pub workload_listen: SocketAddr,
    /// A domain whose names (`*.work.lab.example`) lead to `workload_listen`, for browsers on other
    /// machines: each workload gets a name, and so an origin, of its own beneath it. On this machine
    /// `ID.localhost` does so by itself. Default none.
    pub workload_domain: Option<String>,
    /// Whether a proxy with TLS stands in front of `workload_domain`: URLs begin with `https://` then, and
    /// cookies are for TLS alone. Default `false`.
    pub workload_https: bool,
    /// Whether browsers may open workloads by path, `http://BOX:7071/w/ID/`, with a cookie. They share one
    /// origin then: the page of one can read and use all others that the same person has open. For
    /// networks where names cannot be had and everybody trusts what everybody runs. Default `false`.
    pub workload_cookies_by_path: bool,
    /// How long requests in progress may take to end when the daemon is told to stop. Containers
    /// run on regardless. Default `30s`.
    pub shutdown_grace: Span,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            hosts: Vec::new(),
            workload_listen: SocketAddr::from(([127, 0, 0, 1], 7071)),
            workload_domain: None,
            workload_https: false,
            workload_cookies_by_path: false,
            shutdown_grace: Span(Duration::from_secs(30)),
        }
    }
}
