//! Listens where containers reach this machine. That address is the engine's to say and comes and goes
//! with its network, so the door is opened when it can be, and again where the network has moved to.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::router;
use crate::{
    api::server::{self, Server},
    domain::{
        board::{Board, LoopReport},
        time::Clock,
    },
    service::Services,
};

/// How it is called in logs, in the API and in the UI.
const NAME: &str = "pushes";
/// Connections at the same time, of all containers; further ones wait.
const CONNECTIONS: u32 = 512;
/// Time between two tries to open.
const RETRY: Duration = Duration::from_secs(5);
/// How long pushes in progress may take when the door moves or closes.
const GRACE: Duration = Duration::from_secs(5);

/// The door for pushes.
pub struct Door {
    pub port: u16,
    /// Where containers reach this machine; `None` while nobody knows.
    pub gateway: watch::Receiver<Option<IpAddr>>,
    pub services: Services,
    pub board: Arc<Board>,
    pub clock: Arc<dyn Clock>,
    /// Closes it for good.
    pub stop: CancellationToken,
}

impl Door {
    /// Keeps the door open until the daemon ends. That it cannot be opened is told and tried again.
    pub async fn keep_open(mut self) {
        let stop = self.stop.clone();
        let mut told = None;
        while !stop.is_cancelled() {
            let known = *self.gateway.borrow_and_update();
            let Some(address) = known.map(|gateway| SocketAddr::new(gateway, self.port)) else {
                self.moved(None).await;
                continue;
            };
            let begun = Instant::now();
            let opened = TcpListener::bind(address).await.map_err(|error| obstacle(address, &error));
            let error = opened.as_ref().err().cloned();
            match &error {
                // Said once, not at every try while it lasts.
                Some(error) if told != Some(error.clone()) => {
                    tracing::warn!(error, "runs cannot push metrics; trying again every {RETRY:?}");
                }
                None => tracing::info!("runs push metrics to http://{address}"),
                Some(_) => {}
            }
            let report = LoopReport { last_run: self.clock.now(), took: begun.elapsed(), error: error.clone() };
            self.board.report(NAME, report);
            told = error;
            match opened {
                Ok(listener) => self.serve(listener).await,
                Err(_) => self.moved(Some(RETRY)).await,
            }
        }
    }

    /// Answers until the network has moved, or the daemon ends.
    async fn serve(&mut self, listener: TcpListener) {
        let close = self.stop.child_token();
        let routes = router::router(self.services.clone());
        let served = {
            let server = Server::new(routes, close.clone(), GRACE, CONNECTIONS);
            tokio::spawn(async move { server.serve(listener, server::Door::Plain).await })
        };
        self.moved(None).await;
        close.cancel();
        // What is still in progress goes on beside the door that opens next.
        if self.stop.is_cancelled() {
            let _ = served.await;
        }
    }

    /// Waits until the gateway is another one, the daemon ends, or `longest` is over.
    async fn moved(&mut self, longest: Option<Duration>) {
        let patience = async {
            match longest {
                Some(longest) => tokio::time::sleep(longest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = patience => {}
            changed = self.gateway.changed() => {
                // Who tells of it ends with the daemon.
                if changed.is_err() {
                    self.stop.cancelled().await;
                }
            }
        }
    }
}

fn obstacle(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is taken, perhaps by another gradientd: choose another port as engine.push_port, or 0 to do without"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{address}, the gateway of the containers' network, is no address of this machine: \
             an engine elsewhere, or in a namespace of its own, cannot be pushed from"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not listen on {address}: choose a port above 1023 as engine.push_port")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::{api::router::tests::Api, domain::time::Timestamp};

    struct Noon;
    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
    }

    /// Waits until `holds`, at most as long as a person would.
    async fn soon(what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let look = async {
            while !holds().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), look).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    #[tokio::test]
    async fn the_door_is_where_the_network_is_and_closes_at_the_end() {
        let api = Api::new().await;
        // Free on one address is nearly always free on the next.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (tell, gateway) = watch::channel(None);
        let stop = CancellationToken::new();
        let door = Door {
            port,
            gateway,
            services: api.services.clone(),
            board: Arc::clone(&api.board),
            clock: Arc::new(Noon),
            stop: stop.clone(),
        };
        let kept = tokio::spawn(door.keep_open());
        let at = |last| SocketAddr::new([127, 0, 0, last].into(), port);
        let answers = async |last| TcpStream::connect(at(last)).await.is_ok();
        for (here, before) in [(1, 2), (2, 1), (1, 2)] {
            tell.send(Some(at(here).ip())).unwrap();
            soon("it opens", async || answers(here).await).await;
            soon("it closes where it was", async || !answers(before).await).await;
        }
        assert_eq!(api.board.loops()[NAME].error, None);
        // An address of no machine.
        tell.send(Some([192, 0, 2, 1].into())).unwrap();
        soon("the trouble is told", async || api.board.loops()[NAME].error.is_some()).await;
        tell.send(Some(at(1).ip())).unwrap();
        soon("it opens again at once", async || answers(1).await).await;
        stop.cancel();
        kept.await.unwrap();
        assert!(!answers(1).await);
    }
}
