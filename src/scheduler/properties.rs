//! What holds for every box and every queue.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{
    oracle,
    simulator::{SimulatedJob, machine, simulate},
    *,
};
use crate::domain::{
    gpu::{Gpu, GpuKind, Link},
    time::Timestamp,
};

const GIB: u64 = 1 << 30;
const NOW: Timestamp = Timestamp(1_000_000_000);

/// A kind of GPU by number: two models, and a MIG profile.
fn gpu(number: usize, kind: u8) -> Gpu {
    let (name, gib, kind) = match kind {
        0 => ("Tesla T4", 16, GpuKind::Whole),
        1 => ("NVIDIA A100-SXM4-80GB", 80, GpuKind::Whole),
        _ => ("NVIDIA H100 80GB HBM3", 10, GpuKind::Mig { parent: "GPU-p".into(), profile: "1g.10gb".into() }),
    };
    Gpu {
        uuid: format!("GPU-{number}").as_str().into(),
        index: u32::try_from(number).unwrap(),
        name: name.into(),
        memory_bytes: gib * GIB,
        kind,
        numa_node: u32::try_from(number % 2).ok(),
        pci_bus_id: String::new(),
        minor: None,
        compute_capability: None,
    }
}

prop_compose! {
    fn a_box()(
        kinds in prop::collection::vec((0u8..3, 0u8..12), 0..10),
        links in prop::collection::vec(0u32..3, 45),
        cores in 1u64..24,
    ) -> Capacity {
        let gpus: Vec<GpuSlot> = kinds.iter().enumerate().map(|(number, (kind, state))| GpuSlot {
            gpu: gpu(number, *kind),
            availability: match state {
                0 => Availability::Foreign { pid: 1, user: None, command: None },
                1 => Availability::Unhealthy { reason: "Xid 79".into() },
                _ => Availability::Free,
            },
        }).collect();
        let pairs = gpus.iter().enumerate().flat_map(|(at, a)| gpus[at + 1..].iter().map(|b| (a.gpu.uuid.clone(), b.gpu.uuid.clone())));
        let links: BTreeMap<_, _> = pairs.zip(links).map(|(pair, link)| (pair, if link == 0 { Link::System } else { Link::NvLink(link) })).collect();
        Capacity { cpu_millis: cores * 1000, memory_bytes: 64 * GIB, gpus, links }
    }
}

fn a_demand() -> impl Strategy<Value = Demand> {
    let gpus = prop_oneof![
        3 => Just((0, 1, None, None)),
        4 => (1u32..5).prop_map(|gpus| (gpus, 1, None, None)),
        2 => (1u32..3).prop_map(|gpus| (gpus, 1, Some("a100"), None)),
        2 => (2u32..4).prop_map(|share| (1, share, None, None)),
        1 => Just((1, 2, Some("t4"), None)),
        1 => (1u32..3).prop_map(|gpus| (gpus, 1, None, Some("1g.10gb"))),
    ];
    (gpus, 0u64..9, 0u64..40).prop_map(|((gpus, share, model, profile), cores, gib)| Demand {
        cpu_millis: cores * 500,
        memory_bytes: gib * GIB,
        gpus,
        share,
        gpu_model: model.map(Into::into),
        mig_profile: profile.map(Into::into),
    })
}

/// Single ones and gangs of equal members. Some ask for the same, as people do.
fn a_queue(prefix: &'static str, most: usize) -> impl Strategy<Value = Vec<Waiting>> {
    let demands = prop::collection::vec(a_demand(), 1..8);
    let limit = prop::option::weighted(0.7, 1u64..6);
    let members = prop_oneof![6 => Just(1usize), 1 => 2usize..4];
    let unit = (any::<prop::sample::Index>(), -1i32..2, 0i64..5, limit, members);
    (demands, prop::collection::vec(unit, 0..most)).prop_map(move |(demands, units)| {
        let mut waiting = Vec::new();
        for (number, (demand, priority, since, limit, members)) in units.into_iter().enumerate() {
            let demand = demand.get(&demands);
            for _ in 0..members {
                waiting.push(Waiting {
                    id: format!("{prefix}{}", waiting.len()).into(),
                    priority,
                    since: Timestamp(since),
                    seq: i64::try_from(waiting.len()).unwrap(),
                    demand: demand.clone(),
                    time_limit: limit.map(|limit| Duration::from_secs(limit * 100)),
                    gang: (members > 1).then(|| format!("g{number}").into()),
                });
            }
        }
        waiting
    })
}

