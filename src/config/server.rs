//! `[server]`: the listeners of the control plane and of what containers serve.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

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
    /// Address and port of the same by HTTPS, with a certificate of this box's own authority or the one
    /// below. The original client asks for metrics there and nowhere else. Default `127.0.0.1:7443`.
    pub tls_listen: SocketAddr,
    /// A certificate of your own for it, as a PEM file: the certificate first, then those between it and
    /// its root. Read again when it changes. Default none: the box makes its own.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, as a PEM file that the daemon's user can read. Default none.
    pub tls_key: Option<PathBuf>,
    /// More names that browsers and clients may call this box by (the `Host` they send), such as
    /// `gpu.lab.example`; the box's own certificate is for them, too. Loopback names and the addresses
    /// listened on are always allowed. Default none.
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
            tls_listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
            tls_certificate: None,
            tls_key: None,
            hosts: Vec::new(),
            workload_listen: SocketAddr::from(([127, 0, 0, 1], 7071)),
            workload_domain: None,
            workload_https: false,
            workload_cookies_by_path: false,
            shutdown_grace: Span(Duration::from_secs(30)),
        }
    }
}
