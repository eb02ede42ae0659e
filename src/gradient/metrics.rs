//! `metrics get` and `metrics list` of whatever runs, for whoever has an address of
//! [`super::metrics_url`]. The client prints what is in `charts` and `chart_names` as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::metrics_url;
use crate::{
    api::{Lease, Path, Problem, Query},
    domain::{caller::Caller, id::JobId, series::Xy, time::Timestamp},
    service::{
        Services,
        metrics_pass::MetricsPass,
        run_metrics::{Along, Metric, MetricsWanted},
    },
};

/// The metrics that the client has names for. They are there whether or not this run has them.
const BUILT_IN: [&str; 2] = ["cpuPercentage", "memoryUsage"];
/// Most metrics that are asked for at once.
pub const MOST: usize = 64;
/// How far samples are apart when nobody says, in seconds.
pub const INTERVAL: f64 = 30.0;

/// What the client may ask of: each has its own word on the wire, and all run in the same way here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ObjectType {
    Notebook,
    #[serde(rename = "mljob")]
    Job,
    Experiment,
    ModelDeployment,
}

/// Somebody with a good address, and what it is of.
pub struct Watcher {
    pub caller: Caller,
    pub lease: Lease,
    pub pass: MetricsPass,
}

impl Watcher {
    /// Lets whoever has the address in.
    pub async fn open(services: &Services, run: &str, pass: &str) -> Result<Self, Problem> {
        let (pass, signature) = metrics_url::read(run, pass)?;
        let caller = services.metrics_holder(&pass, &signature).await?;
        let lease = Lease::of_key(Arc::new(services.clone()), pass.key.clone());
        Ok(Self { caller, lease, pass })
    }

    /// Returns the run, if it is what is asked of. What runs for an experiment or a notebook is asked for
    /// under their name; the address alone says which run that is.
    pub fn run(&self, kind: ObjectType, handle: &str) -> Result<&JobId, Problem> {
        if kind == ObjectType::Job && handle != self.pass.run.as_str() {
            return Err(Problem::not_found(format!("this is the address of the metrics of {}", self.pass.run)));
        }
        Ok(&self.pass.run)
    }
}

/// What the client asks.
#[derive(Debug, Deserialize)]
pub struct RangeQuery {
    /// With commas between them.
    #[serde(default)]
    charts: String,
    start: Option<String>,
    end: Option<String>,
    interval: Option<String>,
    objecttype: ObjectType,
    #[serde(default)]
    handle: String,
}

/// One point, as the cloud's clients expect values: as text.
#[derive(Debug, PartialEq, Serialize)]
pub struct PointView {
    /// Seconds since 1970, of what the box measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_stamp: Option<i64>,
    /// Of what the run counts by steps: those have no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<f64>,
    value: String,
}

impl PointView {
    pub fn of(along: Along, (x, y): Xy) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 are far from the ends")]
        let (time_stamp, step) = match along {
            Along::Time => (Some(x as i64), None),
            Along::Steps => (None, Some(x)),
        };
        Self { time_stamp, step, value: y.to_string() }
    }
}

/// Points by metric and by row.
#[derive(Debug, Serialize)]
pub struct Charts {
    charts: BTreeMap<String, BTreeMap<String, Vec<PointView>>>,
}

/// The metrics that there are.
#[derive(Debug, Serialize)]
pub struct ChartNames {
    chart_names: BTreeSet<String>,
}

/// Answers with metrics over time. One that there is none of is there, empty.
pub async fn range(
    State(services): State<Services>,
    Path((run, pass)): Path<(String, String)>,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Charts>, Problem> {
    let watcher = Watcher::open(&services, &run, &pass).await?;
    let run = watcher.run(query.objecttype, &query.handle)?;
    let asked = query.charts.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    let mut names: BTreeSet<String> = asked.collect();
    if names.is_empty() {
        names.extend(BUILT_IN.map(str::to_owned));
    }
    if names.len() > MOST {
        return Err(Problem::invalid("too_many", "charts", format!("ask for {MOST} metrics at once, at most")));
    }
    let interval = match query.interval.as_deref().map(seconds) {
        None => INTERVAL,
        Some(Some(seconds)) => seconds,
        Some(None) => {
            let detail = "interval is a length of time such as 30s, 5m or 1h";
            return Err(Problem::invalid("bad_interval", "interval", detail));
        }
    };
    let (start, end) = (second("start", query.start.as_deref())?, second("end", query.end.as_deref())?);
    let between = (start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX));
    let wanted = MetricsWanted { names: names.clone(), seconds: between, interval };
    let mut found = services.metric_range(&watcher.caller, run, wanted).await?;
    let mut shown = |name: &String| found.remove(name).map(view).unwrap_or_default();
    Ok(Json(Charts { charts: names.iter().map(|name| (name.clone(), shown(name))).collect() }))
}

