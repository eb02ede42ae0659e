//! What each GPU does right now, and how it is.

use std::collections::BTreeMap;

use nvml_wrapper::{
    Device,
    enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor},
    enums::device::UsedGpuMemory,
    error::NvmlError,
    struct_wrappers::device::ProcessInfo,
};

use super::{
    survey::{Card, Survey},
    words,
    xid::XidWatch,
};
use crate::domain::gpu::{Gpu, GpuHealth, GpuProcess, GpuReading, Inventory};

/// How often a list of processes is asked for that outgrew its room between two calls.
const LIST_TRIES: usize = 3;

/// Reads every GPU of `inventory`, in its order. Processes have only number and memory yet.
pub(super) fn readings(survey: &Survey<'_>, inventory: &Inventory, xids: &XidWatch<'_>) -> Vec<GpuReading> {
    let mut read = BTreeMap::new();
    for reading in survey.cards.iter().flat_map(|card| read_card(card, xids)) {
        read.insert(reading.uuid.clone(), reading);
    }
    inventory.gpus.iter().map(|gpu| read.remove(&gpu.uuid).unwrap_or_else(|| not_read(gpu, survey))).collect()
}

/// A GPU that did not even tell its name. One that the driver no longer counts is lost.
fn not_read(gpu: &Gpu, survey: &Survey<'_>) -> GpuReading {
    let health = match survey.silent.get(&gpu.index) {
        None | Some(NvmlError::GpuLost) => GpuHealth::Lost,
        Some(error) => words::health(error)
            .unwrap_or_else(|| GpuHealth::Unknown { reason: format!("It does not answer: {error}.") }),
    };
    GpuReading::blank(gpu.uuid.clone(), health)
}

/// Asks one card, and tells of it or of its instances.
fn read_card(card: &Card<'_>, xids: &XidWatch<'_>) -> Vec<GpuReading> {
    let mut asked = Asked::default();
    let device = &card.device;
    let utilization = asked.value(device.utilization_rates());
    let memory = asked.value(device.memory_info());
    let whole = GpuReading {
        memory_used_bytes: memory.map(|memory| memory.used),
        utilization_percent: utilization.as_ref().map(|now| now.gpu),
        memory_utilization_percent: utilization.map(|now| now.memory),
        temperature_celsius: asked.value(device.temperature(TemperatureSensor::Gpu)),
        power_milliwatts: asked.value(device.power_usage()),
        power_limit_milliwatts: asked.value(device.enforced_power_limit()),
        processes: if card.slices.is_none() { processes(device, &mut asked) } else { Vec::new() },
        ..GpuReading::blank(card.uuid.clone(), GpuHealth::Healthy)
    };
    let ecc_errors = asked.value(device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile));
    let health = health(asked, xids.complaint(&card.uuid), ecc_errors.unwrap_or(0));

    if health == GpuHealth::Lost {
        let lost = |uuid| GpuReading::blank(uuid, GpuHealth::Lost);
        return match &card.slices {
            None => vec![lost(card.uuid.clone())],
            Some(slices) => slices.iter().map(|slice| lost(slice.uuid.clone())).collect(),
        };
    }
    let Some(slices) = &card.slices else { return vec![GpuReading { health, ..whole }] };
    slices
        .iter()
        .map(|slice| GpuReading {
            memory_used_bytes: slice.device.memory_info().ok().map(|memory| memory.used),
            // The heat is the card's and so is the illness. Its power is left out: every instance
            // showing all of it would add up to more than the card draws. Use is not told per instance.
            temperature_celsius: whole.temperature_celsius,
            processes: processes(&slice.device, &mut Asked::default()),
            ..GpuReading::blank(slice.uuid.clone(), health.clone())
        })
        .collect()
}

/// Weighs what was seen, worst first.
fn health(asked: Asked, xid: Option<String>, ecc_errors: u64) -> GpuHealth {
    if let Some(trouble) = asked.trouble {
        return trouble;
    }
    if let Some(reason) = xid {
        return GpuHealth::Failing { reason };
    }
    if ecc_errors > 0 {
        let errors = if ecc_errors == 1 { "error" } else { "errors" };
        return GpuHealth::Failing {
            reason: format!(
                "{ecc_errors} uncorrected memory {errors} (ECC) since the driver was loaded. Stop gradientd, reset the \
                 GPU or reboot, and start again."
            ),
        };
    }
    GpuHealth::Healthy
}

/// Keeps the worst that a card's answers said about the card itself.
#[derive(Default)]
struct Asked {
    trouble: Option<GpuHealth>,
}

impl Asked {
    fn value<T>(&mut self, answer: Result<T, NvmlError>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                if self.trouble != Some(GpuHealth::Lost)
                    && let Some(health) = words::health(&error)
                {
                    self.trouble = Some(health);
                }
                None
            }
        }
    }
}

/// Everybody on a GPU: computing, drawing, or sharing it by MPS. One process may be all of these.
fn processes(device: &Device<'_>, asked: &mut Asked) -> Vec<GpuProcess> {
    let lists = [
        asked.value(list(|| device.running_compute_processes())),
        asked.value(list(|| device.running_graphics_processes())),
        asked.value(list(|| device.mps_running_compute_processes())),
    ];
    let mut by_pid: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    for process in lists.into_iter().flatten().flatten() {
        let memory = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        let seen = by_pid.entry(process.pid).or_default();
        *seen = (*seen).max(memory);
    }
    by_pid
        .into_iter()
        .map(|(pid, memory_bytes)| GpuProcess { pid, memory_bytes, user: None, command: None, container: None })
        .collect()
}

/// Asks again when processes were started between counting and listing.
fn list(ask: impl Fn() -> Result<Vec<ProcessInfo>, NvmlError>) -> Result<Vec<ProcessInfo>, NvmlError> {
    for _ in 1..LIST_TRIES {
        match ask() {
            Err(NvmlError::InsufficientSize(_)) => {}
            answer => return answer,
        }
    }
    ask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_says_outweighs_counters() {
        let lost = Asked { trouble: Some(GpuHealth::Lost) };
        assert_eq!(health(lost, Some("XID".into()), 1), GpuHealth::Lost);
        assert_eq!(health(Asked::default(), Some("XID".into()), 1), GpuHealth::Failing { reason: "XID".into() });
        assert!(
            matches!(health(Asked::default(), None, 2), GpuHealth::Failing { reason } if reason.starts_with("2 uncorrected memory errors"))
        );
        assert_eq!(health(Asked::default(), None, 0), GpuHealth::Healthy);
    }

    #[test]
    fn a_value_that_is_not_supported_is_no_illness() {
        let mut asked = Asked::default();
        assert_eq!(asked.value::<u32>(Err(NvmlError::NotSupported)), None);
        assert_eq!(asked.trouble, None);
        asked.value::<u32>(Err(NvmlError::GpuLost));
        asked.value::<u32>(Err(NvmlError::ResetRequired));
        assert_eq!(asked.trouble, Some(GpuHealth::Lost), "the worst stays");
    }
}
