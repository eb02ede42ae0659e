use super::*;
use crate::scheduler::{Availability, Demand, simulator::machine};

const NOW: Timestamp = Timestamp(0);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

fn job(id: &str, gpus: u32, limit: Option<u64>) -> Waiting {
    // Of equal age, in order of the alphabet.
    let seq = id.bytes().chain([0; 7]).take(7).fold(0, |sum, byte| sum * 256 + i64::from(byte));
    let demand = Demand { cpu_millis: 1000, memory_bytes: 1 << 30, gpus, share: 1, ..Demand::default() };
    Waiting { id: id.into(), priority: 0, since: NOW, seq, demand, time_limit: limit.map(minutes), gang: None }
}

fn holding(id: &str, gpus: &[u32], ends: Option<u64>) -> Running {
    Running {
        id: id.into(),
        cpu_millis: 1000,
        memory_bytes: 1 << 30,
        gpus: gpus.iter().map(|gpu| (format!("GPU-{gpu:02}").as_str().into(), 1)).collect(),
        ends_at: ends.map(|ends| NOW.plus(minutes(ends))),
        idles_at: None,
    }
}

fn asked(waiting: &[Waiting], running: &[Running], gpus: u32) -> Plan {
    plan(NOW, waiting, running, &machine(gpus), &Policy::default())
}

fn started(plan: &Plan) -> Vec<&str> {
    plan.starts.iter().map(|start| start.id.as_ref()).collect()
}

fn reasons(plan: &Plan) -> Vec<String> {
    plan.waits.iter().map(|wait| format!("{}. {}: {}", wait.position, wait.id, wait.reason)).collect()
}

#[test]
fn priority_goes_before_age() {
    let urgent = Waiting { priority: 1, ..job("b", 1, None) };
    assert_eq!(started(&asked(&[job("a", 1, None), urgent, job("c", 0, None)], &[], 1)), ["b", "c"]);
}

#[test]
fn the_older_goes_first_whatever_its_number() {
    let older = Waiting { since: Timestamp(-1), ..job("z", 1, None) };
    assert_eq!(started(&asked(&[job("a", 1, None), older], &[], 1)), ["z"]);
}

#[test]
fn the_head_gets_the_time_when_enough_will_be_free() {
    let running = [holding("r1", &[0], Some(10)), holding("r2", &[1, 2], Some(30)), holding("r3", &[3], Some(20))];
    let plan = asked(&[job("head", 2, None)], &running, 4);
    assert_eq!(plan.waits[0].expected_start, Some(NOW.plus(minutes(20))));
    assert_eq!(plan.reserved.unwrap().gpus, ["GPU-00".into(), "GPU-03".into()]);
    assert_eq!(*plan.waits[0].held_by, ["r1".into(), "r2".into(), "r3".into()]);
}

#[test]
fn who_ends_in_time_goes_first_and_who_does_not_waits() {
    let running = [holding("r1", &[0], Some(10))];
    let waiting = [job("ahead", 2, None), job("long", 1, Some(11)), job("none", 1, None), job("short", 1, Some(10))];
    let plan = asked(&waiting, &running, 2);
    assert_eq!(started(&plan), ["short"]);
    assert_eq!(
        reasons(&plan),
        [
            "1. ahead: needs 2 GPUs; none of 2 is free",
            "2. long: needs 1 GPU; none of 2 is free",
            "3. none: needs 1 GPU; none of 2 is free",
        ]
    );
}

#[test]
fn who_waits_behind_the_head_is_told_so() {
    let waiting = [job("ahead", 2, None), job("later", 1, None)];
    let plan = asked(&waiting, &[holding("r1", &[0], Some(10))], 2);
    assert_eq!(
        reasons(&plan)[1],
        "2. later: behind ahead, which has waited longer and gets the next free GPUs by 1970-01-01T00:10:00.000000Z; \
         with a time limit that ends before then it could go first"
    );
    assert_eq!(*plan.waits[1].held_by, ["ahead".into()]);
    assert_eq!(plan.waits[1].expected_start, None, "the head has no limit, so nobody knows");
}

#[test]
fn a_head_without_a_time_lets_only_limited_work_go_first() {
    let running = [holding("r1", &[0], None)];
    let waiting = [job("ahead", 2, None), job("free", 0, None), job("limited", 1, Some(600)), job("none", 1, None)];
    let plan = asked(&waiting, &running, 3);
    assert_eq!(started(&plan), ["ahead", "free"], "two of three are free");
    let plan = asked(&waiting, &running, 2);
    assert_eq!(started(&plan), ["free", "limited"]);
    assert_eq!(plan.reserved, Some(Reserved { id: "ahead".into(), at: None, gpus: vec!["GPU-01".into()] }));
}

