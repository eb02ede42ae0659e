//! The driver's own error reports, "XIDs", and which of them are the hardware's fault.
//!
//! A GPU that reported one of the hardware's stays failing until the library is loaded anew, which
//! is what has to happen anyway: a GPU can be reset only when no program holds it open, this one
//! included. NVML keeps no history, so a restart of the daemon forgets; what lasts shows itself again,
//! in the ECC counters or at the next report.

use std::collections::BTreeMap;

use nvml_wrapper::{EventSet, Nvml, bitmasks::event::EventTypes, enums::event::XidError};

use super::survey::Card;
use crate::domain::gpu::GpuUuid;

/// Events fetched from one GPU at once. A storm of them waits for the next time.
const EVENTS_A_POLL: usize = 64;

/// Listens to every card's events and keeps the first report that was the hardware's.
///
/// One set a card, because a card that cannot be listened to takes its set down with it.
#[derive(Default)]
pub(super) struct XidWatch<'nvml> {
    /// `None` where the card does not support events.
    sets: BTreeMap<GpuUuid, Option<EventSet<'nvml>>>,
    reported: BTreeMap<GpuUuid, u64>,
}

impl<'nvml> XidWatch<'nvml> {
    /// Begins to listen to cards that are new.
    pub(super) fn listen(&mut self, nvml: &'nvml Nvml, cards: &[Card<'nvml>]) {
        for card in cards {
            self.sets.entry(card.uuid.clone()).or_insert_with(|| {
                let set = nvml.create_event_set().ok()?;
                card.device
                    .register_events(EventTypes::CRITICAL_XID_ERROR, set)
                    .inspect_err(
                        |error| tracing::warn!(gpu = %card.uuid, %error, "no XID events from GPU {}", card.index),
                    )
                    .ok()
            });
        }
    }

    /// Fetches what the driver has reported since the last time. Does not wait.
    pub(super) fn poll(&mut self) {
        for (uuid, set) in &self.sets {
            let Some(set) = set else { continue };
            // An error is the ordinary end: nothing more waits. One that matters shows when the
            // card is read.
            for event in (0..EVENTS_A_POLL).map_while(|_| set.wait(0).ok()) {
                let Some(XidError::Value(code)) = event.event_data else { continue };
                let meaning = hardware_fault(code);
                tracing::warn!(gpu = %uuid, xid = code, "GPU {uuid} reports XID {code}: {}", meaning.unwrap_or("not the hardware's"));
                if meaning.is_some() {
                    self.reported.entry(uuid.clone()).or_insert(code);
                }
            }
        }
    }

    /// Why no work should be put on this card, if it has reported something of that kind.
    pub(super) fn complaint(&self, card: &GpuUuid) -> Option<String> {
        let code = *self.reported.get(card)?;
        let meaning = hardware_fault(code)?;
        Some(format!(
            "The driver reported XID {code}: {meaning}. Stop gradientd, reset the GPU or reboot, and start again."
        ))
    }
}

/// What a report means, if it is about the hardware, its firmware or its links. `None` for all else.
///
/// The codes are those for which NVIDIA's XID catalogue asks for a reset of the GPU or worse. Left
/// out on purpose are what a faulty program causes by itself (13 illegal instruction or address,
/// 31 page fault, 43 stopped by its fault, 45 cleaned up after another error, 68 video decoder,
/// 69 class error) and what only informs (63 row remapped or page retired, 92 many corrected errors,
/// 154 recovery action changed): a user's bug must not take a GPU from everybody.
fn hardware_fault(code: u64) -> Option<&'static str> {
    Some(match code {
        48 => "an uncorrectable memory error (double-bit ECC)",
        61 | 62 => "its micro-controller halted",
        64 => "a bad memory row could not be remapped",
        74 => "an NVLink error",
        79 => "it has fallen off the bus",
        94 => "a contained uncorrectable memory error",
        95 => "an uncontained uncorrectable memory error",
        110 => "a security fault",
        119 | 120 => "its system processor (GSP) does not answer",
        121 => "an error on the link between CPU and GPU",
        122 => "its board's management memory cannot be read",
        123 => "its power management unit does not answer",
        136 => "link training failed",
        140 => "an unrecovered memory error",
        142 | 143 => "its initialisation failed",
        144..=150 => "an NVLink fault",
        156 | 158 => "its memory cannot be repaired further or has failed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_own_fault_is_not_the_hardware_s() {
        for code in [13, 31, 43, 45, 63, 68, 69, 92, 154, 999, u64::MAX] {
            assert_eq!(hardware_fault(code), None, "{code}");
        }
    }

    #[test]
    fn reports_that_need_a_reset_are_the_hardware_s() {
        for code in [48, 62, 64, 74, 79, 94, 95, 119, 140] {
            assert!(hardware_fault(code).is_some(), "{code}");
        }
    }
}
