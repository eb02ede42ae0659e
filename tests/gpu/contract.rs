//! What every `GpuInventory` does, asked of the one for tests and of the real one alike.

use gradientd::{
    domain::gpu::{Gpu, GpuHealth, GpuKind, GpuProcess, GpuReading, GpuUuid, Inventory, Link},
    gpu::{
        GpuInventory,
        fake::{FakeGpus, fake_gpu},
        nvml::NvmlGpus,
    },
};

use super::machine::Machine;

/// A process id that no machine has.
const NOBODY: u32 = 4_194_999;

/// What a machine can be made to look like.
enum Scene {
    NoGpu,
    /// Two whole GPUs on one switch, the second used by process [`NOBODY`].
    Two,
    /// The same, after the second has fallen off the bus.
    SecondLost,
    /// The same, after the first was cut into one instance.
    FirstCut,
}

trait Stage {
    fn show(&self, scene: &Scene);
    fn gpus(&self) -> &dyn GpuInventory;
}

#[test]
fn the_fake_keeps_the_contract() {
    keeps_the_contract(&FakeGpus::default());
}

#[test]
fn nvml_keeps_the_contract() {
    let machine = Machine::with("gpus 0\n");
    let gpus = machine.gpus();
    keeps_the_contract(&(machine, gpus));
}

fn keeps_the_contract(stage: &dyn Stage) {
    stage.show(&Scene::NoGpu);
    let gpus = stage.gpus();
    assert_eq!(gpus.inventory().gpus, []);
    assert!(gpus.inventory().unavailable.is_some(), "a machine without GPUs says why");
    assert_eq!(gpus.readings(), []);

    stage.show(&Scene::Two);
    let two = gpus.inventory();
    let [first, second] = [GpuUuid::from("GPU-fake-0"), GpuUuid::from("GPU-fake-1")];
    assert_eq!(uuids(&two), [&first, &second], "in order of the index");
    assert_eq!(two.unavailable, None);
    assert_eq!(two.driver_version.as_deref(), Some("550.54.15"));
    assert_eq!(two.cuda_version.as_deref(), Some("12.4"));
    assert_eq!(two.link(&second, &first), Link::Switch);
    assert!(two.links.keys().all(|(a, b)| a < b));
    assert_eq!(two.gpus[1].memory_bytes, 80 << 30);
    assert_eq!(two.gpus[1].pci_bus_id, "00000000:08:00.0");
    assert_eq!(two.gpus[1].minor, Some(1));
    assert_eq!(two.gpus[1].compute_capability, Some((9, 0)));

    let readings = gpus.readings();
    assert_eq!(read(&readings), [&first, &second], "in the inventory's order");
    assert!(readings.iter().all(|reading| reading.health.is_usable()));
    assert_eq!(readings[0].memory_used_bytes, Some(0));
    assert_eq!(readings[0].processes, []);
    let holder = GpuProcess { pid: NOBODY, memory_bytes: Some(2 << 30), user: None, command: None, container: None };
    assert_eq!(readings[1].processes, [holder]);

    stage.show(&Scene::SecondLost);
    assert_eq!(uuids(&gpus.inventory()), [&first, &second], "a lost GPU stays listed");
    let readings = gpus.readings();
    assert_eq!(readings[0].health, GpuHealth::Healthy);
    assert_eq!(readings[1], GpuReading::blank(second.clone(), GpuHealth::Lost), "and tells nothing else");

    stage.show(&Scene::FirstCut);
    let cut = gpus.inventory();
    let slice = GpuUuid::from("MIG-fake-0");
    assert_eq!(uuids(&cut), [&slice, &second], "an instance stands in its card's place");
    assert_eq!(cut.gpus[0].kind, GpuKind::Mig { parent: first.clone(), profile: "1g.10gb".into() });
    assert_eq!(cut.gpus[0].card(), &first);
    assert_eq!(cut.gpus[0].memory_bytes, 10 << 30);
    let readings = gpus.readings();
    assert_eq!(read(&readings), [&slice, &second]);
    assert_eq!(readings[0].utilization_percent, None, "use is not told per instance");
}

fn uuids(inventory: &Inventory) -> Vec<&GpuUuid> {
    inventory.gpus.iter().map(|gpu| &gpu.uuid).collect()
}

fn read(readings: &[GpuReading]) -> Vec<&GpuUuid> {
    readings.iter().map(|reading| &reading.uuid).collect()
}

impl Stage for (Machine, NvmlGpus) {
    fn show(&self, scene: &Scene) {
        let first = "gpu 0 uuid=GPU-fake-0";
        let second = "gpu 1 uuid=GPU-fake-1";
        let process = format!("proc 1 pid={NOBODY} mem=2G");
        self.0.show(&match scene {
            Scene::NoGpu => "gpus 0\n".to_owned(),
            Scene::Two => format!("{first}\n{second}\ntopo 0 1 10\n{process}\n"),
            Scene::SecondLost => format!("{first}\n{second} lost=1\n"),
            Scene::FirstCut => {
                format!("{first} mig=1\n{second}\nmig 0 uuid=MIG-fake-0 name=NVIDIA_H100_MIG_1g.10gb total=10G\n")
            }
        });
    }

    fn gpus(&self) -> &dyn GpuInventory {
        &self.1
    }
}

impl Stage for FakeGpus {
    fn show(&self, scene: &Scene) {
        let (first, second) = (fake_gpu(0), fake_gpu(1));
        match scene {
            Scene::NoGpu => {
                self.set_inventory(Inventory { unavailable: Some("none".into()), ..Inventory::default() });
            }
            Scene::Two => {
                let pair = (first.uuid.clone(), second.uuid.clone());
                let used = second.uuid.clone();
                self.set_inventory(Inventory {
                    links: [(pair, Link::Switch)].into(),
                    gpus: vec![first, second],
                    ..FakeGpus::with_gpus(0).inventory()
                });
                self.set_reading(GpuReading {
                    processes: vec![GpuProcess {
                        pid: NOBODY,
                        memory_bytes: Some(2 << 30),
                        user: None,
                        command: None,
                        container: None,
                    }],
                    ..GpuReading::blank(used, GpuHealth::Healthy)
                });
            }
            Scene::SecondLost => self.set_health(&second.uuid, GpuHealth::Lost),
            Scene::FirstCut => {
                let slice = Gpu {
                    uuid: "MIG-fake-0".into(),
                    memory_bytes: 10 << 30,
                    kind: GpuKind::Mig { parent: first.uuid.clone(), profile: "1g.10gb".into() },
                    ..first
                };
                self.set_inventory(Inventory { gpus: vec![slice, second], ..Inventory::default() });
            }
        }
    }

    fn gpus(&self) -> &dyn GpuInventory {
        self
    }
}
