//! What containers serve, on an origin of its own: reads whose port is meant, lets in who may, and passes
//! requests, answers and websockets on, byte by byte as they come.
//!
//! In reading order: [`listener`] speaks to sockets, [`workers`] are the threads that do, [`forward`] is the
//! way of one request, [`door`] says who is let in and how long, [`tickets`] lets browsers in, [`site`] turns
//! away what other pages ask, [`headers`] and [`cookies`] say what may pass, [`upstream`] keeps connections to
//! containers, [`stream`] carries bodies and [`tunnel`] websockets, [`refusal`] is what is said instead of an
//! answer, and [`waiting`] of what does not answer yet.
//!
//! Decides nothing about the domain: the services say who may reach what and where it is. Nothing of a
//! body is read, rewritten or kept.

pub mod listener;
pub mod workers;

mod cookies;
mod door;
mod forward;
mod headers;
mod refusal;
mod site;
mod stream;
#[cfg(test)]
mod tests;
mod tickets;
mod tunnel;
mod upstream;
mod waiting;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{time::Clock, web_name::Names},
    service::Services,
};

/// The proxy, which every connection works with.
pub struct Proxy {
    services: Services,
    clock: Arc<dyn Clock>,
    names: Names,
    /// Where a person finds the web UI: `http://127.0.0.1:7070`. `None` when it depends on where they are.
    control: Option<String>,
    doors: door::Doors,
    /// Ends what would go on for ever.
    stop: CancellationToken,
}

impl Proxy {
    /// Builds the proxy. What streams without end is cut off on `stop`.
    pub fn new(
        services: Services,
        clock: Arc<dyn Clock>,
        names: Names,
        control: Option<String>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let doors = door::Doors::new(services.clone());
        Arc::new(Self { services, clock, names, control, doors, stop })
    }

    /// Forgets who has gone.
    fn tidy(&self) {
        self.doors.tidy();
    }
}
