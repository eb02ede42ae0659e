//! What people are told of a session: that it ends soon, and what became of it.

use std::time::Duration;

use crate::{
    domain::{
        notebook::{EndedFor, Session},
        time::Timestamp,
        workload::{Kind, Reason, State, Wanted},
    },
    reconcile::{ending, step::tests::workload},
};

fn session(state: State) -> Session {
    Session {
        workload: workload(Wanted::Run, state),
        ready_at: Some(Timestamp(0)),
        idle: None,
        activity: None,
        ended_for: None,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(0).plus(Duration::from_secs(seconds))
}

#[test]
fn people_are_told_ten_minutes_before_the_end_and_of_a_short_limit_in_its_last_quarter() {
    let idle = |limit| Session { idle: Some(Duration::from_secs(limit)), ..session(State::Running) };
    for (limit, near) in [(7200, 6600), (2400, 1800), (600, 450), (60, 45)] {
        assert_eq!(idle(limit).near_end(at(near - 1)), None, "{limit} s: it has only begun");
        assert_eq!(idle(limit).near_end(at(near)), Some(at(limit)), "{limit} s");
    }
    assert_eq!(session(State::Running).near_end(at(1_000_000)), None, "it has no limit");
    // Whichever comes first.
    let mut both = idle(7200);
    both.workload.started_at = Some(at(0));
    both.workload.time_limit = Some(Duration::from_secs(3600));
    assert_eq!((both.near_end(at(2999)), both.near_end(at(3000))), (None, Some(at(3600))));
}

#[test]
fn a_server_that_never_came_is_said_to_have_been_waited_for_so_long() {
    let mut unready = Session { ended_for: Some(EndedFor::NotReady), ..session(State::Cancelled) };
    (unready.workload.started_at, unready.workload.stop_asked_at) = (Some(at(10)), Some(at(130)));
    let words = unready.message().unwrap();
    assert!(words.contains("on port 8888 of it 2 min after its start"), "{words}");
}

#[test]
fn a_kill_is_not_put_down_to_memory_where_the_engine_says_that_it_was_not() {
    let mut killed = session(State::Failed);
    (killed.workload.reason, killed.workload.exit_code) = (Some(Reason::ExitCode), Some(137));
    let words = killed.message().unwrap();
    assert!(words.contains("not by the memory limit of its container") && words.contains("137"), "{words}");
    killed.workload.reason = Some(Reason::OutOfMemory);
    killed.workload.message = Some("needed more than the 1.0 GiB".to_owned());
    assert_eq!(killed.message(), killed.workload.message);
}

#[test]
fn what_a_lost_run_keeps_is_named_by_where_it_is() {
    let kept = |kind| {
        let lost = crate::domain::workload::Workload { kind, ..workload(Wanted::Run, State::Running) };
        ending::of_loss(&lost, Timestamp(0)).message.unwrap()
    };
    let notebook = kept(Kind::Notebook("n012345678".parse().unwrap()));
    assert!(notebook.contains("/notebooks and /storage") && !notebook.contains("/artifacts"), "{notebook}");
    let job = kept(Kind::Job);
    assert!(job.contains("/artifacts and /storage") && !job.contains("/notebooks"), "{job}");
}
