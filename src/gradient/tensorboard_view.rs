//! A TensorBoard as the client reads it.

use http::{HeaderMap, header, uri::Authority};
use serde::Serialize;

use super::notebook_view::state;
use crate::{
    domain::{
        id::TensorBoardId,
        tensorboard::Subject,
        web_name::{Names, Target},
        workload::State,
    },
    service::{tensorboard_members::MemberNow, tensorboards::TensorBoardNow},
};

/// A TensorBoard.
#[derive(Debug, Serialize)]
pub struct TensorBoardView {
    id: TensorBoardId,
    /// What its next session runs.
    image: String,
    /// Where it is, whichever session shows it. For whoever is let in there: it is no ticket.
    url: String,
    state: &'static str,
}

/// A TensorBoard with what it shows.
#[derive(Debug, Serialize)]
pub struct TensorBoardDetail {
    #[serde(flatten)]
    board: TensorBoardView,
    /// The client fails without.
    experiments: Vec<Shown>,
}

/// An experiment that is shown, or a job.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    state: &'static str,
}

impl TensorBoardView {
    /// Shows a TensorBoard to whoever asked with these headers.
    pub fn of(now: TensorBoardNow, names: &Names, headers: &HeaderMap) -> Self {
        let session = now.board.session.as_ref().map(|showing| &showing.session);
        Self {
            state: state(now.state, session),
            url: address(names, headers, &now.board.id),
            image: now.image,
            id: now.board.id,
        }
    }

    /// Adds what it shows. Folders of notebooks and datasets, which the client knows nothing of, are left to
    /// the API.
    pub fn with(self, members: Vec<MemberNow>) -> TensorBoardDetail {
        let runs = |now: &MemberNow| matches!(now.member.subject, Subject::Experiment(_) | Subject::Job(_));
        let shown = |now: MemberNow| Shown { state: word(&now), id: now.member.subject.id().to_owned() };
        TensorBoardDetail { board: self, experiments: members.into_iter().filter(runs).map(shown).collect() }
    }
}

/// Returns the client's word for where an experiment is.
fn word(now: &MemberNow) -> &'static str {
    match (&now.title, now.state) {
        (None, _) => "deleted",
        (_, None) => "created",
        (_, Some(State::Cancelled)) => "canceled",
        (_, Some(state)) => state.as_str(),
    }
}

/// Returns where a TensorBoard is, by the name that this box is called by whoever asks.
fn address(names: &Names, headers: &HeaderMap, id: &TensorBoardId) -> String {
    let target = Target { id: id.as_str().parse().expect("ids are letters and digits"), port: None };
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let host = asked.as_ref().map_or("localhost", Authority::host);
    match names.url(host, &target) {
        Some(origin) => format!("{origin}/"),
        None => names.path_url(host, &target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_address_is_one_that_whoever_asks_can_reach() {
        let id: TensorBoardId = "tb0123456789".parse().unwrap();
        let at = |names: &Names, host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            address(names, &headers, &id)
        };
        let names = Names::default();
        for host in ["127.0.0.1:7070", "localhost:1", "[::1]:7070"] {
            assert_eq!(at(&names, host), "http://tb0123456789.localhost:7071/", "{host}");
        }
        assert_eq!(address(&names, &HeaderMap::new(), &id), "http://tb0123456789.localhost:7071/");
        assert_eq!(at(&names, "box.lab:7070"), "http://box.lab:7071/w/tb0123456789/");
        let names = Names { domain: Some("work.example".to_owned()), https: true, ..names };
        assert_eq!(at(&names, "box.lab:7070"), "https://tb0123456789.work.example/");
    }
}
