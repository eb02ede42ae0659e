//! What to do next for one workload: a pure function of what is wanted, what was so, and what is seen
//! on the engine.

use crate::domain::{
    time::Timestamp,
    workload::{State, Wanted, Workload},
};

/// What the engine shows of a workload's present attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Absent,
    Created,
    Running,
    Exited,
}

/// One thing to be done. Doing it twice is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing now; something else moves it on.
    Wait,
    /// Fetch image and workspace.
    Prepare,
    /// Let the scheduler have it.
    Queue,
    /// Make the container and start it.
    Launch,
    /// Look what became of a launch that was broken off, and go on from there.
    Relaunch,
    /// Note that it runs.
    NoteStarted,
    /// Ask the container to end.
    Stop,
    /// Look how it ended, and record that.
    RecordExit,
    /// Look again whether it is really gone, and record that.
    RecordLost,
    /// It was called off before a container ran.
    RecordWithdrawn,
    /// Save what is left of its log and remove its container.
    TearDown,
}

/// Decides the next step of one workload.
pub fn next_step(workload: &Workload, seen: Seen, now: Timestamp) -> Step {
    if workload.state.is_terminal() {
        return Step::TearDown;
    }
    let called_off = workload.wanted == Wanted::Stop;
    match (workload.state, seen) {
        // An attempt that ended and will be tried again: its container goes first.
        (State::Pending, Seen::Exited | Seen::Created | Seen::Running) => Step::TearDown,
        (State::Pending, Seen::Absent) if called_off => Step::RecordWithdrawn,
        (State::Pending, Seen::Absent) if workload.not_before.is_some_and(|time| time > now) => Step::Wait,
        (State::Pending, Seen::Absent) if workload.image_id.is_none() => Step::Prepare,
        (State::Pending, Seen::Absent) => Step::Queue,

        (State::Provisioned | State::Running, Seen::Exited) => Step::RecordExit,
        (State::Provisioned, Seen::Absent | Seen::Created) if called_off => Step::RecordWithdrawn,
        // Placing launches; what is placed and not under way was broken off.
        (State::Provisioned, Seen::Absent | Seen::Created) => Step::Relaunch,
        (State::Provisioned | State::Running, Seen::Running) if called_off => Step::Stop,
        (State::Provisioned, Seen::Running) => Step::NoteStarted,
        (State::Running, Seen::Running) if workload.deadline().is_some_and(|time| time <= now) => Step::Stop,
        (State::Running, Seen::Running) => Step::Wait,
        // It ran, and now there is none: somebody removed it.
        (State::Running, Seen::Absent | Seen::Created) => Step::RecordLost,
        (State::Stopped | State::Failed | State::Error | State::Cancelled, _) => Step::TearDown,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::domain::workload::{Kind, Needs, Retries};

    pub(crate) const NOW: Timestamp = Timestamp(1_000_000_000);

    pub(crate) fn workload(wanted: Wanted, state: State) -> Workload {
        Workload {
            seq: 1,
            id: "js0123456789ab".parse().unwrap(),
            kind: Kind::Job,
            team: "t000000".parse().unwrap(),
            user: "u00000000".parse().unwrap(),
            project: "p00000000".parse().unwrap(),
            name: "job".to_owned(),
            needs: Needs {
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
                gpus: 0,
                gpu_share: 1,
                gpu_model: None,
                mig_profile: None,
            },
            priority: 0,
            time_limit: None,
            retries: Retries::default(),
            created_at: Timestamp(0),
            wanted,
            stop_asked_at: None,
            state,
            attempt: u32::from(state != State::Pending),
            not_before: None,
            image_id: Some("sha256:0".to_owned()),
            reason: None,
            message: None,
            exit_code: None,
            ports: BTreeMap::new(),
            setup_started_at: None,
            setup_finished_at: None,
            started_at: (state == State::Running).then_some(Timestamp(900_000_000)),
            finished_at: None,
            teardown_started_at: None,
            teardown_finished_at: None,
            gpus: Vec::new(),
            memory_kills: None,
        }
    }

    #[test]
    fn the_way_of_a_job_that_ends_by_itself() {
        let step = |state, seen| next_step(&workload(Wanted::Run, state), seen, NOW);
        assert_eq!(step(State::Pending, Seen::Absent), Step::Queue);
        assert_eq!(step(State::Provisioned, Seen::Absent), Step::Relaunch);
        assert_eq!(step(State::Provisioned, Seen::Created), Step::Relaunch);
        assert_eq!(step(State::Provisioned, Seen::Running), Step::NoteStarted);
        assert_eq!(step(State::Running, Seen::Running), Step::Wait);
        assert_eq!(step(State::Running, Seen::Exited), Step::RecordExit);
        assert_eq!(step(State::Stopped, Seen::Exited), Step::TearDown);
    }

    #[test]
    fn a_job_that_is_called_off_ends_from_wherever_it_is() {
        let step = |state, seen| next_step(&workload(Wanted::Stop, state), seen, NOW);
        assert_eq!(step(State::Pending, Seen::Absent), Step::RecordWithdrawn);
        assert_eq!(step(State::Provisioned, Seen::Absent), Step::RecordWithdrawn);
        assert_eq!(step(State::Provisioned, Seen::Running), Step::Stop);
        assert_eq!(step(State::Running, Seen::Running), Step::Stop);
        assert_eq!(step(State::Running, Seen::Exited), Step::RecordExit);
    }

    #[test]
    fn nothing_unprepared_is_queued_and_nothing_starts_before_its_pause_is_over() {
        let mut raw = workload(Wanted::Run, State::Pending);
        raw.image_id = None;
        assert_eq!(next_step(&raw, Seen::Absent, NOW), Step::Prepare);
        raw.not_before = Some(NOW.plus(Duration::from_secs(1)));
        assert_eq!(next_step(&raw, Seen::Absent, NOW), Step::Wait);
        assert_eq!(next_step(&raw, Seen::Absent, NOW.plus(Duration::from_secs(1))), Step::Prepare);
    }

    #[test]
    fn a_run_is_stopped_at_its_limit_and_not_before() {
        let mut limited = workload(Wanted::Run, State::Running);
        limited.time_limit = Some(Duration::from_secs(100));
        assert_eq!(next_step(&limited, Seen::Running, NOW.minus(Duration::from_micros(1))), Step::Wait);
        assert_eq!(next_step(&limited, Seen::Running, NOW), Step::Stop);
    }

    #[test]
    fn only_what_ran_can_be_lost() {
        for state in State::ALL {
            for wanted in Wanted::ALL {
                let step = next_step(&workload(*wanted, *state), Seen::Absent, NOW);
                assert_eq!(step == Step::RecordLost, *state == State::Running, "{state} {wanted}");
            }
        }
    }

    #[test]
    fn a_failed_attempt_is_cleared_away_before_the_next_one() {
        let mut again = workload(Wanted::Run, State::Pending);
        again.attempt = 1;
        for seen in [Seen::Exited, Seen::Created, Seen::Running] {
            assert_eq!(next_step(&again, seen, NOW), Step::TearDown);
        }
    }
}
