//! The waiting, in order, with equal demands folded into one class.
//!
//! Ten thousand wait for a handful of things. Whatever is decided or explained about a demand is
//! decided once for its class, which is what keeps a pass linear.

use std::{
    cmp::Reverse,
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use super::{
    demand::{Demand, Waiting},
    place::Hardware,
};

/// Everything that waits, ready to be walked.
pub(super) struct Queue<'a> {
    pub waiting: &'a [Waiting],
    /// In the order in which they go.
    pub units: Vec<Unit>,
    pub classes: Vec<Class>,
}

/// What starts whole or not at all: one that waits, or a gang.
pub(super) struct Unit {
    pub class: usize,
    /// Position in `waiting` of the one that stands first.
    pub first: usize,
    /// Positions of the gang's others.
    pub others: Vec<usize>,
    /// The longest of the limits; none when any of them has none.
    pub time_limit: Option<Duration>,
}

impl Unit {
    /// Returns the positions in `waiting` of all that start together.
    pub fn members(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

/// A demand that several units may have.
pub(super) struct Class {
    pub cpu: i64,
    pub memory: i64,
    /// Those with the fewest GPUs to choose from first, so that they choose first.
    pub needs: Vec<Need>,
}

/// So many GPUs of one sort.
pub(super) struct Need {
    /// Position in [`Hardware::sorts`].
    pub sort: usize,
    pub share: u32,
    pub gpus: usize,
    /// Who gets how many of them, by position among [`Unit::members`].
    pub members: Vec<(usize, usize)>,
}

/// Returns `amount` where the arithmetic may go below zero.
pub(super) fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

impl<'a> Queue<'a> {
    /// Orders `waiting` and finds who asks for the same. Adds the sorts of GPUs that are asked for to `hardware`.
    pub fn new(waiting: &'a [Waiting], hardware: &mut Hardware<'a>) -> Self {
        let mut order: Vec<usize> = (0..waiting.len()).collect();
        order.sort_unstable_by(|a, b| place_in_line(&waiting[*a]).cmp(&place_in_line(&waiting[*b])));
        let mut units: Vec<Unit> = Vec::with_capacity(waiting.len());
        let mut gangs: HashMap<&str, usize> = HashMap::new();
        for first in order {
            let one = &waiting[first];
            if let Some(gang) = one.gang.as_deref() {
                match gangs.entry(gang) {
                    Entry::Occupied(unit) => {
                        let unit = &mut units[*unit.get()];
                        unit.others.push(first);
                        unit.time_limit = unit.time_limit.zip(one.time_limit).map(|(a, b)| a.max(b));
                        continue;
                    }
                    Entry::Vacant(vacant) => {
                        vacant.insert(units.len());
                    }
                }
            }
            units.push(Unit { class: 0, first, others: Vec::new(), time_limit: one.time_limit });
        }
        let classes = classify(waiting, &mut units, hardware);
        Self { waiting, units, classes }
    }

    /// Returns the class of unit `unit`.
    pub fn class(&self, unit: usize) -> &Class {
        &self.classes[self.units[unit].class]
    }
}

fn place_in_line(one: &Waiting) -> impl Ord + '_ {
    (Reverse(one.priority), one.since, one.seq, &one.id)
}

fn classify<'a>(waiting: &'a [Waiting], units: &mut [Unit], hardware: &mut Hardware<'a>) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    let mut known: HashMap<&Demand, usize> = HashMap::new();
    for unit in units {
        if unit.others.is_empty() {
            unit.class = *known.entry(&waiting[unit.first].demand).or_insert_with_key(|demand| {
                classes.push(class(&[demand], hardware));
                classes.len() - 1
            });
        } else {
            let demands: Vec<&Demand> = unit.members().map(|member| &waiting[member].demand).collect();
            unit.class = classes.len();
            classes.push(class(&demands, hardware));
        }
    }
    classes
}

fn class<'a>(demands: &[&'a Demand], hardware: &mut Hardware<'a>) -> Class {
    let mut needs: Vec<Need> = Vec::new();
    for (member, demand) in demands.iter().enumerate().filter(|(_, demand)| demand.gpus > 0) {
        let sort = hardware.sort(demand.gpu_model.as_deref(), demand.mig_profile.as_deref());
        let (share, gpus) = (demand.share.max(1), demand.gpus as usize);
        // Whole GPUs of one sort are chosen for the gang together, so that all of it is well
        // connected. Places on shared GPUs are not: two members may well sit on the same one.
        let same = needs.iter_mut().find(|need| share == 1 && need.share == 1 && need.sort == sort);
        match same {
            Some(need) => {
                need.gpus += gpus;
                need.members.push((member, gpus));
            }
            None => needs.push(Need { sort, share, gpus, members: vec![(member, gpus)] }),
        }
    }
    needs.sort_by_key(|need| hardware.sorts[need.sort].all);
    let sum = |amount: fn(&Demand) -> u64| {
        demands.iter().fold(0, |sum: i64, demand| sum.saturating_add(signed(amount(demand))))
    };
    Class { cpu: sum(|demand| demand.cpu_millis), memory: sum(|demand| demand.memory_bytes), needs }
}
