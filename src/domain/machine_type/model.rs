//! What a GPU model is called in a machine type: `a100` rather than `NVIDIA A100-SXM4-80GB`.

use crate::domain::gpu::Gpu;

/// Words of a product name that say who sold it, how it is mounted or how large its memory is, none
/// of which people put into a model's name.
const NOISE: [&str; 17] = [
    "nvidia",
    "tesla",
    "quadro",
    "geforce",
    "sxm",
    "sxm2",
    "sxm3",
    "sxm4",
    "sxm5",
    "sxm6",
    "pcie",
    "hbm2",
    "hbm2e",
    "hbm3",
    "hbm3e",
    "nvl",
    "generation",
];

/// Returns the short name of a product: `NVIDIA H100 80GB HBM3` is `h100`, `NVIDIA RTX A6000` is
/// `a6000`, `NVIDIA GeForce RTX 3080 Ti` is `rtx3080-ti`.
pub fn family(product: &str) -> String {
    let lower = product.to_ascii_lowercase();
    let mut words = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && !NOISE.contains(word) && !is_memory(word))
        .peekable();
    let mut family = String::new();
    while let Some(word) = words.next() {
        let number_follows = words.peek().is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit()));
        match word {
            // `RTX A6000` is known as the A6000; `RTX 6000` is known by both words.
            "rtx" | "gtx" if !number_follows => continue,
            _ => {}
        }
        if !family.is_empty() && !family.ends_with("tx") {
            family.push('-');
        }
        family.push_str(word);
    }
    if family.is_empty() { "gpu".into() } else { family }
}

fn is_memory(word: &str) -> bool {
    word.strip_suffix("gb").is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the memory of `gpu` in whole GiB, rounded to the number on its box: a card of 80 GB
/// reports some hundred MiB less.
pub fn memory_gib(gpu: &Gpu) -> u64 {
    (gpu.memory_bytes + (1 << 29)) >> 30
}

/// Returns whether `gpu` is what `model` asks for: its family (`a100`), its family with its memory
/// (`a100-80g`) or its whole product name, in any case.
pub fn fits_model(model: &str, gpu: &Gpu) -> bool {
    if model.eq_ignore_ascii_case(&gpu.name) {
        return true;
    }
    let family = family(&gpu.name);
    model.eq_ignore_ascii_case(&family) || model.eq_ignore_ascii_case(&with_memory(&family, memory_gib(gpu)))
}

/// Returns the model's name where one family comes in several sizes: `a100-80g`.
pub(super) fn with_memory(family: &str, gib: u64) -> String {
    format!("{family}-{gib}g")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_names_become_the_names_that_people_use() {
        for (product, expected) in [
            ("NVIDIA H100 80GB HBM3", "h100"),
            ("NVIDIA A100-SXM4-80GB", "a100"),
            ("NVIDIA A100 80GB PCIe", "a100"),
            ("NVIDIA A100-PCIE-40GB", "a100"),
            ("Tesla V100-SXM2-16GB", "v100"),
            ("Tesla K80", "k80"),
            ("Quadro P4000", "p4000"),
            ("Quadro RTX 5000", "rtx5000"),
            ("NVIDIA RTX A6000", "a6000"),
            ("NVIDIA RTX 6000 Ada Generation", "rtx6000-ada"),
            ("NVIDIA GeForce RTX 3080 Ti", "rtx3080-ti"),
            ("NVIDIA L40S", "l40s"),
            ("NVIDIA H200", "h200"),
            ("", "gpu"),
        ] {
            assert_eq!(family(product), expected, "{product}");
        }
    }
}
