//! The machine types of this box, found by name or alias.

use super::{InWords, MachineType, MachineTypeSpec, cloud, generate};
use crate::domain::gpu::Inventory;

/// Longest name of a type or alias, in bytes.
const NAME_MAX: usize = 64;

/// Every machine type there is, and which one is meant when none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    types: Vec<MachineType>,
    default: usize,
}

/// A name that no type answers to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no machine type “{name}” on this box; there are: {}", there_are.join(", "))]
pub struct UnknownMachineType {
    /// What was asked for, at most 64 characters of it.
    pub name: String,
    pub there_are: Vec<String>,
}

/// Why configured machine types cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMachineTypes {
    #[error("no machine type is configured: write at least one, or none at all to have them generated")]
    None,
    #[error("machine type “{0}”: a name has 1 to 64 letters, digits, “-”, “.”, “_” or “+”")]
    Name(String),
    #[error("machine type “{name}”: the name “{duplicate}” is already taken")]
    Duplicate { name: String, duplicate: String },
    #[error("machine type “{name}”: {what}")]
    Impossible { name: String, what: String },
    #[error(transparent)]
    Unknown(#[from] UnknownMachineType),
}

impl Catalogue {
    /// Makes the types up from what there is to share out: `cores` and `memory_bytes` for all
    /// workloads together, and the GPUs. A box always has a type.
    pub fn generate(cores: u32, memory_bytes: u64, inventory: &Inventory) -> Self {
        Self::with_cloud_names(generate::types(cores, memory_bytes, inventory), inventory)
    }

    /// Takes the admin's own types instead of generated ones.
    ///
    /// # Errors
    /// [`InvalidMachineTypes`] for the first type that is malformed, asks for more than the box has
    /// or shares its name with another.
    pub fn configured(
        specs: &[MachineTypeSpec],
        cores: u32,
        memory_bytes: u64,
        inventory: &Inventory,
    ) -> Result<Self, InvalidMachineTypes> {
        if specs.is_empty() {
            return Err(InvalidMachineTypes::None);
        }
        let mut types: Vec<MachineType> = Vec::with_capacity(specs.len());
        for spec in specs {
            let machine = checked(spec, u64::from(cores) * 1000, memory_bytes, inventory)?;
            if let Some(duplicate) = taken(&types, &machine) {
                return Err(InvalidMachineTypes::Duplicate { name: machine.name, duplicate });
            }
            types.push(machine);
        }
        Ok(Self::with_cloud_names(types, inventory))
    }

    /// Names the type that is meant when none is named, by name or alias.
    ///
    /// # Errors
    /// [`UnknownMachineType`] when there is none of that name.
    pub fn with_default(mut self, name: &str) -> Result<Self, UnknownMachineType> {
        self.default = self.position(name)?;
        Ok(self)
    }

    /// Lets `alias` mean the type `name`, taking it from whichever had it as an alias.
    ///
    /// # Errors
    /// [`InvalidMachineTypes`] when `alias` is malformed or another type's own name, or `name` means nothing.
    pub fn with_alias(mut self, alias: &str, name: &str) -> Result<Self, InvalidMachineTypes> {
        check_name(alias)?;
        let target = self.position(name)?;
        if let Some(holder) = self.types.iter().find(|machine| machine.name.eq_ignore_ascii_case(alias)) {
            return Err(InvalidMachineTypes::Duplicate { name: holder.name.clone(), duplicate: alias.into() });
        }
        for machine in &mut self.types {
            machine.aliases.retain(|held| !held.eq_ignore_ascii_case(alias));
        }
        self.types[target].aliases.push(alias.into());
        Ok(self)
    }

    /// Returns the type that `name` means, by name or alias and in any case.
    ///
    /// # Errors
    /// [`UnknownMachineType`], which lists those there are.
    pub fn get(&self, name: &str) -> Result<&MachineType, UnknownMachineType> {
        Ok(&self.types[self.position(name)?])
    }

    /// Returns the type that is meant when none is named.
    pub fn default_type(&self) -> &MachineType {
        &self.types[self.default]
    }

    /// Returns every type, in the order to show them.
    pub fn types(&self) -> &[MachineType] {
        &self.types
    }