#[test]
fn what_is_kept_for_the_head_spares_what_others_could_use_now() {
    let running = [holding("r1", &[2, 3], Some(10))];
    let plan = asked(&[job("ahead", 3, None), job("none", 1, None), job("other", 1, None)], &running, 4);
    assert_eq!(started(&plan), ["none"], "of the two free GPUs the head will need one");
    assert_eq!(plan.reserved.unwrap().gpus, ["GPU-00".into(), "GPU-02".into(), "GPU-03".into()]);
}

#[test]
fn a_gang_of_unlike_members_has_all_its_gpus_kept() {
    let gang = |id: &str, share: u32| {
        let whole = job(id, 1, None);
        Waiting { gang: Some("g".into()), demand: Demand { share, ..whole.demand.clone() }, ..whole }
    };
    let mut sharer = holding("r1", &[0], None);
    sharer.gpus[0].1 = 2;
    let plan = asked(&[gang("a", 2), gang("b", 1)], &[sharer, holding("r2", &[1], Some(10))], 2);
    let reserved = plan.reserved.unwrap();
    assert_eq!(reserved.at, Some(NOW.plus(minutes(10))));
    assert_eq!(reserved.gpus, ["GPU-00".into(), "GPU-01".into()]);
}

#[test]
fn the_most_particular_of_a_gang_chooses_first() {
    let mut capacity = machine(2);
    capacity.gpus[0].gpu.name = "Tesla T4".into();
    capacity.gpus[0].gpu.memory_bytes = 16 << 30;
    let gang = |id: &str, model: Option<&str>| {
        let any = job(id, 1, None);
        Waiting {
            gang: Some("g".into()),
            demand: Demand { gpu_model: model.map(Into::into), ..any.demand.clone() },
            ..any
        }
    };
    let plan = plan(NOW, &[gang("a", None), gang("b", Some("t4"))], &[], &capacity, &Policy::default());
    let given: Vec<_> = plan.starts.iter().map(|start| start.gpus[0].0.as_ref()).collect();
    assert_eq!(given, ["GPU-01", "GPU-00"]);
}

#[test]
fn those_behind_the_head_are_foretold_a_start() {
    let running = [holding("r1", &[0, 1], Some(10))];
    let waiting = [job("a", 2, Some(5)), job("b", 2, Some(7)), job("c", 1, None), job("d", 2, None)];
    let plan = asked(&waiting, &running, 2);
    let expected: Vec<_> = plan.waits.iter().map(|wait| wait.expected_start).collect();
    assert_eq!(
        expected,
        [Some(10), Some(15), Some(22), None].map(|at: Option<u64>| at.map(|at| NOW.plus(minutes(at))))
    );
}

#[test]
fn what_never_fits_is_told_and_holds_up_nobody() {
    let vast =
        Waiting { priority: 9, demand: Demand { cpu_millis: 1_000_000, ..Demand::default() }, ..job("a", 0, None) };
    let other = Demand { gpu_model: Some("h100".into()), ..job("b", 2, None).demand };
    let other = Waiting { priority: 9, demand: other, ..job("b", 2, None) };
    let plan = asked(&[vast, other, Waiting { priority: 9, ..job("c", 3, None) }, job("d", 2, None)], &[], 2);
    assert_eq!(started(&plan), ["d"]);
    assert_eq!(
        reasons(&plan),
        [
            "1. a: needs 1000 cores; this box has 24 cores for jobs",
            "2. b: this box has no GPU that fits: it needs 2 h100 GPUs",
            "3. c: needs 3 GPUs; this box has 2",
        ]
    );
    assert_eq!(reasons(&asked(&[job("e", 1, None)], &[], 0)), ["1. e: this box has no GPU that fits: it needs 1 GPU"]);
}

#[test]
fn a_gpu_in_foreign_use_is_named_and_holds_up_nobody() {
    let mut capacity = machine(2);
    capacity.gpus[1].availability =
        Availability::Foreign { pid: 77, user: Some("eve".into()), command: Some("python".into()) };
    let plan = plan(NOW, &[job("a", 2, None), job("b", 1, None)], &[], &capacity, &Policy::default());
    assert_eq!(started(&plan), ["b"]);
    assert_eq!(
        reasons(&plan),
        [
            "1. a: needs 2 GPUs; 1 of the 2 that fit can be given out: GPU 1 (GPU-01) is used by a process that is not ours \
          (pid 77, user eve: python)"
        ]
    );
}

