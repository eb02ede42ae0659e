//! Samples what runs use: cores, memory, network and block devices from the engine, GPUs from NVML.
//! Samples of a few seconds are averaged before they are stored.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;

use super::{Loop, Works, drive, launch};
use crate::{
    domain::{
        series::SeriesName,
        workload::{State, Workload},
    },
    executor::Usage,
    store::{
        StoreError,
        points::{self, SeriesKind},
        workloads,
    },
};

/// Time between two stored samples.
const PERIOD: Duration = Duration::from_secs(5);

/// Starts the loop.
pub fn start(works: &Works) {
    let this = Samples { works: works.clone(), watched: Arc::default() };
    works.tasks.spawn(drive(this, works.clone(), Arc::default(), PERIOD));
}

/// What was heard of a run since its last stored sample.
#[derive(Default)]
struct Heard {
    cpu_percents: Vec<f64>,
    newest: Option<Usage>,
}

struct Samples {
    works: Works,
    watched: Arc<Mutex<HashMap<(i64, u32), Heard>>>,
}

impl Loop for Samples {
    const NAME: &'static str = "samples";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let running = self.works.store.read(workloads::holding).await?;
        let second = self.works.clock.now().0 / 1_000_000;
        let mut rows = Vec::new();
        for workload in running.iter().filter(|workload| workload.state == State::Running) {
            self.watch(workload);
            for (name, value) in self.taken(workload) {
                rows.push((workload.seq, workload.attempt, name, (second, second as f64, value)));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.works
            .store
            .write(move |tx| {
                for (seq, attempt, name, point) in &rows {
                    points::append(tx, *seq, *attempt, SeriesKind::System, name, &[*point])?;
                }
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(())
    }
}

impl Samples {
    /// Sees to it that the engine is asked what a run uses.
    fn watch(&self, workload: &Workload) {
        let key = (workload.seq, workload.attempt);
        let mut watched = self.watched.lock().expect("no code panics while it holds this lock");
        if watched.contains_key(&key) {
            return;
        }
        watched.insert(key, Heard::default());
        let (works, all) = (self.works.clone(), Arc::clone(&self.watched));
        let name = launch::container_name(&works.settings.box_id, workload);
        self.works.tasks.spawn(async move {
            let listen = async {
                let Ok(mut usages) = works.executor.usage(&name).await else { return };
                while let Some(Ok(usage)) = usages.next().await {
                    let mut watched = all.lock().expect("no code panics while it holds this lock");
                    let Some(heard) = watched.get_mut(&key) else { return };
                    heard.cpu_percents.push(usage.cpu_percent);
                    heard.newest = Some(usage);
                }
            };
            works.stop.run_until_cancelled(listen).await;
            // When the stream broke although the run goes on, the next pass begins anew.
            all.lock().expect("no code panics while it holds this lock").remove(&key);
        });
    }

    /// Takes what was heard of a run since the last time, as named values.
    fn taken(&self, workload: &Workload) -> Vec<(SeriesName, f64)> {
        let mut values = Vec::new();
        let mut add = |name: &str, gpu: &str, value: f64| {
            values.push((SeriesName { name: name.to_owned(), gpu: gpu.to_owned() }, value));
        };
        {
            let mut watched = self.watched.lock().expect("no code panics while it holds this lock");
            if let Some(heard) = watched.get_mut(&(workload.seq, workload.attempt)) {
                let cpu = std::mem::take(&mut heard.cpu_percents);
                if let Some(usage) = heard.newest.take() {
                    add("cpuPercentage", "", cpu.iter().sum::<f64>() / cpu.len().max(1) as f64);
                    add("memoryUsage", "", usage.memory_bytes as f64);
                    add("memoryLimit", "", usage.memory_limit_bytes as f64);
                    add("networkReceived", "", usage.network_received_bytes as f64);
                    add("networkSent", "", usage.network_sent_bytes as f64);
                    add("blockRead", "", usage.block_read_bytes as f64);
                    add("blockWritten", "", usage.block_written_bytes as f64);
                }
            }
        }
        let inventory = self.works.board.inventory();
        for reading in self.works.board.readings().iter().filter(|reading| workload.gpus.contains(&reading.uuid)) {
            let uuid = &*reading.uuid.0;
            let mut maybe = |name: &str, value: Option<f64>| {
                if let Some(value) = value {
                    add(name, uuid, value);
                }
            };
            maybe("gpuUtilization", reading.utilization_percent.map(f64::from));
            maybe("gpuMemoryUtilization", reading.memory_utilization_percent.map(f64::from));
            maybe("gpuMemoryUsed", reading.memory_used_bytes.map(|bytes| bytes as f64));
            maybe("gpuTemp", reading.temperature_celsius.map(f64::from));
            maybe("gpuPowerDraw", reading.power_milliwatts.map(|milliwatts| f64::from(milliwatts) / 1000.0));
            let total = inventory.gpus.iter().find(|gpu| gpu.uuid == reading.uuid).map(|gpu| gpu.memory_bytes as f64);
            maybe("gpuMemoryTotal", total);
        }
        values
    }
}
