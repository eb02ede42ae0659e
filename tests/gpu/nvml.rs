//! What NVML's real caller makes of machines in every state.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use gradientd::{
    domain::gpu::{GpuHealth, GpuReading, GpuUuid, Link},
    gpu::GpuInventory,
};

use super::machine::{Machine, eventually, healths, reason};

fn uuid(index: u32) -> GpuUuid {
    GpuUuid(format!("GPU-00000000-0000-0000-0000-{index:012}").into())
}

#[test]
fn a_machine_without_the_library_has_no_gpus_and_finds_them_when_it_comes() {
    let machine = Machine::bare();
    let gpus = machine.gpus();
    let none = gpus.inventory();
    assert_eq!(none.gpus, []);
    assert!(none.unavailable.expect("words").contains("install the driver"));
    assert_eq!(gpus.readings(), []);

    machine.show("gpus 2\n");
    machine.install_library();
    let found = gpus.inventory();
    assert_eq!(found.gpus.len(), 2);
    assert_eq!(found.unavailable, None);
}

#[test]
fn a_driver_that_is_not_loaded_is_said_and_found_when_it_is() {
    let machine = Machine::with("gpus 1\nfail nvmlInit_v2 9\n");
    let gpus = machine.gpus();
    assert!(gpus.inventory().unavailable.expect("words").contains("modprobe nvidia"));
    machine.show("gpus 1\n");
    assert_eq!(healths(&gpus), ["healthy"]);
    assert_eq!(gpus.inventory().unavailable, None);
}

