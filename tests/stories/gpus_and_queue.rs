//! A box with GPUs, which a stand-in for NVIDIA's library describes: what is shown of them, who gets
//! which, and who waits for what.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::OnceLock};

use serde_json::{Value, json};

use crate::daemon::{BUSYBOX, Daemon};

/// A daemon on a machine of these GPUs.
struct GpuBox {
    daemon: Daemon,
    /// Holds the library and the description beside it.
    dir: tempfile::TempDir,
}

/// Four GPUs, of which 0 and 2, and 1 and 3, are joined by NVLink; all on one bridge.
const FOUR: &str = "\
driver 550.54.15
cuda 12040
gpu 0 uuid=GPU-00000000-aaaa name=NVIDIA_A100-SXM4-40GB total=40G temp=31 power=70000 limit=400000
gpu 1 uuid=GPU-11111111-bbbb name=NVIDIA_A100-SXM4-40GB total=40G
gpu 2 uuid=GPU-22222222-cccc name=NVIDIA_A100-SXM4-40GB total=40G
gpu 3 uuid=GPU-33333333-dddd name=NVIDIA_A100-SXM4-40GB total=40G
nvlink 0 2 4
nvlink 1 3 4
";

impl GpuBox {
    fn start(gpus: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libnvidia-ml.so.1");
        fs::copy(library_built(), &library).unwrap();
        fs::write(dir.path().join("fake-nvml.conf"), gpus).unwrap();
        let daemon = Daemon::start_with(&[
            ("GRADIENTD_GPU__NVML_LIBRARY", library.to_str().unwrap()),
            ("GRADIENTD_GPU__POLL_INTERVAL", "200ms"),
            // The hook of the engine that tests start is where the daemon does not look.
            ("GRADIENTD_ENGINE__GPU_ACCESS", "device-request"),
            ("GRADIENTD_ENGINE__STOP_GRACE", "1s"),
        ]);
        Self { daemon, dir }
    }

    /// Changes the GPUs under the daemon.
    fn change(&self, gpus: &str) {
        let new = self.dir.path().join("new.conf");
        fs::write(&new, gpus).unwrap();
        fs::rename(new, self.dir.path().join("fake-nvml.conf")).unwrap();
    }

    fn submit(&self, kind: &str, more: Value) -> String {
        let mut job = json!({"image": BUSYBOX, "command": "echo sees $NVIDIA_VISIBLE_DEVICES", "machineType": kind});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.daemon.submit(&job)
    }

    /// Submits a job that runs until it is stopped.
    fn hold(&self, kind: &str, more: Value) -> String {
        let id = self.submit(kind, json!({"command": "echo sees $NVIDIA_VISIBLE_DEVICES; sleep 1000"}).merged(more));
        self.running(&id);
        id
    }

    fn running(&self, id: &str) -> Value {
        self.daemon.wait_for(id, "running", |job| job["state"] == "running")
    }

    fn stop(&self, id: &str) {
        assert_eq!(self.daemon.post(&format!("/jobs/{id}/stop"), &json!({})).status, 200);
    }

    /// Waits until a job stands in the queue, and returns its entry there.
    fn queued(&self, id: &str) -> Value {
        self.daemon.wait_until("its place in the queue", || {
            let queue = self.daemon.get("/queue").body;
            queue["items"].as_array().unwrap().iter().find(|entry| entry["jobId"] == id).cloned()
        })
    }

    fn gpus(&self) -> Value {
        let answer = self.daemon.get("/gpus");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

trait Merged {
    fn merged(self, over: Value) -> Value;
}

impl Merged for Value {
    fn merged(mut self, over: Value) -> Value {
        self.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        self
    }
}

/// Builds the stand-in once for all tests, and returns where it is.
fn library_built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stories-nvml");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-nvml");
        let made =
            Command::new("make").args(["-s", "-C", source]).arg(format!("OUT={}", out.display())).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        out.join("libnvidia-ml.so.1")
    })
}

/// Says whether containers with GPUs can start on this engine; loudly, if not.
fn engine_gives_gpus() -> bool {
    static GIVES: OnceLock<bool> = OnceLock::new();
    *GIVES.get_or_init(|| {
        let asked = Command::new("docker").args(["run", "--rm", "--gpus", "device=GPU-x", BUSYBOX, "true"]).output();
        let gives = asked.as_ref().is_ok_and(|output| output.status.success());
        if !gives {
            let why = asked
                .map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into_owned());
            eprintln!(
                "SKIPPED: this engine was started without tests/env/gpu-hook on its PATH, so no job was seen to run \
                 with GPUs: {}",
                why.trim()
            );
        }
        gives
    })
}

