//! What this process itself takes of the machine.

use std::fs;

/// Returns how much memory this process holds; `None` where the kernel does not tell.
pub fn resident_bytes() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kibibytes() {
        assert_eq!(parse("Name:\tx\nVmRSS:\t    1187 kB\nRssAnon:\t 1 kB\n"), Some(1187 * 1024));
        assert_eq!(parse("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_holds_some_memory() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