/// A box on which a first queue has been started, and a second queue.
fn a_busy_box() -> impl Strategy<Value = (Capacity, Vec<Running>, Vec<Waiting>)> {
    (a_box(), a_queue("r", 8), a_queue("w", 20)).prop_map(|(capacity, first, waiting)| {
        let plan = plan(NOW, &first, &[], &capacity, &Policy::default());
        let running = oracle::after(NOW, &first, &[], &plan);
        (capacity, running, waiting)
    })
}

/// What the simulator's books check, for one plan: by running it with jobs that never end.
fn nothing_is_given_twice(
    capacity: &Capacity,
    waiting: &[Waiting],
    running: &[Running],
    plan: &Plan,
) -> Result<(), String> {
    let after = oracle::after(NOW, waiting, running, plan);
    for slot in &capacity.gpus {
        let shares: Vec<u32> = after
            .iter()
            .flat_map(|one| &one.gpus)
            .filter(|(gpu, _)| *gpu == slot.gpu.uuid)
            .map(|(_, share)| *share)
            .collect();
        let alike = shares.windows(2).all(|pair| pair[0] == pair[1]);
        if !alike || shares.first().is_some_and(|share| shares.len() > *share as usize) {
            return Err(format!("{} is held by shares {shares:?}", slot.gpu.uuid));
        }
        if slot.availability != Availability::Free && !shares.is_empty() {
            return Err(format!("{} is given though it is not to be had", slot.gpu.uuid));
        }
    }
    let sum = |of: fn(&Running) -> u64| after.iter().map(of).sum::<u64>();
    if sum(|one| one.cpu_millis) > capacity.cpu_millis || sum(|one| one.memory_bytes) > capacity.memory_bytes {
        return Err("more cores or memory are given than there are".into());
    }
    for start in &plan.starts {
        let demand = &waiting.iter().find(|one| one.id == start.id).unwrap().demand;
        let distinct: std::collections::BTreeSet<_> = start.gpus.iter().collect();
        if distinct.len() != demand.gpus as usize || start.gpus.len() != distinct.len() {
            return Err(format!("{} asked for {} GPUs and gets {:?}", start.id, demand.gpus, start.gpus));
        }
        // Each one fits: the demand for one GPU can be met by a box that has only this one.
        for gpu in &start.gpus {
            let only = Capacity {
                gpus: capacity.gpus.iter().filter(|slot| slot.gpu.uuid == *gpu).cloned().collect(),
                ..capacity.clone()
            };
            let places = oracle::Free::beside(&only, []).places(demand).sum::<usize>();
            if places == 0 {
                return Err(format!("{} gets {gpu}, which does not fit", start.id));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_has_two_holders_and_everybody_is_told((capacity, running, waiting) in a_busy_box(), backfill: bool) {
        let policy = Policy { backfill, ..Policy::default() };
        let plan = plan(NOW, &waiting, &running, &capacity, &policy);
        nothing_is_given_twice(&capacity, &waiting, &running, &plan).map_err(TestCaseError::fail)?;
        let told = plan.starts.iter().map(|start| &start.id).chain(plan.waits.iter().map(|wait| &wait.id));
        let told: std::collections::BTreeSet<_> = told.collect();
        prop_assert_eq!(told.len(), waiting.len());
        prop_assert_eq!(plan.starts.len() + plan.waits.len(), waiting.len());
        for one in waiting.iter().filter(|one| one.gang.is_some()) {
            let started = |member: &Waiting| plan.starts.iter().any(|start| start.id == member.id);
            prop_assert!(oracle::members(&waiting, one).all(|member| started(member) == started(one)), "a gang is torn");
        }
    }

    #[test]
    fn nobody_is_left_waiting_who_could_start((capacity, running, waiting) in a_busy_box()) {
        let plan = plan(NOW, &waiting, &running, &capacity, &Policy::default());
        oracle::nobody_waits_needlessly(NOW, &waiting, &running, &capacity, &plan).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn the_head_has_the_first_time_and_backfill_does_not_move_it((capacity, running, waiting) in a_busy_box()) {
        let plan = plan(NOW, &waiting, &running, &capacity, &Policy::default());
        oracle::the_head_has_the_first_time_there_is(NOW, &waiting, &running, &capacity, &plan).map_err(TestCaseError::fail)?;
        // The promise holds in the next pass too, and at its time the head starts.
        if let Some(Reserved { id, at: Some(at), .. }) = &plan.reserved {
            let now = after_and_left(&waiting, &running, &plan);
            let then: Vec<Running> = now.0.iter().filter(|one| one.ends_at.is_none_or(|ends| ends > *at)).cloned().collect();
            let later = super::plan(*at, &now.1, &then, &capacity, &Policy::default());
            prop_assert!(later.starts.iter().any(|start| start.id == *id), "{} does not start at its time", id);
        }
    }

    #[test]
    fn the_order_of_the_question_does_not_matter((capacity, running, waiting) in a_busy_box(), turn in 0usize..20) {
        let asked = plan(NOW, &waiting, &running, &capacity, &Policy::default());
        let (mut waiting, mut gpus) = (waiting, capacity.clone());
        let turn = turn.min(waiting.len());
        waiting.rotate_left(turn);
        gpus.gpus.reverse();
        let again = plan(NOW, &waiting, &running, &gpus, &Policy::default());
        prop_assert_eq!(&asked.starts, &again.starts);
        prop_assert_eq!(&asked.reserved, &again.reserved);
        let told = |plan: &Plan| plan.waits.iter().map(|wait| (wait.id.clone(), wait.position, wait.reason.to_string())).collect::<Vec<_>>();
        let barred = |wait: &Wait| matches!(wait.reason, WaitReason::Barred(_));
        if !asked.waits.iter().any(barred) {
            prop_assert_eq!(told(&asked), told(&again));
        }
    }

    #[test]
    fn every_wait_is_explained((capacity, running, waiting) in a_busy_box()) {
        let plan = plan(NOW, &waiting, &running, &capacity, &Policy::default());
        for wait in &plan.waits {
            prop_assert!(!wait.reason.to_string().is_empty());
            prop_assert!(wait.position >= 1 && !wait.held_by.contains(&wait.id), "{:?}", wait);
            match &wait.reason {
                WaitReason::Short(_) | WaitReason::Behind(_) => prop_assert!(!wait.held_by.is_empty(), "{:?}", wait),
                WaitReason::NeverFits(_) | WaitReason::Barred(_) => prop_assert_eq!(wait.expected_start, None),
            }
        }
    }
}

fn after_and_left(waiting: &[Waiting], running: &[Running], plan: &Plan) -> (Vec<Running>, Vec<Waiting>) {
    let after = oracle::after(NOW, waiting, running, plan);
    let left = waiting.iter().filter(|one| plan.waits.iter().any(|wait| wait.id == one.id)).cloned().collect();
    (after, left)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Everything that the box could hold starts, and no head is delayed: the simulator sees to it.
    #[test]
    fn nobody_starves(queue in a_queue("s", 40), spacing in 1i64..200, gpus in 0u32..9) {
        let capacity = machine(gpus);
        let hopeless = plan(NOW, &queue, &[], &capacity, &Policy::default());
        let hopeless: Vec<_> = hopeless.waits.iter().filter(|wait| matches!(wait.reason, WaitReason::NeverFits(_))).map(|wait| &wait.id).collect();
        let jobs = queue.iter().filter(|one| !hopeless.contains(&&one.id)).map(|one| {
            let mut waiting = one.clone();
            // A gang arrives at once, the others one after another.
            let place = queue.iter().position(|other| other.gang.is_some() && other.gang == one.gang).map_or(one.seq, |at| queue[at].seq);
            waiting.since = Timestamp(place * spacing * 1_000_000);
            let runs = one.time_limit.unwrap_or(Duration::from_secs(700)) / (1 + u32::try_from(one.seq % 3).unwrap());
            SimulatedJob { waiting, runs }
        });
        simulate(&capacity, &Policy::default(), jobs.collect()).map_err(|broken| TestCaseError::fail(broken.to_string()))?;
    }
}