fn uuids(gpus: &Value) -> Vec<&str> {
    gpus.as_array().unwrap().iter().map(|gpu| gpu["uuid"].as_str().unwrap()).collect()
}

#[test]
fn the_gpus_are_shown_as_they_are_and_as_they_change() {
    let own = std::process::id();
    let gpu_box = GpuBox::start(&format!("{FOUR}proc 3 pid={own} mem=2G\nxid 1 13\n"));
    let gpus = gpu_box.gpus();
    assert_eq!((&gpus["driverVersion"], &gpus["cudaVersion"]), (&json!("550.54.15"), &json!("12.4")), "{gpus:#}");
    assert_eq!(gpus["unavailable"], Value::Null);
    assert_eq!(
        uuids(&gpus["items"]),
        ["GPU-00000000-aaaa", "GPU-11111111-bbbb", "GPU-22222222-cccc", "GPU-33333333-dddd"]
    );
    let first = &gpus["items"][0];
    assert_eq!((&first["name"], &first["memoryBytes"]), (&json!("NVIDIA A100-SXM4-40GB"), &json!(40_u64 << 30)));
    assert_eq!((&first["kind"], &first["temperatureCelsius"]), (&json!("whole"), &json!(31)));
    assert_eq!((&first["powerWatts"], &first["powerLimitWatts"]), (&json!(70.0), &json!(400.0)));
    let link = |a: &str, b: &str| {
        let links = gpus["links"].as_array().unwrap();
        let found = links.iter().find(|link| {
            let ends = [link["a"].as_str().unwrap(), link["b"].as_str().unwrap()];
            ends.contains(&a) && ends.contains(&b)
        });
        found.map(|link| link["link"].as_str().unwrap().to_owned())
    };
    assert_eq!(link("GPU-00000000-aaaa", "GPU-22222222-cccc").as_deref(), Some("nvlink:4"));
    assert_ne!(link("GPU-00000000-aaaa", "GPU-11111111-bbbb").as_deref(), Some("nvlink:4"));

    // Somebody else's process is shown with its user and command, and its GPU is left alone.
    let taken = &gpus["items"][3];
    let process = &taken["foreign"][0];
    assert_eq!(
        (&taken["avoided"], &process["pid"], &process["memoryBytes"]),
        (&json!(true), &json!(own), &json!(2_u64 << 30))
    );
    assert!(process["command"].as_str().unwrap().contains("stories"), "{process}");
    assert!(process["user"].is_string(), "{process}");

    let types = gpu_box.daemon.get("/machine-types").body;
    let of = |name: &str| types["items"].as_array().unwrap().iter().find(|kind| kind["name"] == name).cloned();
    for (name, count) in [("gpu-1", 1), ("gpu-2", 2), ("gpu-4", 4)] {
        assert_eq!(of(name).unwrap_or_else(|| panic!("{name} in {types:#}"))["gpus"], count);
    }
    assert!(of("gpu-1").unwrap()["aliases"].as_array().unwrap().contains(&json!("gpu-a100-1")), "{types:#}");
    assert_eq!(
        (&of("gpu-2").unwrap()["availableNow"], &of("gpu-4").unwrap()["availableNow"]),
        (&json!(true), &json!(false))
    );

    // A job that needs them all waits for that process, and says so.
    let all = gpu_box.submit("gpu-4", json!({}));
    let entry = gpu_box.queued(&all);
    let reason = entry["reason"].as_str().unwrap();
    assert!(reason.contains(&own.to_string()), "{reason}");
    assert_eq!((&entry["position"], &entry["needs"]["gpus"]), (&json!(1), &json!(4)));
    assert_eq!(gpu_box.daemon.get("/box").body["gpu"]["free"], 3);

    // A GPU that fails is no longer given out.
    gpu_box.change(&format!("{}gpu 1 lost=1\n", FOUR.replace("gpu 1 uuid=GPU-11111111-bbbb", "#")));
    let ill = gpu_box.daemon.wait_until("a lost GPU", || {
        let gpus = gpu_box.gpus();
        let ill = gpus["items"].as_array()?.iter().find(|gpu| gpu["health"] != "healthy")?;
        Some(ill.clone())
    });
    assert!(ill["healthReason"].is_string(), "{ill:#}");
    let waits = gpu_box.daemon.job(&all);
    assert_eq!(waits["state"], "pending", "{waits:#}");
    gpu_box.stop(&all);
    assert_eq!(gpu_box.daemon.wait_for_end(&all)["state"], "cancelled");
}

