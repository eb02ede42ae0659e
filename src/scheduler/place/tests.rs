use super::*;
use crate::{
    domain::{
        gpu::{Gpu, Link},
        time::Timestamp,
    },
    scheduler::{Demand, GpuSlot, Policy, Running, Waiting, plan},
};

const GIB: u64 = 1 << 30;

fn slot(number: usize, name: &str, gib: u64) -> GpuSlot {
    let gpu = Gpu {
        uuid: format!("GPU-{number}").as_str().into(),
        index: u32::try_from(number).unwrap(),
        name: name.into(),
        memory_bytes: gib * GIB,
        kind: GpuKind::Whole,
        numa_node: None,
        pci_bus_id: String::new(),
        minor: None,
        compute_capability: None,
    };
    GpuSlot { gpu, availability: Availability::Free }
}

fn a_box(gpus: &[(&str, u64)], links: &[(usize, usize, Link)]) -> Capacity {
    let gpus: Vec<GpuSlot> = gpus.iter().enumerate().map(|(number, (name, gib))| slot(number, name, *gib)).collect();
    let uuid = |number: usize| gpus[number].gpu.uuid.clone();
    let links = links.iter().map(|(a, b, link)| ((uuid(*a), uuid(*b)), *link)).collect();
    Capacity { cpu_millis: 64_000, memory_bytes: 512 * GIB, gpus, links }
}

fn gpus(count: u32) -> Demand {
    Demand { cpu_millis: 1000, memory_bytes: GIB, gpus: count, share: 1, ..Demand::default() }
}

fn held(gpus: &[(usize, u32)]) -> Vec<Running> {
    let hold = |(at, (gpu, share)): (usize, &(usize, u32))| Running {
        id: format!("r{at}").into(),
        cpu_millis: 1000,
        memory_bytes: GIB,
        gpus: vec![(format!("GPU-{gpu}").as_str().into(), *share)],
        ends_at: None,
        idles_at: None,
    };
    gpus.iter().enumerate().map(hold).collect()
}

/// Returns the numbers of the GPUs that each one is given, in the order of `demands`; `-` who waits.
fn given(capacity: &Capacity, running: &[Running], demands: &[Demand]) -> String {
    let waiting: Vec<Waiting> = demands
        .iter()
        .zip(0..)
        .map(|(demand, seq)| Waiting {
            id: format!("w{seq}").into(),
            priority: 0,
            since: Timestamp(0),
            seq,
            demand: demand.clone(),
            time_limit: None,
            gang: None,
        })
        .collect();
    let plan = plan(Timestamp(0), &waiting, running, capacity, &Policy::default());
    let numbers =
        |gpus: &[GpuUuid]| gpus.iter().map(|gpu| gpu.0.trim_start_matches("GPU-").to_owned()).collect::<String>();
    let each = waiting.iter().map(|one| {
        plan.starts.iter().find(|start| start.id == one.id).map_or_else(|| "-".to_owned(), |start| numbers(&start.gpus))
    });
    each.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_small_job_leaves_the_large_gpu_free() {
    let mixed = a_box(&[("NVIDIA A100-SXM4-80GB", 80), ("Tesla T4", 16), ("NVIDIA A100-PCIE-40GB", 40)], &[]);
    assert_eq!(given(&mixed, &[], &[gpus(1), gpus(1), gpus(1), gpus(1)]), "1 2 0 -");
    let large = Demand { gpu_model: Some("a100-80g".into()), ..gpus(1) };
    assert_eq!(given(&mixed, &[], &[large]), "0");
}

#[test]
fn a_set_is_of_one_model_where_that_can_be() {
    let mixed = a_box(&[("Tesla T4", 16), ("NVIDIA L4", 24), ("NVIDIA L4", 24)], &[]);
    assert_eq!(given(&mixed, &[], &[gpus(2)]), "12");
    assert_eq!(given(&mixed, &[], &[gpus(3)]), "012", "and of several where it cannot");
}

#[test]
fn a_pair_is_taken_where_the_nvlinks_are() {
    let links = [(0, 1, Link::Switch), (0, 3, Link::NvLink(1)), (1, 2, Link::NvLink(2)), (2, 3, Link::NvLink(1))];
    let four = a_box(&[("Tesla V100-SXM2-16GB", 16); 4], &links);
    assert_eq!(given(&four, &[], &[gpus(2)]), "12");
    assert_eq!(given(&four, &held(&[(1, 1)]), &[gpus(2)]), "03", "of equal pairs the lowest");
}

#[test]
fn one_gpu_is_not_taken_out_of_a_pair() {
    let three = a_box(&[("NVIDIA RTX A6000", 48); 3], &[(0, 1, Link::NvLink(4))]);
    assert_eq!(given(&three, &[], &[gpus(1)]), "2");
    assert_eq!(given(&three, &[], &[gpus(1), gpus(2)]), "2 01");
}

#[test]
fn four_of_eight_sit_on_one_side_of_a_cube_mesh() {
    // The DGX-1: two quads, each fully linked, and one link from each GPU to its twin.
    let quad = |base: usize| {
        [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)].map(|(a, b)| (base + a, base + b, Link::NvLink(1)))
    };
    let twins = [0, 1, 2, 3].map(|gpu| (gpu, gpu + 4, Link::NvLink(2)));
    let links: Vec<_> = quad(0).into_iter().chain(quad(4)).chain(twins).collect();
    let dgx = a_box(&[("Tesla V100-SXM2-32GB", 32); 8], &links);
    assert_eq!(given(&dgx, &[], &[gpus(4)]), "0123");
    assert_eq!(given(&dgx, &held(&[(2, 1)]), &[gpus(4)]), "4567");
}

