//! Asks Jupyter servers what they are doing: whether they answer, which kernels are busy, when a terminal
//! last said something. Of other servers, such as TensorBoard, it asks only whether they answer. Only looks.
//!
//! What it reads comes from a container, so it is bounded in size and time, and none of it is trusted.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::domain::time::Timestamp;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// Longest name of a kernel or terminal that is shown, in characters.
const LONGEST_NAME: usize = 80;

/// What was seen of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing listens, or nothing answers in time.
    Silent,
    /// Something answers, and it is not a Jupyter server of ours.
    Other,
    Jupyter(Doings),
}

/// What a server is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doings {
    pub kernels: Vec<Kernel>,
    pub terminals: Vec<Terminal>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The file that it belongs to, or the kernel's own name.
    pub name: String,
    /// It computes, or is about to: it starts, or its state is not known.
    pub is_busy: bool,
    pub last_activity: Option<Timestamp>,
}

/// A terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    pub name: String,
    /// When something was last typed or printed.
    pub last_activity: Option<Timestamp>,
}

/// The way to servers. Cheap to clone.
#[derive(Clone)]
pub struct Servers {
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for Servers {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        Self { http: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector) }
    }
}

#[derive(Deserialize)]
struct SessionWire {
    path: String,
    kernel: Option<KernelWire>,
}

#[derive(Deserialize)]
struct KernelWire {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    execution_state: String,
    last_activity: Option<String>,
}

#[derive(Deserialize)]
struct TerminalWire {
    name: String,
    last_activity: Option<String>,
}

impl Servers {
    /// Looks at the server at `address`, whose pages are beneath `base` (`/w/ID/`) and which knows us by
    /// `token`.
    pub async fn look(&self, address: SocketAddr, base: &str, token: &str) -> Look {
        let status = match self.get(address, &format!("{base}api/status"), Some(token)).await {
            None => return Look::Silent,
            Some((status, _)) => status,
        };
        if status != StatusCode::OK {
            return Look::Other;
        }
        let sessions: Vec<SessionWire> = self.list(address, &format!("{base}api/sessions"), token).await;
        let kernels: Vec<KernelWire> = self.list(address, &format!("{base}api/kernels"), token).await;
        // A server without terminals answers 404, which is no terminals.
        let terminals: Vec<TerminalWire> = self.list(address, &format!("{base}api/terminals"), token).await;
        Look::Jupyter(Doings {
            kernels: named(sessions, kernels),
            terminals: terminals
                .into_iter()
                .map(|terminal| Terminal { name: shown(&terminal.name), last_activity: time(terminal.last_activity) })
                .collect(),
        })
    }

    /// Says whether anything at `address` answers when it is asked for `path`, whatever it says.
    pub async fn answers(&self, address: SocketAddr, path: &str) -> bool {
        self.get(address, path, None).await.is_some()
    }

    async fn list<T: DeserializeOwned>(&self, address: SocketAddr, path: &str, token: &str) -> Vec<T> {
        match self.get(address, path, Some(token)).await {
            Some((StatusCode::OK, body)) => serde_json::from_slice(&body).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Asks for one path; `None` when no whole answer came in time.
    async fn get(&self, address: SocketAddr, path: &str, token: Option<&str>) -> Option<(StatusCode, Bytes)> {
        let mut request = Request::get(format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("token {token}"));
        }
        let request = request.body(Empty::new()).ok()?;
        let answer = async {
            let answer = self.http.request(request).await.ok()?;
            let status = answer.status();
            // An answer that is too long is an answer all the same.
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Some((status, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
        };
        tokio::time::timeout(PATIENCE, answer).await.ok().flatten()
    }
}

/// Names kernels by the files that they belong to. As long as the lists are, each is gone through once.
fn named(sessions: Vec<SessionWire>, kernels: Vec<KernelWire>) -> Vec<Kernel> {
    let paths = sessions.into_iter().filter_map(|session| Some((session.kernel?.id, session.path)));
    let paths: HashMap<String, String> = paths.collect();
    let name = |kernel: &KernelWire| shown(paths.get(&kernel.id).unwrap_or(&kernel.name));
    kernels
        .into_iter()
        .map(|kernel| Kernel {
            name: name(&kernel),
            is_busy: kernel.execution_state != "idle" && kernel.execution_state != "dead",
            last_activity: time(kernel.last_activity),
        })
        .collect()
}

fn time(text: Option<String>) -> Option<Timestamp> {
    text?.parse().ok()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_called_by_their_files_and_long_lists_cost_no_more_than_their_length() {
        // About what fits in the answers of a container that means harm.
        let sessions = |at| SessionWire {
            path: format!("{at}.ipynb"),
            kernel: Some(KernelWire {
                id: format!("s{at}"),
                name: String::new(),
                execution_state: String::new(),
                last_activity: None,
            }),
        };
        let kernel = |id: String| KernelWire {
            id,
            name: "python3".to_owned(),
            execution_state: "idle".to_owned(),
            last_activity: None,
        };
        let kernels = (0..100_000).map(|at| kernel(format!("k{at}"))).chain([kernel("s7".to_owned())]).collect();
        let begun = std::time::Instant::now();
        let found = named((0..30_000).map(sessions).collect(), kernels);
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "each with each is three thousand million: {:?}",
            begun.elapsed()
        );
        assert_eq!((&*found[0].name, &*found[100_000].name), ("python3", "7.ipynb"));
        assert!(!found[0].is_busy);
    }
}
