//! Decides what comes next for one place on S3 of one session. Pure: what is wanted and what was seen go
//! in, one step comes out.

use crate::executor::ContainerState;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nobody has said yet what this session is to have: nothing may be taken from it.
    Unknown,
    No,
    Yes {
        /// It did not fail a moment ago.
        now: bool,
    },
}

/// What was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) container: Option<ContainerState>,
    /// The container serves something else under this name.
    pub(super) outdated: bool,
    /// Something is mounted where its files are to be, alive or dead.
    pub(super) mounted: bool,
    /// Its directory is there.
    pub(super) directory: bool,
}

/// One step. Each may be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// Make its container and start it.
    Serve,
    /// Its container ended by itself: note why, and remove it.
    Note,
    /// Let it send what was written, and end and remove its container.
    End,
    /// Take away what a killed program left mounted.
    Clean,
    /// Remove its empty directory.
    Forget,
}

/// Returns what comes next.
pub(super) fn next_step(wanted: Wanted, seen: Seen) -> Step {
    use ContainerState as C;
    match (wanted, seen.container) {
        (Wanted::Unknown, _) | (_, Some(C::Removing)) => Step::Wait,
        (Wanted::Yes { .. }, Some(C::Created | C::Running)) if seen.outdated => Step::End,
        (Wanted::Yes { now }, None | Some(C::Created)) => match now {
            true => Step::Serve,
            false => Step::Wait,
        },
        (Wanted::Yes { .. }, Some(C::Running)) => Step::Wait,
        (Wanted::Yes { .. }, Some(C::Exited)) => Step::Note,
        (Wanted::No, Some(C::Created | C::Running | C::Exited)) => Step::End,
        (Wanted::No, None) if seen.mounted => Step::Clean,
        (Wanted::No, None) if seen.directory => Step::Forget,
        (Wanted::No, None) => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Wanted = Wanted::Yes { now: true };
    const STATES: [Option<ContainerState>; 5] = [
        None,
        Some(ContainerState::Created),
        Some(ContainerState::Running),
        Some(ContainerState::Exited),
        Some(ContainerState::Removing),
    ];

    fn all() -> impl Iterator<Item = Seen> {
        STATES.into_iter().flat_map(|container| {
            (0..8).map(move |bits| Seen {
                container,
                outdated: bits & 1 > 0,
                mounted: bits & 2 > 0,
                directory: bits & 4 > 0,
            })
        })
    }

    #[test]
    fn nothing_is_done_while_nobody_has_said_what_is_wanted() {
        assert!(all().all(|seen| next_step(Wanted::Unknown, seen) == Step::Wait));
    }

    #[test]
    fn what_is_wanted_is_served_once_and_again_after_a_pause() {
        let seen = Seen::default();
        assert_eq!(next_step(YES, seen), Step::Serve);
        assert_eq!(next_step(Wanted::Yes { now: false }, seen), Step::Wait);
        let at = |state| Seen { container: Some(state), ..seen };
        assert_eq!(next_step(YES, at(ContainerState::Created)), Step::Serve, "a start that was cut off goes on");
        assert_eq!(next_step(YES, at(ContainerState::Running)), Step::Wait);
        assert_eq!(next_step(Wanted::Yes { now: false }, at(ContainerState::Exited)), Step::Note);
        let stale = Seen { mounted: true, directory: true, ..seen };
        assert_eq!(next_step(YES, stale), Step::Serve, "it takes what is dead away by itself");
    }

    #[test]
    fn what_serves_something_else_ends_first() {
        let running = Seen { container: Some(ContainerState::Running), outdated: true, ..Seen::default() };
        assert_eq!(next_step(YES, running), Step::End);
    }

    #[test]
    fn whatever_is_not_wanted_goes_in_order_and_then_nothing_is_left_to_do() {
        let mut seen =
            Seen { container: Some(ContainerState::Running), outdated: false, mounted: true, directory: true };
        let mut steps = Vec::new();
        loop {
            let step = next_step(Wanted::No, seen);
            steps.push(step);
            match step {
                Step::End => seen.container = None,
                Step::Clean => seen.mounted = false,
                Step::Forget => seen.directory = false,
                _ => break,
            }
        }
        assert_eq!(steps, [Step::End, Step::Clean, Step::Forget, Step::Wait]);
    }

    #[test]
    fn a_directory_is_never_removed_while_something_is_mounted_in_it() {
        for wanted in [Wanted::No, YES, Wanted::Yes { now: false }] {
            assert!(all().filter(|seen| seen.mounted).all(|seen| next_step(wanted, seen) != Step::Forget));
        }
    }

    #[test]
    fn nothing_that_is_wanted_is_taken_away_unless_it_serves_something_else() {
        for seen in all().filter(|seen| !seen.outdated) {
            assert!(!matches!(next_step(YES, seen), Step::End | Step::Clean | Step::Forget), "{seen:?}");
        }
    }
}
