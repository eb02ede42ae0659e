//! Handing GPUs to a container, in each of the ways that a box may have.
//!
//! NVIDIA's runtime obeys NVIDIA_VISIBLE_DEVICES wherever it comes from, and CUDA images set it to
//! `all`. So the variable is always set here: to `void` (no GPU) unless this container has GPUs in
//! that way, whatever the run's own environment says.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HostConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType,
};

use crate::{
    domain::gpu::GpuUuid,
    executor::{EngineError, GpuAccess},
};

const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// Other variables by which NVIDIA's runtime lets a container reach devices.
const REACHING: [&str; 4] =
    [VISIBLE, "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_IMEX_CHANNELS"];

/// Where the kernel driver tells of its GPUs.
const DRIVER: &str = "/proc/driver/nvidia/gpus";
/// Nodes that every container with a GPU needs, as far as they are there.
const SHARED_NODES: [&str; 3] = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];
/// Where distributions put the driver's libraries.
const LIBRARY_DIRS: [&str; 5] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/nvidia/lib64"];
/// What a CUDA program loads from the driver, by the names that it asks for.
const LIBRARIES: [&str; 8] = [
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-nvvm.so.4",
    "libcudadebugger.so.1",
    "libnvcuvid.so.1",
    "libnvidia-encode.so.1",
    "libnvidia-opticalflow.so.1",
];

