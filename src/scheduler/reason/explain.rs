//! Finds the reasons: once for each class, not for each of the waiting.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::{Amount, Barred, Behind, Misfit, Shortage, WaitReason};
use crate::scheduler::{
    backfill::{Hold, Owner, Reservation, Stock},
    demand::Running,
    place::{Board, Hardware},
    queue::{Class, Need, Queue},
};

/// Most holders that are named: whoever wants to know more looks at what runs.
const HOLDERS: usize = 32;

/// Returns why `class` would not fit even when nobody of ours is on the box; none when it would.
pub fn hopeless(hardware: &Hardware, class: &Class) -> Option<WaitReason> {
    let empty = Board::empty(hardware);
    let never = |misfit| Some(WaitReason::NeverFits(misfit));
    if class.cpu > empty.cpu {
        return never(Misfit::CpuMillis { need: amount(class.cpu), of: amount(empty.cpu) });
    }
    if class.memory > empty.memory {
        return never(Misfit::MemoryBytes { need: amount(class.memory), of: amount(empty.memory) });
    }
    if let Some(need) = class.needs.iter().find(|need| need.gpus > hardware.sorts[need.sort].all) {
        let of = hardware.sorts[need.sort].all as u64;
        return never(Misfit::Gpus { need: need.gpus as u64, of, sort: named(hardware, need) });
    }
    let usable = |need: &Need| hardware.sorts[need.sort].usable().count();
    if let Some(need) = class.needs.iter().find(|need| need.gpus > usable(need)) {
        return Some(barred(hardware, need));
    }
    // Only a gang of unlike members can still fail: all of its needs against one another.
    if class.needs.len() < 2 || empty.place(hardware, class, None).is_some() {
        return None;
    }
    let waits_for = class.needs.iter().find(|need| !hardware.sorts[need.sort].barred.is_empty());
    waits_for.map(|need| barred(hardware, need)).or_else(|| never(Misfit::Gang))
}

/// The caller has seen that some GPU of the sort is barred.
fn barred(hardware: &Hardware, need: &Need) -> WaitReason {
    let sort = &hardware.sorts[need.sort];
    let slot = hardware.slot(sort.barred[0]);
    let gpus = Amount { need: need.gpus as u64, free: sort.usable().count() as u64, of: sort.all as u64 };
    let why = slot.availability.clone();
    WaitReason::Barred(Arc::new(Barred { gpu: slot.gpu.uuid.clone(), index: slot.gpu.index, why, gpus }))
}

fn named(hardware: &Hardware, need: &Need) -> Option<Arc<str>> {
    hardware.sorts[need.sort].name().map(Into::into)
}

fn amount(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A reason, and who has what is lacking.
type Explained = (WaitReason, Arc<[Box<str>]>);

/// Explains, after a pass, what the waiting lack and who has it.
pub struct Explainer<'a> {
    hardware: &'a Hardware<'a>,
    queue: &'a Queue<'a>,
    running: &'a [Running],
    stock: &'a Stock,
    /// What is known already, by class: what is hopeless or short is so for all of a class. None
    /// within means that enough is free.
    known: Vec<Option<Option<Explained>>>,
    /// By what is short: GPUs of a sort and share, cores, memory.
    holders: HashMap<Short, Arc<[Box<str>]>>,
    head: Option<Head>,
}

type Short = (Option<(usize, u32)>, bool, bool);

/// Who goes first.
struct Head {
    behind: Behind,
    priority: i32,
    ids: Arc<[Box<str>]>,
}

impl<'a> Explainer<'a> {
    /// `stock` is what is left after the pass that found `head`; `hopeless` is by class.
    pub fn new(
        hardware: &'a Hardware<'a>,
        queue: &'a Queue<'a>,
        running: &'a [Running],
        stock: &'a Stock,
        hopeless: &[Option<WaitReason>],
        head: Option<&Reservation>,
        backfill: bool,
    ) -> Self {
        let nobody: Arc<[Box<str>]> = Arc::from([]);
        let known =
            hopeless.iter().map(|reason| reason.clone().map(|reason| Some((reason, Arc::clone(&nobody))))).collect();
        let head = head.map(|head| {
            let first = &queue.waiting[queue.units[head.unit].first];
            let gpus = !queue.class(head.unit).needs.is_empty();
            let id = first.id.as_ref().into();
            let behind = Behind { id, higher_priority: false, gpus, at: head.at, backfill };
            Head { behind, priority: first.priority, ids: Arc::from([first.id.clone()]) }
        });
        Self { hardware, queue, running, stock, known, holders: HashMap::new(), head }
    }

