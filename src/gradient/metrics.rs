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
