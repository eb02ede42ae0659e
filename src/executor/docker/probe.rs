//! What engine this is, and which way it has to hand out GPUs.

use std::path::{Path, PathBuf};

use bollard::models::SystemInfo;

use super::{Docker, gpus};
use crate::executor::{EngineError, EngineInfo, GpuAccess};

/// The program that lets the engine's own device requests work, and where dockerd may find it. Its
/// PATH cannot be asked for; this is what service managers and shells give.
const HOOK: &str = "nvidia-container-runtime-hook";
const HOOK_DIRS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Where CDI specifications lie when the engine does not say.
const CDI_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// The first API whose engine has CDI without a switch.
const CDI_MINOR: u32 = 50;

impl Docker {
    pub(super) async fn probe(&self) -> Result<EngineInfo, EngineError> {
        let found = self.connection.call(self.settings.timeouts.quick, bollard::Docker::info).await?;
        let api_version = self.connection.version().await?;
        let gpu_access = match self.settings.gpu_access {
            Some(told) => Ok(told),
            None => choose(&found, &api_version),
        };
        *self.gpu_access.lock().expect("nobody panics while holding it") = Some(gpu_access.clone());
        Ok(EngineInfo {
            version: found.server_version.unwrap_or_default(),
            api_version,
            data_root: found.docker_root_dir.unwrap_or_default().into(),
            storage_driver: found.driver.unwrap_or_default(),
            // Engines before 20.10 do not say, and know only the first.
            cgroup_version: found.cgroup_version.map_or_else(|| "1".into(), |version| version.to_string()),
            gpu_access,
        })
    }

    /// Returns the way to hand out GPUs, asking the engine when it is not known yet.
    pub(super) async fn gpu_access(&self) -> Result<GpuAccess, EngineError> {
        let known = self.gpu_access.lock().expect("nobody panics while holding it").clone();
        let access = match known {
            // A box without a way may have been given one since; looking again costs little.
            Some(Ok(access)) => Ok(access),
            _ => self.probe().await?.gpu_access,
        };
        access.map_err(|why| EngineError::Refused(format!("this engine cannot hand out GPUs: {why}")))
    }
}

fn choose(found: &SystemInfo, api_version: &str) -> Result<GpuAccess, String> {
    if found.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key("nvidia")) {
        return Ok(GpuAccess::Runtime);
    }
    let minor: u32 = api_version.trim_start_matches("1.").parse().unwrap_or_default();
    if has_cdi(found, minor) {
        return Ok(GpuAccess::Cdi);
    }
    if HOOK_DIRS.iter().any(|dir| Path::new(dir).join(HOOK).exists()) {
        return Ok(GpuAccess::DeviceRequest);
    }
    gpus::devices_usable().map(|()| GpuAccess::Devices).map_err(|why| {
        format!(
            "the engine has no runtime called nvidia and no CDI devices, {HOOK} is not installed, and {why}. \
             Install nvidia-container-toolkit and run `nvidia-ctk runtime configure`"
        )
    })
}

/// Tells whether the engine knows NVIDIA's GPUs by CDI: it lists them (API 1.50 on), or it reads
/// specifications from a directory that has one.
fn has_cdi(found: &SystemInfo, minor: u32) -> bool {
    let listed = found.discovered_devices.iter().flatten();
    if listed.filter_map(|device| device.id.as_deref()).any(|id| id.starts_with("nvidia.com/gpu")) {
        return true;
    }
    // An engine with CDI switched off names no directories; before it could be, it says nothing.
    let dirs: Vec<PathBuf> = match &found.cdi_spec_dirs {
        Some(dirs) => dirs.iter().map(PathBuf::from).collect(),
        None if minor >= CDI_MINOR => CDI_DIRS.iter().map(PathBuf::from).collect(),
        None => return false,
    };
    dirs.iter().any(|dir| has_nvidia_spec(dir))
}

fn has_nvidia_spec(dir: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(dir) else { return false };
    files
        .flatten()
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .any(|spec| spec.contains("nvidia.com/gpu"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_runtime_is_preferred_to_cdi_and_cdi_is_seen_in_its_directory() {
        let specs = tempfile::tempdir().unwrap();
        let mut found = SystemInfo {
            cdi_spec_dirs: Some(vec![specs.path().to_string_lossy().into_owned()]),
            ..SystemInfo::default()
        };
        assert!(!has_cdi(&found, 52));
        std::fs::write(specs.path().join("nvidia.yaml"), "kind: nvidia.com/gpu\n").unwrap();
        assert_eq!(choose(&found, "1.52"), Ok(GpuAccess::Cdi));
        found.runtimes = Some(HashMap::from([("nvidia".into(), bollard::models::Runtime::default())]));
        assert_eq!(choose(&found, "1.52"), Ok(GpuAccess::Runtime));
    }
}
