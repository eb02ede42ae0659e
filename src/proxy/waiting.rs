//! What is said of something that does not answer yet: what it is called, its place in the queue, and why.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::refusal::{Known, Refusal};
use crate::{
    domain::{
        bytes::Bytes,
        time::{Timestamp, in_words},
        workload::Phase,
    },
    service::{
        not_yet::NotYet,
        queue::{Blocker, Place},
        queue_place::QueuePlace,
    },
};

/// Who holds what is waited for is told of so many.
const NAMED: usize = 5;
/// When to look again, in seconds: at what is about to begin, and at what waits its turn.
const SOON: u32 = 2;
const QUEUED: u32 = 5;

/// Says that something does not answer yet. `detail` is for everybody; what is known of it is added where it could
/// be looked up.
pub fn refusal(detail: String, known: Option<NotYet>) -> Refusal {
    let mut refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_running_yet", detail);
    refusal.retry_after = Some(SOON);
    let Some(NotYet { run, phase, place, progress, now }) = known else { return refusal };
    let doing = match (phase, &place) {
        (_, Some(_)) => "waits for its place",
        (Some(Phase::Preparing), None) => "is being prepared",
        (Some(Phase::Queued), None) => "waits for its place",
        (Some(Phase::Backoff), None) => "waits to be tried again",
        _ => "is starting",
    };
    let title = format!("{} “{}” {doing}", run.kind.capitalised(), run.name);
    let mut fields = json!({ "kind": run.kind.as_str(), "name": run.name });
    let mut facts = Vec::new();
    if let Some(progress) = progress {
        facts.push(match (progress.done_bytes, progress.total_bytes) {
            (Some(done), Some(total)) => format!("{}: {} of {}", progress.what, Bytes(done), Bytes(total)),
            _ => progress.what,
        });
    }
    if let Some(place) = place {
        refusal.retry_after = Some(QUEUED);
        facts.extend(told(&place, now));
        fields["queue"] = json!(QueuePlace::from(place));
    }
    facts.push("This page goes on by itself when it answers.".to_owned());
    refusal.known = Some(Box::new(Known { title, facts, fields }));
    refusal
}

/// Tells of a place in the queue, for a person.
fn told(place: &Place, now: Timestamp) -> Vec<String> {
    let waiting = &place.waiting;
    let mut facts = vec![format!("Number {} in the queue: {}.", waiting.position, waiting.reason)];
    let (first, holding): (Vec<_>, Vec<_>) = place.held_by.iter().flatten().partition(|blocker| blocker.waits);
    for (words, blockers) in [("Held by", holding), ("Goes first:", first)] {
        if blockers.is_empty() {
            continue;
        }
        let more = blockers.len().saturating_sub(NAMED);
        let mut named: Vec<String> =
            blockers.into_iter().take(NAMED).map(|blocker| blocker_words(blocker, now)).collect();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        facts.push(format!("{words} {}.", named.join("; ")));
    }
    let if_idle = "if nobody uses what can stop by itself";
    facts.extend(match (waiting.expected_start, waiting.expected_if_idle) {
        (Some(at), None) => Some(format!("It starts {}, if everything runs to its time limit.", ahead(at, now))),
        (Some(at), Some(idle)) => Some(format!("It starts {}, or {} {if_idle}.", ahead(at, now), ahead(idle, now))),
        (None, Some(idle)) => Some(format!("It starts {} {if_idle}.", ahead(idle, now))),
        (None, None) => None,
    });
    facts
}

fn blocker_words(blocker: &Blocker, now: Timestamp) -> String {
    let Blocker { run, until, idle_at, .. } = blocker;
    let ends = until.map(|at| format!("ends {}", ahead(at, now)));
    let idle = idle_at.filter(|idle| until.is_none_or(|until| *idle < until));
    let idle = idle.map(|at| format!("stops by itself {} if nobody uses it", ahead(at, now)));
    let facts: Vec<String> = [Some(run.user.clone()), idle, ends].into_iter().flatten().collect();
    format!("{} “{}” ({})", run.kind.word(), run.name, facts.join(", "))
}

