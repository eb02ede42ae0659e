//! NVML's errors in words that say what to do, and what they mean for a GPU.

use std::time::Duration;

use nvml_wrapper::error::NvmlError;

use crate::domain::gpu::GpuHealth;

/// Why no GPU can be asked at all.
pub(super) fn unavailable(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(cause) => format!(
            "No NVIDIA driver on this machine ({cause}). If it has NVIDIA GPUs, install the driver from your \
             distribution; the GPUs then appear without a restart."
        ),
        NvmlError::DriverNotLoaded => {
            "The NVIDIA driver is installed but not loaded. Run `modprobe nvidia` as root, or \
             reboot if the kernel or the driver was upgraded; `dmesg` says why if that fails."
                .into()
        }
        NvmlError::LibRmVersionMismatch => "The NVIDIA driver was upgraded while the old one is still loaded. Reboot, \
             or unload and load its kernel modules."
            .into(),
        NvmlError::NoPermission => "The NVIDIA driver refuses to talk to this user. Check who may open \
             /dev/nvidiactl and /dev/nvidia0, also DeviceAllow= in the service's unit."
            .into(),
        NvmlError::FailedToLoadSymbol(symbol) => {
            format!(
                "The NVIDIA library is too old or not NVIDIA's ({symbol}). Install a driver of version 510 or later."
            )
        }
        other => format!("NVML does not work: {other}. `nvidia-smi` and `dmesg` may say more."),
    }
}

/// That no answer came in time.
pub(super) fn no_answer(waited: Duration) -> String {
    format!(
        "NVML has not answered for {waited:?}: a GPU or its driver hangs. `dmesg` says which; what is shown is what was \
         seen last."
    )
}

/// What an error says about the GPU that was asked, or `None` if it says nothing about its state:
/// that a value is not supported there, or not for us to read, is no illness.
pub(super) fn health(error: &NvmlError) -> Option<GpuHealth> {
    match error {
        NvmlError::GpuLost => Some(GpuHealth::Lost),
        NvmlError::ResetRequired | NvmlError::IrqIssue | NvmlError::InsufficientPower | NvmlError::CorruptedInfoROM => {
            Some(GpuHealth::Failing { reason: format!("The driver says: {error}.") })
        }
        _ => None,
    }
}

/// Why one GPU does not answer, in a few words.
pub(super) fn silent(error: &NvmlError) -> String {
    match health(error) {
        Some(GpuHealth::Lost) => "it has fallen off the bus; reset it or reboot".into(),
        Some(_) | None => error.to_string(),
    }
}
