use super::*;
use crate::domain::gpu::{Gpu, GpuKind};

const GIB: u64 = 1 << 30;

fn gpu(number: u32, name: &str, gib: u64, kind: GpuKind) -> Gpu {
    Gpu {
        uuid: format!("GPU-{number}").as_str().into(),
        index: number,
        name: name.into(),
        memory_bytes: gib * GIB,
        kind,
        numa_node: None,
        pci_bus_id: String::new(),
        minor: None,
        compute_capability: None,
    }
}

fn inventory(gpus: &[(&str, u64)]) -> Inventory {
    let gpus = gpus.iter().zip(0..).map(|((name, gib), number)| gpu(number, name, *gib, GpuKind::Whole)).collect();
    Inventory { gpus, ..Inventory::default() }
}

fn names(catalogue: &Catalogue) -> Vec<&str> {
    catalogue.types().iter().map(|machine| machine.name.as_str()).collect()
}

fn meant<'a>(catalogue: &'a Catalogue, name: &str) -> &'a str {
    &catalogue.get(name).unwrap_or_else(|error| panic!("{error}")).name
}

fn spec(name: &str) -> MachineTypeSpec {
    MachineTypeSpec {
        name: name.into(),
        cores: 1.0,
        memory_gib: 1.0,
        gpus: 0,
        share: 1,
        gpu_model: None,
        mig_profile: None,
        aliases: Vec::new(),
        description: None,
    }
}

#[test]
fn a_box_without_gpus_has_four_sizes_of_cpu() {
    let catalogue = Catalogue::generate(16, 64 * GIB, &Inventory::default());
    assert_eq!(names(&catalogue), ["cpu-small", "cpu-medium", "cpu-large", "cpu-max"]);
    let sizes: Vec<_> = catalogue.types().iter().map(|m| (m.cpu_millis / 1000, m.memory_bytes / GIB)).collect();
    assert_eq!(sizes, [(1, 4), (4, 16), (8, 32), (16, 64)]);
    assert_eq!(catalogue.default_type().name, "cpu-small");
}

#[test]
fn on_a_small_box_the_larger_names_still_mean_something() {
    let catalogue = Catalogue::generate(2, 24 * GIB, &Inventory::default());
    assert_eq!(names(&catalogue), ["cpu-small", "cpu-max"]);
    assert_eq!(meant(&catalogue, "cpu-large"), "cpu-small");
    let tiny = Catalogue::generate(1, GIB, &Inventory::default());
    assert_eq!(meant(&tiny, "CPU-MAX"), "cpu-small");
}

#[test]
fn whole_gpus_come_in_powers_of_two_and_all_at_once() {
    let catalogue = Catalogue::generate(12, 96 * GIB, &inventory(&[("NVIDIA A100-SXM4-80GB", 80); 6]));
    assert_eq!(names(&catalogue)[4..], ["gpu-1", "gpu-2", "gpu-4", "gpu-6"]);
    let two = catalogue.get("gpu-2").unwrap();
    assert_eq!((two.cpu_millis, two.memory_bytes, two.gpus), (4000, 32 * GIB, 2));
    assert_eq!(meant(&catalogue, "gpu-a100-2"), "gpu-2");
}

#[test]
fn each_model_of_a_mixed_box_has_types_of_its_own() {
    let mixed =
        inventory(&[("NVIDIA A100-SXM4-80GB", 80), ("NVIDIA A100-PCIE-40GB", 40), ("Tesla T4", 16), ("Tesla T4", 16)]);
    let catalogue = Catalogue::generate(8, 64 * GIB, &mixed);
    assert_eq!(
        names(&catalogue)[4..],
        ["gpu-1", "gpu-2", "gpu-4", "gpu-a100-40g-1", "gpu-a100-80g-1", "gpu-t4-1", "gpu-t4-2"]
    );
    assert_eq!(catalogue.get("gpu-t4-2").unwrap().gpu_model.as_deref(), Some("t4"));
}

#[test]
fn each_mig_profile_is_a_type_with_its_part_of_the_box() {
    let slice = |number, profile: &str, gib| {
        gpu(number, "NVIDIA H100 80GB HBM3", gib, GpuKind::Mig { parent: "GPU-p".into(), profile: profile.into() })
    };
    let gpus = vec![slice(0, "3g.40gb", 40), slice(1, "1g.10gb", 10), slice(2, "1g.10gb", 10)];
    let catalogue = Catalogue::generate(6, 60 * GIB, &Inventory { gpus, ..Inventory::default() });
    let one = catalogue.get("mig-1g.10gb").unwrap();
    assert_eq!((one.gpus, one.cpu_millis, one.memory_bytes), (1, 2000, 20 * GIB));
    assert!(catalogue.get("gpu-1").is_err(), "a cut GPU is not whole");
    assert_eq!(meant(&catalogue, "P4000"), "mig-1g.10gb");
    assert_eq!(meant(&catalogue, "A6000"), "mig-3g.40gb");
}

