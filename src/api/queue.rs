//! `/queue`: who waits, for what, and who holds it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Problem, Query};
use crate::{
    domain::{caller::Caller, time::Timestamp},
    service::{
        Services,
        queue::{Holder, Queue, QueueEntry},
        queue_place::QueuePlace,
        run_name::RunName,
    },
};

/// The routes of the queue.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Entries when the client does not say.
const DEFAULT: u32 = 100;
/// Most entries.
const MOST: u32 = 500;

/// How much of the queue is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QueueFilter {
    /// Most entries, 1 to 500. Default 100.
    limit: Option<u32>,
}

/// The queue, next first, and who holds places now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueView {
    items: Vec<WaitingView>,
    running: Vec<RunningView>,
}

/// A job, or a session of a notebook or a TensorBoard, that waits for a place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    #[serde(flatten)]
    run: RunName,
    machine_type: String,
    needs: NeedsView,
    #[serde(flatten)]
    place: QueuePlace,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// What a job needs of the box.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NeedsView {
    /// Thousandths of a core.
    cpu_millis: u32,
    memory_bytes: u64,
    gpus: u32,
}

/// A job or session that holds a place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningView {
    #[serde(flatten)]
    run: RunName,
    /// UUIDs.
    gpus: Vec<String>,
    /// Thousandths of a core.
    cpu_millis: u32,
    memory_bytes: u64,
    /// Null while it is starting.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When its time limit ends it.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// When it stops by itself if nobody uses it until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    idle_at: Option<Timestamp>,
}

impl From<QueueEntry> for WaitingView {
    fn from(entry: QueueEntry) -> Self {
        let needs = &entry.workload.needs;
        Self {
            run: entry.run.into(),
            machine_type: entry.machine_type,
            needs: NeedsView { cpu_millis: needs.cpu_millis, memory_bytes: needs.memory_bytes, gpus: needs.gpus },
            place: entry.place.into(),
            since: entry.workload.created_at,
        }
    }
}

impl From<Holder> for RunningView {
    fn from(holder: Holder) -> Self {
        Self {
            run: holder.run.into(),
            gpus: holder.gpus.iter().map(ToString::to_string).collect(),
            cpu_millis: holder.cpu_millis,
            memory_bytes: holder.memory_bytes,
            started_at: holder.started_at,
            until: holder.until,
            idle_at: holder.idle_at,
        }
    }
}

impl From<Queue> for QueueView {
    fn from(queue: Queue) -> Self {
        Self {
            items: queue.waiting.into_iter().map(WaitingView::from).collect(),
            running: queue.holders.into_iter().map(RunningView::from).collect(),
        }
    }
}

/// Lists who waits for a place, next first, and who holds places now.
#[utoipa::path(get, path = "/queue", tag = "box", params(QueueFilter), responses((status = 200, body = QueueView)))]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Query(filter): Query<QueueFilter>,
) -> Result<Json<QueueView>, Problem> {
    let limit = filter.limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid("invalid_query", "limit", format!("limit is from 1 to {MOST}")));
    }
    Ok(Json(services.queue(&caller, limit as usize).await?.into()))
}

#[cfg(test)]
mod tests {
    use crate::{api::router::tests::busy_box, domain::board::Waiting};

    #[tokio::test]
    async fn the_queue_says_who_waits_for_whom() {
        let api = busy_box().await;
        let answer = api.ask("GET", "queue", None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        insta::assert_snapshot!(serde_json::to_string_pretty(&answer.body).unwrap());
    }

    #[tokio::test]
    async fn who_goes_first_is_told_apart_from_who_holds_something_on_the_page_of_the_job_too() {
        let api = busy_box().await;
        let body = serde_json::json!({ "name": "later", "image": "busybox", "command": "true" });
        let later = api.ask("POST", "jobs", Some(body)).await.body["id"].as_str().unwrap().to_owned();
        let mut queue = (*api.board.queue()).clone();
        let behind = vec![queue[0].id.clone(), "js00000000000x".parse().unwrap()];
        queue.push(Waiting { id: later.parse().unwrap(), position: 2, held_by: behind, ..queue[0].clone() });
        api.board.set_queue(queue);
        let shown = api.ask("GET", &format!("jobs/{later}"), None).await.body["queue"].clone();
        let [first] = shown["heldBy"].as_array().unwrap().as_slice() else { panic!("{shown:#}") };
        assert_eq!(
            (&first["name"], &first["waits"]),
            (&"waits".into(), &true.into()),
            "who is over is nobody to wait for"
        );
        let listed = api.ask("GET", "queue", None).await.body["items"][1].clone();
        assert_eq!((&listed["heldBy"], &listed["reason"]), (&shown["heldBy"], &shown["reason"]));
        let in_list = api.ask("GET", "jobs", None).await.body["items"][0]["queue"].clone();
        assert_eq!((&in_list["position"], in_list.get("heldBy")), (&2.into(), None));
    }

    #[tokio::test]
    async fn a_limit_out_of_range_is_refused() {
        let api = busy_box().await;
        for limit in ["0", "501", "x"] {
            let answer = api.ask("GET", &format!("queue?limit={limit}"), None).await;
            assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (422, Some("limit")));
        }
    }
}
