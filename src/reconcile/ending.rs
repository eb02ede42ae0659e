//! How a run ended, in a state, a reason and words that say what to do. Pure.

use crate::domain::{
    time::{Timestamp, in_words},
    workload::{Ending, Event, KILLED, Kind, Reason, State, Wanted, Workload},
};

/// What the engine says of a container that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    pub code: Option<i64>,
    pub oom_killed: bool,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The engine's own word for a start that failed.
    pub error: Option<String>,
}

/// Says how a run ended whose container has.
pub fn of_exit(workload: &Workload, exit: &Exit, now: Timestamp) -> Ending {
    let finished_at = exit.finished_at.unwrap_or(now);
    let started_at = exit.started_at.or(workload.started_at);
    let Some(code) = exit.code.or(exit.error.is_some().then_some(-1)) else {
        // It has ended and the engine does not say how: nobody knows.
        return of_loss(workload, now);
    };
    let deadline = started_at.zip(workload.time_limit).map(|(time, limit)| time.plus(limit));
    let stopped = workload.wanted == Wanted::Stop && workload.stop_asked_at.is_none_or(|time| time <= finished_at);
    let refusal = exit.error.as_ref().filter(|_| workload.state == State::Provisioned);
    let (event, reason, message) = if let Some(error) = refusal {
        let (reason, words) = of_refusal(error);
        (Event::SetupFailed, Some(reason), Some(words))
    } else if stopped {
        (Event::Withdrawn, Some(Reason::Cancelled), Some("stopped because somebody asked for it".to_owned()))
    } else if deadline.is_some_and(|time| time <= finished_at) {
        let limit = in_words(workload.time_limit.unwrap_or_default());
        let words =
            format!("ran into its time limit of {limit} and was stopped: raise timeLimitSeconds, or save and resume");
        (Event::TimedOut, Some(Reason::TimeLimit), Some(words))
    } else if exit.oom_killed && code != 0 {
        let words = format!(
            "needed more than the {:.1} GiB of memory of its machine type and was killed: take a larger machine type, or smaller batches",
            workload.needs.memory_bytes as f64 / f64::from(1 << 30)
        );
        (Event::Exited { code }, Some(Reason::OutOfMemory), Some(words))
    } else if code == 0 {
        (Event::Exited { code }, None, None)
    } else {
        (Event::Exited { code }, Some(Reason::ExitCode), Some(of_code(code)))
    };
    Ending { event, reason, message, exit_code: exit.code, started_at, finished_at }
}

/// Says how a run ended whose container is gone although nobody here removed it.
pub fn of_loss(workload: &Workload, now: Timestamp) -> Ending {
    let kept = match workload.kind {
        Kind::Job => " What it wrote to /artifacts and /storage is kept",
        Kind::Notebook(_) => " What is in /notebooks and /storage is kept: start it again",
        Kind::TensorBoard(_) => " Open it, and it starts again",
    };
    let message = format!(
        "its container is gone and nobody knows how it ended: somebody removed it by hand, or the engine lost it.{kept}"
    );
    Ending {
        event: Event::Lost,
        reason: Some(Reason::Lost),
        message: Some(message),
        exit_code: None,
        started_at: workload.started_at,
        finished_at: now,
    }
}

/// Says how a workload ended that was called off before anything ran.
pub fn of_withdrawal(workload: &Workload, now: Timestamp) -> Ending {
    Ending {
        event: Event::Withdrawn,
        reason: Some(Reason::Cancelled),
        message: Some("stopped because somebody asked for it, before it ran".to_owned()),
        exit_code: None,
        started_at: workload.started_at,
        finished_at: now,
    }
}

/// Says how a workload ended that could not be set up.
pub fn of_failed_setup(workload: &Workload, reason: Reason, message: String, now: Timestamp) -> Ending {
    Ending {
        event: Event::SetupFailed,
        reason: Some(reason),
        message: Some(message),
        exit_code: None,
        started_at: workload.started_at,
        finished_at: now,
    }
}

/// Names the reason behind the engine's refusal to start a container, and says what to do.
pub fn of_refusal(error: &str) -> (Reason, String) {
    let words = one_line(error);
    let lower = words.to_lowercase();
    let missing = ["executable file not found", "no such file or directory: unknown", "exec format error"];
    if missing.iter().any(|text| lower.contains(text)) && (lower.contains("exec") || lower.contains("stat")) {
        return (
            Reason::CommandNotFound,
            format!(
                "the command is not in the image: check its spelling and PATH, or give it as a text to be run by /bin/sh ({words})"
            ),
        );
    }
    if lower.contains("port is already allocated") || lower.contains("address already in use") {
        return (
            Reason::EngineRefused,
            format!(
                "a port of the host that it publishes is taken: choose another, or leave host out to have one chosen ({words})"
            ),
        );
    }
    if lower.contains("unable to find user") || lower.contains("no matching entries in passwd") {
        return (Reason::EngineRefused, format!("the image does not know the user that it is to run as ({words})"));
    }
    (Reason::EngineRefused, format!("the Docker engine refused to start it: {words}"))
}