#[test]
fn a_box_without_gpus_says_so_and_works() {
    let daemon = Daemon::start_with(&[("GRADIENTD_GPU__NVML_LIBRARY", "/nonexistent/libnvidia-ml.so.1")]);
    let gpus = daemon.get("/gpus").body;
    assert_eq!(gpus["items"], json!([]));
    assert!(gpus["unavailable"].as_str().unwrap().contains("driver"), "{gpus:#}");
    let refused = daemon.post("/jobs", &json!({"image": BUSYBOX, "machineType": "gpu-1"}));
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("unknown_machine_type")));
    assert_eq!(daemon.wait_for_end(&daemon.shell("true"))["state"], "stopped");
}

#[test]
fn an_engine_that_cannot_hand_out_gpus_ends_the_job_in_words() {
    let gpu_box = GpuBox::start(FOUR);
    let id = gpu_box.submit("gpu-1", json!({}));
    let job = gpu_box.daemon.wait_for_end(&id);
    if engine_gives_gpus() {
        assert_eq!(job["state"], "stopped", "{job:#}");
    } else {
        assert_eq!((&job["state"], &job["reason"]), (&json!("error"), &json!("engine_refused")), "{job:#}");
        assert!(job["message"].as_str().unwrap().contains("gpu"), "{job:#}");
    }
    // Either way it holds nothing any more.
    let gpus = gpu_box.gpus();
    assert!(gpus["items"].as_array().unwrap().iter().all(|gpu| gpu["holders"] == json!([])), "{gpus:#}");
}

#[test]
fn each_job_sees_exactly_its_gpus_and_none_has_two_holders() {
    if !engine_gives_gpus() {
        return;
    }
    let gpu_box = GpuBox::start(FOUR);
    let one = gpu_box.hold("gpu-1", json!({"name": "one"}));
    // The set that is best joined, though one of the other pair is free as well.
    let pair = gpu_box.hold("gpu-2", json!({"name": "pair"}));
    let last = gpu_box.hold("gpu-1", json!({"name": "last"}));
    let waits = gpu_box.submit("gpu-1", json!({"name": "waits"}));
    let entry = gpu_box.queued(&waits);
    let mut blockers: Vec<_> =
        entry["heldBy"].as_array().unwrap().iter().map(|held| held["name"].as_str().unwrap()).collect();
    blockers.sort_unstable();
    assert!(!blockers.is_empty() && blockers.iter().all(|name| ["last", "one", "pair"].contains(name)), "{entry:#}");

    let mut held = BTreeMap::new();
    for id in [&one, &pair, &last] {
        let job = gpu_box.daemon.job(id);
        let own = uuids(&job["gpus"]);
        gpu_box.daemon.wait_until("what it sees", || {
            gpu_box.daemon.text_of(id).contains(&format!("sees {}\n", own.join(","))).then_some(())
        });
        for uuid in own {
            assert_eq!(held.insert(uuid.to_owned(), id.clone()), None, "{uuid} has two holders");
        }
    }
    assert_eq!(held.len(), 4);
    let pair_of = |uuid: &str| (uuid == "GPU-00000000-aaaa" || uuid == "GPU-22222222-cccc", held[uuid] == pair);
    let pairs: Vec<_> =
        held.keys().map(|uuid| pair_of(uuid)).filter(|(_, holds)| *holds).map(|(side, _)| side).collect();
    assert_eq!(pairs[0], pairs[1], "two that are joined by NVLink: {held:?}");
    for gpu in gpu_box.gpus()["items"].as_array().unwrap() {
        let holders = gpu["holders"].as_array().unwrap();
        assert_eq!(holders.len(), 1, "{gpu:#}");
        assert_eq!(holders[0]["jobId"], held[gpu["uuid"].as_str().unwrap()]);
    }

    // The one that waited gets what is given back.
    let freed = uuids(&gpu_box.daemon.job(&one)["gpus"])[0].to_owned();
    gpu_box.stop(&one);
    let job = gpu_box.daemon.wait_for_end(&waits);
    assert_eq!((&job["state"], &job["gpus"][0]["uuid"]), (&json!("stopped"), &json!(freed)), "{job:#}");
    let none = gpu_box.submit("cpu-small", json!({}));
    gpu_box.stop(&pair);
    gpu_box.stop(&last);
    gpu_box.daemon.wait_for_end(&none);
    assert!(gpu_box.daemon.text_of(&none).contains("sees void\n"), "a job without GPUs sees none");
    for id in [&one, &pair, &last] {
        gpu_box.daemon.wait_for_end(id);
    }
}