fn view(metric: Metric) -> BTreeMap<String, Vec<PointView>> {
    let along = metric.along;
    let points = |points: Vec<Xy>| points.into_iter().map(|point| PointView::of(along, point)).collect();
    metric.rows.into_iter().map(|(row, found)| (row, points(found))).collect()
}

/// Answers with the names of the metrics that there are.
pub async fn list(
    State(services): State<Services>,
    Path((run, pass)): Path<(String, String)>,
    Query(query): Query<RangeQuery>,
) -> Result<Json<ChartNames>, Problem> {
    let watcher = Watcher::open(&services, &run, &pass).await?;
    let run = watcher.run(query.objecttype, &query.handle)?;
    Ok(Json(ChartNames { chart_names: services.metric_names(&watcher.caller, run).await? }))
}

/// Reads a time as the client writes it.
fn second(field: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let read = |text: &str| {
        let time: Result<Timestamp, _> = text.parse();
        time.map(|time| time.0.div_euclid(1_000_000))
            .map_err(|_| Problem::invalid("bad_time", field, format!("{field} is a time such as 2026-01-31T08:00:00Z")))
    };
    text.filter(|text| !text.is_empty()).map(read).transpose()
}

/// Reads a length of time as people write it for the client: `30s`, `1h30m`, or seconds. At most a year.
pub fn seconds(text: &str) -> Option<f64> {
    const YEAR: f64 = 366.0 * 86_400.0;
    let (mut total, mut rest) = (0.0, text.trim());
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let letters = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        total += number
            * match &unit[..letters] {
                "ms" => 0.001,
                "" | "s" | "sec" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "w" => 604_800.0,
                _ => return None,
            };
        rest = &unit[letters..];
    }
    (total > 0.0 && total <= YEAR).then_some(total)
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        api::router::tests::Api,
        domain::{caller::Scope, series::SeriesName},
        gradient::{
            metrics_url::tests::door,
            router::{
                self,
                tests::{Cloud, printed},
            },
        },
        store::{
            StoreError,
            points::{self, SeriesKind},
            workloads,
        },
    };

    #[test]
    fn a_length_of_time_is_read_as_people_write_it() {
        for (text, expected) in [
            ("30s", Some(30.0)),
            ("5m", Some(300.0)),
            ("1h30m", Some(5400.0)),
            ("1.5h", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("90", Some(90.0)),
            (" 7d ", Some(604_800.0)),
            ("", None),
            ("0s", None),
            ("-5s", None),
            ("s", None),
            ("5 s", None),
            ("1e9", None),
            ("99999w", None),
            ("soon", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }

    /// A job with samples of two GPUs and a chart, and the address of its metrics without its authority.
    struct Watched {
        cloud: Cloud,
        id: String,
        path: String,
    }

    async fn watched() -> Watched {
        let dir = tempfile::tempdir().unwrap();
        let door = Extension(door(dir.path()));
        let pages = |services| router::router(services, CancellationToken::new()).layer(door);
        let cloud = Cloud(Api::with_pages(pages).await.wrapped(crate::gradient::worded));
        let made = cloud.ask("POST", "/jobs/createJob/?container=busybox&name=n", None).await;
        let id = made.body["id"].as_str().unwrap().to_owned();
        let run: JobId = id.parse().unwrap();
        let written = cloud.0.store.write(move |tx| {
            let seq = workloads::get(tx, &run)?.unwrap().seq;
            let add = |kind, name: &str, gpu: &str, points: &[(i64, f64)]| {
                let name = SeriesName { name: name.to_owned(), gpu: gpu.to_owned() };
                let points: Vec<_> = points.iter().map(|(x, y)| (*x, *x as f64, *y)).collect();
                points::append(tx, seq, 1, kind, &name, &points)
            };
            add(SeriesKind::System, "cpuPercentage", "", &[(60, 10.0), (65, 30.0), (90, 50.0)])?;
            for gpu in ["GPU-a", "GPU-b"] {
                add(SeriesKind::System, "gpuMemoryTotal", gpu, &[(60, 100.0), (65, 100.0)])?;
                add(SeriesKind::System, "gpuMemoryUsed", gpu, &[(60, 10.0), (65, 30.0)])?;
            }
            add(SeriesKind::Chart, "loss", "", &[(1, 0.5), (2, 0.25)])?;
            // It cannot print over what the box has seen.
            add(SeriesKind::Chart, "cpuPercentage", "", &[(1, 7.0)])?;
            Ok::<_, StoreError>(())
        });
        written.await.unwrap();
        let found = cloud.ask("POST", "/jobs/getPublicJob", Some(json!({ "jobId": id }))).await;
        let url = found.body["job"]["metricsURL"].as_str().unwrap_or_else(|| panic!("{}", found.text)).to_owned();
        let list = cloud.get("/jobs/getJobList/").await;
        assert_eq!(list["jobList"][0]["metricsURL"], json!(url));
        let path = url.strip_prefix("localhost:7443").unwrap_or_else(|| panic!("{url}")).to_owned();
        Watched { cloud, id, path }
    }

    impl Watched {
        async fn ask(&self, call: &str) -> (u16, Value) {
            let path = format!("{}/metrics/api/v1/{call}&objecttype=mljob&handle={}", self.path, self.id);
            let answer = self.cloud.0.send("GET", &path, &[], None).await;
            (answer.status.as_u16(), answer.body)
        }
    }

    #[tokio::test]
    async fn samples_are_averaged_and_every_gpu_has_a_row() {
        let watched = watched().await;
        let id = watched.id.as_str();
        let names = watched.ask("list?start=2026-01-31T08:00:00Z").await.1["chart_names"].clone();
        assert_eq!(names, json!(["cpuPercentage", "gpuMemoryFree", "gpuMemoryTotal", "gpuMemoryUsed", "loss"]));
        let (status, body) = watched.ask("range?interval=30s&charts=cpuPercentage,gpuMemoryFree,loss,none").await;
        let free = json!([{ "time_stamp": 60, "value": "80" }]);
        let expected = json!({
            "cpuPercentage": { id: [{ "time_stamp": 60, "value": "20" }, { "time_stamp": 90, "value": "50" }] },
            "gpuMemoryFree": { format!("{id}-gpu0"): free, format!("{id}-gpu1"): free },
            "loss": { id: [{ "step": 1.0, "value": "0.5" }, { "step": 2.0, "value": "0.25" }] },
            "none": {},
        });
        assert_eq!((status, &body["charts"]), (200, &expected));
        let between = "range?interval=1s&charts=cpuPercentage&start=1970-01-01T00:01:02Z&end=1970-01-01T00:01:05Z";
        let (_, body) = watched.ask(between).await;
        assert_eq!(body["charts"]["cpuPercentage"][id], json!([{ "time_stamp": 65, "value": "30" }]));
        let usual = watched.ask("range?interval=1h").await.1["charts"].clone();
        assert_eq!(usual.as_object().unwrap().keys().collect::<Vec<_>>(), ["cpuPercentage", "memoryUsage"]);
    }

    #[tokio::test]
    async fn nonsense_is_refused_in_words() {
        let watched = watched().await;
        let many = (0..65).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        for (call, status) in [
            ("range?interval=soon".to_owned(), 422),
            ("range?start=yesterday".to_owned(), 422),
            ("list?end=yesterday&interval=30s".to_owned(), 200),
            (format!("range?charts={many}"), 422),
            ("stream?a=b".to_owned(), 426),
        ] {
            let (found, body) = watched.ask(&call).await;
            assert_eq!(found, status, "{call}: {body}");
            assert!(status == 200 || body["error"]["message"].is_string(), "{call}: {body}");
        }
        for query in ["objecttype=thing&handle=x", "handle=x", "objecttype=mljob&handle=js0000000000ab"] {
            let path = format!("{}/metrics/api/v1/list?{query}", watched.path);
            let answer = watched.cloud.0.send("GET", &path, &[], None).await;
            assert!(answer.status.is_client_error() && !printed(&answer).1.is_empty(), "{query}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn an_address_ends_with_its_key_and_opens_nothing_of_another_team() {
        let watched = watched().await;
        let list = format!("{}/metrics/api/v1/list?objecttype=experiment&handle=e1", watched.path);
        assert_eq!(watched.cloud.0.send("GET", &list, &[], None).await.status, 200);
        // The right signature for a run of somebody else's.
        let services = &watched.cloud.0.services;
        let key = watched.cloud.0.stranger(Scope::Admin).await;
        let key = services
            .key_by_hash(*key.trim_start_matches("Bearer ").parse::<crate::auth::ApiKey>().unwrap().hash().as_bytes())
            .await
            .unwrap()
            .unwrap();
        let stranger = Caller { user: key.user, team: key.team, key: key.id, scope: key.scope };
        let (pass, signature) = services.metrics_pass(&stranger, &watched.id.parse().unwrap());
        let path = format!(
            "/gradient/watch/{}/~{}.{}.{signature}/metrics/api/v1/list?objecttype=mljob&handle={}",
            pass.run, pass.expires, pass.key, watched.id
        );
        assert_eq!(watched.cloud.0.send("GET", &path, &[], None).await.status, 404);

        let keys = watched.cloud.0.ask("GET", "keys", None).await;
        let id = keys.body["items"][0]["id"].as_str().unwrap().to_owned();
        watched.cloud.0.ask("DELETE", &format!("keys/{id}"), None).await;
        let answer = watched.cloud.0.send("GET", &list, &[], None).await;
        assert!(answer.status == 403 && printed(&answer).1.contains("no longer"), "{}", answer.text);
    }
}