    fn position(&self, name: &str) -> Result<usize, UnknownMachineType> {
        self.types.iter().position(|machine| machine.answers_to(name)).ok_or_else(|| UnknownMachineType {
            name: shown(name),
            there_are: self.types.iter().map(|machine| machine.name.clone()).collect(),
        })
    }

    /// Adds the cloud's names where nobody else has them. The default is the smallest CPU type, or
    /// the smallest of all where every type has a GPU.
    fn with_cloud_names(mut types: Vec<MachineType>, inventory: &Inventory) -> Self {
        for (alias, index) in cloud::names(&types, inventory) {
            if !types.iter().any(|machine| machine.answers_to(&alias)) {
                types[index].aliases.push(alias);
            }
        }
        let default = (0..types.len()).min_by_key(|index| types[*index].size()).unwrap_or(0);
        Self { types, default }
    }
}

/// Returns the first name of `machine` that one of `types`, or itself, has already.
fn taken(types: &[MachineType], machine: &MachineType) -> Option<String> {
    let mut names = std::iter::once(&machine.name).chain(&machine.aliases).enumerate();
    let twice = |index: usize, name: &str| {
        let earlier = std::iter::once(&machine.name).chain(&machine.aliases).take(index);
        earlier.into_iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    names
        .find(|(index, name)| types.iter().any(|other| other.answers_to(name)) || twice(*index, name))
        .map(|(_, name)| name.clone())
}

fn checked(
    spec: &MachineTypeSpec,
    cpu_millis: u64,
    memory_bytes: u64,
    inventory: &Inventory,
) -> Result<MachineType, InvalidMachineTypes> {
    check_name(&spec.name)?;
    spec.aliases.iter().try_for_each(|alias| check_name(alias))?;
    let impossible = |what: String| Err(InvalidMachineTypes::Impossible { name: spec.name.clone(), what });
    let machine = from_spec(spec);
    if machine.cpu_millis == 0 || machine.memory_bytes == 0 {
        return impossible("it needs some cores and some memory: set cores and memory_gib above 0".into());
    }
    if machine.cpu_millis > cpu_millis || machine.memory_bytes > memory_bytes {
        let has = InWords { cpu_millis, memory_bytes };
        let asks = InWords { cpu_millis: machine.cpu_millis, memory_bytes: machine.memory_bytes };
        return impossible(format!("it asks for {asks}; this box has {has} to give"));
    }
    if machine.share == 0 || (machine.share > 1 && machine.gpus != 1) {
        return impossible("share is 1, or more with gpus = 1: only a single GPU can be shared".into());
    }
    if machine.gpus == 0 && (machine.gpu_model.is_some() || machine.mig_profile.is_some()) {
        return impossible("it names a GPU and has none: set gpus".into());
    }
    let fitting = inventory.gpus.iter().filter(|gpu| cloud::may_use(&machine, gpu)).count();
    if fitting < machine.gpus as usize {
        return impossible(format!("it asks for {} GPUs; this box has {fitting} that fit", machine.gpus));
    }
    Ok(machine)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes an integer by saturating; NaN is 0, which is refused"
)]
fn from_spec(spec: &MachineTypeSpec) -> MachineType {
    let cpu_millis = (spec.cores * 1000.0).round() as u64;
    let memory_bytes = (spec.memory_gib * f64::from(1 << 30)) as u64;
    let words = InWords { cpu_millis, memory_bytes }.to_string();
    let gpus = match (spec.gpus, spec.share) {
        (0, _) => String::new(),
        (1, share) if share > 1 => format!("a GPU shared by up to {share}, "),
        (1, _) => "1 GPU, ".into(),
        (count, _) => format!("{count} GPUs, "),
    };
    MachineType {
        name: spec.name.to_ascii_lowercase(),
        cpu_millis,
        memory_bytes,
        gpus: spec.gpus,
        share: spec.share,
        gpu_model: spec.gpu_model.clone(),
        mig_profile: spec.mig_profile.clone(),
        aliases: spec.aliases.clone(),
        description: spec.description.clone().unwrap_or(gpus + &words),
    }
}

fn check_name(name: &str) -> Result<(), InvalidMachineTypes> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte);
    if !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(InvalidMachineTypes::Name(shown(name)))
}

/// A hostile text must not come back whole in an error.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests;