#[test]
fn each_way_not_to_start_says_what_to_do() {
    for (code, words) in [(4, "/dev/nvidiactl"), (18, "Reboot"), (999, "nvidia-smi")] {
        let machine = Machine::with(&format!("fail nvmlInit_v2 {code}\n"));
        let said = machine.gpus().inventory().unavailable.expect("words");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn eight_gpus_joined_by_nvlink_are_told_apart_by_their_links() {
    let mut config = String::from("gpus 8\n");
    for a in 0..8 {
        for b in a + 1..8 {
            // As on the first DGX-1: two rings of four, with double links inside and single across.
            match b - a {
                1 if a != 3 => config += &format!("nvlink {a} {b} 2\n"),
                4 => config += &format!("nvlink {a} {b} 1\n"),
                _ if a < 4 && b < 4 => config += &format!("topo {a} {b} 20\n"),
                _ => config += &format!("topo {a} {b} 50\n"),
            }
        }
    }
    let machine = Machine::with(&config);
    let inventory = machine.gpus().inventory();
    assert_eq!(inventory.gpus.len(), 8);
    assert_eq!(inventory.link(&uuid(0), &uuid(1)), Link::NvLink(2));
    assert_eq!(inventory.link(&uuid(4), &uuid(0)), Link::NvLink(1));
    assert_eq!(inventory.link(&uuid(0), &uuid(2)), Link::MultiSwitch);
    assert_eq!(inventory.link(&uuid(3), &uuid(4)), Link::System);
}

#[test]
fn gpus_behind_nvswitches_reach_each_other_over_as_many_links_as_both_have() {
    let machine = Machine::with("gpus 3\nnvswitch 0 18\nnvswitch 1 17\ntopo 0 2 30\n");
    let inventory = machine.gpus().inventory();
    assert_eq!(inventory.link(&uuid(0), &uuid(1)), Link::NvLink(17));
    assert_eq!(inventory.link(&uuid(0), &uuid(2)), Link::HostBridge, "the third has no link");

    machine.show("gpus 2\nnvswitch 0 18\nnvswitch 1 18\ntopo 0 1 30\nfail nvmlDeviceGetP2PStatus 999\n");
    assert_eq!(machine.gpus().inventory().link(&uuid(0), &uuid(1)), Link::NvLink(18));
}

#[test]
fn the_kernel_knows_a_card_s_numa_node_better_than_nvml() {
    let machine = Machine::with("gpu 0 bus=00000000:07:00.0 numa=1\ngpu 1 bus=00000000:0A:00.0 numa=1\n");
    let card = machine.sys().join("bus/pci/devices/0000:0a:00.0");
    fs::create_dir_all(&card).expect("a card in /sys");
    fs::write(card.join("numa_node"), "3\n").expect("its node");
    let nodes: Vec<_> = machine.gpus().inventory().gpus.iter().map(|gpu| gpu.numa_node).collect();
    assert_eq!(nodes, [Some(1), Some(3)]);
}

#[test]
fn a_reading_tells_what_the_gpu_does() {
    let machine = Machine::with("gpu 0 used=1G reserved=512M util=91 memutil=40 temp=61 power=412000 limit=650000\n");
    let gpus = machine.gpus();
    let reading = gpus.readings().remove(0);
    assert_eq!(reading.memory_used_bytes, Some(1 << 30), "what the driver keeps for itself is not used");
    assert_eq!(reading.utilization_percent, Some(91));
    assert_eq!(reading.memory_utilization_percent, Some(40));
    assert_eq!(reading.temperature_celsius, Some(61));
    assert_eq!(reading.power_milliwatts, Some(412_000));
    assert_eq!(reading.power_limit_milliwatts, Some(650_000));

    machine.show("gpu 0 util=3\n");
    assert_eq!(gpus.readings()[0].utilization_percent, Some(3), "each reading is new");
}

#[test]
fn a_failing_call_costs_one_value_of_one_gpu() {
    let machine = Machine::with(
        "gpus 2\nfail nvmlDeviceGetPowerUsage 3 1\nfail nvmlDeviceGetUtilizationRates 999 1\n\
         fail nvmlDeviceGetComputeRunningProcesses_v3 4 1\nfail nvmlDeviceRegisterEvents 999 1\n\
         fail nvmlDeviceGetName 999 1\nfail nvmlDeviceGetMinorNumber 3 1\n",
    );
    let gpus = machine.gpus();
    let inventory = gpus.inventory();
    assert_eq!(inventory.gpus.len(), 2);
    assert_eq!(inventory.gpus[1].minor, None);
    let readings = gpus.readings();
    assert_eq!(readings[0].power_milliwatts, Some(70_000));
    assert_eq!(readings[1].power_milliwatts, None);
    assert_eq!(readings[1].utilization_percent, None);
    assert_eq!(readings[1].temperature_celsius, Some(35), "the other values are there");
    assert_eq!(readings[1].health, GpuHealth::Healthy, "not knowing a value is no illness");
}

#[test]
fn what_was_known_of_a_gpu_stays_when_it_cannot_be_read() {
    let machine = Machine::with("gpus 1\n");
    let gpus = machine.gpus();
    let before = gpus.inventory();
    machine.show("gpus 1\nfail nvmlDeviceGetName 999\nfail nvmlDeviceGetMemoryInfo_v2 999\n");
    assert_eq!(gpus.inventory().gpus, before.gpus);
}

#[test]
fn a_gpu_that_does_not_answer_is_unknown_and_the_others_go_on() {
    let machine = Machine::with("gpus 3\n");
    let gpus = machine.gpus();
    assert_eq!(healths(&gpus), ["healthy"; 3]);
    machine.show("gpus 3\nfail nvmlDeviceGetHandleByIndex_v2 999 1\n");
    assert_eq!(healths(&gpus), ["healthy", "unknown", "healthy"]);
    let inventory = gpus.inventory();
    assert_eq!(inventory.gpus.len(), 3);
    assert!(inventory.unavailable.expect("words").contains("GPU 1 does not answer"));
    machine.show("gpus 3\nfail nvmlDeviceGetHandleByIndex_v2 16 1\n");
    assert_eq!(healths(&gpus), ["healthy", "failing", "healthy"], "one that needs a reset says so");
    machine.show("gpus 3\n");
    assert_eq!(healths(&gpus), ["healthy"; 3]);
}

#[test]
fn a_card_whose_mode_is_not_known_is_not_handed_out_whole() {
    let machine = Machine::with("gpus 2\nfail nvmlDeviceGetMigMode 999 1\n");
    let gpus = machine.gpus();
    assert_eq!(gpus.inventory().gpus.len(), 1);
    assert_eq!(healths(&gpus), ["healthy"]);
}

#[test]
fn a_gpu_that_falls_off_the_bus_is_lost_and_stays_listed() {
    let machine = Machine::with("gpus 3\nnvlink 0 1 4\n");
    let gpus = machine.gpus();
    let before = gpus.inventory();
    machine.show("gpus 3\ngpu 1 lost=1\n");
    assert_eq!(healths(&gpus), ["healthy", "lost", "healthy"]);
    assert_eq!(gpus.inventory().gpus, before.gpus);
    assert_eq!(gpus.inventory().link(&uuid(0), &uuid(1)), Link::NvLink(4));

    machine.show("gpus 2\n");
    assert_eq!(healths(&gpus), ["healthy", "healthy", "lost"], "one that the driver no longer counts is lost, too");
}

#[test]
fn a_gpu_lost_while_it_is_read_is_lost() {
    let machine = Machine::with("gpus 2\nfail nvmlDeviceGetTemperature 15 0\n");
    let gpus = machine.gpus();
    let readings = gpus.readings();
    assert_eq!(readings[0].health, GpuHealth::Lost);
    assert_eq!(readings[0].memory_used_bytes, None);
    assert_eq!(readings[1].health, GpuHealth::Healthy);
}

#[test]
fn a_hardware_xid_fails_the_gpu_and_a_program_s_does_not() {
    let machine = Machine::with("gpus 3\n");
    let gpus = machine.gpus();
    assert_eq!(healths(&gpus), ["healthy"; 3]);
    machine.show("gpus 3\nxid 0 31\nxid 1 79\nxid 1 45\nxid 2 13\n");
    assert_eq!(healths(&gpus), ["healthy", "failing", "healthy"]);
    let words = reason(&gpus.readings()[1]).to_owned();
    assert!(words.contains("XID 79") && words.contains("fallen off the bus") && words.contains("reset"), "{words}");
}

#[test]
fn an_xid_is_forgotten_when_the_driver_is_loaded_anew() {
    let machine = Machine::with("gpus 1\n");
    let gpus = machine.gpus();
    assert_eq!(healths(&gpus), ["healthy"]);
    machine.show("gpus 1\nxid 0 48\n");
    assert_eq!(healths(&gpus), ["failing"]);
    machine.show("gpus 1\nfail nvmlDeviceGetCount_v2 1\nfail nvmlInit_v2 9\n");
    assert_eq!(healths(&gpus), ["unknown"]);
    machine.show("gpus 1\n");
    assert_eq!(healths(&gpus), ["healthy"]);
}

#[test]
fn uncorrected_memory_errors_fail_the_gpu() {
    let machine = Machine::with("gpu 0 ecc=2\ngpu 1 ecc=0\n");
    let readings = machine.gpus().readings();
    assert!(reason(&readings[0]).starts_with("2 uncorrected memory errors"), "{readings:?}");
    assert_eq!(readings[1].health, GpuHealth::Healthy);
}

#[test]
fn losing_the_driver_makes_gpus_unknown_and_never_failed_or_gone() {
    let machine = Machine::with("gpus 2\n");
    let gpus = machine.gpus();
    let before = gpus.inventory();
    machine.show("gpus 2\nfail nvmlDeviceGetCount_v2 1\nfail nvmlInit_v2 18\n");
    assert_eq!(healths(&gpus), ["unknown", "unknown"]);
    assert!(reason(&gpus.readings()[0]).contains("Reboot"));
    let meanwhile = gpus.inventory();
    assert_eq!(meanwhile.gpus, before.gpus);
    assert!(meanwhile.unavailable.is_some());
    machine.show("gpus 2\n");
    assert_eq!(healths(&gpus), ["healthy", "healthy"]);
    assert_eq!(gpus.inventory(), before);
}

#[test]
fn a_call_that_hangs_keeps_nobody_waiting() {
    let machine = Machine::with("gpus 1\n");
    let gpus = machine.gpus_within(Duration::from_millis(300));
    eventually(&gpus, |readings| readings.iter().any(|reading| reading.health.is_usable()));
    machine.show("gpus 1\nslow nvmlDeviceGetCount_v2 1000\n");
    let readings = eventually(&gpus, |readings| readings.iter().all(|reading| !reading.health.is_usable()));
    assert!(reason(&readings[0]).contains("has not answered for 300ms"), "{readings:?}");
    let inventory = gpus.inventory();
    assert_eq!(inventory.gpus.len(), 1);
    assert!(inventory.unavailable.expect("words").contains("has not answered"));
    machine.show("gpus 1\n");
    eventually(&gpus, |readings| readings.iter().all(|reading| reading.health.is_usable()));
}

#[test]
fn mig_instances_have_their_own_memory_and_processes() {
    let machine = Machine::with(
        "gpu 0 mig=1 temp=50\ngpu 1\n\
         mig 0 uuid=MIG-a name=NVIDIA_H100_80GB_HBM3_MIG_1g.10gb total=10G used=3G gi=7\n\
         mig 0 uuid=MIG-b name=NVIDIA_H100_80GB_HBM3 total=40G gi=1 slices=3\n\
         proc 0 pid=4194901 mem=3G gi=7\nproc 0 pid=4194902 mem=1G gi=1\nproc 1 pid=4194903 mem=1G\n",
    );
    let gpus = machine.gpus();
    let inventory = gpus.inventory();
    let found: Vec<_> = inventory.gpus.iter().map(|gpu| (&*gpu.uuid.0, gpu.index, gpu.memory_bytes >> 30)).collect();
    assert_eq!(found, [("MIG-a", 0, 10), ("MIG-b", 0, 40), (&*uuid(1).0, 1, 80)]);
    let profiles: Vec<_> = inventory.gpus.iter().map(|gpu| format!("{:?}", gpu.kind)).collect();
    assert!(profiles[1].contains("3g.40gb"), "told by its attributes where its name does not: {profiles:?}");

    let readings = gpus.readings();
    let pids: Vec<Vec<u32>> =
        readings.iter().map(|reading| reading.processes.iter().map(|process| process.pid).collect()).collect();
    assert_eq!(pids, [[4_194_901], [4_194_902], [4_194_903]]);
    assert_eq!(readings[0].memory_used_bytes, Some(3 << 30));
    assert_eq!(readings[1].memory_used_bytes, Some(0));
    assert_eq!(readings[0].temperature_celsius, Some(50), "the card's");
    assert_eq!(readings[0].power_milliwatts, None, "the card's power is no instance's");

    machine.show("gpu 0 mig=1\ngpu 1\nmig 0 uuid=MIG-b gi=1\nxid 0 95\n");
    let readings = gpus.readings();
    assert_eq!(readings.len(), 2, "an instance that the admin removed is gone");
    assert!(reason(&readings[0]).contains("XID 95"), "the card's illness is its instances'");
    machine.show("gpu 0 mig=1\ngpu 1\n");
    let inventory = gpus.inventory();
    assert_eq!(inventory.gpus.len(), 1);
    assert!(inventory.unavailable.expect("words").contains("has no instances"));
}

#[test]
fn a_foreign_process_is_shown_with_its_user_and_command() {
    let stranger = Stranger(Command::new("sleep").arg("600").spawn().expect("a process"));
    let pid = stranger.0.id();
    let machine = Machine::with(&format!(
        "gpus 1\nproc 0 pid={pid} mem=900M\nproc 0 pid={pid} mem=100M type=G\nproc 0 pid=4194999 mem=1M type=M\n"
    ));
    // A process that has only just been started has no command line yet.
    let has_command = |readings: &[GpuReading]| readings[0].processes.iter().any(|process| process.command.is_some());
    let processes = eventually(&machine.gpus(), has_command).remove(0).processes;
    assert_eq!(processes.len(), 2, "one that computes and draws is one process: {processes:?}");
    let seen = processes.iter().find(|process| process.pid == pid).expect("the stranger");
    assert_eq!(seen.memory_bytes, Some(900 << 20));
    assert_eq!(seen.command.as_deref(), Some("sleep 600"));
    let me = Command::new("id").arg("-un").output().expect("id").stdout;
    assert_eq!(seen.user.as_deref(), Some(String::from_utf8_lossy(&me).trim()));
}

struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