fn of_code(code: i64) -> String {
    if code == 137 {
        return format!("ended with exit code {code}: {KILLED}");
    }
    let hint = match code {
        125 => ": the engine could not run it",
        126 => ": the command was found but may not be executed; check its mode and its first line",
        127 => ": the container did not find the command; check its spelling, and that the image has it",
        130 => ": interrupted (SIGINT)",
        134 => ": aborted (SIGABRT)",
        136 => ": arithmetic fault (SIGFPE)",
        139 => ": crashed (SIGSEGV)",
        143 => ": asked to end (SIGTERM) by something other than gradientd",
        _ => ": see the end of its log",
    };
    format!("ended with exit code {code}{hint}")
}

fn one_line(text: &str) -> String {
    let words: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reconcile::step::tests::workload;

    const START: Timestamp = Timestamp(900_000_000);
    const END: Timestamp = Timestamp(990_000_000);

    fn exit(code: i64) -> Exit {
        Exit { code: Some(code), started_at: Some(START), finished_at: Some(END), ..Exit::default() }
    }

    #[test]
    fn an_exit_code_is_the_engines_own() {
        let run = workload(Wanted::Run, State::Running);
        for code in [0, 1, 3, 127, 137, 255] {
            let ending = of_exit(&run, &exit(code), END);
            assert_eq!(ending.exit_code, Some(code));
            assert_eq!(ending.event, Event::Exited { code });
            assert_eq!(ending.reason, (code != 0).then_some(Reason::ExitCode));
            assert_eq!(ending.finished_at, END);
        }
    }

    #[test]
    fn out_of_memory_is_told_from_other_kills() {
        let run = workload(Wanted::Run, State::Running);
        let oom = of_exit(&run, &Exit { oom_killed: true, ..exit(137) }, END);
        assert_eq!(oom.reason, Some(Reason::OutOfMemory));
        assert!(oom.message.unwrap().contains("1.0 GiB"));
        // A child was killed, and the command itself went on to end well.
        assert_eq!(of_exit(&run, &Exit { oom_killed: true, ..exit(0) }, END).reason, None);
    }

    #[test]
    fn a_run_past_its_limit_failed_even_if_it_ended_well_when_told_to() {
        let mut run = workload(Wanted::Run, State::Running);
        run.time_limit = Some(Duration::from_secs(90));
        assert_eq!(of_exit(&run, &exit(0), END).event, Event::TimedOut);
        run.time_limit = Some(Duration::from_secs(91));
        assert_eq!(of_exit(&run, &exit(0), END).event, Event::Exited { code: 0 });
    }

    #[test]
    fn a_run_that_ended_before_somebody_asked_ended_by_itself() {
        let mut run = workload(Wanted::Stop, State::Running);
        run.stop_asked_at = Some(END.plus(Duration::from_secs(1)));
        assert_eq!(of_exit(&run, &exit(0), END).event, Event::Exited { code: 0 });
        run.stop_asked_at = Some(END.minus(Duration::from_secs(1)));
        let ending = of_exit(&run, &exit(143), END);
        assert_eq!((ending.event, ending.reason), (Event::Withdrawn, Some(Reason::Cancelled)));
        assert_eq!(ending.exit_code, Some(143));
    }

    #[test]
    fn a_refused_start_is_said_in_words_that_help() {
        let refusals = [
            (
                "OCI runtime create failed: exec: \"trian.py\": executable file not found in $PATH: unknown",
                Reason::CommandNotFound,
            ),
            (
                "driver failed programming external connectivity: Bind for 127.0.0.1:9000 failed: port is already allocated",
                Reason::EngineRefused,
            ),
            ("unable to find user nobodyy: no matching entries in passwd file", Reason::EngineRefused),
            ("something\nelse\u{1b}[31m", Reason::EngineRefused),
        ];
        for (error, reason) in refusals {
            let (named, words) = of_refusal(error);
            assert_eq!(named, reason, "{words}");
            assert!(!words.chars().any(char::is_control));
        }
    }

    #[test]
    fn spans_are_said_as_people_say_them() {
        let said = |secs| in_words(Duration::from_secs(secs));
        assert_eq!(
            (said(1), said(90), said(7200), said(7500)),
            ("1 s".into(), "1 min 30 s".into(), "2 h".into(), "2 h 5 min".into())
        );
    }
}
