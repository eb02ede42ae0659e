//! When those behind the head may start, if everything runs to its time limit and nobody new comes.
//!
//! The same walk as now, at each time when something ends. It is bounded: only the first in line, and
//! only so many ends, since what lies behind that is guesswork anyway.

use super::{
    backfill::{Stock, pass},
    place::Hardware,
    queue::Queue,
};
use crate::domain::time::Timestamp;

/// How many of the waiting are told a time.
pub(super) const FORETOLD: usize = 64;

/// How many ends are looked at.
const ENDS: usize = 64;

/// Returns the units of `line` that have a time, with it. `stock` is what is left after this pass.
pub(super) fn foretell(
    hardware: &Hardware,
    queue: &Queue,
    mut line: Vec<usize>,
    mut stock: Stock,
) -> Vec<(usize, Timestamp)> {
    line.truncate(FORETOLD);
    let mut foretold = Vec::new();
    for _ in 0..ENDS {
        let next = stock.holds.iter().filter_map(|hold| hold.ends).min();
        let Some(next) = next.filter(|_| !line.is_empty()) else { break };
        stock.give_back_until(next);
        let pass = pass(next, hardware, queue, line.iter().copied(), &mut stock, true);
        line.retain(|unit| !pass.starts.iter().any(|(started, _)| started == unit));
        foretold.extend(pass.starts.iter().map(|(unit, _)| (*unit, next)));
    }
    foretold
}
