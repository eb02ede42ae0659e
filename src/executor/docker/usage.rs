//! What a container uses, from the engine's own stream of samples.

use std::collections::HashMap;

use bollard::{
    models::{ContainerBlkioStats, ContainerMemoryStats, ContainerNetworkStats, ContainerStatsResponse},
    query_parameters::StatsOptionsBuilder,
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{Docker, failure};
use crate::executor::{EngineError, Usage};

impl Docker {
    pub(super) async fn sample_usage(
        &self,
        id: &str,
    ) -> Result<BoxStream<'static, Result<Usage, EngineError>>, EngineError> {
        let options = StatsOptionsBuilder::default().stream(true).build();
        let mut samples = self.connection.bollard().await?.stats(id, Some(options)).boxed();
        // The stream asks when it is first read. Reading one sample here tells at once of a
        // container that is not there; it is the base of the first difference.
        let quick = self.settings.timeouts.quick;
        let first = match tokio::time::timeout(quick, samples.next()).await {
            Err(_) => return Err(failure::late(quick)),
            Ok(None) => None,
            Ok(Some(sample)) => Clocked::read(sample.map_err(failure::read)?),
        };
        let state = first.map(|first| (samples, first));
        Ok(stream::try_unfold(state, |state| async move {
            let Some((mut samples, before)) = state else { return Ok(None) };
            let Some(sample) = samples.next().await else { return Ok(None) };
            // Once a container has ended the engine goes on with empty samples.
            let Some(now) = Clocked::read(sample.map_err(failure::read)?) else { return Ok(None) };
            let usage = now.usage(&before);
            Ok(Some((usage, Some((samples, now)))))
        })
        .boxed())
    }
}

/// A sample of a container that runs, and the two clocks that its share of a CPU is told by.
struct Clocked {
    /// When it was taken, in nanoseconds since 1970.
    taken: i128,
    /// CPU time used since the container's start, in nanoseconds.
    cpu: u64,
    usage: Usage,
}

impl Clocked {
    /// Reads a sample; `None` when it is the empty one of a container that does not run.
    fn read(sample: ContainerStatsResponse) -> Option<Self> {
        let taken = sample.read?.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
        let cpu = sample.cpu_stats.and_then(|cpu| cpu.cpu_usage)?.total_usage?;
        if taken <= 0 || cpu == 0 {
            return None;
        }
        let memory = sample.memory_stats.unwrap_or_default();
        let (network_received_bytes, network_sent_bytes) = network(sample.networks.unwrap_or_default());
        let (block_read_bytes, block_written_bytes) = block(sample.blkio_stats.unwrap_or_default());
        let usage = Usage {
            cpu_percent: 0.0,
            memory_bytes: memory_used(&memory),
            memory_limit_bytes: memory.limit.unwrap_or_default(),
            network_received_bytes,
            network_sent_bytes,
            block_read_bytes,
            block_written_bytes,
        };
        Some(Self { taken, cpu, usage })
    }

    /// Returns the sample with the share of CPU used since `before`.
    fn usage(&self, before: &Self) -> Usage {
        let passed = (self.taken - before.taken) as f64;
        let used = self.cpu.saturating_sub(before.cpu) as f64;
        let cpu_percent = if passed > 0.0 { used / passed * 100.0 } else { 0.0 };
        Usage { cpu_percent, ..self.usage.clone() }
    }
}

/// Returns the memory that cannot be taken away: without the page cache that is not in use, as
/// `docker stats` counts it. The first key is cgroup v1's, the second v2's.
fn memory_used(memory: &ContainerMemoryStats) -> u64 {
    let stats = memory.stats.as_ref();
    let inactive = ["total_inactive_file", "inactive_file"].iter().find_map(|key| stats?.get(*key).copied());
    memory.usage.unwrap_or_default().saturating_sub(inactive.unwrap_or_default())
}

fn network(interfaces: HashMap<String, ContainerNetworkStats>) -> (u64, u64) {
    interfaces.values().fold((0, 0), |(received, sent), one| {
        (received + one.rx_bytes.unwrap_or_default(), sent + one.tx_bytes.unwrap_or_default())
    })
}

fn block(stats: ContainerBlkioStats) -> (u64, u64) {
    let entries = stats.io_service_bytes_recursive.unwrap_or_default();
    // cgroup v1 says `Read`, v2 `read`.
    let sum = |op: &str| {
        let of_kind =
            entries.iter().filter(|entry| entry.op.as_deref().is_some_and(|one| one.eq_ignore_ascii_case(op)));
        of_kind.filter_map(|entry| entry.value).sum()
    };
    (sum("read"), sum("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u32, cpu: u64, extra: serde_json::Value) -> ContainerStatsResponse {
        let mut sample = serde_json::json!({
            "read": format!("2026-01-31T08:00:{second:02}.000000000Z"),
            "cpu_stats": {"cpu_usage": {"total_usage": cpu}},
        });
        sample.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(sample).unwrap()
    }

    #[test]
    fn a_share_of_cpu_is_that_of_one_core() {
        let before = Clocked::read(sample(0, 1_000_000_000, serde_json::json!({}))).unwrap();
        let now = Clocked::read(sample(2, 6_000_000_000, serde_json::json!({}))).unwrap();
        assert!((now.usage(&before).cpu_percent - 250.0).abs() < 1e-9);
    }

    #[test]
    fn both_cgroup_versions_are_read() {
        let one = serde_json::json!({
            "memory_stats": {"usage": 100, "limit": 500, "stats": {"total_inactive_file": 30, "inactive_file": 1}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 7}, {"op": "Write", "value": 9}, {"op": "Total", "value": 16}]},
            "networks": {"eth0": {"rx_bytes": 3, "tx_bytes": 4}},
        });
        let two = serde_json::json!({
            "memory_stats": {"usage": 100, "limit": 500, "stats": {"inactive_file": 30}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 7}, {"op": "write", "value": 9}]},
            "networks": {"eth0": {"rx_bytes": 3, "tx_bytes": 4}},
        });
        for stats in [one, two] {
            let usage = Clocked::read(sample(0, 1, stats)).unwrap().usage;
            assert_eq!((usage.memory_bytes, usage.memory_limit_bytes), (70, 500));
            assert_eq!((usage.block_read_bytes, usage.block_written_bytes), (7, 9));
            assert_eq!((usage.network_received_bytes, usage.network_sent_bytes), (3, 4));
        }
    }

    #[test]
    fn an_ended_container_has_no_sample() {
        let ended = serde_json::json!({"read": "0001-01-01T00:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 0}}});
        assert!(Clocked::read(serde_json::from_value(ended).unwrap()).is_none());
    }
}