#[test]
fn a_gang_starts_whole_or_not_at_all() {
    let gang = |id: &str| Waiting { gang: Some("g".into()), ..job(id, 2, Some(5)) };
    let waiting = [gang("a"), gang("b"), job("c", 1, Some(1))];
    let plan = asked(&waiting, &[holding("r", &[0], Some(3))], 4);
    assert_eq!(started(&plan), ["c"]);
    assert_eq!(reasons(&plan)[..2], ["1. a: needs 4 GPUs; 2 of 4 are free", "1. b: needs 4 GPUs; 2 of 4 are free"]);
    let plan = asked(&waiting, &[], 4);
    assert_eq!(plan.starts.iter().map(|start| start.gpus.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(started(&plan), ["a", "b"]);
}

#[test]
fn what_is_past_its_limit_is_taken_to_end_soon() {
    let overdue = Running { ends_at: Some(Timestamp(-5)), ..holding("r", &[0], None) };
    let plan = asked(&[job("a", 1, None)], &[overdue], 1);
    assert_eq!(plan.waits[0].expected_start, Some(NOW.plus(Policy::default().overdue_grace)));
}

#[test]
fn a_holder_of_a_gpu_that_is_gone_does_not_matter() {
    assert_eq!(started(&asked(&[job("a", 1, None)], &[holding("r", &[9], None)], 1)), ["a"]);
}

#[test]
fn a_box_that_holds_more_than_it_has_starts_nothing_until_it_has() {
    let hog = Running { cpu_millis: 20_000, ..holding("r1", &[], Some(1)) };
    let plan = asked(&[job("a", 0, None)], &[hog, holding("r2", &[], Some(2))], 1);
    assert_eq!(reasons(&plan), ["1. a: needs 1 core; 0 of 12 are free"]);
    assert_eq!(plan.waits[0].expected_start, Some(NOW.plus(minutes(1))));
}

#[test]
fn ten_thousand_waiting_are_all_told_why() {
    let waiting: Vec<Waiting> =
        (0..10_000).map(|number| Waiting { seq: number, ..job(&format!("{number}"), 2, None) }).collect();
    let plan = asked(&waiting, &[holding("r", &[0, 1, 2], Some(1))], 4);
    assert_eq!(plan.waits.len(), 10_000);
    assert!(plan.waits.iter().all(|wait| wait.reason.to_string() == "needs 2 GPUs; 1 of 4 is free"));
}

#[test]
fn what_may_stop_for_idleness_is_hoped_for_and_never_counted_on() {
    let idle = |ends, idles| Running { idles_at: Some(NOW.plus(minutes(idles))), ..holding("r1", &[0], ends) };
    let told = |running: Running| {
        let plan = asked(&[job("ahead", 2, None), job("limited", 1, Some(25))], &[running], 2);
        let minutes = |at: Option<Timestamp>| at.map(|at| at.0 / 60_000_000);
        (
            minutes(plan.waits[0].expected_start),
            minutes(plan.waits[0].expected_if_idle),
            minutes(plan.reserved.clone().unwrap().at),
            started(&plan).len(),
        )
    };
    assert_eq!(told(idle(None, 20)), (None, Some(25), None, 1), "who has a limit goes first as if it never stopped");
    assert_eq!(told(idle(Some(30), 20)), (Some(30), Some(25), Some(30), 1), "who is gone by 30 goes first");
    assert_eq!(told(idle(Some(10), 20)), (Some(10), None, Some(10), 0), "its time is over before");
    assert_eq!(told(holding("r1", &[0], None)), (None, None, None, 1));
}

#[test]
fn those_behind_are_told_what_idleness_would_do_for_them() {
    let idle = Running { idles_at: Some(Timestamp(-5)), ..holding("r1", &[0], None) };
    let plan = asked(&[job("a", 1, Some(7)), job("b", 1, None)], &[idle], 1);
    let grace = NOW.plus(Policy::default().overdue_grace);
    let told: Vec<_> = plan.waits.iter().map(|wait| (wait.expected_start, wait.expected_if_idle)).collect();
    assert_eq!(told, [(None, Some(grace)), (None, Some(grace.plus(minutes(7))))]);
}