/// Returns the environment as the engine wants it, with no GPU in it.
pub(super) fn environment(env: &BTreeMap<String, String>) -> Vec<String> {
    env.iter()
        .filter(|(name, _)| !REACHING.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .chain([format!("{VISIBLE}=void")])
        .collect()
}

/// Adds `gpus`, and no others, to a container.
///
/// # Errors
/// [`EngineError::Refused`] when `access` cannot hand out one of them.
pub(super) fn hand_out(access: GpuAccess, gpus: &[GpuUuid], body: &mut ContainerCreateBody) -> Result<(), EngineError> {
    let names = || gpus.iter().map(ToString::to_string);
    let host = body.host_config.get_or_insert_default();
    match access {
        GpuAccess::Runtime => {
            host.runtime = Some("nvidia".into());
            show(body, Some(&names().collect::<Vec<_>>().join(",")));
        }
        GpuAccess::DeviceRequest => {
            host.device_requests = Some(vec![DeviceRequest {
                device_ids: Some(names().collect()),
                capabilities: Some(vec![vec!["gpu".into()]]),
                ..DeviceRequest::default()
            }]);
            // The engine sets the variable itself, and a second one would come before it.
            show(body, None);
        }
        GpuAccess::Cdi => {
            host.device_requests = Some(vec![DeviceRequest {
                driver: Some("cdi".into()),
                device_ids: Some(names().map(|name| format!("nvidia.com/gpu={name}")).collect()),
                ..DeviceRequest::default()
            }]);
        }
        GpuAccess::Devices => bind_devices(gpus, Path::new(DRIVER), host)?,
    }
    Ok(())
}

/// Sets what NVIDIA's runtime shows to the container, or leaves it to the engine.
fn show(body: &mut ContainerCreateBody, devices: Option<&str>) {
    let env = body.env.get_or_insert_default();
    env.retain(|entry| !entry.starts_with("NVIDIA_VISIBLE_DEVICES="));
    env.extend(devices.map(|devices| format!("{VISIBLE}={devices}")));
}

/// Tells whether [`GpuAccess::Devices`] can work here, or what is missing.
pub(super) fn devices_usable() -> Result<(), String> {
    if !Path::new("/dev/nvidia0").exists() {
        return Err("there is no /dev/nvidia0".into());
    }
    if find_library("libcuda.so.1").is_none() {
        return Err(format!("libcuda.so.1 is in none of {}", LIBRARY_DIRS.join(", ")));
    }
    Ok(())
}

fn bind_devices(gpus: &[GpuUuid], driver: &Path, host: &mut HostConfig) -> Result<(), EngineError> {
    let minors = minors(driver);
    let mut nodes: Vec<String> =
        SHARED_NODES.iter().filter(|node| Path::new(node).exists()).map(|node| (*node).into()).collect();
    for gpu in gpus {
        let minor = minors.get(gpu).ok_or_else(|| {
            EngineError::Refused(format!(
                "the driver names no whole GPU {gpu}; MIG instances need NVIDIA's container toolkit"
            ))
        })?;
        nodes.push(format!("/dev/nvidia{minor}"));
    }
    host.devices = Some(
        nodes
            .into_iter()
            .map(|node| DeviceMapping {
                path_on_host: Some(node.clone()),
                path_in_container: Some(node),
                cgroup_permissions: Some("rw".into()),
            })
            .collect(),
    );
    host.mounts.get_or_insert_default().extend(LIBRARIES.iter().filter_map(|name| {
        // The name that programs ask for is a link to the file of this version of the driver.
        let file = find_library(name)?.canonicalize().ok()?;
        Some(library(&file, name))
    }));
    Ok(())
}

/// Binds one library where the image's dynamic loader looks without being told: the directory of
/// the same distribution family as the host's, which is the likeliest to be the image's.
fn library(file: &Path, name: &str) -> Mount {
    let dir = file.parent().unwrap_or(Path::new("/usr/lib"));
    Mount {
        typ: Some(MountType::BIND),
        source: Some(file.to_string_lossy().into_owned()),
        target: Some(dir.join(name).to_string_lossy().into_owned()),
        read_only: Some(true),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

fn find_library(name: &str) -> Option<PathBuf> {
    LIBRARY_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

/// Reads from the driver which `/dev/nvidiaN` is which GPU.
fn minors(driver: &Path) -> BTreeMap<GpuUuid, u32> {
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let Ok(entries) = fs::read_dir(driver) else { return BTreeMap::new() };
    entries
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.ok()?.path().join("information")).ok()?;
            let uuid = field(&text, "GPU UUID")?;
            Some((GpuUuid::from(uuid.as_str()), field(&text, "Device Minor")?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(access: GpuAccess) -> ContainerCreateBody {
        let mut body = ContainerCreateBody { env: Some(environment(&BTreeMap::new())), ..Default::default() };
        hand_out(access, &["GPU-a".into(), "GPU-b".into()], &mut body).unwrap();
        body
    }

    #[test]
    fn a_run_without_gpus_cannot_ask_for_them_by_environment() {
        let asked = BTreeMap::from([
            ("A".to_owned(), "1".to_owned()),
            (VISIBLE.to_owned(), "all".to_owned()),
            ("NVIDIA_MIG_CONFIG_DEVICES".to_owned(), "all".to_owned()),
        ]);
        assert_eq!(environment(&asked), ["A=1", "NVIDIA_VISIBLE_DEVICES=void"]);
    }

    #[test]
    fn every_way_names_exactly_the_gpus_given() {
        let runtime = handed(GpuAccess::Runtime);
        assert_eq!(runtime.env.unwrap(), ["NVIDIA_VISIBLE_DEVICES=GPU-a,GPU-b"]);
        assert_eq!(runtime.host_config.unwrap().runtime.unwrap(), "nvidia");

        let request = handed(GpuAccess::DeviceRequest);
        assert!(request.env.unwrap().is_empty());
        let asked = request.host_config.unwrap().device_requests.unwrap().remove(0);
        assert_eq!(asked.device_ids.unwrap(), ["GPU-a", "GPU-b"]);
        assert_eq!(asked.count, None);

        let cdi = handed(GpuAccess::Cdi);
        assert_eq!(cdi.env.unwrap(), ["NVIDIA_VISIBLE_DEVICES=void"]);
        let asked = cdi.host_config.unwrap().device_requests.unwrap().remove(0);
        assert_eq!(asked.device_ids.unwrap(), ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]);
    }

    #[test]
    fn device_nodes_are_found_by_uuid_and_a_mig_instance_is_refused() {
        let driver = tempfile::tempdir().unwrap();
        for (bus, uuid, minor) in [("0000:01:00.0", "GPU-a", 1), ("0000:02:00.0", "GPU-b", 0)] {
            let dir = driver.path().join(bus);
            fs::create_dir(&dir).unwrap();
            let text = format!("Model: \t\t NVIDIA\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n");
            fs::write(dir.join("information"), text).unwrap();
        }
        let mut host = HostConfig::default();
        bind_devices(&["GPU-a".into()], driver.path(), &mut host).unwrap();
        let nodes: Vec<_> = host.devices.unwrap().into_iter().filter_map(|node| node.path_on_host).collect();
        assert!(nodes.contains(&"/dev/nvidia1".to_owned()) && !nodes.contains(&"/dev/nvidia0".to_owned()), "{nodes:?}");
        let refused = bind_devices(&["MIG-x".into()], driver.path(), &mut HostConfig::default());
        assert!(matches!(refused, Err(EngineError::Refused(_))));
    }
}
