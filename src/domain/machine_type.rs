//! Machine types: named slices of this box, which is how people say what a job needs.
//!
//! They are generated from the hardware ([`Catalogue::generate`]) unless the admin writes their own
//! ([`Catalogue::configured`]). The names that Paperspace's cloud had are aliases of the nearest
//! local type, so that an old specification runs. What is deliberately absent: prices, regions, and
//! whether a type is free right now, which only the scheduler can say.

mod catalogue;
mod cloud;
mod generate;
mod model;
mod spec;

use std::fmt;

pub use catalogue::{Catalogue, InvalidMachineTypes, UnknownMachineType};
pub use model::{family, fits_model, memory_gib};
pub use spec::MachineTypeSpec;

use super::bytes::Bytes;

/// A named slice of the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineType {
    /// Lower case; unique among names and aliases, whatever their case.
    pub name: String,
    /// Thousandths of a core.
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// How many GPUs, or MIG instances where `mig_profile` is set.
    pub gpus: u32,
    /// 1: the GPUs are held whole. n > 1: one GPU that up to n holders of this type share.
    pub share: u32,
    /// Only GPUs of this model, in the words of [`fits_model`]; any when absent.
    pub gpu_model: Option<String>,
    /// Only MIG instances of this profile, such as `1g.10gb`; whole GPUs when absent.
    pub mig_profile: Option<String>,
    pub aliases: Vec<String>,
    /// One line for a person.
    pub description: String,
}

impl MachineType {
    /// Returns whether `text` names this type, by name or alias and in any case.
    pub fn answers_to(&self, text: &str) -> bool {
        self.name.eq_ignore_ascii_case(text) || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(text))
    }

    /// What sorts small types before large ones.
    fn size(&self) -> (u32, u64, u64) {
        (self.gpus, self.cpu_millis, self.memory_bytes)
    }
}

/// Cores and memory in words: `2.5 cores, 11.7 GiB of memory`.
pub(crate) struct InWords {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} of memory", Cores(self.cpu_millis), Bytes(self.memory_bytes))
    }
}

/// Thousandths of a core as `1 core`, `2.5 cores`.
pub(crate) struct Cores(pub u64);

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, millis) = (self.0 / 1000, self.0 % 1000);
        match (whole, millis) {
            (1, 0) => f.write_str("1 core"),
            (_, 0) => write!(f, "{whole} cores"),
            _ => write!(f, "{whole}.{} cores", format!("{millis:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_said_as_people_say_them() {
        let said = |cpu_millis, memory_bytes| InWords { cpu_millis, memory_bytes }.to_string();
        assert_eq!(said(1000, 1 << 30), "1 core, 1 GiB of memory");
        assert_eq!(said(2500, 512 << 20), "2.5 cores, 512 MiB of memory");
        assert_eq!(said(250, (11 << 30) + (700 << 20)), "0.25 cores, 11.7 GiB of memory");
    }
}