/// Says how far ahead a time is, in minutes where seconds say nothing.
fn ahead(at: Timestamp, now: Timestamp) -> String {
    match at.since(now) {
        span if span < Duration::from_secs(1) => "at any moment".to_owned(),
        span if span < Duration::from_secs(600) => format!("in {}", in_words(span)),
        span => format!("in {}", in_words(Duration::from_secs(span.as_secs() / 60 * 60))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{board, workload::Kind},
        service::queue::Run,
    };

    const NOW: Timestamp = Timestamp(0);

    fn minutes(count: u64) -> Option<Timestamp> {
        Some(NOW.plus(Duration::from_secs(count * 60)))
    }

    fn run(kind: Kind, name: &str) -> Run {
        Run { id: "js0123456789ab".parse().unwrap(), kind, name: name.to_owned(), user: "ada".to_owned(), is_own: true }
    }

    fn holder(kind: Kind, name: &str, idle: Option<u64>, until: Option<u64>) -> Blocker {
        let at = |count: Option<u64>| count.and_then(minutes);
        Blocker { run: run(kind, name), gpus: Vec::new(), until: at(until), idle_at: at(idle), waits: false }
    }

    fn waiting(held_by: Vec<Blocker>) -> NotYet {
        let waiting = board::Waiting {
            id: "js0123456789ab".parse().unwrap(),
            position: 2,
            reason: "needs 1 GPU; none of 2 is free".to_owned(),
            held_by: Vec::new(),
            expected_start: minutes(125),
            expected_if_idle: minutes(20),
        };
        NotYet {
            run: run(Kind::TensorBoard("tb0123456789".parse().unwrap()), "<b>sweep</b>"),
            phase: Some(Phase::Queued),
            place: Some(Place { waiting, held_by: Some(held_by) }),
            progress: None,
            now: NOW,
        }
    }

    #[test]
    fn what_waits_says_its_name_its_place_and_who_holds_what_it_needs() {
        let notebook = holder(Kind::Notebook("n000000000".parse().unwrap()), "lab", Some(20), Some(600));
        let job = holder(Kind::Job, "train", None, Some(125));
        let refusal = refusal("tb0123456789 does not run yet".to_owned(), Some(waiting(vec![notebook, job])));
        assert_eq!(refusal.retry_after, Some(QUEUED));
        let known = refusal.known.unwrap();
        assert_eq!(known.title, "TensorBoard “<b>sweep</b>” waits for its place");
        assert_eq!(
            known.facts,
            [
                "Number 2 in the queue: needs 1 GPU; none of 2 is free.",
                "Held by notebook “lab” (ada, stops by itself in 20 min if nobody uses it, ends in 10 h); \
                 job “train” (ada, ends in 2 h 5 min).",
                "It starts in 2 h 5 min, or in 20 min if nobody uses what can stop by itself.",
                "This page goes on by itself when it answers.",
            ]
        );
        let (name, queue) = (&known.fields["name"], &known.fields["queue"]);
        assert_eq!((name, &queue["position"]), (&json!("<b>sweep</b>"), &json!(2)));
        // As the API tells it: with ids and times, and not in words alone.
        let first = &queue["heldBy"][0];
        assert_eq!((&first["jobId"], &first["notebookId"]), (&json!("js0123456789ab"), &json!("n000000000")));
        assert_eq!((&first["idleAt"], &first["waits"]), (&json!(minutes(20)), &json!(false)));
    }

    #[test]
    fn only_so_many_are_named_and_who_waits_as_well_goes_first() {
        let many = (0..9).map(|_| holder(Kind::Job, "train", None, None)).collect();
        let facts = refusal(String::new(), Some(waiting(many))).known.unwrap().facts;
        assert!(facts[1].ends_with("; job “train” (ada); 4 more."), "{facts:?}");
        let first = Blocker { waits: true, ..holder(Kind::Job, "big", None, None) };
        let facts = refusal(String::new(), Some(waiting(vec![first]))).known.unwrap().facts;
        assert_eq!(facts[1], "Goes first: job “big” (ada).");
    }

    #[test]
    fn what_could_not_be_looked_up_is_waited_for_all_the_same() {
        let refusal = refusal("n0 does not run yet".to_owned(), None);
        assert_eq!((refusal.status, refusal.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(SOON)));
        assert!(refusal.known.is_none());
    }
}
