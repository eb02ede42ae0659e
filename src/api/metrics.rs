//! `/metrics`: the box for Prometheus, in the OpenMetrics text format.

use std::sync::atomic::AtomicU64;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::{Metric, Registry, Unit},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Problem;
use crate::{
    domain::{
        board::{Contact, DiskRoom, LoopReport},
        caller::Caller,
        workload::State as JobState,
    },
    service::{
        Services,
        box_now::{BoxNow, GpuNow},
    },
};

/// The route of metrics, under the API and at the root, where Prometheus looks first.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Shows the box for Prometheus. Needs a key, like everything else: `authorization` in its settings.
#[utoipa::path(
    get, path = "/metrics", tag = "box",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")),
)]
async fn get(State(services): State<Services>, caller: Caller) -> Result<Response, Problem> {
    let text = page(&services.box_now(&caller).await?).map_err(Problem::internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

type Number = Gauge<f64, AtomicU64>;
type Labels = Vec<(&'static str, String)>;

/// The metrics of one scrape. They are made afresh each time, so what is gone leaves nothing behind.
struct Sheet(Registry);

impl Sheet {
    /// Shows one value; nothing while it is not known.
    fn one(&mut self, name: &str, help: &str, unit: Option<Unit>, value: Option<f64>) {
        let Some(value) = value else { return };
        let gauge = Number::default();
        gauge.set(value);
        self.register(name, help, unit, gauge);
    }

    /// Shows a value for each of several things.
    fn many(&mut self, name: &str, help: &str, unit: Option<Unit>, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Number>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.register(name, help, unit, family);
    }

    fn register(&mut self, name: &str, help: &str, unit: Option<Unit>, metric: impl Metric) {
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, metric),
            None => self.0.register(name, help, metric),
        }
    }
}

fn page(now: &BoxNow) -> Result<String, std::fmt::Error> {
    let mut sheet = Sheet(Registry::with_prefix("gradientd"));
    let build = vec![("version", env!("CARGO_PKG_VERSION"))];
    sheet.0.register("build", "The daemon", Info::new(build));
    sheet.one("resident_memory", "Memory that the daemon holds", Some(Unit::Bytes), now.resident_bytes.map(number));
    jobs(&mut sheet, now);
    machine(&mut sheet, now);
    gpus(&mut sheet, now);
    loops(&mut sheet, now);
    let mut text = String::new();
    encode(&mut text, &sheet.0)?;
    Ok(text)
}

fn jobs(sheet: &mut Sheet, now: &BoxNow) {
    let states = JobState::ALL.iter().map(|state| {
        let count = now.count(|other| other == *state);
        (vec![("state", state.to_string())], number(count))
    });
    sheet.many("jobs", "Jobs of the key's team by state", None, states);
    sheet.one("queue_length", "Jobs that wait for a place", None, Some(number(now.queued as u64)));
    sheet.one("allocated_cores", "Cores held by jobs", None, Some(number(now.cpu_held_millis()) / 1000.0));
    sheet.one(
        "capacity_cores",
        "Cores that jobs can have together",
        None,
        Some(number(now.cpu_capacity_millis) / 1000.0),
    );
    let held = number(now.memory_held_bytes());
    sheet.one("allocated_memory", "Memory held by jobs", Some(Unit::Bytes), Some(held));
    let capacity = number(now.memory_capacity_bytes);
    sheet.one("capacity_memory", "Memory that jobs can have together", Some(Unit::Bytes), Some(capacity));
}

fn machine(sheet: &mut Sheet, now: &BoxNow) {
    let load = now.load.as_ref();
    sheet.one("cpu_percent", "How busy all cores are", None, load.and_then(|load| load.cpu_percent));
    let used = load.map(|load| number(load.memory_used_bytes));
    sheet.one("memory_used", "Memory in use on the machine", Some(Unit::Bytes), used);
    let free = load.map(|load| number(load.disk_free_bytes));
    sheet.one("disk_free", "Room on the disk of the data directory", Some(Unit::Bytes), free);
    let total = load.map(|load| number(load.disk_total_bytes));
    sheet.one("disk_size", "Size of the disk of the data directory", Some(Unit::Bytes), total);
    sheet.one(
        "disk_full",
        "1 while new work is refused for want of room",
        None,
        Some(flag(now.disk == DiskRoom::Full)),
    );
    let up = match *now.contact {
        Contact::Unasked => None,
        Contact::Answering { .. } => Some(1.0),
        Contact::Lost { .. } => Some(0.0),
    };
    sheet.one("engine_up", "1 while the engine answers", None, up);
}

fn gpus(sheet: &mut Sheet, now: &BoxNow) {
    let gpus = now.gpus();
    let each = |value: fn(&GpuNow<'_>) -> Option<f64>| {
        gpus.iter()
            .filter_map(|gpu| {
                Some((vec![("uuid", gpu.gpu.uuid.to_string()), ("name", gpu.gpu.name.clone())], value(gpu)?))
            })
            .collect::<Vec<_>>()
    };
    let utilization = each(|gpu| gpu.reading?.utilization_percent.map(f64::from));
    sheet.many("gpu_utilization_percent", "How busy the GPU is", None, utilization);
    let used = each(|gpu| gpu.reading?.memory_used_bytes.map(number));
    sheet.many("gpu_memory_used", "Memory of the GPU in use", Some(Unit::Bytes), used);
    let total = each(|gpu| Some(number(gpu.gpu.memory_bytes)));
    sheet.many("gpu_memory_size", "Memory of the GPU", Some(Unit::Bytes), total);
    let temperature = each(|gpu| gpu.reading?.temperature_celsius.map(f64::from));
    sheet.many("gpu_temperature", "Temperature of the GPU", Some(Unit::Celsius), temperature);
    let power = each(|gpu| gpu.reading?.power_milliwatts.map(|power| f64::from(power) / 1000.0));
    sheet.many("gpu_power", "Power that the GPU draws", Some(Unit::Other("watts".to_owned())), power);
    let healthy = each(|gpu| Some(flag(gpu.health.is_usable())));
    sheet.many("gpu_healthy", "1 while work may be put on the GPU", None, healthy);
    let held = each(|gpu| Some(number(gpu.holders.len() as u64)));
    sheet.many("gpu_holders", "Jobs that hold the GPU", None, held);
}

fn loops(sheet: &mut Sheet, now: &BoxNow) {
    let each = |value: fn(&LoopReport) -> f64| {
        now.loops.iter().map(|(name, report)| (vec![("loop", (*name).to_owned())], value(report))).collect::<Vec<_>>()
    };
    let took = each(|report| report.took.as_secs_f64());
    sheet.many("loop_duration", "How long the last run of the loop took", Some(Unit::Seconds), took);
    let failing = each(|report| flag(report.error.is_some()));
    sheet.many("loop_failing", "1 when the last run of the loop failed", None, failing);
    let last = each(|report| number(u64::try_from(report.last_run.0).unwrap_or(0)) / 1e6);
    sheet.many("loop_last_run_timestamp", "When the loop ran last", Some(Unit::Seconds), last);
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is read to a few digits")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use crate::api::router::tests::busy_box;

    #[tokio::test]
    async fn the_box_is_there_for_prometheus() {
        let api = busy_box().await;
        let bearer = format!("Bearer {}", api.key);
        let answer = api.send("GET", "/metrics", &[("authorization", &bearer)], None).await;
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
        // What this process holds changes from run to run, and so does the order of the labels.
        let (own, mut rest): (Vec<_>, Vec<_>) =
            answer.text.lines().partition(|line| line.starts_with("gradientd_resident_memory_bytes "));
        assert_eq!(own.len(), 1);
        assert_eq!(rest.last(), Some(&"# EOF"));
        rest.sort_unstable();
        insta::assert_snapshot!(rest.join("\n"));
    }
}
