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
    /// Nothing listens.
    Silent,
    /// Something listens, and does not answer in time.
    Late,
    /// Something answers, and it is no Jupyter server.
    Other,
    /// Something answers and does not say what its kernels do; why, in words. They may be at work.
    Closed(String),
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

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoAnswer {
    /// Nothing listens.
    Refused,
    /// It was not complete in time.
    Late,
    /// It began, and then broke off or was more than is read.
    Broken,
}

/// What of a server's own status tells it from servers of another kind.
#[derive(Deserialize)]
struct StatusWire {
    #[serde(rename = "kernels")]
    _kernels: u64,
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
        let mut look = self.look_beneath(address, base, token).await;
        if look == Look::Other {
            // A command of somebody's own may have put its server elsewhere.
            look = match self.look_beneath(address, "/", token).await {
                Look::Silent | Look::Late => Look::Other,
                seen => seen,
            };
        }
        look
    }

    async fn look_beneath(&self, address: SocketAddr, base: &str, token: &str) -> Look {
        match self.get(address, &format!("{base}api/status"), Some(token)).await {
            Err(NoAnswer::Refused) => return Look::Silent,
            Err(NoAnswer::Late) => return Look::Late,
            Err(NoAnswer::Broken) => return Look::Closed("its answers break off".to_owned()),
            Ok((StatusCode::OK, body)) if serde_json::from_slice::<StatusWire>(&body).is_ok() => {}
            Ok((status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _)) => {
                return Look::Closed(format!(
                    "it answers {}, as one with a token or password of its own does: leave those out of the command, the box guards it",
                    status.as_u16()
                ));
            }
            Ok((status, _)) if status.is_server_error() => return Look::Closed(format!("it answers {status}")),
            Ok(_) => return Look::Other,
        }
        match self.doings(address, base, token).await {
            Ok(doings) => Look::Jupyter(doings),
            Err(why) => Look::Closed(why),
        }
    }

    async fn doings(&self, address: SocketAddr, base: &str, token: &str) -> Result<Doings, String> {
        let at = |what| format!("{base}api/{what}");
        let kernels: Vec<KernelWire> = read("kernels", self.get(address, &at("kernels"), Some(token)).await)?;
        // Only names kernels.
        let sessions = self.get(address, &at("sessions"), Some(token)).await;
        let sessions: Vec<SessionWire> = read("sessions", sessions).unwrap_or_default();
        let terminals: Vec<TerminalWire> = match self.get(address, &at("terminals"), Some(token)).await {
            // A server without terminals.
            Ok((StatusCode::NOT_FOUND, _)) => Vec::new(),
            answer => read("terminals", answer)?,
        };
        let shown_terminal =
            |wire: TerminalWire| Terminal { name: shown(&wire.name), last_activity: time(wire.last_activity) };
        Ok(Doings { kernels: named(sessions, kernels), terminals: terminals.into_iter().map(shown_terminal).collect() })
    }

    /// Says whether anything at `address` answers when it is asked for `path`, whatever it says.
    pub async fn answers(&self, address: SocketAddr, path: &str) -> bool {
        // An answer that is too long is an answer all the same.
        matches!(self.get(address, path, None).await, Ok(_) | Err(NoAnswer::Broken))
    }

    async fn get(&self, address: SocketAddr, path: &str, token: Option<&str>) -> Result<(StatusCode, Bytes), NoAnswer> {
        let mut request = Request::get(format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("token {token}"));
        }
        let request = request.body(Empty::new()).map_err(|_| NoAnswer::Refused)?;
        let answer = async {
            let answer = self.http.request(request).await;
            let answer =
                answer.map_err(|error| if error.is_connect() { NoAnswer::Refused } else { NoAnswer::Broken })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|_| NoAnswer::Broken)?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(NoAnswer::Late))
    }
}

/// Reads the answer to a question for `what`.
fn read<T: DeserializeOwned>(what: &str, answer: Result<(StatusCode, Bytes), NoAnswer>) -> Result<Vec<T>, String> {
    match answer {
        Ok((StatusCode::OK, body)) => {
            serde_json::from_slice(&body).map_err(|_| format!("its list of {what} cannot be read"))
        }
        Ok((status, _)) => Err(format!("it answers {status} when asked for its {what}")),
        Err(NoAnswer::Refused | NoAnswer::Late) => Err(format!("it does not say in time what its {what} are")),
        Err(NoAnswer::Broken) => Err(format!("its list of {what} breaks off or is longer than {LARGEST} bytes")),
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
