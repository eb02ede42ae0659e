//! The machine's memory, from /proc/meminfo.

/// Main memory. What the kernel holds only to be quick, such as cached files, is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub total_bytes: u64,
    pub used_bytes: u64,
    /// What programs can still get without swapping, as the kernel judges.
    pub available_bytes: u64,
}

/// Reads the table. `None` when a line that matters is missing.
pub(super) fn parse(meminfo: &str) -> Option<Memory> {
    let bytes = |name: &str| -> Option<u64> {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total_bytes = bytes("MemTotal")?;
    let available_bytes = bytes("MemAvailable")?.min(total_bytes);
    Some(Memory { total_bytes, used_bytes: total_bytes - available_bytes, available_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_not_used_memory() {
        let meminfo = "MemTotal:       24689764 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB\n\
                       Buffers:          500000 kB\nCached:         18000000 kB\nHugePages_Total:       0\n";
        let memory = parse(meminfo);
        assert_eq!(
            memory,
            Some(Memory {
                total_bytes: 24_689_764 * 1024,
                used_bytes: 4_689_764 * 1024,
                available_bytes: 20_000_000 * 1024
            })
        );
    }

    #[test]
    fn a_table_that_is_not_one_gives_nothing() {
        for meminfo in
            ["", "MemTotal: 1 kB\n", "MemTotal: 1\nMemAvailable: 1 kB\n", "MemTotalled: 1 kB\nMemAvailable: 1 kB"]
        {
            assert_eq!(parse(meminfo), None, "{meminfo:?}");
        }
    }
}
