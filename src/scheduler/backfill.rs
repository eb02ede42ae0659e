//! One walk along the queue: who starts now, and what is kept for the head. The rule and why it
//! holds are at the room's front door.

use super::{
    place::{Board, Grant, Hardware},
    queue::{Class, Queue},
};
use crate::domain::time::Timestamp;

/// A part of the box that somebody has.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub owner: Owner,
    pub cpu: i64,
    pub memory: i64,
    pub gpus: Grant,
    /// When it is given back by its time limit; none when nobody knows.
    pub ends: Option<Timestamp>,
}

/// Who has it, by position.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    Running(usize),
    Unit(usize),
}

/// What is free, and what will be when.
#[derive(Debug, Clone)]
pub(super) struct Stock {
    pub board: Board,
    pub holds: Vec<Hold>,
}

impl Stock {
    pub fn take(&mut self, hold: Hold) {
        self.board.take(hold.cpu, hold.memory, &hold.gpus);
        self.holds.push(hold);
    }

    /// Gives back all that ends by `at`.
    pub fn give_back_until(&mut self, at: Timestamp) {
        let Self { board, holds } = self;
        holds.retain(|hold| {
            let over = hold.ends.is_some_and(|ends| ends <= at);
            if over {
                board.give_back(hold.cpu, hold.memory, &hold.gpus);
            }
            !over
        });
    }
}

/// What is kept for the first that cannot start.
pub(super) struct Reservation {
    pub unit: usize,
    /// When it can start at the latest; none when what it needs has no time limit.
    pub at: Option<Timestamp>,
    pub gpus: Grant,
    /// What is left beside it, of the box as it will be then.
    beside: Board,
}

impl Reservation {
    /// Returns whether work that ends at `ends` has given back everything before it is needed.
    fn outlasts(&self, ends: Option<Timestamp>) -> bool {
        // A head without a time gets one from whatever has a limit; see the front door.
        ends.is_some_and(|ends| self.at.is_none_or(|at| ends <= at))
    }
}

/// What one walk decided.
pub(super) struct Pass {
    /// Units and what they are given, in order.
    pub starts: Vec<(usize, Grant)>,
    pub head: Option<Reservation>,
}

/// Walks `line`, which holds units in order that could start on an empty box, and takes what those
/// that start are given from `stock`.
pub(super) fn pass(
    now: Timestamp,
    hardware: &Hardware,
    queue: &Queue,
    line: impl Iterator<Item = usize>,
    stock: &mut Stock,
    backfill: bool,
) -> Pass {
    let mut pass = Pass { starts: Vec::new(), head: None };
    // Once there is a head, what is free only shrinks. A demand that was refused is refused for the
    // rest of the pass: with a limit that suits (1), or without one (0).
    let mut refused = vec![[false; 2]; queue.classes.len()];
    for unit in line {
        let class = queue.class(unit);
        let ends = queue.units[unit].time_limit.map(|limit| now.plus(limit));
        let over_in_time = pass.head.as_ref().is_some_and(|head| head.outlasts(ends));
        let refused = &mut refused[queue.units[unit].class];
        if refused[usize::from(over_in_time)] {
            continue;
        }
        let beside = pass.head.as_ref().filter(|_| !over_in_time).map(|head| &head.beside);
        if let Some(gpus) = stock.board.place(hardware, class, beside) {
            if let Some(head) = pass.head.as_mut().filter(|_| !over_in_time) {
                head.beside.take(class.cpu, class.memory, &gpus);
            }
            stock.take(Hold {
                owner: Owner::Unit(unit),
                cpu: class.cpu,
                memory: class.memory,
                gpus: gpus.clone(),
                ends,
            });
            pass.starts.push((unit, gpus));
        } else if pass.head.is_some() {
            // What does not fit with a suitable limit fits even less without.
            *refused = [true, refused[1] || over_in_time];
        } else {
            pass.head = Some(reserve(hardware, unit, class, stock));
            *refused = [true; 2];
            if !backfill {
                break;
            }
        }
    }
    pass
}

/// Finds when `class` can start at the latest and keeps what it will need.
fn reserve(hardware: &Hardware, unit: usize, class: &Class, stock: &Stock) -> Reservation {
    let mut ending: Vec<(Timestamp, &Hold)> = stock.holds.iter().filter_map(|hold| Some((hold.ends?, hold))).collect();
    ending.sort_by_key(|(ends, _)| *ends);
    let mut beside = stock.board.clone();
    let mut found = None;
    for same_time in ending.chunk_by(|a, b| a.0 == b.0) {
        same_time.iter().for_each(|(_, hold)| beside.give_back(hold.cpu, hold.memory, &hold.gpus));
        if let Some(grant) = beside.place(hardware, class, None) {
            found = Some((same_time[0].0, grant));
            break;
        }
    }
    let mut gpus = beside.keep(hardware, class, &stock.board);
    let at = found.map(|(at, grant)| {
        // Sparing what is free now can cost a gang of unlike members a GPU: then it does not spare.
        if gpus.len() < grant.len() {
            gpus = grant;
        }
        at
    });
    // Without a time this may go below zero: then there is nothing beside it.
    beside.take(class.cpu, class.memory, &gpus);
    Reservation { unit, at, gpus, beside }
}