#[test]
fn sets_from_more_than_eight_are_well_connected_too() {
    let pairs: Vec<_> = [(0, 9), (1, 8), (2, 7), (3, 6)].map(|(a, b)| (a, b, Link::NvLink(2))).into();
    let ten = a_box(&[("NVIDIA RTX A6000", 48); 10], &pairs);
    assert_eq!(given(&ten, &[], &[gpus(2), gpus(2), gpus(1)]), "09 18 4");
}

#[test]
fn sharers_fill_a_gpu_before_they_open_another() {
    let two = a_box(&[("Tesla T4", 16); 2], &[]);
    let third = Demand { share: 3, ..gpus(1) };
    let demands = vec![third.clone(); 4];
    assert_eq!(given(&two, &held(&[(1, 3)]), &demands), "1 1 0 0");
    assert_eq!(given(&two, &held(&[(1, 3)]), &[third.clone(), gpus(1), third]), "1 0 1");
}

#[test]
fn sharers_of_unlike_shares_do_not_meet() {
    let one = a_box(&[("Tesla T4", 16)], &[]);
    assert_eq!(given(&one, &held(&[(0, 2)]), &[Demand { share: 4, ..gpus(1) }]), "-");
    assert_eq!(given(&one, &held(&[(0, 4), (0, 1)]), &[Demand { share: 4, ..gpus(1) }]), "-");
}

#[test]
fn mig_instances_and_whole_gpus_are_not_taken_for_each_other() {
    let mut cut = a_box(&[("NVIDIA H100 80GB HBM3", 80), ("NVIDIA H100 80GB HBM3", 10)], &[]);
    cut.gpus[1].gpu.kind = GpuKind::Mig { parent: "GPU-x".into(), profile: "1g.10gb".into() };
    let slice = Demand { mig_profile: Some("1g.10gb".into()), ..gpus(1) };
    assert_eq!(given(&cut, &[], &[gpus(1), gpus(1), slice.clone(), slice]), "0 - 1 -");
}

#[test]
fn what_is_foreign_or_unhealthy_is_given_to_nobody() {
    let mut three = a_box(&[("Tesla T4", 16); 3], &[]);
    three.gpus[0].availability = Availability::Foreign { pid: 1, user: None, command: None };
    three.gpus[1].availability = Availability::Unhealthy { reason: "Xid 79".into() };
    assert_eq!(given(&three, &[], &[gpus(2), gpus(1)]), "- 2", "and who waits for it holds up nobody");
}
