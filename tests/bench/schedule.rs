//! A pass of the scheduler over a long queue on a full box. It has no floor: it is a function.

use std::time::{Duration, Instant};

use gradientd::{
    domain::{
        gpu::{Gpu, GpuKind, GpuUuid},
        time::Timestamp,
    },
    scheduler::{Availability, Capacity, Demand, GpuSlot, Policy, Running, Waiting, plan},
};

use super::{numbers::Times, table::Table};

const WAITING: usize = 10_000;
const GPUS: u32 = 8;
const GIB: u64 = 1 << 30;

pub fn measure(table: &mut Table) {
    let capacity = Capacity {
        cpu_millis: 128_000,
        memory_bytes: 1024 * GIB,
        gpus: (0..GPUS).map(|index| GpuSlot { gpu: gpu(index), availability: Availability::Free }).collect(),
        links: Default::default(),
    };
    let waiting: Vec<Waiting> = (0..WAITING).map(waiting).collect();
    // Six of eight GPUs are held, by one without a time limit among others.
    let running: Vec<Running> = (0..6).map(running).collect();
    let now = Timestamp(1_000_000_000);
    let times = (0..30)
        .map(|_| {
            let began = Instant::now();
            let planned = plan(now, &waiting, &running, &capacity, &Policy::default());
            let took = began.elapsed();
            assert_eq!(planned.starts.len() + planned.waits.len(), WAITING);
            took
        })
        .collect();
    table.row("scheduler pass, 10,000 waiting", Times::new(times).spread(), "-", "10 ms");
}

fn uuid(index: u32) -> GpuUuid {
    GpuUuid(format!("GPU-{index:08}").into())
}

fn gpu(index: u32) -> Gpu {
    Gpu {
        uuid: uuid(index),
        index,
        name: "NVIDIA H100 80GB HBM3".into(),
        memory_bytes: 80 * GIB,
        kind: GpuKind::Whole,
        numa_node: Some(index / 4),
        pci_bus_id: format!("00000000:{index:02}:00.0"),
        minor: Some(index),
        compute_capability: Some((9, 0)),
    }
}

/// Spreads numbers as a hash would, the same in every run.
fn spread(seed: usize, among: usize) -> usize {
    (seed.wrapping_mul(2_654_435_761) >> 7) % among
}

fn waiting(seq: usize) -> Waiting {
    let gpus = [0, 1, 1, 2, 4, 8][spread(seq, 6)];
    Waiting {
        id: format!("js{seq:012}").into(),
        priority: [0, 0, 0, 10, -10][spread(seq + 1, 5)],
        since: Timestamp(i64::try_from(seq).unwrap() * 1_000),
        seq: i64::try_from(seq).unwrap(),
        demand: Demand {
            cpu_millis: 4_000 * u64::from(gpus.max(1)),
            memory_bytes: 16 * GIB * u64::from(gpus.max(1)),
            gpus,
            share: 1,
            ..Demand::default()
        },
        time_limit: [None, Some(Duration::from_secs(3_600)), Some(Duration::from_secs(600))][spread(seq + 2, 3)],
        gang: None,
    }
}

fn running(index: u32) -> Running {
    Running {
        id: format!("jsr{index:011}").into(),
        cpu_millis: 4_000,
        memory_bytes: 16 * GIB,
        gpus: vec![(uuid(index), 1)],
        ends_at: (index > 0).then(|| Timestamp(2_000_000_000 * i64::from(index))),
        idles_at: None,
    }
}
