//! Watches the room on the disk of the data directory, and how busy the machine is. When the disk is
//! full new work is refused, and what was accepted waits; when there is room again it goes on.

use std::{sync::Arc, time::Duration};

use super::{Loop, Works, drive};
use crate::{
    domain::board::{DiskRoom, Load},
    host::Host,
    service::blocking,
    storage::disk::{DiskSpace, DiskState, DiskThresholds},
};

const PERIOD: Duration = Duration::from_secs(5);

/// Starts the loop.
pub fn start(works: &Works) {
    let this = Disk { works: works.clone(), host: Arc::new(Host::default()) };
    works.tasks.spawn(drive(this, works.clone(), Arc::default(), PERIOD));
}

struct Disk {
    works: Works,
    host: Arc<Host>,
}

impl Loop for Disk {
    const NAME: &'static str = "disk";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let (path, machine) = (self.works.data.root().to_owned(), Arc::clone(&self.host));
        let (space, reading) =
            blocking(move || Ok::<_, std::io::Error>((DiskSpace::of(&path)?, machine.look()?))).await?;
        let settings = &self.works.settings;
        let thresholds = DiskThresholds {
            warn_percent: settings.disk_warn_percent,
            refuse_percent: settings.disk_refuse_percent,
            min_free_bytes: settings.disk_min_free_bytes,
        };
        let room = match space.state(thresholds) {
            DiskState::Ok => DiskRoom::Good,
            DiskState::Warn => DiskRoom::Scarce,
            DiskState::Full => DiskRoom::Full,
        };
        let board = &self.works.board;
        if room != *board.disk() {
            tracing::warn!(free_bytes = space.free_bytes, "room on the disk: {room:?}");
            board.set_disk(room);
        }
        board.set_host(Some(Load {
            hostname: reading.hostname,
            cores: reading.cores,
            cpu_percent: reading.cpu_percent,
            memory_total_bytes: reading.memory.total_bytes,
            memory_used_bytes: reading.memory.used_bytes,
            disk_total_bytes: space.total_bytes,
            disk_free_bytes: space.free_bytes,
        }));
        Ok(())
    }
}