#[test]
fn cloud_names_mean_the_nearest_local_type() {
    let mixed = inventory(&[("Tesla T4", 16), ("Tesla T4", 16), ("NVIDIA H100 80GB HBM3", 80)]);
    let catalogue = Catalogue::generate(16, 64 * GIB, &mixed);
    for (asked, expected) in [
        ("C1", "cpu-small"),
        ("c5", "cpu-medium"),
        ("C10", "cpu-max"),
        ("Free-CPU", "cpu-small"),
        ("GPU+", "gpu-1"),
        ("P5000", "gpu-1"),
        ("A6000", "gpu-h100-1"),
        ("H100", "gpu-h100-1"),
        ("p4000x2", "gpu-2"),
    ] {
        assert_eq!(meant(&catalogue, asked), expected, "{asked}");
    }
    for unknown in ["A100x8", "H100x4", "TPU"] {
        assert!(catalogue.get(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn a_card_of_the_cloud_is_unknown_on_a_box_without_gpus() {
    let error = Catalogue::generate(2, 8 * GIB, &Inventory::default()).get("A100").unwrap_err();
    assert_eq!(error.to_string(), "there is no machine type “A100” on this box; there are: cpu-small, cpu-max");
}

#[test]
fn a_hostile_name_is_not_echoed_whole() {
    let catalogue = Catalogue::generate(2, 8 * GIB, &Inventory::default());
    assert!(catalogue.get(&"x\n".repeat(100_000)).unwrap_err().to_string().len() < 300);
}

#[test]
fn configured_types_replace_generated_ones_and_keep_their_aliases() {
    let big = MachineTypeSpec { aliases: vec!["C1".into()], cores: 2.0, ..spec("Big") };
    let catalogue = Catalogue::configured(&[big, spec("little")], 4, 8 * GIB, &Inventory::default()).unwrap();
    assert_eq!(names(&catalogue), ["big", "little"]);
    assert_eq!(meant(&catalogue, "C1"), "big");
    assert_eq!(meant(&catalogue, "C2"), "big", "the cloud's C2 had 2 GiB, which no type has: the largest");
    assert_eq!(catalogue.default_type().name, "little");
    assert_eq!(catalogue.with_default("BIG").unwrap().default_type().name, "big");
}

#[test]
fn what_the_box_cannot_give_is_refused_in_words() {
    let gpus = inventory(&[("Tesla T4", 16)]);
    let refused = |spec: MachineTypeSpec| {
        Catalogue::configured(&[spec], 4, 8 * GIB, &gpus).expect_err("it is impossible").to_string()
    };
    for (spec, word) in [
        (MachineTypeSpec { cores: 0.0, ..spec("a") }, "above 0"),
        (MachineTypeSpec { cores: -3.0, ..spec("a") }, "above 0"),
        (MachineTypeSpec { memory_gib: f64::NAN, ..spec("a") }, "above 0"),
        (MachineTypeSpec { cores: 5.0, ..spec("a") }, "this box has 4 cores"),
        (MachineTypeSpec { memory_gib: 1e30, ..spec("a") }, "this box has"),
        (MachineTypeSpec { gpus: 2, ..spec("a") }, "this box has 1 that fit"),
        (MachineTypeSpec { gpus: 1, gpu_model: Some("a100".into()), ..spec("a") }, "0 that fit"),
        (MachineTypeSpec { gpus: 1, share: 0, ..spec("a") }, "share"),
        (MachineTypeSpec { share: 2, ..spec("a") }, "share"),
        (MachineTypeSpec { gpu_model: Some("t4".into()), ..spec("a") }, "set gpus"),
        (spec("a b"), "a name has"),
        (spec(""), "a name has"),
        (MachineTypeSpec { aliases: vec!["A".into()], ..spec("a") }, "already taken"),
    ] {
        let message = refused(spec);
        assert!(message.contains(word), "{message}");
    }
    let twice = Catalogue::configured(&[spec("a"), spec("A")], 4, 8 * GIB, &gpus).unwrap_err();
    assert!(twice.to_string().contains("already taken"));
    assert_eq!(Catalogue::configured(&[], 4, 8 * GIB, &gpus), Err(InvalidMachineTypes::None));
}

#[test]
fn an_alias_can_be_given_to_another_type_but_a_name_cannot() {
    let catalogue = Catalogue::generate(16, 64 * GIB, &Inventory::default());
    let moved = catalogue.clone().with_alias("c1", "cpu-max").unwrap();
    assert_eq!(meant(&moved, "C1"), "cpu-max");
    assert!(catalogue.clone().with_alias("cpu-small", "cpu-max").is_err());
    assert!(catalogue.with_alias("metal", "nothing").is_err());
}