#[test]
fn the_gpu_of_a_notebook_goes_to_who_waits_when_it_is_stopped() {
    if !engine_gives_gpus() {
        return;
    }
    let gpu_box = GpuBox::start(FOUR);
    let notebook = json!({"image": BUSYBOX, "name": "lab", "machineType": "gpu-4", "command": "sleep 1000"});
    let made = gpu_box.daemon.post("/notebooks", &notebook);
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/notebooks/{}", made.body["id"].as_str().unwrap());
    let held = gpu_box.daemon.wait_until("a notebook with all GPUs", || {
        let session = gpu_box.daemon.get(&path).body["session"].clone();
        (session["state"] == "running").then_some(session["gpus"].clone())
    });
    assert_eq!(held.as_array().unwrap().len(), 4, "{held}");
    let waits = gpu_box.submit("gpu-1", json!({"name": "waits"}));
    let entry = gpu_box.queued(&waits);
    assert_eq!((&entry["position"], &entry["heldBy"][0]["name"]), (&json!(1), &json!("lab")), "{entry:#}");
    assert_eq!(gpu_box.daemon.post(&format!("{path}/stop"), &json!({})).status, 200);
    let job = gpu_box.daemon.wait_for_end(&waits);
    assert_eq!(job["state"], "stopped", "{job:#}");
    assert!(held.as_array().unwrap().contains(&job["gpus"][0]["uuid"]), "one of those that it gave back: {job:#}");
    assert_eq!(gpu_box.daemon.get(&path).body["state"], "stopped");
}

#[test]
fn small_jobs_pass_a_big_one_only_where_they_do_not_delay_it() {
    if !engine_gives_gpus() {
        return;
    }
    let gpu_box = GpuBox::start(FOUR);
    let holder = gpu_box.hold("gpu-1", json!({"timeLimitSeconds": 600}));
    let big = gpu_box.submit("gpu-4", json!({"name": "big"}));
    let entry = gpu_box.queued(&big);
    assert_eq!((&entry["position"], &entry["heldBy"][0]["jobId"]), (&json!(1), &json!(holder)), "{entry:#}");
    assert!(entry["expectedStart"].is_string(), "its holder has a time limit: {entry:#}");
    // Nobody knows how long these run.
    let small: Vec<String> = (0..3).map(|_| gpu_box.submit("gpu-1", json!({"name": "small"}))).collect();
    for id in &small {
        assert!(gpu_box.queued(id)["position"].as_u64().unwrap() > 1);
    }
    // This one is over long before the big one could begin.
    let quick = gpu_box.submit("gpu-1", json!({"name": "quick", "timeLimitSeconds": 60}));
    assert_eq!(gpu_box.daemon.wait_for_end(&quick)["state"], "stopped");
    assert!(small.iter().all(|id| gpu_box.daemon.job(id)["state"] == "pending"), "they wait behind the big one");
    gpu_box.stop(&holder);
    let started = |id: &str| gpu_box.daemon.wait_for_end(id)["startedAt"].as_str().unwrap().to_owned();
    let begun = started(&big);
    for id in &small {
        assert!(started(id) > begun);
    }
    assert_eq!(uuids(&gpu_box.daemon.job(&big)["gpus"]).len(), 4);
}

#[test]
fn a_slice_of_a_gpu_is_a_machine_type_of_its_own() {
    let gpu_box = GpuBox::start(
        "gpu 0 uuid=GPU-00000000-aaaa name=NVIDIA_H100_80GB_HBM3 total=80G\n\
         gpu 1 uuid=GPU-11111111-bbbb name=NVIDIA_H100_80GB_HBM3 total=80G mig=1\n\
         mig 1 uuid=MIG-11111111-0001 name=NVIDIA_H100_80GB_HBM3_MIG_1g.10gb total=10G gi=7\n\
         mig 1 uuid=MIG-11111111-0002 name=NVIDIA_H100_80GB_HBM3_MIG_1g.10gb total=10G gi=8\n",
    );
    let gpus = gpu_box.gpus();
    let slices: Vec<&Value> = gpus["items"].as_array().unwrap().iter().filter(|gpu| gpu["kind"] == "mig").collect();
    assert_eq!(slices.len(), 2, "{gpus:#}");
    assert_eq!((&slices[0]["parent"], &slices[0]["migProfile"]), (&json!("GPU-11111111-bbbb"), &json!("1g.10gb")));
    let types = gpu_box.daemon.get("/machine-types").body;
    let kind = types["items"].as_array().unwrap().iter().find(|kind| kind["name"] == "mig-1g.10gb");
    assert_eq!(kind.unwrap_or_else(|| panic!("{types:#}"))["availableNow"], true);
    if engine_gives_gpus() {
        let id = gpu_box.submit("mig-1g.10gb", json!({}));
        let job = gpu_box.daemon.wait_for_end(&id);
        assert_eq!(job["state"], "stopped", "{job:#}");
        let own = uuids(&job["gpus"]);
        assert!(own[0].starts_with("MIG-11111111-000"), "{job:#}");
        assert!(gpu_box.daemon.text_of(&id).contains(&format!("sees {}\n", own[0])));
    }
}