    /// Returns why `unit` waits and who has what it needs.
    pub fn explain(&mut self, unit: usize) -> Explained {
        let class = self.queue.units[unit].class;
        if self.known[class].is_none() {
            let short = self.shortage(&self.queue.classes[class]);
            self.known[class] = Some(short.map(|(shortage, holders)| (WaitReason::Short(shortage), holders)));
        }
        if let Some(Some(known)) = &self.known[class] {
            return known.clone();
        }
        let head = self.head.as_ref().expect("what would fit waits only because there is a head");
        let higher_priority = head.priority > self.queue.waiting[self.queue.units[unit].first].priority;
        (WaitReason::Behind(Behind { higher_priority, ..head.behind.clone() }), Arc::clone(&head.ids))
    }

    /// Returns what `class` lacks and who holds it, most first; none when enough is free.
    fn shortage(&mut self, class: &Class) -> Option<(Shortage, Arc<[Box<str>]>)> {
        let board = &self.stock.board;
        let capacity = self.hardware.capacity;
        let lacks = |need: i64, free: i64, of| {
            (need > 0 && need > free).then(|| Amount { need: amount(need), free: amount(free), of })
        };
        let cpu_millis = lacks(class.cpu, board.cpu, capacity.cpu_millis);
        let memory_bytes = lacks(class.memory, board.memory, capacity.memory_bytes);
        let need = self.short_need(class);
        if need.is_none() && cpu_millis.is_none() && memory_bytes.is_none() {
            return None;
        }
        let key = (need.map(|need| (need.sort, need.share)), cpu_millis.is_some(), memory_bytes.is_some());
        let shortage = Shortage {
            gpus: need.map(|need| self.gpus(class, need)),
            gpu_sort: need.and_then(|need| named(self.hardware, need)),
            shared: need.is_some_and(|need| need.share > 1),
            cpu_millis,
            memory_bytes,
        };
        Some((shortage, self.holders_of(key)))
    }

    /// Returns the need of `class` that lacks GPUs; none when all can be met at once.
    fn short_need<'b>(&self, class: &'b Class) -> Option<&'b Need> {
        let board = &self.stock.board;
        let alone = class.needs.iter().find(|need| board.free(self.hardware, need) < need.gpus);
        // A gang may lack GPUs though each of its needs could be met alone. The last need is the
        // least particular one, so whatever the others take is missing there.
        alone.or_else(|| {
            class.needs.last().filter(|_| class.needs.len() > 1 && !board.could_place(self.hardware, class))
        })
    }

    /// Counts GPUs, or places on them where they are shared.
    fn gpus(&self, class: &Class, need: &Need) -> Amount {
        let sort = &self.hardware.sorts[need.sort];
        let share = need.share as usize;
        let like = class.needs.iter().filter(|other| other.share == need.share);
        let held = &self.stock.board.gpus;
        let free = sort.usable().filter(|gpu| held[*gpu].takes(need.share));
        Amount {
            need: like.map(|other| other.gpus as u64).sum(),
            free: free.map(|gpu| (share - held[gpu].holders as usize) as u64).sum(),
            of: (sort.all * share) as u64,
        }
    }

    fn holders_of(&mut self, short: Short) -> Arc<[Box<str>]> {
        if let Some(known) = self.holders.get(&short) {
            return Arc::clone(known);
        }
        let (gpus, cpu, memory) = short;
        let mut holds: Vec<&Hold> = self
            .stock
            .holds
            .iter()
            .filter(|hold| {
                gpus.is_some_and(|(sort, share)| self.blocks(hold, sort, share))
                    || (cpu && hold.cpu > 0)
                    || (memory && hold.memory > 0)
            })
            .collect();
        // Whoever holds GPUs is named before whoever holds more cores; equal ones in the order they came.
        holds.sort_by_key(|hold| {
            let gpus = gpus.is_some_and(|(sort, share)| self.blocks(hold, sort, share));
            (Reverse(gpus), Reverse(if memory && !cpu { hold.memory } else { hold.cpu }))
        });
        let ids = holds.iter().flat_map(|hold| self.ids(hold.owner)).take(HOLDERS).collect();
        Arc::clone(self.holders.entry(short).or_insert(ids))
    }

    /// Returns whether `hold` has a GPU of the sort that nobody else can join, or a place on a shared one.
    fn blocks(&self, hold: &Hold, sort: usize, share: u32) -> bool {
        let usable = || self.hardware.sorts[sort].usable();
        hold.gpus.iter().any(|(gpu, _)| {
            (share > 1 || !self.stock.board.gpus[*gpu].takes(share)) && usable().any(|fitting| fitting == *gpu)
        })
    }

    fn ids(&self, owner: Owner) -> Vec<Box<str>> {
        match owner {
            Owner::Running(index) => vec![self.running[index].id.clone()],
            Owner::Unit(unit) => {
                self.queue.units[unit].members().map(|member| self.queue.waiting[member].id.clone()).collect()
            }
        }
    }
}
