//! How busy the cores are, from the kernel's running count of their time in /proc/stat.

/// Time of all cores since the machine was started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks {
    busy: u64,
    total: u64,
}

/// Reads the line of all cores. `None` when there is no such line.
pub(super) fn parse(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; the guests' time behind them is in user's.
    let times: Vec<u64> = line.split_ascii_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle = times.get(3)? + times.get(4).copied().unwrap_or(0);
    let total: u64 = times.iter().sum();
    Some(Ticks { busy: total - idle, total })
}

/// The share of busy time between two looks, 0 to 100. `None` when no time has passed.
pub(super) fn busy_percent(before: Ticks, now: Ticks) -> Option<f64> {
    let total = now.total.checked_sub(before.total).filter(|passed| *passed > 0)?;
    // The kernel lets the count of waiting for disks run backwards, which can show as more than all.
    let busy = now.busy.saturating_sub(before.busy).min(total);
    Some(busy as f64 * 100.0 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_are_counted_together_and_guests_once() {
        let stat = "cpu  10 1 5 80 4 2 3 1 7 1\ncpu0 5 0 2 40 2 1 1 0 3 0\nintr 99\n";
        assert_eq!(parse(stat), Some(Ticks { busy: 22, total: 106 }));
    }

    #[test]
    fn a_table_that_is_not_one_gives_nothing() {
        for stat in ["", "cpu0 1 2 3 4\n", "cpu  1 2 x 4\n", "cpu  1 2\n"] {
            assert_eq!(parse(stat), None, "{stat:?}");
        }
    }

    #[test]
    fn the_share_stays_between_nothing_and_all() {
        let at = |busy, total| Ticks { busy, total };
        assert_eq!(busy_percent(at(10, 100), at(35, 200)), Some(25.0));
        assert_eq!(busy_percent(at(10, 100), at(10, 100)), None, "no time has passed");
        assert_eq!(busy_percent(at(10, 100), at(5, 50)), None, "the machine was started anew");
        assert_eq!(busy_percent(at(10, 100), at(9, 200)), Some(0.0));
        assert_eq!(busy_percent(at(10, 100), at(300, 200)), Some(100.0));
    }
}
