//! Processes of a run that were killed for memory while the run goes on, as clients see them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    memory_kills::MemoryKills,
    time::Timestamp,
    workload::{Reason, Workload},
};

/// Processes that were killed because the run's memory was full.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryKillsView {
    /// In the present or latest attempt. Several of the same moment may count as one.
    times: u32,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// What it means and what to do, for people.
    message: String,
}

impl MemoryKillsView {
    /// Shows those of a run. `None` where there were none, and where the run ended for it: its message says so.
    pub fn of(workload: &Workload) -> Option<Self> {
        let MemoryKills { times, last_at } =
            workload.memory_kills.filter(|_| workload.reason != Some(Reason::OutOfMemory))?;
        Some(Self { times, last_at, message: MemoryKills::words(&workload.kind, workload.needs.memory_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::router::tests::Api,
        store::{memory_kills, workloads},
    };

    #[tokio::test]
    async fn a_job_shows_what_was_killed_while_it_goes_on_and_not_what_ended_it() {
        let api = Api::new().await;
        let made = api.ask("POST", "jobs", Some(json!({ "image": "busybox" }))).await;
        let id = made.body["id"].as_str().unwrap().to_owned();
        assert_eq!(made.body["memoryKills"], json!(null));
        let run = id.parse().unwrap();
        let counted = api.store.write(move |tx| {
            let workload = workloads::get(tx, &run)?.unwrap();
            workloads::place(tx, &workload, &[], Timestamp(1))?;
            for at in [1_000_000, 2_000_000] {
                memory_kills::count(tx, &run, 1, Timestamp(at), Timestamp(3))?;
            }
            workloads::get(tx, &run)
        });
        let mut workload = counted.await.unwrap().unwrap();
        let job = api.ask("GET", &format!("jobs/{id}"), None).await.body;
        assert_eq!(job["memoryKills"]["times"], 2);
        assert_eq!(job["memoryKills"]["lastAt"], "1970-01-01T00:00:02.000000Z");
        assert!(job["memoryKills"]["message"].as_str().unwrap().contains("GiB of memory"), "{job}");
        workload.reason = Some(Reason::OutOfMemory);
        assert!(MemoryKillsView::of(&workload).is_none());
    }
}
